//! The events from now on, minute by minute, planned from the running calls and a seed.
//!
//! In every second minute a short call begins (after 15 to 20 s), which goes on for some minutes.
//! In the large calls people come and go; each of them ends after an hour or two, and begins again
//! after a break. Members who stay renew hourly.

use serde_json::json;

use super::act::{Act, ActKind};
use super::special::members_of_on_call;
use super::stay::{RENEWED_EARLY_MS, SimStay, StayEnd, StayFormat};
use super::{HOUR_MS, MINUTE_MS};
use crate::sim::dice::Dice;
use crate::sim::people::Person;
use crate::sim::rooms::find_scene;

/// Rooms that have a short call in turn, and the format of their clients.
const TURNS: [(&str, StayFormat); 7] = [
    ("backend", StayFormat::Flat),
    ("film", StayFormat::Sticky),
    ("support", StayFormat::Flat),
    ("repair", StayFormat::Flat),
    ("dm", StayFormat::Flat),
    ("arabic", StayFormat::Flat),
    ("mods", StayFormat::Slot),
];

/// How many minutes after the start the short calls end that ran then.
const FIRST_ENDS: [i64; 4] = [0, 2, 4, 5];

/// A large call: its room, its minimum and maximum number of people.
#[derive(Debug, Clone)]
struct LargeCall {
    key: &'static str,
    room: String,
    least: usize,
    most: usize,
    /// How many of a hundred changes are in this call.
    changes: i64,
    /// The minute in which it ends; once it has, that of its next end.
    ends: i64,
    /// The minute before which it does not begin again.
    begins: i64,
}

/// A short call: until when it lasts, ms, and who is in it.
#[derive(Debug, Clone)]
struct ShortCall {
    ends_ms: i64,
    stays: Vec<SimStay>,
}

/// An endless plan: one minute of acts after the other.
#[derive(Debug, Clone)]
pub struct LivePlan {
    seed: u64,
    dice: Dice,
    start_ms: i64,
    minute: i64,
    large: Vec<LargeCall>,
    /// Stays in the large calls.
    lasting: Vec<SimStay>,
    short: Vec<ShortCall>,
}

impl LivePlan {
    /// Begins at `start_ms`, ms since the Unix epoch, with the running stays. Calls that are no
    /// large ones end in the first minutes. The same arguments make the same plan.
    #[must_use]
    pub fn new(running: Vec<SimStay>, start_ms: i64, seed: u64) -> Self {
        let large: Vec<LargeCall> = [
            ("lounge", 2, 5, 25, 57),
            ("ops", 4, 6, 6, 49),
            ("hallway", 26, 33, 69, 83),
        ]
        .into_iter()
        .filter_map(|(key, least, most, changes, ends)| {
            Some(LargeCall {
                key,
                room: room_id_of_scene(key, seed)?,
                least,
                most,
                changes,
                ends,
                begins: 0,
            })
        })
        .collect();
        let (lasting, others): (Vec<SimStay>, Vec<SimStay>) = running
            .into_iter()
            .partition(|stay| large.iter().any(|call| call.room == stay.room));

        let mut dice = Dice::for_part(seed, "live");
        let mut short: Vec<ShortCall> = Vec::new();
        for stay in others {
            let same = |call: &&mut ShortCall| call.stays.iter().any(|one| one.room == stay.room);
            if let Some(call) = short.iter_mut().find(same) {
                call.stays.push(stay);
                continue;
            }

            let minute = FIRST_ENDS.get(short.len()).copied().unwrap_or_default();
            short.push(ShortCall {
                ends_ms: start_ms + minute * MINUTE_MS + dice.range(34_000, 39_000),
                stays: vec![stay],
            });
        }

        Self {
            seed,
            dice,
            start_ms,
            minute: 0,
            large,
            lasting,
            short,
        }
    }

    /// The acts of the next minute, in order of time. The first minute begins at the start of the
    /// plan.
    pub fn next_minute(&mut self) -> Vec<Act> {
        let from = self.start_ms + self.minute * MINUTE_MS;
        let mut acts = Vec::new();
        // Who leaves in this minute does not renew in it.
        self.end_large_calls(from, &mut acts);
        acts.extend(self.renewals(from));
        self.end_short_calls(from, &mut acts);
        if self.minute % 2 == 0 {
            self.begin_short_call(from, &mut acts);
        }

        self.come_and_go(from, &mut acts);
        self.minute += 1;
        acts.sort_by_key(|act| act.at_ms);

        acts
    }

    /// Ends the large calls whose time has come, in the minute that begins at `from`, ms: everybody
    /// leaves. They begin again after a break.
    fn end_large_calls(&mut self, from: i64, acts: &mut Vec<Act>) {
        for call in &mut self.large {
            if call.ends != self.minute {
                continue;
            }

            call.begins = self.minute + self.dice.range(12, 31);
            call.ends = call.begins + self.dice.range(55, 120);
            let (leaving, staying) = std::mem::take(&mut self.lasting)
                .into_iter()
                .partition(|stay: &SimStay| stay.room == call.room);
            self.lasting = staying;
            for stay in leaving {
                let at_ms = from + self.dice.range(2000, 58_000);
                acts.extend(stay.leave(at_ms, StayEnd::Leave, ""));
            }
        }
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

    /// Ends the short calls whose time has come in the minute that begins at `from`, ms: the others
    /// leave just before the last one.
    fn end_short_calls(&mut self, from: i64, acts: &mut Vec<Act>) {
        let until = from + MINUTE_MS;
        let (over, on) = std::mem::take(&mut self.short)
            .into_iter()
            .partition(|call: &ShortCall| call.ends_ms < until);
        self.short = on;
        for call in over {
            for stay in call.stays {
                let at_ms = call.ends_ms - self.dice.range(0, 3500);
                acts.extend(stay.leave(at_ms.max(from), StayEnd::Leave, ""));
            }
        }
    }

    /// Begins the next short call, in the minute that begins at `from`, ms: one to four people join
    /// in its first half, for some minutes. Some of these calls ring. Where one still runs, none
    /// begins.
    fn begin_short_call(&mut self, from: i64, acts: &mut Vec<Act>) {
        let turn = usize::try_from(self.minute / 2).unwrap_or(0) % TURNS.len();
        let (key, form) = TURNS[turn];
        let Some(scene) = find_scene(key) else { return };
        let room = scene.room_id(self.seed);
        let begin = from + self.dice.range(15_000, 19_000);
        let count = usize::try_from(self.dice.range(1, 5)).unwrap_or(1);
        let people = self.dice.some_of(&scene.members(self.seed), count);
        let minutes = if people.len() == 1 { (1, 2) } else { (4, 12) };
        let ends_ms = begin
            + self
                .dice
                .range(minutes.0 * MINUTE_MS, minutes.1 * MINUTE_MS);
        if self.is_short_call_in(&room) {
            return;
        }

        let mut stays = Vec::new();
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

            stays.push(stay);
        }

        self.short.push(ShortCall { ends_ms, stays });
    }

    /// Does a short call run in this room?
    fn is_short_call_in(&self, room: &str) -> bool {
        let mut stays = self.short.iter().flat_map(|call| &call.stays);
        stays.any(|stay| stay.room == room)
    }

    /// Lets people join and leave the large calls in the minute that begins at `from`, ms. A call
    /// that begins is joined more often.
    fn come_and_go(&mut self, from: i64, acts: &mut Vec<Act>) {
        let mut at_ms = from + self.dice.range(1000, 4000);
        while at_ms < from + MINUTE_MS {
            // Renewals of this minute are already planned: a member who renews does not leave.
            if self.dice.chance(50) {
                self.join_large_call(at_ms, acts);
            } else {
                self.leave_large_call(at_ms, from, acts);
            }

            at_ms += self.dice.range(4000, 9000);
        }

        let filling: Vec<LargeCall> = self
            .large
            .iter()
            .filter(|call| call.begins <= self.minute && self.minute < call.ends)
            .filter(|call| self.in_room(&call.room).count() < call.least)
            .cloned()
            .collect();
        for call in filling {
            for _ in 0..call.least.div_ceil(5) {
                let at_ms = from + self.dice.range(2000, 58_000);
                self.join_call(&call, at_ms, acts);
            }
        }
    }

    /// One of the large calls that are going on.
    fn pick_call(&mut self) -> Option<LargeCall> {
        let mut left = self.dice.range(0, 100);
        let picked = self.large.iter().find(|call| {
            left -= call.changes;
            left < 0
        })?;

        Some(picked.clone()).filter(|call| call.begins <= self.minute)
    }

    /// Lets a member of the room join one of the large calls at `at_ms`, unless it is full.
    fn join_large_call(&mut self, at_ms: i64, acts: &mut Vec<Act>) {
        if let Some(call) = self.pick_call() {
            self.join_call(&call, at_ms, acts);
        }
    }

    /// Lets a member of the room join this call at `at_ms`, unless it is full.
    fn join_call(&mut self, call: &LargeCall, at_ms: i64, acts: &mut Vec<Act>) {
        let present: Vec<&Person> = self.in_room(&call.room).map(|stay| stay.person).collect();
        let Some(scene) = find_scene(call.key).filter(|_| present.len() < call.most) else {
            return;
        };

        let members = scene.members(self.seed);
        let mut absent = members.clone();
        absent.retain(|person| !present.contains(person) && !was_ghost(call.key, &members, person));

        if let Some(person) = self.dice.pick(&absent).copied() {
            let stay = SimStay::new(&call.room, person, StayFormat::Flat, at_ms);
            acts.push(stay.join());
            self.lasting.push(stay);
        }
    }

    /// Lets somebody leave one of the large calls at `at_ms`, unless it has only its minimum number
    /// of people. Stays that renew in this minute (`minute_ms`, its begin) or began in it are left
    /// alone.
    fn leave_large_call(&mut self, at_ms: i64, minute_ms: i64, acts: &mut Vec<Act>) {
        let Some(LargeCall { room, least, .. }) = self.pick_call() else {
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

    /// The stays in this large call.
    fn in_room<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a SimStay> {
        self.lasting.iter().filter(move |stay| stay.room == room)
    }
}

/// Was this person the ghost of the call? That person does not come back; otherwise nobody would
/// see that it was a ghost.
fn was_ghost(key: &str, members: &[&'static Person], person: &Person) -> bool {
    key == "ops" && members_of_on_call(members).is_some_and(|(gone, _)| gone == person)
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
