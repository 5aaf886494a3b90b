//! Reads the history of rooms: what to read, in which order, and how it continues after a stop.

pub(super) mod foreground;
pub(super) mod gaps;
pub(super) mod rechecks;
pub(super) mod run;
pub(super) mod schedule;
