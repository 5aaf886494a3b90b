//! Read models: what pages, programs and the observer ask about rooms and calls.

pub mod attendance;
mod call_filter;
pub(super) mod call_list;
#[cfg(test)]
mod call_list_tests;
pub mod call_order;
pub mod call_rules;
pub mod calls;
pub mod coverage;
pub mod events;
pub mod evidence;
pub mod ghosts;
pub mod history_progress;
pub mod large_calls;
pub mod left_overs;
pub mod memberships;
pub(super) mod name_search;
pub mod person;
pub mod present;
pub mod related;
pub mod rings;
pub mod room_at;
pub mod successors;
#[cfg(test)]
pub(in crate::store) mod tests;
pub mod zombies;
