//! What reads of the store return: rows of facts (ids, milliseconds, counts), shared by pages and
//! JSON.

use crate::rtc::finding_kind::{FindingKind, Sureness};
use crate::rtc::membership::Membership;
use crate::rtc::power::SendAccess;
use crate::rtc::words::{Mode, Source, Watch};
use crate::store::Error;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A room as it is named on a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomName {
    pub room_id: String,
    pub name: Option<String>,
    pub alias: Option<String>,
    /// The title by its people, where it has neither name nor alias and the viewer may see who is
    /// in it.
    pub people_title: Option<String>,
}

impl RoomName {
    /// From the columns of the same names.
    pub(in crate::store) fn from_row(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            room_id: row.try_get("room_id")?,
            name: row.try_get("name")?,
            alias: row.try_get("alias")?,
            people_title: row.try_get("people_title")?,
        })
    }
}

/// A session: what pages call a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub id: String,
    pub room: RoomName,
    pub slot_id: String,
    pub application: String,
    pub started_ms: i64,
    /// When the last membership ends unless renewed, ms. Active is `until_ms > now`.
    pub until_ms: i64,
    /// Distinct people, devices and stays over the whole call.
    pub people: i64,
    pub devices: i64,
    pub memberships: i64,
    /// Maximum devices at once, and maximum people at once.
    pub peak: i64,
    pub peak_users: i64,
    /// Homeservers of the people, sorted.
    pub servers: Vec<String>,
    /// The intent that all members who state one agree on: `audio`, `video`, ...
    pub intent: Option<String>,
    pub first_event_id: String,
    /// The last poll of the room's full state, ms, if the room can no longer be seen; `None` while
    /// it can.
    pub lost_ms: Option<i64>,
}

impl Call {
    /// Does the call run, as far as can be seen?
    #[must_use]
    pub fn is_active(&self, now: i64) -> bool {
        self.until_ms > now && self.lost_ms.is_none()
    }

    /// Until when the call is known, ms, if its room was lost while it ran; `None` = it is fully
    /// known.
    #[must_use]
    pub fn known_until_ms(&self, now: i64) -> Option<i64> {
        let lost_ms = self.lost_ms.filter(|_| self.until_ms > now)?;
        Some(lost_ms.max(self.started_ms))
    }

    /// When the call ended, ms; `None` while it runs.
    #[must_use]
    pub fn ended_ms(&self, now: i64) -> Option<i64> {
        (self.until_ms <= now).then_some(self.until_ms)
    }

    /// The length of the call, or its length until `now`, ms.
    #[must_use]
    pub fn duration_ms(&self, now: i64) -> i64 {
        (self.until_ms.min(self.known_until_ms(now).unwrap_or(now)) - self.started_ms).max(0)
    }
}

/// A call in which one person was alone, with few devices. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoneCall {
    pub id: String,
    pub slot_id: String,
    pub application: String,
    pub user_id: String,
    pub started_ms: i64,
    pub until_ms: i64,
}

/// One stay of one device in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id is that of its row. Its `end_event_id` is also the event of the room that ended it.
    pub stay: Membership,
    pub session_id: String,
    /// Display name in the room, where known.
    pub name: Option<String>,
}

/// Which calls a list asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFilter {
    pub room: Option<String>,
    pub active: Option<bool>,
    /// Calls that still ran at or after this time, ms.
    pub from_ms: Option<i64>,
    /// Calls that started before this time, ms.
    pub to_ms: Option<i64>,
    pub more: More,
}

/// Further conditions of a list of calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    pub application: Option<String>,
    /// Calls with somebody of this homeserver.
    pub server: Option<String>,
    /// Calls with this user.
    pub user: Option<String>,
    /// True: two or more people were in it at once; false: never more than one.
    pub group: Option<bool>,
    /// Minimum length of the call, or its length so far, ms.
    pub min_ms: Option<i64>,
    /// Minimum number of people over the whole call.
    pub min_people: Option<i64>,
    /// Only this call.
    pub id: Option<String>,
    /// What all members intend who say so, such as `audio`.
    pub intent: Option<String>,
    /// Calls with a finding.
    pub finding: Option<FindingOfCall>,
    /// A word in the name, alias or id of the room, in the name or id of a person, or in a server's
    /// name.
    pub q: Option<String>,
}

/// Which finding a call must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingOfCall {
    /// Of this kind; of any if `None`.
    pub kind: Option<FindingKind>,
    /// So sure; in any way if `None`.
    pub sure: Option<Sureness>,
    /// The calls of which no findings are stored, and that have such a one.
    pub computed: Vec<String>,
}

/// How many calls match a filter; if `more`, at least this many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matching {
    pub calls: i64,
    pub more: bool,
}

/// A place in a list of calls, newest first: the last call already shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub started_ms: i64,
    pub id: String,
}

/// One stored event behind a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub event_id: String,
    /// The wire type.
    pub kind: String,
    pub sender: String,
    /// Display name of the sender in the room, where known.
    pub name: Option<String>,
    pub state_key: Option<String>,
    pub origin_server_ts: i64,
    /// When our first live copy came, ms; `None` if only back-fill brought it.
    pub received_ms: Option<i64>,
    /// How it first came.
    pub source: Source,
    /// Why it was rejected, if it was.
    pub rejected: Option<String>,
    /// The raw event, JSON text as stored.
    pub json: String,
}

/// An event that could not be used, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub room: RoomName,
    pub event_id: String,
    pub kind: String,
    pub sender: String,
    pub origin_server_ts: i64,
    pub reason: String,
    /// Its number in the order in which events were stored, and when it was stored, ms: null for
    /// events stored by older versions.
    pub stream: i64,
    pub seen_ms: Option<i64>,
    pub json: String,
}

/// The predecessor or successor of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub watch: Watch,
    /// Why it cannot be joined or read, in plain words.
    pub error: Option<String>,
}

/// A watched room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRow {
    pub room: RoomName,
    pub version: Option<String>,
    pub encrypted: bool,
    pub watch: Watch,
    pub history_visibility: Option<String>,
    /// The room that replaced this one, if it was upgraded, and since when, ms.
    pub replaced_by: Option<String>,
    pub replaced_ms: Option<i64>,
    /// Our membership of it; `None` = none so far.
    pub successor: Option<Neighbour>,
    /// The room that the successor's creation names as its predecessor.
    pub successor_names: Option<String>,
    /// The room that this one names as its predecessor, our membership of that room, the room that
    /// the predecessor names as its successor, and since when, ms.
    pub predecessor: Option<String>,
    pub predecessor_watch: Option<Watch>,
    pub predecessor_names: Option<String>,
    pub predecessor_replaced_ms: Option<i64>,
    /// Types of events in use that not everybody may send to join a call or to open its slot.
    pub access: Vec<SendAccess>,
    /// Memberships that a state reset removed or brought back within the last 24 hours.
    pub resets: i64,
    pub first_seen_ms: i64,
    /// The last poll of its full state, ms.
    pub polled_ms: Option<i64>,
    /// Why the last poll of the room failed, in plain words.
    pub error: Option<String>,
    /// Number of calls ever, number of running calls, start of the newest call (ms).
    pub calls: i64,
    pub active: i64,
    pub last_call_ms: Option<i64>,
    /// Sticky member events that came encrypted: they were seen, but cannot be counted.
    pub unreadable: i64,
    pub rejected: i64,
    /// History: pages read so far, and whether a read of it is still open.
    pub history_pages: i64,
    pub history_open: bool,
    /// The oldest event stored, ms.
    pub oldest_event_ms: Option<i64>,
}

/// A homeserver account that we observe from, and its state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vantage {
    pub id: String,
    pub user_id: String,
    pub homeserver: String,
    pub device_id: Option<String>,
    pub mode: Mode,
    /// Server software and version, if known.
    pub software: Option<String>,
    /// Its features: MSC4140, MSC4354.
    pub delayed_events: bool,
    pub sticky_events: bool,
    /// The interval of its polls, if known.
    pub polls_every_ms: Option<i64>,
    pub started_ms: i64,
    pub first_sync_ms: Option<i64>,
    pub last_sync_ms: Option<i64>,
    pub last_poll_ms: Option<i64>,
    /// The current error, in plain words, and since when it lasts; `None` = no error.
    pub error: Option<String>,
    pub error_since_ms: Option<i64>,
    /// Since when it does not hear its homeserver; `None` if it does, even if other work fails.
    pub unheard_since_ms: Option<i64>,
    /// The last error that is over, and when it began.
    pub last_error: Option<String>,
    pub last_error_ms: Option<i64>,
    /// Errors since the observer was installed.
    pub errors: i64,
    /// Invitations that policy did not accept.
    pub invites_refused: i64,
    /// Since when the homeserver has been preparing its first answer, ms.
    pub preparing_ms: Option<i64>,
    /// The account was refused: nothing is tried again until somebody changes something.
    pub needs_action: bool,
    /// When the homeserver last reported its features, ms; `None` = never, so nothing is known of
    /// them.
    pub capabilities_ms: Option<i64>,
}

/// Counts of everything stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub rooms: i64,
    pub events: i64,
    pub memberships: i64,
    pub calls: i64,
    pub snapshots: i64,
    pub rejected: i64,
    pub unreadable: i64,
    /// `None` for somebody who may not see all of it.
    pub database_bytes: Option<i64>,
    pub oldest_event_ms: Option<i64>,
}

/// The numbers of one span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanNumbers {
    pub calls: i64,
    /// Calls that were seen completely: start, end and everything between.
    pub calls_exact: i64,
    pub people: i64,
    /// Device time in calls within the span, ms: ten devices for six minutes are one hour.
    pub together_ms: i64,
    /// The same without its inferred part ([`super::stats::usage`]).
    pub together_seen_ms: i64,
    pub longest_ms: i64,
    pub longest_id: Option<String>,
    pub longest_room: Option<RoomName>,
    pub peak: i64,
    pub peak_ms: Option<i64>,
    /// Stays that touch the span: a measure of the cost.
    pub stays: i64,
}
