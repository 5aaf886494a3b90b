//! Rings of a span of time and what became of them, of all rooms, of one, or by the people of one
//! homeserver.
//!
//! It is told when asked, from the events and the stays around each: the newest so many, each a few
//! reads.

use super::events::event;
use super::row::Viewer;
use super::rows::Rows;
use super::sums::Scope;
use super::{Error, Store};
use crate::rtc::coverage::Span;
use crate::rtc::related::{Related, What, parse_related};
use crate::rtc::ring::{
    BEFORE_MS, NearCall, OFF_MS, Outcome, call_of_ring, outcome, over_ms, reach_ms,
};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap};

/// Rings and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rings {
    pub sent: i64,
    pub answered: i64,
    pub declined: i64,
    /// Taken back by the caller before anybody came.
    pub withdrawn: i64,
    pub missed: i64,
    /// Not over yet.
    pub ringing: i64,
    /// Notifications that do not ring.
    pub silent: i64,
    /// Half of those that were answered were so within this time, ms.
    pub usual_answer_ms: Option<i64>,
    /// These are all of the span; else the newest.
    pub whole: bool,
}

// The list of kinds is that of the index.
macro_rules! rings {
    ($time:literal, $filter:literal) => {
        concat!(
            "select * from events where chain is null and kind in ('org.matrix.msc4075.rtc.notification',
                'm.rtc.notification', 'org.matrix.msc4075.call.notify', 'm.call.notify')
            and ",
            $time,
            " >= $1 and ",
            $time,
            " < $2",
            $filter,
            " order by ",
            $time,
            " desc limit $3"
        )
    };
}
// `+ 0`: of one room by the kind; there are many other events at that time.
pub(super) const RINGS: [&str; 3] = [
    rings!("origin_server_ts", ""),
    rings!("origin_server_ts + 0", " and room_id = $4"),
    rings!("origin_server_ts", " and sender like $4 escape '!'"),
];

// The call of the stay that was the last to begin on the chain when the event was sent.
static REFERRED: Rows = Rows::new(
    "select e.event_id, s.id, s.slot_id, s.started_ms, s.until_ms from events e join sessions s on s.id =
        (select m.session_id from memberships m where m.room_id = e.room_id and m.chain = e.chain
            and m.opened_ms <= e.time_ms order by m.opened_ms desc limit 1)
    where e.event_id in (",
    "?",
    ")",
);

/// By the id of a member event its call.
pub(super) type Referred = HashMap<String, NearCall>;

/// The calls of the events that these rings refer to.
pub(super) async fn referred(
    store: &Store,
    rings: impl Iterator<Item = &Related>,
) -> Result<Referred, Error> {
    let ids: BTreeSet<&str> = rings
        .filter(|ring| matches!(ring.what, What::Ring | What::Notification))
        .filter_map(|ring| ring.relates_to.as_deref())
        .collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    let mut connection = store.read.acquire().await?;
    let mut found = Referred::new();
    for row in REFERRED.read_by_ids(&mut connection, &ids).await? {
        found.insert(row.try_get("event_id")?, near_call(&row)?);
    }

    Ok(found)
}

const NEAR: &str = "select id, slot_id, started_ms, until_ms from sessions where room_id = $1
    and started_ms <= $2 order by started_ms desc limit 20";

pub(super) fn near_call(row: &AnyRow) -> Result<NearCall, Error> {
    Ok(NearCall {
        id: row.try_get("id")?,
        slot_id: row.try_get("slot_id")?,
        started_ms: row.try_get("started_ms")?,
        until_ms: row.try_get("until_ms")?,
    })
}

/// The call that a ring belongs to.
pub(super) async fn call_of(
    store: &Store,
    room_id: &str,
    ring: &Related,
    referred: &Referred,
) -> Result<Option<NearCall>, Error> {
    let refers_to = ring.relates_to.as_ref();
    let its = refers_to.and_then(|id| referred.get(id));
    if let Some(call) = call_of_ring(ring, its, &[]) {
        return Ok(Some(call.clone()));
    }

    // What refers to something else, or to what nobody knows, is of no call here.
    if refers_to.is_some() && ring.slot_id.is_none() {
        return Ok(None);
    }

    let (begun_by, ended_after) = reach_ms(ring);
    let query = sqlx::query(NEAR).bind(room_id).bind(begun_by);
    let mut near = Vec::new();
    for row in query.fetch_all(&store.read).await? {
        near.push(near_call(&row)?);
    }

    near.retain(|call| call.until_ms >= ended_after);

    Ok(call_of_ring(ring, None, &near).cloned())
}

// Who came to the call while it rang.
const CAME: &str = "select m.user_id, m.joined_ms, m.until_ms from memberships m
    where m.session_id = $1 and m.joined_ms >= $2 and m.joined_ms < $3 and m.until_ms > m.joined_ms";
// Declines, and notifications that take another back.
const ANSWERS: &str = "select * from events where chain is null and room_id = $1
    and kind in ('org.matrix.msc4310.rtc.decline', 'm.rtc.decline', 'org.matrix.msc4075.rtc.notification',
        'm.rtc.notification')
    and origin_server_ts >= $2 and origin_server_ts < $3 limit 500";

/// The newest `limit` notifications of a span, as known at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn rings_within(
    store: &Store,
    viewer: Viewer,
    scope: Scope<'_>,
    (span, now): (Span, i64),
    limit: i64,
) -> Result<Rings, Error> {
    let Viewer::Operator = viewer;
    let (sql, whose) = match scope {
        Scope::All => (RINGS[0], None),
        Scope::Room(room_id) => (RINGS[1], Some(room_id.to_owned())),
        Scope::Server(server) => (RINGS[2], Some(format!("%:{}", escaped(server)))),
    };

    let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(limit);
    let query = if let Some(whose) = whose {
        query.bind(whose)
    } else {
        query
    };

    let rows = query.fetch_all(&store.read).await?;
    let mut found = Rings {
        whole: super::int(rows.len()) < limit,
        ..Rings::default()
    };

    let mut waits: Vec<i64> = Vec::new();
    let mut rings: Vec<(String, Related)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let room_id: String = row.try_get("room_id")?;
        rings.extend(parse_related(&event(row)?).map(|ring| (room_id, ring)));
    }

    let referred = referred(store, rings.iter().map(|(_, ring)| ring)).await?;
    for (room_id, ring) in &rings {
        if let Scope::Server(server) = scope
            && crate::rtc::session::server_of(&ring.who) != server
        {
            continue;
        }

        match ring.what {
            What::Ring => found.sent += 1,
            What::Notification => {
                found.silent += 1;
                continue;
            }
            _ => continue,
        }

        let call = call_of(store, room_id, ring, &referred).await?;
        let (outcome, answered_ms) = became(store, room_id, ring, call.as_ref(), now).await?;
        waits.extend(answered_ms.map(|ms| ms - ring.at_ms));
        *match outcome {
            Outcome::Answered => &mut found.answered,
            Outcome::Declined => &mut found.declined,
            Outcome::Withdrawn => &mut found.withdrawn,
            Outcome::Missed => &mut found.missed,
            Outcome::Ringing => &mut found.ringing,
        } += 1;
    }

    waits.sort_unstable();
    found.usual_answer_ms = waits.get(waits.len() / 2).copied();

    Ok(found)
}

fn escaped(server: &str) -> String {
    server
        .replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_")
}

/// What became of one ring, by who came to the call that it belongs to.
async fn became(
    store: &Store,
    room_id: &str,
    ring: &Related,
    call: Option<&NearCall>,
    now: i64,
) -> Result<(Outcome, Option<i64>), Error> {
    let over = over_ms(ring);
    let came: Vec<(String, i64, i64)> = match call {
        Some(call) => {
            sqlx::query_as(CAME)
                .bind(&call.id)
                .bind(ring.at_ms.saturating_sub(BEFORE_MS))
                .bind(over)
                .fetch_all(&store.read)
                .await?
        }
        None => Vec::new(),
    };

    let query = sqlx::query(ANSWERS)
        .bind(room_id)
        .bind(ring.at_ms.saturating_sub(OFF_MS))
        .bind(over.saturating_add(OFF_MS));
    let mut answers = Vec::new();
    for row in query.fetch_all(&store.read).await? {
        answers.extend(parse_related(&event(&row)?));
    }

    let came = came
        .iter()
        .map(|(user, from, until)| (user.as_str(), *from, *until));

    Ok(outcome(ring, came, &answers, now))
}
