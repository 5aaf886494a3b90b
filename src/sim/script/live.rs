//! The events from now on, minute by minute, planned from the running calls and a seed.
//!
//! In every minute one call begins (after 15 to 20 s) and one ends (after 30 to 40 s). In the long
//! calls, people join and leave every few seconds. Members who stay renew hourly.

use serde_json::json;

use super::act::{Act, What};
use super::stay::{End, Form, Stay};
use super::{HOUR_MS, MINUTE_MS};
use crate::sim::dice::Dice;
use crate::sim::people::Person;
use crate::sim::rooms::scene_of;

/// Rooms that have a short call in turn, and the format of their clients.
const TURNS: [(&str, Form); 7] = [
    ("backend", Form::Flat),
    ("film", Form::Sticky),
    ("arabic", Form::Flat),
    ("support", Form::Flat),
    ("mods", Form::Slot),
    ("repair", Form::Flat),
    ("dm", Form::Flat),
];

/// Rooms with a permanent call, with the minimum and maximum number of people.
const LASTING: [(&str, usize, usize); 3] = [("lounge", 2, 5), ("ops", 4, 8), ("hallway", 26, 33)];

/// An endless plan: one minute of acts after the other.
#[derive(Debug, Clone)]
pub struct Live {
    seed: u64,
    dice: Dice,
    start_ms: i64,
    minute: i64,
    /// Stays in the permanent calls.
    lasting: Vec<Stay>,
    /// Stays of the call that ends in the next minute.
    short: Vec<Stay>,
}

impl Live {
    /// Begins at `start_ms` with the running stays.
    #[must_use]
    pub fn new(running: Vec<Stay>, start_ms: i64, seed: u64) -> Self {
        let rooms: Vec<String> = LASTING
            .iter()
            .filter_map(|(key, ..)| room(key, seed))
            .collect();
        let (lasting, short) = running
            .into_iter()
            .partition(|stay| rooms.contains(&stay.room));

        Self {
            seed,
            dice: Dice::for_part(seed, "live"),
            start_ms,
            minute: 0,
            lasting,
            short,
        }
    }

    /// The acts of the next minute, in order of time.
    pub fn next_minute(&mut self) -> Vec<Act> {
        let from = self.start_ms + self.minute * MINUTE_MS;
        let mut acts = self.renewals(from);
        self.finish(from, &mut acts);
        self.appear(from, &mut acts);
        self.come_and_go(from, &mut acts);
        self.minute += 1;
        acts.sort_by_key(|act| act.at_ms);

        acts
    }

    fn renewals(&self, from: i64) -> Vec<Act> {
        let mut acts = Vec::new();
        for stay in &self.lasting {
            let n = (from - stay.from_ms + 5000).div_euclid(HOUR_MS) + 1;
            let renewal = stay.renewal(n);
            if (from..from + MINUTE_MS).contains(&renewal.at_ms) {
                acts.push(renewal);
            }
        }

        acts
    }

    /// The last of the short call leaves 34 to 39 s after the minute began, the others just before.
    fn finish(&mut self, from: i64, acts: &mut Vec<Act>) {
        let last = from + self.dice.range(34_000, 39_000);
        for stay in std::mem::take(&mut self.short) {
            let at_ms = last - self.dice.range(0, 3500);
            acts.extend(stay.leave(at_ms, End::Leave, ""));
        }
    }

    fn appear(&mut self, from: i64, acts: &mut Vec<Act>) {
        let turn = usize::try_from(self.minute).unwrap_or(0) % TURNS.len();
        let (key, form) = TURNS[turn];
        let Some(scene) = scene_of(key) else { return };
        let room = scene.room_id(self.seed);
        let begin = from + self.dice.range(15_000, 19_000);
        let count = usize::try_from(self.dice.range(1, 5)).unwrap_or(1);
        let people = self.dice.some_of(&scene.members(self.seed), count);

        for (i, person) in people.into_iter().enumerate() {
            let late = if i == 0 {
                0
            } else {
                self.dice.range(1500, 10_000)
            };

            let mut stay = Stay::new(&room, person, form, begin + late);
            if matches!(key, "support" | "dm") {
                stay.intent = "audio";
            }

            acts.push(stay.join());
            if i == 0 && matches!(key, "support" | "dm") {
                acts.push(ring(&stay));
            }

            self.short.push(stay);
        }
    }

    fn come_and_go(&mut self, from: i64, acts: &mut Vec<Act>) {
        let mut at_ms = from + self.dice.range(1000, 4000);
        while at_ms < from + MINUTE_MS {
            // Renewals of this minute are already planned: a member who renews does not leave.
            if self.dice.chance(50) {
                self.come(at_ms, acts);
            } else {
                self.go(at_ms, from, acts);
            }

            at_ms += self.dice.range(3000, 6500);
        }
    }

    fn pick_call(&mut self) -> Option<(&'static str, String, usize, usize)> {
        // The big call has more changes than the small ones.
        let at = usize::try_from(self.dice.range(0, 5).min(2)).unwrap_or(2);
        let (key, least, most) = LASTING[at];
        Some((key, room(key, self.seed)?, least, most))
    }

    fn come(&mut self, at_ms: i64, acts: &mut Vec<Act>) {
        let Some((key, room, _, most)) = self.pick_call() else {
            return;
        };

        let present: Vec<&Person> = self.in_room(&room).map(|stay| stay.person).collect();
        let Some(scene) = scene_of(key).filter(|_| present.len() < most) else {
            return;
        };

        let mut absent = scene.members(self.seed);
        absent.retain(|person| !present.contains(person) && !self.was_ghost(key, person));

        if let Some(person) = self.dice.pick(&absent).copied() {
            let stay = Stay::new(&room, person, Form::Flat, at_ms);
            acts.push(stay.join());
            self.lasting.push(stay);
        }
    }

    /// The ghost's person does not come back; otherwise nobody would see that it was a ghost.
    fn was_ghost(&self, key: &str, person: &Person) -> bool {
        let members = scene_of(key).map(|scene| scene.members(self.seed));
        key == "ops" && members.and_then(|members| members.get(1).copied()) == Some(person)
    }

    fn go(&mut self, at_ms: i64, minute_ms: i64, acts: &mut Vec<Act>) {
        let Some((_, room, least, _)) = self.pick_call() else {
            return;
        };

        let renews = |stay: &Stay| {
            let n = (minute_ms - stay.from_ms + 5000).div_euclid(HOUR_MS) + 1;
            stay.renewal(n).at_ms < minute_ms + MINUTE_MS
        };

        // A stay that began in this minute lasts at least until the next.
        let free = |stay: &Stay| stay.room == room && stay.from_ms < minute_ms && !renews(stay);
        let candidates: Vec<usize> = (0..self.lasting.len())
            .filter(|at| free(&self.lasting[*at]))
            .collect();
        if self.in_room(&room).count() <= least {
            return;
        }

        if let Some(at) = self.dice.pick(&candidates).copied() {
            let stay = self.lasting.swap_remove(at);
            let end = if self.dice.chance(10) {
                End::LostAndSaid
            } else {
                End::Leave
            };

            acts.extend(stay.leave(at_ms, end, ""));
        }
    }

    fn in_room<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a Stay> {
        self.lasting.iter().filter(move |stay| stay.room == room)
    }
}

fn room(key: &str, seed: u64) -> Option<String> {
    scene_of(key).map(|scene| scene.room_id(seed))
}

fn ring(stay: &Stay) -> Act {
    let at_ms = stay.from_ms + 300;
    let content = json!({
        "m.mentions": {"user_ids": [], "room": true}, "sender_ts": at_ms, "lifetime": 30_000,
        "notification_type": "ring", "m.call.intent": stay.intent,
    });
    let what = What::Event("org.matrix.msc4075.rtc.notification", content);

    Act::new(at_ms, &stay.room, &stay.person.user_id(), what)
}
