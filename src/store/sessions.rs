//! Reads and writes of sessions, which pages call calls.
use super::row::{Call, CallFilter, Cursor, RoomName, SpanNumbers, Viewer};
use super::{Error, Store};

/// Calls active at `now`, newest first.
pub async fn active(store: &Store, viewer: Viewer, now: i64) -> Result<Vec<Call>, Error> { todo!() }
/// One page of calls, newest first, after `cursor`.
pub async fn page(store: &Store, viewer: Viewer, filter: &CallFilter, cursor: Option<&Cursor>, limit: i64, now: i64) -> Result<Vec<Call>, Error> { todo!() }
/// How many calls match.
pub async fn count(store: &Store, viewer: Viewer, filter: &CallFilter, now: i64) -> Result<i64, Error> { todo!() }
/// The call with this id, or the one that this member event belongs to.
pub async fn find(store: &Store, viewer: Viewer, id_or_event: &str) -> Result<Option<Call>, Error> { todo!() }
/// The numbers of the span `[from, to)`.
pub async fn numbers(store: &Store, viewer: Viewer, from: i64, to: i64) -> Result<SpanNumbers, Error> { todo!() }
/// Devices in calls at once as steps `(time ms, devices)` from `from` to `to`; the first step is at `from`.
pub async fn concurrency(store: &Store, viewer: Viewer, from: i64, to: i64) -> Result<Vec<(i64, i64)>, Error> { todo!() }
/// `(started_ms, peak)` of the calls of one room since `from`, oldest first.
pub async fn starts(store: &Store, viewer: Viewer, room_id: &str, from: i64) -> Result<Vec<(i64, i64)>, Error> { todo!() }
