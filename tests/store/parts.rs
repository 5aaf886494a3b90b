//! More of the same tests, each in a file of its own.

mod lists;
mod polls;
