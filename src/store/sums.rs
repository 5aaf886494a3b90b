//! Sums over a span of time, with and without what is inferred.
//!
//! Inferred is time after the last sign of a stay that nobody ended, until its expiry; time before the event that claimed
//! an earlier start; and time that nobody watched. A call is exact when neither its start nor its end is inferred and
//! somebody watched all the time. All of it is computed when asked: the cost follows the stays of the span (about ten
//! microseconds for each), not the history.

use super::row::Viewer;
use super::spans::{spans, touching, unsure};
use super::{Error, Store, coverage};
use crate::rtc::coverage::Span;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    All,
    Room(&'a str),
    /// The people of one homeserver, and the calls that they were in.
    Server(&'a str),
}

impl<'a> Scope<'a> {
    /// Which of three texts, and what to bind to it.
    fn pick(self, sql: [&'static str; 3]) -> (&'static str, Option<&'a str>) {
        match self {
            Self::All => (sql[0], None),
            Self::Room(room_id) => (sql[1], Some(room_id)),
            Self::Server(server) => (sql[2], Some(server)),
        }
    }
}

/// The sums of one span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    pub calls: i64,
    /// Calls of which start, end and everything between were seen.
    pub calls_exact: i64,
    pub people: i64,
    /// Device time in calls, ms; and without its inferred part.
    pub together_ms: i64,
    pub together_seen_ms: i64,
    /// The same by room and server of the people, most first.
    pub places: Vec<Place>,
}

/// The part that people of one server spent in one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub room_id: String,
    pub server: String,
    pub together_ms: i64,
    pub together_seen_ms: i64,
}

/// Stays that begin in one hour and end in another, hours since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    pub from: i64,
    pub to: i64,
    pub stays: i64,
    /// Sums of their starts and ends, ms after the beginning of those hours.
    pub after_from_ms: i64,
    pub after_to_ms: i64,
}

macro_rules! places {
    ($($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            "select room_id, server, cast(sum(end_ms - start_ms) as bigint) as together_ms,
                cast(sum(case when seen_to > seen_from then seen_to - seen_from else 0 end) as bigint) as seen_ms
            from spans group by room_id, server order by 3 desc, 1, 2"
        )
    };
}

macro_rules! hours {
    ($($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            "select start_ms / 3600000, (end_ms - 1) / 3600000, count(*),
                cast(sum(start_ms % 3600000) as bigint), cast(sum((end_ms - 1) % 3600000 + 1) as bigint)
            from spans group by 1, 2 order by 1, 2"
        )
    };
}

// Up to four spans that nobody watched, of any room: what each takes from the seen time, by room and server.
macro_rules! blind {
    ($($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            ", gaps as (select 0 as place, $4 as from_ms, $5 as to_ms union all select 1, $6, $7
                union all select 2, $8, $9 union all select 3, $10, $11)
            select place, room_id, server,
                cast(sum(case when seen_to < to_ms then seen_to else to_ms end
                    - case when seen_from > from_ms then seen_from else from_ms end) as bigint) as blind_ms
            from spans join gaps on seen_from < to_ms and seen_to > from_ms and seen_from < seen_to
            group by place, room_id, server"
        )
    };
}

pub(super) const PLACES: [&str; 3] = [places!(), places!("room_id", "$4"), places!("server", "$4")];
const HOURS: [&str; 3] = [hours!(), hours!("room_id", "$4"), hours!("server", "$4")];
const BLIND: [&str; 3] = [blind!(), blind!("room_id", "$12"), blind!("server", "$12")];

macro_rules! calls {
    ($filter:literal) => {
        concat!(
            "select count(*) as calls, count(case when ",
            unsure!(),
            " then 1 end) as unsure from ",
            touching!("sessions", "started_ms"),
            " as s where 1 = 1",
            $filter
        )
    };
}

pub(super) const CALLS: [&str; 3] = [
    calls!(""),
    calls!(" and s.room_id = $4"),
    // Names of servers stand with blanks between them.
    calls!(" and ' ' || s.servers || ' ' like $4 escape '!'"),
];
// The calls that a span which nobody watched touches, and whether they are unsure anyway.
const TOUCHED: &str = concat!(
    "select s.id, case when ",
    unsure!(),
    " then 1 else 0 end as unsure, s.room_id, s.servers from ",
    touching!("sessions", "started_ms"),
    " as s where s.until_ms + 0 >= $4 and s.started_ms + 0 < $5"
);
macro_rules! people {
    ($($filter:literal),*) => {
        concat!(
            "select count(distinct user_id) from ",
            touching!("memberships", "joined_ms" $(, $filter)*),
            " as m where until_ms > joined_ms"
        )
    };
}
const PEOPLE: [&str; 3] = [people!(), people!("room_id", "$3"), people!("server", "$3")];

/// The sums of a span, as known at `now`, ms; the span ends at `now` or before.
///
/// # Errors
/// When the database fails.
pub async fn of(store: &Store, viewer: Viewer, scope: Scope<'_>, span: Span, now: i64) -> Result<Sums, Error> {
    let Viewer::Operator = viewer;
    let mut sums = counts(store, scope, span, now).await?;
    let (sql, whose) = scope.pick(PLACES);
    let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(now);
    let query = if let Some(whose) = whose { query.bind(whose) } else { query };
    for row in query.fetch_all(&store.read).await? {
        sums.places.push(Place {
            room_id: row.try_get("room_id")?,
            server: row.try_get("server")?,
            together_ms: row.try_get("together_ms")?,
            together_seen_ms: row.try_get("seen_ms")?,
        });
    }
    let blind = blind_spans(store, viewer, &sums, span, now).await?;
    subtract(store, scope, &mut sums, &blind, (span, now)).await?;
    sums.calls_exact -= touched(store, scope, &blind, span, now).await?;
    sums.together_ms = sums.places.iter().map(|place| place.together_ms).sum();
    sums.together_seen_ms = sums.places.iter().map(|place| place.together_seen_ms).sum();
    Ok(sums)
}

/// Calls and people; `calls_exact` without regard to what nobody watched.
async fn counts(store: &Store, scope: Scope<'_>, span: Span, now: i64) -> Result<Sums, Error> {
    let ((calls, whose), (people, _)) = (scope.pick(CALLS), scope.pick(PEOPLE));
    let calls = sqlx::query_as(calls).bind(span.from).bind(span.to).bind(now);
    let people = sqlx::query_scalar(people).bind(span.from).bind(span.to);
    let (calls, people) = match (scope, whose) {
        (_, None) => (calls, people),
        (Scope::Server(server), _) => (calls.bind(pattern(server)), people.bind(server)),
        (_, Some(whose)) => (calls.bind(whose), people.bind(whose)),
    };
    let (all, unsure): (i64, i64) = calls.fetch_one(&store.read).await?;
    let people = people.fetch_one(&store.read).await?;
    Ok(Sums { calls: all, calls_exact: all - unsure, people, ..Sums::default() })
}

/// The name of a server as one among others, for `like`.
fn pattern(server: &str) -> String {
    let name = server.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("% {name} %")
}

/// What nobody watched of the rooms in which somebody was, each span with its rooms.
async fn blind_spans(
    store: &Store,
    viewer: Viewer,
    sums: &Sums,
    span: Span,
    now: i64,
) -> Result<BTreeMap<Span, BTreeSet<String>>, Error> {
    let rooms: BTreeSet<String> = sums.places.iter().map(|place| place.room_id.clone()).collect();
    let mut found: BTreeMap<Span, BTreeSet<String>> = BTreeMap::new();
    for (room_id, intervals) in coverage::of(store, viewer, &rooms, now).await? {
        // One that ends where the span begins is not in it, one in which a call before it ended is.
        for blind in intervals.iter().filter(|interval| interval.cover.is_blind()).map(|interval| interval.span) {
            if blind.to > span.from && blind.from < span.to {
                found.entry(blind).or_default().insert(room_id.clone());
            }
        }
    }
    Ok(found)
}

/// Takes from the seen time what nobody watched.
async fn subtract(
    store: &Store,
    scope: Scope<'_>,
    sums: &mut Sums,
    blind: &BTreeMap<Span, BTreeSet<String>>,
    (span, now): (Span, i64),
) -> Result<(), Error> {
    let mut places: HashMap<(String, String), &mut Place> = HashMap::new();
    for place in &mut sums.places {
        places.insert((place.room_id.clone(), place.server.clone()), place);
    }
    let spans: Vec<(&Span, &BTreeSet<String>)> = blind.iter().collect();
    for gaps in spans.chunks(4) {
        let (sql, whose) = scope.pick(BLIND);
        let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(now);
        let bounds = (0..4).map(|at| gaps.get(at).map_or((0, 0), |(gap, _)| (gap.from, gap.to)));
        let query = bounds.fold(query, |query, (from, to)| query.bind(from).bind(to));
        let query = if let Some(whose) = whose { query.bind(whose) } else { query };
        for row in query.fetch_all(&store.read).await? {
            let gap = usize::try_from(row.try_get::<i64, _>("place")?).ok().and_then(|place| gaps.get(place));
            let (room_id, server): (String, String) = (row.try_get("room_id")?, row.try_get("server")?);
            let is_ours = gap.is_some_and(|(_, rooms)| rooms.contains(&room_id));
            if let Some(place) = places.get_mut(&(room_id, server)).filter(|_| is_ours) {
                place.together_seen_ms -= row.try_get::<i64, _>("blind_ms")?;
            }
        }
    }
    Ok(())
}

/// How many calls are unsure only because nobody watched.
async fn touched(
    store: &Store,
    scope: Scope<'_>,
    blind: &BTreeMap<Span, BTreeSet<String>>,
    span: Span,
    now: i64,
) -> Result<i64, Error> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for (gap, rooms) in blind {
        let query = sqlx::query(TOUCHED).bind(span.from).bind(span.to).bind(now).bind(gap.from).bind(gap.to);
        for row in query.fetch_all(&store.read).await? {
            let (room_id, servers): (&str, &str) = (row.try_get("room_id")?, row.try_get("servers")?);
            let is_ours = match scope {
                Scope::All => true,
                Scope::Room(room) => room == room_id,
                Scope::Server(server) => servers.split_whitespace().any(|name| name == server),
            };
            if is_ours && row.try_get::<i64, _>("unsure")? == 0 && rooms.contains(room_id) {
                found.insert(row.try_get("id")?);
            }
        }
    }
    Ok(super::int(found.len()))
}

/// The time together by hours, as known at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn hours(store: &Store, viewer: Viewer, scope: Scope<'_>, span: Span, now: i64) -> Result<Vec<Hours>, Error> {
    let Viewer::Operator = viewer;
    let (sql, whose) = scope.pick(HOURS);
    let query = sqlx::query_as(sql).bind(span.from).bind(span.to).bind(now);
    let query = if let Some(whose) = whose { query.bind(whose) } else { query };
    let rows: Vec<(i64, i64, i64, i64, i64)> = query.fetch_all(&store.read).await?;
    let hours = |(from, to, stays, after_from_ms, after_to_ms)| Hours { from, to, stays, after_from_ms, after_to_ms };
    Ok(rows.into_iter().map(hours).collect())
}

/// The device time in each hour of a span, ms, from the hours in which stays begin and end.
#[must_use]
pub fn by_hour(hours: &[Hours]) -> BTreeMap<i64, i64> {
    const HOUR: i64 = 3_600_000;
    let mut found: BTreeMap<i64, i64> = BTreeMap::new();
    for group in hours {
        if group.from == group.to {
            *found.entry(group.from).or_default() += group.after_to_ms - group.after_from_ms;
            continue;
        }
        *found.entry(group.from).or_default() += group.stays * HOUR - group.after_from_ms;
        for between in group.from + 1..group.to {
            *found.entry(between).or_default() += group.stays * HOUR;
        }
        *found.entry(group.to).or_default() += group.after_to_ms;
    }
    found
}

const TOGETHER: &str = concat!(spans!(), "select cast(coalesce(sum(end_ms - start_ms), 0) as bigint) from spans");

/// The device time of a span, ms, whoever it was.
///
/// # Errors
/// When the database fails.
pub async fn together(store: &Store, viewer: Viewer, span: Span, now: i64) -> Result<i64, Error> {
    let Viewer::Operator = viewer;
    Ok(sqlx::query_scalar(TOGETHER).bind(span.from).bind(span.to).bind(now).fetch_one(&store.read).await?)
}
