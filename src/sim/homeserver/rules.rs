//! The room rules that the simulated homeserver enforces for its clients, and changes of them:
//! power levels, server ACL, upgrades. Scripts may do everything; the rules apply to requests over
//! HTTP.

use serde_json::{Value, json};

use super::exchange::{Answer, ApiRequest, Refusal};
use super::ledger::{Draft, Ledger};
use super::room::SimRoom;
use super::{Homeserver, NewRoom};

/// State that an upgrade copies.
const TAKEN_ALONG: [&str; 5] = [
    "m.room.name",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.server_acl",
];

impl Homeserver {
    /// Sets the whole content of the power levels.
    pub fn set_power_levels(&self, room: &str, by: &str, content: Value, ts: i64) -> String {
        self.send_state(room, by, "m.room.power_levels", "", content, ts)
    }

    /// Denies these servers.
    pub fn deny_servers(&self, room: &str, by: &str, servers: &[&str], ts: i64) -> String {
        let content = json!({"allow": ["*"], "deny": servers, "allow_ip_literals": true});
        self.send_state(room, by, "m.room.server_acl", "", content, ts)
    }

    /// Sends only a tombstone: another room replaced this one.
    pub fn tombstone(&self, room: &str, by: &str, replacement: &str, ts: i64) -> String {
        let content =
            json!({"body": "This room has been replaced", "replacement_room": replacement});
        self.send_state(room, by, "m.room.tombstone", "", content, ts)
    }

    /// Replaces a room as a client does: creates a new room that names the old one, with copied
    /// state, then sends the tombstone. Returns the id of the new room.
    pub fn upgrade_room(&self, room: &str, by: &str, ts: i64) -> String {
        self.upgrade_room_to(room, by, NewRoom::default(), ts)
    }

    /// Replaces a room by a given new one, as [`Self::upgrade_room`] does; creator and time are
    /// those of the upgrade. Join rules of its own are not replaced by the old ones.
    pub fn upgrade_room_to(&self, room: &str, by: &str, like: NewRoom, ts: i64) -> String {
        let own_rule = like.join_rule.clone();
        let taken_along: Vec<(&str, Value)> = TAKEN_ALONG
            .into_iter()
            .filter(|kind| *kind != "m.room.join_rules" || own_rule == NewRoom::default().join_rule)
            .filter_map(|kind| Some((kind, self.state(room, kind, "")?)))
            .collect();
        let new = self.create_room(NewRoom {
            creator: by.to_owned(),
            predecessor: Some(room.to_owned()),
            ts,
            ..like
        });
        for (kind, content) in taken_along {
            self.send_state(&new, by, kind, "", content, ts);
        }

        self.tombstone(room, by, &new, ts);

        new
    }
}

/// Refuses an event that its sender has not the power to send; the errors are worded as in Synapse.
pub(super) fn must_have_power(ledger: &Ledger, draft: &Draft<'_>) -> Result<(), Refusal> {
    let Some(room) = ledger.room(draft.room) else {
        return Ok(());
    };

    let (has, needs) = (
        power_of_user(room, draft.sender),
        power_to_send(room, draft.kind, draft.state_key.is_some()),
    );
    if has >= needs {
        return Ok(());
    }

    let text = format!(
        "You don't have permission to post that to the room. user_level ({has}) < send_level \
         ({needs})"
    );

    Err(Refusal::new(403, "M_FORBIDDEN", text))
}

/// The content of the power levels, if the room has any.
fn current_power_levels(room: &SimRoom) -> Option<&Value> {
    Some(room.current("m.room.power_levels", "")?.content())
}

/// The power of a user. The creator has more than everybody in room version 12, and 100 in older
/// rooms without levels.
fn power_of_user(room: &SimRoom, user: &str) -> i64 {
    let creator = room.current("m.room.create", "");
    let is_creator = creator.is_some_and(|event| event.sender == user);
    let newest = room.state_text("m.room.create", "room_version") == Some("12");
    if is_creator && newest {
        return i64::MAX;
    }

    let Some(levels) = current_power_levels(room) else {
        return if is_creator { 100 } else { 0 };
    };

    let named = levels.get("users").and_then(|users| users.get(user));
    let usual = levels.get("users_default");

    named.or(usual).and_then(Value::as_i64).unwrap_or(0)
}

/// The power that an event of this type needs; 0 in a room without levels.
fn power_to_send(room: &SimRoom, kind: &str, is_state: bool) -> i64 {
    let Some(levels) = current_power_levels(room) else {
        return 0;
    };

    let named = levels.get("events").and_then(|events| events.get(kind));
    let (usual, otherwise) = if is_state {
        ("state_default", 50)
    } else {
        ("events_default", 0)
    };

    let level = named.or_else(|| levels.get(usual));

    level.and_then(Value::as_i64).unwrap_or(otherwise)
}

/// `POST /rooms/{id}/upgrade`: replaces the room, if the user may send a tombstone.
pub(super) fn post_upgrade(hs: &Homeserver, call: &ApiRequest, user: &str, room: &str) -> Answer {
    let draft = Draft {
        room,
        sender: user,
        kind: "m.room.tombstone",
        state_key: Some(""),
        content: json!({}),
        ts: hs.now_ms(),
    };

    must_have_power(&hs.ledger(), &draft)?;
    let version = call.json()?;
    let version = version.get("new_version").and_then(Value::as_str);
    let like = NewRoom {
        version: version.unwrap_or("12").to_owned(),
        ..NewRoom::default()
    };

    let new = hs.upgrade_room_to(room, user, like, hs.now_ms());

    Ok(json!({"replacement_room": new}))
}

/// Do the join rules admit members of certain other rooms, and is this user in one of them?
pub(super) fn is_let_in_by_another(ledger: &Ledger, room: &SimRoom, user: &str) -> bool {
    let rule = room.state_text("m.room.join_rules", "join_rule");
    let Some(rules) = room
        .current("m.room.join_rules", "")
        .filter(|_| matches!(rule, Some("restricted" | "knock_restricted")))
    else {
        return false;
    };

    let allowed = rules.content().get("allow").and_then(Value::as_array);
    let mut allowed = allowed
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("room_id")?.as_str());

    allowed.any(|other| {
        let membership = ledger.room(other).and_then(|room| room.membership(user));
        membership == Some("join")
    })
}
