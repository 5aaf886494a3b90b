//! The sieve: which event types are ours, and which parts of such an event are kept. Some
//! homeservers ignore filters, so everything that a homeserver sends is filtered here before it is
//! stored.

use super::room_visibility::{TOPIC_EVENT, VISIBILITY_KEY, tag_of_topic};
use serde_json::{Map, Value};

/// The type of encrypted events. We do not request them. Sticky ones come anyway; only their
/// existence is stored.
pub const ENCRYPTED: &str = "m.room.encrypted";
/// The name under which foreign types are counted if there are too many or if their name is
/// invalid.
pub const OTHER: &str = "other";

/// Maximum length of an identifying field of an event without a type, bytes; a longer one is not an
/// id.
const PART_MAX: usize = 255;
/// Maximum length of an event type's name, bytes.
const NAME_MAX: usize = 128;

/// Which part of an event's content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// All of it: it states who is in a call, and the rules compare it as a whole.
    Whole,
    /// All except what clients show as text.
    NoTexts,
    /// Only these keys.
    Only(&'static [&'static str]),
    /// Of a topic, what it says of Callscope.
    Tag,
}

/// An event type that is ours.
struct OurType {
    kind: &'static str,
    keep: Keep,
}

/// A type of ours of whose content all is kept.
const fn keep_whole(kind: &'static str) -> OurType {
    let keep = Keep::Whole;
    OurType { kind, keep }
}

/// A type of ours of whose content all but the texts is kept.
const fn keep_without_texts(kind: &'static str) -> OurType {
    let keep = Keep::NoTexts;
    OurType { kind, keep }
}

/// A type of ours of whose content only these keys are kept.
const fn keep_only(kind: &'static str, keys: &'static [&'static str]) -> OurType {
    let keep = Keep::Only(keys);
    OurType { kind, keep }
}

/// A type of ours of whose content only the tag of a topic is kept.
const fn keep_tag(kind: &'static str) -> OurType {
    let keep = Keep::Tag;
    OurType { kind, keep }
}

/// **The one list of types** (docs/matrixrtc.md section 15): the types that are requested from
/// `/sync` and `/messages` and stored. A new type is one line here.
const OURS: &[OurType] = &[
    keep_without_texts("org.matrix.msc3401.call"),
    keep_without_texts("m.call"),
    keep_whole("org.matrix.msc3401.call.member"),
    keep_whole("m.call.member"),
    keep_whole("com.famedly.call.member"),
    keep_whole("org.matrix.msc4143.rtc.member"),
    keep_whole("m.rtc.member"),
    keep_whole("org.matrix.msc4143.rtc.slot"),
    keep_whole("m.rtc.slot"),
    keep_without_texts("org.matrix.msc4075.rtc.notification"),
    keep_without_texts("m.rtc.notification"),
    keep_without_texts("org.matrix.msc4075.call.notify"),
    keep_without_texts("m.call.notify"),
    keep_without_texts("org.matrix.msc4310.rtc.decline"),
    keep_without_texts("m.rtc.decline"),
    keep_only(
        "m.room.member",
        &[
            "membership",
            "displayname",
            "redact_events",
            "org.matrix.msc4293.redact_events",
        ],
    ),
    keep_only("m.room.redaction", &["redacts"]),
    keep_only("m.room.encryption", &["algorithm"]),
    keep_only(
        "m.room.power_levels",
        &[
            "users",
            "users_default",
            "events",
            "events_default",
            "state_default",
        ],
    ),
    keep_only("m.room.server_acl", &["allow", "deny", "allow_ip_literals"]),
    keep_only("m.room.tombstone", &["replacement_room"]),
    keep_only(
        "m.room.create",
        &[
            "room_version",
            "type",
            "creator",
            "additional_creators",
            "predecessor",
        ],
    ),
    keep_only("m.room.name", &["name"]),
    keep_only("m.room.canonical_alias", &["alias"]),
    keep_only("m.room.history_visibility", &["history_visibility"]),
    keep_only("m.room.join_rules", &["join_rule", "allow"]),
    keep_only("m.space.parent", &["via", "canonical"]),
    keep_only("org.callscope.visibility", &["visibility"]),
    keep_tag(TOPIC_EVENT),
];

/// The names of the types in [`OURS`], in its order.
const fn types_of_ours() -> [&'static str; OURS.len()] {
    let mut kinds = [""; OURS.len()];
    let mut at = 0;
    while at < OURS.len() {
        kinds[at] = OURS[at].kind;
        at += 1;
    }

    kinds
}

const KINDS: [&str; OURS.len()] = types_of_ours();

/// The names of the types that are ours.
pub const TYPES: &[&str] = &KINDS;

/// Keys whose values clients show as text or would decrypt to text.
const TEXTS: [&str; 11] = [
    "body",
    "formatted_body",
    "m.text",
    "m.html",
    "m.message",
    "org.matrix.msc1767.text",
    "org.matrix.msc1767.html",
    "org.matrix.msc1767.message",
    "m.new_content",
    "ciphertext",
    "reason",
];

/// Fields that identify an event; none of them is content.
const APART: [&str; 5] = [
    "event_id",
    "type",
    "sender",
    "state_key",
    "origin_server_ts",
];
const STICKY: [&str; 2] = ["msc4354_sticky", "sticky"];
const UNSIGNED: [&str; 4] = [
    "replaces_state",
    "age",
    "membership",
    "msc4354_sticky_duration_ttl_ms",
];

/// The result of the sieve for one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Sifted {
    /// Of one of our types, or not recognisable as an event: what is kept of it.
    Kept(Value),
    /// Of a foreign type: the name under which it is counted.
    Foreign(String),
}

/// Is this type one of ours?
#[must_use]
pub fn is_ours(kind: &str) -> bool {
    TYPES.contains(&kind)
}

/// The type of an event as received; `None` if it has none.
#[must_use]
pub fn kind_of(event: &Value) -> Option<&str> {
    event.get("type")?.as_str()
}

/// What is kept of an event as a homeserver sent it, or the name under which it is counted if its
/// type is foreign. An event without a type is kept without its content, so that it can be
/// rejected.
#[must_use]
pub fn sift_event(event: &Value) -> Sifted {
    let Some(parts) = event.as_object() else {
        return Sifted::Kept(without_text(event));
    };

    let Some(kind) = kind_of(event) else {
        // The type is unknown, so no content is kept.
        return Sifted::Kept(Value::Object(identifying_fields(parts)));
    };

    if let Some(ours) = OURS.iter().find(|ours| ours.kind == kind) {
        return Sifted::Kept(Value::Object(kept_event(parts, ours.keep)));
    }

    if kind == ENCRYPTED && parts.get("state_key").is_none() && is_sticky(parts) {
        let mut kept = identifying_fields(parts);
        kept.extend(kept_sticky_duration(parts));
        kept.insert("content".to_owned(), Value::Object(Map::new()));
        kept.extend(kept_unsigned(parts));
        return Sifted::Kept(Value::Object(kept));
    }

    Sifted::Foreign(name_to_count(kind))
}

/// The name under which a foreign type is counted: its own, or [`OTHER`]. It comes from strangers,
/// so it must be short and on one line.
fn name_to_count(kind: &str) -> String {
    let is_name = !kind.is_empty() && kind.len() <= NAME_MAX && !kind.contains(char::is_control);
    if is_name { kind } else { OTHER }.to_owned()
}

/// The parts of an event of ours that are kept: its ids, its time, its target if it redacts, its
/// stickiness, its content and what the homeserver added.
fn kept_event(parts: &Map<String, Value>, keep: Keep) -> Map<String, Value> {
    let mut event = Map::new();
    for key in APART {
        if let Some(part) = parts.get(key) {
            let part = match part {
                Value::String(_) => part.clone(),
                // The array state key of the first revision of MSC4143.
                Value::Array(list) if key == "state_key" && list.iter().all(Value::is_string) => {
                    part.clone()
                }
                other => without_text(other),
            };

            event.insert(key.to_owned(), part);
        }
    }

    if let Some(target @ Value::String(_)) = parts.get("redacts") {
        event.insert("redacts".to_owned(), target.clone());
    }

    event.extend(kept_sticky_duration(parts));
    if let Some(content) = parts.get("content") {
        event.insert("content".to_owned(), kept_content(content, keep));
    }

    event.extend(kept_unsigned(parts));

    event
}

/// The part of a content that is kept by this rule. A content that is no object loses its text and
/// stays invalid.
fn kept_content(content: &Value, keep: Keep) -> Value {
    let Some(object) = content.as_object() else {
        return without_text(content);
    };

    match keep {
        Keep::Whole => content.clone(),
        Keep::NoTexts => {
            let mut kept = object.clone();
            kept.retain(|key, _| !TEXTS.contains(&key.as_str()));
            Value::Object(kept)
        }
        Keep::Only(keys) => {
            let mut kept = object.clone();
            kept.retain(|key, _| keys.contains(&key.as_str()));
            Value::Object(kept)
        }
        Keep::Tag => {
            let topic = object.get("topic").and_then(Value::as_str);
            // A topic that was sifted before has its tag alone.
            let sifted = object.get(VISIBILITY_KEY).and_then(Value::as_str);
            let tag = topic.map_or_else(
                || sifted.and_then(super::room_visibility::known_word),
                tag_of_topic,
            );
            let mut kept = Map::new();
            if let Some(tag) = tag {
                kept.insert(VISIBILITY_KEY.to_owned(), tag.into());
            }

            Value::Object(kept)
        }
    }
}

/// The identifying fields of an event, without those that are long or structured.
fn identifying_fields(parts: &Map<String, Value>) -> Map<String, Value> {
    let is_plain = |part: &Value| match part {
        Value::String(text) => text.len() <= PART_MAX,
        Value::Number(_) | Value::Bool(_) => true,
        _ => false,
    };

    APART
        .iter()
        .filter_map(|key| {
            let part = parts.get(*key).filter(|part| is_plain(part))?;
            Some(((*key).to_owned(), part.clone()))
        })
        .collect()
}

/// The sticky duration, and nothing else of that field.
fn kept_sticky_duration(parts: &Map<String, Value>) -> Map<String, Value> {
    let mut kept = Map::new();
    for key in STICKY {
        if let Some(duration) = parts.get(key).and_then(|sticky| sticky.get("duration_ms")) {
            let mut sticky = Map::new();
            sticky.insert("duration_ms".to_owned(), without_text(duration));
            kept.insert(key.to_owned(), Value::Object(sticky));
        }
    }

    kept
}

/// Does the event state how long it is sticky?
fn is_sticky(parts: &Map<String, Value>) -> bool {
    STICKY
        .iter()
        .filter_map(|key| parts.get(*key)?.get("duration_ms"))
        .any(|duration| duration.as_u64().is_some())
}

/// The kept part of `unsigned`, with its key; `None` if nothing of it is kept. The homeserver adds
/// it. No content of this or of other events is kept (`prev_content`, `m.relations`); of the
/// redaction, only its ids.
fn kept_unsigned(parts: &Map<String, Value>) -> Option<(String, Value)> {
    let parts = parts.get("unsigned")?.as_object()?;
    let mut kept: Map<String, Value> = UNSIGNED
        .iter()
        .filter_map(|key| {
            let part = parts.get(*key)?;
            (part.is_string() || part.is_number()).then(|| ((*key).to_owned(), part.clone()))
        })
        .collect();
    if let Some(because) = parts.get("redacted_because") {
        let because = because
            .as_object()
            .map(identifying_fields)
            .unwrap_or_default();
        kept.insert("redacted_because".to_owned(), Value::Object(because));
    }

    (!kept.is_empty()).then(|| ("unsigned".to_owned(), Value::Object(kept)))
}

/// A value of an unexpected type, without its text: its shape stays, so that it stays invalid.
fn without_text(value: &Value) -> Value {
    match value {
        // The parser of answers writes this word in place of what was too large.
        Value::String(text) if text == "too_large" => value.clone(),
        Value::String(text) => Value::String(format!("a text of {} bytes", text.len())),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(event: &Value) -> Value {
        match sift_event(event) {
            Sifted::Kept(event) => event,
            Sifted::Foreign(kind) => panic!("{kind} is not kept"),
        }
    }

    fn event(kind: &str, content: &Value) -> Value {
        json!({"event_id": "$1", "type": kind, "sender": "@a:x", "origin_server_ts": 5,
            "content": content})
    }

    #[test]
    fn what_was_not_asked_for_is_foreign_by_its_name() {
        let text = json!({"msgtype": "m.text", "body": "SECRET"});
        for kind in ["m.room.message", "m.reaction", "m.room.guest_access", "x"] {
            assert_eq!(
                sift_event(&event(kind, &text)),
                Sifted::Foreign(kind.to_owned()),
                "{kind}"
            );
        }

        for odd in ["", "a\nb", &"x".repeat(NAME_MAX + 1)] {
            assert_eq!(
                sift_event(&event(odd, &text)),
                Sifted::Foreign(OTHER.to_owned())
            );
        }

        let mut sticky = event("m.room.message", &text);
        sticky["msc4354_sticky"] = json!({"duration_ms": 600_000});
        assert_eq!(
            sift_event(&sticky),
            Sifted::Foreign("m.room.message".to_owned())
        );
    }

    #[test]
    fn of_an_encrypted_event_it_is_kept_that_it_was_sticky() {
        let cipher =
            json!({"ciphertext": "SECRET", "session_id": "S", "device_id": "D", "sender_key": "K"});
        let plain = event(ENCRYPTED, &cipher);
        assert_eq!(sift_event(&plain), Sifted::Foreign(ENCRYPTED.to_owned()));
        let mut sticky = plain;
        sticky["msc4354_sticky"] = json!({"duration_ms": 600_000, "note": "SECRET"});
        sticky["unsigned"] = json!({"age": 7, "m.relations": {"x": "SECRET"}});
        assert_eq!(
            kept(&sticky),
            json!({"event_id": "$1", "type": ENCRYPTED, "sender": "@a:x", "origin_server_ts": 5,
                "content": {},
                "msc4354_sticky": {"duration_ms": 600_000}, "unsigned": {"age": 7}})
        );

        for duration in [json!("SECRET"), json!(-1), json!(null)] {
            sticky["msc4354_sticky"] = json!({"duration_ms": duration});
            assert_eq!(sift_event(&sticky), Sifted::Foreign(ENCRYPTED.to_owned()));
        }
    }

    #[test]
    fn who_is_in_a_call_stays_as_it_was_said() {
        let content =
            json!({"application": "m.call", "call_id": "", "device_id": "D", "x": {"y": [1, "z"]}});
        let mut member = event("m.call.member", &content);
        member["state_key"] = json!("_@a:x_D");
        member["unsigned"] = json!({"replaces_state": "$0", "prev_content": {"body": "SECRET"},
            "prev_sender": "@b:x"});
        member["body"] = json!("SECRET");
        let sifted = kept(&member);
        assert_eq!(sifted["content"], content);
        assert_eq!(sifted["state_key"], "_@a:x_D");
        assert_eq!(sifted["unsigned"], json!({"replaces_state": "$0"}));
        assert!(!sifted.to_string().contains("SECRET"));
    }

    #[test]
    fn of_other_state_what_is_used_is_kept() {
        let keeps = [
            (
                "m.room.member",
                json!({"membership": "join", "displayname": "A", "avatar_url": "SECRET",
                    "reason": "SECRET"}),
                json!({"membership": "join", "displayname": "A"}),
            ),
            (
                "m.room.tombstone",
                json!({"body": "SECRET", "replacement_room": "!n"}),
                json!({"replacement_room": "!n"}),
            ),
            (
                "m.room.power_levels",
                json!({"users": {"@a:x": 100}, "state_default": 50, "notifications": "SECRET"}),
                json!({"users": {"@a:x": 100}, "state_default": 50}),
            ),
            (
                "m.room.server_acl",
                json!({"allow": ["*"], "deny": ["e.x"], "allow_ip_literals": false,
                    "why": "SECRET"}),
                json!({"allow": ["*"], "deny": ["e.x"], "allow_ip_literals": false}),
            ),
            (
                "m.room.redaction",
                json!({"redacts": "$t", "reason": "SECRET"}),
                json!({"redacts": "$t"}),
            ),
            (
                "m.rtc.notification",
                json!({"notification_type": "ring", "body": "SECRET"}),
                json!({"notification_type": "ring"}),
            ),
        ];

        for (kind, content, left) in keeps {
            assert_eq!(kept(&event(kind, &content))["content"], left, "{kind}");
        }
    }

    #[test]
    fn what_cannot_be_read_keeps_no_text() {
        let texts = [
            json!("SECRET"),
            json!(["SECRET"]),
            json!({"content": {"body": "SECRET"}}),
            json!({"type": 7, "event_id": "$1", "content": {"body": "SECRET"},
                "sender": {"x": "SECRET"}}),
            json!({"type": {"SECRET": 1}, "event_id": "x".repeat(256)}),
            json!({"type": "m.call.member", "sender": ["SECRET"], "state_key": {"SECRET": 1},
                "content": "SECRET",
                "unsigned": {"redacted_because": {"event_id": "$r",
                "content": {"reason": "SECRET"}}},
                "sticky": {"duration_ms": "SECRET"}, "origin_server_ts": ["SECRET"]}),
        ];
        for text in texts {
            assert!(
                !kept(&text).to_string().contains("SECRET"),
                "{}",
                kept(&text)
            );
        }

        assert_eq!(kept(&json!("too_large")), "too_large");
        assert_eq!(kept(&json!({"type": 7, "content": 1})), json!({"type": 7}));
        assert_eq!(
            kept(&json!({"type": "m.call.member", "content": "too_large"}))["content"],
            "too_large"
        );
    }

    #[test]
    fn of_a_topic_its_tag_is_kept() {
        let topics = [
            (
                json!({"topic": "SECRET [callscope: off] SECRET"}),
                json!({"visibility": "none"}),
            ),
            (
                json!({"topic": "SECRET [callscope: SECRET]"}),
                json!({"visibility": "unknown"}),
            ),
            (
                json!({"topic": "SECRET", "m.topic": {"m.text": "SECRET"}}),
                json!({}),
            ),
            (json!({"topic": ["SECRET"]}), json!({})),
        ];
        for (content, left) in topics {
            let once = kept(&event("m.room.topic", &content));
            assert_eq!(once["content"], left, "{content}");
            assert_eq!(kept(&once), once, "once is enough");
        }
    }

    #[test]
    fn encrypted_messages_are_not_asked_for() {
        assert!(!is_ours(ENCRYPTED) && is_ours("m.room.member"));
    }
}
