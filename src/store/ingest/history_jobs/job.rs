//! A job that reads a part of a room's history: its row, and what jobs of all kinds do.

use crate::rtc::words::{JobEnd, JobKind};
use crate::store::db::word_column::{maybe_word_from_row, word_from_row};
use crate::store::{Error, Reader, Tx, Writer};
use sqlx::Row;
use sqlx::any::AnyRow;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Delays after which a read that ended too early is tried again, ms; the last one repeats.
const AFTER_READ: [i64; 7] = [
    5 * SECOND,
    30 * SECOND,
    5 * MINUTE,
    HOUR,
    6 * HOUR,
    DAY,
    7 * DAY,
];
/// Delays after which a refused event is asked for again, ms. A homeserver that lags behind the
/// others returns an event once it has fetched what lies before it. An event that is hidden from us
/// stays hidden.
const AFTER_EVENT: [i64; 3] = [10 * SECOND, 10 * MINUTE, DAY];
/// Delay after a recheck that failed, ms, and the number of attempts.
const AFTER_RECHECK: i64 = MINUTE;
const RECHECK_TRIES_MAX: i64 = 20;

/// Maximum number of jobs of their turn before the open reads have theirs again.
const ENDED_READS_MAX: i64 = 10;
const EVENTS_MAX: i64 = 20;

/// How long a job waits after so many attempts in vain, ms; `None` = it is given up. A read that
/// ended too early has had none at first; a job of another kind has had one at least.
pub(super) fn delay_after_tries(kind: JobKind, tries: i64) -> Option<i64> {
    let at = |tries| usize::try_from(tries).ok();

    match kind {
        // The end of a read is no attempt: that it was tried again is.
        JobKind::Backfill | JobKind::Gap => {
            let delay = at(tries).and_then(|tries| AFTER_READ.get(tries));
            delay.or(AFTER_READ.last()).copied()
        }
        JobKind::Recheck => (tries < RECHECK_TRIES_MAX).then_some(AFTER_RECHECK),
        JobKind::Event => at(tries - 1)
            .and_then(|tries| AFTER_EVENT.get(tries))
            .copied(),
    }
}

/// What tells a job from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    pub kind: JobKind,
    pub room_id: String,
    pub opened_ms: i64,
    pub event_id: String,
}

/// A job, done or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryJob {
    pub kind: JobKind,
    pub room_id: String,
    /// 0 for a recheck, of which a room has one, and for an event.
    pub opened_ms: i64,
    /// The event to ask for; empty for the other kinds.
    pub event_id: String,
    /// When to work on it next, ms; `None` = never again.
    pub due_ms: Option<i64>,
    /// When it was done, ms. A read that ended too early is due again.
    pub done_ms: Option<i64>,
    /// Why it was done.
    pub ended_by: Option<JobEnd>,
    /// How often it was tried again, or in vain.
    pub tries: i64,
    /// Where to continue; `None` = at the newest event.
    pub token: Option<String>,
    pub first_token: Option<String>,
    /// The token of a read's last request; `None` = the newest event.
    pub last_token: Option<String>,
    /// Events at the end of the last page were too old and were dropped.
    pub is_cut: bool,
    /// Pages read so far; of a recheck, in this round.
    pub pages: i64,
    /// Pages that a round of a recheck reads.
    pub pages_max: i64,
    /// New events so far; of a recheck, in this round.
    pub found: i64,
    /// How many times a recheck read its gap.
    pub round: i64,
    /// Events stored before it was opened have at most this number.
    pub before_stream: i64,
    /// How far back it has come, ms.
    pub reached_ms: Option<i64>,
    /// When live sync last heard before the gap, ms, if it is a gap of live sync.
    pub since_ms: Option<i64>,
    /// Events older than this, ms, are not wanted.
    pub horizon_ms: Option<i64>,
    /// Time spent reading, without stops, ms.
    pub spent_ms: i64,
    /// The opening of the first job of those that read one span, one after the other.
    pub continues_ms: Option<i64>,
}

impl HistoryJob {
    /// What tells this job from all others.
    #[must_use]
    pub fn key(&self) -> JobKey {
        JobKey {
            kind: self.kind,
            room_id: self.room_id.clone(),
            opened_ms: self.opened_ms,
            event_id: self.event_id.clone(),
        }
    }

    /// Is it a read that is not done?
    #[must_use]
    pub fn is_open_read(&self) -> bool {
        matches!(self.kind, JobKind::Backfill | JobKind::Gap) && self.done_ms.is_none()
    }

    /// From the columns of the same names.
    pub(in crate::store) fn from_row(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            kind: word_from_row(row, "kind")?,
            room_id: row.try_get("room_id")?,
            opened_ms: row.try_get("opened_ms")?,
            event_id: row.try_get("event_id")?,
            due_ms: row.try_get("due_ms")?,
            done_ms: row.try_get("done_ms")?,
            ended_by: maybe_word_from_row(row, "ended_by")?,
            tries: row.try_get("tries")?,
            token: row.try_get("token")?,
            first_token: row.try_get("first_token")?,
            last_token: row.try_get("last_token")?,
            is_cut: row.try_get::<i64, _>("cut")? == 1,
            pages: row.try_get("pages")?,
            pages_max: row.try_get("pages_max")?,
            found: row.try_get("found")?,
            round: row.try_get("round")?,
            before_stream: row.try_get("before_stream")?,
            reached_ms: row.try_get("reached_ms")?,
            since_ms: row.try_get("since_ms")?,
            horizon_ms: row.try_get("horizon_ms")?,
            spent_ms: row.try_get("spent_ms")?,
            continues_ms: row.try_get("continues_ms")?,
        })
    }
}

const FIND: &str = "select * from history_jobs where kind = $1 and room_id = $2
    and opened_ms = $3 and event_id = $4";

/// The job as it is stored now; `None` if there is none.
pub(super) async fn find_job(tx: &mut Tx, key: &JobKey) -> Result<Option<HistoryJob>, Error> {
    let query = sqlx::query(FIND)
        .bind(key.kind.as_str())
        .bind(&key.room_id)
        .bind(key.opened_ms)
        .bind(&key.event_id);
    let row = query.fetch_optional(&mut **tx).await?;

    row.as_ref().map(HistoryJob::from_row).transpose()
}

// The depth of an event is set where missing events are found, and stays.
const SAVE: &str = "insert into history_jobs (kind, room_id, opened_ms, event_id, due_ms, done_ms,
        ended_by, tries, token, first_token, last_token, cut, pages, pages_max, found, round,
        before_stream, reached_ms, since_ms, horizon_ms, spent_ms, continues_ms)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21, $22)
    on conflict (kind, room_id, opened_ms, event_id) do update set
        due_ms = excluded.due_ms, done_ms = excluded.done_ms, ended_by = excluded.ended_by,
        tries = excluded.tries, token = excluded.token, first_token = excluded.first_token,
        last_token = excluded.last_token, cut = excluded.cut, pages = excluded.pages,
        pages_max = excluded.pages_max, found = excluded.found, round = excluded.round,
        before_stream = excluded.before_stream, reached_ms = excluded.reached_ms,
        since_ms = excluded.since_ms, horizon_ms = excluded.horizon_ms,
        spent_ms = excluded.spent_ms, continues_ms = excluded.continues_ms";

/// Stores the job as it is given.
pub(super) async fn save_job(tx: &mut Tx, job: &HistoryJob) -> Result<(), Error> {
    let query = sqlx::query(SAVE)
        .bind(job.kind.as_str())
        .bind(&job.room_id)
        .bind(job.opened_ms)
        .bind(&job.event_id)
        .bind(job.due_ms)
        .bind(job.done_ms)
        .bind(job.ended_by.map(JobEnd::as_str))
        .bind(job.tries)
        .bind(&job.token)
        .bind(&job.first_token)
        .bind(&job.last_token)
        .bind(i64::from(job.is_cut));
    query
        .bind(job.pages)
        .bind(job.pages_max)
        .bind(job.found)
        .bind(job.round)
        .bind(job.before_stream)
        .bind(job.reached_ms)
        .bind(job.since_ms)
        .bind(job.horizon_ms)
        .bind(job.spent_ms)
        .bind(job.continues_ms)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// Stores a new job. One with the same key stays as it is.
pub(super) async fn open_job(tx: &mut Tx, job: &HistoryJob) -> Result<(), Error> {
    if find_job(tx, &job.key()).await?.is_none() {
        save_job(tx, job).await?;
    }

    Ok(())
}

/// The order in which jobs have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobTurn {
    /// Reads that are not done.
    OpenRead,
    Recheck,
    /// Reads that ended too early.
    EndedRead,
    Event,
}

impl JobTurn {
    pub const ALL: [Self; 4] = [Self::OpenRead, Self::Recheck, Self::EndedRead, Self::Event];
}

// Gaps come before whole histories, and what was opened first comes first. An event is named by its
// successor, which has a smaller depth. An open read of a room may bring what its other jobs look
// for.
macro_rules! due_jobs {
    ($which:literal) => {
        due_jobs!(@ $which "")
    };
    ($which:literal, in_settled_rooms) => {
        due_jobs!(@ $which " and not exists (select 1 from history_jobs o where
            o.room_id = j.room_id and o.kind in ('backfill', 'gap') and o.done_ms is null)")
    };
    (@ $which:literal $rooms:literal) => {
        concat!(
            "select j.* from history_jobs j where j.due_ms <= $1 and ",
            $which,
            $rooms,
            " order by j.due_ms, j.kind desc, j.depth, j.opened_ms, j.room_id, j.event_id
            limit $2"
        )
    };
}

const DUE_OPEN_READS: &str = due_jobs!("j.kind in ('backfill', 'gap') and j.done_ms is null");
const DUE_RECHECKS: &str = due_jobs!("j.kind = 'recheck'", in_settled_rooms);
const DUE_ENDED_READS: &str = due_jobs!(
    "j.kind in ('backfill', 'gap') and j.done_ms is not null",
    in_settled_rooms
);
// More predecessors, one after the other, mean that the server makes them up.
const DUE_EVENTS: &str = due_jobs!("j.kind = 'event' and j.depth <= 64", in_settled_rooms);

/// The jobs of this turn that are due at `now`, ms, in the order in which they are worked on.
///
/// # Errors
/// When the database fails.
pub async fn list_due_jobs(
    store: &Reader,
    turn: JobTurn,
    now: i64,
) -> Result<Vec<HistoryJob>, Error> {
    let (sql, limit) = match turn {
        JobTurn::OpenRead => (DUE_OPEN_READS, i64::MAX),
        JobTurn::Recheck => (DUE_RECHECKS, i64::MAX),
        JobTurn::EndedRead => (DUE_ENDED_READS, ENDED_READS_MAX),
        JobTurn::Event => (DUE_EVENTS, EVENTS_MAX),
    };
    let query = sqlx::query(sql).bind(now).bind(limit);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(HistoryJob::from_row).collect()
}

const NEXT: &str = "select min(due_ms) from history_jobs where due_ms > $1";

/// When the next job is due after `now`, ms; `None` if there is none.
///
/// # Errors
/// When the database fails.
pub async fn next_due_time(store: &Reader, now: i64) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(NEXT).bind(now);

    Ok(query.fetch_one(&store.read).await?)
}

/// Stores `new` in place of `job`, as the caller had read that. If the stored one is due at another
/// time than `job`, it was opened anew meanwhile and stays as it is: its work includes that of
/// `job`.
pub(super) async fn replace_job(
    store: &Writer,
    job: &HistoryJob,
    new: &HistoryJob,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let current = find_job(&mut tx, &job.key()).await?;
    if current.is_some_and(|current| current.due_ms == job.due_ms) {
        save_job(&mut tx, new).await?;
    }

    Ok(tx.commit().await?)
}

/// Stores that a job is done at `now`, ms, and why, so that it is never due again.
///
/// # Errors
/// When the database fails.
pub async fn finish_job(
    store: &Writer,
    job: &HistoryJob,
    ended_by: JobEnd,
    now: i64,
) -> Result<(), Error> {
    let done = HistoryJob {
        due_ms: None,
        done_ms: Some(now),
        ended_by: Some(ended_by),
        ..job.clone()
    };

    replace_job(store, job, &done).await
}

/// Stores that an attempt at `now`, ms, was in vain, and when the next one is due. Delays grow;
/// after the last attempt the job is done, for the reason `why`.
///
/// # Errors
/// When the database fails.
pub async fn postpone_job(
    store: &Writer,
    job: &HistoryJob,
    why: JobEnd,
    now: i64,
) -> Result<(), Error> {
    let tries = job.tries + 1;
    let Some(delay) = delay_after_tries(job.kind, tries) else {
        return finish_job(store, job, why, now).await;
    };

    let later = HistoryJob {
        tries,
        due_ms: Some(now + delay),
        ..job.clone()
    };

    replace_job(store, job, &later).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_vain_waits_longer_each_time() {
        let delays = |kind: JobKind, tries: &[i64]| -> Vec<_> {
            tries
                .iter()
                .map(|tries| delay_after_tries(kind, *tries))
                .collect()
        };

        assert_eq!(
            delays(JobKind::Event, &[1, 2, 3, 4, 5]),
            [Some(10_000), Some(600_000), Some(86_400_000), None, None]
        );
        assert_eq!(
            delays(JobKind::Gap, &[0, 1, 6, 7, 100]),
            [5_000, 30_000, 604_800_000, 604_800_000, 604_800_000].map(Some)
        );
        assert_eq!(
            delays(JobKind::Recheck, &[1, 19, 20]),
            [Some(60_000), Some(60_000), None]
        );
    }
}
