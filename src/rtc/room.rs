//! The conditions of a room over time: who is in it, which slots are open, what was redacted.

use super::event::{EventKind, RoomEvent};
use super::order::sort_by_effective_time;
use super::slot::is_open;
use super::words::EndReason;
use std::collections::{BTreeMap, HashMap};

/// A timestamp that is earlier than the room's creation (or the user's join) by more than this is
/// certainly wrong, ms. Smaller differences are clock skew.
const REFUTED_MS: i64 = 3_600_000;
/// Nothing was sent over Matrix before September 2014, ms.
const MATRIX_BEGAN_MS: i64 = 1_409_529_600_000;

/// A value that changes at points in time, ms; at most one change per time.
#[derive(Debug, Clone, Default)]
pub struct ValueOverTime<T>(Vec<(i64, T)>);

impl<T: Copy + PartialEq> ValueOverTime<T> {
    /// Adds the next value, which holds from `time`, ms; times must come in order. If several have
    /// the same time, the last one counts.
    fn push(&mut self, time: i64, value: T) {
        if self.0.last().is_some_and(|last| last.0 >= time) {
            self.0.pop();
        }

        // An equal value is not a change: a new display name, for example.
        if self.0.last().is_none_or(|last| last.1 != value) {
            self.0.push((time, value));
        }
    }

    /// The value at `time`, ms; `None` before the first change.
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

/// Whether a user is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    In,
    /// Not in the room, and why.
    Out(EndReason),
}

/// The conditions of one room, for [`super::fold::fold_member_key`].
#[derive(Debug, Clone, Default)]
pub struct RoomConditions {
    /// By user id.
    presence: HashMap<String, ValueOverTime<Presence>>,
    /// By slot id, whether it is open.
    slots: HashMap<String, ValueOverTime<bool>>,
    /// By event id, when the event was redacted, ms.
    redactions: HashMap<String, i64>,
    /// When the room was created, ms; `None` if that event is not known.
    created_ms: Option<i64>,
    /// For each user, the first known time in the room.
    joins: HashMap<String, FirstJoin>,
}

/// When a user is first known to be in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstJoin {
    pub at_ms: i64,
    /// The event is the join itself, not only a new display name of a user who was already there.
    pub is_join: bool,
}

impl RoomConditions {
    /// The conditions that follow from a room's events; ignores all other kinds.
    #[must_use]
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a RoomEvent>) -> Self {
        let mut room = Self::default();
        let mut presence: BTreeMap<&str, Vec<&RoomEvent>> = BTreeMap::new();
        let mut slots: BTreeMap<&str, Vec<&RoomEvent>> = BTreeMap::new();
        for event in events {
            if let Some(time) = event.redacted_ts {
                room.redact(&event.event_id, time);
            }

            match (EventKind::of_event_type(&event.kind), &event.state_key) {
                (EventKind::Presence, Some(user)) => presence.entry(user).or_default().push(event),
                (EventKind::Slot, Some(slot)) => slots.entry(slot).or_default().push(event),
                (EventKind::Create, Some(_)) => room.created_ms = Some(event.time()),
                (EventKind::Redaction, _) => {
                    if let Some(target) = &event.redacts {
                        room.redact(target, event.time());
                    }
                }
                _ => {}
            }
        }

        room.joins = presence
            .iter()
            .filter_map(|(user, list)| Some(((*user).to_owned(), first_join(list)?)))
            .collect();
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

    /// Was the user in the room at `time`, ms? Unknown counts as yes: a server lets only members
    /// send events.
    #[must_use]
    pub fn presence(&self, user: &str, time: i64) -> Presence {
        self.presence
            .get(user)
            .and_then(|steps| steps.at(time))
            .unwrap_or(Presence::In)
    }

    /// Every known change of a user's presence in the room, with its time, ms, in order.
    pub fn presence_changes(&self, user: &str) -> impl Iterator<Item = (i64, Presence)> + '_ {
        self.presence
            .get(user)
            .into_iter()
            .flat_map(ValueOverTime::changes)
    }

    /// Was the slot open at `time`, ms? `None` = no slot event until then.
    #[must_use]
    pub fn slot(&self, slot_id: &str, time: i64) -> Option<bool> {
        self.slots.get(slot_id).and_then(|steps| steps.at(time))
    }

    /// Sets the changes of a slot directly, instead of from its events: the time of each change,
    /// ms, and whether the slot is open from then on; in order.
    pub fn set_slot(&mut self, slot_id: &str, changes: Vec<(i64, bool)>) {
        self.slots
            .insert(slot_id.to_owned(), ValueOverTime(changes));
    }

    /// Every known change of a slot: its time, ms, and whether the slot is open from then on; in
    /// order.
    pub fn slot_changes(&self, slot_id: &str) -> impl Iterator<Item = (i64, bool)> + '_ {
        self.slots
            .get(slot_id)
            .into_iter()
            .flat_map(ValueOverTime::changes)
    }

    /// When an event was redacted, ms; `None` if it was not.
    #[must_use]
    pub fn redacted(&self, event_id: &str) -> Option<i64> {
        self.redactions.get(event_id).copied()
    }

    /// The earliest time at which the user can have been in a call, seen from `time`, both in ms:
    /// the start of the user's present time in the room, else the room's creation. `created_ts`
    /// cannot claim an earlier time.
    #[must_use]
    pub fn earliest_possible_start(&self, user: &str, time: i64) -> i64 {
        let steps = self.presence.get(user).map_or(&[][..], |steps| &steps.0);
        let known = &steps[..steps.partition_point(|(start, _)| *start <= time)];
        let last_join = known
            .iter()
            .rev()
            .take_while(|(_, presence)| *presence == Presence::In)
            .last();
        // The first known `join` may be a new display name; only a join after an absence is a
        // start.
        let was_absent = known.iter().any(|(_, presence)| *presence != Presence::In);
        let joined = last_join.filter(|_| was_absent).map(|(start, _)| *start);

        joined.or(self.created_ms).unwrap_or(0).min(time)
    }

    /// When the user is first known to be in the room; `None` if no join of the user is known.
    #[must_use]
    pub fn first_join(&self, user: &str) -> Option<FirstJoin> {
        self.joins.get(user).copied()
    }

    /// A later start for a stay whose timestamp is certainly wrong, ms; `None` if it may be right.
    /// A timestamp is refuted if it is long before the room's creation or the user's join. The
    /// start is when we first heard of the event, or what its neighbours in the stream suggest;
    /// else the later of creation and join. Clocks of servers differ, and the creation's own
    /// timestamp may be wrong, so without a time of ours the refutation must be proven.
    #[must_use]
    pub fn start_if_stamp_is_refuted(&self, event: &RoomEvent, joined_ms: i64) -> Option<i64> {
        let is_refuted_by = |at_ms: &i64| joined_ms < at_ms.saturating_sub(REFUTED_MS);
        let join = self.first_join(&event.sender);
        let created = self.created_ms.filter(is_refuted_by);
        let joined = join
            .filter(|join| join.is_join || created.is_some())
            .map(|join| join.at_ms)
            .filter(is_refuted_by);
        let floor = created.max(joined)?;
        // The user's own server stamped both events.
        let is_proven = joined.is_some() && join.is_some_and(|join| join.is_join);
        let is_absurd = joined_ms < MATRIX_BEGAN_MS && floor >= MATRIX_BEGAN_MS;

        match event.received_ts {
            Some(received) => (floor <= received).then_some(received),
            None => (is_proven || is_absurd).then_some(floor),
        }
    }

    /// Notes that an event was redacted; the earliest time counts, ms.
    fn redact(&mut self, target: &str, time: i64) {
        let known = self.redactions.entry(target.to_owned()).or_insert(time);
        *known = (*known).min(time);
    }

    /// When the slot was opened and closed, from its events, in any order: `true` while it is open.
    /// The redactions of the room must be noted before.
    fn slot_steps(&self, slot: &str, events: &[&RoomEvent]) -> ValueOverTime<bool> {
        let mut steps = ValueOverTime(Vec::new());
        let ordered = sort_by_effective_time(events.iter().copied());
        for (at, (time, event)) in ordered.iter().enumerate() {
            steps.push(*time, is_open(slot, &event.content));
            let next = ordered.get(at + 1).map_or(i64::MAX, |(next, _)| *next);
            // Redacting the current slot event empties it, and an empty slot is closed.
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

/// The first known time in the room of one user, from the user's `m.room.member` events, in any
/// order; `None` without a join. It is the join itself in two cases: the
/// user was not in the room before; or the homeserver states what other events of this user
/// replaced, but states nothing for this one.
fn first_join(events: &[&RoomEvent]) -> Option<FirstJoin> {
    let is_in = |event: &RoomEvent| {
        event
            .content
            .get("membership")
            .and_then(serde_json::Value::as_str)
            == Some("join")
    };

    let ordered = sort_by_effective_time(events.iter().copied());
    let (at_ms, first) = ordered.iter().find(|(_, event)| is_in(event))?;
    let before = first.replaces_state.as_ref();
    let follows_absence = before.is_some_and(|id| {
        events
            .iter()
            .any(|event| event.event_id == *id && !is_in(event))
    });
    let names_others = events.iter().any(|event| event.replaces_state.is_some());

    Some(FirstJoin {
        at_ms: *at_ms,
        is_join: follows_absence || (before.is_none() && names_others),
    })
}

/// When a user came into the room and went, and why, from the user's `m.room.member` events, in any
/// order. A leave that somebody else sent is a kick.
fn presence_steps(events: &[&RoomEvent]) -> ValueOverTime<Presence> {
    let mut steps = ValueOverTime(Vec::new());
    for (time, event) in sort_by_effective_time(events.iter().copied()) {
        let is_own = event.state_key.as_deref() == Some(event.sender.as_str());
        let presence = match event
            .content
            .get("membership")
            .and_then(serde_json::Value::as_str)
        {
            // A server lets only members send events, so an invitation does not say who was in the
            // room.
            Some("invite" | "knock") => continue,
            Some("join") => Presence::In,
            Some("ban") => Presence::Out(EndReason::RoomBanned),
            _ if is_own => Presence::Out(EndReason::RoomLeft),
            _ => Presence::Out(EndReason::RoomKicked),
        };

        steps.push(time, presence);
    }

    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CREATED: i64 = 1_600_000_000_000;
    const JOINED: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn event(id: &str, kind: &str, key: &str, at: i64, more: &Value) -> RoomEvent {
        let json = json!({"event_id": id, "type": kind, "state_key": key, "sender": "@a:h",
            "origin_server_ts": at,
            "content": more["content"], "unsigned": more["unsigned"]});
        RoomEvent::from_json(&json, None).unwrap()
    }

    fn membership(id: &str, at: i64, word: &str, replaces: Option<&str>) -> RoomEvent {
        let more =
            json!({"content": {"membership": word}, "unsigned": {"replaces_state": replaces}});
        event(id, "m.room.member", "@a:h", at, &more)
    }

    /// The bound for a stay with such a timestamp.
    fn bound(presence: &[RoomEvent], stamp: i64) -> Option<i64> {
        let create = event("$c", "m.room.create", "", CREATED, &json!({"content": {}}));
        let room = RoomConditions::from_events(presence.iter().chain([&create]));
        let member = event(
            "$m",
            "m.call.member",
            "_@a:h_D",
            stamp,
            &json!({"content": {}}),
        );

        room.start_if_stamp_is_refuted(&member, stamp)
    }

    #[test]
    fn a_stamp_that_cannot_be_is_bounded_by_the_users_own_join() {
        assert_eq!(bound(&[], 5), Some(CREATED));
        let join = || membership("$1", JOINED, "join", None);
        assert_eq!(bound(&[join()], 5), Some(JOINED));
        assert_eq!(
            bound(&[join()], CREATED + HOUR),
            None,
            "it may be a new name"
        );
        let invited = [
            membership("$i", JOINED - 5, "invite", None),
            membership("$j", JOINED, "join", Some("$i")),
        ];
        assert_eq!(bound(&invited, CREATED + HOUR), Some(JOINED));
        assert_eq!(bound(&[join()], JOINED - HOUR / 2), None, "clocks differ");
    }

    #[test]
    fn a_stamp_of_1970_after_the_creation_of_a_room_of_1970_is_no_proof() {
        let create = event("$c", "m.room.create", "", 5, &json!({"content": {}}));
        let room = RoomConditions::from_events([&create]);
        let member = event("$m", "m.call.member", "_@a:h_D", 0, &json!({"content": {}}));
        assert_eq!(room.start_if_stamp_is_refuted(&member, 0), None);
    }

    #[test]
    fn the_first_join_is_told_from_a_new_name() {
        let first = |events: &[RoomEvent]| {
            RoomConditions::from_events(events)
                .first_join("@a:h")
                .unwrap()
        };
        let invited = [
            membership("$i", JOINED - 5, "invite", None),
            membership("$j", JOINED, "join", Some("$i")),
        ];
        assert!(first(&invited).is_join);
        assert!(!first(&[membership("$n", JOINED, "join", Some("$gone"))]).is_join);
        let named = [
            membership("$j", JOINED, "join", None),
            membership("$n", JOINED + 5, "join", Some("$j")),
        ];
        assert_eq!(
            first(&named),
            FirstJoin {
                at_ms: JOINED,
                is_join: true
            }
        );
    }
}
