//! The app from outside: over HTTP, against the simulated homeserver and its faults.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends")]

mod backfill;
mod bed;
mod faults;
mod follow;
mod hostile;
mod ledger;
mod mixture;
mod past;
mod poll;
mod sign_in;
#[path = "../support/mod.rs"]
mod support;
