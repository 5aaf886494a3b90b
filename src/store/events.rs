//! Raw events: appended, never changed but for what another copy of the same event adds.

use super::batch::{Arrival, Batch, RoomBatch, Source};
use super::row::{Evidence, Rejected, RoomName, Viewer};
use super::{Error, Store, Tx, rooms};
use crate::rtc::event::{Kind, Reason, RoomEvent};
use crate::rtc::id::hash;
use crate::rtc::member;
use crate::rtc::room::Room;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;

/// What new events of one room touch.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    pub chains: BTreeSet<String>,
    /// Users whose standing in the room changed.
    pub users: BTreeSet<String>,
    /// A slot event came: all sticky chains of the room may change.
    pub slots: bool,
    /// The room's creation came, or a rebuild: all chains may change.
    pub everything: bool,
    /// Name, alias or state of the room may have changed.
    pub facts: bool,
    pub new_events: usize,
}

const LAST_STREAM: &str = "select coalesce(max(stream), 0) from events";

/// The number of the last event stored.
pub(super) async fn last_stream(tx: &mut Tx) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(LAST_STREAM).fetch_one(&mut **tx).await?)
}

/// Appends the events of one room that are not known yet and notes each sighting.
pub(super) async fn append(tx: &mut Tx, batch: &Batch, room: &RoomBatch, touched: &mut Touched) -> Result<(), Error> {
    let mut stream = last_stream(tx).await?;
    for arrival in &room.arrivals {
        stream += 1;
        let event = &arrival.event;
        let (chain, rejected) = match member::chain(event) {
            Ok(chain) => (chain, None),
            Err(reason) => (None, Some(reason)),
        };
        if insert(tx, room, arrival, chain.as_deref(), rejected, stream).await? {
            touched.new_events += 1;
            touch(tx, room, event, chain, touched).await?;
            rooms::person(tx, &room.room_id, event).await?;
        } else if absorb(tx, room, arrival).await? {
            touch(tx, room, event, chain, touched).await?;
        }
        sighting(tx, batch, room, &event.event_id).await?;
    }
    for (reason, json) in &room.malformed {
        stream += 1;
        malformed(tx, batch, room, reason, json, stream).await?;
    }
    Ok(())
}

const INSERT: &str = "insert into events (event_id, room_id, kind, state_key, sender, origin_server_ts, received_ms,
        chain, replaces_state, redacts, redacted_ms, stream, source, in_timeline, rejected, json)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
    on conflict (event_id, room_id) do nothing";

async fn insert(
    tx: &mut Tx,
    room: &RoomBatch,
    arrival: &Arrival,
    chain: Option<&str>,
    rejected: Option<Reason>,
    stream: i64,
) -> Result<bool, Error> {
    let event = &arrival.event;
    let done = sqlx::query(INSERT)
        .bind(&event.event_id)
        .bind(&room.room_id)
        .bind(&event.kind)
        .bind(&event.state_key)
        .bind(&event.sender)
        .bind(event.origin_server_ts)
        .bind(event.received_ts)
        .bind(chain)
        .bind(&event.replaces_state)
        .bind(&event.redacts)
        .bind(event.redacted_ts)
        .bind(stream)
        .bind(room.source.as_str())
        .bind(i64::from(arrival.in_timeline))
        .bind(rejected)
        .bind(&arrival.json)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

const KNOWN: &str = "select * from events where event_id = $1 and room_id = $2";
const UPDATE: &str = "update events set received_ms = $3, replaces_state = $4, redacts = $5, redacted_ms = $6,
        in_timeline = $7, json = $8 where event_id = $1 and room_id = $2";

/// Adds what this copy of a known event tells more; true when that can change what follows from it.
async fn absorb(tx: &mut Tx, room: &RoomBatch, arrival: &Arrival) -> Result<bool, Error> {
    let new = &arrival.event;
    let row = sqlx::query(KNOWN).bind(&new.event_id).bind(&room.room_id).fetch_one(&mut **tx).await?;
    let known = event(&row)?;
    let mut merged = known.clone();
    merged.absorb(new);
    let was_in_timeline = row.try_get::<i64, _>("in_timeline")? != 0;
    if merged == known && (was_in_timeline || !arrival.in_timeline) {
        return Ok(false);
    }
    let json = if merged.readable == known.readable { row.try_get("json")? } else { arrival.json.clone() };
    sqlx::query(UPDATE)
        .bind(&new.event_id)
        .bind(&room.room_id)
        .bind(merged.received_ts)
        .bind(&merged.replaces_state)
        .bind(&merged.redacts)
        .bind(merged.redacted_ts)
        .bind(i64::from(was_in_timeline || arrival.in_timeline))
        .bind(json)
        .execute(&mut **tx)
        .await?;
    Ok(merged.content != known.content
        || merged.time() != known.time()
        || merged.redacted_ts != known.redacted_ts
        || merged.replaces_state != known.replaces_state)
}

const TARGET: &str = "select chain, kind from events where event_id = $1 and room_id = $2";
const HAS_CHAIN: &str = "select 1 from events where room_id = $1 and sender = $2 and chain is not null limit 1";
const PRESENCE: &str = "select * from events where room_id = $1 and kind = 'm.room.member' and state_key = $2";

/// Notes what a new event can change.
async fn touch(
    tx: &mut Tx,
    room: &RoomBatch,
    event: &RoomEvent,
    chain: Option<String>,
    touched: &mut Touched,
) -> Result<(), Error> {
    touched.chains.extend(chain);
    match Kind::of(&event.kind) {
        Kind::Presence => {
            if changes_presence(tx, room, event).await? {
                touched.users.extend(event.state_key.clone());
            }
        }
        Kind::Slot => touched.slots = true,
        Kind::Create => {
            touched.everything = true;
            touched.facts = true;
        }
        Kind::Redaction => {
            let Some(target) = &event.redacts else {
                return Ok(());
            };
            let query = sqlx::query_as(TARGET).bind(target).bind(&room.room_id);
            let target: Option<(Option<String>, String)> = query.fetch_optional(&mut **tx).await?;
            touched.slots |= target.as_ref().is_some_and(|(_, kind)| Kind::of(kind) == Kind::Slot);
            touched.chains.extend(target.and_then(|(chain, _)| chain));
        }
        Kind::Other => touched.facts = true,
        Kind::Member | Kind::Encrypted | Kind::Related => {}
    }
    Ok(())
}

/// Does this event change who is in the room? Most events of this kind are new names or avatars.
async fn changes_presence(tx: &mut Tx, room: &RoomBatch, new: &RoomEvent) -> Result<bool, Error> {
    let Some(user) = &new.state_key else { return Ok(false) };
    let has_chain: Option<i64> =
        sqlx::query_scalar(HAS_CHAIN).bind(&room.room_id).bind(user).fetch_optional(&mut **tx).await?;
    if has_chain.is_none() {
        return Ok(false);
    }
    let rows = sqlx::query(PRESENCE).bind(&room.room_id).bind(user).fetch_all(&mut **tx).await?;
    let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let with = Room::from_events(&events);
    let without = Room::from_events(events.iter().filter(|event| event.event_id != new.event_id));
    Ok(!with.presence_changes(user).eq(without.presence_changes(user)))
}

const SIGHTING: &str = "insert into sightings (event_id, room_id, vantage_id, source, seen_ms)
    values ($1, $2, $3, $4, $5) on conflict (event_id, room_id, vantage_id, source) do nothing";

async fn sighting(tx: &mut Tx, batch: &Batch, room: &RoomBatch, event_id: &str) -> Result<(), Error> {
    let query = sqlx::query(SIGHTING).bind(event_id).bind(&room.room_id).bind(&batch.vantage_id);
    query.bind(room.source.as_str()).bind(batch.seen_ms).execute(&mut **tx).await?;
    Ok(())
}

/// Stores what is no event, under a hash of itself: nothing is dropped silently.
async fn malformed(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    reason: Reason,
    json: &str,
    stream: i64,
) -> Result<(), Error> {
    let event = RoomEvent {
        event_id: format!("malformed:{}", hash(&[json], 12)),
        kind: String::new(),
        state_key: None,
        sender: String::new(),
        origin_server_ts: batch.seen_ms,
        received_ts: (room.source != Source::Backfill).then_some(batch.seen_ms),
        content: serde_json::Value::Null,
        sticky_ms: None,
        replaces_state: None,
        redacts: None,
        readable: true,
        redacted_ts: None,
    };
    let arrival = Arrival { event, json: json.to_owned(), in_timeline: false };
    insert(tx, room, &arrival, None, Some(reason), stream).await?;
    Ok(())
}

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

/// The same as [`rejected`], and only those that came before the one with this `stream`: the next page.
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
    let query = sqlx::query(if room_id.is_some() { REJECTED_ROOM } else { REJECTED }).bind(limit).bind(stream);
    let query = if let Some(room_id) = room_id { query.bind(room_id) } else { query };
    query.fetch_all(&store.read).await?.iter().map(rejected_row).collect()
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
        stream: row.try_get("stream")?,
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

// A renewal lies between the first join and the last end of its chain; the events of those may not, when clocks or
// claims differ. Each chain is read once, however many stays of the call it holds. `cross join` keeps SQLite from
// beginning with the events; ids and times are sorted, whole events are read only for those that are shown.
pub(super) const BEHIND: &str = "with
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
        select e.event_id, e.origin_server_ts from events e where e.room_id = $2 and e.chain is null
            and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                'org.matrix.msc4075.call.notify', 'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
            and e.origin_server_ts + 0 >= $3 and e.origin_server_ts + 0 <= $4),
    shown as (select event_id, sent_ms, count(*) over () as total from found order by sent_ms, event_id limit $5)
    select e.*, p.name as person, shown.total as total from shown
    cross join events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.event_id = shown.event_id and e.room_id = $2
    order by e.origin_server_ts, e.event_id";

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
    let rows = query.bind(call.until_ms).bind(limit).fetch_all(&store.read).await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;
    Ok((rows.iter().map(evidence_row).collect::<Result<_, _>>()?, total))
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
