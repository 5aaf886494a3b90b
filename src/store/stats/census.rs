//! The census: in which formats people state that they are in a call, and how their clients choose
//! an SFU, by week, server and room; and rooms whose memberships are encrypted.

use crate::rtc::coverage::Span;
use crate::rtc::transport::Selection;
use crate::rtc::words::Format;
use crate::store::db::word_column::word_from_row;
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Maximum rows of each list. Where a list has as many, there may be more.
pub const ROWS_MAX: i64 = 20_000;

/// How many stays were stated in one format, with one way to choose an SFU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusRow {
    /// The begin of the week, ms; or the name of the server, or the id of the room.
    pub week_ms: i64,
    pub server: String,
    pub room_id: String,
    pub format: Format,
    pub selection: Selection,
    pub stays: i64,
    pub people: i64,
    /// When the last of them began, ms.
    pub last_ms: i64,
}

const BY_WEEK: &str = "select o.week_ms, '' as server, '' as room_id, o.kind, o.selection,
        count(*) as stays, count(distinct o.user_id) as people, max(o.joined_ms) as last_ms
    from (select m.kind, m.selection, m.user_id, m.joined_ms,
            $1 + (m.joined_ms - $1) / 604800000 * 604800000 as week_ms
        from memberships m where m.until_ms > $1 and m.joined_ms >= $1 and m.joined_ms < $2
            and m.until_ms > m.joined_ms) as o
    group by o.week_ms, o.kind, o.selection order by o.week_ms, o.kind, o.selection limit $3";
const BY_ROOM_AND_SERVER: &str = "select cast(0 as bigint) as week_ms, m.server, m.room_id, m.kind,
        m.selection, count(*) as stays, count(distinct m.user_id) as people,
        max(m.joined_ms) as last_ms
    from memberships m where m.until_ms > $1 and m.joined_ms >= $1 and m.joined_ms < $2
        and m.until_ms > m.joined_ms
    group by m.server, m.room_id, m.kind, m.selection order by 6 desc, 2, 3, 4, 5 limit $3";

/// The stays that began in a span by week, which begin with the span.
///
/// # Errors
/// When the database fails.
pub async fn census_by_week(store: &Reader, span: Span) -> Result<Vec<CensusRow>, Error> {
    read_census(store, BY_WEEK, span).await
}

/// The stays that began in a span by room and server: those with most stays, at most [`ROWS_MAX`].
///
/// # Errors
/// When the database fails.
pub async fn census_by_room_and_server(
    store: &Reader,
    span: Span,
) -> Result<Vec<CensusRow>, Error> {
    read_census(store, BY_ROOM_AND_SERVER, span).await
}

async fn read_census(
    store: &Reader,
    sql: &'static str,
    span: Span,
) -> Result<Vec<CensusRow>, Error> {
    let query = sqlx::query(sql)
        .bind(span.from)
        .bind(span.to)
        .bind(ROWS_MAX);
    let rows = query.fetch_all(&store.read).await?;
    let row = |row: &AnyRow| {
        let selection: String = row.try_get("selection")?;
        Ok(CensusRow {
            week_ms: row.try_get("week_ms")?,
            server: row.try_get("server")?,
            room_id: row.try_get("room_id")?,
            format: word_from_row(row, "kind")?,
            selection: Selection::from_word(&selection),
            stays: row.try_get("stays")?,
            people: row.try_get("people")?,
            last_ms: row.try_get("last_ms")?,
        })
    };

    rows.iter().map(row).collect()
}

/// A room with encrypted memberships, which nobody outside can read. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedRoom {
    pub room_id: String,
    pub events: i64,
    pub first_ms: i64,
    pub last_ms: i64,
    /// When the last stay that could be read began; `None` if none ever could.
    pub last_readable_ms: Option<i64>,
}

const ENCRYPTED: &str = "select o.room_id, o.events, o.first_ms, o.last_ms,
        (select max(m.joined_ms) from memberships m where m.room_id = o.room_id) as readable_ms
    from (select e.room_id, count(*) as events, min(e.origin_server_ts) as first_ms,
            max(e.origin_server_ts) as last_ms
        from events e where e.rejected = 'encrypted' group by e.room_id) as o
    order by o.last_ms desc, o.room_id limit $1";

/// The rooms with encrypted memberships, those first where the last one is newest; at most
/// [`ROWS_MAX`].
///
/// # Errors
/// When the database fails.
pub async fn list_encrypted_rooms(store: &Reader) -> Result<Vec<EncryptedRoom>, Error> {
    let query = sqlx::query(ENCRYPTED).bind(ROWS_MAX);
    let rows = query.fetch_all(&store.read).await?;
    let room = |row: &AnyRow| {
        Ok(EncryptedRoom {
            room_id: row.try_get("room_id")?,
            events: row.try_get("events")?,
            first_ms: row.try_get("first_ms")?,
            last_ms: row.try_get("last_ms")?,
            last_readable_ms: row.try_get("readable_ms")?,
        })
    };

    rows.iter().map(room).collect()
}
