//! The simulated homeserver over real HTTP: what it answers, how it breaks, and the world of the
//! demo.

#![allow(clippy::unwrap_used, reason = "in a test that is the point")]

mod bot;
mod faults;
mod rooms;
mod sync;
mod world;
