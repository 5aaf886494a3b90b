//! Reads and writes of raw events.
use super::row::{Evidence, Rejected, Viewer};
use super::{Error, Store};

/// The stored member events and related events behind one call, oldest first, at most `limit`; and how many there are.
pub async fn behind(store: &Store, viewer: Viewer, session_id: &str, limit: i64) -> Result<(Vec<Evidence>, i64), Error> { todo!() }
/// Rejected events, newest first, of one room or of all, at most `limit`.
pub async fn rejected(store: &Store, viewer: Viewer, room_id: Option<&str>, limit: i64) -> Result<Vec<Rejected>, Error> { todo!() }
/// How many events were rejected, by reason, most first.
pub async fn rejected_counts(store: &Store, viewer: Viewer) -> Result<Vec<(String, i64)>, Error> { todo!() }
