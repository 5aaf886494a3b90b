//! The simulated homeserver over real HTTP: what it answers, how it breaks, and the world of the
//! demo.

mod bot;
mod faults;
mod rooms;
mod sync;
mod world;
