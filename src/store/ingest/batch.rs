//! What one homeserver answer brings, ready to be written: events by room, position, invitations;
//! and what the commit changed.

use super::history_jobs::job::JobKey;
use super::invitations::Invitation;
use crate::rtc::event::{Reason, RoomEvent};
use crate::rtc::sieve::OTHER;
use crate::rtc::words::{JobEnd, JobKind, Source, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One event as it came.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub event: Arc<RoomEvent>,
    /// The raw event as JSON text.
    pub json: String,
    /// It came in a timeline, not in a state section: reading history may stop here.
    pub in_timeline: bool,
}

/// What one homeserver answer says of one room.
#[derive(Debug, Clone)]
pub struct RoomBatch {
    pub room_id: String,
    pub source: Source,
    pub arrivals: Vec<Arrival>,
    /// Entries that are not valid events: reason and JSON text.
    pub malformed: Vec<(Reason, String)>,
    /// Events that were discarded because we did not request their type: number by type.
    pub unasked: Unasked,
    /// Our membership of the room now, if this answer states it.
    pub watch: Option<Watch>,
    /// A full state was read.
    pub snapshot: Option<StateSnapshot>,
    /// Events are missing before this answer: a read of history is needed.
    pub unread: Option<UnreadHistory>,
    /// A page of a read of the room's history.
    pub page: Option<ReadPage>,
    /// This page is the first of a new read that continues one that had ended.
    pub goes_on: Option<ReadContinuation>,
    /// This batch belongs to the first answer about the room, which may be written in several
    /// pieces.
    pub is_first_answer: bool,
}

impl RoomBatch {
    /// A batch with nothing in it yet.
    #[must_use]
    pub fn new(room_id: &str, source: Source) -> Self {
        Self {
            room_id: room_id.to_owned(),
            source,
            arrivals: Vec::new(),
            malformed: Vec::new(),
            unasked: Unasked::new(),
            watch: None,
            snapshot: None,
            unread: None,
            page: None,
            goes_on: None,
            is_first_answer: false,
        }
    }

    /// Notes that events are missing before this answer, and where a read of them begins.
    pub fn note_unread(&mut self, kind: JobKind, token: Option<String>) {
        self.unread = Some(UnreadHistory { kind, token });
    }

    /// Counts an event that we did not request.
    pub fn count_unasked(&mut self, kind: String) {
        count_by_type(&mut self.unasked, kind, 1);
    }
}

impl RoomBatch {
    /// Does the answer say that an invitation to this room is no longer open? We are in the room,
    /// or sync says that we left it. A poll that we are not in the room says nothing: a user who
    /// was removed may be invited again.
    pub(super) fn answers_invitation(&self) -> bool {
        match self.watch {
            Some(Watch::Joined) => true,
            Some(Watch::Left) => self.source == Source::Sync,
            _ => false,
        }
    }
}

/// Everything one homeserver answer brings.
#[derive(Debug, Clone)]
pub struct Batch {
    pub vantage_id: String,
    /// Our clock when the answer came, ms.
    pub seen_ms: i64,
    /// The next position of the sync stream.
    pub position: Option<String>,
    pub rooms: Vec<RoomBatch>,
    pub invitations: Vec<Invitation>,
}

/// What a commit changed, for [`crate::changes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Room and slot whose memberships changed.
    pub slots: BTreeSet<(String, String)>,
    /// Rooms whose name or state changed, or that are new.
    pub rooms: BTreeSet<String>,
    /// Events that were not known.
    pub new_events: usize,
    /// The sync stream was heard for the first time after a stop or a break: the state of the rooms
    /// should be polled.
    pub heard_anew: bool,
    /// Contents of redacted events were deleted.
    pub taken_back: bool,
    /// A ban that redacts all events of a user is not fully applied yet:
    /// [`super::write::redact_next_of_ban`] continues.
    pub has_open_bans: bool,
    /// Users whose display names were deleted with redacted events.
    pub unnamed: BTreeSet<String>,
    /// Rooms that asked that their calls are not recorded; what was recorded of them is deleted.
    pub opted_out: BTreeSet<String>,
    /// Rooms into which somebody sent more events than are stored. Their state should be polled
    /// when that is over.
    pub set_aside: BTreeSet<String>,
}

/// One poll of the full state of a room.
#[derive(Debug, Clone)]
pub struct StateSnapshot {
    /// Our clock when the request was sent, ms: what we learned since then may be newer than the
    /// answer.
    pub asked_ms: i64,
    /// The ids of the member events in the state.
    pub members: BTreeSet<String>,
    /// The users whose membership of the room is in the state, from all parts of the answer: a
    /// large state comes in several parts, and only the events of the last part are in the batch.
    pub people: BTreeSet<String>,
}

/// History that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadHistory {
    /// A back-fill or a gap.
    pub kind: JobKind,
    /// Where it begins; `None` = at the newest event.
    pub token: Option<String>,
}

/// A new read that begins where another one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadContinuation {
    pub ended: JobKey,
    pub token: Option<String>,
}

/// One page of a read of history.
#[derive(Debug, Clone)]
pub struct ReadPage {
    pub read: JobKey,
    /// Where to continue; `None` = the read is done.
    pub token: Option<String>,
    /// Why it is done.
    pub ended_by: Option<JobEnd>,
    /// Events older than this, ms, are not wanted.
    pub horizon_ms: Option<i64>,
    /// The duration of the request, ms.
    pub took_ms: i64,
    /// Events at the page's end were too old and were dropped.
    pub is_cut: bool,
}

/// Maximum number of types counted by name in one answer, and for one account; the others are
/// counted together. Strangers choose the types.
pub(super) const KINDS_MAX: usize = 40;

/// Number of events by type.
pub type Unasked = BTreeMap<String, i64>;

/// Adds `events` to the count of a type, by its name while there are fewer than [`KINDS_MAX`] types
/// or if it is counted already, else under [`OTHER`].
pub(in crate::store) fn count_by_type(unasked: &mut Unasked, kind: String, events: i64) {
    let is_named = unasked.len() < KINDS_MAX || unasked.contains_key(&kind);
    let kind = if is_named { kind } else { OTHER.to_owned() };
    *unasked.entry(kind).or_insert(0) += events;
}
