//! A row of the table of events as an event of the core, from its columns or from JSON.

use super::Error;
use super::ingest::new_events::NewEvents;
use crate::rtc::event::RoomEvent;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::sync::Arc;

/// An event as it was stored.
pub(in crate::store) fn event_from_row(row: &AnyRow) -> Result<RoomEvent, Error> {
    let kept: Option<&str> = row.try_get("kept")?;
    let text = match kept {
        Some(kept) => kept,
        None => row.try_get("json")?,
    };

    let event = RoomEvent {
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        state_key: row.try_get("state_key")?,
        sender: row.try_get("sender")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        received_ts: row.try_get("received_ms")?,
        content: serde_json::Value::Null,
        sticky_ms: None,
        replaces_state: row.try_get("replaces_state")?,
        redacts: row.try_get("redacts")?,
        readable: true,
        redacted_ts: row.try_get("redacted_ms")?,
    };

    event
        .with_text(text)
        .map_err(|error| unreadable_event_error(&error))
}

/// Why a stored event cannot be read. The parser's own message would quote the event.
fn unreadable_event_error(error: &serde_json::Error) -> Error {
    let (kind, column) = (error.classify(), error.column());
    Error::Content(format!("an event is no event: {kind:?} error at {column}"))
}

json_row! {
    /// A row of `events e`, but for its id and its text.
    pub(in crate::store) struct EventRow {
        kind: String = "e.kind",
        state_key: Option<String> = "e.state_key",
        sender: String = "e.sender",
        origin_server_ts: i64 = "e.origin_server_ts",
        received_ms: Option<i64> = "e.received_ms",
        replaces_state: Option<String> = "e.replaces_state",
        redacts: Option<String> = "e.redacts",
        redacted_ms: Option<i64> = "e.redacted_ms",
    }
}

json_row! {
    /// An event of a member key, of `events e`. Events that were stored after number `$2` are in
    /// memory: only what the store adds to them is read.
    pub(in crate::store) struct KeyEventRow {
        event_id: String = "e.event_id",
        rejected: Option<String> = "e.rejected",
        member_key: String = "e.chain",
        redaction_ms: Option<i64> = "(select min(r.time_ms) from events r
            where r.redacts = e.event_id and r.room_id = e.room_id)",
        event: Option<EventRow> = sql!("case when e.stream <= $2 then ", EventRow::OBJECT, " end"),
    }
}

/// One text of many rows: each is the [`KeyEventRow`] and the event's own JSON, or null. As a
/// string within the object that JSON would be escaped, and read twice.
pub(in crate::store) const KEY_EVENTS: &str = sql!(
    "string_agg('[' || ",
    KeyEventRow::TEXT,
    " || ',' || case when e.stream <= $2 then coalesce(e.kept, e.json) else 'null' end || ']', '')"
);

/// An event of a member key as it was stored, its mark of rejection, and the key.
pub(in crate::store) type KeyEvent = (Arc<RoomEvent>, Option<String>, String);

/// An event of a member key. If its text was not read, the event is taken from memory.
pub(in crate::store) fn key_event_from_json(
    row: KeyEventRow,
    text: &RawValue,
    fresh: &NewEvents,
) -> Result<KeyEvent, Error> {
    let mut event = match row.event {
        Some(event) => Arc::new(event_from_json(row.event_id, event, text)?),
        None => fresh
            .get(&row.event_id)
            .ok_or_else(|| Error::Content(format!("{} is not at hand", row.event_id)))?,
    };

    let redaction_ms = row.redaction_ms;
    if redaction_ms.is_some_and(|ms| event.redacted_ts.is_none_or(|known| ms < known)) {
        Arc::make_mut(&mut event).redacted_ts = redaction_ms;
    }

    Ok((event, row.rejected, row.member_key))
}

fn event_from_json(event_id: String, row: EventRow, text: &RawValue) -> Result<RoomEvent, Error> {
    let event = RoomEvent {
        event_id,
        kind: row.kind,
        state_key: row.state_key,
        sender: row.sender,
        origin_server_ts: row.origin_server_ts,
        received_ts: row.received_ms,
        content: serde_json::Value::Null,
        sticky_ms: None,
        replaces_state: row.replaces_state,
        redacts: row.redacts,
        readable: true,
        redacted_ts: row.redacted_ms,
    };

    event
        .with_text(text.get())
        .map_err(|error| unreadable_event_error(&error))
}

/// An event of a member key as it was stored. `redaction_ms` is the time of its redaction, if we
/// have the redacting event.
pub(in crate::store) fn key_event_from_row(row: &AnyRow) -> Result<RoomEvent, Error> {
    let mut event = event_from_row(row)?;
    let redaction_ms: Option<i64> = row.try_get("redaction_ms")?;
    event.redacted_ts = [event.redacted_ts, redaction_ms]
        .into_iter()
        .flatten()
        .min();

    Ok(event)
}
