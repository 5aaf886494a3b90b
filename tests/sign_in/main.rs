//! The way in by OpenID Connect, against a certified provider.
//!
//! `scripts/test sign_in` installs what these tests need and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod openid;
mod pages;
mod provider;
#[path = "../support/mod.rs"]
mod support;
