//! What distinguishes a ghost from a silent device, and what would clear it: the events of stays
//! that still count, and how the stays of their homeservers ended lately. Only stays whose renewal
//! is overdue are read.

use crate::rtc::ghost::{self, Goodbyes};
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::{Error, Reader};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Maximum length of an event's JSON that is parsed, bytes: no client writes longer ones.
const JSON_MAX: usize = 16 * 1024;
/// Maximum number of servers whose usual ends are looked up at once.
const SERVERS_MAX: usize = 50;

/// The event that is the current state of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CurrentEvent {
    pub event_id: String,
    /// The wire type.
    pub kind: String,
    pub state_key: Option<String>,
}

/// What the events of one stay say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StayStatements {
    pub is_hourly_client: bool,
    pub came_back: bool,
    pub current: Option<CurrentEvent>,
    /// When the stay ends unless renewed, ms, as read together with the rest.
    pub until_ms: i64,
}

json_row! {
    /// What is told of a stay `o`, and its last event `l`.
    struct ToldRow {
        id: String = "o.id",
        until_ms: i64 = "o.until_ms",
        join_json: Option<String> = "o.join_json",
        goodbye_ms: Option<i64> = "o.goodbye_ms",
        event_id: Option<String> = "l.event_id",
        kind: Option<String> = "l.kind",
        state_key: Option<String> = "l.state_key",
        origin_server_ts: Option<i64> = "l.origin_server_ts",
        json: Option<String> = "case when octet_length(l.json) <= 16384 then l.json end",
    }
}

// The last event of a running stay is the current state of its key. A goodbye is the event right
// before the stay.
static TOLD: MultiRow = MultiRow::new(
    sql!(
        "select ",
        ToldRow::LIST,
        " from (select m.id, m.room_id, m.until_ms,
            case when octet_length(j.json) <= 16384 then j.json end as join_json,
            (select case when p.end_reason in ('left', 'delayed_leave') then p.until_ms end
            from memberships p
                where p.room_id = m.room_id and p.chain = m.chain and p.opened_ms < m.opened_ms
                order by p.opened_ms desc limit 1) as goodbye_ms,
            (select e.event_id from events e where e.room_id = m.room_id and e.chain = m.chain
                order by e.time_ms desc, e.event_id desc limit 1) as last_id
        from memberships m
        left join events j on j.event_id = m.join_event_id and j.room_id = m.room_id
        where m.id in ("
    ),
    "?",
    ")) as o left join events l on l.event_id = o.last_id and l.room_id = o.room_id",
);

/// What the events of these memberships say of their devices, by membership id.
///
/// # Errors
/// When the database fails.
pub async fn statements_of_stays(
    store: &Reader,
    membership_ids: &[String],
) -> Result<HashMap<String, StayStatements>, Error> {
    let mut connection = store.read.acquire().await?;
    let rows = TOLD.read_by_ids(&mut connection, membership_ids).await?;
    Ok(read_rows(&rows, statements_from_row)?.into_iter().collect())
}

/// What the events of a stay say, after its id.
fn statements_from_row(row: ToldRow) -> (String, StayStatements) {
    let join = content_of_json(row.join_json.as_deref());
    let last = content_of_json(row.json.as_deref());
    let current = row.event_id.zip(row.kind);
    let told = StayStatements {
        is_hourly_client: ghost::is_by_hourly_client(&last, row.origin_server_ts.unwrap_or(0)),
        came_back: ghost::has_come_back(&join, row.goodbye_ms),
        current: current.map(|(event_id, kind)| CurrentEvent {
            event_id,
            kind,
            state_key: row.state_key,
        }),
        until_ms: row.until_ms,
    };

    (row.id, told)
}

/// The content of a stored event; null if there is none.
fn content_of_json(json: Option<&str>) -> Value {
    let event = json
        .filter(|json| json.len() <= JSON_MAX)
        .and_then(|json| serde_json::from_str::<Value>(json).ok());
    event.map_or(Value::Null, |mut event| event["content"].take())
}

// Only the newest stays count, because a habit is what was done lately. A device that was still
// there when its stay ran out did not miss a goodbye.
const GOODBYES: &str = "select count(*) as ended,
    count(case when o.end_event_id is null and o.end_reason = 'expired'
    and o.outlived_ms is null then 1 end) as missed
    from (select m.end_event_id, m.end_reason, m.outlived_ms from memberships m
        where m.server = $1 and m.until_ms > $2 and m.until_ms <= $3 and m.until_ms > m.joined_ms
        and m.kind = 'session'
        order by m.until_ms desc limit 500) as o";

/// How many stays of each of these homeservers ended from `from` to `now`, ms, and how many of them
/// without a goodbye; by server. If there are more than `SERVERS_MAX` servers, only some are looked
/// up.
///
/// # Errors
/// When the database fails.
pub async fn count_goodbyes(
    store: &Reader,
    servers: &BTreeSet<&str>,
    from: i64,
    now: i64,
) -> Result<BTreeMap<String, Goodbyes>, Error> {
    let mut found = BTreeMap::new();
    for server in servers.iter().take(SERVERS_MAX) {
        let query = sqlx::query_as(GOODBYES)
            .bind((*server).to_owned())
            .bind(from)
            .bind(now);
        let (ended, missed): (i64, i64) = query.fetch_one(&store.read).await?;
        found.insert((*server).to_owned(), Goodbyes { ended, missed });
    }

    Ok(found)
}
