//! Resumable work on a room's history: reading back (back-fill), gaps, gaps that are read again
//! because events may have come since, and single events. All are rows of one table.

pub mod events;
pub mod job;
pub mod reads;
pub mod rechecks;
