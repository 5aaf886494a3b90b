//! The tests that need nothing but the program: one binary, as each that is linked costs as much as all its tests.
//! What needs Synapse, Schemathesis or a browser has a binary of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod app;
mod captures;
mod generate;
mod layers;
mod pages;
mod properties;
mod sim;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
