//! Invitations: those that policy does not accept are counted, the others are kept until the room is joined.

use super::{Error, Store, Tx};

/// One invitation and what policy says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub room_id: String,
    /// Full user id; empty when our homeserver did not say.
    pub inviter: String,
    pub accepted: bool,
}

const KEEP: &str = "insert into invitations (vantage_id, room_id, inviter, seen_ms) values ($1, $2, $3, $4)
    on conflict (vantage_id, room_id) do update set inviter = excluded.inviter, seen_ms = excluded.seen_ms";
const REFUSED: &str = "update vantages set invites_refused = invites_refused + $2 where id = $1";

/// Notes what one answer of sync brought, in the transaction of its position: none is lost and none counts twice.
pub(super) async fn note(
    tx: &mut Tx,
    vantage_id: &str,
    all: &[Invitation],
    now: i64,
) -> Result<(), Error> {
    for one in all.iter().filter(|one| one.accepted) {
        let query = sqlx::query(KEEP)
            .bind(vantage_id)
            .bind(&one.room_id)
            .bind(&one.inviter)
            .bind(now);
        query.execute(&mut **tx).await?;
    }
    let refused = all.iter().filter(|one| !one.accepted).count();
    if refused > 0 {
        let refused = i64::try_from(refused).unwrap_or(i64::MAX);
        sqlx::query(REFUSED)
            .bind(vantage_id)
            .bind(refused)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

const OPEN: &str =
    "select room_id, inviter from invitations where vantage_id = $1 order by seen_ms, room_id";

/// Rooms still to be joined, and who invited us.
///
/// # Errors
/// When the database fails.
pub async fn open(store: &Store, vantage_id: &str) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(OPEN)
        .bind(vantage_id)
        .fetch_all(&store.read)
        .await?)
}

const CLOSE: &str = "delete from invitations where vantage_id = $1 and room_id = $2";

/// Forgets an invitation: the room is joined, or the invitation holds no more.
///
/// # Errors
/// When the database fails.
pub async fn close(store: &Store, vantage_id: &str, room_id: &str) -> Result<(), Error> {
    sqlx::query(CLOSE)
        .bind(vantage_id)
        .bind(room_id)
        .execute(&store.write)
        .await?;
    Ok(())
}
