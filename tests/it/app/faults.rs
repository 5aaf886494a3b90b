//! The homeserver misbehaves: the observer recovers each time, and the status page says what
//! happened.

use crate::app::bed::{Bed, now};
use callscope::sim::{Fault, FaultKind};
use serde_json::json;
use std::time::Duration;

const ALICE: &str = "@alice:sim.example";
/// Set where a test runs in a process of its own.
const ALONE: &str = "TEST_RUNS_ALONE";

fn faults() -> Vec<(&'static str, FaultKind, &'static str)> {
    vec![
        (
            "429",
            FaultKind::RateLimited {
                retry_after_ms: 300,
                header: true,
            },
            "429",
        ),
        (
            "500",
            FaultKind::Status(
                500,
                json!({"errcode": "M_UNKNOWN", "error": "Internal server error"}),
            ),
            "500",
        ),
        ("hang", FaultKind::Hang(Duration::from_millis(300)), ""),
        ("truncated", FaultKind::Truncated, ""),
        ("html", FaultKind::Html, "not Matrix"),
        ("empty object", FaultKind::EmptyObject, "not Matrix"),
        ("bad json", FaultKind::BadJson, "not Matrix"),
        ("drop", FaultKind::Drop, ""),
        ("300 MB", FaultKind::Huge(300_000_000), "larger than"),
        ("unknown position", FaultKind::UnknownPos, "position"),
    ]
}

#[tokio::test]
async fn each_fault_is_survived_and_said() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[("MAX_RESPONSE_MB", "16")]).await;
    app.ready().await;
    let mut errors = 0;
    for (at, (name, kind, words)) in faults().into_iter().enumerate() {
        bed.hs.inject(Fault::once("/sync", kind));
        // An event ends the waiting long poll; the next one gets the fault.
        let device = format!("D{at}");
        bed.joins(&room, ALICE, &device, now());
        let status = app
            .status_until(name, |status| {
                status["vantages"][0]["errors"].as_i64().unwrap() > errors
            })
            .await;
        errors = status["vantages"][0]["errors"].as_i64().unwrap();
        let said = status["vantages"][0]["last_error"].as_str().unwrap();
        assert!(said.contains(words), "{name}: {said}");
        bed.leaves(&room, ALICE, &device, now());
        app.calls_until(name, |calls| {
            let ended = calls
                .iter()
                .flat_map(|call| call["members"].as_array().unwrap())
                .filter(|m| m["left_ms"].is_i64());
            ended.count() == at + 1
        })
        .await;
        app.status_until("recovery", |status| {
            status["vantages"][0]["error"].is_null()
        })
        .await;
    }

    app.app.stop().await;

    // Other tests of the same process need memory, too.
    if std::env::var_os(ALONE).is_some() {
        assert!(
            resident_mb() < 400,
            "memory is bounded: {} MB",
            resident_mb()
        );
    }
}

/// The same test in a process of its own, which measures the memory.
#[test]
fn each_fault_is_survived_in_bounded_memory() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "app::faults::each_fault_is_survived_and_said"])
        .env(ALONE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);

    assert!(said.contains("1 passed"), "{said}");
}

/// Peak memory of this process, MB. It includes the simulated homeserver.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();

    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn faults_of_polls_and_history_are_survived() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 5000);
    for (_, kind, _) in faults().into_iter().step_by(3) {
        bed.hs.inject(Fault::once("/messages", kind.clone()));
        bed.hs.inject(Fault::once("/state", kind));
    }

    let app = bed.start().await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    app.once_read(&room).await;
    app.app.stop().await;
}

#[tokio::test]
async fn an_unknown_position_loses_nothing() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let begin = now() - 10_000;
    bed.hs
        .inject(Fault::times("/sync", 3, FaultKind::UnknownPos));
    for at in 0..400 {
        bed.joins(&room, ALICE, "AD", begin + 2 * at);
        bed.leaves(&room, ALICE, "AD", begin + 2 * at + 1);
    }

    let calls = app
        .calls_until("all calls", |calls| calls.len() == 400)
        .await;
    assert!(calls.iter().all(|call| call["duration_ms"] == 1));
    app.app.stop().await;
}
