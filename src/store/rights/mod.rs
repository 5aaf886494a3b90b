//! The rights of people: to see all that is stored about them, and to be forgotten.
//!
//! `forgotten` knows who is forgotten, and takes these names out of a batch before anything of it
//! is stored. `forget` takes them out of what was stored before. `export` reads all that names a
//! person. `room_opt_out` is for rooms whose moderators ask that nothing is recorded.

pub mod export;
pub mod forget;
pub mod forgotten;
pub(in crate::store) mod room_opt_out;
mod room_rows;
