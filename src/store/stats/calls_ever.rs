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
    let counts = counts_for_room(store, room_id);
    if let Some(calls) = counts.known(room_id, writes) {
        return Ok(calls);
    }

    let calls = sqlx::query_scalar(OF_ROOM)
        .bind(room_id)
        .fetch_one(&store.read)
        .await?;
    counts.keep(room_id, writes, calls);

    Ok(calls)
}

/// Where the number of calls of a room is kept, as this reader sees it.
fn counts_for_room<'r>(store: &'r Reader, room_id: &str) -> &'r CallCounts {
    if store.sees_whole_room(room_id) {
        &store.counts
    } else {
        &store.counts_in_part
    }
}

/// From this number of rooms on, calls of rooms are counted together.
const MANY: usize = 32;
const OF_ALL_ROOMS: &str = "select room_id, count(*) from sessions group by room_id";

/// Counts the calls of these rooms, each with its count of writes, by one query if many of them
/// are not counted yet.
pub(in crate::store) async fn count_calls_of_many_rooms(
    store: &Reader,
    rooms: &[(&str, i64)],
) -> Result<(), Error> {
    let is_unknown = |(room_id, writes): &&(&str, i64)| {
        let known = counts_for_room(store, room_id).known(room_id, *writes);
        known.is_none()
    };
    let unknown: Vec<&(&str, i64)> = rooms.iter().filter(is_unknown).collect();
    if unknown.len() < MANY {
        return Ok(());
    }

    let counted: Vec<(String, i64)> = sqlx::query_as(OF_ALL_ROOMS).fetch_all(&store.read).await?;
    let counted: HashMap<String, i64> = counted.into_iter().collect();
    for (room_id, writes) in unknown {
        let calls = counted.get(*room_id).copied().unwrap_or(0);
        counts_for_room(store, room_id).keep(room_id, *writes, calls);
    }

    Ok(())
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
    let ids: Vec<(&str, i64)> = rooms
        .iter()
        .map(|(room_id, writes)| (room_id.as_str(), *writes))
        .collect();
    count_calls_of_many_rooms(store, &ids).await?;
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
