//! Member events in room state: the flat session content, the nested 2025 draft, and leaves.

use super::legacy;
use super::statement::{Expiry, Join, MemberEvent, leave_reason, required_id, truncated_hint};
use crate::rtc::event::Reason;
use crate::rtc::slot::SlotId;
use crate::rtc::time::millis_of_json;
use crate::rtc::transport::{Selection, first_usable_transport, hash_of_alias};
use crate::rtc::words::Format;
use serde_json::{Map, Value};

/// Keys that a leave may have.
const LEAVE_KEYS: [&str; 7] = [
    "reason",
    "leave_reason",
    "disconnect_reason",
    "msc4354_sticky_key",
    "sticky_key",
    "slot_id",
    "m.relates_to",
];

/// What the content of a member state event says (docs/matrixrtc.md section 3). Its keys tell which
/// of the formats it has; without an application it is a leave, if it has no other keys than a
/// leave may have.
#[must_use]
pub fn parse_state_content(content: &Value) -> MemberEvent {
    let Some(object) = content.as_object() else {
        return MemberEvent::invalid("content_not_an_object");
    };

    if object.contains_key("memberships") && !object.contains_key("application") {
        return legacy::parse_memberships(content);
    }

    if object.contains_key("m.calls") && !object.contains_key("application") {
        return legacy::parse_mesh_calls(content);
    }

    // Application data is at the top level, too. So `session` belongs to the 2025 draft only if
    // there is no `application`.
    if let (Some(session), None) = (object.get("session"), object.get("application")) {
        return join_or_invalid(parse_nested_join(session, object));
    }

    if !object.contains_key("application") {
        let leave = object.keys().all(|key| LEAVE_KEYS.contains(&key.as_str()));
        return if leave {
            MemberEvent::left(leave_reason(content))
        } else {
            MemberEvent::invalid("no_application")
        };
    }

    join_or_invalid(parse_flat_join(object))
}

/// The event of a parsed join; if it was not valid, an invalid event with the reason.
fn join_or_invalid(result: Result<Join, Reason>) -> MemberEvent {
    result.map_or_else(MemberEvent::invalid, MemberEvent::join)
}

/// The join of a flat content, checked as matrix-js-sdk checks it (`checkSessionsMembershipData`).
fn parse_flat_join(object: &Map<String, Value>) -> Result<Join, Reason> {
    let application = parse_application(object.get("application"))?;
    let call_id = parse_call_id(object.get("call_id"))?;
    let device_id = required_id(object.get("device_id"), "no_device_id")?;
    let focus = object.get("focus_active").ok_or("no_focus_active")?;
    focus
        .get("type")
        .and_then(Value::as_str)
        .ok_or("bad_focus_active")?;

    Ok(Join {
        slot: SlotId::new(application, call_id),
        device_id: Some(device_id.to_owned()),
        ..parse_shared_fields(object)?
    })
}

/// The join of the nested draft of 2025, with `session` and `member` objects, as if it were flat.
/// The draft was never released.
fn parse_nested_join(session: &Value, object: &Map<String, Value>) -> Result<Join, Reason> {
    let application = parse_application(session.get("application"))?;
    let call_id = match session.get("id") {
        None => "",
        some => free_of_hash(required_id(some, "bad_session_id")?, "bad_call_id")?,
    };

    let member = object.get("member").ok_or("no_member")?;
    let device_id = required_id(member.get("device_id"), "no_device_id")?;

    Ok(Join {
        slot: SlotId::new(application, call_id),
        device_id: Some(device_id.to_owned()),
        ..parse_shared_fields(object)?
    })
}

/// The application id; an error if it is missing, empty, too long or contains `#`.
pub(super) fn parse_application(value: Option<&Value>) -> Result<&str, Reason> {
    let text = free_of_hash(required_id(value, "bad_application")?, "bad_application")?;
    if text.is_empty() {
        Err("bad_application")
    } else {
        Ok(text)
    }
}

/// The id of a call within its application; it may be empty. An error if it is missing, too long or
/// contains `#`.
pub(super) fn parse_call_id(value: Option<&Value>) -> Result<&str, Reason> {
    free_of_hash(required_id(value, "no_call_id")?, "bad_call_id")
}

/// The same text, or this reason as an error if it contains `#`. By MSC4143 neither part of a slot
/// id may contain it, since it separates them.
fn free_of_hash(text: &str, otherwise: Reason) -> Result<&str, Reason> {
    if text.contains('#') {
        Err(otherwise)
    } else {
        Ok(text)
    }
}

/// A join with the fields that the flat and the nested form share; the caller sets slot and device.
/// An error if one of them has a type that matrix-js-sdk does not accept.
fn parse_shared_fields(object: &Map<String, Value>) -> Result<Join, Reason> {
    let text_or_absent = |key: &str| object.get(key).is_none_or(Value::is_string);
    if !text_or_absent("scope") {
        return Err("bad_scope");
    }

    if !text_or_absent("m.call.intent") {
        return Err("bad_intent");
    }

    if object
        .get("created_ts")
        .is_some_and(|value| !value.is_number())
    {
        return Err("bad_created_ts");
    }

    let foci = object.get("foci_preferred");
    let is_focus = |focus: &Value| focus.get("type").is_some_and(Value::is_string);
    if foci.is_some_and(|list| {
        list.as_array()
            .is_none_or(|list| !list.iter().all(is_focus))
    }) {
        return Err("bad_foci_preferred");
    }

    let selection = object
        .get("focus_active")
        .and_then(|focus| focus.get("focus_selection"));

    Ok(Join {
        slot: SlotId::new("", ""),
        device_id: None,
        format: Format::Session,
        created_ts: object.get("created_ts").and_then(millis_of_json),
        // matrix-js-sdk does not check the type of `expires`; a value that is not a number counts
        // as absent.
        expiry: Expiry::stated(
            [object.get("expires"), object.get("expires_after")],
            object.get("expires_ts"),
        ),
        stay: None,
        intent: truncated_hint(object.get("m.call.intent")),
        transport: first_usable_transport(foci),
        transport_alias: hash_of_alias(foci),
        selection: selection
            .and_then(Value::as_str)
            .map_or(Selection::Unknown, Selection::from_word),
    })
}
