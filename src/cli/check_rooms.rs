//! The part of `callscope check` about rooms: each room that the account is in or that the
//! configuration names is tried, and each open invitation is judged.

use super::check::FaultCount;
use super::look::say;
use crate::config::{Config, RoomSpec};
use crate::matrix::{Client, Error, Invite};
use crate::rtc::id::server_of;
use crate::setup::rooms::find_room_id;
use crate::web::view::format as f;
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Maximum joined rooms that are tried, number tried in parallel, and maximum duration. Other rooms
/// are reported as not tried.
const JOINED_MOST: usize = 500;
const AT_A_TIME: usize = 4;
const JOINED_LONGEST: Duration = Duration::from_mins(5);

/// Tries every room that the account is in, every room, alias and peek room of the configuration,
/// and judges every open invitation.
pub(super) async fn check_all_rooms(
    config: &Config,
    client: &Client,
    bot: &str,
    faults: &mut FaultCount,
) {
    let joined: BTreeSet<String> = match client.joined_rooms().await {
        Ok(joined) => joined.into_iter().collect(),
        Err(error) => {
            say!("Rooms:");
            faults.add(&format!(
                "which rooms the account is in is not told: {error}"
            ));
            return;
        }
    };

    say!(
        "Rooms: the account is in {}; all of them are watched.",
        joined.len()
    );
    let mut tried = BTreeSet::new();
    for room in &config.rooms {
        match try_room(client, room, &joined, bot).await {
            Ok((room_id, words)) => {
                say!("  {}: {words}.", f::sanitize_line(&room.id_or_alias));
                tried.insert(room_id);
            }
            Err(why) => faults.add(&format!(
                "{} (in rooms): {why}",
                f::sanitize_line(&room.id_or_alias)
            )),
        }
    }

    for room in &config.peek_rooms {
        match try_peek_room(client, room).await {
            Ok(words) => say!("  {}: {words}.", f::sanitize_line(&room.id_or_alias)),
            Err(why) => faults.add(&format!(
                "{} (in peek_rooms): {why}",
                f::sanitize_line(&room.id_or_alias)
            )),
        }
    }

    let others: Vec<&str> = joined
        .iter()
        .filter(|room_id| !tried.contains(*room_id))
        .map(String::as_str)
        .collect();
    try_joined_rooms(client, &others, faults).await;
    let waiting = check_invitations(config, client, faults).await;
    if joined.is_empty()
        && config.rooms.is_empty()
        && config.peek_rooms.is_empty()
        && config.spaces.is_empty()
        && waiting == 0
    {
        say!("  Nothing to watch yet: invite {bot} to a room, or name rooms in CALLSCOPE_ROOMS.");
    }
}

/// Reads the state of the rooms that the account is in, as the server's polls do. Those that cannot
/// be read are faults; those that there was no time for are counted.
async fn try_joined_rooms(client: &Client, room_ids: &[&str], faults: &mut FaultCount) {
    let until = Instant::now() + JOINED_LONGEST;
    let look = |room_id: &str| {
        let room_id = room_id.to_owned();
        async move {
            let read = timeout_at(until, read_state(client, &room_id)).await;
            (room_id, read)
        }
    };

    let looked = stream::iter(
        room_ids
            .iter()
            .take(JOINED_MOST)
            .map(|room_id| look(room_id)),
    );
    let mut looked = looked.buffered(AT_A_TIME);
    let (mut readable, mut unread) = (0_usize, 0_usize);
    while let Some((room_id, read)) = looked.next().await {
        match read {
            Ok(Ok(())) => readable += 1,
            Ok(Err(error)) => {
                unread += 1;
                faults.add(&format!(
                    "{}: the account is in it, and cannot read it: {error}. See in the \
                     homeserver’s log why, or let the account leave the room",
                    f::sanitize_line(&room_id)
                ));
            }
            Err(_) => break,
        }
    }

    let tried = readable + unread;
    if room_ids.is_empty() {
        return;
    }

    say!(
        "  {} {}: {} can be read.",
        f::count_with_noun(tried, "joined room", "joined rooms"),
        if tried == 1 {
            "was tried"
        } else {
            "were tried"
        },
        f::group_digits(readable)
    );

    if tried < room_ids.len() {
        say!(
            "  WARNING: {} not tried: a check tries {} at most, for {} min at most.",
            f::count_with_noun(
                room_ids.len() - tried,
                "joined room was",
                "joined rooms were"
            ),
            f::group_digits(JOINED_MOST),
            JOINED_LONGEST.as_secs() / 60
        );
    }
}

/// Reads the whole state of a room and discards it.
async fn read_state(client: &Client, room_id: &str) -> Result<(), Error> {
    let mut parts = client.room_state_parts(room_id).await?;
    while parts.next().await?.is_some() {}
    parts.end()
}

/// The id of a room given by id or alias; as an error what is wrong, and what to do.
async fn room_id_of(client: &Client, room: &RoomSpec) -> Result<String, String> {
    find_room_id(client, room).await.map_err(|why| why.words)
}

/// The id of a room that the account should be in, and in words how it is there. If the account is
/// not in the room, it joins, as the server would. As an error what is wrong, and what to do.
async fn try_room(
    client: &Client,
    room: &RoomSpec,
    joined: &BTreeSet<String>,
    bot: &str,
) -> Result<(String, &'static str), String> {
    let room_id = room_id_of(client, room).await?;
    let is_in = joined.contains(&room_id);
    if !is_in {
        let tried = client.join(&room.id_or_alias, &room.via).await;
        tried.map_err(|error| cannot_join(&error, room, bot))?;
    }

    let read = read_state(client, &room_id).await;
    read.map_err(|error| format!("the account is in it, and cannot read it: {error}"))?;
    let words = if is_in {
        "the account is in it"
    } else {
        "the account has joined it now"
    };

    Ok((room_id, words))
}

/// Why a room cannot be joined, and what to do.
fn cannot_join(error: &Error, room: &RoomSpec, bot: &str) -> String {
    let to_do = if error.is_forbidden() {
        format!("invite {bot} there, let its room settings allow everybody to join, or take it out")
    } else if room.via.is_empty() && !room.is_alias() {
        "look for a slip, or name a server that is in the room: ROOM?via=example.org".to_owned()
    } else if error.is_transient() {
        "try again later".to_owned()
    } else {
        "look for a slip, invite the account there, or take it out".to_owned()
    };

    format!("it cannot be joined; {to_do} ({error})")
}

/// Checks that everybody can read this room. Returns the result in words; as an error what is
/// wrong, and what to do.
async fn try_peek_room(client: &Client, room: &RoomSpec) -> Result<&'static str, String> {
    let room_id = room_id_of(client, room).await?;
    match client.room_state(&room_id).await {
        Ok(_) => Ok("it can be read without joining"),
        Err(error) if error.is_forbidden() => Err(format!(
            "not everybody may read it; let its room settings show the history to anyone, or name \
             it in rooms instead ({error})"
        )),
        Err(error) => Err(format!(
            "it cannot be read; look for a slip, or name it in rooms instead ({error})"
        )),
    }
}

/// Prints for each open invitation whether it will be accepted. Returns how many there are.
async fn check_invitations(config: &Config, client: &Client, faults: &mut FaultCount) -> usize {
    let open = match client.open_invitations().await {
        Ok(open) => open,
        Err(error) => {
            faults.add(&format!("which invitations are open is not told: {error}"));
            return 0;
        }
    };

    for invite in &open {
        judge_invitation(config, invite, faults);
    }

    open.len()
}

/// Prints that the server will accept this invitation; if policy does not allow it, that is a
/// fault.
fn judge_invitation(config: &Config, invite: &Invite, faults: &mut FaultCount) {
    let inviter = invite.inviter.as_deref().unwrap_or_default();
    let name = invite.name.as_deref().or(invite.alias.as_deref());
    let room = match name {
        Some(name) => format!(
            "{} ({})",
            f::sanitize_line(name),
            f::sanitize_line(&invite.room_id)
        ),
        None => f::sanitize_line(&invite.room_id),
    };

    if config.invites.allow(inviter) {
        say!(
            "  {room}: invited by {}; the server accepts it.",
            f::sanitize_line(inviter)
        );
        return;
    }

    if inviter.is_empty() {
        faults.add(&format!(
            "invited to {room}, by whom is not told: name the room in CALLSCOPE_ROOMS, or decline \
             the invitation"
        ));
        return;
    }

    faults.add(&format!(
        "invited to {room} by {who}, which the configuration does not allow: add {who} to \
         CALLSCOPE_INVITES_ALLOW_USERS or {server} to CALLSCOPE_INVITES_ALLOW_SERVERS \
         (invites.allow_users, invites.allow_servers), or decline the invitation",
        who = f::sanitize_line(inviter),
        server = f::sanitize_line(server_of(inviter)),
    ));
}
