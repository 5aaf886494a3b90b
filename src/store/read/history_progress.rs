//! Progress of reading history (back-fill): pages, events, how far back it is, and roughly how much
//! is left.

use crate::rtc::words::JobKind;
use crate::store::derive::room_titles::people_title;
use crate::store::ingest::history_jobs::job::HistoryJob;
use crate::store::model::RoomName;
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A read of a room's history or of a gap in it, done or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadProgress {
    pub room: RoomName,
    /// When the room was created, ms, if that is known and plausible.
    pub created_ms: Option<i64>,
    pub job: HistoryJob,
}

impl ReadProgress {
    #[must_use]
    pub fn is_of_whole_room(&self) -> bool {
        self.job.kind == JobKind::Backfill
    }

    /// The time still to read and the time already read, ms; `None` if it is not known where the
    /// read ends.
    fn ahead_and_behind_ms(&self) -> Option<(i64, i64)> {
        if self.job.done_ms.is_some() {
            return Some((0, 1));
        }

        let begins = if self.is_of_whole_room() {
            self.created_ms
        } else {
            self.job.since_ms
        };

        let goal = begins.max(self.job.horizon_ms)?;
        let reached = self
            .job
            .reached_ms
            .unwrap_or(self.job.opened_ms)
            .clamp(goal.min(self.job.opened_ms), self.job.opened_ms);

        Some((
            reached - goal.min(self.job.opened_ms),
            self.job.opened_ms - reached,
        ))
    }

    /// Roughly how much is left, in percent of the time to read: 0 = done; `None` if it is not
    /// known where the read ends. It is rough because calls are not spread evenly over time.
    #[must_use]
    pub fn ahead_percent(&self) -> Option<i64> {
        if self.job.done_ms.is_some() {
            return Some(0);
        }

        let (ahead, behind) = self.ahead_and_behind_ms()?;
        let percent = i128::from(ahead) * 100 / i128::from((ahead + behind).max(1));

        // At least 1 percent is left until the room's beginning was read.
        Some(i64::try_from(percent).unwrap_or(100).clamp(1, 100))
    }

    /// Roughly how long the read still takes at its pace so far, ms; `None` until enough was read
    /// to tell.
    #[must_use]
    pub fn ahead_ms(&self) -> Option<i64> {
        let (ahead, behind) = self
            .ahead_and_behind_ms()
            .filter(|_| self.job.pages >= 3 && self.job.done_ms.is_none())?;
        if behind == 0 || ahead / behind >= 100 {
            return None;
        }

        i64::try_from(i128::from(self.job.spent_ms) * i128::from(ahead) / i128::from(behind)).ok()
    }

    /// New events for each second spent; `None` before the first page.
    #[must_use]
    pub fn events_per_second(&self) -> Option<i64> {
        (self.job.pages > 0).then(|| self.job.found.saturating_mul(1000) / self.job.spent_ms.max(1))
    }
}

// Matrix began in 2014: an older creation is a wrong clock or a joke. `+ 0` keeps SQLite from
// looking for the creation in the index of times: a room without one would be read completely.
macro_rules! reads {
    ($rest:literal) => {
        concat!(
            "select j.*, r.name, r.alias, ",
            people_title!(),
            " as people_title, (select min(e.origin_server_ts + 0) from events e
                where e.room_id = j.room_id and e.chain is null and e.kind = 'm.room.create'
                and e.state_key = '' and e.origin_server_ts + 0 > 1388534400000) as created_ms
            from history_jobs j left join rooms r on r.room_id = j.room_id
            where j.kind in ('backfill', 'gap') and ",
            $rest
        )
    };
}

pub(in crate::store) const OPEN: &str = reads!(
    "j.done_ms is null
    order by j.kind desc, j.opened_ms, j.room_id limit $1"
);
pub(in crate::store) const OF_ROOM: &str = reads!(
    "j.room_id = $1
    order by j.kind, j.opened_ms desc limit $2"
);
// A read that another one continues is not due again: only the continuing one is listed.
const ENDED_EARLY: &str = reads!(
    "j.done_ms is not null and j.due_ms is not null
    order by j.due_ms, j.room_id, j.opened_ms limit $1"
);

/// The reads that ended before the room's beginning because the homeserver gave no more, and are
/// tried again; those that are due first come first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn reads_ended_early(store: &Reader, limit: i64) -> Result<Vec<ReadProgress>, Error> {
    let query = sqlx::query(ENDED_EARLY).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

const ROOMS_ENDED_EARLY: &str = concat!(
    "select j.room_id, r.name, r.alias, ",
    people_title!(),
    " as people_title from history_jobs j left join rooms r on r.room_id = j.room_id
    where j.kind in ('backfill', 'gap') and j.done_ms is not null and j.due_ms is not null
    group by j.room_id, r.room_id, r.name, r.alias order by j.room_id"
);

/// The rooms with reads that ended before the room's beginning and are tried again, by id.
///
/// # Errors
/// When the database fails.
pub async fn rooms_ended_early(store: &Reader) -> Result<Vec<RoomName>, Error> {
    let rows = sqlx::query(ROOMS_ENDED_EARLY)
        .fetch_all(&store.read)
        .await?;
    rows.iter().map(RoomName::from_row).collect()
}

/// The reads that are not done, in the order in which they have their turn, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn progress_of_open_reads(
    store: &Reader,
    limit: i64,
) -> Result<Vec<ReadProgress>, Error> {
    let query = sqlx::query(OPEN).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

/// The reads of one room: that of its whole history first, then gaps, newest first; at most
/// `limit`.
///
/// # Errors
/// When the database fails.
pub async fn progress_of_room(
    store: &Reader,
    room_id: &str,
    limit: i64,
) -> Result<Vec<ReadProgress>, Error> {
    let query = sqlx::query(OF_ROOM).bind(room_id).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

/// All reads ever, of all rooms or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadSums {
    pub rooms: i64,
    /// Rooms with a read that is not done.
    pub open: i64,
    pub pages: i64,
    pub found: i64,
}

impl std::ops::AddAssign for ReadSums {
    fn add_assign(&mut self, other: Self) {
        self.rooms += other.rooms;
        self.open += other.open;
        self.pages += other.pages;
        self.found += other.found;
    }
}

const SUMS: &str = "select count(distinct room_id) as rooms,
    count(distinct case when done_ms is null then room_id end) as open,
    coalesce(cast(sum(pages) as bigint), 0) as pages, coalesce(cast(sum(found) as bigint),
    0) as found
    from history_jobs where kind in ('backfill', 'gap') and ($1 = '' or room_id = $1)";

/// The sums of all reads, or of those of one room.
///
/// # Errors
/// When the database fails.
pub async fn sum_reads(store: &Reader, room_id: Option<&str>) -> Result<ReadSums, Error> {
    let row = sqlx::query(SUMS)
        .bind(room_id.unwrap_or_default())
        .fetch_one(&store.read)
        .await?;

    Ok(ReadSums {
        rooms: row.try_get("rooms")?,
        open: row.try_get("open")?,
        pages: row.try_get("pages")?,
        found: row.try_get("found")?,
    })
}

fn progress_from_row(row: &AnyRow) -> Result<ReadProgress, Error> {
    Ok(ReadProgress {
        room: RoomName::from_row(row)?,
        created_ms: row.try_get("created_ms")?,
        job: HistoryJob::from_row(row)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read of a whole room, changed.
    fn read(change: impl FnOnce(&mut ReadProgress)) -> ReadProgress {
        let mut read = ReadProgress {
            created_ms: Some(2_000),
            job: HistoryJob {
                opened_ms: 10_000,
                reached_ms: Some(4_000),
                pages: 6,
                found: 1500,
                spent_ms: 3000,
                ..HistoryJob::default()
            },
            ..ReadProgress::default()
        };
        change(&mut read);

        read
    }

    #[test]
    fn what_is_ahead_is_a_share_of_time() {
        let ahead = |read: &ReadProgress| (read.ahead_percent(), read.ahead_ms());

        let half = read(|read| read.job.reached_ms = Some(6_000));
        assert_eq!(ahead(&half), (Some(50), Some(3000)));
        assert_eq!(half.events_per_second(), Some(500));

        assert_eq!(ahead(&read(|_| {})), (Some(25), Some(1000)));

        let begun = read(|read| (read.job.reached_ms, read.job.pages) = (None, 0));
        assert_eq!(ahead(&begun), (Some(100), None));
        assert_eq!(begun.events_per_second(), None);

        let horizon = read(|read| read.job.horizon_ms = Some(3_900));
        assert_eq!(
            horizon.ahead_percent(),
            Some(1),
            "not done before it is done"
        );

        let odd = read(|read| read.job.reached_ms = Some(-5));
        assert_eq!(ahead(&odd), (Some(1), Some(0)));

        let unknown = read(|read| read.created_ms = None);
        assert_eq!(unknown.ahead_percent(), None, "nobody knows");

        let gap = read(|read| {
            read.job.kind = JobKind::Gap;
            read.job.since_ms = Some(3_000);
        });
        assert_eq!(
            gap.ahead_percent(),
            Some(14),
            "a gap ends where we were, not where the room begins"
        );

        let done = read(|read| (read.job.done_ms, read.created_ms) = (Some(1), None));
        assert_eq!(done.ahead_percent(), Some(0));

        let later = read(|read| read.created_ms = Some(20_000));
        assert_eq!(
            later.ahead_percent(),
            Some(1),
            "a room made after now is a joke"
        );
    }
}
