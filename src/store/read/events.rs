//! Raw events as they are read: for the fold, and for pages.

use super::rings::is_related;
use crate::store::db::word_column::word_from_row;
use crate::store::derive::room_titles::people_title;
use crate::store::model::{Call, Evidence, Rejected, RoomName};
use crate::store::read::memberships::ended_by_the_room;
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

macro_rules! rejected {
    ($rest:literal) => {
        concat!(
            "select e.*, r.name as room_name, r.alias, ",
            people_title!(),
            " as people_title from events e join rooms r on r.room_id = e.room_id
            where e.rejected is not null and e.stream < $2",
            $rest,
            " order by e.stream desc limit $1"
        )
    };
}
const REJECTED: &str = rejected!("");
const REJECTED_ROOM: &str = rejected!(" and e.room_id = $3");

/// Rejected events, the last that came to us first, of one room or (`None`) of all, at most
/// `limit`. A further page has those that came before the last one, whose `stream` is `before`.
///
/// # Errors
/// When the database fails.
pub async fn list_rejected(
    store: &Reader,
    room_id: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Rejected>, Error> {
    if !store.shows_names() {
        return Ok(Vec::new());
    }

    let query = sqlx::query(if room_id.is_some() {
        REJECTED_ROOM
    } else {
        REJECTED
    })
    .bind(limit)
    .bind(before.unwrap_or(i64::MAX));
    let query = if let Some(room_id) = room_id {
        query.bind(room_id)
    } else {
        query
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(rejected_from_row)
        .collect()
}

/// The rejected event in this row, with the names of its room.
fn rejected_from_row(row: &AnyRow) -> Result<Rejected, Error> {
    let room_id: String = row.try_get("room_id")?;
    Ok(Rejected {
        room: RoomName {
            room_id,
            name: row.try_get("room_name")?,
            alias: row.try_get("alias")?,
            people_title: row.try_get("people_title")?,
        },
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        sender: row.try_get("sender")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        reason: row.try_get("rejected")?,
        stream: row.try_get("stream")?,
        seen_ms: row.try_get("seen_ms")?,
        json: row.try_get("json")?,
    })
}

const REJECTED_COUNTS: &str = "select rejected, count(*) from events where rejected is not null
    group by rejected order by count(*) desc, rejected";

/// How many events were rejected, by reason, most first.
///
/// # Errors
/// When the database fails.
pub async fn count_rejected(store: &Reader) -> Result<Vec<(String, i64)>, Error> {
    Ok(sqlx::query_as(REJECTED_COUNTS)
        .fetch_all(&store.read)
        .await?)
}

// A renewal lies between the first join and the last end of its member key. The events of joins and
// ends may lie outside of that if clocks or claims differ. Each key is read once, however many
// stays of the call it has. `cross join` keeps SQLite from beginning with the events. Ids and times
// are sorted first; whole events are read only if they are shown.
pub(super) const BEHIND: &str = concat!(
    "with
    stays as (select room_id, chain, min(joined_ms) as from_ms, max(until_ms) as to_ms
    from memberships
        where session_id = $1 group by room_id, chain),
    found as (
        select e.event_id, e.origin_server_ts as sent_ms from stays s cross join events e
            where e.room_id = s.room_id and e.chain = s.chain
            and e.origin_server_ts + 0 >= s.from_ms and e.origin_server_ts + 0 <= s.to_ms
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and e.event_id = m.join_event_id and e.room_id = m.room_id
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and e.event_id = m.end_event_id and e.room_id = m.room_id
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and m.outlived_ms is not null and e.room_id = m.room_id
            and e.chain = m.chain
            and e.time_ms = m.outlived_ms
        union
        select e.event_id, e.origin_server_ts from memberships m cross join events e
            where m.session_id = $1 and ",
    ended_by_the_room!(),
    "
        union
        select e.event_id, e.origin_server_ts from events e where e.room_id = $2 and ",
    is_related!("e"),
    "
            and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                'org.matrix.msc4075.call.notify', 'm.call.notify',
                'org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
            and e.origin_server_ts >= $3 and e.origin_server_ts <= $4),
    shown as (select event_id, sent_ms, count(*) over () as total from found order by sent_ms,
    event_id limit $5)
    select e.*, p.name as person, shown.total as total from shown
    cross join events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.event_id = shown.event_id and e.room_id = $2
    order by e.origin_server_ts, e.event_id"
);

// The events of a very large call are not counted. They are found by time: the first events after
// its start are looked at, whichever call they belong to.
pub(super) const BEHIND_LARGE: &str = "with
    near as (select * from events where room_id = $2 and origin_server_ts >= $3
    and origin_server_ts <= $4
        order by origin_server_ts limit 20000),
    shown as (select e.event_id, e.origin_server_ts as sent_ms from near e
        where (e.chain is not null and exists (select 1 from memberships m
                where m.room_id = e.room_id and m.chain = e.chain and m.session_id = $1))
            or (e.chain is null
                and e.kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                    'org.matrix.msc4075.call.notify', 'm.call.notify',
                    'org.matrix.msc4310.rtc.decline', 'm.rtc.decline'))
        order by e.origin_server_ts, e.event_id limit $5)
    select e.*, p.name as person, 0 as total from shown
    cross join events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.event_id = shown.event_id and e.room_id = $2
    order by e.origin_server_ts, e.event_id";

/// As many events of a room, from the start of a very large call on, are looked at.
const NEAR_MOST: i64 = 20_000;
const COUNT_NEAR: &str = "select count(*) from (select 1 from events where room_id = $1
    and origin_server_ts >= $2 and origin_server_ts <= $3 limit $4) as near";

/// The number of events of the call's room in its time, but at most one more than [`NEAR_MOST`].
async fn count_events_near(store: &Reader, call: &Call) -> Result<i64, Error> {
    let query = sqlx::query_scalar(COUNT_NEAR)
        .bind(&call.room.room_id)
        .bind(call.started_ms)
        .bind(call.until_ms)
        .bind(NEAR_MOST + 1);

    Ok(query.fetch_one(&store.read).await?)
}

/// Like [`events_behind_call`], for a call with so many stays that its events are not counted: at
/// most `limit` of those that came first, among the first 20,000 events of its room in its time.
/// The second value is true if these are all of that.
///
/// # Errors
/// When the database fails.
pub async fn events_behind_large_call(
    store: &Reader,
    call: &Call,
    limit: i64,
) -> Result<(Vec<Evidence>, bool), Error> {
    if !store.shows_names() {
        return Ok((Vec::new(), true));
    }

    let query = sqlx::query(BEHIND_LARGE)
        .bind(&call.id)
        .bind(&call.room.room_id)
        .bind(call.started_ms);
    let rows = query
        .bind(call.until_ms)
        .bind(limit.saturating_add(1))
        .fetch_all(&store.read)
        .await?;
    // If so few belong to the call, it may be that others came before them in great number.
    let is_whole = crate::store::to_i64(rows.len()) <= limit
        && count_events_near(store, call).await? <= NEAR_MOST;
    let most = usize::try_from(limit).unwrap_or(0);
    let found: Result<Vec<Evidence>, Error> =
        rows.iter().take(most).map(evidence_from_row).collect();

    Ok((found?, is_whole))
}

/// The stored member events and related events behind the call with this id, oldest first, at most
/// `limit`; and how many there are in all. Nothing if there is no such call.
///
/// # Errors
/// When the database fails.
pub async fn events_behind_call(
    store: &Reader,
    session_id: &str,
    limit: i64,
) -> Result<(Vec<Evidence>, i64), Error> {
    let Some(call) = super::calls::find_call(store, session_id).await? else {
        return Ok((Vec::new(), 0));
    };

    if !store.shows_names() {
        return Ok((Vec::new(), 0));
    }

    let query = sqlx::query(BEHIND)
        .bind(&call.id)
        .bind(&call.room.room_id)
        .bind(call.started_ms);
    let rows = query
        .bind(call.until_ms)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;

    Ok((
        rows.iter()
            .map(evidence_from_row)
            .collect::<Result<_, _>>()?,
        total,
    ))
}

/// The event in this row, with the display name of its sender.
fn evidence_from_row(row: &AnyRow) -> Result<Evidence, Error> {
    Ok(Evidence {
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        sender: row.try_get("sender")?,
        name: row.try_get("person")?,
        state_key: row.try_get("state_key")?,
        origin_server_ts: row.try_get("origin_server_ts")?,
        received_ms: row.try_get("received_ms")?,
        source: word_from_row(row, "source")?,
        rejected: row.try_get("rejected")?,
        json: row.try_get("json")?,
    })
}
