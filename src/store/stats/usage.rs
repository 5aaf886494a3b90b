//! Sums over a span of time, with and without inferred time.
//!
//! Inferred time is the time after the last sign of a stay without an end event, until its expiry;
//! the time before the event that claimed an earlier start; and unobserved time. A call is exact if
//! neither its start nor its end is inferred and it was observed all the time. Sums are computed on
//! request: the cost follows the stays of the span (about ten microseconds for each), except for
//! whole days that are counted already.

use super::day_totals::{CountedDays, Uncounted};
use super::ghost_time::Gone;
use super::scope::{PlaceUsage, Scope, UsageSums};
use super::spans::{spans, touching, unsure};
use super::unobserved;
use crate::rtc::coverage::Span;
use crate::rtc::id::server_of;
use crate::rtc::time::DAY_MS;
use crate::store::db::json_row::read_rows;
use crate::store::{Error, Reader, escape_for_like};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Stays that begin in one hour and end in another, hours since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StayHours {
    pub from: i64,
    pub to: i64,
    pub stays: i64,
    /// Sums of their starts and ends, each relative to the beginning of its hour, ms.
    pub after_from_ms: i64,
    pub after_to_ms: i64,
}

macro_rules! places {
    ($($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            "select room_id, server, cast(sum(end_ms - start_ms) as bigint) as together_ms,
                cast(sum(case when seen_to > seen_from then seen_to - seen_from
                else 0 end) as bigint) as seen_ms
            from spans group by room_id, server order by 3 desc, 1, 2"
        )
    };
}

macro_rules! hours {
    (by $by:literal, $($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            "select start_ms / 3600000, (end_ms - 1) / 3600000, count(*),
                cast(sum(start_ms % 3600000) as bigint),
                cast(sum((end_ms - 1) % 3600000 + 1) as bigint)",
            $by,
            " from spans group by 1, 2",
            $by,
            " order by 1, 2"
        )
    };
}

pub(super) const PLACES: [&str; 3] = [places!(), places!("room_id", "$4"), places!("server", "$4")];
const HOURS: [&str; 3] = [
    hours!(by "",),
    hours!(by "", "room_id", "$4"),
    hours!(by "", "server", "$4"),
];
const HOURS_BY_ROOM: &str = hours!(by ", room_id",);

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

pub(in crate::store) const CALLS: [&str; 3] = [
    calls!(""),
    calls!(" and s.room_id = $4"),
    // Server names are separated by spaces.
    calls!(" and ' ' || s.servers || ' ' like $4 escape '!'"),
];
macro_rules! begun {
    ($filter:literal) => {
        concat!(
            "select s.room_id, count(*) as calls, count(case when ",
            unsure!(),
            " then 1 end) as unsure from sessions s where s.started_ms >= $1 and s.started_ms < $2",
            $filter,
            " group by s.room_id"
        )
    };
}
/// The calls that began in a span, by room, and those whose start or end is inferred.
const BEGUN: &str = begun!("");
const BEGUN_IN_ROOM: &str = begun!(" and s.room_id = $4");
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
const PEOPLE_BY_ROOM: &str = concat!(
    "select distinct room_id, user_id from ",
    touching!("memberships", "joined_ms"),
    " as m where until_ms > joined_ms"
);

json_row! {
    /// A person.
    struct PersonRow {
        user_id: String = "user_id",
    }
}

// Jumps from each person to the next: in a long span not every stay is read.
pub(in crate::store) const EVERYBODY: &str = sql!(
    "with recursive next(user_id) as (select min(user_id) from memberships
        union all select (select min(o.user_id) from memberships o where o.user_id > n.user_id)
        from next n where n.user_id is not null)
    select ",
    PersonRow::LIST,
    " from (select user_id from next n where n.user_id is not null and exists (select 1
        from memberships m
            where m.user_id = n.user_id and m.until_ms > $1 and m.until_ms <= $2 + 86400000
            and m.joined_ms < $2
            and m.until_ms > m.joined_ms)
        union select user_id from memberships where until_ms - joined_ms > 86400000
        and until_ms > $2 + 86400000
            and joined_ms + 0 < $2) as people"
);
const EVERYBODY_BY_STAYS: &str = sql!(
    "select ",
    PersonRow::LIST,
    " from (select distinct user_id from ",
    touching!("memberships", "joined_ms"),
    " as m where until_ms > joined_ms) as people"
);
const EVERYBODY_OF_ROOM: &str = sql!(
    "select ",
    PersonRow::LIST,
    " from (select distinct user_id from ",
    touching!("memberships", "joined_ms", "room_id", "$3"),
    " as m where until_ms > joined_ms) as people"
);
/// From this length of a span on, ms, people are found one by one.
const LONG: i64 = 14 * DAY_MS;

/// The sums of a span, as known at `now`, ms; the span ends at `now` or before. Nobody saw the
/// devices of `gone` after they were last heard.
///
/// # Errors
/// When the database fails.
pub async fn sums_of_span(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
    now: i64,
    gone: &Gone,
) -> Result<UsageSums, Error> {
    let days = load_counted_days(store, scope, span).await?;
    let mut sums = count_calls_and_people(store, scope, &days, span, now).await?;
    sums.places = time_by_place(store, scope, &days, span, now).await?;
    let blind = unobserved::find_unobserved_spans(store, &sums, span, now).await?;
    unobserved::subtract_unobserved_time(store, scope, &days, &mut sums, &blind, span, now).await?;
    gone.subtract_unheard_time(scope, &mut sums.places, &blind, span);
    sums.calls_exact -=
        unobserved::count_unsure_calls(store, scope, &days, &blind, span, now).await?;
    sums.together_ms = sums.places.iter().map(|place| place.together_ms).sum();
    sums.together_seen_ms = sums.places.iter().map(|place| place.together_seen_ms).sum();

    Ok(sums)
}

/// The days of a span that are counted already: only the totals of all rooms and servers are.
pub(in crate::store) async fn load_counted_days(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
) -> Result<Arc<CountedDays>, Error> {
    if scope == Scope::All {
        CountedDays::load_days(store, span).await
    } else {
        Ok(Arc::default())
    }
}

/// The sums with calls and people only, as known at `now`, ms. Unobserved time is not considered in
/// `calls_exact` yet.
async fn count_calls_and_people(
    store: &Reader,
    scope: Scope<'_>,
    days: &CountedDays,
    span: Span,
    now: i64,
) -> Result<UsageSums, Error> {
    let Span { from, to } = span;
    let ((calls, whose), (people, _)) = (scope.pick(CALLS), scope.pick(PEOPLE));
    let Some(whose) = whose else {
        // The calls that ran when the span began (an empty span, `from` to `from`), and those that
        // began in it.
        let query = sqlx::query_as(calls).bind(from).bind(from).bind(now);
        let (mut calls, mut unsure): (i64, i64) = query.fetch_one(&store.read).await?;
        let (counted, rest) = days.split(span);
        let mut begun: Vec<(i64, i64)> = counted
            .into_iter()
            .flat_map(|(_, day)| day.begun.values().copied())
            .collect();
        for part in rest {
            begun.extend(live_begun(store, part, now).await?.into_values());
        }

        calls += begun.iter().map(|(calls, _)| calls).sum::<i64>();
        unsure += begun.iter().map(|(_, unsure)| unsure).sum::<i64>();
        let people = if to - from < LONG {
            live_people(store, span).await?
        } else {
            count_people_of_long_span(store, days, span).await?
        };

        return Ok(UsageSums {
            calls,
            calls_exact: calls - unsure,
            people,
            ..UsageSums::default()
        });
    };

    let calls = sqlx::query_as(calls).bind(from).bind(to).bind(now);
    let is_server = matches!(scope, Scope::Server(_));
    let calls = calls.bind(if is_server {
        server_pattern(whose)
    } else {
        whose.to_owned()
    });
    let (all, unsure): (i64, i64) = calls.fetch_one(&store.read).await?;
    let people = sqlx::query_scalar(people)
        .bind(from)
        .bind(to)
        .bind(whose)
        .fetch_one(&store.read)
        .await?;

    Ok(UsageSums {
        calls: all,
        calls_exact: all - unsure,
        people,
        ..UsageSums::default()
    })
}

/// The server of each person who was in a call within a span; a server occurs once for each of its
/// people. `days` are the counted days of the span or of a longer one.
pub(in crate::store) async fn server_of_each_person(
    store: &Reader,
    days: &CountedDays,
    span: Span,
) -> Result<Vec<String>, Error> {
    let mut found = live_people_beside_days(store, days, span).await?;
    if store.shows_names() {
        found.extend(days.people_of_span(span));
    }

    Ok(found
        .iter()
        .map(|user_id| server_of(user_id).to_owned())
        .collect())
}

/// The number of different people in calls within a long span. `days` are the counted days of the
/// span or of a longer one.
async fn count_people_of_long_span(
    store: &Reader,
    days: &CountedDays,
    span: Span,
) -> Result<i64, Error> {
    let others = live_people_beside_days(store, days, span).await?;
    let people = if store.shows_names() {
        days.count_people_with(span, &others)
    } else {
        others.len()
    };

    Ok(crate::store::to_i64(people))
}

/// The people in calls of those parts of a span that are not counted days, and perhaps others of
/// the span; if only pseudonyms are shown, all people of the span, because days do not know them.
async fn live_people_beside_days(
    store: &Reader,
    days: &CountedDays,
    span: Span,
) -> Result<BTreeSet<String>, Error> {
    if !store.shows_names() {
        let people = read_people(store, EVERYBODY_BY_STAYS, span, None).await?;
        return Ok(people.into_iter().collect());
    }

    let rest = days.split(span).1;
    let rest_ms: i64 = rest.iter().map(|part| part.span.to - part.span.from).sum();
    // From each to the next person is a short jump only where stays of all rooms are seen.
    if rest_ms >= LONG && store.visible_rooms().is_none() {
        let people = read_people(store, EVERYBODY, span, None).await?;
        return Ok(people.into_iter().collect());
    }

    let mut found = BTreeSet::new();
    for Uncounted { span, room_id } in rest {
        let sql = room_id.map_or(EVERYBODY_BY_STAYS, |_| EVERYBODY_OF_ROOM);
        found.extend(read_people(store, sql, span, room_id).await?);
    }

    Ok(found)
}

/// The people that a statement finds within a span, of all rooms or of one.
async fn read_people(
    store: &Reader,
    sql: &'static str,
    span: Span,
    room_id: Option<&str>,
) -> Result<Vec<String>, Error> {
    let query = store.dialect().query(sql).bind(span.from).bind(span.to);
    let query = match room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows = query.fetch_all(&store.read).await?;

    read_rows(&rows, |row: PersonRow| row.user_id)
}

/// For each room: how many calls began in a span, and how many of them have an inferred start or
/// end as known at `now`, ms; counted from the stored calls alone, not from counted days.
pub(super) async fn live_begun(
    store: &Reader,
    Uncounted { span, room_id }: Uncounted<'_>,
    now: i64,
) -> Result<BTreeMap<String, (i64, i64)>, Error> {
    let query = sqlx::query_as(room_id.map_or(BEGUN, |_| BEGUN_IN_ROOM))
        .bind(span.from)
        .bind(span.to)
        .bind(now);
    let query = match room_id {
        Some(room_id) => query.bind(room_id),
        None => query,
    };
    let rows: Vec<(String, i64, i64)> = query.fetch_all(&store.read).await?;

    Ok(rows
        .into_iter()
        .map(|(room_id, calls, unsure)| (room_id, (calls, unsure)))
        .collect())
}

/// The number of different people in calls within each of the steps that a span is cut into, which
/// must be in order. For counted days it is known; for longer steps all people are looked up.
///
/// # Errors
/// When the database fails.
pub async fn count_people_per_step(store: &Reader, steps: &[Span]) -> Result<Vec<i64>, Error> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Ok(Vec::new());
    };

    let days = CountedDays::load_days(
        store,
        Span {
            from: first.from,
            to: last.to,
        },
    )
    .await?;
    let mut found = Vec::with_capacity(steps.len());
    for step in steps {
        found.push(match (days.people(*step), step.to - step.from <= DAY_MS) {
            (Some(people), _) => people,
            (None, true) => live_people(store, *step).await?,
            (None, false) => count_people_of_long_span(store, &days, *step).await?,
        });
    }

    Ok(found)
}

/// The number of different people in calls within a span, counted from the stays: for a short one,
/// since all its stays are read. For a long one there is [`server_of_each_person`].
async fn live_people(store: &Reader, span: Span) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(PEOPLE[0])
        .bind(span.from)
        .bind(span.to)
        .fetch_one(&store.read)
        .await?)
}

/// Everybody who was in a call within a span, with the room of it, counted from the stays.
pub(super) async fn live_people_by_room(
    store: &Reader,
    span: Span,
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(PEOPLE_BY_ROOM)
        .bind(span.from)
        .bind(span.to)
        .fetch_all(&store.read)
        .await?)
}

/// A pattern for `like` that finds the name of a server among others.
pub(in crate::store) fn server_pattern(server: &str) -> String {
    format!("% {} %", escape_for_like(server))
}

/// The device time of a span by room and server, most first, as known at `now`, ms. Unobserved time
/// is not subtracted.
async fn time_by_place(
    store: &Reader,
    scope: Scope<'_>,
    days: &CountedDays,
    span: Span,
    now: i64,
) -> Result<Vec<PlaceUsage>, Error> {
    let (whole, rest) = days.split(span);
    let mut found: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for (room_id, servers) in whole.into_iter().flat_map(|(_, day)| &day.places) {
        for (server, (together, seen)) in servers {
            // Most keys are there already, and a look-up is cheaper than a copy.
            add_to_place(
                &mut found,
                room_id.clone(),
                server.clone(),
                (*together, *seen),
            );
        }
    }

    for part in rest {
        for place in live_places(store, scope.within(part.room_id), part.span, now).await? {
            add_to_place(
                &mut found,
                place.room_id,
                place.server,
                (place.together_ms, place.together_seen_ms),
            );
        }
    }

    let place = |((room_id, server), (together_ms, together_seen_ms))| PlaceUsage {
        room_id,
        server,
        together_ms,
        together_seen_ms,
    };

    let mut places: Vec<PlaceUsage> = found.into_iter().map(place).collect();
    places.sort_by_key(|place| -place.together_ms);

    Ok(places)
}

/// Adds device time and the seen part of it, ms, to the sums of a room and server.
fn add_to_place(
    found: &mut BTreeMap<(String, String), (i64, i64)>,
    room_id: String,
    server: String,
    more: (i64, i64),
) {
    let sum = found.entry((room_id, server)).or_default();
    *sum = (sum.0 + more.0, sum.1 + more.1);
}

/// The device time of a span by room and server, most first, as known at `now`, ms, counted from
/// the stays alone, not from counted days. Unobserved time is not subtracted.
pub(super) async fn live_places(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
    now: i64,
) -> Result<Vec<PlaceUsage>, Error> {
    let (sql, whose) = scope.pick(PLACES);
    let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(now);
    let query = if let Some(whose) = whose {
        query.bind(whose)
    } else {
        query
    };

    let place = |row: &sqlx::any::AnyRow| {
        Ok(PlaceUsage {
            room_id: row.try_get("room_id")?,
            server: row.try_get("server")?,
            together_ms: row.try_get("together_ms")?,
            together_seen_ms: row.try_get("seen_ms")?,
        })
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(place)
        .collect()
}

/// The stays of a span by the hours in which they begin and end, as known at `now`, ms.
/// [`time_by_hour`] makes device time of them.
///
/// # Errors
/// When the database fails.
pub async fn stay_hours(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
    now: i64,
) -> Result<Vec<StayHours>, Error> {
    let days = load_counted_days(store, scope, span).await?;
    let (whole, rest) = days.split(span);
    let counted = whole.iter().flat_map(|(_, day)| &day.hours);
    // For a counted day only the sum of each hour is known: it is given as one stay from the
    // beginning of the hour.
    let hour = |(hour, ms): (&i64, &i64)| StayHours {
        from: *hour,
        to: *hour,
        stays: 1,
        after_from_ms: 0,
        after_to_ms: *ms,
    };

    let mut found: Vec<StayHours> = counted.map(hour).collect();
    for part in rest {
        let scope = scope.within(part.room_id);
        found.extend(live_stay_hours(store, scope, part.span, now).await?);
    }

    Ok(found)
}

/// The device time of a span by room and hour since the Unix epoch, ms, as known at `now`, ms,
/// counted from the stays.
pub(super) async fn live_hours_by_room(
    store: &Reader,
    span: Span,
    now: i64,
) -> Result<BTreeMap<String, BTreeMap<i64, i64>>, Error> {
    let rows: Vec<(i64, i64, i64, i64, i64, String)> = sqlx::query_as(HOURS_BY_ROOM)
        .bind(span.from)
        .bind(span.to)
        .bind(now)
        .fetch_all(&store.read)
        .await?;
    let mut stays: BTreeMap<String, Vec<StayHours>> = BTreeMap::new();
    for (from, to, number, after_from_ms, after_to_ms, room_id) in rows {
        stays.entry(room_id).or_default().push(StayHours {
            from,
            to,
            stays: number,
            after_from_ms,
            after_to_ms,
        });
    }

    Ok(stays
        .into_iter()
        .map(|(room_id, hours)| (room_id, time_by_hour(&hours)))
        .collect())
}

/// The same as [`stay_hours`], but always counted from the stays alone, not from stored sums. The
/// stays are as known at `now`, ms.
pub(super) async fn live_stay_hours(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
    now: i64,
) -> Result<Vec<StayHours>, Error> {
    let (sql, whose) = scope.pick(HOURS);
    let query = sqlx::query_as(sql).bind(span.from).bind(span.to).bind(now);
    let query = if let Some(whose) = whose {
        query.bind(whose)
    } else {
        query
    };

    let rows: Vec<(i64, i64, i64, i64, i64)> = query.fetch_all(&store.read).await?;
    let hours = |(from, to, stays, after_from_ms, after_to_ms)| StayHours {
        from,
        to,
        stays,
        after_from_ms,
        after_to_ms,
    };

    Ok(rows.into_iter().map(hours).collect())
}

/// The device time of each hour, ms, by hour since the Unix epoch, from the hours in which stays
/// begin and end. The groups need no order, and several may have the same hours.
#[must_use]
pub fn time_by_hour(hours: &[StayHours]) -> BTreeMap<i64, i64> {
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

macro_rules! together {
    ($($filter:literal),*) => {
        concat!(
            spans!($($filter),*),
            "select cast(coalesce(sum(end_ms - start_ms), 0) as bigint) from spans"
        )
    };
}
const TOGETHER: [&str; 3] = [
    together!(),
    together!("room_id", "$4"),
    together!("server", "$4"),
];

/// The device time of everybody in a span, ms, as known at `now`, ms. Unobserved time is not
/// subtracted.
///
/// # Errors
/// When the database fails.
pub async fn device_time_of_span(store: &Reader, span: Span, now: i64) -> Result<i64, Error> {
    let days = load_counted_days(store, Scope::All, span).await?;
    let (whole, rest) = days.split(span);
    let mut sum = whole
        .iter()
        .flat_map(|(_, day)| &day.hours)
        .map(|(_, ms)| ms)
        .sum();
    for Uncounted { span, room_id } in rest {
        let (sql, owner) = Scope::All.within(room_id).pick(TOGETHER);
        let query = sqlx::query_scalar(sql)
            .bind(span.from)
            .bind(span.to)
            .bind(now);
        let query = match owner {
            Some(owner) => query.bind(owner),
            None => query,
        };
        sum += query.fetch_one(&store.read).await.map(|ms: i64| ms)?;
    }

    Ok(sum)
}
