//! Sift: deletes events that older versions stored and this one would not. It runs when the
//! database is opened, before anybody reads it. Afterwards neither the file nor its write-ahead log
//! holds a byte of them.

use super::redactions::redact_old_contents;
use super::room_rules;
use crate::rtc::event::{EventKind, may_be_kept_whole};
use crate::rtc::sieve::{Sifted, sift_event};
use crate::store::{Error, Tx, Writer, to_i64};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::time::{Duration, Instant};

/// The version of the sieve. Stored events are sifted again if it differs from the stored one.
const VERSION: &str = "2";
/// Maximum events per transaction.
const PORTION: usize = 1000;
/// The interval of progress messages in the log.
const TELL: Duration = Duration::from_secs(10);

const DONE: &str = "select version, place from versions where name = 'sieve'";
const MOVE: &str = "insert into versions (name, version, place) values ('sieve', $1, $2)
    on conflict (name) do update set version = excluded.version, place = excluded.place";
const EVENTS: &str = "select event_id, room_id, kind, json, stream from events where stream > $1
    order by stream limit $2";
const NEWEST: &str = "select coalesce(max(stream), 0) from events";

/// The number of stored events that were deleted and changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct SiftCounts {
    deleted: usize,
    changed: usize,
}

/// Sifts the stored events, unless this version of the sieve did so before. A stop at any point
/// loses nothing: sifting continues when the database is opened again.
pub(in crate::store) async fn sift_stored(store: &Writer) -> Result<(), Error> {
    let done: Option<(String, Option<String>)> =
        sqlx::query_as(DONE).fetch_optional(&store.write).await?;
    let mut from = match done {
        Some((version, None)) if version == VERSION => {
            return room_rules::fill_once(store, VERSION).await;
        }
        Some((version, Some(place))) if version == VERSION => place.parse().unwrap_or(0),
        _ => 0,
    };

    let newest: i64 = sqlx::query_scalar(NEWEST).fetch_one(&store.write).await?;
    if newest > 0 {
        tracing::info!(
            events = newest,
            "an older version stored what was not asked for; it is taken out, which may take \
             minutes"
        );
        let mut total = SiftCounts::default();
        let mut told = Instant::now();
        while let Some(next) = sift_next_events(store, from, &mut total).await? {
            from = next;
            if told.elapsed() > TELL {
                told = Instant::now();
                tracing::info!(done = from, of = newest, "still taking out");
            }
        }

        adjust_positions(store).await?;
        // The rules are filled from sifted events only, and before the file is rewritten.
        room_rules::fill_once(store, VERSION).await?;
        tracing::info!(
            deleted = total.deleted,
            shortened = total.changed,
            "what was not asked for is taken out"
        );
        if let Err(error) = store.write_anew().await {
            // It failed; the next start tries it again.
            tracing::warn!(
                %error,
                "the database could not be written anew, and may hold bytes of what was taken \
                 out; make as much free space on its disk as it is large, and start again"
            );
            return Ok(());
        }
    }

    room_rules::fill_once(store, VERSION).await?;
    sqlx::query(MOVE)
        .bind(VERSION)
        .bind(None::<String>)
        .execute(&store.write)
        .await?;

    Ok(())
}

/// Sifts the next events after number `from` (`stream`), exclusive, at most [`PORTION`], and adds
/// to the counts. Returns the number of the last one; `None` when none are left.
async fn sift_next_events(
    store: &Writer,
    from: i64,
    total: &mut SiftCounts,
) -> Result<Option<i64>, Error> {
    let mut tx = store.writing().await?;
    let rows = sqlx::query(EVENTS)
        .bind(from)
        .bind(to_i64(PORTION))
        .fetch_all(&mut *tx)
        .await?;
    let Some(last) = rows.last() else {
        tx.rollback().await?;
        return Ok(None);
    };

    let last: i64 = last.try_get("stream")?;
    for row in &rows {
        sift_stored_event(&mut tx, row, total).await?;
    }

    redact_old_contents(&mut tx, from, last).await?;
    sqlx::query(MOVE)
        .bind(VERSION)
        .bind(last.to_string())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;

    Ok(Some(last))
}

const DELETE: &str = "delete from events where event_id = $1 and room_id = $2";
const UNSEE: &str = "delete from sightings where event_id = $1 and room_id = $2";
const CHANGE: &str = "update events set json = $3 where event_id = $1 and room_id = $2";

/// Sifts one stored event: deletes it, stores what the sieve leaves of it, or does nothing if that
/// is all of it. Adds to the counts.
async fn sift_stored_event(tx: &mut Tx, row: &AnyRow, total: &mut SiftCounts) -> Result<(), Error> {
    let (event_id, room_id): (&str, &str) = (row.try_get("event_id")?, row.try_get("room_id")?);
    let text: &str = row.try_get("json")?;
    if is_made_by_us(event_id, row.try_get("kind")?) {
        return Ok(());
    }

    let left = sifted_text(text);
    if left.as_deref() == Some(text) {
        return Ok(());
    }

    if let Some(left) = left {
        total.changed += 1;
        sqlx::query(CHANGE)
            .bind(event_id)
            .bind(room_id)
            .bind(left)
            .execute(&mut **tx)
            .await?;
        return Ok(());
    }

    total.deleted += 1;
    for sql in [DELETE, UNSEE] {
        sqlx::query(sql)
            .bind(event_id)
            .bind(room_id)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

/// Is it an event of our own? It records what a poll found, and its content is that of an event
/// that was sifted.
fn is_made_by_us(event_id: &str, kind: &str) -> bool {
    event_id.starts_with('~') && EventKind::of_event_type(kind) == EventKind::Member
}

/// The part of a stored event that the sieve keeps; `None` = nothing.
fn sifted_text(text: &str) -> Option<String> {
    let event = serde_json::from_str(text).unwrap_or(Value::Null);
    match sift_event(&event) {
        Sifted::Foreign(_) => None,
        Sifted::Kept(event) => Some(event.to_string()).filter(|text| may_be_kept_whole(text)),
    }
}

// Numbers of deleted events are used again. Stored positions must not refer to a new event under an
// old number.
const SCANS: &str = "update scans set stream = $1 where stream > $1";
const JOBS: &str = "update history_jobs set before_stream = $1 where before_stream > $1";

/// Adjusts stored positions to the events that are left.
async fn adjust_positions(store: &Writer) -> Result<(), Error> {
    let newest: i64 = sqlx::query_scalar(NEWEST).fetch_one(&store.write).await?;
    for sql in [SCANS, JOBS] {
        sqlx::query(sql).bind(newest).execute(&store.write).await?;
    }

    Ok(())
}
