//! Invitations. They are kept until the room is joined or the invitation is no longer valid. Those
//! that policy allows are accepted, also after a restart. The others are shown, and judged again
//! when the policy changes.

use crate::rtc::event::replace_nul;
use crate::store::model::RoomName;
use crate::store::{Error, Reader, Tx, Writer};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Maximum number of stored invitations. Further ones are only counted.
const MOST: i64 = 1000;
/// Maximum length of a stored id, name or alias, in characters.
const LONGEST: usize = 255;

/// One invitation and the decision of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The room as the inviter's server names it.
    pub room: RoomName,
    /// Full user id; empty when our homeserver did not say.
    pub inviter: String,
    pub accepted: bool,
    /// The inviter says that the room is for the two of us alone.
    pub is_direct: bool,
}

/// A stored invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingInvitation {
    pub room: RoomName,
    /// Full user id; empty when our homeserver did not say.
    pub inviter: String,
    /// Policy allows it, and the room is being joined.
    pub accepted: bool,
    /// The inviter says that the room is for the two of us alone.
    pub is_direct: bool,
    /// When it came, ms.
    pub seen_ms: i64,
}

const KNOWN: &str = "select inviter from invitations where vantage_id = $1 and room_id = $2";
const COUNT: &str = "select count(*) from invitations where vantage_id = $1";
const KEEP: &str =
    "insert into invitations (vantage_id, room_id, inviter, seen_ms, accepted, name, alias,
        is_direct)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (vantage_id, room_id) do update set inviter = excluded.inviter,
        accepted = excluded.accepted, is_direct = excluded.is_direct, name = excluded.name, alias = excluded.alias,
        seen_ms = case when invitations.inviter = excluded.inviter then invitations.seen_ms
        else excluded.seen_ms end";
const REFUSED: &str = "update vantages set invites_refused = invites_refused + 1 where id = $1";

/// Stores the invitations of one sync answer, in the transaction of its position: none is lost and
/// none counts twice. Those that policy does not allow are counted as refused, and stored only
/// while there are few. `now`, ms, is when the answer came.
pub(super) async fn record_invitations(
    tx: &mut Tx,
    vantage_id: &str,
    all: &[Invitation],
    now: i64,
) -> Result<(), Error> {
    for one in all {
        let known: Option<String> = sqlx::query_scalar(KNOWN)
            .bind(vantage_id)
            .bind(&one.room.room_id)
            .fetch_optional(&mut **tx)
            .await?;
        if !one.accepted && known.as_ref() != Some(&one.inviter) {
            sqlx::query(REFUSED)
                .bind(vantage_id)
                .execute(&mut **tx)
                .await?;
        }

        if known.is_none() && !one.accepted {
            let kept: i64 = sqlx::query_scalar(COUNT)
                .bind(vantage_id)
                .fetch_one(&mut **tx)
                .await?;
            if kept >= MOST {
                continue;
            }
        }

        store_invitation(tx, vantage_id, one, now).await?;
    }

    Ok(())
}

/// Stores one invitation, or what changed of it. Names are shortened. `now`, ms, is when it came.
async fn store_invitation(
    tx: &mut Tx,
    vantage_id: &str,
    one: &Invitation,
    now: i64,
) -> Result<(), Error> {
    let short = |text: &String| replace_nul(&text.chars().take(LONGEST).collect::<String>());
    let query = sqlx::query(KEEP)
        .bind(vantage_id)
        .bind(&one.room.room_id)
        .bind(&one.inviter)
        .bind(now)
        .bind(i64::from(one.accepted))
        .bind(one.room.name.as_ref().map(short))
        .bind(one.room.alias.as_ref().map(short))
        .bind(i64::from(one.is_direct));
    query.execute(&mut **tx).await?;

    Ok(())
}

const CLOSE: &str = "delete from invitations where vantage_id = $1 and room_id = $2";

/// Deletes an invitation, in the transaction that says that the room is joined or that we are no
/// longer invited.
pub(in crate::store) async fn delete_invitation(
    tx: &mut Tx,
    vantage_id: &str,
    room_id: &str,
) -> Result<(), Error> {
    sqlx::query(CLOSE)
        .bind(vantage_id)
        .bind(room_id)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const OPEN: &str = "select room_id, inviter, accepted, is_direct, seen_ms, name, alias,
        cast(null as text) as people_title from invitations where vantage_id = $1
    order by seen_ms, room_id";

/// All stored invitations, oldest first; for the observer.
///
/// # Errors
/// When the database fails.
pub async fn list_invitations(
    store: &Reader,
    vantage_id: &str,
) -> Result<Vec<PendingInvitation>, Error> {
    let rows = sqlx::query(OPEN)
        .bind(vantage_id)
        .fetch_all(&store.read)
        .await?;

    rows.iter().map(invitation_from_row).collect()
}

const WAITING: &str =
    "select i.room_id, i.inviter, i.accepted, i.is_direct, i.seen_ms, i.name, i.alias,
        cast(null as text) as people_title from invitations i
    join vantages v on v.id = i.vantage_id where v.retired_ms is null
    order by i.accepted, i.seen_ms desc, i.room_id limit $1";

/// The stored invitations: those that policy does not allow first, then newest first.
///
/// # Errors
/// When the database fails.
pub async fn list_waiting_invitations(
    store: &Reader,
    limit: i64,
) -> Result<Vec<PendingInvitation>, Error> {
    let rows = sqlx::query(WAITING)
        .bind(limit)
        .fetch_all(&store.read)
        .await?;

    rows.iter().map(invitation_from_row).collect()
}

fn invitation_from_row(row: &AnyRow) -> Result<PendingInvitation, Error> {
    Ok(PendingInvitation {
        room: RoomName::from_row(row)?,
        inviter: row.try_get("inviter")?,
        accepted: row.try_get::<i64, _>("accepted")? != 0,
        is_direct: row.try_get::<i64, _>("is_direct")? != 0,
        seen_ms: row.try_get("seen_ms")?,
    })
}

const JUDGE: &str = "update invitations set accepted = $3 where vantage_id = $1 and room_id = $2
    and accepted <> $3";

/// Stores whether the current policy allows an invitation.
///
/// # Errors
/// When the database fails.
pub async fn set_accepted(
    store: &Writer,
    vantage_id: &str,
    room_id: &str,
    accepted: bool,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(JUDGE)
        .bind(vantage_id)
        .bind(room_id)
        .bind(i64::from(accepted))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;

    Ok(())
}

/// Deletes an invitation: the room is joined, or the invitation is no longer valid.
///
/// # Errors
/// When the database fails.
pub async fn close_invitation(
    store: &Writer,
    vantage_id: &str,
    room_id: &str,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    delete_invitation(&mut tx, vantage_id, room_id).await?;
    tx.commit().await?;
    Ok(())
}
