//! Callscope observes MatrixRTC calls.
pub mod rtc;
pub mod sim;
