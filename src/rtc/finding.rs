//! Findings: problems in a call, derived from its stays alone: who could not hear whom, and who is
//! probably gone.

use super::ghost::{self, Clues, GhostDoubt, SilentStay};
use super::transport::{Selection, Transport};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Maximum time for which a device may be counted after its last event without a finding of a
/// missing goodbye, ms.
pub const LATE_MS: i64 = 600_000;
/// During this time after a change of SFU nobody counts as unable to hear others, ms: the call is
/// moving.
const HANDOVER_MS: i64 = 10_000;
/// Breaks shorter than this do not split a finding, ms.
const BREAK_MS: i64 = 60_000;
/// A device that is back within this time after a stay expired had not gone, ms.
const GOES_ON_MS: i64 = 10_000;
/// Maximum number of SFUs whose listeners are examined, and of findings: events come from
/// strangers.
const SFUS_MAX: usize = 8;
const FINDINGS_MAX: usize = 50;
/// Maximum number of pairs reported one by one, and of their different times. If there are more,
/// the spans in which anybody was affected are reported.
const PAIRS_MAX: usize = 2500;
const TIMES_MAX: usize = 20;
/// Maximum number of people named in one finding; the others are only counted.
const NAMED_MAX: usize = 100;

/// The properties of a stay that findings need. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct FindingStay<'a> {
    pub user_id: &'a str,
    pub device: Option<&'a str>,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// Nobody said goodbye: it ends or ended by its own expiry.
    pub ended_by_expiry: bool,
    /// Clients renew its format every few hours (`session`), so silence is a sign.
    pub renewed_by_hours: bool,
    pub last_sign_ms: Option<i64>,
    /// Renewals so far.
    pub updates: i64,
    /// More evidence about it, while it still counts.
    pub clues: Clues,
    /// The transport it uses, see [`super::transport::transports_in_use`].
    pub transport: Option<&'a Transport>,
    pub selection: Selection,
}

/// People in order of their ids, without duplicates: the first of them, and the total number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct People<'a> {
    pub named: Vec<&'a str>,
    pub total: usize,
}

/// A problem in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding<'a> {
    /// A device that uses the SFU of the oldest member is connected only to that SFU. It cannot
    /// hear people who publish on another one. Each of `deaf` was there at the same time as each of
    /// `unheard` within this span; if the span lasts, all of them are still there.
    Apart {
        from_ms: i64,
        until_ms: i64,
        sfu: &'a str,
        deaf: People<'a>,
        unheard: People<'a>,
        mutual: bool,
    },
    /// It still counts, but its renewal is overdue.
    Silent {
        stay: usize,
        since_ms: i64,
        doubt: GhostDoubt,
    },
    /// It was counted until its expiry, long after its last event.
    NoGoodbye { stay: usize, since_ms: i64 },
}

impl Finding<'_> {
    /// When it began, ms.
    #[must_use]
    pub fn from_ms(&self) -> i64 {
        match self {
            Self::Apart { from_ms, .. } => *from_ms,
            Self::Silent { since_ms, .. } | Self::NoGoodbye { since_ms, .. } => *since_ms,
        }
    }
}

/// All findings of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings<'a> {
    /// Present problems first, then past ones; each group by time. Not all if there are very many.
    pub shown: Vec<Finding<'a>>,
    /// For each stay, in the given order: whether its device is still there, if that is in doubt.
    pub doubts: Vec<Option<GhostDoubt>>,
}

/// What is wrong in one call, as known at `now`, ms: whose renewal is overdue, who was counted long
/// after the last sign, and who could not hear whom. For the last, a stay counts only until its
/// last sign if its device is probably gone or nobody said goodbye.
#[must_use]
pub fn call_findings<'a>(stays: &[FindingStay<'a>], now: i64) -> Findings<'a> {
    let reach = presence_by_device(stays);
    let arrivals = newest_arrivals(stays, now);
    let silent: Vec<Finding> = (0..stays.len())
        .filter_map(|at| find_silence(stays, at, &reach, &arrivals, now))
        .collect();

    let mut doubts = vec![None; stays.len()];
    let mut there = stays.to_vec();
    for finding in &silent {
        // A device that is not known to be there any more neither hears nor misses anybody.
        match finding {
            Finding::Silent {
                stay,
                since_ms,
                doubt,
            } => {
                doubts[*stay] = Some(doubt.clone());
                if doubt.is_probable() {
                    there[*stay].until_ms = *since_ms;
                }
            }

            Finding::NoGoodbye { stay, since_ms } => there[*stay].until_ms = *since_ms,
            Finding::Apart { .. } => {}
        }
    }

    let mut shown = find_people_apart(&there, now);
    shown.extend(silent);
    shown.sort_by_key(|finding| (severity_rank(finding, now), finding.from_ms()));
    shown.truncate(FINDINGS_MAX);

    Findings { shown, doubts }
}

/// The rank by which findings are sorted, 0 first: present problems come before past ones. What
/// reaches until `now`, ms, is present.
fn severity_rank(finding: &Finding, now: i64) -> u8 {
    match finding {
        Finding::Apart { until_ms, .. } if *until_ms >= now => 0,
        Finding::Silent { doubt, .. } if doubt.is_probable() => 1,
        Finding::Apart { .. } => 2,
        Finding::Silent { .. } => 3,
        Finding::NoGoodbye { .. } => 4,
    }
}

/// The newest arrivals of each person who is still here, for at most two devices. Two are enough to
/// know whether there is a device other than a given one.
type ArrivalsByPerson<'a> = BTreeMap<&'a str, Vec<(i64, Option<&'a str>)>>;

/// When each person who is still here at `now`, ms, last came, with up to two devices, the newest
/// first.
fn newest_arrivals<'a>(stays: &[FindingStay<'a>], now: i64) -> ArrivalsByPerson<'a> {
    let mut arrivals = ArrivalsByPerson::new();
    for stay in stays.iter().filter(|stay| stay.until_ms > now) {
        let known = arrivals.entry(stay.user_id).or_default();
        match known.iter_mut().find(|(_, device)| *device == stay.device) {
            Some((joined_ms, _)) => *joined_ms = stay.joined_ms.max(*joined_ms),
            None => known.push((stay.joined_ms, stay.device)),
        }

        known.sort_by_key(|(joined_ms, _)| Reverse(*joined_ms));
        known.truncate(2);
    }

    arrivals
}

/// Is the person of this stay here with another device that came later than `since_ms`? `arrivals`
/// has only those who are here.
fn is_elsewhere(stay: &FindingStay, arrivals: &ArrivalsByPerson, since_ms: i64) -> bool {
    let known = arrivals.get(stay.user_id).map_or(&[][..], Vec::as_slice);
    known
        .iter()
        .any(|(joined_ms, device)| *device != stay.device && *joined_ms > since_ms)
}

/// The stays of each device in order of arrival: the start of each, and the latest end of all stays
/// up to it, ms.
type PresenceByDevice<'a> = BTreeMap<(&'a str, Option<&'a str>), Vec<(i64, i64)>>;

/// The spans of all stays, by device. The end of each is the latest end so far, so that one look at
/// the last stay that has begun tells until when the device was there.
fn presence_by_device<'a>(stays: &[FindingStay<'a>]) -> PresenceByDevice<'a> {
    let mut reach = PresenceByDevice::new();
    for stay in stays {
        reach
            .entry((stay.user_id, stay.device))
            .or_default()
            .push((stay.joined_ms, stay.until_ms));
    }

    for spans in reach.values_mut() {
        spans.sort_unstable();
        let mut latest = i64::MIN;
        for (_, until) in spans {
            latest = latest.max(*until);
            *until = latest;
        }
    }

    reach
}

/// Was the device still there by another stay when this one ended, or back within [`GOES_ON_MS`]?
/// Then nobody missed a goodbye.
fn is_device_still_there(stay: &FindingStay, reach: &PresenceByDevice) -> bool {
    let Some(spans) = reach.get(&(stay.user_id, stay.device)) else {
        return false;
    };

    // The number of stays that had begun by then.
    let begun =
        spans.partition_point(|(joined, _)| *joined <= stay.until_ms.saturating_add(GOES_ON_MS));

    spans[..begun]
        .last()
        .is_some_and(|(_, until)| *until > stay.until_ms)
}

/// The finding about the silence of the stay at index `at`: its renewal is overdue, or it ran out
/// long after its last sign. `None` for a stay that somebody ended, or whose silence is usual.
/// `reach` and `arrivals` are of the same stays; a stay that ends later than `now`, ms, still
/// counts.
fn find_silence<'a>(
    stays: &[FindingStay<'a>],
    at: usize,
    reach: &PresenceByDevice,
    arrivals: &ArrivalsByPerson,
    now: i64,
) -> Option<Finding<'a>> {
    let stay = &stays[at];
    let since_ms = stay
        .last_sign_ms
        .filter(|_| stay.ended_by_expiry)?
        .max(stay.joined_ms);
    if stay.until_ms <= now {
        let lacks_goodbye =
            stay.until_ms - since_ms > LATE_MS && !is_device_still_there(stay, reach);
        return lacks_goodbye.then_some(Finding::NoGoodbye { stay: at, since_ms });
    }

    let silence = SilentStay {
        joined_ms: stay.joined_ms,
        until_ms: stay.until_ms,
        last_sign_ms: since_ms,
        updates: stay.updates,
        is_renewed_by_hours: stay.renewed_by_hours,
        is_elsewhere: is_elsewhere(stay, arrivals, since_ms),
    };

    ghost::doubt_about_stay(&silence, &stay.clues, now).map(|doubt| Finding::Silent {
        stay: at,
        since_ms,
        doubt,
    })
}

/// The findings about people who could not hear others: devices that are connected only to the SFU
/// of the oldest member do not hear those who publish on another (MSC4195; matrix-js-sdk
/// `oldest_membership`). `now`, ms, is until when the stays are known.
fn find_people_apart<'a>(stays: &[FindingStay<'a>], now: i64) -> Vec<Finding<'a>> {
    // The key and the name of each SFU.
    let mut sfus: Vec<(&'a str, &'a str)> = Vec::new();
    for stay in stays
        .iter()
        .filter(|stay| stay.selection == Selection::OldestMembership)
    {
        let is_new = |sfu: &&str| sfus.len() < SFUS_MAX && !sfus.iter().any(|(key, _)| key == sfu);
        if let Some(key) = sfu_of_stay(stay).filter(is_new) {
            let address = stay.transport.and_then(Transport::address);
            sfus.push((key, address.unwrap_or(key)));
        }
    }

    let mut found = Vec::new();
    for (sfu, address) in sfus {
        let parts = side_spans(stays, sfu, now);
        let by_pair = pairs_apart(&parts, address);
        // With too many pairs, groups are reported instead.
        for finding in by_pair.unwrap_or_else(|| groups_apart(&parts, address, now)) {
            add_apart_finding(&mut found, finding);
        }
    }

    found
}

/// The findings for one SFU, by the span in which a pair was apart; pairs with the same span are
/// one finding. `None` if there are more than [`PAIRS_MAX`] pairs or [`TIMES_MAX`] spans.
fn pairs_apart<'a>(parts: &[SideSpan<'a>], sfu: &'a str) -> Option<Vec<Finding<'a>>> {
    let (deaf, unheard): (Vec<&SideSpan>, Vec<&SideSpan>) =
        parts.iter().partition(|part| part.side == Side::Deaf);
    if deaf.len().saturating_mul(unheard.len()) > PAIRS_MAX {
        return None;
    }

    let mut times: BTreeMap<(i64, i64), PairsApart<'a>> = BTreeMap::new();
    for one in &deaf {
        for other in &unheard {
            let from_ms = one.from_ms.max(other.from_ms);
            let until_ms = one.until_ms.min(other.until_ms);
            if until_ms.saturating_sub(from_ms) < HANDOVER_MS {
                continue;
            }

            let pairs = times.entry((from_ms, until_ms)).or_default();
            pairs.deaf.push(one.user_id);
            pairs.unheard.push(other.user_id);
        }
    }

    if times.len() > TIMES_MAX {
        return None;
    }

    let finding = |((from_ms, until_ms), pairs): ((i64, i64), PairsApart<'a>)| Finding::Apart {
        from_ms,
        until_ms,
        sfu,
        deaf: People::sorted(pairs.deaf),
        unheard: People::sorted(pairs.unheard),
        mutual: false,
    };

    Some(times.into_iter().map(finding).collect())
}

/// Pairs that were apart in the same span.
#[derive(Debug, Default)]
struct PairsApart<'a> {
    deaf: Vec<&'a str>,
    unheard: Vec<&'a str>,
}

/// The findings for one SFU with very many people: not by pairs as in [`pairs_apart`], but by the
/// spans in which anybody was apart. If there are too many spans, those that last come first, then
/// the longest. `now`, ms, is until when the parts are known.
fn groups_apart<'a>(parts: &[SideSpan<'a>], sfu: &'a str, now: i64) -> Vec<Finding<'a>> {
    let mut spans = spans_apart(parts, now);
    spans.sort_by_key(|span| Reverse((span.lasts, span.until_ms - span.from_ms)));
    spans.truncate(FINDINGS_MAX);

    spans
        .into_iter()
        .map(|span| span.finding(parts, sfu))
        .collect()
}

/// The SFU that a stay uses; `None` if it states none.
fn sfu_of_stay<'a>(stay: &FindingStay<'a>) -> Option<&'a str> {
    stay.transport?.sfu.as_deref()
}

/// Which role a person had, seen from one SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// All devices are connected to this SFU only.
    Deaf,
    /// All devices publish elsewhere.
    Unheard,
}

/// A span in which one person was on one side.
#[derive(Debug, Clone, Copy)]
struct SideSpan<'a> {
    user_id: &'a str,
    side: Side,
    from_ms: i64,
    until_ms: i64,
}

/// When each person could not hear (or not be heard by) others, seen from the SFU `one` (its key);
/// the times are cut at `now`, ms. The parts of one person follow one another, in order of time.
/// Handovers are left out: a person who is there only for moments is on no side.
fn side_spans<'a>(stays: &[FindingStay<'a>], one: &str, now: i64) -> Vec<SideSpan<'a>> {
    let mut people: BTreeMap<&'a str, Vec<(i64, i64, DeviceSide)>> = BTreeMap::new();
    for stay in stays {
        let until_ms = stay.until_ms.min(now);
        if let Some(place) = DeviceSide::of_stay(stay, one).filter(|_| stay.joined_ms < until_ms) {
            people
                .entry(stay.user_id)
                .or_default()
                .push((stay.joined_ms, until_ms, place));
        }
    }

    let mut parts = Vec::new();
    for (user_id, stays) in people {
        let first = parts.len();
        for (from_ms, until_ms, side) in sides_of_person(&stays) {
            let part = SideSpan {
                user_id,
                side,
                from_ms,
                until_ms,
            };

            append_side_span(&mut parts, first, part);
        }
    }

    parts.retain(|part| part.start() < part.until_ms);

    parts
}

/// Adds a part of one person, whose parts begin at index `first`. A short break on the same side is
/// ignored.
fn append_side_span<'a>(parts: &mut Vec<SideSpan<'a>>, first: usize, part: SideSpan<'a>) {
    let last = parts[first..].last_mut();
    let goes_on = last.filter(|last| {
        last.side == part.side && part.from_ms.saturating_sub(last.until_ms) <= BREAK_MS
    });

    match goes_on {
        Some(last) => last.until_ms = part.until_ms.max(last.until_ms),
        None => parts.push(part),
    }
}

/// Where a device publishes, seen from one SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceSide {
    /// On it, and connected to no other.
    OnlyHere,
    /// On it, and connected to all others as well.
    Here,
    Elsewhere,
}

impl DeviceSide {
    /// Where the device of a stay publishes, seen from the SFU `one` (its key); `None` if its SFU
    /// is not known.
    fn of_stay(stay: &FindingStay, one: &str) -> Option<Self> {
        let is_here = sfu_of_stay(stay)? == one;
        Some(match (is_here, stay.selection) {
            (true, Selection::OldestMembership) => Self::OnlyHere,
            (true, _) => Self::Here,
            (false, _) => Self::Elsewhere,
        })
    }
}

/// The spans in which one person was on a side, in order, from the spans of the devices, which need
/// no order: start and end in ms, and the side. A person with devices in several places hears and
/// is heard, so is on no side.
fn sides_of_person(stays: &[(i64, i64, DeviceSide)]) -> Vec<(i64, i64, Side)> {
    // At this time, one device more (1) or fewer (-1) is in this place.
    let mut steps: Vec<(i64, i64, DeviceSide)> = Vec::with_capacity(2 * stays.len());
    for (from_ms, until_ms, place) in stays {
        steps.push((*from_ms, 1, *place));
        steps.push((*until_ms, -1, *place));
    }

    steps.sort_unstable_by_key(|(ms, ..)| *ms);
    let (mut only_here, mut here, mut elsewhere) = (0, 0, 0);
    let mut sides = Vec::new();
    let mut open: Option<(i64, Side)> = None;
    let mut at = 0;
    while let Some((ms, ..)) = steps.get(at).copied() {
        while let Some((_, change, place)) = steps.get(at).filter(|(later, ..)| *later == ms) {
            match place {
                DeviceSide::OnlyHere => only_here += change,
                DeviceSide::Here => here += change,
                DeviceSide::Elsewhere => elsewhere += change,
            }

            at += 1;
        }

        let side = match (only_here > 0, here > 0, elsewhere > 0) {
            (true, false, false) => Some(Side::Deaf),
            (false, false, true) => Some(Side::Unheard),
            _ => None,
        };

        if open.map(|(_, side)| side) != side {
            if let Some((from_ms, side)) = open {
                sides.push((from_ms, ms, side));
            }

            open = side.map(|side| (ms, side));
        }
    }

    sides
}

/// A span in which people were apart, and whether it lasts.
#[derive(Debug, Clone, Copy)]
struct SpanApart {
    from_ms: i64,
    until_ms: i64,
    /// The span lasts; only people who are still there are reported.
    lasts: bool,
}

/// The spans in which somebody could not hear somebody, in order, as known at `now`, ms. An arrival
/// begins a new span if somebody of the other side has gone since the span began. So all people of
/// one span were there at the same time.
fn spans_apart(parts: &[SideSpan], now: i64) -> Vec<SpanApart> {
    // The time, ms; whether a person comes (or goes); the person's side.
    let mut steps: Vec<(i64, bool, Side)> = Vec::with_capacity(2 * parts.len());
    for part in parts {
        steps.push((part.start(), true, part.side));
        steps.push((part.until_ms, false, part.side));
    }

    // At the same time, departures come before arrivals.
    steps.sort_unstable_by_key(|(ms, comes, _)| (*ms, *comes));

    // Per side: how many are there, and how many have departed since the open span began.
    let (mut here, mut departed) = ([0_usize; 2], [0_usize; 2]);
    // When the open span began, ms.
    let mut open: Option<i64> = None;
    let mut spans = Vec::new();
    for (ms, comes, side) in steps {
        // People who are there at the end of the known time are still there.
        if !comes && ms >= now {
            break;
        }

        let (own, other) = match side {
            Side::Deaf => (0, 1),
            Side::Unheard => (1, 0),
        };

        if comes {
            here[own] += 1;
            if departed[other] > 0 && here[other] > 0 {
                spans.extend(open.and_then(|from_ms| SpanApart::over(from_ms, ms)));
                (open, departed) = (Some(ms), [0; 2]);
            } else if open.is_none() && here[other] > 0 {
                (open, departed) = (Some(ms), [0; 2]);
            }

            continue;
        }

        here[own] = here[own].saturating_sub(1);
        departed[own] += 1;
        if here[own] == 0 {
            spans.extend(open.take().and_then(|from_ms| SpanApart::over(from_ms, ms)));
            departed = [0; 2];
        }
    }

    if let Some(from_ms) = open {
        // The part that is over is reported separately from the part that lasts.
        if departed != [0; 2] {
            let ended = parts.iter().filter(|part| part.until_ms < now);
            let last = ended.map(|part| part.until_ms).max();
            spans.extend(last.and_then(|ms| SpanApart::over(from_ms, ms)));
        }

        spans.push(SpanApart {
            from_ms,
            until_ms: now,
            lasts: true,
        });
    }

    spans
}

impl SideSpan<'_> {
    /// When the span begins to count, ms: [`HANDOVER_MS`] after it began, since people who meet
    /// only during a handover do not count as having met.
    fn start(&self) -> i64 {
        self.from_ms.saturating_add(HANDOVER_MS)
    }
}

impl SpanApart {
    /// A span that has ended; `None` if it has no length.
    fn over(from_ms: i64, until_ms: i64) -> Option<Self> {
        (from_ms < until_ms).then_some(Self {
            from_ms,
            until_ms,
            lasts: false,
        })
    }

    /// The finding of this span, with the people who were there within it; if it lasts, with those
    /// who still are. It begins when the first people of both sides were there.
    fn finding<'a>(&self, parts: &[SideSpan<'a>], sfu: &'a str) -> Finding<'a> {
        let is_of = |part: &&SideSpan| {
            let was = part.start() < self.until_ms && part.until_ms > self.from_ms;
            was && (!self.lasts || part.until_ms >= self.until_ms)
        };

        let (mut deaf, mut unheard) = (Vec::new(), Vec::new());
        let mut met = [i64::MAX; 2];
        for part in parts.iter().filter(is_of) {
            let (people, first) = match part.side {
                Side::Deaf => (&mut deaf, &mut met[0]),
                Side::Unheard => (&mut unheard, &mut met[1]),
            };

            people.push(part.user_id);
            *first = part.from_ms.min(*first);
        }

        let from_ms = if self.lasts {
            met[0].max(met[1])
        } else {
            met[0].max(met[1]).max(self.from_ms - HANDOVER_MS)
        };

        Finding::Apart {
            from_ms,
            until_ms: self.until_ms,
            sfu,
            deaf: People::sorted(deaf),
            unheard: People::sorted(unheard),
            mutual: false,
        }
    }
}

impl<'a> People<'a> {
    /// These people in order, each once: the first [`NAMED_MAX`] by name, and the number of all.
    fn sorted(mut people: Vec<&'a str>) -> Self {
        people.sort_unstable();
        people.dedup();
        let total = people.len();
        people.truncate(NAMED_MAX);

        Self {
            named: people,
            total,
        }
    }
}

/// Adds a finding about people apart. If one for the same span has both sides exchanged, it becomes
/// mutual instead: neither group hears the other.
fn add_apart_finding<'a>(found: &mut Vec<Finding<'a>>, new: Finding<'a>) {
    let Finding::Apart {
        from_ms,
        until_ms,
        deaf,
        unheard,
        ..
    } = &new
    else {
        return;
    };

    for known in found.iter_mut() {
        if let Finding::Apart {
            from_ms: from,
            until_ms: until,
            deaf: they,
            unheard: others,
            mutual,
            ..
        } = known
            && (&*from, &*until) == (from_ms, until_ms)
            && (&*they, &*others) == (unheard, deaf)
        {
            *mutual = true;
            return;
        }
    }

    found.push(new);
}

#[cfg(test)]
mod tests {
    use super::ghost::{GhostSign, OVERDUE_MS, RENEWED_MS};
    use super::*;

    const HOUR: i64 = RENEWED_MS;
    const MINUTE: i64 = 60_000;

    fn shown<'a>(stays: &[FindingStay<'a>], now: i64) -> Vec<Finding<'a>> {
        call_findings(stays, now).shown
    }

    fn sfu(name: &str) -> Transport {
        Transport::stored("livekit".to_owned(), Some(format!("https://{name}")), "h")
    }

    fn stay<'a>(
        user_id: &'a str,
        span: (i64, i64),
        transport: &'a Transport,
        old: bool,
    ) -> FindingStay<'a> {
        let (joined_ms, until_ms) = span;
        let selection = if old {
            Selection::OldestMembership
        } else {
            Selection::MultiSfu
        };

        let transport = Some(transport);

        FindingStay {
            user_id,
            device: Some("D"),
            joined_ms,
            until_ms,
            ended_by_expiry: false,
            renewed_by_hours: true,
            last_sign_ms: None,
            updates: 0,
            clues: Clues::default(),
            transport,
            selection,
        }
    }

    fn only<'a>(
        from_ms: i64,
        until_ms: i64,
        sfu: &'a str,
        deaf: &[&'a str],
        unheard: &[&'a str],
    ) -> Vec<Finding<'a>> {
        let (deaf, unheard) = (
            People::sorted(deaf.to_vec()),
            People::sorted(unheard.to_vec()),
        );
        vec![Finding::Apart {
            from_ms,
            until_ms,
            sfu,
            deaf,
            unheard,
            mutual: false,
        }]
    }

    #[test]
    fn who_follows_the_oldest_hears_nobody_on_another_sfu() {
        let (a, b) = (sfu("a"), sfu("b"));
        let old = stay("@old:h", (0, 50 * MINUTE), &a, true);
        let new = stay("@new:h", (10 * MINUTE, 30 * MINUTE), &b, false);
        assert_eq!(
            shown(&[old, new], 60 * MINUTE),
            only(
                10 * MINUTE,
                30 * MINUTE,
                "https://a",
                &["@old:h"],
                &["@new:h"]
            )
        );
        assert_eq!(
            shown(
                &[
                    old,
                    FindingStay {
                        transport: Some(&a),
                        ..new
                    }
                ],
                60 * MINUTE
            ),
            [],
            "on one SFU"
        );
        let both_new = [
            FindingStay {
                selection: Selection::MultiSfu,
                ..old
            },
            new,
        ];
        assert_eq!(
            shown(&both_new, 60 * MINUTE),
            [],
            "a client of today connects to every SFU"
        );
        let gone = FindingStay {
            joined_ms: 50 * MINUTE,
            until_ms: 55 * MINUTE,
            ..new
        };

        assert_eq!(
            shown(&[old, gone], 60 * MINUTE),
            [],
            "never at the same time"
        );
        assert_eq!(
            shown(
                &[
                    old,
                    FindingStay {
                        user_id: "@old:h",
                        ..new
                    }
                ],
                60 * MINUTE
            ),
            [],
            "nobody listens to himself"
        );
        assert_eq!(
            shown(
                &[
                    old,
                    FindingStay {
                        transport: None,
                        ..new
                    }
                ],
                60 * MINUTE
            ),
            [],
            "where he is is not known"
        );
        let brief = FindingStay {
            until_ms: 10 * MINUTE + HANDOVER_MS - 1,
            ..new
        };

        assert_eq!(shown(&[old, brief], 60 * MINUTE), [], "a handover");
    }

    #[test]
    fn what_lasts_ends_now_and_short_breaks_make_no_second_finding() {
        let (a, b) = (sfu("a"), sfu("b"));
        let old = stay("@old:h", (0, 500 * MINUTE), &a, true);
        let new = stay("@new:h", (10 * MINUTE, 20 * MINUTE), &b, false);
        let again = FindingStay {
            joined_ms: 20 * MINUTE + BREAK_MS,
            until_ms: 400 * MINUTE,
            ..new
        };

        let now = 60 * MINUTE;
        assert_eq!(
            shown(&[old, new, again], now),
            only(10 * MINUTE, now, "https://a", &["@old:h"], &["@new:h"])
        );
        let later = FindingStay {
            joined_ms: again.joined_ms + 1,
            ..again
        };

        assert_eq!(shown(&[old, new, later], now).len(), 2);
    }

    #[test]
    fn two_who_hear_one_sfu_each_are_told_once() {
        let (a, b) = (sfu("a"), sfu("b"));
        let (one, other) = (
            stay("@a:h", (0, HOUR), &a, true),
            stay("@b:h", (0, HOUR), &b, true),
        );
        let found = shown(&[one, other], 2 * HOUR);
        let [
            Finding::Apart {
                deaf,
                unheard,
                mutual,
                ..
            },
        ] = &found[..]
        else {
            panic!("{found:?}")
        };

        assert_eq!(
            (&deaf.named[..], &unheard.named[..], mutual),
            (&["@a:h"][..], &["@b:h"][..], &true)
        );
    }

    #[test]
    fn who_is_probably_gone_hears_and_misses_nobody() {
        let (a, b) = (sfu("a"), sfu("b"));
        let gone = FindingStay {
            ended_by_expiry: true,
            last_sign_ms: Some(2 * HOUR),
            updates: 2,
            ..stay("@gone:h", (0, 12 * HOUR), &a, true)
        };

        let new = stay("@new:h", (3 * HOUR, 5 * HOUR), &b, false);
        let silent = Finding::Silent {
            stay: 0,
            since_ms: 2 * HOUR,
            doubt: GhostDoubt::Probable(vec![GhostSign::RenewedHourly]),
        };

        assert_eq!(shown(&[gone, new], 6 * HOUR), [silent]);
        let expired = [Finding::NoGoodbye {
            stay: 0,
            since_ms: 2 * HOUR,
        }];
        assert_eq!(shown(&[gone, new], 13 * HOUR), expired);
        let heard = FindingStay {
            last_sign_ms: Some(5 * HOUR),
            ..gone
        };

        assert_eq!(
            shown(&[heard, new], 6 * HOUR).len(),
            1,
            "it was there until then"
        );
    }

    #[test]
    fn a_renewal_that_does_not_come_tells_something() {
        let a = sfu("a");
        let base = FindingStay {
            ended_by_expiry: true,
            updates: 1,
            ..stay("@a:h", (0, 4 * HOUR), &a, false)
        };

        let found = |until_ms, last, now| {
            shown(
                &[FindingStay {
                    until_ms,
                    last_sign_ms: Some(last),
                    ..base
                }],
                now,
            )
        };

        assert_eq!(found(4 * HOUR, 0, HOUR + OVERDUE_MS), [], "not late yet");
        let perhaps = Finding::Silent {
            stay: 0,
            since_ms: 0,
            doubt: GhostDoubt::Possible,
        };

        assert_eq!(
            found(4 * HOUR, 0, HOUR + OVERDUE_MS + 1),
            [perhaps],
            "an older client renews every four hours"
        );
        let probably = Finding::Silent {
            stay: 0,
            since_ms: HOUR,
            doubt: GhostDoubt::Probable(vec![GhostSign::RenewedHourly]),
        };

        assert_eq!(
            found(8 * HOUR, HOUR, 3 * HOUR),
            [probably],
            "it renewed every hour before"
        );
        let forgot = Finding::NoGoodbye {
            stay: 0,
            since_ms: HOUR,
        };

        assert_eq!(
            found(8 * HOUR, HOUR, 8 * HOUR),
            [forgot],
            "it is over by its expiry"
        );
        assert_eq!(
            found(HOUR + LATE_MS, HOUR, 8 * HOUR),
            [],
            "so close that it makes no difference"
        );
        let said = FindingStay {
            ended_by_expiry: false,
            last_sign_ms: Some(0),
            ..base
        };

        assert_eq!(shown(&[said], 3 * HOUR), [], "its end has an event");
        let other = FindingStay {
            renewed_by_hours: false,
            last_sign_ms: Some(0),
            ..base
        };

        assert_eq!(
            shown(&[other], 3 * HOUR),
            [],
            "a format that is not renewed by hours"
        );
    }

    #[test]
    fn who_goes_on_where_a_stay_ran_out_needed_no_goodbye() {
        let a = sfu("a");
        let ran_out = FindingStay {
            ended_by_expiry: true,
            last_sign_ms: Some(HOUR),
            ..stay("@a:h", (0, 2 * HOUR), &a, false)
        };

        let again = |joined_ms| FindingStay {
            last_sign_ms: Some(joined_ms),
            ..stay("@a:h", (joined_ms, 3 * HOUR), &a, false)
        };

        let forgot = [Finding::NoGoodbye {
            stay: 0,
            since_ms: HOUR,
        }];
        let found = |next| shown(&[ran_out, next], 5 * HOUR);
        assert_eq!(
            found(again(2 * HOUR)),
            [],
            "it joined as the last one ended"
        );
        assert_eq!(found(again(90 * MINUTE)), [], "or before");
        assert_eq!(found(again(2 * HOUR + GOES_ON_MS)), [], "or a moment later");
        assert_eq!(found(again(2 * HOUR + GOES_ON_MS + 1)), forgot, "a gap");
        assert_eq!(
            found(FindingStay {
                device: None,
                ..again(2 * HOUR)
            }),
            forgot,
            "another device"
        );
        assert_eq!(
            found(FindingStay {
                user_id: "@b:h",
                ..again(2 * HOUR)
            }),
            forgot,
            "somebody else"
        );
        assert_eq!(
            found(FindingStay {
                until_ms: 2 * HOUR,
                ..again(90 * MINUTE)
            }),
            forgot,
            "and was gone as well"
        );
    }

    #[test]
    fn a_stranger_cannot_make_it_costly() {
        let places: Vec<Transport> = (0..400).map(|n| sfu(&n.to_string())).collect();
        // Each person has one device; with another one elsewhere the person would hear there.
        let names: Vec<String> = (0..400).map(|n| format!("@a{n}:h")).collect();
        let stays: Vec<FindingStay> = places
            .iter()
            .zip(&names)
            .map(|(place, name)| stay(name, (0, HOUR), place, true))
            .collect();
        let elsewhere: Vec<Transport> = (400..800).map(|n| sfu(&n.to_string())).collect();
        let others = elsewhere
            .iter()
            .map(|place| stay("@b:h", (0, HOUR), place, false));
        let found = shown(
            &stays.iter().copied().chain(others).collect::<Vec<_>>(),
            HOUR,
        );
        assert!(
            !found.is_empty() && found.len() <= FINDINGS_MAX,
            "{}",
            found.len()
        );
    }

    /// The findings as `from to: deaf | unheard`, minutes and names.
    fn told(stays: &[FindingStay], now: i64) -> Vec<String> {
        let names = |people: &People| {
            let names = people.named.iter().map(|user| user.trim_start_matches('@'));
            names.collect::<Vec<_>>().join(" ")
        };

        let tell = |finding: Finding| match finding {
            Finding::Apart {
                from_ms,
                until_ms,
                deaf,
                unheard,
                ..
            } => format!(
                "{} {}: {} | {}",
                from_ms / MINUTE,
                until_ms / MINUTE,
                names(&deaf),
                names(&unheard)
            ),
            other => format!("{other:?}"),
        };

        shown(stays, now).into_iter().map(tell).collect()
    }

    #[test]
    fn only_those_who_met_were_apart_and_for_as_long_as_they_met() {
        let (a, b) = (sfu("a"), sfu("b"));
        let old = |name, from, to| stay(name, (from * MINUTE, to * MINUTE), &a, true);
        let new = |name, from, to| stay(name, (from * MINUTE, to * MINUTE), &b, false);
        let stays = [
            old("@ada", 0, 30),
            old("@ben", 20, 60),
            new("@cleo", 10, 25),
            new("@dan", 40, 90),
        ];
        assert_eq!(
            told(&stays, 50 * MINUTE),
            ["40 50: ben | dan", "10 25: ada | cleo", "20 25: ben | cleo",],
            "Ada never met Dan; Cleo, who is gone, is told of in the past"
        );
        let one_left = [old("@ada", 0, 90), old("@ben", 0, 20), new("@cleo", 0, 90)];
        assert_eq!(
            told(&one_left, 60 * MINUTE),
            ["0 60: ada | cleo", "0 20: ben | cleo"]
        );
    }

    #[test]
    fn nobody_is_apart_from_himself_or_from_who_is_heard_by_another_device() {
        let (a, b) = (sfu("a"), sfu("b"));
        let old = stay("@ada", (0, HOUR), &a, true);
        let second = |user_id| FindingStay {
            user_id,
            device: Some("E"),
            ..stay("@", (0, HOUR), &b, false)
        };

        let ben = stay("@ben", (0, HOUR), &b, false);
        assert_eq!(told(&[old, second("@ada")], HOUR), [""; 0]);
        assert_eq!(
            told(&[old, second("@ada"), ben], HOUR),
            [""; 0],
            "her other device hears him"
        );
        let ben_here = FindingStay {
            user_id: "@ben",
            ..stay("@", (0, HOUR), &a, false)
        };

        assert_eq!(
            told(&[old, ben, ben_here], HOUR),
            [""; 0],
            "his other device is heard"
        );
        assert_eq!(told(&[old, ben], HOUR), ["0 60: ada | ben"]);
    }

    #[test]
    fn of_very_many_the_spans_are_told_in_bounded_time() {
        let (a, b) = (sfu("a"), sfu("b"));
        let names: Vec<String> = (0..16_000).map(|n| format!("@{n:05}")).collect();
        let stays: Vec<FindingStay> = (0_i64..)
            .zip(&names)
            .map(|(at, name)| {
                let place = if at % 2 == 0 { &a } else { &b };
                stay(name, (at * MINUTE, (at + 90) * MINUTE), place, at % 2 == 0)
            })
            .collect();
        let now = 16_000 * MINUTE;
        let found = shown(&stays, now);
        assert!(found.len() <= FINDINGS_MAX);
        let Finding::Apart {
            until_ms,
            deaf,
            unheard,
            ..
        } = &found[0]
        else {
            panic!("{:?}", found[0])
        };

        assert_eq!(*until_ms, now, "what lasts comes first");
        assert!(deaf.total > 30 && unheard.total > 30);
        let is_here = |user: &&str| user[1..].parse::<i64>().unwrap() + 90 >= 16_000;
        assert!(deaf.named.iter().all(is_here) && unheard.named.iter().all(is_here));
    }

    #[test]
    fn of_very_many_only_those_who_met_are_in_one_span() {
        let (a, b) = (sfu("a"), sfu("b"));
        let names: Vec<String> = (0..60).map(|n| format!("@{n:02}")).collect();
        // Everybody meets the one before and the one after, and nobody else.
        let stays: Vec<FindingStay> = (0_i64..)
            .zip(&names)
            .map(|(at, name)| {
                let place = if at % 2 == 0 { &a } else { &b };
                stay(
                    name,
                    (at * HOUR, (at + 1) * HOUR + MINUTE),
                    place,
                    at % 2 == 0,
                )
            })
            .collect();
        let found = told(&stays, 100 * HOUR);
        assert!(found.len() > 20, "{found:?}");

        for one in &found {
            let (_, people) = one.split_once(": ").unwrap();
            let (deaf, unheard) = people.split_once(" | ").unwrap();
            let (deaf, unheard): (i64, i64) = (deaf.parse().unwrap(), unheard.parse().unwrap());
            assert_eq!((deaf - unheard).abs(), 1, "{one}");
        }
    }

    #[test]
    fn the_same_person_here_with_a_later_device_is_a_sign() {
        let a = sfu("a");
        let gone = FindingStay {
            ended_by_expiry: true,
            last_sign_ms: Some(0),
            ..stay("@ada", (0, 4 * HOUR), &a, false)
        };

        let doubts = |others: &[FindingStay]| {
            let stays: Vec<FindingStay> = [&[gone], others].concat();
            call_findings(&stays, 2 * HOUR).doubts[0].clone()
        };

        let later = FindingStay {
            device: Some("E"),
            ..stay("@ada", (HOUR, 3 * HOUR), &a, false)
        };

        let probable = Some(GhostDoubt::Probable(vec![GhostSign::OtherDevice]));
        assert_eq!(doubts(&[later]), probable);
        let somebody = stay("@ben", (HOUR, 3 * HOUR), &a, false);
        assert_eq!(doubts(&[somebody]), Some(GhostDoubt::Possible));
        let left = FindingStay {
            until_ms: HOUR + MINUTE,
            ..later
        };

        assert_eq!(
            doubts(&[left]),
            Some(GhostDoubt::Possible),
            "and left again"
        );
        let before = FindingStay {
            joined_ms: 0,
            ..later
        };

        assert_eq!(
            doubts(&[before]),
            Some(GhostDoubt::Possible),
            "from the start"
        );
        let same = FindingStay {
            device: Some("D"),
            ..later
        };

        assert_eq!(
            doubts(&[same]),
            Some(GhostDoubt::Possible),
            "the same device"
        );
    }
}
