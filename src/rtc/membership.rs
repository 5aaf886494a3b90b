//! `Membership`: one stay of one device; and `Rejection`: an event that could not be used.

use super::event::Reason;
use super::id::server_of;
use super::slot::SlotId;
use super::transport::{Selection, Transport};
use super::words::{EndReason, Format};
use serde::{Deserialize, Serialize};

/// One stay of one device in one slot. Times in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// A natural key: it is the same after every rebuild.
    pub id: String,
    #[serde(rename = "chain")]
    pub member_key: String,
    pub slot: SlotId,
    /// Always the sender, never read from a state key.
    pub user_id: String,
    pub device_id: Option<String>,
    pub format: Format,
    pub joined_ms: i64,
    /// When the event that begins it took effect, ms; `joined_ms` may be claimed to be earlier.
    pub opened_ms: i64,
    /// When it ends unless renewed; never before `joined_ms`. A stay is active if `until_ms > now`.
    pub until_ms: i64,
    /// Why it ends at `until_ms`.
    pub end_reason: EndReason,
    /// Events that renewed or changed it.
    pub updates: u32,
    /// The first event of the stay; for a resumed stay the current event.
    pub join_event_id: String,
    /// The event that ended it, if any.
    pub end_event_id: Option<String>,
    /// It continued after a break without a new join.
    pub resumed: bool,
    /// `joined_ms` is not the time of an event: it is the member's own `created_ts`, or a bound
    /// because the event's timestamp is before the room existed.
    pub claimed: bool,
    /// Set if its first event renews an ended stay: when that one ended, ms. The device may have
    /// been back since then.
    #[serde(default)]
    pub back_since_ms: Option<i64>,
    /// Set if its device said goodbye or renewed it after its expiry: when, ms. So the device was
    /// still there.
    #[serde(default)]
    pub outlived_ms: Option<i64>,
    pub intent: Option<String>,
    pub transport: Option<Transport>,
    /// A hash of the room of its SFU that it names (`livekit_alias`), to be compared; `None` if it
    /// names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_alias: Option<String>,
    pub selection: Selection,
}

impl Membership {
    /// When it left, ms; `None` while it is here.
    #[must_use]
    pub fn left_ms(&self, now: i64) -> Option<i64> {
        (self.until_ms <= now).then_some(self.until_ms)
    }

    /// The homeserver of its user.
    #[must_use]
    pub fn server(&self) -> &str {
        server_of(&self.user_id)
    }

    /// Does it last at all? One without length is in no session.
    #[must_use]
    pub fn has_length(&self) -> bool {
        self.until_ms > self.joined_ms
    }

    /// What identifies a device: its user, and its id. If a format names no device, each member key
    /// counts as one.
    #[must_use]
    pub fn device_key(&self) -> (&str, &str) {
        (
            &self.user_id,
            self.device_id.as_deref().unwrap_or(&self.member_key),
        )
    }
}

/// An event that could not be used, with the reason.
pub type Rejection = (String, Reason);
