//! The plans, without time and without a server.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::act::{Act, ActKind};
use super::live::LivePlan;
use super::stay::{SimStay, StayEnd};
use super::{DAY_MS, HOUR_MS, MINUTE_MS, past};
use crate::sim::rooms::{SCENES, find_scene};

const NOW: i64 = 1_790_000_000_000;
const SEED: u64 = 1;

/// The members of each room's call, from the events alone.
#[derive(Default)]
struct Calls(BTreeMap<String, BTreeSet<String>>);

impl Calls {
    fn count_acts<'a>(acts: impl Iterator<Item = &'a Act>) -> Self {
        let mut calls = Self::default();
        for act in acts {
            calls.take(act);
        }

        calls
    }

    /// Size of the room's call before and after.
    fn take(&mut self, act: &Act) -> (usize, usize) {
        let (key, content) = match &act.what {
            ActKind::State(kind, key, content) if *kind == "org.matrix.msc3401.call.member" => {
                (key.clone(), content)
            }
            ActKind::Sticky(kind, content) if *kind != "m.room.encrypted" => {
                let key = &content["msc4354_sticky_key"];
                let key = if key.is_null() {
                    &content["sticky_key"]
                } else {
                    key
                };

                (format!("{} {key}", act.sender), content)
            }
            _ => return (0, 0),
        };

        let members = self.0.entry(act.room.clone()).or_default();
        let before = members.len();
        if SimStay::is_join(content) && content["member"]["membership"] != "leave" {
            members.insert(key);
        } else {
            members.remove(&key);
        }

        (before, members.len())
    }

    fn size(&self, key: &str) -> usize {
        self.0.get(&room(key)).map_or(0, BTreeSet::len)
    }
}

fn room(key: &str) -> String {
    find_scene(key).unwrap().room_id(SEED)
}

#[test]
fn the_same_seed_plans_the_same_past_and_another_does_not() {
    let past = past::plan_past(NOW, SEED);
    assert_eq!(past, past::plan_past(NOW, SEED));
    assert_ne!(past.acts, past::plan_past(NOW, 2).acts);
    assert!(
        (3000..20_000).contains(&past.acts.len()),
        "{}",
        past.acts.len()
    );
}

#[test]
fn four_calls_run_at_the_end_of_the_past_of_one_two_six_and_thirty() {
    for step in 0..14 {
        let now = NOW + step * 13 * HOUR_MS;
        let past = past::plan_past(now, SEED);
        let recent = past
            .acts
            .iter()
            .filter(|act| act.at_ms > now - 12 * HOUR_MS);
        let calls = Calls::count_acts(recent);
        let lasting = ["support", "lounge", "ops", "hallway"];
        assert_eq!(
            lasting.map(|key| calls.size(key)),
            [1, 2, 6, 30],
            "at {now}"
        );
        assert_eq!(past.running.len(), 1 + 2 + 5 + 30);
        let others = SCENES.iter().filter(|scene| !lasting.contains(&scene.key));
        assert!(
            others
                .map(|scene| calls.size(scene.key))
                .all(|size| size == 0),
            "at {now}"
        );
    }
}

#[test]
fn no_state_content_of_the_past_repeats_on_its_key() {
    // The homeserver would drop an unchanged event, and the stay would be lost.
    let mut current = BTreeMap::new();

    for act in past::plan_past(NOW, SEED).acts {
        if let ActKind::State(kind, key, content) = act.what {
            let old = current.insert((act.room, kind, key.clone()), content.clone());
            assert_ne!(old.as_ref(), Some(&content), "{key} at {}", act.at_ms);
        }
    }
}

#[test]
fn the_past_has_a_rhythm_and_every_manner_of_ending() {
    let acts = past::plan_past(NOW, SEED).acts;
    let mut per_weekday = [0; 7];
    for act in acts.iter().filter(|act| act.room == room("backend")) {
        let day = usize::try_from((act.at_ms / DAY_MS + 3) % 7).unwrap();
        per_weekday[day] += 1;
    }

    assert!(
        per_weekday[..5].iter().all(|count| *count > 20),
        "{per_weekday:?}"
    );
    assert!(
        per_weekday[5..].iter().all(|count| *count < 10),
        "{per_weekday:?}"
    );
    let has = |wanted: &dyn Fn(&Act) -> bool| acts.iter().filter(|act| wanted(act)).count();
    assert!(has(&|act| act.what == ActKind::Member(act.sender.clone(), "leave")) >= 1);
    assert!(
        has(&|act| matches!(&act.what, ActKind::Member(user, "leave") if *user != act.sender)) >= 1
    );
    assert!(has(&|act| format!("{:?}", act.what).contains("m.lost_connection")) >= 3);
    assert!(has(&|act| format!("{:?}", act.what).contains("rtc.decline")) >= 3);
    assert!(has(&|act| format!("{:?}", act.what).contains("memberships")) >= 20);
    assert!(has(&|act| matches!(&act.what, ActKind::Sticky("m.room.encrypted", _))) >= 10);
    assert!(has(&|act| matches!(act.what, ActKind::Redaction)) == 1);
}

#[test]
fn in_each_minute_a_call_appears_and_one_ends() {
    let past = past::plan_past(NOW, SEED);
    let joins: Vec<Act> = past.running.iter().map(SimStay::join).collect();
    let mut calls = Calls::count_acts(joins.iter());
    let mut live = LivePlan::new(past.running, NOW, SEED);

    for minute in 0..180 {
        let from = NOW + minute * MINUTE_MS;
        let (mut appeared, mut ended) = (Vec::new(), Vec::new());
        for act in live.next_minute() {
            assert!((from..from + MINUTE_MS).contains(&act.at_ms));
            match calls.take(&act) {
                (0, 1) => appeared.push(act.at_ms - from),
                (1, 0) => ended.push(act.at_ms - from),
                _ => {}
            }
        }

        assert!(
            appeared.iter().any(|at| (15_000..=20_000).contains(at)),
            "{minute}: {appeared:?}"
        );
        assert!(
            ended.iter().any(|at| (30_000..=40_000).contains(at)),
            "{minute}: {ended:?}"
        );
        assert!((26..=33).contains(&calls.size("hallway")), "{minute}");
    }
}

#[test]
fn who_stays_renews_every_hour() {
    let past = past::plan_past(NOW, SEED);
    let oldest = past
        .running
        .iter()
        .min_by_key(|stay| stay.from_ms)
        .unwrap()
        .clone();
    let renewed = |acts: &[Act], at: i64| acts.iter().any(|act| act.at_ms == at);
    let mut live = LivePlan::new(vec![oldest.clone()], NOW, SEED);
    let acts: Vec<Act> = (0..60).flat_map(|_| live.next_minute()).collect();
    let due = oldest.renewal(2).at_ms;
    let left = acts.iter().any(|act| {
        act.at_ms <= due && act == &oldest.leave(act.at_ms, StayEnd::Leave, "").unwrap()
    });
    assert!(left || renewed(&acts, due));
    assert!(renewed(&past.acts, oldest.renewal(1).at_ms));
}

#[test]
fn rooms_have_names_of_their_own() {
    let ids: HashSet<String> = SCENES.iter().map(|scene| scene.room_id(SEED)).collect();
    assert_eq!(ids.len(), SCENES.len());
    let odd = |key: &str| find_scene(key).unwrap().name.unwrap();
    assert!(odd("repair").len() > 150 && odd("arabic").starts_with('غ'));
}

#[test]
fn nobody_joins_a_call_of_a_room_that_they_have_left() {
    let mut outside = HashSet::new();
    for (seed, act) in (1..9).flat_map(|seed| {
        past::plan_past(NOW, seed)
            .acts
            .into_iter()
            .map(move |act| (seed, act))
    }) {
        match &act.what {
            ActKind::Member(user, "leave") => assert!(outside.insert((act.room, user.clone()))),
            ActKind::Member(user, _) => {
                assert!(outside.remove(&(act.room, user.clone())) || user.contains("mallory"));
            }
            _ => assert!(
                !outside.contains(&(act.room, act.sender.clone())),
                "seed {seed} at {}",
                act.at_ms
            ),
        }
    }

    assert!(outside.is_empty());
}
