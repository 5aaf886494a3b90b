//! The plans, without time and without a server.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::act::{Act, ActKind};
use super::live::LivePlan;
use super::special::members_of_on_call;
use super::stay::{SimStay, StayEnd};
use super::{DAY_MS, HOUR_MS, MINUTE_MS, WorldSettings, past};
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
    let past = past::plan_past(NOW, &WorldSettings::for_tests(SEED));
    assert_eq!(past, past::plan_past(NOW, &WorldSettings::for_tests(SEED)));
    assert_ne!(
        past.acts,
        past::plan_past(NOW, &WorldSettings::for_tests(2)).acts
    );
    assert!(
        (3000..20_000).contains(&past.acts.len()),
        "{}",
        past.acts.len()
    );
}

#[test]
fn the_demo_has_two_years_that_grow_and_nothing_hostile() {
    let past = past::plan_past(NOW, &WorldSettings::for_demo(SEED));
    let count = past.acts.len();
    assert!((15_000..32_000).contains(&count), "{count}");

    let between = |from: i64, to: i64| {
        let days = from * DAY_MS..to * DAY_MS;
        let acts = past.acts.iter();
        acts.filter(|act| days.contains(&(NOW - act.at_ms))).count()
    };
    for length in [7, 30, 90, 365] {
        let (this, before) = (between(0, length), between(length, 2 * length));
        assert!(before > 0 && this > before / 2, "{length}: {this} {before}");
    }

    assert!(between(0, 365) > between(365, 730));
    assert!(!past.acts.iter().any(|act| act.sender.contains("mallory")));
    let settings = WorldSettings::for_demo(SEED);
    for scene in &SCENES {
        let new_room = scene.new_room(SEED, settings.is_hostile, NOW);
        for name in new_room.name.iter().chain(&new_room.alias) {
            let is_plain = |letter: char| letter.is_ascii() || "é☕".contains(letter);
            assert!(name.len() < 40 && name.chars().all(is_plain), "{name}");
            assert!(!name.contains('<'), "{name}");
        }
    }
}

#[test]
fn every_world_has_a_call_with_a_ghost_that_rang_and_an_old_client() {
    for seed in 0..100 {
        let members = find_scene("ops").unwrap().members(seed);
        let (gone, others) = members_of_on_call(&members).unwrap();
        assert!(others.iter().all(|one| one.sfu() != gone.sfu()), "{seed}");
    }

    let past = past::plan_past(NOW, &WorldSettings::for_demo(SEED));
    let recent = past.acts.iter().filter(|act| act.at_ms > NOW - 2 * HOUR_MS);
    let recent: Vec<&Act> = recent.filter(|act| act.room == room("ops")).collect();
    let rings = |act: &&&Act| matches!(act.what, ActKind::Event(kind, _) if kind.contains("rtc.notification"));
    let ring = recent.iter().find(rings).expect("somebody rang");
    let by_caller = recent.iter().filter(|act| act.sender == ring.sender);
    assert_eq!(by_caller.count(), 2, "a join and a ring, and no leave");
}

#[test]
fn calls_of_one_to_thirty_people_run_at_the_end_of_the_past() {
    let lasting = [
        ("support", 1),
        ("lounge", 2),
        ("mods", 2),
        ("arabic", 3),
        ("ops", 6),
        ("hallway", 30),
    ];
    for step in 0..14 {
        let now = NOW + step * 13 * HOUR_MS;
        let past = past::plan_past(now, &WorldSettings::for_tests(SEED));
        let recent = past
            .acts
            .iter()
            .filter(|act| act.at_ms > now - 12 * HOUR_MS);
        let calls = Calls::count_acts(recent);
        for scene in &SCENES {
            let expected = lasting.iter().find(|(key, _)| *key == scene.key);
            let expected = expected.map_or(0, |(_, size)| *size);
            assert_eq!(calls.size(scene.key), expected, "{} at {now}", scene.key);
        }

        // The ghost of the call `ops` does not go on.
        assert_eq!(past.running.len(), 1 + 2 + 2 + 3 + 5 + 30);
    }
}

#[test]
fn no_state_content_of_the_past_repeats_on_its_key() {
    // The homeserver would drop an unchanged event, and the stay would be lost.
    let mut current = BTreeMap::new();

    for act in past::plan_past(NOW, &WorldSettings::for_tests(SEED)).acts {
        if let ActKind::State(kind, key, content) = act.what {
            let old = current.insert((act.room, kind, key.clone()), content.clone());
            assert_ne!(old.as_ref(), Some(&content), "{key} at {}", act.at_ms);
        }
    }
}

#[test]
fn the_past_has_a_rhythm_and_every_manner_of_ending() {
    let acts = past::plan_past(NOW, &WorldSettings::for_tests(SEED)).acts;
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
fn calls_appear_and_end_all_the_time_and_none_goes_on_for_ever() {
    let past = past::plan_past(NOW, &WorldSettings::for_demo(SEED));
    let joins: Vec<Act> = past.running.iter().map(SimStay::join).collect();
    let mut calls = Calls::count_acts(joins.iter());
    let mut live = LivePlan::new(past.running, NOW, SEED);
    let (mut appeared, mut ended) = (vec![NOW], vec![NOW]);
    let mut begun: BTreeMap<String, i64> = BTreeMap::new();
    let mut longest = 0;

    for minute in 0..600 {
        let from = NOW + minute * MINUTE_MS;
        for act in live.next_minute() {
            assert!((from..from + MINUTE_MS).contains(&act.at_ms));
            match calls.take(&act) {
                (0, 1) => {
                    appeared.push(act.at_ms);
                    begun.insert(act.room.clone(), act.at_ms);
                }
                (1, 0) => {
                    ended.push(act.at_ms);
                    let since = begun.remove(&act.room).unwrap_or(NOW);
                    longest = longest.max(act.at_ms - since);
                }
                _ => {}
            }
        }

        assert!(calls.size("hallway") <= 33, "{minute}");
    }

    let rarest = |times: &[i64]| times.windows(2).map(|two| two[1] - two[0]).max();
    assert!(appeared[1] - NOW <= 20_000, "the first one soon");
    assert!(rarest(&appeared) < Some(5 * MINUTE_MS));
    assert!(rarest(&ended) < Some(9 * MINUTE_MS));
    assert!(longest < 3 * HOUR_MS, "{longest}");
    assert!(
        begun
            .values()
            .all(|since| NOW + 600 * MINUTE_MS - since < 3 * HOUR_MS)
    );
}

#[test]
fn who_stays_renews_every_hour() {
    let past = past::plan_past(NOW, &WorldSettings::for_tests(SEED));
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
    let odd = |key: &str| find_scene(key).unwrap().odd.as_ref().unwrap().name;
    assert!(odd("repair").len() > 150 && odd("arabic").starts_with('غ'));
}

#[test]
fn nobody_joins_a_call_of_a_room_that_they_have_left() {
    let mut outside = HashSet::new();
    for (seed, act) in (1..5).flat_map(|seed| {
        past::plan_past(NOW, &WorldSettings::for_demo(seed))
            .acts
            .into_iter()
            .map(move |act| (seed, act))
    }) {
        match &act.what {
            ActKind::Member(user, "leave") => assert!(outside.insert((act.room, user.clone()))),
            ActKind::Member(user, _) => {
                assert!(outside.remove(&(act.room, user.clone())));
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
