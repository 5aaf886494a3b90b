//! Deletion of what is older than the operator wants to keep.

pub mod retention;
pub(super) mod retention_cutoffs;
