//! Our own homeserver is checked every hour, from its name to its SFU, as clients and other servers
//! find it.

use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::probe::Prober;
use crate::matrix::server_check::OwnAccount;
use crate::rtc::id::server_of;
use crate::store::ingest::probes::{self, CheckResult};
use std::collections::BTreeMap;
use std::time::Duration;

const EVERY: Duration = Duration::from_hours(1);
/// The pause before the first check, so that it does not delay the start.
const FIRST: Duration = Duration::from_secs(20);

impl Observer {
    /// Checks our homeserver soon and then every hour, for ever; never if it is switched off.
    pub(super) async fn keep_checking_our_server(&self) {
        if !self.settings.check_own_server {
            return;
        }

        tokio::time::sleep(FIRST).await;
        loop {
            if let Err(error) = self.check_our_server().await {
                tracing::error!(%error, "the check of our homeserver could not be made or stored");
            }

            tokio::time::sleep(EVERY).await;
        }
    }

    /// Checks our homeserver and stores the report.
    async fn check_our_server(&self) -> Result<(), Error> {
        let Some(user_id) = self.client.user_id() else {
            return Ok(());
        };

        let server = server_of(&user_id);
        let own = OwnAccount {
            client: &self.client,
            user_id: &user_id,
        };
        let now = || self.clock.now_ms();
        let prober = Prober::for_own_server(&self.client.settings().homeserver_url).await?;
        let answers = prober
            .ask_server(server, Some(own), None, &mut BTreeMap::new(), &now)
            .await;
        let result = CheckResult {
            is_own: true,
            lines: answers.check_lines(),
        };
        probes::record_result(&self.store, server, &result, self.clock.now_ms()).await?;
        self.changes.announce(Change::Observer);

        Ok(())
    }
}
