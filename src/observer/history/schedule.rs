//! The state of reads in this process: which failed and when each is due again, and how each
//! progresses.

use crate::observer::backoff::Backoff;
use crate::observer::{Error, Observer};
use crate::rtc::words::JobKind;
use crate::store::ingest::history_jobs::job::{HistoryJob, JobKey};
use crate::store::read::history_progress::{self, ReadProgress};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The log has a line after this many pages or this much time.
const SAY_PAGES: i64 = 100;
const SAY: Duration = Duration::from_secs(30);
/// Maximum reads of one room that are searched for the line in the log.
const READS: i64 = 50;
/// Maximum pages in a row that bring nothing new to a read without a penalty: some homeservers
/// filter a page after they cut it. After that each page waits longer than the one before ...
pub(super) const BARREN_FREE: u32 = 20;
/// ... and after this many pages in a row the read ends.
pub(super) const BARREN_MAX: u32 = 28;
const BARREN_PAUSE: Duration = Duration::from_millis(250);
const BARREN_PAUSE_MAX: Duration = Duration::from_secs(8);
/// Maximum tokens and events of a read that are kept, to recognise them.
const TRAIL_MAX: usize = 50_000;

/// Which jobs are worked on, and whether to stop after the current request.
#[derive(Debug, Clone)]
pub struct BackfillScope {
    /// `None` = every room.
    pub rooms: Option<BTreeSet<String>>,
    /// Maximum attempts for a room that fails; `u32::MAX` = it is never given up.
    pub tries: u32,
    /// Becomes true when it is time to stop, and stays so.
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

    /// Does this work read the room?
    pub(in crate::observer) fn takes(&self, room_id: &str) -> bool {
        self.rooms
            .as_ref()
            .is_none_or(|rooms| rooms.contains(room_id))
    }

    /// Is it time to stop?
    pub(in crate::observer) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Is this job worked on? Missing events are asked for in every room, since they are few.
    pub(super) fn takes_job(&self, job: &HistoryJob) -> bool {
        job.kind == JobKind::Event || self.takes(&job.room_id)
    }

    /// Does the error end this work? Only the command `callscope backfill` gives up (it limits the
    /// attempts), when its account is refused.
    pub(super) fn gives_up_at(&self, error: &Error) -> bool {
        let is_revoked = matches!(error, Error::Matrix(error) if error.is_revoked());

        is_revoked && self.tries < u32::MAX
    }

    /// Waits this long, or until it is time to stop.
    pub(in crate::observer) async fn pause(&self, time: Duration) {
        self.unless_stopped(tokio::time::sleep(time)).await;
    }

    /// Waits for this future, or until it is time to stop.
    pub(super) async fn unless_stopped(&self, wait: impl Future<Output = ()>) {
        let mut stop = self.stop.clone();
        let stopped = async {
            // If nobody can stop it any more, it never ends.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };

        tokio::select! {
            () = wait => {}
            () = stopped => {}
        }
    }
}

/// A read that failed.
#[derive(Debug)]
struct FailedRead {
    backoff: Backoff,
    due: Instant,
    /// The error recorded on its room.
    text: String,
    tries: u32,
}

/// The progress of a read in this process, for the log.
#[derive(Debug)]
struct LogPace {
    /// When the last page came.
    last: Instant,
    /// The last line in the log: when, and after how many pages.
    said: Instant,
    said_pages: i64,
}

/// What a read has seen in this process: hashes of tokens and of event ids.
#[derive(Debug, Default)]
struct VisitedPages {
    tokens: HashSet<u64>,
    events: HashSet<u64>,
    /// Pages in a row that brought nothing new to the read.
    barren: u32,
    /// When the next page may be requested.
    due: Option<Instant>,
}

/// How a page relates to the pages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageNovelty {
    /// Its end is a token that the read had before.
    pub circle: bool,
    /// The number of pages in a row, this one included, that brought nothing new to the read.
    pub barren: u32,
}

/// What this process knows of its reads. What is stored of them is in the database.
#[derive(Debug, Default)]
pub(super) struct JobStates {
    /// The reads that failed last time.
    failed: HashMap<JobKey, FailedRead>,
    /// The reads that get pages, for the log.
    pace: HashMap<JobKey, LogPace>,
    /// What each read has seen, to find pages that bring nothing new.
    trails: HashMap<JobKey, VisitedPages>,
}

/// A short hash, so that a long trail takes little memory.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl JobStates {
    /// Forgets reads that are not among `open`, which must be all open reads: they are done.
    pub fn forget_others(&mut self, open: &[HistoryJob]) {
        let open: BTreeSet<JobKey> = open.iter().map(HistoryJob::key).collect();
        self.failed.retain(|name, _| open.contains(name));
        self.pace.retain(|name, _| open.contains(name));
        self.trails.retain(|name, _| open.contains(name));
    }

    /// Notes a page that was requested with the read's token, and tells how it relates to the pages
    /// before it. `end` is the token of the next page; `event_ids` are those of all its events,
    /// also of types that are not stored. Pages that bring nothing new make the read wait longer
    /// each time; one that brings something ends that.
    pub fn note_page<'a>(
        &mut self,
        read: &HistoryJob,
        end: Option<&str>,
        event_ids: impl Iterator<Item = &'a str>,
    ) -> PageNovelty {
        let trail = self.trails.entry(read.key()).or_default();
        if trail.tokens.len() + trail.events.len() > TRAIL_MAX {
            trail.tokens.clear();
            trail.events.clear();
        }

        trail.tokens.extend(read.token.as_deref().map(hash));
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

    /// How many pages in a row have brought nothing new to this read.
    pub fn barren(&self, read: &HistoryJob) -> u32 {
        self.trails.get(&read.key()).map_or(0, |trail| trail.barren)
    }

    /// May this job, which is due by its row, be worked on now? Not while a read without news
    /// pauses, nor while a failed read waits for its next try, nor when its tries are used up (only
    /// the command `callscope backfill` limits them).
    pub fn is_due(&self, read: &HistoryJob, scope: &BackfillScope) -> bool {
        let (key, now) = (read.key(), Instant::now());
        let next_page = self.trails.get(&key).and_then(|trail| trail.due);
        let failed = self.failed.get(&key);

        next_page.is_none_or(|due| due <= now)
            && failed.is_none_or(|failed| failed.due <= now && failed.tries < scope.tries)
    }

    /// How long until the next failed or delayed read is due; `None` if there is none.
    pub fn next_due(&self, scope: &BackfillScope) -> Option<Duration> {
        let next_page = |key| self.trails.get(key).and_then(|trail| trail.due);
        let again = self
            .failed
            .iter()
            .filter(|(_, failed)| failed.tries < scope.tries)
            .map(|(key, failed)| next_page(key).map_or(failed.due, |due| due.max(failed.due)));
        // A failed read waits until both are due, and one that is given up is never due.
        let slow = self
            .trails
            .iter()
            .filter(|(key, _)| !self.failed.contains_key(key))
            .filter_map(|(_, trail)| trail.due);

        again
            .chain(slow)
            .map(|due| due.saturating_duration_since(Instant::now()))
            .min()
    }

    /// Notes that a read failed: it waits, longer each time, until [`Self::note_recovery`]. `text`
    /// is the error that its room shows.
    pub fn note_failure(&mut self, read: &HistoryJob, error: &Error, text: String) {
        self.pace.remove(&read.key());
        let new = || FailedRead {
            backoff: Backoff::new(),
            due: Instant::now(),
            text: String::new(),
            tries: 0,
        };

        let failed = self.failed.entry(read.key()).or_insert_with(new);
        failed.due = Instant::now() + Observer::pause(error, &mut failed.backoff);
        failed.text = text;
        failed.tries += 1;
    }

    /// Notes that a read works. Returns the error that was recorded on its room, if it had failed.
    pub fn note_recovery(&mut self, read: &HistoryJob) -> Option<String> {
        self.failed.remove(&read.key()).map(|failed| failed.text)
    }

    /// The rooms whose reads failed last time, with the recorded errors.
    pub fn failed(&self) -> BTreeMap<String, String> {
        self.failed
            .iter()
            .map(|(key, failed)| (key.room_id.clone(), failed.text.clone()))
            .collect()
    }

    /// Notes that nothing was read for a while, so that this time does not count as reading.
    pub fn forget_paces(&mut self) {
        self.pace.clear();
    }

    /// Notes that a page is requested, so that [`Self::note_page_came`] can measure. The first one
    /// of this process, or after a break, is logged.
    pub fn note_request(&mut self, read: &HistoryJob) {
        let now = Instant::now();
        self.pace.entry(read.key()).or_insert_with(|| {
            match read.pages {
                0 => tracing::info!("reading begins"),
                pages => tracing::info!(pages, "reading goes on"),
            }

            LogPace {
                last: now,
                said: now,
                said_pages: read.pages,
            }
        });
    }

    /// Notes that a page came. Returns the time since the one before, or since the read began, ms;
    /// 0 if no request was noted.
    pub fn note_page_came(&mut self, read: &HistoryJob) -> i64 {
        let Some(pace) = self.pace.get_mut(&read.key()) else {
            return 0;
        };

        let since = std::mem::replace(&mut pace.last, Instant::now()).elapsed();

        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Is it time for a line in the log about this read? If so, it counts as written.
    fn is_time(&mut self, read: &HistoryJob) -> bool {
        let Some(pace) = self.pace.get_mut(&read.key()) else {
            return false;
        };

        let is_time = pace.said.elapsed() >= SAY || read.pages + 1 - pace.said_pages >= SAY_PAGES;
        if is_time {
            (pace.said, pace.said_pages) = (Instant::now(), read.pages + 1);
        }

        is_time
    }
}

impl Observer {
    /// Logs now and then how far a read is: after [`SAY_PAGES`] pages or [`SAY`].
    pub(super) async fn say_how_far(
        &self,
        read: &HistoryJob,
        states: &mut JobStates,
    ) -> Result<(), Error> {
        if !states.is_time(read) {
            return Ok(());
        }

        let reads = history_progress::progress_of_room(&self.store, &read.room_id, READS).await?;
        if let Some(this) = reads.iter().find(|one| one.job.key() == read.key()) {
            log_progress(this);
        }

        Ok(())
    }
}

/// Logs how far a read is.
fn log_progress(read: &ReadProgress) {
    let reached = read
        .job
        .reached_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());

    tracing::info!(
        pages = read.job.pages,
        found = read.job.found,
        reached = reached.map(tracing::field::display),
        ahead_percent = read.ahead_percent(),
        events_per_second = read.events_per_second(),
        "history is being read",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use std::sync::Mutex;

    fn read(pages: i64) -> HistoryJob {
        HistoryJob {
            room_id: "!r:h".to_owned(),
            opened_ms: 5,
            pages,
            ..HistoryJob::default()
        }
    }

    #[test]
    fn what_fails_waits_and_is_tried_so_often() {
        let (mut states, mut scope) = (
            JobStates::default(),
            BackfillScope {
                tries: 2,
                ..BackfillScope::everything()
            },
        );
        let error = Error::Store(store::Error::NoFile);
        assert!(states.is_due(&read(0), &scope) && states.next_due(&scope).is_none());
        states.note_failure(&read(0), &error, "no".into());
        assert!(!states.is_due(&read(0), &scope), "not at once");
        assert!(states.next_due(&scope).is_some());
        states.note_failure(&read(0), &error, "no".into());
        assert!(states.next_due(&scope).is_none(), "twice is enough");
        assert_eq!(
            states.failed(),
            [("!r:h".to_owned(), "no".to_owned())].into()
        );
        scope.tries = u32::MAX;
        assert!(states.next_due(&scope).is_some(), "a server never gives up");
        assert_eq!(states.note_recovery(&read(0)).as_deref(), Some("no"));
        assert!(states.is_due(&read(0), &scope) && states.failed().is_empty());
    }

    #[test]
    fn a_read_that_turns_in_a_circle_or_brings_nothing_new_is_known() {
        let (mut states, scope) = (JobStates::default(), BackfillScope::everything());
        let at = |token: &str| HistoryJob {
            token: Some(token.to_owned()),
            ..read(0)
        };

        let none = std::iter::empty;
        assert!(!states.note_page(&at("t1"), Some("t2"), none()).circle);
        let seen = states.note_page(&at("t2"), Some("t1"), none());
        assert_eq!((seen.circle, seen.barren), (true, 2));
        let seen = states.note_page(&at("t3"), Some("t4"), ["$1", "$2"].into_iter());
        assert_eq!((seen.circle, seen.barren), (false, 0));
        for page in 1..=BARREN_FREE {
            let seen = states.note_page(&at(&format!("a{page}")), Some("x"), ["$2"].into_iter());
            assert_eq!(seen.barren, page, "it was there before");
            assert!(states.is_due(&read(0), &scope));
        }

        states.note_page(&at("b"), Some("x"), none());
        assert!(!states.is_due(&read(0), &scope), "it slows down");
        assert!(states.next_due(&scope).is_some());
        states.note_page(&at("c"), Some("x"), ["$3"].into_iter());
        assert!(states.is_due(&read(0), &scope));
    }

    #[test]
    fn a_line_comes_after_many_pages() {
        let mut states = JobStates::default();
        assert!(
            !states.is_time(&read(0)) && states.note_page_came(&read(0)) == 0,
            "it has not begun"
        );
        states.note_request(&read(7));
        assert!(!states.is_time(&read(7 + SAY_PAGES - 2)));
        assert!(states.is_time(&read(7 + SAY_PAGES - 1)) && !states.is_time(&read(7 + SAY_PAGES)));
        states.forget_others(&[]);
        assert!(
            !states.is_time(&read(7 + 5 * SAY_PAGES)),
            "done reads are forgotten"
        );
    }

    #[test]
    fn a_read_that_is_given_up_is_never_due() {
        let (scope, read) = (BackfillScope::everything(), HistoryJob::default());
        let mut states = JobStates::default();
        let trail = states.trails.entry(read.key()).or_default();
        trail.due = Some(Instant::now());
        assert_eq!(states.next_due(&scope), Some(Duration::ZERO));

        let due = Instant::now() + Duration::from_secs(9);
        let failed = FailedRead {
            backoff: Backoff::new(),
            due,
            text: String::new(),
            tries: 1,
        };
        states.failed.insert(read.key(), failed);
        let wait = states.next_due(&scope).unwrap();
        assert!(wait > Duration::from_secs(5), "{wait:?}");

        let scope = BackfillScope { tries: 1, ..scope };
        assert_eq!(states.next_due(&scope), None);
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
    fn how_far_is_logged_in_fields() {
        let read = ReadProgress {
            created_ms: Some(1_600_000_000_000),
            job: HistoryJob {
                opened_ms: 1_700_000_000_000,
                reached_ms: Some(1_640_000_000_000),
                pages: 12,
                found: 3000,
                spent_ms: 1500,
                ..HistoryJob::default()
            },
            ..ReadProgress::default()
        };

        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Mutex::new(log.reopen().unwrap()))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || log_progress(&read));

        let line = std::fs::read_to_string(log.path()).unwrap();
        let want = "history is being read pages=12 found=3000 reached=2021-12-20T11:33:20Z \
                    ahead_percent=40 events_per_second=2000";
        assert!(line.trim_end().ends_with(want), "{line}");
    }
}
