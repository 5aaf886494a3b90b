//! Signing in: a token or a password, one device for ever, tried until it works.

use super::patience::Patience;
use super::troubles::Work;
use super::{Account, Error, Mode, Observer};
use crate::store::vantages::{self, Start};

impl Observer {
    /// Signs in, and tries until it works. What is wrong is said in the log and on the status page.
    pub(super) async fn sign_in(&self) {
        let _one_at_a_time = self.signing_in.lock().await;
        let mut patience = Patience::new();
        loop {
            match self.try_sign_in().await {
                Ok(()) => return self.succeeded(Work::SignIn).await,
                Err(error) => {
                    // Only so that the status page has somewhere to say it; what is known of the vantage stays.
                    self.note_vantage("", None, None).await;
                    self.failed(Work::SignIn, self.what_to_do(&error), &error)
                        .await;
                    let pause = Self::pause(&error, &mut patience);
                    self.rest_after(&error, pause).await;
                }
            }
        }
    }

    fn what_to_do(&self, error: &Error) -> &'static str {
        let Error::Matrix(error) = error else {
            return "signing in";
        };
        match &self.settings.account {
            Account::Token(_) if error.is_revoked() => {
                "the access token is no longer accepted; make a new one and restart Callscope with it"
            }
            Account::Password { .. } if error.is_forbidden() => {
                "the homeserver does not accept user id and password"
            }
            _ => "signing in",
        }
    }

    pub(super) async fn try_sign_in(&self) -> Result<(), Error> {
        match &self.settings.account {
            Account::Token(token) => self.client.set_token(Some(token.clone())),
            Account::Password {
                user_id,
                password,
                file,
            } => self.client.sign_in(user_id, password, file).await?,
        }
        let who = self.client.whoami().await?;
        let can = self.client.versions().await?;
        self.note_vantage(&who.user_id, who.device_id.as_deref(), Some(&can))
            .await;
        tracing::info!("signed in as {}", who.user_id);
        Ok(())
    }

    pub(super) async fn note_vantage(
        &self,
        user_id: &str,
        device_id: Option<&str>,
        can: Option<&crate::matrix::Capabilities>,
    ) {
        let start = Start {
            id: &self.vantage_id,
            user_id,
            homeserver: self.client.settings().homeserver_url.as_str(),
            device_id,
            mode: if self.settings.mode == Mode::Follow {
                "follow"
            } else {
                "poll"
            },
            software: can.and_then(|can| can.software.as_deref()),
            delayed_events: can.is_some_and(|can| can.delayed_events),
            sticky_events: can.is_some_and(|can| can.sticky_events),
            now: self.started_ms,
        };
        let noted = match can {
            Some(_) => vantages::start(&self.store, &start).await,
            None => vantages::known(&self.store, &start).await,
        };
        if let Err(error) = noted {
            self.cannot_store("noting the start", &error).await;
        }
    }
}
