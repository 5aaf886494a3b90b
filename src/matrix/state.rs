//! One event of a room's current state.

use super::Client;
use super::error::Result;
use serde_json::Value;

impl Client {
    /// The content of one event of a room's current state, with the empty state key. This also
    /// works in a world-readable room that we were never in, if our homeserver is in it.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when the room is not ours to see, `is_not_found` when there
    /// is no such event.
    pub async fn state_content(&self, room_id: &str, event_type: &str) -> Result<Value> {
        let parts = [
            "_matrix", "client", "v3", "rooms", room_id, "state", event_type,
        ];
        Ok(self.get(&parts).send().await?.value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use serde_json::json;

    #[tokio::test]
    async fn one_state_event_is_asked_for_by_its_type() {
        let stub = Stub::start(vec![json_reply(200, &json!({"room_version": "11"}))]);
        let content = stub.client().state_content("!r:x", "m.room.create").await;
        assert_eq!(content.unwrap(), json!({"room_version": "11"}));
        let asked = stub.requests().remove(0);
        let path = "GET /_matrix/client/v3/rooms/!r:x/state/m.room.create HTTP/1.1";
        assert!(asked.starts_with(path), "{asked}");
    }
}
