//! The app from outside: over HTTP, against the simulated homeserver and its faults.

mod backfill;
mod bed;
mod faults;
mod follow;
mod hostile;
mod poll;
mod sign_in;
#[path = "../support/mod.rs"]
mod support;
