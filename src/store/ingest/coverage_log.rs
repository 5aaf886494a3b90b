//! Records which time of a room was watched, in the transaction of what was heard.

use super::rooms;
use crate::rtc::words::{Mode, Watch};
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A silence of the sync stream up to this length is a pause of the network, ms: the stream
/// continues where it was.
const BREAK_MS: i64 = 60_000;
/// Rows of the room itself have no vantage: they say that none of our accounts is in it.
const NO_VANTAGE: &str = "";

const HEARD_LAST: &str = "select position, last_sync_ms, started_ms from vantages where id = $1";
const EXTEND: &str = "update coverage set to_ms = $4 where vantage_id = $1 and room_id = $2
    and kind = $3
    and from_ms = (select max(from_ms) from coverage where vantage_id = $1 and room_id = $2
    and kind = $3)";
const BEGIN: &str =
    "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ($1, $2, $3, $4, $5)
    on conflict (vantage_id, room_id, kind, from_ms) do nothing";

/// Notes that the sync stream of this account was heard at `now`, ms. Returns true if a new span of
/// coverage begins, and false if the last one is extended. A new one begins after a stop, a long
/// silence, a lost position, or when our clock was set back.
pub(in crate::store) async fn record_stream_heard(
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

/// Was our clock set back to before our start? If so, what is noted of later times is deleted and
/// the account starts anew at `now`, ms. `row` is the account's row, with the column `started_ms`.
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

/// Extends the last span of this kind of coverage up to `now`, ms, if it goes on and there is one;
/// else begins a new one. An empty room id means all rooms of the account.
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

/// Notes that the full state of a room was read at `now`, ms. That is the room's coverage if it is
/// only polled; otherwise nothing is noted. Returns true if the room was polled before and there is
/// a gap before this poll.
pub(in crate::store) async fn record_poll(
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
    let mode: Mode = word_from_row(&row, "mode")?;
    if mode != Mode::Poll && Watch::from_word(row.try_get("watch")?) != Watch::Peeked {
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

/// Notes that our membership of a room changed. From then on until the next change nobody sees the
/// room if it is left or cannot be read; that is stored as a span of the kind `away`. `now`, ms, is
/// when we learned of it.
pub(in crate::store) async fn record_watch_change(
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
