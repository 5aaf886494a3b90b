//! Missing events. A stored state event names an event that it replaced (`replaces_state`), and
//! that event is not stored.

use crate::store::{Error, Writer};

/// Maximum events per transaction.
const SCAN: i64 = 2000;

const CURSOR: &str = "select stream from scans where name = 'missing_events'";
const MOVE: &str = "insert into scans (name, stream) values ('missing_events', $1)
    on conflict (name) do update set stream = excluded.stream";
const END: &str = "select max(stream) from (select stream from events where stream > $1
    order by stream limit $2) as span";
// Only events about calls are looked for. For all other state the newest event is enough.
const OPEN: &str = "insert into history_jobs (kind, room_id, opened_ms, event_id, depth, due_ms)
    select 'event', e.room_id, 0, e.replaces_state, coalesce((select j.depth + 1 from history_jobs j
        where j.kind = 'event' and j.room_id = e.room_id and j.opened_ms = 0
        and j.event_id = e.event_id), 1), 0
    from events e where e.stream > $1 and e.stream <= $2 and e.chain is not null
    and e.replaces_state is not null
        and e.origin_server_ts >= $3
        and not exists (select 1 from events p where p.event_id = e.replaces_state
        and p.room_id = e.room_id)
    on conflict (kind, room_id, opened_ms, event_id) do nothing";

// An event that a read brought meanwhile is no longer missing.
const FOUND: &str = "delete from history_jobs where kind = 'event' and due_ms <= 0 and exists
    (select 1 from events p where p.event_id = history_jobs.event_id
    and p.room_id = history_jobs.room_id)";

/// Opens a job for each missing event: one that an event about calls replaced, and that is not
/// stored. Only what was stored since the last time is looked at. Events before `horizon_ms` are
/// not asked for; `None` = there is no limit.
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
            sqlx::query(FOUND).execute(&mut *tx).await?;
            return Ok(tx.commit().await?);
        };

        sqlx::query(OPEN)
            .bind(from)
            .bind(to)
            .bind(horizon_ms.unwrap_or(i64::MIN))
            .execute(&mut *tx)
            .await?;
        sqlx::query(MOVE).bind(to).execute(&mut *tx).await?;
        tx.commit().await?;
    }
}
