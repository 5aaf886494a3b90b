//! Five past weeks: the calls of the demo before it starts, planned from a time and a seed.

use serde_json::json;

use super::act::{Act, ActKind};
use super::stay::{SimStay, StayEnd, StayFormat};
use super::{DAY_MS, MINUTE_MS, hostile};
use crate::sim::dice::Dice;
use crate::sim::people::SFUS;
use crate::sim::rooms::{SCENES, Scene, find_scene};

/// Number of days with calls.
pub const DAYS: i64 = 35;

/// Recurring calls on certain days of the week (0 is Monday), at a minute of the day (UTC).
struct CallPattern {
    room: &'static str,
    days: &'static [i64],
    minute: i64,
    /// Shortest and longest, in minutes.
    length: (i64, i64),
    /// The fewest and most people.
    people: (i64, i64),
}

/// A recurring call: room, days (0 is Monday), minute of the day (UTC), then the shortest and
/// longest length in minutes and the fewest and most people, all inclusive.
const fn new_pattern(
    room: &'static str,
    days: &'static [i64],
    minute: i64,
    length: (i64, i64),
    people: (i64, i64),
) -> CallPattern {
    CallPattern {
        room,
        days,
        minute,
        length,
        people,
    }
}

const WEEKDAYS: &[i64] = &[0, 1, 2, 3, 4];

static PATTERNS: [CallPattern; 11] = [
    new_pattern("backend", WEEKDAYS, 495, (12, 22), (5, 9)),
    new_pattern("ops", &[1, 3], 540, (35, 55), (4, 7)),
    new_pattern("repair", &[0], 780, (50, 80), (5, 10)),
    new_pattern("arabic", &[6, 1, 3], 990, (30, 70), (4, 9)),
    new_pattern("board", &[2], 960, (60, 90), (5, 8)),
    new_pattern("townhall", &[3], 900, (55, 75), (10, 18)),
    new_pattern("film", &[5], 1110, (100, 130), (5, 10)),
    new_pattern("mods", &[1, 4], 1020, (20, 40), (3, 6)),
    new_pattern("community", &[2], 1080, (80, 105), (22, 39)),
    new_pattern("hallway", &[4], 840, (30, 50), (10, 18)),
    new_pattern("lab", &[3], 720, (5, 10), (2, 3)),
];

/// The planned past.
#[derive(Debug, Clone, PartialEq)]
pub struct PastPlan {
    /// Everything that was written, in order of time.
    pub acts: Vec<Act>,
    /// Stays that are still running.
    pub running: Vec<SimStay>,
}

/// Plans the past of [`DAYS`] days and today up to `now_ms`, ms since the Unix epoch, inclusive.
/// The same time and seed make the same plan.
#[must_use]
pub fn plan_past(now_ms: i64, seed: u64) -> PastPlan {
    let mut writer = PastWriter {
        now_ms,
        seed,
        dice: Dice::for_part(seed, "past"),
        past: PastPlan {
            acts: Vec::new(),
            running: Vec::new(),
        },
        names: 0,
    };

    writer.plan_all();
    let mut past = writer.past;
    past.acts.retain(|act| act.at_ms <= now_ms);
    past.acts.sort_by_key(|act| act.at_ms);

    past
}

/// The day of the week of a day since the Unix epoch; 0 is Monday.
fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7)
}

/// Writes the past down.
pub(super) struct PastWriter {
    pub now_ms: i64,
    pub seed: u64,
    pub dice: Dice,
    pub past: PastPlan,
    /// How many names were given to acts so far.
    names: u64,
}

impl PastWriter {
    /// Plans everything: the recurring calls and the drop-ins of each day, the incidents, the calls
    /// that still run, and the hostile events.
    fn plan_all(&mut self) {
        let today = self.now_ms.div_euclid(DAY_MS);
        for day in today - DAYS..=today {
            for pattern in &PATTERNS {
                if pattern.days.contains(&weekday(day)) {
                    self.plan_recurring_call(pattern, day);
                }
            }

            self.plan_drop_ins(day);
        }

        self.open_slot();
        self.incidents();
        self.present();
        let lab = self.room("lab");
        self.past
            .acts
            .extend(hostile::hostile_acts(&lab, self.now_ms));
    }

    /// The room id for this short name.
    pub(super) fn room(&self, key: &str) -> String {
        find_scene(key)
            .map(|scene| scene.room_id(self.seed))
            .unwrap_or_default()
    }

    /// Plans one call of the pattern on this day, at about its time.
    fn plan_recurring_call(&mut self, pattern: &CallPattern, day: i64) {
        let jitter = self.dice.range(-2 * MINUTE_MS, 3 * MINUTE_MS);
        let start = day * DAY_MS + pattern.minute * MINUTE_MS + jitter;
        let length = self.dice.range(pattern.length.0, pattern.length.1 + 1) * MINUTE_MS;
        let people = self.dice.range(pattern.people.0, pattern.people.1 + 1);
        self.plan_call(pattern.room, start, length, people);
    }

    /// Plans calls of this day, in days since the Unix epoch, at random times: the desk, the
    /// lounge, two friends.
    fn plan_drop_ins(&mut self, day: i64) {
        // Each line: the hours of the day, how many calls, their minutes, their people.
        let working = weekday(day) < 5;
        if working {
            let calls = self.dice.range(5, 10);
            self.plan_spread_calls("support", day, (8, 17), calls, (3, 18), (1, 2));
        }

        let (from, calls) = if working { (11, 5) } else { (9, 7) };
        self.plan_spread_calls("lounge", day, (from, 23), calls, (15, 90), (2, 6));

        if self.dice.chance(45) {
            let calls = self.dice.range(1, 3);
            self.plan_spread_calls("dm", day, (17, 22), calls, (4, 40), (1, 3));
        }
    }

    /// Plans up to `calls` calls in a room, one after the other between two hours (UTC) of a day,
    /// which is in days since the Unix epoch. `length` in minutes and `people` are ranges with both
    /// ends. `calls` is at least 1.
    fn plan_spread_calls(
        &mut self,
        room: &str,
        day: i64,
        hours: (i64, i64),
        calls: i64,
        length: (i64, i64),
        people: (i64, i64),
    ) {
        let close = day * DAY_MS + hours.1 * 60 * MINUTE_MS;
        let mut free = day * DAY_MS + hours.0 * 60 * MINUTE_MS;
        let gap = (hours.1 - hours.0) * 60 * MINUTE_MS / calls;

        for _ in 0..calls {
            let start = free + self.dice.range(MINUTE_MS, gap.max(2 * MINUTE_MS));
            let people = self.dice.range(people.0, people.1 + 1);
            // Nobody waits for long.
            let longest = if people == 1 { 3 } else { length.1 };
            let length = self.dice.range(length.0.min(longest), longest + 1) * MINUTE_MS;
            if start + length > close {
                return;
            }

            self.plan_call(room, start, length, people);
            free = start + length + 3 * MINUTE_MS;
        }
    }

    /// The time from which on a room is kept free for the call that runs in it now, ms.
    fn kept_free_from(&self, key: &str) -> i64 {
        let minutes = match key {
            "ops" => 12 * 60,
            "hallway" => 110,
            "lounge" => 60,
            "board" => 70,
            _ => 20,
        };

        self.now_ms - minutes * MINUTE_MS
    }

    /// Plans one call of `people` people in the room of the short name `key`, from `start` for
    /// `length`, both in ms, in the format that the room's clients had then. It is left out if it
    /// would disturb the call that runs now.
    fn plan_call(&mut self, key: &str, start: i64, length: i64, people: i64) {
        let Some(scene) = find_scene(key) else { return };
        let end = start + length;
        if end + 2 * MINUTE_MS > self.kept_free_from(key) {
            return;
        }

        let form = format_days_ago(key, (self.now_ms - start) / DAY_MS);
        let room = scene.room_id(self.seed);
        let count = usize::try_from(people).unwrap_or(1);
        let persons = self.dice.some_of(&scene.members(self.seed), count);
        let audio = matches!(key, "support" | "dm") && self.dice.chance(70);
        for (i, person) in persons.into_iter().enumerate() {
            let mut stay = SimStay::new(&room, person, form, start);
            stay.end = Some((end, StayEnd::Leave));
            if audio {
                stay.intent = "audio";
            }

            // The first member is there all the time, since nobody else need be.
            if i > 0 {
                self.vary(&mut stay, start, end);
            } else if matches!(key, "support" | "dm" | "community") {
                self.ring(scene, &stay, people == 1);
                continue;
            }

            self.tell(&stay);
        }

        if !scene.encrypted && self.dice.chance(60) {
            let what = ActKind::Event("m.room.message", json!({"msgtype": "m.text", "body": "👋"}));
            let sender = self.maker(scene);
            self.past
                .acts
                .push(Act::new(start + length / 2, &room, &sender, what));
        }
    }

    /// Varies a stay of a call that goes from `start` to `end`, both in ms, at least three minutes
    /// later: late, early, back again, a second device, another SFU, a crash. Other stays of the
    /// same person are added to the past; the caller adds this one.
    fn vary(&mut self, stay: &mut SimStay, start: i64, end: i64) {
        let third = (end - start) / 3;
        stay.from_ms = start + self.dice.range(4000, third.min(6 * MINUTE_MS));
        let mut leave = end - self.dice.range(500, 40_000);
        if self.dice.chance(15) {
            leave = self.dice.range(stay.from_ms + MINUTE_MS / 2, end - 1000);
        }

        stay.end = Some((leave.max(stay.from_ms + 5000), StayEnd::Leave));
        let is_flat = matches!(
            stay.form,
            StayFormat::Flat | StayFormat::Plain | StayFormat::Owned
        );
        let middle = stay.from_ms.midpoint(leave);

        match self.dice.range(0, 100) {
            0..4 if is_flat && leave - stay.from_ms > 5 * MINUTE_MS => {
                let mut first = stay.clone();
                first.end = Some((middle, StayEnd::Leave));
                self.tell(&first);
                stay.from_ms = middle + self.dice.range(8000, 90_000);
            }
            4..7 if is_flat => {
                let mut second = stay.clone();
                second.device = stay.person.device(1);
                second.from_ms = middle;
                self.tell(&second);
            }
            7..10 if is_flat => stay.moved = Some((middle, SFUS[0])),
            10..14 => stay.end = Some((leave, StayEnd::Lost)),
            14..16 => stay.end = Some((leave, StayEnd::LostAndSaid)),
            _ => {}
        }
    }

    /// Who made the room.
    fn maker(&self, scene: &Scene) -> String {
        let members = scene.members(self.seed);
        members
            .first()
            .map(|person| person.user_id())
            .unwrap_or_default()
    }

    /// Adds the events of a stay to the past. A stay without an end still runs.
    pub(super) fn tell(&mut self, stay: &SimStay) {
        let scene = SCENES
            .iter()
            .find(|scene| scene.room_id(self.seed) == stay.room);
        let maker = scene.map(|scene| self.maker(scene)).unwrap_or_default();
        self.past.acts.extend(stay.acts(self.now_ms, &maker));

        if stay.end.is_none() {
            self.past.running.push(stay.clone());
        }
    }

    /// Adds the stay of the first member of a call, who rings; if nobody else comes (`lonely`),
    /// somebody may decline.
    pub(super) fn ring(&mut self, scene: &Scene, stay: &SimStay, lonely: bool) {
        let mut acts = stay.acts(self.now_ms, "");
        let (join, notice) = (self.names, self.names + 1);
        self.names += 2;
        let user = stay.person.user_id();
        let at_ms = stay.from_ms + 300;
        if let Some(first) = acts.first_mut() {
            first.name = Some(join);
        }

        let loud = scene.key != "community";
        let content = json!({
            "m.mentions": {"user_ids": [], "room": true}, "sender_ts": at_ms, "lifetime": 30_000,
            "notification_type": if loud { "ring" } else { "notification" },
            "m.call.intent": stay.intent,
        });
        let what = ActKind::Event("org.matrix.msc4075.rtc.notification", content);
        let mut ring = Act::new(at_ms, &stay.room, &user, what);
        (ring.name, ring.about) = (Some(notice), Some(join));
        acts.push(ring);
        let others = scene.members(self.seed);
        let other = others.iter().find(|person| **person != stay.person);
        if let (true, true, Some(other)) = (lonely, self.dice.chance(40), other) {
            let what = ActKind::Event("org.matrix.msc4310.rtc.decline", json!({}));
            let at_ms = at_ms + self.dice.range(3000, 20_000);
            let mut decline = Act::new(at_ms, &stay.room, &other.user_id(), what);
            decline.about = Some(notice);
            acts.push(decline);
        }

        self.past.acts.extend(acts);

        if stay.end.is_none() {
            self.past.running.push(stay.clone());
        }
    }

    /// Opens the slot in the moderators' room, whose clients are of the newest kind and need one.
    fn open_slot(&mut self) {
        let Some(scene) = find_scene("mods") else {
            return;
        };

        let content = json!({"status": "open", "application": {"type": "m.call"}});
        let what = ActKind::State(
            "org.matrix.msc4143.rtc.slot",
            super::stay::SLOT.to_owned(),
            content,
        );
        let at_ms = self.now_ms - 22 * DAY_MS;
        let (room, maker) = (scene.room_id(self.seed), self.maker(scene));
        self.past.acts.push(Act::new(at_ms, &room, &maker, what));
    }
}

/// The format that a room's clients used this many days ago: the history of `MatrixRTC` in five
/// weeks.
fn format_days_ago(key: &str, days: i64) -> StayFormat {
    match (key, days) {
        ("board", ..14) => StayFormat::Cipher,
        ("film", ..21) => StayFormat::Sticky,
        ("mods", ..21) => StayFormat::Slot,
        ("dm", 29..) => StayFormat::Mesh,
        (_, 29..) => StayFormat::Array,
        ("repair", 21..) => StayFormat::Nested,
        ("ops", 8..) => StayFormat::Owned,
        (_, 21..) => StayFormat::Plain,
        _ => StayFormat::Flat,
    }
}
