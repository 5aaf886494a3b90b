//! Holes: state events that a stored one replaced (`replaces_state`) and that are not stored themselves.

use super::{Error, Store};

/// A chain of predecessors is followed so far: more is a server that tells stories.
const DEPTH_MAX: i64 = 64;
/// Events looked at in one transaction.
const SCAN: i64 = 2000;

/// An event to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub room_id: String,
    pub event_id: String,
}

const CURSOR: &str = "select stream from scans where name = 'holes'";
const MOVE: &str = "insert into scans (name, stream) values ('holes', $1)
    on conflict (name) do update set stream = excluded.stream";
const END: &str =
    "select max(stream) from (select stream from events where stream > $1 order by stream limit $2) as span";
// Only what tells of calls: of every other state the newest is enough.
const FIND: &str = "insert into holes (room_id, event_id, depth)
    select e.room_id, e.replaces_state, coalesce((select h.depth + 1 from holes h
        where h.room_id = e.room_id and h.event_id = e.event_id), 1)
    from events e where e.stream > $1 and e.stream <= $2 and e.chain is not null and e.replaces_state is not null
        and e.origin_server_ts >= $3
        and not exists (select 1 from events p where p.event_id = e.replaces_state and p.room_id = e.room_id)
    on conflict (room_id, event_id) do nothing";

/// Looks through the events stored since the last time for holes; `horizon_ms`: what is older is left alone.
///
/// # Errors
/// When the database fails.
pub async fn find(store: &Store, horizon_ms: Option<i64>) -> Result<(), Error> {
    loop {
        let mut tx = store.writing().await?;
        let from: i64 = sqlx::query_scalar(CURSOR).fetch_optional(&mut *tx).await?.unwrap_or(0);
        let to: Option<i64> = sqlx::query_scalar(END).bind(from).bind(SCAN).fetch_one(&mut *tx).await?;
        let Some(to) = to else { return Ok(()) };
        sqlx::query(FIND).bind(from).bind(to).bind(horizon_ms.unwrap_or(i64::MIN)).execute(&mut *tx).await?;
        sqlx::query(MOVE).bind(to).execute(&mut *tx).await?;
        tx.commit().await?;
    }
}

const TODO: &str = "select h.room_id, h.event_id from holes h where h.asked_ms is null and h.depth <= $1
    order by h.depth, h.room_id, h.event_id limit $2";

/// Holes that nobody asked for yet, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn todo(store: &Store, limit: i64) -> Result<Vec<Hole>, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(TODO).bind(DEPTH_MAX).bind(limit).fetch_all(&store.read).await?;
    Ok(rows.into_iter().map(|(room_id, event_id)| Hole { room_id, event_id }).collect())
}

const ASKED: &str = "update holes set asked_ms = $3, outcome = $4 where room_id = $1 and event_id = $2";

/// Notes the answer: `found` or `not_visible`.
///
/// # Errors
/// When the database fails.
pub async fn asked(store: &Store, hole: &Hole, outcome: &'static str, now: i64) -> Result<(), Error> {
    let query = sqlx::query(ASKED).bind(&hole.room_id).bind(&hole.event_id).bind(now).bind(outcome);
    query.execute(&store.write).await?;
    Ok(())
}
