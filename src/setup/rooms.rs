//! The rooms that the account is in, the invitations that wait, and whether the rooms that were
//! entered exist.

use super::answers::RoomChoice;
use super::steps::StepFault;
use crate::config::RoomSpec;
use crate::matrix::{Client, Error, Invite};
use crate::rtc::id::server_of;
use crate::web::view::format as f;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Maximum rooms whose names are asked for, and number asked in parallel.
const NAMED_MAX: usize = 200;
const AT_A_TIME: usize = 8;
/// Maximum time for all names, and for the invitations: the homeserver may have to prepare them.
const NAMES_LONGEST: Duration = Duration::from_secs(20);
const INVITATIONS_LONGEST: Duration = Duration::from_secs(40);
/// Maximum invitations that are shown.
const INVITATIONS_MAX: usize = 200;
/// Maximum aliases that are looked up.
const ALIASES_MAX: usize = 50;

/// The rooms of an account.
#[derive(Debug, Clone, Default)]
pub struct AccountRooms {
    /// Those that it is in, as far as they are shown.
    pub joined: Vec<RoomOfAccount>,
    pub joined_total: usize,
    /// Invitations that nobody accepted yet, as far as they are shown.
    pub invitations: Vec<InvitedRoom>,
    /// What could not be read, in sentences.
    pub faults: Vec<String>,
}

/// A room that the account is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomOfAccount {
    pub room_id: String,
    /// Its name, or else its alias.
    pub name: Option<String>,
    pub is_space: bool,
}

/// A room to which the account is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitedRoom {
    pub room_id: String,
    /// What the inviter's server calls it.
    pub name: Option<String>,
    pub inviter: Option<String>,
    pub is_space: bool,
}

impl RoomOfAccount {
    /// What is shown of it.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.room_id)
    }
}

impl InvitedRoom {
    /// What is shown of it.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.room_id)
    }

    /// The room as the configuration names it; the inviter's server knows it.
    #[must_use]
    pub fn to_spec(&self) -> RoomSpec {
        let server = self.inviter.as_deref().map(server_of).unwrap_or_default();
        let via = (!server.is_empty()).then(|| server.to_owned());

        RoomSpec {
            id_or_alias: self.room_id.clone(),
            via: via.into_iter().collect(),
        }
    }
}

impl From<Invite> for InvitedRoom {
    fn from(invite: Invite) -> Self {
        Self {
            name: invite
                .name
                .or(invite.alias)
                .map(|name| f::sanitize_line(&name)),
            room_id: invite.room_id,
            inviter: invite.inviter,
            is_space: invite.is_space,
        }
    }
}

/// Reads which rooms the account is in, with names, and which invitations wait. What cannot be read
/// in time is told, and is no reason to stop.
pub async fn read_rooms(client: &Client) -> AccountRooms {
    let mut rooms = AccountRooms::default();
    match client.joined_rooms().await {
        Ok(joined) => {
            rooms.joined_total = joined.len();
            rooms.joined = read_names(client, joined).await;
        }
        Err(error) => rooms.faults.push(format!(
            "Which rooms the account is in could not be read: {}",
            f::sanitize_message(&error.to_string())
        )),
    }

    match timeout(INVITATIONS_LONGEST, client.open_invitations()).await {
        Ok(Ok(open)) => {
            let open = open.into_iter().filter(|invite| !invite.is_direct);
            rooms.invitations = open.take(INVITATIONS_MAX).map(InvitedRoom::from).collect();
        }
        Ok(Err(error)) => rooms.faults.push(format!(
            "Which invitations wait could not be read: {}",
            f::sanitize_message(&error.to_string())
        )),
        Err(_) => rooms.faults.push(
            "Which invitations wait could not be read in time. The status page will show them."
                .to_owned(),
        ),
    }

    rooms
}

/// The rooms with their names, spaces first, as far as there is time.
async fn read_names(client: &Client, joined: Vec<String>) -> Vec<RoomOfAccount> {
    let until = Instant::now() + NAMES_LONGEST;
    let named = joined.into_iter().take(NAMED_MAX).map(async |room_id| {
        let named = timeout_at(until, read_name(client, &room_id)).await;
        named.unwrap_or(RoomOfAccount {
            room_id,
            name: None,
            is_space: false,
        })
    });
    let mut rooms: Vec<RoomOfAccount> = stream::iter(named).buffered(AT_A_TIME).collect().await;
    rooms.sort_by_key(|room| {
        (
            !room.is_space,
            room.name.is_none(),
            room.title().to_lowercase(),
        )
    });

    rooms
}

/// A room with its name, or else its alias. What cannot be read counts as not there.
async fn read_name(client: &Client, room_id: &str) -> RoomOfAccount {
    let text = async |event_type: &str, key: &str| {
        let content = client.state_content(room_id, event_type).await.ok()?;
        let text = content.get(key)?.as_str()?;

        (!text.trim().is_empty()).then(|| f::sanitize_line(text))
    };
    let mut name = text("m.room.name", "name").await;
    if name.is_none() {
        name = text("m.room.canonical_alias", "alias").await;
    }

    RoomOfAccount {
        is_space: text("m.room.create", "type").await.as_deref() == Some("m.space"),
        name,
        room_id: room_id.to_owned(),
    }
}

/// Looks up the aliases that were entered, so that a slip is seen now.
///
/// # Errors
/// The aliases that no room has.
pub async fn check_aliases(client: &Client, choice: &RoomChoice) -> Result<(), StepFault> {
    let aliases = choice.rooms.iter().chain(&choice.spaces);
    let aliases = aliases.filter(|room| room.is_alias()).take(ALIASES_MAX);
    let mut faults = Vec::new();
    for room in aliases {
        if let Err(why) = find_room_id(client, room).await
            && why.is_missing
        {
            faults.push(format!("{}: {}", room.id_or_alias, why.words));
        }
    }

    match faults.as_slice() {
        [] => Ok(()),
        _ => Err(StepFault {
            what: "Not every alias exists. Correct these, or take them out.".to_owned(),
            details: faults,
        }),
    }
}

/// Why the id of a room is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRoomId {
    /// No room has the alias.
    pub is_missing: bool,
    /// What is wrong, and what to do.
    pub words: String,
}

/// The id of a room given by id or alias.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn find_room_id(client: &Client, room: &RoomSpec) -> Result<String, NoRoomId> {
    if !room.is_alias() {
        return Ok(room.id_or_alias.clone());
    }

    let words = |error: &Error| {
        if error.is_not_found() {
            format!("no room has this alias; look for a slip, or take it out ({error})")
        } else {
            format!("its alias could not be looked up: {error}")
        }
    };

    match client.resolve_alias(&room.id_or_alias).await {
        Ok(found) => Ok(found.room_id),
        Err(error) => Err(NoRoomId {
            is_missing: error.is_not_found(),
            words: words(&error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invited_room_is_joined_by_the_inviters_server() {
        let invite = Invite {
            room_id: "!abc".to_owned(),
            inviter: Some("@eve:other.example:8448".to_owned()),
            name: Some("A \u{202e}room".to_owned()),
            ..Invite::default()
        };
        let invited = InvitedRoom::from(invite);
        assert_eq!(
            invited.to_spec().to_setting(),
            "!abc?via=other.example:8448"
        );
        assert!(!invited.title().contains('\u{202e}'), "{invited:?}");

        let unnamed = InvitedRoom {
            name: None,
            inviter: None,
            ..invited
        };
        assert_eq!(unnamed.to_spec().to_setting(), "!abc");
        assert_eq!(unnamed.title(), "!abc");
    }
}
