//! The tests that need only the program, in one binary, because linking a binary takes as long as
//! all its tests. Tests that need Synapse, Schemathesis or a browser have binaries of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod app;
mod captures;
mod federation;
mod generate;
mod layers;
mod pages;
mod properties;
mod sim;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
