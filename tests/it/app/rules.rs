//! Derived state has a stamp of its rules: with other rules or settings it is derived again
//! automatically.

use crate::app::bed::{Bed, now};
use crate::support::eventually;
use callscope::rtc::fold::Rules;
use callscope::rtc::slot::SlotPolicy;
use callscope::store::derive::rederive::{self, RederiveStep};
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const STICKY_MEMBER: &str = "org.matrix.msc4143.rtc.member";

async fn execute(bed: &Bed, statements: &[&'static str]) {
    for sql in statements {
        bed.database.execute(sql).await;
    }
}

fn joins_sticky(bed: &Bed, room: &str) {
    let content = json!({"slot_id": "m.call#ROOM", "msc4354_sticky_key": "M", "rtc_transports": [],
        "versions": [],
        "application": {"type": "m.call"}, "member": {"id": "M", "device_id": "SD",
        "user_id": ALICE}});
    bed.hs
        .send_sticky(room, ALICE, STICKY_MEMBER, content, 3_600_000, now());
}

#[tokio::test]
async fn another_slot_policy_and_a_new_start_are_enough() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    joins_sticky(&bed, &room);
    let app = bed.start().await;
    let before = app.calls_until("the call", |calls| calls.len() == 1).await;
    assert_eq!(app.json("/api/v1/status").await["rederiving"], Value::Null);
    app.app.stop().await;

    let app = bed.start_with(&[("SLOT_POLICY", "required")]).await;
    app.calls_until("no slot, no call", <[Value]>::is_empty)
        .await;
    app.status_until("it is over", |status| status["rederiving"].is_null())
        .await;
    app.app.stop().await;

    let app = bed.start_with(&[("SLOT_POLICY", "ignore")]).await;
    let again = app
        .calls_until("the call again", |calls| calls.len() == 1)
        .await;
    assert_eq!(again[0]["id"], before[0]["id"]);
    app.app.stop().await;
}

#[tokio::test]
async fn what_older_rules_derived_is_mended_by_itself() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now() - 900_000;
    for call in 0..5 {
        bed.joins(&room, ALICE, "AD", begin + call * 100_000);
        bed.leaves(&room, ALICE, "AD", begin + call * 100_000 + 50_000);
    }

    let app = bed.start().await;
    let before = app.calls_until("the past", |calls| calls.len() == 5).await;
    app.app.stop().await;
    execute(
        &bed,
        &[
            "update derivations set stamp = '1 as it was before'",
            "update memberships set until_ms = joined_ms + 5",
            "update sessions set until_ms = started_ms + 5",
            "update checkpoints set state = 'of a form that is not read any more'",
            "update heads set state = 'of a form that is not read any more'",
        ],
    )
    .await;
    let app = bed.start().await;
    let sorted = |calls: &[Value]| {
        let mut calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
        calls.sort();
        calls
    };

    app.calls_until("the past as it was", |calls| {
        sorted(calls) == sorted(&before)
    })
    .await;
    app.status_until("it is over", |status| status["rederiving"].is_null())
        .await;
    app.app.stop().await;
}

#[tokio::test]
async fn until_it_is_done_answers_say_that_they_are_from_older_rules() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now());
    let app = bed.start().await;
    let call = app.calls_until("the call", |calls| calls.len() == 1).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(app.calls().await[0]["older_rules"], false);
    // As at a start with other rules, before the first step.
    let other = Rules {
        slot_policy: SlotPolicy::Required,
        ..Rules::default()
    };

    let store = app.app.store.clone();
    rederive::find_stale_rooms(&store, &other, now())
        .await
        .unwrap();
    for path in [
        "/api/v1/overview",
        "/api/v1/statistics",
        "/api/v1/servers",
        "/api/v1/transports",
        &format!("/api/v1/calls/{call}"),
        &format!("/api/v1/rooms/{room}"),
    ] {
        assert_eq!(app.json(path).await["older_rules"], true, "{path}");
    }

    for path in [
        "/",
        "/calls",
        "/rooms",
        "/statistics",
        "/servers",
        "/transports",
        &format!("/calls/{call}"),
    ] {
        assert!(app.page(path).await.contains("from older rules"), "{path}");
    }

    let wall = app.page("/wall").await;
    assert!(wall.contains("Calls are being derived again"), "{wall}");

    let status = app.json("/api/v1/status").await;
    assert_eq!(
        (
            &status["rederiving"]["rooms"],
            &status["rederiving"]["rooms_left"],
            &status["rederiving"]["events"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    assert!(
        app.page("/status")
            .await
            .contains("Calls are being derived again")
    );
    while rederive::rederive_next_part(&store, &other).await.unwrap() != RederiveStep::AllDone {}
    // Nothing announced the change here: a cached answer is used until its second ends.
    app.calls_until("calls of the present rules", |calls| {
        calls[0]["older_rules"] == false
    })
    .await;
    eventually("an overview of the present rules", 30, async || {
        let overview = app.json("/api/v1/overview").await;
        (overview["older_rules"] == false).then_some(())
    })
    .await;
    app.app.stop().await;
}
