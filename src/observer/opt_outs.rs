//! Forgets who asked on the pages not to be recorded.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::store::rights::forget;
use std::time::Duration;

/// Interval of looks for somebody who asked.
const EVERY: Duration = Duration::from_secs(2);

impl Observer {
    /// Forgets who asked for it, for ever. A stop loses nothing: it begins again with the first.
    pub(super) async fn forget_who_asked(&self) {
        let mut backoff = Backoff::new();
        loop {
            match self.forget_next().await {
                Ok(true) => {}
                Ok(false) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::Forgetting).await;
                    tokio::time::sleep(EVERY).await;
                }
                Err(error) => {
                    let doing = "forgetting somebody who asked for it";
                    self.failed(Work::Forgetting, doing, &error).await;
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Forgets one of those who asked. Returns false if nobody did.
    async fn forget_next(&self) -> Result<bool, Error> {
        let Some(wish) = forget::next_opt_out(&self.store).await? else {
            return Ok(false);
        };

        let (now, random) = (self.clock.now_ms(), rand::random());
        let rules = &self.settings.rules;
        forget::forget_name(&self.store, rules, &wish, now, random).await?;
        if !self.store.erase_deleted().await? {
            tracing::warn!(
                "somebody was forgotten, but readers keep a part of the write-ahead log; it is \
                 emptied when the program stops"
            );
        }

        tracing::info!("somebody who asked for it is forgotten");
        self.changes.announce(Change::Observer);

        Ok(true)
    }
}
