//! Stored events as pages and JSON show them: the evidence behind a call, and what was rejected.

use super::{RoomRef, Stamp, person};
use crate::rtc::event::Kind;
use crate::store::row;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A stored event: as JSON where it is JSON, else its text.
fn raw(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
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
    /// When our first live copy came; null when only back-fill brought it.
    pub received_ms: Option<i64>,
    pub received_at: Option<Stamp>,
    /// How it first came: `sync`, `poll` or `backfill`.
    pub source: String,
    /// Why it says nothing about a call, if so.
    pub rejected: Option<String>,
    pub event: Value,
}

impl From<row::Evidence> for EvidenceFacts {
    fn from(row: row::Evidence) -> Self {
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
            event: raw(row.json),
        }
    }
}

impl EvidenceFacts {
    /// Who sent it.
    #[must_use]
    pub fn title(&self) -> String {
        person(self.name.as_deref(), &self.sender)
    }

    fn content(&self, key: &str) -> Option<&Value> {
        self.event.get("content")?.get(key)
    }

    /// Is it a statement about being in a call that names at least one stay?
    #[must_use]
    pub fn is_membership(&self) -> bool {
        let content = self.event.get("content").and_then(Value::as_object);
        let left = self.content("leave_reason").is_some();
        let empty_list = self.content("memberships").and_then(Value::as_array).is_some_and(Vec::is_empty);
        Kind::of(&self.kind) == Kind::Member
            && content.is_some_and(|content| !content.is_empty())
            && !empty_list
            && !left
    }

    /// The device that it names, in the form where a device is named at the top of the content.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        self.content("device_id").and_then(Value::as_str)
    }

    /// What it did, in words. `is_join`: a stay begins with it.
    #[must_use]
    pub fn deed(&self, is_join: bool) -> String {
        if let Some(reason) = &self.rejected {
            return format!("sent an event that cannot be used: {}", super::super::format::tidy(reason));
        }
        let deed = match Kind::of(&self.kind) {
            Kind::Member if is_join => "joined",
            Kind::Member if self.is_lost_connection() => "was gone: the connection was lost",
            Kind::Member if self.is_membership() => "renewed or changed the membership",
            Kind::Member => "left",
            Kind::Slot
                if self.event.get("content").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) =>
            {
                "closed the slot"
            }
            Kind::Slot => "opened or changed the slot",
            Kind::Presence => self.presence(),
            Kind::Redaction => "redacted an event",
            Kind::Encrypted => "sent an event that we cannot read",
            Kind::Related if self.kind.ends_with("decline") => "declined",
            Kind::Related if self.kind.contains("noti") => "rang",
            Kind::Create | Kind::Related | Kind::Other => "sent a related event",
        };
        deed.to_owned()
    }

    /// The homeserver said it for a device that had gone.
    fn is_lost_connection(&self) -> bool {
        let reason = self.content("leave_reason").map(ToString::to_string).unwrap_or_default().to_lowercase();
        reason.contains("lost") || reason.contains("delayed")
    }

    fn presence(&self) -> &'static str {
        let other = self.state_key.as_ref().is_some_and(|key| *key != self.sender);
        match self.content("membership").and_then(Value::as_str) {
            Some("join") => "is in the room",
            Some("leave") if other => "removed somebody from the room",
            Some("leave") => "left the room",
            Some("ban") => "banned somebody from the room",
            _ => "changed a room membership",
        }
    }

    /// How we know it, in words.
    #[must_use]
    pub fn learned(&self) -> String {
        match (self.source.as_str(), self.received_ms) {
            ("sync", Some(ms)) => {
                let tenths = (ms.saturating_sub(self.origin_server_ts) + 50) / 100;
                match tenths {
                    ..0 => "Live, its clock is ahead of ours".to_owned(),
                    0..600 => format!("Live, after {}.{} s", tenths / 10, tenths % 10),
                    _ => format!("Seen {} later", super::super::format::lasted(tenths * 100)),
                }
            }
            ("sync", None) => "In the room’s state".to_owned(),
            ("poll", _) => "Found by poll".to_owned(),
            ("backfill", _) => "Read from history".to_owned(),
            (other, _) => super::super::format::tidy(other),
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
    /// What the sender's server claims.
    pub origin_server_ts: i64,
    /// When it came to us, the order of the list; null where an older version did not note it.
    pub seen_ms: Option<i64>,
    pub seen_at: Option<Stamp>,
    pub reason: String,
    pub event: Value,
}

impl RejectedFacts {
    /// When it came to us, or where nobody noted that when it was sent, as its server claims.
    #[must_use]
    pub fn came_ms(&self) -> i64 {
        self.seen_ms.unwrap_or(self.origin_server_ts)
    }
}

impl From<row::Rejected> for RejectedFacts {
    fn from(row: row::Rejected) -> Self {
        Self {
            room: row.room.into(),
            event_id: row.event_id,
            kind: row.kind,
            sender: row.sender,
            origin_server_ts: row.origin_server_ts,
            seen_ms: row.seen_ms,
            seen_at: row.seen_ms.map(Stamp),
            reason: row.reason,
            event: raw(row.json),
        }
    }
}
