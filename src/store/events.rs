//! Raw events as they are read: for the fold, and for pages.

use super::fresh::Fresh;
use super::memberships::ended_by_the_room;
use super::packed::Fields;
use super::rings::is_related;
use super::row::{Call, Evidence, Rejected, RoomName, Viewer};
use super::{Error, Store};
use crate::rtc::event::RoomEvent;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::sync::Arc;

/// An event as it was stored.
pub(super) fn event(row: &AnyRow) -> Result<RoomEvent, Error> {
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

    event.with_text(text).map_err(|error| unreadable(&error))
}

/// Why a stored event cannot be read. The parser's own message would quote the event.
fn unreadable(error: &serde_json::Error) -> Error {
    let (kind, column) = (error.classify(), error.column());
    Error::Content(format!("an event is no event: {kind:?} error at {column}"))
}

/// The columns of [`packed_event`]. Events that were stored after number `$2` are in memory: only
/// what the store adds to them is read. The largest column comes last, because the text packed so
/// far is copied for each column.
macro_rules! event_columns {
    () => {
        concat!(
            "string_agg(",
            row!(text "e.event_id", text "e.rejected", text "e.chain",
                number "(select min(r.time_ms) from events r where r.redacts = e.event_id and r.room_id = e.room_id)"),
            " || case when e.stream <= $2 then ",
            row!(text "e.kind", text "e.state_key", text "e.sender", number "e.origin_server_ts",
                number "e.received_ms", text "e.replaces_state", text "e.redacts", number "e.redacted_ms",
                text "coalesce(e.kept, e.json)"),
            " else ':' end, '')"
        )
    };
}
pub(super) use event_columns;

/// An event of a member key as it was stored, its mark of rejection, and the key.
pub(super) type OfChain = (Arc<RoomEvent>, Option<String>, String);

/// Reads an event of a member key. If its text was not read, the event is taken from memory.
pub(super) fn packed_event(fields: &mut Fields<'_>, fresh: &Fresh) -> Result<OfChain, Error> {
    let event_id = fields.text()?.unwrap_or_default();
    let (mark, chain, redaction_ms) = (fields.maybe_text()?, fields.some_text()?, fields.number()?);
    let mut event = match fields.maybe_text()? {
        Some(kind) => Arc::new(packed_whole(event_id, kind, fields)?),
        None => fresh
            .get(event_id)
            .ok_or_else(|| Error::Content(format!("{event_id} is not at hand")))?,
    };

    if redaction_ms.is_some_and(|ms| event.redacted_ts.is_none_or(|known| ms < known)) {
        Arc::make_mut(&mut event).redacted_ts = redaction_ms;
    }

    Ok((event, mark, chain))
}

fn packed_whole(event_id: &str, kind: String, fields: &mut Fields<'_>) -> Result<RoomEvent, Error> {
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
        .map_err(|error| unreadable(&error))
}

/// An event of a member key as it was stored. `redaction_ms` is the time of its redaction, if we
/// have the redacting event.
pub(super) fn member_event(row: &AnyRow) -> Result<RoomEvent, Error> {
    let mut event = event(row)?;
    let redaction_ms: Option<i64> = row.try_get("redaction_ms")?;
    event.redacted_ts = [event.redacted_ts, redaction_ms]
        .into_iter()
        .flatten()
        .min();

    Ok(event)
}

const REJECTED: &str =
    "select e.*, r.name as room_name, r.alias from events e join rooms r on r.room_id = e.room_id
    where e.rejected is not null and e.stream < $2 order by e.stream desc limit $1";
const REJECTED_ROOM: &str =
    "select e.*, r.name as room_name, r.alias from events e join rooms r on r.room_id = e.room_id
    where e.rejected is not null and e.stream < $2 and e.room_id = $3 order by e.stream desc limit $1";

/// Rejected events, newest first, of one room or of all, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn rejected(
    store: &Store,
    viewer: Viewer,
    room_id: Option<&str>,
    limit: i64,
) -> Result<Vec<Rejected>, Error> {
    rejected_before(store, viewer, room_id, i64::MAX, limit).await
}

/// Like [`rejected`], but only events that came before the one with this `stream`: the next page.
///
/// # Errors
/// When the database fails.
pub async fn rejected_before(
    store: &Store,
    viewer: Viewer,
    room_id: Option<&str>,
    stream: i64,
    limit: i64,
) -> Result<Vec<Rejected>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(if room_id.is_some() {
        REJECTED_ROOM
    } else {
        REJECTED
    })
    .bind(limit)
    .bind(stream);
    let query = if let Some(room_id) = room_id {
        query.bind(room_id)
    } else {
        query
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(rejected_row)
        .collect()
}

fn rejected_row(row: &AnyRow) -> Result<Rejected, Error> {
    let room_id: String = row.try_get("room_id")?;
    Ok(Rejected {
        room: RoomName {
            room_id,
            name: row.try_get("room_name")?,
            alias: row.try_get("alias")?,
        },
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        sender: row.try_get("sender")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        reason: row.try_get("rejected")?,
        stream: row.try_get("stream")?,
        seen_ms: row.try_get("seen_ms")?,
        json: row.try_get("json")?,
    })
}

const REJECTED_COUNTS: &str = "select rejected, count(*) from events where rejected is not null
    group by rejected order by count(*) desc, rejected";

/// How many events were rejected, by reason, most first.
///
/// # Errors
/// When the database fails.
pub async fn rejected_counts(store: &Store, viewer: Viewer) -> Result<Vec<(String, i64)>, Error> {
    let Viewer::Operator = viewer;
    Ok(sqlx::query_as(REJECTED_COUNTS)
        .fetch_all(&store.read)
        .await?)
}

// A renewal lies between the first join and the last end of its member key. The events of joins and
// ends may lie outside of that if clocks or claims differ. Each key is read once, however many
// stays of the call it has. `cross join` keeps SQLite from beginning with the events. Ids and times
// are sorted first; whole events are read only if they are shown.
pub(super) const BEHIND: &str = concat!(
    "with
    stays as (select room_id, chain, min(joined_ms) as from_ms, max(until_ms) as to_ms from memberships
        where session_id = $1 group by room_id, chain),
    found as (
        select e.event_id, e.origin_server_ts as sent_ms from stays s cross join events e
            where e.room_id = s.room_id and e.chain = s.chain
            and e.origin_server_ts + 0 >= s.from_ms and e.origin_server_ts + 0 <= s.to_ms
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and e.event_id = m.join_event_id and e.room_id = m.room_id
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and e.event_id = m.end_event_id and e.room_id = m.room_id
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and m.outlived_ms is not null and e.room_id = m.room_id and e.chain = m.chain
            and e.time_ms = m.outlived_ms
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and ",
    ended_by_the_room!(),
    "
        union
        select e.event_id, e.origin_server_ts from events e where e.room_id = $2 and ",
    is_related!("e"),
    "
            and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                'org.matrix.msc4075.call.notify', 'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
            and e.origin_server_ts >= $3 and e.origin_server_ts <= $4),
    shown as (select event_id, sent_ms, count(*) over () as total from found order by sent_ms, event_id limit $5)
    select e.*, p.name as person, shown.total as total from shown
    cross join events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.event_id = shown.event_id and e.room_id = $2
    order by e.origin_server_ts, e.event_id"
);

// The events of a very large call are not counted. They are found by time: the first events after
// its start are looked at, whichever call they belong to.
pub(super) const BEHIND_LARGE: &str = "with
    near as (select * from events where room_id = $2 and origin_server_ts >= $3 and origin_server_ts <= $4
        order by origin_server_ts limit 20000),
    shown as (select e.event_id, e.origin_server_ts as sent_ms from near e
        where (e.chain is not null and exists (select 1 from memberships m
                where m.room_id = e.room_id and m.chain = e.chain and m.session_id = $1))
            or (e.chain is null
                and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                    'org.matrix.msc4075.call.notify', 'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline'))
        order by e.origin_server_ts, e.event_id limit $5)
    select e.*, p.name as person, 0 as total from shown
    cross join events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.event_id = shown.event_id and e.room_id = $2
    order by e.origin_server_ts, e.event_id";

/// Like [`events_behind_call`], for a call with so many stays that its events are not counted: at
/// most `limit` of those that came first, and whether these are all.
///
/// # Errors
/// When the database fails.
pub async fn behind_large(
    store: &Store,
    viewer: Viewer,
    call: &Call,
    limit: i64,
) -> Result<(Vec<Evidence>, bool), Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(BEHIND_LARGE)
        .bind(&call.id)
        .bind(&call.room.room_id)
        .bind(call.started_ms);
    let rows = query
        .bind(call.until_ms)
        .bind(limit.saturating_add(1))
        .fetch_all(&store.read)
        .await?;
    let is_whole = super::int(rows.len()) <= limit;
    let most = usize::try_from(limit).unwrap_or(0);
    let found: Result<Vec<Evidence>, Error> = rows.iter().take(most).map(evidence_row).collect();

    Ok((found?, is_whole))
}

/// The stored member events and related events behind one call, oldest first, at most `limit`; and
/// how many there are.
///
/// # Errors
/// When the database fails.
pub async fn events_behind_call(
    store: &Store,
    viewer: Viewer,
    session_id: &str,
    limit: i64,
) -> Result<(Vec<Evidence>, i64), Error> {
    let Some(call) = super::sessions::find(store, viewer, session_id).await? else {
        return Ok((Vec::new(), 0));
    };

    let query = sqlx::query(BEHIND)
        .bind(&call.id)
        .bind(&call.room.room_id)
        .bind(call.started_ms);
    let rows = query
        .bind(call.until_ms)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;

    Ok((
        rows.iter().map(evidence_row).collect::<Result<_, _>>()?,
        total,
    ))
}

fn evidence_row(row: &AnyRow) -> Result<Evidence, Error> {
    Ok(Evidence {
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        sender: row.try_get("sender")?,
        name: row.try_get("person")?,
        state_key: row.try_get("state_key")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        received_ms: row.try_get("received_ms")?,
        source: row.try_get("source")?,
        rejected: row.try_get("rejected")?,
        json: row.try_get("json")?,
    })
}
