//! The time machine: which calls of a room ran at a moment, and when calls began and ended.

use super::calls::{CallRow, call_from_row, calls};
use crate::rtc::coverage::Span;
use crate::rtc::time::DAY_MS;
use crate::store::db::json_row::read_rows;
use crate::store::model::Call;
use crate::store::{Error, Reader};

// A call that ran at a moment began within a day before it, or is longer than a day. If there are
// too many, those with most people are read: one member of a room can have thousands of slots.
macro_rules! ran_at {
    () => {
        "(select * from sessions where room_id = $1 and started_ms <= $2 and started_ms > $3
            and until_ms + 0 > $2
            union all select * from sessions where room_id || '' = $1
            and until_ms - started_ms > 86400000
                and until_ms > $2 and started_ms + 0 <= $3)"
    };
}
pub(super) const AT: &str = calls!(
    " from (select * from ",
    ran_at!(),
    " as ran order by users desc, started_ms, id limit $4) as s
        join rooms r on r.room_id = s.room_id
    order by s.started_ms, s.id"
);
pub(super) const COUNT_AT: &str = concat!("select count(*) from ", ran_at!(), " as ran");
/// Maximum calls of one moment that are read.
pub const AT_MOST: i64 = 500;

const FIRST: &str =
    "select started_ms from sessions where room_id = $1 and started_ms >= $2 and started_ms < $3
    order by started_ms desc limit 1 offset $4";
// A call that touches a span began in it or within a day before it, or is longer than a day.
pub(in crate::store) const BETWEEN: &str = calls!(
    " from rooms r cross join sessions s
    where r.room_id = $1 and s.room_id = $1 and s.started_ms >= $2 - 86400000 and s.started_ms < $3
        and s.until_ms + 0 >= $2
    union all select ",
    CallRow::TEXT,
    " from rooms r cross join sessions s
    where r.room_id = $1 and s.room_id || '' = $1 and s.until_ms - s.started_ms > 86400000
    and s.until_ms >= $2
        and s.started_ms + 0 < $2 - 86400000"
);

/// The calls of a room that ran at `at`, ms, oldest first. If more than [`AT_MOST`] ran, those with
/// most people.
///
/// # Errors
/// When the database fails.
pub async fn calls_at(store: &Reader, room_id: &str, at: i64) -> Result<Vec<Call>, Error> {
    let rows = store
        .dialect()
        .query(AT)
        .bind(room_id)
        .bind(at)
        .bind(at.saturating_sub(DAY_MS))
        .bind(AT_MOST)
        .fetch_all(&store.read)
        .await?;

    read_rows(&rows, call_from_row)
}

/// How many calls of a room ran at `at`, ms, however many of them are read.
///
/// # Errors
/// When the database fails.
pub async fn count_at(store: &Reader, room_id: &str, at: i64) -> Result<i64, Error> {
    let query = sqlx::query_scalar(COUNT_AT)
        .bind(room_id)
        .bind(at)
        .bind(at.saturating_sub(DAY_MS));

    Ok(query.fetch_one(&store.read).await?)
}

/// The calls of a room that ran in the last part of `[from, to)`, ms, in any order, and when that
/// part begins, ms. The part is chosen so that there are not many more calls than `limit`. If it
/// begins at `from`, it is the whole span.
///
/// # Errors
/// When the database fails.
pub async fn calls_between(
    store: &Reader,
    room_id: &str,
    Span { from, to }: Span,
    limit: i64,
) -> Result<(Vec<Call>, i64), Error> {
    let query = sqlx::query_scalar(FIRST)
        .bind(room_id)
        .bind(from)
        .bind(to)
        .bind(limit - 1);
    let first: Option<i64> = query.fetch_optional(&store.read).await?;
    let from = first.unwrap_or(from).max(i64::MIN + DAY_MS);
    let rows = store
        .dialect()
        .query(BETWEEN)
        .bind(room_id)
        .bind(from)
        .bind(to)
        .fetch_all(&store.read)
        .await?;

    Ok((read_rows(&rows, call_from_row)?, from))
}
