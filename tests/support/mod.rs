//! Support for the tests with real software: Synapse, matrix-js-sdk, Chromium and the program
//! itself.
#![allow(dead_code, reason = "each test program uses its own part of it")]

pub mod account;
pub mod app;
pub mod chromium;
pub mod cookies;
pub mod database;
pub mod http;
pub mod lines;
pub mod receiver;
pub mod sdk;
pub mod synapse;
pub mod truth;
pub mod visitor;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The project's own folder.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Repeats `probe` until it returns something; fails the test after `seconds`.
///
/// The limit only ends tests of a broken program: it is far above the expected time.
pub async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = probe().await {
            return found;
        }

        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        pause(10).await;
    }
}
