//! Alerts as they open, are told and end: by example, and in any order of what happens.

use super::*;
use crate::rtc::alert::message::{
    AlertMessage, Message, SummaryMessage, SummaryReason, address_messages,
};
use crate::rtc::alert::quiet::QuietHours;
use crate::rtc::alert::{AlertFacts, AlertRoom, ChannelScope};
use crate::rtc::finding_kind::Severity;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-01-10 12:00 in UTC.
const NOON: i64 = 1_768_046_400_000;

fn rule(name: &str) -> AlertRule {
    AlertRule {
        name: name.to_owned(),
        on: AlertKind::ALL.into(),
        rooms: Vec::new(),
        servers: Vec::new(),
        severity: Severity::Minor,
        for_ms: 0,
        repeat_ms: None,
        tells_end: true,
        quiet: None,
        channels: vec!["ops".to_owned()],
    }
}

fn room(room_id: &str) -> AlertRoom {
    AlertRoom {
        room_id: room_id.to_owned(),
        alias: None,
        title: None,
    }
}

fn condition(kind: AlertKind, subject: &str, since_ms: i64) -> Condition {
    Condition {
        kind,
        subject: subject.to_owned(),
        former_subjects: Vec::new(),
        room: (!kind.is_about_observer()).then(|| room("!r:x")),
        servers: vec!["x".to_owned()],
        severity: kind.severity(),
        since_ms,
        facts: AlertFacts::default(),
    }
}

/// Alerts as they go on, as the store keeps them.
struct World {
    rules: Vec<AlertRule>,
    alerts: Vec<Alert>,
    sights: FirstSights,
    knowledge: Knowledge,
    /// What was told: the event, or `summary`, with the subject.
    told: Vec<(String, String)>,
}

impl World {
    fn new(rule: AlertRule) -> Self {
        let sight = |kind| ((rule.name.clone(), kind), NOON - 2 * HOUR);

        Self {
            sights: AlertKind::ALL.into_iter().map(sight).collect(),
            rules: vec![rule],
            alerts: Vec::new(),
            knowledge: knowledge(),
            told: Vec::new(),
        }
    }

    /// One step; returns what is told in it.
    fn step(&mut self, now: i64, conditions: &[Condition]) -> Vec<String> {
        let changes = step_alerts(&StepInputs {
            rules: &self.rules,
            alerts: &self.alerts,
            conditions,
            sights: &self.sights,
            knowledge: &self.knowledge,
            now,
        });
        let mut words = Vec::new();
        for change in changes {
            self.alerts.retain(|alert| alert.key != change.alert.key);
            let word = match change.telling {
                Telling::Nothing => None,
                Telling::InSummary => Some("summary".to_owned()),
                Telling::Message(event) => Some(event.to_string()),
            };
            let subject = change.alert.key.subject.clone();
            words.extend(word.map(|word| (word, subject)));
            if !change.is_gone {
                self.alerts.push(change.alert);
            }
        }

        self.told.extend(words.clone());

        words.into_iter().map(|(word, _)| word).collect()
    }
}

fn knowledge() -> Knowledge {
    Knowledge {
        is_blind: false,
        known_rooms: BTreeSet::from(["!r:x".to_owned(), "!s:x".to_owned()]),
        ..Knowledge::default()
    }
}

#[test]
fn an_alert_waits_fires_is_repeated_and_is_over() {
    let mut world = World::new(AlertRule {
        for_ms: 5 * MINUTE,
        repeat_ms: Some(HOUR),
        ..rule("a")
    });
    let split = [condition(AlertKind::Split, "f", NOON)];
    assert!(world.step(NOON + MINUTE, &split).is_empty());
    assert_eq!(world.alerts[0].state, AlertState::Pending);
    assert_eq!(world.step(NOON + 5 * MINUTE, &split), ["fired"]);
    assert!(world.step(NOON + 6 * MINUTE, &split).is_empty());
    assert_eq!(world.step(NOON + 65 * MINUTE, &split), ["repeated"]);
    assert!(world.step(NOON + 70 * MINUTE, &split).is_empty());
    assert_eq!(world.step(NOON + 71 * MINUTE, &[]), ["resolved"]);
    assert!(world.alerts.is_empty());
}

#[test]
fn what_did_not_last_long_enough_is_never_told() {
    let mut world = World::new(AlertRule {
        for_ms: 5 * MINUTE,
        ..rule("a")
    });
    let split = [condition(AlertKind::Split, "f", NOON)];
    assert!(world.step(NOON + MINUTE, &split).is_empty());
    assert!(world.step(NOON + 6 * MINUTE, &[]).is_empty());
    assert!(world.alerts.is_empty());
}

#[test]
fn what_happened_once_is_told_once_and_no_history_is_told() {
    let mut world = World::new(rule("a"));
    let old = condition(AlertKind::CallBegan, "old", NOON - HOUR - 1);
    let new = condition(AlertKind::CallBegan, "new", NOON - MINUTE);
    let future = condition(AlertKind::CallBegan, "future", NOON + MINUTE);
    let all = [old, new, future];
    assert_eq!(world.step(NOON, &all), ["fired"]);
    assert_eq!(world.told, [("fired".to_owned(), "new".to_owned())]);
    assert!(world.step(NOON + 1, &all).is_empty());

    // A rule that is new tells nothing of before.
    let mut fresh = World::new(rule("b"));
    for sight in fresh.sights.values_mut() {
        *sight = NOON;
    }
    assert!(fresh.step(NOON, &all[..2]).is_empty());
    fresh.sights.clear();
    assert!(fresh.step(NOON, &all[..2]).is_empty(), "never seen at all");
}

#[test]
fn a_call_that_got_another_id_is_not_told_again() {
    let mut world = World::new(rule("a"));
    let began = condition(AlertKind::CallBegan, "first", NOON);
    assert_eq!(world.step(NOON, &[began]), ["fired"]);
    let mut earlier = condition(AlertKind::CallBegan, "earlier", NOON - MINUTE);
    earlier.former_subjects = vec!["other".to_owned(), "first".to_owned()];
    assert!(world.step(NOON + 1, &[earlier]).is_empty());
}

#[test]
fn while_the_present_is_unknown_nothing_of_calls_is_told_or_over() {
    let mut world = World::new(rule("a"));
    let split = condition(AlertKind::Split, "f", NOON);
    assert_eq!(world.step(NOON, std::slice::from_ref(&split)), ["fired"]);
    world.knowledge.is_blind = true;
    let blind = condition(AlertKind::Blind, "", NOON);
    let dead = condition(AlertKind::TokenDead, "", NOON);
    let began = condition(AlertKind::CallBegan, "c", NOON);
    let told = world.step(NOON + 1, &[blind.clone(), dead, began.clone()]);
    assert_eq!(told, ["fired", "fired"], "{:?}", world.told);
    assert!(world.told.iter().all(|(_, subject)| subject != "c"));
    assert_eq!(
        world.step(NOON + 2, &[blind]),
        ["resolved"],
        "the token is well"
    );

    // What happened meanwhile is told when it is known again, and what is over, too.
    world.knowledge.is_blind = false;
    let mut told = world.step(NOON + 3, &[began]);
    told.sort();
    assert_eq!(told, ["fired", "resolved", "resolved"]);

    // A room that is hidden alone, and one that is not watched any more.
    assert_eq!(
        world.step(NOON + 4, std::slice::from_ref(&split)),
        ["fired"]
    );
    world.knowledge.known_rooms.clear();
    world.knowledge.hidden_rooms.insert("!r:x".to_owned());
    assert!(world.step(NOON + 5, &[]).is_empty());
    world.knowledge.hidden_rooms.clear();
    assert!(world.step(NOON + 6, &[]).is_empty());
    let left = world
        .alerts
        .iter()
        .filter(|alert| !alert.key.kind.is_once());
    assert_eq!(left.count(), 0);
}

#[test]
fn quiet_hours_hold_messages_until_they_end() {
    let quiet = QuietHours::parse("22:00-07:00 Europe/Berlin").unwrap();
    let mut world = World::new(AlertRule {
        quiet: Some(quiet),
        ..rule("a")
    });
    // 22:30 in Berlin, in the night in which summer time ends: 07:00 is 9.5 hours later.
    let night: i64 = "2026-10-24T20:30:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond();
    for sight in world.sights.values_mut() {
        *sight = night - HOUR;
    }
    let stays = condition(AlertKind::Split, "stays", night);
    let short = condition(AlertKind::Split, "short", night);
    let call = condition(AlertKind::CallBegan, "call", night);
    let told = world.step(night, &[stays.clone(), short, call]);
    assert!(told.is_empty(), "{told:?}");
    let stays = [stays];
    assert!(world.step(night + HOUR, &stays).is_empty());
    let almost = night + 9 * HOUR + 29 * MINUTE;
    assert!(world.step(almost, &stays).is_empty());
    let mut told = world.step(almost + MINUTE, &stays);
    told.sort();
    assert_eq!(told, ["fired", "summary", "summary"]);
    assert!(world.step(almost + 2 * MINUTE, &stays).is_empty());
    assert_eq!(world.step(almost + 3 * MINUTE, &[]), ["resolved"]);
}

#[test]
fn the_end_of_what_was_told_before_quiet_hours_is_told_after_them() {
    let quiet = QuietHours::parse("13:00-14:00").unwrap();
    let mut world = World::new(AlertRule {
        quiet: Some(quiet),
        ..rule("a")
    });
    let split = [condition(AlertKind::Split, "f", NOON)];
    assert_eq!(world.step(NOON, &split), ["fired"]);
    assert!(world.step(NOON + 70 * MINUTE, &[]).is_empty());
    // It comes back, and is over again.
    assert!(world.step(NOON + 80 * MINUTE, &split).is_empty());
    assert!(world.step(NOON + 90 * MINUTE, &[]).is_empty());
    assert_eq!(world.step(NOON + 120 * MINUTE, &[]), ["resolved"]);
}

#[test]
fn a_clock_that_is_set_back_tells_nothing_twice() {
    let mut world = World::new(AlertRule {
        repeat_ms: Some(HOUR),
        ..rule("a")
    });
    let all = [
        condition(AlertKind::Split, "f", NOON),
        condition(AlertKind::CallBegan, "c", NOON),
    ];
    assert_eq!(world.step(NOON, &all), ["fired", "fired"]);
    for back in [MINUTE, HOUR, 30 * HOUR] {
        assert!(world.step(NOON - back, &all).is_empty(), "{back}");
    }
    assert!(world.step(NOON + MINUTE, &all).is_empty());
}

#[test]
fn a_start_is_no_end_of_what_is_wrong_with_ourselves() {
    let mut world = World::new(rule("a"));
    let blind = [condition(AlertKind::Blind, "", NOON)];
    assert_eq!(world.step(NOON, &blind), ["fired"]);
    world.knowledge.is_starting = true;
    assert!(world.step(NOON + MINUTE, &[]).is_empty());
    world.knowledge.is_starting = false;
    assert!(world.step(NOON + 2 * MINUTE, &blind).is_empty());
    assert_eq!(world.step(NOON + 3 * MINUTE, &[]), ["resolved"]);
}

#[test]
fn what_is_not_known_any_more_is_not_over() {
    let mut world = World::new(rule("a"));
    let mut down = condition(AlertKind::SfuDown, "https://sfu.x", NOON);
    down.room = None;
    assert_eq!(world.step(NOON, &[down]), ["fired"]);
    let subject = (AlertKind::SfuDown, "https://sfu.x".to_owned());
    world.knowledge.unknown_subjects.insert(subject);
    assert!(world.step(NOON + MINUTE, &[]).is_empty());
    world.knowledge.unknown_subjects.clear();
    assert_eq!(world.step(NOON + 2 * MINUTE, &[]), ["resolved"]);
}

#[test]
fn a_rule_that_is_narrowed_says_nothing_of_what_it_told() {
    let mut world = World::new(rule("a"));
    let split = [condition(AlertKind::Split, "f", NOON)];
    assert_eq!(world.step(NOON, &split), ["fired"]);
    world.rules[0].rooms = vec!["!s:x".to_owned()];
    assert!(world.step(NOON + MINUTE, &split).is_empty());
    assert!(world.alerts.is_empty());
}

#[test]
fn a_channel_may_hear_a_message_only_if_it_may_hear_all_of_it() {
    let scope = ChannelScope {
        name: "room".to_owned(),
        is_operator: false,
        rooms: vec!["!r:x".to_owned()],
    };
    let told = |kind, room_id: &str| {
        let mut condition = condition(kind, "f", NOON);
        if condition.room.is_some() {
            condition.room = Some(room(room_id));
        }

        AlertMessage {
            rule: "a".to_owned(),
            event: AlertEvent::Fired,
            condition,
            opened_ms: NOON,
            ended_ms: None,
        }
    };
    let own = told(AlertKind::Split, "!r:x");
    let other = told(AlertKind::Split, "!s:x");
    let blind = told(AlertKind::Blind, "");
    let hears =
        |alert: &AlertMessage| scope.may_hear_message(&Message::Alert(Box::new(alert.clone())));
    assert!(hears(&own) && !hears(&other) && !hears(&blind));

    let both = SummaryMessage::of_alerts(SummaryReason::Quiet, &[own, other]);
    assert!(!scope.may_hear_message(&Message::Summary(both)));
}

#[test]
fn each_channel_hears_only_of_its_rooms() {
    let mut rule = rule("a");
    rule.channels = vec!["ops".to_owned(), "room".to_owned(), "other".to_owned()];
    let mut conditions = vec![
        condition(AlertKind::Split, "in r", NOON),
        condition(AlertKind::Split, "in s", NOON),
        condition(AlertKind::DiskFull, "", NOON),
    ];
    conditions[1].room = Some(room("!s:x"));
    let scope = |name: &str, is_operator, rooms: &[&str]| ChannelScope {
        name: name.to_owned(),
        is_operator,
        rooms: rooms.iter().map(ToString::to_string).collect(),
    };
    let channels = [
        scope("ops", true, &[]),
        scope("room", false, &["!r:x"]),
        scope("other", false, &["!t:x"]),
        scope("unnamed", true, &[]),
    ];
    let world = World::new(rule.clone());
    let changes = step_alerts(&StepInputs {
        rules: &[rule.clone()],
        alerts: &[],
        conditions: &conditions,
        sights: &world.sights,
        knowledge: &world.knowledge,
        now: NOON,
    });
    let messages = address_messages(&[rule], &channels, &changes);
    let to = |name: &str| -> Vec<String> {
        let own = messages.iter().filter(|one| one.channel == name);
        own.map(|one| one.subject.clone()).collect()
    };
    assert_eq!(to("ops"), ["in r", "in s", ""]);
    assert_eq!(to("room"), ["in r"]);
    assert!(to("other").is_empty() && to("unnamed").is_empty());
    let keys: HashSet<&str> = messages.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys.len(), messages.len());
    let of_room = messages.iter().filter(|one| one.channel == "room");
    for one in of_room {
        let Message::Alert(alert) = &one.message else {
            panic!("{one:?}");
        };
        assert_eq!(alert.condition.room, Some(room("!r:x")));
    }
}

/// What may happen at one time.
#[derive(Debug, Clone)]
struct Moment {
    on_ms: i64,
    subjects: Vec<(usize, usize)>,
    is_blind: bool,
}

fn any_moments() -> impl Strategy<Value = Vec<Moment>> {
    let moment = (
        -30 * MINUTE..3 * HOUR,
        prop::collection::vec((0..AlertKind::ALL.len(), 0..3_usize), 0..6),
        prop::bool::weighted(0.2),
    );
    let moment = moment.prop_map(|(on_ms, subjects, is_blind)| Moment {
        on_ms,
        subjects,
        is_blind,
    });

    prop::collection::vec(moment, 1..25)
}

proptest! {
    #[test]
    fn order_does_not_matter_nothing_is_told_twice_and_only_what_fired_is_over(
        moments in any_moments(),
        for_minutes in 0_i64..20,
        is_quiet in any::<bool>(),
        turn in any::<bool>(),
    ) {
        let quiet = is_quiet.then(|| QuietHours::parse("14:00-17:00 Asia/Kolkata").unwrap());
        let mut world = World::new(AlertRule { for_ms: for_minutes * MINUTE, quiet, ..rule("a") });
        let channel = [ChannelScope {
            name: "ops".to_owned(),
            is_operator: true,
            rooms: Vec::new(),
        }];
        let mut now = NOON;
        let mut keys = HashSet::new();
        let mut open: HashMap<String, AlertEvent> = HashMap::new();
        for moment in &moments {
            now += moment.on_ms;
            world.knowledge.is_blind = moment.is_blind;
            let conditions: Vec<Condition> = moment
                .subjects
                .iter()
                .map(|(kind, number)| {
                    condition(AlertKind::ALL[*kind], &format!("s{number}"), NOON)
                })
                .collect();
            let mut turned = conditions.clone();
            let mut alerts = world.alerts.clone();
            if turn {
                turned.reverse();
                alerts.reverse();
            }
            let step = |conditions: &[Condition], alerts: &[Alert]| step_alerts(&StepInputs {
                rules: &world.rules,
                alerts,
                conditions,
                sights: &world.sights,
                knowledge: &world.knowledge,
                now,
            });
            let changes = step(&conditions, &world.alerts);
            prop_assert_eq!(&changes, &step(&turned, &alerts));

            for one in address_messages(&world.rules, &channel, &changes) {
                prop_assert!(keys.insert(one.key.clone()), "twice: {:?}", one);
                let Message::Alert(alert) = &one.message else {
                    continue;
                };
                if alert.event == AlertEvent::Fired {
                    prop_assert_eq!(open.insert(one.thread, AlertEvent::Fired), None);
                } else {
                    prop_assert!(open.contains_key(&one.thread), "over, never fired: {:?}", alert);
                }
                prop_assert!(
                    !moment.is_blind || alert.condition.kind.is_about_observer(),
                    "told while blind: {:?}", alert
                );
            }
            drop(world.step(now, &conditions));
        }
    }
}
