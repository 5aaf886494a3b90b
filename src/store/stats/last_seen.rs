//! Signs of life: the times between which a stay was really seen. They are stored if the start of
//! the stay is a claim or its end an expiry. So sums are fast, and do not change when the events
//! are deleted by age.

use crate::store::{Error, Writer};

/// Maximum number of stays per transaction.
pub const BATCH: usize = 500;

/// The first and the last sign of a stay, from the stored events: SQL over a membership `m`.
macro_rules! first_sign {
    () => {
        "coalesce((select case when e.received_ms < e.origin_server_ts then e.received_ms
            else e.origin_server_ts end
            from events e where e.event_id = m.join_event_id and e.room_id = m.room_id),
            m.joined_ms)"
    };
}

// A member key may have many events, and so may the room at that time: only events of the key
// within the stay are read. `+ 0` keeps SQLite from using the index of times.
macro_rules! last_sign {
    () => {
        "coalesce((select max(e.origin_server_ts + 0) from events e where e.room_id = m.room_id
            and e.chain = m.chain
            and e.time_ms >= m.opened_ms and e.time_ms < m.until_ms
            and e.origin_server_ts + 0 >= m.joined_ms and e.origin_server_ts + 0 < m.until_ms),
            m.joined_ms)"
    };
}

/// Did the stay end without a goodbye? SQL over a membership `m`.
macro_rules! unsaid {
    () => {
        "(m.end_event_id is null and m.end_reason in ('expired', 'sticky_expired'))"
    };
}

pub(in crate::store) use {first_sign, last_sign, unsaid};

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
    on conflict (membership_id) do update set joined_ms = excluded.joined_ms,
        until_ms = excluded.until_ms, updates = excluded.updates, from_ms = excluded.from_ms,
        to_ms = excluded.to_ms";

/// Stores the times between which stays were really seen, for a batch of stays that were over by
/// `now`, ms. Returns true if there may be more.
///
/// # Errors
/// When the database fails.
pub async fn record_last_seen(store: &Writer, now: i64) -> Result<bool, Error> {
    let limit = crate::store::to_i64(BATCH);
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
        // If a clock was wrong, a stamp may lie outside of its stay.
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

/// Deletes the signs of a batch of stays that no longer exist. Returns true if there may be more.
///
/// # Errors
/// When the database fails.
pub async fn delete_orphaned_last_seen(store: &Writer) -> Result<bool, Error> {
    let ids: Vec<String> = sqlx::query_scalar(LOOSE)
        .bind(crate::store::to_i64(BATCH))
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
