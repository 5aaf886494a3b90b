//! Snapshots: the set of member events in a room's state as one poll saw it, and the repairs that
//! follow from it.

use super::batch::{Arrival, Batch, RoomBatch, StateSnapshot};
use super::events::append_events;
use super::{room_members, state_resets};
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::id::hash;
use crate::rtc::member;
use crate::rtc::order::sort_by_effective_time;
use crate::rtc::words::Source;
use crate::store::db::word_column::word_from_row;
use crate::store::derive::dirty::Dirty;
use crate::store::read::zombies;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Tx};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;

const NEWEST: &str =
    "select taken_ms, last_seen_ms, members from snapshots where room_id = $1 and vantage_id = $2
    order by taken_ms desc limit 1";
const SEEN_AGAIN: &str = "update snapshots set last_seen_ms = $4
    where room_id = $1 and vantage_id = $2 and taken_ms = $3";
const TAKE: &str = "insert into snapshots (room_id, vantage_id, taken_ms, last_seen_ms, members)
    values ($1, $2, $3, $3, $4) on conflict (room_id, vantage_id, taken_ms) do update
    set members = excluded.members, last_seen_ms = excluded.last_seen_ms";

/// Stores which member events a poll of the state (`look`) found: as a new row only if they
/// changed, else the last row is noted as seen again. Where the state differs from the known
/// events, events of our own are added that say so. So the events of the poll must be stored
/// before.
pub(super) async fn record_snapshot(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    look: &StateSnapshot,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let room_id = room.room_id.as_str();
    let members = look
        .members
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n");
    let query = sqlx::query_as(NEWEST).bind(room_id).bind(&batch.vantage_id);
    let newest: Option<(i64, i64, String)> = query.fetch_optional(&mut **tx).await?;
    let before_ms = newest.as_ref().map(|(_, last_seen, _)| *last_seen);
    let again = newest
        .filter(|(_, _, known)| *known == members)
        .map(|(taken, ..)| taken);
    let query = sqlx::query(if again.is_some() { SEEN_AGAIN } else { TAKE })
        .bind(room_id)
        .bind(&batch.vantage_id);
    let query = query.bind(again.unwrap_or(batch.seen_ms));
    let query = if again.is_some() {
        query.bind(batch.seen_ms)
    } else {
        query.bind(&members)
    };

    query.execute(&mut **tx).await?;
    repair_member_keys(tx, batch, room, look, before_ms, dirty).await?;

    room_members::reconcile_members(tx, batch, room, look, dirty).await
}

const OPEN: &str = "select distinct chain from memberships where room_id = $1 and until_ms > $2
    and chain like 's%'";
const CHAIN: &str = "select * from events where room_id = $1 and chain = $2";

/// Compares the state with the known events of the member keys that may count, and appends an event
/// of our own where they differ: the state holds another event than the newest that we know, or
/// none. So derivation depends on events alone. (State resets and lost state resolution,
/// `docs/matrixrtc.md` section 15, rule 7.) `before_ms` is the time of the previous poll.
async fn repair_member_keys(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    look: &StateSnapshot,
    before_ms: Option<i64>,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let open = sqlx::query_scalar(OPEN)
        .bind(&room.room_id)
        .bind(batch.seen_ms)
        .fetch_all(&mut **tx)
        .await?;
    let mut member_keys: BTreeSet<String> = open.into_iter().collect();
    // Also checks the member keys that have ended for us although the state holds a join.
    let joins = room.arrivals.iter().map(|arrival| &arrival.event);
    let joins = joins.filter(|event| {
        EventKind::of_event_type(&event.kind) == EventKind::Member
            && !member::parse_member_event(event).joins.is_empty()
    });
    member_keys.extend(joins.filter_map(|event| member::member_key_of(event).ok().flatten()));
    let mut repairs = RoomBatch::new(&room.room_id, Source::Poll);
    for member_key in member_keys {
        let rows = sqlx::query(CHAIN)
            .bind(&room.room_id)
            .bind(&member_key)
            .fetch_all(&mut **tx)
            .await?;
        let events = rows
            .iter()
            .map(event_from_row)
            .collect::<Result<Vec<_>, _>>()?;
        // Sync may have brought an event that the answer does not have yet.
        if !is_settled(&rows, look)? {
            continue;
        }

        if let Some(repair) = find_repair(&member_key, &events, look, before_ms, batch.seen_ms) {
            record_call_reset(tx, batch, room, &member_key, &repair).await?;
            repairs.arrivals.push(repair.arrival);
        }
    }

    append_events(tx, batch, &repairs, dirty, None).await
}

/// Did all of these events come before the poll was requested? The answer may be older than what
/// sync brought while we waited for it. If our clock is not believed, its reading still shows the
/// order.
fn is_settled(rows: &[AnyRow], look: &StateSnapshot) -> Result<bool, Error> {
    for row in rows {
        let received_ms: Option<i64> = row.try_get("received_ms")?;
        let is_live = word_from_row::<Source>(row, "source")? != Source::Backfill;
        let seen_ms: Option<i64> = row.try_get("seen_ms")?;
        let came_ms = received_ms.or(seen_ms.filter(|_| is_live));
        if came_ms.is_some_and(|came| came >= look.asked_ms) {
            return Ok(false);
        }
    }

    Ok(true)
}

/// Stores a repair as a state reset, if by it a membership of a call counts again or no longer
/// counts. Of other repairs only the event is stored.
async fn record_call_reset(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    member_key: &str,
    repair: &Repair<'_>,
) -> Result<(), Error> {
    let made = &repair.arrival.event;
    let what = match repair.holds {
        Some(_) if zombies::is_active(member_key, made, batch.seen_ms) => {
            state_resets::ResetKind::CallMemberBack
        }
        _ if zombies::is_active(member_key, repair.newest, batch.seen_ms) => {
            state_resets::ResetKind::CallMemberVanished
        }
        _ => return Ok(()),
    };

    let reset = state_resets::Reset {
        made,
        what,
        user_id: &repair.newest.sender,
        holds: repair.holds,
        newest: repair.newest,
    };

    state_resets::record_reset(tx, batch, &room.room_id, &reset).await
}

/// A difference between the state and the known events of a key.
pub(super) struct Repair<'a> {
    /// The event of our own that records it.
    pub arrival: Arrival,
    /// The event in the state; `None` if the state holds none of this key.
    pub holds: Option<&'a RoomEvent>,
    /// The newest event that we know.
    pub newest: &'a RoomEvent,
}

/// The event of our own that brings a member key to what the state says; `None` if its events say
/// so already, or there are none. `events` are all events of the key, in any order; `before_ms` is
/// the time of the previous poll, `seen_ms` that of this one.
fn find_repair<'a>(
    member_key: &str,
    events: &'a [RoomEvent],
    look: &StateSnapshot,
    before_ms: Option<i64>,
    seen_ms: i64,
) -> Option<Repair<'a>> {
    let newest = sort_by_effective_time(events).last()?.1;
    let holds = events
        .iter()
        .find(|event| look.members.contains(&event.event_id));
    let content = holds.map_or_else(|| json!({}), content_counting_again);
    let is_known =
        holds.is_some_and(|holds| holds.event_id == newest.event_id) || content == newest.content;
    // The state was right at the previous poll, or when the last event came.
    let since_ms = before_ms.map_or(newest.time(), |before| before.max(newest.time()));
    let arrival = || {
        make_own_event(
            member_key,
            holds.unwrap_or(newest),
            content,
            since_ms,
            seen_ms,
        )
    };

    (!is_known).then(|| Repair {
        arrival: arrival(),
        holds,
        newest,
    })
}

/// The content of an event that counts again. A join keeps its first time, so that it is no new
/// join.
fn content_counting_again(event: &RoomEvent) -> Value {
    let mut content = event.content.clone();
    if let Some(object) = content
        .as_object_mut()
        .filter(|object| object.contains_key("application"))
    {
        object.entry("created_ts").or_insert(json!(event.time()));
    }

    content
}

/// When the state was last known to be otherwise, ms, from the JSON text of an event that we made
/// ourselves: the change happened after it. `None` for other events.
pub(in crate::store) fn previous_poll_ms(json: &str) -> Option<i64> {
    serde_json::from_str::<Value>(json)
        .ok()?
        .pointer("/unsigned/callscope_since_ms")?
        .as_i64()
}

/// An event of our own about a key, which records what the state says from `seen_ms` on. It is a
/// copy of `like` with another content. `since_ms` is when the state was last known to be
/// otherwise; the change lies between the two. Its id begins with `~`.
pub(in crate::store) fn make_own_event(
    key: &str,
    like: &RoomEvent,
    content: Value,
    since_ms: i64,
    seen_ms: i64,
) -> Arrival {
    let json: Value = json!({
        "event_id": format!("~{}", hash(&[key, &seen_ms.to_string()], 12)),
        "type": like.kind, "state_key": like.state_key, "sender": like.sender,
        "origin_server_ts": seen_ms,
        "content": content,
        "unsigned": {
            "callscope": "made by Callscope: a poll found this in the room's state, without an \
                          event that says so",
            "callscope_since_ms": since_ms},
    });
    let mut event = like.clone();
    json["event_id"]
        .as_str()
        .unwrap_or_default()
        .clone_into(&mut event.event_id);
    event.content = content;
    event.origin_server_ts = seen_ms;
    event.received_ts = Some(seen_ms);
    event.replaces_state = None;
    event.redacts = None;
    event.sticky_ms = None;
    event.redacted_ts = None;
    event.readable = true;

    Arrival {
        event: event.into(),
        json: json.to_string(),
        in_timeline: false,
    }
}
