//! Reads of history: back page by page, over a gap to known events, and in a new room to its
//! beginning.

use super::schedule::{BARREN_FREE, BARREN_MAX, JobStates};
use crate::changes::Change;
use crate::matrix::{self, MessagesPage};
use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::sieve::{is_ours, kind_of};
use crate::rtc::words::{JobEnd, JobKind};
use crate::rtc::words::{Source, Watch};
use crate::store::ingest::batch::{ReadContinuation, ReadPage, RoomBatch};
use crate::store::ingest::history_jobs::job::{self, HistoryJob};
use crate::store::ingest::history_jobs::reads;
use crate::store::ingest::rooms;
use crate::store::read::coverage;
use serde_json::Value;

/// Events per page over a gap. A page of only known events closes the gap, so it must be long
/// enough that this is no coincidence.
pub(super) const GAP_PAGE: u32 = 250;

/// Tolerance for differences between clocks of servers, ms: an hour.
const MARGIN_MS: i64 = 3_600_000;
/// Hidden time explains why no more events came if it ends at most this long before the oldest
/// event, ms.
const HIDDEN_MARGIN_MS: i64 = 60_000;
/// Events per request after a page that was too large.
const SMALL_PAGE: u32 = 10;
/// Events per request if a homeserver gave no more: as many as possible.
const LARGE_PAGE: u32 = 1000;

impl Observer {
    /// Reads the next page of a read, and stores its events with the new position. It also decides
    /// whether the read ends with this page, and why.
    pub(super) async fn read_page(
        &self,
        read: &HistoryJob,
        states: &mut JobStates,
    ) -> Result<(), Error> {
        states.note_request(read);
        let horizon = self.horizon(read).await?;
        let size = self.settings.backfill_page;
        let size = if read.kind == JobKind::Gap {
            size.max(GAP_PAGE)
        } else {
            size
        };

        let ask = |size| {
            self.client
                .messages(&read.room_id, read.token.as_deref(), size)
        };

        let answer = match ask(size).await {
            Err(matrix::Error::TooLarge { .. }) if size > SMALL_PAGE => ask(SMALL_PAGE).await,
            answer => answer,
        };

        let (mut done, mut events) = (empty_page(read, horizon), Vec::new());
        match answer {
            Ok(page) => {
                let mut page = self.or_page_without_filter(read, page, states).await?;
                let given = page.chunk.len();
                done.ended_by = self
                    .find_end_reason(read, horizon, &mut page, states)
                    .await?;
                done.is_cut = page.chunk.len() < given;
                (done.token, events) = (page.end.filter(|_| done.ended_by.is_none()), page.chunk);
            }
            Err(error) if error.is_hidden() => {
                done.ended_by = Some(self.why_refused(read).await?);
            }
            // The server lost the token: the read begins again at the newest event. Known events
            // come again, which does no harm.
            Err(error) if error.is_unknown_position() && read.token.is_some() => {}
            Err(error) => return Err(error.into()),
        }

        done.took_ms = states.note_page_came(read);
        self.write_page(read, done, &events).await?;

        self.say_how_far(read, states).await
    }

    /// The page, or the same page without the filter of types. It is requested without the filter
    /// if no more comes although the room's beginning is not reached, or if page after page brings
    /// nothing new: some homeservers give less with a filter.
    async fn or_page_without_filter(
        &self,
        read: &HistoryJob,
        page: MessagesPage,
        states: &JobStates,
    ) -> Result<MessagesPage, Error> {
        let gives_no_more = page.end.is_none()
            && self.end_reason_of_last_page(read, &page).await? == JobEnd::NoMore;
        let is_barren = states.barren(read) + 1 == BARREN_FREE;
        if !gives_no_more && !is_barren {
            return Ok(page);
        }

        let size = if is_barren {
            self.settings.backfill_page
        } else {
            LARGE_PAGE
        };

        let unfiltered = self
            .client
            .messages_unfiltered(&read.room_id, read.token.as_deref(), size)
            .await;

        match unfiltered {
            Ok(other)
                if is_barren || other.end.is_some() || other.chunk.len() > page.chunk.len() =>
            {
                Ok(other)
            }

            Err(error) if error.is_revoked() => Err(error.into()),
            _ => Ok(page),
        }
    }

    /// Why the read ends with this page (newest event first); `None` if it goes on. Events older
    /// than the horizon, ms, are removed from the page's end. Each page must be given once, since
    /// pages that bring nothing new are counted in `states`.
    async fn find_end_reason(
        &self,
        read: &HistoryJob,
        horizon: Option<i64>,
        page: &mut MessagesPage,
        states: &mut JobStates,
    ) -> Result<Option<JobEnd>, Error> {
        let novelty = states.note_page(read, page.end.as_deref(), ids_on_page(page));
        let (given, had_creation) = (page.chunk.len(), page.chunk.iter().any(is_creation));
        let is_all_older = horizon.is_some_and(|horizon| drop_older_than(&mut page.chunk, horizon));
        let is_shorter = page.chunk.len() < given;
        let lost_creation = had_creation && !page.chunk.iter().any(is_creation);
        if is_shorter && (page.end.is_none() || lost_creation) {
            // The room's beginning was read and is older than wanted: nothing is hidden.
            return Ok(Some(JobEnd::Horizon));
        }

        if read.kind == JobKind::Gap && ends_with_creation(page) {
            // The next page would be empty and would not show that this read reached the beginning:
            // the creation may be known from long before the gap.
            return Ok(Some(JobEnd::Beginning));
        }

        if page.end.is_none() {
            return self.end_reason_of_last_page(read, page).await.map(Some);
        }

        if novelty.circle {
            // A server whose pages go in a circle must not keep us busy for ever.
            return Ok(Some(JobEnd::Circle));
        }

        if is_all_older {
            return Ok(Some(JobEnd::Horizon));
        }

        if read.kind == JobKind::Gap {
            let ids = ids_to_store(page);
            if reads::has_reached_known_events(&self.store, read, ids).await? {
                return Ok(Some(JobEnd::Met));
            }
        }

        Ok((novelty.barren >= BARREN_MAX).then_some(JobEnd::Endless))
    }

    /// The time, ms, before which a read need not go; `None` = to the room's beginning. Earlier
    /// events are not wanted, or would be deleted again. Without back-fill a gap ends where we last
    /// heard of the room, less [`MARGIN_MS`]; of several bounds the latest counts.
    async fn horizon(&self, read: &HistoryJob) -> Result<Option<i64>, Error> {
        let (now, kept) = (self.clock.now_ms(), self.settings.retention);
        let is_gap = read.kind == JobKind::Gap;
        let asked = self.asked_since(now);
        // The events that would close a gap may be deleted already.
        let wanted = asked.max(if is_gap {
            kept.events_before(now)
        } else {
            kept.calls_before(now)
        });
        if self.settings.backfill || !is_gap {
            return Ok(wanted);
        }

        let heard = reads::last_heard(&self.store, read)
            .await?
            .unwrap_or(read.opened_ms);

        Ok(Some(heard - MARGIN_MS).max(wanted))
    }

    /// Why the homeserver gives nothing before this page, whose oldest event comes last. The room
    /// begins here; or a gap is closed;
    /// or what was before is hidden from us by the room's visibility; or there may be more that it
    /// just does not give.
    async fn end_reason_of_last_page(
        &self,
        read: &HistoryJob,
        page: &MessagesPage,
    ) -> Result<JobEnd, Error> {
        if page.chunk.iter().any(is_creation) {
            return Ok(JobEnd::Beginning);
        }

        let is_gap = read.kind == JobKind::Gap;
        if !is_gap && reads::has_seen_creation(&self.store, &read.room_id).await? {
            return Ok(JobEnd::Beginning);
        }

        if is_gap {
            let ids = ids_to_store(page);
            if reads::has_reached_known_events(&self.store, read, ids).await? {
                return Ok(JobEnd::Met);
            }
        }

        let oldest = page.chunk.last().and_then(origin_ts).or(read.reached_ms);
        let is_hidden = self
            .is_hidden_before(&read.room_id, oldest.unwrap_or(read.opened_ms))
            .await?;

        Ok(match (is_hidden, is_gap) {
            // A gap may end where our access begins, and is then closed. Only a read of the
            // whole room reports hidden history.
            (true, true) => JobEnd::Beginning,
            (true, false) => JobEnd::NotVisible,
            (false, _) => JobEnd::NoMore,
        })
    }

    /// Was the time just before `at`, ms, hidden from us? Hidden time that ended up to
    /// [`HIDDEN_MARGIN_MS`] earlier counts, since the next event may have come a little later.
    async fn is_hidden_before(&self, room_id: &str, at: i64) -> Result<bool, Error> {
        let now = self.clock.now_ms();
        let hidden = coverage::hidden_from_us(&self.store, room_id, now).await?;
        let ends_there = |to: i64| to.saturating_add(HIDDEN_MARGIN_MS) >= at;

        Ok(hidden
            .iter()
            .any(|span| span.from < at && ends_there(span.to)))
    }

    /// Why the homeserver does not let us read on: the history is hidden (also if we are not in the
    /// room), or it just refuses.
    async fn why_refused(&self, read: &HistoryJob) -> Result<JobEnd, Error> {
        let at = read.reached_ms.unwrap_or(read.opened_ms);
        let watched = rooms::list_watched_rooms(&self.store).await?;
        let is_in = watched
            .iter()
            .any(|(room_id, watch)| *room_id == read.room_id && *watch == Watch::Joined);
        let is_hidden = !is_in || self.is_hidden_before(&read.room_id, at).await?;

        Ok(if is_hidden {
            JobEnd::NotVisible
        } else {
            JobEnd::Refused
        })
    }

    /// Opens reads where earlier ones ended at a horizon that is wider now, and corrects ends that
    /// an earlier version recorded. Returns false if that failed and must be tried again.
    pub(super) async fn look_at_ends(&self) -> bool {
        match self.try_look_at_ends().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "how reading history ended could not be looked at");
                false
            }
        }
    }

    /// Does what [`Self::look_at_ends`] says. A read that an earlier version called hidden is
    /// corrected if nothing hides the history from us.
    async fn try_look_at_ends(&self) -> Result<(), Error> {
        let now = self.clock.now_ms();
        for ended in reads::list_ended_as_hidden(&self.store).await? {
            if !self.is_hidden_before(&ended.room_id, now).await? && self.is_joined(&ended).await? {
                reads::correct_end_reason(&self.store, &ended, JobEnd::NoMore, Some(now)).await?;
            }
        }

        if !self.settings.backfill {
            return Ok(());
        }

        let kept = self.settings.retention;
        let asked = self.asked_since(now);
        for (kind, kept) in [
            (JobKind::Backfill, kept.calls_before(now)),
            (JobKind::Gap, kept.events_before(now)),
        ] {
            for ended in reads::cut_short_by_old_limit(&self.store, kind, asked.max(kept)).await? {
                let room_id = ended.room_id.as_str();
                tracing::info!(room_id, "more of the past is wanted now; reading goes on");
                let mut room = RoomBatch::new(&ended.room_id, Source::Backfill);
                room.goes_on = Some(ReadContinuation {
                    ended: ended.key(),
                    token: ended.last_token.clone(),
                });
                self.ingest(&self.batch_of_room(room)).await?;
            }
        }

        Ok(())
    }

    /// Are we in the room of this read, or do we peek into it?
    async fn is_joined(&self, ended: &HistoryJob) -> Result<bool, Error> {
        let watched = rooms::list_watched_rooms(&self.store).await?;
        Ok(watched.iter().any(|(room_id, watch)| {
            *room_id == ended.room_id && *watch != Watch::Left && *watch != Watch::Blind
        }))
    }

    /// Requests the last page of a read that ended too early once more. If it brings more, a new
    /// read continues from there; else the read is due again later.
    pub(super) async fn try_ended_again(&self, ended: &HistoryJob) -> Result<(), Error> {
        let (room_id, token) = (ended.room_id.as_str(), ended.last_token.as_deref());
        // Alternates between requests with and without the filter: some homeservers give less with
        // it.
        let page = if ended.tries % 2 == 0 {
            self.client.messages(room_id, token, LARGE_PAGE).await?
        } else {
            self.client
                .messages_unfiltered(room_id, token, LARGE_PAGE)
                .await?
        };

        let now = self.clock.now_ms();
        let gave_no_more = ended.ended_by == Some(JobEnd::NoMore);
        let brings_new = reads::is_any_new(&self.store, room_id, ids_to_store(&page)).await?;
        let may_lead_on = page.end.is_some() && !ends_with_creation(&page);
        let leads_on = may_lead_on && (brings_new || gave_no_more);
        let begins = page.chunk.iter().any(is_creation);
        let mut room = RoomBatch::new(room_id, Source::Backfill);
        // `true`: in the order of the timeline.
        add_events(&mut room, &page.chunk, true, now);
        if leads_on {
            room.goes_on = Some(ReadContinuation {
                ended: ended.key(),
                token: page.end.clone(),
            });
        }

        self.ingest(&self.batch_of_room(room)).await?;
        if leads_on {
            tracing::info!("the homeserver gives more now; reading goes on");
            self.history.notify_one();
        } else if begins {
            reads::correct_end_reason(&self.store, ended, JobEnd::Beginning, None).await?;
        } else {
            job::postpone_job(&self.store, ended, JobEnd::NoMore, now).await?;
        }

        self.changes.announce(Change::Room {
            room_id: room_id.to_owned(),
        });

        Ok(())
    }

    /// Stores the page's events and the read's new position, in one commit.
    async fn write_page(
        &self,
        read: &HistoryJob,
        page: ReadPage,
        events: &[Value],
    ) -> Result<(), Error> {
        let mut room = RoomBatch::new(&read.room_id, Source::Backfill);
        // `true`: in the order of the timeline.
        add_events(&mut room, events, true, self.clock.now_ms());
        let done = page.ended_by;
        room.page = Some(page);
        let new = self.ingest(&self.batch_of_room(room)).await?;
        let pages = read.pages + 1;
        if let Some(why) = done {
            let found = read
                .found
                .saturating_add(i64::try_from(new).unwrap_or(i64::MAX));
            tracing::info!(pages, found, ended_by = %why, "history is read");
        } else {
            tracing::debug!(pages, new, "a page is read");
        }

        // Most pages of a quiet room bring nothing. Each announcement makes open pages and API
        // clients read again.
        if new > 0 || done.is_some() {
            self.changes.announce(Change::Room {
                room_id: read.room_id.clone(),
            });
        }

        Ok(())
    }
}

/// The ids of all events on a page, also of types that are not stored.
fn ids_on_page(page: &MessagesPage) -> impl Iterator<Item = &str> {
    let ours = page
        .chunk
        .iter()
        .filter_map(|event| event.get("event_id")?.as_str());

    ours.chain(page.others.iter().map(String::as_str))
}

/// The ids of the events that are of our types, and so are stored.
fn ids_to_store(page: &MessagesPage) -> impl Iterator<Item = &str> {
    let ours = page
        .chunk
        .iter()
        .filter(|event| kind_of(event).is_some_and(is_ours));

    ours.filter_map(|event| event.get("event_id")?.as_str())
}

/// The timestamp of a raw event, ms; `None` if it has none.
fn origin_ts(event: &Value) -> Option<i64> {
    event.get("origin_server_ts")?.as_i64()
}

/// Is it the room's creation?
fn is_creation(event: &Value) -> bool {
    event
        .get("type")
        .is_some_and(|kind| kind == "m.room.create")
}

/// Does the page reach the room's beginning? Nothing comes before the creation, even if the page
/// has an `end`.
fn ends_with_creation(page: &MessagesPage) -> bool {
    page.chunk.last().is_some_and(is_creation)
}

/// A page with nothing on it, after which the read begins at the newest event again; the caller
/// fills in what the answer brought.
fn empty_page(read: &HistoryJob, horizon_ms: Option<i64>) -> ReadPage {
    ReadPage {
        read: read.key(),
        token: None,
        ended_by: None,
        horizon_ms,
        took_ms: 0,
        is_cut: false,
    }
}

/// Removes the end of a page (newest first) from where on all events are older than the horizon,
/// ms. Returns true if it had events and none is left. A single event with an odd stamp removes
/// nothing.
pub(super) fn drop_older_than(page: &mut Vec<Value>, horizon: i64) -> bool {
    let was_empty = page.is_empty();
    let keep = page
        .iter()
        .rposition(|event| origin_ts(event).is_none_or(|at| at >= horizon))
        .map_or(0, |last| last + 1);
    page.truncate(keep);

    !was_empty && page.is_empty()
}
