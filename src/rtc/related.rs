//! Events about a call that say nothing of who is in it: rings, notifications, declines, slots opened and closed.

use super::event::{Kind, RoomEvent};
use super::slot::is_open;
use super::time::number;
use serde_json::Value;

/// Names beyond this many are not kept: a stranger may name a whole federation.
const WHOM_MAX: usize = 100;
/// A stated time that is further than this from the event's own does not count, ms (MSC4075).
const SKEW_MAX: i64 = 20_000;
/// The longest that somebody is rung, ms (MSC4075).
const LIFETIME_MAX: i64 = 120_000;

/// What kind of statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Ring,
    Notification,
    Decline,
    SlotOpened,
    SlotClosed,
}

impl What {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Notification => "notification",
            Self::Decline => "decline",
            Self::SlotOpened => "slot_opened",
            Self::SlotClosed => "slot_closed",
        }
    }
}

/// One such event, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    pub what: What,
    pub event_id: String,
    pub who: String,
    /// Whom it mentions, and whether it means the whole room.
    pub whom: Vec<String>,
    pub room: bool,
    /// When it began, ms.
    pub at_ms: i64,
    /// How long it rings, ms.
    pub lifetime_ms: Option<i64>,
    pub intent: Option<String>,
    /// The event it refers to: a membership, or for a decline the notification.
    pub relates_to: Option<String>,
    pub slot_id: Option<String>,
}

/// Reads a related event, flat as clients send it and nested in `application` as the newest text has it
/// (MATRIXRTC.md section 7); `None` when it is none, or was redacted.
#[must_use]
pub fn read(event: &RoomEvent) -> Option<Related> {
    let content = &event.content;
    let nested = |key: &str| {
        content
            .get(key)
            .or_else(|| content.pointer(&format!("/application/{key}")))
    };
    let text = |key: &str| nested(key).and_then(Value::as_str);
    let kind = event.kind.as_str();
    let what = match Kind::of(kind) {
        _ if event.is_unreadable_redaction() => return None,
        Kind::Slot
            if event
                .state_key
                .as_deref()
                .is_some_and(|key| is_open(key, content)) =>
        {
            What::SlotOpened
        }
        Kind::Slot => What::SlotClosed,
        Kind::Related if kind.ends_with("rtc.decline") => What::Decline,
        Kind::Related if kind.ends_with("rtc.notification") || kind.ends_with("call.notify") => {
            let rings = text("notification_type").or_else(|| text("notify_type")) == Some("ring");
            if rings {
                What::Ring
            } else {
                What::Notification
            }
        }
        _ => return None,
    };
    let is_call = matches!(what, What::Ring | What::Notification);
    let stated = nested("sender_ts").and_then(number).filter(|_| is_call);
    let near = |ms: &i64| ms.saturating_sub(event.origin_server_ts).saturating_abs() <= SKEW_MAX;
    let mentioned = content
        .pointer("/m.mentions/user_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let relation = content
        .get("m.relates_to")
        .or_else(|| content.get("m.relation"));
    Some(Related {
        what,
        event_id: event.event_id.clone(),
        who: event.sender.clone(),
        whom: mentioned
            .filter_map(Value::as_str)
            .take(WHOM_MAX)
            .map(ToOwned::to_owned)
            .collect(),
        room: content.pointer("/m.mentions/room") == Some(&Value::Bool(true)),
        at_ms: stated.filter(near).unwrap_or_else(|| event.time()),
        lifetime_ms: nested("lifetime")
            .and_then(number)
            .filter(|_| is_call)
            .map(|ms| ms.clamp(0, LIFETIME_MAX)),
        intent: text("m.call.intent").map(ToOwned::to_owned),
        relates_to: relation
            .and_then(|to| to.get("event_id")?.as_str())
            .map(ToOwned::to_owned),
        slot_id: event
            .state_key
            .clone()
            .filter(|_| Kind::of(kind) == Kind::Slot),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(kind: &str, key: Option<&str>, content: &Value) -> Option<Related> {
        let mut json = json!({"event_id": "$e", "type": kind, "sender": "@a:h", "origin_server_ts": 100_000, "content": content});
        if let Some(key) = key {
            json["state_key"] = key.into();
        }
        read(&RoomEvent::from_json(&json, None).unwrap())
    }

    #[test]
    fn both_shapes_of_a_notification_say_the_same() {
        let flat = json!({"notification_type": "ring", "sender_ts": 95_000, "lifetime": 30_000, "m.call.intent": "audio",
            "m.mentions": {"user_ids": ["@b:h", 5], "room": true}, "m.relates_to": {"rel_type": "m.reference", "event_id": "$j"}});
        let nested = json!({"application": {"type": "m.call", "notification_type": "ring", "sender_ts": 95_000,
            "lifetime": 30_000, "m.call.intent": "audio"}, "m.mentions": flat["m.mentions"], "m.relates_to": flat["m.relates_to"]});
        let read = of("org.matrix.msc4075.rtc.notification", None, &flat).unwrap();
        assert_eq!(of("m.rtc.notification", None, &nested).unwrap(), read);
        assert_eq!(
            (read.what, read.at_ms, read.lifetime_ms, read.room),
            (What::Ring, 95_000, Some(30_000), true)
        );
        assert_eq!(
            (read.whom, read.relates_to.as_deref()),
            (vec!["@b:h".to_owned()], Some("$j"))
        );
        let old = of(
            "m.call.notify",
            None,
            &json!({"notify_type": "notify", "sender_ts": 1, "lifetime": i64::MAX}),
        )
        .unwrap();
        assert_eq!(
            (old.what, old.at_ms, old.lifetime_ms),
            (What::Notification, 100_000, Some(LIFETIME_MAX))
        );
    }

    #[test]
    fn declines_and_slots_are_told_apart_from_the_rest() {
        let decline = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$n"}});
        assert_eq!(
            of("org.matrix.msc4310.rtc.decline", None, &decline)
                .unwrap()
                .relates_to
                .as_deref(),
            Some("$n")
        );
        let open = json!({"status": "open", "application": {"type": "m.call"}});
        assert_eq!(
            of("m.rtc.slot", Some("m.call#ROOM"), &open).unwrap().what,
            What::SlotOpened
        );
        assert_eq!(
            of("m.rtc.slot", Some("m.call#ROOM"), &json!({}))
                .unwrap()
                .what,
            What::SlotClosed
        );
        assert_eq!(of("m.call", Some("x"), &json!({})), None);
        assert_eq!(of("m.room.message", None, &json!({})), None);
    }
}
