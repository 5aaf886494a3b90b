//! Receive times. Sightings hold what our clock said when an event came; they are never changed.
//! Which of these readings are believed decides about the time of an event, and is corrected if it
//! was wrong.

use super::batch::{Batch, RoomBatch};
use super::events::LAST_STREAM;
use crate::rtc::id::server_of;
use crate::rtc::reading::{ClockDoubt, ClockReading, OurClock, ReadingJudge};
use crate::rtc::words::{Source, words};
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Reader, Tx, Writer, to_i64};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::borrow::Cow;
use std::sync::Arc;

/// Tolerance between a receive time and the time of the first sighting, ms.
const SLACK_MS: i64 = 1000;
/// Maximum number of stored spans in which our clock was wrong.
const OFFS_MAX: i64 = 1000;
/// Maximum events per transaction.
const PORTION: usize = 4000;

const CLOCK: &str = "select high_ms, latest_ms, read_ms from clock where one = 1";
const SET_CLOCK: &str =
    "insert into clock (one, high_ms, latest_ms, read_ms) values (1, $1, $2, $3) on conflict (one)
    do update set high_ms = excluded.high_ms, latest_ms = excluded.latest_ms,
    read_ms = excluded.read_ms";
const DOUBT: &str =
    "insert into clock_doubts (from_stream, to_stream, seen_ms, high_ms, off_ms, latest_ms,
        back_by_ms)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict (from_stream)
    do update set to_stream = excluded.to_stream, seen_ms = excluded.seen_ms,
        high_ms = excluded.high_ms, off_ms = excluded.off_ms, latest_ms = excluded.latest_ms,
        back_by_ms = excluded.back_by_ms";

/// A batch as it is to be stored.
pub(super) struct JudgedBatch<'b> {
    pub batch: Cow<'b, Batch>,
    /// A note about its events was stored for a rebuild. The caller must call `complete_doubt`
    /// once the events are written, since only then it is known how many were new.
    pub is_noted: bool,
}

/// The batch as it is to be stored. If our clock cannot be believed, its events lose their receive
/// time or get the latest possible one, and a note of the doubt is stored. `before` is the number
/// of the last event stored, `clock` what is known of our clock by other means than the readings
/// of earlier batches. The judge of readings, which goes from batch to batch, is moved on.
pub(super) async fn judge_batch<'b>(
    tx: &mut Tx,
    batch: &'b Batch,
    before: i64,
    clock: OurClock,
) -> Result<JudgedBatch<'b>, Error> {
    let known = load_judge(tx).await?;
    let reading = ClockReading {
        seen_ms: batch.seen_ms,
        stamps: batch.rooms.iter().flat_map(live_stamps).collect(),
        is_confirmed: clock.is_confirmed,
    };

    let mut judge = known;
    let is_believed = clock.doubt.is_none() && judge.believes(&reading);
    if judge != known {
        store_judge(tx, &judge).await?;
    }

    let arrivals: usize = batch.rooms.iter().map(|room| room.arrivals.len()).sum();
    // The first and the last number that its events will have, if all of them are new.
    let numbers = (before + 1, before + to_i64(arrivals));
    if is_believed {
        // A later correction does not know what the homeserver said about the time, so the doubt is
        // stored.
        let is_noted = arrivals > 0 && known.needs_confirmation(&reading);
        if is_noted {
            let doubt = sqlx::query(DOUBT).bind(numbers.0).bind(numbers.1);
            doubt
                .bind(batch.seen_ms)
                .bind(known.high_ms)
                .bind(Some(0_i64))
                .bind(None::<i64>)
                .bind(Some(0_i64))
                .execute(&mut **tx)
                .await?;
        }

        return Ok(JudgedBatch {
            batch: Cow::Borrowed(batch),
            is_noted,
        });
    }

    let off_ms = clock.doubt.map(|doubt| doubt.off_ms);
    tracing::warn!(
        says_ms = batch.seen_ms,
        last_good_ms = known.high_ms,
        off_ms,
        "our own clock is wrong; the times at which it says that events came are not believed"
    );
    let is_noted = arrivals > 0;
    if is_noted {
        let doubt = sqlx::query(DOUBT).bind(numbers.0).bind(numbers.1);
        doubt
            .bind(batch.seen_ms)
            .bind(known.high_ms)
            .bind(off_ms)
            .bind(clock.doubt.map(|doubt| doubt.latest_ms))
            .bind(None::<i64>)
            .execute(&mut **tx)
            .await?;
    }

    let mut batch = batch.clone();
    for arrival in batch.rooms.iter_mut().flat_map(|room| &mut room.arrivals) {
        if arrival.event.received_ts.is_some() {
            let event = Arc::make_mut(&mut arrival.event);
            event.received_ts = match clock.doubt {
                Some(doubt) => doubt.at_the_latest(event.origin_server_ts),
                None => judge.at_the_latest(event.origin_server_ts),
            };
        }
    }

    Ok(JudgedBatch {
        batch: Cow::Owned(batch),
        is_noted,
    })
}

/// The judge of readings, as the last batch left it; a new one before the first batch.
async fn load_judge(tx: &mut Tx) -> Result<ReadingJudge, Error> {
    let Some(row) = sqlx::query(CLOCK).fetch_optional(&mut **tx).await? else {
        return Ok(ReadingJudge::default());
    };

    Ok(ReadingJudge {
        high_ms: row.try_get("high_ms")?,
        latest_ms: row.try_get("latest_ms")?,
        read_ms: row.try_get("read_ms")?,
    })
}

/// Stores the judge of readings for the next batch; not as long as it has believed none.
async fn store_judge(tx: &mut Tx, judge: &ReadingJudge) -> Result<(), Error> {
    let Some(high_ms) = judge.high_ms else {
        return Ok(());
    };

    sqlx::query(SET_CLOCK)
        .bind(high_ms)
        .bind(judge.latest_ms)
        .bind(judge.read_ms)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const DOUBTED: &str = "update clock_doubts set to_stream = $2 where from_stream = $1";
const NOT_DOUBTED: &str = "delete from clock_doubts where from_stream = $1";

/// Stores up to which number the note of a doubt reaches that was made before its batch was
/// written. `before` and `last` are the numbers of the last event stored before and after it:
/// events that were known before took no number. If all were known, the note is deleted: its
/// numbers will be those of later events.
pub(super) async fn complete_doubt(tx: &mut Tx, before: i64, last: i64) -> Result<(), Error> {
    if last == before {
        let none = sqlx::query(NOT_DOUBTED).bind(before + 1);
        none.execute(&mut **tx).await?;
        return Ok(());
    }

    sqlx::query(DOUBTED)
        .bind(before + 1)
        .bind(last)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// The stamps of the timeline events that came live for this room, ms, each with its sender's
/// server; none unless the batch is of sync.
fn live_stamps(room: &RoomBatch) -> impl Iterator<Item = (String, i64)> + '_ {
    let is_live = room.source == Source::Sync;
    room.arrivals
        .iter()
        .filter(move |arrival| is_live && arrival.in_timeline)
        .map(|arrival| {
            let event = &arrival.event;
            (server_of(&event.sender).to_owned(), event.origin_server_ts)
        })
}

const READ: &str = "select stream, event_id, room_id, sender, origin_server_ts, received_ms,
    seen_ms, source, in_timeline
    from events where stream > $1 order by stream limit $2";

const OFF_EVENTS: &str =
    "select from_stream, to_stream, off_ms, latest_ms, back_by_ms from clock_doubts
    where off_ms is not null order by from_stream";

/// What was known of our clock, at the time or later, when these events came: those with numbers
/// from `from_stream` to `to_stream`, both included.
#[derive(Debug, sqlx::FromRow)]
struct DoubtedEvents {
    from_stream: i64,
    to_stream: i64,
    /// How far our clock was ahead, ms; negative = behind.
    off_ms: i64,
    /// The latest time, ms, at which they can have come; `None` = what our clock showed less
    /// `off_ms`.
    latest_ms: Option<i64>,
    /// If the doubt was withdrawn: the clock was right, plus this many ms.
    back_by_ms: Option<i64>,
}

impl DoubtedEvents {
    /// The latest possible time, ms, at which an event came for which our clock showed this time.
    fn at_the_latest(&self, seen: &LiveEvent) -> Option<i64> {
        let right_ms = seen.seen_ms.saturating_sub(self.off_ms);
        let doubt = ClockDoubt {
            off_ms: self.off_ms,
            latest_ms: self.latest_ms.unwrap_or(right_ms),
        };

        doubt.at_the_latest(seen.origin_server_ts)
    }
}

/// The state of a correction run, which goes through the stored events in order of their numbers.
#[derive(Debug, Default)]
struct Correction {
    judge: ReadingJudge,
    /// The current reading: what our clock said, the stamps that came with it, and the events
    /// concerned. [`Self::settle`] empties both.
    reading: ClockReading,
    rows: Vec<LiveEvent>,
    /// All stored doubts, in order of their numbers.
    off: Vec<DoubtedEvents>,
    /// The number of receive times that were corrected.
    corrected: usize,
}

/// A stored event, and what our clock said when it came.
#[derive(Debug)]
struct LiveEvent {
    stream: i64,
    event_id: String,
    room_id: String,
    origin_server_ts: i64,
    received_ms: Option<i64>,
    seen_ms: i64,
    /// It came by sync or poll, not from history.
    is_live: bool,
}

/// Computes again which receive times are believed, from the order in which all events were stored,
/// and corrects those of one room or of all. Returns how many were wrong. What is derived from them
/// must be derived again.
///
/// # Errors
/// When the database fails.
pub async fn correct_receive_times(store: &Writer, room_id: Option<&str>) -> Result<usize, Error> {
    let off = sqlx::query_as(OFF_EVENTS).fetch_all(&store.read).await?;
    let mut correction = Correction {
        off,
        ..Correction::default()
    };

    let mut from = 0;

    loop {
        let mut tx = store.writing().await?;
        let rows = sqlx::query(READ)
            .bind(from)
            .bind(to_i64(PORTION))
            .fetch_all(&mut *tx)
            .await?;
        for row in &rows {
            from = row.try_get("stream")?;
            correction.add_event(&mut tx, row, room_id).await?;
        }

        if rows.is_empty() {
            correction.settle(&mut tx, room_id).await?;
            tx.commit().await?;
            return Ok(correction.corrected);
        }

        tx.commit().await?;
    }
}

impl Correction {
    /// Adds the next stored event, in order of their numbers. If it came with another reading of
    /// our clock than the events before it, those are corrected first. With a `room_id`, only
    /// events of that room are corrected; those of others still tell about the clock. After the
    /// last event, the caller has to settle once more.
    async fn add_event(
        &mut self,
        tx: &mut Tx,
        row: &AnyRow,
        room_id: Option<&str>,
    ) -> Result<(), Error> {
        // Events stored by older versions have no reading.
        let Some(seen_ms) = row.try_get::<Option<i64>, _>("seen_ms")? else {
            return Ok(());
        };

        // Of one answer that was written in pieces, some may be doubted and others not.
        let stream = row.try_get("stream")?;
        let is_of_reading = seen_ms == self.reading.seen_ms
            && self
                .rows
                .first()
                .is_none_or(|first| self.is_doubted_alike(first.stream, stream));
        if !is_of_reading {
            self.settle(tx, room_id).await?;
            self.reading.seen_ms = seen_ms;
        }

        let source: Source = word_from_row(row, "source")?;
        let sender: &str = row.try_get("sender")?;
        let origin_server_ts: i64 = row.try_get("origin_server_ts")?;
        if source == Source::Sync && row.try_get::<i64, _>("in_timeline")? != 0 {
            let server = server_of(sender).to_owned();
            self.reading.stamps.push((server, origin_server_ts));
        }

        self.rows.push(LiveEvent {
            stream,
            event_id: row.try_get("event_id")?,
            room_id: row.try_get("room_id")?,
            origin_server_ts,
            received_ms: row.try_get("received_ms")?,
            seen_ms,
            is_live: source != Source::Backfill,
        });

        Ok(())
    }

    /// Judges the current reading, corrects the receive times of its events, all or those of one
    /// room, and leaves an empty reading. Does nothing without events.
    async fn settle(&mut self, tx: &mut Tx, room_id: Option<&str>) -> Result<(), Error> {
        let reading = std::mem::take(&mut self.reading);
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }

        let first = rows.first().map_or(0, |seen| seen.stream);
        let off = self.off_events(first);
        let doubt = off.filter(|off| off.back_by_ms.is_none());
        let back_by_ms = off.and_then(|off| off.back_by_ms);
        let reading = ClockReading {
            seen_ms: reading.seen_ms.saturating_add(back_by_ms.unwrap_or(0)),
            is_confirmed: back_by_ms.is_some(),
            ..reading
        };

        let is_believed = doubt.is_none() && self.judge.believes(&reading);
        let asked = |seen: &&LiveEvent| room_id.is_none_or(|room| room == seen.room_id);
        for seen in rows.iter().filter(asked) {
            let is_too_early = seen
                .received_ms
                .is_some_and(|received| received < reading.seen_ms.saturating_sub(SLACK_MS));
            // A back-filled event has the time of its neighbours in the stream.
            let is_of_neighbours = !seen.is_live && is_too_early;
            // Since the doubt was withdrawn, an event that lost its time gets it back.
            let is_given_back = back_by_ms.is_some() && seen.is_live && is_believed;
            let has_none = seen.received_ms.is_none() && !is_given_back;
            let is_right = is_believed && !is_given_back && !(seen.is_live && is_too_early);
            if is_of_neighbours || has_none || is_right {
                continue;
            }

            let received_ms = if is_believed {
                Some(reading.seen_ms)
            } else if let Some(doubt) = self.off_events(first) {
                doubt.at_the_latest(seen)
            } else {
                let later = later_sighting(tx, seen).await?;
                later.or_else(|| self.judge.at_the_latest(seen.origin_server_ts))
            };

            if received_ms != seen.received_ms {
                set_receive_time(tx, seen, received_ms).await?;
                self.corrected += 1;
            }
        }

        Ok(())
    }

    /// Are the events with these two numbers under the same doubt, or both under none?
    fn is_doubted_alike(&self, one: i64, other: i64) -> bool {
        let from = |stream: i64| self.off_events(stream).map(|off| off.from_stream);
        from(one) == from(other)
    }

    /// The doubt about the event with this number: of several, the one that begins last. `None` if
    /// there is none.
    fn off_events(&self, stream: i64) -> Option<&DoubtedEvents> {
        let mut all = self.off.iter().rev();
        all.find(|off| (off.from_stream..=off.to_stream).contains(&stream))
    }
}

const LATER: &str = "select min(seen_ms) from sightings where event_id = $1 and room_id = $2
    and source <> 'backfill'
    and seen_ms >= $3";

/// When the event came again by another way, by our clock, ms; `None` if it did not. A time before
/// the event's own stamp cannot be right and does not count.
async fn later_sighting(tx: &mut Tx, seen: &LiveEvent) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(LATER)
        .bind(&seen.event_id)
        .bind(&seen.room_id);

    Ok(query
        .bind(seen.origin_server_ts)
        .fetch_one(&mut **tx)
        .await?)
}

const SET: &str =
    "update events set received_ms = $3, time_ms = $4 where event_id = $1 and room_id = $2";

/// Stores when an event came, ms (`None` = not known), and the time that derivation uses, which is
/// that or the event's own stamp, whichever is earlier.
async fn set_receive_time(
    tx: &mut Tx,
    seen: &LiveEvent,
    received_ms: Option<i64>,
) -> Result<(), Error> {
    let time_ms = received_ms.map_or(seen.origin_server_ts, |received| {
        received.min(seen.origin_server_ts)
    });
    sqlx::query(SET)
        .bind(&seen.event_id)
        .bind(&seen.room_id)
        .bind(received_ms)
        .bind(time_ms)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

words! {
    /// What showed that the clock of this machine was wrong.
    pub enum ClockWitness {
        /// The monotonic clock, which went on as before.
        Counting = "counting",
        /// The homeserver, which reports another time. Which of the two is wrong is not known.
        Homeserver = "homeserver",
    }
}

/// A span of time in which the clock of this machine was wrong. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockError {
    pub from_ms: i64,
    /// `None` while it goes on.
    pub to_ms: Option<i64>,
    /// How far it was off, ms; negative = behind.
    pub off_ms: i64,
    pub found_by: ClockWitness,
}

const NOTE_OFF: &str =
    "insert into clock_offs (from_ms, to_ms, off_ms, found_by) values ($1, $2, $3, $4)
    on conflict (from_ms, found_by) do update set to_ms = excluded.to_ms, off_ms = excluded.off_ms";
// A span that was open when the program stopped is closed. It is found again if it still lasts.
const END_OFFS: &str =
    "update clock_offs set to_ms = coalesce((select high_ms from clock where one = 1
    and high_ms > from_ms), from_ms) where to_ms is null";
const PRUNE_OFFS: &str = "delete from clock_offs where from_ms <
    (select from_ms from clock_offs order by from_ms desc limit 1 offset $1)";
const OFFS: &str = "select from_ms, to_ms, off_ms, found_by from clock_offs order by from_ms desc,
    found_by limit $1";

/// Stores spans in which our clock was wrong. Only the newest few are kept.
///
/// # Errors
/// When the database fails.
pub async fn record_clock_errors(store: &Writer, offs: &[ClockError]) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    for off in offs {
        sqlx::query(NOTE_OFF)
            .bind(off.from_ms)
            .bind(off.to_ms)
            .bind(off.off_ms)
            .bind(off.found_by.as_str())
            .execute(&mut *tx)
            .await?;
    }

    sqlx::query(PRUNE_OFFS)
        .bind(OFFS_MAX)
        .execute(&mut *tx)
        .await?;

    Ok(tx.commit().await?)
}

/// Ends the spans that were open when the previous process stopped, at the last reading that was
/// believed.
///
/// # Errors
/// When the database fails.
pub async fn close_clock_errors(store: &Writer) -> Result<(), Error> {
    sqlx::query(END_OFFS).execute(&store.write).await?;
    Ok(())
}

/// The spans in which our clock was wrong, newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_clock_errors(store: &Reader, limit: i64) -> Result<Vec<ClockError>, Error> {
    let query = sqlx::query(OFFS).bind(limit);
    let off = |row: &AnyRow| {
        Ok(ClockError {
            from_ms: row.try_get("from_ms")?,
            to_ms: row.try_get("to_ms")?,
            off_ms: row.try_get("off_ms")?,
            found_by: word_from_row(row, "found_by")?,
        })
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(off)
        .collect()
}

// The readings that were believed then are no longer believed: a rebuild computes without them. One
// doubt replaces those within it.
const FIND_LATER: &str = "select min(stream), max(stream) from events
    where seen_ms >= $1 and seen_ms <= $2 and stream > $3 and source <> 'backfill'";
const DROP_DOUBTS: &str = "delete from clock_doubts where from_stream >= $1 and from_stream <= $2";
const DOUBT_LATER: &str = "insert into clock_doubts (from_stream, to_stream, seen_ms, high_ms,
    off_ms) values ($1, $2, $3, null, $4)";

/// A span of time by our clock, ms, and the number of the last event stored before this process
/// began, because an earlier process may have read the same times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnClockSpan {
    pub from_ms: i64,
    pub to_ms: i64,
    pub after_stream: i64,
}

/// Stores that our clock had been wrong by `off_ms` (negative = behind) in a span of time, both
/// ends included, although it was believed then. A rebuild corrects the receive times. Nothing is
/// stored if no event came live in that span.
///
/// # Errors
/// When the database fails.
pub async fn record_late_doubt(
    store: &Writer,
    span: OwnClockSpan,
    off_ms: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let found: (Option<i64>, Option<i64>) = sqlx::query_as(FIND_LATER)
        .bind(span.from_ms)
        .bind(span.to_ms)
        .bind(span.after_stream)
        .fetch_one(&mut *tx)
        .await?;
    let (Some(first), Some(last)) = found else {
        return Ok(());
    };

    sqlx::query(DROP_DOUBTS)
        .bind(first)
        .bind(last)
        .execute(&mut *tx)
        .await?;
    sqlx::query(DOUBT_LATER)
        .bind(first)
        .bind(last)
        .bind(span.to_ms)
        .bind(off_ms)
        .execute(&mut *tx)
        .await?;

    Ok(tx.commit().await?)
}

const WITHDRAW: &str = "update clock_doubts set back_by_ms = $3
    where from_stream > $1 and seen_ms <= $2 and off_ms is not null";
const DROP_OFF: &str = "delete from clock_offs where from_ms = $1 and found_by = $2";

/// Our clock was doubted and had been right all the same, plus so many ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// When it was first doubted, ms, and how that was found.
    pub from_ms: i64,
    pub found_by: ClockWitness,
    /// Until when it was, ms.
    pub to_ms: i64,
    pub back_by_ms: i64,
    /// The number of the last event that was stored before it was doubted; `None` = nothing was
    /// stored while it was. What is written of an answer then may have come before `from_ms`.
    pub after_stream: Option<i64>,
}

/// Stores that a doubt about our clock was wrong. A rebuild gives the receive times back.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_doubt(store: &Writer, withdrawal: Withdrawal) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    if let Some(after_stream) = withdrawal.after_stream {
        sqlx::query(WITHDRAW)
            .bind(after_stream)
            .bind(withdrawal.to_ms)
            .bind(withdrawal.back_by_ms)
            .execute(&mut *tx)
            .await?;
    }

    sqlx::query(DROP_OFF)
        .bind(withdrawal.from_ms)
        .bind(withdrawal.found_by.as_str())
        .execute(&mut *tx)
        .await?;

    Ok(tx.commit().await?)
}

/// The number of the last event that is stored; 0 if there is none.
///
/// # Errors
/// When the database fails.
pub async fn last_stream(store: &Reader) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(LAST_STREAM)
        .fetch_one(&store.read)
        .await?)
}

/// Times at which our own clock was not believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockDoubts {
    /// How many answers came at such times.
    pub readings: i64,
    /// What our clock said at the last one, ms.
    pub last_ms: Option<i64>,
    /// How far it was behind then, ms.
    pub behind_ms: Option<i64>,
}

const DOUBTS: &str = "select count(*) as readings, max(from_stream) as last from clock_doubts
    where back_by_ms is null";
const LAST_DOUBT: &str = "select seen_ms, high_ms from clock_doubts where from_stream = $1";

/// How often our own clock was not believed, and what it said the last time. Withdrawn doubts are
/// left out. How far it was behind is known only of a doubt that rests on an earlier reading.
///
/// # Errors
/// When the database fails.
pub async fn count_clock_doubts(store: &Reader) -> Result<ClockDoubts, Error> {
    let (readings, last_id): (i64, Option<i64>) =
        sqlx::query_as(DOUBTS).fetch_one(&store.read).await?;
    let Some(last_id) = last_id else {
        return Ok(ClockDoubts::default());
    };

    // The highest time that was believed before: the reading was behind it.
    let (seen_ms, high_ms): (i64, Option<i64>) = sqlx::query_as(LAST_DOUBT)
        .bind(last_id)
        .fetch_one(&store.read)
        .await?;

    Ok(ClockDoubts {
        readings,
        last_ms: Some(seen_ms),
        behind_ms: high_ms.map(|high_ms| high_ms.saturating_sub(seen_ms)),
    })
}

#[cfg(test)]
#[path = "receive_times_tests.rs"]
mod tests;
