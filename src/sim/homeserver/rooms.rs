//! Fills the simulated homeserver: rooms, people, events. No room rules apply here; a script may do
//! everything.
//!
//! All times are `origin_server_ts` in ms since the Unix epoch; every event method returns the
//! event id. An unknown room is created, empty.

use serde_json::{Value, json};

use super::Homeserver;
use super::ledger::{Draft, Ledger};

/// A room to create. Every field but the name has a default: `NewRoom { name: Some("Lobby".into()),
/// ..NewRoom::default() }`.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// The id; if `None`, one is generated (`!` and 43 characters, as in room version 12).
    pub room_id: Option<String>,
    /// The creator and first member.
    pub creator: String,
    /// Room name.
    pub name: Option<String>,
    /// Canonical alias, `#lobby:sim.example`; also entered in the directory.
    pub alias: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// The type of the room, such as `m.space`.
    pub kind: Option<String>,
    /// Room version.
    pub version: String,
    /// Whether encryption is on.
    pub encrypted: bool,
    /// `shared`, `joined`, `invited`, `world_readable`.
    pub history_visibility: String,
    /// `public`, `invite`.
    pub join_rule: String,
    /// The room that this one replaces.
    pub predecessor: Option<String>,
    /// A server that must be named to join by id while no local user is in the room.
    pub via: Option<String>,
    /// When, in ms since the Unix epoch.
    pub ts: i64,
}

impl Default for NewRoom {
    fn default() -> Self {
        Self {
            room_id: None,
            creator: "@admin:sim.example".to_owned(),
            name: None,
            alias: None,
            topic: None,
            kind: None,
            version: "12".to_owned(),
            encrypted: false,
            history_visibility: "shared".to_owned(),
            join_rule: "public".to_owned(),
            predecessor: None,
            via: None,
            ts: 0,
        }
    }
}

impl Homeserver {
    /// Creates a room with the usual events of a new room; returns its id.
    pub fn create_room(&self, new: NewRoom) -> String {
        let made = self.change(Ledger::new_room_id);
        let room = new.room_id.clone().unwrap_or(made);
        let creator = new.creator.as_str();
        let set = |kind: &str, content: Value| {
            self.send_state(&room, creator, kind, "", content, new.ts);
        };

        let mut creation = json!({"room_version": new.version, "creator": creator});
        if let Some(kind) = &new.kind {
            creation["type"] = kind.as_str().into();
        }

        if let Some(predecessor) = &new.predecessor {
            creation["predecessor"] = json!({"room_id": predecessor});
        }

        set("m.room.create", creation);
        self.join_user(&room, creator, new.ts);
        set("m.room.power_levels", power_levels(creator));
        set("m.room.join_rules", json!({"join_rule": new.join_rule}));
        let visibility = json!({"history_visibility": new.history_visibility});
        set("m.room.history_visibility", visibility);
        if let Some(name) = &new.name {
            set("m.room.name", json!({"name": name}));
        }

        if let Some(topic) = &new.topic {
            set("m.room.topic", json!({"topic": topic}));
        }

        if let Some(alias) = &new.alias {
            set("m.room.canonical_alias", json!({"alias": alias}));
        }

        if new.encrypted {
            set(
                "m.room.encryption",
                json!({"algorithm": "m.megolm.v1.aes-sha2"}),
            );
        }

        self.change(|ledger| {
            let at = ledger.room_index(&room);
            ledger.rooms[at].via = new.via;
            if let Some(alias) = new.alias {
                ledger.aliases.insert(alias, at);
            }
        });

        room
    }

    /// The display name that later joins of this user carry.
    pub fn set_display_name(&self, user: &str, name: &str) {
        self.ledger().rename(user, name);
    }

    /// `user` joins.
    pub fn join_user(&self, room: &str, user: &str, ts: i64) -> String {
        self.membership(room, user, user, "join", ts)
    }

    /// `user` leaves.
    pub fn leave_user(&self, room: &str, user: &str, ts: i64) -> String {
        self.membership(room, user, user, "leave", ts)
    }

    /// `by` removes `user`.
    pub fn kick(&self, room: &str, user: &str, by: &str, ts: i64) -> String {
        self.membership(room, user, by, "leave", ts)
    }

    /// `by` bans `user`.
    pub fn ban(&self, room: &str, user: &str, by: &str, ts: i64) -> String {
        self.membership(room, user, by, "ban", ts)
    }

    /// `by` invites `user`.
    pub fn invite(&self, room: &str, user: &str, by: &str, ts: i64) -> String {
        self.membership(room, user, by, "invite", ts)
    }

    /// Sends a member event for `user` by `by`.
    fn membership(&self, room: &str, user: &str, by: &str, membership: &str, ts: i64) -> String {
        let content = self.ledger().member_content(user, membership);
        self.send_state(room, by, "m.room.member", user, content, ts)
    }

    /// Sends a state event. The same content from the same sender as the current event of this type
    /// and key makes no event: the old id is returned, as in Synapse.
    pub fn send_state(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        state_key: &str,
        content: Value,
        ts: i64,
    ) -> String {
        let draft = Draft {
            room,
            sender,
            kind,
            state_key: Some(state_key),
            content,
            ts,
        };

        let now_ms = self.now_ms();

        self.change(|ledger| ledger.write(draft, None, now_ms))
    }

    /// A plain event.
    pub fn send_event(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        content: Value,
        ts: i64,
    ) -> String {
        self.send(room, sender, kind, content, None, ts)
    }

    /// A sticky event (MSC4354); a plain one where that feature is off.
    pub fn send_sticky(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        content: Value,
        duration_ms: i64,
        ts: i64,
    ) -> String {
        self.send(room, sender, kind, content, Some(duration_ms), ts)
    }

    /// Sends a message event, sticky for `sticky_ms` if that is given.
    fn send(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        content: Value,
        sticky_ms: Option<i64>,
        ts: i64,
    ) -> String {
        let draft = Draft {
            room,
            sender,
            kind,
            state_key: None,
            content,
            ts,
        };

        let now_ms = self.now_ms();

        self.change(|ledger| ledger.write(draft, sticky_ms, now_ms))
    }

    /// Redacts `target`: from now on it is shown without its content.
    pub fn redact(&self, room: &str, sender: &str, target: &str, ts: i64) -> String {
        let draft = Draft {
            room,
            sender,
            kind: "m.room.redaction",
            state_key: None,
            content: json!({"redacts": target}),
            ts,
        };

        let now_ms = self.now_ms();

        self.change(|ledger| ledger.redact(draft, target, now_ms))
    }

    /// Sends any JSON unchanged as an event, for hostile or malformed ones. It appears in the
    /// timeline and, if it has a text `type` and `state_key`, in the state. An `event_id` is added
    /// only to an object without that key.
    pub fn send_raw(&self, room: &str, event: Value) -> String {
        let now_ms = self.now_ms();
        self.change(|ledger| ledger.write_raw(room, event, now_ms))
    }

    /// Changes the state without an event in any timeline, as a state reset does: only `/state`
    /// (and a full sync) shows it.
    pub fn set_state_silently(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
        state_key: &str,
        content: Value,
        ts: i64,
    ) -> String {
        let draft = Draft {
            room,
            sender,
            kind,
            state_key: Some(state_key),
            content,
            ts,
        };

        let now_ms = self.now_ms();

        self.change(|ledger| ledger.write_silently(&draft, now_ms))
    }

    /// Removes a key from the state, without an event: a state reset.
    pub fn drop_state_silently(&self, room: &str, kind: &str, state_key: &str) {
        self.change(|ledger| {
            let at = ledger.room_index(room);
            if let Some(keys) = ledger.rooms[at].state.get_mut(kind) {
                keys.remove(state_key);
            }
        });
    }

    /// Makes an older event current again, without an event: a state reset.
    pub fn reset_state_silently(&self, room: &str, event_id: &str) {
        self.change(|ledger| {
            let at = ledger.room_index(room);
            let room = &mut ledger.rooms[at];
            let Some(&index) = room.by_id.get(event_id) else {
                return;
            };

            let event = &room.events[index];
            if let Some(state_key) = event.state_key.clone() {
                room.state
                    .entry(event.kind.clone())
                    .or_default()
                    .insert(state_key, index);
            }
        });
    }

    /// The content of a current state event; `None` if there is none.
    #[must_use]
    pub fn state(&self, room: &str, kind: &str, state_key: &str) -> Option<Value> {
        let ledger = self.ledger();
        let event = ledger.room(room)?.current(kind, state_key)?;
        Some(event.content().clone())
    }
}

/// The power levels of a new room as Element sets them: everybody may send call events.
fn power_levels(creator: &str) -> Value {
    let mut levels = json!({
        "users": {}, "users_default": 0, "events_default": 0, "state_default": 50,
        "ban": 50, "kick": 50, "redact": 50, "invite": 0,
        "events": {
            "org.matrix.msc3401.call": 0, "org.matrix.msc3401.call.member": 0,
            "org.matrix.msc4143.rtc.member": 0, "org.matrix.msc4143.rtc.slot": 50,
        },
    });
    levels["users"][creator] = json!(100);

    levels
}
