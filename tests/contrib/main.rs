//! The files of `contrib/`, each held against the real program for which it is.
//!
//! `scripts/test contrib` installs these programs from Debian's packages where that is possible. A
//! test whose program is not there says so and ends; with `CI=true` it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod containers;
#[path = "../sign_in/pages.rs"]
mod pages;
mod programs;
mod prometheus;
mod proxies;
mod proxy_process;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
