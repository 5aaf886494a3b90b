//! Callscope observes MatrixRTC calls.
pub mod changes;
pub mod clock;
pub mod rtc;
pub mod store;
pub mod web;
