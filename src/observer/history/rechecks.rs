//! Rechecks: gaps are read again, because a homeserver that lags may have fetched more meanwhile.

use super::reads::{GAP_PAGE, drop_older_than};
use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::words::JobEnd;
use crate::rtc::words::Source;
use crate::store::ingest::batch::RoomBatch;
use crate::store::ingest::history_jobs::job::{self, HistoryJob};
use crate::store::ingest::history_jobs::rechecks;

impl Observer {
    /// Reads the next page of a recheck, stores what is new, and notes where the next page begins.
    /// A recheck whose history is hidden from us is done.
    pub(super) async fn read_again(&self, recheck: &HistoryJob) -> Result<(), Error> {
        let size = self.settings.backfill_page.max(GAP_PAGE);
        let answer = self
            .client
            .messages(&recheck.room_id, recheck.token.as_deref(), size)
            .await;
        let now = self.clock.now_ms();
        let mut page = match answer {
            Err(error) if error.is_hidden() => {
                let why = JobEnd::NotVisible;
                return Ok(job::finish_job(&self.store, recheck, why, now).await?);
            }
            answer => answer?,
        };

        let is_all_older = recheck
            .horizon_ms
            .is_some_and(|horizon| drop_older_than(&mut page.chunk, horizon));
        let mut room = RoomBatch::new(&recheck.room_id, Source::Backfill);
        // `true`: in the order of the timeline.
        add_events(&mut room, &page.chunk, true, now);
        let new = self.ingest(&self.batch_of_room(room)).await?;
        if new > 0 {
            tracing::info!(new, "the homeserver has more events of a gap now");
        }

        let token = page
            .end
            .filter(|end| !is_all_older && Some(end) != recheck.token.as_ref());
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        let (store, now) = (&self.store, self.clock.now_ms());

        Ok(rechecks::record_page_of_recheck(store, recheck, token.as_deref(), new, now).await?)
    }
}
