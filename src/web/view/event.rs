//! Stored events as pages and JSON show them: the evidence behind a call, and what was rejected.

use super::{MemberFacts, RoomRef, Stamp, person_title};
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::member;
use crate::rtc::words::{Source, words};
use crate::store::model;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A stored event: as JSON if it parses, else as text.
fn json_or_text(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

words! {
    /// What a member event meant for a call.
    pub enum EventMeaning {
        Join = "join",
        /// A renewal, or another change.
        Renewal = "renewal",
        /// A stay begins with the renewal of an ended one.
        RenewalAfterEnd = "renewal_after_end",
        Goodbye = "goodbye",
        /// The membership had expired, but the device was still there.
        GoodbyeAfterEnd = "goodbye_after_end",
    }
}

/// One event behind a call.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EvidenceFacts {
    pub event_id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub sender: String,
    pub name: Option<String>,
    pub state_key: Option<String>,
    pub origin_server_ts: i64,
    /// When our first live copy arrived; null if the event came only by back-fill.
    pub received_ms: Option<i64>,
    pub received_at: Option<Stamp>,
    /// How it first came: `sync`, `poll` or `backfill`.
    pub source: Source,
    /// Why it says nothing about a call, if so.
    pub rejected: Option<String>,
    /// It was redacted: its content is no longer stored, but what was derived from it stays.
    pub redacted: bool,
    /// What a member event meant for the call: `join`, `renewal` (or another change),
    /// `renewal_after_end` (a stay begins with the renewal of an ended one), `goodbye`, or
    /// `goodbye_after_end` (the membership had expired, but the device was still there); null for
    /// all other events.
    pub told: Option<EventMeaning>,
    pub event: Value,
}

/// Was it redacted?
fn is_redacted(event: &Value) -> bool {
    event.pointer("/unsigned/redacted_because").is_some()
}

impl From<model::Evidence> for EvidenceFacts {
    fn from(row: model::Evidence) -> Self {
        let event = json_or_text(row.json);
        Self {
            event_id: row.event_id,
            kind: row.kind,
            sender: row.sender,
            name: row.name,
            state_key: row.state_key,
            origin_server_ts: row.origin_server_ts,
            received_ms: row.received_ms,
            received_at: row.received_ms.map(Stamp),
            source: row.source,
            rejected: row.rejected,
            redacted: is_redacted(&event),
            told: None,
            event,
        }
    }
}

impl EvidenceFacts {
    /// The event with what it meant for the call of these members, who must be all of it: the first
    /// event of a stay is known by their `join_event_id`. Nothing is said of events that were
    /// rejected or redacted, or that are no member events.
    #[must_use]
    pub fn among(mut self, members: &[MemberFacts]) -> Self {
        if self.rejected.is_some()
            || self.redacted
            || EventKind::of_event_type(&self.kind) != EventKind::Member
        {
            return self;
        }

        // The time of the event as the fold takes it, so that it equals the `outlived_ms` of a
        // stay.
        let time_ms = self
            .received_ms
            .map_or(self.origin_server_ts, |ms| ms.min(self.origin_server_ts));
        let begins = |member: &&MemberFacts| member.join_event_id == self.event_id;
        let outlives = |member: &MemberFacts| {
            member.user_id == self.sender && member.outlived_ms == Some(time_ms)
        };

        self.told = Some(match members.iter().find(begins) {
            Some(member) if member.back_since_ms.is_some() => EventMeaning::RenewalAfterEnd,
            Some(_) => EventMeaning::Join,
            None if !self.devices().is_empty() => EventMeaning::Renewal,
            None if members.iter().any(outlives) => EventMeaning::GoodbyeAfterEnd,
            None => EventMeaning::Goodbye,
        });

        self
    }

    /// The display name of its sender, or a part of the user id.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.sender)
    }

    /// The value of this key in the event's content.
    fn content(&self, key: &str) -> Option<&Value> {
        self.event.get("content")?.get(key)
    }

    /// The devices that the event states as being in a call; `None` in the list for a device
    /// without a name. Empty for a goodbye and for events that are no member events.
    #[must_use]
    pub fn devices(&self) -> Vec<Option<String>> {
        let event = RoomEvent::from_json(&self.event, None)
            .ok()
            .filter(|event| EventKind::of_event_type(&event.kind) == EventKind::Member);

        event.map_or_else(Vec::new, |event| {
            member::parse_member_event(&event)
                .joins
                .into_iter()
                .map(|(_, join)| join.device_id)
                .collect()
        })
    }

    /// What the event did, in words that follow the sender's name. `is_join` says that a stay
    /// begins with it.
    #[must_use]
    pub fn deed(&self, is_join: bool) -> String {
        if let Some(reason) = &self.rejected {
            return format!(
                "sent an event that cannot be used: {}",
                super::format::sanitize_line(reason)
            );
        }

        let deed = match EventKind::of_event_type(&self.kind) {
            EventKind::Member if is_join && self.redacted => "joined; the event was redacted since",
            EventKind::Member | EventKind::Slot | EventKind::Related if self.redacted => {
                "sent an event that was redacted since"
            }
            EventKind::Member if self.told == Some(EventMeaning::RenewalAfterEnd) => {
                "renewed a membership that had ended: no delayed leave stands behind it any more"
            }
            EventKind::Member if self.told == Some(EventMeaning::GoodbyeAfterEnd) => {
                "left after it had expired: the device was still there"
            }
            EventKind::Member if is_join => "joined",
            EventKind::Member if self.is_lost_connection() => "was gone: the connection was lost",
            EventKind::Member if !self.devices().is_empty() => "renewed or changed the membership",
            EventKind::Member => "left",
            EventKind::Slot
                if self
                    .event
                    .get("content")
                    .and_then(Value::as_object)
                    .is_none_or(serde_json::Map::is_empty) =>
            {
                "closed the slot"
            }

            EventKind::Slot => "opened or changed the slot",
            EventKind::Presence => self.presence(),
            EventKind::Redaction => "redacted an event",
            EventKind::Encrypted => "sent an event that we cannot read",
            EventKind::Related if self.kind.ends_with("decline") => "declined",
            EventKind::Related if self.kind.contains("noti") => "rang",
            EventKind::Create | EventKind::Related | EventKind::Other => "sent a related event",
        };

        deed.to_owned()
    }

    /// Did the homeserver send it for a device that had lost its connection?
    fn is_lost_connection(&self) -> bool {
        let reason = self
            .content("leave_reason")
            .map(ToString::to_string)
            .unwrap_or_default()
            .to_lowercase();

        reason.contains("lost") || reason.contains("delayed")
    }

    /// What a membership event of the room did, in words that follow the sender's name.
    fn presence(&self) -> &'static str {
        let other = self
            .state_key
            .as_ref()
            .is_some_and(|key| *key != self.sender);

        match self.content("membership").and_then(Value::as_str) {
            Some("join") => "is in the room",
            Some("leave") if other => "removed somebody from the room",
            Some("leave") => "left the room",
            Some("ban") => "banned somebody from the room",
            _ => "changed a room membership",
        }
    }

    /// How the event came to us, in words.
    #[must_use]
    pub fn learned(&self) -> String {
        match (self.source, self.received_ms) {
            (Source::Sync, Some(ms)) => {
                let tenths = (ms.saturating_sub(self.origin_server_ts) + 50) / 100;
                match tenths {
                    ..0 => "Live, its clock is ahead of ours".to_owned(),
                    0..600 => format!("Live, after {}.{} s", tenths / 10, tenths % 10),
                    _ => format!("Seen {} later", super::format::ended_duration(tenths * 100)),
                }
            }
            (Source::Sync, None) => "In the room’s state".to_owned(),
            (Source::Poll, _) => "Found by poll".to_owned(),
            (Source::Backfill, _) => "Read from history".to_owned(),
        }
    }
}

/// An event that could not be used.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RejectedFacts {
    pub room: RoomRef,
    pub event_id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub sender: String,
    /// The timestamp of the sender's server.
    pub origin_server_ts: i64,
    /// When it came to us; the list is in this order. Null if an older version did not record it.
    pub seen_ms: Option<i64>,
    pub seen_at: Option<Stamp>,
    pub reason: String,
    pub event: Value,
}

impl RejectedFacts {
    /// When it came to us, ms; if that was not recorded, its server's timestamp.
    #[must_use]
    pub fn came_ms(&self) -> i64 {
        self.seen_ms.unwrap_or(self.origin_server_ts)
    }
}

impl From<model::Rejected> for RejectedFacts {
    fn from(row: model::Rejected) -> Self {
        Self {
            room: row.room.into(),
            event_id: row.event_id,
            kind: row.kind,
            sender: row.sender,
            origin_server_ts: row.origin_server_ts,
            seen_ms: row.seen_ms,
            seen_at: row.seen_ms.map(Stamp),
            reason: row.reason,
            event: json_or_text(row.json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evidence(content: &Value) -> EvidenceFacts {
        let kind = "org.matrix.msc4143.rtc.member";
        let event = json!({ "type": kind, "event_id": "$e", "sender": "@a:h", "origin_server_ts": 1,
            "content": content,
            "msc4354_sticky": { "duration_ms": 3_600_000 } });

        EvidenceFacts::from(model::Evidence {
            event_id: "$e".to_owned(),
            kind: kind.to_owned(),
            sender: "@a:h".to_owned(),
            name: None,
            state_key: None,
            origin_server_ts: 1,
            received_ms: None,
            source: Source::Backfill,
            rejected: None,
            json: event.to_string(),
        })
    }

    #[test]
    fn a_sticky_event_names_its_device_and_one_without_application_left() {
        let member = json!({ "id": "M", "device_id": "D", "user_id": "@a:h" });
        let here = evidence(
            &json!({ "slot_id": "m.call#ROOM", "msc4354_sticky_key": "M", "member": member,
            "application": { "type": "m.call" }, "rtc_transports": [] }),
        );
        assert_eq!(
            (here.devices(), here.deed(false)),
            (
                vec![Some("D".to_owned())],
                "renewed or changed the membership".to_owned()
            )
        );
        let gone = evidence(&json!({ "slot_id": "m.call#ROOM", "msc4354_sticky_key": "M" }));
        assert_eq!(
            (gone.devices(), gone.deed(false)),
            (vec![], "left".to_owned())
        );
    }
}
