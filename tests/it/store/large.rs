//! A large call is updated by what changed. The result is the same as if it were counted again.

use crate::store::*;

const FIRST: i64 = 1_700_000_000_000;

/// An action of a device.
#[derive(Debug, Clone)]
struct Act {
    user: usize,
    device: usize,
    /// It joins or continues for this many minutes; 0 = it leaves.
    minutes: i64,
    /// Time since the previous act, seconds.
    pause: i64,
}

fn act() -> impl Strategy<Value = Act> {
    (0..8_usize, 0..2_usize, 0..12_i64, 0..60_i64).prop_map(|(user, device, minutes, pause)| Act {
        user,
        device,
        minutes,
        pause,
    })
}

/// The events of these acts. The first device keeps the call open all the time.
fn events(acts: &[Act]) -> Vec<Value> {
    let mut events = vec![event(0, "@u0:h0", 9, FIRST, 600)];
    let mut at_ms = FIRST;

    for (number, act) in acts.iter().enumerate() {
        at_ms += act.pause * 1000;
        let user = format!("@u{}:h{}", act.user, act.user % 3);
        events.push(event(number + 1, &user, act.device, at_ms, act.minutes));
    }

    events
}

fn event(number: usize, user: &str, device: usize, at_ms: i64, minutes: i64) -> Value {
    let content = if minutes == 0 {
        json!({})
    } else {
        json!({
            "application": "m.call",
            "call_id": "",
            "device_id": format!("D{device}"),
            "expires": minutes * 60_000,
            "m.call.intent": if device == 0 { "audio" } else { "video" },
            "focus_active": { "type": "livekit", "focus_selection": "oldest_membership" },
            "foci_preferred": [],
        })
    };

    json!({
        "type": "org.matrix.msc3401.call.member",
        "event_id": format!("$e{number}"),
        "sender": user,
        "state_key": format!("_{user}_D{device}_m.call"),
        "origin_server_ts": at_ms,
        "_received_ts": at_ms,
        "content": content,
    })
}

proptest! {
    #![proptest_config(generate::config(60))]

    #[test]
    fn a_large_call_is_updated_as_it_would_be_counted(
        acts in prop::collection::vec(act(), 1..60),
        late in prop::collection::vec((0..60_usize, 0..60_usize), 0..4),
        sizes in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let mut came = events(&acts);
        for (from, to) in late {
            let (from, to) = (from % came.len(), to % came.len());
            let event = came.remove(from);
            came.insert(to, event);
        }

        let events = arrivals(&came).into_iter().map(|a| (*a.event).clone());
        let want = derived(&rtc::derive(ROOM, events, &Rules::default()));
        let got = block(async {
            let (store, place) = open().await;
            let tuning = Tuning {
                tally: 2,
                ..Tuning::default()
            };
            let store = store.with_tuning(tuning);
            write_all(&store, arrivals(&came), &sizes).await;
            let got = stored(&store).await;
            done(store, place).await;
            got
        });

        prop_assert_eq!(got, want);
    }
}

/// A sticky event of a device; it has a name where it says so.
fn sticky(number: usize, user: &str, key: &str, device: Option<&str>, at_ms: i64) -> Value {
    let mut member = json!({ "id": key, "user_id": user });
    if let Some(device) = device {
        member["device_id"] = device.into();
    }

    json!({
        "type": "org.matrix.msc4143.rtc.member",
        "event_id": format!("$s{number}"),
        "sender": user,
        "origin_server_ts": at_ms,
        "_received_ts": at_ms,
        "msc4354_sticky": { "duration_ms": 3_600_000 },
        "content": {
            "application": { "type": "m.call" },
            "member": member,
            "msc4354_sticky_key": key,
            "rtc_transports": [],
            "slot_id": "m.call#ROOM",
            "versions": [],
        },
    })
}

/// A renewal names the device of a stay: two devices of one user are one.
#[test]
fn a_device_that_is_named_later_is_counted_once() {
    let minute = |number: i64| FIRST + number * 60_000;
    let came = vec![
        event(0, "@u0:h0", 9, FIRST, 600),
        event(1, "@u1:h1", 1, minute(1), 600),
        sticky(2, "@u1:h1", "k", None, minute(2)),
        event(3, "@u2:h2", 2, minute(3), 600),
        sticky(4, "@u1:h1", "k", Some("D1"), minute(4)),
        event(5, "@u3:h0", 3, minute(5), 600),
        event(6, "@u4:h1", 4, minute(6), 600),
    ];

    block(async {
        let (store, place) = open().await;
        let tuning = Tuning {
            tally: 2,
            ..Tuning::default()
        };
        let store = store.with_tuning(tuning);
        write_all(&store, arrivals(&came), &[1]).await;
        let events = arrivals(&came)
            .into_iter()
            .map(|arrival| (*arrival.event).clone());
        let want = derived(&rtc::derive(ROOM, events, &Rules::default()));

        assert_eq!(stored(&store).await, want);
        done(store, place).await;
    });
}
