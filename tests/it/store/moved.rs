//! A stay whose beginning turns out to be at another time belongs only to the call that was running
//! then.

use crate::store::*;

/// Events of one room, in the order in which they came: of a user whose earlier join comes last.
fn came() -> Vec<Value> {
    let is = |membership: &str, id: &str, at_ms: i64| {
        json!({
            "type": "m.room.member",
            "sender": "@u2:h2",
            "state_key": "@u2:h2",
            "event_id": id,
            "origin_server_ts": at_ms,
            "content": { "membership": membership },
        })
    };

    let long_stay = json!({
        "type": "org.matrix.msc3401.call.member",
        "sender": "@u0:h0",
        "state_key": "@u0:h0",
        "event_id": "$long",
        "origin_server_ts": 1_700_007_200_001_i64,
        "content": { "memberships": [{
            "application": "m.call",
            "call_id": "",
            "created_ts": 1_700_004_559_999_i64,
            "device_id": "L2",
            "expires": 6_720_000,
        }] },
    });

    let moving_stay = json!({
        "type": "org.matrix.msc4143.rtc.member",
        "sender": "@u2:h2",
        "event_id": "$moving",
        "origin_server_ts": 1_700_006_960_000_i64,
        "_received_ts": 1_700_018_480_000_i64,
        "msc4354_sticky": { "duration_ms": 240_000 },
        "content": {
            "application": { "type": "m.call" },
            "member": { "id": "k0", "user_id": "@u2:h2" },
            "msc4354_sticky_key": "k0",
            "rtc_transports": [],
            "slot_id": "m.call#ROOM",
            "versions": [],
        },
    });

    vec![
        is("join", "$joined_again", 1_700_013_199_999),
        long_stay,
        moving_stay,
        is("ban", "$banned", 1_700_072_000_000),
        is("join", "$joined", 1_700_004_860_001),
    ]
}

#[test]
fn a_stay_that_moves_is_counted_where_it_is_now() {
    let came = came();

    block(async {
        let (store, place) = open().await;
        write_all(&store, arrivals(&came), &[1]).await;
        let events = arrivals(&came)
            .into_iter()
            .map(|arrival| (*arrival.event).clone());
        let want = derived(&rtc::derive(ROOM, events, &Rules::default()));

        assert_eq!(stored(&store).await, want);
        done(store, place).await;
    });
}
