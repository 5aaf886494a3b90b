//! Callscope observes MatrixRTC calls.
pub mod app;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod matrix;
pub mod observer;
pub mod rtc;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod web;
