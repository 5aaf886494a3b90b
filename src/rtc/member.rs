//! `MemberEvent`: what one member event says, from any of the wire formats (docs/matrixrtc.md
//! section 3).

pub mod legacy;
pub mod state;
pub(in crate::rtc) mod statement;
pub mod sticky;

pub(super) use statement::ID_MAX;
pub use statement::{Expiry, Join, MemberEvent, UnlistedDevices};

use super::event::{EventKind, Reason, RoomEvent};
use super::id::{hash, server_of};
use super::redaction::equal_but_for_end;
use serde_json::{Map, Value};

/// Parses a member event.
#[must_use]
pub fn parse_member_event(event: &RoomEvent) -> MemberEvent {
    if event.is_unreadable_redaction() {
        return MemberEvent {
            joins: Vec::new(),
            otherwise: UnlistedDevices::Redacted,
            rejected: None,
        };
    }

    let mut parsed = if event.state_key.is_some() {
        state::parse_state_content(&event.content)
    } else {
        sticky::parse_sticky_event(event)
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
    let (Some(now), Some(before)) = (
        content_about_device(event, sub),
        content_about_device(earlier, sub),
    ) else {
        return false;
    };

    !now.contains_key("created_ts") && equal_but_for_end(now, before)
}

/// The part of the content about one device.
fn content_about_device<'e>(event: &'e RoomEvent, sub: &str) -> Option<&'e Map<String, Value>> {
    let content = if sub.is_empty() {
        Some(&event.content)
    } else {
        legacy::item_of_device(&event.content, sub)
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
pub fn member_key_of(event: &RoomEvent) -> Result<Option<String>, Reason> {
    match EventKind::of_event_type(&event.kind) {
        EventKind::Encrypted if event.state_key.is_none() && event.sticky_ms.is_some() => {
            Err("encrypted")
        }
        EventKind::Member => match &event.state_key {
            Some(key) => Ok(Some(format!("s{}", hash(&[&event.kind, key], 16)))),
            None if event.redacted_ts.is_some() && event.sticky_ms.is_none() => Err("redacted"),
            None => {
                let key = sticky::sticky_key_of_event(event)?;
                Ok(Some(format!(
                    "k{}",
                    hash(&[&event.kind, &event.sender, key], 16)
                )))
            }
        },
        _ => Ok(None),
    }
}
