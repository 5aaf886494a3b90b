//! The types of a parsed member event, and how its parts are read, for all wire formats.

use crate::rtc::event::Reason;
use crate::rtc::slot::SlotId;
use crate::rtc::time::millis_of_json;
use crate::rtc::transport::{Selection, Transport};
use crate::rtc::words::{EndReason, Format};
use serde_json::Value;

/// Maximum length of Matrix ids, bytes, by the specification.
pub(in crate::rtc) const ID_MAX: usize = 255;

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
    pub(super) fn stated(lengths: [Option<&Value>; 2], time: Option<&Value>) -> Self {
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
    /// The result of [`hash_of_alias`] for the same list.
    pub transport_alias: Option<String>,
    pub selection: Selection,
}

/// What an event says about all devices that it does not list as joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlistedDevices {
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
    /// What it says about all devices that are not in `joins`.
    pub otherwise: UnlistedDevices,
    /// Why the event, or an item in it, could not be used.
    pub rejected: Option<Reason>,
}

impl MemberEvent {
    /// An event that states one join and no other device.
    pub(super) fn join(join: Join) -> Self {
        Self {
            joins: vec![(String::new(), join)],
            otherwise: UnlistedDevices::Left(EndReason::Left),
            rejected: None,
        }
    }

    /// A leave: no device is joined, and each that was has left for this reason.
    pub(super) fn left(reason: EndReason) -> Self {
        Self {
            joins: Vec::new(),
            otherwise: UnlistedDevices::Left(reason),
            rejected: None,
        }
    }

    /// An event that cannot be used, with the reason.
    pub(super) fn invalid(reason: Reason) -> Self {
        Self {
            joins: Vec::new(),
            otherwise: UnlistedDevices::Invalid,
            rejected: Some(reason),
        }
    }
}

/// The end reason that a leave content states (docs/matrixrtc.md section 3.8). Clients and drafts
/// name it in several ways; a word that is not known is an ordinary leave.
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

/// A required id: a string of at most `ID_MAX` bytes. `missing` is the reason if it is no string.
pub(super) fn required_id(value: Option<&Value>, missing: Reason) -> Result<&str, Reason> {
    let text = value.and_then(Value::as_str).ok_or(missing)?;
    if text.len() > ID_MAX {
        Err("id_too_long")
    } else {
        Ok(text)
    }
}

/// A text that is only shown, cut to 64 characters; `None` if it is no string.
pub(in crate::rtc) fn truncated_hint(value: Option<&Value>) -> Option<String> {
    value
        .and_then(Value::as_str)
        .map(|text| text.chars().take(64).collect())
}
