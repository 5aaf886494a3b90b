//! Events about a call that do not state who is in it: rings, notifications, declines, slots opened
//! and closed.

use super::event::{EventKind, RoomEvent};
use super::member::ID_MAX;
use super::member::statement::truncated_hint;
use super::slot::{SlotId, is_open};
use super::time::millis_of_json;
use super::words::words;
use serde_json::Value;

/// Maximum number of stored names: a stranger may name a whole federation.
const WHOM_MAX: usize = 100;
/// A stated time that is later than the event's own time by more than this is ignored, ms
/// (MSC4075).
const AHEAD_MAX: i64 = 20_000;
/// Maximum time for which somebody is rung, ms (MSC4075).
const LIFETIME_MAX: i64 = 120_000;

words! {
    /// The kind of a related event.
    pub enum RelatedKind {
        Ring = "ring",
        Notification = "notification",
        /// The sender withdraws the invitation with this sticky key.
        Withdrawal = "withdrawal",
        Decline = "decline",
        SlotOpened = "slot_opened",
        SlotClosed = "slot_closed",
    }
}

/// A parsed related event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    pub what: RelatedKind,
    pub event_id: String,
    pub who: String,
    /// The users it mentions, and whether it mentions the whole room.
    pub whom: Vec<String>,
    pub room: bool,
    /// When it began, ms.
    pub at_ms: i64,
    /// How long it rings, ms.
    pub lifetime_ms: Option<i64>,
    pub intent: Option<String>,
    /// The event it refers to: a membership, or for a decline the notification.
    pub relates_to: Option<String>,
    /// The slot that an invitation is for, or that was opened or closed.
    pub slot_id: Option<String>,
    /// The sticky key, which a withdrawal shares with its invitation.
    pub sticky_key: Option<String>,
}

/// What a related event says, either flat as clients send it or nested in `application` as in the
/// newest MSC (docs/matrixrtc.md section 14). `None` if it is another kind of event, if it was
/// redacted before we saw it, or if it is a withdrawal without a sticky key. At most `WHOM_MAX`
/// of the people named are kept. A time that the sender states counts only if it is not far after
/// the event's own time.
#[must_use]
pub fn parse_related(event: &RoomEvent) -> Option<Related> {
    let content = &event.content;
    let nested = |key: &str| {
        content
            .get(key)
            .or_else(|| content.pointer(&format!("/application/{key}")))
    };

    let text = |key: &str| nested(key).and_then(Value::as_str);
    let kind = event.kind.as_str();
    let what = match EventKind::of_event_type(kind) {
        _ if event.is_unreadable_redaction() => return None,
        EventKind::Slot
            if event
                .state_key
                .as_deref()
                .is_some_and(|key| is_open(key, content)) =>
        {
            RelatedKind::SlotOpened
        }

        EventKind::Slot => RelatedKind::SlotClosed,
        EventKind::Related if kind.ends_with("rtc.decline") => RelatedKind::Decline,
        EventKind::Related if kind.ends_with("rtc.notification") && is_withdrawal(content) => {
            RelatedKind::Withdrawal
        }
        EventKind::Related if kind.ends_with("rtc.notification") => {
            // Today's invitations state no type, and ring.
            match nested("notification_type") {
                None => RelatedKind::Ring,
                Some(word) if word == "ring" => RelatedKind::Ring,
                Some(_) => RelatedKind::Notification,
            }
        }
        EventKind::Related if kind.ends_with("call.notify") => match text("notify_type") {
            Some("ring") => RelatedKind::Ring,
            _ => RelatedKind::Notification,
        },
        _ => return None,
    };

    let is_invitation = matches!(what, RelatedKind::Ring | RelatedKind::Notification);
    let stated = nested("sender_ts")
        .and_then(millis_of_json)
        .filter(|_| is_invitation);
    let is_believed =
        |ms: &i64| (0..=event.origin_server_ts.saturating_add(AHEAD_MAX)).contains(ms);
    let mentioned = content
        .pointer("/m.mentions/user_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let sticky_key = STICKY_KEYS
        .iter()
        .find_map(|key| content.get(key).and_then(Value::as_str))
        .filter(is_id);
    if what == RelatedKind::Withdrawal && sticky_key.is_none() {
        return None;
    }

    let relation = content
        .get("m.relates_to")
        .or_else(|| content.get("m.relation"));

    Some(Related {
        what,
        event_id: event.event_id.clone(),
        who: event.sender.clone(),
        whom: mentioned
            .filter_map(Value::as_str)
            .filter(is_id)
            .take(WHOM_MAX)
            .map(ToOwned::to_owned)
            .collect(),
        room: content.pointer("/m.mentions/room") == Some(&Value::Bool(true)),
        at_ms: stated.filter(is_believed).unwrap_or_else(|| event.time()),
        lifetime_ms: nested("lifetime")
            .and_then(millis_of_json)
            .filter(|_| is_invitation)
            .map(|ms| ms.clamp(0, LIFETIME_MAX)),
        intent: truncated_hint(nested("m.call.intent")),
        relates_to: relation
            .and_then(|to| to.get("event_id")?.as_str())
            // A sticky decline has the id of the notification as its key.
            .or(sticky_key.filter(|_| what == RelatedKind::Decline))
            .filter(is_id)
            .map(ToOwned::to_owned),
        slot_id: if EventKind::of_event_type(kind) == EventKind::Slot {
            event.state_key.clone()
        } else {
            slot_of(content).filter(|slot| is_invitation && is_id(&slot.as_str()))
        },
        sticky_key: sticky_key.map(ToOwned::to_owned),
    })
}

/// Is this short enough for an id? A longer text cannot be the id of anything.
fn is_id(text: &&str) -> bool {
    text.len() <= ID_MAX
}

/// The names of the sticky key (MSC4354).
const STICKY_KEYS: [&str; 2] = ["msc4354_sticky_key", "sticky_key"];

/// Does this content have nothing but a sticky key? By that a sender withdraws an invitation with
/// the same key.
fn is_withdrawal(content: &Value) -> bool {
    content.as_object().is_some_and(|fields| {
        !fields.is_empty() && fields.keys().all(|key| STICKY_KEYS.contains(&key.as_str()))
    })
}

/// The slot that a notification names: by slot id, or in the oldest form by application and call
/// id. `None` if it names none.
fn slot_of(content: &Value) -> Option<String> {
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    let (application, call_id) = match text("slot_id") {
        Some(slot_id) => slot_id.split_once('#')?,
        None => (text("application")?, text("call_id")?),
    };

    Some(SlotId::new(application, call_id).as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn related_of_content(kind: &str, key: Option<&str>, content: &Value) -> Option<Related> {
        let mut json = json!({"event_id": "$e", "type": kind, "sender": "@a:h",
            "origin_server_ts": 100_000, "content": content});
        if let Some(key) = key {
            json["state_key"] = key.into();
        }

        parse_related(&RoomEvent::from_json(&json, None).unwrap())
    }

    #[test]
    fn long_texts_and_ids_are_bounded() {
        let long = "x".repeat(1000);
        let ring = json!({"notification_type": "ring", "m.call.intent": long,
            "slot_id": format!("m.call#{long}"),
            "m.mentions": {"user_ids": [format!("@{long}:h"), "@b:h"]},
            "m.relates_to": {"event_id": format!("${long}")},
            "msc4354_sticky_key": long});
        let read = related_of_content("m.rtc.notification", None, &ring).unwrap();
        assert_eq!(read.intent.map(|text| text.len()), Some(64));
        assert_eq!(read.whom, ["@b:h"]);
        assert_eq!(
            (read.relates_to, read.slot_id, read.sticky_key),
            (None, None, None)
        );

        let withdrawal = json!({ "msc4354_sticky_key": long });
        assert_eq!(
            related_of_content("m.rtc.notification", None, &withdrawal),
            None
        );
    }

    #[test]
    fn both_shapes_of_a_notification_say_the_same() {
        let flat = json!({"notification_type": "ring", "sender_ts": 95_000, "lifetime": 30_000,
            "m.call.intent": "audio",
            "m.mentions": {"user_ids": ["@b:h", 5], "room": true},
            "m.relates_to": {"rel_type": "m.reference", "event_id": "$j"}});
        let nested = json!({"application": {"type": "m.call", "notification_type": "ring",
            "sender_ts": 95_000,
            "lifetime": 30_000, "m.call.intent": "audio"}, "m.mentions": flat["m.mentions"],
            "m.relates_to": flat["m.relates_to"]});
        let read = related_of_content("org.matrix.msc4075.rtc.notification", None, &flat).unwrap();
        assert_eq!(
            related_of_content("m.rtc.notification", None, &nested).unwrap(),
            read
        );
        assert_eq!(
            (read.what, read.at_ms, read.lifetime_ms, read.room),
            (RelatedKind::Ring, 95_000, Some(30_000), true)
        );
        assert_eq!(
            (read.whom, read.relates_to.as_deref()),
            (vec!["@b:h".to_owned()], Some("$j"))
        );
        let old = related_of_content(
            "m.call.notify",
            None,
            &json!({"notify_type": "notify", "sender_ts": 120_001, "lifetime": i64::MAX,
                "application": "m.call", "call_id": ""}),
        )
        .unwrap();
        assert_eq!(
            (old.what, old.at_ms, old.lifetime_ms),
            (RelatedKind::Notification, 100_000, Some(LIFETIME_MAX))
        );
        assert_eq!(old.slot_id.as_deref(), Some("m.call#ROOM"));
    }

    #[test]
    fn an_invitation_rings_and_is_withdrawn_by_its_key_alone() {
        let kind = "org.matrix.msc4075.rtc.notification";
        let invitation = json!({"slot_id": "m.call#ROOM", "msc4354_sticky_key": "m.call#ROOM",
            "sender_ts": 5_000,
            "lifetime": 90_000, "m.mentions": {"user_ids": ["@b:h"]}});
        let read = related_of_content(kind, None, &invitation).unwrap();
        assert_eq!(
            (read.what, read.at_ms, read.lifetime_ms),
            (RelatedKind::Ring, 5_000, Some(90_000)),
            "a clock that is behind is believed"
        );
        assert_eq!(read.slot_id.as_deref(), Some("m.call#ROOM"));
        let withdrawn =
            related_of_content(kind, None, &json!({"msc4354_sticky_key": "m.call#ROOM"})).unwrap();
        assert_eq!(
            (withdrawn.what, withdrawn.sticky_key.as_deref()),
            (RelatedKind::Withdrawal, Some("m.call#ROOM"))
        );
        let at = |sender_ts: i64| {
            related_of_content(kind, None, &json!({"sender_ts": sender_ts}))
                .unwrap()
                .at_ms
        };

        assert_eq!((at(120_000), at(120_001)), (120_000, 100_000));
    }

    #[test]
    fn declines_and_slots_are_told_apart_from_the_rest() {
        let decline = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$n"}});
        assert_eq!(
            related_of_content("org.matrix.msc4310.rtc.decline", None, &decline)
                .unwrap()
                .relates_to
                .as_deref(),
            Some("$n")
        );
        let open = json!({"status": "open", "application": {"type": "m.call"}});
        assert_eq!(
            related_of_content("m.rtc.slot", Some("m.call#ROOM"), &open)
                .unwrap()
                .what,
            RelatedKind::SlotOpened
        );
        assert_eq!(
            related_of_content("m.rtc.slot", Some("m.call#ROOM"), &json!({}))
                .unwrap()
                .what,
            RelatedKind::SlotClosed
        );
        let sticky = json!({"msc4354_sticky_key": "$n"});
        assert_eq!(
            related_of_content("m.rtc.decline", None, &sticky)
                .unwrap()
                .relates_to
                .as_deref(),
            Some("$n")
        );
        assert_eq!(related_of_content("m.call", Some("x"), &json!({})), None);
        assert_eq!(related_of_content("m.room.message", None, &json!({})), None);
    }
}
