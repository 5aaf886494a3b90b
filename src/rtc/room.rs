//! What holds in a room over time: who is in it, which slots are open, what was redacted.

use super::event::{Kind, RoomEvent};
use super::membership::EndReason;
use super::order::in_order;
use super::slot::is_open;
use std::collections::{BTreeMap, HashMap};

/// So long before the room's creation, ms, a stamp is wrong for sure: no clock is off by less.
const REFUTED_MS: i64 = 3_600_000;
/// Nothing was sent over Matrix before September 2014, ms.
const MATRIX_BEGAN_MS: i64 = 1_409_529_600_000;

/// A value that changes at points in time, ms; at most one value for each point.
#[derive(Debug, Clone, Default)]
pub struct Steps<T>(Vec<(i64, T)>);

impl<T: Copy + PartialEq> Steps<T> {
    /// Adds the next value; of several at one time the last counts.
    fn push(&mut self, time: i64, value: T) {
        if self.0.last().is_some_and(|last| last.0 >= time) {
            self.0.pop();
        }
        // A new display name is no change.
        if self.0.last().is_none_or(|last| last.1 != value) {
            self.0.push((time, value));
        }
    }

    /// The value at `time`; `None` before the first change.
    #[must_use]
    pub fn at(&self, time: i64) -> Option<T> {
        let after = self.0.partition_point(|(start, _)| *start <= time);
        after.checked_sub(1).map(|at| self.0[at].1)
    }

    /// Every change, in order.
    pub fn changes(&self) -> impl Iterator<Item = (i64, T)> + '_ {
        self.0.iter().copied()
    }
}

/// A user's standing in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    In,
    /// Not in it, and how that came.
    Out(EndReason),
}

/// The conditions of one room, for [`super::fold::fold`].
#[derive(Debug, Clone, Default)]
pub struct Room {
    presence: HashMap<String, Steps<Presence>>,
    slots: HashMap<String, Steps<bool>>,
    redactions: HashMap<String, i64>,
    created_ms: Option<i64>,
}

impl Room {
    /// Reads the conditions out of a room's events; all other kinds are passed over.
    #[must_use]
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a RoomEvent>) -> Self {
        let mut room = Self::default();
        let mut presence: BTreeMap<&str, Vec<&RoomEvent>> = BTreeMap::new();
        let mut slots: BTreeMap<&str, Vec<&RoomEvent>> = BTreeMap::new();
        for event in events {
            if let Some(time) = event.redacted_ts {
                room.redact(&event.event_id, time);
            }
            match (Kind::of(&event.kind), &event.state_key) {
                (Kind::Presence, Some(user)) => presence.entry(user).or_default().push(event),
                (Kind::Slot, Some(slot)) => slots.entry(slot).or_default().push(event),
                (Kind::Create, Some(_)) => room.created_ms = Some(event.time()),
                (Kind::Redaction, _) => {
                    if let Some(target) = &event.redacts {
                        room.redact(target, event.time());
                    }
                }
                _ => {}
            }
        }
        room.presence = presence
            .into_iter()
            .map(|(user, list)| (user.to_owned(), presence_steps(&list)))
            .collect();
        let slots = slots
            .into_iter()
            .map(|(slot, list)| (slot.to_owned(), room.slot_steps(slot, &list)));
        room.slots = slots.collect();
        room
    }

    /// Was the user in the room? Unknown counts as in: a server lets nobody else send.
    #[must_use]
    pub fn presence(&self, user: &str, time: i64) -> Presence {
        self.presence
            .get(user)
            .and_then(|steps| steps.at(time))
            .unwrap_or(Presence::In)
    }

    /// Every known change of a user's standing.
    pub fn presence_changes(&self, user: &str) -> impl Iterator<Item = (i64, Presence)> + '_ {
        self.presence.get(user).into_iter().flat_map(Steps::changes)
    }

    /// Was the slot open? `None` = no slot event so far.
    #[must_use]
    pub fn slot(&self, slot_id: &str, time: i64) -> Option<bool> {
        self.slots.get(slot_id).and_then(|steps| steps.at(time))
    }

    /// Says how a slot changed, instead of its events: since when, ms, it is open or closed, in order.
    pub fn set_slot(&mut self, slot_id: &str, changes: Vec<(i64, bool)>) {
        self.slots.insert(slot_id.to_owned(), Steps(changes));
    }

    /// Every known change of a slot.
    pub fn slot_changes(&self, slot_id: &str) -> impl Iterator<Item = (i64, bool)> + '_ {
        self.slots.get(slot_id).into_iter().flat_map(Steps::changes)
    }

    /// When an event was redacted, ms.
    #[must_use]
    pub fn redacted(&self, event_id: &str) -> Option<i64> {
        self.redactions.get(event_id).copied()
    }

    /// The earliest time at which the user can have been in a call, as seen from `time`: the start of
    /// its present stay in the room, else the room's creation. `created_ts` cannot claim more.
    #[must_use]
    pub fn floor(&self, user: &str, time: i64) -> i64 {
        let steps = self.presence.get(user).map_or(&[][..], |steps| &steps.0);
        let known = &steps[..steps.partition_point(|(start, _)| *start <= time)];
        let stay = known
            .iter()
            .rev()
            .take_while(|(_, presence)| *presence == Presence::In)
            .last();
        // A first known `join` may be a new display name; only a join after an absence is a start.
        let begins = known.iter().any(|(_, presence)| *presence != Presence::In);
        let stay = stay.filter(|_| begins).map(|(start, _)| *start);
        stay.or(self.created_ms).unwrap_or(0).min(time)
    }

    /// A bound for the start of a stay whose event bears a stamp that the room's creation refutes: when we first heard of
    /// it, else the creation. Clocks of servers differ, and a creation may be stamped wrong itself.
    #[must_use]
    pub fn bound_of(&self, event: &RoomEvent, joined_ms: i64) -> Option<i64> {
        let created = self
            .created_ms
            .filter(|created| joined_ms < created.saturating_sub(REFUTED_MS))?;
        match event.received_ts {
            Some(received) => (created <= received).then_some(received),
            None => (joined_ms < MATRIX_BEGAN_MS && created >= MATRIX_BEGAN_MS).then_some(created),
        }
    }

    fn redact(&mut self, target: &str, time: i64) {
        let known = self.redactions.entry(target.to_owned()).or_insert(time);
        *known = (*known).min(time);
    }

    fn slot_steps(&self, slot: &str, events: &[&RoomEvent]) -> Steps<bool> {
        let mut steps = Steps(Vec::new());
        let ordered = in_order(events.iter().copied());
        for (at, (time, event)) in ordered.iter().enumerate() {
            steps.push(*time, is_open(slot, &event.content));
            let next = ordered.get(at + 1).map_or(i64::MAX, |(next, _)| *next);
            // Redacting the current slot event empties it, and an empty one is closed.
            if let Some(redacted) = self
                .redacted(&event.event_id)
                .filter(|redacted| (*time..next).contains(redacted))
            {
                steps.push(redacted, false);
            }
        }
        steps
    }
}

fn presence_steps(events: &[&RoomEvent]) -> Steps<Presence> {
    let mut steps = Steps(Vec::new());
    for (time, event) in in_order(events.iter().copied()) {
        let own = event.state_key.as_deref() == Some(event.sender.as_str());
        let presence = match event
            .content
            .get("membership")
            .and_then(serde_json::Value::as_str)
        {
            // A server lets nobody but members send, so an invitation says nothing about who was in.
            Some("invite" | "knock") => continue,
            Some("join") => Presence::In,
            Some("ban") => Presence::Out(EndReason::RoomBanned),
            _ if own => Presence::Out(EndReason::RoomLeft),
            _ => Presence::Out(EndReason::RoomKicked),
        };
        steps.push(time, presence);
    }
    steps
}
