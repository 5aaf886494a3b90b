//! How sure a call and a stay are, as pages and JSON show it.

use super::Stamp;
use crate::rtc::coverage::{Cover, Interval, Span};
use crate::rtc::evidence::{self, By, Certainty};
use crate::store::evidence::Origins;
use crate::store::row;
use crate::web::format as f;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// What a boundary rests on (`live`, `backfilled`, `claimed`, `computed`, `reconciled`, `gap`), and how far off it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct BoundaryFacts {
    /// `live` (seen as it happened), `backfilled` (read from history), `claimed` (from `created_ts`), `computed` (an
    /// expiry), `reconciled` (found by comparing with the state) or `gap` (nobody watched).
    pub by: &'static str,
    /// How far off it can be.
    pub error_ms: i64,
}

impl From<evidence::Boundary> for BoundaryFacts {
    fn from(boundary: evidence::Boundary) -> Self {
        Self {
            by: boundary.by.as_str(),
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

/// How sure a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct CertaintyFacts {
    /// `exact`, `left_censored`, `right_censored`, `gapped` or `inferred_end`.
    pub verdict: &'static str,
    pub start: Option<BoundaryFacts>,
    pub end: Option<BoundaryFacts>,
    /// How far off its length can be.
    pub error_ms: i64,
    /// Time within it that nobody watched, and that was not read later.
    pub gap_ms: i64,
}

/// What the store knows beyond the rows of calls and members.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// By membership.
    pub origins: HashMap<String, Origins>,
    /// By room.
    pub coverage: BTreeMap<String, Vec<Interval>>,
}

impl Ledger {
    /// The coverage of a room; of one that is not in the ledger, as if it was watched always.
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

    /// The ends of each member, and the verdict on their call.
    pub(super) fn judge(
        &self,
        members: &[row::Member],
        cover: &[Interval],
        now: i64,
    ) -> (Vec<evidence::Ends>, Option<evidence::Verdict>) {
        let stay = |member| {
            let stay = self.stay(member);
            (stay, evidence::of_stay(&stay, cover, now))
        };
        let stays: Vec<_> = members.iter().map(stay).collect();
        let verdict = evidence::of_call(&stays, cover, now);
        (stays.into_iter().map(|(_, ends)| ends).collect(), verdict)
    }

    fn stay<'a>(&self, member: &'a row::Member) -> evidence::Stay<'a> {
        let origins = self.origins.get(&member.id).copied().unwrap_or_default();
        evidence::Stay {
            joined_ms: member.joined_ms,
            until_ms: member.until_ms,
            end_reason: &member.end_reason,
            claimed: member.claimed,
            resumed: member.resumed,
            join: origins.join,
            end: origins.end,
            last_sign_ms: origins.last_sign_ms,
        }
    }
}

impl CertaintyFacts {
    pub(super) fn of(verdict: Option<evidence::Verdict>) -> Self {
        let Some(verdict) = verdict else {
            return Self {
                verdict: Certainty::Exact.as_str(),
                start: None,
                end: None,
                error_ms: 0,
                gap_ms: 0,
            };
        };
        Self {
            verdict: verdict.certainty.as_str(),
            start: Some(verdict.start.into()),
            end: verdict.end.map(BoundaryFacts::from),
            error_ms: verdict.error_ms,
            gap_ms: verdict.gap_ms,
        }
    }

    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.verdict == Certainty::Exact.as_str()
    }

    fn starts(&self, by: By) -> bool {
        self.start.is_some_and(|start| start.by == by.as_str())
    }

    fn ends(&self, by: By) -> bool {
        self.end.is_some_and(|end| end.by == by.as_str())
    }

    /// The words of a pill and of the number, and below the number what it means. The first is short.
    #[must_use]
    pub fn words(&self) -> (String, &'static str) {
        let (short, long) = match self.verdict {
            "gapped" => {
                return (
                    format!("Gap of {}", f::lasted(self.gap_ms)),
                    "time in it that nobody watched",
                );
            }
            "right_censored" if self.end.is_none() => {
                ("Not watched", "whether it still runs is not known")
            }
            "right_censored" => ("End not seen", "nobody watched when it ended"),
            "left_censored" if self.starts(By::Claimed) && self.ends(By::Computed) => {
                ("Both ends computed", "start claimed, end from expiry")
            }
            "left_censored" if self.starts(By::Claimed) => {
                ("Start claimed", "by the first member itself")
            }
            "left_censored" => ("Start not seen", "it may have begun earlier"),
            "inferred_end" if self.ends(By::Reconciled) => (
                "End found later",
                "it was gone at a look at the room’s state",
            ),
            "inferred_end" => ("End computed", "nobody said goodbye"),
            _ if self.end.is_none() => ("Exact", "start from an event"),
            _ => ("Exact", "start and end from events"),
        };
        (short.to_owned(), long)
    }

    /// The icon and class of its pill.
    #[must_use]
    pub fn look(&self) -> (&'static str, &'static str) {
        match self.verdict {
            "gapped" | "right_censored" => ("eye-off", "blind"),
            "left_censored" if !self.starts(By::Claimed) => ("eye-off", "blind"),
            "left_censored" if !self.ends(By::Computed) => ("info", ""),
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

/// A kind of evidence in words.
#[must_use]
pub fn boundary_words(by: &str) -> &'static str {
    match by {
        "live" => "Live",
        "backfilled" => "History",
        "claimed" => "Claimed",
        "computed" => "Computed",
        "reconciled" => "By poll",
        _ => "Not seen",
    }
}

/// A span of time of a room and how it is known: `live`, `polled`, `backfilled`, `gap` or `not_visible`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct CoverageFacts {
    /// `live`, `polled`, `backfilled`, `gap` (nobody watched) or `not_visible` (history is hidden from the account).
    pub kind: &'static str,
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
}

impl From<&Interval> for CoverageFacts {
    fn from(interval: &Interval) -> Self {
        let Span { from, to } = interval.span;
        Self {
            kind: interval.cover.as_str(),
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
        matches!(self.kind, "gap" | "not_visible")
    }

    /// The kind in words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.kind {
            "live" => "Watched live",
            "polled" => "Looked at by polls",
            "backfilled" => "Read from history",
            "not_visible" => "Hidden from us",
            _ => "Not watched",
        }
    }
}

/// A break in which no vantage heard its homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct GapFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
    /// Followed rooms of which it was not read afterwards, or not yet.
    pub unread_rooms: i64,
}

impl From<(Span, i64)> for GapFacts {
    fn from((Span { from, to }, unread_rooms): (Span, i64)) -> Self {
        Self {
            from_ms: from,
            from_at: Stamp(from),
            to_ms: to,
            to_at: Stamp(to),
            unread_rooms,
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
