//! Keeping what sums over long spans need at hand: the signs of life of stays that nobody ended,
//! and what days came to.

use super::troubles::Work;
use super::{Error, Observer};
use crate::store::{days, signs};
use std::time::Duration;

const EVERY: Duration = Duration::from_mins(1);
/// Between two batches, so that whoever waits for the writer has his turn.
const BREATH: Duration = Duration::from_millis(20);

impl Observer {
    /// Notes signs as stays run out and counts days as they are over, for ever.
    pub(super) async fn keep_signs(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let kept = async {
                self.store.empty_log().await?;
                self.note_signs().await?;
                self.count_days().await
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

    /// Notes all that are missing; before events are deleted, too.
    pub(super) async fn note_signs(&self) -> Result<(), Error> {
        while signs::note(&self.store, self.clock.now_ms()).await? {
            tokio::time::sleep(BREATH).await;
        }

        Ok(())
    }

    /// Counts the days that are missing and over; once, as a day that changes meanwhile is soon
    /// missing again.
    async fn count_days(&self) -> Result<(), Error> {
        for day in days::missing(&self.store, self.clock.now_ms()).await? {
            if days::count(&self.store, day, self.clock.now_ms()).await? {
                tokio::time::sleep(BREATH).await;
            }
        }

        Ok(())
    }
}
