//! The pure core: from the events of a room to memberships and sessions. No I/O, no clock, no async.
pub mod event;
pub mod slot;
pub mod time;
pub mod transport;
