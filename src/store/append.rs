//! The insert path: new events are appended in statements of many rows, what another copy tells more is added,
//! and what follows from it is noted.

use super::batch::{Arrival, Batch, RoomBatch, Source};
use super::events::event;
use super::rows::{self, IDS, Statement};
use super::{Error, Tx, clean, rooms};
use crate::rtc::event::{Kind, Reason, RoomEvent};
use crate::rtc::id::hash;
use crate::rtc::member;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What new events of one room touch. Times in ms.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    /// For each chain the first and the last time at which something changed.
    pub chains: BTreeMap<String, (i64, i64)>,
    /// Users whose standing in the room changed, and since when.
    pub users: BTreeMap<String, i64>,
    /// A slot event came: all sticky chains of the room may change.
    pub slots: bool,
    /// The room's creation came, or a rebuild: all chains may change.
    pub everything: bool,
    /// Name, alias or state of the room may have changed.
    pub facts: bool,
    pub new_events: usize,
}

impl Touched {
    /// Something changed on a chain between these times.
    pub fn chain(&mut self, chain: &str, from: i64, to: i64) {
        let span = self.chains.entry(chain.to_owned()).or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
}

const LAST_STREAM: &str = "select coalesce(max(stream), 0) from events";

/// The number of the last event stored.
pub(super) async fn last_stream(tx: &mut Tx) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(LAST_STREAM).fetch_one(&mut **tx).await?)
}

/// An event to be inserted.
struct Fresh<'a> {
    arrival: &'a Arrival,
    chain: Option<String>,
    rejected: Option<Reason>,
    stream: i64,
}

impl<'a> Fresh<'a> {
    fn new(arrival: &'a Arrival, stream: i64) -> Self {
        let (chain, rejected) = match member::chain(&arrival.event) {
            Ok(chain) => (chain, None),
            Err(reason) => (None, Some(reason)),
        };
        Self { arrival, chain, rejected, stream }
    }
}

/// An event that is new or tells more than before, and the span of its old and new time.
struct News<'a> {
    event: &'a RoomEvent,
    from: i64,
    to: i64,
}

const SEEN: &str = "insert into sightings (event_id, room_id, vantage_id, source, seen_ms)
    select event_id, room_id, $1, source, $2 from events where stream > $3 and stream <= $4
    on conflict (event_id, room_id, vantage_id, source) do nothing";

/// Appends the events of one room that are not known yet and notes each sighting.
pub(super) async fn append(tx: &mut Tx, batch: &Batch, room: &RoomBatch, touched: &mut Touched) -> Result<(), Error> {
    let before = last_stream(tx).await?;
    let mut stream = before;
    for arrivals in room.arrivals.chunks(IDS) {
        some(tx, batch, room, arrivals, &mut stream, touched).await?;
    }
    if stream > before {
        let query = sqlx::query(SEEN).bind(&batch.vantage_id).bind(batch.seen_ms).bind(before).bind(stream);
        query.execute(&mut **tx).await?;
    }
    for (reason, json) in &room.malformed {
        stream += 1;
        malformed(tx, batch, room, reason, json, stream).await?;
    }
    Ok(())
}

async fn some<'a>(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    arrivals: &'a [Arrival],
    stream: &mut i64,
    touched: &mut Touched,
) -> Result<(), Error> {
    let known = known(tx, &room.room_id, arrivals.iter().map(|arrival| arrival.event.event_id.as_str())).await?;
    let mut fresh: Vec<Fresh> = Vec::new();
    let mut copies: Vec<&Arrival> = Vec::new();
    let mut ids = BTreeSet::new();
    for arrival in arrivals {
        let id = arrival.event.event_id.as_str();
        if known.contains(id) || !ids.insert(id) {
            copies.push(arrival);
        } else {
            *stream += 1;
            fresh.push(Fresh::new(arrival, *stream));
        }
    }
    insert(tx, room, &fresh).await?;
    touched.new_events += fresh.len();
    let mut news: Vec<News<'a>> = Vec::new();
    for new in &fresh {
        let event = &new.arrival.event;
        rooms::person(tx, &room.room_id, event).await?;
        news.push(News { event, from: event.time(), to: event.time() });
    }
    for copy in &copies {
        news.extend(absorb(tx, room, copy).await?);
    }
    seen_again(tx, batch, room, &copies).await?;
    touch(tx, &room.room_id, &news, touched).await
}

/// Which of these ids are known.
async fn known<'i>(tx: &mut Tx, room_id: &str, ids: impl Iterator<Item = &'i str>) -> Result<BTreeSet<String>, Error> {
    let ids: Vec<&str> = ids.collect();
    let query = (0..IDS).fold(sqlx::query(rows::KNOWN).bind(room_id), |query, at| query.bind(ids.get(at)));
    let rows = query.fetch_all(&mut **tx).await?;
    rows.iter().map(|row| Ok(row.try_get("event_id")?)).collect()
}

async fn insert(tx: &mut Tx, room: &RoomBatch, fresh: &[Fresh<'_>]) -> Result<(), Error> {
    let source = room.source.as_str();
    let shared = |query: Statement| query.bind(room.room_id.clone()).bind(source);
    rows::write(tx, &rows::EVENTS, fresh, shared, |query, new| {
        let event = &new.arrival.event;
        query
            .bind(&event.event_id)
            .bind(&event.kind)
            .bind(event.state_key.as_deref().map(clean))
            .bind(&event.sender)
            .bind(event.origin_server_ts)
            .bind(event.received_ts)
            .bind(new.chain.as_deref())
            .bind(event.replaces_state.as_deref().map(clean))
            .bind(event.redacts.as_deref().map(clean))
            .bind(event.redacted_ts)
            .bind(new.stream)
            .bind(i64::from(new.arrival.in_timeline))
            .bind(new.rejected)
            .bind(&new.arrival.json)
            .bind(event.time())
    })
    .await?;
    let chains = fresh.iter().filter_map(|new| Some((new.arrival.event.sender.as_str(), new.chain.as_deref()?)));
    let chains: Vec<(&str, &str)> = chains.collect::<BTreeSet<_>>().into_iter().collect();
    let shared = |query: Statement| query.bind(room.room_id.clone());
    rows::write(tx, &rows::CHAINS, &chains, shared, |query, (sender, chain)| query.bind(*sender).bind(*chain)).await?;
    Ok(())
}

const KNOWN: &str = "select * from events where event_id = $1 and room_id = $2";
const UPDATE: &str = "update events set received_ms = $3, replaces_state = $4, redacts = $5, redacted_ms = $6,
        in_timeline = $7, json = $8, time_ms = $9 where event_id = $1 and room_id = $2";

/// Adds what this copy of a known event tells more; something when that can change what follows from it.
async fn absorb<'a>(tx: &mut Tx, room: &RoomBatch, arrival: &'a Arrival) -> Result<Option<News<'a>>, Error> {
    let new = &arrival.event;
    let row = sqlx::query(KNOWN).bind(&new.event_id).bind(&room.room_id).fetch_one(&mut **tx).await?;
    let known = event(&row)?;
    let mut merged = known.clone();
    merged.absorb(new);
    let was_in_timeline = row.try_get::<i64, _>("in_timeline")? != 0;
    if merged == known && (was_in_timeline || !arrival.in_timeline) {
        return Ok(None);
    }
    let json = if merged.content == known.content { row.try_get("json")? } else { arrival.json.clone() };
    sqlx::query(UPDATE)
        .bind(&new.event_id)
        .bind(&room.room_id)
        .bind(merged.received_ts)
        .bind(merged.replaces_state.as_deref().map(clean))
        .bind(merged.redacts.as_deref().map(clean))
        .bind(merged.redacted_ts)
        .bind(i64::from(was_in_timeline || arrival.in_timeline))
        .bind(json)
        .bind(merged.time())
        .execute(&mut **tx)
        .await?;
    let changed = merged.content != known.content
        || merged.time() != known.time()
        || merged.redacted_ts != known.redacted_ts
        || merged.replaces_state != known.replaces_state;
    let news = News { event: new, from: merged.time().min(known.time()), to: merged.time().max(known.time()) };
    Ok(changed.then_some(news))
}

/// The times of linked events: of those that these replaced, and of the oldest that replaced these.
async fn linked(tx: &mut Tx, room_id: &str, news: &[News<'_>]) -> Result<[HashMap<String, i64>; 2], Error> {
    let mut times = [HashMap::new(), HashMap::new()];
    for news in news.chunks(IDS) {
        let query = sqlx::query(rows::LINKED).bind(room_id);
        let replaced = |at: usize| news.get(at).and_then(|new| new.event.replaces_state.as_deref().map(clean));
        let query = (0..IDS).fold(query, |query, at| query.bind(replaced(at)));
        let query = (0..IDS).fold(query, |query, at| query.bind(news.get(at).map(|new| &new.event.event_id)));
        for row in query.fetch_all(&mut **tx).await? {
            let (id, time): (String, i64) = (row.try_get("id")?, row.try_get("time_ms")?);
            let later = row.try_get::<i64, _>("later")? != 0;
            let known = times[usize::from(later)].entry(id).or_insert(time);
            *known = (*known).min(time);
        }
    }
    Ok(times)
}

const CHAIN_OF: &str = "select kind, chain, time_ms from events where event_id = $1 and room_id = $2";

/// Notes what the news can change.
async fn touch(tx: &mut Tx, room_id: &str, news: &[News<'_>], touched: &mut Touched) -> Result<(), Error> {
    if news.is_empty() {
        return Ok(());
    }
    let [replaced, replacing] = linked(tx, room_id, news).await?;
    for new in news {
        let event = new.event;
        if let Ok(Some(chain)) = member::chain(event) {
            // A link can put an event later than its own time, but only as late as the one it replaced.
            let from = replacing.get(&event.event_id).map_or(new.from, |time| new.from.min(*time));
            let before = event.replaces_state.as_ref().and_then(|id| replaced.get(id));
            touched.chain(&chain, from, before.map_or(new.to, |time| new.to.max(*time)));
        }
        match Kind::of(&event.kind) {
            Kind::Presence => {
                if let Some(user) = &event.state_key {
                    let since = touched.users.entry(user.clone()).or_insert(new.from);
                    *since = new.from.min(*since);
                }
            }
            Kind::Slot => touched.slots = true,
            Kind::Create => {
                touched.everything = true;
                touched.facts = true;
            }
            Kind::Redaction => redaction(tx, room_id, new, touched).await?,
            Kind::Other => touched.facts = true,
            Kind::Member | Kind::Encrypted | Kind::Related => {}
        }
    }
    Ok(())
}

async fn redaction(tx: &mut Tx, room_id: &str, new: &News<'_>, touched: &mut Touched) -> Result<(), Error> {
    let Some(target) = &new.event.redacts else { return Ok(()) };
    let query = sqlx::query(CHAIN_OF).bind(clean(target)).bind(room_id);
    // What is not known yet will itself be news.
    let Some(row) = query.fetch_optional(&mut **tx).await? else { return Ok(()) };
    let (kind, time): (String, i64) = (row.try_get("kind")?, row.try_get("time_ms")?);
    touched.slots |= Kind::of(&kind) == Kind::Slot;
    if let Some(chain) = row.try_get::<Option<String>, _>("chain")? {
        touched.chain(&chain, new.from, new.to.max(time));
    }
    Ok(())
}

async fn seen_again(tx: &mut Tx, batch: &Batch, room: &RoomBatch, copies: &[&Arrival]) -> Result<(), Error> {
    let source = room.source.as_str();
    let shared = |query: Statement| {
        query.bind(room.room_id.clone()).bind(batch.vantage_id.clone()).bind(source).bind(batch.seen_ms)
    };
    let bind = |query: Statement, copy: &&Arrival| query.bind(copy.event.event_id.clone());
    rows::write(tx, &rows::SIGHTINGS, copies, shared, bind).await?;
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
        redacted_ts: None,
    };
    let arrival = Arrival { event, json: json.to_owned(), in_timeline: false };
    let fresh = Fresh { arrival: &arrival, chain: None, rejected: Some(reason), stream };
    insert(tx, room, &[fresh]).await
}
