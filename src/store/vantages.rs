//! Reads and writes of vantages: the accounts we look from.
use super::row::{Totals, Vantage};
use super::{Error, Store};

/// All vantages.
pub async fn list(store: &Store) -> Result<Vec<Vantage>, Error> { todo!() }
/// Counts of everything stored.
pub async fn totals(store: &Store) -> Result<Totals, Error> { todo!() }
