//! Additions to the calendar of the past: the incidents, and the calls that run when the demo
//! starts.

use super::act::{Act, ActKind};
use super::past::PastWriter;
use super::stay::{SimStay, StayEnd, StayFormat};
use super::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::sim::people::SFUS;
use crate::sim::rooms::find_scene;

impl PastWriter {
    /// A stay of today's format outside the calendar, from `from_ms`, of the room's member with
    /// this number. It is on a device that is used for nothing else (an equal content on the same
    /// key would make no event).
    fn extra_stay(&self, key: &str, member: usize, device: u32, from_ms: i64) -> Option<SimStay> {
        let members = find_scene(key)?.members(self.seed);
        let person = members.get(member % members.len().max(1))?;
        let mut stay = SimStay::new(&self.room(key), person, StayFormat::Flat, from_ms);
        stay.device = person.device(device);

        Some(stay)
    }

    /// The incidents of the five weeks.
    pub fn incidents(&mut self) {
        let evening =
            |days: i64| self.now_ms.div_euclid(DAY_MS) * DAY_MS - days * DAY_MS + 1290 * MINUTE_MS;
        let plans = [
            ("lounge", 3, 9, StayEnd::Ghost),
            ("lounge", 5, 16, StayEnd::Kicked),
            ("backend", 4, 12, StayEnd::RoomLeft),
            ("arabic", 2, 6, StayEnd::Ghost),
        ];
        let begun = plans.map(|(key, member, days, end)| (key, member, evening(days), end));

        for (i, (key, member, from, end)) in begun.into_iter().enumerate() {
            let device = 20 + u32::try_from(i).unwrap_or(0);
            let until = from + 23 * MINUTE_MS;
            let Some(mut stay) = self.extra_stay(key, member, device, from) else {
                continue;
            };

            stay.end = Some((until, end));
            self.tell(&stay);
            if matches!(end, StayEnd::Kicked | StayEnd::RoomLeft) {
                // Back in the room after the membership expired (else it would count again), before
                // the next day's calls.
                let user = stay.person.user_id();
                let what = ActKind::Member(user.clone(), "join");
                self.past
                    .acts
                    .push(Act::new(from + 8 * HOUR_MS, &stay.room, &user, what));
            }

            if let Some(mut other) = self.extra_stay(key, member + 1, device, from + 40_000) {
                other.end = Some((until + 4 * MINUTE_MS, StayEnd::Leave));
                self.tell(&other);
            }
        }
    }

    /// The calls that run when the demo starts: 1, 2, 6 and 30 people; and encrypted signalling in
    /// the board's room.
    pub fn present(&mut self) {
        let waiting = self.extra_stay("support", 2, 0, self.ago(3));
        if let (Some(mut stay), Some(scene)) = (waiting, find_scene("support")) {
            stay.intent = "audio";
            self.ring(scene, &stay, false);
        }

        for (member, minutes) in [(1, 47), (6, 31)] {
            if let Some(stay) = self.extra_stay("lounge", member, 0, self.ago(minutes)) {
                self.tell(&stay);
            }
        }

        self.on_call();
        for member in 0..30_usize {
            let minutes = 95 - 3 * i64::try_from(member).unwrap_or(0);
            let from = self.ago(minutes) + self.dice.range(0, 90_000);
            if let Some(stay) = self.extra_stay("hallway", member, 0, from) {
                self.tell(&stay);
            }
        }

        for member in 0..4 {
            let from = self.ago(65) + self.dice.range(0, 9 * MINUTE_MS);
            if let Some(mut stay) = self.extra_stay("board", member, 0, from) {
                stay.form = StayFormat::Cipher;
                self.past.acts.extend(stay.acts(self.now_ms, ""));
            }
        }
    }

    /// A long call with a ghost, a member whose old client receives only the ghost's SFU, and a
    /// member who changed the SFU.
    fn on_call(&mut self) {
        let begin = self.ago(11 * 60);
        if let Some(mut ghost) = self.extra_stay("ops", 1, 29, begin) {
            // It has been gone since seven hours after it joined; its renewals make it count for
            // another day.
            ghost.end = Some((begin + 7 * 60 * MINUTE_MS + 1, StayEnd::Ghost));
            self.tell(&ghost);
        }

        for (member, minutes) in [(2, 66), (3, 58), (4, 40), (5, 25), (6, 9)] {
            let from = self.ago(minutes);
            if let Some(mut stay) = self.extra_stay("ops", member, 0, from) {
                if member == 3 {
                    stay.form = StayFormat::Plain;
                }

                stay.moved = (member == 4).then_some((from + 11 * MINUTE_MS, SFUS[0]));
                self.tell(&stay);
            }
        }
    }

    /// The time this many minutes ago, ms.
    fn ago(&self, minutes: i64) -> i64 {
        self.now_ms - minutes * MINUTE_MS
    }
}
