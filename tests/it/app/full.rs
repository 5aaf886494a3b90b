//! The disk is full: live following and back-fill pause and say so, and nothing is lost when there
//! is space again.

use crate::app::bed::{Bed, MEMBER, join, key, now};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";

/// A stay whose events take a lot of space.
fn stay(bed: &Bed, room: &str, at: i64) {
    let mut content = join("AD");
    content["filler"] = json!("x".repeat(30_000));
    bed.hs
        .send_state(room, ALICE, MEMBER, &key(ALICE, "AD"), content, at);
    bed.leaves(room, ALICE, "AD", at + 500);
}

#[tokio::test]
async fn observing_pauses_and_loses_nothing() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.app.store.limit_growth(Some(4)).await.unwrap();
    let begin = now() - 500_000;
    for at in 0..20 {
        stay(&bed, &room, begin + at * 1000);
    }

    let status = app
        .status_until("the full disk is said", |status| {
            status["full_since_ms"].is_i64()
        })
        .await;
    assert!(
        status["vantages"][0]["error"].is_null(),
        "the homeserver is not to blame: {status}"
    );
    let page = app.page("/status").await;
    assert!(page.contains("The disk is full"), "{page}");

    app.app.store.limit_growth(None).await.unwrap();
    app.calls_until("all calls", |calls| calls.len() == 20)
        .await;
    app.status_until("all is well", |status| status["full_since_ms"].is_null())
        .await;
    app.app.stop().await;

    let again = bed.start_with(&[("BACKFILL", "false")]).await;
    assert_eq!(
        again.calls().await.len(),
        20,
        "it was stored for good, not only seen"
    );
    again.app.stop().await;
}

#[tokio::test]
async fn a_small_write_that_finds_space_does_not_say_that_all_is_well() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed
        .start_with(&[("POLL_SCHEDULE", "* * * * * *"), ("BACKFILL", "false")])
        .await;
    app.ready().await;
    app.app.store.limit_growth(Some(30)).await.unwrap();
    for at in 0..20 {
        stay(&bed, &room, now() - 500_000 + at * 1000);
    }

    let status = app
        .status_until("the full disk is said", |status| {
            status["full_since_ms"].is_i64()
        })
        .await;
    let polled = status["vantages"][0]["last_poll_ms"].as_i64();
    let later = app
        .status_until("polls go on", |later| {
            assert_eq!(
                later["full_since_ms"], status["full_since_ms"],
                "sync has written nothing since"
            );
            later["vantages"][0]["last_poll_ms"].as_i64() > polled
        })
        .await;
    assert_eq!(later["full_since_ms"], status["full_since_ms"]);

    app.app.store.limit_growth(None).await.unwrap();
    app.calls_until("all calls", |calls| calls.len() == 20)
        .await;
    app.status_until("all is well", |status| status["full_since_ms"].is_null())
        .await;
    app.app.stop().await;
}

#[tokio::test]
async fn reading_history_pauses_and_goes_on() {
    let bed = Bed::new().await;
    let room = bed.room(&[]);
    let app = bed.start().await;
    app.ready().await;
    app.app.store.limit_growth(Some(40)).await.unwrap();
    // A room with a past, which the bot joins now.
    let past = bed.hs.create_room(callscope::sim::NewRoom::default());
    bed.hs.join_user(&past, ALICE, now() - 900_000);
    for at in 0..200 {
        stay(&bed, &past, now() - 800_000 + at * 1000);
    }

    bed.hs.join_user(&past, &bed.bot, now() - 1000);
    app.status_until("the full disk is said", |status| {
        status["full_since_ms"].is_i64()
    })
    .await;
    app.app.store.limit_growth(None).await.unwrap();
    app.calls_until("all calls", |calls| calls.len() == 200)
        .await;
    app.once_read(&past).await;
    assert_eq!(app.room(&room).await["calls"], 0);
    app.app.stop().await;
}
