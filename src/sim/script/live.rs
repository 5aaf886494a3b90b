//! The events from now on, minute by minute, planned from the running calls and a seed.
//!
//! In every minute one call begins (after 15 to 20 s) and one ends (after 30 to 40 s). In the long
//! calls, people join and leave every few seconds. Members who stay renew hourly.

use serde_json::json;

use super::act::{Act, ActKind};
use super::stay::{RENEWED_EARLY_MS, SimStay, StayEnd, StayFormat};
use super::{HOUR_MS, MINUTE_MS};
use crate::sim::dice::Dice;
use crate::sim::people::Person;
use crate::sim::rooms::find_scene;

/// Rooms that have a short call in turn, and the format of their clients.
const TURNS: [(&str, StayFormat); 7] = [
    ("backend", StayFormat::Flat),
    ("film", StayFormat::Sticky),
    ("arabic", StayFormat::Flat),
    ("support", StayFormat::Flat),
    ("mods", StayFormat::Slot),
    ("repair", StayFormat::Flat),
    ("dm", StayFormat::Flat),
];

/// Rooms with a permanent call, with the minimum and maximum number of people.
const LASTING: [(&str, usize, usize); 3] = [("lounge", 2, 5), ("ops", 4, 8), ("hallway", 26, 33)];

/// An endless plan: one minute of acts after the other.
#[derive(Debug, Clone)]
pub struct LivePlan {
    seed: u64,
    dice: Dice,
    start_ms: i64,
    minute: i64,
    /// Stays in the permanent calls.
    lasting: Vec<SimStay>,
    /// Stays of the call that ends in the next minute.
    short: Vec<SimStay>,
}

impl LivePlan {
    /// Begins at `start_ms`, ms since the Unix epoch, with the running stays. Those that are in no
    /// lasting call end in the first minute. The same arguments make the same plan.
    #[must_use]
    pub fn new(running: Vec<SimStay>, start_ms: i64, seed: u64) -> Self {
        let rooms: Vec<String> = LASTING
            .iter()
            .filter_map(|(key, ..)| room_id_of_scene(key, seed))
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

    /// The acts of the next minute, in order of time. The first minute begins at the start of the
    /// plan.
    pub fn next_minute(&mut self) -> Vec<Act> {
        let from = self.start_ms + self.minute * MINUTE_MS;
        let mut acts = self.renewals(from);
        // The call of the last minute ends before the next one takes its place in `short`.
        self.end_short_call(from, &mut acts);
        self.begin_short_call(from, &mut acts);
        self.come_and_go(from, &mut acts);
        self.minute += 1;
        acts.sort_by_key(|act| act.at_ms);

        acts
    }

    /// The renewals of the lasting calls in the minute that begins at `from`, ms: at most one for
    /// each stay, in no order.
    fn renewals(&self, from: i64) -> Vec<Act> {
        let mut acts = Vec::new();
        for stay in &self.lasting {
            let n = (from - stay.from_ms + RENEWED_EARLY_MS).div_euclid(HOUR_MS) + 1;
            let renewal = stay.renewal(n);
            if (from..from + MINUTE_MS).contains(&renewal.at_ms) {
                acts.push(renewal);
            }
        }

        acts
    }

    /// Ends the short call of the last minute, in the minute that begins at `from`, ms: the last
    /// member leaves at most 39 s after it began, the others just before.
    fn end_short_call(&mut self, from: i64, acts: &mut Vec<Act>) {
        let last = from + self.dice.range(34_000, 39_000);
        for stay in std::mem::take(&mut self.short) {
            let at_ms = last - self.dice.range(0, 3500);
            acts.extend(stay.leave(at_ms, StayEnd::Leave, ""));
        }
    }

    /// Begins the next short call, in the minute that begins at `from`, ms: one to four people join
    /// in its first half. Some of these calls ring. The call before must have been ended.
    fn begin_short_call(&mut self, from: i64, acts: &mut Vec<Act>) {
        let turn = usize::try_from(self.minute).unwrap_or(0) % TURNS.len();
        let (key, form) = TURNS[turn];
        let Some(scene) = find_scene(key) else { return };
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

            let mut stay = SimStay::new(&room, person, form, begin + late);
            if matches!(key, "support" | "dm") {
                stay.intent = "audio";
            }

            acts.push(stay.join());
            if i == 0 && matches!(key, "support" | "dm") {
                acts.push(ring_act(&stay));
            }

            self.short.push(stay);
        }
    }

    /// Lets people join and leave the lasting calls every few seconds in the minute that begins at
    /// `from`, ms.
    fn come_and_go(&mut self, from: i64, acts: &mut Vec<Act>) {
        let mut at_ms = from + self.dice.range(1000, 4000);
        while at_ms < from + MINUTE_MS {
            // Renewals of this minute are already planned: a member who renews does not leave.
            if self.dice.chance(50) {
                self.join_lasting_call(at_ms, acts);
            } else {
                self.leave_lasting_call(at_ms, from, acts);
            }

            at_ms += self.dice.range(3000, 6500);
        }
    }

    /// One of the lasting calls: its short name, its room id, and the minimum and maximum number of
    /// people.
    fn pick_call(&mut self) -> Option<(&'static str, String, usize, usize)> {
        // The big call has more changes than the small ones.
        let at = usize::try_from(self.dice.range(0, 5).min(2)).unwrap_or(2);
        let (key, least, most) = LASTING[at];
        Some((key, room_id_of_scene(key, self.seed)?, least, most))
    }

    /// Lets a member of the room join one of the lasting calls at `at_ms`, unless it is full.
    fn join_lasting_call(&mut self, at_ms: i64, acts: &mut Vec<Act>) {
        let Some((key, room, _, most)) = self.pick_call() else {
            return;
        };

        let present: Vec<&Person> = self.in_room(&room).map(|stay| stay.person).collect();
        let Some(scene) = find_scene(key).filter(|_| present.len() < most) else {
            return;
        };

        let mut absent = scene.members(self.seed);
        absent.retain(|person| !present.contains(person) && !self.was_ghost(key, person));

        if let Some(person) = self.dice.pick(&absent).copied() {
            let stay = SimStay::new(&room, person, StayFormat::Flat, at_ms);
            acts.push(stay.join());
            self.lasting.push(stay);
        }
    }

    /// Was this person the ghost of the call? That person does not come back; otherwise nobody
    /// would see that it was a ghost.
    fn was_ghost(&self, key: &str, person: &Person) -> bool {
        let members = find_scene(key).map(|scene| scene.members(self.seed));
        key == "ops" && members.and_then(|members| members.get(1).copied()) == Some(person)
    }

    /// Lets somebody leave one of the lasting calls at `at_ms`, unless it has only its minimum
    /// number of people. Stays that renew in this minute (`minute_ms`, its begin) or began in it
    /// are left alone.
    fn leave_lasting_call(&mut self, at_ms: i64, minute_ms: i64, acts: &mut Vec<Act>) {
        let Some((_, room, least, _)) = self.pick_call() else {
            return;
        };

        let renews = |stay: &SimStay| {
            let n = (minute_ms - stay.from_ms + RENEWED_EARLY_MS).div_euclid(HOUR_MS) + 1;
            stay.renewal(n).at_ms < minute_ms + MINUTE_MS
        };

        // A stay that began in this minute lasts at least until the next.
        let free = |stay: &SimStay| stay.room == room && stay.from_ms < minute_ms && !renews(stay);
        let candidates: Vec<usize> = (0..self.lasting.len())
            .filter(|at| free(&self.lasting[*at]))
            .collect();
        if self.in_room(&room).count() <= least {
            return;
        }

        if let Some(at) = self.dice.pick(&candidates).copied() {
            let stay = self.lasting.swap_remove(at);
            let end = if self.dice.chance(10) {
                StayEnd::LostAndSaid
            } else {
                StayEnd::Leave
            };

            acts.extend(stay.leave(at_ms, end, ""));
        }
    }

    /// The stays in this lasting call.
    fn in_room<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a SimStay> {
        self.lasting.iter().filter(move |stay| stay.room == room)
    }
}

/// The room id for this short name.
fn room_id_of_scene(key: &str, seed: u64) -> Option<String> {
    find_scene(key).map(|scene| scene.room_id(seed))
}

/// The notification by which the first member of a call rings the whole room.
fn ring_act(stay: &SimStay) -> Act {
    let at_ms = stay.from_ms + 300;
    let content = json!({
        "m.mentions": {"user_ids": [], "room": true}, "sender_ts": at_ms, "lifetime": 30_000,
        "notification_type": "ring", "m.call.intent": stay.intent,
    });
    let what = ActKind::Event("org.matrix.msc4075.rtc.notification", content);

    Act::new(at_ms, &stay.room, &stay.person.user_id(), what)
}
