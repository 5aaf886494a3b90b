//! Predecessors: if a state event replaced an event that we never saw, that event is missing. It is
//! requested.

use super::run::is_room_error;
use super::schedule::BackfillScope;
use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::words::Source;
use crate::store::ingest::batch::RoomBatch;
use crate::store::ingest::history_jobs::gaps::{self, MissingEvent};
use crate::store::ingest::history_jobs::rechecks;
use std::time::Duration;

/// Maximum events requested, one after the other, before the walks have their turn again.
const ROUND: i64 = 20;

impl Observer {
    /// Requests some predecessors. Returns false if there were none.
    pub(super) async fn fill_holes(&self, scope: &BackfillScope) -> Result<bool, Error> {
        if !self.settings.backfill {
            return Ok(false);
        }

        let now = self.clock.now_ms();
        gaps::find_missing_events(&self.store, self.wanted_since(now)).await?;
        let todo = gaps::list_due_events(&self.store, now, ROUND).await?;
        for hole in &todo {
            if scope.stopped() {
                break;
            }

            self.fill(hole).await?;
        }

        Ok(!todo.is_empty())
    }

    /// The time, ms, from which on predecessors are wanted: events deleted by age need not come
    /// back.
    fn wanted_since(&self, now: i64) -> Option<i64> {
        let kept = self.settings.retention;
        self.asked_since(now)
            .max(kept.events_before(now))
            .max(kept.calls_before(now))
    }

    /// How long until a refused predecessor is to be requested again.
    pub(super) async fn next_hole(&self) -> Result<Option<Duration>, Error> {
        let now = self.clock.now_ms();
        let due = gaps::next_event_due(&self.store, now).await?;
        Ok(due.map(|due| Duration::from_millis(due.saturating_sub(now).unsigned_abs())))
    }

    async fn fill(&self, hole: &MissingEvent) -> Result<(), Error> {
        let outcome = match self.client.event(&hole.room_id, &hole.event_id).await {
            Ok(event) => {
                let mut room = RoomBatch::new(&hole.room_id, Source::Backfill);
                add_events(&mut room, &[event], false, self.clock.now_ms());
                self.ingest(&self.batch_of_room(room)).await?;
                tracing::debug!(
                    "found {} of {}, which was replaced unseen",
                    hole.event_id,
                    hole.room_id
                );
                "found"
            }
            Err(error) if error.is_hidden() => {
                if hole.tries == 0 {
                    // More than this event may be missing: the homeserver may be fetching it just
                    // now.
                    let now = self.clock.now_ms();
                    rechecks::schedule_newest_recheck(
                        &self.store,
                        &hole.room_id,
                        self.wanted_since(now),
                        now,
                    )
                    .await?;
                }

                "not_visible"
            }
            Err(error) => {
                let error = Error::from(error);
                if !is_room_error(&error) {
                    return Err(error);
                }

                // The other predecessors do not wait for this one.
                tracing::warn!(
                    "asking for {} of {}: {error}; it is tried again",
                    hole.event_id,
                    hole.room_id
                );
                "failed"
            }
        };

        Ok(gaps::record_answer(&self.store, hole, outcome, self.clock.now_ms()).await?)
    }
}
