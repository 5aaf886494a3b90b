//! A watched room and a vantage as pages and JSON show them.

use super::liveness::SeenFacts;
use super::{
    CallFacts, NowFacts, OwnFacts, RoomFindingFacts, RoomLink, RoomNeedFacts, RoomRef, Stamp,
};
use crate::rtc::id::server_of;
use crate::rtc::present::{Unknown, UnknownReason};
use crate::rtc::words::{Mode, Watch};
use crate::store::ingest::invitations::PendingInvitation;
use crate::store::model;
use serde::Serialize;
use utoipa::ToSchema;

/// A watched room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomFacts {
    #[serde(flatten)]
    pub room: RoomRef,
    pub version: Option<String>,
    pub encrypted: bool,
    /// `joined`, `peeked`, `left` or `blind`.
    pub watch: Watch,
    pub history_visibility: Option<String>,
    pub replaced_by: Option<String>,
    /// Since when it is replaced.
    pub replaced_ms: Option<i64>,
    pub replaced_at: Option<Stamp>,
    /// The room that took the place of this one: how we stand towards it, and whether it names this
    /// one.
    pub successor: Option<RoomLink>,
    /// The room that this one says it replaced.
    pub predecessor: Option<RoomLink>,
    /// The room whose tombstone names this one as its successor, if this one does not name it or
    /// cannot be read.
    pub replaces: Option<String>,
    /// Problems of the room itself.
    pub findings: Vec<RoomFindingFacts>,
    /// Why it needs a look and what to do, including the findings; empty if there is nothing.
    pub needs: Vec<RoomNeedFacts>,
    pub first_seen_ms: i64,
    pub first_seen_at: Stamp,
    pub polled_ms: Option<i64>,
    pub polled_at: Option<Stamp>,
    pub error: Option<String>,
    pub calls: i64,
    /// Calls that run now; those in which only devices are left that are probably gone are
    /// `stuck_calls`.
    pub active_calls: i64,
    pub stuck_calls: i64,
    /// People in its calls now, without those that are probably gone; those are `ghosts_now`.
    pub people_now: usize,
    pub ghosts_now: usize,
    #[serde(flatten)]
    pub seen: SeenFacts,
    pub last_call_ms: Option<i64>,
    pub last_call_at: Option<Stamp>,
    /// Sticky member events that came as ciphertext: seen, not countable.
    pub unreadable: i64,
    pub rejected: i64,
    pub history_pages: i64,
    pub history_open: bool,
    pub oldest_event_ms: Option<i64>,
    pub oldest_event_at: Option<Stamp>,
    /// Its calls were derived by older rules or other settings, and are just being derived again.
    pub older_rules: bool,
}

impl From<model::RoomRow> for RoomFacts {
    fn from(row: model::RoomRow) -> Self {
        let is_seen = row.watch.is_read();
        let successor = RoomLink::successor(&row);
        let predecessor = RoomLink::predecessor(&row);
        let findings = RoomFindingFacts::findings_of_room(&row);

        Self {
            room: row.room.into(),
            version: row.version,
            encrypted: row.encrypted,
            watch: row.watch,
            history_visibility: row.history_visibility,
            replaced_by: row.replaced_by,
            replaced_ms: row.replaced_ms,
            replaced_at: row.replaced_ms.map(Stamp),
            successor,
            predecessor,
            replaces: None,
            findings,
            needs: Vec::new(),
            first_seen_ms: row.first_seen_ms,
            first_seen_at: Stamp(row.first_seen_ms),
            polled_ms: row.polled_ms,
            polled_at: row.polled_ms.map(Stamp),
            error: row.error,
            calls: row.calls,
            active_calls: if is_seen { row.active } else { 0 },
            stuck_calls: 0,
            people_now: 0,
            ghosts_now: 0,
            seen: SeenFacts::default(),
            last_call_ms: row.last_call_ms,
            last_call_at: row.last_call_ms.map(Stamp),
            unreadable: row.unreadable,
            rejected: row.rejected,
            history_pages: row.history_pages,
            history_open: row.history_open,
            oldest_event_ms: row.oldest_event_ms,
            oldest_event_at: row.oldest_event_ms.map(Stamp),
            older_rules: false,
        }
    }
}

/// The state of a room as a pill: class, icon and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomPill {
    pub class: &'static str,
    pub icon: &'static str,
    pub words: &'static str,
}

impl RoomFacts {
    /// The room with what is known about the present: why it is unknown (`None` = it is known), and
    /// its running calls, all of them. It must have its findings already.
    #[must_use]
    pub fn with_now(self, unknown: Option<Unknown>, active: &[&CallFacts]) -> Self {
        let now = NowFacts::count_members(active.iter().copied());
        // Then these calls ran when the room was last seen. Not so where only encrypted memberships
        // are hidden, since the others are seen as ever.
        let is_unseen = unknown.is_some_and(|unknown| unknown.why != UnknownReason::Encrypted);
        let findings = self.findings.into_iter();
        let findings = findings
            .map(|finding| finding.with_now(is_unseen))
            .collect();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);

        Self {
            active_calls: count(now.calls_now),
            stuck_calls: count(now.calls_stuck),
            people_now: now.people_now,
            ghosts_now: now.ghosts_now,
            seen: unknown.into(),
            findings,
            ..self
        }
    }

    /// Was it asked for, and cannot be read?
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.watch == Watch::Blind
    }

    /// Is it read by polls, without being joined?
    #[must_use]
    pub fn is_peeked(&self) -> bool {
        self.watch == Watch::Peeked
    }

    /// Has it never been read?
    #[must_use]
    pub fn is_never_read(&self) -> bool {
        self.polled_ms.is_none() && self.oldest_event_ms.is_none() && self.calls == 0
    }

    /// The words for "a call runs", or "a call ran" if the present is unknown.
    #[must_use]
    pub fn runs_words(&self) -> &'static str {
        if self.seen.unknown && !self.seen.is_encrypted() {
            "ran when last seen"
        } else {
            "still runs"
        }
    }

    /// Is some of it hidden from us?
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        !self.watch.is_read() || self.error.is_some() || self.unreadable > 0
    }

    /// Has it been replaced by a room that we follow and that names this one?
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|link| link.is_followed() && link.names_this_room == Some(true))
    }

    /// The state of the room as a pill: the first of these words that applies.
    #[must_use]
    pub fn pill(&self) -> RoomPill {
        let (class, icon, words) = match self.watch {
            _ if self.replaced_by.is_some() && self.needs_look() => ("warn", "alert", "Replaced"),
            _ if self.replaced_by.is_some() => ("", "info", "Moved"),
            Watch::Blind => ("blind", "eye-off", "Blind"),
            Watch::Left => ("warn", "alert", "Left"),
            _ if self.error.is_some() => ("warn", "alert", "Last look failed"),
            _ if self.unreadable > 0 => ("blind", "eye-off", "Partly blind"),
            _ if self.seen.unknown => ("blind", "eye-off", "Unknown now"),
            _ if self.needs_look() => ("warn", "alert", "Needs a look"),
            _ if self.history_open => ("", "clock", "Reading history"),
            Watch::Peeked => ("ok", "check", "Polled"),
            Watch::Joined => ("ok", "check", "Following"),
        };

        RoomPill { class, icon, words }
    }
}

/// An invitation of the account to a room that it is not in yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvitationFacts {
    /// The room as the inviter's server names it.
    #[serde(flatten)]
    pub room: RoomRef,
    /// Full user id; empty where the homeserver does not say.
    pub inviter: String,
    pub server: String,
    pub since_ms: i64,
    pub since_at: Stamp,
    /// The configuration allows it and the room is being joined; else it waits until one of the
    /// settings in `allow_with` has the value beside it, and a restart.
    pub allowed: bool,
    pub allow_with: Vec<SettingFacts>,
}

/// A value to add to a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SettingFacts {
    /// As it is called in the configuration file, and in the environment.
    pub key: &'static str,
    pub env: &'static str,
    pub value: String,
}

impl From<PendingInvitation> for InvitationFacts {
    fn from(pending: PendingInvitation) -> Self {
        let server = server_of(&pending.inviter).to_owned();
        let room_id = pending.room.room_id.clone();
        let setting = |key, env, value: &str| SettingFacts {
            key,
            env,
            value: value.to_owned(),
        };

        // Any one of these settings would allow it. The inviter of a malformed invitation has no
        // server, so only the room can be named.
        let allow_with = if pending.accepted {
            Vec::new()
        } else if server.is_empty() {
            vec![setting("rooms", "CALLSCOPE_ROOMS", &room_id)]
        } else {
            vec![
                setting(
                    "invites.allow_users",
                    "CALLSCOPE_INVITES_ALLOW_USERS",
                    &pending.inviter,
                ),
                setting(
                    "invites.allow_servers",
                    "CALLSCOPE_INVITES_ALLOW_SERVERS",
                    &server,
                ),
            ]
        };

        Self {
            room: pending.room.into(),
            inviter: pending.inviter,
            server,
            since_ms: pending.seen_ms,
            since_at: Stamp(pending.seen_ms),
            allowed: pending.accepted,
            allow_with,
        }
    }
}

/// A homeserver account that observes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VantageFacts {
    pub id: String,
    pub user_id: String,
    pub homeserver: String,
    pub device_id: Option<String>,
    /// `follow` or `poll`.
    pub mode: Mode,
    pub software: Option<String>,
    pub delayed_events: bool,
    pub sticky_events: bool,
    pub started_ms: i64,
    pub started_at: Stamp,
    pub first_sync_ms: Option<i64>,
    pub first_sync_at: Option<Stamp>,
    pub last_sync_ms: Option<i64>,
    pub last_sync_at: Option<Stamp>,
    pub last_poll_ms: Option<i64>,
    pub last_poll_at: Option<Stamp>,
    pub error: Option<String>,
    pub error_since_ms: Option<i64>,
    pub error_since_at: Option<Stamp>,
    /// Since when it receives nothing from its homeserver; null if it does, even if other work
    /// fails.
    pub unheard_since_ms: Option<i64>,
    pub unheard_since_at: Option<Stamp>,
    pub last_error: Option<String>,
    pub last_error_ms: Option<i64>,
    pub last_error_at: Option<Stamp>,
    pub errors: i64,
    pub invites_refused: i64,
    /// Since when the homeserver has been preparing its first answer, which may take minutes; null
    /// once it came.
    pub preparing_since_ms: Option<i64>,
    pub preparing_since_at: Option<Stamp>,
    /// The homeserver refused the account. There is no retry until somebody changes something;
    /// `error` says what.
    pub needs_action: bool,
    /// When the homeserver last reported its capabilities. Null if it never did: then
    /// `delayed_events` and `sticky_events` mean nothing.
    pub capabilities_ms: Option<i64>,
    pub capabilities_at: Option<Stamp>,
    /// What the homeserver offers for calls; null if it has not been asked yet.
    pub own: Option<OwnFacts>,
}

impl From<model::Vantage> for VantageFacts {
    fn from(row: model::Vantage) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            homeserver: row.homeserver,
            device_id: row.device_id,
            mode: row.mode,
            software: row.software,
            delayed_events: row.delayed_events,
            sticky_events: row.sticky_events,
            started_ms: row.started_ms,
            started_at: Stamp(row.started_ms),
            first_sync_ms: row.first_sync_ms,
            first_sync_at: row.first_sync_ms.map(Stamp),
            last_sync_ms: row.last_sync_ms,
            last_sync_at: row.last_sync_ms.map(Stamp),
            last_poll_ms: row.last_poll_ms,
            last_poll_at: row.last_poll_ms.map(Stamp),
            error: row.error,
            error_since_ms: row.error_since_ms,
            error_since_at: row.error_since_ms.map(Stamp),
            unheard_since_ms: row.unheard_since_ms,
            unheard_since_at: row.unheard_since_ms.map(Stamp),
            last_error: row.last_error,
            last_error_ms: row.last_error_ms,
            last_error_at: row.last_error_ms.map(Stamp),
            errors: row.errors,
            invites_refused: row.invites_refused,
            preparing_since_ms: row.preparing_ms,
            preparing_since_at: row.preparing_ms.map(Stamp),
            needs_action: row.needs_action,
            capabilities_ms: row.capabilities_ms,
            capabilities_at: row.capabilities_ms.map(Stamp),
            own: None,
        }
    }
}

impl VantageFacts {
    /// Does it follow its homeserver live?
    #[must_use]
    pub fn follows(&self) -> bool {
        self.mode == Mode::Follow
    }

    /// Since when it receives nothing from its homeserver; else since when other work fails.
    #[must_use]
    pub fn troubled_since_ms(&self) -> Option<i64> {
        self.unheard_since_ms.or(self.error_since_ms)
    }

    /// When it last received anything, ms; `None` = never.
    #[must_use]
    pub fn heard_ms(&self) -> Option<i64> {
        self.last_sync_ms.max(self.last_poll_ms)
    }
}
