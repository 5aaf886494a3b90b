//! The past: the calls of the demo before it starts, planned from a time and a seed.

use std::collections::HashMap;

use serde_json::json;

use super::act::{Act, ActKind};
use super::rhythm::{self, CallPattern, PATTERNS};
use super::stay::{SimStay, StayEnd, StayFormat};
use super::{DAY_MS, MINUTE_MS, WorldSettings, hostile};
use crate::sim::dice::Dice;
use crate::sim::people::{Person, SFUS};
use crate::sim::rooms::{SCENES, Scene, find_scene};

/// The last days, on which everything takes place that could.
pub const RECENT_DAYS: i64 = 35;

/// The planned past.
#[derive(Debug, Clone, PartialEq)]
pub struct PastPlan {
    /// Everything that was written, in order of time.
    pub acts: Vec<Act>,
    /// Stays that are still running.
    pub running: Vec<SimStay>,
}

/// A room as it is in one world: its id, and its members, the creator first.
struct Place {
    room_id: String,
    members: Vec<&'static Person>,
}

/// Plans the past of so many days and today up to `now_ms`, ms since the Unix epoch, inclusive.
/// The same time and settings make the same plan.
#[must_use]
pub fn plan_past(now_ms: i64, settings: &WorldSettings) -> PastPlan {
    let seed = settings.seed;
    let places = SCENES.iter().map(|scene| {
        let place = Place {
            room_id: scene.room_id(seed),
            members: scene.members(seed),
        };

        (scene.key, place)
    });

    let mut writer = PastWriter {
        now_ms,
        days: settings.days,
        places: places.collect(),
        dice: Dice::for_part(seed, "years"),
        past: PastPlan {
            acts: Vec::new(),
            running: Vec::new(),
        },
        names: 0,
    };

    writer.plan_calendar(seed);
    if settings.is_hostile {
        let lab = writer.room("lab");
        let acts = hostile::hostile_acts(&lab, now_ms);
        writer.past.acts.extend(acts);
    }

    let mut past = writer.past;
    past.acts.retain(|act| act.at_ms <= now_ms);
    past.acts.sort_by_key(|act| act.at_ms);

    past
}

/// Writes the past down.
pub(super) struct PastWriter {
    pub now_ms: i64,
    /// How many days of calls there are before today.
    days: i64,
    /// The rooms by their short names.
    places: HashMap<&'static str, Place>,
    pub dice: Dice,
    pub past: PastPlan,
    /// How many names were given to acts so far.
    names: u64,
}

impl PastWriter {
    /// Plans everything: the recurring calls and the drop-ins of each day, the incidents, and the
    /// calls that still run.
    fn plan_calendar(&mut self, seed: u64) {
        let today = self.now_ms.div_euclid(DAY_MS);
        for day in today - self.days..=today {
            // The last weeks have dice of their own, which what came before does not move.
            if day == today - RECENT_DAYS {
                self.dice = Dice::for_part(seed, "past");
            }

            self.plan_day(day, today - day);
        }

        self.open_slot();
        self.incidents();
        self.present();
    }

    /// Plans the calls of a day, in days since the Unix epoch, which was `days_ago`.
    fn plan_day(&mut self, day: i64, days_ago: i64) {
        let is_holiday = rhythm::is_holiday(day);
        let share = rhythm::share_of_calls(day, days_ago);
        for pattern in &PATTERNS {
            let is_due = pattern.days.contains(&rhythm::weekday(day));
            let was_there = days_ago <= pattern.since_days_ago;
            if is_due && was_there && !is_holiday && self.takes_place(share) {
                self.plan_recurring_call(pattern, day, share);
            }
        }

        if days_ago > RECENT_DAYS && self.dice.chance(5) {
            self.trouble(days_ago);
        }

        // Who has a day off meets by chance, and seldom.
        let share = if is_holiday { share / 3 } else { share };
        self.plan_drop_ins(day, share, rhythm::weekday(day) < 5 && !is_holiday);
    }

    /// Does a meeting take place, in a time of which `share` percent of today's calls were made?
    /// Of meetings, fewer fail than of calls by chance.
    fn takes_place(&mut self, share: i64) -> bool {
        share >= 100 || self.dice.chance(50 + share / 2)
    }

    /// The room id for this short name.
    pub(super) fn room(&self, key: &str) -> String {
        let place = self.places.get(key);
        place.map(|place| place.room_id.clone()).unwrap_or_default()
    }

    /// The members of the room of this short name, the creator first.
    pub(super) fn members(&self, key: &str) -> &[&'static Person] {
        let place = self.places.get(key);
        place
            .map(|place| place.members.as_slice())
            .unwrap_or_default()
    }

    /// Plans one call of the pattern on this day, at about its time. `share` is how many people
    /// there were then, in percent of today's.
    fn plan_recurring_call(&mut self, pattern: &CallPattern, day: i64, share: i64) {
        let jitter = self.dice.range(-2 * MINUTE_MS, 3 * MINUTE_MS);
        let start = day * DAY_MS + pattern.minute * MINUTE_MS + jitter;
        let length = self.dice.range(pattern.length.0, pattern.length.1 + 1) * MINUTE_MS;
        let people = self.dice.range(pattern.people.0, pattern.people.1 + 1);
        let people = (people * share / 100).max(pattern.people.0.min(3));
        self.plan_call(pattern.room, start, length, people);
    }

    /// Plans calls of this day, in days since the Unix epoch, at random times: the desk, the
    /// lounge, two friends. `share` is how many calls there were then, in percent of today's;
    /// `working` says whether the desk is open.
    fn plan_drop_ins(&mut self, day: i64, share: i64, working: bool) {
        // Each line: the hours of the day, how many calls, their minutes, their people.
        let count = |calls: i64| (calls * share / 100).max(1);
        if working {
            let calls = count(self.dice.range(5, 10));
            self.plan_spread_calls("support", day, (8, 17), calls, (3, 18), (1, 2));
        }

        let (from, calls) = if working { (11, 5) } else { (9, 7) };
        self.plan_spread_calls("lounge", day, (from, 23), count(calls), (15, 90), (2, 6));

        if self.dice.chance(45 * share / 100) {
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

        let days_ago = (self.now_ms - start) / DAY_MS;
        let form = format_days_ago(key, days_ago * RECENT_DAYS / self.days);
        let room = self.room(key);
        let count = usize::try_from(people).unwrap_or(1);
        let members = self.members(key).to_vec();
        let persons = self.dice.some_of(&members, count);
        let rings = matches!(key, "support" | "dm" | "community");
        let audio = matches!(key, "support" | "dm") && self.dice.chance(70);
        for (i, person) in persons.into_iter().enumerate() {
            let mut stay = SimStay::new(&room, person, form, start);
            stay.end = Some((end, StayEnd::Leave));
            if audio {
                stay.intent = "audio";
            }

            // The first member is there all the time, since nobody else need be.
            if i > 0 {
                // Who is rung comes soon, if at all.
                let late = if i == 1 && rings {
                    25_000
                } else {
                    6 * MINUTE_MS
                };
                self.vary(&mut stay, start, end, late);
            } else if rings {
                self.ring(scene, &stay, people == 1);
                continue;
            }

            self.tell(&stay);
        }

        if !scene.encrypted && self.dice.chance(60) {
            let what = ActKind::Event("m.room.message", json!({"msgtype": "m.text", "body": "👋"}));
            let sender = self.maker(key);
            self.past
                .acts
                .push(Act::new(start + length / 2, &room, &sender, what));
        }
    }

    /// Varies a stay of a call that goes from `start` to `end`, both in ms, at least three minutes
    /// later: up to `late` ms after the start, early, back again, a second device, another SFU, a crash. Other stays of the
    /// same person are added to the past; the caller adds this one.
    fn vary(&mut self, stay: &mut SimStay, start: i64, end: i64, late: i64) {
        let third = (end - start) / 3;
        stay.from_ms = start + self.dice.range(4000, third.min(late));
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

    /// Who made the room of this short name.
    fn maker(&self, key: &str) -> String {
        let maker = self.members(key).first();
        maker.map(|person| person.user_id()).unwrap_or_default()
    }

    /// Adds the events of a stay to the past. A stay without an end still runs.
    pub(super) fn tell(&mut self, stay: &SimStay) {
        let mut places = self.places.iter();
        let key = places.find(|(_, place)| place.room_id == stay.room);
        let maker = key.map(|(key, _)| self.maker(key)).unwrap_or_default();
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
        let others = self.members(scene.key);
        let other = others.iter().copied().find(|person| *person != stay.person);
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
        let content = json!({"status": "open", "application": {"type": "m.call"}});
        let what = ActKind::State(
            "org.matrix.msc4143.rtc.slot",
            super::stay::SLOT.to_owned(),
            content,
        );
        // Just before its clients changed to the newest format.
        let at_ms = self.now_ms - 22 * self.days / RECENT_DAYS * DAY_MS;
        let (room, maker) = (self.room("mods"), self.maker("mods"));
        self.past.acts.push(Act::new(at_ms, &room, &maker, what));
    }
}

/// The format that a room's clients used this many days ago, in a past of five weeks. A longer one
/// is scaled to it: the history of `MatrixRTC` in any time.
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
