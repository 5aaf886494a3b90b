//! Derives again what older rules or other settings derived, in small steps between which live
//! events are processed.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::store;
use crate::store::derive::rederive::{self, RederiveStep};
use crate::store::derive::room_titles;
use crate::store::ingest::receive_times;
use std::time::{Duration, Instant};

/// Minimum pause after each step. Otherwise the pause is as long as the step took.
const BREATH: Duration = Duration::from_millis(5);
/// The interval of progress messages in the log.
const TELL: Duration = Duration::from_secs(10);

impl Observer {
    /// Finds the rooms whose state was derived by other rules, before anything new is derived. It
    /// tries until that works.
    pub(super) async fn find_older_rules(&self) {
        let (store, rules) = (&self.store, &self.settings.rules);
        let mut backoff = Backoff::new();
        loop {
            let look = async {
                room_titles::add_missing_titles(store).await?;
                rederive::find_stale_rooms(store, rules, self.clock.now_ms()).await
            };
            let Err(error) = look.await else {
                break;
            };

            let error = Error::from(error);
            self.failed(
                Work::Rederive,
                "looking for what older rules derived",
                &error,
            )
            .await;
            tokio::time::sleep(backoff.next()).await;
        }

        self.succeeded(Work::Rederive).await;

        if let Some(progress) = store.rederiving() {
            tracing::info!(
                rooms = progress.rooms_total,
                events = progress.events_total,
                done = progress.events_done,
                "calls were derived by older rules or other settings; they are derived again in \
                 the background"
            );
        }
    }

    /// Sets receive times right that a wrong clock gave, in all rooms. Calls depend on them, so
    /// this comes before everything else is derived again.
    async fn correct_receive_times(&self) {
        let mut backoff = Backoff::new();
        loop {
            match receive_times::correct_receive_times(&self.store, None).await {
                Ok(0) => return,
                Ok(mended) => {
                    tracing::info!(
                        mended,
                        "receive times by a clock that was wrong are set right"
                    );
                    return;
                }
                // What cannot be read will not be readable later, either.
                Err(error @ store::Error::Content(_)) => {
                    tracing::error!(%error, "receive times could not be set right");
                    return;
                }
                Err(error) => {
                    let error = Error::from(error);
                    self.failed(Work::Rederive, "setting receive times right", &error)
                        .await;
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Derives again, in small steps, what other rules derived, until everything is done.
    pub(super) async fn rederive(&self) {
        if !self.store.has_older_rules() {
            return;
        }

        self.correct_receive_times().await;

        let mut backoff = Backoff::new();
        let mut told = Instant::now();
        loop {
            let began = Instant::now();
            match rederive::rederive_next_part(&self.store, &self.settings.rules).await {
                Ok(RederiveStep::AllDone) => break,
                Ok(step) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::Rederive).await;
                    if let RederiveStep::RoomDone(room_id) = step {
                        self.changes.announce(Change::Room { room_id });
                    }
                }
                Err(error) => {
                    let error = Error::from(error);
                    self.failed(Work::Rederive, "deriving calls again", &error)
                        .await;
                    tokio::time::sleep(backoff.next()).await;
                    continue;
                }
            }

            if told.elapsed() > TELL {
                told = Instant::now();
                self.tell_progress();
            }

            tokio::time::sleep(began.elapsed().max(BREATH)).await;
        }

        tracing::info!("all calls are derived by the present rules");
        self.changes.announce(Change::Observer);
    }

    /// Logs how far deriving again is, and updates the status page.
    fn tell_progress(&self) {
        if let Some(progress) = self.store.rederiving() {
            tracing::info!(
                rooms_left = progress.rooms.len(),
                rooms = progress.rooms_total,
                done = progress.events_done,
                events = progress.events_total,
                "deriving calls again"
            );
            self.changes.announce(Change::Observer);
        }
    }
}
