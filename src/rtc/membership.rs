//! `Membership`: one stay of one device; and the words for how it ended.

use super::event::Reason;
use super::member::Format;
use super::slot::SlotId;
use super::transport::{Selection, Transport};
use serde::{Deserialize, Serialize};

/// How a stay ended, as far as an observer can tell (docs/matrixrtc.md section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndReason {
    Left,
    DelayedLeave,
    Expired,
    StickyExpired,
    RoomLeft,
    RoomKicked,
    RoomBanned,
    Superseded,
    Switched,
    Overwritten,
    SlotClosed,
    Redacted,
    InvalidContent,
}

impl EndReason {
    /// The word as stored, shown in JSON and documented.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::DelayedLeave => "delayed_leave",
            Self::Expired => "expired",
            Self::StickyExpired => "sticky_expired",
            Self::RoomLeft => "room_left",
            Self::RoomKicked => "room_kicked",
            Self::RoomBanned => "room_banned",
            Self::Superseded => "superseded",
            Self::Switched => "switched",
            Self::Overwritten => "overwritten",
            Self::SlotClosed => "slot_closed",
            Self::Redacted => "redacted",
            Self::InvalidContent => "invalid_content",
        }
    }
}

/// One stay of one device in one slot. Times in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Natural key: the same after every rebuild.
    pub id: String,
    pub chain: String,
    pub slot: SlotId,
    /// Always the sender, never read from a state key.
    pub user_id: String,
    pub device_id: Option<String>,
    pub format: Format,
    pub joined_ms: i64,
    /// When the event that begins it came to count, ms; `joined_ms` may be claimed to be earlier.
    pub opened_ms: i64,
    /// When it ends unless renewed; never before `joined_ms`. "Active" is `until_ms > now`.
    pub until_ms: i64,
    /// Why it ends at `until_ms`.
    pub end_reason: EndReason,
    /// Events that renewed or changed it.
    pub updates: u32,
    /// The first event of the stay; for a resumed one the event that is current.
    pub join_event_id: String,
    /// The event that ended it, where there is one.
    pub end_event_id: Option<String>,
    /// It went on after a break without a new join.
    pub resumed: bool,
    /// `joined_ms` is the member's own `created_ts`, or a bound: its event bears a stamp from
    /// before the room was there.
    pub claimed: bool,
    /// Its first event speaks of a stay that had ended: since then, ms, it may be back.
    #[serde(default)]
    pub back_since_ms: Option<i64>,
    /// It ran out, and then, at this time, ms, its device said goodbye or renewed it: it was still
    /// there.
    #[serde(default)]
    pub outlived_ms: Option<i64>,
    pub intent: Option<String>,
    pub transport: Option<Transport>,
    pub selection: Selection,
}

impl Membership {
    /// Tells devices apart: where a format names none, each chain is one.
    #[must_use]
    pub fn device_key(&self) -> (&str, &str) {
        (
            &self.user_id,
            self.device_id.as_deref().unwrap_or(&self.chain),
        )
    }
}

/// An event that produced no join though it tried, with the reason.
pub type Rejection = (String, Reason);
