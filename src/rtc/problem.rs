//! Problems: all findings of one call in one list, each with an id that stays the same when the
//! call is derived again, with its kind, its time and those whom it is about.

use super::coverage::Span;
use super::finding::{self, Finding, FindingStay};
use super::finding_kind::{FindingKind, Sureness};
use super::ghost::{GhostClass, GhostDoubt};
use super::id::{hash, server_of};
use super::left_over::{EndedStay, LeftOverFinding, left_over_findings};
use super::room_finding::{RoomFinding, RoomFindingStay, RoomKnowledge, room_findings};
use super::split_finding::{SplitFinding, SplitStay, split_findings};
use super::transport::Transport;
use std::collections::BTreeMap;

/// Maximum number of findings reported for a call.
pub const PROBLEMS_MAX: usize = 50;
/// The version of the rules by which findings are derived. It is raised when other findings follow
/// from the same stays: then they are derived again.
pub const FINDINGS_VERSION: &str = "4";
/// The length of an id, bytes.
const ID_BYTES: usize = 10;

/// What findings need of a stay. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct ProblemStay<'a> {
    /// Its own id, which stays the same when it is derived again.
    pub id: &'a str,
    pub finding: FindingStay<'a>,
    pub room: RoomFindingStay<'a>,
    pub ended: EndedStay<'a>,
    /// Its device said goodbye or renewed it after it had expired.
    pub is_outlived: bool,
    /// The transport that it states itself.
    pub stated: Option<&'a Transport>,
    /// Members of its format state a transport, and nothing was taken out of its content.
    pub states_transports: bool,
    /// Which room of its own SFU it names, as a text that is the same for the same room.
    pub alias: Option<&'a str>,
    /// When the SFU that it uses did not answer our probes, in order and disjoint.
    pub sfu_down: &'a [Span],
    /// The poll before the one that found it gone.
    pub looked_before_ms: Option<i64>,
}

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    Stays(Finding<'a>),
    Room(RoomFinding<'a>),
    Split(SplitFinding<'a>),
    /// The membership of this stay ran out while its device was still there.
    RanOut {
        stay: usize,
    },
    /// Nobody in the call sees its membership any more.
    LeftOver(LeftOverFinding),
}

/// A finding of a call. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem<'a> {
    pub id: String,
    pub kind: FindingKind,
    pub from_ms: i64,
    /// `None` while it lasts.
    pub until_ms: Option<i64>,
    pub found: Found<'a>,
    /// What kind of ghost it is about; `None` if it is about none.
    pub ghost: Option<GhostClass>,
}

/// All findings of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems<'a> {
    /// In the order in which a page shows them, at most [`PROBLEMS_MAX`].
    pub list: Vec<Problem<'a>>,
    /// For each stay, in the given order: whether its device is still there, if that is in doubt.
    pub doubts: Vec<Option<GhostDoubt>>,
}

/// The findings of the call `call_id`, as known at `upto`, ms: first those from the room's own
/// state, then those of its stays, then those about state resets.
#[must_use]
pub fn problems_of_call<'a>(
    call_id: &str,
    stays: &[ProblemStay<'a>],
    room: &'a RoomKnowledge,
    upto: i64,
) -> Problems<'a> {
    let of_stays: Vec<FindingStay> = stays.iter().map(|stay| stay.finding).collect();
    let of_room: Vec<RoomFindingStay> = stays.iter().map(|stay| stay.room).collect();
    let finding::Findings { shown, doubts } = finding::call_findings(&of_stays, upto);
    let split = find_splits(stays, &shown, upto);
    let (resets, from_rules): (Vec<_>, Vec<_>) = room_findings(&of_room, room, upto)
        .into_iter()
        .partition(RoomFinding::is_reset);
    let ran_out = (0..stays.len())
        .filter(|at| stays[*at].is_outlived && stays[*at].room.until_ms <= upto)
        .map(|stay| Found::RanOut { stay });

    let ended: Vec<EndedStay> = stays.iter().map(|stay| stay.ended).collect();
    let left_over = left_over_findings(&ended, upto);
    let found = from_rules
        .into_iter()
        .map(Found::Room)
        .chain(split.into_iter().map(Found::Split))
        .chain(
            shown
                .into_iter()
                .map(Found::Stays)
                .chain(ran_out)
                .chain(left_over.into_iter().map(Found::LeftOver))
                .take(PROBLEMS_MAX),
        )
        .chain(resets.into_iter().map(Found::Room))
        .take(PROBLEMS_MAX);
    let mut list: Vec<Problem> = found
        .map(|found| Problem::new(found, stays, upto))
        .collect();
    set_ids(call_id, &mut list, stays);
    let classes: Vec<Option<GhostClass>> = list
        .iter()
        .map(|problem| class_of_ghost(problem, &list, stays))
        .collect();
    for (problem, class) in list.iter_mut().zip(classes) {
        problem.ghost = class;
    }

    Problems { list, doubts }
}

/// What kind of ghost a problem of the list `all` is about; `None` if it is about none.
fn class_of_ghost(
    problem: &Problem<'_>,
    all: &[Problem<'_>],
    stays: &[ProblemStay<'_>],
) -> Option<GhostClass> {
    match problem.kind {
        FindingKind::LeftOver => return Some(GhostClass::Left),
        FindingKind::Overwritten => return Some(GhostClass::Overwritten),
        _ => {}
    }

    let at = problem.stay().filter(|_| problem.kind.is_silence())?;
    let stay = &stays[at].room;
    let is_muzzled = all.iter().any(|other| match &other.found {
        Found::Room(RoomFinding::LostPower { stay, .. }) => *stay == at,
        Found::Room(RoomFinding::ServerDenied { users, .. }) => users.contains(&stay.user_id),
        _ => false,
    });
    let device = stays[at].finding.device;
    let is_superseded = stays.iter().any(|other| {
        other.finding.user_id == stay.user_id
            && other.finding.device != device
            && other.room.joined_ms > problem.from_ms
            && other.room.joined_ms < stay.until_ms
    });

    Some(if is_muzzled {
        GhostClass::Muzzled
    } else if is_superseded {
        GhostClass::Superseded
    } else if problem.kind == FindingKind::NoGoodbye {
        GhostClass::Expired
    } else {
        GhostClass::Gone
    })
}

/// How the call holds together. `shown` are the findings of its stays, which tell of ghosts.
fn find_splits<'a>(
    stays: &[ProblemStay<'a>],
    shown: &[Finding<'a>],
    upto: i64,
) -> Vec<SplitFinding<'a>> {
    let mut gone: Vec<Option<i64>> = vec![None; stays.len()];
    for finding in shown {
        match finding {
            Finding::Silent {
                stay,
                since_ms,
                doubt,
            } if doubt.is_probable() => gone[*stay] = Some(*since_ms),
            Finding::NoGoodbye { stay, since_ms } => gone[*stay] = Some(*since_ms),
            _ => {}
        }
    }

    let of_stay = |(stay, gone_since_ms): (&ProblemStay<'a>, Option<i64>)| SplitStay {
        user_id: stay.finding.user_id,
        device: stay.finding.device,
        joined_ms: stay.finding.joined_ms,
        until_ms: stay.finding.until_ms,
        gone_since_ms,
        stated: stay.stated,
        used: stay.finding.transport,
        selection: stay.finding.selection,
        states_transports: stay.states_transports,
        alias: stay.alias,
        sfu_down: stay.sfu_down,
    };
    let stays: Vec<SplitStay> = stays.iter().zip(gone).map(of_stay).collect();

    split_findings(&stays, upto)
}

/// The id of the finding of this kind about a call as a whole.
#[must_use]
pub fn id_of_problem(kind: FindingKind, call_id: &str, subject: &[&str]) -> String {
    // A ghost that runs out is a missing goodbye; its page stays the same.
    let kind = match kind {
        FindingKind::NoGoodbye => FindingKind::Silent,
        kind => kind,
    };
    let mut parts = vec![kind.as_str(), call_id];
    parts.extend(subject);

    hash(&parts, ID_BYTES)
}

/// The last time, ms, at which somebody is known to have been in the call, up to `upto`. A ghost
/// was there until its last event. `problems` are those of the call.
#[must_use]
pub fn known_until_ms(stays: &[ProblemStay<'_>], problems: &[Problem<'_>], upto: i64) -> i64 {
    let silent_since = |at: usize| {
        let is_silence =
            |problem: &&Problem| problem.kind.is_silence() && problem.stay() == Some(at);
        problems.iter().find(is_silence).map(|found| found.from_ms)
    };
    let known = |at: usize| {
        let until_ms = stays[at].room.until_ms.min(upto);
        silent_since(at).unwrap_or_else(|| until_ms.max(stays[at].room.joined_ms))
    };

    (0..stays.len()).map(known).max().unwrap_or(upto)
}

/// Gives each problem its id: of its kind, its call, and its stay; or where it is about none, its
/// begin and what else tells it from others. Of several that are alike in all this, the one that
/// lasts longest is the first.
fn set_ids(call_id: &str, list: &mut [Problem<'_>], stays: &[ProblemStay<'_>]) {
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(list[*at].until_ms.unwrap_or(i64::MAX)));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for at in order {
        let problem = &list[at];
        let from = problem.from_ms.to_string();
        let subject = match problem.stay() {
            Some(stay) => vec![stays[stay].id],
            None => vec![problem.subject(), &from],
        };

        let first = id_of_problem(problem.kind, call_id, &subject);
        let count = seen.entry(first.clone()).or_default();
        let id = match *count {
            0 => first,
            more => hash(&[&first, &more.to_string()], ID_BYTES),
        };

        *count += 1;
        list[at].id = id;
    }
}

impl<'a> Problem<'a> {
    /// The problem without its id.
    fn new(found: Found<'a>, stays: &[ProblemStay<'a>], upto: i64) -> Self {
        // The end of a stay that was over by then.
        let end_of = |stay: usize| Some(stays[stay].room.until_ms).filter(|until| *until <= upto);
        let joined = |stay: usize| stays[stay].room.joined_ms;
        let (kind, from_ms, until_ms) = match &found {
            Found::Stays(finding) => {
                let (kind, until_ms) = match finding {
                    Finding::Apart { until_ms, .. } => (
                        FindingKind::Apart,
                        Some(*until_ms).filter(|until| *until < upto),
                    ),
                    Finding::Silent { .. } => (FindingKind::Silent, None),
                    Finding::NoGoodbye { stay, .. } => {
                        (FindingKind::NoGoodbye, Some(stays[*stay].room.until_ms))
                    }
                };
                (kind, finding.from_ms(), until_ms)
            }
            Found::RanOut { stay } => {
                let sign_ms = stays[*stay].room.last_sign_ms.unwrap_or(i64::MIN);
                let until_ms = Some(stays[*stay].room.until_ms);
                (FindingKind::RanOut, sign_ms.max(joined(*stay)), until_ms)
            }
            Found::LeftOver(LeftOverFinding::LeftOver {
                from_ms, until_ms, ..
            }) => (
                FindingKind::LeftOver,
                *from_ms,
                Some(*until_ms).filter(|until| *until <= upto),
            ),
            Found::LeftOver(LeftOverFinding::Overwritten { at_ms, .. }) => {
                (FindingKind::Overwritten, *at_ms, Some(*at_ms))
            }
            Found::Split(found) => (found.kind(), found.from_ms(), found.until_ms()),
            Found::Room(found) => match found {
                RoomFinding::Replaced {
                    from_ms, until_ms, ..
                } => (FindingKind::RoomReplaced, *from_ms, *until_ms),
                RoomFinding::NobodyCouldCome {
                    from_ms, until_ms, ..
                } => (FindingKind::NobodyCouldCome, *from_ms, *until_ms),
                RoomFinding::ServerDenied {
                    from_ms, until_ms, ..
                } => (FindingKind::ServerDenied, *from_ms, *until_ms),
                RoomFinding::LostPower { stay, from_ms, .. } => {
                    (FindingKind::LostPower, *from_ms, end_of(*stay))
                }
                RoomFinding::CameBack { stay } => {
                    (FindingKind::StateReset, joined(*stay), end_of(*stay))
                }
                RoomFinding::Vanished { stay } => {
                    let gone = &stays[*stay];
                    let since_ms = gone.looked_before_ms.unwrap_or(gone.room.until_ms);
                    (
                        FindingKind::Reconciled,
                        since_ms.max(joined(*stay)),
                        end_of(*stay),
                    )
                }
            },
        };

        Self {
            id: String::new(),
            kind,
            from_ms,
            until_ms,
            found,
            ghost: None,
        }
    }

    /// The place of the stay that it is about; `None` if it is about several people or the call.
    #[must_use]
    pub fn stay(&self) -> Option<usize> {
        match &self.found {
            Found::Stays(Finding::Silent { stay, .. } | Finding::NoGoodbye { stay, .. })
            | Found::RanOut { stay }
            | Found::LeftOver(
                LeftOverFinding::LeftOver { stay, .. } | LeftOverFinding::Overwritten { stay, .. },
            )
            | Found::Room(
                RoomFinding::LostPower { stay, .. }
                | RoomFinding::CameBack { stay }
                | RoomFinding::Vanished { stay },
            )
            | Found::Split(
                SplitFinding::NoTransport { stay, .. }
                | SplitFinding::Flapping { stay, .. }
                | SplitFinding::GhostOldest { ghost: stay, .. }
                | SplitFinding::OldestTie { first: stay, .. },
            ) => Some(*stay),
            Found::Stays(Finding::Apart { .. })
            | Found::Room(
                RoomFinding::Replaced { .. }
                | RoomFinding::NobodyCouldCome { .. }
                | RoomFinding::ServerDenied { .. },
            )
            | Found::Split(SplitFinding::DeadSfu { .. } | SplitFinding::AliasDiffers { .. }) => {
                None
            }
        }
    }

    /// When it ends, ms; of what outlasts its call, when it ends at the latest.
    #[must_use]
    pub fn ends_ms(&self) -> Option<i64> {
        match self.found {
            Found::LeftOver(LeftOverFinding::LeftOver { until_ms, .. }) => Some(until_ms),
            _ => self.until_ms,
        }
    }

    /// What tells it from others of its kind and begin.
    fn subject(&self) -> &'a str {
        match &self.found {
            Found::Stays(Finding::Apart { sfu, .. })
            | Found::Split(
                SplitFinding::DeadSfu { sfu, .. } | SplitFinding::AliasDiffers { sfu, .. },
            ) => sfu,
            Found::Room(RoomFinding::Replaced { by, .. }) => by,
            Found::Room(RoomFinding::ServerDenied { server, .. }) => server,
            _ => "",
        }
    }

    /// The SFU that it is about, as its address or its key.
    #[must_use]
    pub fn sfu(&self) -> Option<&'a str> {
        match &self.found {
            Found::Stays(Finding::Apart { sfu, .. })
            | Found::Split(
                SplitFinding::OldestTie { sfu, .. }
                | SplitFinding::GhostOldest { sfu, .. }
                | SplitFinding::DeadSfu { sfu, .. }
                | SplitFinding::AliasDiffers { sfu, .. },
            ) => Some(sfu),
            _ => None,
        }
    }

    /// How sure it is.
    #[must_use]
    pub fn sureness(&self) -> Sureness {
        match &self.found {
            Found::Stays(Finding::Silent { doubt, .. }) if doubt.is_probable() => {
                Sureness::Probably
            }
            Found::Stays(Finding::Silent { .. }) => Sureness::Perhaps,
            Found::Split(
                SplitFinding::OldestTie { .. }
                | SplitFinding::GhostOldest { .. }
                | SplitFinding::DeadSfu { .. },
            ) => Sureness::Probably,
            _ => Sureness::Computed,
        }
    }

    /// The users whom it is about, as far as they are named: each once, those of whom it says
    /// something first.
    #[must_use]
    pub fn users(&self, stays: &[ProblemStay<'a>]) -> Vec<&'a str> {
        let mut users: Vec<&str> = match (&self.found, self.stay()) {
            (Found::Stays(Finding::Apart { deaf, unheard, .. }), _) => {
                deaf.named.iter().chain(&unheard.named).copied().collect()
            }
            (Found::Room(RoomFinding::Replaced { still, .. }), _) => still.clone(),
            (Found::Split(SplitFinding::OldestTie { first, second, .. }), _) => {
                vec![stays[*first].room.user_id, stays[*second].room.user_id]
            }
            (
                Found::Split(SplitFinding::GhostOldest {
                    ghost, followers, ..
                }),
                _,
            ) => std::iter::once(stays[*ghost].room.user_id)
                .chain(followers.iter().copied())
                .collect(),
            (Found::Split(SplitFinding::AliasDiffers { users, others, .. }), _) => {
                users.iter().chain(others).copied().collect()
            }
            (
                Found::Room(
                    RoomFinding::NobodyCouldCome { users, .. }
                    | RoomFinding::ServerDenied { users, .. },
                )
                | Found::Split(SplitFinding::DeadSfu { users, .. }),
                _,
            ) => users.clone(),
            (_, Some(stay)) => vec![stays[stay].room.user_id],
            (_, None) => Vec::new(),
        };
        let mut seen = std::collections::BTreeSet::new();
        users.retain(|user| seen.insert(*user));

        users
    }

    /// The homeserver whose admin can say most about it: that of the first user.
    #[must_use]
    pub fn server(&self, stays: &[ProblemStay<'a>]) -> &'a str {
        self.users(stays).first().map_or("", |user| server_of(user))
    }
}

impl RoomFinding<'_> {
    /// Is it about what a state reset did?
    #[must_use]
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::CameBack { .. } | Self::Vanished { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::ghost::Clues;
    use crate::rtc::left_over::LeftOver;
    use crate::rtc::transport::Selection;
    use crate::rtc::words::{EndReason, Format};

    const HOUR: i64 = 3_600_000;

    fn stay<'a>(id: &'a str, user_id: &'a str, until_ms: i64) -> ProblemStay<'a> {
        ProblemStay {
            id,
            finding: FindingStay {
                user_id,
                device: Some("D"),
                joined_ms: 0,
                until_ms,
                ended_by_expiry: true,
                renewed_by_hours: true,
                last_sign_ms: Some(0),
                updates: 0,
                clues: Clues::default(),
                transport: None,
                selection: Selection::MultiSfu,
            },
            room: RoomFindingStay {
                user_id,
                joined_ms: 0,
                until_ms,
                ended_by_expiry: true,
                is_sticky: false,
                last_sign_ms: Some(0),
                found_begun: false,
                found_gone: false,
            },
            ended: EndedStay {
                user_id,
                device: Some("D"),
                member_key: id,
                format: Format::Session,
                until_ms,
                end_reason: EndReason::Expired,
                join_event_id: id,
                end_event_id: None,
                left_over: None,
            },
            is_outlived: false,
            stated: None,
            states_transports: false,
            alias: None,
            sfu_down: &[],
            looked_before_ms: None,
        }
    }

    #[test]
    fn a_ghost_keeps_its_id_when_it_runs_out() {
        let room = RoomKnowledge::default();
        let stays = [stay("1", "@a:h", 4 * HOUR)];
        let open = problems_of_call("c", &stays, &room, 2 * HOUR).list;
        let over = problems_of_call("c", &stays, &room, 5 * HOUR).list;
        assert_eq!(open[0].kind, FindingKind::Silent);
        assert_eq!(open[0].until_ms, None);
        assert_eq!(over[0].kind, FindingKind::NoGoodbye);
        assert_eq!(over[0].until_ms, Some(4 * HOUR));
        assert_eq!(open[0].id, over[0].id);
        let elsewhere = problems_of_call("d", &stays, &room, 5 * HOUR).list;
        assert_ne!(open[0].id, elsewhere[0].id);
    }

    #[test]
    fn a_ghost_has_a_class() {
        let room = RoomKnowledge::default();
        let gone = stay("1", "@a:h", 4 * HOUR);
        let mut other = stay("2", "@a:h", 5 * HOUR);
        other.finding.device = Some("E");
        (other.finding.joined_ms, other.room.joined_ms) = (HOUR, HOUR);
        let class = |stays: &[ProblemStay<'_>], upto| {
            problems_of_call("c", stays, &room, upto).list[0].ghost
        };
        assert_eq!(class(&[gone], 2 * HOUR), Some(GhostClass::Gone));
        assert_eq!(class(&[gone], 6 * HOUR), Some(GhostClass::Expired));
        assert_eq!(
            class(&[gone, other], 2 * HOUR),
            Some(GhostClass::Superseded)
        );
    }

    #[test]
    fn what_is_left_over_lasts_until_it_is_taken_away_or_expires() {
        let room = RoomKnowledge::default();
        let mut gone = stay("1", "@a:h", HOUR);
        (gone.finding.ended_by_expiry, gone.room.ended_by_expiry) = (false, false);
        gone.ended.end_reason = EndReason::RoomKicked;
        gone.ended.left_over = Some(LeftOver {
            expires_ms: 4 * HOUR,
            gone_ms: None,
        });
        let other = stay("2", "@b:h", 5 * HOUR);
        let found = |upto| {
            let problems = problems_of_call("c", &[gone, other], &room, upto).list;
            problems
                .iter()
                .find(|one| one.kind == FindingKind::LeftOver)
                .map(|one| (one.ghost, one.from_ms, one.until_ms, one.ends_ms()))
        };
        let class = Some(GhostClass::Left);
        assert_eq!(found(HOUR / 2), None, "they are still there");
        assert_eq!(
            found(2 * HOUR),
            Some((class, HOUR, None, Some(4 * HOUR))),
            "it lasts"
        );
        assert_eq!(
            found(6 * HOUR),
            Some((class, HOUR, Some(4 * HOUR), Some(4 * HOUR)))
        );
    }

    #[test]
    fn each_finding_of_a_call_has_an_id_of_its_own() {
        let room = RoomKnowledge::default();
        let stays = [
            stay("1", "@a:h", 4 * HOUR),
            stay("2", "@b:h", 4 * HOUR),
            ProblemStay {
                is_outlived: true,
                ..stay("3", "@c:h", HOUR)
            },
        ];
        let list = problems_of_call("c", &stays, &room, 5 * HOUR).list;
        let mut ids: Vec<&str> = list.iter().map(|problem| problem.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), list.len());
        assert!(list.len() >= 3, "{list:?}");
        assert_eq!(list[0].users(&stays), ["@a:h"]);
        assert_eq!(list[0].server(&stays), "h");
    }
}
