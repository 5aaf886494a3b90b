//! Callscope observes MatrixRTC calls.
pub mod changes;
pub mod clock;
pub mod matrix;
pub mod rtc;
pub mod sim;
pub mod store;
