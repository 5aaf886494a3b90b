//! Alerts and the messages that tell of them. What changes and what is to be sent are written in
//! one transaction, so that a stop at any point loses no message.

pub mod conditions;
pub mod outbox;
pub mod state;
#[cfg(test)]
mod tests;
