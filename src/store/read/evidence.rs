//! The basis of the boundaries of memberships: their events, and how those first came.

use crate::rtc::coverage::Span;
use crate::rtc::evidence::Origin;
use crate::rtc::words::Source;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::stats::spans::{is_claim_refuted, is_doubted, is_predecessor_lost};
use crate::store::{Error, Reader};
use serde::Deserialize;
use std::collections::HashMap;

/// The events at the boundaries of one membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origins {
    pub join: Option<Origin>,
    pub end: Option<Origin>,
    /// The last event of a stay without an end event, ms.
    pub last_sign_ms: Option<i64>,
    /// The start that the membership claims is impossible.
    pub is_claim_refuted: bool,
    /// The span of the membership in which an event is missing that the homeserver names.
    pub lost: Option<Span>,
}

/// The event at one boundary of a membership. A key that is none of the fields is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginRow {
    origin_ms: Option<i64>,
    received_ms: Option<i64>,
    source: Option<Source>,
    json: Option<String>,
    lost_since_ms: Option<i64>,
}

/// The object of an [`OriginRow`], from the columns of the join or the end.
macro_rules! origin_columns {
    ($boundary:literal) => {
        concat!(
            "json_object('origin_ms', o.",
            $boundary,
            "_origin, 'received_ms', o.",
            $boundary,
            "_received, 'source', o.",
            $boundary,
            "_source, 'json', o.",
            $boundary,
            "_json, 'lost_since_ms', o.",
            $boundary,
            "_lost)"
        )
    };
}

json_row! {
    /// The events at the boundaries of a membership, of `o`.
    struct OriginsRow {
        id: String = "o.id",
        join: OriginRow = origin_columns!("join"),
        end: OriginRow = origin_columns!("end"),
        last_sign: Option<i64> = "o.last_sign",
        refuted: i64 = "o.refuted",
        lost_from: Option<i64> = "o.lost_from",
        lost_to: Option<i64> = "o.lost_to",
    }
}

/// The time of the last event of a member key that is known before a time: SQL over a row that
/// names room and key.
macro_rules! last_known_before {
    ($of:literal, $time:literal) => {
        concat!(
            "(select k.time_ms from events k where k.room_id = ",
            $of,
            ".room_id and k.chain = ",
            $of,
            ".chain and k.time_ms < ",
            $time,
            " order by k.time_ms desc limit 1)"
        )
    };
}

// If an event came while our own clock was not believed, only its stamp tells the time, which may
// be off by a minute. `+ 0` keeps SQLite from looking for the latest time in the room's index of
// times: the events of a stay are found by its member key, from the time of its join on.
macro_rules! origins {
    ($which:literal) => {
        sql!(
        "select ",
        OriginsRow::LIST,
        " from (select found.*, case when found.lost_to is not null then ",
        last_known_before!("found", "found.lost_to"),
        " end as lost_from from (select m.id, m.room_id, m.chain,
        j.origin_server_ts as join_origin, j.received_ms as join_received, j.source as join_source,
        case when m.join_event_id like '~%' then j.json end as join_json,
        case when ",
        is_doubted!("j"),
        " then j.origin_server_ts - 60000 when ",
        is_predecessor_lost!("j"),
        " then ",
        last_known_before!("j", "j.time_ms"),
        " end as join_lost,
        case when ",
        is_doubted!("e"),
        " then e.origin_server_ts - 60000 when ",
        is_predecessor_lost!("e"),
        " then ",
        last_known_before!("e", "e.time_ms"),
        " end as end_lost,
        case when ",
        is_claim_refuted!(),
        " then 1 else 0 end as refuted,
        case when m.updates > 0 and m.updates <= 100 then (select min(x.time_ms) from events x
            where x.room_id = m.room_id and x.chain = m.chain and x.time_ms > m.opened_ms
            and x.time_ms < m.until_ms
            and ",
        is_predecessor_lost!("x"),
        ") end as lost_to,
        e.origin_server_ts as end_origin, e.received_ms as end_received, e.source as end_source,
        case when m.end_event_id like '~%' then e.json end as end_json,
        case when m.end_event_id is null and m.end_reason in ('expired', 'sticky_expired') then
            coalesce((select g.to_ms from signs g where g.membership_id = m.id
            and g.joined_ms = m.joined_ms
                and g.until_ms = m.until_ms and g.updates = m.updates),
            (select max(s.origin_server_ts + 0) from events s where s.room_id = m.room_id
            and s.chain = m.chain
                and s.time_ms >= m.opened_ms and s.time_ms < m.until_ms
                and s.origin_server_ts + 0 >= m.joined_ms
                and s.origin_server_ts + 0 < m.until_ms)) end as last_sign
        from memberships m
        left join events j on j.event_id = m.join_event_id and j.room_id = m.room_id
        left join events e on e.event_id = m.end_event_id and e.room_id = m.room_id
        where ",
            $which
        )
    };
}

pub(in crate::store) static OF_SESSIONS: MultiRow =
    MultiRow::new(origins!("m.session_id in ("), "?", ")) as found) as o");
pub(in crate::store) static BY_ID: MultiRow =
    MultiRow::new(origins!("m.id in ("), "?", ")) as found) as o");

/// The events at the boundaries of every membership of these calls, by membership id.
///
/// # Errors
/// When the database fails.
pub async fn origins_of_calls(
    store: &Reader,
    session_ids: &[String],
) -> Result<HashMap<String, Origins>, Error> {
    read_origins(store, &OF_SESSIONS, session_ids).await
}

/// The events at the boundaries of these memberships, by membership id.
///
/// # Errors
/// When the database fails.
pub async fn origins_of_memberships(
    store: &Reader,
    ids: &[String],
) -> Result<HashMap<String, Origins>, Error> {
    read_origins(store, &BY_ID, ids).await
}

/// The origins of the memberships that this statement finds by these ids (of calls or of
/// memberships), by membership.
async fn read_origins(
    store: &Reader,
    statement: &'static MultiRow,
    ids: &[String],
) -> Result<HashMap<String, Origins>, Error> {
    let mut connection = store.read.acquire().await?;
    let rows = statement.read_by_ids(&mut connection, ids).await?;

    Ok(read_rows(&rows, origins_from_row)?.into_iter().collect())
}

/// The id of a membership, and its origins.
fn origins_from_row(row: OriginsRow) -> (String, Origins) {
    let lost = row.lost_from.zip(row.lost_to);
    let origins = Origins {
        join: origin_from_row(row.join),
        end: origin_from_row(row.end),
        last_sign_ms: row.last_sign,
        is_claim_refuted: row.refuted != 0,
        lost: lost.map(|(from, to)| Span { from, to }),
    };

    (row.id, origins)
}

fn origin_from_row(row: OriginRow) -> Option<Origin> {
    let (origin_ms, source) = row.origin_ms.zip(row.source)?;
    let made_since_ms = row
        .json
        .map(|json| crate::store::ingest::snapshots::previous_poll_ms(&json).unwrap_or(origin_ms));

    Some(Origin {
        origin_ms,
        received_ms: row.received_ms,
        source,
        made_since_ms,
        lost_since_ms: row.lost_since_ms,
    })
}
