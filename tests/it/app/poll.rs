//! Polls: without any long poll, and as a repair of what sync missed; rooms read without joining.

use crate::app::bed::{Bed, MEMBER, join, key, now};
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";
const OFTEN: (&str, &str) = ("POLL_SCHEDULE", "* * * * * *");

#[tokio::test]
async fn polls_alone_are_enough() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[("MODE", "poll"), OFTEN]).await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("the call", |calls| {
        calls.len() == 1 && calls[0]["active"] == true
    })
    .await;
    bed.leaves(&room, ALICE, "AD", now());
    app.calls_until("its end", |calls| calls[0]["active"] == false)
        .await;
    let asked = bed.hs.requests();
    let syncs = asked.iter().filter(|(_, path)| path.contains("/sync"));
    for (_, path) in syncs {
        assert!(
            path.contains("timeout=0") && !path.contains("since="),
            "no long poll at all, only the question which invitations are open: {path}"
        );
    }

    let snapshots = app.json("/api/v1/status").await["totals"]["snapshots"]
        .as_i64()
        .unwrap();
    assert!(
        (2..=3).contains(&snapshots),
        "a snapshot for each change of the set: {snapshots}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn what_sync_missed_is_found_and_repaired() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    bed.hs
        .set_state_silently(&room, ALICE, MEMBER, &key(ALICE, "AD"), join("AD"), now());
    app.calls_until("a join that only the state shows", |calls| {
        calls.len() == 1 && calls[0]["active"] == true
    })
    .await;
    bed.hs.drop_state_silently(&room, MEMBER, &key(ALICE, "AD"));
    let calls = app
        .calls_until("a state key that vanished", |calls| {
            calls[0]["active"] == false
        })
        .await;
    assert_eq!(calls[0]["members"][0]["end_reason"], "left");
    app.app.stop().await;
}

#[tokio::test]
async fn a_world_readable_room_is_polled_without_joining() {
    let bed = Bed::new().await;
    let public = NewRoom {
        history_visibility: "world_readable".into(),
        ..NewRoom::default()
    };

    let room = bed.hs.create_room(public);
    bed.hs.join_user(&room, ALICE, now() - 9000);
    bed.joins(&room, ALICE, "AD", now() - 1000);
    let hidden = bed.hs.create_room(NewRoom::default());
    let wishes = format!("{room} {hidden}");
    let app = bed.start_with(&[("PEEK_ROOMS", &wishes), OFTEN]).await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    assert_eq!(app.room(&room).await["watch"], "peeked");
    bed.leaves(&room, ALICE, "AD", now());
    app.calls_until("its end", |calls| calls[0]["active"] == false)
        .await;
    let blind = app.room(&hidden).await;
    assert_eq!(blind["watch"], "blind");
    assert!(
        blind["error"].as_str().unwrap().contains("M_FORBIDDEN"),
        "{blind}"
    );
    assert!(
        !bed.hs
            .requests()
            .iter()
            .any(|(_, path)| path.contains("/join/")),
        "never joined"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_state_without_its_beginning_ends_no_call() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 100_000);
    let app = bed.start_with(&[("POLL_SCHEDULE", "0 0 0 1 1 *")]).await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let read = async || app.room(&room).await["polled_ms"].as_i64();
    crate::support::eventually("the first poll", 30, read).await;
    app.app.stop().await;
    bed.hs
        .inject(Fault::times("/state", 3, FaultKind::Status(200, json!([]))));
    let app = bed.start_with(&[OFTEN]).await;
    crate::support::eventually("three empty states and a good one", 60, async || {
        (bed.hs.count("/state") >= 5 && app.room(&room).await["error"].is_null()).then_some(())
    })
    .await;
    assert_eq!(app.calls().await[0]["active"], true);
    app.app.stop().await;
}

#[tokio::test]
async fn polls_alone_tell_that_the_bot_was_removed() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[("MODE", "poll"), OFTEN]).await;
    crate::support::eventually("the room", 30, async || {
        (app.room(&room).await["watch"] == "joined").then_some(())
    })
    .await;
    bed.hs.kick(&room, &bed.bot, ALICE, now());
    crate::support::eventually("it is left", 30, async || {
        (app.room(&room).await["watch"] == "left").then_some(())
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_very_large_state_is_stored_as_it_comes_and_seen_as_a_whole() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let padding = "x".repeat(50_000);
    for device in 0..400 {
        let device = format!("D{device:03}");
        let mut content = join(&device);
        content["padding"] = json!(padding);
        let key = key(ALICE, &device);
        bed.hs
            .set_state_silently(&room, ALICE, MEMBER, &key, content, now());
    }

    // Each answer is truncated.
    bed.hs
        .inject(Fault::lasting("/state", FaultKind::Truncated));
    let app = bed.start_with(&[("MODE", "poll"), OFTEN]).await;
    let calls = app
        .calls_until("what came so far", |calls| calls.len() == 1)
        .await;
    let devices = calls[0]["devices_now"].as_i64().unwrap();
    assert!((1..=200).contains(&devices), "{devices}");
    assert_eq!(
        app.json("/api/v1/status").await["totals"]["snapshots"],
        0,
        "a part is no look"
    );
    bed.hs.clear_faults();
    app.calls_until("all of it", |calls| {
        calls.len() == 1 && calls[0]["devices_now"] == 400
    })
    .await;
    let left = key(ALICE, "D007");
    bed.hs.drop_state_silently(&room, MEMBER, &left);
    app.calls_until("who vanished from it", |calls| {
        calls.len() == 1 && calls[0]["devices_now"] == 399
    })
    .await;
    let floods = app.room(&room).await["floods"].clone();
    assert_eq!(floods, json!([]), "what the state holds is no flood");
    app.app.stop().await;
}
