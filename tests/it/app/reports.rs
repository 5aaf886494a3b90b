//! Calls with problems that people reported: each file of `tests/reports` is a room, and each test
//! checks everything that an admin must be able to read about it. They stand for kinds of faults,
//! not for single cases.
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
