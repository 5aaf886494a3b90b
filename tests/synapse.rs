//! The program against real Synapse homeservers, with members that are the real matrix-js-sdk.
//!
//! `scripts/test synapse` installs what these tests need and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod support;

#[path = "synapse/bed.rs"]
mod bed;
#[path = "synapse/before.rs"]
mod before;
#[path = "synapse/calls.rs"]
mod calls;
#[path = "synapse/codes.rs"]
mod codes;
#[path = "synapse/doctor.rs"]
mod doctor;
#[path = "synapse/first_run.rs"]
mod first_run;
#[path = "synapse/front.rs"]
mod front;
#[path = "synapse/ghosts.rs"]
mod ghosts;
#[path = "synapse/killed.rs"]
mod killed;
#[path = "synapse/odd.rs"]
mod odd;
#[path = "synapse/opt_outs.rs"]
mod opt_outs;
#[path = "synapse/rooms.rs"]
mod rooms;
#[path = "synapse/skewed.rs"]
mod skewed;
#[path = "synapse/ways.rs"]
mod ways;
#[path = "synapse/widget.rs"]
mod widget;
