//! Zombies: state resets ([`crate::store::ingest::state_resets`]) that brought a membership of a
//! call back.

use crate::rtc::event::RoomEvent;
use crate::rtc::fold::{Rules, fold_member_key};
use crate::rtc::room::RoomConditions;
use crate::store::ingest::state_resets::{self, ResetKind};
use crate::store::{Error, Reader};

/// A membership that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zombie {
    /// The event that is in the state again, and the newer one that should be there.
    pub event_id: String,
    pub newer_event_id: String,
    pub user_id: String,
    /// Display name in the room, where known.
    pub name: Option<String>,
    pub noticed_ms: i64,
    /// The call that runs again because of it, if there is one.
    pub session_id: Option<String>,
}

/// Would somebody be in a call at `now`, ms, because of this event alone? The default rules decide,
/// and nothing is known of the room: it is an estimate for a note, from which nothing is derived.
pub(in crate::store) fn is_active(member_key: &str, event: &RoomEvent, now: i64) -> bool {
    let (members, _) = fold_member_key(
        member_key,
        [event],
        &RoomConditions::default(),
        &Rules::default(),
    );
    members.iter().any(|member| member.until_ms > now)
}

/// The memberships of calls among the newest resets of a room that came back, newest first, at most
/// `limit`.
///
/// # Errors
/// When the database fails.
pub async fn zombies_of_room(
    store: &Reader,
    room_id: &str,
    limit: i64,
) -> Result<Vec<Zombie>, Error> {
    let kind = Some(ResetKind::CallMemberBack);
    let resets = state_resets::resets_of_room(store, room_id, kind, limit).await?;
    let zombie = |reset: state_resets::StateReset| {
        Some(Zombie {
            event_id: reset.holds_event_id?,
            newer_event_id: reset.newest_event_id,
            user_id: reset.user_id,
            name: reset.name,
            noticed_ms: reset.noticed_ms,
            session_id: reset.session_id,
        })
    };

    Ok(resets.into_iter().filter_map(zombie).collect())
}
