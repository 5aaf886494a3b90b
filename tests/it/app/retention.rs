//! Deletion by age while the app runs: what is deleted, what stays, and what the status page shows.

use crate::app::bed::{Bed, now};
use crate::support::eventually;
use serde_json::Value;

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const DAY: i64 = 86_400_000;

fn removed(status: &Value, what: &str) -> i64 {
    let rows = status["removed"].as_array().unwrap().iter();
    rows.filter(|row| row["what"] == what)
        .map(|row| row["total"].as_i64().unwrap())
        .sum()
}

#[tokio::test]
async fn raw_events_go_and_calls_stay_until_their_own_time() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    for days in [400, 300, 200, 100, 10] {
        bed.joins(&room, ALICE, "AD", now() - days * DAY);
        bed.leaves(&room, ALICE, "AD", now() - days * DAY + 60_000);
    }

    bed.joins(&room, BOB, "BD", now() - 60_000);
    let app = bed.start().await;
    app.calls_until("all calls", |calls| calls.len() == 6).await;
    app.once_read(&room).await;
    let before = app.calls().await;
    assert!(
        app.json("/api/v1/status").await["removed"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    app.app.stop().await;

    let app = bed.start_with(&[("RETENTION_EVENTS", "90")]).await;
    let status = app
        .status_until("the events go", |status| removed(status, "events") == 8)
        .await;
    assert_eq!(removed(&status, "calls"), 0);
    let page = app.page("/status").await;
    assert!(page.contains("8 events, 0 calls"), "{page}");
    app.ready().await;
    let words = |calls: &[Value]| -> Vec<Value> {
        let word = |call: &Value| {
            serde_json::json!([
                call["id"],
                call["started_ms"],
                call["ended_ms"],
                call["people"]
            ])
        };

        calls.iter().map(word).collect()
    };

    assert_eq!(words(&app.calls().await), words(&before));
    app.app.stop().await;

    let app = bed
        .start_with(&[("RETENTION_EVENTS", "90"), ("RETENTION_CALLS", "250")])
        .await;
    app.status_until("the calls go", |status| removed(status, "calls") == 2)
        .await;
    assert_eq!(words(&app.calls().await), words(&before)[..4]);
    bed.leaves(&room, BOB, "BD", now());
    app.calls_until("the open call ends", |calls| calls[0]["ended_ms"].is_i64())
        .await;
    app.app.stop().await;
}

/// The events at which a read of a gap would stop may have been deleted: it stops there anyway,
/// and does not bring everything back.
#[tokio::test]
async fn a_gap_is_not_read_behind_what_was_deleted() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    for at in 0..400 {
        bed.joins(&room, ALICE, "AD", now() - 200 * DAY + at * 10_000);
        bed.leaves(&room, ALICE, "AD", now() - 200 * DAY + at * 10_000 + 5000);
    }

    let app = bed.start().await;
    let whole = |room: &Value| room["history_open"] == false && room["calls"] == 400;
    eventually("the history is read", 60, async || {
        whole(&app.room(&room).await).then_some(())
    })
    .await;
    app.app.stop().await;
    let kept = [("RETENTION_EVENTS", "90")];
    let app = bed.start_with(&kept).await;
    app.status_until("the events go", |status| removed(status, "events") >= 799)
        .await;
    app.app.stop().await;

    for at in 0..200 {
        bed.joins(&room, ALICE, "AD", now() - 500_000 + at * 1000);
        bed.leaves(&room, ALICE, "AD", now() - 500_000 + at * 1000 + 500);
    }

    let app = bed.start_with(&kept).await;
    let whole = |room: &Value| room["history_open"] == false && room["calls"] == 600;
    eventually("the gap is closed", 60, async || {
        whole(&app.room(&room).await).then_some(())
    })
    .await;
    let status = app.json("/api/v1/status").await;
    let events = status["totals"]["events"].as_i64().unwrap();
    assert!((400..800).contains(&events), "{events}");
    app.app.stop().await;
}
