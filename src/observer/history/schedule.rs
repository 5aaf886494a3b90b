//! The state of walks in this process: which failed and when each is due again, and how each
//! progresses.

use crate::observer::backoff::Backoff;
use crate::observer::{Error, Observer};
use crate::store::ingest::history_jobs::backfill::Walk;
use crate::store::model::Viewer;
use crate::store::read::history_progress::{self, WalkProgress};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The log has a line after this many pages or this much time.
const SAY_PAGES: i64 = 100;
const SAY: Duration = Duration::from_secs(30);
/// Maximum walks through one room that are searched for the line in the log.
const WALKS: i64 = 50;
/// Maximum pages in a row that bring nothing new to a walk without a penalty: some homeservers
/// filter a page after they cut it. After that each page waits longer than the one before ...
pub(super) const BARREN_FREE: u32 = 20;
/// ... and after this many pages in a row the walk ends.
pub(super) const BARREN_MAX: u32 = 28;
const BARREN_PAUSE: Duration = Duration::from_millis(250);
const BARREN_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Maximum tokens and events of a walk that are kept, to recognise them.
const TRAIL_MAX: usize = 50_000;

/// The key of a walk: room, opening and reason.
pub(super) type WalkKey = (String, i64, String);

/// Which walks are processed, and whether to stop after the current page.
#[derive(Debug, Clone)]
pub struct BackfillScope {
    /// `None` = every room.
    pub rooms: Option<BTreeSet<String>>,
    /// Maximum attempts for a room that fails.
    pub tries: u32,
    pub stop: watch::Receiver<bool>,
}

impl BackfillScope {
    /// Every room, for ever.
    pub(in crate::observer) fn everything() -> Self {
        Self {
            rooms: None,
            tries: u32::MAX,
            stop: watch::channel(false).1,
        }
    }

    pub(in crate::observer) fn takes(&self, room_id: &str) -> bool {
        self.rooms
            .as_ref()
            .is_none_or(|rooms| rooms.contains(room_id))
    }

    pub(in crate::observer) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits this long, or until it is time to stop.
    pub(in crate::observer) async fn pause(&self, time: Duration) {
        let mut stop = self.stop.clone();
        let stopped = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };

        let _ = tokio::time::timeout(time, stopped).await;
    }
}

/// A walk that failed.
#[derive(Debug)]
struct FailedWalk {
    patience: Backoff,
    due: Instant,
    /// The error recorded on its room.
    text: String,
    tries: u32,
}

/// The progress of a walk in this process, for the log.
#[derive(Debug)]
struct LogPace {
    last: Instant,
    said: Instant,
    said_pages: i64,
}

/// What a walk has read in this process: hashes of tokens and of event ids.
#[derive(Debug, Default)]
struct VisitedPages {
    tokens: HashSet<u64>,
    events: HashSet<u64>,
    /// Pages in a row that brought nothing new to the walk.
    barren: u32,
    /// When the next page may be requested.
    due: Option<Instant>,
}

/// How a page relates to the pages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageNovelty {
    /// Its end is a token that the walk had before.
    pub circle: bool,
    /// The number of pages in a row, this one included, that brought nothing new to the walk.
    pub barren: u32,
}

#[derive(Debug, Default)]
pub(super) struct WalkStates {
    failed: HashMap<WalkKey, FailedWalk>,
    pace: HashMap<WalkKey, LogPace>,
    trails: HashMap<WalkKey, VisitedPages>,
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

pub(in crate::observer) fn walk_key(walk: &Walk) -> WalkKey {
    (walk.room_id.clone(), walk.opened_ms, walk.reason.clone())
}

/// Describes what is read, for the log.
pub(in crate::observer) fn describe_walk(walk: &Walk) -> String {
    if walk.reason == "gap" {
        format!("gap in {}", walk.room_id)
    } else {
        format!("history of {}", walk.room_id)
    }
}

impl WalkStates {
    /// Drops walks that are done.
    pub fn keep(&mut self, todo: &[Walk]) {
        let open: BTreeSet<WalkKey> = todo.iter().map(walk_key).collect();
        self.failed.retain(|name, _| open.contains(name));
        self.pace.retain(|name, _| open.contains(name));
        self.trails.retain(|name, _| open.contains(name));
    }

    /// Notes a page that was requested with the walk's token, and compares it with the pages
    /// before. Pages that bring nothing new make the walk wait.
    pub fn goes_on<'a>(
        &mut self,
        walk: &Walk,
        end: Option<&str>,
        event_ids: impl Iterator<Item = &'a str>,
    ) -> PageNovelty {
        let trail = self.trails.entry(walk_key(walk)).or_default();
        if trail.tokens.len() + trail.events.len() > TRAIL_MAX {
            trail.tokens.clear();
            trail.events.clear();
        }

        trail.tokens.extend(walk.token.as_deref().map(hash));
        let circle = end.is_some_and(|end| trail.tokens.contains(&hash(end)));
        let mut is_new = false;
        for event_id in event_ids {
            is_new |= trail.events.insert(hash(event_id));
        }

        trail.barren = if is_new { 0 } else { trail.barren + 1 };
        let over = trail.barren.saturating_sub(BARREN_FREE);
        let pause = BARREN_PAUSE.saturating_mul(1 << over.min(8));
        trail.due = (over > 0).then(|| Instant::now() + pause.min(BARREN_PAUSE_MAX));

        PageNovelty {
            circle,
            barren: trail.barren,
        }
    }

    /// Pages in a row that brought nothing new to this walk.
    pub fn barren(&self, walk: &Walk) -> u32 {
        self.trails
            .get(&walk_key(walk))
            .map_or(0, |trail| trail.barren)
    }

    /// May the next page of this walk be read now? Not while a walk without news pauses, nor while a
    /// failed walk waits for its next try, nor when its tries are used up (only the command
    /// `callscope backfill` limits them).
    pub fn is_due(&self, walk: &Walk, scope: &BackfillScope) -> bool {
        let (key, now) = (walk_key(walk), Instant::now());
        let next_page = self.trails.get(&key).and_then(|trail| trail.due);
        let failed = self.failed.get(&key);

        next_page.is_none_or(|due| due <= now)
            && failed.is_none_or(|failed| failed.due <= now && failed.tries < scope.tries)
    }

    /// When the next failed or delayed walk is due; `None` if there is none.
    pub fn next_due(&self, scope: &BackfillScope) -> Option<Duration> {
        let again = self
            .failed
            .values()
            .filter(|failed| failed.tries < scope.tries);
        let slow = self.trails.values().filter_map(|trail| trail.due);

        again
            .map(|failed| failed.due)
            .chain(slow)
            .map(|due| due.saturating_duration_since(Instant::now()))
            .min()
    }

    /// A walk failed: it waits.
    pub fn put_off(&mut self, walk: &Walk, error: &Error, text: String) {
        self.pace.remove(&walk_key(walk));
        let new = || FailedWalk {
            patience: Backoff::new(),
            due: Instant::now(),
            text: String::new(),
            tries: 0,
        };

        let failed = self.failed.entry(walk_key(walk)).or_insert_with(new);
        failed.due = Instant::now() + Observer::pause(error, &mut failed.patience);
        failed.text = text;
        failed.tries += 1;
    }

    /// The walk succeeded again. Returns the error that was recorded on its room.
    pub fn overcome(&mut self, walk: &Walk) -> Option<String> {
        self.failed
            .remove(&walk_key(walk))
            .map(|failed| failed.text)
    }

    /// Rooms whose walks failed, and the recorded errors.
    pub fn failed(&self) -> BTreeMap<String, String> {
        self.failed
            .iter()
            .map(|((room_id, _, _), failed)| (room_id.clone(), failed.text.clone()))
            .collect()
    }

    /// Nothing was read for a while: that time does not count as reading.
    pub fn broke(&mut self) {
        self.pace.clear();
    }

    /// A page is requested. The first one of this process is logged.
    pub fn begins(&mut self, walk: &Walk) {
        let now = Instant::now();
        self.pace.entry(walk_key(walk)).or_insert_with(|| {
            match walk.pages {
                0 => tracing::info!("{}: reading begins", describe_walk(walk)),
                pages => tracing::info!(
                    "{}: reading goes on after {pages} pages",
                    describe_walk(walk)
                ),
            }

            LogPace {
                last: now,
                said: now,
                said_pages: walk.pages,
            }
        });
    }

    /// A page came. Returns the time since the one before, ms.
    pub fn took(&mut self, walk: &Walk) -> i64 {
        let Some(pace) = self.pace.get_mut(&walk_key(walk)) else {
            return 0;
        };

        let since = std::mem::replace(&mut pace.last, Instant::now()).elapsed();

        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Is it time for a line in the log?
    fn is_time(&mut self, walk: &Walk) -> bool {
        let Some(pace) = self.pace.get_mut(&walk_key(walk)) else {
            return false;
        };

        let is_time = pace.said.elapsed() >= SAY || walk.pages + 1 - pace.said_pages >= SAY_PAGES;
        if is_time {
            (pace.said, pace.said_pages) = (Instant::now(), walk.pages + 1);
        }

        is_time
    }
}

impl Observer {
    /// Logs now and then how far a walk is.
    pub(super) async fn say_how_far(
        &self,
        walk: &Walk,
        course: &mut WalkStates,
    ) -> Result<(), Error> {
        if !course.is_time(walk) {
            return Ok(());
        }

        let walks =
            history_progress::progress_of_room(&self.store, Viewer::Operator, &walk.room_id, WALKS)
                .await?;
        let this = walks
            .iter()
            .find(|one| one.opened_ms == walk.opened_ms && one.reason == walk.reason);
        if let Some(this) = this {
            tracing::info!("{}: {}", describe_walk(walk), describe_progress(this));
        }

        Ok(())
    }
}

/// How far a walk is, in words.
fn describe_progress(walk: &WalkProgress) -> String {
    let mut parts = vec![
        format!("{} pages", walk.pages),
        format!("{} new events", walk.found),
    ];
    if let Some(at) = walk
        .reached_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
    {
        parts.push(format!("back to {}", at.strftime("%Y-%m-%d %H:%M UTC")));
    }

    if let Some(percent) = walk.ahead_percent() {
        parts.push(format!("about {percent} % still ahead"));
    }

    parts.extend(
        walk.events_per_second()
            .map(|rate| format!("{rate} events/s")),
    );

    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn walk(pages: i64) -> Walk {
        let (room_id, reason) = ("!r:h".to_owned(), "history".to_owned());
        Walk {
            room_id,
            opened_ms: 5,
            reason,
            token: None,
            before_stream: 0,
            pages,
            found: 0,
            reached_ms: None,
        }
    }

    #[test]
    fn what_fails_waits_and_is_tried_so_often() {
        let (mut course, mut scope) = (
            WalkStates::default(),
            BackfillScope {
                tries: 2,
                ..BackfillScope::everything()
            },
        );
        let error = Error::Store(store::Error::NoFile);
        assert!(course.is_due(&walk(0), &scope) && course.next_due(&scope).is_none());
        course.put_off(&walk(0), &error, "no".into());
        assert!(!course.is_due(&walk(0), &scope), "not at once");
        assert!(course.next_due(&scope).is_some());
        course.put_off(&walk(0), &error, "no".into());
        assert!(course.next_due(&scope).is_none(), "twice is enough");
        assert_eq!(
            course.failed(),
            [("!r:h".to_owned(), "no".to_owned())].into()
        );
        scope.tries = u32::MAX;
        assert!(course.next_due(&scope).is_some(), "a server never gives up");
        assert_eq!(course.overcome(&walk(0)).as_deref(), Some("no"));
        assert!(course.is_due(&walk(0), &scope) && course.failed().is_empty());
    }

    #[test]
    fn a_walk_that_turns_in_a_circle_or_brings_nothing_new_is_known() {
        let (mut course, scope) = (WalkStates::default(), BackfillScope::everything());
        let at = |token: &str| Walk {
            token: Some(token.to_owned()),
            ..walk(0)
        };

        let none = std::iter::empty;
        assert!(!course.goes_on(&at("t1"), Some("t2"), none()).circle);
        let seen = course.goes_on(&at("t2"), Some("t1"), none());
        assert_eq!((seen.circle, seen.barren), (true, 2));
        let seen = course.goes_on(&at("t3"), Some("t4"), ["$1", "$2"].into_iter());
        assert_eq!((seen.circle, seen.barren), (false, 0));
        for page in 1..=BARREN_FREE {
            let seen = course.goes_on(&at(&format!("a{page}")), Some("x"), ["$2"].into_iter());
            assert_eq!(seen.barren, page, "it was there before");
            assert!(course.is_due(&walk(0), &scope));
        }

        course.goes_on(&at("b"), Some("x"), none());
        assert!(!course.is_due(&walk(0), &scope), "it slows down");
        assert!(course.next_due(&scope).is_some());
        course.goes_on(&at("c"), Some("x"), ["$3"].into_iter());
        assert!(course.is_due(&walk(0), &scope));
    }

    #[test]
    fn a_line_comes_after_many_pages() {
        let mut course = WalkStates::default();
        assert!(
            !course.is_time(&walk(0)) && course.took(&walk(0)) == 0,
            "it has not begun"
        );
        course.begins(&walk(7));
        assert!(!course.is_time(&walk(7 + SAY_PAGES - 2)));
        assert!(course.is_time(&walk(7 + SAY_PAGES - 1)) && !course.is_time(&walk(7 + SAY_PAGES)));
        course.keep(&[]);
        assert!(
            !course.is_time(&walk(7 + 5 * SAY_PAGES)),
            "done walks are forgotten"
        );
    }

    #[tokio::test]
    async fn a_pause_ends_when_it_is_time_to_stop() {
        let (stop, receiver) = watch::channel(false);
        let scope = BackfillScope {
            stop: receiver,
            ..BackfillScope::everything()
        };

        let waits = tokio::spawn({
            let scope = scope.clone();
            async move { scope.pause(Duration::from_hours(1)).await }
        });
        assert!(!scope.stopped());
        stop.send(true).unwrap();
        waits.await.unwrap();
        assert!(scope.stopped());
    }

    #[test]
    fn how_far_is_said_in_words() {
        let walk = WalkProgress {
            reason: "history".into(),
            opened_ms: 1_700_000_000_000,
            created_ms: Some(1_600_000_000_000),
            reached_ms: Some(1_640_000_000_000),
            pages: 12,
            found: 3000,
            spent_ms: 1500,
            ..WalkProgress::default()
        };

        let want = "12 pages, 3000 new events, back to 2021-12-20 11:33 UTC, about 40 % still \
                    ahead, 2000 events/s";
        assert_eq!(describe_progress(&walk), want);
    }
}
