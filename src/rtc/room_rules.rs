//! The rules of a room over time, from its own state: power levels, server ACL, and the room that
//! replaced it.

use super::acl::ServerAcl;
use super::event::RoomEvent;
use super::order::sort_by_effective_time;
use super::power::{JoinType, PowerLevels, RoomCreation, is_room_id};
use serde_json::Value;

/// The event types that this module reads, each with an empty state key.
pub const TYPES: [&str; 4] = [
    "m.room.create",
    "m.room.power_levels",
    "m.room.server_acl",
    "m.room.tombstone",
];

/// The room that took the place of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Since when, ms.
    pub at_ms: i64,
    pub room_id: String,
    /// Who sent the tombstone.
    pub sender: String,
}

/// A value and the time since which it holds, ms.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ValueSince<T> {
    from_ms: i64,
    value: T,
}

/// The known rules of a room over time; each list is in order of time, oldest first. Before the
/// first event of a type nothing is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomRules {
    pub creation: RoomCreation,
    levels: Vec<ValueSince<PowerLevels>>,
    acls: Vec<ValueSince<Option<ServerAcl>>>,
    replaced: Option<Replacement>,
}

impl RoomRules {
    /// The rules that a room's events state, in any order; ignores all other types.
    #[must_use]
    pub fn from_events(events: &[RoomEvent]) -> Self {
        let of_type = |wanted: &str| {
            let events = events
                .iter()
                .filter(|event| event.kind == wanted && event.state_key.as_deref() == Some(""));
            sort_by_effective_time(events)
        };

        let creation = of_type("m.room.create")
            .first()
            .map(|(_, event)| RoomCreation::read(&event.sender, &event.content))
            .unwrap_or_default();
        let levels = of_type("m.room.power_levels")
            .into_iter()
            .map(|(from_ms, event)| ValueSince {
                from_ms,
                value: PowerLevels::read(&event.content, &creation),
            })
            .collect();
        let acls = of_type("m.room.server_acl")
            .into_iter()
            .map(|(from_ms, event)| ValueSince {
                from_ms,
                value: ServerAcl::read(&event.content),
            })
            .collect();

        Self {
            replaced: find_replacement(&of_type("m.room.tombstone")),
            creation,
            levels,
            acls,
        }
    }

    /// The room that replaced this one, by the newest tombstone; `None` if it was not replaced.
    #[must_use]
    pub fn replaced(&self) -> Option<&Replacement> {
        self.replaced.as_ref()
    }

    /// The power levels at a time, ms; `None` before the first known event.
    #[must_use]
    pub fn levels_at(&self, time_ms: i64) -> Option<&PowerLevels> {
        let known = self.levels.partition_point(|step| step.from_ms <= time_ms);
        Some(&self.levels[known.checked_sub(1)?].value)
    }

    /// The power levels at a time, ms, or if none is known of it, the earliest known ones; `None` if
    /// no event is known.
    #[must_use]
    pub fn levels_at_or_earliest(&self, time_ms: i64) -> Option<&PowerLevels> {
        let earliest = || Some(&self.levels.first()?.value);
        self.levels_at(time_ms).or_else(earliest)
    }

    /// The current power levels; `None` if no event is known.
    #[must_use]
    pub fn levels(&self) -> Option<&PowerLevels> {
        self.levels_at(i64::MAX)
    }

    /// Every known state of the power levels, in order, with the time since which it holds, ms.
    pub fn levels_changes(&self) -> impl Iterator<Item = (i64, &PowerLevels)> {
        self.levels.iter().map(|step| (step.from_ms, &step.value))
    }

    /// Have the power levels ever kept ordinary users from sending one of these types?
    #[must_use]
    pub fn restricts_calls(&self, types: &[JoinType]) -> bool {
        self.levels.iter().any(|step| {
            types.iter().any(|one| {
                step.value.of_others() < step.value.needed(&one.event_type, one.is_state)
            })
        })
    }

    /// Since when a server has been denied, ms, as of a given time: the start of the denial in
    /// force then. `None` if the server was not denied at that time.
    #[must_use]
    pub fn denied_since(&self, server: &str, time_ms: i64) -> Option<i64> {
        let denies = |acl: &Option<ServerAcl>| acl.as_ref().is_some_and(|acl| acl.denies(server));
        find_held_since(&self.acls, time_ms, denies)
    }

    /// Since when a user may send none of these types, ms, as of a given time. `None` if the user
    /// may send one then, or if there are no types.
    #[must_use]
    pub fn powerless_since(&self, user: &str, types: &[JoinType], time_ms: i64) -> Option<i64> {
        let none = |levels: &PowerLevels| {
            !types.is_empty()
                && !types
                    .iter()
                    .any(|one| levels.may_send(user, &one.event_type, one.is_state))
        };

        find_held_since(&self.levels, time_ms, none)
    }
}

/// Since when the rule has held without a break, as it stood at a time, ms; `None` if it did not hold
/// then, or nothing is known. The steps are oldest first; one at that very time counts.
fn find_held_since<T>(
    steps: &[ValueSince<T>],
    time_ms: i64,
    fits: impl Fn(&T) -> bool,
) -> Option<i64> {
    let count = steps.partition_point(|step| step.from_ms <= time_ms);
    let run = steps[..count]
        .iter()
        .rev()
        .take_while(|step| fits(&step.value));

    run.last().map(|step| step.from_ms)
}

/// The room that the newest tombstone names, since the first of the tombstones that name the same
/// one in a row. `None` if it names none. The tombstones are oldest first, each with its effective
/// time, ms.
fn find_replacement(tombstones: &[(i64, &RoomEvent)]) -> Option<Replacement> {
    let named = |event: &RoomEvent| {
        let room_id = event.content.get("replacement_room");
        let room_id = room_id.and_then(Value::as_str);
        room_id
            .filter(|room_id| is_room_id(room_id))
            .map(ToOwned::to_owned)
    };

    let (_, newest) = tombstones.last()?;
    let room_id = named(newest)?;
    // Repeating the same tombstone does not change the time.
    let same = tombstones
        .iter()
        .rev()
        .take_while(|(_, event)| named(event).as_ref() == Some(&room_id));
    let (at_ms, first) = same.last()?;

    Some(Replacement {
        at_ms: *at_ms,
        room_id,
        sender: first.sender.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MEMBER: &str = "org.matrix.msc3401.call.member";

    #[expect(clippy::needless_pass_by_value, reason = "so that the cases read well")]
    fn state(id: &str, kind: &str, at: i64, content: Value) -> RoomEvent {
        let json = json!({"event_id": id, "type": kind, "state_key": "", "sender": "@ada:h",
            "origin_server_ts": at, "content": content});
        RoomEvent::from_json(&json, None).unwrap()
    }

    fn tombstone(id: &str, at: i64, to: &Value) -> RoomEvent {
        state(id, "m.room.tombstone", at, json!({"replacement_room": to}))
    }

    #[test]
    fn before_all_known_levels_the_earliest_are_the_best_guess() {
        let levels = |id: &str, at: i64, power: i64| {
            state(
                id,
                "m.room.power_levels",
                at,
                json!({"users": {"@ada:h": power}}),
            )
        };
        let rules = RoomRules::from_events(&[levels("$1", 10, 50), levels("$2", 20, 0)]);
        let power_at = |at: i64| rules.levels_at_or_earliest(at).unwrap().of_user("@ada:h");
        assert_eq!([power_at(5), power_at(10), power_at(20)], [50, 50, 0]);
        assert!(rules.levels_at(5).is_none());
        assert!(RoomRules::default().levels_at_or_earliest(5).is_none());
    }

    #[test]
    fn levels_hold_from_their_event_on() {
        let rules = RoomRules::from_events(&[
            state(
                "$2",
                "m.room.power_levels",
                20,
                json!({"events": {MEMBER: 0}}),
            ),
            state("$1", "m.room.power_levels", 10, json!({})),
            state("$3", "m.room.power_levels", 30, json!({})),
            state(
                "$4",
                "m.room.power_levels",
                40,
                json!({"users": {"@cleo:h": 100}}),
            ),
        ]);
        let types = [JoinType::new(MEMBER, true)];
        let since = |user, time| rules.powerless_since(user, &types, time);
        assert_eq!(rules.levels_at(9), None, "not known, and so no reproach");
        assert_eq!(since("@ben:h", 9), None);
        assert_eq!(since("@ben:h", 15), Some(10));
        assert_eq!(since("@ben:h", 25), None);
        assert_eq!(since("@ben:h", 99), Some(30), "the beginning of the run");
        assert_eq!(since("@cleo:h", 99), None);
        assert_eq!(rules.powerless_since("@ben:h", &[], 99), None);
        assert!(rules.restricts_calls(&types));
    }

    #[test]
    fn a_server_is_denied_from_the_first_of_the_present_denials_on() {
        let deny = |list: Value| json!({"allow": ["*"], "deny": list});
        let rules = RoomRules::from_events(&[
            state("$1", "m.room.server_acl", 10, deny(json!(["b.h"]))),
            state("$2", "m.room.server_acl", 20, deny(json!(["b.h", "c.h"]))),
            state("$3", "m.room.server_acl", 30, deny(json!(["c.h"]))),
        ]);
        assert_eq!(rules.denied_since("b.h", 25), Some(10));
        assert_eq!(rules.denied_since("b.h", 35), None);
        assert_eq!(rules.denied_since("c.h", 99), Some(20));
        assert_eq!(rules.denied_since("d.h", 99), None);
    }

    #[test]
    fn the_newest_tombstone_counts_from_its_first_word_on() {
        let of = |events: &[RoomEvent]| RoomRules::from_events(events).replaced().cloned();
        let found = |at_ms, room_id: &str| {
            Some(Replacement {
                at_ms,
                room_id: room_id.to_owned(),
                sender: "@ada:h".to_owned(),
            })
        };

        let (one, again) = (
            tombstone("$1", 10, &json!("!new:h")),
            tombstone("$2", 20, &json!("!new:h")),
        );
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[again.clone(), one.clone()]), found(10, "!new:h"));
        let other = tombstone("$3", 30, &json!("!other:h"));
        assert_eq!(of(&[one.clone(), other]), found(30, "!other:h"));

        for odd in [json!(null), json!(5), json!("#alias:h"), json!("!x\ny:h")] {
            assert_eq!(of(&[one.clone(), tombstone("$4", 40, &odd)]), None, "{odd}");
        }
    }
}
