//! Our own clock is wrong for a while: it has no effect on the stored history.

use crate::app::bed::{Bed, now};
use callscope::clock::Clock;
use serde_json::Value;

const ALICE: &str = "@alice:sim.example";
const HOUR: i64 = 3_600_000;

fn spans(calls: &[Value]) -> Vec<(i64, Option<i64>)> {
    let mut spans: Vec<_> = calls
        .iter()
        .map(|call| {
            (
                call["started_ms"].as_i64().unwrap(),
                call["ended_ms"].as_i64(),
            )
        })
        .collect();
    spans.sort_unstable();

    spans
}

#[tokio::test]
async fn a_clock_that_is_behind_for_seconds_leaves_no_trace() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now();
    let clock = Clock::fixed(begin);
    let app = bed.start_at(clock.clone(), &[]).await;
    app.once_read(&room).await;
    bed.joins(&room, ALICE, "AD", begin - 1000);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    // The clock is an hour behind: new events seem to arrive before they were sent.
    clock.set(begin + 5000 - HOUR);
    bed.leaves(&room, ALICE, "AD", begin + 4000);
    bed.joins(&room, ALICE, "BD", begin + 4500);
    crate::support::pause(1500).await;
    clock.set(begin + 10_000);
    bed.leaves(&room, ALICE, "BD", begin + 9000);
    let right = vec![
        (begin - 1000, Some(begin + 4000)),
        (begin + 4500, Some(begin + 9000)),
    ];
    app.calls_until("both calls as they were", |calls| spans(calls) == right)
        .await;
    let status = app.json("/api/v1/status").await;
    assert!(
        status["clock_doubts"]["readings"].as_i64() >= Some(1),
        "{status}"
    );
    assert!(status["clock_doubts"]["behind_ms"].as_i64() > Some(HOUR / 2));
    assert!(
        app.page("/status")
            .await
            .contains("Our own clock was wrong")
    );
    app.app.stop().await;
}

#[tokio::test]
async fn what_an_older_version_stored_by_a_wrong_clock_is_mended() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now();
    let clock = Clock::fixed(begin);
    let app = bed.start_at(clock.clone(), &[]).await;
    app.once_read(&room).await;
    bed.joins(&room, ALICE, "AD", begin - 1000);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    clock.set(begin + 2000);
    bed.leaves(&room, ALICE, "AD", begin + 1500);
    let before = app
        .calls_until("its end", |calls| calls[0]["ended_ms"].is_i64())
        .await;
    app.app.stop().await;
    // As if the end had been received with a clock an hour behind, and a poll with such a clock had
    // seen the join again.
    for sql in [
        "update events set received_ms = received_ms - 3600000, time_ms = received_ms - 3600000 where chain is not null",
        "update events set seen_ms = seen_ms - 3600000 where chain is not null and stream = (select max(stream) from events)",
    ] {
        bed.database.execute(sql).await;
    }

    let program = crate::app::alone::settings(&bed);
    let said = tokio::task::spawn_blocking(move || program.run(&["rebuild"]))
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("2 receive times were wrong"), "{said}");
    let app = bed.start_at(clock, &[]).await;
    app.ready().await;
    assert_eq!(spans(&app.calls().await), spans(&before));
    app.app.stop().await;
}

/// The spans in which our clock was wrong, from the status: the error, and whether it is over.
fn offs(status: &Value) -> Vec<(i64, bool)> {
    status["clock_offs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|off| (off["off_ms"].as_i64().unwrap(), off["to_ms"].is_i64()))
        .collect()
}

/// A machine whose clock jumps, while the homeserver's clock does not.
async fn a_jump_leaves_no_trace(jump_ms: i64, more: &[(&str, &str)]) {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let clock = Clock::watched();
    let app = bed.start_at(clock.clone(), more).await;
    app.once_read(&room).await;
    let first = now() - 1000;
    bed.joins(&room, ALICE, "AD", first);
    app.calls_until("the call", |calls| calls.len() == 1).await;

    clock.advance(jump_ms);
    let left = now() - 100;
    bed.leaves(&room, ALICE, "AD", left);
    app.calls_until("its end", |calls| spans(calls) == [(first, Some(left))])
        .await;
    let again = now() - 100;
    bed.joins(&room, ALICE, "BD", again);
    let during = app.calls_until("the next", |calls| calls.len() == 2).await;
    assert!(
        during
            .iter()
            .all(|call| call["certainty"]["verdict"] != "exact"),
        "{during:?}"
    );
    let status = app
        .status_until("the jump is said", |status| !offs(status).is_empty())
        .await;
    let (off_ms, is_over) = offs(&status)[0];
    assert!((off_ms - jump_ms).abs() < 2000 && !is_over, "{status}");
    let said = app.page("/status").await;
    let seconds = (off_ms.abs() / 1000).to_string();
    let said = said.replace([',', '\u{202f}'], "");
    assert!(said.contains(&format!("{seconds} s off")), "{said}");

    clock.advance(-jump_ms);
    let end = now() - 100;
    bed.leaves(&room, ALICE, "BD", end);
    let right = vec![(first, Some(left)), (again, Some(end))];
    app.calls_until("both calls as they were", |calls| spans(calls) == right)
        .await;
    app.status_until("it is over", |status| offs(status)[0].1)
        .await;
    app.app.stop().await;

    let program = crate::app::alone::settings(&bed);
    tokio::task::spawn_blocking(move || program.run(&["rebuild"]))
        .await
        .unwrap();
    let app = bed.start_at(clock, more).await;
    app.ready().await;
    assert_eq!(spans(&app.calls().await), right, "after a rebuild");
    app.app.stop().await;
}

const POLLS: &[(&str, &str)] = &[("MODE", "poll"), ("POLL_SCHEDULE", "* * * * * *")];

#[tokio::test]
async fn a_clock_that_jumps_back_is_found_by_sync() {
    a_jump_leaves_no_trace(-HOUR, &[]).await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_is_found_by_sync() {
    a_jump_leaves_no_trace(HOUR, &[]).await;
}

#[tokio::test]
async fn a_clock_that_jumps_back_is_found_by_polls() {
    a_jump_leaves_no_trace(-90_000, POLLS).await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_is_found_by_polls() {
    a_jump_leaves_no_trace(HOUR, POLLS).await;
}
