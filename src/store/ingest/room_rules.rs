//! The history of a room's own state, stored apart from the events so that it can be read at once:
//! creation, power levels, server ACL and tombstone, the newest few of each.

use super::rooms;
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::room_rules::{RoomRules, TYPES};
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::derive::stale_findings;
use crate::store::stored_event::event_from_row as stored_event;
use crate::store::{Error, Tx, Writer};
use serde_json::{Map, Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::HashMap;

const KEEP: &str =
    "insert into room_rules (room_id, kind, time_ms, event_id, sender, replaces, json)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict (room_id, kind, time_ms, event_id) do nothing";
// Eight of each are kept: whoever changes the rules more often within one call wants to hide
// something.
const TRIM: &str =
    "delete from room_rules where room_id = $1 and kind = $2 and (time_ms, event_id) <
    (select t.time_ms, t.event_id from room_rules t where t.room_id = $1 and t.kind = $2
    order by t.time_ms desc, t.event_id desc limit 1 offset 7)";
const EMPTY: &str = "update room_rules set json = '{}' where room_id = $1 and event_id = $2
    and kind in ('m.room.server_acl', 'm.room.tombstone')";

/// Stores those of these new events that are rules of the room, of each type the newest eight, and
/// empties stored ones that a redaction among these events names.
pub(in crate::store) async fn store_rules<'e>(
    tx: &mut Tx,
    room_id: &str,
    events: impl Iterator<Item = &'e RoomEvent>,
) -> Result<(), Error> {
    for event in events {
        if let (EventKind::Redaction, Some(target)) =
            (EventKind::of_event_type(&event.kind), &event.redacts)
        {
            let done = sqlx::query(EMPTY)
                .bind(room_id)
                .bind(target)
                .execute(&mut **tx)
                .await?;
            if done.rows_affected() > 0 {
                stale_findings::discard_findings_of_room(tx, room_id).await?;
            }
        }

        if event.state_key.as_deref() != Some("") || !TYPES.contains(&event.kind.as_str()) {
            continue;
        }

        stale_findings::discard_findings(tx, room_id, &[(event.time(), i64::MAX)]).await?;
        sqlx::query(KEEP)
            .bind(room_id)
            .bind(&event.kind)
            .bind(event.time())
            .bind(&event.event_id)
            .bind(&event.sender)
            .bind(&event.replaces_state)
            .bind(json!({"content": content_to_keep(event)}).to_string())
            .execute(&mut **tx)
            .await?;
        sqlx::query(TRIM)
            .bind(room_id)
            .bind(&event.kind)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

/// The shape of what is stored of a room's own state. It is raised when another fact of stored
/// events is kept.
const SHAPE: &str = "1";
const IS_FILLED: &str = "select count(*) from versions where name = 'room_rules' and version = $1";
const NOTE_FILLED: &str =
    "insert into versions (name, version, place) values ('room_rules', $1, null)
    on conflict (name) do update set version = excluded.version";
const ROOMS: &str = "select room_id from rooms where room_id > $1 order by room_id limit 100";
const FORGET: &str = "delete from room_rules where room_id = $1";
const STORED: &str =
    "select * from events where room_id = $1 and chain is null and kind = $2 and state_key = ''
    order by time_ms desc, event_id desc limit 8";

/// Stores the rules of all rooms from events that an older version stored, unless that was done
/// after this version of the sieve left them. A stop loses nothing: it begins again when the
/// database is opened again.
pub(super) async fn fill_once(store: &Writer, sieve: &str) -> Result<(), Error> {
    let version = format!("{sieve}/{SHAPE}");
    let filled: i64 = sqlx::query_scalar(IS_FILLED)
        .bind(&version)
        .fetch_one(&store.write)
        .await?;
    if filled > 0 {
        return Ok(());
    }

    let mut after = String::new();

    loop {
        let mut tx = store.writing().await?;
        let room_ids: Vec<String> = sqlx::query_scalar(ROOMS)
            .bind(&after)
            .fetch_all(&mut *tx)
            .await?;
        let Some(last) = room_ids.last() else {
            sqlx::query(NOTE_FILLED)
                .bind(&version)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            return Ok(());
        };

        after.clone_from(last);
        for room_id in &room_ids {
            fill_room(&mut tx, room_id).await?;
        }

        tx.commit().await?;
    }
}

/// Stores the rules of one room anew from its newest stored events, and its facts, which follow
/// from them.
async fn fill_room(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    sqlx::query(FORGET).bind(room_id).execute(&mut **tx).await?;
    let mut events = Vec::new();
    for kind in TYPES {
        let rows = sqlx::query(STORED)
            .bind(room_id)
            .bind(kind)
            .fetch_all(&mut **tx)
            .await?;
        for row in &rows {
            events.push(stored_event(row)?);
        }
    }

    if !events.is_empty() {
        store_rules(tx, room_id, events.iter()).await?;
        rooms::refresh_room_facts(tx, room_id).await?;
    }

    Ok(())
}

/// The part of the content that is kept: for power levels only what is about calls, for all others
/// everything.
fn content_to_keep(event: &RoomEvent) -> Value {
    if event.kind != "m.room.power_levels" {
        return event.content.clone();
    }

    let mut kept = Map::new();
    for key in ["users", "users_default", "events_default", "state_default"] {
        if let Some(value) = event.content.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }

    if let Some(events) = event.content.get("events").and_then(Value::as_object) {
        let calls = events.iter().filter(|(kind, _)| {
            matches!(
                EventKind::of_event_type(kind),
                EventKind::Member | EventKind::Slot
            )
        });
        let calls: Map<String, Value> = calls
            .map(|(kind, level)| (kind.clone(), level.clone()))
            .collect();
        kept.insert("events".to_owned(), calls.into());
    }

    kept.into()
}

static OF_ROOMS: MultiRow = MultiRow::new(
    "select room_id, kind, time_ms, event_id, sender, replaces, json from room_rules
        where room_id in (",
    "?",
    ")",
);

/// The rules of these rooms, by room id. A room of which none are known is left out.
pub(in crate::store) async fn rules_of_rooms(
    connection: &mut sqlx::AnyConnection,
    room_ids: &[&str],
) -> Result<HashMap<String, RoomRules>, Error> {
    let mut events: HashMap<String, Vec<RoomEvent>> = HashMap::new();
    for row in OF_ROOMS.read_by_ids(connection, room_ids).await? {
        let room_id: String = row.try_get("room_id")?;
        events
            .entry(room_id)
            .or_default()
            .push(rule_from_row(&row)?);
    }

    let rules = events
        .into_iter()
        .map(|(room_id, events)| (room_id, RoomRules::from_events(&events)));

    Ok(rules.collect())
}

/// The rules of one room; empty if none are known.
pub(in crate::store) async fn rules_of_room(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
) -> Result<RoomRules, Error> {
    let mut found = rules_of_rooms(connection, &[room_id]).await?;
    Ok(found.remove(room_id).unwrap_or_default())
}

/// The rule in this row as the event that it was, as far as it was stored.
fn rule_from_row(row: &AnyRow) -> Result<RoomEvent, Error> {
    let event = RoomEvent {
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        state_key: Some(String::new()),
        sender: row.try_get("sender")?,
        origin_server_ts: row.try_get("time_ms")?,
        received_ts: None,
        content: Value::Null,
        sticky_ms: None,
        replaces_state: row.try_get("replaces")?,
        redacts: None,
        readable: true,
        redacted_ts: None,
    };

    let text: &str = row.try_get("json")?;

    event
        .with_text(text)
        .map_err(|error| Error::Content(error.to_string()))
}

static USED: MultiRow = MultiRow::new(
    "insert into call_types (room_id, kind, is_state, last_ms) values ",
    "($1, ?, ?, ?)",
    // A later use within the same day is not stored.
    " on conflict (room_id, kind, is_state) do update set last_ms = excluded.last_ms
    where excluded.last_ms > call_types.last_ms + 86400000",
);

/// Stores which types of events are used in the room to join calls or to open slots, and when last.
/// Returns true if something of that is new. A use less than a day after the stored one is not. The
/// events may be of any type and order.
pub(super) async fn record_join_types<'e>(
    tx: &mut Tx,
    room_id: &str,
    events: impl Iterator<Item = &'e RoomEvent>,
) -> Result<bool, Error> {
    let mut used: HashMap<(&str, bool), i64> = HashMap::new();
    for event in events {
        if matches!(
            EventKind::of_event_type(&event.kind),
            EventKind::Member | EventKind::Slot
        ) {
            let last = used
                .entry((&event.kind, event.state_key.is_some()))
                .or_insert(event.time());
            *last = (*last).max(event.time());
        }
    }

    let used: Vec<(&str, bool, i64)> = used
        .into_iter()
        .map(|((kind, is_state), last_ms)| (kind, is_state, last_ms))
        .collect();
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, (kind, is_state, last_ms): &(&str, bool, i64)| {
        query
            .bind((*kind).to_owned())
            .bind(i64::from(*is_state))
            .bind(*last_ms)
    };

    Ok(USED.write(tx, &used, shared, bind).await? > 0)
}
