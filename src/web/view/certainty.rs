//! How certain the times of a call and of a stay are, as pages and JSON show it.

use super::Stamp;
use super::SupportFacts;
use super::format as f;
use crate::rtc::coverage::{Cover, Interval, Span};
use crate::rtc::evidence::{self, BoundaryBasis, Certainty};
use crate::rtc::membership::Membership;
use crate::rtc::room_finding::RoomKnowledge;
use crate::rtc::skew::clock_off_ms;
use crate::store::findings::inputs::StayEvidence;
use crate::store::model;
use crate::store::read::coverage::UnheardSpan;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// The basis of a boundary (`live`, `backfilled`, `late`, `claimed`, `renewed`, `refuted`,
/// `computed`, `reconciled`, `gap`), and its maximum error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct BoundaryFacts {
    /// `live` (seen as it happened), `backfilled` (read from history), `late` (received long after
    /// its timestamp, though we listened: it happened in between), `claimed` (from `created_ts`),
    /// `renewed` (a renewal after the stay had ended: the device came back in between), `refuted`
    /// (`created_ts` claims more than a complete history allows: the stay began with its event),
    /// `computed` (an expiry), `reconciled` (found by comparing with the state) or `gap` (nobody
    /// watched).
    pub by: BoundaryBasis,
    /// How far off it can be.
    pub error_ms: i64,
}

impl From<evidence::Boundary> for BoundaryFacts {
    fn from(boundary: evidence::Boundary) -> Self {
        Self {
            by: boundary.by,
            error_ms: boundary.error_ms,
        }
    }
}

/// The boundaries of a stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EndsFacts {
    pub start: BoundaryFacts,
    /// Null while it lasts.
    pub end: Option<BoundaryFacts>,
}

/// How certain the times of a call are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct CertaintyFacts {
    /// `exact`, `left_censored`, `right_censored`, `gapped`, `inferred_end` or `bounded` (a time is
    /// known to lie within a span only).
    pub verdict: Certainty,
    pub start: Option<BoundaryFacts>,
    pub end: Option<BoundaryFacts>,
    /// How far off its length can be.
    pub error_ms: i64,
    /// Time within it that nobody watched, and that was not read later.
    pub gap_ms: i64,
}

/// Maximum number of server clocks reported on a call.
const CLOCKS_MAX: usize = 8;

/// The clock of a homeserver that is wrong according to the events of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CallClockFacts {
    pub server: String,
    /// How far it is behind our clock, or how late its events arrive; negative if it is ahead.
    pub behind_ms: i64,
    /// The number of events that this is based on.
    pub events: usize,
}

impl CallClockFacts {
    /// What it means, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let server = f::sanitize_line(&self.server);
        let off = super::clock::precise_duration(self.behind_ms.saturating_abs());

        if self.behind_ms < 0 {
            format!(
                "The clock of {server} is {off} ahead of ours; its times are told as its events \
                 came."
            )
        } else {
            format!("The clock of {server} is {off} behind ours, or its events came so late.")
        }
    }
}

/// What the store knows beyond the rows of calls and members; a variable of it is named `ledger`.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// What is known of the stays.
    pub stays: StayEvidence,
    /// By room.
    pub coverage: BTreeMap<String, Vec<Interval>>,
    /// Facts from the rooms' own state, by room.
    pub rooms: HashMap<String, RoomKnowledge>,
    /// Our own homeserver, where commands are sent to; `None` if its address is not known.
    pub own: Option<OwnAddress>,
    /// Whom to tell about the servers of ghosts, by server.
    pub support: BTreeMap<String, SupportFacts>,
}

/// Our own homeserver, and the address of its client API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddress {
    pub server: String,
    pub url: String,
}

impl CallContext {
    /// Which time of a room is known, and how. A room whose coverage was not read counts as always
    /// watched.
    #[must_use]
    pub fn cover(&self, room_id: &str) -> Vec<Interval> {
        let whole = Interval {
            span: Span {
                from: i64::MIN,
                to: i64::MAX,
            },
            cover: Cover::Live,
        };

        self.coverage
            .get(room_id)
            .cloned()
            .unwrap_or_else(|| vec![whole])
    }

    /// What the boundaries of each member's stay rest on, in the order of `members`, and how
    /// certain their call is as a whole (`None` without members), as of `now`, ms. `cover` is the
    /// coverage of the room until then.
    pub(super) fn judge(
        &self,
        members: &[model::Member],
        cover: &[Interval],
        now: i64,
    ) -> (Vec<evidence::Boundaries>, Option<evidence::CallCertainty>) {
        let stay = |member: &model::Member| {
            let stay = self.stay(&member.stay);
            (stay, evidence::boundaries_of_stay(&stay, cover, now))
        };

        let stays: Vec<_> = members.iter().map(stay).collect();
        let verdict = evidence::certainty_of_call(&stays, cover, now);

        (stays.into_iter().map(|(_, ends)| ends).collect(), verdict)
    }

    /// What is known of a stay and of the events at its start and end, to judge how sure these are.
    fn stay(&self, stay: &Membership) -> evidence::EvidenceStay {
        let origins = self
            .stays
            .origins
            .get(&stay.id)
            .copied()
            .unwrap_or_default();
        evidence::EvidenceStay {
            joined_ms: stay.joined_ms,
            until_ms: stay.until_ms,
            end_reason: stay.end_reason,
            claimed: stay.claimed,
            refuted: origins.is_claim_refuted,
            resumed: stay.resumed,
            back_since_ms: stay.back_since_ms,
            join: origins.join,
            end: origins.end,
            last_sign_ms: origins.last_sign_ms,
            lost: origins.lost,
        }
    }

    /// The homeservers whose clock is wrong according to the live events at the boundaries of these
    /// stays, at most [`CLOCKS_MAX`], by name. `cover` is the coverage of the room: it tells which
    /// events came live.
    pub(super) fn clocks(
        &self,
        members: &[model::Member],
        cover: &[Interval],
    ) -> Vec<CallClockFacts> {
        let mut heard: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for member in members {
            let Some(origins) = self.stays.origins.get(&member.stay.id) else {
                continue;
            };

            let live = [origins.join, origins.end].into_iter().flatten();
            for event in live.filter(|event| evidence::was_heard(event, cover)) {
                let late_ms = event.received_ms.unwrap_or(event.origin_ms) - event.origin_ms;
                heard.entry(member.stay.server()).or_default().push(late_ms);
            }
        }

        // Nothing is said of a server whose clock may be right.
        let clocks = heard.into_iter().filter_map(|(server, late)| {
            Some(CallClockFacts {
                server: server.to_owned(),
                events: late.len(),
                behind_ms: clock_off_ms(late)?,
            })
        });

        clocks.take(CLOCKS_MAX).collect()
    }
}

impl CertaintyFacts {
    /// The certainty as a call shows it. A call of which no member is known counts as exact.
    pub(super) fn from_verdict(verdict: Option<evidence::CallCertainty>) -> Self {
        let Some(verdict) = verdict else {
            return Self {
                verdict: Certainty::Exact,
                start: None,
                end: None,
                error_ms: 0,
                gap_ms: 0,
            };
        };

        Self {
            verdict: verdict.certainty,
            start: Some(verdict.start.into()),
            end: verdict.end.map(BoundaryFacts::from),
            error_ms: verdict.error_ms,
            gap_ms: verdict.gap_ms,
        }
    }

    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.verdict == Certainty::Exact
    }

    /// Does the start rest on this?
    fn starts(&self, by: BoundaryBasis) -> bool {
        self.start.is_some_and(|start| start.by == by)
    }

    /// Does the end rest on this?
    fn ends(&self, by: BoundaryBasis) -> bool {
        self.end.is_some_and(|end| end.by == by)
    }

    /// The short words of the pill, and the longer explanation below the number.
    #[must_use]
    pub fn words(&self) -> (String, &'static str) {
        let (short, long) = match self.verdict {
            Certainty::Gapped => {
                return (
                    format!("Gap of {}", f::ended_duration(self.gap_ms)),
                    "time in it that nobody watched",
                );
            }
            Certainty::RightCensored if self.end.is_none() => {
                ("Not watched", "whether it still runs is not known")
            }
            Certainty::RightCensored => ("End not seen", "nobody watched when it ended"),
            Certainty::LeftCensored if self.starts(BoundaryBasis::Renewed) => {
                ("Came back", "it begins with a renewal after its leave")
            }
            Certainty::LeftCensored if self.starts(BoundaryBasis::Refuted) => (
                "Claim refuted",
                "no event came before: it began with its first one",
            ),
            Certainty::Bounded => ("Not exact", "a time is known within a span only"),
            Certainty::LeftCensored
                if self.starts(BoundaryBasis::Claimed) && self.ends(BoundaryBasis::Computed) =>
            {
                ("Both ends computed", "start claimed, end from expiry")
            }
            Certainty::LeftCensored if self.starts(BoundaryBasis::Claimed) => {
                ("Start claimed", "by the first member itself")
            }
            Certainty::LeftCensored => ("Start not seen", "it may have begun earlier"),
            Certainty::InferredEnd if self.ends(BoundaryBasis::Reconciled) => (
                "End found later",
                "it was gone at a look at the room’s state",
            ),
            Certainty::InferredEnd => ("End computed", "no leave came"),
            Certainty::Exact if self.end.is_none() => ("Exact", "start from an event"),
            Certainty::Exact => ("Exact", "start and end from events"),
        };

        (short.to_owned(), long)
    }

    /// The icon and the class of its pill.
    #[must_use]
    pub fn look(&self) -> (&'static str, &'static str) {
        match self.verdict {
            Certainty::Gapped | Certainty::RightCensored | Certainty::Bounded => {
                ("eye-off", "blind")
            }
            Certainty::LeftCensored if !self.starts(BoundaryBasis::Claimed) => ("eye-off", "blind"),
            Certainty::LeftCensored if !self.ends(BoundaryBasis::Computed) => ("info", ""),
            _ => ("clock", "blind"),
        }
    }
}

impl EndsFacts {
    /// How a stay was seen, in words: its start, then its end where that differs.
    #[must_use]
    pub fn words(&self) -> String {
        let start = boundary_words(self.start.by);
        match self
            .end
            .map(|end| boundary_words(end.by))
            .filter(|end| *end != start)
        {
            Some(end) => format!("{start}, end {}", end.to_lowercase()),
            None => start.to_owned(),
        }
    }
}

/// A basis of a boundary in words.
#[must_use]
pub fn boundary_words(by: BoundaryBasis) -> &'static str {
    match by {
        BoundaryBasis::Live => "Live",
        BoundaryBasis::Backfilled => "History",
        BoundaryBasis::Late => "Came late",
        BoundaryBasis::Renewed => "Renewal",
        BoundaryBasis::Refuted => "Claim refuted",
        BoundaryBasis::Claimed => "Claimed",
        BoundaryBasis::Computed => "Computed",
        BoundaryBasis::Reconciled => "By poll",
        BoundaryBasis::Gap => "Not seen",
    }
}

/// A span of time of a room and its coverage: `live`, `polled`, `backfilled`, `gap` or
/// `not_visible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct CoverageFacts {
    /// `live`, `polled`, `backfilled`, `gap` (nobody watched) or `not_visible` (history is hidden
    /// from the account).
    pub kind: Cover,
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
}

impl From<&Interval> for CoverageFacts {
    fn from(interval: &Interval) -> Self {
        let Span { from, to } = interval.span;
        Self {
            kind: interval.cover,
            from_ms: from,
            from_at: Stamp(from),
            to_ms: to,
            to_at: Stamp(to),
        }
    }
}

impl CoverageFacts {
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.kind.is_blind()
    }

    /// The kind in words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.kind {
            Cover::Live => "Watched live",
            Cover::Polled => "Looked at by polls",
            Cover::Backfilled => "Read from history",
            Cover::NotVisible => "Hidden from us",
            Cover::Gap => "Not watched",
        }
    }
}

/// A break in which no account received anything from its homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct GapFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
    /// Followed rooms in which the break was not read afterwards, or not yet.
    pub unread_rooms: i64,
}

impl From<UnheardSpan> for GapFacts {
    fn from(gap: UnheardSpan) -> Self {
        let Span { from, to } = gap.span;

        Self {
            from_ms: from,
            from_at: Stamp(from),
            to_ms: to,
            to_at: Stamp(to),
            unread_rooms: gap.rooms_unread,
        }
    }
}

impl GapFacts {
    #[must_use]
    pub fn span(&self) -> Span {
        Span {
            from: self.from_ms,
            to: self.to_ms,
        }
    }
}
