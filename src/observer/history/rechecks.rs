//! Late events: gaps are read again, because a homeserver that lags may have fetched more
//! meanwhile.

use super::run;
use super::schedule::BackfillScope;
use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::words::Source;
use crate::store::ingest::batch::RoomBatch;
use crate::store::ingest::history_jobs::rechecks::{self, Recheck};
use std::time::Duration;

impl Observer {
    /// Reads one page of each gap that is due. Returns false if there was none.
    pub(super) async fn look_again(&self, scope: &BackfillScope) -> Result<bool, Error> {
        let mut looked = false;
        for late in rechecks::list_due_rechecks(&self.store, self.clock.now_ms()).await? {
            if scope.takes(&late.room_id) && !scope.stopped() {
                self.look_at(&late).await?;
                looked = true;
            }
        }

        Ok(looked)
    }

    async fn look_at(&self, late: &Recheck) -> Result<(), Error> {
        let size = self.settings.backfill_page.max(run::GAP_PAGE);
        let mut page = match self
            .client
            .messages(&late.room_id, late.token.as_deref(), size)
            .await
        {
            Ok(page) => page,
            Err(error) if error.is_hidden() => {
                return Ok(rechecks::finish_recheck(&self.store, late).await?);
            }
            Err(error) => {
                // The server lost the token: the gap is read again from the newest event.
                let from_newest = error.is_unknown_position();
                let error = Error::Matrix(error);
                if !from_newest && !run::is_room_error(&error) {
                    return Err(error);
                }

                tracing::debug!(
                    "a gap in {} could not be looked at again yet: {error}",
                    late.room_id
                );
                return Ok(rechecks::postpone_recheck(
                    &self.store,
                    late,
                    from_newest,
                    self.clock.now_ms(),
                )
                .await?);
            }
        };

        let beyond = late
            .horizon_ms
            .is_some_and(|horizon| run::drop_older_than(&mut page.chunk, horizon));
        let mut room = RoomBatch::new(&late.room_id, Source::Backfill);
        add_events(&mut room, &page.chunk, true, self.clock.now_ms());
        let new = self.ingest(&self.batch_of_room(room)).await?;
        if new > 0 {
            tracing::info!(
                "{new} events came late to the homeserver and were found behind a gap of {}",
                late.room_id
            );
        }

        let token = page
            .end
            .filter(|end| !beyond && Some(end) != late.token.as_ref());
        let new = i64::try_from(new).unwrap_or(i64::MAX);

        Ok(rechecks::advance_recheck(
            &self.store,
            late,
            token.as_deref(),
            new,
            self.clock.now_ms(),
        )
        .await?)
    }

    /// How long until a gap is to be read again.
    pub(super) async fn next_look(&self) -> Result<Option<Duration>, Error> {
        let now = self.clock.now_ms();
        let due = rechecks::next_recheck_due(&self.store, now).await?;
        Ok(due.map(|due| Duration::from_millis(due.saturating_sub(now).unsigned_abs())))
    }
}
