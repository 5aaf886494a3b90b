//! `callscope rebuild` beside a running server, and links to calls after it.

use crate::app::alone::settings;
use crate::app::bed::{Bed, MEMBER, now};
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const MINUTE: i64 = 60_000;

fn sorted(calls: &[Value]) -> Vec<String> {
    let mut calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
    calls.sort();
    calls
}

#[tokio::test]
async fn everything_is_derived_again_beside_a_server_that_goes_on() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let begin = now() - 1000 * MINUTE;
    for call in 0..20 {
        bed.joins(&room, ALICE, "AD", begin + call * 10 * MINUTE);
        bed.leaves(&room, ALICE, "AD", begin + call * 10 * MINUTE + MINUTE);
    }

    let app = bed.start().await;
    let before = app.calls_until("the past", |calls| calls.len() == 20).await;
    // Damage the derived data.
    for sql in [
        "delete from sessions",
        "update memberships set until_ms = joined_ms + 5",
        "delete from checkpoints",
        "delete from heads",
    ] {
        bed.database.execute(sql).await;
    }

    app.calls_until("nothing", <[serde_json::Value]>::is_empty)
        .await;
    let program = settings(&bed);
    let rebuilt = tokio::task::spawn_blocking(move || {
        (0..3)
            .map(|_| program.run(&["rebuild"]))
            .collect::<Vec<_>>()
    });
    // Meanwhile the server stores new events.
    for call in 0..10 {
        let at = begin + (300 + call * 10) * MINUTE;
        bed.joins(&room, BOB, "BD", at);
        bed.leaves(&room, BOB, "BD", at + MINUTE);
        crate::support::pause(50).await;
    }

    for output in rebuilt.await.unwrap() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("Derived again: 1 room,"),
            "{said}"
        );
    }

    let after = app
        .calls_until("all of it", |calls| calls.len() == 30)
        .await;
    let kept: Vec<Value> = after
        .iter()
        .filter(|call| before.iter().any(|old| old["id"] == call["id"]))
        .cloned()
        .collect();
    assert_eq!(sorted(&kept), sorted(&before), "ids and all else stay");
    app.app.stop().await;
}

/// A call whose beginning we learn later, and two that turn out to be one: an old link still leads
/// there.
#[tokio::test]
async fn old_links_lead_to_the_call_that_it_is_now() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let begin = now() - 600 * MINUTE;
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    bed.joins(&room, ALICE, "AD", begin);
    bed.leaves(&room, ALICE, "AD", begin + 10 * MINUTE);
    bed.joins(&room, ALICE, "AD", begin + 20 * MINUTE);
    bed.leaves(&room, ALICE, "AD", begin + 30 * MINUTE);
    let two = app.calls_until("two calls", |calls| calls.len() == 2).await;
    // The server sends this only now: Bob was there before, and in between.
    let content = json!({"application": "m.call", "call_id": "", "device_id": "BD",
        "focus_active": {"type": "livekit"}});
    bed.hs.send_state(
        &room,
        BOB,
        MEMBER,
        "_@bob:sim.example_BD_m.call",
        content,
        begin - MINUTE,
    );
    bed.leaves(&room, BOB, "BD", begin + 25 * MINUTE);
    let one = app
        .calls_until("one call", |calls| {
            calls.len() == 1 && calls[0]["people"] == 2
        })
        .await
        .remove(0);
    assert_ne!(one["id"], two[0]["id"]);
    for old in &two {
        let old = old["id"].as_str().unwrap();
        let found = app.json(&format!("/api/v1/calls/{old}")).await;
        assert_eq!(found["id"], one["id"], "{old}: {found}");
    }

    app.app.stop().await;
}
