//! A real Chromium without a window, which opens pages and takes pictures of them.
//!
//! It is driven by the DevTools protocol over a pipe, one JSON message after the other: for five
//! commands, a crate with all thousands of them would be much, and a port that others reach needless.

use data_encoding::BASE64;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What Chromium is called, where it is on the PATH.
const NAMES: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "chrome",
];
/// How long Chromium may take for one command.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chromium reads commands from descriptor 3 and answers on descriptor 4. The program itself can
/// only set the first three of a child; a shell moves them.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// Why no picture can be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChromiumError {
    #[error(
        "pictures need Chromium, and none is on PATH: install it (Debian: apt install chromium), \
         or name it with --chromium PATH"
    )]
    Missing,
    #[error("{0} is no file: name Chromium itself with --chromium PATH")]
    NotThere(String),
    #[error(
        "Chromium ({path}) does not start or has stopped: {why}; try it with --headless, or name \
         another with --chromium PATH"
    )]
    Stopped { path: String, why: String },
    #[error("Chromium did not answer {0} within 30 s; name another with --chromium PATH")]
    Silent(&'static str),
    #[error("Chromium refused {what}: {why}")]
    Refused { what: &'static str, why: String },
    #[error("{address} does not open in Chromium: {why}")]
    NotOpened { address: String, why: String },
}

/// The Chromium to use: the named one, or the first one on the PATH.
///
/// # Errors
/// When there is none, or the named one is no file.
pub(super) fn find_chromium(named: Option<&Path>) -> Result<PathBuf, ChromiumError> {
    if let Some(named) = named {
        let is_there = named.is_file();
        return is_there
            .then(|| named.to_owned())
            .ok_or_else(|| ChromiumError::NotThere(named.display().to_string()));
    }

    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .filter(|candidate| candidate.is_file());

    candidates.next().ok_or(ChromiumError::Missing)
}

/// The size of a window and how it shows pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub width: u32,
    pub height: u32,
    pub is_phone: bool,
    pub is_dark: bool,
}

/// A running Chromium with one page. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Chromium {
    path: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The number of the last command.
    count: u64,
    /// The page that commands are for.
    session: Option<String>,
    /// Its profile, which is deleted with it.
    _profile: TempDir,
}

impl Chromium {
    /// Starts it, with an empty profile.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(path: &Path) -> Result<Self, ChromiumError> {
        let stopped = |why: String| ChromiumError::Stopped {
            path: path.display().to_string(),
            why,
        };

        let profile = tempfile::tempdir().map_err(|error| stopped(error.to_string()))?;
        let mut child = Command::new("sh")
            .args(["-c", START])
            .arg(path)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--hide-scrollbars",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            // As root (in a container) it does not start else. It opens our own pages only.
            .args(
                rustix::process::geteuid()
                    .is_root()
                    .then_some("--no-sandbox"),
            )
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| stopped(error.to_string()))?;
        let ends = child.stdin.take().zip(child.stdout.take());
        let Some((commands, answers)) = ends else {
            return Err(stopped("it has no pipe".to_owned()));
        };

        let mut chromium = Self {
            path: path.display().to_string(),
            child,
            commands,
            answers: BufReader::new(answers),
            count: 0,
            session: None,
            _profile: profile,
        };
        chromium.open_page().await?;

        Ok(chromium)
    }

    /// Opens the page that all else is about.
    async fn open_page(&mut self) -> Result<(), ChromiumError> {
        let target = self
            .command("Target.createTarget", json!({"url": "about:blank"}))
            .await?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.command("Target.attachToTarget", attach).await?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        self.command("Page.enable", json!({})).await?;

        Ok(())
    }

    /// Ends it, and waits until its profile is deleted.
    pub async fn stop(mut self) {
        // It may have ended by itself; the profile is deleted in any case.
        let _ = self.child.kill().await;
    }

    /// Changes the size of the window, and whether it is that of a phone, and dark.
    ///
    /// # Errors
    /// When Chromium fails.
    pub async fn resize(&mut self, window: Window) -> Result<(), ChromiumError> {
        let size = json!({
            "width": window.width, "height": window.height, "mobile": window.is_phone,
            "deviceScaleFactor": if window.is_phone { 2 } else { 1 },
        });
        self.command("Emulation.setDeviceMetricsOverride", size)
            .await?;
        let scheme = if window.is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", media).await?;

        Ok(())
    }

    /// Opens an address, and returns when the page and its fonts are loaded.
    ///
    /// # Errors
    /// When nothing answers there, or Chromium fails.
    pub async fn open(&mut self, address: &str) -> Result<(), ChromiumError> {
        let answer = self
            .command("Page.navigate", json!({"url": address}))
            .await?;
        if let Some(why) = answer["errorText"].as_str() {
            return Err(ChromiumError::NotOpened {
                address: address.to_owned(),
                why: why.to_owned(),
            });
        }

        // A new document loads: its promise is kept once all of it is there.
        self.evaluate(
            "new Promise(done => document.readyState === 'complete' ? done() : \
             addEventListener('load', done)).then(() => document.fonts.ready).then(() => 1)",
        )
        .await?;

        Ok(())
    }

    /// Runs a script in the page, and returns its value; that of a promise once it is kept.
    ///
    /// # Errors
    /// When Chromium fails.
    pub async fn evaluate(&mut self, script: &str) -> Result<Value, ChromiumError> {
        let parameters = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let answer = self.command("Runtime.evaluate", parameters).await?;

        Ok(answer["result"]["value"].clone())
    }

    /// A picture of what the window shows, as PNG.
    ///
    /// # Errors
    /// When Chromium fails.
    pub async fn take_picture(&mut self) -> Result<Vec<u8>, ChromiumError> {
        let what = "Page.captureScreenshot";
        let answer = self.command(what, json!({"format": "png"})).await?;
        let data = answer["data"].as_str().unwrap_or_default();

        BASE64
            .decode(data.as_bytes())
            .map_err(|error| ChromiumError::Refused {
                what,
                why: error.to_string(),
            })
    }

    /// Gives one command and returns its result.
    async fn command(
        &mut self,
        what: &'static str,
        parameters: Value,
    ) -> Result<Value, ChromiumError> {
        self.count += 1;
        let mut message = json!({"id": self.count, "method": what, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }

        let answer = tokio::time::timeout(PATIENCE, self.exchange(&message)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.stopped(&error)),
            Err(_) => return Err(ChromiumError::Silent(what)),
        };

        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(ChromiumError::Refused {
                what,
                why: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Writes a message and reads until the answer to it comes. What happens meanwhile is no
    /// concern.
    async fn exchange(&mut self, message: &Value) -> std::io::Result<Value> {
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).await?;
        self.commands.flush().await?;

        loop {
            let mut answer = Vec::new();
            if self.answers.read_until(0, &mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }

            answer.pop();
            let answer: Value = serde_json::from_slice(&answer)?;
            if answer["id"] == message["id"] {
                return Ok(answer);
            }
        }
    }

    /// The error for a Chromium that does not read or write any more.
    fn stopped(&mut self, error: &std::io::Error) -> ChromiumError {
        let status = self.child.try_wait().ok().flatten();

        ChromiumError::Stopped {
            path: self.path.clone(),
            why: status.map_or_else(|| error.to_string(), |status| status.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_mends_it() {
        let named = Path::new("/nowhere/chromium");
        let error = find_chromium(Some(named)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/chromium"), "{error}");
        assert!(error.contains("--chromium PATH"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_that_is_no_browser_is_named() {
        let error = Chromium::start(Path::new("/bin/false")).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/bin/false"), "{error}");
        assert!(error.contains("--chromium PATH"), "{error}");
    }
}
