//! One room of the simulated homeserver: its events in stream order, its current state, and who may
//! see what.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::event::SimEvent;

/// Current state: type, then state key, then the index of the event.
pub(super) type StateMap = BTreeMap<String, BTreeMap<String, usize>>;

/// A room.
#[derive(Debug, Default)]
pub(super) struct SimRoom {
    pub id: String,
    /// Append only, in stream order.
    pub events: Vec<SimEvent>,
    pub by_id: HashMap<String, usize>,
    pub state: StateMap,
    /// Stream position of the newest event that a sync may show.
    pub last_pos: u64,
    /// The server that must be named to join by id, while no local user is in the room.
    pub via: Option<String>,
    /// By user, the position of each member event and the membership that it states.
    stays: HashMap<String, Vec<(u64, String)>>,
    /// The position of each change of the history visibility, and its word.
    visibility: Vec<(u64, String)>,
}

/// How much of a room an account may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Joined, or a guest of a world-readable room: the present.
    Present,
    /// Left: up to this position.
    Until(u64),
    Forbidden,
}

impl SimRoom {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Appends an event and applies it to the state. Returns its index.
    pub fn append(&mut self, mut event: SimEvent) -> usize {
        let at = self.events.len();
        if let Some(key) = event.state_key.clone() {
            let slot = self.state.entry(event.kind.clone()).or_default();
            event.replaces = slot.insert(key.clone(), at);
            match event.kind.as_str() {
                "m.room.member" => {
                    let membership = event.field("membership").unwrap_or("leave").to_owned();
                    self.stays
                        .entry(key)
                        .or_default()
                        .push((event.pos, membership));
                }
                "m.room.history_visibility" => {
                    let seen = event.field("history_visibility").unwrap_or("shared");
                    self.visibility.push((event.pos, seen.to_owned()));
                }
                _ => {}
            }
        }

        if !event.silent {
            self.last_pos = event.pos;
        }

        self.by_id.insert(event.id.clone(), at);
        self.events.push(event);

        at
    }

    /// The current state event of this type and key.
    pub fn current(&self, kind: &str, key: &str) -> Option<&SimEvent> {
        let at = *self.state.get(kind)?.get(key)?;
        self.events.get(at)
    }

    /// The indices of all current state events.
    pub fn current_state(&self) -> Vec<usize> {
        let keys = self.state.values().flat_map(BTreeMap::values);
        keys.copied().collect()
    }

    /// The indices of the state as it was after the event at `pos`. Silent changes share the
    /// position of the event before them, and count as part of it.
    pub fn state_at(&self, pos: u64) -> Vec<usize> {
        let mut state = self.state.clone();
        for event in self.events.iter().rev().take_while(|event| event.pos > pos) {
            if let Some(key) = &event.state_key {
                let slot = state.entry(event.kind.clone()).or_default();
                match event.replaces {
                    Some(old) => slot.insert(key.clone(), old),
                    None => slot.remove(key),
                };
            }
        }

        state.values().flat_map(BTreeMap::values).copied().collect()
    }

    /// The index range of events after `since` up to and including `until`.
    pub fn span(&self, since: u64, until: u64) -> std::ops::Range<usize> {
        let start = self.events.partition_point(|event| event.pos <= since);
        let end = self.events.partition_point(|event| event.pos <= until);
        start..end.max(start)
    }

    /// The indices of the newest state event of each key after `since` up to and including `until`,
    /// both positions, without silent changes; in the order of type and key.
    pub fn state_changes(&self, since: u64, until: u64) -> Vec<usize> {
        let mut newest = BTreeMap::new();
        for at in self.span(since, until) {
            let event = &self.events[at];
            if let (Some(key), false) = (&event.state_key, event.silent) {
                newest.insert((event.kind.as_str(), key.as_str()), at);
            }
        }

        newest.into_values().collect()
    }

    /// The current membership: `join`, `invite`, `leave`, `ban`, `knock`; `None` for a user who
    /// never had one.
    pub fn membership(&self, user_id: &str) -> Option<&str> {
        let (_, membership) = self.stays.get(user_id)?.last()?;
        Some(membership)
    }

    /// The membership after the event at `pos`; `None` for a user who had none by then.
    fn membership_at(&self, user_id: &str, pos: u64) -> Option<&str> {
        let stays = self.stays.get(user_id)?;
        let upto = stays.partition_point(|(at, _)| *at <= pos);

        stays[..upto]
            .last()
            .map(|(_, membership)| membership.as_str())
    }

    /// The position at which the current membership began; repeated joins do not count.
    pub fn membership_since(&self, user_id: &str) -> Option<u64> {
        let stays = self.stays.get(user_id)?;
        let (_, present) = stays.last()?;
        let run = stays.iter().rev().take_while(|(_, old)| old == present);
        run.last().map(|(pos, _)| *pos)
    }

    /// The event that made the present membership.
    pub fn member_event(&self, user_id: &str) -> Option<&SimEvent> {
        self.current("m.room.member", user_id)
    }

    /// The current member event of each user, whatever the membership.
    pub fn members(&self) -> impl Iterator<Item = &SimEvent> {
        let members = self.state.get("m.room.member").into_iter().flatten();
        members.map(|(_, at)| &self.events[*at])
    }

    /// The users who are joined.
    pub fn joined(&self) -> impl Iterator<Item = &str> {
        let joined = |stays: &Vec<(u64, String)>| stays.last().is_some_and(|(_, m)| m == "join");
        self.stays
            .iter()
            .filter(move |(_, stays)| joined(stays))
            .map(|(user, _)| user.as_str())
    }

    /// How much of the room this user may see: all of the present, the time until the user left, or
    /// nothing.
    pub fn access(&self, user_id: &str) -> Access {
        let was_in = self.stays.get(user_id).and_then(|stays| {
            let joined = stays.iter().rposition(|(_, m)| m == "join")?;
            // The position of the event that ended the last stay; `None` while it lasts.
            Some(stays.get(joined + 1).map(|(pos, _)| *pos))
        });

        match was_in {
            Some(None) => Access::Present,
            Some(Some(left)) => Access::Until(left),
            None if self.visibility_at(u64::MAX) == "world_readable" => Access::Present,
            None => Access::Forbidden,
        }
    }

    /// The history visibility at this position; `shared` if the room states none.
    fn visibility_at(&self, pos: u64) -> &str {
        let upto = self.visibility.partition_point(|(at, _)| *at <= pos);
        let last = self.visibility[..upto].last();
        last.map_or("shared", |(_, seen)| seen.as_str())
    }

    /// May this user see this event, by the history visibility at its time? One's own member events
    /// are always visible.
    pub fn may_see(&self, user_id: &str, event: &SimEvent) -> bool {
        if event.state_key.as_deref() == Some(user_id) && event.kind == "m.room.member" {
            return true;
        }

        let until = match self.access(user_id) {
            Access::Forbidden => return false,
            Access::Present => u64::MAX,
            Access::Until(pos) => pos,
        };

        let then = self.membership_at(user_id, event.pos);

        match self.visibility_at(event.pos) {
            "world_readable" => true,
            "shared" => event.pos <= until && self.stays.contains_key(user_id),
            "invited" => matches!(then, Some("join" | "invite")),
            _ => then == Some("join"),
        }
    }

    /// The membership of `user_id` when an event came; `leave` if there was none.
    pub fn membership_then(&self, user_id: &str, event: &SimEvent) -> &str {
        self.membership_at(user_id, event.pos).unwrap_or("leave")
    }

    /// A text in the content of a state event with an empty key.
    pub fn state_text(&self, kind: &str, field: &str) -> Option<&str> {
        self.current(kind, "")?
            .content()
            .get(field)
            .and_then(Value::as_str)
    }
}
