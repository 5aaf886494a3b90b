//! State resets: memberships of calls and of rooms that vanished from a room's state, or came back
//! to it, without an event that says so. A poll finds them. An event of our own passes them to the
//! fold.

use super::batch::Batch;
use crate::rtc::event::RoomEvent;
use crate::rtc::words::words;
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Reader, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

words! {
    /// The finding of a poll of the state.
    pub enum ResetKind {
        /// An older membership of a call counts again.
        CallMemberBack = "call_member_back",
        /// A membership of a call is gone.
        CallMemberVanished = "call_member_vanished",
        /// Somebody is in the room again.
        RoomMemberBack = "room_member_back",
        /// Somebody is no longer in the room.
        RoomMemberVanished = "room_member_vanished",
    }
}

/// A reset that was just found.
pub(in crate::store) struct Reset<'a> {
    /// The event of our own that records it.
    pub made: &'a RoomEvent,
    pub what: ResetKind,
    pub user_id: &'a str,
    /// The event in the state, and the newest event that we know.
    pub holds: Option<&'a RoomEvent>,
    pub newest: &'a RoomEvent,
}

const NOTE: &str = "insert into state_resets
    (room_id, made_event_id, kind, user_id, holds_event_id, newest_event_id, noticed_ms)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict (room_id, made_event_id) do nothing";

/// Stores one reset, as noticed when this batch came.
pub(in crate::store) async fn record_reset(
    tx: &mut Tx,
    batch: &Batch,
    room_id: &str,
    reset: &Reset<'_>,
) -> Result<(), Error> {
    sqlx::query(NOTE)
        .bind(room_id)
        .bind(&reset.made.event_id)
        .bind(reset.what.as_str())
        .bind(reset.user_id)
        .bind(reset.holds.map(|holds| holds.event_id.clone()))
        .bind(&reset.newest.event_id)
        .bind(batch.seen_ms)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// One reset, for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReset {
    pub what: ResetKind,
    pub user_id: String,
    /// Display name in the room, where known.
    pub name: Option<String>,
    pub holds_event_id: Option<String>,
    pub newest_event_id: String,
    pub noticed_ms: i64,
    /// The call of the stay that ended or began by it, if there is one.
    pub session_id: Option<String>,
}

const OF_ROOM: &str = "select z.kind, z.user_id, p.name as person, z.holds_event_id,
        z.newest_event_id, z.noticed_ms, (select max(m.session_id) from memberships m
        where m.room_id = z.room_id and m.user_id = z.user_id
            and (m.join_event_id = z.made_event_id or m.end_event_id = z.made_event_id
                or (z.kind = 'room_member_vanished' and m.until_ms = z.noticed_ms))) as session_id
    from (select * from state_resets where room_id = $1 and ($3 = '' or kind = $3)
        order by noticed_ms desc, made_event_id limit $2) as z
    left join people p on p.room_id = z.room_id and p.user_id = z.user_id
    order by z.noticed_ms desc, z.made_event_id";

/// The resets of a room, of one kind or of all, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn resets_of_room(
    store: &Reader,
    room_id: &str,
    kind: Option<ResetKind>,
    limit: i64,
) -> Result<Vec<StateReset>, Error> {
    let rows = sqlx::query(OF_ROOM)
        .bind(room_id)
        .bind(limit)
        .bind(kind.map_or("", ResetKind::as_str))
        .fetch_all(&store.read)
        .await?;
    let reset = |row: &AnyRow| {
        Ok(StateReset {
            what: word_from_row(row, "kind")?,
            user_id: row.try_get("user_id")?,
            name: row.try_get("person")?,
            holds_event_id: row.try_get("holds_event_id")?,
            newest_event_id: row.try_get("newest_event_id")?,
            noticed_ms: row.try_get("noticed_ms")?,
            session_id: row.try_get("session_id")?,
        })
    };

    rows.iter().map(reset).collect()
}
