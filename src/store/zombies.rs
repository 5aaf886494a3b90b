//! Zombies: memberships that a state reset brought back, seen by a poll and told by an event of our own.

use super::batch::{Batch, RoomBatch};
use super::row::Viewer;
use super::snapshots::Repair;
use super::{Error, Store, Tx};
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::{Rules, fold};
use crate::rtc::room::Room;

/// A membership that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zombie {
    /// The event that the state holds again, and the newer one that it should hold.
    pub event_id: String,
    pub newer_event_id: String,
    pub user_id: String,
    /// Display name in the room, where known.
    pub name: Option<String>,
    pub noticed_ms: i64,
    /// The call that runs again by it, where there is one.
    pub session_id: Option<String>,
}

const NOTE: &str =
    "insert into zombies (room_id, made_event_id, event_id, newer_event_id, user_id, noticed_ms)
    values ($1, $2, $3, $4, $5, $6) on conflict (room_id, made_event_id) do nothing";

/// Notes a repair by which somebody is in a call again, though a newer event of the key is known.
pub(super) async fn note(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    chain: &str,
    repair: &Repair<'_>,
) -> Result<(), Error> {
    let made = &repair.arrival.event;
    let Some(holds) = repair
        .holds
        .filter(|_| is_active(chain, made, batch.seen_ms))
    else {
        return Ok(());
    };
    sqlx::query(NOTE)
        .bind(&room.room_id)
        .bind(&made.event_id)
        .bind(&holds.event_id)
        .bind(&repair.newest.event_id)
        .bind(&holds.sender)
        .bind(batch.seen_ms)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Would somebody be in a call by this event alone?
pub(super) fn is_active(chain: &str, event: &RoomEvent, now: i64) -> bool {
    let (members, _) = fold(chain, [event], &Room::default(), &Rules::default());
    members.iter().any(|member| member.until_ms > now)
}

const OF_ROOM: &str =
    "select z.event_id, z.newer_event_id, z.user_id, p.name as person, z.noticed_ms,
        (select max(m.session_id) from memberships m where m.room_id = z.room_id
            and m.join_event_id = z.made_event_id) as session_id
    from zombies z left join people p on p.room_id = z.room_id and p.user_id = z.user_id
    where z.room_id = $1 order by z.noticed_ms desc, z.event_id limit $2";

type Row = (String, String, String, Option<String>, i64, Option<String>);

/// The zombies of a room, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn of(
    store: &Store,
    viewer: Viewer,
    room_id: &str,
    limit: i64,
) -> Result<Vec<Zombie>, Error> {
    let Viewer::Operator = viewer;
    let rows: Vec<Row> = sqlx::query_as(OF_ROOM)
        .bind(room_id)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;
    let zombie = |(event_id, newer_event_id, user_id, name, noticed_ms, session_id)| Zombie {
        event_id,
        newer_event_id,
        user_id,
        name,
        noticed_ms,
        session_id,
    };
    Ok(rows.into_iter().map(zombie).collect())
}
