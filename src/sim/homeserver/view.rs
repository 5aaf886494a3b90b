//! How the requesting account sees an event: ids, age, the replaced event.

use serde_json::{Map, Value, json};

use super::event::{SimEvent, server_of};
use super::room::SimRoom;

/// The viewer, the time and the endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventView<'a> {
    pub viewer: &'a str,
    pub server_name: &'a str,
    pub now_ms: i64,
    /// `/messages`, `/state` and `/event` name the room in each event, `/sync` does not.
    pub names_room: bool,
    /// Timelines include the content that a state event replaced; state sections only its id.
    pub timeline: bool,
}

impl EventView<'_> {
    /// The events at these indices in client format.
    pub fn show_all(&self, room: &SimRoom, events: &[usize]) -> Vec<Value> {
        let events = events.iter().filter_map(|at| room.events.get(*at));
        events.map(|event| self.show(room, event)).collect()
    }

    /// One event in client format. A value that is not a JSON object is shown unchanged.
    pub fn show(&self, room: &SimRoom, event: &SimEvent) -> Value {
        let Value::Object(mut shown) = event.raw.clone() else {
            return event.raw.clone();
        };

        if self.names_room {
            shown.entry("room_id").or_insert_with(|| json!(room.id));
        }

        let unsigned = shown.entry("unsigned").or_insert_with(|| json!({}));
        if let Some(unsigned) = unsigned.as_object_mut() {
            self.add_unsigned(unsigned, room, event);
        }

        Value::Object(shown)
    }

    /// Adds what the server knows about an event: its age, what it replaced, the viewer's
    /// membership, how long it is still sticky, and its redaction.
    fn add_unsigned(&self, unsigned: &mut Map<String, Value>, room: &SimRoom, event: &SimEvent) {
        let ts = event.raw.get("origin_server_ts").and_then(Value::as_i64);
        // As observed in Synapse: events of other servers have no age.
        if let (Some(ts), true) = (ts, server_of(&event.sender) == self.server_name) {
            unsigned.insert("age".to_owned(), json!(self.now_ms.saturating_sub(ts)));
        }

        if let Some(old) = event.replaces.and_then(|at| room.events.get(at)) {
            unsigned.insert("replaces_state".to_owned(), json!(old.id));
            if self.timeline {
                unsigned.insert("prev_content".to_owned(), old.content().clone());
                unsigned.insert("prev_sender".to_owned(), json!(old.sender));
            }
        }

        if self.timeline {
            let membership = room.membership_then(self.viewer, event);
            unsigned.insert("membership".to_owned(), json!(membership));
        }

        if let Some(until) = event.sticky_until.filter(|until| *until > self.now_ms) {
            let left = until - self.now_ms;
            unsigned.insert("msc4354_sticky_duration_ttl_ms".to_owned(), json!(left));
        }

        if let Some(by) = event.redacted_by.and_then(|at| room.events.get(at)) {
            unsigned.insert("redacted_by".to_owned(), json!(by.id));
            unsigned.insert("redacted_because".to_owned(), self.show(room, by));
        }
    }
}
