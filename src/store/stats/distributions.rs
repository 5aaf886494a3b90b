//! Distributions, people and places over a span of time, for the pages of statistics and of
//! servers.
//!
//! Everything is counted on request, by the indexes of time: the cost follows the calls and stays
//! of the span, except for whole days that are counted already.

use super::day_totals::{CallSize, Uncounted};
use super::ghost_time::Gone;
use super::scope::Scope;
use super::spans::{is_claim_refuted, is_stamp_refuted, seen_from, spans, touching};
use super::usage;
use crate::rtc::coverage::Span;
use crate::rtc::spelling::spellings_of_name;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::EndReason;
use crate::store::db::multi_row::MultiRow;
use crate::store::db::word_column::word_from_row;
use crate::store::derive::room_titles::room_name;
use crate::store::model::RoomName;
use crate::store::{Error, Reader};
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Calls that began on one day, of one class of length and one class of number of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallClass {
    /// Days since the Unix epoch.
    pub day: i64,
    /// The minimum length of the class, ms. Running calls count with their length so far.
    pub length_ms: i64,
    /// The minimum number of people of the class.
    pub people: i64,
    pub calls: i64,
}

/// Lower bounds of the classes of length, ms, and of the classes of people.
pub const LENGTHS: [i64; 8] = [
    0, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000,
];
pub const PEOPLE: [i64; 8] = [1, 2, 3, 4, 6, 10, 20, 50];

/// The lower bound of the class in which a number is. `bounds` must be ascending; a number below
/// all is in the first class.
fn class_of(bounds: &[i64], number: i64) -> i64 {
    let after = bounds.partition_point(|bound| *bound <= number);
    bounds[after.saturating_sub(1)]
}

/// How long the calls that began within a span were, and with how many people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallsOfSpan {
    /// By the day of their begin, in days since the Unix epoch.
    by_day: Vec<(i64, CallSize)>,
    /// False if too many claim an impossible start: they count with the claimed length.
    are_lengths_known: bool,
}

impl CallsOfSpan {
    /// Reads the calls that began within a span, as known at `now`, ms.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(store: &Reader, span: Span, now: i64) -> Result<Self, Error> {
        let days = usage::load_counted_days(store, Scope::All, span).await?;
        let (whole, rest) = days.split(span);
        let counted = whole.into_iter().flat_map(|(day, facts)| {
            let of_day = move |call: &CallSize| (day, *call);
            facts.calls.iter().map(of_day)
        });
        let mut found = Self {
            by_day: counted.collect(),
            are_lengths_known: true,
        };
        for part in rest {
            let live = read_live_calls(store, part, now, REFUTED_MOST).await?;
            found.are_lengths_known &= live.are_lengths_known;
            let of_day = |call: LiveCall| (call.started_ms.div_euclid(DAY_MS), call.size);
            found.by_day.extend(live.calls.into_iter().map(of_day));
        }

        Ok(found)
    }

    /// The calls by day and class, in order.
    #[must_use]
    pub fn classes(&self) -> Vec<CallClass> {
        let mut found: BTreeMap<(i64, i64, i64), i64> = BTreeMap::new();
        for (day, call) in &self.by_day {
            let length_ms = class_of(&LENGTHS, call.length_ms);
            let people = class_of(&PEOPLE, call.people);
            *found.entry((*day, length_ms, people)).or_default() += 1;
        }

        let class = |((day, length_ms, people), calls)| CallClass {
            day,
            length_ms,
            people,
            calls,
        };

        found.into_iter().map(class).collect()
    }

    /// The median length, ms; `None` if there are no calls, or lengths are not known.
    #[must_use]
    pub fn usual_length(&self) -> Option<i64> {
        if !self.are_lengths_known || self.by_day.is_empty() {
            return None;
        }

        let lengths = self.by_day.iter().map(|(_, call)| call.length_ms);
        let mut lengths: Vec<i64> = lengths.collect();
        let middle = lengths.len() / 2;
        let (_, median, _) = lengths.select_nth_unstable(middle);

        Some(*median)
    }
}

/// A call that was read from the stored calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LiveCall {
    pub room_id: String,
    pub started_ms: i64,
    pub size: CallSize,
}

/// The stored calls of a part of a span, not those of counted days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveCalls {
    pub calls: Vec<LiveCall>,
    are_lengths_known: bool,
}

macro_rules! sizes {
    ($filter:literal) => {
        concat!(
            "select room_id, started_ms, users,
            (case when until_ms < $3 then until_ms else $3 end) - started_ms as length_ms
        from sessions where started_ms >= $1 and started_ms < $2",
            $filter
        )
    };
}
const SIZES: &str = sizes!("");
const SIZES_OF_ROOM: &str = sizes!(" and room_id = $4");

/// Reads the calls that began within a part of a span from the stored calls. The lengths are as
/// known at `now`, ms. If more than `refuted_most` of them claim an impossible start, all count
/// with the claimed length.
pub(super) async fn read_live_calls(
    store: &Reader,
    part: Uncounted<'_>,
    now: i64,
    refuted_most: usize,
) -> Result<LiveCalls, Error> {
    let refuted = read_refuted_calls(store, part, now, refuted_most).await?;
    let query = sqlx::query_as(part.room_id.map_or(SIZES, |_| SIZES_OF_ROOM))
        .bind(part.span.from)
        .bind(part.span.to)
        .bind(now);
    let query = match part.room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows: Vec<(String, i64, i64, i64)> = query.fetch_all(&store.read).await?;
    let call = |(room_id, started_ms, people, length_ms)| LiveCall {
        room_id,
        started_ms,
        size: CallSize { length_ms, people },
    };
    let mut found = LiveCalls {
        calls: rows.into_iter().map(call).collect(),
        are_lengths_known: refuted.is_some(),
    };

    let mut seen: HashMap<LiveCall, Vec<i64>> = HashMap::new();
    for call in refuted.unwrap_or_default() {
        seen.entry(call.stated).or_default().push(call.seen_ms);
    }

    if !seen.is_empty() {
        for call in &mut found.calls {
            let length_ms = seen.get_mut(call).and_then(Vec::pop);
            call.size.length_ms = length_ms.unwrap_or(call.size.length_ms);
        }
    }

    Ok(found)
}

/// A call whose first stay claims an impossible start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RefutedCall {
    /// With the claimed length.
    stated: LiveCall,
    /// Its length as seen, ms.
    seen_ms: i64,
}

// From the calls to their first stays, not the reverse.
macro_rules! refuted {
    ($filter:literal) => {
        concat!(
            "select s.started_ms, s.users, (case when s.until_ms < $3 then s.until_ms
        else $3 end) as upto_ms,
        (select min(",
            seen_from!(),
            ") from memberships m where m.session_id = s.id and m.until_ms > m.joined_ms)
            as from_ms,
        s.room_id
    from sessions s where s.started_ms >= $1 and s.started_ms < $2 and exists (select 1
    from memberships m
        where m.session_id = s.id and m.joined_ms + 0 = s.started_ms and (",
            is_stamp_refuted!(),
            " or ",
            is_claim_refuted!(),
            "))",
            $filter,
            " limit $4"
        )
    };
}
const REFUTED: &str = refuted!("");
const REFUTED_OF_ROOM: &str = refuted!(" and s.room_id = $5");

/// The calls that began within a span and whose first stay claims an impossible start, with their
/// lengths as known at `now`, ms; `None` if there are more than `most`.
async fn read_refuted_calls(
    store: &Reader,
    Uncounted { span, room_id }: Uncounted<'_>,
    now: i64,
    most: usize,
) -> Result<Option<Vec<RefutedCall>>, Error> {
    let query = sqlx::query_as(room_id.map_or(REFUTED, |_| REFUTED_OF_ROOM))
        .bind(span.from)
        .bind(span.to)
        .bind(now)
        .bind(crate::store::to_i64(most).saturating_add(1));
    let query = match room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows: Vec<(i64, i64, i64, Option<i64>, String)> = query.fetch_all(&store.read).await?;
    if rows.len() > most {
        return Ok(None);
    }

    let call =
        |(started_ms, people, upto_ms, from_ms, room_id): (i64, i64, i64, Option<i64>, String)| {
            let from_ms = from_ms
                .unwrap_or(started_ms)
                .clamp(started_ms, upto_ms.max(started_ms));
            RefutedCall {
                stated: LiveCall {
                    room_id,
                    started_ms,
                    size: CallSize {
                        length_ms: upto_ms - started_ms,
                        people,
                    },
                },
                seen_ms: upto_ms - from_ms,
            }
        };

    Ok(Some(rows.into_iter().map(call).collect()))
}

/// Maximum number of calls with an impossible start that are read while somebody waits. If there
/// are more on days that are not counted yet, lengths are not known.
const REFUTED_MOST: usize = 2000;

static NAMES: MultiRow = MultiRow::new(
    concat!(
        "select ",
        room_name!(),
        " from rooms r where r.room_id in ("
    ),
    "?",
    ")",
);

/// The names of these rooms, by room id.
///
/// # Errors
/// When the database fails.
pub async fn room_names(
    store: &Reader,
    room_ids: &[String],
) -> Result<BTreeMap<String, RoomName>, Error> {
    let mut found = BTreeMap::new();
    let mut connection = store.read.acquire().await?;
    for row in NAMES.read_by_ids(&mut connection, room_ids).await? {
        let name = RoomName::from_row(&row)?;
        found.insert(name.room_id.clone(), name);
    }

    Ok(found)
}

/// People and stays of one homeserver within a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    pub server: String,
    pub people: i64,
    pub calls: i64,
    /// Stays that ended within the span, and those of them without an end event.
    pub ended: i64,
    pub expired: i64,
}

// `|| ''`: found by time, not by name.
macro_rules! ended {
    (by $by:literal, $filter:literal) => {
        concat!(
            "select server, count(*) as ended, count(case when end_event_id is null
                and end_reason in ('expired', 'sticky_expired')
                    and outlived_ms is null then 1 end) as expired",
            $by,
            " from memberships where until_ms > $1 and until_ms <= $2 and until_ms > joined_ms",
            $filter,
            " group by server || '', server",
            $by
        )
    };
}
const ENDED: &str = ended!(by "", "");
const ENDED_IN_ROOM: &str = ended!(by "", " and room_id = $3");
const ENDED_BY_ROOM: &str = ended!(by ", room_id", "");
macro_rules! begun {
    (by $by:literal, $filter:literal) => {
        concat!(
            "select servers, count(*)",
            $by,
            " from sessions where started_ms >= $1 and started_ms < $2",
            $filter,
            " group by servers",
            $by
        )
    };
}
const BEGUN: &str = begun!(by "", "");
const BEGUN_IN_ROOM: &str = begun!(by "", " and room_id = $3");
const BEGUN_BY_ROOM: &str = begun!(by ", room_id", "");
// The calls that ran when the span began, by the servers of those who stayed in them.
const RAN: &str = concat!(
    "select m.server, count(distinct m.session_id) from ",
    touching!("sessions", "started_ms"),
    " as s cross join memberships m where m.session_id = s.id and m.until_ms > $1
        and m.joined_ms + 0 < $3
        and m.until_ms > m.joined_ms group by m.server || '', m.server"
);

/// The homeservers seen in calls from `from` to `now`, ms, with their people, calls and ended
/// stays, in order of name.
///
/// # Errors
/// When the database fails.
pub async fn servers_in_calls(
    store: &Reader,
    from: i64,
    now: i64,
) -> Result<Vec<ServerRow>, Error> {
    let span = Span { from, to: now };
    let mut found: BTreeMap<String, ServerRow> = BTreeMap::new();
    // Changes the row of a server, which is made if it is not there.
    let mut row = |server: &str, add: &dyn Fn(&mut ServerRow)| {
        let empty = || ServerRow {
            server: server.to_owned(),
            people: 0,
            calls: 0,
            ended: 0,
            expired: 0,
        };

        add(found.entry(server.to_owned()).or_insert_with(empty));
    };

    let days = usage::load_counted_days(store, Scope::All, span).await?;
    for server in usage::server_of_each_person(store, &days, span).await? {
        row(&server, &|row| row.people += 1);
    }

    let ran: Vec<(String, i64)> = sqlx::query_as(RAN)
        .bind(from)
        .bind(from)
        .bind(now)
        .fetch_all(&store.read)
        .await?;
    for (server, calls) in ran {
        row(&server, &|row| row.calls += calls);
    }

    let (whole, rest) = days.split(span);
    let (mut begun, mut ends): (Vec<BTreeMap<String, i64>>, Vec<Ends>) = whole
        .into_iter()
        .map(|(_, day)| (day.servers.clone(), day.ends.clone()))
        .unzip();
    for part in rest {
        begun.push(begun_by_servers(store, part).await?);
        ends.push(live_ends_by_server(store, part).await?);
    }

    for (servers, calls) in begun.iter().flatten() {
        servers
            .split_whitespace()
            .for_each(|server| row(server, &|row| row.calls += calls));
    }

    for (server, (ended, expired)) in ends.iter().flatten() {
        row(server, &|row| {
            (row.ended, row.expired) = (row.ended + ended, row.expired + expired);
        });
    }

    Ok(found.into_values().collect())
}

/// By server: stays that ended, and those without an end event.
type Ends = BTreeMap<String, (i64, i64)>;

/// The number of calls that began in a span, by all servers of their people (one text, separated by
/// spaces).
async fn begun_by_servers(
    store: &Reader,
    Uncounted { span, room_id }: Uncounted<'_>,
) -> Result<BTreeMap<String, i64>, Error> {
    let query = sqlx::query_as(room_id.map_or(BEGUN, |_| BEGUN_IN_ROOM))
        .bind(span.from)
        .bind(span.to);
    let query = match room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows: Vec<(String, i64)> = query.fetch_all(&store.read).await?;

    Ok(rows.into_iter().collect())
}

/// The number of calls that began in a span, by room and all servers of their people.
pub(super) async fn begun_by_servers_and_room(
    store: &Reader,
    span: Span,
) -> Result<Vec<(String, i64, String)>, Error> {
    Ok(sqlx::query_as(BEGUN_BY_ROOM)
        .bind(span.from)
        .bind(span.to)
        .fetch_all(&store.read)
        .await?)
}

/// How many stays of each server ended in a span that is over, and how many of them only expired,
/// counted from the stays.
async fn live_ends_by_server(
    store: &Reader,
    Uncounted { span, room_id }: Uncounted<'_>,
) -> Result<Ends, Error> {
    let query = sqlx::query_as(room_id.map_or(ENDED, |_| ENDED_IN_ROOM))
        .bind(span.from)
        .bind(span.to);
    let query = match room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows: Vec<(String, i64, i64)> = query.fetch_all(&store.read).await?;

    Ok(rows
        .into_iter()
        .map(|(server, ended, expired)| (server, (ended, expired)))
        .collect())
}

/// The same as [`live_ends_by_server`], by server and room.
pub(super) async fn live_ends_by_server_and_room(
    store: &Reader,
    span: Span,
) -> Result<Vec<(String, i64, i64, String)>, Error> {
    Ok(sqlx::query_as(ENDED_BY_ROOM)
        .bind(span.from)
        .bind(span.to)
        .fetch_all(&store.read)
        .await?)
}

const IS_KNOWN: &str = "select 1 from memberships where server = $1 limit 1";

/// Was this homeserver ever seen in a call?
///
/// # Errors
/// When the database fails.
pub async fn is_known_server(store: &Reader, server: &str) -> Result<bool, Error> {
    if !store.shows_servers() {
        return Ok(false);
    }

    let found: Option<i64> = sqlx::query_scalar(IS_KNOWN)
        .bind(server)
        .fetch_optional(&store.read)
        .await?;

    Ok(found.is_some())
}

/// The name by which this homeserver was seen in a call, also if it is asked for in another case;
/// `None` if it never was.
///
/// # Errors
/// When the database fails.
pub async fn find_known_server(store: &Reader, server: &str) -> Result<Option<String>, Error> {
    for server in spellings_of_name(server) {
        if is_known_server(store, &server).await? {
            return Ok(Some(server));
        }
    }

    Ok(None)
}

// How many stays ended in one way. As a doc comment this would stand in the document of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EndFacts {
    pub reason: EndReason,
    pub stays: i64,
}

const ENDS: &str = "select end_reason, count(*) as stays from memberships
    where server = $4 and until_ms > $1 and until_ms <= $3 and joined_ms < $2
    and until_ms > joined_ms
    group by end_reason order by 2 desc, 1";

/// How many stays of a server ended in which way, of those that ended within a span and by `now`,
/// ms; the most frequent way first.
///
/// # Errors
/// When the database fails.
pub async fn end_reasons_of_server(
    store: &Reader,
    server: &str,
    span: Span,
    now: i64,
) -> Result<Vec<EndFacts>, Error> {
    let query = sqlx::query(ENDS)
        .bind(span.from)
        .bind(span.to)
        .bind(now)
        .bind(server);
    let count = |row: &AnyRow| {
        Ok(EndFacts {
            reason: word_from_row(row, "end_reason")?,
            stays: row.try_get("stays")?,
        })
    };

    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(count).collect()
}

/// A stay without an end event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanOutStay {
    pub room: RoomName,
    pub session_id: String,
    pub user_id: String,
    pub name: Option<String>,
    pub device_id: Option<String>,
    pub joined_ms: i64,
    pub until_ms: i64,
}

const GHOSTS: &str = concat!(
    "select m.session_id, m.user_id, m.device_id, m.joined_ms, m.until_ms, p.name as person, ",
    room_name!(),
    " from memberships m join rooms r on r.room_id = m.room_id
    left join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.server = $1 and m.until_ms > $2 and m.until_ms <= $3 and m.session_id is not null
    and m.end_event_id is null and m.end_reason in ('expired', 'sticky_expired')
    and m.outlived_ms is null
    order by m.until_ms desc, m.id limit $4"
);

/// The stays of a server that ran out within a span, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_ran_out_stays(
    store: &Reader,
    server: &str,
    span: Span,
    limit: i64,
) -> Result<Vec<RanOutStay>, Error> {
    let query = sqlx::query(GHOSTS)
        .bind(server)
        .bind(span.from)
        .bind(span.to)
        .bind(limit);
    let ghost = |row: &sqlx::any::AnyRow| {
        Ok(RanOutStay {
            room: RoomName::from_row(row)?,
            session_id: row.try_get("session_id")?,
            user_id: row.try_get("user_id")?,
            name: row.try_get("person")?,
            device_id: row.try_get("device_id")?,
            joined_ms: row.try_get("joined_ms")?,
            until_ms: row.try_get("until_ms")?,
        })
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(ghost)
        .collect()
}

/// The time of one person within a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    pub user_id: String,
    pub name: Option<String>,
    pub together_ms: i64,
    pub together_seen_ms: i64,
}

const PERSONS: &str = concat!(
    spans!("server", "$4"),
    "select s.user_id, (select min(p.name) from people p where p.user_id = s.user_id) as person,
        cast(sum(s.end_ms - s.start_ms) as bigint) as together_ms,
        cast(sum(case when s.seen_to > s.seen_from then s.seen_to - s.seen_from
        else 0 end) as bigint) as seen_ms
    from spans s group by s.user_id order by 3 desc, 1 limit $5"
);

/// The people of a server with most time within a span, most first, at most `limit`. Nobody saw the
/// devices of `gone` after they were last heard. Unobserved time is not subtracted here.
///
/// # Errors
/// When the database fails.
pub async fn top_people_of_server(
    store: &Reader,
    server: &str,
    span: Span,
    now: i64,
    limit: i64,
    gone: &Gone,
) -> Result<Vec<PersonRow>, Error> {
    let query = sqlx::query(PERSONS)
        .bind(span.from)
        .bind(span.to)
        .bind(now)
        .bind(server)
        .bind(limit);
    let unseen = gone.unseen_of_people(server, span);
    let person = |row: &sqlx::any::AnyRow| {
        let user_id: String = row.try_get("user_id")?;
        let seen_ms: i64 = row.try_get("seen_ms")?;
        let unseen_ms = unseen.get(user_id.as_str()).copied().unwrap_or(0);
        Ok(PersonRow {
            user_id,
            name: row.try_get("person")?,
            together_ms: row.try_get("together_ms")?,
            together_seen_ms: (seen_ms - unseen_ms).max(0),
        })
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(person)
        .collect()
}

/// A transport that members name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTransport {
    pub kind: String,
    pub service_url: Option<String>,
    pub people: i64,
    pub stays: i64,
    /// When the newest of these stays began, ms.
    pub last_ms: i64,
}

// Without an address comes first: the two databases sort null differently.
const NAMED: &str =
    "select transport_type as kind, transport_url, count(distinct user_id) as people,
        count(*) as stays, max(joined_ms) as last_ms
    from memberships where server = $3 and until_ms > $1 and joined_ms < $2 and until_ms > joined_ms
    and transport_type is not null group by transport_type, transport_url
    order by 4 desc, 1, coalesce(transport_url, '') limit 50";

/// The transports that people of a server name within a span, most stays first.
///
/// # Errors
/// When the database fails.
pub async fn transports_of_server(
    store: &Reader,
    server: &str,
    span: Span,
) -> Result<Vec<NamedTransport>, Error> {
    let rows = sqlx::query(NAMED)
        .bind(span.from)
        .bind(span.to)
        .bind(server)
        .fetch_all(&store.read)
        .await?;
    let named = |row: &sqlx::any::AnyRow| {
        Ok(NamedTransport {
            kind: row.try_get("kind")?,
            service_url: row.try_get("transport_url")?,
            people: row.try_get("people")?,
            stays: row.try_get("stays")?,
            last_ms: row.try_get("last_ms")?,
        })
    };

    rows.iter().map(named).collect()
}
