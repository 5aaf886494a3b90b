//! More of the same tests, each in a file of its own.

mod accounts;
mod depth;
pub mod holes;
mod limits;
mod lists;
mod polls;
mod redactions;
mod rings;
mod rules;
mod words;
