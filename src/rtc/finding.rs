//! Findings: what in a call needs a look, told from its stays alone: who could not hear whom, and who is probably gone.

use super::transport::{Selection, Transport};
use std::collections::{BTreeMap, BTreeSet};

/// Clients renew a membership every hour at the latest since matrix-js-sdk 39.1, older ones every four hours.
pub const RENEWED_MS: i64 = 3_600_000;
/// A renewal that is no later than this, ms, says nothing.
pub const LATE_MS: i64 = 600_000;
/// While a call goes from one SFU to another nobody is told apart, ms.
const HANDOVER_MS: i64 = 10_000;
/// Breaks shorter than this do not make two findings of one, ms.
const BREAK_MS: i64 = 60_000;
/// A device that is back so soon after a stay ran out never went, ms.
const GOES_ON_MS: i64 = 10_000;
/// So many SFUs whose listeners are looked at, and so many findings: events come from strangers.
const SFUS_MAX: usize = 8;
const FINDINGS_MAX: usize = 50;

/// One stay, as far as findings are concerned. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct Stay<'a> {
    pub user_id: &'a str,
    pub device: Option<&'a str>,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// Nobody said goodbye: it ends, or ended, by its own expiry.
    pub expires: bool,
    /// Its format is renewed by hours (`session`), so that silence tells something.
    pub renewed_by_hours: bool,
    pub last_sign_ms: Option<i64>,
    /// The transport it uses, see [`super::transport::in_use`].
    pub transport: Option<&'a Transport>,
    pub selection: Selection,
}

/// What needs a look. Users are in order of their ids, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding<'a> {
    /// Who follows the SFU of the oldest member is connected to that one only, and hears nobody who publishes on another.
    Apart {
        from_ms: i64,
        until_ms: i64,
        sfu: &'a str,
        deaf: Vec<&'a str>,
        unheard: Vec<&'a str>,
        mutual: bool,
    },
    /// It still counts, but the renewal that was due did not come. Sure: it came every hour before.
    Silent {
        stay: usize,
        since_ms: i64,
        sure: bool,
    },
    /// It was counted until its expiry, long after the last that was heard of it.
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

/// The findings of one call: those who were apart first, then who is silent, then who said no goodbye; each by time.
#[must_use]
pub fn findings<'a>(stays: &[Stay<'a>], now: i64) -> Vec<Finding<'a>> {
    let reach = reach(stays);
    let silent: Vec<Finding> = (0..stays.len())
        .filter_map(|at| silence(stays, at, &reach, now))
        .collect();
    let mut there = stays.to_vec();
    for finding in &silent {
        // Who is not known to be there any more hears and misses nobody.
        if let Finding::Silent {
            stay,
            since_ms,
            sure: true,
        }
        | Finding::NoGoodbye { stay, since_ms } = finding
        {
            there[*stay].until_ms = *since_ms;
        }
    }
    let mut found = apart(&there, now);
    found.extend(silent);
    let rank = |finding: &Finding| match finding {
        Finding::Apart { .. } => 0,
        Finding::Silent { sure: true, .. } => 1,
        Finding::Silent { .. } => 2,
        Finding::NoGoodbye { .. } => 3,
    };
    found.sort_by_key(|finding| (rank(finding), finding.from_ms()));
    found.truncate(FINDINGS_MAX);
    found
}

/// The stays of each device in order of arrival: when one began, and until when any up to it lasted, ms.
type Reach<'a> = BTreeMap<(&'a str, Option<&'a str>), Vec<(i64, i64)>>;

fn reach<'a>(stays: &[Stay<'a>]) -> Reach<'a> {
    let mut reach = Reach::new();
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

/// Was the device still there, or back at once, when this stay ended?
fn goes_on(stay: &Stay, reach: &Reach) -> bool {
    let Some(spans) = reach.get(&(stay.user_id, stay.device)) else {
        return false;
    };
    let begun =
        spans.partition_point(|(joined, _)| *joined <= stay.until_ms.saturating_add(GOES_ON_MS));
    spans[..begun]
        .last()
        .is_some_and(|(_, until)| *until > stay.until_ms)
}

/// What the silence of one stay tells.
fn silence<'a>(stays: &[Stay<'a>], at: usize, reach: &Reach, now: i64) -> Option<Finding<'a>> {
    let stay = &stays[at];
    let since_ms = stay
        .last_sign_ms
        .filter(|_| stay.expires)?
        .max(stay.joined_ms);
    if stay.until_ms <= now {
        let forgot = stay.until_ms - since_ms > LATE_MS && !goes_on(stay, reach);
        return forgot.then_some(Finding::NoGoodbye { stay: at, since_ms });
    }
    let late = now - since_ms > RENEWED_MS + LATE_MS;
    // With each renewal the end comes another term later: more than four hours ahead is only who renews every hour.
    let sure = stay.until_ms - since_ms > 4 * RENEWED_MS + LATE_MS;
    (late && stay.renewed_by_hours).then_some(Finding::Silent {
        stay: at,
        since_ms,
        sure,
    })
}

/// Who was on another SFU than people who could hear only one (MSC4195; matrix-js-sdk `oldest_membership`).
fn apart<'a>(stays: &[Stay<'a>], now: i64) -> Vec<Finding<'a>> {
    // By the key of each SFU, what to call it.
    let mut sfus: Vec<(&'a str, &'a str)> = Vec::new();
    for stay in stays
        .iter()
        .filter(|stay| stay.selection == Selection::OldestMembership)
    {
        let is_new = |sfu: &&str| sfus.len() < SFUS_MAX && !sfus.iter().any(|(key, _)| key == sfu);
        if let Some(key) = sfu(stay).filter(is_new) {
            let address = stay.transport.and_then(Transport::address);
            sfus.push((key, address.unwrap_or(key)));
        }
    }
    let mut found: Vec<Finding<'a>> = Vec::new();
    for (one, address) in sfus {
        let (here, there): (Vec<&Stay>, Vec<&Stay>) = stays
            .iter()
            .filter(|stay| sfu(stay).is_some())
            .partition(|stay| sfu(stay) == Some(one));
        let deaf: Vec<&Stay> = here
            .into_iter()
            .filter(|stay| stay.selection == Selection::OldestMembership)
            .collect();
        let together = both(&spans(&deaf, now), &spans(&there, now));
        for (from_ms, until_ms) in together.into_iter().take(FINDINGS_MAX) {
            let (deaf, unheard) = (
                users(&deaf, from_ms, until_ms),
                users(&there, from_ms, until_ms),
            );
            if deaf.len() + unheard.len() > 2 || deaf != unheard {
                note(
                    &mut found,
                    Finding::Apart {
                        from_ms,
                        until_ms,
                        sfu: address,
                        deaf,
                        unheard,
                        mutual: false,
                    },
                );
            }
        }
    }
    found
}

fn sfu<'a>(stay: &Stay<'a>) -> Option<&'a str> {
    stay.transport?.sfu.as_deref()
}

/// Two findings that say the same of each other's people are one.
fn note<'a>(found: &mut Vec<Finding<'a>>, new: Finding<'a>) {
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
            && (&*from, &*until, &*they, &*others) == (from_ms, until_ms, unheard, deaf)
        {
            *mutual = true;
            return;
        }
    }
    found.push(new);
}

/// Those of them who were here within a span.
fn users<'a>(stays: &[&Stay<'a>], from_ms: i64, until_ms: i64) -> Vec<&'a str> {
    let within = stays
        .iter()
        .filter(|stay| stay.joined_ms < until_ms && stay.until_ms > from_ms);
    within
        .map(|stay| stay.user_id)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The time in which at least one of them was here.
fn spans(stays: &[&Stay], now: i64) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = stays
        .iter()
        .map(|stay| (stay.joined_ms, stay.until_ms.min(now)))
        .collect();
    all.sort_unstable();
    merged(all.into_iter(), 0)
}

fn merged(sorted: impl Iterator<Item = (i64, i64)>, gap_ms: i64) -> Vec<(i64, i64)> {
    let mut whole: Vec<(i64, i64)> = Vec::new();
    for (from, until) in sorted.filter(|(from, until)| from < until) {
        match whole
            .last_mut()
            .filter(|last| from.saturating_sub(last.1) <= gap_ms)
        {
            Some(last) => last.1 = last.1.max(until),
            None => whole.push((from, until)),
        }
    }
    whole
}

/// The time in both, but for handovers.
fn both(one: &[(i64, i64)], other: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (mut a, mut b, mut found) = (0, 0, Vec::new());
    while let (Some(left), Some(right)) = (one.get(a), other.get(b)) {
        let (from, until) = (left.0.max(right.0), left.1.min(right.1));
        if until.saturating_sub(from) >= HANDOVER_MS {
            found.push((from, until));
        }
        if left.1 <= right.1 { a += 1 } else { b += 1 }
    }
    merged(found.into_iter(), BREAK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = RENEWED_MS;
    const MINUTE: i64 = 60_000;

    fn sfu(name: &str) -> Transport {
        Transport::stored("livekit".to_owned(), Some(format!("https://{name}")), "h")
    }

    fn stay<'a>(
        user_id: &'a str,
        (joined_ms, until_ms): (i64, i64),
        transport: &'a Transport,
        old: bool,
    ) -> Stay<'a> {
        let selection = if old {
            Selection::OldestMembership
        } else {
            Selection::MultiSfu
        };
        let transport = Some(transport);
        Stay {
            user_id,
            device: Some("D"),
            joined_ms,
            until_ms,
            expires: false,
            renewed_by_hours: true,
            last_sign_ms: None,
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
        let (deaf, unheard) = (deaf.to_vec(), unheard.to_vec());
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
            findings(&[old, new], 60 * MINUTE),
            only(
                10 * MINUTE,
                30 * MINUTE,
                "https://a",
                &["@old:h"],
                &["@new:h"]
            )
        );
        assert_eq!(
            findings(
                &[
                    old,
                    Stay {
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
            Stay {
                selection: Selection::MultiSfu,
                ..old
            },
            new,
        ];
        assert_eq!(
            findings(&both_new, 60 * MINUTE),
            [],
            "a client of today connects to every SFU"
        );
        let gone = Stay {
            joined_ms: 50 * MINUTE,
            until_ms: 55 * MINUTE,
            ..new
        };
        assert_eq!(
            findings(&[old, gone], 60 * MINUTE),
            [],
            "never at the same time"
        );
        assert_eq!(
            findings(
                &[
                    old,
                    Stay {
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
            findings(
                &[
                    old,
                    Stay {
                        transport: None,
                        ..new
                    }
                ],
                60 * MINUTE
            ),
            [],
            "where he is is not known"
        );
        let brief = Stay {
            until_ms: 10 * MINUTE + HANDOVER_MS - 1,
            ..new
        };
        assert_eq!(findings(&[old, brief], 60 * MINUTE), [], "a handover");
    }

    #[test]
    fn what_lasts_ends_now_and_short_breaks_make_no_second_finding() {
        let (a, b) = (sfu("a"), sfu("b"));
        let old = stay("@old:h", (0, 500 * MINUTE), &a, true);
        let new = stay("@new:h", (10 * MINUTE, 20 * MINUTE), &b, false);
        let again = Stay {
            joined_ms: 20 * MINUTE + BREAK_MS,
            until_ms: 400 * MINUTE,
            ..new
        };
        let now = 60 * MINUTE;
        assert_eq!(
            findings(&[old, new, again], now),
            only(10 * MINUTE, now, "https://a", &["@old:h"], &["@new:h"])
        );
        let later = Stay {
            joined_ms: again.joined_ms + 1,
            ..again
        };
        assert_eq!(findings(&[old, new, later], now).len(), 2);
    }

    #[test]
    fn two_who_hear_one_sfu_each_are_told_once() {
        let (a, b) = (sfu("a"), sfu("b"));
        let (one, other) = (
            stay("@a:h", (0, HOUR), &a, true),
            stay("@b:h", (0, HOUR), &b, true),
        );
        let found = findings(&[one, other], 2 * HOUR);
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
            (&deaf[..], &unheard[..], mutual),
            (&["@a:h"][..], &["@b:h"][..], &true)
        );
    }

    #[test]
    fn who_is_probably_gone_hears_and_misses_nobody() {
        let (a, b) = (sfu("a"), sfu("b"));
        let gone = Stay {
            expires: true,
            last_sign_ms: Some(2 * HOUR),
            ..stay("@gone:h", (0, 12 * HOUR), &a, true)
        };
        let new = stay("@new:h", (3 * HOUR, 5 * HOUR), &b, false);
        let silent = Finding::Silent {
            stay: 0,
            since_ms: 2 * HOUR,
            sure: true,
        };
        assert_eq!(findings(&[gone, new], 6 * HOUR), [silent]);
        let expired = [Finding::NoGoodbye {
            stay: 0,
            since_ms: 2 * HOUR,
        }];
        assert_eq!(findings(&[gone, new], 13 * HOUR), expired);
        let heard = Stay {
            last_sign_ms: Some(5 * HOUR),
            ..gone
        };
        assert_eq!(
            findings(&[heard, new], 6 * HOUR).len(),
            1,
            "it was there until then"
        );
    }

    #[test]
    fn a_renewal_that_does_not_come_tells_something() {
        let a = sfu("a");
        let base = Stay {
            expires: true,
            ..stay("@a:h", (0, 4 * HOUR), &a, false)
        };
        let found = |until_ms, last, now| {
            findings(
                &[Stay {
                    until_ms,
                    last_sign_ms: Some(last),
                    ..base
                }],
                now,
            )
        };
        assert_eq!(found(4 * HOUR, 0, HOUR + LATE_MS), [], "not late yet");
        let perhaps = Finding::Silent {
            stay: 0,
            since_ms: 0,
            sure: false,
        };
        assert_eq!(
            found(4 * HOUR, 0, HOUR + LATE_MS + 1),
            [perhaps],
            "an older client renews every four hours"
        );
        let probably = Finding::Silent {
            stay: 0,
            since_ms: HOUR,
            sure: true,
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
        let said = Stay {
            expires: false,
            last_sign_ms: Some(0),
            ..base
        };
        assert_eq!(findings(&[said], 3 * HOUR), [], "its end has an event");
        let other = Stay {
            renewed_by_hours: false,
            last_sign_ms: Some(0),
            ..base
        };
        assert_eq!(
            findings(&[other], 3 * HOUR),
            [],
            "a format that is not renewed by hours"
        );
    }

    #[test]
    fn who_goes_on_where_a_stay_ran_out_needed_no_goodbye() {
        let a = sfu("a");
        let ran_out = Stay {
            expires: true,
            last_sign_ms: Some(HOUR),
            ..stay("@a:h", (0, 2 * HOUR), &a, false)
        };
        let again = |joined_ms| Stay {
            last_sign_ms: Some(joined_ms),
            ..stay("@a:h", (joined_ms, 3 * HOUR), &a, false)
        };
        let forgot = [Finding::NoGoodbye {
            stay: 0,
            since_ms: HOUR,
        }];
        let found = |next| findings(&[ran_out, next], 5 * HOUR);
        assert_eq!(
            found(again(2 * HOUR)),
            [],
            "it joined as the last one ended"
        );
        assert_eq!(found(again(90 * MINUTE)), [], "or before");
        assert_eq!(found(again(2 * HOUR + GOES_ON_MS)), [], "or a moment later");
        assert_eq!(found(again(2 * HOUR + GOES_ON_MS + 1)), forgot, "a gap");
        assert_eq!(
            found(Stay {
                device: None,
                ..again(2 * HOUR)
            }),
            forgot,
            "another device"
        );
        assert_eq!(
            found(Stay {
                user_id: "@b:h",
                ..again(2 * HOUR)
            }),
            forgot,
            "somebody else"
        );
        assert_eq!(
            found(Stay {
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
        let stays: Vec<Stay> = places
            .iter()
            .map(|place| stay("@a:h", (0, HOUR), place, true))
            .collect();
        let others = stays.iter().map(|one| Stay {
            user_id: "@b:h",
            selection: Selection::MultiSfu,
            ..*one
        });
        let found = findings(
            &stays.iter().copied().chain(others).collect::<Vec<_>>(),
            HOUR,
        );
        assert!(
            !found.is_empty() && found.len() <= FINDINGS_MAX,
            "{}",
            found.len()
        );
    }
}
