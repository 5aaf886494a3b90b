//! Additions to the calendar of the past: the incidents, and the calls that run when the demo
//! starts.

use super::act::{Act, ActKind};
use super::past::PastWriter;
use super::stay::{SimStay, StayEnd, StayFormat};
use super::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::sim::people::{Person, SFUS};
use crate::sim::rooms::find_scene;

impl PastWriter {
    /// A stay of today's format outside the calendar, from `from_ms`, of the room's member with
    /// this number. It is on a device that is used for nothing else (an equal content on the same
    /// key would make no event).
    fn extra_stay(&self, key: &str, member: usize, device: u32, from_ms: i64) -> Option<SimStay> {
        let members = self.members(key);
        let person = *members.get(member % members.len().max(1))?;

        Some(self.stay_outside_calendar(key, person, device, from_ms))
    }

    /// The same, of this person.
    fn stay_outside_calendar(
        &self,
        key: &str,
        person: &'static Person,
        device: u32,
        from_ms: i64,
    ) -> SimStay {
        let mut stay = SimStay::new(&self.room(key), person, StayFormat::Flat, from_ms);
        stay.device = person.device(device);

        stay
    }

    /// The incidents of the last weeks.
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

    /// An evening in the older past, so many days ago, on which a call is split for half an hour:
    /// the one who began it died without a leave, and a member with an old client follows.
    pub fn trouble(&mut self, days_ago: i64) {
        let rooms = ["backend", "ops", "support"];
        let Some(key) = self.dice.pick(&rooms).copied() else {
            return;
        };

        let Some((gone, others)) = members_of_on_call(self.members(key)) else {
            return;
        };

        let today = self.now_ms.div_euclid(DAY_MS);
        let begin = (today - days_ago) * DAY_MS + self.dice.range(1070, 1140) * MINUTE_MS;
        // No other content may be equal on the key of a membership that is never left.
        let device = 100 + u32::try_from(days_ago).unwrap_or_default();
        let mut ghost = self.stay_outside_calendar(key, gone, device, begin);
        ghost.end = Some((begin + MINUTE_MS, StayEnd::Ghost));
        self.tell(&ghost);

        for (n, person) in (1..4).zip(others) {
            let from = begin + n * self.dice.range(20_000, 4 * MINUTE_MS);
            let mut stay = self.stay_outside_calendar(key, person, device, from);
            if n == 2 {
                stay.form = StayFormat::Plain;
            }

            let until = begin + self.dice.range(25 * MINUTE_MS, 34 * MINUTE_MS);
            stay.end = Some((until, StayEnd::Leave));
            self.tell(&stay);
        }
    }

    /// The calls that run when the demo starts: of 1, 2, 5 and 30 people, two short ones, and one
    /// with everything that can be wrong; and encrypted signalling in the board's room.
    pub fn present(&mut self) {
        let waiting = self.extra_stay("support", 2, 0, self.ago(1));
        if let (Some(mut stay), Some(scene)) = (waiting, find_scene("support")) {
            stay.intent = "audio";
            self.ring(scene, &stay, false);
        }

        let short = [("lounge", 1, 47), ("lounge", 6, 31), ("arabic", 2, 7)];
        let short = short
            .into_iter()
            .chain([("arabic", 3, 6), ("arabic", 5, 4)]);
        for (key, member, minutes) in short.chain([("mods", 1, 3), ("mods", 4, 2)]) {
            if let Some(mut stay) = self.extra_stay(key, member, 0, self.ago(minutes)) {
                if key == "mods" {
                    stay.form = StayFormat::Slot;
                }

                self.tell(&stay);
            }
        }

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

        self.on_call();
    }

    /// A call that shows at a glance what Callscope is for. Who rang the others died without a
    /// leave, so its membership still counts, as the oldest one. A member with an old client
    /// follows it to its SFU and cannot hear those who are on their own.
    fn on_call(&mut self) {
        let Some(scene) = find_scene("ops") else {
            return;
        };

        let Some((gone, others)) = members_of_on_call(self.members("ops")) else {
            return;
        };

        let begin = self.ago(104);
        // It never renewed: after an hour, that shows.
        let mut ghost = self.stay_outside_calendar("ops", gone, 29, begin);
        ghost.end = Some((begin + MINUTE_MS, StayEnd::Ghost));
        self.ring(scene, &ghost, false);

        let answered = begin + 14_000;
        let joined = [
            answered,
            self.ago(101),
            self.ago(58),
            self.ago(37),
            self.ago(16),
        ];
        for (n, (person, from)) in others.into_iter().zip(joined).enumerate() {
            let mut stay = self.stay_outside_calendar("ops", person, 0, from);
            match n {
                1 if stay.sfu != SFUS[0] => {
                    stay.moved = Some((from + 30 * MINUTE_MS, SFUS[0]));
                }
                2 => stay.form = StayFormat::Plain,
                _ => {}
            }

            self.tell(&stay);
        }
    }

    /// The time this many minutes ago, ms.
    fn ago(&self, minutes: i64) -> i64 {
        self.now_ms - minutes * MINUTE_MS
    }
}

/// Who is in the call of [`PastWriter::on_call`]: the one who is gone, and those who are there, on
/// other SFUs. `None` if too few of the room's members are.
pub(super) fn members_of_on_call(
    members: &[&'static Person],
) -> Option<(&'static Person, Vec<&'static Person>)> {
    let gone = *members.iter().skip(1).find(|one| one.sfu() != SFUS[0])?;
    let others = members.iter().copied();
    let others: Vec<_> = others
        .filter(|one| one.sfu() != gone.sfu())
        .take(5)
        .collect();

    (others.len() == 5).then_some((gone, others))
}
