//! Numbers over spans of time.

pub mod calls_ever;
pub mod capacity;
pub mod census;
pub mod clock_skew;
pub mod concurrency;
pub mod daily_rollup;
pub(super) mod day_totals;
pub mod distributions;
pub mod gauges;
pub mod ghost_time;
pub mod last_seen;
pub mod scope;
pub(super) mod spans;
#[cfg(test)]
mod spans_tests;
pub mod transport_usage;
pub mod unobserved;
pub mod usage;
#[cfg(test)]
mod usage_tests;
