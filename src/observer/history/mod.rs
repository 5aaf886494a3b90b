//! Reads the history of rooms: what to read, in which order, and how it continues after a stop.

pub(super) mod events;
pub(super) mod foreground;
pub(super) mod reads;
pub(super) mod rechecks;
pub(super) mod run;
pub(super) mod schedule;
