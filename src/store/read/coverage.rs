//! Coverage: which time of a room was watched, read from history, unknown or hidden, as intervals.

use crate::rtc::coverage::{
    CoverageRecords, GRACE_MS, HistoryRead, Interval, Span, coverage_of_room,
};
use crate::rtc::event::RoomEvent;
use crate::rtc::visibility::hidden_spans;
use crate::rtc::words::{Mode, Watch};
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::db::word_column::{maybe_word_from_row, word_from_row};
use crate::store::ingest::rooms;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Reader};
use sqlx::{AnyConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

const VANTAGES: &str = "select id, user_id, mode, started_ms, last_sync_ms, error, retired_ms
    from vantages order by id";
const WIDE: &str =
    "select from_ms, to_ms from coverage where room_id = '' and kind = 'live' order by from_ms";
static OF_ROOMS: MultiRow = MultiRow::new(
    "select room_id, kind, from_ms, to_ms from coverage where room_id in (",
    "?",
    ") order by from_ms",
);

json_row! {
    /// A room `r` whose coverage is asked for.
    struct CoveredRoomRow {
        room_id: String = "r.room_id",
        watch: String = "r.watch",
        error: Option<String> = "r.error",
        first_seen_ms: i64 = "r.first_seen_ms",
        polled_ms: Option<i64> = "r.polled_ms",
        created_ms: Option<i64> = "r.created_ms",
    }
}

// `+ 0` keeps SQLite from looking for the creation in the index of times: a room without one would
// be read completely.
pub(in crate::store) static ROOMS: MultiRow = MultiRow::new(
    sql!(
        "select ",
        CoveredRoomRow::LIST,
        " from (select r.*, (select min(e.origin_server_ts + 0) from events e
            where e.room_id = r.room_id and e.chain is null
            and e.kind = 'm.room.create' and e.state_key = '') as created_ms from rooms r
            where r.room_id in ("
    ),
    "?",
    ")) as r",
);
static READS: MultiRow = MultiRow::new(
    "select room_id, opened_ms, kind, since_ms, reached_ms, horizon_ms, ended_by from history_jobs
        where (kind = 'backfill' or kind = 'gap' and continues_ms is null) and room_id in (",
    "?",
    ") order by opened_ms",
);

/// Which time of each of these rooms is known, and how, until `now`, ms; by room id.
///
/// # Errors
/// When the database fails.
pub async fn coverage_of_rooms(
    store: &Reader,
    room_ids: &BTreeSet<String>,
    now: i64,
) -> Result<BTreeMap<String, Vec<Interval>>, Error> {
    let mut found = BTreeMap::new();
    if room_ids.is_empty() {
        return Ok(found);
    }

    let wide = read_common_coverage(store, now).await?;
    let ids: Vec<&String> = room_ids.iter().collect();
    let mut connection = store.read.acquire().await?;
    let told = read_visibility_events(&mut connection, &ids).await?;
    for (room_id, notes) in read_room_notes(&mut connection, &ids, &wide).await? {
        let told = told.get(&room_id).map(Vec::as_slice).unwrap_or_default();
        let notes = CoverageRecords {
            hidden: hidden_spans_of_events(told, &wide.users),
            ..notes
        };

        found.insert(room_id, coverage_of_room(&notes, now));
    }

    Ok(found)
}

/// The spans of time that a room's settings hide from our accounts (`users`), by the events of the
/// room's visibility and of our memberships. Nothing is hidden if no account is known.
fn hidden_spans_of_events(told: &[RoomEvent], users: &[String]) -> Vec<Span> {
    if users.is_empty() {
        Vec::new()
    } else {
        hidden_spans(told, users)
    }
}

/// The spans in which the history of this room was hidden from us, by its visibility and our own
/// membership, as known at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn hidden_from_us(store: &Reader, room_id: &str, now: i64) -> Result<Vec<Span>, Error> {
    let users = read_common_coverage(store, now).await?.users;
    let room_id = room_id.to_owned();
    let mut connection = store.read.acquire().await?;
    let told = read_visibility_events(&mut connection, &[&room_id]).await?;
    let told = told.get(&room_id).map(Vec::as_slice).unwrap_or_default();

    Ok(hidden_spans_of_events(told, &users))
}

/// What applies to every followed room.
#[derive(Debug)]
struct CommonCoverage {
    /// The spans in which the sync stream was heard.
    heard: Vec<Span>,
    /// Some vantage follows by sync; `silent`: none of those is heard now.
    follows: bool,
    silent: bool,
    /// A vantage has an error.
    failing: bool,
    /// The user ids of our accounts, also of former ones.
    users: Vec<String>,
}

/// Reads what applies to every followed room, as it is at `now`, ms. Retired vantages count only
/// for the time in which they listened.
async fn read_common_coverage(store: &Reader, now: i64) -> Result<CommonCoverage, Error> {
    let mut wide = CommonCoverage {
        heard: Vec::new(),
        follows: false,
        silent: true,
        failing: false,
        users: Vec::new(),
    };

    for row in sqlx::query(VANTAGES).fetch_all(&store.read).await? {
        // If the homeserver does not name the account, nothing can be said to be hidden from it.
        wide.users
            .extend(Some(row.try_get::<String, _>("user_id")?).filter(|user| !user.is_empty()));
        if row.try_get::<Option<i64>, _>("retired_ms")?.is_some() {
            continue;
        }

        wide.failing |= row.try_get::<Option<String>, _>("error")?.is_some();
        if word_from_row::<Mode>(&row, "mode")? == Mode::Follow {
            wide.follows = true;
            let (last, started): (Option<i64>, i64) =
                (row.try_get("last_sync_ms")?, row.try_get("started_ms")?);
            wide.silent &= last.is_none_or(|last| last < started || now - last > GRACE_MS);
        }
    }

    let rows: Vec<(i64, i64)> = sqlx::query_as(WIDE).fetch_all(&store.read).await?;
    wide.heard = rows
        .into_iter()
        .map(|(from, to)| Span { from, to })
        .collect();

    Ok(wide)
}

/// What is stored of the coverage of these rooms, by room id: since when we know each, the spans of
/// polls and of our absence, and the reads of its history. Hidden spans are not in it yet.
async fn read_room_notes(
    connection: &mut AnyConnection,
    ids: &[&String],
    wide: &CommonCoverage,
) -> Result<BTreeMap<String, CoverageRecords>, Error> {
    let notes_of_row = |row: CoveredRoomRow| {
        let watch = Watch::from_word(&row.watch);
        let followed = wide.follows && watch != Watch::Peeked;
        let failing = rooms::is_unread(row.error.as_deref());
        let silent = if followed {
            wide.silent
        } else {
            wide.failing || failing
        };

        let notes = CoverageRecords {
            heard: if watch == Watch::Peeked {
                Vec::new()
            } else {
                wide.heard.clone()
            },
            first_seen_ms: row.first_seen_ms,
            polled_ms: row.polled_ms,
            created_ms: row.created_ms,
            silent,
            ..CoverageRecords::default()
        };

        (row.room_id, notes)
    };

    let rows = ROOMS.read_by_ids(connection, ids).await?;
    let mut found: BTreeMap<_, _> = read_rows(&rows, notes_of_row)?.into_iter().collect();
    for row in OF_ROOMS.read_by_ids(connection, ids).await? {
        let span = Span {
            from: row.try_get("from_ms")?,
            to: row.try_get("to_ms")?,
        };

        let Some(notes) = found.get_mut(row.try_get::<&str, _>("room_id")?) else {
            continue;
        };

        if row.try_get::<&str, _>("kind")? == "away" {
            notes.away.push(span);
        } else {
            notes.polled.push(span);
        }
    }

    for row in READS.read_by_ids(connection, ids).await? {
        let read = HistoryRead {
            opened_ms: row.try_get("opened_ms")?,
            history: row.try_get::<&str, _>("kind")? == "backfill",
            since_ms: row.try_get("since_ms")?,
            reached_ms: row.try_get("reached_ms")?,
            horizon_ms: row.try_get("horizon_ms")?,
            ended_by: maybe_word_from_row(&row, "ended_by")?,
        };

        if let Some(notes) = found.get_mut(row.try_get::<&str, _>("room_id")?) {
            notes.reads.push(read);
        }
    }

    Ok(found)
}

static VISIBILITY: MultiRow = MultiRow::new(
    "with asked(room_id) as (values ",
    "(cast(? as text))",
    ") select e.* from asked a cross join events e where e.room_id = a.room_id and e.chain is null
        and e.kind = 'm.room.history_visibility' and e.state_key = ''
    union all select e.* from asked a cross join (select distinct user_id from vantages) v
        cross join events e where e.room_id = a.room_id
        and e.chain is null and e.kind = 'm.room.member' and e.state_key = v.user_id",
);

/// The events by which time of a room is hidden from us, by room id: those of its visibility and of
/// our accounts' membership.
async fn read_visibility_events(
    connection: &mut AnyConnection,
    ids: &[&String],
) -> Result<BTreeMap<String, Vec<RoomEvent>>, Error> {
    let mut found: BTreeMap<String, Vec<RoomEvent>> = BTreeMap::new();
    for row in VISIBILITY.read_by_ids(connection, ids).await? {
        found
            .entry(row.try_get("room_id")?)
            .or_default()
            .push(event_from_row(&row)?);
    }

    Ok(found)
}

// Matrix began in 2014: an older stamp is a wrong clock or a joke.
const KNOWN_SINCE: &str = "select min(ms) from (select first_seen_ms as ms from rooms union all
    select reached_ms as ms from history_jobs where kind = 'backfill'
    and reached_ms > 1388534400000) as known";

/// Is anything known of any room from this time on, ms: watched, or read from history?
///
/// # Errors
/// When the database fails.
pub async fn is_known_from(store: &Reader, from: i64) -> Result<bool, Error> {
    let since: Option<i64> = sqlx::query_scalar(KNOWN_SINCE)
        .fetch_one(&store.read)
        .await?;

    Ok(since.is_some_and(|since| since <= from))
}

// Back-fills that have not come as far back as this time. Those of all rooms count, because a call
// of any room may still be found. A history that was read before brings nothing of the kind.
const BACKFILLS_STILL_TO_REACH: &str =
    "select count(*) from history_jobs j where j.kind = 'backfill' and j.done_ms is null
    and (j.reached_ms is null or j.reached_ms > $1)
    and not exists (select 1 from history_jobs d where d.room_id = j.room_id
        and d.kind = 'backfill' and d.done_ms is not null)";

/// Is this past span known for all rooms at `now`, ms? It was watched, or read from history since,
/// and no back-fill has still to reach its beginning.
///
/// # Errors
/// When the database fails.
pub async fn is_span_known(store: &Reader, span: Span, now: i64) -> Result<bool, Error> {
    if !is_known_from(store, span.from).await? {
        return Ok(false);
    }

    let still_to_reach: i64 = sqlx::query_scalar(BACKFILLS_STILL_TO_REACH)
        .bind(span.from)
        .fetch_one(&store.read)
        .await?;
    if still_to_reach > 0 {
        return Ok(false);
    }

    let gaps = list_unheard_spans(store, span.from, now).await?;

    // A gap matters only if it begins before the span ends, and if history has not filled it.
    Ok(gaps
        .iter()
        .all(|gap| gap.rooms_unread == 0 || gap.span.from >= span.to))
}

const UNREAD: &str =
    "select count(*) from rooms r where r.watch = 'joined' and r.first_seen_ms < $1
    and (coalesce(r.polled_ms, 0) < $1 or exists (select 1 from history_jobs j where j.kind = 'gap'
        and j.room_id = r.room_id and j.opened_ms = $1 and (j.done_ms is null
            or j.ended_by in ('not_visible', 'no_more', 'circle', 'endless', 'refused'))))";

/// A span in which no vantage heard its homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnheardSpan {
    pub span: Span,
    /// Followed rooms whose history was not read afterwards, so that nobody knows what happened.
    pub rooms_unread: i64,
}

/// The spans in which no vantage heard its homeserver and that end after `from`, ms; each complete,
/// so the first can begin before `from`. The last one reaches until `now` while nobody is heard.
/// The time before the homeserver was first heard is in none.
///
/// # Errors
/// When the database fails.
pub async fn list_unheard_spans(
    store: &Reader,
    from: i64,
    now: i64,
) -> Result<Vec<UnheardSpan>, Error> {
    let wide = read_common_coverage(store, now).await?;
    let mut found = Vec::new();
    let Some(first) = wide.heard.first() else {
        return Ok(found);
    };

    // Until when some vantage was heard without a break; the spans of several may overlap.
    let mut heard_to = first.to;
    for span in wide.heard.iter().skip(1) {
        if span.from > heard_to && span.from > from {
            let rooms_unread = sqlx::query_scalar(UNREAD)
                .bind(span.from)
                .fetch_one(&store.read)
                .await?;
            found.push(UnheardSpan {
                span: Span {
                    from: heard_to,
                    to: span.from,
                },
                rooms_unread,
            });
        }

        heard_to = heard_to.max(span.to);
    }

    if wide.follows && wide.silent && now > heard_to {
        let rooms_unread = sqlx::query_scalar(UNREAD)
            .bind(now)
            .fetch_one(&store.read)
            .await?;
        found.push(UnheardSpan {
            span: Span {
                from: heard_to,
                to: now,
            },
            rooms_unread,
        });
    }

    Ok(found)
}
