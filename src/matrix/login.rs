//! Who we are: password login with one device for ever, `whoami`, and the file that keeps the token.

use super::Client;
use super::error::{Error, Result};
use super::secret::Secret;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// What a password login gave, kept so that the next start needs no login and makes no new device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user_id: String,
    pub device_id: String,
    pub access_token: Secret,
}

/// Whose token we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whoami {
    pub user_id: String,
    /// `None` for a token without a device, such as an application service's.
    pub device_id: Option<String>,
}

impl Client {
    /// Logs in with a password and uses the new token from now on. Give the device id of an earlier login:
    /// it is taken up again, where otherwise every login would leave one more device behind.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when user or password is wrong.
    pub async fn login(
        &self,
        user_id: &str,
        password: &Secret,
        device_id: Option<&str>,
    ) -> Result<Credentials> {
        let mut body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password.expose(),
            "initial_device_display_name": "Callscope",
        });
        if let Some(device_id) = device_id {
            body["device_id"] = json!(device_id);
        }
        let request = self.post(&["_matrix", "client", "v3", "login"], body);
        let answer = request.without_token().hiding(password).send().await?;
        let credentials = Credentials {
            user_id: answer.text("user_id")?,
            device_id: answer.text("device_id")?,
            access_token: Secret::new(answer.text("access_token")?),
        };
        self.use_credentials(&credentials);
        Ok(credentials)
    }

    /// Signs in with a password, as one device for ever: takes the token kept in `file` if it still works, else logs
    /// in as the same device and keeps what came.
    ///
    /// # Errors
    /// As every request, and when the file cannot be read or written.
    pub async fn sign_in(&self, user_id: &str, password: &Secret, file: &Path) -> Result<()> {
        let kept = Credentials::load(file)?.filter(|kept| kept.user_id == user_id);
        if let Some(kept) = &kept {
            self.use_credentials(kept);
            match self.whoami().await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_revoked() => {
                    tracing::warn!("the kept token is no longer accepted; logging in");
                }
                Err(error) => return Err(error),
            }
        }
        let device = kept.map(|kept| kept.device_id);
        self.login(user_id, password, device.as_deref())
            .await?
            .save(file)
    }

    /// Ends the login whose token we use, and with it its device.
    ///
    /// # Errors
    /// As every request.
    pub async fn logout(&self) -> Result<()> {
        self.post(&["_matrix", "client", "v3", "logout"], json!({}))
            .send()
            .await?;
        Ok(())
    }

    /// Uses the token and the user id of an earlier login.
    pub fn use_credentials(&self, credentials: &Credentials) {
        self.set_token(Some(credentials.access_token.clone()));
        self.set_user_id(&credentials.user_id);
    }

    /// Asks whose token this is, and remembers the user id for reading invites.
    ///
    /// # Errors
    /// As every request; `is_revoked` when the token is no longer valid.
    pub async fn whoami(&self) -> Result<Whoami> {
        let answer = self
            .get(&["_matrix", "client", "v3", "account", "whoami"])
            .send()
            .await?;
        let whoami = Whoami {
            user_id: answer.text("user_id")?,
            device_id: answer.optional_text("device_id"),
        };
        self.set_user_id(&whoami.user_id);
        Ok(whoami)
    }
}

impl Credentials {
    /// Reads the file; `None` when there is none yet.
    ///
    /// # Errors
    /// It cannot be read, or is not what [`Credentials::save`] wrote.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let fault = |why: String| Error::Credentials {
            path: path.to_owned(),
            why,
        };
        let body = match std::fs::read(path) {
            Ok(body) => body,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(format!("cannot be read: {error}"))),
        };
        let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = |key: &str| {
            json.get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        match (text("user_id"), text("device_id"), text("access_token")) {
            (Some(user_id), Some(device_id), Some(token)) => Ok(Some(Self {
                user_id: user_id.to_owned(),
                device_id: device_id.to_owned(),
                access_token: Secret::new(token),
            })),
            _ => Err(fault(
                "is damaged; remove it and Callscope logs in anew".to_owned(),
            )),
        }
    }

    /// Writes the file so that it is whole or not there at all, readable by its owner only.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = json!({
            "user_id": self.user_id,
            "device_id": self.device_id,
            "access_token": self.access_token.expose(),
        });
        write_private(path, format!("{json}\n").as_bytes()).map_err(|error| Error::Credentials {
            path: path.to_owned(),
            why: format!("cannot be written: {error}"),
        })
    }
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    // What a crash left behind may have been made with other rights.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_draft(&draft, content).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn write_draft(draft: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
