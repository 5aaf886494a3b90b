//! Alerts: what can be told, by which rules, and to whom. How alerts open, are told and end is in
//! [`step`]. The present is an argument.

pub mod message;
pub mod quiet;
pub mod step;

use super::finding_kind::{FindingKind, Severity};
use super::words::words;
use quiet::QuietHours;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum people that an alert names.
pub const PEOPLE_MOST: usize = 20;
/// What happened once is told if it is not older than this, ms: after a downtime nobody wants the
/// whole of it.
pub const ONCE_AGE_MAX_MS: i64 = 60 * 60 * 1000;

words! {
    /// What an alert can be about.
    pub enum AlertKind {
        CallBegan = "call_began",
        CallEnded = "call_ended",
        /// Somebody is alone in a call, and waits.
        Alone = "alone",
        /// Somebody rang, and nobody came.
        MissedRing = "missed_ring",
        /// A membership still counts whose device is gone.
        Ghost = "ghost",
        /// People in a room cannot hear each other.
        Split = "split",
        SfuDown = "sfu_down",
        /// A check of a server finds that calls fail there.
        ServerBroken = "server_broken",
        /// Nothing is known of the present.
        Blind = "blind",
        /// Our own homeserver is not heard.
        HomeserverUnheard = "homeserver_unheard",
        DiskFull = "disk_full",
        /// The homeserver does not accept our access token or login.
        TokenDead = "token_dead",
    }
}

words! {
    /// What is told of an alert.
    pub enum AlertEvent {
        Fired = "fired",
        /// It is still so.
        Repeated = "repeated",
        Resolved = "resolved",
    }
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::CallBegan,
        Self::CallEnded,
        Self::Alone,
        Self::MissedRing,
        Self::Ghost,
        Self::Split,
        Self::SfuDown,
        Self::ServerBroken,
        Self::Blind,
        Self::HomeserverUnheard,
        Self::DiskFull,
        Self::TokenDead,
    ];

    /// Does it happen once, so that it is told once and never over?
    #[must_use]
    pub fn is_once(self) -> bool {
        matches!(self, Self::CallBegan | Self::CallEnded | Self::MissedRing)
    }

    /// Is it about this Callscope, so that it is known while nothing else is?
    #[must_use]
    pub fn is_about_observer(self) -> bool {
        matches!(
            self,
            Self::Blind | Self::HomeserverUnheard | Self::DiskFull | Self::TokenDead
        )
    }

    /// How grave it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::CallBegan | Self::CallEnded | Self::Alone | Self::MissedRing => Severity::Minor,
            Self::Ghost | Self::ServerBroken => Severity::Warning,
            Self::Split
            | Self::SfuDown
            | Self::Blind
            | Self::HomeserverUnheard
            | Self::DiskFull
            | Self::TokenDead => Severity::Grave,
        }
    }
}

/// The room that a condition is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRoom {
    pub room_id: String,
    pub alias: Option<String>,
    /// Its name.
    pub title: Option<String>,
}

impl AlertRoom {
    /// What people call it: its name, else its alias, else its id.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        let name = self.title.as_deref().or(self.alias.as_deref());

        name.unwrap_or(&self.room_id)
    }

    /// Is it this room, by id or alias?
    #[must_use]
    pub fn is_called(&self, id_or_alias: &str) -> bool {
        self.room_id == id_or_alias || self.alias.as_deref() == Some(id_or_alias)
    }
}

/// What is told beside the kind. Times in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFacts {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slot_id: Option<String>,
    /// User ids, at most [`PEOPLE_MOST`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub people: Vec<String>,
    /// How many people were in the call, and most at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub people_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finding: Option<FindingKind>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<String>,
    /// The host of the SFU.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sfu: Option<String>,
    /// Why, in words of others, cut.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// Something that is so now, or that happened lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub kind: AlertKind,
    /// What it is about: the same for the same thing, whatever else is known of it.
    pub subject: String,
    /// What it was about before more was known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub former_subjects: Vec<String>,
    /// `None` if it concerns no single room.
    pub room: Option<AlertRoom>,
    /// The homeservers that it concerns.
    pub servers: Vec<String>,
    pub severity: Severity,
    /// Since when it is so, or when it happened, ms.
    pub since_ms: i64,
    pub facts: AlertFacts,
}

/// A rule of the configuration. Times in ms.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    pub name: String,
    pub on: BTreeSet<AlertKind>,
    /// Ids or aliases; empty = all rooms.
    pub rooms: Vec<String>,
    /// Names of servers; empty = all.
    pub servers: Vec<String>,
    /// What is less grave is not told.
    pub severity: Severity,
    /// How long it must be so before it is told.
    pub for_ms: i64,
    /// After which time it is told again while it is so; `None` = never.
    pub repeat_ms: Option<i64>,
    /// It is told, too, that it is over.
    pub tells_end: bool,
    pub quiet: Option<QuietHours>,
    /// Names of channels.
    pub channels: Vec<String>,
}

impl AlertRule {
    /// Is the rule about this condition?
    #[must_use]
    pub fn matches(&self, condition: &Condition) -> bool {
        let is_asked = |room: &AlertRoom| self.rooms.iter().any(|asked| room.is_called(asked));
        let is_in_room = self.rooms.is_empty() || condition.room.as_ref().is_some_and(is_asked);
        let concerns = |server: &String| condition.servers.contains(server);

        self.on.contains(&condition.kind)
            && is_in_room
            && (self.servers.is_empty() || self.servers.iter().any(concerns))
            && condition.severity.rank() <= self.severity.rank()
    }

    /// Is it quiet at `now`, ms?
    #[must_use]
    pub fn is_quiet(&self, now: i64) -> bool {
        self.quiet.as_ref().is_some_and(|quiet| quiet.covers(now))
    }
}

/// Of what a channel may hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelScope {
    pub name: String,
    /// It is the operator's, and may hear of everything.
    pub is_operator: bool,
    /// The rooms of which it may hear, by id or alias.
    pub rooms: Vec<String>,
}

impl ChannelScope {
    /// May it hear of something in this room? What concerns no room is for operators.
    #[must_use]
    pub fn may_hear(&self, room: Option<&AlertRoom>) -> bool {
        let is_own = |room: &AlertRoom| self.rooms.iter().any(|own| room.is_called(own));

        self.is_operator || room.is_some_and(is_own)
    }
}

/// When the program first had each rule with each kind, ms. What happened before is not told.
pub type FirstSights = BTreeMap<(String, AlertKind), i64>;

/// Of what the present is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// Nothing is known of the present, of no room.
    pub is_blind: bool,
    /// Rooms whose present is known.
    pub known_rooms: BTreeSet<String>,
    /// Rooms that are observed, but whose present is unknown now.
    pub hidden_rooms: BTreeSet<String>,
    /// The program just started: that it hears nothing yet is no trouble, and no end of one.
    pub is_starting: bool,
    /// More calls run than were read.
    pub has_unread_calls: bool,
    /// Subjects of which it is not known any more whether it is so.
    pub unknown_subjects: BTreeSet<(AlertKind, String)>,
}

/// Is the present of an alert known?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Known,
    Unknown,
    /// The room is not observed any more.
    Gone,
}

impl Knowledge {
    /// Is it known whether this kind of thing is so in this room?
    #[must_use]
    pub fn sight(&self, kind: AlertKind, room_id: Option<&str>) -> Sight {
        if kind.is_about_observer() {
            return Sight::Known;
        }

        match room_id {
            _ if self.is_blind => Sight::Unknown,
            None => Sight::Known,
            Some(room_id) if self.known_rooms.contains(room_id) => Sight::Known,
            Some(room_id) if self.hidden_rooms.contains(room_id) => Sight::Unknown,
            Some(_) => Sight::Gone,
        }
    }

    /// Is it known that something is over which is not so any more, as far as was read?
    #[must_use]
    pub fn sight_of_end(&self, kind: AlertKind, subject: &str, room_id: Option<&str>) -> Sight {
        let is_starting = self.is_starting && kind.is_about_observer();
        let is_unread = self.has_unread_calls && room_id.is_some();
        let subject = (kind, subject.to_owned());
        if is_starting || is_unread || self.unknown_subjects.contains(&subject) {
            return Sight::Unknown;
        }

        self.sight(kind, room_id)
    }
}
