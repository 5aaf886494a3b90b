//! The calls that are summed: all, those of a room, or those of a homeserver's people; and what the
//! sums are.

/// The calls that are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    All,
    Room(&'a str),
    /// The people of one homeserver, and the calls that they were in.
    Server(&'a str),
}

impl<'a> Scope<'a> {
    /// This scope, or that of a room if there is one.
    pub(in crate::store) fn within(self, room_id: Option<&'a str>) -> Self {
        room_id.map_or(self, Scope::Room)
    }

    /// The one of three SQL texts (for all, for a room, for a server) that fits, and the value to
    /// bind to it; `None` = nothing is bound.
    pub(in crate::store) fn pick(self, sql: [&'static str; 3]) -> (&'static str, Option<&'a str>) {
        match self {
            Self::All => (sql[0], None),
            Self::Room(room_id) => (sql[1], Some(room_id)),
            Self::Server(server) => (sql[2], Some(server)),
        }
    }
}

/// The sums of one span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageSums {
    pub calls: i64,
    /// Calls that were seen completely: start, end and everything between.
    pub calls_exact: i64,
    pub people: i64,
    /// Device time in calls, ms; and without its inferred part.
    pub together_ms: i64,
    pub together_seen_ms: i64,
    /// The same by room and server of the people, most first.
    pub places: Vec<PlaceUsage>,
}

/// The part that people of one server spent in one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceUsage {
    pub room_id: String,
    pub server: String,
    pub together_ms: i64,
    pub together_seen_ms: i64,
}
