//! Findings of calls: what they follow from, as rows, and as lists. Findings of calls that are over
//! are derived in the background. Those of other calls are computed when somebody asks, by the same
//! function from the same rows.

pub mod broken;
pub mod derive;
pub mod inputs;
pub mod list;
#[cfg(test)]
mod tests;
