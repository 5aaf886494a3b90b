//! Keeping the signs of life of stays that nobody ended, so that sums over long spans stay quick.

use super::{Error, Observer};
use crate::store::signs;
use std::time::Duration;

const EVERY: Duration = Duration::from_mins(1);
/// Between two batches, so that whoever waits for the writer has his turn.
const BREATH: Duration = Duration::from_millis(20);

impl Observer {
    /// Notes signs as stays run out, for ever.
    pub(super) async fn keep_signs(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.note_signs().await {
                tracing::error!("keeping the signs of life of stays: {error}");
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
}
