//! Rings and their outcomes, as pages and JSON show them.

use super::format as f;
use super::{MemberFacts, RelatedFacts, Stamp};
use crate::rtc::related::{Related, RelatedKind};
use crate::rtc::ring::{self, RingOutcome};
use crate::rtc::words::words;
use crate::store::read::related::LateAnswer;
use crate::store::read::rings::RingCounts;
use crate::web::svg::{Num, ratio};
use serde::Serialize;
use utoipa::ToSchema;

impl RingCounts {
    /// The outcomes of rings as bands, without those that did not occur: words, number, start and
    /// width (percent), class of the colour.
    #[must_use]
    pub fn bands(&self) -> Vec<(&'static str, i64, Num, Num, &'static str)> {
        let parts = [
            ("answered", self.answered, "h3"),
            ("declined", self.declined, "h1"),
            ("withdrawn", self.withdrawn, "h1"),
            ("missed", self.missed, "warned"),
            ("still ringing", self.ringing, "h2"),
        ];
        let mut at = 0;
        let band = |(words, rings, class): (&'static str, i64, &'static str)| {
            let from = Num(100.0 * ratio(at, self.sent));
            at += rings;
            (
                words,
                rings,
                from,
                Num(100.0 * ratio(rings, self.sent)),
                class,
            )
        };

        parts
            .into_iter()
            .filter(|(_, rings, _)| *rings > 0)
            .map(band)
            .collect()
    }

    /// What became of the rings, in one sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let which = if self.whole { "" } else { "the newest " };
        let usual = self
            .usual_answer_ms
            .map(|ms| format!("; usually within {}", super::clock::precise_duration(ms)));
        let silent = match self.silent {
            0 => String::new(),
            _ => format!(
                ". {} did not ring",
                f::count_with_noun(self.silent, "more notification", "more notifications")
            ),
        };

        format!(
            "Of {which}{} {} answered{}{silent}.",
            f::count_with_noun(self.sent, "ring", "rings"),
            if self.answered == 1 {
                "1 was".to_owned()
            } else {
                format!("{} were", f::group_digits(self.answered))
            },
            usual.unwrap_or_default()
        )
    }
}

/// The events around a call, in their order, with the outcome of each ring, as known at `now`, ms.
/// Withdrawals are left out: they are in the outcome of their ring. Only declines and withdrawals
/// among `related` count, and only people among `members`, which may be in any order.
#[must_use]
pub fn with_outcomes(
    related: Vec<Related>,
    members: &[MemberFacts],
    now: i64,
) -> Vec<RelatedFacts> {
    let until = |member: &MemberFacts| member.left_ms.or(member.expires_ms).unwrap_or(i64::MAX);
    let mut came: Vec<ring::RingStay> = members
        .iter()
        .map(|member| (member.user_id.as_str(), member.joined_ms, until(member)))
        .collect();
    came.sort_unstable_by_key(|(_, joined_ms, _)| *joined_ms);
    let outcome_of = |one: &Related| {
        // If there are many rings and stays, only those near each other are compared.
        let (from_ms, to_ms) = ring::answer_span_ms(one);
        let first = came.partition_point(|(_, joined_ms, _)| *joined_ms < from_ms);
        let upto = came.partition_point(|(_, joined_ms, _)| *joined_ms < to_ms);
        let near = came.get(first..upto).unwrap_or_default();

        ring::outcome_of_ring(one, near.iter().copied(), &related, now)
    };

    let outcomes: Vec<Option<(RingOutcome, Option<i64>)>> = related
        .iter()
        .map(|one| (one.what == RelatedKind::Ring).then(|| outcome_of(one)))
        .collect();
    let said = |(one, outcome): (Related, Option<(RingOutcome, Option<i64>)>)| {
        let mut facts = RelatedFacts::from(one);
        if let Some((outcome, answered_ms)) = outcome {
            facts.outcome = Some(outcome);
            facts.answered_ms = answered_ms;
            facts.answered_at = answered_ms.map(Stamp);
        }

        facts
    };

    let told = related
        .into_iter()
        .zip(outcomes)
        .filter(|(one, _)| one.what != RelatedKind::Withdrawal);

    told.map(said).collect()
}

words! {
    /// How a call is linked to another one.
    pub enum CallLink {
        /// Somebody answered a ring of this call when it had ended, and was in the other call.
        AnsweredAfterEnd = "answered_after_end",
        /// Somebody of this call answered a ring of the other one, which had ended.
        AnswersEndedRing = "answers_ended_ring",
    }
}

/// A link between two calls: a person answered a ring after its call had ended, so it belongs to
/// the call that the person joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LinkedCallFacts {
    /// `answered_after_end`: somebody answered a ring of this call when it had ended, and was in
    /// the other call. `answers_ended_ring`: somebody of this call answered a ring of the other
    /// one, which had ended.
    pub kind: CallLink,
    /// The other call.
    pub call_id: String,
    pub ring_event_id: String,
    /// Who came late.
    pub user_id: String,
    pub name: Option<String>,
    /// When the call that rang had ended, and when they came.
    pub ended_ms: i64,
    pub ended_at: Stamp,
    pub came_ms: i64,
    pub came_at: Stamp,
}

impl LinkedCallFacts {
    /// The link as the call of this id shows it. This call is either the one that had ended or the
    /// one that somebody came into.
    #[must_use]
    pub fn of_call(call_id: &str, late: LateAnswer) -> Self {
        let is_ended_one = late.ended_call_id == call_id;
        let (kind, other) = if is_ended_one {
            (CallLink::AnsweredAfterEnd, late.late_call_id)
        } else {
            (CallLink::AnswersEndedRing, late.ended_call_id)
        };

        Self {
            kind,
            call_id: other,
            ring_event_id: late.ring_event_id,
            user_id: late.user_id,
            name: late.name,
            ended_ms: late.ended_ms,
            ended_at: Stamp(late.ended_ms),
            came_ms: late.came_ms,
            came_at: Stamp(late.came_ms),
        }
    }

    /// Had this call ended when its ring was answered, so that somebody came into the other one?
    #[must_use]
    pub fn is_answered_after_end(&self) -> bool {
        self.kind == CallLink::AnsweredAfterEnd
    }

    /// The page of the other call.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", f::path_segment(&self.call_id))
    }

    /// What happened, in words for this call's page. If this call rang and had ended
    /// (`AnsweredAfterEnd`), they say how late somebody came, into the other call. Else the other
    /// call had rung and ended, and its ring was answered here.
    #[must_use]
    pub fn words(&self) -> String {
        let who = f::isolate_bidi(&super::person_title(self.name.as_deref(), &self.user_id));
        match self.kind {
            CallLink::AnsweredAfterEnd => {
                let late = late_words(self.came_ms.saturating_sub(self.ended_ms));
                format!("{who} came {late} after the end")
            }
            CallLink::AnswersEndedRing => format!("{who} answered a ring of a call that had ended"),
        }
    }
}

/// How late somebody came, in words; in seconds if it was less than two minutes.
fn late_words(ms: i64) -> String {
    match ms {
        0..120_000 => format!("{} s", (ms + 500) / 1000),
        _ => f::ended_duration(ms),
    }
}
