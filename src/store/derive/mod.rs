//! What follows from the events: memberships by member key, sessions by slot, and what counts both.

pub(super) mod checkpoints;
pub(super) mod dirty;
pub(super) mod member_keys;
pub mod membership_rows;
pub(super) mod memberships;
pub mod pseudonyms;
pub mod rebuild;
pub mod rederive;
pub(super) mod rejections;
pub mod room_titles;
pub(super) mod session_counters;
pub(super) mod session_rows;
pub(super) mod sessions;
pub(super) mod slots;
pub(super) mod stale_findings;
