//! Sessions, which pages call calls: read as lists and one by one.

pub use super::call_list::{count_calls, list_calls};
use crate::rtc::words::Watch;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::derive::room_titles::people_title;
use crate::store::model::{Call, LoneCall, RoomName};
use crate::store::{Error, Reader};
use sqlx::Row;

json_row! {
    /// A call out of `sessions s` and `rooms r`.
    pub(in crate::store) struct CallRow {
        id: String = "s.id",
        room_id: String = "s.room_id",
        room_name: Option<String> = "r.name",
        room_alias: Option<String> = "r.alias",
        people_title: Option<String> = people_title!(),
        watch: String = "r.watch",
        looked_ms: i64 = "coalesce(r.polled_ms, r.first_seen_ms)",
        slot_id: String = "s.slot_id",
        application: String = "s.application",
        started_ms: i64 = "s.started_ms",
        until_ms: i64 = "s.until_ms",
        users: i64 = "s.users",
        devices: i64 = "s.devices",
        memberships: i64 = "s.memberships",
        peak: i64 = "s.peak",
        peak_users: i64 = "s.peak_users",
        servers: String = "s.servers",
        intent: Option<String> = "s.intent",
        first_event_id: String = "s.first_event_id",
    }
}

/// The calls out of `sessions s` and `rooms r` with everything from `from` on, in one text. It has
/// the order of the statement, because both databases feed an aggregate in the order of its
/// subquery.
macro_rules! calls {
    ($($from:expr),+) => {
        sql!(
            "select string_agg(found.call, '') from (select ",
            $crate::store::read::calls::CallRow::TEXT,
            " as call",
            $($from,)+
            ") as found"
        )
    };
}
pub(in crate::store) use calls;

// `+ 0` keeps the database from using an index for a column: few calls run, but many have begun.
macro_rules! running {
    () => {
        " from sessions s join rooms r on r.room_id = s.room_id
        where s.until_ms > $1 and s.started_ms + 0 <= $1 and r.watch in ('joined', 'peeked')"
    };
}
// If there are too many, the newest calls of each room come before the next ones of any room: one
// member of one room can have thousands of slots.
pub(super) const ACTIVE: &str = calls!(
    " from (select chosen.* from (select s.*, row_number() over (partition by s.room_id
            order by s.started_ms desc, s.id desc) as nth",
    running!(),
    ") as chosen order by chosen.nth, chosen.started_ms desc, chosen.id desc limit $2) as s
    join rooms r on r.room_id = s.room_id
    order by s.started_ms + 0 desc, s.id desc"
);
// `|| ''` makes the database begin with the running calls, which are few; a room may have had many
// calls.
pub(super) const ACTIVE_IN_ROOM: &str = calls!(
    running!(),
    " and s.room_id || '' = $2 order by s.started_ms + 0 desc, s.id desc limit $3"
);
pub(super) const RUNNING: &str = concat!("select count(*)", running!());

/// Maximum running calls that are read.
pub const ACTIVE_MOST: i64 = 500;

/// Calls active at `now`, ms, newest first; at most [`ACTIVE_MOST`], taken from all rooms by turns.
///
/// # Errors
/// When the database fails.
pub async fn list_active_calls(store: &Reader, now: i64) -> Result<Vec<Call>, Error> {
    let query = store.dialect().query(ACTIVE);
    let rows = query
        .bind(now)
        .bind(ACTIVE_MOST)
        .fetch_all(&store.read)
        .await?;

    read_rows(&rows, call_from_row)
}

/// Calls of one room that are active at `now`, ms, newest first; at most [`ACTIVE_MOST`].
///
/// # Errors
/// When the database fails.
pub async fn active_in_room(store: &Reader, room_id: &str, now: i64) -> Result<Vec<Call>, Error> {
    let query = store.dialect().query(ACTIVE_IN_ROOM);
    let rows = query
        .bind(now)
        .bind(room_id)
        .bind(ACTIVE_MOST)
        .fetch_all(&store.read)
        .await?;

    read_rows(&rows, call_from_row)
}

/// How many calls are active at `now`, ms, however many of them are read.
///
/// # Errors
/// When the database fails.
pub async fn count_active_calls(store: &Reader, now: i64) -> Result<i64, Error> {
    let query = sqlx::query_scalar(RUNNING).bind(now);
    Ok(query.fetch_one(&store.read).await?)
}

// Calls that ended last, by the index of ends.
pub(super) const ENDED_LAST: &str = calls!(
    " from (select id from sessions where until_ms > $1 and until_ms <= $2 order by until_ms desc,
        id desc limit $3) as l
    join sessions s on s.id = l.id join rooms r on r.room_id = s.room_id order by s.until_ms desc,
    s.id desc"
);

/// The calls that ended last, the last one first, at most `limit`: of those that ended after `from`
/// and by `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn ended_last(
    store: &Reader,
    from: i64,
    now: i64,
    limit: i64,
) -> Result<Vec<Call>, Error> {
    let query = store.dialect().query(ENDED_LAST);
    let rows = query
        .bind(from)
        .bind(now)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;

    read_rows(&rows, call_from_row)
}

const BY_ID: &str =
    calls!(" from sessions s join rooms r on r.room_id = s.room_id where s.id = $1");
// The stay that the event began or ended, or else the last stay of its member key that had begun by
// then.
const BY_EVENT: &str = "select m.room_id, m.slot_id, m.joined_ms, m.session_id from events e
    join memberships m on m.room_id = e.room_id and m.chain = e.chain
    where e.event_id = $1
    order by case when m.join_event_id = e.event_id then 0 when m.end_event_id = e.event_id then 1
        when m.joined_ms <= e.origin_server_ts then 2 else 3 end, m.joined_ms desc limit 1";
const AROUND: &str =
    "select id from sessions where room_id = $1 and slot_id = $2 and started_ms <= $3
        and until_ms >= $3
    order by started_ms desc limit 1";

/// The call with this id, or the one that this event id or former call id leads to. `None` if there
/// is none.
///
/// # Errors
/// When the database fails.
pub async fn find_call(store: &Reader, id_or_event: &str) -> Result<Option<Call>, Error> {
    if let Some(call) = find_by_id(store, id_or_event).await? {
        return Ok(Some(call));
    }

    match resolve_call_id(store, id_or_event).await? {
        Some(id) => find_by_id(store, &id).await,
        None => Ok(None),
    }
}

/// The call with this id; `None` if there is none.
async fn find_by_id(store: &Reader, id: &str) -> Result<Option<Call>, Error> {
    let query = store.dialect().query(BY_ID);
    let rows = query.bind(id).fetch_all(&store.read).await?;

    Ok(read_rows(&rows, call_from_row)?.pop())
}

/// A call of the same room that began before or after another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourCall {
    pub id: String,
    pub started_ms: i64,
}

const BEFORE: &str = "select id, started_ms from sessions where room_id = $1
    and started_ms <= $2 and (started_ms < $2 or id < $3)
    order by started_ms desc, id desc limit 1";
const AFTER: &str = "select id, started_ms from sessions where room_id = $1
    and started_ms >= $2 and (started_ms > $2 or id > $3)
    order by started_ms, id limit 1";

/// The calls of a room that began last before this one, and first after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeighbourCalls {
    pub previous: Option<NeighbourCall>,
    pub next: Option<NeighbourCall>,
}

/// The previous and the next call of the room of a call, by their starts.
///
/// # Errors
/// When the database fails.
pub async fn neighbours_of_call(store: &Reader, call: &Call) -> Result<NeighbourCalls, Error> {
    Ok(NeighbourCalls {
        previous: find_neighbour(store, BEFORE, call).await?,
        next: find_neighbour(store, AFTER, call).await?,
    })
}

async fn find_neighbour(
    store: &Reader,
    query: &'static str,
    call: &Call,
) -> Result<Option<NeighbourCall>, Error> {
    let row = sqlx::query(query)
        .bind(&call.room.room_id)
        .bind(call.started_ms)
        .bind(&call.id)
        .fetch_optional(&store.read)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };

    Ok(Some(NeighbourCall {
        id: row.try_get("id")?,
        started_ms: row.try_get("started_ms")?,
    }))
}

static BY_IDS: MultiRow = MultiRow::new(
    sql!(
        "select ",
        CallRow::LIST,
        " from sessions s join rooms r on r.room_id = s.room_id where s.id in ("
    ),
    "?",
    ")",
);

/// The calls with these ids, as far as there are any, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn find_calls(store: &Reader, ids: &[String]) -> Result<Vec<Call>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }

    let mut connection = store.read.acquire().await?;
    let rows = BY_IDS.read_by_ids(&mut connection, ids).await?;
    let mut calls = read_rows(&rows, call_from_row)?;
    calls.sort_by(|one, other| one.id.cmp(&other.id));

    Ok(calls)
}

/// A user with more devices than this in a call is not waiting alone in it.
pub const LONE_DEVICES_MAX: i64 = 8;

// If very many calls begin in a room, the newest are enough.
const LONE: &str = "select s.id, s.slot_id, s.application, s.started_ms, s.until_ms,
        (select m.user_id from memberships m where m.session_id = s.id limit 1) as user_id
    from (select * from sessions where room_id = $1 and started_ms >= $2 and started_ms <= $3
        order by started_ms desc, id desc limit 256) s
    where s.users = 1 and s.devices <= $4";

/// The calls of a room in which one person was alone, with few devices, and which began from
/// `from_ms` to `to_ms`, both included; in no order. Only the newest 256 calls that began then are
/// looked at.
///
/// # Errors
/// When the database fails.
pub async fn lone_calls_begun_within(
    store: &Reader,
    room_id: &str,
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<LoneCall>, Error> {
    let rows = sqlx::query(LONE)
        .bind(room_id)
        .bind(from_ms)
        .bind(to_ms)
        .bind(LONE_DEVICES_MAX)
        .fetch_all(&store.read)
        .await?;

    let mut calls = Vec::new();
    for row in rows {
        let Some(user_id) = row.try_get("user_id")? else {
            continue;
        };

        calls.push(LoneCall {
            id: row.try_get("id")?,
            slot_id: row.try_get("slot_id")?,
            application: row.try_get("application")?,
            user_id,
            started_ms: row.try_get("started_ms")?,
            until_ms: row.try_get("until_ms")?,
        });
    }

    Ok(calls)
}

const FORMERLY: &str =
    "select room_id, slot_id, started_ms, first_event_id from former_calls where id = $1";

/// The id of the call that a former call id or the id of a member event leads to; `None` if there
/// is none. A call that changed its id by an earlier join is found by its place in time, or else by
/// its first event.
async fn resolve_call_id(store: &Reader, former_or_event: &str) -> Result<Option<String>, Error> {
    let around =
        async |room_id: String, slot_id: String, at_ms: i64| -> Result<Option<String>, Error> {
            let query = sqlx::query_scalar(AROUND)
                .bind(room_id)
                .bind(slot_id)
                .bind(at_ms);
            Ok(query.fetch_optional(&store.read).await?)
        };
    let former = sqlx::query_as(FORMERLY)
        .bind(former_or_event)
        .fetch_optional(&store.read)
        .await?;
    let former: Option<(String, String, i64, String)> = former;
    let mut event_id = former_or_event.to_owned();
    if let Some((room_id, slot_id, started_ms, first_event_id)) = former {
        if let Some(id) = around(room_id, slot_id, started_ms).await? {
            return Ok(Some(id));
        }

        event_id = first_event_id;
    }

    let Some(stay) = sqlx::query(BY_EVENT)
        .bind(event_id)
        .fetch_optional(&store.read)
        .await?
    else {
        return Ok(None);
    };

    if let Some(id) = stay.try_get("session_id")? {
        return Ok(Some(id));
    }

    // A stay without length is in no call itself, but it may lie within one.
    around(
        stay.try_get("room_id")?,
        stay.try_get("slot_id")?,
        stay.try_get("joined_ms")?,
    )
    .await
}

/// A stored call.
pub(in crate::store) fn call_from_row(row: CallRow) -> Call {
    let is_lost = matches!(Watch::from_word(&row.watch), Watch::Left | Watch::Blind);
    let servers = row.servers.split_whitespace().map(ToOwned::to_owned);

    Call {
        servers: servers.collect(),
        id: row.id,
        room: RoomName {
            room_id: row.room_id,
            name: row.room_name,
            alias: row.room_alias,
            people_title: row.people_title,
        },
        lost_ms: is_lost.then_some(row.looked_ms),
        slot_id: row.slot_id,
        application: row.application,
        started_ms: row.started_ms,
        until_ms: row.until_ms,
        people: row.users,
        devices: row.devices,
        memberships: row.memberships,
        peak: row.peak,
        peak_users: row.peak_users,
        intent: row.intent,
        first_event_id: row.first_event_id,
    }
}
