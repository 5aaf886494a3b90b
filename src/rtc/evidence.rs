//! How sure we are: what each boundary of a stay and of a call rests on, and how far off it can be.

use super::coverage::{Cover, Interval, Span, at, blind_since};

/// An event that came later than this after the time it bears was not seen live, ms.
pub const PROMPT_MS: i64 = 60_000;

/// How an event first came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sync,
    Poll,
    Backfill,
}

/// What is known of the event at a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub origin_ms: i64,
    /// Our clock when the first live copy came, ms.
    pub received_ms: Option<i64>,
    pub way: Way,
    /// We made it ourselves from a snapshot: the look before, ms, after which it must have happened.
    pub made_since_ms: Option<i64>,
}

/// One stay, as far as evidence is concerned. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay<'a> {
    pub joined_ms: i64,
    pub until_ms: i64,
    pub end_reason: &'a str,
    pub claimed: bool,
    pub resumed: bool,
    pub join: Option<Origin>,
    pub end: Option<Origin>,
    /// The last event of the stay: it was still there then.
    pub last_sign_ms: Option<i64>,
}

/// What a boundary rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An event that we received when it happened.
    Live,
    /// An event read later; its time is the server's.
    Backfilled,
    /// The member's own word (`created_ts`).
    Claimed,
    /// Expiry: nobody said goodbye.
    Computed,
    /// A look at the room's state.
    Reconciled,
    /// Nobody watched, and nothing tells.
    Gap,
}

impl By {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backfilled => "backfilled",
            Self::Claimed => "claimed",
            Self::Computed => "computed",
            Self::Reconciled => "reconciled",
            Self::Gap => "gap",
        }
    }
}

/// A boundary: what it rests on, and how far off it can be, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    pub by: By,
    pub error_ms: i64,
}

/// The boundaries of one stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub start: Boundary,
    /// `None` while it lasts.
    pub end: Option<Boundary>,
    /// It lasts as far as we know, but nobody watches since this time.
    pub unknown_since_ms: Option<i64>,
}

/// How sure a call is as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    Exact,
    /// It may have begun earlier.
    LeftCensored,
    /// It may have ended earlier or later, or may be over.
    RightCensored,
    /// In its midst nobody watched.
    Gapped,
    /// Nobody said goodbye; the end is from expiry.
    InferredEnd,
}

impl Certainty {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::LeftCensored => "left_censored",
            Self::RightCensored => "right_censored",
            Self::Gapped => "gapped",
            Self::InferredEnd => "inferred_end",
        }
    }
}

/// How sure one call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub certainty: Certainty,
    pub start: Boundary,
    pub end: Option<Boundary>,
    /// How far off its length can be, ms.
    pub error_ms: i64,
    /// Time within it in which nobody watched, and which was not read later, ms.
    pub gap_ms: i64,
    pub unknown_since_ms: Option<i64>,
}

/// What the boundaries of a stay rest on. `cover` is the room's coverage until `now`.
#[must_use]
pub fn of_stay(stay: &Stay, cover: &[Interval], now: i64) -> Ends {
    let start = start(stay, cover);
    if stay.until_ms > now {
        let unknown_since_ms = blind_since(cover).map(|since| since.max(stay.joined_ms));
        return Ends {
            start,
            end: None,
            unknown_since_ms,
        };
    }
    Ends {
        start,
        end: Some(end(stay, cover)),
        unknown_since_ms: None,
    }
}

fn start(stay: &Stay, cover: &[Interval]) -> Boundary {
    match stay.join {
        _ if stay.resumed => by_cover(cover, stay.joined_ms),
        Some(event) if stay.claimed => {
            let seen = event
                .received_ms
                .map_or(event.origin_ms, |received| received.min(event.origin_ms));
            Boundary {
                by: By::Claimed,
                error_ms: (seen - stay.joined_ms).max(0),
            }
        }
        None if stay.claimed => Boundary {
            by: By::Claimed,
            error_ms: 0,
        },
        Some(event) => by_event(&event),
        None => by_cover(cover, stay.joined_ms),
    }
}

fn end(stay: &Stay, cover: &[Interval]) -> Boundary {
    let last_sign = stay
        .last_sign_ms
        .unwrap_or(stay.joined_ms)
        .max(stay.joined_ms);
    match stay.end {
        Some(event) => by_event(&event),
        None if matches!(stay.end_reason, "expired" | "sticky_expired") => {
            match blind_at(cover, stay.until_ms) {
                Some(gap) => Boundary {
                    by: By::Gap,
                    error_ms: gap.to.saturating_sub(gap.from.max(last_sign)).max(0),
                },
                None => Boundary {
                    by: By::Computed,
                    error_ms: (stay.until_ms - last_sign).max(0),
                },
            }
        }
        None => by_cover(cover, stay.until_ms),
    }
}

/// The event bears the time itself; how it came says what that is worth.
fn by_event(event: &Origin) -> Boundary {
    let prompt = event
        .received_ms
        .is_some_and(|received| received.saturating_sub(event.origin_ms) < PROMPT_MS);
    match event.way {
        _ if event.made_since_ms.is_some() => {
            let since = event.made_since_ms.unwrap_or(event.origin_ms);
            Boundary {
                by: By::Reconciled,
                error_ms: (event.origin_ms - since).max(0),
            }
        }
        Way::Poll => Boundary {
            by: By::Reconciled,
            error_ms: 0,
        },
        Way::Sync | Way::Backfill if prompt => Boundary {
            by: By::Live,
            error_ms: 0,
        },
        Way::Sync | Way::Backfill => Boundary {
            by: By::Backfilled,
            error_ms: 0,
        },
    }
}

/// A boundary without an event of the member's own (it left the room, the slot was closed): as the time is known.
fn by_cover(cover: &[Interval], ms: i64) -> Boundary {
    let by = match at(cover, ms) {
        Cover::Live => By::Live,
        Cover::Polled => By::Reconciled,
        Cover::Backfilled => By::Backfilled,
        Cover::Gap | Cover::NotVisible => By::Gap,
    };
    Boundary { by, error_ms: 0 }
}

/// The blind span around a moment.
fn blind_at(cover: &[Interval], ms: i64) -> Option<Span> {
    let mut blind = cover.iter().filter(|interval| interval.cover.is_blind());
    blind
        .find(|interval| (interval.span.from..interval.span.to).contains(&ms))
        .map(|interval| interval.span)
}

/// How sure a call is, from its stays with their ends. A call has at least one stay.
#[must_use]
pub fn of_call(stays: &[(Stay, Ends)], cover: &[Interval], now: i64) -> Option<Verdict> {
    let (first, first_ends) = stays.iter().min_by_key(|(stay, _)| stay.joined_ms)?;
    let (last, last_ends) = stays.iter().max_by_key(|(stay, _)| stay.until_ms)?;
    let (from, to) = (first.joined_ms, last.until_ms.min(now));
    let (mut start, mut end) = (first_ends.start, last_ends.end);
    if let Some(gap) = blind_at(cover, from) {
        start.error_ms = start.error_ms.max(from - gap.from);
    }
    let gap_at_end = if end.is_some() {
        blind_at(cover, to)
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
    let gap_ms = inside.map(|span| span.to - span.from).sum();
    let unsure =
        |boundary: &Boundary| matches!(boundary.by, By::Claimed | By::Gap) || boundary.error_ms > 0;
    let certainty = match &end {
        None if last_ends.unknown_since_ms.is_some() => Certainty::RightCensored,
        Some(end) if end.by == By::Gap || gap_at_end.is_some() => Certainty::RightCensored,
        _ if unsure(&start) => Certainty::LeftCensored,
        _ if gap_ms > 0 => Certainty::Gapped,
        Some(end) if end.by == By::Computed || end.error_ms > 0 => Certainty::InferredEnd,
        _ => Certainty::Exact,
    };
    let error_ms = start
        .error_ms
        .saturating_add(end.map_or(0, |end| end.error_ms));
    Some(Verdict {
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

    fn event(origin_ms: i64, received_ms: Option<i64>, way: Way) -> Origin {
        Origin {
            origin_ms,
            received_ms,
            way,
            made_since_ms: None,
        }
    }

    fn live(origin_ms: i64) -> Origin {
        event(origin_ms, Some(origin_ms + 200), Way::Sync)
    }

    fn stay(from: i64, to: i64) -> Stay<'static> {
        Stay {
            joined_ms: from,
            until_ms: to,
            end_reason: "left",
            claimed: false,
            resumed: false,
            join: Some(live(from)),
            end: Some(live(to)),
            last_sign_ms: None,
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

    fn whole() -> Vec<Interval> {
        cover(&[(0, NOW, Cover::Live)])
    }

    fn verdict(stay: Stay, cover: &[Interval]) -> (&'static str, i64, i64) {
        let verdict = of_call(&[(stay, of_stay(&stay, cover, NOW))], cover, NOW).unwrap();
        (verdict.certainty.as_str(), verdict.error_ms, verdict.gap_ms)
    }

    fn ends(stay: Stay, cover: &[Interval]) -> (&'static str, Option<&'static str>) {
        let ends = of_stay(&stay, cover, NOW);
        (ends.start.by.as_str(), ends.end.map(|end| end.by.as_str()))
    }

    #[test]
    fn a_boundary_rests_on_how_its_event_came() {
        assert_eq!(ends(stay(100, 200), &whole()), ("live", Some("live")));
        let late = Stay {
            join: Some(event(100, Some(100 + PROMPT_MS), Way::Sync)),
            end: Some(event(200, None, Way::Backfill)),
            ..stay(100, 200)
        };
        assert_eq!(ends(late, &whole()), ("backfilled", Some("backfilled")));
        assert_eq!(verdict(late, &whole()), ("exact", 0, 0));
        let polled = Stay {
            join: Some(event(100, Some(900), Way::Poll)),
            ..stay(100, 200)
        };
        assert_eq!(ends(polled, &whole()), ("reconciled", Some("live")));
        let gone = Stay {
            end: None,
            end_reason: "room_left",
            ..stay(100, 200)
        };
        assert_eq!(
            ends(gone, &cover(&[(0, NOW, Cover::Backfilled)])),
            ("live", Some("backfilled"))
        );
    }

    #[test]
    fn claims_and_expiry_have_an_error_bar() {
        let claimed = Stay {
            claimed: true,
            join: Some(live(150)),
            ..stay(100, 200)
        };
        assert_eq!(verdict(claimed, &whole()), ("left_censored", 50, 0));
        let expired = Stay {
            end: None,
            end_reason: "expired",
            last_sign_ms: Some(130),
            ..stay(100, 200)
        };
        assert_eq!(
            (ends(expired, &whole()).1, verdict(expired, &whole())),
            (Some("computed"), ("inferred_end", 70, 0))
        );
        let made = Origin {
            origin_ms: 200,
            received_ms: Some(200),
            way: Way::Poll,
            made_since_ms: Some(160),
        };
        let vanished = Stay {
            end: Some(made),
            ..stay(100, 200)
        };
        assert_eq!(
            (ends(vanished, &whole()).1, verdict(vanished, &whole())),
            (Some("reconciled"), ("inferred_end", 40, 0))
        );
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
        let expired = Stay {
            end: None,
            end_reason: "expired",
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
        let open = Stay {
            end: None,
            ..stay(100, NOW + 5)
        };
        assert_eq!(verdict(open, &whole()), ("exact", 0, 0));
        let blind = cover(&[(0, 500, Cover::Live), (500, NOW, Cover::Gap)]);
        assert_eq!(verdict(open, &blind).0, "right_censored");
        assert_eq!(of_stay(&open, &blind, NOW).unknown_since_ms, Some(500));
        assert_eq!(
            verdict(stay(100, 200), &blind),
            ("exact", 0, 0),
            "what ended before is not touched"
        );
        assert_eq!(of_call(&[], &blind, NOW), None);
    }
}
