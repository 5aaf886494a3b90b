//! The insert path. New events are appended in statements of many rows. What another copy of a
//! known event adds is merged into it. The consequences are noted in [`Dirty`].

use super::batch::{Arrival, Batch, RoomBatch};
use super::redactions::{self, RedactedArrival, Redactions, redact_stored};
use super::sender_limit::{self, Senders};
use super::{room_members, room_rules, rooms, sightings};
use crate::rtc::event::{EventKind, Reason, RoomEvent};
use crate::rtc::id::hash;
use crate::rtc::member;
use crate::rtc::redaction::reduce_redacted_event;
use crate::rtc::words::Source;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::db::word_column::word_from_row;
use crate::store::derive::dirty::Dirty;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Tx, to_i64};
use sqlx::Row;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub(super) const LAST_STREAM: &str = "select coalesce(max(stream), 0) from events";

/// The number of the last event stored; 0 if there is none.
pub(in crate::store) async fn last_stream(tx: &mut Tx) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(LAST_STREAM).fetch_one(&mut **tx).await?)
}

/// An event to be inserted.
struct EventToInsert<'a> {
    arrival: &'a Arrival,
    /// The part of a redacted event's content that is kept.
    kept: Option<&'a str>,
    member_key: Option<String>,
    rejected: Option<Reason>,
    stream: i64,
}

impl<'a> EventToInsert<'a> {
    /// The row to insert for an arrival, under the number `stream`. An event whose member key
    /// cannot be told is stored as rejected, with the reason.
    fn from_arrival(arrival: &'a Arrival, kept: Option<&'a str>, stream: i64) -> Self {
        let (member_key, rejected) = match member::member_key_of(&arrival.event) {
            Ok(member_key) => (member_key, None),
            Err(reason) => (None, Some(reason)),
        };

        Self {
            arrival,
            kept,
            member_key,
            rejected,
            stream,
        }
    }
}

/// An event that is new, or of which we now know more.
struct EventChange {
    event: Arc<RoomEvent>,
    /// The event as it was before; `None` if it is new.
    old: Option<RoomEvent>,
    member_key: Option<String>,
}

impl EventChange {
    /// The old and the new time of the event, ms, the earlier one first.
    fn span(&self) -> (i64, i64) {
        let (now, before) = (
            self.event.time(),
            self.old.as_ref().map_or(self.event.time(), RoomEvent::time),
        );

        (now.min(before), now.max(before))
    }
}

/// Stores the events of one room that are not known yet, merges what copies of known ones add, and
/// marks in `dirty` what becomes stale. With `senders`, events beyond their limits are counted
/// and not stored; `None` = there is no limit. The events need no order, and one may be there
/// twice.
pub(in crate::store) async fn append_events(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    dirty: &mut Dirty,
    mut senders: Option<&mut Senders<'_>>,
) -> Result<(), Error> {
    let mut stream = last_stream(tx).await?;
    let limited = senders
        .as_ref()
        .and_then(|senders| senders.choose(room, batch.seen_ms));
    let chosen = |at: &usize| {
        limited
            .as_ref()
            .is_none_or(|(stored, _)| stored.contains(at))
    };
    let arrivals: Vec<&Arrival> = room
        .arrivals
        .iter()
        .enumerate()
        .filter(|(at, _)| chosen(at))
        .map(|(_, arrival)| arrival)
        .collect();
    for arrivals in arrivals.chunks(512) {
        let fresh = append_chunk(tx, batch, room, arrivals, &mut stream, dirty).await?;
        if let Some(senders) = &mut senders {
            senders.record_batch(room, fresh.iter().map(AsRef::as_ref));
        }
    }

    if let Some((_, aside)) = &limited {
        sender_limit::record_set_aside(tx, &room.room_id, aside).await?;
        dirty.set_aside = true;
    }

    for (reason, json) in &room.malformed {
        stream += insert_malformed(tx, batch, room, reason, json, stream + 1).await?;
    }

    Ok(())
}

/// An event to be stored, and the part of its content that is kept if it is redacted.
type EventToStore<'a> = (&'a Arrival, Option<&'a str>);

/// Stores one chunk of events, with all that [`append_events`] says. `stream` is the number of the
/// last event stored; it moves on by one for each new event. Returns the events that were new.
async fn append_chunk(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    arrivals: &[&Arrival],
    stream: &mut i64,
    dirty: &mut Dirty,
) -> Result<Vec<Arc<RoomEvent>>, Error> {
    let redactions = Redactions::know(tx, room, arrivals).await?;
    let redacted: Vec<Option<RedactedArrival>> = arrivals
        .iter()
        .map(|arrival| redactions.take_back(arrival))
        .collect();
    let as_stored = arrivals.iter().zip(&redacted);
    let as_stored = as_stored.map(|(arrival, redacted)| match redacted {
        Some(redacted) => (&redacted.arrival, redacted.kept.as_deref()),
        None => (*arrival, None),
    });
    let mut ids: HashSet<&str> = HashSet::with_capacity(arrivals.len());
    let (first, twice): (Vec<EventToStore>, Vec<EventToStore>) =
        as_stored.partition(|(arrival, _)| ids.insert(&arrival.event.event_id));
    let numbered = first.into_iter().zip(*stream + 1..);
    let tried: Vec<EventToInsert> = numbered
        .map(|((arrival, kept), stream)| EventToInsert::from_arrival(arrival, kept, stream))
        .collect();
    // Most events are new. The known ones are looked up only if fewer rows were inserted than
    // tried.
    let known = match insert_events(tx, batch, room, &tried).await? {
        inserted if inserted == to_i64(tried.len()) => HashMap::new(),
        _ => load_stored_copies(tx, batch, room, &tried, *stream).await?,
    };

    let (mut fresh, old): (Vec<EventToInsert>, Vec<EventToInsert>) = tried
        .into_iter()
        .partition(|new| !known.contains_key(&new.arrival.event.event_id));
    number_events(tx, &room.room_id, &mut fresh, stream).await?;
    // False means that the event had come from another vantage or in another way.
    let other_way = |new: &&EventToInsert| known.get(&new.arrival.event.event_id) == Some(&false);
    let other_ways: Vec<&Arrival> = old
        .iter()
        .filter(other_way)
        .map(|new| new.arrival)
        .collect();
    let twice = twice.into_iter().map(|(arrival, _)| arrival);
    let copies: Vec<&Arrival> = old.iter().map(|new| new.arrival).chain(twice).collect();
    let member_keys = fresh.iter().filter_map(|new| {
        Some((
            new.arrival.event.sender.as_str(),
            new.member_key.as_deref()?,
        ))
    });
    record_writers(tx, room, member_keys).await?;
    rooms::store_display_names(
        tx,
        &room.room_id,
        fresh.iter().map(|new| new.arrival.event.as_ref()),
    )
    .await?;
    let events = || fresh.iter().map(|new| new.arrival.event.as_ref());
    room_members::update_members(tx, &room.room_id, events()).await?;
    room_rules::store_rules(tx, &room.room_id, events()).await?;
    dirty.accounts |= room_rules::record_join_types(tx, &room.room_id, events()).await?;
    dirty.new_events += fresh.len();
    let stored: Vec<Arc<RoomEvent>> = fresh
        .iter()
        .map(|new| Arc::clone(&new.arrival.event))
        .collect();
    fresh
        .iter()
        .filter(|new| new.member_key.is_some())
        .for_each(|new| dirty.fresh.add_event(&new.arrival.event));
    let news = |new: EventToInsert| EventChange {
        event: Arc::clone(&new.arrival.event),
        old: None,
        member_key: new.member_key,
    };

    let mut news: Vec<EventChange> = fresh.into_iter().map(news).collect();
    for copy in &copies {
        let is_redacted = redactions.because(&copy.event).is_some();
        dirty.taken_back |= is_redacted || copy.event.redacted_ts.is_some();
        news.extend(merge_copy(tx, room, copy, is_redacted, dirty).await?);
    }

    sightings::record_sightings(tx, batch, room, &other_ways).await?;
    mark_dirty(tx, &room.room_id, &news, dirty).await?;

    Ok(stored)
}

static KNOWN: MultiRow = MultiRow::new(
    "select event_id, stream, vantage_id, source from events where room_id || '' = $1
        and event_id in (",
    "?",
    ")",
);

/// Which of these events were stored before this chunk, by event id; the value is true if they had
/// already come from this vantage in this way. `before` is the number of the last event stored
/// before: what has a greater number was just inserted by this chunk.
async fn load_stored_copies(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    tried: &[EventToInsert<'_>],
    before: i64,
) -> Result<HashMap<String, bool>, Error> {
    let ids: Vec<&str> = tried
        .iter()
        .map(|new| new.arrival.event.event_id.as_str())
        .collect();
    let mut known = HashMap::new();
    for row in KNOWN.look_up(tx, &room.room_id, &ids).await? {
        if row.try_get::<i64, _>("stream")? <= before {
            let by_this_way = row.try_get::<Option<&str>, _>("vantage_id")?
                == Some(&batch.vantage_id)
                && word_from_row::<Source>(&row, "source")? == room.source;
            known.insert(row.try_get("event_id")?, by_this_way);
        }
    }

    Ok(known)
}

const NUMBER: &str = "update events set stream = $3 where event_id = $1 and room_id = $2";

/// Numbers the new events without gaps, so that the last number tells how many were ever stored.
/// They were inserted with a number each, but known events among them take none. `fresh` must be in
/// the order of those numbers, so that each only moves down to one that is free. `stream` is the
/// last number before, and moves on to the last one given.
async fn number_events(
    tx: &mut Tx,
    room_id: &str,
    fresh: &mut [EventToInsert<'_>],
    stream: &mut i64,
) -> Result<(), Error> {
    for new in fresh {
        *stream += 1;
        if new.stream != *stream {
            new.stream = *stream;
            let query = sqlx::query(NUMBER)
                .bind(&new.arrival.event.event_id)
                .bind(room_id)
                .bind(*stream);
            query.execute(&mut **tx).await?;
        }
    }

    Ok(())
}

static INSERT: MultiRow = MultiRow::new(
    "insert into events (room_id, source, vantage_id, seen_ms, event_id, kind, state_key, sender,
        origin_server_ts, received_ms, chain, replaces_state, redacts, redacted_ms, stream,
        in_timeline, rejected, json, time_ms, kept)
    values ",
    "($1, $2, $3, $4, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (event_id, room_id) do nothing",
);
static WROTE: MultiRow = MultiRow::new(
    "insert into chains (room_id, sender, chain) values ",
    "($1, ?, ?)",
    " on conflict (room_id, sender, chain) do nothing",
);

/// Inserts the events that are not stored yet. Returns how many there were.
async fn insert_events(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    events: &[EventToInsert<'_>],
) -> Result<i64, Error> {
    let source = room.source.as_str();
    let shared = |query: Statement| {
        query
            .bind(room.room_id.clone())
            .bind(source)
            .bind(batch.vantage_id.clone())
            .bind(batch.seen_ms)
    };

    let bind = |query: Statement, new: &EventToInsert| {
        let event = &new.arrival.event;
        query
            .bind(event.event_id.clone())
            .bind(event.kind.clone())
            .bind(event.state_key.clone())
            .bind(event.sender.clone())
            .bind(event.origin_server_ts)
            .bind(event.received_ts)
            .bind(new.member_key.clone())
            .bind(event.replaces_state.clone())
            .bind(event.redacts.clone())
            .bind(event.redacted_ts)
            .bind(new.stream)
            .bind(i64::from(new.arrival.in_timeline))
            .bind(new.rejected)
            .bind(new.arrival.json.clone())
            .bind(event.time())
            .bind(new.kept.map(ToOwned::to_owned))
    };

    Ok(i64::try_from(INSERT.write(tx, events, shared, bind).await?).unwrap_or(i64::MAX))
}

/// Stores which users (first of each pair) write under which member key (second). Pairs may repeat.
async fn record_writers<'c>(
    tx: &mut Tx,
    room: &RoomBatch,
    member_keys: impl Iterator<Item = (&'c str, &'c str)>,
) -> Result<(), Error> {
    let member_keys: Vec<(&str, &str)> = member_keys.collect::<BTreeSet<_>>().into_iter().collect();
    let shared = |query: Statement| query.bind(room.room_id.clone());
    let bind = |query: Statement, (sender, member_key): &(&str, &str)| {
        query
            .bind((*sender).to_owned())
            .bind((*member_key).to_owned())
    };

    WROTE.write(tx, &member_keys, shared, bind).await?;

    Ok(())
}

const STORED: &str = "select * from events where event_id = $1 and room_id = $2";
const UPDATE: &str =
    "update events set received_ms = $3, replaces_state = $4, redacts = $5, redacted_ms = $6,
        in_timeline = $7, json = $8, time_ms = $9, chain = $10, rejected = $11, kept = $12
        where event_id = $1 and room_id = $2";

/// Merges into a stored event what this copy of it adds. The event must be stored. Returns the
/// change if derived data can depend on it; else `None`. `is_redacted` says that we know an event
/// that redacts it.
async fn merge_copy(
    tx: &mut Tx,
    room: &RoomBatch,
    arrival: &Arrival,
    is_redacted: bool,
    dirty: &mut Dirty,
) -> Result<Option<EventChange>, Error> {
    let new = &arrival.event;
    let row = sqlx::query(STORED)
        .bind(&new.event_id)
        .bind(&room.room_id)
        .fetch_one(&mut **tx)
        .await?;
    let known = event_from_row(&row)?;
    let mut merged = known.clone();
    merged.absorb(new);
    let mut kept: Option<String> = row.try_get("kept")?;
    let is_redacted = is_redacted || merged.redacted_ts.is_some();
    // Its content is still stored, or came with this copy.
    let is_taken_back = is_redacted && merged.readable && kept.is_none();
    if is_taken_back {
        reduce_redacted_event(&mut merged);
        kept = redactions::kept_content_text(&merged);
        merged.readable = kept.is_some();
    }

    let merged = Arc::new(merged);
    let was_in_timeline = row.try_get::<i64, _>("in_timeline")? != 0;
    if *merged == known && (was_in_timeline || !arrival.in_timeline) {
        return Ok(None);
    }

    dirty.fresh.add_event(&merged);
    if is_taken_back && EventKind::of_event_type(&merged.kind) == EventKind::Presence {
        let unnamed = redactions::delete_display_name(tx, &room.room_id, &merged.event_id).await?;
        dirty.unnamed.extend(unnamed);
    }

    let json = if is_taken_back && known.readable {
        let at_ms = merged.redacted_ts.unwrap_or(merged.origin_server_ts);
        redactions::redacted_text_since(row.try_get("json")?, &merged.kind, at_ms)
    } else if merged.readable == known.readable || is_redacted {
        row.try_get("json")?
    } else {
        arrival.json.clone()
    };

    // A readable copy may tell the member key that a redacted copy could not.
    let mut member_key: Option<String> = row.try_get("chain")?;
    let mut rejected: Option<String> = row.try_get("rejected")?;
    if merged.readable != known.readable && member_key.is_none() {
        (member_key, rejected) = match member::member_key_of(&merged) {
            Ok(member_key) => (member_key, None),
            Err(reason) => (None, Some(reason.to_owned())),
        };

        record_writers(
            tx,
            room,
            member_key
                .iter()
                .map(|member_key| (merged.sender.as_str(), member_key.as_str())),
        )
        .await?;
    }

    sqlx::query(UPDATE)
        .bind(&new.event_id)
        .bind(&room.room_id)
        .bind(merged.received_ts)
        .bind(&merged.replaces_state)
        .bind(&merged.redacts)
        .bind(merged.redacted_ts)
        .bind(i64::from(was_in_timeline || arrival.in_timeline))
        .bind(json)
        .bind(merged.time())
        .bind(&member_key)
        .bind(rejected)
        .bind(&kept)
        .execute(&mut **tx)
        .await?;

    Ok(changes_the_fold(&known, &merged).then_some(EventChange {
        event: merged,
        old: Some(known),
        member_key,
    }))
}

/// Can this change of an event change what is derived from it?
fn changes_the_fold(known: &RoomEvent, merged: &RoomEvent) -> bool {
    merged.content != known.content
        || merged.time() != known.time()
        || merged.received_ts != known.received_ts
        || merged.redacted_ts != known.redacted_ts
        || merged.replaces_state != known.replaces_state
}

static REPLACED: MultiRow = MultiRow::new(
    "select event_id as id, time_ms, time_ms as next_ms from events where room_id || '' = $1
        and event_id in (",
    "?",
    ")",
);
static REPLACING: MultiRow = MultiRow::new(
    "select e.replaces_state as id, e.time_ms, coalesce((select min(n.time_ms) from events n
            where n.replaces_state = e.event_id and n.room_id = e.room_id and n.chain is not null),
            e.time_ms) as next_ms
    from events e where e.room_id || '' = $1 and e.chain is not null
    and e.replaces_state is not null
    and e.replaces_state in (",
    "?",
    ")",
);

/// The first and the last time, ms, of the events that are linked with an event, by its id. The
/// event after it is one of them, because it decides whether the stamp of the one before is odd.
type LinkedTimes = HashMap<String, (i64, i64)>;

/// The times of the events that a statement ([`REPLACED`] or [`REPLACING`]) links with these ids.
/// An event without linked ones is left out.
async fn times_of_linked(
    tx: &mut Tx,
    sql: &MultiRow,
    room_id: &str,
    ids: &[&str],
) -> Result<LinkedTimes, Error> {
    let mut times = LinkedTimes::new();
    for row in sql.look_up(tx, room_id, ids).await? {
        let (time, next): (i64, i64) = (row.try_get("time_ms")?, row.try_get("next_ms")?);
        let known = times.entry(row.try_get("id")?).or_insert((time, time));
        // The event after the linked one can only make that one earlier, so it counts for the first
        // time alone.
        *known = (known.0.min(time).min(next), known.1.max(time));
    }

    Ok(times)
}

/// Marks in `dirty` what the new or changed events make stale: spans of member keys, presence,
/// slots and facts of the room. Redactions and bans among them are applied to stored events.
async fn mark_dirty(
    tx: &mut Tx,
    room_id: &str,
    news: &[EventChange],
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let of_members = || news.iter().filter(|new| new.member_key.is_some());
    let replaced: Vec<&str> = of_members()
        .filter_map(|new| new.event.replaces_state.as_deref())
        .collect();
    let replaced = times_of_linked(tx, &REPLACED, room_id, &replaced).await?;
    let ids: Vec<&str> = of_members()
        .map(|new| new.event.event_id.as_str())
        .collect();
    let replacing = times_of_linked(tx, &REPLACING, room_id, &ids).await?;
    for new in news {
        let event = &new.event;
        if let Some(member_key) = &new.member_key {
            // The time of an event that is moved by links depends on the linked events. Its
            // neighbours decide whether its stamp is odd. The event before can only move it later,
            // so that one counts for the end alone.
            let before = event
                .replaces_state
                .as_ref()
                .and_then(|id| replaced.get(id));
            let after = replacing.get(&event.event_id);
            let (from, to) = new.span();
            let from = after.map_or(from, |(first, _)| from.min(*first));
            let to = [before, after]
                .into_iter()
                .flatten()
                .fold(to, |to, (_, last)| to.max(*last));
            dirty.add_member_key(member_key, from, to);
        }

        match (EventKind::of_event_type(&event.kind), &event.state_key) {
            (EventKind::Presence, Some(user)) => {
                redactions::redact_all_of(tx, room_id, event, dirty).await?;
                let news = dirty.presence.entry(user.clone()).or_default();
                news.entry(event.event_id.clone())
                    .or_insert_with(|| new.old.clone());
            }
            (EventKind::Slot, Some(slot)) => dirty.slots.extend([slot.clone()]),
            (EventKind::Create, Some(_)) => {
                dirty.everything |= new.old.is_some() || dirty.created_ms.is_some();
                dirty.created_ms = Some(event.time());
                dirty.facts = true;
            }
            (EventKind::Redaction, _) => apply_redaction(tx, room_id, new, dirty).await?,
            (EventKind::Other, _) => dirty.facts = true,
            _ => {}
        }
    }

    Ok(())
}

/// Removes the content of the event that this new redaction names, and marks what follows from it.
/// Does nothing to an event that is not stored yet.
async fn apply_redaction(
    tx: &mut Tx,
    room_id: &str,
    new: &EventChange,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let Some(target) = &new.event.redacts else {
        return Ok(());
    };

    dirty.taken_back = true;
    // The redaction of an event that is not stored yet is applied when that event comes.
    let Some(row) = redact_stored(tx, room_id, target, &new.event).await? else {
        return Ok(());
    };

    dirty.unnamed.extend(row.unnamed);
    match EventKind::of_event_type(&row.kind) {
        EventKind::Slot => dirty.slots.extend(row.state_key),
        EventKind::Other => dirty.facts = true,
        _ => {}
    }

    if let Some(member_key) = row.member_key {
        // The change begins at the redacted event: checkpoints after it do not know of the
        // redaction.
        let (from, to) = new.span();
        dirty.add_member_key(&member_key, from.min(row.time_ms), to.max(row.time_ms));
    }

    Ok(())
}

/// Stores an entry that is no valid event, as rejected for `reason` and under a hash of its text,
/// so that nothing is dropped silently. Returns 1 if it is new, else 0. `stream` is its number.
async fn insert_malformed(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    reason: Reason,
    json: &str,
    stream: i64,
) -> Result<i64, Error> {
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

    let arrival = Arrival {
        event: Arc::new(event),
        json: json.to_owned(),
        in_timeline: false,
    };

    let fresh = EventToInsert {
        arrival: &arrival,
        kept: None,
        member_key: None,
        rejected: Some(reason),
        stream,
    };

    insert_events(tx, batch, room, &[fresh]).await
}
