//! The first run: asks an operator for what a configuration needs, tries each answer, and writes
//! the file. The pages in the browser and `callscope init` in the terminal share all but the
//! asking.

pub mod answers;
mod entrance;
mod finish;
mod pages;
mod progress;
pub mod rooms;
pub mod server;
pub mod steps;
