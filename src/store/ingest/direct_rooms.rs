//! The direct rooms in which people get their codes. They are remembered, so that nobody gets a new
//! one each time, and so that they are not watched, even when another one took their place.

use crate::store::{Error, Reader, Writer};
use sqlx::Row;

/// The direct room of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectRoom {
    pub room_id: String,
    /// When that person left it or declined the invitation, ms; `None` if that is not known.
    pub left_ms: Option<i64>,
}

const LIST: &str = "select room_id from direct_rooms";
const FIND: &str = "select room_id, left_ms from direct_rooms where user_id = $1";
const GIVE_UP: &str = "update direct_rooms set user_id = null where user_id = $1";
const ADD: &str = "insert into direct_rooms (room_id, user_id, made_ms) values ($1, $2, $3)
    on conflict (room_id) do update
    set user_id = coalesce(excluded.user_id, direct_rooms.user_id)";
const LEFT: &str = "update direct_rooms set left_ms = $2 where room_id = $1";
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

/// A direct room, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomOfPerson {
    pub room_id: String,
    pub user_id: String,
}

const OF_PEOPLE: &str = "select room_id, user_id from direct_rooms where user_id is not null
    order by made_ms desc, room_id limit $1";

/// The direct rooms of people, the newest first, at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn list_rooms_of_people(store: &Reader, most: usize) -> Result<Vec<RoomOfPerson>, Error> {
    let query = sqlx::query(OF_PEOPLE).bind(crate::store::to_i64(most));
    let rows = query.fetch_all(&store.read).await?;
    let room = |row: &sqlx::any::AnyRow| {
        Ok(RoomOfPerson {
            room_id: row.try_get("room_id")?,
            user_id: row.try_get("user_id")?,
        })
    };

    rows.iter().map(room).collect()
}

/// The direct room with this user.
///
/// # Errors
/// When the database fails.
pub async fn find_direct_room(store: &Reader, user_id: &str) -> Result<Option<DirectRoom>, Error> {
    let row = sqlx::query(FIND)
        .bind(user_id)
        .fetch_optional(&store.read)
        .await?;
    let room = |row: sqlx::any::AnyRow| -> Result<DirectRoom, Error> {
        Ok(DirectRoom {
            room_id: row.try_get("room_id")?,
            left_ms: row.try_get("left_ms")?,
        })
    };

    row.map(room).transpose()
}

/// Remembers a direct room; with a user, as theirs, in the place of an earlier one.
///
/// # Errors
/// When the database fails.
pub async fn add_direct_room(
    store: &Writer,
    room_id: &str,
    user_id: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    if let Some(user_id) = user_id {
        sqlx::query(GIVE_UP).bind(user_id).execute(&mut *tx).await?;
    }

    let query = sqlx::query(ADD).bind(room_id).bind(user_id).bind(now);
    query.execute(&mut *tx).await?;
    tx.commit().await?;

    Ok(())
}

/// Remembers when the person left a direct room, ms; `None` if they are in it, or invited.
///
/// # Errors
/// When the database fails.
pub async fn set_left(store: &Writer, room_id: &str, left_ms: Option<i64>) -> Result<(), Error> {
    let query = sqlx::query(LEFT).bind(room_id).bind(left_ms);
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
