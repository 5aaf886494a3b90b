//! Evidence: the basis of each boundary of a stay and of a call, and its maximum error.

use super::coverage::{Cover, Interval, Span, cover_at, unwatched_since};
use super::words::{EndReason, Source, words};

/// An event received later than this after its timestamp was not seen live, ms.
pub const PROMPT_MS: i64 = 60_000;
/// If an event was received later than this after its timestamp, the delay counts as the error of
/// its time, ms. Federation alone is faster than this.
pub const SMALL_MS: i64 = 10_000;

/// The timestamp of a back-filled event is wrong if it differs by more than this from the time that
/// its neighbours suggest, ms.
const REFUTED_MS: i64 = 3_600_000;

/// The origin of the event at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub origin_ms: i64,
    /// Our clock when the first live copy came, ms.
    pub received_ms: Option<i64>,
    /// How it first came to us.
    pub source: Source,
    /// Set if we created the event from a poll of the room's state: the time of the previous poll,
    /// ms. The change happened after it.
    pub made_since_ms: Option<i64>,
    /// Set if the homeserver names a preceding event that we could not get: the time of the last
    /// known event before both, ms.
    pub lost_since_ms: Option<i64>,
}

/// The properties of a stay that evidence needs. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceStay {
    pub joined_ms: i64,
    pub until_ms: i64,
    pub end_reason: EndReason,
    /// `joined_ms` is not the time of an event: it is the member's own `created_ts`, or a bound.
    pub claimed: bool,
    /// Its claimed start is impossible: its key has no event before the stay's first one.
    pub refuted: bool,
    /// It continued after a break without a new join.
    pub resumed: bool,
    /// Set if it begins with the renewal of an ended stay: when that one ended, ms.
    pub back_since_ms: Option<i64>,
    /// The event that began it, and the one that ended it, if any.
    pub join: Option<Origin>,
    pub end: Option<Origin>,
    /// The last event of the stay: the device was still there then.
    pub last_sign_ms: Option<i64>,
    /// The span within the stay where an event is missing that the homeserver names; what happened
    /// in this span is not known.
    pub lost: Option<Span>,
}

words! {
    /// The basis of a boundary.
    pub enum BoundaryBasis {
        /// An event that we received when it happened.
        Live = "live",
        /// An event read later; its time is the server's timestamp.
        Backfilled = "backfilled",
        /// An event received long after its timestamp although we listened: it happened in between.
        Late = "late",
        /// The renewal of an ended stay: the device came back between that end and this event.
        Renewed = "renewed",
        /// The member's own claim, refuted by the complete history: the stay began with its event.
        Refuted = "refuted",
        /// The member's own claim (`created_ts`).
        Claimed = "claimed",
        /// Expiry: nobody said goodbye.
        Computed = "computed",
        /// A poll of the room's state.
        Reconciled = "reconciled",
        /// Nobody watched, and there is no other evidence.
        Gap = "gap",
    }
}

/// The basis of a boundary, and its maximum error, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    pub by: BoundaryBasis,
    pub error_ms: i64,
}

/// The boundaries of one stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundaries {
    pub start: Boundary,
    /// `None` while it lasts.
    pub end: Option<Boundary>,
    /// The stay lasts as far as we know, but the room has not been watched since this time.
    pub unknown_since_ms: Option<i64>,
}

words! {
    /// How certain the times of a call are as a whole.
    pub enum Certainty {
        Exact = "exact",
        /// It may have begun earlier.
        LeftCensored = "left_censored",
        /// It may have ended earlier or later, or may be over.
        RightCensored = "right_censored",
        /// For a time within it nobody watched.
        Gapped = "gapped",
        /// Nobody said goodbye; the end is from expiry.
        InferredEnd = "inferred_end",
        /// Its start or its end is known only as a span of time.
        Bounded = "bounded",
    }
}

/// How certain the times of one call are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallCertainty {
    pub certainty: Certainty,
    pub start: Boundary,
    pub end: Option<Boundary>,
    /// Maximum error of its length, ms.
    pub error_ms: i64,
    /// Time within it that nobody watched and that was not read later, ms.
    pub gap_ms: i64,
    pub unknown_since_ms: Option<i64>,
}

/// What the start and the end of a stay rest on. A stay that lasts at `now`, ms, has no end;
/// instead it may have a time since when the room is not watched. `cover` is the room's coverage
/// until `now`, in order of time.
#[must_use]
pub fn boundaries_of_stay(stay: &EvidenceStay, cover: &[Interval], now: i64) -> Boundaries {
    let start = start_boundary(stay, cover);
    if stay.until_ms > now {
        let unknown_since_ms = unwatched_since(cover).map(|since| since.max(stay.joined_ms));
        return Boundaries {
            start,
            end: None,
            unknown_since_ms,
        };
    }

    Boundaries {
        start,
        end: Some(end_boundary(stay, cover)),
        unknown_since_ms: None,
    }
}

/// What the start of a stay rests on. The first case that fits counts: a resumed stay began with a
/// change in the room, so its basis is how the room was watched; then a claim that history refutes,
/// a claim, a poll, the renewal of an ended stay; else its first event.
fn start_boundary(stay: &EvidenceStay, cover: &[Interval]) -> Boundary {
    // When the event happened at the latest.
    let known_ms = |event: &Origin| {
        event
            .received_ms
            .map_or(event.origin_ms, |received| received.min(event.origin_ms))
    };

    match stay.join {
        _ if stay.resumed => boundary_by_coverage(cover, stay.joined_ms),
        Some(event) if stay.refuted => Boundary {
            by: BoundaryBasis::Refuted,
            error_ms: (known_ms(&event) - stay.joined_ms).max(0),
        },
        Some(event) if stay.claimed => Boundary {
            by: BoundaryBasis::Claimed,
            error_ms: (known_ms(&event) - stay.joined_ms).max(0),
        },
        None if stay.claimed => Boundary {
            by: BoundaryBasis::Claimed,
            error_ms: 0,
        },
        // A change found by a poll happened between two polls.
        Some(event) if event.made_since_ms.is_some() => boundary_by_event(&event, cover),
        _ if stay.back_since_ms.is_some() => {
            let since = stay.back_since_ms.unwrap_or(stay.joined_ms);
            Boundary {
                by: BoundaryBasis::Renewed,
                error_ms: stay.joined_ms.saturating_sub(since).max(0),
            }
        }
        Some(event) => boundary_by_event(&event, cover),
        None => boundary_by_coverage(cover, stay.joined_ms),
    }
}

/// What the end of a stay rests on: the event that ended it, or its expiry, or else how the room
/// was watched then. The device may have gone at any time after its last sign, so the error of an
/// expiry reaches back to that sign.
fn end_boundary(stay: &EvidenceStay, cover: &[Interval]) -> Boundary {
    let last_sign = stay
        .last_sign_ms
        .unwrap_or(stay.joined_ms)
        .max(stay.joined_ms);

    match stay.end {
        Some(event) => boundary_by_event(&event, cover),
        None if stay.end_reason.is_expiry() => match unwatched_span_at(cover, stay.until_ms) {
            Some(gap) => Boundary {
                by: BoundaryBasis::Gap,
                error_ms: gap.to.saturating_sub(gap.from.max(last_sign)).max(0),
            },
            None => Boundary {
                by: BoundaryBasis::Computed,
                error_ms: (stay.until_ms - last_sign).max(0),
            },
        },
        None => boundary_by_coverage(cover, stay.until_ms),
    }
}

/// What a boundary rests on that an event states. Its basis and error depend on how the event came:
/// found by a poll, received at once, received late although we listened, or read from history.
fn boundary_by_event(event: &Origin, cover: &[Interval]) -> Boundary {
    if let Some(since) = event.made_since_ms {
        return Boundary {
            by: BoundaryBasis::Reconciled,
            error_ms: (event.origin_ms - since).max(0),
        };
    }

    let late_ms = event
        .received_ms
        .map(|received| received.saturating_sub(event.origin_ms));
    let is_prompt = late_ms.is_some_and(|late| late < PROMPT_MS);
    let (by, error_ms) = match (event.source, late_ms) {
        (Source::Poll, _) => (BoundaryBasis::Reconciled, 0),
        // It came soon, but later than federation takes: it may have happened in between.
        (Source::Sync, Some(late_ms))
            if is_prompt && late_ms >= SMALL_MS && was_heard(event, cover) =>
        {
            (BoundaryBasis::Live, late_ms)
        }

        (Source::Sync | Source::Backfill, _) if is_prompt => (BoundaryBasis::Live, 0),
        (Source::Sync, Some(late_ms)) if was_heard(event, cover) => (BoundaryBasis::Late, late_ms),
        (Source::Sync | Source::Backfill, _) => (BoundaryBasis::Backfilled, 0),
    };

    // A back-filled event gets a receive time far from its timestamp only if the timestamp is
    // impossible.
    let is_refuted = event.source == Source::Backfill
        && late_ms.is_some_and(|late_ms| late_ms.saturating_abs() > REFUTED_MS);
    let error_ms = match late_ms.filter(|_| is_refuted) {
        Some(late_ms) => error_ms.max(late_ms.saturating_abs()),
        None => error_ms,
    };

    let by = if is_refuted {
        BoundaryBasis::Backfilled
    } else {
        by
    };
    let lost_ms = event
        .lost_since_ms
        .map_or(0, |since| event.origin_ms.saturating_sub(since).max(0));

    Boundary {
        by,
        error_ms: error_ms.max(lost_ms),
    }
}

/// Did we listen without a break from the event's timestamp until it arrived?
#[must_use]
pub fn was_heard(event: &Origin, cover: &[Interval]) -> bool {
    let Some(received) = event.received_ms else {
        return false;
    };

    event.source == Source::Sync
        && cover.iter().any(|interval| {
            interval.cover == Cover::Live
                && interval.span.from <= event.origin_ms.min(received)
                && received <= interval.span.to
        })
}

/// What a boundary rests on that no event of the member itself states (it left the room, or the
/// slot was closed): how the room was watched at that time. The error is 0.
fn boundary_by_coverage(cover: &[Interval], ms: i64) -> Boundary {
    let by = match cover_at(cover, ms) {
        Cover::Live => BoundaryBasis::Live,
        Cover::Polled => BoundaryBasis::Reconciled,
        Cover::Backfilled => BoundaryBasis::Backfilled,
        Cover::Gap | Cover::NotVisible => BoundaryBasis::Gap,
    };

    Boundary { by, error_ms: 0 }
}

/// The span that contains `ms` and that nobody watched; `None` if the room was watched then.
fn unwatched_span_at(cover: &[Interval], ms: i64) -> Option<Span> {
    let mut blind = cover.iter().filter(|interval| interval.cover.is_blind());
    blind
        .find(|interval| (interval.span.from..interval.span.to).contains(&ms))
        .map(|interval| interval.span)
}

/// How certain a call is at `now`, ms, from its stays with their boundaries. `cover` is the room's
/// coverage until `now`. `None` without stays; a call has at least one. One word stands for all:
/// first that it may have lasted longer, then doubts about its start, then gaps within it, then an
/// end that nobody stated.
#[must_use]
pub fn certainty_of_call(
    stays: &[(EvidenceStay, Boundaries)],
    cover: &[Interval],
    now: i64,
) -> Option<CallCertainty> {
    let (first, first_ends) = stays.iter().min_by_key(|(stay, _)| stay.joined_ms)?;
    let (last, last_ends) = stays.iter().max_by_key(|(stay, _)| stay.until_ms)?;
    let (from, to) = (first.joined_ms, last.until_ms.min(now));
    let (mut start, mut end) = (first_ends.start, last_ends.end);
    if let Some(gap) = unwatched_span_at(cover, from) {
        start.error_ms = start.error_ms.max(from - gap.from);
    }

    let gap_at_end = if end.is_some() {
        unwatched_span_at(cover, to)
    } else {
        None
    };

    if let (Some(end), Some(gap)) = (&mut end, gap_at_end) {
        end.error_ms = end.error_ms.max(gap.to - to);
    }

    let blind = cover.iter().filter(|interval| interval.cover.is_blind());
    let inside = blind
        .map(|interval| interval.span.within(&Span { from, to }))
        .filter(|span| !span.is_empty());
    let gap_ms: i64 = inside.map(|span| span.to - span.from).sum();
    let lost_ms: i64 = stays
        .iter()
        .filter_map(|(stay, _)| stay.lost)
        .map(|lost| lost.to.saturating_sub(lost.from).max(0))
        .sum();
    let gap_ms = gap_ms.saturating_add(lost_ms);
    let may_be_earlier = start.error_ms > 0 && unwatched_span_at(cover, from).is_some();
    let unsure = |boundary: &Boundary| {
        may_be_earlier
            || matches!(
                boundary.by,
                BoundaryBasis::Claimed
                    | BoundaryBasis::Gap
                    | BoundaryBasis::Renewed
                    | BoundaryBasis::Refuted
                    | BoundaryBasis::Reconciled
            ) && (boundary.error_ms > 0 || boundary.by != BoundaryBasis::Reconciled)
    };

    let certainty = match &end {
        None if last_ends.unknown_since_ms.is_some() => Certainty::RightCensored,
        Some(end) if end.by == BoundaryBasis::Gap || gap_at_end.is_some() => {
            Certainty::RightCensored
        }
        _ if unsure(&start) => Certainty::LeftCensored,
        _ if gap_ms > 0 => Certainty::Gapped,
        _ if start.error_ms > 0 => Certainty::Bounded,
        Some(end) if end.by == BoundaryBasis::Computed => Certainty::InferredEnd,
        Some(end) if end.by == BoundaryBasis::Reconciled && end.error_ms > 0 => {
            Certainty::InferredEnd
        }
        Some(end) if end.error_ms > 0 => Certainty::Bounded,
        _ => Certainty::Exact,
    };

    let error_ms = start
        .error_ms
        .saturating_add(end.map_or(0, |end| end.error_ms));

    Some(CallCertainty {
        certainty,
        start,
        end,
        error_ms,
        gap_ms,
        unknown_since_ms: last_ends.unknown_since_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000_000;

    fn event(origin_ms: i64, received_ms: Option<i64>, source: Source) -> Origin {
        Origin {
            origin_ms,
            received_ms,
            source,
            made_since_ms: None,
            lost_since_ms: None,
        }
    }

    fn live(origin_ms: i64) -> Origin {
        event(origin_ms, Some(origin_ms + 200), Source::Sync)
    }

    fn stay(from: i64, to: i64) -> EvidenceStay {
        EvidenceStay {
            joined_ms: from,
            until_ms: to,
            end_reason: EndReason::Left,
            claimed: false,
            refuted: false,
            resumed: false,
            back_since_ms: None,
            join: Some(live(from)),
            end: Some(live(to)),
            last_sign_ms: None,
            lost: None,
        }
    }

    fn cover(parts: &[(i64, i64, Cover)]) -> Vec<Interval> {
        parts
            .iter()
            .map(|&(from, to, cover)| Interval {
                span: Span { from, to },
                cover,
            })
            .collect()
    }

    fn live_all_the_time() -> Vec<Interval> {
        cover(&[(0, NOW, Cover::Live)])
    }

    fn verdict(stay: EvidenceStay, cover: &[Interval]) -> (&'static str, i64, i64) {
        let verdict =
            certainty_of_call(&[(stay, boundaries_of_stay(&stay, cover, NOW))], cover, NOW)
                .unwrap();
        (verdict.certainty.as_str(), verdict.error_ms, verdict.gap_ms)
    }

    fn ends(stay: EvidenceStay, cover: &[Interval]) -> (&'static str, Option<&'static str>) {
        let ends = boundaries_of_stay(&stay, cover, NOW);
        (ends.start.by.as_str(), ends.end.map(|end| end.by.as_str()))
    }

    #[test]
    fn a_boundary_rests_on_how_its_event_came() {
        assert_eq!(
            ends(stay(100, 200), &live_all_the_time()),
            ("live", Some("live"))
        );
        let late = EvidenceStay {
            join: Some(event(100, Some(100 + PROMPT_MS), Source::Sync)),
            end: Some(event(200, None, Source::Backfill)),
            ..stay(100, 200)
        };

        assert_eq!(
            ends(late, &live_all_the_time()),
            ("late", Some("backfilled"))
        );
        assert_eq!(
            verdict(late, &live_all_the_time()),
            ("bounded", PROMPT_MS, 0),
            "we listened, and it came later than it says"
        );
        let away = cover(&[(0, 90, Cover::Live), (90, NOW, Cover::Backfilled)]);
        assert_eq!(ends(late, &away), ("backfilled", Some("backfilled")));
        assert_eq!(verdict(late, &away), ("exact", 0, 0));
        let polled = EvidenceStay {
            join: Some(event(100, Some(900), Source::Poll)),
            ..stay(100, 200)
        };

        assert_eq!(
            ends(polled, &live_all_the_time()),
            ("reconciled", Some("live"))
        );
        let gone = EvidenceStay {
            end: None,
            end_reason: EndReason::RoomLeft,
            ..stay(100, 200)
        };

        assert_eq!(
            ends(gone, &cover(&[(0, NOW, Cover::Backfilled)])),
            ("live", Some("backfilled"))
        );
    }

    #[test]
    fn claims_and_expiry_have_an_error_bar() {
        let claimed = EvidenceStay {
            claimed: true,
            join: Some(live(150)),
            ..stay(100, 200)
        };

        assert_eq!(
            verdict(claimed, &live_all_the_time()),
            ("left_censored", 50, 0)
        );
        let expired = EvidenceStay {
            end: None,
            end_reason: EndReason::Expired,
            last_sign_ms: Some(130),
            ..stay(100, 200)
        };

        assert_eq!(
            (
                ends(expired, &live_all_the_time()).1,
                verdict(expired, &live_all_the_time())
            ),
            (Some("computed"), ("inferred_end", 70, 0))
        );
        let made = Origin {
            origin_ms: 200,
            received_ms: Some(200),
            source: Source::Poll,
            made_since_ms: Some(160),
            lost_since_ms: None,
        };

        let vanished = EvidenceStay {
            end: Some(made),
            ..stay(100, 200)
        };

        assert_eq!(
            (
                ends(vanished, &live_all_the_time()).1,
                verdict(vanished, &live_all_the_time())
            ),
            (Some("reconciled"), ("inferred_end", 40, 0))
        );
    }

    #[test]
    fn what_speaks_against_a_time_makes_it_a_span_of_time() {
        let back = EvidenceStay {
            back_since_ms: Some(70),
            ..stay(100, 200)
        };

        assert_eq!(
            (
                ends(back, &live_all_the_time()).0,
                verdict(back, &live_all_the_time())
            ),
            ("renewed", ("left_censored", 30, 0))
        );
        let refuted = EvidenceStay {
            claimed: true,
            refuted: true,
            join: Some(live(150)),
            ..stay(100, 200)
        };

        assert_eq!(
            (
                ends(refuted, &live_all_the_time()).0,
                verdict(refuted, &live_all_the_time())
            ),
            ("refuted", ("left_censored", 50, 0))
        );
        let lost = |at: i64| Origin {
            lost_since_ms: Some(at - 15),
            ..live(at)
        };

        let ended = EvidenceStay {
            end: Some(lost(200)),
            ..stay(100, 200)
        };

        assert_eq!(verdict(ended, &live_all_the_time()), ("bounded", 15, 0));
        let begun = EvidenceStay {
            join: Some(lost(100)),
            ..stay(100, 200)
        };

        assert_eq!(verdict(begun, &live_all_the_time()), ("bounded", 15, 0));
        let holed = EvidenceStay {
            lost: Some(Span { from: 120, to: 150 }),
            ..stay(100, 200)
        };

        assert_eq!(verdict(holed, &live_all_the_time()), ("gapped", 0, 30));
    }

    #[test]
    fn what_nobody_watched_is_unknown_and_not_ended() {
        let gap = |from, to| {
            cover(&[
                (0, from, Cover::Live),
                (from, to, Cover::Gap),
                (to, NOW, Cover::Live),
            ])
        };

        assert_eq!(verdict(stay(100, 200), &gap(120, 150)), ("gapped", 0, 30));
        assert_eq!(
            verdict(stay(100, 200), &gap(90, 150)),
            ("left_censored", 10, 50)
        );
        let expired = EvidenceStay {
            end: None,
            end_reason: EndReason::Expired,
            last_sign_ms: Some(130),
            ..stay(100, 200)
        };

        assert_eq!(
            (
                ends(expired, &gap(150, 300)).1,
                verdict(expired, &gap(150, 300)).0
            ),
            (Some("gap"), "right_censored")
        );
        let open = EvidenceStay {
            end: None,
            ..stay(100, NOW + 5)
        };

        assert_eq!(verdict(open, &live_all_the_time()), ("exact", 0, 0));
        let blind = cover(&[(0, 500, Cover::Live), (500, NOW, Cover::Gap)]);
        assert_eq!(verdict(open, &blind).0, "right_censored");
        assert_eq!(
            boundaries_of_stay(&open, &blind, NOW).unknown_since_ms,
            Some(500)
        );
        assert_eq!(
            verdict(stay(100, 200), &blind),
            ("exact", 0, 0),
            "what ended before is not touched"
        );
        assert_eq!(certainty_of_call(&[], &blind, NOW), None);
    }
}
