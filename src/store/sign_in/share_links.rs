//! Addresses at which one call is shown to whoever has them. Only the hash of an address is stored.

use super::SignIns;
use crate::store::Error;
use crate::store::db::json_row::read_rows;

/// How often the last use of an address is written at most, ms.
const USED_EVERY_MS: i64 = 60_000;
/// How long an address is kept after it has expired, ms.
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Maximum number of addresses that are good at the same time, so that all can be listed.
pub const GOOD_MOST: i64 = 200;

/// An address at which a call is shown, without its secret; times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    pub id: String,
    pub call_id: String,
    pub room_id: String,
    /// Are people shown by their names?
    pub with_names: bool,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub revoked_ms: Option<i64>,
    pub last_used_ms: Option<i64>,
}

impl ShareLink {
    /// Does it show the call at `now`, ms?
    #[must_use]
    pub fn is_good(&self, now: i64) -> bool {
        self.revoked_ms.is_none() && now < self.expires_ms
    }

    /// Is it time to note that it is used, at `now`, ms?
    #[must_use]
    pub fn is_use_due(&self, now: i64) -> bool {
        self.last_used_ms
            .is_none_or(|used| used <= now.saturating_sub(USED_EVERY_MS))
    }
}

json_row! {
    struct LinkRow {
        id: String = "id",
        call_id: String = "call_id",
        room_id: String = "room_id",
        with_names: i64 = "with_names",
        created_ms: i64 = "created_ms",
        expires_ms: i64 = "expires_ms",
        revoked_ms: Option<i64> = "revoked_ms",
        last_used_ms: Option<i64> = "last_used_ms",
    }
}

fn link_from_row(row: LinkRow) -> ShareLink {
    ShareLink {
        id: row.id,
        call_id: row.call_id,
        room_id: row.room_id,
        with_names: row.with_names == 1,
        created_ms: row.created_ms,
        expires_ms: row.expires_ms,
        revoked_ms: row.revoked_ms,
        last_used_ms: row.last_used_ms,
    }
}

const ADD: &str = "insert into share_links
        (id, hash, call_id, room_id, with_names, created_ms, expires_ms)
    select $1, $2, $3, $4, $5, cast($6 as bigint), cast($7 as bigint)
    where (select count(*) from share_links where revoked_ms is null and expires_ms > $6) < $8";

/// Adds an address with this hash (SHA-256 in hex). Returns whether it was added: not if
/// [`GOOD_MOST`] are good.
///
/// # Errors
/// When the database fails.
pub async fn add_link(sign_ins: &SignIns, link: &ShareLink, hash: &str) -> Result<bool, Error> {
    let statement = || {
        sqlx::query(ADD)
            .bind(link.id.as_str())
            .bind(hash)
            .bind(link.call_id.as_str())
            .bind(link.room_id.as_str())
            .bind(i64::from(link.with_names))
            .bind(link.created_ms)
            .bind(link.expires_ms)
            .bind(GOOD_MOST)
    };
    delete_old_links(sign_ins, link.created_ms).await?;

    Ok(sign_ins.write(statement).await? > 0)
}

const DELETE_OLD: &str = "delete from share_links where expires_ms <= $1";

/// Deletes addresses that expired more than 30 days before `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn delete_old_links(sign_ins: &SignIns, now: i64) -> Result<(), Error> {
    let before = now.saturating_sub(KEPT_MS);
    sign_ins
        .write(|| sqlx::query(DELETE_OLD).bind(before))
        .await?;

    Ok(())
}

const FIND: &str = sql!(
    "select ",
    LinkRow::TEXT,
    " from share_links where hash = $1"
);

/// The address with this hash, whether it is still good or not.
///
/// # Errors
/// When the database fails.
pub async fn find_link(sign_ins: &SignIns, hash: &str) -> Result<Option<ShareLink>, Error> {
    let query = sign_ins.dialect().query(FIND).bind(hash);
    let rows = query.fetch_all(&sign_ins.read).await?;

    Ok(read_rows(&rows, link_from_row)?.pop())
}

const LIST: &str = sql!(
    "select ",
    LinkRow::TEXT,
    " from share_links
    order by case when revoked_ms is null and expires_ms > $1 then 0 else 1 end,
        created_ms desc, id limit $2"
);

/// The addresses: first those that are good at `now`, ms, then those that ended; newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_links(sign_ins: &SignIns, now: i64) -> Result<Vec<ShareLink>, Error> {
    let query = sign_ins
        .dialect()
        .query(LIST)
        .bind(now)
        .bind(GOOD_MOST.saturating_mul(2));
    let rows = query.fetch_all(&sign_ins.read).await?;

    read_rows(&rows, link_from_row)
}

const REVOKE: &str = "update share_links set revoked_ms = $2 where id = $1 and revoked_ms is null";

/// Revokes an address at `now`, ms. Returns whether there was one that was not revoked.
///
/// # Errors
/// When the database fails.
pub async fn revoke_link(sign_ins: &SignIns, id: &str, now: i64) -> Result<bool, Error> {
    let statement = || sqlx::query(REVOKE).bind(id).bind(now);

    Ok(sign_ins.write(statement).await? > 0)
}

const USE: &str = "update share_links set last_used_ms = $2 where id = $1";

/// Notes that an address was used at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn note_use(sign_ins: &SignIns, id: &str, now: i64) -> Result<(), Error> {
    sign_ins
        .write(|| sqlx::query(USE).bind(id).bind(now))
        .await?;

    Ok(())
}
