//! Calls that went wrong for somebody, as people reported them: each file of `tests/reports` is a
//! room, and each test asks of it all that an admin must be able to read. They stand for kinds of
//! faults, not for single cases.
#![allow(dead_code, reason = "each report needs its own part of the harness")]

mod ghost_words;
mod ghosts;
mod glare;
pub mod page;
mod rings;
mod room_state;
mod rules;
mod served;
mod sieve;
mod state;
mod stays;
