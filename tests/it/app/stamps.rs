//! Impossible timestamps: bounded by other knowledge, never exact, and in no sum.

use crate::app::bed::{Bed, MEMBER, join, key, now};
use crate::support::http::quote;
use callscope::sim::NewRoom;
use serde_json::json;

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A stay that begins with this timestamp and ends now, in a room that is two years old; its
/// members joined three days ago.
async fn stamped(stamp: i64, others_between: bool) {
    let bed = Bed::new().await;
    let now = now();
    let room = bed.hs.create_room(NewRoom {
        name: Some("A room".into()),
        ts: now - 730 * DAY,
        ..NewRoom::default()
    });
    let came = now - 3 * DAY;
    for user in [bed.bot.as_str(), ALICE, BOB] {
        bed.hs.join_user(&room, user, came);
    }

    let mut earliest = came;
    if others_between {
        // New names; each is an event.
        for hour in 1..6 {
            let named = json!({"membership": "join", "displayname": format!("Bob {hour}")});
            let at = now - 10 * HOUR + hour * HOUR;
            bed.hs
                .send_state(&room, BOB, "m.room.member", BOB, named, at);
        }

        earliest = now - 9 * HOUR;
    }

    let mut content = join("AD");
    content["expires"] = (now + DAY).into();
    bed.hs
        .send_state(&room, ALICE, MEMBER, &key(ALICE, "AD"), content, stamp);
    bed.leaves(&room, ALICE, "AD", now - HOUR);
    // So many events follow that it is read from history.
    for count in 0..150 {
        let named = json!({"membership": "join", "displayname": format!("Bob {count} times")});
        let at = now - HOUR / 2 + count;
        bed.hs
            .send_state(&room, BOB, "m.room.member", BOB, named, at);
    }

    let app = bed.start().await;
    app.once_read(&room).await;
    let calls = app
        .calls_until("the call", |calls| {
            let of_alice = |call: &serde_json::Value| call["members"][0]["user_id"] == ALICE;
            calls.iter().any(of_alice)
        })
        .await;
    let call = calls
        .iter()
        .find(|call| call["members"][0]["user_id"] == ALICE)
        .unwrap();
    let started = call["started_ms"].as_i64().unwrap();
    assert!(
        (earliest..=now - HOUR).contains(&started),
        "{started} of {earliest}: {call}"
    );
    assert_ne!(call["certainty"]["verdict"], "exact");
    let statistics = app.json("/api/v1/statistics").await;
    assert_eq!(
        statistics["this"]["together_ms"], 0,
        "{}",
        statistics["this"]
    );
    let path = format!("/api/v1/rooms/{}", quote(&room));
    assert_eq!(app.json(&path).await["last_30_days"]["together_ms"], 0);
    let longest = app.json("/api/v1/overview").await["today"]["longest_ms"].clone();
    assert_eq!(longest, 0);
    app.app.stop().await;
}

#[tokio::test]
async fn a_stamp_of_1970_is_bounded_by_the_users_own_join() {
    stamped(5, false).await;
}

#[tokio::test]
async fn a_stamp_of_1970_is_bounded_by_what_stands_beside_it() {
    stamped(5, true).await;
}
