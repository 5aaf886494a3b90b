//! The keys by which programs read the pages and the API. Only the hash of a key is stored.

use super::SignIns;
use super::audit_log::{AuditEntry, AuditKind, record_entry};
use crate::rtc::time::DAY_MS;
use crate::rtc::words::words;
use crate::store::Error;
use crate::store::db::json_row::read_rows;

words! {
    /// What a key opens.
    pub enum KeyScope {
        /// What everybody may see.
        Public = "public",
        /// Everything that the operator sees, but not the admin page.
        All = "all",
        /// `/metrics` alone.
        Metrics = "metrics",
    }
}

/// How often the last use of a key is written at most, ms.
const USED_EVERY_MS: i64 = 60_000;
/// Maximum keys that are listed.
const LISTED_MOST: i64 = 500;

/// A key without its secret; times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: String,
    pub name: String,
    pub scope: KeyScope,
    pub created_ms: i64,
    /// `None` = never.
    pub expires_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
    pub last_used_ms: Option<i64>,
}

impl ApiKey {
    /// Does it open anything at `now`, ms?
    #[must_use]
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires_ms| now < expires_ms)
    }
}

json_row! {
    struct KeyRow {
        id: String = "id",
        name: String = "name",
        scope: KeyScope = "scope",
        created_ms: i64 = "created_ms",
        expires_ms: Option<i64> = "expires_ms",
        revoked_ms: Option<i64> = "revoked_ms",
        last_used_ms: Option<i64> = "last_used_ms",
    }
}

fn key_from_row(row: KeyRow) -> ApiKey {
    ApiKey {
        id: row.id,
        name: row.name,
        scope: row.scope,
        created_ms: row.created_ms,
        expires_ms: row.expires_ms,
        revoked_ms: row.revoked_ms,
        last_used_ms: row.last_used_ms,
    }
}

const ADD: &str = "insert into api_keys (id, name, hash, scope, created_ms, expires_ms)
    values ($1, $2, $3, $4, $5, $6)";

/// Adds a key with this hash (SHA-256 in hex), and records that. `address` is where the request for
/// it came from; `None` if it was a command.
///
/// # Errors
/// When the database fails.
pub async fn add_key(
    sign_ins: &SignIns,
    key: &ApiKey,
    hash: &str,
    address: Option<&str>,
) -> Result<(), Error> {
    let statement = || {
        sqlx::query(ADD)
            .bind(key.id.as_str())
            .bind(key.name.as_str())
            .bind(hash)
            .bind(key.scope.as_str())
            .bind(key.created_ms)
            .bind(key.expires_ms)
    };

    sign_ins.write(statement).await?;

    record_key(sign_ins, AuditKind::KeyAdded, key, key.created_ms, address).await
}

const FIND: &str = sql!("select ", KeyRow::TEXT, " from api_keys where hash = $1");

/// The key with this hash, whether it is still good or not.
///
/// # Errors
/// When the database fails.
pub async fn find_key(sign_ins: &SignIns, hash: &str) -> Result<Option<ApiKey>, Error> {
    let query = sign_ins.dialect().query(FIND).bind(hash);
    let rows = query.fetch_all(&sign_ins.read).await?;

    Ok(read_rows(&rows, key_from_row)?.pop())
}

const LIST: &str = sql!(
    "select ",
    KeyRow::TEXT,
    " from api_keys order by case when revoked_ms is null then 0 else 1 end, created_ms desc, id
    limit $1"
);

/// All keys: those that are not revoked first, then the newest first. At most 500.
///
/// # Errors
/// When the database fails.
pub async fn list_keys(sign_ins: &SignIns) -> Result<Vec<ApiKey>, Error> {
    let query = sign_ins.dialect().query(LIST).bind(LISTED_MOST);
    let rows = query.fetch_all(&sign_ins.read).await?;

    read_rows(&rows, key_from_row)
}

const BY_ID: &str = sql!("select ", KeyRow::TEXT, " from api_keys where id = $1");
const REVOKE: &str = "update api_keys set revoked_ms = $2 where id = $1 and revoked_ms is null";

/// Revokes a key at `now`, ms, and records that. Returns the key; `None` if there is none with this
/// id, or it was revoked before.
///
/// # Errors
/// When the database fails.
pub async fn revoke_key(
    sign_ins: &SignIns,
    id: &str,
    now: i64,
    address: Option<&str>,
) -> Result<Option<ApiKey>, Error> {
    let revoked = sign_ins
        .write(|| sqlx::query(REVOKE).bind(id).bind(now))
        .await?;
    if revoked == 0 {
        return Ok(None);
    }

    let query = sign_ins.dialect().query(BY_ID).bind(id);
    let rows = query.fetch_all(&sign_ins.read).await?;
    let Some(key) = read_rows(&rows, key_from_row)?.pop() else {
        return Ok(None);
    };

    record_key(sign_ins, AuditKind::KeyRevoked, &key, now, address).await?;

    Ok(Some(key))
}

const USED: &str = "update api_keys set last_used_ms = $2
    where id = $1 and (last_used_ms is null or last_used_ms <= $3)";

/// Is it a minute since the use of this key was stored, so that [`note_use`] has something to do?
#[must_use]
pub fn is_use_due(key: &ApiKey, now: i64) -> bool {
    key.last_used_ms
        .is_none_or(|used_ms| used_ms <= now.saturating_sub(USED_EVERY_MS))
}

/// Stores that the key was used at `now`, ms, once a minute at most. Its first use of a day (UTC)
/// is recorded.
///
/// # Errors
/// When the database fails.
pub async fn note_use(
    sign_ins: &SignIns,
    key: &ApiKey,
    now: i64,
    address: &str,
) -> Result<(), Error> {
    let before = now.saturating_sub(USED_EVERY_MS);
    let id = key.id.as_str();
    let statement = || sqlx::query(USED).bind(id).bind(now).bind(before);
    let is_noted = sign_ins.write(statement).await? > 0;
    let day = |ms: i64| ms.div_euclid(DAY_MS);
    let is_first_of_day = key
        .last_used_ms
        .is_none_or(|used_ms| day(used_ms) < day(now));
    if is_noted && is_first_of_day {
        record_key(sign_ins, AuditKind::KeyUsed, key, now, Some(address)).await?;
    }

    Ok(())
}

/// Records what happened to a key.
async fn record_key(
    sign_ins: &SignIns,
    kind: AuditKind,
    key: &ApiKey,
    at_ms: i64,
    address: Option<&str>,
) -> Result<(), Error> {
    let entry = AuditEntry {
        at_ms,
        kind,
        identity: Some(key.id.clone()),
        detail: Some(key.name.clone()),
        address: address.map(ToOwned::to_owned),
    };

    record_entry(sign_ins, &entry).await
}
