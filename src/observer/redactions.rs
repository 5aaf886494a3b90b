//! Redacts stored events of a banned user, if the ban says so. If there are many, it works in small
//! parts between which live events are processed, and continues after a stop where it was.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::store::ingest::write::redact_next_of_ban;
use std::time::{Duration, Instant};

/// Minimum pause after each part. Otherwise the pause is as long as the part took.
const BREATH: Duration = Duration::from_millis(5);

impl Observer {
    /// Redacts in small parts what bans took back, at the start and whenever there is more, for
    /// ever.
    pub(super) async fn take_back(&self) {
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            match redact_next_of_ban(&self.store, &self.settings.rules).await {
                Ok(Some(changed)) => {
                    self.announce(changed.slots, changed.rooms);
                    tokio::time::sleep(began.elapsed().max(BREATH)).await;
                }
                Ok(None) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::TakingBack).await;
                    self.ban_open.notified().await;
                }
                Err(error) => {
                    let error = Error::from(error);
                    let doing = "taking out what a ban took back";
                    self.failed(Work::TakingBack, doing, &error).await;
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }
}
