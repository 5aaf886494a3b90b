//! Progress of walks through history (back-fill): pages, events, how far back they are, and roughly
//! how much is left.

use crate::store::model::{RoomName, Viewer};
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A walk through a room's history, done or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WalkProgress {
    pub room: RoomName,
    /// `history` or `gap`.
    pub reason: String,
    pub opened_ms: i64,
    pub pages: i64,
    /// Events that were not known.
    pub found: i64,
    /// How far back the walk has come, ms.
    pub reached_ms: Option<i64>,
    /// When live sync last heard before the gap, ms, if it is a gap of live sync.
    pub since_ms: Option<i64>,
    /// Events older than this, ms, are not wanted.
    pub horizon_ms: Option<i64>,
    /// When the room was created, ms, if that is known and plausible.
    pub created_ms: Option<i64>,
    /// Time spent reading, without stops, ms.
    pub spent_ms: i64,
    pub done_ms: Option<i64>,
    pub ended_by: Option<String>,
    /// When the walk is tried again, ms, if it ended before the room's beginning; and how often it
    /// was tried again.
    pub again_ms: Option<i64>,
    pub tries: i64,
}

impl WalkProgress {
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.reason == "history"
    }

    /// Time still to read and time already read, ms; `None` if the walk's end is not known.
    fn way(&self) -> Option<(i64, i64)> {
        if self.done_ms.is_some() {
            return Some((0, 1));
        }

        let begins = if self.is_history() {
            self.created_ms
        } else {
            self.since_ms
        };

        let goal = begins.max(self.horizon_ms)?;
        let reached = self
            .reached_ms
            .unwrap_or(self.opened_ms)
            .clamp(goal.min(self.opened_ms), self.opened_ms);

        Some((reached - goal.min(self.opened_ms), self.opened_ms - reached))
    }

    /// Roughly how much is left, percent of the time span: calls are not spread evenly over it. 0 =
    /// done.
    #[must_use]
    pub fn ahead_percent(&self) -> Option<i64> {
        if self.done_ms.is_some() {
            return Some(0);
        }

        let (ahead, behind) = self.way()?;
        let percent = i128::from(ahead) * 100 / i128::from((ahead + behind).max(1));

        // At least 1 percent is left until the room's beginning was read.
        Some(i64::try_from(percent).unwrap_or(100).clamp(1, 100))
    }

    /// Roughly how long the walk still takes at its pace so far, ms; `None` until enough was read
    /// to tell.
    #[must_use]
    pub fn ahead_ms(&self) -> Option<i64> {
        let (ahead, behind) = self
            .way()
            .filter(|_| self.pages >= 3 && self.done_ms.is_none())?;
        if behind == 0 || ahead / behind >= 100 {
            return None;
        }

        i64::try_from(i128::from(self.spent_ms) * i128::from(ahead) / i128::from(behind)).ok()
    }

    /// New events for each second spent; `None` before the first page.
    #[must_use]
    pub fn events_per_second(&self) -> Option<i64> {
        (self.pages > 0).then(|| self.found.saturating_mul(1000) / self.spent_ms.max(1))
    }
}

// Matrix began in 2014: an older creation is a wrong clock or a joke. `+ 0` keeps SQLite from
// looking for the creation in the index of times: a room without one would be read completely.
pub(in crate::store) const OPEN: &str = "select w.*, r.name, r.alias,
    (select min(e.origin_server_ts + 0) from events e
        where e.room_id = w.room_id and e.chain is null and e.kind = 'm.room.create'
        and e.state_key = ''
        and e.origin_server_ts + 0 > 1388534400000) as created_ms
    from walks w left join rooms r on r.room_id = w.room_id where w.done_ms is null
    order by w.reason, w.opened_ms, w.room_id limit $1";
pub(in crate::store) const OF_ROOM: &str = "select w.*, r.name, r.alias,
    (select min(e.origin_server_ts + 0) from events e
        where e.room_id = w.room_id and e.chain is null and e.kind = 'm.room.create'
        and e.state_key = ''
        and e.origin_server_ts + 0 > 1388534400000) as created_ms
    from walks w left join rooms r on r.room_id = w.room_id where w.room_id = $1
    order by case when w.reason = 'history' then 0 else 1 end, w.opened_ms desc limit $2";

// A walk that another one continues has no `again_ms`: only the continuing walk is listed.
pub(in crate::store) const SHORT: &str = "select w.*, r.name, r.alias,
    (select min(e.origin_server_ts + 0) from events e
        where e.room_id = w.room_id and e.chain is null and e.kind = 'm.room.create'
        and e.state_key = ''
        and e.origin_server_ts + 0 > 1388534400000) as created_ms
    from walks w left join rooms r on r.room_id = w.room_id where w.again_ms is not null
    order by w.again_ms, w.room_id, w.opened_ms limit $1";

/// The walks that ended before the room's beginning because the homeserver gave no more, and are
/// tried again.
///
/// # Errors
/// When the database fails.
pub async fn walks_ended_early(
    store: &Reader,
    viewer: Viewer,
    limit: i64,
) -> Result<Vec<WalkProgress>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(SHORT).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

pub(super) const ROOMS_SHORT: &str = "select w.room_id, min(r.name) as name, min(r.alias) as alias
    from walks w left join rooms r on r.room_id = w.room_id where w.again_ms is not null
    group by w.room_id order by w.room_id";

/// The rooms with walks that ended early.
///
/// # Errors
/// When the database fails.
pub async fn rooms_ended_early(store: &Reader, viewer: Viewer) -> Result<Vec<RoomName>, Error> {
    let Viewer::Operator = viewer;
    let rows = sqlx::query(ROOMS_SHORT).fetch_all(&store.read).await?;
    rows.iter().map(RoomName::from_row).collect()
}

/// The walks that are not done, in the order in which they are processed.
///
/// # Errors
/// When the database fails.
pub async fn progress_of_open_walks(
    store: &Reader,
    viewer: Viewer,
    limit: i64,
) -> Result<Vec<WalkProgress>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(OPEN).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

/// The walks through one room: that of its whole history first, then gaps, newest first.
///
/// # Errors
/// When the database fails.
pub async fn progress_of_room(
    store: &Reader,
    viewer: Viewer,
    room_id: &str,
    limit: i64,
) -> Result<Vec<WalkProgress>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(OF_ROOM).bind(room_id).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(progress_from_row).collect()
}

/// All walks ever, of all rooms or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalkSums {
    pub rooms: i64,
    /// Rooms with a walk that is not done.
    pub open: i64,
    pub pages: i64,
    pub found: i64,
}

impl std::ops::AddAssign for WalkSums {
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
    from walks where $1 = '' or room_id = $1";

/// The sums of all walks, or of those through one room.
///
/// # Errors
/// When the database fails.
pub async fn sum_walks(
    store: &Reader,
    viewer: Viewer,
    room_id: Option<&str>,
) -> Result<WalkSums, Error> {
    let Viewer::Operator = viewer;
    let row = sqlx::query(SUMS)
        .bind(room_id.unwrap_or_default())
        .fetch_one(&store.read)
        .await?;

    Ok(WalkSums {
        rooms: row.try_get("rooms")?,
        open: row.try_get("open")?,
        pages: row.try_get("pages")?,
        found: row.try_get("found")?,
    })
}

fn progress_from_row(row: &AnyRow) -> Result<WalkProgress, Error> {
    Ok(WalkProgress {
        room: RoomName::from_row(row)?,
        reason: row.try_get("reason")?,
        opened_ms: row.try_get("opened_ms")?,
        pages: row.try_get("pages")?,
        found: row.try_get("found")?,
        reached_ms: row.try_get("reached_ms")?,
        since_ms: row.try_get("since_ms")?,
        horizon_ms: row.try_get("horizon_ms")?,
        created_ms: row.try_get("created_ms")?,
        spent_ms: row.try_get("spent_ms")?,
        done_ms: row.try_get("done_ms")?,
        ended_by: row.try_get("ended_by")?,
        again_ms: row.try_get("again_ms")?,
        tries: row.try_get("tries")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk() -> WalkProgress {
        let reached_ms = Some(4_000);
        let (opened_ms, created_ms) = (10_000, Some(2_000));
        let (pages, found, spent_ms) = (6, 1500, 3000);

        WalkProgress {
            reason: "history".into(),
            opened_ms,
            created_ms,
            reached_ms,
            pages,
            found,
            spent_ms,
            ..WalkProgress::default()
        }
    }

    #[test]
    fn what_is_ahead_is_a_share_of_time() {
        let half = WalkProgress {
            reached_ms: Some(6_000),
            ..walk()
        };

        assert_eq!(
            (
                half.ahead_percent(),
                half.ahead_ms(),
                half.events_per_second()
            ),
            (Some(50), Some(3000), Some(500))
        );
        assert_eq!(
            (walk().ahead_percent(), walk().ahead_ms()),
            (Some(25), Some(1000))
        );
        let begun = WalkProgress {
            reached_ms: None,
            pages: 0,
            ..walk()
        };

        assert_eq!(
            (
                begun.ahead_percent(),
                begun.ahead_ms(),
                begun.events_per_second()
            ),
            (Some(100), None, None)
        );
        let horizon = WalkProgress {
            horizon_ms: Some(3_900),
            ..walk()
        };

        assert_eq!(
            horizon.ahead_percent(),
            Some(1),
            "not done before it is done"
        );
        let odd = WalkProgress {
            reached_ms: Some(-5),
            ..walk()
        };

        assert_eq!((odd.ahead_percent(), odd.ahead_ms()), (Some(1), Some(0)));
        assert_eq!(
            WalkProgress {
                created_ms: None,
                ..walk()
            }
            .ahead_percent(),
            None,
            "nobody knows"
        );
        let gap = WalkProgress {
            reason: "gap".into(),
            since_ms: Some(3_000),
            ..walk()
        };

        assert_eq!(
            gap.ahead_percent(),
            Some(14),
            "a gap ends where we were, not where the room begins"
        );
        assert_eq!(
            WalkProgress {
                done_ms: Some(1),
                created_ms: None,
                ..walk()
            }
            .ahead_percent(),
            Some(0)
        );
        let later = WalkProgress {
            created_ms: Some(20_000),
            ..walk()
        };

        assert_eq!(
            later.ahead_percent(),
            Some(1),
            "a room made after now is a joke"
        );
    }
}
