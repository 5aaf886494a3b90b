//! One thing that happens in the demo: what, where, when, by whom.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::sim::homeserver::Homeserver;

/// One event to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// When, in ms since the Unix epoch; its `origin_server_ts`.
    pub at_ms: i64,
    /// Room id.
    pub room: String,
    /// Matrix id of who does it.
    pub sender: String,
    /// The event to write.
    pub what: ActKind,
    /// A name by which later acts refer to this one.
    pub name: Option<u64>,
    /// The name of the act that this one refers to: its target or what it relates to.
    pub about: Option<u64>,
}

/// The kind of event.
#[derive(Debug, Clone, PartialEq)]
pub enum ActKind {
    /// A state event: type, state key, content.
    State(&'static str, String, Value),
    /// A plain event: type, content.
    Event(&'static str, Value),
    /// A sticky event of one hour: type, content.
    Sticky(&'static str, Value),
    /// A room membership: user, membership.
    Member(String, &'static str),
    /// A redaction of the act that it refers to.
    Redaction,
    /// An event, unchanged.
    Raw(Value),
}

/// Event ids of acts that have a name.
pub type EventIdsByName = HashMap<u64, String>;

impl Act {
    /// An act without relations.
    #[must_use]
    pub fn new(at_ms: i64, room: &str, sender: &str, what: ActKind) -> Self {
        Self {
            at_ms,
            room: room.to_owned(),
            sender: sender.to_owned(),
            what,
            name: None,
            about: None,
        }
    }

    /// Writes it to the homeserver, and its event id into `names` if it has a name. An act that it
    /// refers to must be there already.
    pub fn play(&self, hs: &Homeserver, names: &mut EventIdsByName) {
        let (room, sender, at) = (self.room.as_str(), self.sender.as_str(), self.at_ms);
        let about = self.about.and_then(|name| names.get(&name)).cloned();
        let related = |content: &Value| {
            let mut content = content.clone();
            if let Some(event_id) = &about {
                content["m.relates_to"] = json!({"rel_type": "m.reference", "event_id": event_id});
            }

            content
        };

        let event_id = match &self.what {
            ActKind::State(kind, key, content) => {
                hs.send_state(room, sender, kind, key, related(content), at)
            }
            ActKind::Event(kind, content) => {
                hs.send_event(room, sender, kind, related(content), at)
            }
            ActKind::Sticky(kind, content) => {
                hs.send_sticky(room, sender, kind, content.clone(), 3_600_000, at)
            }
            ActKind::Member(user, "join") => hs.join_user(room, user, at),
            ActKind::Member(user, "ban") => hs.ban(room, user, sender, at),
            ActKind::Member(user, "invite") => hs.invite(room, user, sender, at),
            ActKind::Member(user, _) => hs.kick(room, user, sender, at),
            ActKind::Redaction => hs.redact(room, sender, about.as_deref().unwrap_or_default(), at),
            ActKind::Raw(event) => hs.send_raw(room, event.clone()),
        };

        if let Some(name) = self.name {
            names.insert(name, event_id);
        }
    }
}
