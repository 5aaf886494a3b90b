//! The number of calls ever, room by room. It is counted again only for rooms that were written to
//! since.

use crate::store::{Error, Reader};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By room: the number of commits when it was counted, and its number of calls, including calls in
/// the future.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct CallCounts(Arc<Mutex<HashMap<String, (i64, i64)>>>);

impl CallCounts {
    /// The number of calls of a room, if it was counted at this count of writes; else `None`.
    fn known(&self, room_id: &str, writes: i64) -> Option<i64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .get(room_id)
            .filter(|(then, _)| *then == writes)
            .map(|(_, calls)| *calls)
    }

    /// Keeps the number of calls of a room, as counted at this count of writes.
    fn keep(&self, room_id: &str, writes: i64, calls: i64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.insert(room_id.to_owned(), (writes, calls));
    }
}

pub(in crate::store) const OF_ROOM: &str = "select count(*) from sessions where room_id = $1";

/// The number of calls of a room, with those that begin in the future. `writes` is the room's count
/// of writes; if it has not moved, nothing is counted again.
pub(in crate::store) async fn count_calls_of_room(
    store: &Reader,
    room_id: &str,
    writes: i64,
) -> Result<i64, Error> {
    if let Some(calls) = store.counts.known(room_id, writes) {
        return Ok(calls);
    }

    let calls = sqlx::query_scalar(OF_ROOM)
        .bind(room_id)
        .fetch_one(&store.read)
        .await?;
    store.counts.keep(room_id, writes, calls);

    Ok(calls)
}

const ROOMS: &str = "select room_id, writes from rooms";
const FUTURE: &str = "select count(*) from sessions where started_ms > $1";

/// The number of calls of all rooms that had begun by `now`, ms; `i64::MAX` = also those in the
/// future, of wrong clocks.
///
/// # Errors
/// When the database fails.
pub async fn count_calls_begun(store: &Reader, now: i64) -> Result<i64, Error> {
    let rooms: Vec<(String, i64)> = sqlx::query_as(ROOMS).fetch_all(&store.read).await?;
    let mut calls = 0;
    for (room_id, writes) in rooms {
        calls += count_calls_of_room(store, &room_id, writes).await?;
    }

    let future: i64 = sqlx::query_scalar(FUTURE)
        .bind(now)
        .fetch_one(&store.read)
        .await?;

    Ok(calls - future)
}
