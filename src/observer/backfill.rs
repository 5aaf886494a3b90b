//! Back-fill: walks back through history page by page, over gaps to what is known, in new rooms to the beginning.

use super::course::{Course, Scope, what};
use super::ingest::add;
use super::patience::Patience;
use super::troubles::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::{self, MessagesPage};
use crate::rtc::sieve::{is_ours, kind_of};
use crate::store::batch::{RoomBatch, Source};
use crate::store::rooms;
use crate::store::walks::{self, Step, Walk};
use serde_json::Value;
use std::time::Duration;

/// Without a ring, look for work after this time.
const IDLE: Duration = Duration::from_mins(1);
/// One page in which all is known closes a gap: it must be long enough to be no chance.
pub(super) const GAP_PAGE: u32 = 250;
const DAY_MS: i64 = 86_400_000;

/// An hour: clocks differ between servers.
const MARGIN_MS: i64 = 3_600_000;

impl Observer {
    /// Walks whatever there is to walk, one request at a time, for ever.
    pub(super) async fn walk_history(&self) {
        let (scope, mut course) = (Scope::everything(), Course::default());
        let mut patience = Patience::new();
        loop {
            match self.walk_round(&scope, &mut course).await {
                Ok(walked) => {
                    patience = Patience::new();
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

    /// Waits for work: a ring, a walk or a hole that is due again.
    async fn rest(&self, scope: &Scope, course: &Course) {
        let (hole, look) = (
            self.next_hole().await.ok().flatten(),
            self.next_look().await.ok().flatten(),
        );
        let wait = course
            .next_due(scope)
            .into_iter()
            .chain(hole)
            .chain(look)
            .fold(IDLE, Duration::min);
        let _ = tokio::time::timeout(wait, self.history.notified()).await;
    }

    /// One page of each open walk that is due, so that no room waits for another; false when there was none.
    pub(super) async fn walk_round(
        &self,
        scope: &Scope,
        course: &mut Course,
    ) -> Result<bool, Error> {
        let todo = walks::todo(&self.store).await?;
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
                        rooms::overcome(&self.store, &walk.room_id, &text).await?;
                        self.changes.announce(Change::Room {
                            room_id: walk.room_id.clone(),
                        });
                    }
                }
                Err(error) if is_of_the_room(&error) => self.put_off(walk, course, &error).await?,
                Err(error) => return Err(error),
            }
        }
        if walked || scope.stopped() {
            return Ok(walked);
        }
        // A room whose walk fails again and again must not keep the others from these.
        let looked = self.look_again(scope).await?;
        Ok(self.fill_holes(scope).await? || looked)
    }

    /// Says on the room that its history could not be read, and tries it again later; the others go on.
    async fn put_off(&self, walk: &Walk, course: &mut Course, error: &Error) -> Result<(), Error> {
        let text = format!("{}{error}", rooms::HISTORY_TROUBLE);
        tracing::warn!("{}: {text}", walk.room_id);
        rooms::trouble(&self.store, &walk.room_id, None, &text, self.clock.now_ms()).await?;
        course.put_off(walk, error, text);
        self.changes.announce(Change::Room {
            room_id: walk.room_id.clone(),
        });
        Ok(())
    }

    /// The time, ms, from which on history is wanted by the configuration; `None` = all of it.
    pub(super) fn asked_since(&self, now: i64) -> Option<i64> {
        self.settings
            .backfill_days
            .map(|days| now - i64::from(days) * DAY_MS)
    }

    async fn walk(&self, walk: &Walk, course: &mut Course) -> Result<(), Error> {
        course.begins(walk);
        let horizon = self.horizon(walk).await?;
        let size = self.settings.backfill_page;
        let size = if walk.reason == "gap" {
            size.max(GAP_PAGE)
        } else {
            size
        };
        let answer = self
            .client
            .messages(&walk.room_id, walk.token.as_deref(), size)
            .await;
        let (mut step, mut events) = (step(walk, horizon), Vec::new());
        match answer {
            Ok(mut page) => {
                step.ended_by = self.ended_by(walk, horizon, &mut page).await?;
                (step.token, events) = (page.end.filter(|_| step.ended_by.is_none()), page.chunk);
            }
            Err(error) if error.is_hidden() => step.ended_by = Some("not_visible"),
            // The server lost the token: from the newest event on, what is known comes again and does no harm.
            Err(error) if error.is_unknown_position() && walk.token.is_some() => {}
            Err(error) => return Err(error.into()),
        }
        step.took_ms = course.took(walk);
        self.write_step(walk, step, &events).await?;
        self.say_how_far(walk, course).await
    }

    /// Why the walk ends with this page, if it does. What lies beyond the horizon is cut off the page.
    async fn ended_by(
        &self,
        walk: &Walk,
        horizon: Option<i64>,
        page: &mut MessagesPage,
    ) -> Result<Option<&'static str>, Error> {
        let (read, created) = (page.chunk.len(), page.chunk.iter().any(is_creation));
        let beyond = horizon.is_some_and(|horizon| cut(&mut page.chunk, horizon));
        let shorter = page.chunk.len() < read;
        if shorter && (page.end.is_none() || (created && !page.chunk.iter().any(is_creation))) {
            // The room's beginning was read, and is older than what is wanted: nothing is hidden.
            return Ok(Some("horizon"));
        }
        if page.end.is_none() {
            return self.last_page(walk, page).await.map(Some);
        }
        if page.end == walk.token {
            // A server that turns in a circle must not hold us for ever.
            return Ok(Some("circle"));
        }
        if beyond {
            return Ok(Some("horizon"));
        }
        if walk.reason == "gap" {
            let ours = page
                .chunk
                .iter()
                .filter(|event| kind_of(event).is_some_and(is_ours));
            let ids = ours.filter_map(|event| event.get("event_id")?.as_str());
            if walks::met(&self.store, walk, ids).await? {
                return Ok(Some("met"));
            }
        }
        Ok(None)
    }

    /// The time, ms, behind which a walk need not go: it is not wanted, or it would be deleted again. Without
    /// back-fill a gap begins where we last heard of the room.
    async fn horizon(&self, walk: &Walk) -> Result<Option<i64>, Error> {
        let (now, kept) = (self.clock.now_ms(), self.settings.retention);
        let is_gap = walk.reason == "gap";
        let asked = self.asked_since(now);
        // What a gap should meet may be deleted already.
        let wanted = asked.max(if is_gap {
            kept.events_before(now)
        } else {
            kept.calls_before(now)
        });
        if self.settings.backfill || !is_gap {
            return Ok(wanted);
        }
        let heard = walks::last_heard(&self.store, walk)
            .await?
            .unwrap_or(walk.opened_ms);
        Ok(Some(heard - MARGIN_MS).max(wanted))
    }

    /// There is nothing before this page: the room begins here, or what was before is hidden from us.
    async fn last_page(&self, walk: &Walk, page: &MessagesPage) -> Result<&'static str, Error> {
        let begins = page.chunk.iter().any(is_creation)
            || walks::saw_creation(&self.store, &walk.room_id).await?;
        // A gap may end at what we may see and be closed: a walk of the whole room tells what is hidden.
        Ok(if begins || walk.reason == "gap" {
            "beginning"
        } else {
            "not_visible"
        })
    }

    /// The page's events and the walk's new place, in one commit.
    async fn write_step(&self, walk: &Walk, step: Step, events: &[Value]) -> Result<(), Error> {
        let mut room = RoomBatch::new(&walk.room_id, Source::Backfill);
        add(&mut room, events, true, self.clock.now_ms());
        let done = step.ended_by;
        room.step = Some(step);
        let new = self.ingest(&self.one(room)).await?;
        let (what, page) = (what(walk), walk.pages + 1);
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

fn is_creation(event: &Value) -> bool {
    event
        .get("type")
        .is_some_and(|kind| kind == "m.room.create")
}

/// A step that reads nothing and begins anew, until the answer says more.
fn step(walk: &Walk, horizon_ms: Option<i64>) -> Step {
    Step {
        opened_ms: walk.opened_ms,
        reason: walk.reason.clone(),
        token: None,
        ended_by: None,
        horizon_ms,
        took_ms: 0,
    }
}

/// Is it this room's trouble? A lost token, too many questions, an unreachable homeserver and the database are not.
pub(super) fn is_of_the_room(error: &Error) -> bool {
    let Error::Matrix(error) = error else {
        return false;
    };
    !error.is_revoked()
        && error.retry_after().is_none()
        && !matches!(error, matrix::Error::Unreachable { .. })
}

/// Cuts off the end of a page (newest first) that is wholly older than the horizon; true when nothing is left of
/// it. A single event with an odd stamp cuts nothing.
pub(super) fn cut(page: &mut Vec<Value>, horizon: i64) -> bool {
    let was_empty = page.is_empty();
    let older = |event: &Value| {
        event
            .get("origin_server_ts")
            .and_then(Value::as_i64)
            .is_some_and(|at| at < horizon)
    };
    let keep = page
        .iter()
        .rposition(|event| !older(event))
        .map_or(0, |last| last + 1);
    page.truncate(keep);
    !was_empty && page.is_empty()
}
