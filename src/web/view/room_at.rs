//! The facts for the time machine, the ring marks and the zombies.

use super::{CallFacts, MemberFacts, RoomRef, Stamp, format, person_title};
use crate::rtc::coverage::Cover;
use crate::rtc::present::UnknownReason;
use crate::rtc::related::{self, RelatedKind};
use crate::rtc::ring::RingOutcome;
use crate::store::model;
use crate::store::read::zombies::Zombie;
use serde::Serialize;
use utoipa::ToSchema;

/// One call at one moment: those who were in it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CallThen {
    pub call_id: String,
    pub slot_id: String,
    pub members: Vec<MemberFacts>,
}

/// A room at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Moment {
    pub room: RoomRef,
    pub at_ms: i64,
    pub at_at: Stamp,
    /// How that moment is known: `live`, `polled`, `backfilled`, `gap` or `not_visible`.
    pub coverage: Cover,
    /// It is not known, or not completely, who was there then. An empty `data` then does not mean
    /// that nobody was there.
    pub unknown: bool,
    /// Null where it is known. `not_watched` (nobody watched then, or history is hidden from the
    /// account), or one of the reasons for which the present of a room is not known.
    pub unknown_why: Option<UnknownReason>,
    pub data: Vec<CallThen>,
    /// How many calls ran then. If they are very many, `data` has those with most people.
    pub calls_total: i64,
    /// `data` has everybody who was there, as far as is known. If false, there were more calls, or
    /// one of them is very large and only some of its stays were read.
    pub whole: bool,
}

impl Moment {
    /// The calls that ran then, reduced to the stays of that moment.
    #[must_use]
    pub fn new(
        room: RoomRef,
        at_ms: i64,
        coverage: Cover,
        unknown_why: Option<UnknownReason>,
        calls: Vec<CallFacts>,
    ) -> Self {
        let here = |member: &MemberFacts| {
            member.joined_ms <= at_ms
                && member
                    .left_ms
                    .or(member.expires_ms)
                    .is_none_or(|until| until > at_ms)
        };

        let calls_total = i64::try_from(calls.len()).unwrap_or(i64::MAX);
        let whole = calls.iter().all(|call| call.members_whole);
        let then = |call: CallFacts| CallThen {
            call_id: call.id,
            slot_id: call.slot_id,
            members: call.members.into_iter().filter(here).collect(),
        };

        let data = calls
            .into_iter()
            .map(then)
            .filter(|call| !call.members.is_empty())
            .collect();

        Self {
            room,
            at_ms,
            at_at: Stamp(at_ms),
            coverage,
            unknown: unknown_why.is_some(),
            unknown_why,
            data,
            calls_total,
            whole,
        }
    }

    /// The moment if this many calls ran, of which only some were read.
    #[must_use]
    pub fn with_total(self, calls_total: i64) -> Self {
        Self {
            whole: self.whole && calls_total <= self.calls_total,
            calls_total,
            ..self
        }
    }
}

impl CallThen {
    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", format::path_segment(&self.call_id))
    }
}

/// A call of a slot began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Flip {
    pub at_ms: i64,
    pub at_at: Stamp,
    pub on: bool,
    pub call_id: String,
    pub slot_id: String,
}

impl Flip {
    /// The flips (begins and ends) of these calls, in any order, within `[from, to)`, ms, newest
    /// first. A call that runs at `now`, ms, has no end.
    #[must_use]
    pub fn flips_of_calls(calls: &[model::Call], from: i64, to: i64, now: i64) -> Vec<Self> {
        let flip = |call: &model::Call, at_ms: i64, on: bool| Self {
            at_ms,
            at_at: Stamp(at_ms),
            on,
            call_id: call.id.clone(),
            slot_id: call.slot_id.clone(),
        };

        let both = |call: &model::Call| {
            let off = call.ended_ms(now).map(|ended| flip(call, ended, false));
            [Some(flip(call, call.started_ms, true)), off]
        };

        let mut flips: Vec<Self> = calls.iter().flat_map(both).flatten().collect();
        flips.retain(|flip| (from..to).contains(&flip.at_ms));
        flips.sort_by(|a, b| (b.at_ms, a.on, &b.call_id).cmp(&(a.at_ms, b.on, &a.call_id)));

        flips
    }

    /// The page of its call.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", format::path_segment(&self.call_id))
    }
}

/// A ring, a notification, a decline, or a slot opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RelatedFacts {
    /// `ring`, `notification`, `decline`, `slot_opened` or `slot_closed`.
    pub kind: RelatedKind,
    pub event_id: String,
    pub user_id: String,
    pub name: Option<String>,
    /// The users it mentions by name, and whether it mentions the whole room.
    pub whom: Vec<String>,
    /// Their display names, in the same order; null where none is known.
    pub whom_names: Vec<Option<String>>,
    pub whole_room: bool,
    pub at_ms: i64,
    pub at_at: Stamp,
    pub lifetime_ms: Option<i64>,
    pub intent: Option<String>,
    pub relates_to: Option<String>,
    /// The slot that it is for, if it names one.
    pub slot_id: Option<String>,
    /// The outcome of a ring: `answered`, `declined`, `withdrawn`, `missed`, or `ringing` while it
    /// lasts; null for all other kinds.
    pub outcome: Option<RingOutcome>,
    /// When the first person who answered it came.
    pub answered_ms: Option<i64>,
    pub answered_at: Option<Stamp>,
}

impl From<related::Related> for RelatedFacts {
    fn from(event: related::Related) -> Self {
        Self {
            kind: event.what,
            event_id: event.event_id,
            user_id: event.who,
            name: None,
            whom_names: vec![None; event.whom.len()],
            whom: event.whom,
            whole_room: event.room,
            at_ms: event.at_ms,
            at_at: Stamp(event.at_ms),
            lifetime_ms: event.lifetime_ms,
            intent: event.intent,
            relates_to: event.relates_to,
            slot_id: event.slot_id,
            outcome: None,
            answered_ms: None,
            answered_at: None,
        }
    }
}

impl RelatedFacts {
    /// The event with the display names of its sender and of those whom it mentions. `name_of`
    /// gives the display name of a user.
    #[must_use]
    pub fn with_names(self, name_of: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            name: name_of(&self.user_id),
            whom_names: self.whom.iter().map(|user_id| name_of(user_id)).collect(),
            ..self
        }
    }

    /// The sender's title.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// The outcome of a ring, as the end of a sentence; empty for other events.
    fn end(&self) -> String {
        match (self.outcome, self.answered_ms) {
            (Some(RingOutcome::Answered), Some(ms)) => {
                format!(
                    ": answered after {}",
                    super::precise_duration(ms - self.at_ms)
                )
            }
            (Some(RingOutcome::Missed), _) => ": not answered".to_owned(),
            (Some(RingOutcome::Withdrawn), _) => ": taken back".to_owned(),
            (Some(RingOutcome::Ringing), _) => ": still ringing".to_owned(),
            (Some(outcome), _) => format!(": {outcome}"),
            (None, _) => String::new(),
        }
    }

    /// What happened, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let who = format::isolate_bidi(&self.title());
        let name = self.whom_names.first().and_then(Option::as_deref);
        let first = self
            .whom
            .first()
            .map(|whom| format::isolate_bidi(&person_title(name, whom)));
        let whom = match (first, self.whom.len()) {
            _ if self.whole_room => "everybody in the room".to_owned(),
            (Some(whom), 1) => whom,
            (Some(whom), more) => format!("{whom} and {} more", more - 1),
            (None, _) => "the room".to_owned(),
        };

        match self.kind {
            RelatedKind::Ring => format!("{who} rang {whom}{}", self.end()),
            RelatedKind::Notification => format!("{who} told {whom} of the call"),
            RelatedKind::Decline => format!("{who} declined"),
            RelatedKind::SlotOpened => format!("{who} opened the slot or changed it"),
            _ => format!("{who} closed the slot for all"),
        }
    }

    /// The id of the glyph of its mark, and its class.
    #[must_use]
    pub fn mark(&self) -> (&'static str, &'static str) {
        match self.kind {
            RelatedKind::Ring | RelatedKind::Notification => ("e-ring", ""),
            RelatedKind::Decline => ("e-no", "warn"),
            RelatedKind::SlotOpened => ("e-left", ""),
            _ => ("e-cross", ""),
        }
    }
}

/// A membership that a state reset restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ZombieFacts {
    /// The call that runs again because of it, if known.
    pub call_id: Option<String>,
    pub user_id: String,
    pub name: Option<String>,
    /// The older event that the state holds again, and the newer one that it should hold.
    pub event_id: String,
    pub newer_event_id: String,
    pub noticed_ms: i64,
    pub noticed_at: Stamp,
}

impl From<Zombie> for ZombieFacts {
    fn from(row: Zombie) -> Self {
        Self {
            call_id: row.session_id,
            user_id: row.user_id,
            name: row.name,
            event_id: row.event_id,
            newer_event_id: row.newer_event_id,
            noticed_ms: row.noticed_ms,
            noticed_at: Stamp(row.noticed_ms),
        }
    }
}

impl ZombieFacts {
    /// The person's title.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }
}
