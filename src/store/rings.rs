//! Rings of a span of time and what became of them, of all rooms, of one, or by the people of one homeserver.
//!
//! It is told when asked, from the events and the stays around each: the newest so many, each a few reads.

use super::events::event;
use super::row::Viewer;
use super::sums::Scope;
use super::{Error, Store};
use crate::rtc::coverage::Span;
use crate::rtc::related::{Related, What, read};
use crate::rtc::ring::{GRACE_MS, Outcome, outcome, over_ms};

/// Rings and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rings {
    pub sent: i64,
    pub answered: i64,
    pub declined: i64,
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

// Who was in the calls that began last before the ring was over.
const CAME: &str = "select m.user_id, m.joined_ms, m.until_ms from memberships m
    where m.session_id in (select id from sessions where room_id = $1 and started_ms < $3
        order by started_ms desc limit 8)
    and m.joined_ms < $3 and m.until_ms > $2 and m.until_ms > m.joined_ms";
const DECLINES: &str = "select * from events where chain is null and room_id = $1
    and kind in ('org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
    and origin_server_ts >= $2 and origin_server_ts < $3 limit 500";

/// A clock may be off by so much when somebody declines, ms.
const OFF_MS: i64 = 60_000;

/// The newest `limit` notifications of a span, as known at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn of(
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
    for row in &rows {
        let (room_id, event): (String, _) = (sqlx::Row::try_get(row, "room_id")?, event(row)?);
        let Some(ring) = read(&event) else { continue };
        if let Scope::Server(server) = scope
            && crate::rtc::session::server_of(&ring.who) != server
        {
            continue;
        }
        if ring.what != What::Ring {
            found.silent += 1;
            continue;
        }
        found.sent += 1;
        let (outcome, answered_ms) = became(store, &room_id, &ring, now).await?;
        waits.extend(answered_ms.map(|ms| ms - ring.at_ms));
        *match outcome {
            Outcome::Answered => &mut found.answered,
            Outcome::Declined => &mut found.declined,
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

/// What became of one ring.
async fn became(
    store: &Store,
    room_id: &str,
    ring: &Related,
    now: i64,
) -> Result<(Outcome, Option<i64>), Error> {
    let over = over_ms(ring);
    let came: Vec<(String, i64, i64)> = sqlx::query_as(CAME)
        .bind(room_id)
        .bind(ring.at_ms)
        .bind(over)
        .fetch_all(&store.read)
        .await?;
    let came = |related: &[Related]| {
        outcome(
            ring,
            came.iter()
                .map(|(user, from, until)| (user.as_str(), *from, *until)),
            related,
            now,
        )
    };
    let without = came(&[]);
    if without.0 == Outcome::Answered {
        return Ok(without);
    }
    let query = sqlx::query(DECLINES)
        .bind(room_id)
        .bind(ring.at_ms - OFF_MS)
        .bind(over + GRACE_MS + OFF_MS);
    let mut declines = Vec::new();
    for row in query.fetch_all(&store.read).await? {
        declines.extend(read(&event(&row)?));
    }
    Ok(came(&declines))
}
