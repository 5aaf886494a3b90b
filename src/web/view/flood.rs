//! Senders of more events than are stored, as pages and JSON show them.

use super::{RoomRef, Stamp, person_title};
use crate::store::ingest::sender_limit::Flood;
use serde::Serialize;
use utoipa::ToSchema;

/// A sender of more events into one room than any client sends. Up to a limit they are stored; the
/// rest is only counted. The state in between is then unknown; who is there now is read from the
/// room's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FloodFacts {
    pub room: RoomRef,
    pub user_id: String,
    /// Events that were not stored; one that came twice counts twice.
    pub events: i64,
    /// The hours in which they came, from the start of the first to the end of the last.
    pub from_ms: i64,
    pub from_at: Stamp,
    pub until_ms: i64,
    pub until_at: Stamp,
}

impl From<Flood> for FloodFacts {
    fn from(row: Flood) -> Self {
        Self {
            room: row.room.into(),
            user_id: row.user_id,
            events: row.events,
            from_ms: row.from_ms,
            from_at: Stamp(row.from_ms),
            until_ms: row.until_ms,
            until_at: Stamp(row.until_ms),
        }
    }
}

impl FloodFacts {
    /// The sender's title.
    #[must_use]
    pub fn title(&self) -> String {
        if self.user_id.is_empty() {
            return "Somebody".to_owned();
        }

        person_title(None, &self.user_id)
    }
}
