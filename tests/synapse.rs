//! The program against real Synapse homeservers, with members that are the real matrix-js-sdk.
//!
//! `scripts/test synapse` installs what these tests need and runs them.

mod support;

#[path = "synapse/bed.rs"]
mod bed;
