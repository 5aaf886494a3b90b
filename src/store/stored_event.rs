//! A row of the table of events as an event of the core, from its columns or from its packed form.

use super::Error;
use super::db::packed::Fields;
use super::ingest::new_events::NewEvents;
use crate::rtc::event::RoomEvent;
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

/// The columns of [`key_event_from_fields`]. Events that were stored after number `$2` are in
/// memory: only what the store adds to them is read. The largest column comes last, because the
/// text packed so far is copied for each column.
macro_rules! event_columns {
    () => {
        concat!(
            "string_agg(",
            row!(text "e.event_id", text "e.rejected", text "e.chain",
                number "(select min(r.time_ms) from events r where r.redacts = e.event_id
                    and r.room_id = e.room_id)"),
            " || case when e.stream <= $2 then ",
            row!(text "e.kind", text "e.state_key", text "e.sender", number "e.origin_server_ts",
                number "e.received_ms", text "e.replaces_state", text "e.redacts",
                number "e.redacted_ms", text "coalesce(e.kept, e.json)"),
            " else ':' end, '')"
        )
    };
}
pub(in crate::store) use event_columns;

/// An event of a member key as it was stored, its mark of rejection, and the key.
pub(in crate::store) type KeyEvent = (Arc<RoomEvent>, Option<String>, String);

/// Reads an event of a member key. If its text was not read, the event is taken from memory.
pub(in crate::store) fn key_event_from_fields(
    fields: &mut Fields<'_>,
    fresh: &NewEvents,
) -> Result<KeyEvent, Error> {
    let event_id = fields.text()?.unwrap_or_default();
    let (mark, member_key, redaction_ms) =
        (fields.maybe_text()?, fields.some_text()?, fields.number()?);
    let mut event = match fields.maybe_text()? {
        Some(kind) => Arc::new(event_from_fields(event_id, kind, fields)?),
        None => fresh
            .get(event_id)
            .ok_or_else(|| Error::Content(format!("{event_id} is not at hand")))?,
    };

    if redaction_ms.is_some_and(|ms| event.redacted_ts.is_none_or(|known| ms < known)) {
        Arc::make_mut(&mut event).redacted_ts = redaction_ms;
    }

    Ok((event, mark, member_key))
}

fn event_from_fields(
    event_id: &str,
    kind: String,
    fields: &mut Fields<'_>,
) -> Result<RoomEvent, Error> {
    let event = RoomEvent {
        event_id: event_id.to_owned(),
        kind,
        state_key: fields.maybe_text()?,
        sender: fields.some_text()?,
        origin_server_ts: fields.some_number()?,
        received_ts: fields.number()?,
        content: serde_json::Value::Null,
        sticky_ms: None,
        replaces_state: fields.maybe_text()?,
        redacts: fields.maybe_text()?,
        readable: true,
        redacted_ts: fields.number()?,
    };

    event
        .with_text(fields.text()?.unwrap_or_default())
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
