//! The ways in against the real thing: a certified provider of OpenID Connect, and nginx.
//!
//! `scripts/test sign_in` installs what these tests need and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod nginx;
mod openid;
mod pages;
mod provider;
#[path = "../support/mod.rs"]
mod support;
