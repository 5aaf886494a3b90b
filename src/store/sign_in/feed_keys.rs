//! The keys in secret addresses of feeds: programs that read feeds cannot sign in. Each person has
//! one key at most, and only its hash is stored.

use super::SignIns;
use super::sessions::SessionIdentity;
use crate::store::Error;
use crate::store::db::json_row::read_rows;

/// How often the last use of a key is written at most, ms.
const USED_EVERY_MS: i64 = 60_000;

/// Maximum keys that are listed.
const LISTED_MOST: i64 = 500;

/// A key without its secret; times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedKey {
    /// Whose feeds it opens.
    pub owner: SessionIdentity,
    pub created_ms: i64,
    pub last_used_ms: Option<i64>,
}

impl FeedKey {
    /// Is it time to note that it is used, at `now`, ms?
    #[must_use]
    pub fn is_use_due(&self, now: i64) -> bool {
        self.last_used_ms
            .is_none_or(|used| used <= now.saturating_sub(USED_EVERY_MS))
    }
}

json_row! {
    struct KeyRow {
        owner: String = "owner",
        created_ms: i64 = "created_ms",
        last_used_ms: Option<i64> = "last_used_ms",
    }
}

fn key_from_row(row: KeyRow) -> FeedKey {
    FeedKey {
        owner: SessionIdentity::from_word(row.owner),
        created_ms: row.created_ms,
        last_used_ms: row.last_used_ms,
    }
}

const RENEW: &str = "insert into feed_keys (owner, hash, created_ms) values ($1, $2, $3)
    on conflict (owner) do update set hash = excluded.hash, created_ms = excluded.created_ms,
        last_used_ms = null";

/// Stores a new key of this owner with this hash (SHA-256 in hex), made at `now`, ms. The one before
/// opens nothing any more.
///
/// # Errors
/// When the database fails.
pub async fn renew_key(
    sign_ins: &SignIns,
    owner: &SessionIdentity,
    hash: &str,
    now: i64,
) -> Result<(), Error> {
    let statement = || sqlx::query(RENEW).bind(owner.as_str()).bind(hash).bind(now);
    sign_ins.write(statement).await?;

    Ok(())
}

const DELETE: &str = "delete from feed_keys where owner = $1";

/// Deletes the key of this owner. Returns whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn delete_key(sign_ins: &SignIns, owner: &SessionIdentity) -> Result<bool, Error> {
    let statement = || sqlx::query(DELETE).bind(owner.as_str());

    Ok(sign_ins.write(statement).await? > 0)
}

const FIND: &str = sql!("select ", KeyRow::TEXT, " from feed_keys where hash = $1");
const OF_OWNER: &str = sql!("select ", KeyRow::TEXT, " from feed_keys where owner = $1");

/// The key with this hash; `None` if there is none.
///
/// # Errors
/// When the database fails.
pub async fn find_key(sign_ins: &SignIns, hash: &str) -> Result<Option<FeedKey>, Error> {
    find_by(sign_ins, FIND, hash).await
}

/// The key of this owner; `None` if there is none.
///
/// # Errors
/// When the database fails.
pub async fn find_key_of_owner(
    sign_ins: &SignIns,
    owner: &SessionIdentity,
) -> Result<Option<FeedKey>, Error> {
    find_by(sign_ins, OF_OWNER, owner.as_str()).await
}

const LIST: &str = sql!(
    "select ",
    KeyRow::TEXT,
    " from feed_keys order by created_ms desc, owner limit $1"
);

/// The keys, newest first; 500 at most.
///
/// # Errors
/// When the database fails.
pub async fn list_keys(sign_ins: &SignIns) -> Result<Vec<FeedKey>, Error> {
    let query = sign_ins.dialect().query(LIST).bind(LISTED_MOST);
    let rows = query.fetch_all(&sign_ins.read).await?;

    read_rows(&rows, key_from_row)
}

async fn find_by(
    sign_ins: &SignIns,
    statement: &'static str,
    value: &str,
) -> Result<Option<FeedKey>, Error> {
    let query = sign_ins.dialect().query(statement).bind(value);
    let rows = query.fetch_all(&sign_ins.read).await?;

    Ok(read_rows(&rows, key_from_row)?.pop())
}

const USE: &str = "update feed_keys set last_used_ms = $2 where owner = $1";

/// Notes that the key of this owner was used at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn note_use(sign_ins: &SignIns, owner: &SessionIdentity, now: i64) -> Result<(), Error> {
    sign_ins
        .write(|| sqlx::query(USE).bind(owner.as_str()).bind(now))
        .await?;

    Ok(())
}
