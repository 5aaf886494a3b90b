//! Unobserved time in sums over a span: how much seen time it removes, and which calls are unsure
//! because of it.

use super::day_totals::{CountedDays, Uncounted};
use super::scope::{PlaceUsage, Scope, UsageSums};
use super::spans::{touching, unsure};
use super::usage::{self, live_places};
use crate::rtc::coverage::{Span, blind_ms_within};
use crate::rtc::time::day_of_time;
use crate::store::ingest::rooms::list_watched_rooms;
use crate::store::read::coverage;
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Unobserved spans, each with the rooms that were not observed.
pub(in crate::store) type UnobservedSpans = BTreeMap<Span, BTreeSet<String>>;

/// Maximum number of rooms that are queried one by one. If there are more, they are queried
/// together.
const FEW: usize = 16;

/// The unobserved spans that touch a span, of the rooms in which somebody was in a call by `sums`,
/// each with the rooms to which it applies; as known at `now`, ms. They are not cut to the span.
pub(in crate::store) async fn find_unobserved_spans(
    store: &Reader,
    sums: &UsageSums,
    span: Span,
    now: i64,
) -> Result<UnobservedSpans, Error> {
    let rooms: BTreeSet<String> = sums
        .places
        .iter()
        .map(|place| place.room_id.clone())
        .collect();
    let mut found = UnobservedSpans::new();
    for (room_id, gaps) in unobserved_spans_by_room(store, &rooms, span, now).await? {
        for gap in gaps {
            found.entry(gap).or_default().insert(room_id.clone());
        }
    }

    Ok(found)
}

/// The unobserved spans of each of these rooms that touch a span, in order, by room id; as known at
/// `now`, ms. They are not cut to it.
pub(super) async fn unobserved_spans_by_room(
    store: &Reader,
    rooms: &BTreeSet<String>,
    span: Span,
    now: i64,
) -> Result<BTreeMap<String, Vec<Span>>, Error> {
    let mut found: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for (room_id, intervals) in coverage::coverage_of_rooms(store, rooms, now).await? {
        // A gap that ends where the span begins is not part of it.
        let gaps = intervals
            .iter()
            .filter(|interval| interval.cover.is_blind())
            .map(|interval| interval.span)
            .filter(|gap| gap.to > span.from && gap.from < span.to);
        let mut gaps: Vec<Span> = gaps.collect();
        gaps.sort_unstable_by_key(|gap| gap.from);
        found.insert(room_id, gaps);
    }

    Ok(found)
}

/// Maximum number of rooms of which the watched time is read.
const WATCHED_ROOMS_MAX: usize = 300;

/// How much of a span was watched, or read from history since, in the mean of the rooms that we
/// are in, ms; as known at `now`, ms. Of very many rooms only some are looked at. All of it if
/// there is no room.
///
/// # Errors
/// When the database fails.
pub async fn mean_watched_ms(store: &Reader, span: Span, now: i64) -> Result<i64, Error> {
    let rooms = list_watched_rooms(store).await?.into_iter();
    let read = rooms.filter(|(_, watch)| watch.is_read());
    let rooms: BTreeSet<String> = read
        .map(|(room_id, _)| room_id)
        .take(WATCHED_ROOMS_MAX)
        .collect();
    let length_ms = (span.to - span.from).max(0);
    let Ok(count @ 1..) = i64::try_from(rooms.len()) else {
        return Ok(length_ms);
    };

    let blind = unobserved_spans_by_room(store, &rooms, span, now).await?;
    let blind_ms: i64 = blind.values().map(|gaps| blind_ms_within(gaps, span)).sum();

    Ok((length_ms - blind_ms / count).max(0))
}

/// The part of a gap that lies within a span.
fn cut_to_span(gap: &Span, span: Span) -> Span {
    Span {
        from: gap.from.max(span.from),
        to: gap.to.min(span.to),
    }
}

/// Subtracts from the seen time of each place in the sums what lies in unobserved spans of its
/// room. `days` are the counted days of the span; `blind` are spans that touch it
/// ([`find_unobserved_spans`]). Times are as known at `now`, ms.
pub(super) async fn subtract_unobserved_time(
    store: &Reader,
    scope: Scope<'_>,
    days: &CountedDays,
    sums: &mut UsageSums,
    blind: &UnobservedSpans,
    span: Span,
    now: i64,
) -> Result<(), Error> {
    let mut seen: HashMap<(String, String), &mut i64> = HashMap::new();
    for PlaceUsage {
        room_id,
        server,
        together_seen_ms,
        ..
    } in &mut sums.places
    {
        seen.insert((room_id.clone(), server.clone()), together_seen_ms);
    }

    // A room that was unobserved during the whole span has no seen time; no query is needed.
    let is_all = |gap: &Span| cut_to_span(gap, span) == span;
    for (_, rooms) in blind.iter().filter(|(gap, _)| is_all(gap)) {
        let of_rooms = seen
            .iter_mut()
            .filter(|((room_id, _), _)| rooms.contains(room_id));
        of_rooms.for_each(|(_, seen_ms)| **seen_ms = 0);
    }

    let mut subtract = |room_id: &str, server: &str, ms: i64| {
        if let Some(seen) = seen.get_mut(&(room_id.to_owned(), server.to_owned())) {
            **seen -= ms;
        }
    };

    for (gap, rooms) in blind.iter().filter(|(gap, _)| !is_all(gap)) {
        let (whole, rest) = days.split(cut_to_span(gap, span));
        for (_, day) in whole {
            for (room_id, servers) in rooms
                .iter()
                .filter_map(|room_id| day.places.get_key_value(room_id))
            {
                for (server, (_, ms)) in servers {
                    subtract(room_id, server, *ms);
                }
            }
        }

        for part in rest {
            for place in seen_time_of_rooms(store, scope, rooms, part, now).await? {
                subtract(&place.room_id, &place.server, place.together_seen_ms);
            }
        }
    }

    Ok(())
}

/// The seen time of these rooms within a span, by room and server, as known at `now`, ms. Few rooms
/// are queried one by one.
async fn seen_time_of_rooms(
    store: &Reader,
    scope: Scope<'_>,
    rooms: &BTreeSet<String>,
    Uncounted { span, room_id }: Uncounted<'_>,
    now: i64,
) -> Result<Vec<PlaceUsage>, Error> {
    let mut places = Vec::new();
    if let Some(room_id) = room_id {
        if rooms.contains(room_id) {
            places = live_places(store, Scope::Room(room_id), span, now).await?;
        }

        return Ok(places);
    }

    if scope == Scope::All && rooms.len() <= FEW {
        for room_id in rooms {
            places.extend(live_places(store, Scope::Room(room_id), span, now).await?);
        }

        return Ok(places);
    }

    places = live_places(store, scope, span, now).await?;
    places.retain(|place| rooms.contains(&place.room_id));

    Ok(places)
}

macro_rules! sure {
    ($from:expr) => {
        concat!(
            "select s.id, s.room_id, s.servers, s.started_ms from ",
            $from,
            " and s.until_ms + 0 > $4 and not ",
            unsure!()
        )
    };
}
/// The calls that ran in a span and that only unobserved time can make unsure, ...
const RAN: &str = sure!(concat!(
    touching!("sessions", "started_ms"),
    " as s where 1 = 1"
));
/// ... and those that began in a span, of all rooms, of one, or with people of a server.
const BEGAN: [&str; 3] = [
    sure!("sessions s where s.started_ms >= $1 and s.started_ms < $2"),
    sure!("sessions s where s.room_id = $5 and s.started_ms >= $1 and s.started_ms < $2"),
    sure!(
        "sessions s where s.started_ms >= $1 and s.started_ms < $2
            and ' ' || s.servers || ' ' like $5 escape '!'"
    ),
];

/// How many calls of a span are not exact only because of unobserved time (`blind`). Those that are
/// not exact for another reason are counted elsewhere. Each call counts once, in however many
/// spans. `days` are the counted days of the span; times are as known at `now`, ms.
pub(in crate::store) async fn count_unsure_calls(
    store: &Reader,
    scope: Scope<'_>,
    days: &CountedDays,
    blind: &UnobservedSpans,
    span: Span,
    now: i64,
) -> Result<i64, Error> {
    // Calls that began in an unobserved day.
    let mut begun: BTreeMap<(i64, &str), i64> = BTreeMap::new();
    for (gap, rooms) in blind {
        for (day, facts) in days.split(cut_to_span(gap, span)).0 {
            for room_id in rooms.iter().filter(|room_id| !days.is_in_part(room_id)) {
                let (calls, unsure) = facts.begun.get(room_id).copied().unwrap_or_default();
                begun.insert((day, room_id), calls - unsure);
            }
        }
    }

    let mut found: BTreeSet<String> = BTreeSet::new();
    for (gap, rooms) in blind {
        let mut rows = Vec::new();
        let part = cut_to_span(gap, span);
        // A call that ended exactly when the gap began is touched by it.
        let after = part.from - i64::from(gap.from > span.from);
        let query = sqlx::query(RAN)
            .bind(after)
            .bind(part.from)
            .bind(now)
            .bind(span.from);
        rows.extend(query.fetch_all(&store.read).await?);
        for rest in days.split(part).1 {
            rows.extend(calls_begun_within(store, scope, rooms, rest, span, now).await?);
        }

        for row in rows {
            let (room_id, servers): (&str, &str) =
                (row.try_get("room_id")?, row.try_get("servers")?);
            let is_ours = rooms.contains(room_id) && is_in(scope, room_id, servers);
            if is_ours && !begun.contains_key(&(day_of_time(row.try_get("started_ms")?), room_id)) {
                found.insert(row.try_get("id")?);
            }
        }
    }

    Ok(begun.values().sum::<i64>() + crate::store::to_i64(found.len()))
}

/// The rows of the calls that began within `part`, a part of `span`, and that nothing but
/// unobserved time can make unsure. For few rooms only their calls are read; for many, or for a
/// server, calls of other rooms can be among them.
async fn calls_begun_within(
    store: &Reader,
    scope: Scope<'_>,
    rooms: &BTreeSet<String>,
    Uncounted {
        span: part,
        room_id,
    }: Uncounted<'_>,
    span: Span,
    now: i64,
) -> Result<Vec<AnyRow>, Error> {
    if room_id.is_some_and(|room_id| !rooms.contains(room_id)) {
        return Ok(Vec::new());
    }

    let ask = |sql| {
        sqlx::query(sql)
            .bind(part.from)
            .bind(part.to)
            .bind(now)
            .bind(span.from)
    };

    if let Scope::Server(server) = scope {
        return Ok(ask(BEGAN[2])
            .bind(usage::server_pattern(server))
            .fetch_all(&store.read)
            .await?);
    }

    if room_id.is_none() && rooms.len() > FEW {
        return Ok(ask(BEGAN[0]).fetch_all(&store.read).await?);
    }

    let mut rows = Vec::new();
    let only = room_id.map(str::to_owned);
    for room_id in only
        .as_ref()
        .map_or_else(|| rooms.iter().collect(), |id| vec![id])
    {
        rows.extend(
            ask(BEGAN[1])
                .bind(room_id.as_str())
                .fetch_all(&store.read)
                .await?,
        );
    }

    Ok(rows)
}

/// Is a call of this room, with people of these servers, in the scope?
fn is_in(scope: Scope<'_>, room_id: &str, servers: &str) -> bool {
    match scope {
        Scope::All => true,
        Scope::Room(room) => room == room_id,
        Scope::Server(server) => servers.split_whitespace().any(|name| name == server),
    }
}
