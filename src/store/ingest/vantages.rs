//! Vantages: the accounts we observe from, their position in the sync stream and their state.

use crate::rtc::words::Mode;
use crate::store::db::word_column::word_from_row;
use crate::store::model::Vantage;
use crate::store::{Error, Reader, Tx, Writer};
use sqlx::Row;
use sqlx::any::AnyRow;

/// What the observer says of its vantage at its start. If the user id differs from the known one,
/// the position is worthless; an empty user id means that we do not know it yet.
#[derive(Debug, Clone)]
pub struct VantageStart<'a> {
    pub id: &'a str,
    pub user_id: &'a str,
    pub homeserver: &'a str,
    pub device_id: Option<&'a str>,
    pub mode: Mode,
    pub software: Option<&'a str>,
    pub delayed_events: bool,
    pub sticky_events: bool,
    /// Our clock, ms.
    pub now: i64,
}

const START: &str =
    "insert into vantages (id, user_id, homeserver, device_id, mode, software, delayed_events,
        sticky_events, started_ms, capabilities_ms)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    on conflict (id) do update set mode = excluded.mode, started_ms = excluded.started_ms,
        user_id = case when excluded.user_id = '' then vantages.user_id else excluded.user_id end,
        device_id = coalesce(excluded.device_id, vantages.device_id),
        software = coalesce(excluded.software, vantages.software),
        delayed_events = case when excluded.capabilities_ms is null then vantages.delayed_events
            else excluded.delayed_events end,
        sticky_events = case when excluded.capabilities_ms is null then vantages.sticky_events
            else excluded.sticky_events end,
        capabilities_ms = coalesce(excluded.capabilities_ms, vantages.capabilities_ms),
        position = case when excluded.user_id in ('', vantages.user_id) or vantages.user_id = ''
            then vantages.position else null end";

/// Stores the start of the observer, with the features that its homeserver reported.
///
/// # Errors
/// When the database fails.
pub async fn record_start(store: &Writer, start: &VantageStart<'_>) -> Result<(), Error> {
    upsert_vantage(store, start, Some(start.now)).await
}

/// Like [`record_start`], if the homeserver did not report its features: what is known of them is
/// kept.
///
/// # Errors
/// When the database fails.
pub async fn record_start_untold(store: &Writer, start: &VantageStart<'_>) -> Result<(), Error> {
    upsert_vantage(store, start, None).await
}

/// Stores the start of the observer. `told_ms` is when the homeserver reported its features; with
/// `None` those of `start` are not known, and the stored ones stay. Of another account than before,
/// the position of sync is deleted.
async fn upsert_vantage(
    store: &Writer,
    start: &VantageStart<'_>,
    told_ms: Option<i64>,
) -> Result<(), Error> {
    sqlx::query(START)
        .bind(start.id)
        .bind(start.user_id)
        .bind(start.homeserver)
        .bind(start.device_id)
        .bind(start.mode.as_str())
        .bind(start.software)
        .bind(i64::from(start.delayed_events))
        .bind(i64::from(start.sticky_events))
        .bind(start.now)
        .bind(told_ms)
        .execute(&store.write)
        .await?;

    Ok(())
}

const TOLD: &str = "update vantages set delayed_events = $2, sticky_events = $3,
    software = coalesce($4, software), capabilities_ms = $5 where id = $1";

/// Stores the features that the homeserver reports at `now`, ms: delayed events, sticky events, and
/// its software; `None` = it does not say, and the stored one stays.
///
/// # Errors
/// When the database fails.
pub async fn set_capabilities(
    store: &Writer,
    id: &str,
    delayed_events: bool,
    sticky_events: bool,
    software: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(TOLD)
        .bind(id)
        .bind(i64::from(delayed_events))
        .bind(i64::from(sticky_events))
        .bind(software)
        .bind(now)
        .execute(&store.write)
        .await?;

    Ok(())
}

const KNOWN: &str =
    "insert into vantages (id, user_id, homeserver, mode, started_ms) values ($1, $2, $3, $4, $5)
    on conflict (id) do nothing";

/// Adds the vantage before anything could be requested. A known one is not changed.
///
/// # Errors
/// When the database fails.
pub async fn ensure_known(store: &Writer, start: &VantageStart<'_>) -> Result<(), Error> {
    let query = sqlx::query(KNOWN)
        .bind(start.id)
        .bind(start.user_id)
        .bind(start.homeserver)
        .bind(start.mode.as_str());
    query.bind(start.now).execute(&store.write).await?;

    Ok(())
}

const MOVED: &str = "update vantages set position = $2, last_sync_ms = $3, preparing_ms = null,
    first_sync_ms = coalesce(first_sync_ms, $3) where id = $1";

/// Stores the position of the sync stream after an answer, in the transaction of its events, and
/// when the answer came (`now`, ms).
pub(super) async fn set_position(
    tx: &mut Tx,
    id: &str,
    position: &str,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(MOVED)
        .bind(id)
        .bind(position)
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const PREPARING: &str = "update vantages set preparing_ms = $2 where id = $1";

/// Stores since when the homeserver has been preparing its first answer, ms. The value is cleared
/// with that answer.
///
/// # Errors
/// When the database fails.
pub async fn set_preparing_since(
    store: &Writer,
    id: &str,
    since: Option<i64>,
) -> Result<(), Error> {
    let query = sqlx::query(PREPARING).bind(id).bind(since);
    query.execute(&store.write).await?;
    Ok(())
}

const NEEDS_ACTION: &str =
    "update vantages set needs_action = $2 where id = $1 and needs_action <> $2";

/// Stores whether an account waits for an admin. True = nothing is tried again until somebody
/// changes something; false = work goes on.
///
/// # Errors
/// When the database fails.
pub async fn set_needs_action(store: &Writer, id: &str, needs_action: bool) -> Result<(), Error> {
    let query = sqlx::query(NEEDS_ACTION)
        .bind(id)
        .bind(i64::from(needs_action));
    query.execute(&store.write).await?;

    Ok(())
}

const POSITION: &str = "select position from vantages where id = $1";

/// The position at which sync of this account continues; `None` = from the beginning.
///
/// # Errors
/// When the database fails.
pub async fn sync_position(store: &Reader, id: &str) -> Result<Option<String>, Error> {
    let position: Option<Option<String>> = sqlx::query_scalar(POSITION)
        .bind(id)
        .fetch_optional(&store.read)
        .await?;

    Ok(position.flatten())
}

const FORGET: &str = "update vantages set position = null where id = $1";

/// Deletes the position of an account, because its homeserver no longer knows it.
///
/// # Errors
/// When the database fails.
pub async fn delete_position(store: &Writer, id: &str) -> Result<(), Error> {
    sqlx::query(FORGET).bind(id).execute(&store.write).await?;
    Ok(())
}

// The first failure sets the error. If there are several, `set_standing` chooses the one that is
// shown.
const FAILED: &str = "update vantages set error = coalesce(error, $2),
    error_since_ms = coalesce(error_since_ms, $3), last_error = $2, last_error_ms = $3,
    errors = errors + 1 where id = $1";

/// Stores an error of an account at `now`, ms, in plain words, and counts it. An error that is
/// already shown stays, until [`set_standing`] replaces or clears it.
///
/// # Errors
/// When the database fails.
pub async fn record_error(store: &Writer, id: &str, error: &str, now: i64) -> Result<(), Error> {
    sqlx::query(FAILED)
        .bind(id)
        .bind(error)
        .bind(now)
        .execute(&store.write)
        .await?;

    Ok(())
}

const STANDS: &str =
    "update vantages set error = $2, error_since_ms = $3, unheard_since_ms = $4 where id = $1";

/// Stores the current error of an account and since when it lasts, ms. With `None` all is well, and
/// only the last error stays known. `unheard_since_ms` is since when, ms, a task has failed by
/// which the homeserver is heard; `None` if it is heard.
///
/// # Errors
/// When the database fails.
pub async fn set_standing(
    store: &Writer,
    id: &str,
    trouble: Option<(&str, i64)>,
    unheard_since_ms: Option<i64>,
) -> Result<(), Error> {
    let (text, since) = trouble.unzip();
    sqlx::query(STANDS)
        .bind(id)
        .bind(text)
        .bind(since)
        .bind(unheard_since_ms)
        .execute(&store.write)
        .await?;

    Ok(())
}

const POLLED: &str = "update vantages set last_poll_ms = $2,
    first_sync_ms = coalesce(first_sync_ms, $2) where id = $1";

/// Stores that the account polled all its rooms at `now`, ms. Without sync, the first poll also
/// counts as the first sync.
///
/// # Errors
/// When the database fails.
pub async fn set_last_poll(store: &Writer, id: &str, now: i64) -> Result<(), Error> {
    sqlx::query(POLLED)
        .bind(id)
        .bind(now)
        .execute(&store.write)
        .await?;

    Ok(())
}

const POLLS_EVERY: &str = "update vantages set polls_every_ms = $2 where id = $1";

/// Stores how often the account polls, ms; `None` if that is not known.
///
/// # Errors
/// When the database fails.
pub async fn set_poll_interval(
    store: &Writer,
    id: &str,
    every_ms: Option<i64>,
) -> Result<(), Error> {
    sqlx::query(POLLS_EVERY)
        .bind(id)
        .bind(every_ms)
        .execute(&store.write)
        .await?;

    Ok(())
}

const ONLY: &str = "update vantages set retired_ms = case when id = $1 then null
    else coalesce(retired_ms, $2) end";

/// Marks all vantages but this one, which we observe from, as retired since `now`, ms; those that
/// are already, stay so since then. What they saw is kept.
///
/// # Errors
/// When the database fails.
pub async fn retire_all_but(store: &Writer, id: &str, now: i64) -> Result<(), Error> {
    sqlx::query(ONLY)
        .bind(id)
        .bind(now)
        .execute(&store.write)
        .await?;

    Ok(())
}

const LIST: &str = "select * from vantages where retired_ms is null order by started_ms, id";

/// All vantages that we observe from, for a viewer. Whoever may not see all rooms sees that there
/// are errors, but not their texts and number, which may be of rooms.
///
/// # Errors
/// When the database fails.
pub async fn list_vantages_for(store: &Reader) -> Result<Vec<Vantage>, Error> {
    let mut vantages = list_vantages(store).await?;
    if store.visible_rooms().is_some() {
        for vantage in &mut vantages {
            vantage.error = vantage.error.take().map(|_| String::new());
            vantage.last_error = None;
            vantage.last_error_ms = None;
            vantage.errors = 0;
            vantage.invites_refused = 0;
            vantage.device_id = None;
        }
    }

    Ok(vantages)
}

/// All vantages that we observe from, for the observer, which owns them. Pages must ask
/// [`list_vantages_for`].
///
/// # Errors
/// When the database fails.
pub async fn list_vantages(store: &Reader) -> Result<Vec<Vantage>, Error> {
    sqlx::query(LIST)
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(vantage_from_row)
        .collect()
}

/// The vantage in this row.
fn vantage_from_row(row: &AnyRow) -> Result<Vantage, Error> {
    Ok(Vantage {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        homeserver: row.try_get("homeserver")?,
        device_id: row.try_get("device_id")?,
        mode: word_from_row(row, "mode")?,
        software: row.try_get("software")?,
        delayed_events: row.try_get::<i64, _>("delayed_events")? != 0,
        sticky_events: row.try_get::<i64, _>("sticky_events")? != 0,
        polls_every_ms: row.try_get("polls_every_ms")?,
        started_ms: row.try_get("started_ms")?,
        first_sync_ms: row.try_get("first_sync_ms")?,
        last_sync_ms: row.try_get("last_sync_ms")?,
        last_poll_ms: row.try_get("last_poll_ms")?,
        error: row.try_get("error")?,
        error_since_ms: row.try_get("error_since_ms")?,
        unheard_since_ms: row.try_get("unheard_since_ms")?,
        last_error: row.try_get("last_error")?,
        last_error_ms: row.try_get("last_error_ms")?,
        errors: row.try_get("errors")?,
        invites_refused: row.try_get("invites_refused")?,
        preparing_ms: row.try_get("preparing_ms")?,
        needs_action: row.try_get::<i64, _>("needs_action")? != 0,
        capabilities_ms: row.try_get("capabilities_ms")?,
    })
}
