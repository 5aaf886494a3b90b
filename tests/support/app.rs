//! The program under test: the real binary, on a port of its own, with a database of its own.

use super::account::Account;
use super::eventually;
use super::http::{Http, quote};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

const PROGRAM: &str = env!("CARGO_BIN_EXE_callscope");

/// The program's settings and arguments, apart from any process.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Where it runs, if not in the project's folder.
    directory: Option<PathBuf>,
}

impl Settings {
    /// Observes as `account`, with its database in `folder`.
    pub fn observe(account: &Account, folder: &Path) -> Self {
        Self::default()
            .with("CALLSCOPE_HOMESERVER_URL", &account.http.base)
            .with("CALLSCOPE_ACCESS_TOKEN", &account.token)
            .with(
                "CALLSCOPE_DATABASE_URL",
                &format!("sqlite://{}", folder.join("callscope.db").display()),
            )
            .with("CALLSCOPE_BIND", "127.0.0.1:0")
            .with("CALLSCOPE_PROBE_OWN_SERVER", "false")
    }

    /// The demonstration, with its simulated homeserver, and with all that is hard to show.
    pub fn demo() -> Self {
        Self {
            arguments: ["demo", "--hostile", "--bind", "127.0.0.1:0"]
                .map(str::to_owned)
                .into(),
            ..Self::default()
        }
        // It says where it listens.
        .with("CALLSCOPE_LOG", "info")
    }

    /// Runs in this folder.
    #[must_use]
    pub fn inside(mut self, folder: &Path) -> Self {
        self.directory = Some(folder.to_owned());
        self
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.environment.retain(|(known, _)| known != key);
        self
    }

    /// Runs the program with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// Starts the program with these arguments; captures its output.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command();
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());

        command.spawn().expect("the program starts")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        let foreign = std::env::vars_os().map(|(key, _)| key);
        for key in foreign.filter(|k| k.to_string_lossy().starts_with("CALLSCOPE_")) {
            command.env_remove(key);
        }

        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }

        command
    }
}

/// The running program. Dropped, it is killed (SIGKILL).
#[derive(Debug)]
pub struct App {
    pub http: Http,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl App {
    /// Starts the program without waiting; its address is not known then.
    pub fn launch(settings: &Settings) -> Self {
        let mut child = settings
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (from, to) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || read(from, &to));
        let http = Http::new("", None);

        Self { http, child, log }
    }

    /// Starts the program and waits until it says where it listens.
    pub async fn start(settings: &Settings) -> Self {
        let mut app = Self::launch(settings);
        app.http.base = app.address().await;
        app
    }

    async fn address(&mut self) -> String {
        let (child, log) = (&mut self.child, &self.log);
        eventually("the program listens", 60, async || {
            let said = log.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the program ended, {status}:\n{}", said.join("\n"));
            }

            said.iter().find_map(|line| address_in(line))
        })
        .await
    }

    /// Starts the program and waits until it has seen the homeserver once.
    pub async fn ready(settings: &Settings) -> Self {
        let app = Self::start(settings).await;
        eventually("the program is ready", 60, async || {
            let answer = app.http.get("/readyz").await;
            (answer.status == 200).then_some(())
        })
        .await;

        app
    }

    /// The process is gone at once (SIGKILL).
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks the process to end (SIGTERM).
    #[cfg(target_os = "linux")]
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The log of the program so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// All calls of a room, over all pages of the list.
    pub async fn calls(&self, room: &str) -> Vec<Value> {
        self.list(&format!("/api/v1/calls?room={}", quote(room)))
            .await
    }

    /// The calls that are running now, in all rooms.
    pub async fn active(&self) -> Vec<Value> {
        self.list("/api/v1/calls/active").await
    }

    /// The first page of a list of the API.
    pub async fn list_first(&self, path: &str) -> Vec<Value> {
        let page = self.http.get(path).await.ok();
        page["data"].as_array().expect("data").clone()
    }

    /// A list of the API from its first page to its last.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut path = path.to_owned();
        let mut all = Vec::new();

        loop {
            let page = self.http.get(&path).await.ok();
            all.extend(page["data"].as_array().expect("data").iter().cloned());
            let Some(next) = page["next_url"].as_str() else {
                return all;
            };

            next.trim_start_matches(&self.http.base)
                .clone_into(&mut path);
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap();
            let last = log.len().saturating_sub(60);
            eprintln!("the program's log ends:\n{}", log[last..].join("\n"));
        }
    }
}

fn read(from: ChildStderr, log: &Mutex<Vec<String>>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        log.lock().unwrap().push(line);
    }
}

fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(|c: char| c.is_whitespace() || c.is_control());

    Some(
        rest[..end.unwrap_or(rest.len())]
            .trim_end_matches('/')
            .to_owned(),
    )
}

/// Runs `callscope derive` over a room's events; returns its output.
pub fn derive(events: &[Value], now_ms: i64) -> Value {
    let mut child = Settings::default()
        .command()
        .args(["derive", "--now", &now_ms.to_string(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(serde_json::to_string(events).unwrap().as_bytes())
        .unwrap();
    drop(input);
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "derive: {status}");

    serde_json::from_slice(&stdout).expect("derive prints JSON")
}
