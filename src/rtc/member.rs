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

/// What a member event says about each device, from any of the wire formats. Never an error: what
/// cannot be used is told in [`MemberEvent::rejected`].
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
/// expiry (docs/matrixrtc.md section 7.3, rule 4)? `array_device` is the device key, empty except
/// in arrays. A content with `created_ts` is never a renewal in this sense: its `created_ts`
/// identifies the stay.
#[must_use]
pub fn is_renewal(event: &RoomEvent, earlier: &RoomEvent, array_device: &str) -> bool {
    let (Some(now), Some(before)) = (
        content_about_device(event, array_device),
        content_about_device(earlier, array_device),
    ) else {
        return false;
    };

    !now.contains_key("created_ts") && equal_but_for_end(now, before)
}

/// The part of the content about the device with this key: all of it, or its item of an array.
fn content_about_device<'e>(
    event: &'e RoomEvent,
    array_device: &str,
) -> Option<&'e Map<String, Value>> {
    let content = if array_device.is_empty() {
        Some(&event.content)
    } else {
        legacy::item_of_device(&event.content, array_device)
    };

    content?.as_object()
}

/// The member key of an event: for state, a hash of its type and state key; for sticky events, of
/// its type, sender and sticky key (MSC4354). Aliases of a type have distinct member keys. The key
/// is hashed because its parts may be long. `Ok(None)`: not a member event.
///
/// # Errors
/// Why a member event has no member key; it then says nothing about anybody.
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
