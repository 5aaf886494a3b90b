//! Live following: events of a room are on the pages at once.

use crate::app::bed::{Bed, join, key, now};
use callscope::sim::NewRoom;
use serde_json::json;

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:other.example";

#[tokio::test]
async fn a_call_begins_grows_and_ends() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let app = bed.start().await;
    app.ready().await;
    let begin = now();
    let first = bed.joins(&room, ALICE, "AD", begin);
    bed.joins(&room, BOB, "BD", begin + 1);
    let calls = app
        .calls_until("two people", |calls| {
            calls.len() == 1 && calls[0]["people"] == 2
        })
        .await;
    let call = &calls[0];
    assert_eq!(call["slot_id"], "m.call#ROOM");
    assert_eq!(call["active"], true);
    assert_eq!(call["started_ms"], begin);
    assert_eq!(call["ended_ms"], json!(null));
    assert_eq!(call["intent"], "video");
    assert_eq!(call["servers"], json!(["other.example", "sim.example"]));
    assert_eq!(
        call["members"][0]["transport"],
        json!({"type": "livekit", "service_url": "https://sfu.example", "url": null,
            "sfu": "sfu.example"})
    );
    assert_eq!(
        app.json("/api/v1/calls/active").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let leave = bed.leaves(&room, ALICE, "AD", begin + 2);
    bed.leaves(&room, BOB, "BD", begin + 3);
    let calls = app
        .calls_until("the end", |calls| calls[0]["active"] == false)
        .await;
    assert_eq!(calls[0]["ended_ms"], begin + 3);
    assert_eq!(calls[0]["members"][0]["end_reason"], "left");
    for event in [first, leave] {
        let found = app
            .json(&format!(
                "/api/v1/calls/{}",
                crate::support::http::quote(&event)
            ))
            .await;
        assert_eq!(
            found["id"], calls[0]["id"],
            "the id of any member event leads to the call"
        );
    }

    app.app.stop().await;
}

#[tokio::test]
async fn a_sticky_member_is_counted_and_ciphertext_is_not() {
    let bed = Bed::new().await;
    let room = bed.room_like(
        NewRoom {
            encrypted: true,
            ..NewRoom::default()
        },
        &[ALICE, BOB],
    );
    let app = bed.start().await;
    app.ready().await;
    let content = json!({"slot_id": "m.call#ROOM", "application": {"type": "m.call"},
        "msc4354_sticky_key": "k",
        "member": {"id": "k", "user_id": ALICE, "device_id": "AD"}, "rtc_transports": [],
        "versions": []});
    bed.hs.send_sticky(
        &room,
        ALICE,
        "org.matrix.msc4143.rtc.member",
        content,
        3_600_000,
        now(),
    );
    let secret = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgC"});
    bed.hs
        .send_sticky(&room, BOB, "m.room.encrypted", secret, 3_600_000, now());
    app.calls_until("one person", |calls| {
        calls.len() == 1 && calls[0]["people"] == 1
    })
    .await;
    app.status_until("the ciphertext", |status| {
        status["totals"]["unreadable"] == 1
    })
    .await;
    assert_eq!(app.room(&room).await["unreadable"], 1);
    assert_eq!(app.calls().await[0]["members"][0]["kind"], "sticky");
    app.app.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped_and_misses_nothing() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let begin = now() - 10_000;
    bed.joins(&room, ALICE, "AD", begin);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    app.app.stop().await;
    // 300 calls of another device while the app is stopped: more than fit into one sync answer.
    for at in 0..300 {
        bed.joins(&room, ALICE, "PHONE", begin + 10 + 2 * at);
        bed.leaves(&room, ALICE, "PHONE", begin + 11 + 2 * at);
    }

    let syncs = bed.hs.count("/sync");
    let app = bed.start().await;
    let calls = app
        .calls_until("all stays", |calls| {
            calls[0]["members"].as_array().unwrap().len() == 301
        })
        .await;
    assert_eq!(calls.len(), 1);
    assert!(
        bed.hs.requests()[..]
            .iter()
            .filter(|(_, path)| path.contains("/sync") && !path.contains("since="))
            .count()
            <= 1
    );
    assert!(bed.hs.count("/sync") > syncs);
    app.app.stop().await;
}

#[tokio::test]
async fn an_idle_cycle_is_one_request_with_ten_rooms_as_with_a_thousand() {
    for rooms in [10, 1000] {
        let bed = Bed::new().await;
        for _ in 0..rooms {
            bed.room(&[]);
        }

        let app = bed
            .start_with(&[("POLL_SCHEDULE", "0 0 0 1 1 *"), ("BACKFILL", "false")])
            .await;
        app.ready().await;
        app.status_until("the first poll", |status| {
            status["vantages"][0]["last_poll_ms"].is_i64()
        })
        .await;
        // One change wakes the long poll: one answer, and one new request.
        let quiet = crate::app::bed::MEMBER;
        let before = bed.hs.requests().len();
        let room = bed.room(&[]);
        bed.hs
            .send_state(&room, ALICE, quiet, &key(ALICE, "AD"), join("AD"), now());
        app.calls_until("the change", |calls| calls.len() == 1)
            .await;
        crate::support::pause(300).await;
        let asked: Vec<_> = bed.hs.requests().split_off(before);
        assert!(
            asked.iter().all(|(_, path)| path.contains("/sync")),
            "{asked:?}"
        );
        assert!(asked.len() <= 4, "{rooms} rooms: {asked:?}");
        app.app.stop().await;
    }
}

#[tokio::test]
async fn a_call_in_a_room_that_the_bot_left_is_unknown() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("the call", |calls| calls.len() == 1).await;
    bed.hs.kick(&room, &bed.bot, ALICE, now());
    crate::support::eventually("the room is left", 30, async || {
        (app.room(&room).await["watch"] == "left").then_some(())
    })
    .await;
    let call = &app.calls().await[0];
    assert_eq!(
        call["ended_ms"],
        json!(null),
        "nothing is closed by our own leaving"
    );
    assert!(
        call["unknown_since_ms"].is_i64() && call["active"] == false,
        "and nothing is said to be live: {call}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn an_expiry_is_announced_though_nothing_is_written() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let mut content = join("AD");
    content["expires"] = json!(2500);
    bed.hs.send_state(
        &room,
        ALICE,
        crate::app::bed::MEMBER,
        &key(ALICE, "AD"),
        content,
        now(),
    );
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let mut stream = reqwest::get(format!("{}/api/v1/live", app.http.base))
        .await
        .unwrap();
    let mut heard = String::new();
    let listen = async {
        while !heard.contains("slot_id") {
            heard.push_str(&String::from_utf8_lossy(
                &stream.chunk().await.unwrap().unwrap(),
            ));
        }
    };

    tokio::time::timeout(std::time::Duration::from_mins(1), listen)
        .await
        .expect("the end is announced");
    let calls = app.calls().await;
    assert_eq!(calls[0]["active"], false);
    assert_eq!(calls[0]["members"][0]["end_reason"], "expired");
    app.app.stop().await;
}
