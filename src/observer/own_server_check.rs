//! Our own homeserver is checked every hour, from its name to its SFU, as clients and other servers
//! find it.

use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::probe::Prober;
use crate::matrix::server_check::OwnAccount;
use crate::rtc::id::server_of;
use crate::rtc::server_check::StepState;
use crate::rtc::time::DAY_MS;
use crate::store::ingest::probes::{self, CheckResult};
use std::collections::BTreeMap;
use std::time::Duration;

const EVERY: Duration = Duration::from_hours(1);
/// The pause before the first check, so that it does not delay the start.
const FIRST: Duration = Duration::from_secs(20);
/// The pause after a check that could not be made.
const SOON: Duration = Duration::from_mins(1);
/// The pause before what seemed broken is asked once more.
const AGAIN: Duration = Duration::from_secs(5);
/// Results and changes that are older than this are deleted, ms.
const KEPT_MS: i64 = 90 * DAY_MS;

impl Observer {
    /// Checks our homeserver soon and then every hour, for ever; never if it is switched off.
    pub(super) async fn keep_checking_our_server(&self) {
        if !self.settings.check_own_server {
            return;
        }

        tokio::time::sleep(FIRST).await;
        loop {
            let pause = match self.check_our_server().await {
                Ok(true) => EVERY,
                Ok(false) => SOON,
                Err(error) => {
                    tracing::error!(
                        %error,
                        "the check of our homeserver could not be made or stored"
                    );
                    SOON
                }
            };

            tokio::time::sleep(pause).await;
        }
    }

    /// Checks our homeserver and stores the report. Returns false if we are not signed in yet.
    async fn check_our_server(&self) -> Result<bool, Error> {
        let Some(user_id) = self.client.user_id() else {
            return Ok(false);
        };

        let server = server_of(&user_id);
        let own = OwnAccount {
            client: &self.client,
            user_id: &user_id,
        };
        let now = || self.clock.now_ms();
        let prober = Prober::for_own_server(&self.client.settings().homeserver_url).await?;
        let ask = async || {
            let mut sfus = BTreeMap::new();
            prober
                .ask_server(server, Some(own), None, &mut sfus, &now)
                .await
        };
        let mut lines = ask().await.check_lines();
        if lines.iter().any(|line| line.state == StepState::Broken) {
            // One lost answer is no fault.
            tokio::time::sleep(AGAIN).await;
            lines = ask().await.check_lines();
        }

        let result = CheckResult {
            is_own: true,
            lines,
        };
        probes::record_result(&self.store, server, &result, self.clock.now_ms()).await?;
        let support = prober.ask_support(server, Some(own)).await;
        self.record_support(server, support).await?;
        probes::delete_old_results(&self.store, self.clock.now_ms() - KEPT_MS).await?;
        self.changes.announce(Change::Observer);

        Ok(true)
    }
}
