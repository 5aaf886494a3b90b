//! A read of history as pages and JSON show it, where it is called a walk: how far it has come,
//! and about how much is left.

use super::format as f;
use super::{RoomRef, Stamp};
use crate::rtc::words::{JobEnd, JobKind, words};
use crate::store::read::history_progress::{ReadProgress, ReadSums};
use serde::Serialize;
use utoipa::ToSchema;

words! {
    /// What a walk reads, in the words of the API.
    pub enum WalkReason {
        /// The whole room.
        History = "history",
        /// What live following left out.
        Gap = "gap",
    }
}

/// A walk back through the history of a room, finished or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WalkFacts {
    pub room: RoomRef,
    /// `history` (the whole room) or `gap` (what live following left out).
    pub reason: WalkReason,
    pub opened_ms: i64,
    pub opened_at: Stamp,
    pub pages: i64,
    /// Events that were not known before.
    pub events: i64,
    /// The oldest time it has reached.
    pub reached_ms: Option<i64>,
    pub reached_at: Option<Stamp>,
    /// About how much of the time is left, percent; calls are not spread evenly over it. 0 =
    /// finished. Null = unknown, as long as the walk has found nothing to estimate it from.
    pub ahead_percent: Option<i64>,
    /// About how long it still takes at the present pace; null = too early to say, or finished.
    pub ahead_ms: Option<i64>,
    /// New events for each second spent reading.
    pub events_per_second: Option<i64>,
    pub done_ms: Option<i64>,
    pub done_at: Option<Stamp>,
    /// `beginning`, `met` (what was known), `horizon` (as far as configured) or `not_visible`
    /// (hidden, as the room's history visibility says); where the homeserver did not give what
    /// there may be before: `no_more` (it gave no further page), `circle` (its pages turn in a
    /// circle), `endless` (page after page with nothing new) or `refused`; null while it goes on.
    pub ended_by: Option<JobEnd>,
    /// When a walk that ended too early is tried again, and how often it was. Where that brings
    /// more, a new walk goes on.
    pub again_ms: Option<i64>,
    pub again_at: Option<Stamp>,
    pub tries: i64,
}

impl From<ReadProgress> for WalkFacts {
    fn from(read: ReadProgress) -> Self {
        let job = &read.job;
        // Without any event found, it is unknown how much is left.
        let is_measured = job.found > 0 || job.done_ms.is_some();
        // A read that is not done has its turn at any time.
        let again_ms = job.due_ms.filter(|_| job.done_ms.is_some());
        let reason = match job.kind {
            JobKind::Backfill => WalkReason::History,
            _ => WalkReason::Gap,
        };

        Self {
            ahead_percent: read.ahead_percent().filter(|_| is_measured),
            ahead_ms: read.ahead_ms().filter(|_| is_measured),
            events_per_second: read.events_per_second().filter(|_| is_measured),
            reason,
            opened_ms: job.opened_ms,
            opened_at: Stamp(job.opened_ms),
            pages: job.pages,
            events: job.found,
            reached_ms: job.reached_ms,
            reached_at: job.reached_ms.map(Stamp),
            done_ms: job.done_ms,
            done_at: job.done_ms.map(Stamp),
            again_ms,
            again_at: again_ms.map(Stamp),
            tries: job.tries,
            ended_by: read.job.ended_by,
            room: read.room.into(),
        }
    }
}

impl WalkFacts {
    /// Does it read the whole room, not only a gap?
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.reason == WalkReason::History
    }

    /// Is it not done yet?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.done_ms.is_none()
    }

    /// What has been read so far, in words.
    #[must_use]
    pub fn so_far(&self) -> String {
        format!(
            "{}, {}",
            f::count_with_noun(self.pages, "page", "pages"),
            f::count_with_noun(self.events, "event", "events")
        )
    }

    /// About how much is left, in words; empty if there is nothing to say.
    #[must_use]
    pub fn ahead(&self) -> String {
        if !self.is_open() || self.pages == 0 {
            return String::new();
        }

        if self.events == 0 {
            return "nothing new so far, so how much is ahead is not known".to_owned();
        }

        let percent = self
            .ahead_percent
            .map(|percent| format!("about {percent} % of the time still ahead"));
        let time = self
            .ahead_ms
            .map(|ms| format!("about {} at this pace", f::ended_duration(ms)));
        let rate = self
            .events_per_second
            .map(|rate| format!("{} a second", f::count_with_noun(rate, "event", "events")));

        [percent, time, rate]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Did it end although there may be older history?
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.ended_by.is_some_and(JobEnd::is_early)
    }

    /// Where it ended, in words.
    #[must_use]
    pub fn end(&self) -> &'static str {
        match self.ended_by {
            Some(JobEnd::Beginning) => "read to the room’s beginning",
            Some(JobEnd::Met) => "read until what was known",
            Some(JobEnd::Horizon) => "read as far back as configured",
            Some(JobEnd::NotVisible) => "read as far as we may see",
            Some(JobEnd::NoMore) => "not read to its end: the homeserver gave no more",
            Some(JobEnd::Endless) => {
                "not read to its end: the homeserver gives page after page with nothing new"
            }
            Some(JobEnd::Refused) => "not read to its end: the homeserver refuses more",
            Some(JobEnd::Circle) => "not read to its end: the homeserver’s pages turn in a circle",
            Some(JobEnd::Read | JobEnd::Found | JobEnd::Failed) => "read",
            None => "being read",
        }
    }
}

/// All walks ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryFacts {
    /// Rooms whose history is or was read, and those in which it still is.
    pub rooms: i64,
    pub rooms_open: i64,
    pub pages: i64,
    pub events: i64,
    /// New events per second, of all unfinished walks together; they take turns.
    pub events_per_second: i64,
}

impl HistoryFacts {
    /// The sums of all reads ever, with the pace of those in `open`: the unfinished ones, as many
    /// as the page lists.
    #[must_use]
    pub fn new(sums: ReadSums, open: &[WalkFacts]) -> Self {
        let events_per_second = open.iter().filter_map(|walk| walk.events_per_second).sum();
        Self {
            rooms: sums.rooms,
            rooms_open: sums.open,
            pages: sums.pages,
            events: sums.found,
            events_per_second,
        }
    }
}
