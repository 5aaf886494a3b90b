//! The write path: what an observer reports is stored here, in the transaction of its batch.

pub mod access;
pub mod batch;
pub(super) mod coverage_log;
pub mod direct_rooms;
pub(super) mod events;
pub mod history_jobs;
pub mod invitations;
pub(super) mod new_events;
pub mod probe_flips;
pub mod probes;
pub mod receive_times;
pub(super) mod redactions;
pub(super) mod room_members;
pub(super) mod room_rules;
pub mod rooms;
pub mod sender_limit;
pub(super) mod sieve;
pub(super) mod sightings;
pub mod snapshots;
pub mod spaces;
pub mod state_resets;
pub mod unrequested;
pub mod vantages;
pub mod write;
