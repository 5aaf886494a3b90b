//! Walks back through a room's history (back-fill): the position of each, so that it continues
//! after a stop.

use super::rechecks;
use crate::store::ingest::batch::{RoomBatch, WalkContinuation, WalkPage};
use crate::store::{Error, Reader, Tx, Writer, to_i64};
use sqlx::Row;

/// Reasons for which a walk ended although there may be more before it: the homeserver gave no
/// more, its pages go in a circle, they endlessly bring nothing new, or it refuses.
pub const SHORT: [&str; 4] = ["no_more", "circle", "endless", "refused"];
/// Delays after which such a walk is tried again, ms; the last one repeats.
const AGAIN_MS: [i64; 7] = [
    5_000,
    30_000,
    300_000,
    3_600_000,
    6 * 3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
];
/// Tolerance for clocks and for a start that is a moment later: a horizon that moved back by less
/// than this, ms, is not wider.
const WIDER_MS: i64 = 3_600_000;

/// A walk that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    pub room_id: String,
    pub opened_ms: i64,
    /// `history` (from now to the beginning) or `gap` (the events that a limited timeline left
    /// out).
    pub reason: String,
    /// Where to continue; `None` = at the newest event.
    pub token: Option<String>,
    /// Events stored before the walk began have a smaller number.
    pub before_stream: i64,
    pub pages: i64,
    /// New events so far.
    pub found: i64,
    /// How far back the walk has come, ms.
    pub reached_ms: Option<i64>,
}

/// A walk that ended before the room's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedWalk {
    pub room_id: String,
    pub opened_ms: i64,
    pub reason: String,
    pub ended_by: String,
    /// The token of its last request; `None` = the newest event.
    pub token: Option<String>,
    /// How many times it was tried again.
    pub tries: i64,
}

// Only a gap of sync has a token. It begins at the answer before.
const OPEN: &str = "insert into walks (room_id, opened_ms, reason, token, first_token,
    before_stream, since_ms)
    values ($1, $2, $3, $4, $4, $5, (select max(last_sync_ms) from vantages where mode = 'follow'
    and $6 = 1))
    on conflict (room_id, opened_ms, reason) do nothing";
const HAD: &str = "select count(*) from walks where room_id = $1 and reason = 'history'";

/// Opens a walk. A room's whole history is read once. If a room was read before and seems new (it
/// could not be read for a while), only what was missed since is read.
pub(in crate::store) async fn open_walk(
    tx: &mut Tx,
    room_id: &str,
    reason: &str,
    token: Option<&str>,
    before_stream: i64,
    now: i64,
) -> Result<(), Error> {
    let mut reason = reason;
    if reason == "history" {
        let had: i64 = sqlx::query_scalar(HAD)
            .bind(room_id)
            .fetch_one(&mut **tx)
            .await?;
        match (had, token) {
            (0, _) => {}
            (_, Some(_)) => reason = "gap",
            (_, None) => return Ok(()),
        }
    }

    let query = sqlx::query(OPEN)
        .bind(room_id)
        .bind(now)
        .bind(reason)
        .bind(token);
    query
        .bind(before_stream)
        .bind(i64::from(token.is_some()))
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const STEP: &str = "update walks set
    last_token = case when $11 = 1 and cut = 1 then last_token else token end, cut = $11,
    token = $4, pages = pages + 1, found = found + $5, done_ms = $6, ended_by = $7,
    horizon_ms = $8, spent_ms = spent_ms + $9, again_ms = $10
    where room_id = $1 and opened_ms = $2 and reason = $3";
// If a gap was read in two walks, how it ended is stored in the first walk, which stands for the
// gap.
const CONTINUED: &str = "update walks set ended_by = $4, horizon_ms = $5, again_ms = null
    where room_id = $1 and reason = 'gap' and reason = $3
    and opened_ms = (select n.continues_ms from walks n where n.room_id = $1 and n.opened_ms = $2
    and n.reason = $3)";

/// Moves a walk on, in the transaction of the events of its page.
pub(in crate::store) async fn advance_walk(
    tx: &mut Tx,
    room_id: &str,
    step: &WalkPage,
    found: usize,
    now: i64,
) -> Result<(), Error> {
    let is_short = step.ended_by.is_some_and(|why| SHORT.contains(&why));
    sqlx::query(STEP)
        .bind(room_id)
        .bind(step.opened_ms)
        .bind(&step.reason)
        .bind(&step.token)
        .bind(to_i64(found))
        .bind(step.ended_by.map(|_| now))
        .bind(step.ended_by)
        .bind(step.horizon_ms)
        .bind(step.took_ms.max(0))
        .bind(is_short.then_some(now + AGAIN_MS[0]))
        .bind(i64::from(step.cut))
        .execute(&mut **tx)
        .await?;
    if step.ended_by.is_some() && step.reason == "gap" {
        sqlx::query(CONTINUED)
            .bind(room_id)
            .bind(step.opened_ms)
            .bind(&step.reason)
            .bind(step.ended_by)
            .bind(step.horizon_ms)
            .execute(&mut **tx)
            .await?;
    }

    if step.reason == "gap" && step.ended_by.is_some_and(|why| why != "not_visible") {
        rechecks::schedule_after_walk(tx, room_id, step.opened_ms, now).await?;
    }

    Ok(())
}

const REACHED: &str =
    "update walks set reached_ms = $2 where room_id = $1 and reason = $3 and opened_ms = $4";

/// Notes how far back a walk has come: to the oldest event of its page, and at first to the oldest
/// event of the timeline before which it begins. The oldest event is the one at the page's end, and
/// the next page corrects it: one stamp from long ago must not make all of history count as read.
pub(in crate::store) async fn record_reached_time(
    tx: &mut Tx,
    room: &RoomBatch,
    now: i64,
) -> Result<(), Error> {
    let mut stamps = room
        .arrivals
        .iter()
        .filter(|one| one.in_timeline)
        .map(|one| one.event.origin_server_ts);
    let (oldest, reason, opened_ms) = match (&room.step, &room.gap, &room.goes_on) {
        (Some(step), ..) => (stamps.next_back(), step.reason.as_str(), step.opened_ms),
        (None, Some((reason, _)), _) => (stamps.next(), *reason, now),
        (None, None, Some(on)) => (stamps.next_back(), on.reason.as_str(), now),
        (None, None, None) => return Ok(()),
    };

    let Some(oldest) = oldest else { return Ok(()) };
    let query = sqlx::query(REACHED)
        .bind(&room.room_id)
        .bind(oldest)
        .bind(reason)
        .bind(opened_ms);
    query.execute(&mut **tx).await?;

    Ok(())
}

const GO_ON: &str =
    "insert into walks (room_id, opened_ms, reason, token, first_token, before_stream, since_ms,
        reached_ms, continues_ms)
    select w.room_id, cast($4 as bigint), w.reason, cast($5 as text), cast($5 as text),
        cast($6 as bigint), null, w.reached_ms, coalesce(w.continues_ms, w.opened_ms) from walks w
    where w.room_id = $1 and w.opened_ms = $2 and w.reason = $3
    on conflict (room_id, opened_ms, reason) do nothing";
const WENT_ON: &str =
    "update walks set again_ms = null where room_id = $1 and opened_ms = $2 and reason = $3";

/// Opens a walk that begins where another one ended.
pub(in crate::store) async fn continue_ended_walk(
    tx: &mut Tx,
    room_id: &str,
    on: &WalkContinuation,
    before_stream: i64,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(GO_ON)
        .bind(room_id)
        .bind(on.opened_ms)
        .bind(&on.reason)
        .bind(now)
        .bind(&on.token)
        .bind(before_stream)
        .execute(&mut **tx)
        .await?;
    sqlx::query(WENT_ON)
        .bind(room_id)
        .bind(on.opened_ms)
        .bind(&on.reason)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const AGAIN: &str =
    "select room_id, opened_ms, reason, ended_by, last_token, tries from walks where again_ms <= $1
    and not exists (select 1 from walks o where o.room_id = walks.room_id and o.done_ms is null)
    order by again_ms, room_id limit $2";

/// Walks that ended too early and are due to be tried again at `now`.
///
/// # Errors
/// When the database fails.
pub async fn due_for_retry(store: &Reader, now: i64, limit: i64) -> Result<Vec<EndedWalk>, Error> {
    let query = sqlx::query(AGAIN).bind(now).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    rows.iter().map(ended_walk_from_row).collect()
}

fn ended_walk_from_row(row: &sqlx::any::AnyRow) -> Result<EndedWalk, Error> {
    Ok(EndedWalk {
        room_id: row.try_get("room_id")?,
        opened_ms: row.try_get("opened_ms")?,
        reason: row.try_get("reason")?,
        ended_by: row.try_get("ended_by")?,
        token: row.try_get("last_token")?,
        tries: row.try_get("tries")?,
    })
}

const NEXT_AGAIN: &str = "select min(again_ms) from walks where again_ms > $1";

/// When the next walk is due that is not due at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn next_retry_due(store: &Reader, now: i64) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(NEXT_AGAIN).bind(now);
    Ok(query.fetch_one(&store.read).await?)
}

const TRIED: &str = "update walks set tries = tries + 1, again_ms = $4, last_token = $5
    where room_id = $1 and opened_ms = $2 and reason = $3";

/// Notes that another attempt failed; the next delay is longer. `token` is for the next attempt.
///
/// # Errors
/// When the database fails.
pub async fn record_failed_retry(
    store: &Writer,
    ended: &EndedWalk,
    token: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    let at = usize::try_from(ended.tries + 1).unwrap_or(usize::MAX);
    let pause = AGAIN_MS.get(at).or(AGAIN_MS.last()).copied();
    sqlx::query(TRIED)
        .bind(&ended.room_id)
        .bind(ended.opened_ms)
        .bind(&ended.reason)
        .bind(pause.map(|pause| now + pause))
        .bind(token)
        .execute(&store.write)
        .await?;

    Ok(())
}

const RESTATE: &str = "update walks set ended_by = $4, again_ms = $5
    where room_id = $1 and opened_ms = $2 and reason = $3";

/// Corrects why a walk ended. If a gap was read in several walks, the first is corrected as well,
/// because it stands for the gap.
///
/// # Errors
/// When the database fails.
pub async fn correct_end_reason(
    store: &Writer,
    ended: &EndedWalk,
    ended_by: &str,
    again_ms: Option<i64>,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(RESTATE)
        .bind(&ended.room_id)
        .bind(ended.opened_ms)
        .bind(&ended.reason)
        .bind(ended_by)
        .bind(again_ms)
        .execute(&mut *tx)
        .await?;
    sqlx::query(CONTINUED)
        .bind(&ended.room_id)
        .bind(ended.opened_ms)
        .bind(&ended.reason)
        .bind(ended_by)
        .bind(None::<i64>)
        .execute(&mut *tx)
        .await?;

    Ok(tx.commit().await?)
}

const OF_HORIZON: &str = "select room_id, opened_ms, reason, ended_by, last_token, tries from walks
        where ended_by = 'horizon' and horizon_ms > $1
    and not exists (select 1 from walks n where n.room_id = walks.room_id
    and n.reason = walks.reason
        and n.opened_ms > walks.opened_ms
        and n.continues_ms = coalesce(walks.continues_ms, walks.opened_ms))
    order by room_id, opened_ms";

/// Walks that ended at an old horizon, if the wanted one (`wanted_ms`) is wider; `None` =
/// everything is wanted.
///
/// # Errors
/// When the database fails.
pub async fn cut_short_by_old_limit(
    store: &Reader,
    reason: &str,
    wanted_ms: Option<i64>,
) -> Result<Vec<EndedWalk>, Error> {
    let wanted = wanted_ms.unwrap_or(i64::MIN).saturating_add(WIDER_MS);
    let query = sqlx::query(OF_HORIZON).bind(wanted);
    let rows = query.fetch_all(&store.read).await?;
    let found: Vec<EndedWalk> = rows
        .iter()
        .map(ended_walk_from_row)
        .collect::<Result<_, _>>()?;

    Ok(found
        .into_iter()
        .filter(|one| one.reason == reason)
        .collect())
}

// A walk that ended as hidden before the last token was stored was not checked closely.
const OF_HIDDEN: &str = "select room_id, opened_ms, reason, ended_by, last_token, tries from walks
        where ended_by = 'not_visible'
    and reason = 'history' and last_token is null and again_ms is null order by room_id";

/// Walks of an earlier version that ended as hidden.
///
/// # Errors
/// When the database fails.
pub async fn list_ended_as_hidden(store: &Reader) -> Result<Vec<EndedWalk>, Error> {
    let rows = sqlx::query(OF_HIDDEN).fetch_all(&store.read).await?;
    rows.iter().map(ended_walk_from_row).collect()
}

const SAW_CREATION: &str =
    "select count(*) from events where room_id = $1 and chain is null and kind = 'm.room.create'
        and state_key = ''
    and in_timeline = 1";

/// Did the room's creation come in a timeline? If history is hidden, it comes only in the state.
///
/// # Errors
/// When the database fails.
pub async fn has_seen_creation(store: &Reader, room_id: &str) -> Result<bool, Error> {
    let count: i64 = sqlx::query_scalar(SAW_CREATION)
        .bind(room_id)
        .fetch_one(&store.read)
        .await?;

    Ok(count > 0)
}

const TODO: &str =
    "select room_id, opened_ms, reason, token, before_stream, pages, found, reached_ms from walks
        where done_ms is null
    order by reason, opened_ms, room_id";

/// Walks that are not done: gaps first, then the oldest.
///
/// # Errors
/// When the database fails.
pub async fn list_open_walks(store: &Reader) -> Result<Vec<Walk>, Error> {
    let walk = |row: &sqlx::any::AnyRow| {
        Ok(Walk {
            room_id: row.try_get("room_id")?,
            opened_ms: row.try_get("opened_ms")?,
            reason: row.try_get("reason")?,
            token: row.try_get("token")?,
            before_stream: row.try_get("before_stream")?,
            pages: row.try_get("pages")?,
            found: row.try_get("found")?,
            reached_ms: row.try_get("reached_ms")?,
        })
    };

    let rows = sqlx::query(TODO).fetch_all(&store.read).await?;

    rows.iter().map(walk).collect()
}

const HEARD: &str =
    "select max(received_ms) from events where room_id = $1 and stream <= $2 and source = 'sync'";

/// When sync last brought something of this room before the walk began, by our clock, ms. A gap
/// begins there or later.
///
/// # Errors
/// When the database fails.
pub async fn last_heard(store: &Reader, walk: &Walk) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(HEARD)
        .bind(&walk.room_id)
        .bind(walk.before_stream);
    Ok(query.fetch_one(&store.read).await?)
}

const KNOWN: &str =
    "select count(*) from events where event_id = $1 and room_id = $2 and stream <= $3";

/// Was every event of this page known before the walk began? Then the gap is closed. One known
/// event is not enough, because events of other servers arrive late and lie among those that came
/// in time.
///
/// # Errors
/// When the database fails.
pub async fn has_reached_known_events(
    store: &Reader,
    walk: &Walk,
    event_ids: impl Iterator<Item = &str>,
) -> Result<bool, Error> {
    let mut any = false;
    for event_id in event_ids {
        let query = sqlx::query_scalar(KNOWN)
            .bind(event_id)
            .bind(&walk.room_id)
            .bind(walk.before_stream);
        let known: i64 = query.fetch_one(&store.read).await?;
        if known == 0 {
            return Ok(false);
        }

        any = true;
    }

    Ok(any)
}

const IS_KNOWN: &str = "select count(*) from events where event_id = $1 and room_id = $2";

/// Is one of these events not stored yet?
///
/// # Errors
/// When the database fails.
pub async fn is_any_new(
    store: &Reader,
    room_id: &str,
    event_ids: impl Iterator<Item = &str>,
) -> Result<bool, Error> {
    for event_id in event_ids {
        let query = sqlx::query_scalar(IS_KNOWN).bind(event_id).bind(room_id);
        let known: i64 = query.fetch_one(&store.read).await?;
        if known == 0 {
            return Ok(true);
        }
    }

    Ok(false)
}
