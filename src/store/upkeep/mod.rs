//! What happens to the database as a whole: deletion of what is older than the operator wants to
//! keep, and what the next start does.

pub mod next_start;
pub mod retention;
pub(super) mod retention_cutoffs;
pub mod transfer;
