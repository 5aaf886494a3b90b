//! Events that no honest client would send: the observer must show them and stay correct.

use serde_json::{Value, json};

use super::act::{Act, ActKind};
use super::{DAY_MS, MINUTE_MS};

const MEMBER: &str = "org.matrix.msc3401.call.member";
const MALLORY: &str = "@mallory:evil.example";

/// Malformed and hostile events of the last days. None of them leaves anybody in a call.
#[must_use]
pub fn hostile_acts(room: &str, now_ms: i64) -> Vec<Act> {
    let start = now_ms - 6 * DAY_MS;
    let join = ActKind::Member(MALLORY.to_owned(), "join");
    let mut acts = vec![Act::new(start - MINUTE_MS, room, MALLORY, join)];
    for (i, (key, content)) in malformed_contents().into_iter().enumerate() {
        let at_ms = start + i64::try_from(i).unwrap_or(0) * MINUTE_MS;
        acts.push(Act::new(
            at_ms,
            room,
            MALLORY,
            ActKind::State(MEMBER, key, content),
        ));
    }

    for (i, (key, content)) in dangerous_valid_contents().into_iter().enumerate() {
        let at_ms = start + DAY_MS + i64::try_from(i).unwrap_or(0) * 10 * MINUTE_MS;
        let state = |content| ActKind::State(MEMBER, key.to_owned(), content);
        acts.push(Act::new(at_ms, room, MALLORY, state(content)));
        acts.push(Act::new(
            at_ms + 4 * MINUTE_MS,
            room,
            MALLORY,
            state(json!({})),
        ));
    }

    for (i, raw) in raw_events(start + 2 * DAY_MS).into_iter().enumerate() {
        let at_ms = start + 2 * DAY_MS + i64::try_from(i).unwrap_or(0) * MINUTE_MS;
        acts.push(Act::new(at_ms, room, MALLORY, ActKind::Raw(raw)));
    }

    acts.extend(redacted_stay(room, start + 3 * DAY_MS));

    acts
}

/// A valid join in the format of today, which lasts ten minutes.
fn flat_content(device: &str, call_id: &str) -> Value {
    json!({"application": "m.call", "call_id": call_id, "scope": "m.room", "device_id": device,
           "expires": 600_000, "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
           "foci_preferred": []})
}

/// A join with one field replaced.
fn content_with_field(field: &str, value: Value) -> Value {
    let mut content = flat_content("MALFORMED", "");
    content[field] = value;
    content
}

/// Contents that are not a valid join, each with its state key.
fn malformed_contents() -> Vec<(String, Value)> {
    let contents = [
        content_with_field("application", json!(7)),
        content_with_field("call_id", json!({"id": ""})),
        content_with_field("device_id", Value::Null),
        content_with_field("focus_active", json!("livekit")),
        content_with_field(
            "foci_preferred",
            json!([{"livekit_service_url": "https://no.type.example"}]),
        ),
        content_with_field("created_ts", json!("yesterday")),
        json!({"memberships": [null, 1, "x", {"device_id": 3}, {}]}),
        json!({"m.calls": {"not": "a list"}}),
        json!({"application": {"type": "m.call"}, "session": []}),
        json!({"leave_reason": 12}),
    ];
    let keys = (0..).map(|n| format!("_{MALLORY}_MALFORMED{n}"));

    keys.zip(contents).collect()
}

/// Valid joins with dangerous content, which must be shown safely, each with its state key. Each is
/// left four minutes later.
fn dangerous_valid_contents() -> Vec<(&'static str, Value)> {
    let mut far = flat_content("FUTURE", "");
    far["created_ts"] = json!(9_007_199_254_740_991_i64);
    let mut endless = flat_content("ENDLESS", "");
    endless["expires"] = json!(1e308);
    let mut scripted = flat_content("SCRIPT", "");
    scripted["foci_preferred"] = json!([{"type": "livekit",
        "livekit_service_url": "javascript:alert(3)", "livekit_alias": "x"}]);

    vec![
        ("_markup", flat_content("<img src=x onerror=alert(1)>", "")),
        (
            "_markup_id",
            flat_content("MARKUP", "\"><script>alert(2)</script>"),
        ),
        (
            "_control",
            flat_content("\u{0}\u{7}\u{1b}[31mRED\u{202e}\u{feff}", ""),
        ),
        ("_long", flat_content(&"A".repeat(60_000), "")),
        ("_future", far),
        ("_endless", endless),
        ("_scripted", scripted),
        // The key of another user: in most rooms, anybody who may send the type may use it.
        (
            "_@bob:matrix.example.net_STOLEN_m.call",
            flat_content("STOLEN", ""),
        ),
    ]
}

/// Events with an invalid envelope, most of them with the time `at_ms`.
fn raw_events(at_ms: i64) -> Vec<Value> {
    let event = |ts: Value, key: Value, content: Value| {
        json!({"type": MEMBER, "sender": MALLORY, "origin_server_ts": ts, "state_key": key,
               "content": content})
    };

    let no_join = content_with_field("application", json!(false));

    vec![
        event(
            json!(at_ms),
            json!(["@mallory:evil.example", "DEV"]),
            no_join.clone(),
        ),
        event(json!(u64::MAX), json!("_huge_time"), no_join.clone()),
        event(json!(-1), json!("_before_time"), no_join.clone()),
        event(json!(1e300), json!("_float_time"), no_join.clone()),
        event(
            json!(8_640_000_000_000_000_i64),
            json!("_far_time"),
            no_join,
        ),
        event(json!(at_ms), json!("_text_content"), json!("content")),
        event(json!(at_ms), json!("_deep"), nested_content(100)),
        json!({"type": MEMBER, "sender": "no user id", "origin_server_ts": at_ms, "content": {},
               "state_key": "_no_sender"}),
        json!({"type": "org.matrix.msc4143.rtc.member", "sender": MALLORY,
            "origin_server_ts": at_ms,
               "content": {"slot_id": "a#b#c", "member": 1, "application": {"type": "m.call"}},
               "msc4354_sticky": {"duration_ms": "long"}}),
    ]
}

/// An object nested this many levels deep.
fn nested_content(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({"application": inner}))
}

/// A stay that ends by redaction two minutes later.
fn redacted_stay(room: &str, at_ms: i64) -> [Act; 2] {
    let key = format!("_{MALLORY}_REDACTED_m.call");
    let what = ActKind::State(MEMBER, key, flat_content("REDACTED", ""));
    let mut join = Act::new(at_ms, room, MALLORY, what);
    join.name = Some(u64::MAX);
    let mut redaction = Act::new(at_ms + 2 * MINUTE_MS, room, MALLORY, ActKind::Redaction);
    redaction.about = join.name;

    [join, redaction]
}
