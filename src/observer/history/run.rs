//! Back-fill: walks back through history page by page, over a gap to known events, and in a new
//! room to its beginning.

use super::schedule::{BARREN_FREE, BARREN_MAX, BackfillScope, WalkStates, describe_walk};
use crate::changes::Change;
use crate::matrix::{self, MessagesPage};
use crate::observer::backoff::Backoff;
use crate::observer::error_state::Work;
use crate::observer::ingest::add_events;
use crate::observer::{Error, Observer};
use crate::rtc::sieve::{is_ours, kind_of};
use crate::rtc::time::DAY_MS;
use crate::rtc::words::{Source, Watch};
use crate::store::ingest::batch::{RoomBatch, WalkContinuation, WalkPage};
use crate::store::ingest::history_jobs::backfill::{self, EndedWalk, Walk};
use crate::store::ingest::rooms;
use crate::store::read::coverage;
use serde_json::Value;
use std::time::Duration;

/// Without a notification, look for work after this time.
const IDLE: Duration = Duration::from_mins(1);
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
/// Maximum number of walks that ended too early and are tried again before the open walks have
/// their turn.
const AGAIN: i64 = 10;

impl Observer {
    /// Processes all walks, one request at a time, for ever.
    pub(in crate::observer) async fn walk_history(&self) {
        let (scope, mut course) = (BackfillScope::everything(), WalkStates::default());
        let mut patience = Backoff::new();
        let mut looked = false;

        loop {
            if !looked {
                looked = self.look_at_ends().await;
            }

            match self.walk_round(&scope, &mut course).await {
                Ok(walked) => {
                    patience = Backoff::new();
                    self.succeeded(Work::History).await;
                    if !walked {
                        self.rest(&scope, &course).await;
                    }
                }
                Err(error) => {
                    course.broke();
                    self.failed(Work::History, "reading history", &error).await;
                    let pause = Self::pause(&error, &mut patience);
                    self.rest_after(&error, pause).await;
                }
            }
        }
    }

    /// Waits for work: a notification, or a walk or a missing event that is due again.
    async fn rest(&self, scope: &BackfillScope, course: &WalkStates) {
        let (hole, look) = (
            self.next_hole().await.ok().flatten(),
            self.next_look().await.ok().flatten(),
        );
        let again = self.next_again().await.ok().flatten();
        let wait = course
            .next_due(scope)
            .into_iter()
            .chain(hole)
            .chain(look)
            .chain(again)
            .fold(IDLE, Duration::min);
        let _ = tokio::time::timeout(wait, self.history.notified()).await;
    }

    /// Reads one page of each open walk that is due, so that no room waits for another. Returns
    /// false if there was none.
    pub(super) async fn walk_round(
        &self,
        scope: &BackfillScope,
        course: &mut WalkStates,
    ) -> Result<bool, Error> {
        let todo = backfill::list_open_walks(&self.store).await?;
        course.keep(&todo);
        let mut walked = false;
        for walk in todo.iter().filter(|walk| scope.takes(&walk.room_id)) {
            if scope.stopped() {
                break;
            }

            if !course.is_due(walk, scope) {
                continue;
            }

            match self.walk(walk, course).await {
                Ok(()) => {
                    walked = true;
                    if let Some(text) = course.overcome(walk) {
                        rooms::clear_room_error(&self.store, &walk.room_id, &text).await?;
                        self.changes.announce(Change::Room {
                            room_id: walk.room_id.clone(),
                        });
                    }
                }
                Err(error) if is_room_error(&error) => self.put_off(walk, course, &error).await?,
                Err(error) => return Err(error),
            }
        }

        if walked || scope.stopped() {
            return Ok(walked);
        }

        // A room whose walk fails again and again must not block this work for the others.
        let looked = self.look_again(scope).await?;
        let went_on = self.try_ended_again(scope).await?;

        Ok(self.fill_holes(scope).await? || looked || went_on)
    }

    /// Records on the room that its history could not be read, and schedules another attempt. The
    /// other walks continue.
    async fn put_off(
        &self,
        walk: &Walk,
        course: &mut WalkStates,
        error: &Error,
    ) -> Result<(), Error> {
        let text = format!("{}{error}", rooms::HISTORY_TROUBLE);
        tracing::warn!("{}: {text}", walk.room_id);
        rooms::record_room_error(&self.store, &walk.room_id, None, &text, self.clock.now_ms())
            .await?;
        course.put_off(walk, error, text);
        self.changes.announce(Change::Room {
            room_id: walk.room_id.clone(),
        });

        Ok(())
    }

    /// The time, ms, from which on the configuration wants history; `None` = all of it.
    pub(super) fn asked_since(&self, now: i64) -> Option<i64> {
        self.settings
            .backfill_days
            .map(|days| now - i64::from(days) * DAY_MS)
    }

    async fn walk(&self, walk: &Walk, course: &mut WalkStates) -> Result<(), Error> {
        course.begins(walk);
        let horizon = self.horizon(walk).await?;
        let size = self.settings.backfill_page;
        let size = if walk.reason == "gap" {
            size.max(GAP_PAGE)
        } else {
            size
        };

        let ask = |size| {
            self.client
                .messages(&walk.room_id, walk.token.as_deref(), size)
        };

        let answer = match ask(size).await {
            Err(matrix::Error::TooLarge { .. }) if size > SMALL_PAGE => ask(SMALL_PAGE).await,
            answer => answer,
        };

        let (mut step, mut events) = (empty_step(walk, horizon), Vec::new());
        match answer {
            Ok(page) => {
                let mut page = self.or_without_filter(walk, page, course).await?;
                let given = page.chunk.len();
                step.ended_by = self.ended_by(walk, horizon, &mut page, course).await?;
                step.cut = page.chunk.len() < given;
                (step.token, events) = (page.end.filter(|_| step.ended_by.is_none()), page.chunk);
            }
            Err(error) if error.is_hidden() => {
                step.ended_by = Some(self.why_refused(walk).await?);
            }
            // The server lost the token: the walk begins again at the newest event. Known events
            // come again, which does no harm.
            Err(error) if error.is_unknown_position() && walk.token.is_some() => {}
            Err(error) => return Err(error.into()),
        }

        step.took_ms = course.took(walk);
        self.write_step(walk, step, &events).await?;

        self.say_how_far(walk, course).await
    }

    /// The page, or the page without the filter of types. It is requested without the filter if no
    /// more comes although the room's beginning is not reached, or if page after page brings
    /// nothing new.
    async fn or_without_filter(
        &self,
        walk: &Walk,
        page: MessagesPage,
        course: &WalkStates,
    ) -> Result<MessagesPage, Error> {
        let gives_no_more = page.end.is_none() && self.last_page(walk, &page).await? == "no_more";
        let is_barren = course.barren(walk) + 1 == BARREN_FREE;
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
            .messages_unfiltered(&walk.room_id, walk.token.as_deref(), size)
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

    /// Why the walk ends with this page, if it does. Events beyond the horizon are removed from the
    /// page.
    async fn ended_by(
        &self,
        walk: &Walk,
        horizon: Option<i64>,
        page: &mut MessagesPage,
        course: &mut WalkStates,
    ) -> Result<Option<&'static str>, Error> {
        let seen = course.goes_on(walk, page.end.as_deref(), ids_on_page(page));
        let (read, created) = (page.chunk.len(), page.chunk.iter().any(is_creation));
        let beyond = horizon.is_some_and(|horizon| drop_older_than(&mut page.chunk, horizon));
        let shorter = page.chunk.len() < read;
        if shorter && (page.end.is_none() || (created && !page.chunk.iter().any(is_creation))) {
            // The room's beginning was read and is older than wanted: nothing is hidden.
            return Ok(Some("horizon"));
        }

        if walk.reason == "gap" && ends_with_creation(page) {
            // The next page would be empty and would not show that this walk reached the beginning:
            // the creation may be known from long before the gap.
            return Ok(Some("beginning"));
        }

        if page.end.is_none() {
            return self.last_page(walk, page).await.map(Some);
        }

        if seen.circle {
            // A server whose pages go in a circle must not keep us busy for ever.
            return Ok(Some("circle"));
        }

        if beyond {
            return Ok(Some("horizon"));
        }

        if walk.reason == "gap" {
            let ids = ids_to_store(page);
            if backfill::has_reached_known_events(&self.store, walk, ids).await? {
                return Ok(Some("met"));
            }
        }

        Ok((seen.barren >= BARREN_MAX).then_some("endless"))
    }

    /// The time, ms, before which a walk need not go: earlier events are not wanted, or would be
    /// deleted again. Without back-fill a walk over a gap ends where we last heard of the room.
    async fn horizon(&self, walk: &Walk) -> Result<Option<i64>, Error> {
        let (now, kept) = (self.clock.now_ms(), self.settings.retention);
        let is_gap = walk.reason == "gap";
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

        let heard = backfill::last_heard(&self.store, walk)
            .await?
            .unwrap_or(walk.opened_ms);

        Ok(Some(heard - MARGIN_MS).max(wanted))
    }

    /// Why the homeserver gives nothing before this page. The room begins here; or what was before
    /// is hidden from us by the room's visibility; or there may be more that it just does not give.
    async fn last_page(&self, walk: &Walk, page: &MessagesPage) -> Result<&'static str, Error> {
        if page.chunk.iter().any(is_creation) {
            return Ok("beginning");
        }

        let is_gap = walk.reason == "gap";
        if !is_gap && backfill::has_seen_creation(&self.store, &walk.room_id).await? {
            return Ok("beginning");
        }

        if is_gap {
            let ids = ids_to_store(page);
            if backfill::has_reached_known_events(&self.store, walk, ids).await? {
                return Ok("met");
            }
        }

        let oldest = page.chunk.last().and_then(origin_ts).or(walk.reached_ms);
        let is_hidden = self
            .is_hidden_before(&walk.room_id, oldest.unwrap_or(walk.opened_ms))
            .await?;

        Ok(match (is_hidden, is_gap) {
            // A gap may end where our access begins, and is then closed. Only a walk through the
            // whole room reports hidden history.
            (true, true) => "beginning",
            (true, false) => "not_visible",
            (false, _) => "no_more",
        })
    }

    /// Was the time just before this moment, ms, hidden from us?
    async fn is_hidden_before(&self, room_id: &str, at: i64) -> Result<bool, Error> {
        let now = self.clock.now_ms();
        let hidden = coverage::hidden_from_us(&self.store, room_id, now).await?;
        let ends_there = |to: i64| to.saturating_add(HIDDEN_MARGIN_MS) >= at;

        Ok(hidden
            .iter()
            .any(|span| span.from < at && ends_there(span.to)))
    }

    /// Why the homeserver does not let us read on: the history is hidden, we are not in the room,
    /// or it just refuses.
    async fn why_refused(&self, walk: &Walk) -> Result<&'static str, Error> {
        let at = walk.reached_ms.unwrap_or(walk.opened_ms);
        let watched = rooms::list_watched_rooms(&self.store).await?;
        let is_in = watched
            .iter()
            .any(|(room_id, watch)| *room_id == walk.room_id && *watch == Watch::Joined);
        let is_hidden = !is_in || self.is_hidden_before(&walk.room_id, at).await?;

        Ok(if is_hidden { "not_visible" } else { "refused" })
    }

    /// Opens walks where earlier ones ended at a horizon that is wider now, and corrects ends that
    /// an earlier version recorded. Returns false if that must be tried again.
    pub(super) async fn look_at_ends(&self) -> bool {
        match self.try_look_at_ends().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("how walks through history ended could not be looked at: {error}");
                false
            }
        }
    }

    async fn try_look_at_ends(&self) -> Result<(), Error> {
        let now = self.clock.now_ms();
        for ended in backfill::list_ended_as_hidden(&self.store).await? {
            if !self.is_hidden_before(&ended.room_id, now).await? && self.is_joined(&ended).await? {
                backfill::correct_end_reason(&self.store, &ended, "no_more", Some(now)).await?;
            }
        }

        if !self.settings.backfill {
            return Ok(());
        }

        let kept = self.settings.retention;
        let asked = self.asked_since(now);
        for (reason, kept) in [
            ("history", kept.calls_before(now)),
            ("gap", kept.events_before(now)),
        ] {
            for ended in
                backfill::cut_short_by_old_limit(&self.store, reason, asked.max(kept)).await?
            {
                tracing::info!(
                    "{}: more of the past is wanted now; reading goes on",
                    ended.room_id
                );
                let mut room = RoomBatch::new(&ended.room_id, Source::Backfill);
                room.goes_on = Some(WalkContinuation {
                    opened_ms: ended.opened_ms,
                    reason: ended.reason.clone(),
                    token: ended.token.clone(),
                });
                self.ingest(&self.batch_of_room(room)).await?;
            }
        }

        Ok(())
    }

    async fn is_joined(&self, ended: &EndedWalk) -> Result<bool, Error> {
        let watched = rooms::list_watched_rooms(&self.store).await?;
        Ok(watched.iter().any(|(room_id, watch)| {
            *room_id == ended.room_id && *watch != Watch::Left && *watch != Watch::Blind
        }))
    }

    /// Tries walks again that ended because the homeserver gave no more. Returns false if none was
    /// due.
    async fn try_ended_again(&self, scope: &BackfillScope) -> Result<bool, Error> {
        if !self.settings.backfill {
            return Ok(false);
        }

        let mut tried = false;
        for ended in backfill::due_for_retry(&self.store, self.clock.now_ms(), AGAIN).await? {
            if scope.stopped() {
                break;
            }

            if scope.takes(&ended.room_id) {
                self.try_again(&ended).await?;
                tried = true;
            }
        }

        Ok(tried)
    }

    /// How long until a walk that ended too early is to be tried again.
    async fn next_again(&self) -> Result<Option<Duration>, Error> {
        if !self.settings.backfill {
            return Ok(None);
        }

        let now = self.clock.now_ms();
        let due = backfill::next_retry_due(&self.store, now).await?;

        Ok(due.map(|due| Duration::from_millis(due.saturating_sub(now).unsigned_abs())))
    }

    /// Requests the last page of an ended walk again. If it brings more, a new walk continues from
    /// there.
    async fn try_again(&self, ended: &EndedWalk) -> Result<(), Error> {
        let (room_id, token) = (ended.room_id.as_str(), ended.token.as_deref());
        // Alternates between requests with and without the filter.
        let answer = if ended.tries % 2 == 0 {
            self.client.messages(room_id, token, LARGE_PAGE).await
        } else {
            self.client
                .messages_unfiltered(room_id, token, LARGE_PAGE)
                .await
        };

        let now = self.clock.now_ms();
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                let token = token.filter(|_| !error.is_unknown_position());
                let error = Error::from(error);
                if !is_room_error(&error) {
                    return Err(error);
                }

                tracing::debug!("history of {room_id}: {error}; it is tried again later");
                return Ok(backfill::record_failed_retry(&self.store, ended, token, now).await?);
            }
        };

        let brings_new = backfill::is_any_new(&self.store, room_id, ids_to_store(&page)).await?;
        let may_lead_on = page.end.is_some() && !ends_with_creation(&page);
        let leads_on = may_lead_on && (brings_new || ended.ended_by == "no_more");
        let begins = page.chunk.iter().any(is_creation);
        let mut room = RoomBatch::new(room_id, Source::Backfill);
        add_events(&mut room, &page.chunk, true, now);
        if leads_on {
            room.goes_on = Some(WalkContinuation {
                opened_ms: ended.opened_ms,
                reason: ended.reason.clone(),
                token: page.end.clone(),
            });
        }

        self.ingest(&self.batch_of_room(room)).await?;
        if leads_on {
            tracing::info!("history of {room_id}: the homeserver gives more now; reading goes on");
            self.history.notify_one();
        } else if begins {
            backfill::correct_end_reason(&self.store, ended, "beginning", None).await?;
        } else {
            backfill::record_failed_retry(&self.store, ended, token, now).await?;
        }

        self.changes.announce(Change::Room {
            room_id: room_id.to_owned(),
        });

        Ok(())
    }

    /// Writes the page's events and the walk's new position, in one commit.
    async fn write_step(&self, walk: &Walk, step: WalkPage, events: &[Value]) -> Result<(), Error> {
        let mut room = RoomBatch::new(&walk.room_id, Source::Backfill);
        add_events(&mut room, events, true, self.clock.now_ms());
        let done = step.ended_by;
        room.step = Some(step);
        let new = self.ingest(&self.batch_of_room(room)).await?;
        let (what, page) = (describe_walk(walk), walk.pages + 1);
        if let Some(why) = done {
            let found = walk
                .found
                .saturating_add(i64::try_from(new).unwrap_or(i64::MAX));
            tracing::info!("{what}: done after {page} pages with {found} new events ({why})");
        } else {
            tracing::debug!("{what}: page {page}, {new} new events");
        }

        self.changes.announce(Change::Room {
            room_id: walk.room_id.clone(),
        });

        Ok(())
    }
}

/// The ids of all events on a page.
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

fn origin_ts(event: &Value) -> Option<i64> {
    event.get("origin_server_ts")?.as_i64()
}

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

/// A step that read nothing and begins at the newest event again, until the answer changes that.
fn empty_step(walk: &Walk, horizon_ms: Option<i64>) -> WalkPage {
    WalkPage {
        opened_ms: walk.opened_ms,
        reason: walk.reason.clone(),
        token: None,
        ended_by: None,
        horizon_ms,
        took_ms: 0,
        cut: false,
    }
}

/// Does the error concern only this room? A lost token, rate limits, an unreachable homeserver and
/// the database do not.
pub(super) fn is_room_error(error: &Error) -> bool {
    let Error::Matrix(error) = error else {
        return false;
    };

    !error.is_revoked()
        && error.retry_after().is_none()
        && !matches!(error, matrix::Error::Unreachable { .. })
}

/// Removes the end of a page (newest first) where all events are older than the horizon. Returns
/// true if nothing is left. A single event with an odd stamp removes nothing.
pub(super) fn drop_older_than(page: &mut Vec<Value>, horizon: i64) -> bool {
    let was_empty = page.is_empty();
    let keep = page
        .iter()
        .rposition(|event| origin_ts(event).is_none_or(|at| at >= horizon))
        .map_or(0, |last| last + 1);
    page.truncate(keep);

    !was_empty && page.is_empty()
}
