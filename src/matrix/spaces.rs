//! Spaces: which rooms one names.

use super::Client;
use super::error::Result;
use super::split::{Found, Taker, Want};
use super::stream::{EVENT_TEXT_MAX, Stream};
use crate::rtc::power::is_room_id;
use serde_json::Value;
use std::time::Duration;

/// Timeout of the state of a space.
const STATE_TIMEOUT: Duration = Duration::from_mins(2);
/// Maximum number of rooms of one space; of more, the first that come are kept.
const CHILDREN_MAX: usize = 1000;
/// Maximum number of servers by which a room of a space is joined.
const VIA_MAX: usize = 3;
/// Maximum length of a server's name, bytes.
const SERVER_MAX: usize = 255;

/// What the state of a room says of spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpaceState {
    has_creation: bool,
    /// The rooms that it names.
    pub children: Vec<SpaceChild>,
    /// It names more rooms than that.
    pub is_cut: bool,
}

/// A room that a space names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceChild {
    pub room_id: String,
    /// Servers by which it can be joined; at least one.
    pub via: Vec<String>,
}

impl SpaceState {
    /// Adds what an event of the state says. A child without servers was taken out of the space.
    fn add_event(&mut self, event: &Value) {
        let kind = event.get("type").and_then(Value::as_str);
        let room_id = event.get("state_key").and_then(Value::as_str);
        if kind == Some("m.room.create") {
            self.has_creation = true;
        }

        let Some(room_id) = room_id.filter(|id| kind == Some("m.space.child") && is_room_id(id))
        else {
            return;
        };

        let via = event.pointer("/content/via").and_then(Value::as_array);
        let via: Vec<String> = via
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|server| !server.is_empty() && server.len() <= SERVER_MAX)
            .take(VIA_MAX)
            .map(ToOwned::to_owned)
            .collect();
        let is_known = self.children.iter().any(|child| child.room_id == room_id);
        if via.is_empty() || is_known {
            return;
        }

        self.is_cut |= self.children.len() >= CHILDREN_MAX;
        if !self.is_cut {
            self.children.push(SpaceChild {
                room_id: room_id.to_owned(),
                via,
            });
        }
    }
}

impl Taker for SpaceState {
    /// Each event of the list is wanted, as text. The list itself has an empty path.
    fn wants(&mut self, path: &[String]) -> Want {
        if path.is_empty() {
            Want::List
        } else {
            Want::Text(EVENT_TEXT_MAX)
        }
    }

    fn takes(&mut self, _: &[String], found: Found<'_>) {
        if let Found::Text(text) = found
            && let Ok(event) = serde_json::from_slice(text)
        {
            self.add_event(&event);
        }
    }
}

impl Client {
    /// Whether a room that we can read is a space, and which rooms it names.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when the room is not ours to see.
    pub async fn space_state(&self, room_id: &str) -> Result<SpaceState> {
        let parts = ["_matrix", "client", "v3", "rooms", room_id, "state"];
        let body = self.get(&parts).within(STATE_TIMEOUT).open().await?;
        let mut stream = Stream::new(body);
        let mut found = SpaceState::default();
        while stream.next(&mut found).await? {}

        // An answer without the room's creation comes from a proxy or a failing homeserver.
        if found.has_creation {
            Ok(found)
        } else {
            Err(stream.not_matrix("the room's state lacks the m.room.create event"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use super::*;
    use serde_json::json;

    fn child(room_id: &str, content: &Value) -> Value {
        json!({"type": "m.space.child", "state_key": room_id, "sender": "@a:x",
            "event_id": format!("${room_id}"), "room_id": "!s:x", "origin_server_ts": 1,
            "content": content})
    }

    #[tokio::test]
    async fn only_children_with_servers_count() {
        let create = json!({"type": "m.room.create", "state_key": "", "sender": "@a:x",
            "event_id": "$c", "room_id": "!s:x", "origin_server_ts": 1,
            "content": {"type": "m.space"}});
        let state = json!([
            create,
            child("!one:x", &json!({"via": ["x", "", "y", "z", "w"]})),
            child("!gone:x", &json!({})),
            child("!empty:x", &json!({"via": []})),
            child("!odd:x", &json!({"via": "x"})),
            child("#alias:x", &json!({"via": ["x"]})),
        ]);
        let stub = Stub::start(vec![json_reply(200, &state)]);
        let found = stub.client().space_state("!s:x").await.unwrap();
        let one = SpaceChild {
            room_id: "!one:x".to_owned(),
            via: vec!["x".to_owned(), "y".to_owned(), "z".to_owned()],
        };
        assert_eq!(found.children, [one]);
    }
}
