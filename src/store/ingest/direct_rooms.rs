//! The direct rooms in which people get their codes. They are remembered, so that nobody gets a new
//! one each time, and so that they are not watched.

use crate::store::{Error, Reader, Writer};
use sqlx::Row;

const LIST: &str = "select room_id from direct_rooms";
const FIND: &str = "select room_id from direct_rooms where user_id = $1";
const SET: &str = "insert into direct_rooms (user_id, room_id, made_ms) values ($1, $2, $3)
    on conflict (user_id) do update set room_id = excluded.room_id, made_ms = excluded.made_ms";
const SHARED: &str = "select count(*) as rooms from room_members m, rooms r
    where m.user_id = $1 and m.joined = 1 and r.room_id = m.room_id and r.watch = 'joined'";

/// The direct rooms, by id.
///
/// # Errors
/// When the database fails.
pub async fn list_direct_rooms(store: &Reader) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(LIST).fetch_all(&store.read).await?;
    let room_id = |row: &sqlx::any::AnyRow| Ok(row.try_get("room_id")?);

    rows.iter().map(room_id).collect()
}

/// The direct room with this user, by id.
///
/// # Errors
/// When the database fails.
pub async fn find_direct_room(store: &Reader, user_id: &str) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(FIND).bind(user_id);

    Ok(query.fetch_optional(&store.read).await?)
}

/// Remembers the direct room with this user, in the place of an earlier one.
///
/// # Errors
/// When the database fails.
pub async fn set_direct_room(
    store: &Writer,
    user_id: &str,
    room_id: &str,
    now: i64,
) -> Result<(), Error> {
    let query = sqlx::query(SET).bind(user_id).bind(room_id).bind(now);
    query.execute(&store.write).await?;

    Ok(())
}

/// Is this user now in a room that we watch from within?
///
/// # Errors
/// When the database fails.
pub async fn shares_watched_room(store: &Reader, user_id: &str) -> Result<bool, Error> {
    let query = sqlx::query(SHARED).bind(user_id);
    let row = query.fetch_one(&store.read).await?;

    Ok(row.try_get::<i64, _>("rooms")? > 0)
}
