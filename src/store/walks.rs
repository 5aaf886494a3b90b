//! Walks back through a room's history: where each stands, so that it goes on after a stop.

use super::batch::RoomBatch;
use super::{Error, Store, Tx, int, late};

/// A walk that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    pub room_id: String,
    pub opened_ms: i64,
    /// `history` (from now to the beginning) or `gap` (what a limited timeline left out).
    pub reason: String,
    /// Where to go on; `None` = at the newest event.
    pub token: Option<String>,
    /// Events stored before the walk began have a smaller number.
    pub before_stream: i64,
    pub pages: i64,
    /// Events that were not known, so far.
    pub found: i64,
}

/// One page of a walk, read.
#[derive(Debug, Clone)]
pub struct Step {
    pub opened_ms: i64,
    pub reason: String,
    /// Where to go on; `None` = the walk is done.
    pub token: Option<String>,
    /// Why it is done: `beginning`, `met`, `horizon`, `not_visible`, `circle`.
    pub ended_by: Option<&'static str>,
    /// What is older than this, ms, is not wanted.
    pub horizon_ms: Option<i64>,
    /// How long it took, ms.
    pub took_ms: i64,
}

// Only sync has a token to begin with: its gap begins with the answer before.
const OPEN: &str = "insert into walks (room_id, opened_ms, reason, token, first_token, before_stream, since_ms)
    values ($1, $2, $3, $4, $4, $5, (select max(last_sync_ms) from vantages where mode = 'follow' and $6 = 1))
    on conflict (room_id, opened_ms, reason) do nothing";
const HAD: &str = "select count(*) from walks where room_id = $1 and reason = 'history'";

/// Opens a walk. A room's whole history is walked once: of one that was walked before and seems new (it could not be read
/// for a while) only what was missed since.
pub(super) async fn open(
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

const STEP: &str = "update walks set token = $4, pages = pages + 1, found = found + $5, done_ms = $6, ended_by = $7,
    horizon_ms = $8, spent_ms = spent_ms + $9
    where room_id = $1 and opened_ms = $2 and reason = $3";

/// Moves a walk on, in the transaction of the events that its page brought.
pub(super) async fn step(
    tx: &mut Tx,
    room_id: &str,
    step: &Step,
    found: usize,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(STEP)
        .bind(room_id)
        .bind(step.opened_ms)
        .bind(&step.reason)
        .bind(&step.token)
        .bind(int(found))
        .bind(step.ended_by.map(|_| now))
        .bind(step.ended_by)
        .bind(step.horizon_ms)
        .bind(step.took_ms.max(0))
        .execute(&mut **tx)
        .await?;
    if step.reason == "gap" && step.ended_by.is_some_and(|why| why != "not_visible") {
        late::after_walk(tx, room_id, step.opened_ms, now).await?;
    }
    Ok(())
}

const REACHED: &str =
    "update walks set reached_ms = $2 where room_id = $1 and reason = $3 and opened_ms = $4";

/// Notes how far back a walk has come: to the oldest event of its page, and at first to the oldest of the timeline
/// before which it begins. The oldest is the one at the page's end, and the next page corrects it: one stamp from long
/// ago must not make all of history count as read.
pub(super) async fn reached(tx: &mut Tx, room: &RoomBatch, now: i64) -> Result<(), Error> {
    let mut stamps = room
        .arrivals
        .iter()
        .filter(|one| one.in_timeline)
        .map(|one| one.event.origin_server_ts);
    let (oldest, reason, opened_ms) = match (&room.step, &room.gap) {
        (Some(step), _) => (stamps.next_back(), step.reason.as_str(), step.opened_ms),
        (None, Some((reason, _))) => (stamps.next(), *reason, now),
        (None, None) => return Ok(()),
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

const SAW_CREATION: &str =
    "select count(*) from events where room_id = $1 and chain is null and kind = 'm.room.create' and state_key = ''
    and in_timeline = 1";

/// Did the room's creation come in a timeline? Where history is hidden it comes in the state only.
///
/// # Errors
/// When the database fails.
pub async fn saw_creation(store: &Store, room_id: &str) -> Result<bool, Error> {
    let count: i64 = sqlx::query_scalar(SAW_CREATION)
        .bind(room_id)
        .fetch_one(&store.read)
        .await?;
    Ok(count > 0)
}

const TODO: &str =
    "select room_id, opened_ms, reason, token, before_stream, pages, found from walks where done_ms is null
    order by reason, opened_ms, room_id";

type TodoRow = (String, i64, String, Option<String>, i64, i64, i64);

/// Walks that are not done: gaps first, then the oldest.
///
/// # Errors
/// When the database fails.
pub async fn todo(store: &Store) -> Result<Vec<Walk>, Error> {
    let rows: Vec<TodoRow> = sqlx::query_as(TODO).fetch_all(&store.read).await?;
    let walk = |(room_id, opened_ms, reason, token, before_stream, pages, found)| Walk {
        room_id,
        opened_ms,
        reason,
        token,
        before_stream,
        pages,
        found,
    };
    Ok(rows.into_iter().map(walk).collect())
}

const HEARD: &str =
    "select max(received_ms) from events where room_id = $1 and stream <= $2 and source = 'sync'";

/// When sync last brought something of this room before the walk began, by our clock, ms: a gap begins there or later.
///
/// # Errors
/// When the database fails.
pub async fn last_heard(store: &Store, walk: &Walk) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(HEARD)
        .bind(&walk.room_id)
        .bind(walk.before_stream);
    Ok(query.fetch_one(&store.read).await?)
}

const KNOWN: &str =
    "select count(*) from events where event_id = $1 and room_id = $2 and stream <= $3";

/// Was every event of this page known before the walk began? Then the gap is closed. One known event is not
/// enough: events of other servers arrive late and stand among those that came in time.
///
/// # Errors
/// When the database fails.
pub async fn met(
    store: &Store,
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
