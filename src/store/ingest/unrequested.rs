//! Events that homeservers sent without a request: their number by type, for each account. The
//! events themselves are not stored.

use super::batch::{Batch, KINDS_MAX, Unasked};
use crate::rtc::sieve::OTHER;
use crate::store::{Error, Reader, Tx};
use std::collections::HashSet;

const KNOWN: &str = "select kind from unasked where vantage_id = $1";
const ADD: &str = "insert into unasked (vantage_id, kind, events, first_ms, last_ms) values ($1,
    $2, $3, $4, $4)
    on conflict (vantage_id, kind) do update set events = unasked.events + excluded.events,
    last_ms = excluded.last_ms";

/// Adds the events that were discarded from this batch to the stored counts. Beyond a number of
/// types, further ones are counted together as `other`, because strangers choose the types.
pub(super) async fn record_unrequested(tx: &mut Tx, batch: &Batch) -> Result<(), Error> {
    if batch.rooms.iter().all(|room| room.unasked.is_empty()) {
        return Ok(());
    }

    let known: HashSet<String> = sqlx::query_scalar(KNOWN)
        .bind(&batch.vantage_id)
        .fetch_all(&mut **tx)
        .await?
        .into_iter()
        .collect();
    let mut free = KINDS_MAX.saturating_sub(known.len());
    let mut total = Unasked::new();
    let all = batch.rooms.iter().flat_map(|room| &room.unasked);
    for (kind, events) in all {
        let is_new = !known.contains(kind) && !total.contains_key(kind);
        let kind = if !is_new || free > 0 { kind } else { OTHER };
        free -= usize::from(is_new && free > 0);
        *total.entry(kind.to_owned()).or_insert(0) += events;
    }

    for (kind, events) in total {
        sqlx::query(ADD)
            .bind(&batch.vantage_id)
            .bind(kind)
            .bind(events)
            .bind(batch.seen_ms)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

/// Discarded events of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnrequestedEvents {
    /// The type, or `other`.
    pub kind: String,
    pub events: i64,
    pub first_ms: i64,
    pub last_ms: i64,
}

const LIST: &str =
    "select kind, cast(sum(events) as bigint), min(first_ms), max(last_ms) from unasked
        group by kind
    order by sum(events) desc, kind";

/// The discarded events so far, most first.
///
/// # Errors
/// When the database fails.
pub async fn list_unrequested(store: &Reader) -> Result<Vec<UnrequestedEvents>, Error> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(LIST).fetch_all(&store.read).await?;
    let thrown = |(kind, events, first_ms, last_ms)| UnrequestedEvents {
        kind,
        events,
        first_ms,
        last_ms,
    };

    Ok(rows.into_iter().map(thrown).collect())
}
