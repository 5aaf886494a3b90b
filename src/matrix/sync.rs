//! `/sync`: the long poll, its filter, and the sections of its answer as raw events.

use super::error::Result;
use super::wire::{Answer, TYPES, one_line};
use super::{Client, Request};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A long poll may take this much longer than it was asked to wait.
const GRACE: Duration = Duration::from_secs(30);
/// No more complaints than this are kept of one answer.
const MALFORMED_MAX: usize = 100;

/// What to ask `/sync` for.
#[derive(Debug, Clone, Copy)]
pub struct SyncRequest<'a> {
    /// The position to go on from; `None` for a first sync.
    pub since: Option<&'a str>,
    /// How long the homeserver may wait for news, ms. Synapse answers a repeated first sync from a cache of
    /// two minutes: another number here asks anew.
    pub timeout_ms: u64,
    /// A filter id of [`Client::upload_filter`], or [`filter_json`] as text.
    pub filter: &'a str,
    /// Ask for the whole state of every room, not only for what changed.
    pub full_state: bool,
}

/// One answer of `/sync`. Events are raw and may be any JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncBatch {
    /// The position after this batch, never empty.
    pub next_batch: String,
    pub joined: Vec<JoinedRoom>,
    pub invited: Vec<Invite>,
    pub left: Vec<LeftRoom>,
    /// What had to be skipped because it was not of the right shape, in words.
    pub malformed: Vec<String>,
}

/// News of a room we are in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinedRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    /// State before the timeline, or after it: see `state_is_after`.
    pub state: Vec<Value>,
    /// `state` is how the state changed up to the end of the timeline (MSC4222): current state is to be
    /// taken only from it. Otherwise the timeline's state events come after it.
    pub state_is_after: bool,
    /// Sticky events (MSC4354) that are not in the timeline.
    pub sticky: Vec<Value>,
    /// There is a gap before the timeline; `prev_batch` is where to page back from.
    pub limited: bool,
    pub prev_batch: Option<String>,
}

/// A room that we were asked to join.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Invite {
    pub room_id: String,
    /// Who invited us, as our own homeserver says; `None` when it did not.
    pub inviter: Option<String>,
    /// The room's name as the inviter's server tells it: a claim.
    pub name: Option<String>,
    /// The room's main alias, a claim too.
    pub alias: Option<String>,
    /// Is the room a space? A claim.
    pub is_space: bool,
}

/// A room that we left, or were removed from, since the last sync.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeftRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    pub state: Vec<Value>,
    pub state_is_after: bool,
}

/// The filter for `/sync`: the types of [`TYPES`], no presence, no account data, no receipts.
#[must_use]
pub fn filter_json() -> Value {
    let nothing = json!({"not_types": ["*"]});
    json!({
        "presence": nothing,
        "account_data": nothing,
        "room": {
            "include_leave": true,
            "account_data": nothing,
            "ephemeral": nothing,
            "state": {"lazy_load_members": false, "types": TYPES},
            "timeline": {"limit": 100, "types": TYPES},
        },
    })
}

impl Client {
    /// Stores [`filter_json`] on the homeserver for `user_id` (which must be ours) and returns its id.
    ///
    /// # Errors
    /// As every request.
    pub async fn upload_filter(&self, user_id: &str) -> Result<String> {
        let parts = ["_matrix", "client", "v3", "user", user_id, "filter"];
        self.post(&parts, filter_json()).send().await?.text("filter_id")
    }

    /// Asks for what happened since a position. Sections of the wrong shape are skipped and named in
    /// `malformed`; `limited` and a later poll are how the gap heals.
    ///
    /// # Errors
    /// As every request; also when the answer has no `next_batch`.
    pub async fn sync(&self, sync: SyncRequest<'_>) -> Result<SyncBatch> {
        let answer = self.sync_request(sync).send().await?;
        read(answer, self.user_id().as_deref())
    }

    fn sync_request(&self, sync: SyncRequest<'_>) -> Request<'_> {
        let wait = Duration::from_millis(sync.timeout_ms);
        let mut request = self
            .get(&["_matrix", "client", "v3", "sync"])
            .within(wait.saturating_add(GRACE.max(self.settings().request_timeout)))
            .query("timeout", &sync.timeout_ms.to_string())
            .query("filter", sync.filter)
            .query("set_presence", "offline")
            .query("use_state_after", "true")
            // Synapse reads only this name of it.
            .query("org.matrix.msc4222.use_state_after", "true");
        if sync.full_state {
            request = request.query("full_state", "true");
        }
        match sync.since {
            Some(since) => request.query("since", since),
            None => request,
        }
    }
}

fn read(mut answer: Answer, own_user_id: Option<&str>) -> Result<SyncBatch> {
    let next_batch = answer.text("next_batch")?;
    let mut reader = Reader::default();
    if answer.repaired {
        reader.complain("the answer", "not JSON in places, which were replaced");
    }
    let rooms = answer.value.get_mut("rooms").map(Value::take);
    let mut rooms = reader.object("rooms", rooms);
    let joined = reader.rooms("rooms.join", rooms.remove("join"), Reader::joined);
    let invited = reader.rooms("rooms.invite", rooms.remove("invite"), |reader, room_id, room| {
        reader.invite(room_id, room, own_user_id)
    });
    let left = reader.rooms("rooms.leave", rooms.remove("leave"), Reader::left);
    Ok(SyncBatch { next_batch, joined, invited, left, malformed: reader.malformed })
}

/// Takes an answer apart and notes what does not fit.
#[derive(Default)]
struct Reader {
    malformed: Vec<String>,
}

impl Reader {
    fn complain(&mut self, place: &str, what: &str) {
        if self.malformed.len() < MALFORMED_MAX {
            self.malformed.push(format!("{} is {what}", one_line(place, 300)));
        }
    }

    fn object(&mut self, place: &str, value: Option<Value>) -> Map<String, Value> {
        match value {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                self.complain(place, &format!("{}, not an object", shape(&other)));
                Map::new()
            }
        }
    }

    fn rooms<T>(
        &mut self,
        place: &str,
        section: Option<Value>,
        read: impl Fn(&mut Self, String, Map<String, Value>) -> T,
    ) -> Vec<T> {
        let mut rooms = Vec::new();
        for (room_id, room) in self.object(place, section) {
            let room = self.object(&format!("{place}.{room_id}"), Some(room));
            rooms.push(read(self, room_id, room));
        }
        rooms
    }

    /// The list `events` of a section.
    fn events(&mut self, room_id: &str, name: &str, section: Option<Value>) -> Vec<Value> {
        let mut section = self.object(&format!("{name} of {room_id}"), section);
        self.list(room_id, name, section.remove("events"))
    }

    fn list(&mut self, room_id: &str, name: &str, events: Option<Value>) -> Vec<Value> {
        match events {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(events)) => events,
            Some(other) => {
                let what = format!("{}, not a list", shape(&other));
                self.complain(&format!("{name}.events of {room_id}"), &what);
                Vec::new()
            }
        }
    }

    /// The state section and whether it is the state after the timeline.
    fn state(&mut self, room_id: &str, room: &mut Map<String, Value>) -> (Vec<Value>, bool) {
        for name in ["state_after", "org.matrix.msc4222.state_after"] {
            if let Some(section) = room.remove(name).filter(|section| !section.is_null()) {
                return (self.events(room_id, name, Some(section)), true);
            }
        }
        (self.events(room_id, "state", room.remove("state")), false)
    }

    fn joined(&mut self, room_id: String, mut room: Map<String, Value>) -> JoinedRoom {
        let (state, state_is_after) = self.state(&room_id, &mut room);
        let mut sticky = Vec::new();
        for name in ["sticky", "msc4354_sticky"] {
            sticky.extend(self.events(&room_id, name, room.remove(name)));
        }
        let place = format!("timeline of {room_id}");
        let mut timeline = self.object(&place, room.remove("timeline"));
        JoinedRoom {
            state,
            state_is_after,
            sticky,
            limited: timeline.get("limited") == Some(&Value::Bool(true)),
            prev_batch: timeline.get("prev_batch").and_then(Value::as_str).map(ToOwned::to_owned),
            timeline: self.list(&room_id, "timeline", timeline.remove("events")),
            room_id,
        }
    }

    fn left(&mut self, room_id: String, mut room: Map<String, Value>) -> LeftRoom {
        let (state, state_is_after) = self.state(&room_id, &mut room);
        let timeline = self.events(&room_id, "timeline", room.remove("timeline"));
        LeftRoom { room_id, timeline, state, state_is_after }
    }

    fn invite(&mut self, room_id: String, mut room: Map<String, Value>, own: Option<&str>) -> Invite {
        let events = self.events(&room_id, "invite_state", room.remove("invite_state"));
        let text = |kind: &str, key: &str| {
            let of_kind = events.iter().filter(|event| event.get("type").is_some_and(|is| is == kind));
            let mut texts = of_kind.filter_map(|event| event.pointer("/content")?.get(key)?.as_str());
            texts.next_back().map(ToOwned::to_owned)
        };
        Invite {
            inviter: inviter(&events, own),
            name: text("m.room.name", "name"),
            alias: text("m.room.canonical_alias", "alias"),
            is_space: text("m.room.create", "type").as_deref() == Some("m.space"),
            room_id,
        }
    }
}

/// Who sent our invite. Everything but the last such event was told by the inviter's server, and may name
/// somebody whom our policy trusts; the last one is put there by our own homeserver.
fn inviter(events: &[Value], own: Option<&str>) -> Option<String> {
    let mut invites = events.iter().filter(|event| {
        let key = event.get("state_key").and_then(Value::as_str);
        event.get("type").is_some_and(|kind| kind == "m.room.member")
            && event.pointer("/content/membership").is_some_and(|word| word == "invite")
            && own.is_none_or(|own| key == Some(own))
    });
    invites.next_back()?.get("sender")?.as_str().map(ToOwned::to_owned)
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
