//! Signing in: with a token or a password, always as the same device. Transient errors are retried
//! until it works. An error that somebody has to fix is reported once; then the loop waits for the
//! fix.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{AccountLogin, Error, Observer};
use crate::matrix::{self, Capabilities, Whoami};
use crate::store::ingest::vantages::{self, VantageStart};
use std::time::Duration;

/// Interval at which a homeserver that takes no passwords is asked again whether it does.
const OFFERS_AGAIN: Duration = Duration::from_mins(10);
/// Interval of checks for a token that expires, while there is none.
const TOKEN_LOOK: Duration = Duration::from_mins(1);
/// Minimum pause between two tokens, whatever lifetime the homeserver says.
const TOKEN_PAUSE: Duration = Duration::from_millis(500);

impl Observer {
    /// Signs in, and tries until it works. Errors are shown in the log and on the status page.
    /// After a refusal that only somebody can mend, it waits: see [`Self::wait_for_another_login`].
    pub(super) async fn sign_in(&self) {
        let _one_at_a_time = self.signing_in.lock().await;
        let mut backoff = Backoff::new();

        loop {
            let error = match self.try_sign_in().await {
                Ok(()) => {
                    self.note_needs_action(false).await;
                    return self.succeeded(Work::SignIn).await;
                }
                Err(error) => error,
            };

            self.offer_codes(false);
            // This only gives the status page a row for the error. What is known of the vantage is
            // kept.
            self.note_vantage("", None, None).await;
            let refused = matches!(&error, Error::Matrix(error) if error.is_login_refused());
            if !refused {
                self.note_needs_action(false).await;
            }
            self.failed(Work::SignIn, self.what_to_do(&error), &error)
                .await;

            if refused {
                // A page that asks for a hand also has to say what to do, so the error comes first.
                self.note_needs_action(true).await;
                self.wait_for_another_login(&error).await;
            } else {
                let pause = Self::pause(&error, &mut backoff);
                self.rest_after(&error, pause).await;
            }
        }
    }

    /// Waits after a refused login: for ever, since the same login would be refused again and a
    /// password is not tried twice. Only whether passwords are accepted at all is asked again,
    /// after ten minutes, because that does not touch the account.
    async fn wait_for_another_login(&self, error: &Error) {
        match error {
            Error::Matrix(matrix::Error::NoPassword {
                offers: Some(_), ..
            }) => tokio::time::sleep(OFFERS_AGAIN).await,
            _ => std::future::pending().await,
        }
    }

    /// The words before the text of an error of signing in: what the operator has to do, or just
    /// what failed.
    fn what_to_do(&self, error: &Error) -> &'static str {
        let Error::Matrix(error) = error else {
            return "signing in";
        };

        // The text of this error says itself what to do.
        if matches!(error, matrix::Error::NoPassword { .. }) {
            return "What to do";
        }

        match &self.settings.account {
            AccountLogin::Token(_) if error.is_revoked() => {
                "Set CALLSCOPE_ACCESS_TOKEN to a new one and restart Callscope. The access token \
                 is no longer accepted"
            }
            // "Forbidden" is about user id and password; other refusals are about the account, such
            // as one that is deactivated.
            AccountLogin::Password { .. }
                if matches!(error, matrix::Error::LoginRefused(_)) && error.is_forbidden() =>
            {
                "Correct CALLSCOPE_USER_ID or CALLSCOPE_PASSWORD and restart Callscope. The \
                 homeserver does not accept user id and password. They are not tried again"
            }
            AccountLogin::Password { .. } if matches!(error, matrix::Error::LoginRefused(_)) => {
                "Mend the account and restart Callscope. The homeserver refuses this login. It is \
                 not tried again"
            }
            _ => "signing in",
        }
    }

    /// Signs in once, and stores who we are and what the homeserver can do.
    pub(super) async fn try_sign_in(&self) -> Result<(), Error> {
        match &self.settings.account {
            AccountLogin::Token(token) => self.client.set_token(Some(token.clone())),
            AccountLogin::Password {
                user_id,
                password,
                file,
            } => {
                let now = self.clock.now_ms();
                self.client.sign_in(user_id, password, file, now).await?;
            }
        }

        let who = self.who_we_are().await?;
        let can = self.what_it_can().await?;
        let device_id = who.device_id.as_deref();
        // An application service's token has no device.
        self.offer_codes(device_id.is_some());
        if can.is_some() {
            self.note_vantage(&who.user_id, device_id, can.as_ref())
                .await;
        } else {
            // What is known of the homeserver is kept.
            let start = self.start(&who.user_id, device_id, None);
            if let Err(error) = vantages::record_start_untold(&self.store, &start).await {
                self.cannot_store("noting the start", &error).await;
            }
        }

        tracing::info!(user_id = %who.user_id, "signed in");

        Ok(())
    }

    /// Who owns our token. If the homeserver does not know that endpoint, the answer to the login
    /// is believed.
    async fn who_we_are(&self) -> Result<Whoami, Error> {
        match self.client.whoami().await {
            Ok(who) => Ok(who),
            Err(error) if error.is_unsupported() => {
                tracing::warn!(%error, "the homeserver does not say whose token this is");
                Ok(Whoami {
                    user_id: self.client.user_id().unwrap_or_default(),
                    device_id: None,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The features that the homeserver reports; `None` if it does not say. Everything works
    /// without.
    async fn what_it_can(&self) -> Result<Option<Capabilities>, Error> {
        match self.client.versions().await {
            Ok(can) => Ok(Some(can)),
            Err(error) if error.is_revoked() => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "the homeserver does not say what it can do");
                Ok(None)
            }
        }
    }

    /// Gets the next token before the present one expires, for ever. For a token that does not
    /// expire, it only checks every minute whether that changed.
    pub(super) async fn keep_token_fresh(&self) {
        let mut backoff = Backoff::new();
        loop {
            let Some(due_ms) = self.client.refresh_due_ms() else {
                tokio::time::sleep(TOKEN_LOOK).await;
                continue;
            };

            let wait = due_ms.saturating_sub(self.clock.now_ms());
            if wait > 0 {
                let wait = Duration::from_millis(wait.unsigned_abs());
                tokio::time::sleep(wait.clamp(TOKEN_PAUSE, TOKEN_LOOK)).await;
                continue;
            }

            match self.refresh().await {
                Ok(()) => {
                    backoff = Backoff::new();
                    tokio::time::sleep(TOKEN_PAUSE).await;
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the access token could not be renewed yet");
                    tokio::time::sleep(Self::pause(&error.into(), &mut backoff)).await;
                }
                // Only a new login helps; it uses the same device.
                Err(_) => self.sign_in().await,
            }
        }
    }

    /// Had the token only expired, and do we have the next one now? Then the request can be sent
    /// again at once.
    pub(super) async fn renewed(&self, error: &Error) -> bool {
        let Error::Matrix(error) = error else {
            return false;
        };

        if !error.is_revoked() || self.client.refresh_due_ms().is_none() {
            return false;
        }

        let _one_at_a_time = self.signing_in.lock().await;
        let AccountLogin::Password { user_id, file, .. } = &self.settings.account else {
            return false;
        };

        let now = self.clock.now_ms();

        self.client
            .renew(user_id, file, now)
            .await
            .unwrap_or_default()
    }

    /// Gets the next token and stores it. Does nothing if no refresh is due, or the login is a
    /// token.
    async fn refresh(&self) -> Result<(), matrix::Error> {
        let AccountLogin::Password { file, .. } = &self.settings.account else {
            return Ok(());
        };

        let _one_at_a_time = self.signing_in.lock().await;
        let now = self.clock.now_ms();
        if self.client.refresh_due_ms().is_none_or(|due| due > now) {
            // Another sign-in got one meanwhile.
            return Ok(());
        }

        let kept = matrix::Credentials::load(file)?;
        let Some(kept) = kept.filter(|kept| kept.refresh_token.is_some()) else {
            return Err(matrix::Error::Setup("no refresh token is kept".to_owned()));
        };

        self.client.refresh(&kept, now).await?.save(file)
    }

    /// Stores whether somebody has to act before signing in can work.
    async fn note_needs_action(&self, needs_action: bool) {
        let noted = vantages::set_needs_action(&self.store, &self.vantage_id, needs_action).await;
        if let Err(error) = noted {
            self.cannot_store("noting whether the account needs a hand", &error)
                .await;
        }
    }

    /// Stores our account and homeserver. With `can`, the features are stored as well; without, a
    /// vantage that is known already is not changed.
    pub(super) async fn note_vantage(
        &self,
        user_id: &str,
        device_id: Option<&str>,
        can: Option<&Capabilities>,
    ) {
        let start = self.start(user_id, device_id, can);
        let noted = match can {
            Some(_) => vantages::record_start(&self.store, &start).await,
            None => vantages::ensure_known(&self.store, &start).await,
        };

        if let Err(error) = noted {
            self.cannot_store("noting the start", &error).await;
        }
    }

    /// The vantage as it is at this start. Without `can`, no features.
    fn start<'a>(
        &'a self,
        user_id: &'a str,
        device_id: Option<&'a str>,
        can: Option<&'a Capabilities>,
    ) -> VantageStart<'a> {
        VantageStart {
            id: &self.vantage_id,
            user_id,
            homeserver: self.client.settings().homeserver_url.as_str(),
            device_id,
            mode: self.settings.mode,
            software: can.and_then(|can| can.software.as_deref()),
            delayed_events: can.is_some_and(|can| can.delayed_events),
            sticky_events: can.is_some_and(|can| can.sticky_events),
            now: self.started_ms,
        }
    }
}
