//! Reads and writes of rooms.
use super::row::{Room, Viewer};
use super::{Error, Store};

/// All rooms: with a running call first, then by newest call, then by name.
pub async fn list(store: &Store, viewer: Viewer, now: i64) -> Result<Vec<Room>, Error> { todo!() }
/// One room by id or alias.
pub async fn find(store: &Store, viewer: Viewer, id_or_alias: &str, now: i64) -> Result<Option<Room>, Error> { todo!() }
