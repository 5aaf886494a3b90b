//! Callscope observes MatrixRTC calls.
pub mod clock;
pub mod config;
pub mod matrix;
pub mod rtc;
pub mod telemetry;
