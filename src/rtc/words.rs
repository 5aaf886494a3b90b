//! The closed sets of words that are stored, shown in JSON and documented.

use serde::{Deserialize, Serialize};

/// The wire format a stay was stated in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Format {
    /// One state event per device, flat content; what clients send today.
    Session,
    /// The `memberships` array of 2023 and 2024.
    Legacy,
    /// Full-mesh group calls, `m.calls` (MSC3401).
    Mesh,
    /// Sticky events (MSC4354), in the js-sdk's and the newest MSC's form.
    Sticky,
}

impl Format {
    /// The word as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Legacy => "legacy",
            Self::Mesh => "mesh",
            Self::Sticky => "sticky",
        }
    }
}

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

/// How events came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Sync,
    Poll,
    Backfill,
}

impl Source {
    /// The word as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Poll => "poll",
            Self::Backfill => "backfill",
        }
    }
}

/// Our membership of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The bot is in it: it is followed by sync and polls.
    Joined,
    /// World-readable, polled without joining.
    Peeked,
    /// The bot left or was removed: what is known is outdated.
    Left,
    /// The room was requested and cannot be read.
    Blind,
}

impl Watch {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Peeked => "peeked",
            Self::Left => "left",
            Self::Blind => "blind",
        }
    }

    /// Reads the stored value; an unknown one is `Blind`.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "joined" => Self::Joined,
            "peeked" => Self::Peeked,
            "left" => Self::Left,
            _ => Self::Blind,
        }
    }
}
