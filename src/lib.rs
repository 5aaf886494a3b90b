//! Callscope observes MatrixRTC calls.
pub mod changes;
pub mod rtc;
pub mod sim;
pub mod store;
