//! What the stamps of a server's member events say about its clock and the clocks of its devices.

use crate::rtc::coverage::Span;
use crate::rtc::id::server_of;
use crate::rtc::skew::{Differences, summarise_differences};
use crate::rtc::time::millis_of_json;
use crate::rtc::words::Source;
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Reader};
use serde_json::Value;
use sqlx::Row;
use std::collections::BTreeSet;

/// Maximum stays and events that are read, newest first.
const STAYS: i64 = 100;
const EVENTS: i64 = 400;

/// The clock of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerClock {
    /// Number of events that came live.
    pub live: usize,
    /// Time when they came minus the stamp of their server.
    pub behind: Option<Differences>,
    /// Number of events that state when their stay began (`created_ts`).
    pub stated: usize,
    /// The stamp of their server minus the stated time.
    pub after_stated: Option<Differences>,
    /// Number of events that state a time after their own stamp: the clock of the device is ahead
    /// of its server's.
    pub stated_ahead: usize,
}

// `cross join` makes SQLite go from the stays to their events, not the reverse.
pub(in crate::store) const SAMPLE: &str = "with stays as (select room_id, chain, joined_ms,
    until_ms from memberships
        where server = $1 and until_ms > $2 and joined_ms < $3 and until_ms > joined_ms
        order by until_ms desc limit $4)
    select e.event_id, e.sender, e.origin_server_ts, e.received_ms, e.source, e.in_timeline, e.json
    from stays s cross join events e where e.room_id = s.room_id and e.chain = s.chain
    and e.time_ms >= s.joined_ms and e.time_ms <= s.until_ms and substr(e.event_id, 1, 1) <> '~'
    order by s.until_ms desc, e.time_ms desc, e.event_id limit $5";

const HEARD: &str = "select from_ms, to_ms from coverage where room_id = '' and kind = 'live'";

/// The spans of time in which the sync stream of an account was heard without a break, in any
/// order.
///
/// # Errors
/// When the database fails.
pub async fn spans_heard(store: &Reader) -> Result<Vec<Span>, Error> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(HEARD).fetch_all(&store.read).await?;
    Ok(rows
        .into_iter()
        .map(|(from, to)| Span { from, to })
        .collect())
}

/// What the newest member events of a server within a span say about its clock. `heard` is the
/// result of [`spans_heard`].
///
/// # Errors
/// When the database fails.
pub async fn clock_of_server(
    store: &Reader,
    server: &str,
    span: Span,
    heard: &[Span],
) -> Result<ServerClock, Error> {
    let query = sqlx::query(SAMPLE)
        .bind(server)
        .bind(span.from)
        .bind(span.to)
        .bind(STAYS)
        .bind(EVENTS);
    let (mut behind, mut after_stated) = (Vec::new(), Vec::new());
    let mut known: BTreeSet<String> = BTreeSet::new();
    for row in query.fetch_all(&store.read).await? {
        let sender: &str = row.try_get("sender")?;
        if server_of(sender) != server || !known.insert(row.try_get("event_id")?) {
            continue;
        }

        let stamp: i64 = row.try_get("origin_server_ts")?;
        let came: Option<i64> = row.try_get("received_ms")?;
        let is_sync = word_from_row::<Source>(&row, "source")? == Source::Sync
            && row.try_get::<i64, _>("in_timeline")? == 1;
        // The first answer after a break brings earlier events. Later answers bring events that
        // just happened.
        let is_live = |came: &i64| {
            is_sync
                && heard
                    .iter()
                    .any(|span| span.from < *came && *came <= span.to)
        };

        behind.extend(came.filter(is_live).map(|came| came.saturating_sub(stamp)));
        after_stated.extend(
            created_ts_of_json(row.try_get("json")?).map(|stated| stamp.saturating_sub(stated)),
        );
    }

    Ok(ServerClock {
        live: behind.len(),
        behind: summarise_differences(behind),
        stated: after_stated.len(),
        stated_ahead: after_stated.iter().filter(|ms| **ms < 0).count(),
        after_stated: summarise_differences(after_stated),
    })
}

/// The `created_ts` of a member event as stored, ms; `None` if it has none.
fn created_ts_of_json(json: &str) -> Option<i64> {
    let json: Value = if json.contains("created_ts") {
        serde_json::from_str(json).ok()?
    } else {
        return None;
    };

    json.pointer("/content/created_ts").and_then(millis_of_json)
}
