//! Reads and writes of memberships.
use super::row::{Member, Viewer};
use super::{Error, Store};

/// The members of these calls, by call, then by `joined_ms`, user and device.
pub async fn of(store: &Store, viewer: Viewer, session_ids: &[String]) -> Result<Vec<Member>, Error> { todo!() }
