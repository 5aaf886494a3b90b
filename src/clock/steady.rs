//! A clock of the machine that may jump, beside one that only counts and what the homeserver says
//! the time is.
//!
//! The two clocks of the machine part when somebody sets the one that shows the time, or while the
//! machine sleeps. Which of both it was the homeserver tells: the reading that is nearer to its
//! time is right. As long as nobody tells, time goes on as it was counted; after a while without a
//! word the clock is believed again. Where nothing parted and the homeserver all the same tells
//! another time than before, one of the two is wrong, and nobody can say which: such readings are
//! not believed either.

/// A clock is set right by less than this now and then, ms.
const JUMP_MS: i64 = 1_000;
/// What the homeserver says is this coarse, with its way to us, ms.
const COARSE_MS: i64 = 1_500;
/// So long nobody told which of two readings is right, ms: then the clock of the machine is
/// believed.
const UNTOLD_MS: i64 = 600_000;
/// The clocks of two machines differ by less than this, ms, as long as both are kept.
const APART_MS: i64 = 90_000;
/// What was told once changes by less than this, ms, unless one of the two clocks was set.
const CHANGED_MS: i64 = 30_000;
/// So many times at which the clock was wrong are remembered.
const OFFS_MAX: usize = 100;

/// How it was found that the clock was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// The clock that only counts went on as before.
    Counting,
    /// The homeserver tells another time. Which of the two is wrong is not known.
    Homeserver,
}

impl FoundBy {
    /// The word as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Homeserver => "homeserver",
        }
    }
}

/// A time during which the clock of the machine was wrong. Times in ms, as they were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Off {
    pub from_ms: i64,
    /// `None` while it goes on.
    pub to_ms: Option<i64>,
    /// What it said less what was right: below zero, it was behind.
    pub off_ms: i64,
    pub found_by: FoundBy,
    /// It was found afterwards: what was read meanwhile had been believed.
    pub was_believed: bool,
}

/// Both clocks of the machine at one moment, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What shows the time and may be set.
    pub wall_ms: i64,
    /// What only counts, from some beginning.
    pub counted_ms: i64,
}

/// What is known of the clock so far.
#[derive(Debug, Clone, Default)]
pub struct Steady {
    begun_ms: Option<i64>,
    /// When both clocks went on alike last.
    anchor: Option<Moment>,
    /// Since when, ms as counted, they have parted, and how far.
    parted: Option<Parted>,
    /// How far the machine was from the homeserver when it told the time last, ms, while nothing
    /// had parted; and at first.
    apart_ms: Option<i64>,
    usual_ms: Option<i64>,
    offs: Vec<Off>,
    changes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Parted {
    since_ms: i64,
    since_counted_ms: i64,
    off_ms: i64,
    /// The homeserver said that it is the machine's clock that is wrong.
    is_told: bool,
}

impl Steady {
    /// The time, ms, as well as it is known.
    pub fn read(&mut self, moment: Moment) -> i64 {
        self.begun_ms.get_or_insert(moment.wall_ms);
        let Some(anchor) = self.anchor else {
            self.anchor = Some(moment);
            return moment.wall_ms;
        };

        let counted = anchor
            .wall_ms
            .saturating_add(moment.counted_ms.saturating_sub(anchor.counted_ms));
        let off_ms = moment.wall_ms.saturating_sub(counted);
        if off_ms.saturating_abs() < JUMP_MS {
            if self.parted.take().is_some() {
                self.end_off(counted, FoundBy::Counting);
            }

            self.anchor = Some(moment);
            return moment.wall_ms;
        }

        match self.parted {
            Some(parted) if parted.off_ms.abs_diff(off_ms) < JUMP_MS.unsigned_abs() => {
                let untold_ms = moment.counted_ms.saturating_sub(parted.since_counted_ms);
                if !parted.is_told && untold_ms > UNTOLD_MS {
                    return self.believe(moment, counted, None);
                }
            }
            _ => {
                self.end_off(counted, FoundBy::Counting);
                self.parted = Some(Parted {
                    since_ms: counted,
                    since_counted_ms: moment.counted_ms,
                    off_ms,
                    is_told: false,
                });
                self.changes += 1;
            }
        }

        counted
    }

    /// The homeserver says that it is this time now, ms.
    pub fn told(&mut self, server_ms: i64, moment: Moment) {
        let now_ms = self.read(moment);
        let Some(parted) = self.parted else {
            return self.compare(moment.wall_ms.saturating_sub(server_ms), now_ms);
        };

        let of_counted = now_ms.abs_diff(server_ms);
        let of_wall = moment.wall_ms.abs_diff(server_ms);
        let coarse = COARSE_MS
            .unsigned_abs()
            .min(of_counted.abs_diff(of_wall) / 2);

        if of_wall + coarse < of_counted {
            self.believe(moment, now_ms, Some(parted));
        } else if of_counted + coarse < of_wall && !parted.is_told {
            self.parted = Some(Parted {
                is_told: true,
                ..parted
            });
            self.note(Off {
                from_ms: parted.since_ms,
                to_ms: None,
                off_ms: parted.off_ms,
                found_by: FoundBy::Counting,
                was_believed: false,
            });
        }
    }

    /// The machine shows the right time. It slept, or it had shown a wrong one before.
    fn believe(&mut self, moment: Moment, counted_ms: i64, parted: Option<Parted>) -> i64 {
        self.parted = None;
        self.anchor = Some(moment);
        self.changes += 1;
        let was_off_ms = counted_ms.saturating_sub(moment.wall_ms);
        // Before it parted it was as far from the homeserver as it is now set right by.
        let was_off = self
            .apart_ms
            .is_some_and(|apart| apart.abs_diff(was_off_ms) <= COARSE_MS.unsigned_abs() * 2);
        if let Some(parted) = parted.filter(|_| was_off) {
            self.note(Off {
                from_ms: self.begun_ms.unwrap_or(parted.since_ms),
                to_ms: Some(parted.since_ms),
                off_ms: was_off_ms,
                found_by: FoundBy::Homeserver,
                was_believed: true,
            });
        }

        self.begun_ms = Some(moment.wall_ms);
        self.apart_ms = None;
        self.usual_ms = None;

        moment.wall_ms
    }

    /// Nothing parted: is the machine as far from the homeserver as ever?
    fn compare(&mut self, apart_ms: i64, now_ms: i64) {
        self.apart_ms = Some(apart_ms);
        let is_usual = match self.usual_ms {
            Some(usual) => usual.abs_diff(apart_ms) < CHANGED_MS.unsigned_abs(),
            None => apart_ms.saturating_abs() < APART_MS,
        };

        if is_usual {
            self.usual_ms.get_or_insert(apart_ms);
            self.end_off(now_ms, FoundBy::Homeserver);
        } else if self.open(FoundBy::Homeserver).is_none() {
            self.note(Off {
                from_ms: now_ms,
                to_ms: None,
                off_ms: apart_ms.saturating_sub(self.usual_ms.unwrap_or(0)),
                found_by: FoundBy::Homeserver,
                was_believed: false,
            });
        }
    }

    fn open(&mut self, found_by: FoundBy) -> Option<&mut Off> {
        let is_open = |off: &&mut Off| off.to_ms.is_none() && off.found_by == found_by;
        self.offs.iter_mut().rev().find(is_open)
    }

    fn end_off(&mut self, now_ms: i64, found_by: FoundBy) {
        if let Some(off) = self.open(found_by) {
            off.to_ms = Some(now_ms);
            self.changes += 1;
        }
    }

    fn note(&mut self, off: Off) {
        if self.offs.len() == OFFS_MAX {
            self.offs.remove(0);
        }

        self.offs.push(off);
        self.changes += 1;
    }

    /// How far the clock of the machine is off, ms, where what it says is not believed now.
    #[must_use]
    pub fn off_ms(&self) -> Option<i64> {
        let open = self.offs.iter().rev().find(|off| off.to_ms.is_none());
        let parted = self.parted.map(|parted| parted.off_ms);
        parted.or(open.map(|off| off.off_ms))
    }

    /// The times at which it was wrong, oldest first; and a number that changes with them.
    #[must_use]
    pub fn offs(&self) -> (&[Off], u64) {
        (&self.offs, self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_700_000_000_000;

    /// After so many ms, with the machine's clock off by so much.
    fn at(ms: i64, off_ms: i64) -> Moment {
        Moment {
            wall_ms: NOW + ms + off_ms,
            counted_ms: 77 + ms,
        }
    }

    fn begun() -> Steady {
        let mut steady = Steady::default();
        steady.told(NOW, at(0, 0));
        steady.told(NOW + 1000, at(1500, 0));
        steady
    }

    fn spans(steady: &Steady) -> Vec<(i64, Option<i64>, i64)> {
        let span = |off: &Off| (off.from_ms - NOW, off.to_ms.map(|to| to - NOW), off.off_ms);
        steady.offs().0.iter().map(span).collect()
    }

    #[test]
    fn a_jump_that_the_homeserver_refutes_moves_no_time() {
        for off in [HOUR, -HOUR, 3000, -3000] {
            let mut steady = begun();
            assert_eq!(steady.read(at(2000, off)), NOW + 2000, "{off}");
            assert_eq!(steady.off_ms(), Some(off));
            steady.told(NOW + 2000, at(2500, off));
            assert_eq!(steady.read(at(2 * UNTOLD_MS, off)), NOW + 2 * UNTOLD_MS);
            let end = 2 * UNTOLD_MS + 1000;
            assert_eq!(steady.read(at(end, 0)), NOW + end);
            assert_eq!(steady.off_ms(), None);
            assert_eq!(spans(&steady), [(2000, Some(end), off)]);
        }
    }

    #[test]
    fn a_machine_that_slept_is_right_afterwards() {
        let mut steady = begun();
        // Only the clock that shows the time goes on.
        let woken = Moment {
            wall_ms: NOW + 8 * HOUR,
            counted_ms: at(3000, 0).counted_ms,
        };

        steady.told(NOW + 8 * HOUR - 400, woken);
        assert_eq!(steady.read(woken), NOW + 8 * HOUR);
        assert_eq!((steady.off_ms(), steady.offs().0.len()), (None, 0));
    }

    #[test]
    fn a_clock_that_is_set_right_was_wrong_before() {
        let mut steady = Steady::default();
        steady.told(NOW, at(0, -50_000));
        steady.told(NOW + 1000, at(1500, -50_000));
        steady.told(NOW + 2500, at(3000, 0));
        assert_eq!(steady.read(at(4000, 0)), NOW + 4000);
        assert_eq!(spans(&steady), [(-50_000, Some(3000 - 50_000), -50_000)]);
        assert!(steady.offs().0[0].was_believed);
    }

    #[test]
    fn small_corrections_are_followed() {
        let mut steady = begun();
        for (ms, off) in [(2000, 500), (3000, 1200), (4000, 1900), (5000, 2600)] {
            assert_eq!(steady.read(at(ms, off)), NOW + ms + off);
        }

        assert_eq!(steady.offs().0.len(), 0);
    }

    #[test]
    fn without_a_word_the_clock_is_believed_after_a_while() {
        let mut steady = begun();
        assert_eq!(steady.read(at(2000, HOUR)), NOW + 2000);
        let later = 2001 + UNTOLD_MS;
        assert_eq!(steady.read(at(later, HOUR)), NOW + later + HOUR);
        assert_eq!(steady.off_ms(), None);
    }

    #[test]
    fn where_nothing_parted_and_the_homeserver_tells_another_time_nobody_knows() {
        let mut steady = begun();
        steady.told(NOW + 5000 - HOUR, at(5000, 0));
        assert_eq!(steady.off_ms(), Some(HOUR));
        assert_eq!(steady.read(at(6000, 0)), NOW + 6000);
        steady.told(NOW + 9000, at(9000, 0));
        assert_eq!(steady.off_ms(), None);
        assert_eq!(spans(&steady)[0].1, Some(9000));
        // A homeserver whose clock is a minute off was so from the beginning.
        let mut other = Steady::default();
        other.told(NOW - 60_000, at(0, 0));
        assert_eq!(other.off_ms(), None);
    }
}
