//! Random rooms: a small world of users, devices, slots and times, so that events collide often.

pub mod ordinary;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

/// The number of cases. They are the same on every run, so that a failure is caused by the change.
/// `EXPLORE=N` runs N times as many with a new seed, to search for unknown failures.
pub fn config(cases: u32) -> ProptestConfig {
    let explore: Option<u32> = std::env::var("EXPLORE")
        .ok()
        .and_then(|times| times.parse().ok());
    let rng_seed = if explore.is_some() {
        RngSeed::Random
    } else {
        RngSeed::Fixed(4143)
    };

    let cases = cases * explore.unwrap_or(1);
    // Creating a database on a server takes longer than a file; a third of the cases still runs all
    // statements.
    let cases = match std::env::var_os("TEST_POSTGRES_URL") {
        Some(_) => cases.div_ceil(3),
        None => cases,
    };

    ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

const T0: i64 = 1_700_000_000_000;
/// The step of the clock, ms. A hundred steps are longer than the four hours after which a stay
/// without a stated end expires. One step is longer than a minute, within which two timestamps mean
/// the same join.
pub const UNIT: i64 = 240_000;

/// A time in steps, sometimes with a small offset: just within and just beyond the tolerance for
/// the same join.
fn stamp() -> impl Strategy<Value = i64> {
    let off = prop::sample::select(vec![0, 0, 0, 1, -1, 60_000, -60_000, 60_001, -60_001]);
    (0..100_i64, off).prop_map(|(at, off)| at * UNIT + off)
}

/// The stated lifetime of a join: a length, a time, or an invalid value.
fn expires() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        3 => Just(None),
        4 => (-5..60_i64).prop_map(|steps| Some(json!(steps * UNIT))),
        2 => (0..130_i64).prop_map(|at| Some(json!(T0 + at * UNIT))),
        1 => Just(Some(json!("3600000"))),
    ]
}

fn flat(
    user: usize,
    device: usize,
    call: &str,
    created: Option<i64>,
    expires: Option<Value>,
) -> Value {
    let mut content = json!({
        "application": "m.call", "call_id": call, "scope": "m.room",
        "device_id": format!("D{device}"),
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": [{"type": "livekit",
        "livekit_service_url": format!("https://sfu{user}.example")}],
    });
    if let Some(created) = created {
        content["created_ts"] = json!(T0 + created);
    }

    if let Some(expires) = expires {
        content["expires"] = expires;
    }

    let key = format!("_@u{user}:h{user}_D{device}_m.call");

    json!({"type": "org.matrix.msc3401.call.member", "state_key": key, "content": content})
}

fn state_member(user: usize, device: usize) -> BoxedStrategy<Value> {
    let key = format!("_@u{user}:h{user}_D{device}_m.call");
    let leave = json!({"type": "org.matrix.msc3401.call.member", "state_key": key, "content": {}});
    let broken = json!({"type": "org.matrix.msc3401.call.member", "state_key": key,
        "content": {"application": 1}});
    let join = (
        prop_oneof![Just(""), Just("x")],
        prop::option::of(stamp()),
        expires(),
    );

    prop_oneof![
        4 => join.prop_map(move |(call, created, expires)| flat(user, device, call, created, expires)),
        2 => Just(leave),
        1 => Just(broken),
    ]
    .boxed()
}

fn legacy(user: usize) -> BoxedStrategy<Value> {
    let id = prop::option::of(0..2_u8);
    let item = (0..3_usize, prop::option::of(stamp()), 1..60_i64, id).prop_map(|(device, created, expires, id)| {
        let mut item =
            json!({"application": "m.call", "call_id": "", "device_id": format!("L{device}"),
                "expires": expires * UNIT});
        if let Some(created) = created {
            item["created_ts"] = json!(T0 + created);
        }

        if let Some(id) = id {
            item["membershipID"] = json!(format!("m{id}"));
        }

        item
    });
    let items = prop::collection::vec(item, 0..3);

    items
        .prop_map(move |items| {
            json!({"type": "org.matrix.msc3401.call.member",
                "state_key": format!("@u{user}:h{user}"),
                "content": {"memberships": items}})
        })
        .boxed()
}

fn sticky(user: usize) -> BoxedStrategy<Value> {
    let kind = "org.matrix.msc4143.rtc.member";
    // One key is used by two devices now and then, and some events name none.
    let device = prop::sample::select(vec![Some("D0"), Some("D1"), None]);
    let join = (0..2_usize, 1..20_i64, device).prop_map(move |(key, duration, device)| {
        let mut event = json!({"type": kind, "msc4354_sticky": {"duration_ms": duration * UNIT},
            "content": {
            "slot_id": "m.call#ROOM", "application": {"type": "m.call"},
            "msc4354_sticky_key": format!("k{key}"),
            "member": {"id": format!("k{key}"), "user_id": format!("@u{user}:h{user}")},
            "rtc_transports": [], "versions": []}});
        if let Some(device) = device {
            event["content"]["member"]["device_id"] = json!(device);
        }

        event
    });
    let leave = (0..2_usize, 1..20_i64).prop_map(move |(key, duration)| {
        json!({"type": kind, "msc4354_sticky": {"duration_ms": duration * UNIT},
            "content": {"msc4354_sticky_key": format!("k{key}")}})
    });

    prop_oneof![3 => join, 1 => leave].boxed()
}

fn body(user: usize) -> BoxedStrategy<Value> {
    let presence = prop_oneof![Just("join"), Just("leave"), Just("ban")].prop_map(move |word| {
        json!({"type": "m.room.member", "state_key": format!("@u{user}:h{user}"),
            "content": {"membership": word}})
    });
    let slot = prop_oneof![Just("open"), Just("closed")].prop_map(|word| {
        json!({"type": "org.matrix.msc4143.rtc.slot", "state_key": "m.call#ROOM",
            "content": {"status": word, "application": {"type": "m.call"}}})
    });
    let redaction = (0..40_usize).prop_map(|target| {
        json!({"type": "m.room.redaction", "redacts": format!("$e{target}"),
            "content": {}})
    });

    prop_oneof![
        8 => (0..2_usize).prop_flat_map(move |device| state_member(user, device)),
        4 => sticky(user),
        2 => legacy(user),
        2 => presence,
        1 => slot,
        1 => redaction,
    ]
    .boxed()
}

/// The events of one room, in arbitrary order.
pub fn room() -> impl Strategy<Value = Vec<Value>> {
    // One clock in twelve is wrong by hours: such an event is timed by its neighbours.
    let odd = (-2..3_i64).prop_map(|off| off * 30_000_000 + 50 * UNIT);
    let time = prop_oneof![11 => stamp(), 1 => odd];
    let event = (
        0..3_usize,
        time,
        prop::option::of(stamp()),
        0..40_usize,
        0..20_u8,
    );
    let event = event.prop_flat_map(|(user, time, received, replaces, chance)| {
        body(user).prop_map(move |mut event| {
            // One in twenty events is sent by another user than the key's owner.
            let sender = if chance == 0 { (user + 1) % 3 } else { user };
            event["sender"] = json!(format!("@u{sender}:h{sender}"));
            event["origin_server_ts"] = json!(T0 + time);
            if let Some(received) = received {
                event["_received_ts"] = json!(T0 + received);
            }

            // A redaction's key in another event, where it means nothing.
            if chance == 9 && event.get("redacts").is_none() {
                event["redacts"] = json!(format!("$e{replaces}"));
            }

            if chance < 8 && event.get("state_key").is_some() {
                event["unsigned"] = json!({"replaces_state": format!("$e{replaces}")});
            }

            event
        })
    });

    prop::collection::vec(event, 1..40).prop_map(|mut events| {
        for (at, event) in events.iter_mut().enumerate() {
            event["event_id"] = json!(format!("$e{at}"));
        }

        events
    })
}
