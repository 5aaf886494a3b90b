//! The pure core: from the events of a room to memberships and sessions. No I/O, no clock, no
//! async.
//!
//! The main function is [`derive()`]. It consists of two folds. The first ([`fold`]) turns the
//! events of one *member key* (a state key, or a sender's sticky key) into memberships; it also
//! takes the conditions of the [`room`]. The second ([`session`]) turns the memberships of one slot
//! into sessions. Expiry is part of the result (`until_ms`). So the result depends neither on the
//! time of the query nor on the order in which events arrived.

pub mod acl;
pub mod alert;
pub mod application;
pub mod attendance;
pub mod broken_call;
pub mod coverage;
pub mod direction;
pub mod event;
pub mod evidence;
pub mod finding;
pub mod finding_kind;
pub mod fold;
pub mod forgotten;
pub mod ghost;
pub mod id;
pub mod left_over;
pub mod member;
pub mod membership;
pub mod neighbours;
pub mod occupancy;
pub mod order;
pub mod power;
pub mod present;
pub mod probe_answer;
pub mod problem;
pub mod reading;
pub mod redaction;
pub mod related;
pub mod ring;
pub mod room;
pub mod room_finding;
pub mod room_rules;
pub mod room_title;
pub mod room_visibility;
pub mod server_check;
pub mod session;
pub mod sfu_owner;
pub mod side_by_side;
pub mod sieve;
pub mod skew;
pub mod slot;
pub mod spelling;
pub mod split_finding;
pub mod stamp;
pub mod support;
pub mod time;
pub mod transport;
pub mod visibility;
pub mod words;

use event::RoomEvent;
use fold::Rules;
use membership::{Membership, Rejection};
use session::Session;
use std::collections::BTreeMap;

/// The version of the rules that derive memberships and sessions from events. Raise it when you
/// change what [`derive()`] returns for the same events: everything stored is then derived again.
pub const RULES_VERSION: u32 = 4;

/// Everything that follows from the events of one room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derived {
    /// Sorted by `joined_ms`, user, device.
    pub memberships: Vec<Membership>,
    /// Sorted by `started_ms`, slot.
    pub sessions: Vec<Session>,
    /// Events about a call that could not be used, with the reason; sorted by event id.
    pub rejected: Vec<Rejection>,
}

/// The events by event id; copies of the same event become one ([`RoomEvent::absorb`]).
#[must_use]
pub fn merge_copies(events: impl IntoIterator<Item = RoomEvent>) -> BTreeMap<String, RoomEvent> {
    let mut distinct: BTreeMap<String, RoomEvent> = BTreeMap::new();
    for event in events {
        match distinct.entry(event.event_id.clone()) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(event);
            }
            std::collections::btree_map::Entry::Occupied(mut known) => {
                known.get_mut().absorb(&event);
            }
        }
    }

    distinct
}

/// Derives memberships and sessions from all events of one room, in any order, with duplicates.
#[must_use]
pub fn derive(
    room_id: &str,
    events: impl IntoIterator<Item = RoomEvent>,
    rules: &Rules,
) -> Derived {
    let mut events = merge_copies(events);
    redaction::apply_redactions(&mut events);
    let room = room::RoomConditions::from_events(events.values());
    let mut member_keys: BTreeMap<String, Vec<&RoomEvent>> = BTreeMap::new();
    let mut derived = Derived::default();
    for event in events.values() {
        match member::member_key_of(event) {
            Ok(Some(member_key)) => member_keys.entry(member_key).or_default().push(event),
            Ok(None) => {}
            Err(reason) => derived.rejected.push((event.event_id.clone(), reason)),
        }
    }

    for (member_key, events) in &member_keys {
        let (mut members, mut rejected) =
            fold::fold_member_key(member_key, events.iter().copied(), &room, rules);
        derived.memberships.append(&mut members);
        derived.rejected.append(&mut rejected);
    }

    derived.sessions = sessions_of_room(room_id, &derived.memberships);
    derived
        .memberships
        .sort_by(|a, b| membership_sort_key(a).cmp(&membership_sort_key(b)));
    derived.rejected.sort();

    derived
}

/// The key by which [`Derived::memberships`] are sorted.
fn membership_sort_key(member: &Membership) -> (i64, &str, Option<&str>, &str) {
    (
        member.joined_ms,
        &member.user_id,
        member.device_id.as_deref(),
        &member.id,
    )
}

/// The sessions of all slots among these memberships of one room.
#[must_use]
pub fn sessions_of_room(room_id: &str, members: &[Membership]) -> Vec<Session> {
    let mut slots: BTreeMap<&str, Vec<&Membership>> = BTreeMap::new();
    for member in members {
        slots.entry(member.slot.as_str()).or_default().push(member);
    }

    let mut sessions: Vec<Session> = slots
        .into_values()
        .flat_map(|members| session::sessions_of_slot(room_id, members))
        .collect();
    sessions.sort_by(|a, b| (a.started_ms, &a.slot_id).cmp(&(b.started_ms, &b.slot_id)));

    sessions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn two_servers_that_link_one_event_differently_give_one_result_in_any_order() {
        let event = |id: &str, at: i64, content: &Value, link: &str| {
            let json = json!({"event_id": id, "type": "m.call.member", "state_key": "_@a:h_D",
                "sender": "@a:h",
                "origin_server_ts": at, "content": content, "unsigned": {"replaces_state": link}});
            RoomEvent::from_recorded(&json).unwrap()
        };

        let join = json!({"application": "m.call", "call_id": "", "device_id": "D",
            "expires": 10_000_000,
            "focus_active": {"type": "livekit"}});
        let first = [
            event("$1", 1000, &join, "$0"),
            event("$2", 501_000, &join, "$1"),
        ];
        let (one, other) = (
            event("$3", 301_000, &json!({}), "$1"),
            event("$3", 301_000, &json!({}), "$2"),
        );
        let derived = |copies: [&RoomEvent; 2]| {
            derive(
                "!r:h",
                first.iter().chain(copies).cloned(),
                &Rules::default(),
            )
        };

        assert_eq!(derived([&one, &other]), derived([&other, &one]));
    }
}
