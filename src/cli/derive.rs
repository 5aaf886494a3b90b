//! `callscope derive`: a room's events in, memberships and calls out, as JSON.

use super::look::{one_line_text, print_text};
use crate::clock::Clock;
use crate::matrix::repair_json;
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

/// Runs `callscope derive`: prints as JSON what follows from the events in a file. `now` is the
/// time for which it answers, ms; `None` = the present.
pub(super) fn run(
    file: &Path,
    now: Option<i64>,
    slot_policy: SlotPolicy,
) -> Result<ExitCode, Box<dyn Error>> {
    let events =
        read_input(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let now = now.unwrap_or_else(|| Clock::System.now_ms());
    let answer = derive_answer(
        &events,
        now,
        Rules {
            slot_policy,
            ..Rules::default()
        },
    )?;

    print_text(&format!("{answer:#}\n"))
}

/// The bytes of the file, or of standard input if the file is `-`.
fn read_input(file: &Path) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(file);
    }

    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;

    Ok(text)
}

/// The stays and calls that follow from the events in this text, as of `now`, ms, and the events
/// that could not be used.
fn derive_answer(text: &[u8], now: i64, rules: Rules) -> Result<Value, Box<dyn Error>> {
    let mut events = Vec::new();
    let mut unusable = Vec::new();
    let mut room_id = String::new();
    for json in parse_events(text)? {
        if let Some(id) = json.get("room_id").and_then(Value::as_str) {
            id.clone_into(&mut room_id);
        }

        match RoomEvent::from_recorded(&json) {
            Ok(event) => events.push(event),
            Err(reason) => {
                unusable.push(json!({"event_id": json.get("event_id"), "reason": reason}));
            }
        }
    }

    let Derived {
        memberships,
        sessions,
        rejected,
    } = rtc::derive(&room_id, events, &rules);
    unusable.extend(
        rejected
            .iter()
            .map(|(event_id, reason)| json!({"event_id": event_id, "reason": reason})),
    );

    Ok(json!({
        "memberships": memberships.iter().map(|member| membership_json(member,
        now)).collect::<Vec<_>>(),
        "sessions": sessions.iter().map(|call| session_json(call, now)).collect::<Vec<_>>(),
        "rejected": unusable,
    }))
}

/// The events in a text: a JSON array, a `/messages` answer, or JSON values one after the other
/// (NDJSON, or a single event). Invalid JSON is repaired as the server does it: one hostile event
/// must not hide the room.
fn parse_events(bytes: &[u8]) -> Result<Vec<Value>, Box<dyn Error>> {
    let values = read_json_values(bytes).or_else(|error| {
        // A truncated input cannot be repaired.
        if error.is_eof() {
            Err(error)
        } else {
            read_json_values(repair_json(bytes).as_bytes()).map_err(|_| error)
        }
    });
    let values = values.map_err(|error| {
        format!(
            "this is not JSON ({error}); give a JSON array of events, one event a line, or a \
                 /messages answer"
        )
    })?;
    if values.is_empty() {
        return Err(
            "there is nothing to read; give a JSON array of events, or a /messages answer".into(),
        );
    }

    // Without this check, an error answer would look like a room without calls.
    let refused = |value: &&Value| value["errcode"].is_string() && value.get("event_id").is_none();
    if let Some(error) = values.iter().find(refused) {
        return Err(format!(
            "this is no event but an error of the homeserver: {}: {}",
            one_line_text(&error["errcode"]),
            one_line_text(&error["error"])
        )
        .into());
    }

    Ok(values.into_iter().flat_map(events_of).collect())
}

/// The JSON values in a text, one after the other.
fn read_json_values(text: &[u8]) -> serde_json::Result<Vec<Value>> {
    serde_json::Deserializer::from_slice(text)
        .into_iter::<Value>()
        .collect()
}

/// The events in one value: those of a list, those of a `/messages` answer with its state, or the
/// value itself.
fn events_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Object(mut body) if body.get("chunk").is_some_and(Value::is_array) => {
            let lists = [body.remove("chunk"), body.remove("state")];
            let lists = lists.into_iter().flatten().filter_map(|list| {
                if let Value::Array(list) = list {
                    Some(list)
                } else {
                    None
                }
            });
            lists.flatten().collect()
        }
        other => vec![other],
    }
}

/// One stay as JSON. It has an end only if that is not after `now`, ms.
fn membership_json(member: &Membership, now: i64) -> Value {
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

/// One call as JSON. It has an end only if that is not after `now`, ms.
fn session_json(session: &Session, now: i64) -> Value {
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
        let want = derive_answer(array.as_bytes(), 5000, Rules::default()).unwrap();
        assert_eq!(want["sessions"][0]["users"], 1);
        assert_eq!(want["memberships"][0]["left_ms"], Value::Null);

        for text in [lines, messages, JOIN.to_owned()] {
            assert_eq!(
                derive_answer(text.as_bytes(), 5000, Rules::default()).unwrap(),
                want
            );
        }
    }

    #[test]
    fn what_the_server_reads_is_read_here_too() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for hostile in [r#""\ud800""#, "1e400", "\"\u{1}\"", deep.as_str()] {
            let bad = JOIN.replacen("$1", "$2", 1).replacen(
                "\"state_key\"",
                &format!("\"x\":{hostile},\"state_key\""),
                1,
            );
            let messages = format!(r#"{{"chunk":[{JOIN},{bad}]}}"#);
            assert_eq!(
                derive_answer(messages.as_bytes(), 5000, Rules::default()).unwrap()["sessions"][0]
                    ["users"],
                1,
                "{hostile}"
            );
        }

        assert!(
            parse_events(b"[{\"event_id\":")
                .unwrap_err()
                .to_string()
                .contains("EOF")
        );
    }

    #[test]
    fn what_is_no_event_is_listed() {
        let answer = derive_answer(br#"[5, {"event_id":"$x"}]"#, 0, Rules::default()).unwrap();
        assert_eq!(
            answer["rejected"],
            json!([{"event_id": null, "reason": "no_event_id"}, {"event_id": "$x",
                "reason": "no_type"}])
        );
        assert!(
            parse_events(b"nonsense")
                .unwrap_err()
                .to_string()
                .contains("/messages")
        );
        let refused = parse_events(br#"{"errcode":"M_FORBIDDEN","error":"not in the room"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            refused.ends_with("error of the homeserver: M_FORBIDDEN: not in the room"),
            "{refused}"
        );
        assert!(
            parse_events(b" \n")
                .unwrap_err()
                .to_string()
                .contains("nothing to read")
        );
    }
}
