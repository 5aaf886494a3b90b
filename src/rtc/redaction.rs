//! Redactions: what is kept of an event whose content was removed. People see only what Matrix
//! leaves. But what was derived from the event stays, so we also keep a form without the content:
//! which call, which device, since and until when, and nothing that anybody wrote, named or chose.

use super::event::{EventKind, RoomEvent};
use super::id::hash;
use super::member::{self, ID_MAX, UnlistedDevices};
use super::slot::is_open;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The key of a fingerprint in a reduced content. It tells whether another content says the same
/// ([`equal_but_for_end`]).
pub const SAID: &str = "callscope.said";
/// The key by which a ban or kick redacts everything that the user sent (MSC4293).
const REDACT_EVENTS: [&str; 2] = ["redact_events", "org.matrix.msc4293.redact_events"];
/// Maximum number of names in an invitation; more is abuse.
const WHOM_MAX: usize = 100;

/// The user and the time, ms, if this is a ban or kick that redacts everything that the user had
/// sent until then (MSC4293); else `None`.
#[must_use]
pub fn redacting_ban(event: &RoomEvent) -> Option<(&str, i64)> {
    let user = event.state_key.as_deref()?;
    let content = &event.content;
    let word = content.get("membership").and_then(Value::as_str)?;
    let is_removal = matches!(word, "ban" | "leave") && user != event.sender;
    let all = REDACT_EVENTS
        .iter()
        .any(|key| content.get(*key) == Some(&Value::Bool(true)));

    (EventKind::of_event_type(&event.kind) == EventKind::Presence && is_removal && all)
        .then(|| (user, event.time()))
}

/// Reduces the contents of all redacted events of a room, by event id: those that a redaction
/// names, those that arrived redacted, and those of users whose ban redacts what they sent. Only
/// redactions and bans among `events` count, so these must be all that is known of the room.
pub fn apply_redactions(events: &mut BTreeMap<String, RoomEvent>) {
    let mut bans: HashMap<String, Vec<i64>> = HashMap::new();
    for (user, at) in events.values().filter_map(redacting_ban) {
        bans.entry(user.to_owned()).or_default().push(at);
    }

    let targets = events
        .values()
        .filter(|event| EventKind::of_event_type(&event.kind) == EventKind::Redaction)
        .filter_map(|event| event.redacts.clone());
    let targets: HashSet<String> = targets.collect();

    for event in events.values_mut() {
        // A redaction names the event, so its time is found by that name. A ban names only the
        // user, so its time is noted in the event.
        let banned = bans.get(&event.sender).into_iter().flatten().copied();
        if let Some(at) = banned.filter(|at| event.time() <= *at).min() {
            event.redacted_ts = Some(event.redacted_ts.map_or(at, |known| known.min(at)));
        }

        if event.redacted_ts.is_some() || targets.contains(&event.event_id) {
            reduce_redacted_event(event);
        }
    }
}

/// Reduces the content of a redacted event to what is needed for the data derived from it. An event
/// whose content we never saw (`readable` is `false`) has nothing to reduce.
pub fn reduce_redacted_event(event: &mut RoomEvent) {
    if event.readable {
        event.content = derivation_relevant_content(event)
            .unwrap_or_else(|| content_after_redaction(&event.kind, &event.content));
    }
}

/// The content as Matrix leaves it in a redacted event of this type (room version 11).
#[must_use]
pub fn content_after_redaction(kind: &str, content: &Value) -> Value {
    let keys: &[&str] = match kind {
        "m.room.create" => return content.clone(),
        "m.room.member" => &["membership", REDACT_EVENTS[0], REDACT_EVENTS[1]],
        "m.room.join_rules" => &["join_rule", "allow"],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.redaction" => &["redacts"],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "invite",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
        ],
        _ => &[],
    };

    let kept = content.as_object().into_iter().flatten();
    let kept = kept.filter(|(key, _)| keys.contains(&key.as_str()));

    Value::Object(
        kept.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

/// What we keep of the content instead of what Matrix leaves, for the types that calls are derived
/// from; `None` for all others.
#[must_use]
pub fn derivation_relevant_content(event: &RoomEvent) -> Option<Value> {
    match EventKind::of_event_type(&event.kind) {
        EventKind::Member => Some(member_content_to_keep(event)),
        EventKind::Slot => Some(slot_content_to_keep(event)),
        EventKind::Related => Some(Value::Object(pick_parts(
            event.content.as_object()?,
            &RELATED_PARTS,
        ))),
        _ => None,
    }
}

/// Which parts of an object are kept: plain values, or parts of a nested object.
enum KeptPart {
    /// An id, a word of the protocol or a number.
    Plain(&'static str),
    /// Parts of the object at this key.
    Object(&'static str, &'static [KeptPart]),
    /// Parts of each object in the list at this key.
    List(&'static str, &'static [KeptPart]),
}

use KeptPart::{List, Object, Plain};

const FOCUS_PARTS: [KeptPart; 2] = [Plain("type"), Plain("focus_selection")];
const ITEM_PARTS: [KeptPart; 8] = [
    Plain("application"),
    Plain("call_id"),
    Plain("device_id"),
    Plain("created_ts"),
    Plain("expires"),
    Plain("expires_ts"),
    Plain("expires_after"),
    Plain("membershipID"),
];
const DEVICE_PARTS: [KeptPart; 3] = [Plain("device_id"), Plain("session_id"), Plain("expires_ts")];
const CALL_PARTS: [KeptPart; 2] = [Plain("m.call_id"), List("m.devices", &DEVICE_PARTS)];
const MEMBER_PARTS: [KeptPart; 19] = [
    Plain("application"),
    Object("application", &[Plain("type")]),
    Plain("call_id"),
    Plain("device_id"),
    Plain("created_ts"),
    Plain("expires"),
    Plain("expires_ts"),
    Plain("expires_after"),
    Plain("membershipID"),
    Object("focus_active", &FOCUS_PARTS),
    Object("session", &[Plain("application"), Plain("id")]),
    Object(
        "member",
        &[
            Plain("id"),
            Plain("device_id"),
            Plain("claimed_device_id"),
            Plain("user_id"),
            Plain("claimed_user_id"),
            Plain("membership"),
        ],
    ),
    Plain("slot_id"),
    Plain("msc4354_sticky_key"),
    Plain("sticky_key"),
    List("memberships", &ITEM_PARTS),
    List("m.calls", &CALL_PARTS),
    Plain("m.expires_ts"),
    Plain(SAID),
];
const RING_PARTS: [KeptPart; 5] = [
    Plain("type"),
    Plain("notification_type"),
    Plain("notify_type"),
    Plain("sender_ts"),
    Plain("lifetime"),
];
const RELATION_PARTS: [KeptPart; 2] = [Plain("event_id"), Plain("rel_type")];
const RELATED_PARTS: [KeptPart; 13] = [
    Plain("msc4354_sticky_key"),
    Plain("sticky_key"),
    Plain("application"),
    Object("application", &RING_PARTS),
    Plain("notification_type"),
    Plain("notify_type"),
    Plain("sender_ts"),
    Plain("lifetime"),
    Plain("call_id"),
    Plain("slot_id"),
    Object("m.mentions", &[Plain("user_ids"), Plain("room")]),
    Object("m.relates_to", &RELATION_PARTS),
    Object("m.relation", &RELATION_PARTS),
];

/// A copy of the object with these parts only. A part whose value has another shape than expected
/// is left out.
fn pick_parts(from: &Map<String, Value>, parts: &[KeptPart]) -> Map<String, Value> {
    let mut kept = Map::new();
    for part in parts {
        let (Plain(key) | Object(key, _) | List(key, _)) = part;
        let value = match (part, from.get(*key)) {
            (Plain(_), Some(value)) if is_plain(value) => value.clone(),
            (Object(_, parts), Some(Value::Object(inner))) => {
                Value::Object(pick_parts(inner, parts))
            }
            (List(_, parts), Some(Value::Array(items))) => {
                let items = items.iter().filter_map(Value::as_object);
                Value::Array(
                    items
                        .map(|item| Value::Object(pick_item(item, parts)))
                        .collect(),
                )
            }
            _ => continue,
        };

        kept.insert((*key).to_owned(), value);
    }

    kept
}

/// A list item about one device with these parts only. Such an item is compared by itself, so it
/// gets its own fingerprint.
fn pick_item(item: &Map<String, Value>, parts: &[KeptPart]) -> Map<String, Value> {
    let mut kept = pick_parts(item, parts);
    kept.insert(
        SAID.to_owned(),
        Value::String(fingerprint_without_end(item)),
    );
    kept
}

/// Is this value short and without structure of its own, so that it may be kept: an id, a number, a
/// flag, or a short list of texts?
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= ID_MAX,
        Value::Number(_) | Value::Bool(_) => true,
        // The users that an invitation names.
        Value::Array(list) => list.len() <= WHOM_MAX && list.iter().all(Value::is_string),
        _ => false,
    }
}

/// What is kept of a member event, so that it says the same as before. A join keeps its protocol
/// fields and a fingerprint of the rest; an event without a join keeps only why nobody is joined.
fn member_content_to_keep(event: &RoomEvent) -> Value {
    let Some(object) = event.content.as_object() else {
        return Value::Null;
    };

    let mut kept = pick_parts(object, &MEMBER_PARTS);
    let before = member::parse_member_event(event);
    if before.joins.is_empty() {
        let mut rest = Map::new();
        for key in ["msc4354_sticky_key", "sticky_key"] {
            rest.extend(kept.remove_entry(key));
        }

        let (key, value) = match before.otherwise {
            // A number is never a valid application, so the event stays invalid.
            UnlistedDevices::Invalid => ("application", Value::from(0)),
            UnlistedDevices::Left(reason) => ("leave_reason", Value::from(reason.as_str())),
            UnlistedDevices::Redacted => return Value::Object(rest),
        };

        rest.insert(key.to_owned(), value);
        kept = rest;
    } else {
        kept.insert(
            SAID.to_owned(),
            Value::String(fingerprint_without_end(object)),
        );
    }

    Value::Object(kept)
}

/// What is kept of a slot event: that it opens its slot, and for which application. A closed slot
/// is empty.
fn slot_content_to_keep(event: &RoomEvent) -> Value {
    let key = event.state_key.as_deref().unwrap_or_default();
    let mut kept = Map::new();
    if let (true, Some(object)) = (is_open(key, &event.content), event.content.as_object()) {
        let parts = [Plain("status"), Object("application", &[Plain("type")])];
        kept = pick_parts(object, &parts);
    }

    Value::Object(kept)
}

/// Keys that may differ between a statement and its renewal: they state only when it ends.
const END_KEYS: [&str; 3] = ["expires", "expires_ts", "expires_after"];

/// Are two contents equal except for the expiry? If one is redacted, the fingerprints of both are
/// compared. Both must be whole contents, or both items of a list about one device.
#[must_use]
pub fn equal_but_for_end(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    if a.contains_key(SAID) || b.contains_key(SAID) {
        return fingerprint_without_end(a) == fingerprint_without_end(b);
    }

    fields_without_end(a).eq(fields_without_end(b))
}

/// The fields of a content, without those that state its expiry.
fn fields_without_end(object: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    object
        .iter()
        .filter(|(key, _)| !END_KEYS.contains(&key.as_str()))
}

/// A hash of all fields except the expiry, 12 bytes in hex. A redacted content has the hash of what
/// it was.
fn fingerprint_without_end(object: &Map<String, Value>) -> String {
    if let Some(said) = object.get(SAID).and_then(Value::as_str) {
        return said.to_owned();
    }

    let words: BTreeMap<&String, &Value> = fields_without_end(object).collect();

    hash(&[&serde_json::to_string(&words).unwrap_or_default()], 12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, key: Option<&str>, content: &Value) -> RoomEvent {
        let mut json = json!({"event_id": "$1", "type": kind, "sender": "@a:h",
            "origin_server_ts": 1000,
            "content": content, "msc4354_sticky": {"duration_ms": 60_000}});
        if let Some(key) = key {
            json["state_key"] = key.into();
        }

        RoomEvent::from_json(&json, None).unwrap()
    }

    fn taken_back(event: &RoomEvent) -> RoomEvent {
        let mut event = event.clone();
        reduce_redacted_event(&mut event);
        event
    }

    /// What an event states about who is in a call, without anything named or chosen.
    fn says(event: &RoomEvent) -> String {
        let mut said = member::parse_member_event(event);
        for (_, join) in &mut said.joins {
            (join.intent, join.transport) = (None, None);
            join.transport_alias = None;
        }

        format!("{:?} {:?}", said.joins, said.otherwise)
    }

    #[test]
    fn a_redacted_member_event_says_the_same_without_a_word() {
        let secret = json!({"x": "SECRET"});
        let flat = json!({"application": "m.call", "call_id": "", "scope": "SECRET",
            "device_id": "D", "expires": 9000,
            "created_ts": 5, "membershipID": "m", "m.call.intent": "SECRET", "SECRET": secret,
            "focus_active": {"type": "livekit", "focus_selection": "multi_sfu", "SECRET": 1},
            "foci_preferred": [{"type": "livekit", "livekit_service_url": "https://SECRET"}]});
        let nested = json!({"session": {"application": "m.call", "id": "c", "SECRET": 1},
            "member": {"device_id": "D"},
            "focus_active": {"type": "livekit"}, "expires_after": 9000});
        let array = json!({"memberships": [
            {"application": "m.call", "call_id": "", "device_id": "D", "expires": 9000,
            "m.call.intent": "SECRET"},
            {"note": "SECRET"}, "SECRET",
            {"call_id": "", "device_id": "E", "expires_ts": 12_000, "membershipID": "m"}]});
        let mesh = json!({"m.calls": [{"m.call_id": "c", "SECRET": 1, "m.devices": [
            {"device_id": "D", "session_id": "s", "expires_ts": 12_000, "feeds": ["SECRET"]}]}]});
        let contents = [
            flat,
            nested,
            array,
            mesh,
            json!({}),
            json!({"leave_reason": "m.lost_connection", "reason": "x"}),
            json!({"leave_reason": {"code": "slot_closed", "reason": "SECRET"}}),
            json!({"application": "m.call", "SECRET": 1}),
            json!({"SECRET": "SECRET"}),
            json!(["SECRET"]),
        ];

        for content in contents {
            let before = event("m.call.member", Some("k"), &content);
            let after = taken_back(&before);
            assert_eq!(says(&before), says(&after), "{content}");
            assert!(
                !after.content.to_string().contains("SECRET"),
                "{}",
                after.content
            );
            assert_eq!(taken_back(&after).content, after.content, "once is enough");
        }
    }

    #[test]
    fn a_redacted_sticky_event_says_the_same_without_a_word() {
        let join = json!({"slot_id": "m.call#ROOM", "msc4354_sticky_key": "M",
            "rtc_transports": [{"type": "SECRET"}],
            "application": {"type": "m.call", "m.call.intent": "SECRET"}, "versions": ["SECRET"],
            "member": {"id": "M", "device_id": "D", "user_id": "@a:h", "SECRET": 1}});
        let invalid = json!({"slot_id": "m.call#ROOM", "sticky_key": "M",
            "application": {"type": "m.call"},
            "member": {"id": "M", "user_id": "@SECRET:h"}});
        let leave = json!({"msc4354_sticky_key": "M", "leave_reason": {"code": "delayed_leave",
            "reason": "SECRET"}});

        for content in [join, invalid, leave] {
            let before = event("m.rtc.member", None, &content);
            let after = taken_back(&before);
            assert_eq!(says(&before), says(&after), "{content}");
            assert_eq!(
                member::member_key_of(&before),
                member::member_key_of(&after)
            );
            assert!(
                !after.content.to_string().contains("SECRET"),
                "{}",
                after.content
            );
        }
    }

    #[test]
    fn whether_another_content_says_the_same_is_still_known() {
        let content = |expires: i64, word: &str| {
            json!({"application": "m.call", "call_id": "", "device_id": "D",
            "expires": expires, "word": word, "focus_active": {"type": "livekit"}})
        };

        let fields = |content: &Value| content.as_object().unwrap().clone();
        let first = event("m.call.member", Some("k"), &content(1, "a"));
        let gone = fields(&taken_back(&first).content);
        let same = fields(&content(2, "a"));
        let other = fields(&content(1, "b"));
        assert!(
            equal_but_for_end(&fields(&first.content), &same)
                && !equal_but_for_end(&fields(&first.content), &other)
        );
        assert!(
            equal_but_for_end(&gone, &same)
                && equal_but_for_end(&same, &gone)
                && !equal_but_for_end(&gone, &other)
        );
    }

    #[test]
    fn a_ban_takes_back_what_was_sent_until_then() {
        let at = |id: &str, sender: &str, ts: i64, kind: &str, key: &str, content: &Value| {
            let json = json!({"event_id": id, "type": kind, "sender": sender, "state_key": key,
                "origin_server_ts": ts,
                "content": content});
            (id.to_owned(), RoomEvent::from_json(&json, None).unwrap())
        };

        let name = json!({"membership": "join", "displayname": "SECRET"});
        let ban = json!({"membership": "ban", "org.matrix.msc4293.redact_events": true});
        let mut events: BTreeMap<String, RoomEvent> = [
            at("$1", "@b:h", 10, "m.room.member", "@b:h", &name),
            at(
                "$2",
                "@b:h",
                20,
                "m.room.name",
                "",
                &json!({"name": "SECRET"}),
            ),
            at(
                "$3",
                "@b:h",
                40,
                "m.room.name",
                "",
                &json!({"name": "after"}),
            ),
            at(
                "$4",
                "@c:h",
                10,
                "m.room.member",
                "@c:h",
                &json!({"membership": "join", "displayname": "C"}),
            ),
            at("$5", "@m:h", 30, "m.room.member", "@b:h", &ban),
            // A user who leaves does not redact their own events.
            at(
                "$6",
                "@c:h",
                50,
                "m.room.member",
                "@c:h",
                &json!({"membership": "leave", "redact_events": true}),
            ),
        ]
        .into();
        apply_redactions(&mut events);
        assert_eq!(events["$1"].content, json!({"membership": "join"}));
        assert_eq!(
            (&events["$2"].content, events["$2"].redacted_ts),
            (&json!({}), Some(30))
        );
        assert_eq!(events["$3"].content, json!({"name": "after"}));
        assert_eq!(events["$4"].content["displayname"], "C");
    }
}
