//! Array contents, one event for all devices of a user: `memberships` (2023 to 2024) and mesh `m.calls` (MSC3401).

use super::{Expiry, Format, Join, MemberEvent, Otherwise, hint, id};
use crate::rtc::event::Reason;
use crate::rtc::membership::EndReason;
use crate::rtc::slot::SlotId;
use crate::rtc::time::number;
use crate::rtc::transport::{Selection, first};
use serde_json::Value;

/// The `memberships` array: one item a device; a device that is missing has left. Bad items are skipped.
#[must_use]
pub fn memberships(content: &Value) -> MemberEvent {
    let Some(items) = content.get("memberships").and_then(Value::as_array) else {
        return MemberEvent::invalid("bad_memberships");
    };
    collect(items.iter().map(membership).collect())
}

fn membership(item: &Value) -> Result<(String, Join), Reason> {
    let application = match item.get("application") {
        // The first version had none: all were calls.
        None => "m.call",
        some => super::state::application(some)?,
    };
    let call_id = id(item.get("call_id"), "no_call_id")?;
    let device_id = id(item.get("device_id"), "no_device_id")?;
    let expires = item.get("expires").and_then(number);
    let expires_ts = item.get("expires_ts").and_then(number);
    let slot = SlotId::new(application, call_id);
    let sub = format!("{}\u{1f}{device_id}", slot.as_str());
    let join = Join {
        slot,
        device_id: Some(device_id.to_owned()),
        format: Format::Legacy,
        created_ts: item.get("created_ts").and_then(number),
        // `expires` wins over `expires_ts` (MATRIXRTC.md section 2.2).
        expiry: match (expires, expires_ts) {
            (None, Some(at)) => Expiry::At(at),
            (after, _) => Expiry::After(after),
        },
        stay: None,
        intent: hint(item.get("m.call.intent")),
        transport: first(item.get("foci_active")),
        selection: Selection::OldestMembership,
    };
    Ok((sub, join))
}

/// The `m.calls` array of full-mesh calls: every device of every call in it.
#[must_use]
pub fn mesh(content: &Value) -> MemberEvent {
    let Some(calls) = content.get("m.calls").and_then(Value::as_array) else {
        return MemberEvent::invalid("bad_m_calls");
    };
    collect(calls.iter().flat_map(mesh_call).collect())
}

fn mesh_call(call: &Value) -> Vec<Result<(String, Join), Reason>> {
    let call_id = match id(call.get("m.call_id"), "no_call_id") {
        Ok(call_id) => call_id,
        Err(reason) => return vec![Err(reason)],
    };
    match call.get("m.devices").and_then(Value::as_array) {
        Some(devices) => devices
            .iter()
            .map(|device| mesh_device(call_id, device))
            .collect(),
        None => vec![Err("bad_m_devices")],
    }
}

fn mesh_device(call_id: &str, device: &Value) -> Result<(String, Join), Reason> {
    let device_id = id(device.get("device_id"), "no_device_id")?;
    let session_id = id(device.get("session_id"), "no_session_id")?;
    let expires_ts = device
        .get("expires_ts")
        .and_then(number)
        .ok_or("no_expires_ts")?;
    let slot = SlotId::new("m.call", call_id);
    let sub = format!("mesh\u{1f}{}\u{1f}{device_id}", slot.as_str());
    let join = Join {
        slot,
        device_id: Some(device_id.to_owned()),
        format: Format::Mesh,
        created_ts: None,
        expiry: Expiry::At(expires_ts),
        stay: Some(session_id.to_owned()),
        intent: None,
        transport: None,
        selection: Selection::Unknown,
    };
    Ok((sub, join))
}

/// The good items; of two for one device the last. One bad item marks the event as rejected, not the others.
fn collect(items: Vec<Result<(String, Join), Reason>>) -> MemberEvent {
    let mut joins = std::collections::BTreeMap::new();
    let mut rejected = None;
    for item in items {
        match item {
            Ok((sub, join)) => {
                joins.insert(sub, join);
            }
            Err(reason) => rejected = rejected.or(Some(reason)),
        }
    }
    let otherwise = Otherwise::Left(EndReason::Left);
    MemberEvent {
        joins: joins.into_iter().collect(),
        otherwise,
        rejected,
    }
}
