//! `MemberEvent`: what one member event says, from any of the wire formats (docs/matrixrtc.md
//! section 3).

pub mod legacy;
pub mod state;
pub mod sticky;

use super::event::{Kind, Reason, RoomEvent};
use super::id::hash;
use super::membership::EndReason;
use super::redaction::equal_but_for_end;
use super::session::server_of;
use super::slot::SlotId;
use super::time::millis_of_json;
use super::transport::{Selection, Transport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Maximum length of Matrix ids, bytes, by the specification.
pub(super) const ID_MAX: usize = 255;

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

/// When a join runs out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// This long after `created_ts`, else after the event's time, ms; `None` = the default of the
    /// rules.
    After(Option<i64>),
    /// At this time, ms.
    At(i64),
    /// This long after the event's time, ms (MSC4354), not yet clamped.
    Sticky(i64),
}

/// An `expires` above this is a time, ms since the Unix epoch, not a length: as a length it would
/// be three years, as a time it is in 1973.
const LENGTH_MAX: i64 = 100_000_000_000;

impl Expiry {
    /// The expiry that a content states: the first length that is a number, else the time. A length
    /// above `LENGTH_MAX` is read as a time (docs/matrixrtc.md section 6.1).
    fn stated(lengths: [Option<&Value>; 2], time: Option<&Value>) -> Self {
        let length = lengths.into_iter().flatten().find_map(millis_of_json);
        match (length, time.and_then(millis_of_json)) {
            (Some(at), _) if at > LENGTH_MAX => Self::At(at),
            (Some(length), _) => Self::After(Some(length)),
            (None, Some(at)) => Self::At(at),
            (None, None) => Self::After(None),
        }
    }
}

/// A statement of being in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub slot: SlotId,
    pub device_id: Option<String>,
    pub format: Format,
    /// `created_ts` as stated, ms. It can be wrong.
    pub created_ts: Option<i64>,
    pub expiry: Expiry,
    /// An id that is the same in all events of one stay, if the format has one (mesh `session_id`,
    /// array `membershipID`).
    pub stay: Option<String>,
    pub intent: Option<String>,
    pub transport: Option<Transport>,
    pub selection: Selection,
}

/// What an event says about all devices that it does not list as joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    Left(EndReason),
    Invalid,
    /// The content was redacted before we could read it.
    Redacted,
}

/// One parsed statement of joining or leaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    /// The joined devices, each with its device key. The key is empty except in arrays, which list
    /// many devices.
    pub joins: Vec<(String, Join)>,
    pub otherwise: Otherwise,
    /// Why the event, or an item in it, could not be used.
    pub rejected: Option<Reason>,
}

impl MemberEvent {
    pub(super) fn join(join: Join) -> Self {
        Self {
            joins: vec![(String::new(), join)],
            otherwise: Otherwise::Left(EndReason::Left),
            rejected: None,
        }
    }

    pub(super) fn left(reason: EndReason) -> Self {
        Self {
            joins: Vec::new(),
            otherwise: Otherwise::Left(reason),
            rejected: None,
        }
    }

    pub(super) fn invalid(reason: Reason) -> Self {
        Self {
            joins: Vec::new(),
            otherwise: Otherwise::Invalid,
            rejected: Some(reason),
        }
    }
}

/// Parses a member event.
#[must_use]
pub fn parse(event: &RoomEvent) -> MemberEvent {
    if event.is_unreadable_redaction() {
        return MemberEvent {
            joins: Vec::new(),
            otherwise: Otherwise::Redacted,
            rejected: None,
        };
    }

    let mut parsed = if event.state_key.is_some() {
        state::parse(&event.content)
    } else {
        sticky::parse(event)
    };

    let server = server_of(&event.sender);
    for (_, join) in &mut parsed.joins {
        join.transport = join
            .transport
            .take()
            .map(|transport| transport.of_member(server));
    }

    parsed
}

/// Is this event a renewal: does it say the same about a device as an earlier one, except for the
/// expiry (docs/matrixrtc.md section 7.3, rule 4)? `sub` is the device key. A content with
/// `created_ts` is never a renewal in this sense: its `created_ts` identifies the stay.
#[must_use]
pub fn is_renewal(event: &RoomEvent, earlier: &RoomEvent, sub: &str) -> bool {
    let (Some(now), Some(before)) = (said_of(event, sub), said_of(earlier, sub)) else {
        return false;
    };

    !now.contains_key("created_ts") && equal_but_for_end(now, before)
}

/// The part of the content about one device.
fn said_of<'e>(event: &'e RoomEvent, sub: &str) -> Option<&'e Map<String, Value>> {
    let content = if sub.is_empty() {
        Some(&event.content)
    } else {
        legacy::item(&event.content, sub)
    };

    content?.as_object()
}

/// The member key of an event: for state, its type and state key; for sticky events, its type,
/// sender and sticky key (MSC4354). Aliases of a type have distinct member keys. The key is hashed
/// because its parts may be long.
///
/// # Errors
/// Why a member event has no member key; it then says nothing about anybody. `Ok(None)`: not a
/// member event.
pub fn chain(event: &RoomEvent) -> Result<Option<String>, Reason> {
    match Kind::of_event_type(&event.kind) {
        Kind::Encrypted if event.state_key.is_none() && event.sticky_ms.is_some() => {
            Err("encrypted")
        }
        Kind::Member => match &event.state_key {
            Some(key) => Ok(Some(format!("s{}", hash(&[&event.kind, key], 16)))),
            None if event.redacted_ts.is_some() && event.sticky_ms.is_none() => Err("redacted"),
            None => {
                let key = sticky::key(event)?;
                Ok(Some(format!(
                    "k{}",
                    hash(&[&event.kind, &event.sender, key], 16)
                )))
            }
        },
        _ => Ok(None),
    }
}

/// The end reason that a leave content states (docs/matrixrtc.md section 3.8).
pub(super) fn leave_reason(content: &Value) -> EndReason {
    let stated = content
        .get("leave_reason")
        .or_else(|| content.get("disconnect_reason"));
    let word = stated.and_then(|reason| {
        reason
            .as_str()
            .or_else(|| reason.get("code")?.as_str())
            .or_else(|| reason.get("reason")?.as_str())
    });

    match word {
        Some(
            "CONNECTION_LOST" | "lost_connection" | "m.lost_connection" | "delayed_leave"
            | "delayed_leaved",
        ) => EndReason::DelayedLeave,
        Some("slot_closed") => EndReason::SlotClosed,
        _ => EndReason::Left,
    }
}

/// A required id: a string of at most `ID_MAX` bytes.
fn id(value: Option<&Value>, missing: Reason) -> Result<&str, Reason> {
    let text = value.and_then(Value::as_str).ok_or(missing)?;
    if text.len() > ID_MAX {
        Err("id_too_long")
    } else {
        Ok(text)
    }
}

/// A hint, cut to 64 characters.
pub(super) fn hint(value: Option<&Value>) -> Option<String> {
    value
        .and_then(Value::as_str)
        .map(|text| text.chars().take(64).collect())
}
