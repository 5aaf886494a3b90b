//! Power levels: who may send which event in a room, and so who may join a call in it.
//!
//! The rules are those of the Matrix specification (client-server API, `m.room.power_levels`; room
//! versions 1 to 12). Contents come from strangers: a value of an unexpected type counts as absent.

use super::event::EventKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of users read from one event; an event of 64 KiB holds fewer.
const USERS_MAX: usize = 4_000;

/// The power of creators in room version 12 and later: no level is above it.
pub const CREATOR: i64 = i64::MAX;

/// The content of the room's first event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomCreation {
    /// `room_version`; "1" if not stated.
    pub version: String,
    /// The creators: the sender (in old versions the `creator` that the event names), then
    /// `additional_creators`.
    pub creators: Vec<String>,
    /// The room that this one replaced.
    pub predecessor: Option<String>,
}

impl RoomCreation {
    /// What an `m.room.create` event says.
    #[must_use]
    pub fn read(sender: &str, content: &Value) -> Self {
        let text = |key: &str| content.get(key).and_then(Value::as_str);
        let version = text("room_version").unwrap_or("1").to_owned();
        // From version 11 on the sender is the creator, and `creator` is ignored.
        let named = text("creator").filter(|_| number_of_version(&version) < 11);
        let mut creators = vec![named.unwrap_or(sender).to_owned()];
        if has_creators(&version) {
            let more = content.get("additional_creators").and_then(Value::as_array);
            let more = more.into_iter().flatten().filter_map(Value::as_str);
            creators.extend(more.take(USERS_MAX).map(ToOwned::to_owned));
        }

        let predecessor = content
            .pointer("/predecessor/room_id")
            .and_then(Value::as_str)
            .filter(|room_id| is_room_id(room_id))
            .map(ToOwned::to_owned);

        Self {
            version,
            creators,
            predecessor,
        }
    }
}

/// Can this be the id of a room: `!` and more, short, without spaces and control characters?
#[must_use]
pub fn is_room_id(text: &str) -> bool {
    let plain = |letter: char| !letter.is_control() && !letter.is_whitespace();
    text.len() > 1 && text.len() <= 255 && text.starts_with('!') && text.chars().all(plain)
}

/// The number of a room version. A version that is not a number is custom and counts as 11.
fn number_of_version(version: &str) -> u32 {
    version.parse().unwrap_or(11)
}

/// Are creators above all levels in this room version? They are from version 12 on.
fn has_creators(version: &str) -> bool {
    number_of_version(version) >= 12 || version.starts_with("org.matrix.hydra")
}

/// Who may do what in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PowerLevels {
    users: BTreeMap<String, i64>,
    users_default: i64,
    events: BTreeMap<String, i64>,
    events_default: i64,
    state_default: i64,
}

impl PowerLevels {
    /// The levels of a room without an `m.room.power_levels` event: its creator has 100, everybody
    /// may send everything.
    #[must_use]
    pub fn without_event(creation: &RoomCreation) -> Self {
        let mut levels = Self::default();
        for creator in &creation.creators {
            levels.users.insert(creator.clone(), 100);
        }

        levels.raise_creators(creation);

        levels
    }

    /// Reads the content of an `m.room.power_levels` event.
    #[must_use]
    pub fn read(content: &Value, creation: &RoomCreation) -> Self {
        // Up to version 9 servers accepted numbers written as strings.
        let texts = number_of_version(&creation.version) < 10;
        let one = |key: &str, usual: i64| {
            let stated = content.get(key).and_then(|value| parse_level(value, texts));
            stated.unwrap_or(usual)
        };

        let map = |key: &str| {
            let entries = content.get(key).and_then(Value::as_object);
            parse_levels(entries, texts)
        };

        let mut levels = Self {
            users: map("users"),
            users_default: one("users_default", 0),
            events: map("events"),
            events_default: one("events_default", 0),
            state_default: one("state_default", 50),
        };

        levels.raise_creators(creation);

        levels
    }

    /// Gives creators a power above all levels, in room versions that have it.
    fn raise_creators(&mut self, creation: &RoomCreation) {
        if has_creators(&creation.version) {
            for creator in &creation.creators {
                self.users.insert(creator.clone(), CREATOR);
            }
        }
    }

    /// The power of a user: the one stated, else that of users who are not named.
    #[must_use]
    pub fn of_user(&self, user_id: &str) -> i64 {
        let stated = self.users.get(user_id).copied();
        stated.unwrap_or(self.users_default)
    }

    /// The power of users that are not named.
    #[must_use]
    pub fn of_others(&self) -> i64 {
        self.users_default
    }

    /// The power needed to send an event of this type.
    #[must_use]
    pub fn needed(&self, event_type: &str, is_state: bool) -> i64 {
        let usual = if is_state {
            self.state_default
        } else {
            self.events_default
        };

        self.events.get(event_type).copied().unwrap_or(usual)
    }

    /// May this user send an event of this type?
    #[must_use]
    pub fn may_send(&self, user_id: &str, event_type: &str, is_state: bool) -> bool {
        self.of_user(user_id) >= self.needed(event_type, is_state)
    }

    /// Users that are named with their levels.
    pub fn named(&self) -> impl Iterator<Item = (&str, i64)> {
        self.users
            .iter()
            .map(|(user, level)| (user.as_str(), *level))
    }
}

/// The levels of a map, by user or event type. Values that are no level are left out. `texts`: the
/// room version accepts numbers written as strings, and fractions.
fn parse_levels(entries: Option<&Map<String, Value>>, texts: bool) -> BTreeMap<String, i64> {
    let entries = entries.into_iter().flatten().take(USERS_MAX);
    entries
        .filter_map(|(key, value)| Some((key.clone(), parse_level(value, texts)?)))
        .collect()
}

/// One level; `None` if the value is no number. With `texts`, as old servers did, `"50"`, `" +50 "`
/// and `50.9` are accepted too; the last is truncated.
fn parse_level(value: &Value, texts: bool) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a cast of a float stops at the ends of the range"
            )]
            let whole = number.as_f64().filter(|_| texts)? as i64;
            Some(whole)
        }),
        Value::String(text) if texts => {
            let digits = text.trim();
            digits.strip_prefix('+').unwrap_or(digits).parse().ok()
        }
        _ => None,
    }
}

/// An event type by which people join calls, as sent in one room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JoinType {
    pub event_type: String,
    /// Sent as room state, not as a (sticky) message.
    pub is_state: bool,
}

impl JoinType {
    /// A type by which people join calls; `is_state`: it is sent as room state.
    #[must_use]
    pub fn new(event_type: &str, is_state: bool) -> Self {
        Self {
            event_type: event_type.to_owned(),
            is_state,
        }
    }

    /// Does this type join calls? If not, it opens and closes slots.
    #[must_use]
    pub fn joins(&self) -> bool {
        EventKind::of_event_type(&self.event_type) == EventKind::Member
    }
}

/// How many accounts in a room may send one event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAccess {
    pub join_type: JoinType,
    /// The power that this type needs.
    pub needed: i64,
    /// The number of accounts in the room.
    pub accounts: i64,
    /// How many of them may send it.
    pub may: i64,
}

/// How many accounts may send a type. `accounts` is the number of accounts in the room;
/// `joined_named` are accounts in the room, at least all that [`PowerLevels::named`] names: others
/// change nothing. So those need not be known one by one.
#[must_use]
pub fn count_allowed_senders(
    levels: &PowerLevels,
    join_type: &JoinType,
    accounts: i64,
    joined_named: &BTreeSet<String>,
) -> SendAccess {
    let needed = levels.needed(&join_type.event_type, join_type.is_state);
    let named = |may: bool| {
        let named = levels
            .named()
            .filter(|(user, level)| joined_named.contains(*user) && (*level >= needed) == may);
        i64::try_from(named.count()).unwrap_or(i64::MAX)
    };

    let may = if levels.of_others() >= needed {
        accounts.saturating_sub(named(false))
    } else {
        named(true)
    };

    SendAccess {
        join_type: join_type.clone(),
        needed,
        accounts,
        may: may.clamp(0, accounts.max(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MEMBER: &str = "org.matrix.msc3401.call.member";
    const STICKY: &str = "org.matrix.msc4143.rtc.member";
    const SLOT: &str = "org.matrix.msc4143.rtc.slot";

    fn made(version: &str) -> RoomCreation {
        RoomCreation::read("@ada:h", &json!({"room_version": version}))
    }

    #[test]
    fn who_may_send_state() {
        // Content, room version, user, whether the user may send a call membership.
        let named = json!({"users": {"@ada:h": 100}});
        let open = json!({"users": {"@ada:h": 100}, "events": {MEMBER: 0}});
        let texts = json!({"users": {"@ben:h": " +50 "}, "state_default": "50"});
        let by_default = json!({"users_default": 50});
        let by_state = json!({"state_default": 0});
        let floats = json!({"users": {"@ben:h": 50.9}});
        let odd = json!({"users": [], "events": 5, "state_default": null, "users_default": {}});
        let cases = [
            (&named, "11", "@ada:h", true),
            (&named, "11", "@ben:h", false),
            (&open, "11", "@ben:h", true),
            (&texts, "9", "@ben:h", true),
            (&texts, "9", "@cleo:h", false),
            (&texts, "10", "@ben:h", false),
            (&by_default, "11", "@ben:h", true),
            (&by_state, "11", "@ben:h", true),
            (&floats, "5", "@ben:h", true),
            (&odd, "11", "@ben:h", false),
            (&named, "12", "@ada:h", true),
        ];

        for (content, version, user, may) in cases {
            let levels = PowerLevels::read(content, &made(version));
            assert_eq!(
                levels.may_send(user, MEMBER, true),
                may,
                "{content} in version {version}, {user}"
            );
        }
    }

    #[test]
    fn without_levels_everybody_may_and_the_creator_has_power() {
        let levels = PowerLevels::without_event(&made("10"));
        assert!(levels.may_send("@ben:h", MEMBER, true));
        assert_eq!(levels.of_user("@ada:h"), 100);
        assert_eq!(levels.of_user("@ben:h"), 0);
    }

    #[test]
    fn the_creator_is_who_the_version_says() {
        let content = |version: &str| {
            json!({"room_version": version, "creator": "@old:h",
            "additional_creators": ["@cleo:h", 5]})
        };

        let creators = |version: &str| RoomCreation::read("@ada:h", &content(version)).creators;
        assert_eq!(creators("10"), ["@old:h"]);
        assert_eq!(creators("11"), ["@ada:h"]);
        assert_eq!(creators("12"), ["@ada:h", "@cleo:h"]);
        assert_eq!(creators("org.matrix.hydra.11"), ["@ada:h", "@cleo:h"]);
        assert_eq!(
            RoomCreation::read("@ada:h", &json!({"creator": "@old:h"})).creators,
            ["@old:h"],
            "a room that names no version is of the first"
        );
    }

    #[test]
    fn creators_of_version_12_stand_above_all_levels() {
        let content = json!({"room_version": "12", "additional_creators": ["@cleo:h"]});
        let creation = RoomCreation::read("@ada:h", &content);
        let levels = PowerLevels::read(&json!({"events": {MEMBER: 1_000_000}}), &creation);
        for (user, may) in [("@ada:h", true), ("@cleo:h", true), ("@ben:h", false)] {
            assert_eq!(levels.may_send(user, MEMBER, true), may, "{user}");
        }

        let old = PowerLevels::read(&json!({"events": {MEMBER: 1_000_000}}), &made("11"));
        assert!(!old.may_send("@ada:h", MEMBER, true), "only from 12 on");
    }

    #[test]
    fn sticky_members_are_messages_and_slots_are_state() {
        let levels = PowerLevels::read(&json!({"events_default": 10}), &made("11"));
        assert_eq!(levels.needed(STICKY, false), 10);
        assert_eq!(levels.needed(SLOT, true), 50);
        assert!(JoinType::new(STICKY, false).joins() && !JoinType::new(SLOT, true).joins());
    }

    #[test]
    fn accounts_are_counted_without_looking_at_all_of_them() {
        let content = json!({"users": {"@ada:h": 100, "@gone:h": 100, "@mute:h": -1}});
        let joined = BTreeSet::from(["@ada:h".to_owned(), "@mute:h".to_owned()]);
        let counted = |needed: i64| {
            let mut content = content.clone();
            content["events"] = json!({MEMBER: needed});
            let levels = PowerLevels::read(&content, &made("11"));
            count_allowed_senders(&levels, &JoinType::new(MEMBER, true), 4, &joined).may
        };

        assert_eq!(counted(50), 1);
        assert_eq!(counted(0), 3, "all but who has less than usual");
        assert_eq!(counted(-1), 4);
        assert_eq!(counted(101), 0);
    }

    #[test]
    fn only_ids_of_rooms_are_predecessors() {
        let of = |room: Value| {
            RoomCreation::read("@a:h", &json!({"predecessor": {"room_id": room}})).predecessor
        };

        assert_eq!(of(json!("!old:h")), Some("!old:h".to_owned()));

        for odd in [
            json!("old"),
            json!(5),
            json!("!a b"),
            json!("!a\n"),
            json!("!"),
        ] {
            assert_eq!(of(odd), None);
        }
    }
}
