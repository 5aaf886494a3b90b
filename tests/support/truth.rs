//! What really happened in a room, to compare with the program's result.

use super::now_ms;
use super::sdk::{DELAY_MS, Device, RESTART_MS};
use serde_json::{Value, json};

/// Maximum difference between a time of the program and the true one, ms.
const TOLERANCE_MS: i64 = 1000;

/// Start and end of something, by the script's own clock (ms since the epoch).
type Span = (i64, i64);

/// One stay of one device in a call, as the script made it.
#[derive(Debug, Clone)]
pub struct Stay {
    pub user: String,
    pub device: String,
    pub kind: String,
    pub join_event: String,
    pub joined: Span,
    pub left: Option<Span>,
}

/// Performs actions with devices in one room and records them.
#[derive(Debug)]
pub struct Script {
    pub room: String,
    pub stays: Vec<Stay>,
}

impl Script {
    pub fn new(room: &str) -> Self {
        Self {
            room: room.to_owned(),
            stays: Vec::new(),
        }
    }

    pub async fn join(&mut self, device: &mut Device, options: Value) {
        let from = now_ms();
        let seen = device.join_with(&self.room, options).await;
        let text = |key: &str| seen[key].as_str().unwrap().to_owned();
        self.stays.push(Stay {
            user: text("user_id"),
            device: text("device_id"),
            kind: text("kind"),
            join_event: text("event_id"),
            joined: (from, now_ms()),
            left: None,
        });
    }

    pub async fn leave(&mut self, device: &mut Device) {
        let from = now_ms();
        device.leave(&self.room).await;
        self.end(device, (from, now_ms()));
    }

    /// The device is killed; the homeserver sends its leave `DELAY_MS` after its last sign of life.
    pub fn crash(&mut self, device: Device) {
        let at = now_ms() + DELAY_MS;
        self.end(&device, (at - RESTART_MS, at));
        device.crash();
    }

    fn end(&mut self, device: &Device, left: Span) {
        let of = &device.account;
        let open = self
            .stays
            .iter_mut()
            .find(|s| s.left.is_none() && s.user == of.user_id && s.device == of.device_id);
        open.expect("the device was in the call").left = Some(left);
    }

    /// How many devices are in the call now.
    pub fn present(&self) -> usize {
        self.stays.iter().filter(|s| s.left.is_none()).count()
    }

    /// Whether `members` has as many stays and as many of them open as there were.
    pub fn same_count(&self, members: &[Value]) -> bool {
        let open = members.iter().filter(|m| m["left_ms"].is_null()).count();
        members.len() == self.stays.len() && open == self.present()
    }

    /// Compares the program's result with the script, and with the homeserver's own events.
    pub fn check(&self, members: &[Value], events: &[Value]) {
        assert_eq!(members.len(), self.stays.len(), "{members:#?}");
        let mut unmatched: Vec<&Value> = members.iter().collect();

        for stay in &self.stays {
            let (joined, left) = times(stay, events);
            let of = unmatched.iter().enumerate().filter(|(_, m)| {
                m["user_id"] == stay.user.as_str()
                    && m["device_id"] == stay.device.as_str()
                    && m["kind"] == stay.kind.as_str()
            });
            // A device may be back within the tolerance: take the nearest stay, and each only once.
            let nearest =
                of.min_by_key(|(_, m)| m["joined_ms"].as_i64().map(|t| (t - joined).abs()));
            let (at, _) = nearest.unwrap_or_else(|| panic!("not shown: {stay:?} in {members:#?}"));
            let found = unmatched.remove(at);
            let shown = found["joined_ms"].as_i64().unwrap();
            assert!(
                near(shown, (joined, joined)),
                "{stay:?} joined at {joined}: {found}"
            );
            assert!(near(joined, stay.joined), "{stay:?} joined at {joined}");
            let says = found["left_ms"].as_i64();
            assert_eq!(says.is_some(), left.is_some(), "{stay:?}: {found}");
            let Some(left) = left else { continue };
            assert!(near(says.unwrap(), (left, left)), "{left}: {found}");
            assert!(near(left, stay.left.unwrap()), "{stay:?} left at {left}");
        }
    }
}

fn near(time: i64, span: Span) -> bool {
    (span.0 - TOLERANCE_MS..=span.1 + TOLERANCE_MS).contains(&time)
}

/// When a stay began and ended, by the events of the homeserver.
fn times(stay: &Stay, events: &[Value]) -> (i64, Option<i64>) {
    let at = events
        .iter()
        .position(|e| e["event_id"] == stay.join_event.as_str())
        .unwrap_or_else(|| panic!("the homeserver does not have the join of {stay:?}"));
    let time = |e: &Value| e["origin_server_ts"].as_i64().unwrap();
    let end = events[at + 1..].iter().find(|e| {
        member_key(e) == member_key(&events[at]) && e["content"].get("application").is_none()
    });

    (time(&events[at]), end.map(time))
}

/// The fields that a later event must share with an earlier one to replace it.
fn member_key(event: &Value) -> [&Value; 3] {
    match event.get("state_key") {
        Some(key) => [&event["type"], &Value::Null, key],
        None => [
            &event["type"],
            &event["sender"],
            &event["content"]["msc4354_sticky_key"],
        ],
    }
}

/// The stays in a list of calls, each with the `slot_id` of its call.
pub fn members(calls: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for call in calls {
        for member in call["members"].as_array().expect("members") {
            let mut member = member.clone();
            member["slot_id"] = call["slot_id"].clone();
            all.push(member);
        }
    }

    all
}

/// Memberships of the API or of `callscope derive` in a form that can be compared: one line each,
/// sorted.
pub fn plain(memberships: &[Value]) -> Vec<String> {
    const FACTS: [&str; 8] = [
        "slot_id",
        "user_id",
        "device_id",
        "kind",
        "joined_ms",
        "left_ms",
        "end_reason",
        "updates",
    ];
    let mut lines: Vec<String> = memberships
        .iter()
        // A stay without length is in no call.
        .filter(|m| m["joined_ms"] != m["left_ms"])
        .map(|m| json!(FACTS.map(|fact| m[fact].clone())).to_string())
        .collect();
    lines.sort();

    lines
}
