//! Sticky member events (MSC4354): accepts the union of the js-sdk's form, the drafts of 2025 and
//! the newest MSC.

use super::statement::{Expiry, Join, MemberEvent, leave_reason, required_id, truncated_hint};
use crate::rtc::event::{Reason, RoomEvent};
use crate::rtc::slot::SlotId;
use crate::rtc::transport::{Selection, first_usable_transport, hash_of_alias};
use crate::rtc::words::Format;
use serde_json::Value;

/// The sticky key of a sticky event. At least one of its two names must be present; the values must
/// be strings, and equal if both are present.
///
/// # Errors
/// Why the event is not a sticky event with a key.
pub fn sticky_key_of_event(event: &RoomEvent) -> Result<&str, Reason> {
    if event.sticky_ms.is_none() {
        return Err("not_sticky");
    }

    let text = |name: &str| match event.content.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err("bad_sticky_key"),
    };

    match (text("msc4354_sticky_key")?, text("sticky_key")?) {
        (Some(unstable), Some(stable)) if unstable != stable => Err("two_sticky_keys"),
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err("no_sticky_key"),
    }
}

/// What a sticky member event says. A content without an application, or whose `member.membership`
/// is `leave`, is a leave.
#[must_use]
pub fn parse_sticky_event(event: &RoomEvent) -> MemberEvent {
    let content = &event.content;
    if !content.is_object() {
        return MemberEvent::invalid("content_not_an_object");
    }

    let leaves = content
        .pointer("/member/membership")
        .is_some_and(|word| word == "leave");
    if leaves || content.get("application").is_none() {
        return MemberEvent::left(leave_reason(content));
    }

    parse_sticky_join(event).map_or_else(MemberEvent::invalid, MemberEvent::join)
}

/// The join of a sticky event, checked by docs/matrixrtc.md section 3.5: `application.type`,
/// `slot_id` and `member.id` are required. Everything else is optional, but must be valid if
/// present; the id of another user is rejected.
fn parse_sticky_join(event: &RoomEvent) -> Result<Join, Reason> {
    let content = &event.content;
    let member = content
        .get("member")
        .and_then(Value::as_object)
        .ok_or("no_member")?;
    for name in ["user_id", "claimed_user_id"] {
        if member
            .get(name)
            .is_some_and(|user| user != event.sender.as_str())
        {
            return Err("foreign_user_id");
        }
    }

    required_id(member.get("id"), "no_member_id")?;
    let application = super::state::parse_application(content.pointer("/application/type"))?;
    let slot_id = required_id(content.get("slot_id"), "no_slot_id")?;
    let slot = SlotId::parse_sticky_slot_id(slot_id, application).ok_or("bad_slot_id")?;
    let device_id = match member
        .get("device_id")
        .or_else(|| member.get("claimed_device_id"))
    {
        None => None,
        some => Some(required_id(some, "bad_device_id")?.to_owned()),
    };

    Ok(Join {
        slot,
        device_id,
        format: Format::Sticky,
        created_ts: None,
        expiry: Expiry::Sticky(event.sticky_ms.unwrap_or(0)),
        // The sticky key identifies the membership.
        stay: None,
        intent: truncated_hint(content.pointer("/application/m.call.intent")),
        transport: first_usable_transport(Some(published_transports(content)?)),
        transport_alias: hash_of_alias(Some(published_transports(content)?)),
        // A sticky member publishes on its own transport (docs/matrixrtc.md section 13).
        selection: Selection::MultiSfu,
    })
}

/// The list of transports that the member publishes on, under its new or its old name; `null` if it
/// states none. An error if an item has no type.
fn published_transports(content: &Value) -> Result<&Value, Reason> {
    let list = content
        .pointer("/transports/published")
        .or_else(|| content.get("rtc_transports"));
    let list = list.unwrap_or(&Value::Null);
    let is_transport = |item: &Value| item.get("type").is_some_and(Value::is_string);

    match list {
        Value::Null => Ok(list),
        Value::Array(items) if items.iter().all(is_transport) => Ok(list),
        _ => Err("bad_transports"),
    }
}
