//! Signing in: a token or a password, one device for ever, tried until it works.

use super::patience::Patience;
use super::{Account, Error, Mode, Observer};
use crate::matrix::{Credentials, Secret};
use crate::store::vantages::{self, Start};
use std::path::Path;

impl Observer {
    /// Signs in, and tries until it works. What is wrong is said in the log and on the status page.
    pub(super) async fn sign_in(&self) {
        let mut patience = Patience::new();
        let mut troubled = false;
        loop {
            match self.try_sign_in().await {
                Ok(()) if troubled => return self.recovered().await,
                Ok(()) => return,
                Err(error) => {
                    troubled = true;
                    self.note_vantage("", None, None).await;
                    self.failed(self.what_to_do(&error), &error).await;
                    tokio::time::sleep(Self::pause(&error, &mut patience)).await;
                }
            }
        }
    }

    fn what_to_do(&self, error: &Error) -> &'static str {
        let Error::Matrix(error) = error else { return "signing in" };
        match &self.settings.account {
            Account::Token(_) if error.is_revoked() => {
                "the access token is no longer accepted; make a new one and restart Callscope with it"
            }
            Account::Password { .. } if error.is_forbidden() => "the homeserver does not accept user id and password",
            _ => "signing in",
        }
    }

    async fn try_sign_in(&self) -> Result<(), Error> {
        match &self.settings.account {
            Account::Token(token) => self.client.set_token(Some(token.clone())),
            Account::Password { user_id, password, file } => self.log_in(user_id, password, file).await?,
        }
        let who = self.client.whoami().await?;
        let can = self.client.versions().await?;
        self.note_vantage(&who.user_id, who.device_id.as_deref(), Some(&can)).await;
        tracing::info!("signed in as {}", who.user_id);
        Ok(())
    }

    /// Takes the kept token if it still works, else logs in as the same device.
    async fn log_in(&self, user_id: &str, password: &Secret, file: &Path) -> Result<(), Error> {
        let kept = Credentials::load(file)?.filter(|kept| kept.user_id == user_id);
        if let Some(kept) = &kept {
            self.client.use_credentials(kept);
            match self.client.whoami().await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_revoked() => tracing::warn!("the kept token is no longer accepted; logging in"),
                Err(error) => return Err(error.into()),
            }
        }
        let device = kept.map(|kept| kept.device_id);
        let credentials = self.client.login(user_id, password, device.as_deref()).await?;
        credentials.save(file)?;
        Ok(())
    }

    async fn note_vantage(&self, user_id: &str, device_id: Option<&str>, can: Option<&crate::matrix::Capabilities>) {
        let start = Start {
            id: &self.vantage_id,
            user_id,
            homeserver: self.client.settings().homeserver_url.as_str(),
            device_id,
            mode: if self.settings.mode == Mode::Follow { "follow" } else { "poll" },
            software: can.and_then(|can| can.software.as_deref()),
            delayed_events: can.is_some_and(|can| can.delayed_events),
            sticky_events: can.is_some_and(|can| can.sticky_events),
            now: self.clock.now_ms(),
        };
        if let Err(error) = vantages::start(&self.store, &start).await {
            tracing::error!("the start could not be noted: {error}");
        }
    }
}
