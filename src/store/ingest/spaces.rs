//! Spaces, and which rooms belong to them. A viewer sees a space if that viewer may see the space's
//! own room, and of its rooms those that are visible.

use crate::store::db::multi_row::MultiRow;
use crate::store::derive::room_titles::room_name;
use crate::store::model::RoomName;
use crate::store::{Error, Reader, Writer};
use sqlx::Row;
use std::collections::BTreeSet;

const KNOWN: &str = "select room_id from space_rooms where space_id = $1";
static ADD: MultiRow = MultiRow::new(
    "insert into space_rooms (space_id, room_id) values ",
    "($1, ?)",
    " on conflict (space_id, room_id) do nothing",
);
const DELETE: &str = "delete from space_rooms where space_id = $1 and room_id = $2";
const DELETE_OTHERS: &str = "delete from space_rooms where space_id = $1";

/// Stores which rooms belong to a space. If `is_whole`, others belong to it no more. Returns
/// whether anything changed.
///
/// # Errors
/// When the database fails.
pub async fn store_space_rooms(
    store: &Writer,
    space_id: &str,
    room_ids: &BTreeSet<String>,
    is_whole: bool,
) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    let known: Vec<String> = sqlx::query_scalar(KNOWN)
        .bind(space_id)
        .fetch_all(&mut *tx)
        .await?;
    let known: BTreeSet<String> = known.into_iter().collect();
    let new: Vec<&String> = room_ids.difference(&known).collect();
    let mut is_changed = !new.is_empty();
    ADD.write(
        &mut tx,
        &new,
        |query| query.bind(space_id.to_owned()),
        |query, room_id| query.bind((*room_id).clone()),
    )
    .await?;
    if is_whole {
        for gone in known.difference(room_ids) {
            is_changed = true;
            sqlx::query(DELETE)
                .bind(space_id)
                .bind(gone)
                .execute(&mut *tx)
                .await?;
        }
    }

    tx.commit().await?;

    Ok(is_changed)
}

const SPACES: &str = "select distinct space_id from space_rooms";

/// Forgets the spaces that are not among these, which the configuration names.
///
/// # Errors
/// When the database fails.
pub async fn delete_other_spaces(
    store: &Writer,
    space_ids: &BTreeSet<String>,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let known: Vec<String> = sqlx::query_scalar(SPACES).fetch_all(&mut *tx).await?;
    for space_id in known.iter().filter(|known| !space_ids.contains(*known)) {
        sqlx::query(DELETE_OTHERS)
            .bind(space_id)
            .execute(&mut *tx)
            .await?;
    }

    tx.commit().await?;

    Ok(())
}

/// A space, and how many of its rooms are known and visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub room: RoomName,
    pub rooms: i64,
}

const LIST: &str = concat!(
    "select ",
    room_name!(),
    ", count(*) as rooms from space_rooms sr
    join rooms r on r.room_id = sr.space_id join rooms c on c.room_id = sr.room_id
    group by r.room_id, r.name, r.alias order by r.name, r.room_id"
);

/// The spaces, by name.
///
/// # Errors
/// When the database fails.
pub async fn list_spaces(store: &Reader) -> Result<Vec<Space>, Error> {
    let rows = sqlx::query(LIST).fetch_all(&store.read).await?;
    let space = |row: &sqlx::any::AnyRow| {
        Ok(Space {
            room: RoomName::from_row(row)?,
            rooms: row.try_get("rooms")?,
        })
    };

    rows.iter().map(space).collect()
}

const OF_SPACE: &str = "select sr.room_id from space_rooms sr
    join rooms s on s.room_id = sr.space_id where sr.space_id = $1";

/// The rooms of a space, by id; none if the viewer may not see the space.
///
/// # Errors
/// When the database fails.
pub async fn rooms_of_space(store: &Reader, space_id: &str) -> Result<BTreeSet<String>, Error> {
    let rows: Vec<String> = sqlx::query_scalar(OF_SPACE)
        .bind(space_id)
        .fetch_all(&store.read)
        .await?;

    Ok(rows.into_iter().collect())
}
