//! Login: with a password as one permanent device, `whoami`, and the file that stores the token.

use super::Client;
use super::error::{Error, Result};
use super::secret::Secret;
use super::wire::{Answer, one_line};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Maximum logins named of those that a homeserver offers.
const FLOWS_MAX: usize = 10;

/// The result of a password login, stored so that the next start needs no login and makes no new
/// device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user_id: String,
    pub device_id: String,
    pub access_token: Secret,
    /// Gets the next token when this one expires.
    pub refresh_token: Option<Secret>,
    /// When the access token expires, ms since the Unix epoch; `None` = it does not expire.
    pub expires_ms: Option<i64>,
}

/// The ways to log in that a homeserver offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginFlows {
    /// Their types, such as `m.login.password`; at most ten.
    pub kinds: Vec<String>,
    /// Accounts are kept by a service beside the homeserver, such as the Matrix Authentication
    /// Service.
    pub has_auth_service: bool,
}

impl LoginFlows {
    /// Is a password one of them?
    #[must_use]
    pub fn offer_password(&self) -> bool {
        self.kinds.iter().any(|kind| kind == "m.login.password")
    }

    /// The ways that the answer to `GET /login` lists; `None` if it lists none of them.
    fn read(answer: &Value) -> Option<Self> {
        const OF_SERVICE: [&str; 3] = [
            "oauth_aware_preferred",
            "delegated_oidc_compatibility",
            "org.matrix.msc3824.delegated_oidc_compatibility",
        ];
        let flows = answer.get("flows")?.as_array()?;
        let kinds = flows
            .iter()
            .filter_map(|flow| flow.get("type")?.as_str())
            .map(|kind| one_line(kind, 60));
        let is_of_service = |flow: &Value| {
            OF_SERVICE
                .iter()
                .any(|name| flow.get(*name) == Some(&Value::Bool(true)))
        };

        Some(Self {
            kinds: kinds.take(FLOWS_MAX).collect(),
            has_auth_service: flows.iter().any(is_of_service),
        })
    }
}

/// The owner of our token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whoami {
    pub user_id: String,
    /// `None` for a token without a device, such as an application service's.
    pub device_id: Option<String>,
}

impl Client {
    /// Logs in with a password and uses the new token from now on. Pass the device id of an earlier
    /// login: the device is used again, while otherwise every login would leave one more device
    /// behind.
    ///
    /// `now_ms`: our clock, to compute when a token expires.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when user or password is wrong.
    pub async fn login(
        &self,
        user_id: &str,
        password: &Secret,
        device_id: Option<&str>,
        now_ms: i64,
    ) -> Result<Credentials> {
        let mut body = login_body(user_id, password);
        // A homeserver with expiring tokens then also returns a refresh token; others ignore this.
        body["refresh_token"] = json!(true);
        if let Some(device_id) = device_id {
            body["device_id"] = json!(device_id);
        }

        self.send_login(body, password, now_ms).await
    }

    /// Logs in with a password as a new device, if the homeserver offers that, without a refresh
    /// token: a token without one lasts on most homeservers, also where those with one run out.
    /// `expires_ms` says whether it does.
    ///
    /// # Errors
    /// As every request; `is_login_refused` when the same login would be refused again.
    pub async fn login_for_lasting_token(
        &self,
        user_id: &str,
        password: &Secret,
        now_ms: i64,
    ) -> Result<Credentials> {
        self.check_that_password_is_offered(user_id).await?;
        let body = login_body(user_id, password);

        self.send_login(body, password, now_ms)
            .await
            .map_err(|error| login_error(error, user_id))
    }

    /// Sends a login and uses the new token from now on.
    async fn send_login(&self, body: Value, password: &Secret, now_ms: i64) -> Result<Credentials> {
        let request = self.post(&["_matrix", "client", "v3", "login"], body);
        let answer = request.without_token().hiding(password).send().await?;
        let credentials = Credentials {
            user_id: answer.text("user_id")?,
            device_id: answer.text("device_id")?,
            access_token: Secret::new(answer.text("access_token")?),
            refresh_token: answer.optional_text("refresh_token").map(Secret::new),
            expires_ms: expires_ms(&answer, now_ms),
        };

        self.use_credentials(&credentials, now_ms);

        Ok(credentials)
    }

    /// Gets the next token for these credentials, and uses it from now on. The caller stores what
    /// is returned: the refresh token may be another one, and the old one no longer valid.
    ///
    /// # Errors
    /// As every request; also when there is nothing to get one with.
    pub async fn refresh(&self, kept: &Credentials, now_ms: i64) -> Result<Credentials> {
        let Some(refresh_token) = &kept.refresh_token else {
            return Err(Error::Setup("there is no refresh token".to_owned()));
        };

        let body = json!({"refresh_token": refresh_token.expose()});
        let request = self.post(&["_matrix", "client", "v3", "refresh"], body);
        let request = request.without_token().hiding(refresh_token);
        let answer = request.send().await?;
        let next = answer.optional_text("refresh_token").map(Secret::new);
        let credentials = Credentials {
            access_token: Secret::new(answer.text("access_token")?),
            refresh_token: next.or_else(|| kept.refresh_token.clone()),
            expires_ms: expires_ms(&answer, now_ms),
            ..kept.clone()
        };

        self.use_credentials(&credentials, now_ms);

        Ok(credentials)
    }

    /// Signs in with a password, always as one device. Uses the token in `file` if it still works,
    /// or else refreshes it, or else logs in as the same device. New credentials are stored.
    ///
    /// # Errors
    /// As every request, and when the file cannot be read or written; `is_login_refused` when the
    /// same login would be refused again.
    pub async fn sign_in(
        &self,
        user_id: &str,
        password: &Secret,
        file: &Path,
        now_ms: i64,
    ) -> Result<()> {
        let kept = Credentials::load(file)?.filter(|kept| kept.user_id == user_id);
        if let Some(kept) = &kept
            && self.use_kept_token(kept, file, now_ms).await?
        {
            return Ok(());
        }

        let device = kept.map(|kept| kept.device_id);

        self.login_where_offered(user_id, password, device.as_deref(), now_ms)
            .await?
            .save(file)
    }

    /// Logs in with a password, if the homeserver offers that.
    ///
    /// # Errors
    /// As every request; `is_login_refused` when the same login would be refused again.
    pub async fn login_where_offered(
        &self,
        user_id: &str,
        password: &Secret,
        device_id: Option<&str>,
        now_ms: i64,
    ) -> Result<Credentials> {
        self.check_that_password_is_offered(user_id).await?;
        self.login(user_id, password, device_id, now_ms)
            .await
            .map_err(|error| login_error(error, user_id))
    }

    /// Uses the token in `file`, or refreshes it, but never logs in. Returns false if a login is
    /// needed.
    ///
    /// # Errors
    /// As [`Self::sign_in`].
    pub async fn renew(&self, user_id: &str, file: &Path, now_ms: i64) -> Result<bool> {
        match Credentials::load(file)?.filter(|kept| kept.user_id == user_id) {
            Some(kept) => self.use_kept_token(&kept, file, now_ms).await,
            None => Ok(false),
        }
    }

    /// Uses a stored token at `now_ms`, ms since the Unix epoch. Returns true if it still works, or
    /// could be refreshed, and then the new one is stored in `file`; false if a login is needed.
    async fn use_kept_token(&self, kept: &Credentials, file: &Path, now_ms: i64) -> Result<bool> {
        self.use_credentials(kept, now_ms);
        let is_expired = kept.expires_ms.is_some_and(|expires| expires <= now_ms);
        if !is_expired {
            match self.whoami().await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_revoked() => {}
                // Not every homeserver knows this endpoint. Then other requests show whether the
                // token is valid.
                Err(error) if error.is_unsupported() => {
                    if !self.was_refused(&kept.access_token) {
                        return Ok(true);
                    }
                }
                Err(error) => return Err(error),
            }
        }

        if kept.refresh_token.is_none() {
            tracing::warn!("the kept token is no longer accepted; logging in");
            return Ok(false);
        }

        match self.refresh(kept, now_ms).await {
            Ok(credentials) => {
                credentials.save(file)?;
                tracing::debug!("the access token ran out, and the next one came");
                Ok(true)
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the kept token cannot be renewed, so a new login is tried");
                Ok(false)
            }
        }
    }

    /// The ways to log in that the homeserver offers; `None` if it does not say.
    ///
    /// # Errors
    /// As every request, where the same may succeed later.
    pub async fn login_flows(&self) -> Result<Option<LoginFlows>> {
        let request = self.get(&["_matrix", "client", "v3", "login"]);
        match request.without_token().send().await {
            Ok(answer) => Ok(LoginFlows::read(&answer.value)),
            Err(error) if error.is_transient() && !error.is_unsupported() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Does a service beside the homeserver keep its accounts, as the Matrix Authentication Service
    /// does? An error counts as no.
    pub(super) async fn has_auth_service(&self) -> bool {
        let stable = ["_matrix", "client", "v1", "auth_metadata"].as_slice();
        let unstable = [
            "_matrix",
            "client",
            "unstable",
            "org.matrix.msc2965",
            "auth_metadata",
        ]
        .as_slice();
        for parts in [stable, unstable] {
            let answer = self.get(parts).without_token().send().await;
            if answer.is_ok_and(|answer| answer.value.get("issuer").is_some_and(Value::is_string)) {
                return true;
            }
        }

        false
    }

    /// Checks that the homeserver offers a login by password. If it does not say, the check passes:
    /// the login is simply tried.
    async fn check_that_password_is_offered(&self, user_id: &str) -> Result<()> {
        let Some(flows) = self.login_flows().await? else {
            return Ok(());
        };

        if flows.offer_password() {
            return Ok(());
        }

        let offers = if flows.kinds.is_empty() {
            "no login at all".to_owned()
        } else {
            flows.kinds.join(", ")
        };

        Err(Error::NoPassword {
            user_id: user_id.to_owned(),
            offers: Some(offers),
        })
    }

    /// Logs out the token, and deletes its device.
    ///
    /// # Errors
    /// As every request.
    pub async fn logout(&self) -> Result<()> {
        self.post(&["_matrix", "client", "v3", "logout"], json!({}))
            .send()
            .await?;
        Ok(())
    }

    /// Uses the token and the user id of an earlier login, and plans its refresh at three quarters
    /// of the time that it still lasts after `now_ms`, ms since the Unix epoch.
    pub fn use_credentials(&self, credentials: &Credentials, now_ms: i64) {
        self.set_token(Some(credentials.access_token.clone()));
        self.set_user_id(&credentials.user_id);
        let due = credentials
            .expires_ms
            .filter(|_| credentials.refresh_token.is_some());
        // Refresh early: a request that is being processed when the token expires may be refused.
        self.set_refresh_due(due.map(|expires| now_ms + (expires - now_ms).max(0) / 4 * 3));
    }

    /// Asks who owns this token, and remembers the user id for reading invites.
    ///
    /// # Errors
    /// As every request; `is_revoked` when the token is no longer valid.
    pub async fn whoami(&self) -> Result<Whoami> {
        let ask = |version| {
            self.get(&["_matrix", "client", version, "account", "whoami"])
                .send()
        };

        let answer = match ask("v3").await {
            // The name of this version in earlier years.
            Err(error) if error.is_unsupported() => ask("r0").await?,
            answer => answer?,
        };

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
                refresh_token: text("refresh_token").map(Secret::new),
                expires_ms: json.get("expires_ms").and_then(Value::as_i64),
            })),
            _ => Err(fault(
                "is damaged; remove it and Callscope logs in anew".to_owned(),
            )),
        }
    }

    /// Writes the file atomically, readable by its owner only.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut json = json!({
            "user_id": self.user_id,
            "device_id": self.device_id,
            "access_token": self.access_token.expose(),
        });
        if let Some(token) = &self.refresh_token {
            json["refresh_token"] = token.expose().into();
        }

        if let Some(expires_ms) = self.expires_ms {
            json["expires_ms"] = expires_ms.into();
        }

        write_private(path, format!("{json}\n").as_bytes()).map_err(|error| Error::Credentials {
            path: path.to_owned(),
            why: format!("cannot be written: {error}"),
        })
    }
}

/// The body of a login by password as a new device.
fn login_body(user_id: &str, password: &Secret) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user_id},
        "password": password.expose(),
        "initial_device_display_name": "Callscope",
    })
}

/// When the token of this answer expires, ms since the Unix epoch; `None` if it does not.
fn expires_ms(answer: &Answer, now_ms: i64) -> Option<i64> {
    let expires_in = answer.value.get("expires_in_ms").and_then(Value::as_i64)?;
    now_ms.checked_add(expires_in.max(0))
}

/// The error for a refused login. It becomes [`Error::NoPassword`] or [`Error::LoginRefused`] if
/// the same login would be refused again.
fn login_error(error: Error, user_id: &str) -> Error {
    if error.is_no_password_login() && error.retry_after().is_none() {
        return Error::NoPassword {
            user_id: user_id.to_owned(),
            offers: None,
        };
    }

    let is_lasting = !error.is_transient();

    match error {
        Error::Refused(no) if is_lasting => Error::LoginRefused(no),
        other => other,
    }
}

/// Replaces a file atomically by one that only its owner can read.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    // A file left by a crash may have other permissions.
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

/// Writes a new file that only its owner can read, and waits until it is on the disk.
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
