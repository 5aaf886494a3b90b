//! Seals: the time of a member key before which events no longer count. What was derived from them
//! is kept, so they may be deleted.

use crate::rtc::event::RoomEvent;
use crate::rtc::membership::Membership;
use crate::store::{Error, Tx};

const CUT: &str = "select cut_ms from seals where room_id = $1 and chain = $2";

/// The seal of a member key, ms; `i64::MIN` if there is none.
pub(in crate::store) async fn read_cutoff(
    tx: &mut Tx,
    room_id: &str,
    member_key: &str,
) -> Result<i64, Error> {
    let cut = sqlx::query_scalar(CUT)
        .bind(room_id)
        .bind(member_key)
        .fetch_optional(&mut **tx)
        .await?;

    Ok(cut.unwrap_or(i64::MIN))
}

/// Does the event count under this seal? An event that a homeserver sends again after it was
/// deleted does not.
pub(in crate::store) fn is_after_cutoff(event: &RoomEvent, cut: i64) -> bool {
    event.time() >= cut
}

/// Makes these stays begin at the seal or later: a later stay cannot claim to have begun before it,
/// because that time is final.
pub(in crate::store) fn clamp_to_cutoff(members: &mut [Membership], cut: i64) {
    for member in members {
        member.joined_ms = member.joined_ms.max(cut);
        member.until_ms = member.until_ms.max(member.joined_ms);
    }
}

const SEAL: &str = "insert into seals (room_id, chain, cut_ms) values ($1, $2, $3)
    on conflict (room_id, chain) do update set cut_ms = excluded.cut_ms";

/// Stores the seal of a member key, ms, in place of an earlier one. The caller sees to it that a
/// seal is only raised.
pub(in crate::store) async fn store_cutoff(
    tx: &mut Tx,
    room_id: &str,
    member_key: &str,
    cut: i64,
) -> Result<(), Error> {
    sqlx::query(SEAL)
        .bind(room_id)
        .bind(member_key)
        .bind(cut)
        .execute(&mut **tx)
        .await?;

    Ok(())
}
