//! The stays of one call, or of the calls of a room, for lists of attendance.

use crate::rtc::attendance::AttendanceStay;
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Which calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttendedCalls<'a> {
    /// One call, by its id.
    One(&'a str),
    /// The calls of a room that began within a time, ms.
    OfRoom {
        room_id: &'a str,
        from_ms: i64,
        to_ms: i64,
    },
}

const OF_CALL: &str = "select m.session_id, s.started_ms, m.user_id, m.device_id, m.joined_ms,
        m.until_ms, m.end_reason
    from sessions s join memberships m on m.session_id = s.id
    where s.id = $1 order by m.joined_ms, m.id limit $2";
const OF_ROOM: &str = "select m.session_id, s.started_ms, m.user_id, m.device_id, m.joined_ms,
        m.until_ms, m.end_reason
    from sessions s join memberships m on m.session_id = s.id
    where s.room_id = $1 and s.started_ms >= $2 and s.started_ms < $3
    order by s.started_ms, s.id, m.joined_ms, m.id limit $4";

/// The stays of these calls, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn stays_for_attendance(
    store: &Reader,
    calls: AttendedCalls<'_>,
    limit: i64,
) -> Result<Vec<AttendanceStay>, Error> {
    let query = match calls {
        AttendedCalls::One(id) => sqlx::query(OF_CALL).bind(id).bind(limit),
        AttendedCalls::OfRoom {
            room_id,
            from_ms,
            to_ms,
        } => sqlx::query(OF_ROOM)
            .bind(room_id)
            .bind(from_ms)
            .bind(to_ms)
            .bind(limit),
    };
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(stay_from_row).collect()
}

fn stay_from_row(row: &AnyRow) -> Result<AttendanceStay, Error> {
    Ok(AttendanceStay {
        call_id: row.try_get("session_id")?,
        call_started_ms: row.try_get("started_ms")?,
        user_id: row.try_get("user_id")?,
        device_id: row.try_get("device_id")?,
        joined_ms: row.try_get("joined_ms")?,
        until_ms: row.try_get("until_ms")?,
        end_reason: word_from_row(row, "end_reason")?,
    })
}
