//! Slots: a slot is the place in a room where a call happens, `TYPE#ID` (MSC4143). Also: whether a
//! slot is open.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A slot of a room. The first revision of MSC4143 has `application` and `call_id` instead:
/// `m.call` and `""` is the slot `m.call#ROOM`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId {
    text: String,
    /// Length in bytes of the application type, before the `#`.
    application: usize,
}

impl SlotId {
    /// The slot of `application` and `call_id`. An empty id becomes `ROOM`, but only for `m.call`,
    /// as in matrix-js-sdk (docs/matrixrtc.md section 3.6).
    #[must_use]
    pub fn new(application: &str, call_id: &str) -> Self {
        let id = if application == "m.call" && call_id.is_empty() {
            "ROOM"
        } else {
            call_id
        };

        Self {
            text: format!("{application}#{id}"),
            application: application.len(),
        }
    }

    /// The slot that a sticky member event names. `slot_id` must be `application`, one `#`, an id;
    /// else `None`.
    #[must_use]
    pub fn parse_sticky_slot_id(slot_id: &str, application: &str) -> Option<Self> {
        let id = slot_id.strip_prefix(application)?.strip_prefix('#')?;
        (!id.contains('#')).then(|| Self::new(application, id))
    }

    /// A slot as it was stored, `TYPE#ID`; a text without `#` has an empty application.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            application: text.find('#').unwrap_or(0),
        }
    }

    /// The slot id as on the wire, `m.call#ROOM`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The application type, `m.call`.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.text[..self.application]
    }
}

/// Does an `m.rtc.slot` state event open the slot of its state key? It does if and only if `status`
/// is `open`, `application.type` is a string, and the key starts with that type and `#`. Everything
/// else is closed, also a content without `status`: the newest MSC4143 and matrix-js-sdk 43 agree.
#[must_use]
pub fn is_open(state_key: &str, content: &Value) -> bool {
    let Some(application) = content.pointer("/application/type").and_then(Value::as_str) else {
        return false;
    };

    let status_open = content.get("status").is_some_and(|status| status == "open");

    status_open && SlotId::parse_sticky_slot_id(state_key, application).is_some()
}

/// How slot events affect the members of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlotPolicy {
    /// If the room has a slot event for the id, it decides; else the slot is open, as in
    /// matrix-js-sdk 43.
    #[default]
    IfPresent,
    /// Without a slot event there is no call, as in the newest MSC.
    Required,
    /// Slot events are ignored.
    Ignore,
}

impl std::str::FromStr for SlotPolicy {
    type Err = String;

    /// The policy of this word; as an error the words that are possible.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "if_present" => Ok(Self::IfPresent),
            "required" => Ok(Self::Required),
            "ignore" => Ok(Self::Ignore),
            other => Err(format!(
                "{other:?} is not a slot policy; use if_present, required or ignore"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slots_are_named_as_the_sdk_names_them() {
        assert_eq!(SlotId::new("m.call", "").as_str(), "m.call#ROOM");
        assert_eq!(SlotId::new("com.x", "").as_str(), "com.x#");
        assert_eq!(
            SlotId::parse_sticky_slot_id("m.call#", "m.call")
                .unwrap()
                .as_str(),
            "m.call#ROOM"
        );
        assert_eq!(SlotId::parse_sticky_slot_id("m.call#a#b", "m.call"), None);
        assert_eq!(SlotId::parse_sticky_slot_id("m.caller#a", "m.call"), None);
        assert_eq!(SlotId::from_text("m.call#x").application(), "m.call");
    }

    #[test]
    fn a_slot_is_open_only_where_its_event_says_so() {
        assert!(!is_open(
            "m.call#ROOM",
            &json!({"application": {"type": "m.call"}})
        ));
        assert!(is_open(
            "m.call#ROOM",
            &json!({"status": "open", "application": {"type": "m.call"}})
        ));
        assert!(!is_open(
            "m.call#ROOM",
            &json!({"status": "closed", "application": {"type": "m.call"}})
        ));
        assert!(!is_open(
            "m.call#ROOM",
            &json!({"status": "open", "application": {"type": "m.other"}})
        ));
        assert!(!is_open("m.call#ROOM", &json!({})));
    }
}
