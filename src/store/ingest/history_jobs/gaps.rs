//! Missing events. A stored state event names an event that it replaced (`replaces_state`), and
//! that event is not stored.

use crate::store::{Error, Reader, Writer};

/// How many predecessors are followed, one after the other: more mean that the server makes them
/// up.
const DEPTH_MAX: i64 = 64;
/// Maximum events per transaction.
const SCAN: i64 = 2000;

/// Delays after which a refused event is asked for again, ms. A homeserver that lags behind the
/// others returns an event once it has fetched what lies before it. An event that is hidden from us
/// stays hidden.
const AGAIN_MS: [i64; 3] = [10_000, 600_000, 86_400_000];

/// An event to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingEvent {
    pub room_id: String,
    pub event_id: String,
    /// How often it was asked for.
    pub tries: i64,
}

const CURSOR: &str = "select stream from scans where name = 'holes'";
const MOVE: &str = "insert into scans (name, stream) values ('holes', $1)
    on conflict (name) do update set stream = excluded.stream";
const END: &str = "select max(stream) from (select stream from events where stream > $1
    order by stream limit $2) as span";
// Only events about calls are looked for. For all other state the newest event is enough.
const FIND: &str = "insert into holes (room_id, event_id, depth, due_ms)
    select e.room_id, e.replaces_state, coalesce((select h.depth + 1 from holes h
        where h.room_id = e.room_id and h.event_id = e.event_id), 1), 0
    from events e where e.stream > $1 and e.stream <= $2 and e.chain is not null
    and e.replaces_state is not null
        and e.origin_server_ts >= $3
        and not exists (select 1 from events p where p.event_id = e.replaces_state
        and p.room_id = e.room_id)
    on conflict (room_id, event_id) do nothing";

// An event that a walk brought meanwhile is no longer missing.
const FILLED: &str = "delete from holes where due_ms <= 0 and exists
    (select 1 from events p where p.event_id = holes.event_id and p.room_id = holes.room_id)";

/// Looks for missing events in what was stored since the last time. Predecessors older than
/// `horizon_ms` are ignored.
///
/// # Errors
/// When the database fails.
pub async fn find_missing_events(store: &Writer, horizon_ms: Option<i64>) -> Result<(), Error> {
    loop {
        let mut tx = store.writing().await?;
        let from: i64 = sqlx::query_scalar(CURSOR)
            .fetch_optional(&mut *tx)
            .await?
            .unwrap_or(0);
        let to: Option<i64> = sqlx::query_scalar(END)
            .bind(from)
            .bind(SCAN)
            .fetch_one(&mut *tx)
            .await?;
        let Some(to) = to else {
            sqlx::query(FILLED).execute(&mut *tx).await?;
            return Ok(tx.commit().await?);
        };

        sqlx::query(FIND)
            .bind(from)
            .bind(to)
            .bind(horizon_ms.unwrap_or(i64::MIN))
            .execute(&mut *tx)
            .await?;
        sqlx::query(MOVE).bind(to).execute(&mut *tx).await?;
        tx.commit().await?;
    }
}

// An event that an open walk may still bring is not asked for.
const TODO: &str = "select room_id, event_id, tries from holes where due_ms <= $1 and depth <= $2
    and not exists (select 1 from walks w where w.room_id = holes.room_id and w.done_ms is null)
    order by depth, room_id, event_id limit $3";

/// The missing events to ask for at `now`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_due_events(
    store: &Reader,
    now: i64,
    limit: i64,
) -> Result<Vec<MissingEvent>, Error> {
    let query = sqlx::query_as(TODO).bind(now).bind(DEPTH_MAX).bind(limit);
    let rows: Vec<(String, String, i64)> = query.fetch_all(&store.read).await?;

    Ok(rows
        .into_iter()
        .map(|(room_id, event_id, tries)| MissingEvent {
            room_id,
            event_id,
            tries,
        })
        .collect())
}

const NEXT: &str = "select min(due_ms) from holes where due_ms > $1";

/// When the next missing event is due that is not due at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn next_event_due(store: &Reader, now: i64) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(NEXT)
        .bind(now)
        .fetch_one(&store.read)
        .await?)
}

const ASKED: &str = "update holes set asked_ms = $3, outcome = $4, tries = $5, due_ms = $6
    where room_id = $1 and event_id = $2";

/// Notes the answer: `found`, or `not_visible` or `failed`. After the last two the event is asked
/// for again later, a few times.
///
/// # Errors
/// When the database fails.
pub async fn record_answer(
    store: &Writer,
    hole: &MissingEvent,
    outcome: &'static str,
    now: i64,
) -> Result<(), Error> {
    let due = if outcome == "found" {
        None
    } else {
        retry_time(hole.tries, now)
    };

    let query = sqlx::query(ASKED)
        .bind(&hole.room_id)
        .bind(&hole.event_id)
        .bind(now)
        .bind(outcome);
    query
        .bind(hole.tries + 1)
        .bind(due)
        .execute(&store.write)
        .await?;

    Ok(())
}

/// When an event that was refused this many times is asked for again.
fn retry_time(tries: i64, now: i64) -> Option<i64> {
    usize::try_from(tries)
        .ok()
        .and_then(|tries| AGAIN_MS.get(tries))
        .map(|after| now + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_asked_for_a_few_times_more() {
        let due: Vec<_> = (0..5).map(|tries| retry_time(tries, 7)).collect();
        assert_eq!(
            due,
            [Some(10_007), Some(600_007), Some(86_400_007), None, None]
        );
    }
}
