//! The rights of people: to see all that is stored about them, and to be forgotten.
//!
//! `forgotten` knows who is forgotten, and takes these names out of a batch before anything of it
//! is stored. `forget` takes them out of what was stored before. `export` reads all that names a
//! person.

pub mod export;
pub mod forget;
pub mod forgotten;
mod room_rows;
