//! The sessions of those who signed in to the pages. Only the hash of a session's id is stored.

use super::SignIns;
use crate::rtc::words::words;
use crate::store::Error;
use crate::store::db::json_row::read_rows;

/// A session ends after this time without a request, ms.
pub const IDLE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// A session of a widget ends this long after it began, ms. Its page begins another one.
pub const WIDGET_LENGTH_MAX_MS: i64 = 12 * 60 * 60 * 1000;
/// A session ends this long after it began, however much it is used, ms.
pub const LENGTH_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How often a session's last request is written at most, ms.
pub const SEEN_EVERY_MS: i64 = 60_000;
/// Maximum sessions that are listed.
const LISTED_MOST: i64 = 200;

/// The word of the operator, where a Matrix id could stand.
const OPERATOR: &str = "operator";

/// Who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionIdentity {
    Operator,
    /// A person by Matrix id.
    User(String),
}

impl SessionIdentity {
    /// The word as stored and shown: `operator`, or the Matrix id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Operator => OPERATOR,
            Self::User(user_id) => user_id,
        }
    }

    /// The identity of this word.
    #[must_use]
    pub fn from_word(word: String) -> Self {
        if word == OPERATOR {
            Self::Operator
        } else {
            Self::User(word)
        }
    }
}

words! {
    /// The way by which somebody signed in.
    pub enum SignInWay {
        Password = "password",
        OpenId = "openid",
        /// A code by Matrix.
        Code = "code",
        Widget = "widget",
    }
}

/// A session; times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the id in the cookie, in hex.
    pub id_hash: String,
    pub identity: SessionIdentity,
    pub way: SignInWay,
    /// The address of the sign-in.
    pub address: String,
    pub created_ms: i64,
    pub last_seen_ms: i64,
    /// The only room that it shows; `None` if it shows all that its owner may see.
    pub room_id: Option<String>,
}

json_row! {
    struct SessionRow {
        id_hash: String = "id_hash",
        identity: String = "identity",
        way: SignInWay = "way",
        address: String = "address",
        created_ms: i64 = "created_ms",
        last_seen_ms: i64 = "last_seen_ms",
        room_id: Option<String> = "room_id",
    }
}

fn session_from_row(row: SessionRow) -> Session {
    Session {
        id_hash: row.id_hash,
        identity: SessionIdentity::from_word(row.identity),
        way: row.way,
        address: row.address,
        created_ms: row.created_ms,
        last_seen_ms: row.last_seen_ms,
        room_id: row.room_id,
    }
}

const ADD: &str = "insert into web_sessions (id_hash, identity, address, created_ms, last_seen_ms,
        expires_ms, room_id, way)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Adds a session that begins at its `created_ms`.
///
/// # Errors
/// When the database fails.
pub async fn add_session(sign_ins: &SignIns, session: &Session) -> Result<(), Error> {
    let length_max = if session.room_id.is_some() {
        WIDGET_LENGTH_MAX_MS
    } else {
        LENGTH_MAX_MS
    };
    let statement = || {
        sqlx::query(ADD)
            .bind(session.id_hash.as_str())
            .bind(session.identity.as_str())
            .bind(session.address.as_str())
            .bind(session.created_ms)
            .bind(session.last_seen_ms)
            .bind(session.created_ms.saturating_add(length_max))
            .bind(session.room_id.as_deref())
            .bind(session.way.as_str())
    };

    sign_ins.write(statement).await?;

    Ok(())
}

const FIND: &str = sql!(
    "select ",
    SessionRow::TEXT,
    " from web_sessions where id_hash = $1 and expires_ms > $2 and last_seen_ms > $3"
);

/// The session with this hash, if it has not ended at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn find_session(
    sign_ins: &SignIns,
    id_hash: &str,
    now: i64,
) -> Result<Option<Session>, Error> {
    let query = sign_ins.dialect().query(FIND).bind(id_hash).bind(now);
    let query = query.bind(now.saturating_sub(IDLE_MAX_MS));
    let rows = query.fetch_all(&sign_ins.read).await?;

    Ok(read_rows(&rows, session_from_row)?.pop())
}

const LIST: &str = sql!(
    "select ",
    SessionRow::TEXT,
    " from web_sessions where expires_ms > $1 and last_seen_ms > $2
    order by last_seen_ms desc, id_hash limit $3"
);

/// The sessions that have not ended at `now`, ms, the last used first. At most 200.
///
/// # Errors
/// When the database fails.
pub async fn list_sessions(sign_ins: &SignIns, now: i64) -> Result<Vec<Session>, Error> {
    let query = sign_ins.dialect().query(LIST).bind(now);
    let query = query
        .bind(now.saturating_sub(IDLE_MAX_MS))
        .bind(LISTED_MOST);
    let rows = query.fetch_all(&sign_ins.read).await?;

    read_rows(&rows, session_from_row)
}

const SEEN: &str =
    "update web_sessions set last_seen_ms = $2 where id_hash = $1 and last_seen_ms <= $3";

/// Stores that a request of the session came at `now`, ms, if the last one that was stored is a
/// minute old.
///
/// # Errors
/// When the database fails.
pub async fn note_request(sign_ins: &SignIns, id_hash: &str, now: i64) -> Result<(), Error> {
    let before = now.saturating_sub(SEEN_EVERY_MS);
    let statement = || sqlx::query(SEEN).bind(id_hash).bind(now).bind(before);
    sign_ins.write(statement).await?;

    Ok(())
}

const END: &str = "delete from web_sessions where id_hash = $1";

/// Ends a session. Was there one?
///
/// # Errors
/// When the database fails.
pub async fn end_session(sign_ins: &SignIns, id_hash: &str) -> Result<bool, Error> {
    let ended = sign_ins.write(|| sqlx::query(END).bind(id_hash)).await?;
    Ok(ended > 0)
}

const END_ALL: &str = "delete from web_sessions";

/// Ends every session. Returns how many there were.
///
/// # Errors
/// When the database fails.
pub async fn end_all_sessions(sign_ins: &SignIns) -> Result<u64, Error> {
    sign_ins.write(|| sqlx::query(END_ALL)).await
}

const FORGET: &str = "delete from web_sessions where expires_ms <= $1 or last_seen_ms <= $2";

/// Deletes sessions that have ended by themselves at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn delete_ended_sessions(sign_ins: &SignIns, now: i64) -> Result<(), Error> {
    let idle = now.saturating_sub(IDLE_MAX_MS);
    let statement = || sqlx::query(FORGET).bind(now).bind(idle);
    sign_ins.write(statement).await?;

    Ok(())
}
