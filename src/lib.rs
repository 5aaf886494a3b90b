//! Callscope observes MatrixRTC calls.
pub mod clock;
pub mod matrix;
pub mod rtc;
