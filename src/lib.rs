//! Callscope observes MatrixRTC calls.
pub mod rtc;
