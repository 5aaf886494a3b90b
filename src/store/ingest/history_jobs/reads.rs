//! Reads: jobs that go back through a room's history page by page, over all of it (back-fill) or
//! over a gap.

use super::job::{self, HistoryJob};
use super::rechecks;
use crate::rtc::words::{JobEnd, JobKind};
use crate::store::ingest::batch::{ReadContinuation, ReadPage, RoomBatch};
use crate::store::{Error, Reader, Tx, Writer, to_i64};

/// Tolerance for clocks and for a start that is a moment later: a horizon that moved back by less
/// than this, ms, is not wider.
const WIDER_MS: i64 = 3_600_000;

const HAD: &str = "select count(*) from history_jobs where kind = 'backfill' and room_id = $1";
const SINCE: &str = "select max(last_sync_ms) from vantages where mode = 'follow'";

/// Opens a read of a room's history, which is due at once. `token` is where it begins, `None` = at
/// the newest event; `before_stream` is the number of the last event stored before the answer in
/// `room`; `now`, ms, is when it is opened.
///
/// A room's whole history is read once. If a room was read before and seems new, because it could
/// not be read for a while, only what was missed since is read, as a gap.
pub(in crate::store) async fn open_read(
    tx: &mut Tx,
    room: &RoomBatch,
    asked: JobKind,
    token: Option<&str>,
    before_stream: i64,
    now: i64,
) -> Result<(), Error> {
    let mut kind = asked;
    if kind == JobKind::Backfill {
        let had: i64 = sqlx::query_scalar(HAD)
            .bind(&room.room_id)
            .fetch_one(&mut **tx)
            .await?;
        match (had, token) {
            (0, _) => {}
            (_, Some(_)) => kind = JobKind::Gap,
            (_, None) => return Ok(()),
        }
    }

    // Only a gap of sync has a token. It begins at the answer before.
    let since_ms = match token {
        Some(_) => sqlx::query_scalar(SINCE).fetch_one(&mut **tx).await?,
        None => None,
    };

    // It begins before the oldest event of the timeline.
    let reached_ms = if kind == asked {
        timeline_stamps(room).next()
    } else {
        None
    };

    let read = HistoryJob {
        kind,
        room_id: room.room_id.clone(),
        opened_ms: now,
        due_ms: Some(0),
        token: token.map(str::to_owned),
        first_token: token.map(str::to_owned),
        before_stream,
        reached_ms,
        since_ms,
        ..HistoryJob::default()
    };

    job::open_job(tx, &read).await
}

/// The stamps of the events of the timeline, ms, in the order of the answer.
fn timeline_stamps(room: &RoomBatch) -> impl DoubleEndedIterator<Item = i64> {
    let arrivals = room.arrivals.iter().filter(|one| one.in_timeline);
    arrivals.map(|one| one.event.origin_server_ts)
}

/// Notes that a read got one page further, in the transaction of the page's events, of which
/// `found` were new. `now`, ms, is when the page came. If the page was the last one, the read is
/// done; a gap then gets a recheck.
///
/// It has come back to the oldest event of its page. That is the one at the page's end, and the
/// next page corrects it: one stamp from long ago must not make all of history count as read.
pub(in crate::store) async fn record_page(
    tx: &mut Tx,
    room: &RoomBatch,
    page: &ReadPage,
    found: usize,
    now: i64,
) -> Result<(), Error> {
    let Some(mut read) = job::find_job(tx, &page.read).await? else {
        return Ok(());
    };

    let asked_with = std::mem::replace(&mut read.token, page.token.clone());
    if !(page.is_cut && read.is_cut) {
        read.last_token = asked_with;
    }

    read.is_cut = page.is_cut;
    read.pages += 1;
    read.found += to_i64(found);
    read.horizon_ms = page.horizon_ms;
    read.spent_ms += page.took_ms.max(0);
    read.reached_ms = timeline_stamps(room).next_back().or(read.reached_ms);
    if let Some(why) = page.ended_by {
        let delay = job::delay_after_tries(read.kind, 0).filter(|_| why.is_early());
        read.due_ms = delay.map(|delay| now + delay);
        read.done_ms = Some(now);
        read.ended_by = Some(why);
    }

    job::save_job(tx, &read).await?;
    if page.ended_by.is_none() || read.kind != JobKind::Gap {
        return Ok(());
    }

    copy_end_to_first_read(tx, &read).await?;
    if page.ended_by == Some(JobEnd::NotVisible) {
        return Ok(());
    }

    let (first_token, pages) = (read.first_token.as_deref(), read.pages);

    rechecks::open_recheck(tx, &read.room_id, first_token, pages, read.horizon_ms, now).await
}

/// Stores in the first read of a gap how `read`, the last one, ended, if the gap was read in
/// several reads. The first one stands for the gap, and is not due again: `read` may be.
async fn copy_end_to_first_read(tx: &mut Tx, read: &HistoryJob) -> Result<(), Error> {
    let Some(opened_ms) = read.continues_ms.filter(|_| read.kind == JobKind::Gap) else {
        return Ok(());
    };

    let mut key = read.key();
    key.opened_ms = opened_ms;
    let Some(mut first) = job::find_job(tx, &key).await? else {
        return Ok(());
    };

    first.ended_by = read.ended_by;
    first.horizon_ms = read.horizon_ms;
    first.due_ms = None;

    job::save_job(tx, &first).await
}

/// Opens a read that begins where another one ended. The other one is not tried again.
/// `before_stream` is the number of the last event stored before the answer in `room`; `now`, ms,
/// is when the new read is opened.
pub(in crate::store) async fn continue_ended_read(
    tx: &mut Tx,
    room: &RoomBatch,
    on: &ReadContinuation,
    before_stream: i64,
    now: i64,
) -> Result<(), Error> {
    let Some(mut ended) = job::find_job(tx, &on.ended).await? else {
        return Ok(());
    };

    let read = HistoryJob {
        kind: ended.kind,
        room_id: ended.room_id.clone(),
        opened_ms: now,
        due_ms: Some(0),
        token: on.token.clone(),
        first_token: on.token.clone(),
        before_stream,
        reached_ms: timeline_stamps(room).next_back().or(ended.reached_ms),
        continues_ms: ended.continues_ms.or(Some(ended.opened_ms)),
        ..HistoryJob::default()
    };

    job::open_job(tx, &read).await?;
    ended.due_ms = None;

    job::save_job(tx, &ended).await
}

/// Stores another reason why a read ended, and when it is tried again, ms; `None` = never.
///
/// # Errors
/// When the database fails.
pub async fn correct_end_reason(
    store: &Writer,
    ended: &HistoryJob,
    ended_by: JobEnd,
    due_ms: Option<i64>,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    if let Some(mut read) = job::find_job(&mut tx, &ended.key()).await? {
        read.ended_by = Some(ended_by);
        read.due_ms = due_ms;
        job::save_job(&mut tx, &read).await?;
        copy_end_to_first_read(&mut tx, &read).await?;
    }

    Ok(tx.commit().await?)
}

const OF_HORIZON: &str = "select * from history_jobs j
    where kind = $1 and ended_by = 'horizon' and horizon_ms > $2
    and not exists (select 1 from history_jobs n where n.kind = j.kind and n.room_id = j.room_id
        and n.opened_ms > j.opened_ms and n.continues_ms = coalesce(j.continues_ms, j.opened_ms))
    order by room_id, opened_ms";

/// The reads of this kind that ended at a horizon which is later than the wanted one (`wanted_ms`,
/// by more than a tolerance). `None` = everything is wanted. A read that another one continues is
/// left out.
///
/// # Errors
/// When the database fails.
pub async fn cut_short_by_old_limit(
    store: &Reader,
    kind: JobKind,
    wanted_ms: Option<i64>,
) -> Result<Vec<HistoryJob>, Error> {
    let wanted = wanted_ms.unwrap_or(i64::MIN).saturating_add(WIDER_MS);
    let query = sqlx::query(OF_HORIZON).bind(kind.as_str()).bind(wanted);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(HistoryJob::from_row).collect()
}

// A read that ended as hidden before the last token was stored was not checked closely.
const OF_HIDDEN: &str = "select * from history_jobs where kind = 'backfill'
    and ended_by = 'not_visible' and last_token is null and due_ms is null order by room_id";

/// The reads that ended as hidden under an earlier version, which did not check that closely.
///
/// # Errors
/// When the database fails.
pub async fn list_ended_as_hidden(store: &Reader) -> Result<Vec<HistoryJob>, Error> {
    let rows = sqlx::query(OF_HIDDEN).fetch_all(&store.read).await?;

    rows.iter().map(HistoryJob::from_row).collect()
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

const HEARD: &str =
    "select max(received_ms) from events where room_id = $1 and stream <= $2 and source = 'sync'";

/// When sync last brought something of this room before the read was opened, by our clock, ms;
/// `None` if it never did. A gap begins there or later.
///
/// # Errors
/// When the database fails.
pub async fn last_heard(store: &Reader, read: &HistoryJob) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(HEARD)
        .bind(&read.room_id)
        .bind(read.before_stream);
    Ok(query.fetch_one(&store.read).await?)
}

const KNOWN: &str =
    "select count(*) from events where event_id = $1 and room_id = $2 and stream <= $3";

/// Was every event of this page stored before the read was opened? Then the gap is closed. One
/// known event is not enough, because events of other servers arrive late and lie among those that
/// came in time. False for an empty page.
///
/// # Errors
/// When the database fails.
pub async fn has_reached_known_events(
    store: &Reader,
    read: &HistoryJob,
    event_ids: impl Iterator<Item = &str>,
) -> Result<bool, Error> {
    let mut any = false;
    for event_id in event_ids {
        let query = sqlx::query_scalar(KNOWN)
            .bind(event_id)
            .bind(&read.room_id)
            .bind(read.before_stream);
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
