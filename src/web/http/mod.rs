//! Requests and answers: parameters, errors, caches, hosts, paths; nothing here knows a page.

pub mod address_slots;
pub mod assets;
pub mod base_path;
pub mod connections;
pub(super) mod cors;
pub mod cost_cache;
pub mod error;
pub(super) mod etag;
pub mod fair_turns;
pub mod fields;
pub mod form;
pub(super) mod gate;
pub mod host;
pub(super) mod indentation;
pub(super) mod json_address;
pub(super) mod own_path;
pub(super) mod path;
pub mod rate_limit;
pub mod request;
pub mod response;
pub mod response_cache;
pub mod site;
pub mod sort;
pub(super) mod trailing_slash;
pub mod viewer;
pub(super) mod worker_priority;
