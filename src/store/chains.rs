//! The funnel's fold: the chains that new events touch, from stored events to stored memberships.

use super::events::{Touched, event};
use super::{Error, Tx, memberships, seals};
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::{Rules, fold};
use crate::rtc::membership::Rejection;
use crate::rtc::room::Room;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// For each slot the span of time, ms, in which memberships changed.
pub(super) type Spans = BTreeMap<String, (i64, i64)>;

/// Folds every touched chain again and replaces what changed.
pub(super) async fn refold(tx: &mut Tx, rules: &Rules, room_id: &str, touched: &Touched) -> Result<Spans, Error> {
    let chains = chains(tx, room_id, touched).await?;
    let mut spans = Spans::new();
    if chains.is_empty() {
        return Ok(spans);
    }
    let mut whole_room = query(tx, ROOM_EVENTS, room_id, "").await?;
    whole_room.extend(query(tx, SLOT_REDACTIONS, room_id, "").await?);
    for chain in chains {
        let cut = seals::cut(tx, room_id, &chain).await?;
        let (events, stored) = chain_events(tx, room_id, &chain, cut).await?;
        let mut conditions = query(tx, PRESENCE, room_id, &chain).await?;
        conditions.extend(query(tx, REDACTIONS, room_id, &chain).await?);
        let room = Room::from_events(whole_room.iter().chain(&conditions).chain(&events));
        let (mut members, rejected) = fold(&chain, &events, &room, rules);
        seals::clamp(&mut members, cut);
        reject(tx, room_id, &stored, &rejected).await?;
        memberships::replace(tx, room_id, &chain, cut, &members, &mut spans).await?;
    }
    Ok(spans)
}

const OF_SENDER: &str = "select distinct chain from events where room_id = $1 and sender = $2 and chain is not null";
const STICKY: &str = "select distinct chain from events where room_id = $1 and chain like 'k%'";
const ALL: &str = "select distinct chain from events where room_id = $1 and chain is not null";

/// The chains that can have changed.
async fn chains(tx: &mut Tx, room_id: &str, touched: &Touched) -> Result<BTreeSet<String>, Error> {
    let mut chains = touched.chains.clone();
    if touched.everything {
        chains.extend(sqlx::query_scalar::<_, String>(ALL).bind(room_id).fetch_all(&mut **tx).await?);
        return Ok(chains);
    }
    if touched.slots {
        chains.extend(sqlx::query_scalar::<_, String>(STICKY).bind(room_id).fetch_all(&mut **tx).await?);
    }
    for user in &touched.users {
        let query = sqlx::query_scalar::<_, String>(OF_SENDER).bind(room_id).bind(user);
        chains.extend(query.fetch_all(&mut **tx).await?);
    }
    Ok(chains)
}

const ROOM_EVENTS: &str = "select * from events where room_id = $1 and $2 = ''
    and kind in ('m.room.create', 'org.matrix.msc4143.rtc.slot', 'm.rtc.slot')";
// `redacts is not null` lets the partial index be used: without it every call event would cost a look at the whole room.
const SLOT_REDACTIONS: &str = "select * from events where redacts is not null and room_id = $1 and $2 = ''
    and redacts in (select event_id from events where room_id = $1
        and kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot'))";
const PRESENCE: &str = "select * from events where room_id = $1 and kind = 'm.room.member'
    and state_key in (select sender from events where room_id = $1 and chain = $2)";
const REDACTIONS: &str = "select * from events where redacts is not null and room_id = $1
    and redacts in (select event_id from events where room_id = $1 and chain = $2)";

async fn query(tx: &mut Tx, sql: &'static str, room_id: &str, chain: &str) -> Result<Vec<RoomEvent>, Error> {
    let rows = sqlx::query(sql).bind(room_id).bind(chain).fetch_all(&mut **tx).await?;
    rows.iter().map(event).collect()
}

const CHAIN: &str = "select * from events where room_id = $1 and chain = $2";

type Stored = BTreeMap<String, Option<String>>;

/// The events of a chain that its seal lets count, and by id the reason for which each is marked as rejected now.
async fn chain_events(tx: &mut Tx, room_id: &str, chain: &str, cut: i64) -> Result<(Vec<RoomEvent>, Stored), Error> {
    let rows = sqlx::query(CHAIN).bind(room_id).bind(chain).fetch_all(&mut **tx).await?;
    let mut events = Vec::with_capacity(rows.len());
    let mut stored = Stored::new();
    for row in &rows {
        let event = event(row)?;
        if !seals::counts(&event, cut) {
            continue;
        }
        stored.insert(event.event_id.clone(), row.try_get("rejected")?);
        events.push(event);
    }
    Ok((events, stored))
}

const REJECT: &str = "update events set rejected = $3 where event_id = $1 and room_id = $2";

/// Marks the rejected events of a chain, and takes the mark from those that are rejected no more.
async fn reject(tx: &mut Tx, room_id: &str, stored: &Stored, rejected: &[Rejection]) -> Result<(), Error> {
    let rejected: BTreeMap<&str, &str> = rejected.iter().map(|(id, reason)| (id.as_str(), *reason)).collect();
    for (event_id, was) in stored {
        let is = rejected.get(event_id.as_str()).copied();
        if was.as_deref() != is {
            sqlx::query(REJECT).bind(event_id).bind(room_id).bind(is).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

/// What one chain is folded from at this moment: its events that count, and the conditions.
pub(super) async fn read(tx: &mut Tx, room_id: &str, chain: &str, cut: i64) -> Result<(Vec<RoomEvent>, Room), Error> {
    let (events, _) = chain_events(tx, room_id, chain, cut).await?;
    let mut conditions = query(tx, ROOM_EVENTS, room_id, "").await?;
    conditions.extend(query(tx, SLOT_REDACTIONS, room_id, "").await?);
    conditions.extend(query(tx, PRESENCE, room_id, chain).await?);
    conditions.extend(query(tx, REDACTIONS, room_id, chain).await?);
    let room = Room::from_events(conditions.iter().chain(&events));
    Ok((events, room))
}
