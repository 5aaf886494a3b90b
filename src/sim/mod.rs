//! A simulated homeserver that speaks the real client-server API over real HTTP on loopback: the
//! demo and the tests use the same one.
//!
//! [`Homeserver`] answers as Synapse does, takes events from a script at any time of the past or
//! the present, and breaks in the ways of [`FaultKind`] when asked to. [`World`] is the demo's
//! script: rooms, people, years of past calls, and calls that start and end while one watches. It
//! imports nothing else of the program.

#![allow(
    clippy::must_use_candidate,
    reason = "the script's methods act on the server through a shared handle; an event id is often \
              of no use"
)]

mod dice;
mod homeserver;
mod people;
mod rooms;
mod script;

pub use dice::Dice;
pub use homeserver::{Fault, FaultKind, Homeserver, MessagesMode, NewRoom};
pub use people::{PEOPLE, Person, SFUS};
pub use script::{Act, ActKind, LivePlan, PastPlan, World, WorldSettings};
