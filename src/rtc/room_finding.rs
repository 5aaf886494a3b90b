//! Findings from the room's own state: who could not join, who can no longer send a leave, where an
//! upgrade left a call behind, and what a state reset removed or restored.

use super::id::server_of;
use super::power::JoinType;
use super::room_rules::RoomRules;
use std::collections::{BTreeMap, BTreeSet};

/// An event within this time after a change of rules may have been sent before it, ms.
const ON_ITS_WAY_MS: i64 = 60_000;
/// Maximum number of servers of one call that are compared with the room's ACL, and of findings:
/// events come from strangers.
const SERVERS_MAX: usize = 64;
const FINDINGS_MAX: usize = 40;

/// The properties of a stay that these findings need. Times in ms.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they go together in any way"
)]
pub struct RoomFindingStay<'a> {
    pub user_id: &'a str,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// Nobody said goodbye: it ends or ended by its own expiry.
    pub ended_by_expiry: bool,
    /// Its events are sticky messages, not state.
    pub is_sticky: bool,
    pub last_sign_ms: Option<i64>,
    /// A poll of the state found that it began; no event states it.
    pub found_begun: bool,
    /// A poll of the state found that it was gone; no event states it.
    pub found_gone: bool,
}

/// The membership of an account in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomStanding {
    pub joined: bool,
    /// When its newest membership event came, ms.
    pub since_ms: i64,
}

/// The facts about a call's room.
#[derive(Debug, Clone, Default)]
pub struct RoomKnowledge {
    pub rules: RoomRules,
    /// The types of events by which people join calls in this room.
    pub types: Vec<JoinType>,
    /// Accounts in the room; `None` = nobody counted them yet.
    pub accounts: Option<i64>,
    /// The membership of the users that the power levels name.
    pub named: BTreeMap<String, RoomStanding>,
    /// Our own accounts, which join no call.
    pub observers: BTreeSet<String>,
}

/// A problem. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomFinding<'a> {
    /// The room was replaced while people were in the call. Clients hide the old room; a call in
    /// the new room is another one.
    Replaced {
        from_ms: i64,
        /// `None` while people are still here.
        until_ms: Option<i64>,
        by: &'a str,
        still: Vec<&'a str>,
        /// Those of them without an event since, and the time of their last event.
        left_behind: Vec<(&'a str, i64)>,
    },
    /// One person is alone, and nobody else in the room has the power to join.
    NobodyCouldCome {
        from_ms: i64,
        until_ms: Option<i64>,
        users: Vec<&'a str>,
        join_type: &'a JoinType,
        needed: i64,
    },
    /// The room no longer accepts events of this server: its people cannot say goodbye.
    ServerDenied {
        from_ms: i64,
        until_ms: Option<i64>,
        server: &'a str,
        users: Vec<&'a str>,
    },
    /// This person may no longer send a membership, and so no goodbye.
    LostPower {
        stay: usize,
        from_ms: i64,
        join_type: &'a JoinType,
        needed: i64,
    },
    /// A state reset restored this stay: nobody joined again.
    CameBack { stay: usize },
    /// A state reset removed it from the room's state: nobody said goodbye.
    Vanished { stay: usize },
}

/// The findings of one call, the most serious first. `upto`: until when the call is known, ms.
#[must_use]
pub fn room_findings<'a>(
    stays: &[RoomFindingStay<'a>],
    room: &'a RoomKnowledge,
    upto: i64,
) -> Vec<RoomFinding<'a>> {
    let call = CallSpan::around_stays(stays, upto);
    let mut found: Vec<RoomFinding<'a>> = Vec::new();
    found.extend(call.and_then(|call| find_replaced_room(stays, room, call)));
    found.extend(call.and_then(|call| find_nobody_could_come(stays, room, call)));
    found.extend(find_denied_servers(stays, room, upto));
    found.extend((0..stays.len()).filter_map(|at| find_lost_power(stays, at, room, upto)));
    for (at, stay) in stays.iter().enumerate() {
        if stay.found_begun {
            found.push(RoomFinding::CameBack { stay: at });
        }

        if stay.found_gone && stay.until_ms <= upto {
            found.push(RoomFinding::Vanished { stay: at });
        }
    }

    found.truncate(FINDINGS_MAX);

    found
}

/// The span for which a call is known, ms.
#[derive(Debug, Clone, Copy)]
struct CallSpan {
    from_ms: i64,
    /// Its end, or the moment up to which it is known.
    to_ms: i64,
    /// It lasts.
    runs: bool,
}

impl CallSpan {
    /// The span of a call with these stays, as known until `upto`, ms; `None` without stays.
    fn around_stays(stays: &[RoomFindingStay], upto: i64) -> Option<Self> {
        let from_ms = stays.iter().map(|stay| stay.joined_ms).min()?;
        let until_ms = stays.iter().map(|stay| stay.until_ms).max()?;

        Some(Self {
            from_ms,
            to_ms: until_ms.min(upto),
            runs: until_ms > upto,
        })
    }

    /// When the call ended, ms; `None` while it runs.
    fn until(&self) -> Option<i64> {
        (!self.runs).then_some(self.to_ms)
    }
}

/// These users in order, each once.
fn distinct_users<'a>(users: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    users.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The finding that the room was replaced by an upgrade while people were in the call. `None` if it
/// was not, or if the call was over by then. Left behind are those who have shown no sign since.
fn find_replaced_room<'a>(
    stays: &[RoomFindingStay<'a>],
    room: &'a RoomKnowledge,
    call: CallSpan,
) -> Option<RoomFinding<'a>> {
    let replacement = room.rules.replaced()?;
    let from_ms = replacement.at_ms.max(call.from_ms);
    if from_ms >= call.to_ms {
        return None;
    }

    // If the call is over, take those who were in it when the room was replaced.
    let moment = if call.runs { call.to_ms } else { from_ms };
    let here: Vec<&RoomFindingStay> = stays
        .iter()
        .filter(|stay| stay.joined_ms <= moment && stay.until_ms > moment)
        .collect();
    let mut left_behind: BTreeMap<&str, i64> = BTreeMap::new();
    for stay in here.iter().filter(|stay| stay.ended_by_expiry) {
        let heard = stay.last_sign_ms.unwrap_or(stay.joined_ms);
        let last = left_behind.entry(stay.user_id).or_insert(heard);
        *last = (*last).max(heard);
    }

    left_behind.retain(|_, heard| *heard <= replacement.at_ms);

    Some(RoomFinding::Replaced {
        from_ms,
        until_ms: call.until(),
        by: &replacement.room_id,
        still: distinct_users(here.iter().map(|stay| stay.user_id)),
        left_behind: left_behind.into_iter().collect(),
    })
}

/// The event types that can state such a stay in this room: messages for a sticky stay, else state.
fn join_types_in_room(room: &RoomKnowledge, is_sticky: bool) -> Vec<JoinType> {
    let fits = |one: &&JoinType| one.joins() && one.is_state != is_sticky;
    room.types.iter().filter(fits).cloned().collect()
}

/// The finding that one person waited alone in a call that nobody else in the room had the power to
/// join when it began. `None` if several people were in it, if nobody else is in the room, or if
/// its accounts or its power levels are not known. It ends when the levels let somebody in.
fn find_nobody_could_come<'a>(
    stays: &[RoomFindingStay<'a>],
    room: &'a RoomKnowledge,
    call: CallSpan,
) -> Option<RoomFinding<'a>> {
    let users = distinct_users(stays.iter().map(|stay| stay.user_id));
    let [caller] = users[..] else { return None };
    let others = room.accounts? - 1 - i64::try_from(room.observers.len()).unwrap_or(0);
    if others < 1 {
        return None;
    }

    // If nobody else can join at this time: the type that needs the least power, and that power.
    let shut_at = |time_ms: i64| {
        let levels = room.rules.levels_at(time_ms)?;
        let needed = |one: &JoinType| levels.needed(&one.event_type, one.is_state);
        let joins = || room.types.iter().filter(|one| one.joins());
        let lowest = joins().min_by_key(|one| needed(one))?;
        let is_shut_for_others = levels.of_others() < needed(lowest);
        let strong_users = levels.named().filter(|(user, level)| {
            *user != caller && !room.observers.contains(*user) && *level >= needed(lowest)
        });
        // A user whose membership has changed since may have been here then.
        let here = |user: &str| {
            let standing = room.named.get(user);
            standing.is_some_and(|standing| standing.joined || standing.since_ms > time_ms)
        };

        let are_all_away = strong_users.into_iter().all(|(user, _)| !here(user));
        (is_shut_for_others && are_all_away).then(|| (lowest, needed(lowest)))
    };

    let (join_type, needed) = shut_at(call.from_ms)?;
    let opened = room
        .rules
        .levels_changes()
        .map(|(from_ms, _)| from_ms)
        .find(|from_ms| {
            (call.from_ms..call.to_ms).contains(from_ms) && shut_at(*from_ms).is_none()
        });

    Some(RoomFinding::NobodyCouldCome {
        from_ms: call.from_ms,
        until_ms: opened.or(call.until()),
        users,
        join_type,
        needed,
    })
}

/// Could a rule that holds since `since_ms` have prevented a goodbye of this stay, as known at
/// `upto`, ms? It could if the
/// rule began within the stay, nobody said goodbye, and no event of the stay came since.
fn may_be_silenced(stay: &RoomFindingStay, since_ms: i64, upto: i64) -> bool {
    let lacks_goodbye = stay.until_ms > upto || stay.ended_by_expiry;
    let is_silent = stay
        .last_sign_ms
        .is_none_or(|sign| sign <= since_ms.saturating_add(ON_ITS_WAY_MS));

    lacks_goodbye && is_silent && since_ms > stay.joined_ms && since_ms < stay.until_ms
}

/// The findings about servers whose events the room refuses by its ACL, as known at `upto`, ms, one
/// for each server, with the users who could not say goodbye since. Of very many servers only the
/// first [`SERVERS_MAX`] by name are compared.
fn find_denied_servers<'a>(
    stays: &[RoomFindingStay<'a>],
    room: &'a RoomKnowledge,
    upto: i64,
) -> Vec<RoomFinding<'a>> {
    let mut servers: BTreeMap<&'a str, Vec<&RoomFindingStay<'a>>> = BTreeMap::new();
    for stay in stays {
        servers
            .entry(server_of(stay.user_id))
            .or_default()
            .push(stay);
    }

    let mut found = Vec::new();
    for (server, stays) in servers.into_iter().take(SERVERS_MAX) {
        let until_ms = stays.iter().map(|stay| stay.until_ms).max().unwrap_or(upto);
        // The last moment at which somebody of this server was counted.
        let at_ms = until_ms.saturating_sub(1).min(upto);
        let Some(since_ms) = room.rules.denied_since(server, at_ms) else {
            continue;
        };

        let users = distinct_users(
            stays
                .iter()
                .filter(|stay| may_be_silenced(stay, since_ms, upto))
                .map(|stay| stay.user_id),
        );
        if !users.is_empty() {
            found.push(RoomFinding::ServerDenied {
                from_ms: since_ms,
                until_ms: (until_ms <= upto).then_some(until_ms),
                server,
                users,
            });
        }
    }

    found
}

/// The finding that the person of the stay at index `at` lost the power to send memberships, and so
/// to say goodbye, as known at `upto`, ms. `None` if that is not so.
fn find_lost_power<'a>(
    stays: &[RoomFindingStay<'a>],
    at: usize,
    room: &'a RoomKnowledge,
    upto: i64,
) -> Option<RoomFinding<'a>> {
    let stay = &stays[at];
    let types = join_types_in_room(room, stay.is_sticky);
    let at_ms = stay.until_ms.saturating_sub(1).min(upto);
    let from_ms = room
        .rules
        .powerless_since(stay.user_id, &types, at_ms)
        .filter(|since_ms| may_be_silenced(stay, *since_ms, upto))?;
    let levels = room.rules.levels_at(at_ms)?;
    let lowest = types
        .iter()
        .min_by_key(|one| levels.needed(&one.event_type, one.is_state))?;
    let join_type = room.types.iter().find(|one| *one == lowest)?;

    Some(RoomFinding::LostPower {
        stay: at,
        from_ms,
        join_type,
        needed: levels.needed(&join_type.event_type, join_type.is_state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::event::RoomEvent;
    use serde_json::{Value, json};

    const MEMBER: &str = "org.matrix.msc3401.call.member";

    fn knowledge(state: &[(&str, i64, Value)]) -> RoomKnowledge {
        let events: Vec<RoomEvent> = state
            .iter()
            .map(|(kind, at, content)| {
                let json = json!({"event_id": format!("${kind}{at}"), "type": kind, "state_key": "",
                    "sender": "@ada:a", "origin_server_ts": at, "content": content});
                RoomEvent::from_json(&json, None).unwrap()
            })
            .collect();

        RoomKnowledge {
            rules: RoomRules::from_events(&events),
            types: vec![JoinType::new(MEMBER, true)],
            accounts: Some(4),
            observers: BTreeSet::from(["@scope:f".to_owned()]),
            ..RoomKnowledge::default()
        }
    }

    fn stay(user_id: &str, joined_ms: i64, until_ms: i64) -> RoomFindingStay<'_> {
        RoomFindingStay {
            user_id,
            joined_ms,
            until_ms,
            ended_by_expiry: true,
            is_sticky: false,
            last_sign_ms: Some(joined_ms),
            found_begun: false,
            found_gone: false,
        }
    }

    fn only_ada() -> Value {
        json!({"users": {"@ada:a": 100}, "state_default": 50})
    }

    #[test]
    fn a_caller_whom_nobody_could_follow() {
        let shut = knowledge(&[("m.room.power_levels", 1, only_ada())]);
        let said = RoomFindingStay {
            ended_by_expiry: false,
            ..stay("@ada:a", 1000, 5000)
        };

        let found = |room: &RoomKnowledge, stays: &[RoomFindingStay]| {
            room_findings(stays, room, 9000).len()
        };
        assert_eq!(
            room_findings(&[said], &shut, 9000),
            [RoomFinding::NobodyCouldCome {
                from_ms: 1000,
                until_ms: Some(5000),
                users: vec!["@ada:a"],
                join_type: &JoinType::new(MEMBER, true),
                needed: 50,
            }]
        );
        let two = [said, stay("@mod:a", 2000, 3000)];
        assert_eq!(found(&shut, &two), 0, "somebody came");
        let open = knowledge(&[("m.room.power_levels", 1, json!({"events": {MEMBER: 0}}))]);
        assert_eq!(found(&open, &[said]), 0);
        assert_eq!(found(&knowledge(&[]), &[said]), 0, "nothing is known");
        let later = knowledge(&[("m.room.power_levels", 2000, only_ada())]);
        assert_eq!(found(&later, &[said]), 0, "not known of the beginning");
        let alone = RoomKnowledge {
            accounts: Some(2),
            ..shut.clone()
        };

        assert_eq!(found(&alone, &[said]), 0, "nobody else is in the room");
        let uncounted = RoomKnowledge {
            accounts: None,
            ..shut.clone()
        };

        assert_eq!(found(&uncounted, &[said]), 0);
    }

    #[test]
    fn another_moderator_could_have_come() {
        let levels = json!({"users": {"@ada:a": 100, "@mod:a": 50, "@scope:f": 100}});
        let base = knowledge(&[("m.room.power_levels", 1, levels)]);
        let with = |joined: bool, since_ms: i64| RoomKnowledge {
            named: BTreeMap::from([("@mod:a".to_owned(), RoomStanding { joined, since_ms })]),
            ..base.clone()
        };

        let call = [stay("@ada:a", 1000, 5000)];
        let found = |room: &RoomKnowledge| room_findings(&call, room, 9000).len();
        assert_eq!(found(&base), 1, "the observer joins no call");
        assert_eq!(found(&with(true, 10)), 0);
        assert_eq!(found(&with(false, 10)), 1, "gone before");
        assert_eq!(found(&with(false, 2000)), 0, "here then, as far as we know");
    }

    #[test]
    fn opened_while_the_call_runs() {
        let room = knowledge(&[
            ("m.room.power_levels", 1, only_ada()),
            ("m.room.power_levels", 3000, json!({"events": {MEMBER: 0}})),
        ]);
        let found = room_findings(&[stay("@ada:a", 1000, 50_000)], &room, 9000);
        let [RoomFinding::NobodyCouldCome { until_ms, .. }] = found[..] else {
            panic!("{found:?}")
        };

        assert_eq!(until_ms, Some(3000));
    }

    #[test]
    fn a_room_replaced_during_the_call() {
        let room = knowledge(&[(
            "m.room.tombstone",
            3000,
            json!({"replacement_room": "!new:a"}),
        )]);
        let ada = stay("@ada:a", 1000, 50_000);
        let ben = RoomFindingStay {
            ended_by_expiry: false,
            ..stay("@ben:b", 1000, 4000)
        };

        let replaced = |until_ms, still, left_behind| RoomFinding::Replaced {
            from_ms: 3000,
            until_ms,
            by: "!new:a",
            still,
            left_behind,
        };

        assert_eq!(
            room_findings(&[ada, ben], &room, 9000),
            [replaced(None, vec!["@ada:a"], vec![("@ada:a", 1000)])]
        );
        let heard = RoomFindingStay {
            last_sign_ms: Some(3500),
            ..ada
        };

        assert_eq!(
            room_findings(&[heard], &room, 9000),
            [replaced(None, vec!["@ada:a"], vec![])]
        );
        assert_eq!(
            room_findings(&[ada, ben], &room, 99_000),
            [replaced(
                Some(50_000),
                vec!["@ada:a", "@ben:b"],
                vec![("@ada:a", 1000)]
            )],
            "over by now"
        );
        let before = stay("@ada:a", 1000, 2000);
        assert_eq!(room_findings(&[before], &room, 9000), []);
    }

    #[test]
    fn a_server_that_is_kept_out_cannot_say_goodbye() {
        let acl = json!({"allow": ["*"], "deny": ["b"]});
        let room = knowledge(&[("m.room.server_acl", 3000, acl)]);
        let ben = stay("@ben:b", 1000, 50_000);
        let denied = |until_ms| RoomFinding::ServerDenied {
            from_ms: 3000,
            until_ms,
            server: "b",
            users: vec!["@ben:b"],
        };

        let ada = stay("@ada:a", 1000, 50_000);
        assert_eq!(room_findings(&[ada, ben], &room, 9000), [denied(None)]);
        assert_eq!(
            room_findings(&[ada, ben], &room, 99_000),
            [denied(Some(50_000))]
        );
        let gone = RoomFindingStay {
            ended_by_expiry: false,
            ..stay("@ben:b", 1000, 2500)
        };

        assert_eq!(room_findings(&[ada, gone], &room, 9000), [], "left before");
        let heard = RoomFindingStay {
            last_sign_ms: Some(200_000),
            until_ms: 500_000,
            ..ben
        };

        assert_eq!(
            room_findings(&[heard], &room, 300_000),
            [],
            "it is heard all the same"
        );
        let after = stay("@ben:b", 4000, 50_000);
        assert_eq!(room_findings(&[after], &room, 9000), [], "it came later");
    }

    #[test]
    fn who_lost_the_power_cannot_say_goodbye() {
        let room = knowledge(&[
            ("m.room.power_levels", 1, json!({"events": {MEMBER: 0}})),
            ("m.room.power_levels", 3000, only_ada()),
        ]);
        let (ada, ben) = (stay("@ada:a", 1000, 50_000), stay("@ben:b", 1000, 50_000));
        assert_eq!(
            room_findings(&[ada, ben], &room, 9000),
            [RoomFinding::LostPower {
                stay: 1,
                from_ms: 3000,
                join_type: &JoinType::new(MEMBER, true),
                needed: 50,
            }]
        );
        let sticky = RoomFindingStay {
            is_sticky: true,
            ..ben
        };

        assert_eq!(
            room_findings(&[ada, sticky], &room, 9000),
            [],
            "the room has no such type in use"
        );
    }

    #[test]
    fn what_a_state_reset_did() {
        let room = knowledge(&[]);
        let back = RoomFindingStay {
            found_begun: true,
            ..stay("@ada:a", 1000, 50_000)
        };

        let gone = RoomFindingStay {
            found_gone: true,
            ..stay("@ben:b", 1000, 4000)
        };

        assert_eq!(
            room_findings(&[back, gone], &room, 9000),
            [
                RoomFinding::CameBack { stay: 0 },
                RoomFinding::Vanished { stay: 1 }
            ]
        );
    }
}
