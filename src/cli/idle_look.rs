//! What `callscope idle` reads itself: rooms that the server only polls by schedule are polled now,
//! with the account of the configuration. Nothing is stored, and there is no new login.

use super::look::room_name;
use crate::clock::Clock;
use crate::config::{Config, ConfiguredAccount, Login};
use crate::matrix::{Client, Credentials};
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::{app, rtc};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The result of the polls.
#[derive(Debug, Default)]
pub(super) struct PollResults {
    /// The rooms that were read.
    pub rooms: BTreeSet<String>,
    /// Running calls in them, in the form of the API.
    pub calls: Vec<Value>,
    /// Why a room was not read, one line each.
    pub failed: Vec<String>,
}

/// Reads the current state of these rooms, which are in the form of the API, one after the other.
/// Rooms that could not be read are told in words; without a client, all of them in one line.
pub(super) async fn poll_rooms_now(config: &Config, rooms: &[Value]) -> PollResults {
    let mut looked = PollResults::default();
    if rooms.is_empty() {
        return looked;
    }

    let client = match client_of_account(config) {
        Ok(client) => client,
        Err(why) => {
            looked.failed.push(format!(
                "{} only looked at by schedule, and idle cannot look now: {why}",
                match rooms {
                    [one] => format!("the room {} is", room_name(one)),
                    _ => format!("{} rooms are", rooms.len()),
                }
            ));
            return looked;
        }
    };

    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };

    for one in rooms {
        let room_id = one["room_id"].as_str().unwrap_or_default().to_owned();
        match client.room_state(&room_id).await {
            Ok(state) => {
                looked.calls.extend(running_call(one, &state, &rules));
                looked.rooms.insert(room_id);
            }
            Err(error) => looked.failed.push(format!(
                "the room {} is only looked at by schedule, and could not be read now: {error}",
                room_name(one)
            )),
        }
    }

    looked
}

/// A client of the account with the token that the server uses: a login of our own would make a
/// device, or end the server's token. As an error why there is none.
fn client_of_account(config: &Config) -> Result<Client, String> {
    let account: &ConfiguredAccount = config
        .account
        .as_ref()
        .ok_or("give it the configuration of the server that runs (--config)")?;
    let client =
        app::build_client(account, config.max_response_bytes).map_err(|why| why.to_string())?;
    match &account.login {
        Login::Token(token) => client.set_token(Some(token.clone())),
        Login::Password { user_id, .. } => {
            let kept =
                Credentials::load(&config.credentials_file).map_err(|why| why.to_string())?;
            let kept = kept
                .filter(|kept| kept.user_id == *user_id)
                .ok_or_else(|| {
                    format!(
                        "the token of the server is not in {}",
                        config.credentials_file.display()
                    )
                })?;
            client.set_token(Some(kept.access_token));
        }
    }

    Ok(client)
}

/// The members of a room's calls now, as one call in the form of the API; `None` if there are none.
/// `state` is all of the room's current state, as the homeserver gave it. Since it has no history,
/// only those whom the state itself shows as present are members.
fn running_call(room: &Value, state: &[Value], rules: &Rules) -> Option<Value> {
    let now = Clock::System.now_ms();
    let events = state
        .iter()
        .filter_map(|raw| RoomEvent::from_json(raw, Some(now)).ok());
    let derived = rtc::derive(room["room_id"].as_str().unwrap_or_default(), events, rules);
    let members: Vec<Value> = derived
        .memberships
        .iter()
        .filter(|member| member.until_ms > now)
        .map(member_json)
        .collect();
    if members.is_empty() {
        return None;
    }

    Some(json!({ "room": room, "members": members }))
}

/// A present member in the form of the API.
fn member_json(member: &Membership) -> Value {
    json!({
        "user_id": member.user_id,
        "device_id": member.device_id,
        "server": server_of(&member.user_id),
        "left_ms": null,
        "transport": member.transport,
    })
}
