//! A few numbers for metrics that are cheap to count: metrics are read several times a minute.

use super::{calls_ever, concurrency};
use crate::store::{Error, Reader};
use sqlx::Row;

/// The numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    pub calls: i64,
    /// Events stored since the beginning, including those that were deleted by age.
    pub events: i64,
    pub rejected: i64,
    pub reads_open: i64,
    pub rooms_failing: i64,
    pub database_bytes: i64,
}

const GAUGES: &str = "select (select coalesce(max(stream), 0) from events) as events,
    (select count(*) from events where rejected is not null) as rejected,
    (select count(*) from history_jobs where kind in ('backfill', 'gap')
    and done_ms is null) as reads_open,
    (select count(*) from rooms where error is not null) as rooms_failing";

/// Reads the numbers of all rooms as they are now; calls in the future count, too.
///
/// # Errors
/// When the database fails.
pub async fn read_gauges(store: &Reader) -> Result<Gauges, Error> {
    let begun_at_any_time_ms = i64::MAX;
    let row = sqlx::query(GAUGES).fetch_one(&store.read).await?;
    Ok(Gauges {
        calls: calls_ever::count_calls_begun(store, begun_at_any_time_ms).await?,
        events: row.try_get("events")?,
        rejected: row.try_get("rejected")?,
        reads_open: row.try_get("reads_open")?,
        rooms_failing: row.try_get("rooms_failing")?,
        database_bytes: concurrency::database_bytes(store).await?,
    })
}
