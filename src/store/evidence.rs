//! What the boundaries of memberships rest on: their events, and how those first came.

use super::row::Viewer;
use super::{Error, Store};
use crate::rtc::evidence::{Origin, Way};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// The events at the boundaries of one membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origins {
    pub join: Option<Origin>,
    pub end: Option<Origin>,
    /// The last event of a stay that nobody ended, ms.
    pub last_sign_ms: Option<i64>,
}

const ORIGINS: &str = "select m.id,
    j.origin_server_ts as join_origin, j.received_ms as join_received, j.source as join_source,
    case when m.join_event_id like '~%' then j.json end as join_json,
    e.origin_server_ts as end_origin, e.received_ms as end_received, e.source as end_source,
    case when m.end_event_id like '~%' then e.json end as end_json,
    case when m.end_event_id is null and m.end_reason in ('expired', 'sticky_expired') then
        coalesce((select g.to_ms from signs g where g.membership_id = m.id and g.joined_ms = m.joined_ms
            and g.until_ms = m.until_ms and g.updates = m.updates),
        (select max(s.origin_server_ts) from events s where s.room_id = m.room_id and s.chain = m.chain
            and s.origin_server_ts >= m.joined_ms and s.origin_server_ts < m.until_ms)) end as last_sign
    from memberships m
    left join events j on j.event_id = m.join_event_id and j.room_id = m.room_id
    left join events e on e.event_id = m.end_event_id and e.room_id = m.room_id
    where m.session_id in ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// The origins of every membership of these calls, by membership.
///
/// # Errors
/// When the database fails.
pub async fn of(store: &Store, viewer: Viewer, session_ids: &[String]) -> Result<HashMap<String, Origins>, Error> {
    let Viewer::Operator = viewer;
    let mut found = HashMap::new();
    for ids in session_ids.chunks(16) {
        let query = (0..16).fold(sqlx::query(ORIGINS), |query, at| query.bind(ids.get(at)));
        for row in query.fetch_all(&store.read).await? {
            let origins = Origins {
                join: origin(&row, ["join_origin", "join_received", "join_source", "join_json"])?,
                end: origin(&row, ["end_origin", "end_received", "end_source", "end_json"])?,
                last_sign_ms: row.try_get("last_sign")?,
            };
            found.insert(row.try_get("id")?, origins);
        }
    }
    Ok(found)
}

fn origin(row: &AnyRow, [origin, received, source, json]: [&str; 4]) -> Result<Option<Origin>, Error> {
    let Some(origin_ms) = row.try_get::<Option<i64>, _>(origin)? else { return Ok(None) };
    let way = match row.try_get::<Option<&str>, _>(source)? {
        Some("sync") => Way::Sync,
        Some("poll") => Way::Poll,
        _ => Way::Backfill,
    };
    let made: Option<String> = row.try_get(json)?;
    let made_since_ms = made.map(|json| super::snapshots::made_since(&json).unwrap_or(origin_ms));
    Ok(Some(Origin { origin_ms, received_ms: row.try_get(received)?, way, made_since_ms }))
}
