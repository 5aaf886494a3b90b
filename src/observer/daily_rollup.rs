//! Prepares data for pages: the signs of life of stays without an end event, the findings of calls
//! that are over, and the totals of days.

use super::error_state::Work;
use super::{Error, Observer};
use crate::store::findings::derive;
use crate::store::stats::{daily_rollup, last_seen};
use std::time::Duration;

const EVERY: Duration = Duration::from_mins(1);
/// Pause between two batches, so that others get to write.
const BREATH: Duration = Duration::from_millis(20);
/// Maximum number of batches of calls whose findings are derived in one round.
const BATCHES_OF_ROUND: usize = 200;

impl Observer {
    /// Every minute stores what pages over long spans need, for ever: signs of life of stays that
    /// ran out, findings of calls that are over, and the totals of days that are over.
    pub(super) async fn keep_signs(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let kept = async {
                self.store.empty_log().await?;
                self.note_signs().await?;
                // After an upgrade deriving takes long; pages over long spans need the days.
                self.count_days().await?;
                self.derive_findings().await
            };

            match kept.await {
                Ok(()) => self.succeeded(Work::Signs).await,
                Err(error) => {
                    let doing = "keeping what sums over long spans need";
                    self.failed(Work::Signs, doing, &error).await;
                }
            }
        }
    }

    /// Stores all missing signs of life. It is also called before events are deleted, since the
    /// signs are read from them.
    pub(super) async fn note_signs(&self) -> Result<(), Error> {
        while last_seen::record_last_seen(&self.store, self.clock.now_ms()).await? {
            tokio::time::sleep(BREATH).await;
        }

        Ok(())
    }

    /// Derives the findings of calls that are over and have none stored, of as many as one round
    /// takes.
    async fn derive_findings(&self) -> Result<(), Error> {
        let grace_ms = self.settings.rejoin_grace_ms;
        for _ in 0..BATCHES_OF_ROUND {
            let now = self.clock.now_ms();
            let ids = derive::list_next_calls(&self.store, now, grace_ms).await?;
            if ids.is_empty() {
                break;
            }

            let derived = derive::derive_findings_of_calls(&self.store, &ids, now, grace_ms).await;
            if derived.is_err() {
                derive::derive_calls_singly(&self.store, &ids, now, grace_ms).await?;
            }

            tokio::time::sleep(BREATH).await;
        }

        Ok(())
    }

    /// Counts the days that are over and not counted. Each is tried once: a day that changes
    /// meanwhile is not counted and is found again at the next round.
    async fn count_days(&self) -> Result<(), Error> {
        for day in daily_rollup::list_uncounted_days(&self.store, self.clock.now_ms()).await? {
            if daily_rollup::count_day(&self.store, day, self.clock.now_ms()).await? {
                tokio::time::sleep(BREATH).await;
            }
        }

        Ok(())
    }
}
