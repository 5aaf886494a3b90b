//! Raw events: appended, never changed but for what another copy of the same event adds.

use super::row::{Evidence, Rejected, RoomName, Viewer};
use super::{Error, Store, int};
use crate::rtc::event::RoomEvent;
use sqlx::Row;
use sqlx::any::AnyRow;

/// An event as it was stored.
pub(super) fn event(row: &AnyRow) -> Result<RoomEvent, Error> {
    let text: String = row.try_get("json")?;
    let json = serde_json::from_str(&text).map_err(|error| Error::Content(error.to_string()))?;
    let mut event = RoomEvent::from_json(&json, None).map_err(|reason| Error::Content(reason.to_owned()))?;
    event.received_ts = row.try_get("received_ms")?;
    event.replaces_state = row.try_get("replaces_state")?;
    event.redacts = row.try_get("redacts")?;
    event.redacted_ts = row.try_get("redacted_ms")?;
    Ok(event)
}

const REJECTED: &str = "select e.*, r.name as room_name, r.alias from events e join rooms r on r.room_id = e.room_id
    where e.rejected is not null order by e.stream desc limit $1";
const REJECTED_ROOM: &str =
    "select e.*, r.name as room_name, r.alias from events e join rooms r on r.room_id = e.room_id
    where e.rejected is not null and e.room_id = $2 order by e.stream desc limit $1";

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
    let Viewer::Operator = viewer;
    let rows = match room_id {
        None => sqlx::query(REJECTED).bind(limit).fetch_all(&store.read).await?,
        Some(room_id) => sqlx::query(REJECTED_ROOM).bind(limit).bind(room_id).fetch_all(&store.read).await?,
    };
    rows.iter().map(rejected_row).collect()
}

fn rejected_row(row: &AnyRow) -> Result<Rejected, Error> {
    let room_id: String = row.try_get("room_id")?;
    Ok(Rejected {
        room: RoomName { room_id, name: row.try_get("room_name")?, alias: row.try_get("alias")? },
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        sender: row.try_get("sender")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        reason: row.try_get("rejected")?,
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
    Ok(sqlx::query_as(REJECTED_COUNTS).fetch_all(&store.read).await?)
}

// A renewal lies within its stay; the first and last event may not, when clocks or claims differ.
const BEHIND: &str = "select e.*, p.name as person from events e
    left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where exists (select 1 from memberships m where m.session_id = $1 and m.room_id = e.room_id and m.chain = e.chain
        and (e.event_id = m.join_event_id or e.event_id = m.end_event_id
            or (e.origin_server_ts >= m.joined_ms and e.origin_server_ts <= m.until_ms)))
    and e.room_id = $2
    union all
    select e.*, p.name as person from events e
    left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.room_id = $2 and e.chain is null and e.origin_server_ts >= $3 and e.origin_server_ts <= $4
    and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification', 'org.matrix.msc4075.call.notify',
        'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
    order by 6, 1 limit $5";

/// The stored member events and related events behind one call, oldest first, at most `limit`; and how many there are.
///
/// # Errors
/// When the database fails.
pub async fn behind(
    store: &Store,
    viewer: Viewer,
    session_id: &str,
    limit: i64,
) -> Result<(Vec<Evidence>, i64), Error> {
    let Some(call) = super::sessions::find(store, viewer, session_id).await? else {
        return Ok((Vec::new(), 0));
    };
    let query = sqlx::query(BEHIND).bind(&call.id).bind(&call.room.room_id).bind(call.started_ms);
    let rows = query.bind(call.until_ms).bind(10_000_i64).fetch_all(&store.read).await?;
    let shown = rows.iter().take(usize::try_from(limit).unwrap_or(0)).map(evidence_row);
    Ok((shown.collect::<Result<_, _>>()?, int(rows.len())))
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
