//! The data of the simulated homeserver: rooms, aliases, accounts, and one stream of positions over
//! all rooms.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::accounts::Accounts;
use super::event::SimEvent;
use super::room::SimRoom;
use crate::sim::dice::Dice;

/// All data of the server. Rooms are never removed, so an index into `rooms` stays valid.
#[derive(Debug)]
pub(super) struct Ledger {
    pub server_name: String,
    pub accounts: Accounts,
    pub rooms: Vec<SimRoom>,
    pub aliases: HashMap<String, usize>,
    pub features: BTreeMap<String, bool>,
    pub transports: Vec<Value>,
    /// Position, room and index of every sticky event, oldest first.
    pub sticky: Vec<(u64, usize, usize)>,
    /// Position of the newest event.
    pub pos: u64,
    /// Maximum number of events that a page of `/messages` scans.
    pub scan: usize,
    /// Events of all types are sent, whatever a filter says.
    pub ignores_filters: bool,
    /// Display names by user id.
    names: HashMap<String, String>,
    /// Indices into `rooms` by room id.
    by_room_id: HashMap<String, usize>,
    /// By user id, the rooms in which the user has or had any membership.
    rooms_of: HashMap<String, Vec<usize>>,
    /// The event ids of transaction ids that were used.
    txns: HashMap<String, String>,
    dice: Dice,
}

/// A new event, as the caller specifies it.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub room: &'a str,
    pub sender: &'a str,
    pub kind: &'a str,
    pub state_key: Option<&'a str>,
    pub content: Value,
    pub ts: i64,
}

impl Ledger {
    /// An empty server with all features on. Ids come from the seed.
    pub fn new(server_name: String, seed: u64) -> Self {
        let on = |name: &str| (name.to_owned(), true);
        Self {
            server_name,
            accounts: Accounts::new(seed),
            rooms: Vec::new(),
            aliases: HashMap::new(),
            features: BTreeMap::from([
                on("org.matrix.msc4140"),
                on("org.matrix.msc4143"),
                on("org.matrix.msc4222"),
                on("org.matrix.msc4354"),
            ]),
            transports: Vec::new(),
            sticky: Vec::new(),
            pos: 0,
            scan: 1000,
            ignores_filters: false,
            names: HashMap::new(),
            by_room_id: HashMap::new(),
            rooms_of: HashMap::new(),
            txns: HashMap::new(),
            dice: Dice::for_part(seed, "events"),
        }
    }

    /// Is this feature on?
    pub fn has(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or(false)
    }

    /// `@localpart:server`, or the given text if it is already an id.
    pub fn user_id(&self, name: &str) -> String {
        if name.starts_with('@') {
            name.to_owned()
        } else {
            format!("@{name}:{}", self.server_name)
        }
    }

    /// A new id: `!` and 43 characters, as a room of version 12 is called.
    pub fn new_room_id(&mut self) -> String {
        format!("!{}", self.dice.letters(43))
    }

    /// The room of this id, if it exists.
    pub fn room(&self, room_id: &str) -> Option<&SimRoom> {
        self.rooms.get(*self.by_room_id.get(room_id)?)
    }

    /// The room's index; an unknown room is created, empty.
    pub fn room_index(&mut self, room_id: &str) -> usize {
        if let Some(at) = self.by_room_id.get(room_id) {
            return *at;
        }

        self.rooms.push(SimRoom::new(room_id));
        let at = self.rooms.len() - 1;
        self.by_room_id.insert(room_id.to_owned(), at);

        at
    }

    /// Rooms in which the account has or had any membership.
    pub fn rooms_of(&self, user_id: &str) -> &[usize] {
        self.rooms_of.get(user_id).map_or(&[], Vec::as_slice)
    }

    /// Sets the display name that later joins of this user carry.
    pub fn rename(&mut self, user_id: &str, name: &str) {
        self.names.insert(user_id.to_owned(), name.to_owned());
    }

    /// Writes an event as Synapse does, and returns its id. State that is equal to the current one,
    /// from the same sender, makes no event: its id is returned. `now_ms` is the server's clock.
    pub fn write(&mut self, draft: Draft<'_>, sticky_ms: Option<i64>, now_ms: i64) -> String {
        if let Some(same) = self.unchanged(&draft) {
            return same;
        }

        let event_id = format!("${}", self.dice.letters(43));
        let mut raw = Map::new();
        raw.insert("type".to_owned(), json!(draft.kind));
        raw.insert("event_id".to_owned(), json!(event_id));
        raw.insert("sender".to_owned(), json!(draft.sender));
        raw.insert("origin_server_ts".to_owned(), json!(draft.ts));
        raw.insert("content".to_owned(), draft.content);
        if let Some(key) = draft.state_key {
            raw.insert("state_key".to_owned(), json!(key));
        }

        if let (Some(ms), true) = (sticky_ms, self.has("org.matrix.msc4354")) {
            raw.insert("msc4354_sticky".to_owned(), json!({"duration_ms": ms}));
        }

        self.append(draft.room, Value::Object(raw), event_id, now_ms)
    }

    /// The id of the current state event, if this one would say the same.
    fn unchanged(&self, draft: &Draft<'_>) -> Option<String> {
        let old = self
            .room(draft.room)?
            .current(draft.kind, draft.state_key?)?;
        (old.sender == draft.sender && *old.content() == draft.content).then(|| old.id.clone())
    }

    /// Stores an event unchanged. An `event_id` is added only if the key is missing.
    pub fn write_raw(&mut self, room: &str, mut raw: Value, now_ms: i64) -> String {
        let made = format!("${}", self.dice.letters(43));
        if let Some(event) = raw.as_object_mut() {
            event.entry("event_id").or_insert_with(|| json!(made));
        }

        let named = raw.get("event_id").and_then(Value::as_str);
        let event_id = named.map_or(made, str::to_owned);

        self.append(room, raw, event_id, now_ms)
    }

    /// Stores an event at the next position, and returns its id. An unknown room is created.
    fn append(&mut self, room_id: &str, raw: Value, event_id: String, now_ms: i64) -> String {
        self.pos += 1;
        let event = SimEvent::new(raw, event_id, self.pos, now_ms);
        let id = event.id.clone();
        let room = self.room_index(room_id);
        self.note_membership(room, &event);
        let is_sticky = event.sticky_until.is_some() && event.state_key.is_none();
        let at = self.rooms[room].append(event);
        if is_sticky {
            self.sticky.push((self.pos, room, at));
        }

        id
    }

    /// Remembers that the user of a member event has or had something to do with this room.
    fn note_membership(&mut self, room: usize, event: &SimEvent) {
        if event.kind != "m.room.member" {
            return;
        }

        if let Some(user) = &event.state_key {
            let rooms = self.rooms_of.entry(user.clone()).or_default();
            if !rooms.contains(&room) {
                rooms.push(room);
            }
        }
    }

    /// Changes the state with no event in any timeline, as a state reset does. Returns the id of
    /// the event that only the state shows.
    pub fn write_silently(&mut self, draft: &Draft<'_>, now_ms: i64) -> String {
        let event_id = format!("${}", self.dice.letters(43));
        let room = self.room_index(draft.room);
        let raw = json!({"type": draft.kind, "event_id": event_id, "sender": draft.sender,
                         "state_key": draft.state_key, "origin_server_ts": draft.ts,
                         "content": draft.content});
        let mut event = SimEvent::new(raw, event_id.clone(), self.pos, now_ms);
        event.silent = true;
        self.note_membership(room, &event);
        self.rooms[room].append(event);

        event_id
    }

    /// Writes a redaction, and returns its id. The target is pruned for all who ask from now on.
    pub fn redact(&mut self, draft: Draft<'_>, target: &str, now_ms: i64) -> String {
        let room_id = draft.room.to_owned();
        let event_id = self.write(draft, None, now_ms);
        let room = self.room_index(&room_id);
        let room = &mut self.rooms[room];
        let by = room.events.len() - 1;
        if let Some(raw) = room.events.last_mut().and_then(|e| e.raw.as_object_mut()) {
            // Synapse writes the target at both places, whatever the room version.
            raw.insert("redacts".to_owned(), json!(target));
        }

        if let Some(at) = room.by_id.get(target).copied() {
            room.events[at].prune(by);
        }

        event_id
    }

    /// The content of a member event: the membership, and unless the user goes, the display name.
    pub fn member_content(&self, user_id: &str, membership: &str) -> Value {
        match self.names.get(user_id) {
            Some(name) if membership != "ban" && membership != "leave" => {
                json!({"membership": membership, "displayname": name})
            }
            _ => json!({"membership": membership}),
        }
    }

    /// Sends once for each transaction id of a token, as clients may repeat a request. Returns the
    /// event id of the first time.
    pub fn once(&mut self, txn: String, send: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(event_id) = self.txns.get(&txn) {
            return event_id.clone();
        }

        let event_id = send(self);
        self.txns.insert(txn, event_id.clone());

        event_id
    }
}
