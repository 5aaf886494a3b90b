//! Findings about how a call holds together: which SFU decides, who has none, and devices that come
//! and go.

use super::finding_kind::FindingKind;
use super::transport::{Selection, Transport};
use std::collections::BTreeMap;

/// Two members who join within this time of each other may each take themselves for the oldest, ms.
pub const TIE_MS: i64 = 2_000;
/// What lasts shorter than this is a handover, ms.
const LASTS_MS: i64 = 10_000;
/// A device that comes so often within this time, ms, flaps.
pub const FLAPS_MIN: usize = 4;
pub const FLAPS_WITHIN_MS: i64 = 600_000;
/// Maximum number of findings of each kind in one call: events come from strangers.
const EACH_MAX: usize = 10;

/// What these findings need of a stay. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct SplitStay<'a> {
    pub user_id: &'a str,
    pub device: Option<&'a str>,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// Since when its device is probably gone, or is known to have gone without a goodbye.
    pub gone_since_ms: Option<i64>,
    /// The transport that it states itself.
    pub stated: Option<&'a Transport>,
    /// The transport that it uses.
    pub used: Option<&'a Transport>,
    pub selection: Selection,
    /// Members of its format state a transport, and nothing was taken out of its content.
    pub states_transports: bool,
}

/// A problem. Times in ms; `until_ms` is `None` while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitFinding<'a> {
    /// Two members who follow the oldest one joined at almost the same time and state different
    /// SFUs: some may follow the one, some the other.
    OldestTie {
        first: usize,
        second: usize,
        from_ms: i64,
        until_ms: Option<i64>,
        sfu: &'a str,
    },
    /// The oldest member is a ghost, and its SFU is that of others who state another one.
    GhostOldest {
        ghost: usize,
        from_ms: i64,
        until_ms: Option<i64>,
        sfu: &'a str,
        followers: Vec<&'a str>,
    },
    /// This member states no transport and uses none, and others do.
    NoTransport {
        stay: usize,
        from_ms: i64,
        until_ms: Option<i64>,
    },
    /// One device came and went again and again. `stay` is the first of those stays.
    Flapping {
        stay: usize,
        times: usize,
        from_ms: i64,
        until_ms: Option<i64>,
    },
}

impl SplitFinding<'_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FindingKind {
        match self {
            Self::OldestTie { .. } => FindingKind::OldestTie,
            Self::GhostOldest { .. } => FindingKind::GhostOldest,
            Self::NoTransport { .. } => FindingKind::NoTransport,
            Self::Flapping { .. } => FindingKind::Flapping,
        }
    }

    /// When it began, ms.
    #[must_use]
    pub fn from_ms(&self) -> i64 {
        match self {
            Self::OldestTie { from_ms, .. }
            | Self::GhostOldest { from_ms, .. }
            | Self::NoTransport { from_ms, .. }
            | Self::Flapping { from_ms, .. } => *from_ms,
        }
    }

    /// When it ended, ms; `None` while it lasts.
    #[must_use]
    pub fn until_ms(&self) -> Option<i64> {
        match self {
            Self::OldestTie { until_ms, .. }
            | Self::GhostOldest { until_ms, .. }
            | Self::NoTransport { until_ms, .. }
            | Self::Flapping { until_ms, .. } => *until_ms,
        }
    }
}

/// The findings of one call, as known at `upto`, ms.
#[must_use]
pub fn split_findings<'a>(stays: &[SplitStay<'a>], upto: i64) -> Vec<SplitFinding<'a>> {
    let mut order: Vec<usize> = (0..stays.len())
        .filter(|at| stays[*at].joined_ms < stays[*at].until_ms.min(upto))
        .collect();
    order.sort_by_key(|at| (stays[*at].joined_ms, *at));

    let mut found = Vec::new();
    found.extend(find_oldest_ties(stays, &order, upto));
    found.extend(find_ghost_oldest(stays, &order, upto));
    found.extend(find_no_transport(stays, &order, upto));
    found.extend(find_flapping(stays, &order, upto));

    found
}

/// The end of what lasts until this time, ms: `None` if it still lasts.
fn end_of(until_ms: i64, upto: i64) -> Option<i64> {
    (until_ms < upto).then_some(until_ms)
}

fn sfu_of(transport: Option<&Transport>) -> Option<&str> {
    transport?.sfu.as_deref()
}

/// Is it another device of this or of another person?
fn is_other_device(one: &SplitStay, other: &SplitStay) -> bool {
    (one.user_id, one.device) != (other.user_id, other.device)
}

/// The members who are the oldest one after the other: the place of each, and from when to when, ms.
/// `order` is by begin.
fn oldest_members(stays: &[SplitStay], order: &[usize]) -> Vec<(usize, i64, i64)> {
    let mut oldest: Vec<(usize, i64, i64)> = Vec::new();
    for &at in order {
        let stay = &stays[at];
        let before_ms = oldest.last().map_or(i64::MIN, |(_, _, until)| *until);
        if stay.until_ms > before_ms {
            oldest.push((at, stay.joined_ms.max(before_ms), stay.until_ms));
        }
    }

    oldest
}

/// Members who may each take themselves for the oldest: both follow the oldest, joined within
/// [`TIE_MS`], and state different SFUs.
fn find_oldest_ties<'a>(
    stays: &[SplitStay<'a>],
    order: &[usize],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let follows = |stay: &SplitStay| stay.selection == Selection::OldestMembership;
    let mut found = Vec::new();
    for (first, since_ms, _) in oldest_members(stays, order) {
        let one = &stays[first];
        // Who became the oldest only because others left was told from the rest long before.
        if since_ms != one.joined_ms || !follows(one) {
            continue;
        }

        let Some(sfu) = sfu_of(one.stated) else {
            continue;
        };
        let begin = order.partition_point(|at| stays[*at].joined_ms < one.joined_ms);
        let tied = order[begin..]
            .iter()
            .take_while(|at| stays[**at].joined_ms - one.joined_ms <= TIE_MS)
            .copied()
            .find(|at| {
                let other = &stays[*at];
                let until_ms = one.until_ms.min(other.until_ms).min(upto);
                *at != first
                    && follows(other)
                    && is_other_device(one, other)
                    && sfu_of(other.stated).is_some_and(|theirs| theirs != sfu)
                    && until_ms - other.joined_ms >= LASTS_MS
            });
        if let Some(second) = tied {
            found.push(SplitFinding::OldestTie {
                first,
                second,
                from_ms: stays[second].joined_ms,
                until_ms: end_of(one.until_ms.min(stays[second].until_ms), upto),
                sfu,
            });
        }
    }

    found.truncate(EACH_MAX);

    found
}

/// Ghosts who are the oldest member, while somebody joins who follows the oldest and states another
/// SFU.
fn find_ghost_oldest<'a>(
    stays: &[SplitStay<'a>],
    order: &[usize],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let mut found = Vec::new();
    for (ghost, since_ms, until_ms) in oldest_members(stays, order) {
        let one = &stays[ghost];
        let (Some(gone_ms), Some(sfu)) = (one.gone_since_ms, sfu_of(one.used)) else {
            continue;
        };
        let from_ms = gone_ms.max(since_ms);
        let led: Vec<&SplitStay> = order
            .iter()
            .map(|at| &stays[*at])
            .filter(|stay| {
                stay.joined_ms > from_ms
                    && stay.joined_ms < until_ms
                    && stay.selection == Selection::OldestMembership
                    && stay.gone_since_ms.is_none()
                    && is_other_device(one, stay)
                    && sfu_of(stay.used) == Some(sfu)
                    && sfu_of(stay.stated).is_some_and(|own| own != sfu)
                    && stay.until_ms.min(upto) - stay.joined_ms >= LASTS_MS
            })
            .collect();
        let (Some(first), Some(last)) = (
            led.iter().map(|stay| stay.joined_ms).min(),
            led.iter().map(|stay| stay.until_ms).max(),
        ) else {
            continue;
        };
        let mut followers: Vec<&str> = led.iter().map(|stay| stay.user_id).collect();
        followers.sort_unstable();
        followers.dedup();
        found.push(SplitFinding::GhostOldest {
            ghost,
            from_ms: first,
            until_ms: end_of(last.min(until_ms), upto),
            sfu,
            followers,
        });
    }

    found.truncate(EACH_MAX);

    found
}

/// Members without a transport, while others with one are there.
fn find_no_transport<'a>(
    stays: &[SplitStay<'a>],
    order: &[usize],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let with: Vec<&SplitStay> = order
        .iter()
        .map(|at| &stays[*at])
        .filter(|stay| stay.used.is_some())
        .collect();
    let mut found = Vec::new();
    for &at in order {
        let stay = &stays[at];
        let lacks = stay.states_transports
            && stay.stated.is_none()
            && stay.used.is_none()
            && stay.selection != Selection::Unknown
            && stay.gone_since_ms.is_none();
        if !lacks {
            continue;
        }

        // Long enough together with one person who has one.
        let met = with.iter().filter(|other| other.user_id != stay.user_id);
        let spans = met.map(|other| {
            let from_ms = stay.joined_ms.max(other.joined_ms);
            (from_ms, stay.until_ms.min(other.until_ms))
        });
        let long = spans.filter(|(from, until)| until.min(&upto) - from >= LASTS_MS);
        if let Some(from_ms) = long.map(|(from, _)| from).min() {
            found.push(SplitFinding::NoTransport {
                stay: at,
                from_ms,
                until_ms: end_of(stay.until_ms, upto),
            });
        }
    }

    found.truncate(EACH_MAX);

    found
}

/// Devices that came at least [`FLAPS_MIN`] times within [`FLAPS_WITHIN_MS`], each time after they
/// had gone. A stay that follows another one without a break is no return.
fn find_flapping<'a>(stays: &[SplitStay<'a>], order: &[usize], upto: i64) -> Vec<SplitFinding<'a>> {
    let mut devices: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for &at in order {
        if let Some(device) = stays[at].device {
            devices
                .entry((stays[at].user_id, device))
                .or_default()
                .push(at);
        }
    }

    let mut found = Vec::new();
    for of_device in devices.values() {
        // The stays that began after a break; and the runs of those that are close together.
        let mut returns: Vec<usize> = Vec::new();
        let mut until_ms = i64::MIN;
        for &at in of_device {
            if stays[at].joined_ms > until_ms {
                returns.push(at);
            }

            until_ms = until_ms.max(stays[at].until_ms);
        }

        let mut from = 0;
        while from + FLAPS_MIN <= returns.len() {
            let begin_ms = stays[returns[from]].joined_ms;
            let is_close = |nth: usize| {
                let back = nth + 1 - FLAPS_MIN;
                stays[returns[nth]].joined_ms - stays[returns[back]].joined_ms <= FLAPS_WITHIN_MS
            };
            let mut end = from + FLAPS_MIN - 1;
            if !is_close(end) {
                from += 1;
                continue;
            }

            while end + 1 < returns.len() && is_close(end + 1) {
                end += 1;
            }

            // While the last of them lasts, nobody knows whether it goes on.
            let last = &stays[returns[end]];
            let settled_ms = last
                .joined_ms
                .saturating_add(FLAPS_WITHIN_MS)
                .min(last.until_ms);
            found.push(SplitFinding::Flapping {
                stay: returns[from],
                times: end + 1 - from,
                from_ms: begin_ms,
                until_ms: end_of(settled_ms, upto),
            });
            from = end + 1;
        }
    }

    found.truncate(EACH_MAX);

    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn sfu(name: &str) -> Transport {
        Transport::stored("livekit".to_owned(), Some(format!("https://{name}")), "h")
    }

    /// A stay that follows the oldest member, states `stated` and uses `used`.
    fn stay<'a>(
        user_id: &'a str,
        span: (i64, i64),
        stated: Option<&'a Transport>,
        used: Option<&'a Transport>,
    ) -> SplitStay<'a> {
        SplitStay {
            user_id,
            device: Some("D"),
            joined_ms: span.0,
            until_ms: span.1,
            gone_since_ms: None,
            stated,
            used,
            selection: Selection::OldestMembership,
            states_transports: true,
        }
    }

    #[test]
    fn two_who_join_at_once_on_two_sfus_are_a_tie() {
        let (a, b) = (sfu("a"), sfu("b"));
        let one = stay("@one:h", (0, HOUR), Some(&a), Some(&a));
        let two = stay("@two:h", (TIE_MS, HOUR), Some(&b), Some(&a));
        let tie = SplitFinding::OldestTie {
            first: 0,
            second: 1,
            from_ms: TIE_MS,
            until_ms: Some(HOUR),
            sfu: "a",
        };
        assert_eq!(split_findings(&[one, two], 2 * HOUR), [tie]);

        let late = SplitStay {
            joined_ms: TIE_MS + 1,
            ..two
        };
        assert_eq!(split_findings(&[one, late], 2 * HOUR), []);
        let same = SplitStay {
            stated: Some(&a),
            ..two
        };
        assert_eq!(split_findings(&[one, same], 2 * HOUR), []);
        let modern = SplitStay {
            selection: Selection::MultiSfu,
            ..two
        };
        assert_eq!(split_findings(&[one, modern], 2 * HOUR), []);
        // Both were there for long when they became the oldest.
        let zero = stay("@zero:h", (-HOUR, 30 * MINUTE), Some(&a), Some(&a));
        assert_eq!(split_findings(&[zero, one, two], 2 * HOUR), []);
        let moment = SplitStay {
            until_ms: TIE_MS + LASTS_MS - 1,
            ..two
        };
        assert_eq!(split_findings(&[one, moment], 2 * HOUR), []);
    }

    #[test]
    fn a_ghost_that_is_the_oldest_decides_the_sfu_of_who_comes() {
        let (a, b) = (sfu("a"), sfu("b"));
        let ghost = SplitStay {
            gone_since_ms: Some(0),
            ..stay("@ghost:h", (0, 4 * HOUR), Some(&a), Some(&a))
        };
        let came = stay("@came:h", (HOUR, 2 * HOUR), Some(&b), Some(&a));
        let found = SplitFinding::GhostOldest {
            ghost: 0,
            from_ms: HOUR,
            until_ms: Some(2 * HOUR),
            sfu: "a",
            followers: vec!["@came:h"],
        };
        assert_eq!(split_findings(&[ghost, came], 5 * HOUR), [found]);

        let alive = SplitStay {
            gone_since_ms: None,
            ..ghost
        };
        assert_eq!(split_findings(&[alive, came], 5 * HOUR), []);
        let own = SplitStay {
            stated: Some(&a),
            ..came
        };
        assert_eq!(split_findings(&[ghost, own], 5 * HOUR), [], "it is theirs");
        let elder = stay("@elder:h", (-HOUR, 5 * HOUR), Some(&a), Some(&a));
        assert_eq!(split_findings(&[elder, ghost, came], 6 * HOUR), []);
    }

    #[test]
    fn a_member_without_a_transport_is_found_beside_others_only() {
        let a = sfu("a");
        let none = SplitStay {
            selection: Selection::MultiSfu,
            ..stay("@none:h", (0, HOUR), None, None)
        };
        let other = SplitStay {
            selection: Selection::MultiSfu,
            ..stay("@other:h", (MINUTE, HOUR), Some(&a), Some(&a))
        };
        let found = SplitFinding::NoTransport {
            stay: 0,
            from_ms: MINUTE,
            until_ms: None,
        };
        assert_eq!(split_findings(&[none, other], 30 * MINUTE), [found]);
        assert_eq!(split_findings(&[none], 30 * MINUTE), []);
        // It follows the oldest, who has one.
        let follower = stay("@none:h", (2 * MINUTE, HOUR), None, Some(&a));
        assert_eq!(split_findings(&[follower, other], 30 * MINUTE), []);
        for untold in [
            SplitStay {
                states_transports: false,
                ..none
            },
            SplitStay {
                selection: Selection::Unknown,
                ..none
            },
        ] {
            assert_eq!(split_findings(&[untold, other], 30 * MINUTE), []);
        }
    }

    #[test]
    fn a_device_in_and_out_four_times_in_ten_minutes_flaps() {
        let a = sfu("a");
        let at = |nth: i64, length: i64| {
            stay(
                "@f:h",
                (nth * 3 * MINUTE, nth * 3 * MINUTE + length),
                Some(&a),
                Some(&a),
            )
        };
        let four: Vec<SplitStay> = (0..4).map(|nth| at(nth, MINUTE)).collect();
        let found = SplitFinding::Flapping {
            stay: 0,
            times: 4,
            from_ms: 0,
            until_ms: Some(10 * MINUTE),
        };
        assert_eq!(split_findings(&four, HOUR), [found]);
        assert_eq!(split_findings(&four[..3], HOUR), [], "three times");
        let six: Vec<SplitStay> = (0..6).map(|nth| at(nth, MINUTE)).collect();
        assert!(matches!(
            split_findings(&six, HOUR)[..],
            [SplitFinding::Flapping { times: 6, .. }]
        ));
        // Without a break it is one stay in parts.
        let whole: Vec<SplitStay> = (0..6).map(|nth| at(nth, 3 * MINUTE)).collect();
        assert_eq!(split_findings(&whole, HOUR), []);
        let slow: Vec<SplitStay> = (0..6).map(|nth| at(2 * nth, MINUTE)).collect();
        assert_eq!(split_findings(&slow, HOUR), []);
        let devices: Vec<SplitStay> = four
            .iter()
            .zip(["A", "B", "C", "E"])
            .map(|(stay, device)| SplitStay {
                device: Some(device),
                ..*stay
            })
            .collect();
        assert_eq!(split_findings(&devices, HOUR), []);
    }
}
