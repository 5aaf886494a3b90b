//! The outbox: messages that wait to be sent, were sent, or could not be. A message is known by its
//! key, which its receiver gets at each attempt.

use crate::rtc::event::replace_nul;
use crate::rtc::words::words;
use crate::store::{Error, Reader, Tx, Writer, to_i64};
use sqlx::Row;
use sqlx::any::AnyRow;

/// How long messages are kept that were sent or failed, ms, if calls are kept as long.
pub const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Maximum length of what is stored of why an attempt failed, in characters.
const WHY_MOST: usize = 500;

words! {
    /// What became of a message.
    pub enum OutboxState {
        Waiting = "waiting",
        Sent = "sent",
        /// It was refused, or tried for too long.
        Failed = "failed",
        /// It is told as a part of another one.
        Told = "told",
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub key: String,
    pub channel: String,
    /// Messages of one subject are sent in order.
    pub subject: String,
    /// The same for all messages of one alert.
    pub thread: String,
    /// Empty if it tells of no room, or of several.
    pub room_id: String,
    /// JSON.
    pub payload: String,
}

/// A message in the outbox. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    pub number: i64,
    pub message: NewMessage,
    pub created_ms: i64,
    pub due_ms: i64,
    pub attempts: i64,
    pub state: OutboxState,
    pub settled_ms: Option<i64>,
    /// What the last attempt failed at.
    pub why: Option<String>,
    pub receipt: Option<String>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    Sent {
        /// The receiver's id of the message.
        receipt: Option<String>,
    },
    /// It is tried again at this time, ms.
    Again {
        due_ms: i64,
        why: String,
    },
    Failed {
        why: String,
    },
}

const NEXT: &str = "select coalesce(max(number), 0) + 1 from outbox";
// A message that was written before is not written again.
const ADD: &str = "insert into outbox (number, key, channel, subject, thread, room_id, payload,
        created_ms, due_ms, attempts, state)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0, 'waiting') on conflict (key) do nothing";

/// Puts these messages at the end of the outbox at `now`, ms. Those that are there already stay as
/// they are.
pub(super) async fn append_messages(
    tx: &mut Tx,
    messages: &[NewMessage],
    now: i64,
) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }

    let mut number: i64 = sqlx::query_scalar(NEXT).fetch_one(&mut **tx).await?;
    for message in messages {
        sqlx::query(ADD)
            .bind(number)
            .bind(message.key.as_str())
            .bind(message.channel.as_str())
            .bind(message.subject.as_str())
            .bind(message.thread.as_str())
            .bind(message.room_id.as_str())
            .bind(replace_nul(&message.payload))
            .bind(now)
            .execute(&mut **tx)
            .await?;
        number += 1;
    }

    Ok(())
}

/// Puts messages at the end of the outbox at `now`, ms, apart from any alert.
///
/// # Errors
/// When the database fails.
pub async fn add_messages(store: &Writer, messages: &[NewMessage], now: i64) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    append_messages(&mut tx, messages, now).await?;
    tx.commit().await?;

    Ok(())
}

fn message_from_row(row: &AnyRow) -> Result<OutboxMessage, Error> {
    let state: String = row.try_get("state")?;

    Ok(OutboxMessage {
        number: row.try_get("number")?,
        message: NewMessage {
            key: row.try_get("key")?,
            channel: row.try_get("channel")?,
            subject: row.try_get("subject")?,
            thread: row.try_get("thread")?,
            room_id: row.try_get("room_id")?,
            payload: row.try_get("payload")?,
        },
        created_ms: row.try_get("created_ms")?,
        due_ms: row.try_get("due_ms")?,
        attempts: row.try_get("attempts")?,
        state: state.parse().unwrap_or(OutboxState::Failed),
        settled_ms: row.try_get("settled_ms")?,
        why: row.try_get("why")?,
        receipt: row.try_get("receipt")?,
    })
}

const WAITING: &str =
    "select * from outbox where channel = $1 and state = 'waiting' order by number limit $2";

/// The messages that wait for this channel, the oldest first; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_waiting(
    store: &Reader,
    channel: &str,
    limit: i64,
) -> Result<Vec<OutboxMessage>, Error> {
    let rows = sqlx::query(WAITING)
        .bind(channel)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;

    rows.iter().map(message_from_row).collect()
}

const NEWEST: &str = "select * from outbox where state <> 'told' order by number desc limit $1";

/// The newest messages of the outbox, apart from those that are a part of another; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_newest(store: &Reader, limit: i64) -> Result<Vec<OutboxMessage>, Error> {
    let rows = sqlx::query(NEWEST)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;

    rows.iter().map(message_from_row).collect()
}

const SENT_WITHIN: &str = "select settled_ms from outbox where channel = $1 and state = 'sent'
    and settled_ms > $2 and settled_ms <= $3 order by settled_ms";

/// When messages were sent to this channel after `from` until `now`, ms, the first ones first.
///
/// # Errors
/// When the database fails.
pub async fn sent_times(
    store: &Reader,
    channel: &str,
    from: i64,
    now: i64,
) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar(SENT_WITHIN)
        .bind(channel)
        .bind(from)
        .bind(now)
        .fetch_all(&store.read)
        .await?)
}

const FIRST_RECEIPT: &str = "select receipt from outbox where channel = $1 and thread = $2
    and state = 'sent' and receipt is not null order by number limit 1";

/// The receiver's id of the first message of a thread that was sent to this channel.
///
/// # Errors
/// When the database fails.
pub async fn first_receipt(
    store: &Reader,
    channel: &str,
    thread: &str,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar(FIRST_RECEIPT)
        .bind(channel)
        .bind(thread)
        .fetch_optional(&store.read)
        .await?)
}

const SETTLE: &str = "update outbox set state = $2, settled_ms = $3, attempts = attempts + 1,
    receipt = $4, why = $5 where key = $1 and state = 'waiting'";
const AGAIN: &str = "update outbox set due_ms = $2, why = $3, attempts = attempts + 1
    where key = $1 and state = 'waiting'";

/// Notes what became of an attempt to send the message with this key, at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn record_attempt(
    store: &Writer,
    key: &str,
    attempt: &Attempt,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let cut = |why: &str| -> String { replace_nul(why).chars().take(WHY_MOST).collect() };
    let query = match attempt {
        Attempt::Sent { receipt } => sqlx::query(SETTLE)
            .bind(key)
            .bind(OutboxState::Sent.as_str())
            .bind(now)
            .bind(receipt.as_deref())
            .bind(None::<String>),
        Attempt::Failed { why } => sqlx::query(SETTLE)
            .bind(key)
            .bind(OutboxState::Failed.as_str())
            .bind(now)
            .bind(None::<String>)
            .bind(cut(why)),
        Attempt::Again { due_ms, why } => sqlx::query(AGAIN).bind(key).bind(*due_ms).bind(cut(why)),
    };
    query.execute(&mut *tx).await?;
    tx.commit().await?;

    Ok(())
}

const TELL_IN: &str = "update outbox set state = 'told', settled_ms = $2, told_in = $3
    where key = $1 and state = 'waiting'";

/// Replaces these messages by one that tells all of them, at `now`, ms. If one of them does not wait
/// any more, all stays as it is.
///
/// # Errors
/// When the database fails; then all is as it was.
pub async fn tell_in_one(
    store: &Writer,
    keys: &[String],
    one: &NewMessage,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    append_messages(&mut tx, std::slice::from_ref(one), now).await?;
    for key in keys {
        let told = sqlx::query(TELL_IN)
            .bind(key.as_str())
            .bind(now)
            .bind(one.key.as_str())
            .execute(&mut *tx)
            .await?;
        // Somebody of whom it tells was forgotten meanwhile: it is read again.
        if told.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(());
        }
    }

    tx.commit().await?;

    Ok(())
}

/// How many messages of a channel there are in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxCount {
    pub channel: String,
    pub state: OutboxState,
    pub count: i64,
    /// When the oldest of them was written, ms.
    pub oldest_ms: i64,
}

const COUNTS: &str = "select channel, state, count(*) as count, min(created_ms) as oldest_ms
    from outbox where state <> 'told' group by channel, state order by channel, state";

/// How many messages wait, were sent and failed, by channel. Those of the last 30 days count.
///
/// # Errors
/// When the database fails.
pub async fn count_messages(store: &Reader) -> Result<Vec<OutboxCount>, Error> {
    let rows = sqlx::query(COUNTS).fetch_all(&store.read).await?;
    let mut counts = Vec::with_capacity(rows.len());
    for row in &rows {
        let state: String = row.try_get("state")?;
        let Ok(state) = state.parse() else {
            continue;
        };

        counts.push(OutboxCount {
            channel: row.try_get("channel")?,
            state,
            count: row.try_get("count")?,
            oldest_ms: row.try_get("oldest_ms")?,
        });
    }

    Ok(counts)
}

const CHANNELS: &str = "select distinct channel from outbox where state = 'waiting'";
const FAIL: &str = "update outbox set state = 'failed', settled_ms = $2, why = $3
    where channel = $1 and state = 'waiting'";

/// Gives up the messages that wait for channels that are not among `channels`, at `now`, ms.
/// Returns how many there were.
///
/// # Errors
/// When the database fails.
pub async fn give_up_other_channels(
    store: &Writer,
    channels: &[String],
    now: i64,
) -> Result<u64, Error> {
    let waiting: Vec<String> = sqlx::query_scalar(CHANNELS).fetch_all(&store.read).await?;
    let mut tx = store.writing().await?;
    let mut count = 0;
    for gone in waiting.iter().filter(|name| !channels.contains(name)) {
        let done = sqlx::query(FAIL)
            .bind(gone.as_str())
            .bind(now)
            .bind("the channel is not configured any more")
            .execute(&mut *tx)
            .await?;
        count += done.rows_affected();
    }

    tx.commit().await?;

    Ok(count)
}

// SQLite finds the rows by the state and the time.
const OLD: &str = "delete from outbox where key in (select key from outbox
    where state in ('sent', 'failed', 'told') and settled_ms < $1 limit $2)";
/// Maximum messages that are deleted in one transaction.
const DELETED_MOST: usize = 1000;

/// Deletes messages that were settled `kept_ms` before `now`, ms. Returns true if more are left.
///
/// # Errors
/// When the database fails.
pub async fn delete_old(store: &Writer, kept_ms: i64, now: i64) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    let done = sqlx::query(OLD)
        .bind(now.saturating_sub(kept_ms))
        .bind(to_i64(DELETED_MOST))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;

    Ok(done.rows_affected() >= DELETED_MOST as u64)
}
