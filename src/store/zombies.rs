//! Zombies: memberships that a state reset brought back, seen by a poll and told by an event of our own.

use super::batch::{Arrival, Batch, RoomBatch, Source};
use super::events::{Touched, append, event};
use super::row::Viewer;
use super::snapshots::Look;
use super::{Error, Store, Tx};
use crate::rtc::event::{Kind, RoomEvent};
use crate::rtc::fold::{Rules, fold};
use crate::rtc::id::hash;
use crate::rtc::order::in_order;
use crate::rtc::{member, room::Room};
use serde_json::{Value, json};

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

const NEWEST: &str = "select * from events where room_id = $1 and chain = $2 order by origin_server_ts desc limit 16";
const FIRST_SEEN: &str = "select min(seen_ms) from sightings where event_id = $1 and room_id = $2";
const NOTE: &str = "insert into zombies (room_id, made_event_id, event_id, newer_event_id, user_id, noticed_ms)
    values ($1, $2, $3, $4, $5, $6) on conflict (room_id, made_event_id) do nothing";

/// Compares a room's state with the newest event known for each of its keys. Where the state holds an older one, an
/// event of our own repeats it, so that derivation stays a matter of events alone.
pub(super) async fn notice(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    look: &Look,
    before_ms: Option<i64>,
    touched: &mut Touched,
) -> Result<(), Error> {
    let mut made = RoomBatch::new(&room.room_id, Source::Poll);
    for arrival in room.arrivals.iter().filter(|arrival| look.members.contains(&arrival.event.event_id)) {
        let held = &arrival.event;
        let Ok(Some(chain)) = member::chain(held) else { continue };
        let Some(newer) = newer(tx, &room.room_id, &chain, held, look.asked_ms).await? else { continue };
        let again = repeat(&chain, held, batch.seen_ms, before_ms.unwrap_or(newer.time()).max(newer.time()));
        let is_back = is_active(&chain, &again.event, batch.seen_ms);
        let is_join = !member::parse(held).joins.is_empty();
        if is_back {
            sqlx::query(NOTE)
                .bind(&room.room_id)
                .bind(&again.event.event_id)
                .bind(&held.event_id)
                .bind(&newer.event_id)
                .bind(&held.sender)
                .bind(batch.seen_ms)
                .execute(&mut **tx)
                .await?;
        }
        // A join that has run out long since brings nobody back.
        if is_back || !is_join {
            made.arrivals.push(again);
        }
    }
    append(tx, batch, &made, touched).await
}

/// The newest event of the key, if it is another than the one that the state holds and was known before we asked.
async fn newer(
    tx: &mut Tx,
    room_id: &str,
    chain: &str,
    held: &RoomEvent,
    asked_ms: i64,
) -> Result<Option<RoomEvent>, Error> {
    let rows = sqlx::query(NEWEST).bind(room_id).bind(chain).fetch_all(&mut **tx).await?;
    let mut events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    if !events.iter().any(|event| event.event_id == held.event_id) {
        events.push(held.clone());
    }
    let ordered = in_order(&events);
    let newest = ordered.last().map(|(_, event)| (*event).clone());
    let Some(newest) = newest.filter(|newest| newest.event_id != held.event_id) else { return Ok(None) };
    // An event of our own stands for the state that made it: this one, or none at all.
    let ours = newest.event_id.starts_with('~') && newest.content == repeated(held);
    let query = sqlx::query_scalar(FIRST_SEEN).bind(&newest.event_id).bind(room_id);
    let first_seen: Option<i64> = query.fetch_one(&mut **tx).await?;
    let settled = first_seen.is_some_and(|seen| seen < asked_ms);
    Ok(Some(newest).filter(|_| settled && !ours))
}

/// The content as it counts now: a join goes on from when it was made.
fn repeated(held: &RoomEvent) -> Value {
    let mut content = held.content.clone();
    let flat = content.get("application").is_some() && content.get("created_ts").and_then(Value::as_i64).is_none();
    if flat && held.state_key.is_some() {
        content["created_ts"] = json!(held.time());
    }
    content
}

fn repeat(chain: &str, held: &RoomEvent, seen_ms: i64, since_ms: i64) -> Arrival {
    let mut event = held.clone();
    event.event_id = format!("~{}", hash(&[chain, "again", &seen_ms.to_string()], 12));
    event.content = repeated(held);
    event.origin_server_ts = seen_ms;
    event.received_ts = Some(seen_ms);
    event.replaces_state = None;
    event.redacted_ts = None;
    let json = json!({
        "event_id": event.event_id, "type": event.kind, "state_key": event.state_key, "sender": event.sender,
        "origin_server_ts": seen_ms, "content": event.content, "unsigned": {
            "callscope": "made by Callscope: the room's state held this older event again",
            "callscope_event_id": held.event_id, "callscope_since_ms": since_ms},
    });
    debug_assert_eq!(Kind::of(&event.kind), Kind::Member);
    Arrival { event, json: json.to_string(), in_timeline: false }
}

fn is_active(chain: &str, event: &RoomEvent, now: i64) -> bool {
    let (members, _) = fold(chain, [event], &Room::default(), &Rules::default());
    members.iter().any(|member| member.until_ms > now)
}

const OF_ROOM: &str = "select z.event_id, z.newer_event_id, z.user_id, p.name as person, z.noticed_ms,
        (select max(m.session_id) from memberships m where m.room_id = z.room_id
            and m.join_event_id = z.made_event_id) as session_id
    from zombies z left join people p on p.room_id = z.room_id and p.user_id = z.user_id
    where z.room_id = $1 order by z.noticed_ms desc, z.event_id limit $2";

type Row = (String, String, String, Option<String>, i64, Option<String>);

/// The zombies of a room, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn of(store: &Store, viewer: Viewer, room_id: &str, limit: i64) -> Result<Vec<Zombie>, Error> {
    let Viewer::Operator = viewer;
    let rows: Vec<Row> = sqlx::query_as(OF_ROOM).bind(room_id).bind(limit).fetch_all(&store.read).await?;
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
