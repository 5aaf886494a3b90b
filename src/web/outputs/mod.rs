//! Answers that are no pages: files, feeds, badges, frames, metrics, health, live updates,
//! `OpenAPI`.

pub(super) mod attendance;
pub(super) mod badge;
pub(super) mod card;
pub(super) mod embed;
pub(super) mod export;
pub(super) mod feed;
pub(super) mod health;
pub(super) mod live;
pub(super) mod metrics;
mod metrics_format;
pub mod openapi;
pub(super) mod robots;
pub(super) mod table;
pub(super) mod version;
