//! Coverage: the spans in which a room was watched. They are stored in the transaction of what was
//! heard, and read as intervals.

use super::events::event;
use super::packed::{Fields, unpack};
use super::row::{Viewer, Watch};
use super::rows::Rows;
use super::{Error, Store, Tx, rooms};
use crate::rtc::coverage::{GRACE_MS, Interval, Notes, Span, Walked, intervals};
use crate::rtc::event::RoomEvent;
use crate::rtc::visibility::hidden;
use sqlx::AnyConnection;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

/// A silence of the sync stream up to this length is a pause of the network, ms: the stream
/// continues where it was.
const BREAK_MS: i64 = 60_000;
/// Rows of the room itself have no vantage: they say that none of our accounts is in it.
const NO_VANTAGE: &str = "";

const HEARD_LAST: &str = "select position, last_sync_ms, started_ms from vantages where id = $1";
const EXTEND: &str = "update coverage set to_ms = $4 where vantage_id = $1 and room_id = $2 and kind = $3
    and from_ms = (select max(from_ms) from coverage where vantage_id = $1 and room_id = $2 and kind = $3)";
const BEGIN: &str =
    "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ($1, $2, $3, $4, $5)
    on conflict (vantage_id, room_id, kind, from_ms) do nothing";

/// The sync stream was heard. The last span is extended; after a stop, a long silence or a lost
/// position a new one begins, and the result is true.
pub(super) async fn record_stream_heard(
    tx: &mut Tx,
    vantage_id: &str,
    now: i64,
) -> Result<bool, Error> {
    let Some(row) = sqlx::query(HEARD_LAST)
        .bind(vantage_id)
        .fetch_optional(&mut **tx)
        .await?
    else {
        return Ok(true);
    };

    let position: Option<String> = row.try_get("position")?;
    let last: Option<i64> = row.try_get("last_sync_ms")?;
    let set_back = is_set_back(tx, vantage_id, &row, now).await?;
    let started: i64 = row.try_get("started_ms")?;
    let goes_on = !set_back
        && position.is_some()
        && last.is_some_and(|last| last >= started && now - last < BREAK_MS);
    record_span(tx, vantage_id, "", "live", goes_on, now).await?;

    Ok(!goes_on)
}

// Our clock was set back to before our start: the coverage noted until then lies in the future.
const FUTURE: [&str; 3] = [
    "delete from coverage where vantage_id = $1 and from_ms > $2",
    "update coverage set to_ms = $2 where vantage_id = $1 and to_ms > $2",
    "update vantages set started_ms = $2 where id = $1",
];

/// Was our clock set back? Then the account of this row begins again.
async fn is_set_back(tx: &mut Tx, vantage_id: &str, row: &AnyRow, now: i64) -> Result<bool, Error> {
    if row.try_get::<i64, _>("started_ms")? <= now {
        return Ok(false);
    }

    for statement in FUTURE {
        sqlx::query(statement)
            .bind(vantage_id)
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }

    Ok(true)
}

/// Extends the last span of this kind, or begins a new one.
async fn record_span(
    tx: &mut Tx,
    vantage: &str,
    room_id: &str,
    kind: &str,
    goes_on: bool,
    now: i64,
) -> Result<(), Error> {
    if goes_on {
        let query = sqlx::query(EXTEND)
            .bind(vantage)
            .bind(room_id)
            .bind(kind)
            .bind(now);
        if query.execute(&mut **tx).await?.rows_affected() > 0 {
            return Ok(());
        }
    }

    sqlx::query(BEGIN)
        .bind(vantage)
        .bind(room_id)
        .bind(kind)
        .bind(now)
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const POLLED_LAST: &str =
    "select r.watch, r.error, v.mode, v.started_ms, (select max(c.to_ms) from coverage c
        where c.vantage_id = v.id and c.room_id = r.room_id and c.kind = 'polled') as last_ms
    from rooms r, vantages v where r.room_id = $1 and v.id = $2";

/// A room was polled. If the room is only polled, the polls are its coverage. Returns true if there
/// is a gap before this poll.
pub(super) async fn polled(
    tx: &mut Tx,
    vantage_id: &str,
    room_id: &str,
    now: i64,
) -> Result<bool, Error> {
    let row = sqlx::query(POLLED_LAST)
        .bind(room_id)
        .bind(vantage_id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(false) };
    let (watch, mode): (String, String) = (row.try_get("watch")?, row.try_get("mode")?);
    if mode != "poll" && Watch::from_word(&watch) != Watch::Peeked {
        return Ok(false);
    }

    let last: Option<i64> = row.try_get("last_ms")?;
    let set_back = is_set_back(tx, vantage_id, &row, now).await?;
    let started: i64 = row.try_get("started_ms")?;
    let goes_on = !set_back
        && !rooms::is_unread(row.try_get("error")?)
        && last.is_some_and(|last| last >= started);
    record_span(tx, vantage_id, room_id, "polled", goes_on, now).await?;

    Ok(!goes_on && last.is_some())
}

const COME_BACK: &str =
    "update coverage set to_ms = $2 where room_id = $1 and kind = 'away' and to_ms = $3";

/// Our membership of a room changed.
pub(super) async fn stands(
    tx: &mut Tx,
    room_id: &str,
    watch: Watch,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(COME_BACK)
        .bind(room_id)
        .bind(now)
        .bind(i64::MAX)
        .execute(&mut **tx)
        .await?;
    if matches!(watch, Watch::Left | Watch::Blind) {
        let query = sqlx::query(BEGIN)
            .bind(NO_VANTAGE)
            .bind(room_id)
            .bind("away")
            .bind(now)
            .bind(i64::MAX);
        query.execute(&mut **tx).await?;
    }

    Ok(())
}

const VANTAGES: &str = "select id, user_id, mode, started_ms, last_sync_ms, error, retired_ms from vantages order by id";
const WIDE: &str =
    "select from_ms, to_ms from coverage where room_id = '' and kind = 'live' order by from_ms";
static OF_ROOMS: Rows = Rows::new(
    "select room_id, kind, from_ms, to_ms from coverage where room_id in (",
    "?",
    ") order by from_ms",
);
// `+ 0` keeps SQLite from looking for the creation in the index of times: a room without one would
// be read completely.
pub(super) static ROOMS: Rows = Rows::new(
    concat!(
        "select ",
        packed!(text "r.room_id", text "r.watch", text "r.error", number "r.first_seen_ms", number "r.polled_ms",
            number "r.created_ms"),
        " from (select r.*, (select min(e.origin_server_ts + 0) from events e where e.room_id = r.room_id and e.chain is null
            and e.kind = 'm.room.create' and e.state_key = '') as created_ms from rooms r where r.room_id in ("
    ),
    "?",
    ")) as r",
);
static WALKS: Rows = Rows::new(
    "select room_id, opened_ms, reason, since_ms, reached_ms, horizon_ms, ended_by from walks
        where (reason = 'history' or continues_ms is null) and room_id in (",
    "?",
    ") order by opened_ms",
);

/// The coverage of each of these rooms over time, until `now`.
///
/// # Errors
/// When the database fails.
pub async fn coverage_of_rooms(
    store: &Store,
    viewer: Viewer,
    room_ids: &BTreeSet<String>,
    now: i64,
) -> Result<BTreeMap<String, Vec<Interval>>, Error> {
    let Viewer::Operator = viewer;
    let mut found = BTreeMap::new();
    if room_ids.is_empty() {
        return Ok(found);
    }

    let wide = wide(store, now).await?;
    let ids: Vec<&String> = room_ids.iter().collect();
    let mut connection = store.read.acquire().await?;
    let told = visibility(&mut connection, &ids).await?;
    for (room_id, notes) in notes(&mut connection, &ids, &wide).await? {
        let told = told.get(&room_id).map(Vec::as_slice).unwrap_or_default();
        let notes = Notes {
            hidden: hidden_of(told, &wide.users),
            ..notes
        };

        found.insert(room_id, intervals(&notes, now));
    }

    Ok(found)
}

fn hidden_of(told: &[RoomEvent], users: &[String]) -> Vec<Span> {
    if users.is_empty() {
        Vec::new()
    } else {
        hidden(told, users)
    }
}

/// The spans in which the history of this room was hidden from us, by its visibility and our own
/// membership.
///
/// # Errors
/// When the database fails.
pub async fn hidden_from_us(store: &Store, room_id: &str, now: i64) -> Result<Vec<Span>, Error> {
    let users = wide(store, now).await?.users;
    let room_id = room_id.to_owned();
    let mut connection = store.read.acquire().await?;
    let told = visibility(&mut connection, &[&room_id]).await?;
    let told = told.get(&room_id).map(Vec::as_slice).unwrap_or_default();

    Ok(hidden_of(told, &users))
}

/// What applies to every followed room.
#[derive(Debug)]
struct Wide {
    heard: Vec<Span>,
    /// Some vantage follows by sync; `silent`: none of those is heard now.
    follows: bool,
    silent: bool,
    /// A vantage that polls has an error.
    failing: bool,
    users: Vec<String>,
}

async fn wide(store: &Store, now: i64) -> Result<Wide, Error> {
    let mut wide = Wide {
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
        if row.try_get::<String, _>("mode")? == "follow" {
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

async fn notes(
    connection: &mut AnyConnection,
    ids: &[&String],
    wide: &Wide,
) -> Result<BTreeMap<String, Notes>, Error> {
    let notes_of_row = |fields: &mut Fields<'_>| {
        let room_id = fields.some_text()?;
        let watch = Watch::from_word(&fields.some_text()?);
        let followed = wide.follows && watch != Watch::Peeked;
        let failing = rooms::is_unread(fields.text()?);
        let silent = if followed {
            wide.silent
        } else {
            wide.failing || failing
        };

        let notes = Notes {
            heard: if watch == Watch::Peeked {
                Vec::new()
            } else {
                wide.heard.clone()
            },
            first_seen_ms: fields.some_number()?,
            polled_ms: fields.number()?,
            created_ms: fields.number()?,
            silent,
            ..Notes::default()
        };

        Ok((room_id, notes))
    };

    let mut found: BTreeMap<_, _> =
        unpack(&ROOMS.read_by_ids(connection, ids).await?, notes_of_row)?
            .into_iter()
            .collect();
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

    for row in WALKS.read_by_ids(connection, ids).await? {
        let walk = Walked {
            opened_ms: row.try_get("opened_ms")?,
            history: row.try_get::<&str, _>("reason")? == "history",
            since_ms: row.try_get("since_ms")?,
            reached_ms: row.try_get("reached_ms")?,
            horizon_ms: row.try_get("horizon_ms")?,
            ended_by: row.try_get("ended_by")?,
        };

        if let Some(notes) = found.get_mut(row.try_get::<&str, _>("room_id")?) {
            notes.walks.push(walk);
        }
    }

    Ok(found)
}

static VISIBILITY: Rows = Rows::new(
    "with asked(room_id) as (values ",
    "(cast(? as text))",
    ") select e.* from asked a cross join events e where e.room_id = a.room_id and e.chain is null
        and e.kind = 'm.room.history_visibility' and e.state_key = ''
    union all select e.* from asked a cross join (select distinct user_id from vantages) v
        cross join events e where e.room_id = a.room_id
        and e.chain is null and e.kind = 'm.room.member' and e.state_key = v.user_id",
);

/// The events that tell which time of a room is hidden from us, by room.
async fn visibility(
    connection: &mut AnyConnection,
    ids: &[&String],
) -> Result<BTreeMap<String, Vec<RoomEvent>>, Error> {
    let mut found: BTreeMap<String, Vec<RoomEvent>> = BTreeMap::new();
    for row in VISIBILITY.read_by_ids(connection, ids).await? {
        found
            .entry(row.try_get("room_id")?)
            .or_default()
            .push(event(&row)?);
    }

    Ok(found)
}

// Matrix began in 2014: an older stamp is a wrong clock or a joke.
const KNOWN_SINCE: &str = "select min(ms) from (select first_seen_ms as ms from rooms union all
    select reached_ms as ms from walks where reason = 'history' and reached_ms > 1388534400000) as known";

/// Is anything known of any room from this time on, ms: watched, or read from history?
///
/// # Errors
/// When the database fails.
pub async fn is_known_from(store: &Store, viewer: Viewer, from: i64) -> Result<bool, Error> {
    let Viewer::Operator = viewer;
    let since: Option<i64> = sqlx::query_scalar(KNOWN_SINCE)
        .fetch_one(&store.read)
        .await?;

    Ok(since.is_some_and(|since| since <= from))
}

const STILL_READ: &str = "select count(*) from walks where reason = 'history' and done_ms is null
    and (reached_ms is null or reached_ms > $1)";

/// Is this past span known: was it watched or read from history, and has no walk still to reach it?
///
/// # Errors
/// When the database fails.
pub async fn is_span_known(
    store: &Store,
    viewer: Viewer,
    span: Span,
    now: i64,
) -> Result<bool, Error> {
    if !is_known_from(store, viewer, span.from).await? {
        return Ok(false);
    }

    let still_read: i64 = sqlx::query_scalar(STILL_READ)
        .bind(span.from)
        .fetch_one(&store.read)
        .await?;
    if still_read > 0 {
        return Ok(false);
    }

    let gaps = gaps(store, viewer, span.from, now).await?;

    Ok(gaps
        .iter()
        .all(|(gap, unread)| *unread == 0 || gap.from >= span.to))
}

const UNREAD: &str =
    "select count(*) from rooms r where r.watch = 'joined' and r.first_seen_ms < $1
    and (coalesce(r.polled_ms, 0) < $1 or exists (select 1 from walks w where w.room_id = r.room_id
        and w.reason <> 'history' and w.opened_ms = $1 and (w.done_ms is null
            or w.ended_by in ('not_visible', 'no_more', 'circle', 'endless', 'refused'))))";

/// The spans since `from` in which no vantage heard its homeserver, each with the number of
/// followed rooms whose history was not read afterwards. The last span reaches until `now` while
/// nobody is heard.
///
/// # Errors
/// When the database fails.
pub async fn gaps(
    store: &Store,
    viewer: Viewer,
    from: i64,
    now: i64,
) -> Result<Vec<(Span, i64)>, Error> {
    let Viewer::Operator = viewer;
    let wide = wide(store, now).await?;
    let mut found = Vec::new();
    let Some(first) = wide.heard.first() else {
        return Ok(found);
    };

    let mut at = first.to;
    for span in wide.heard.iter().skip(1) {
        if span.from > at && span.from > from {
            let unread: i64 = sqlx::query_scalar(UNREAD)
                .bind(span.from)
                .fetch_one(&store.read)
                .await?;
            found.push((
                Span {
                    from: at,
                    to: span.from,
                },
                unread,
            ));
        }

        at = at.max(span.to);
    }

    if wide.follows && wide.silent && now > at {
        let unread: i64 = sqlx::query_scalar(UNREAD)
            .bind(now)
            .fetch_one(&store.read)
            .await?;
        found.push((Span { from: at, to: now }, unread));
    }

    Ok(found)
}
