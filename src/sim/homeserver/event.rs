//! One event as the simulated homeserver stores it, and as a client sees it.

use serde_json::{Map, Value, json};

/// Longest time an event may be sticky (MSC4354), in milliseconds.
const STICKY_MAX_MS: i64 = 3_600_000;

/// An event with what the server knows about it.
#[derive(Debug, Clone)]
pub(super) struct SimEvent {
    /// Position in the stream of the whole server, from 1.
    pub pos: u64,
    pub id: String,
    /// Event type; empty where a hostile event has none.
    pub kind: String,
    pub sender: String,
    pub state_key: Option<String>,
    /// The event in client format without `room_id`; hostile ones may be anything at all.
    pub raw: Value,
    /// When stickiness ends, in ms since the Unix epoch.
    pub sticky_until: Option<i64>,
    /// Index of the state event that this one replaced.
    pub replaces: Option<usize>,
    /// Index of the redaction that emptied this event.
    pub redacted_by: Option<usize>,
    /// In the state, but not in any timeline: only `/state` shows it.
    pub silent: bool,
}

impl SimEvent {
    /// An event as the server stores it, from client format. `received_ms` is the server's clock.
    pub fn new(raw: Value, id: String, pos: u64, received_ms: i64) -> Self {
        let text = |key: &str| raw.get(key).and_then(Value::as_str).map(str::to_owned);
        let ts = raw.get("origin_server_ts").and_then(Value::as_i64);
        let duration = raw
            .pointer("/msc4354_sticky/duration_ms")
            .and_then(Value::as_i64)
            .filter(|duration| *duration >= 0);
        // MSC4354: counted from the earlier of both clocks, so a future timestamp has no advantage.
        let start = ts.map_or(received_ms, |ts| ts.min(received_ms));

        Self {
            pos,
            id,
            kind: text("type").unwrap_or_default(),
            sender: text("sender").unwrap_or_default(),
            state_key: text("state_key"),
            sticky_until: duration.map(|ms| start.saturating_add(ms.min(STICKY_MAX_MS))),
            raw,
            replaces: None,
            redacted_by: None,
            silent: false,
        }
    }

    /// The content; null if a hostile event has none.
    pub fn content(&self) -> &Value {
        self.raw.get("content").unwrap_or(&Value::Null)
    }

    /// `content.key` as text.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.content().get(key).and_then(Value::as_str)
    }

    /// Is the event sticky at this time, ms?
    pub fn is_sticky_at(&self, now_ms: i64) -> bool {
        self.sticky_until.is_some_and(|until| until > now_ms)
    }

    /// Removes what a redaction removes; a redacted event is no longer sticky. `by` is the index of
    /// the redaction.
    pub fn prune(&mut self, by: usize) {
        self.redacted_by = Some(by);
        self.sticky_until = None;
        let kept = kept_fields(&self.kind);

        if let Some(event) = self.raw.as_object_mut() {
            event.remove("msc4354_sticky");
            if self.kind == "m.room.create" {
                return;
            }

            let content = event.get("content").and_then(Value::as_object);
            let rest: Map<String, Value> = content
                .into_iter()
                .flatten()
                .filter(|(key, _)| kept.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            event.insert("content".to_owned(), Value::Object(rest));
        }
    }

    /// The event without ids and times, as an invitation shows it.
    pub fn stripped(&self) -> Value {
        json!({"type": self.kind, "sender": self.sender,
               "state_key": self.state_key, "content": self.content()})
    }
}

/// The content keys that survive a redaction of this type (room version 11).
fn kept_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "m.room.member" => &["membership", "join_authorised_via_users_server"],
        "m.room.join_rules" => &["join_rule", "allow"],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "invite",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
        ],
        "m.room.redaction" => &["redacts"],
        _ => &[],
    }
}

/// The server part of a Matrix id; empty where there is none.
pub(super) fn server_of(user_id: &str) -> &str {
    user_id.split_once(':').map_or("", |(_, server)| server)
}
