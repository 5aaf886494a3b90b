//! Signs of life: between which times a stay was really seen, kept where its start is a claim or
//! its end an expiry, so that sums are quick and stay what they are when the events behind them are
//! deleted by age.

use super::{Error, Store};

/// So many are noted at once.
pub const BATCH: usize = 500;

/// What a stay's first and last sign are, from the events that are stored: SQL over a membership
/// `m`.
macro_rules! first_sign {
    () => {
        "coalesce((select case when e.received_ms < e.origin_server_ts then e.received_ms else e.origin_server_ts end
            from events e where e.event_id = m.join_event_id and e.room_id = m.room_id), m.joined_ms)"
    };
}

// A chain may be long, and so may the room's time: only the chain's events of the stay's own time
// are looked at. `+ 0` keeps SQLite from the index of times.
macro_rules! last_sign {
    () => {
        "coalesce((select max(e.origin_server_ts + 0) from events e where e.room_id = m.room_id and e.chain = m.chain
            and e.time_ms >= m.opened_ms and e.time_ms < m.until_ms
            and e.origin_server_ts + 0 >= m.joined_ms and e.origin_server_ts + 0 < m.until_ms), m.joined_ms)"
    };
}

/// Nobody said goodbye: SQL over a membership `m`.
macro_rules! unsaid {
    () => {
        "(m.end_event_id is null and m.end_reason in ('expired', 'sticky_expired'))"
    };
}

pub(super) use {first_sign, last_sign, unsaid};

pub(super) const MISSING: &str = concat!(
    "select m.id, m.joined_ms, m.until_ms, m.updates,
        case when m.claimed = 1 then ",
    first_sign!(),
    " else m.joined_ms end,
        case when ",
    unsaid!(),
    " then ",
    last_sign!(),
    " else m.until_ms end
    from memberships m where (m.claimed = 1 or ",
    unsaid!(),
    ") and m.until_ms <= $1 and not exists (select 1 from signs g where g.membership_id = m.id
        and g.joined_ms = m.joined_ms and g.until_ms = m.until_ms and g.updates = m.updates)
    order by m.until_ms limit $2"
);
const NOTE: &str = "insert into signs (membership_id, joined_ms, until_ms, updates, from_ms, to_ms)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (membership_id) do update set joined_ms = excluded.joined_ms, until_ms = excluded.until_ms,
        updates = excluded.updates, from_ms = excluded.from_ms, to_ms = excluded.to_ms";

/// Notes the signs of stays that were over by `now`, ms, a batch of them; true when there may be
/// more.
///
/// # Errors
/// When the database fails.
pub async fn note(store: &Store, now: i64) -> Result<bool, Error> {
    let limit = super::int(BATCH);
    let rows: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(MISSING)
        .bind(now)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;
    if rows.is_empty() {
        return Ok(false);
    }

    let mut tx = store.writing().await?;
    for (id, joined, until, updates, from, to) in &rows {
        // A stamp may lie outside of its stay where a clock was wrong.
        let (from, to) = ((*from).clamp(*joined, *until), (*to).clamp(*joined, *until));
        let query = sqlx::query(NOTE)
            .bind(id)
            .bind(joined)
            .bind(until)
            .bind(updates)
            .bind(from)
            .bind(to);
        query.execute(&mut *tx).await?;
    }

    tx.commit().await?;

    Ok(rows.len() == BATCH)
}

const LOOSE: &str = "select g.membership_id from signs g where not exists
    (select 1 from memberships m where m.id = g.membership_id) limit $1";
const DELETE: &str = "delete from signs where membership_id = $1";

/// Deletes the signs of stays that are no more, a batch of them; true when there may be more.
///
/// # Errors
/// When the database fails.
pub async fn forget(store: &Store) -> Result<bool, Error> {
    let ids: Vec<String> = sqlx::query_scalar(LOOSE)
        .bind(super::int(BATCH))
        .fetch_all(&store.read)
        .await?;
    if ids.is_empty() {
        return Ok(false);
    }

    let mut tx = store.writing().await?;
    for id in &ids {
        sqlx::query(DELETE).bind(id).execute(&mut *tx).await?;
    }

    tx.commit().await?;

    Ok(ids.len() == BATCH)
}
