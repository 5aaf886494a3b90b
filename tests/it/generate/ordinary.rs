//! Rooms of ordinary clients: they join, renew every hour with the timestamp of their join, leave
//! or crash, and come back. Each homeserver's clock is wrong by up to a minute. Each room comes
//! with what really happened.

use proptest::prelude::*;
use serde_json::{Value, json};

const T0: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The lifetime that a client states, also with each renewal.
const EXPIRES: i64 = 4 * HOUR;

/// The time between renewals: a little less than an hour.
const RENEWED: i64 = HOUR - 5 * SECOND;

/// Maximum error of homeservers' clocks.
const SKEW: i64 = MINUTE;

/// A silence of this length is recognised with any two clocks.
const APART: i64 = 2 * SKEW + 10 * SECOND;

/// A real stay, by the true clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub user: String,
    pub device: String,
    pub joined: i64,
    pub left: i64,
    pub end: End,
    pub renewals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client or its homeserver said goodbye.
    Said,
    /// Nobody did: it expired.
    RanOut,
}

/// How events came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Live,
    History,
    /// A mixture of both.
    Mixed,
}

/// A room and what really happened in it.
#[derive(Debug, Clone)]
pub struct Told {
    pub events: Vec<Value>,
    pub stays: Vec<Stay>,
}

/// One stay of a client's script.
#[derive(Debug, Clone)]
struct Plan {
    pause: i64,
    length: i64,
    crashes: bool,
    latencies: Vec<i64>,
    live: Vec<bool>,
}

/// Rooms whose events came in this way.
pub fn room(arrival: Arrival) -> impl Strategy<Value = Told> {
    // Between two events of a client that came in different ways, clock errors must not matter.
    let least = match arrival {
        Arrival::Live | Arrival::History => 5 * SECOND,
        Arrival::Mixed => APART,
    };

    let plan = (
        prop_oneof![least..10 * MINUTE, HOUR..9 * HOUR],
        prop_oneof![2 => least..20 * MINUTE, 1 => HOUR..10 * HOUR],
        prop::bool::weighted(0.2),
        prop::collection::vec(0..2 * SECOND, 16),
        prop::collection::vec(any::<bool>(), 16),
    );
    let plan = plan.prop_map(|(pause, length, crashes, latencies, live)| Plan {
        pause,
        length,
        crashes,
        latencies,
        live,
    });
    let device = prop::collection::vec(plan, 1..5);
    let skews = prop::collection::vec(-SKEW..=SKEW, 3);
    let devices = prop::collection::vec((0..3_usize, device), 1..5);

    (skews, devices).prop_map(move |(skews, devices)| {
        let mut told = Told {
            events: Vec::new(),
            stays: Vec::new(),
        };

        for (number, (server, plans)) in devices.into_iter().enumerate() {
            let user = format!("@u{number}:h{server}");
            let client = Client {
                user,
                device: format!("D{number}"),
                skew: skews[server],
                arrival,
            };

            client.play(&plans, &mut told);
        }

        told
    })
}

struct Client {
    user: String,
    device: String,
    /// How far its homeserver's clock is ahead.
    skew: i64,
    arrival: Arrival,
}

/// When an event happened by the true clock, and how it came.
struct Sent {
    at: i64,
    latency: i64,
    is_live: bool,
}

impl Client {
    fn play(&self, plans: &[Plan], told: &mut Told) {
        let mut at = T0;
        let mut last: Option<String> = None;

        for plan in plans {
            at += plan.pause;
            let joined = at;
            let stamp = joined + self.skew;
            let mut sent = 0;
            self.send(
                &self.join(None, 1),
                &self.sent(plan, sent, joined),
                &mut last,
                told,
            );

            let mut renewals = 0;
            while RENEWED + i64::from(renewals) * HOUR < plan.length {
                sent += 1;
                renewals += 1;
                let when = joined + RENEWED + (i64::from(renewals) - 1) * HOUR;
                let content = self.join(Some(stamp), i64::from(renewals) + 1);
                self.send(&content, &self.sent(plan, sent, when), &mut last, told);
            }

            let (left, end) = if plan.crashes {
                (joined + (i64::from(renewals) + 1) * EXPIRES, End::RanOut)
            } else {
                let left = self.left(plan, joined, renewals);
                self.send(
                    &json!({}),
                    &self.sent(plan, sent + 1, left),
                    &mut last,
                    told,
                );
                (left, End::Said)
            };

            told.stays.push(Stay {
                user: self.user.clone(),
                device: self.device.clone(),
                joined,
                left,
                end,
                renewals,
            });
            // Others cannot know when a membership expires that depends on its own server's clock.
            at = left + if plan.crashes { APART } else { 0 };
        }
    }

    /// When it leaves: not so soon after a renewal that different ways of arrival could reverse
    /// their order.
    fn left(&self, plan: &Plan, joined: i64, renewals: u32) -> i64 {
        let left = joined + plan.length;
        if renewals == 0 {
            return left;
        }

        let renewed = joined + RENEWED + (i64::from(renewals) - 1) * HOUR;
        let least = match self.arrival {
            Arrival::Mixed => APART,
            Arrival::Live | Arrival::History => 5 * SECOND,
        };

        left.max(renewed + least)
    }

    fn sent(&self, plan: &Plan, number: usize, at: i64) -> Sent {
        let place = number % plan.live.len();
        let is_live = match self.arrival {
            Arrival::Live => true,
            Arrival::History => false,
            Arrival::Mixed => plan.live[place],
        };

        Sent {
            at,
            latency: plan.latencies[place],
            is_live,
        }
    }

    fn join(&self, created: Option<i64>, terms: i64) -> Value {
        let mut content = json!({
            "application": "m.call", "call_id": "", "scope": "m.room", "device_id": self.device,
            "expires": terms * EXPIRES,
            "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
            "foci_preferred": [],
        });
        if let Some(created) = created {
            content["created_ts"] = json!(created);
        }

        content
    }

    fn send(&self, content: &Value, sent: &Sent, last: &mut Option<String>, told: &mut Told) {
        let event_id = format!("$e{}", told.events.len());
        let mut event = json!({
            "event_id": event_id, "type": "org.matrix.msc3401.call.member", "sender": self.user,
            "state_key": format!("_{}_{}_m.call", self.user, self.device),
            "origin_server_ts": sent.at + self.skew, "content": content,
        });
        if let Some(last) = last.replace(event_id) {
            event["unsigned"] = json!({"replaces_state": last});
        }

        if sent.is_live {
            event["_received_ts"] = json!(sent.at + sent.latency);
        }

        told.events.push(event);
    }
}
