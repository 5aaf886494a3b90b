//! `callscope derive`: a room's events in, memberships and calls out, as JSON.

use crate::clock::Clock;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::rtc::membership::Membership;
use crate::rtc::session::Session;
use crate::rtc::slot::SlotPolicy;
use crate::rtc::{self, Derived};
use serde_json::{Value, json};
use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path, now: Option<i64>, slot_policy: SlotPolicy) -> Result<ExitCode, Box<dyn Error>> {
    let text = read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let now = now.unwrap_or_else(|| Clock::System.now_ms());
    let answer = answer(&text, now, Rules { slot_policy, ..Rules::default() })?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn answer(text: &str, now: i64, rules: Rules) -> Result<Value, Box<dyn Error>> {
    let mut events = Vec::new();
    let mut unusable = Vec::new();
    let mut room_id = String::new();
    for json in parse(text)? {
        if let Some(id) = json.get("room_id").and_then(Value::as_str) {
            id.clone_into(&mut room_id);
        }
        match RoomEvent::from_recorded(&json) {
            Ok(event) => events.push(event),
            Err(reason) => unusable.push(json!({"event_id": json.get("event_id"), "reason": reason})),
        }
    }
    let Derived { memberships, sessions, rejected } = rtc::derive(&room_id, events, &rules);
    unusable.extend(rejected.iter().map(|(event_id, reason)| json!({"event_id": event_id, "reason": reason})));
    Ok(json!({
        "memberships": memberships.iter().map(|member| membership(member, now)).collect::<Vec<_>>(),
        "sessions": sessions.iter().map(|call| session(call, now)).collect::<Vec<_>>(),
        "rejected": unusable,
    }))
}

/// A JSON array, a `/messages` answer, or JSON values one after the other (NDJSON, or one event alone).
fn parse(text: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut values: Vec<Value> = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| {
            format!("this is not JSON ({error}); give a JSON array of events, one event a line, or a /messages answer")
        })?;
        match value {
            Value::Array(list) => values.extend(list),
            Value::Object(mut body) if body.get("chunk").is_some_and(Value::is_array) => {
                if let Some(Value::Array(list)) = body.remove("chunk") {
                    values.extend(list);
                }
                if let Some(Value::Array(state)) = body.remove("state") {
                    values.extend(state);
                }
            }
            other => values.push(other),
        }
    }
    Ok(values)
}

fn membership(member: &Membership, now: i64) -> Value {
    let left = member.until_ms <= now;
    json!({
        "user_id": member.user_id,
        "device_id": member.device_id,
        "slot_id": member.slot.as_str(),
        "kind": member.format.as_str(),
        "joined_ms": member.joined_ms,
        "left_ms": left.then_some(member.until_ms),
        "end_reason": left.then_some(member.end_reason.as_str()),
        "updates": member.updates,
        "join_event_id": member.join_event_id,
        "resumed": member.resumed,
    })
}

fn session(session: &Session, now: i64) -> Value {
    json!({
        "slot_id": session.slot_id,
        "started_ms": session.started_ms,
        "ended_ms": (session.until_ms <= now).then_some(session.until_ms),
        "memberships": session.memberships,
        "users": session.users,
        "peak": session.peak,
        "peak_users": session.peak_users,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOIN: &str = r#"{"event_id":"$1","type":"org.matrix.msc3401.call.member","state_key":"k","sender":"@a:a",
        "origin_server_ts":1000,"content":{"application":"m.call","call_id":"","device_id":"D","focus_active":{"type":"livekit"}}}"#;

    #[test]
    fn the_same_events_in_every_form_give_the_same_answer() {
        let array = format!("[{JOIN}]");
        let lines = format!("{}\n{}\n", JOIN.replace('\n', " "), JOIN.replace('\n', " "));
        let messages = format!(r#"{{"chunk":[{JOIN}],"start":"s"}}"#);
        let want = answer(&array, 5000, Rules::default()).unwrap();
        assert_eq!(want["sessions"][0]["users"], 1);
        assert_eq!(want["memberships"][0]["left_ms"], Value::Null);
        for text in [lines, messages, JOIN.to_owned()] {
            assert_eq!(answer(&text, 5000, Rules::default()).unwrap(), want);
        }
    }

    #[test]
    fn what_is_no_event_is_listed() {
        let answer = answer(r#"[5, {"event_id":"$x"}]"#, 0, Rules::default()).unwrap();
        assert_eq!(
            answer["rejected"],
            json!([{"event_id": null, "reason": "no_event_id"}, {"event_id": "$x", "reason": "no_type"}])
        );
        assert!(parse("nonsense").unwrap_err().to_string().contains("/messages"));
    }
}
