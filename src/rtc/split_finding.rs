//! Findings about how a call holds together: which SFU decides, who has none, and devices that come
//! and go.

use super::coverage::Span;
use super::finding_kind::FindingKind;
use super::transport::{Selection, Transport};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Which room of its own SFU it names, as a text that is the same for the same room; `None` if
    /// it names none.
    pub alias: Option<&'a str>,
    /// When the SFU that it uses did not answer our probes, in order and disjoint.
    pub sfu_down: &'a [Span],
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
    /// These were on an SFU whose service did not answer.
    DeadSfu {
        sfu: &'a str,
        users: Vec<&'a str>,
        from_ms: i64,
        until_ms: Option<i64>,
    },
    /// These named another room of the same SFU than the others.
    AliasDiffers {
        sfu: &'a str,
        users: Vec<&'a str>,
        others: Vec<&'a str>,
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
            Self::DeadSfu { .. } => FindingKind::DeadSfu,
            Self::AliasDiffers { .. } => FindingKind::AliasDiffers,
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
            | Self::DeadSfu { from_ms, .. }
            | Self::AliasDiffers { from_ms, .. }
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
            | Self::DeadSfu { until_ms, .. }
            | Self::AliasDiffers { until_ms, .. }
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
    found.extend(find_dead_sfus(stays, &order, upto));
    found.extend(find_other_aliases(stays, &order, upto));
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

/// The members who are the oldest one after the other: the place of each, and from when to when,
/// ms. `order` is by begin.
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

/// SFUs that did not answer while somebody was on them: one finding for each time.
fn find_dead_sfus<'a>(
    stays: &[SplitStay<'a>],
    order: &[usize],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let mut times: BTreeMap<(&str, Span), Vec<usize>> = BTreeMap::new();
    for &at in order {
        let stay = &stays[at];
        let Some(sfu) = sfu_of(stay.used).filter(|_| stay.gone_since_ms.is_none()) else {
            continue;
        };
        let lasts = |down: &&Span| {
            let until_ms = down.to.min(stay.until_ms).min(upto);
            until_ms - down.from.max(stay.joined_ms) >= LASTS_MS
        };
        for down in stay.sfu_down.iter().filter(lasts) {
            times.entry((sfu, *down)).or_default().push(at);
        }
    }

    let finding = |((sfu, down), on_it): ((&'a str, Span), Vec<usize>)| {
        let joined_ms = on_it.iter().map(|at| stays[*at].joined_ms).min();
        let until_ms = on_it.iter().map(|at| stays[*at].until_ms).max();

        SplitFinding::DeadSfu {
            sfu,
            users: users_of_stays(stays, &on_it),
            from_ms: joined_ms.unwrap_or(down.from).max(down.from),
            until_ms: end_of(until_ms.unwrap_or(down.to).min(down.to), upto),
        }
    };

    times.into_iter().map(finding).take(EACH_MAX).collect()
}

/// SFUs on which members name different rooms, so that they are apart though on one SFU. Those of
/// the room that most name are the others.
fn find_other_aliases<'a>(
    stays: &[SplitStay<'a>],
    order: &[usize],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let mut by_sfu: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for &at in order {
        let stay = &stays[at];
        // Who uses the SFU of another member uses the room that that one names.
        let own = sfu_of(stay.used).filter(|_| stay.used == stay.stated);
        let own = own.filter(|_| stay.gone_since_ms.is_none());
        // Those who follow the oldest member use its room, whatever they name.
        let own = own.filter(|_| stay.selection != Selection::OldestMembership);
        if let (Some(sfu), Some(alias)) = (own, stay.alias) {
            let aliases = by_sfu.entry(sfu).or_default();
            aliases.entry(alias).or_default().push(at);
        }
    }

    let mut found = Vec::new();
    for (sfu, aliases) in by_sfu.into_iter().filter(|(_, aliases)| aliases.len() > 1) {
        // Of several that as many name, it is that of who came first.
        let rank = |of: &&Vec<usize>| (of.len(), std::cmp::Reverse(stays[of[0]].joined_ms));
        let Some(most) = aliases.values().max_by_key(rank) else {
            continue;
        };
        let (mut apart, mut others) = (BTreeSet::new(), BTreeSet::new());
        let (mut from_ms, mut until_ms) = (i64::MAX, i64::MIN);
        for &at in aliases.values().filter(|of| *of != most).flatten() {
            for &other in most {
                let (one, two) = (&stays[at], &stays[other]);
                let begin_ms = one.joined_ms.max(two.joined_ms);
                let end_ms = one.until_ms.min(two.until_ms);
                if is_other_device(one, two) && end_ms.min(upto) - begin_ms >= LASTS_MS {
                    apart.insert(at);
                    others.insert(other);
                    from_ms = from_ms.min(begin_ms);
                    until_ms = until_ms.max(end_ms);
                }
            }
        }

        if !apart.is_empty() {
            let places = |of: BTreeSet<usize>| of.into_iter().collect::<Vec<_>>();
            found.push(SplitFinding::AliasDiffers {
                sfu,
                users: users_of_stays(stays, &places(apart)),
                others: users_of_stays(stays, &places(others)),
                from_ms,
                until_ms: end_of(until_ms, upto),
            });
        }
    }

    found.truncate(EACH_MAX);

    found
}

/// The users of these stays, each once.
fn users_of_stays<'a>(stays: &[SplitStay<'a>], places: &[usize]) -> Vec<&'a str> {
    let users: BTreeSet<&str> = places.iter().map(|at| stays[*at].user_id).collect();
    users.into_iter().collect()
}

/// The state of an SFU's service as one probe found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SfuFlip {
    /// When the probe found it, ms.
    pub at_ms: i64,
    pub answers: bool,
    /// When the probe before it was, ms; `None` if that is not known.
    pub asked_before_ms: Option<i64>,
}

/// How long what a probe found is believed, ms: a little longer than the usual time between two.
const BELIEVED_MS: i64 = 7 * 60 * 60_000;

/// When an SFU did not answer, by the changes that probes found, in order of time, and by the time
/// of the last probe, ms. What was before the first change is not known. Only what two probes found
/// counts, for it may have been our own network once; and it ends some time after the last of them.
#[must_use]
pub fn spans_without_answer(flips: &[SfuFlip], asked_ms: i64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    // The span from the first failed probe to the end of what the last failed one says.
    let mut add = |from: i64, last_failed_ms: i64, until: i64| {
        if last_failed_ms > from {
            let to = until.min(last_failed_ms.saturating_add(BELIEVED_MS));
            spans.push(Span { from, to });
        }
    };
    let mut since_ms = None;
    for flip in flips {
        match (flip.answers, since_ms) {
            (false, None) => since_ms = Some(flip.at_ms),
            (true, Some(from)) => {
                add(from, flip.asked_before_ms.unwrap_or(from), flip.at_ms);
                since_ms = None;
            }
            _ => {}
        }
    }

    if let Some(from) = since_ms {
        add(from, asked_ms, i64::MAX);
    }

    spans
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
            alias: None,
            sfu_down: &[],
        }
    }

    #[test]
    fn an_sfu_that_does_not_answer_while_people_are_on_it_is_dead() {
        let (a, b) = (sfu("a"), sfu("b"));
        let down = [Span {
            from: HOUR,
            to: 2 * HOUR,
        }];
        let on_it = |user, from, until| SplitStay {
            sfu_down: &down,
            selection: Selection::MultiSfu,
            ..stay(user, (from, until), Some(&a), Some(&a))
        };
        let stays = [
            on_it("@early:h", 0, HOUR + LASTS_MS),
            on_it("@late:h", 90 * MINUTE, 3 * HOUR),
            on_it("@before:h", 0, HOUR),
            on_it("@moment:h", 2 * HOUR - LASTS_MS + 1, 5 * HOUR),
            stay("@other:h", (0, 5 * HOUR), Some(&b), Some(&b)),
        ];
        let dead = |until_ms| SplitFinding::DeadSfu {
            sfu: "a",
            users: vec!["@early:h", "@late:h"],
            from_ms: HOUR,
            until_ms,
        };
        assert_eq!(split_findings(&stays, 9 * HOUR), [dead(Some(2 * HOUR))]);
        assert_eq!(split_findings(&stays, 100 * MINUTE), [dead(None)]);
        let ghost = SplitStay {
            gone_since_ms: Some(0),
            ..stays[0]
        };
        assert_eq!(
            split_findings(&[ghost], 9 * HOUR),
            [],
            "a ghost hears nobody"
        );
    }

    #[test]
    fn changes_of_probes_are_spans_without_an_answer() {
        let flip = |at_ms, answers, before: i64| SfuFlip {
            at_ms,
            answers,
            asked_before_ms: Some(before),
        };
        let span = |from, to| Span { from, to };
        let spans = |flips: &[SfuFlip], asked_ms| spans_without_answer(flips, asked_ms);
        assert_eq!(spans(&[], HOUR), []);
        let down = |last_failed| {
            let begin = flip(6 * HOUR, false, 0);
            [begin, flip(30 * HOUR, true, last_failed)]
        };
        assert_eq!(
            spans(&down(24 * HOUR), 99 * HOUR),
            [span(6 * HOUR, 30 * HOUR)]
        );
        assert_eq!(
            spans(&down(12 * HOUR), 99 * HOUR),
            [span(6 * HOUR, 19 * HOUR)],
            "nobody asked for long"
        );
        assert_eq!(spans(&down(6 * HOUR), 99 * HOUR), [], "one probe alone");
        let open = [flip(6 * HOUR, false, 0)];
        assert_eq!(spans(&open, 6 * HOUR), [], "one probe alone");
        assert_eq!(
            spans(&open, 12 * HOUR),
            [span(6 * HOUR, 19 * HOUR)],
            "it goes on, but not for ever"
        );
    }

    #[test]
    fn members_on_one_sfu_in_different_rooms_are_apart() {
        let (a, b) = (sfu("a"), sfu("b"));
        let named = |user, alias, span| SplitStay {
            alias: Some(alias),
            selection: Selection::MultiSfu,
            ..stay(user, span, Some(&a), Some(&a))
        };
        let one = named("@one:h", "x", (0, HOUR));
        let two = named("@two:h", "x", (MINUTE, HOUR));
        let odd = named("@odd:h", "y", (2 * MINUTE, 30 * MINUTE));
        let found = SplitFinding::AliasDiffers {
            sfu: "a",
            users: vec!["@odd:h"],
            others: vec!["@one:h", "@two:h"],
            from_ms: 2 * MINUTE,
            until_ms: Some(30 * MINUTE),
        };
        assert_eq!(split_findings(&[one, two, odd], 2 * HOUR), [found]);
        assert_eq!(split_findings(&[one, two], 2 * HOUR), []);
        let elsewhere = SplitStay {
            stated: Some(&b),
            used: Some(&b),
            ..odd
        };
        assert_eq!(split_findings(&[one, elsewhere], 2 * HOUR), []);
        // It is on the SFU of another member, whose room it uses.
        let follower = SplitStay {
            stated: Some(&b),
            ..odd
        };
        assert_eq!(split_findings(&[one, follower], 2 * HOUR), []);
        let later = named("@odd:h", "y", (HOUR, 2 * HOUR));
        assert_eq!(split_findings(&[one, later], 3 * HOUR), []);
        let silent = SplitStay { alias: None, ..odd };
        assert_eq!(split_findings(&[one, silent], 2 * HOUR), []);
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
