//! The app from outside: over HTTP, against the simulated homeserver and its faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod agreement;
mod alone;
mod backfill;
mod backup;
mod bed;
mod check;
mod clock;
mod faults;
mod follow;
mod foreground;
mod full;
mod ghost_time;
mod hostile;
mod idle;
mod invitations;
mod ledger;
mod limits;
mod missed;
mod mixture;
mod odd;
mod operator;
mod past;
mod poll;
mod probe;
mod rebuild;
mod redacted;
mod replaced;
mod reports;
mod retention;
mod rights;
mod room_state;
mod rules;
mod sieve;
mod sign_in;
mod stamps;
mod standing;
mod stops;
mod storage;
#[path = "../support/mod.rs"]
mod support;
mod troubles;
