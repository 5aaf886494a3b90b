//! Resumable work on a room's history: reading back (back-fill), gaps, and stretches that are read
//! again because late events may have come.

pub mod backfill;
pub mod gaps;
pub mod rechecks;
