//! Array contents, where one event lists all devices of a user: `memberships` (2023 to 2024) and
//! mesh `m.calls` (MSC3401).

use super::statement::{Expiry, Join, MemberEvent, UnlistedDevices, required_id, truncated_hint};
use crate::rtc::event::Reason;
use crate::rtc::slot::SlotId;
use crate::rtc::time::millis_of_json;
use crate::rtc::transport::{Selection, first_usable_transport, hash_of_alias};
use crate::rtc::words::{EndReason, Format};
use serde_json::Value;

/// What a content with a `memberships` array says: one item per device; a device that is missing
/// has left. Invalid items are skipped.
#[must_use]
pub fn parse_memberships(content: &Value) -> MemberEvent {
    let Some(items) = content.get("memberships").and_then(Value::as_array) else {
        return MemberEvent::invalid("bad_memberships");
    };

    collect_joins(items.iter().map(join_of_item).collect())
}

/// The join of one item of a `memberships` array, with its device key: slot and device id. An error
/// if a required field is missing or invalid.
fn join_of_item(item: &Value) -> Result<(String, Join), Reason> {
    let application = match item.get("application") {
        // The first version had no application: all were calls.
        None => "m.call",
        some => super::state::parse_application(some)?,
    };

    let call_id = super::state::parse_call_id(item.get("call_id"))?;
    let device_id = required_id(item.get("device_id"), "no_device_id")?;
    let slot = SlotId::new(application, call_id);
    let array_device = format!("{}\u{1f}{device_id}", slot.as_str());
    let join = Join {
        slot,
        device_id: Some(device_id.to_owned()),
        format: Format::Legacy,
        created_ts: item.get("created_ts").and_then(millis_of_json),
        expiry: Expiry::stated(
            [item.get("expires"), item.get("expires_after")],
            item.get("expires_ts"),
        ),
        stay: hint_of_stay(item.get("membershipID")),
        intent: truncated_hint(item.get("m.call.intent")),
        transport: first_usable_transport(item.get("foci_active")),
        transport_alias: hash_of_alias(item.get("foci_active")),
        selection: Selection::OldestMembership,
    };

    Ok((array_device, join))
}

/// The random id of a join (`membershipID`); `None` if it is absent or too long.
fn hint_of_stay(value: Option<&Value>) -> Option<String> {
    required_id(value, "no_membership_id")
        .ok()
        .map(ToOwned::to_owned)
}

/// The item of a `memberships` array for the device with this key; the last one if there are
/// several.
#[must_use]
pub fn item_of_device<'a>(content: &'a Value, array_device: &str) -> Option<&'a Value> {
    let items = content.get("memberships")?.as_array()?;
    let speaks_of_it = |item: &&Value| join_of_item(item).is_ok_and(|(key, _)| key == array_device);
    items.iter().rev().find(speaks_of_it)
}

/// What a content with an `m.calls` array (full-mesh calls) says: all devices of all calls in it. A
/// device that is missing has left.
#[must_use]
pub fn parse_mesh_calls(content: &Value) -> MemberEvent {
    let Some(calls) = content.get("m.calls").and_then(Value::as_array) else {
        return MemberEvent::invalid("bad_m_calls");
    };

    // In 2022 the expiry was stated once, at the top level, for all devices.
    let expires_ts = content.get("m.expires_ts").and_then(millis_of_json);

    collect_joins(
        calls
            .iter()
            .flat_map(|call| joins_of_mesh_call(call, expires_ts))
            .collect(),
    )
}

/// The joins of all devices of one mesh call, each with its device key or the reason why it is
/// invalid. `expires_ts` is the expiry of devices that state none, ms.
fn joins_of_mesh_call(
    call: &Value,
    expires_ts: Option<i64>,
) -> Vec<Result<(String, Join), Reason>> {
    let call_id = match super::state::parse_call_id(call.get("m.call_id")) {
        Ok(call_id) => call_id,
        Err(reason) => return vec![Err(reason)],
    };

    match call.get("m.devices").and_then(Value::as_array) {
        Some(devices) => devices
            .iter()
            .map(|device| join_of_mesh_device(call_id, device, expires_ts))
            .collect(),
        None => vec![Err("bad_m_devices")],
    }
}

/// The join of one device of a mesh call, with its device key. `expires_ts` counts if the device
/// states no expiry, ms; without either the device is invalid.
fn join_of_mesh_device(
    call_id: &str,
    device: &Value,
    expires_ts: Option<i64>,
) -> Result<(String, Join), Reason> {
    let device_id = required_id(device.get("device_id"), "no_device_id")?;
    let session_id = required_id(device.get("session_id"), "no_session_id")?;
    let expires_ts = device
        .get("expires_ts")
        .and_then(millis_of_json)
        .or(expires_ts)
        .ok_or("no_expires_ts")?;
    let slot = SlotId::new("m.call", call_id);
    let array_device = format!("mesh\u{1f}{}\u{1f}{device_id}", slot.as_str());
    let join = Join {
        slot,
        device_id: Some(device_id.to_owned()),
        format: Format::Mesh,
        created_ts: None,
        expiry: Expiry::At(expires_ts),
        stay: Some(session_id.to_owned()),
        intent: None,
        transport: None,
        transport_alias: None,
        selection: Selection::Unknown,
    };

    Ok((array_device, join))
}

/// The event of these items: the valid ones, and if a device has two, the last one. An event is
/// rejected, with the first reason, if none of its items is valid.
fn collect_joins(items: Vec<Result<(String, Join), Reason>>) -> MemberEvent {
    let mut joins = std::collections::BTreeMap::new();
    let mut rejected = None;
    for item in items {
        match item {
            Ok((array_device, join)) => {
                joins.insert(array_device, join);
            }
            Err(reason) => rejected = rejected.or(Some(reason)),
        }
    }

    let otherwise = UnlistedDevices::Left(EndReason::Left);
    let rejected = rejected.filter(|_| joins.is_empty());

    MemberEvent {
        joins: joins.into_iter().collect(),
        otherwise,
        rejected,
    }
}
