//! Vectors: events in, memberships and sessions out. docs/matrixrtc.md section 17 explains their
//! format.

use callscope::rtc::{
    self, event::RoomEvent, fold::Rules, membership::Membership, session::Session,
};
use serde_json::{Value, json};

fn vectors() -> Vec<Value> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("tests/vectors").unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        all.extend(file["vectors"].as_array().unwrap().clone());
    }

    all
}

fn membership(member: &Membership, now: i64) -> Value {
    let left = member.until_ms <= now;
    let mut out = json!({
        "user": member.user_id, "device": member.device_id, "slot": member.slot.as_str(),
        "kind": member.format.as_str(),
        "joined_at": member.joined_ms, "left_at": left.then_some(member.until_ms),
        "end_reason": left.then_some(member.end_reason.as_str()), "updates": member.updates,
        "join_event": member.join_event_id,
    });
    if member.resumed {
        out["resumed"] = json!(true);
    }

    out
}

fn session(session: &Session, now: i64) -> Value {
    json!({
        "slot": session.slot_id, "started_at": session.started_ms,
        "ended_at": (session.until_ms <= now).then_some(session.until_ms),
        "memberships": session.memberships, "users": session.users, "peak": session.peak,
    })
}

fn evaluate(vector: &Value) -> Value {
    let mut rules = Rules::default();
    if let Some(policy) = vector
        .pointer("/config/slot_policy")
        .and_then(Value::as_str)
    {
        rules.slot_policy = policy.parse().unwrap();
    }

    let now = vector["now"].as_i64().unwrap();
    let events = vector["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| RoomEvent::from_recorded(event).unwrap());
    let derived = rtc::derive("!r:a.example", events, &rules);

    json!({
        "memberships": derived.memberships.iter().map(|m| membership(m, now)).collect::<Vec<_>>(),
        "sessions": derived.sessions.iter().map(|s| session(s, now)).collect::<Vec<_>>(),
        "ignored": derived.rejected.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
    })
}

#[test]
fn every_vector_holds() {
    let vectors = vectors();
    let mut wrong = Vec::new();
    for vector in &vectors {
        let got = evaluate(vector);
        if got != vector["expected"] {
            wrong.push(format!(
                "{} {}\n  want {}\n  got  {got}",
                vector["id"], vector["title"], vector["expected"]
            ));
        }
    }

    assert!(
        vectors.len() >= 51,
        "only {} vectors were read",
        vectors.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {} vectors fail:\n{}",
        wrong.len(),
        vectors.len(),
        wrong.join("\n")
    );
}
