//! Predecessors: if a state event replaced an event that we never saw, that event is missing. It is
//! requested.

use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::words::JobEnd;
use crate::rtc::words::Source;
use crate::store::ingest::batch::RoomBatch;
use crate::store::ingest::history_jobs::job::{self, HistoryJob};
use crate::store::ingest::history_jobs::rechecks;

impl Observer {
    /// The time, ms, from which on predecessors are wanted, at `now`, ms; `None` = all of them.
    /// Events that would be deleted by age need not come back.
    pub(super) fn wanted_since(&self, now: i64) -> Option<i64> {
        let kept = self.settings.retention;
        self.asked_since(now)
            .max(kept.events_before(now))
            .max(kept.calls_before(now))
    }

    /// Asks for the missing event of this job, and stores it. If it is hidden from us, it is tried
    /// again later.
    pub(super) async fn ask_for_event(&self, missing: &HistoryJob) -> Result<(), Error> {
        let (room_id, event_id) = (&missing.room_id, &missing.event_id);
        let answer = self.client.event(room_id, event_id).await;
        let now = self.clock.now_ms();
        let event = match answer {
            Err(error) if error.is_hidden() => {
                return self.await_hidden_event(missing, now).await;
            }
            answer => answer?,
        };

        let mut room = RoomBatch::new(room_id, Source::Backfill);
        // `false`: a single event has no place in the timeline.
        add_events(&mut room, &[event], false, now);
        self.ingest(&self.batch_of_room(room)).await?;
        tracing::debug!("found an event that was replaced unseen");

        Ok(job::finish_job(&self.store, missing, JobEnd::Found, self.clock.now_ms()).await?)
    }

    /// Postpones the job of an event that the homeserver does not show us: it may still be fetching
    /// it. `now`, ms, is when the homeserver said so.
    async fn await_hidden_event(&self, missing: &HistoryJob, now: i64) -> Result<(), Error> {
        if missing.tries == 0 {
            // More than this event may be missing: the homeserver may be fetching it just now.
            let (room_id, since) = (&missing.room_id, self.wanted_since(now));
            rechecks::open_recheck_of_newest(&self.store, room_id, since, now).await?;
        }

        Ok(job::postpone_job(&self.store, missing, JobEnd::NotVisible, now).await?)
    }
}
