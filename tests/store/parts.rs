//! More of the same tests, each in a file of its own.

mod accounts;
mod depth;
mod filled;
pub mod holes;
mod limits;
mod lists;
mod plans;
mod polls;
mod redactions;
mod rings;
mod rules;
mod words;
