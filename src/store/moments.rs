//! The time machine: which calls of a room ran at a moment, and when they went on and off.

use super::row::{Call, Viewer};
use super::{Error, Store, sessions};

const AT: &str = "select s.*, r.name as room_name, r.alias, r.watch,
        coalesce(r.polled_ms, r.first_seen_ms) as looked_ms from sessions s join rooms r on r.room_id = s.room_id
    where s.room_id = $1 and s.started_ms <= $2 and s.until_ms > $2 order by s.started_ms, s.id";
const BETWEEN: &str = "select s.*, r.name as room_name, r.alias, r.watch,
        coalesce(r.polled_ms, r.first_seen_ms) as looked_ms from sessions s join rooms r on r.room_id = s.room_id
    where s.room_id = $1 and s.until_ms >= $2 and s.started_ms < $3 order by s.started_ms desc, s.id desc limit $4";

/// The calls of a room that ran at `at`, ms, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn calls_at(store: &Store, viewer: Viewer, room_id: &str, at: i64) -> Result<Vec<Call>, Error> {
    let Viewer::Operator = viewer;
    let rows = sqlx::query(AT).bind(room_id).bind(at).fetch_all(&store.read).await?;
    rows.iter().map(sessions::call).collect()
}

/// The calls of a room that ran in `[from, to)`, ms, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn calls_between(
    store: &Store,
    viewer: Viewer,
    room_id: &str,
    (from, to): (i64, i64),
    limit: i64,
) -> Result<Vec<Call>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(BETWEEN).bind(room_id).bind(from).bind(to).bind(limit);
    query.fetch_all(&store.read).await?.iter().map(sessions::call).collect()
}
