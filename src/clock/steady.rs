//! A clock of the machine that may jump, beside one that only counts and what the homeserver says
//! the time is.
//!
//! Two things can be seen. **A step**: the clock that shows the time and the one that counts part.
//! Somebody set the first, or the machine slept and the second stood still. **Another distance**:
//! nothing parted, but the homeserver is not as far from us as usual: its clock was set, or both of
//! ours stood still.
//!
//! A step is decided by the homeserver. Its time comes with each answer, as an interval. Right is
//! the reading that is as far from it as usual; or the clock that was set, where that brought us to
//! where the homeserver is. Each word of it decides anew. Until the first one, time goes on as it
//! was counted. After ten minutes without a word that confirms a verdict, it lapses: the clock of
//! the machine is believed.
//!
//! Of another distance nobody can say who is wrong. It is doubted for ten minutes; then it is the
//! usual one.

/// Steps up to this are ordinary, ms: a clock is set right so now and then.
const STEP_MS: i64 = 3_000;
/// The usual distance to the homeserver changes by less than this, ms, as long as no clock is set.
const NEAR_MS: i64 = 10_000;
/// A homeserver of which nothing was heard yet is as far from us as this, ms, or something is
/// wrong.
const APART_MS: i64 = 90_000;
/// So long without a word that confirms it, ms, and a verdict lapses: ten minutes with the two long
/// polls that it may take to hear of it.
const LAPSE_MS: i64 = 530_000;
/// One reading is nearer to the usual distance than the other one by this at least, ms.
const CLEAR_MS: i64 = 1_000;
/// As far from the homeserver as this, ms, is where it is.
const THERE_MS: i64 = 2_000;
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
    /// The clock was not wrong at all: what was read meanwhile is right, plus so many ms.
    pub withdrawn_by_ms: Option<i64>,
    /// The number of the last change, see [`Steady::offs`].
    pub change: u64,
}

/// Both clocks of the machine at one moment, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What shows the time and may be set.
    pub wall_ms: i64,
    /// What only counts, from some beginning.
    pub counted_ms: i64,
}

/// What the homeserver says of the time in an answer. Some say when the request came, which with a
/// long poll is long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The beginning of the second that it names, ms.
    pub date_ms: i64,
    /// How long the request took until now, ms as counted.
    pub elapsed_ms: i64,
}

/// What our clock says is not believed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// How far it is off, ms.
    pub off_ms: i64,
    /// It is no later than this, ms.
    pub latest_ms: i64,
}

/// Our time less the homeserver's, ms: between these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distance {
    least_ms: i64,
    most_ms: i64,
}

impl Distance {
    fn from_server(our_ms: i64, word: Word, slept_ms: i64) -> Self {
        let passed_ms = word.elapsed_ms.max(0).saturating_add(slept_ms);
        let most_ms = our_ms.saturating_sub(word.date_ms);

        Self {
            least_ms: most_ms.saturating_sub(passed_ms).saturating_sub(1_000),
            most_ms,
        }
    }

    /// How far the two are from each other; 0 where they may be the same.
    fn gap_ms(self, other: Self) -> i64 {
        let above = self.least_ms.saturating_sub(other.most_ms);
        let below = other.least_ms.saturating_sub(self.most_ms);
        above.max(below).max(0)
    }

    /// Both are true, or only the new one.
    fn narrowed_by(self, new: Self) -> Self {
        if self.gap_ms(new) > 0 {
            return new;
        }

        Self {
            least_ms: self.least_ms.max(new.least_ms),
            most_ms: self.most_ms.min(new.most_ms),
        }
    }

    fn farthest_ms(self) -> i64 {
        let least = self.least_ms.saturating_abs();
        least.max(self.most_ms.saturating_abs())
    }

    fn nearest_ms(self) -> i64 {
        self.least_ms.max(self.most_ms.saturating_neg()).max(0)
    }

    fn middle_ms(self) -> i64 {
        self.least_ms / 2 + self.most_ms / 2
    }
}

/// The two clocks of the machine have parted.
#[derive(Debug, Clone, Copy)]
struct Step {
    since_ms: i64,
    since_counted_ms: i64,
    off_ms: i64,
    /// When the homeserver said last, ms as counted, that it is the machine's clock that is wrong.
    told_ms: Option<i64>,
    /// The distance of the machine's clock since then.
    distance: Option<Distance>,
}

impl Step {
    fn is_lapsed(&self, counted_ms: i64) -> bool {
        // One that is hardly more than an ordinary one is believed in any case.
        let is_small = self.off_ms.saturating_abs() <= NEAR_MS;
        let told_ms = self.told_ms.filter(|_| !is_small);
        let last_ms = told_ms.unwrap_or(self.since_counted_ms);
        counted_ms.saturating_sub(last_ms) > LAPSE_MS
    }
}

/// The homeserver is not as far from us as usual, though nothing parted.
#[derive(Debug, Clone, Copy)]
struct Apart {
    since_counted_ms: i64,
    off_ms: i64,
    distance: Distance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    CountedIsRight,
    WallIsRight,
    Unknown,
}

/// What is known of the clock so far.
#[derive(Debug, Clone, Default)]
pub struct Steady {
    /// Since when time is counted from the anchor without a break, ms.
    begun_ms: Option<i64>,
    /// When both clocks went on alike last.
    anchor: Option<Moment>,
    step: Option<Step>,
    /// How far the homeserver is from us as a rule.
    usual: Option<Distance>,
    apart: Option<Apart>,
    /// When the homeserver said last, ms as counted, that it is the usual distance.
    usual_ms: Option<i64>,
    offs: Vec<Off>,
    changes: u64,
}

impl Steady {
    /// The time, ms, as well as it is known.
    pub fn read(&mut self, moment: Moment) -> i64 {
        self.begun_ms.get_or_insert(moment.wall_ms);
        let counted_ms = self.count(moment);
        let off_ms = moment.wall_ms.saturating_sub(counted_ms);
        if off_ms.saturating_abs() <= STEP_MS {
            self.end_step(moment, counted_ms);
            self.anchor = Some(moment);
            self.adopt_after_a_while(moment);
            return moment.wall_ms;
        }

        let step = match self.step {
            // It is corrected little by little.
            Some(step) if step.off_ms.abs_diff(off_ms) <= STEP_MS.unsigned_abs() => {
                Step { off_ms, ..step }
            }
            _ => {
                self.end_off(counted_ms, FoundBy::Counting);
                Step {
                    since_ms: counted_ms,
                    since_counted_ms: moment.counted_ms,
                    off_ms,
                    told_ms: None,
                    distance: None,
                }
            }
        };

        self.step = Some(step);
        if step.is_lapsed(moment.counted_ms) {
            self.end_off(counted_ms, FoundBy::Counting);
            return moment.wall_ms;
        }

        counted_ms
    }

    /// The time by the clock that only counts, ms.
    fn count(&self, moment: Moment) -> i64 {
        self.anchor.map_or(moment.wall_ms, |anchor| {
            let passed_ms = moment.counted_ms.saturating_sub(anchor.counted_ms);
            anchor.wall_ms.saturating_add(passed_ms)
        })
    }

    /// Both clocks are together again: the one that shows the time was wrong meanwhile.
    fn end_step(&mut self, moment: Moment, counted_ms: i64) {
        let Some(step) = self.step.take() else {
            return;
        };

        if self.open(FoundBy::Counting).is_none() && !step.is_lapsed(moment.counted_ms) {
            self.note(Off {
                from_ms: step.since_ms,
                to_ms: Some(counted_ms),
                off_ms: step.off_ms,
                found_by: FoundBy::Counting,
                was_believed: false,
                withdrawn_by_ms: None,
                change: 0,
            });
        }

        self.end_off(counted_ms, FoundBy::Counting);
    }

    /// The homeserver says that it is this time now.
    pub fn told(&mut self, word: Word, moment: Moment) {
        let now_ms = self.read(moment);
        let Some(step) = self.step else {
            let distance = Distance::from_server(moment.wall_ms, word, 0);
            return self.compare(distance, moment.counted_ms, moment, now_ms);
        };

        let counted_ms = self.count(moment);
        // The machine may have slept while the request was under way: then the time that passed is
        // not all counted.
        let begun_ms = moment.counted_ms.saturating_sub(word.elapsed_ms);
        let slept_ms = if begun_ms <= step.since_counted_ms {
            step.off_ms.max(0)
        } else {
            0
        };

        let of_counted = Distance::from_server(counted_ms, word, slept_ms);
        let of_wall = Distance::from_server(moment.wall_ms, word, slept_ms);
        let of_wall = step
            .distance
            .filter(|distance| distance.gap_ms(of_wall) <= NEAR_MS)
            .map_or(of_wall, |distance| distance.narrowed_by(of_wall));
        let mut step = Step {
            distance: Some(of_wall),
            ..step
        };

        match self.decide(of_counted, of_wall) {
            Verdict::WallIsRight => {
                self.withdraw(step, counted_ms);
                self.believe(step, of_counted, moment);
                return self.compare(of_wall, step.since_counted_ms, moment, moment.wall_ms);
            }
            Verdict::CountedIsRight => {
                step.told_ms = Some(moment.counted_ms);
                if self.open(FoundBy::Counting).is_none() && !step.is_lapsed(moment.counted_ms) {
                    self.note(Off {
                        from_ms: step.since_ms,
                        to_ms: None,
                        off_ms: step.off_ms,
                        found_by: FoundBy::Counting,
                        was_believed: false,
                        withdrawn_by_ms: None,
                        change: 0,
                    });
                }
            }
            Verdict::Unknown => {}
        }

        self.step = Some(step);
        // It was heard, and all the same nobody knows: the homeserver is where it is now.
        if step.is_lapsed(moment.counted_ms) {
            self.believe(step, of_counted, moment);
            self.usual = Some(of_wall);
            self.compare(of_wall, step.since_counted_ms, moment, moment.wall_ms);
        }
    }

    fn decide(&self, of_counted: Distance, of_wall: Distance) -> Verdict {
        let usual = self.usual;
        // What is known of the usual distance makes that of the counted time more exact.
        let before = usual
            .filter(|usual| usual.gap_ms(of_counted) <= NEAR_MS)
            .map_or(of_counted, |usual| usual.narrowed_by(of_counted));
        if brings_to_the_homeserver(before, of_wall) {
            return Verdict::WallIsRight;
        }

        if let Some(usual) = usual {
            let counted_gap = usual.gap_ms(of_counted);
            let wall_gap = usual.gap_ms(of_wall);
            if wall_gap <= NEAR_MS && wall_gap + CLEAR_MS < counted_gap {
                return Verdict::WallIsRight;
            }

            if counted_gap <= NEAR_MS && counted_gap + CLEAR_MS < wall_gap {
                return Verdict::CountedIsRight;
            }
        }

        if brings_to_the_homeserver(of_wall, of_counted) {
            return Verdict::CountedIsRight;
        }

        Verdict::Unknown
    }

    /// The machine's clock had been right since the step: what was counted was not.
    fn withdraw(&mut self, step: Step, counted_ms: i64) {
        let withdrawn_by_ms = Some(step.off_ms);
        let change = self.changes + 1;
        if let Some(off) = self.open(FoundBy::Counting) {
            off.to_ms = Some(counted_ms);
            off.withdrawn_by_ms = withdrawn_by_ms;
            off.change = change;
            self.changes = change;
            return;
        }

        self.note(Off {
            from_ms: step.since_ms,
            to_ms: Some(counted_ms),
            off_ms: step.off_ms,
            found_by: FoundBy::Counting,
            was_believed: false,
            withdrawn_by_ms,
            change: 0,
        });
    }

    /// The machine shows the right time. It slept, or it had shown a wrong one before.
    fn believe(&mut self, step: Step, of_counted: Distance, moment: Moment) {
        self.step = None;
        self.anchor = Some(moment);
        self.end_off(step.since_ms, FoundBy::Counting);
        self.apart = None;
        self.end_off(step.since_ms, FoundBy::Homeserver);
        let slept = |usual: Distance| {
            step.distance
                .is_some_and(|wall| usual.gap_ms(wall) <= NEAR_MS)
        };
        let was_wrong = self
            .usual
            .is_some_and(|usual| usual.gap_ms(of_counted) <= NEAR_MS && !slept(usual));
        if was_wrong {
            self.usual = None;
            self.note(Off {
                from_ms: self.begun_ms.unwrap_or(step.since_ms),
                to_ms: Some(step.since_ms),
                off_ms: step.off_ms.saturating_neg(),
                found_by: FoundBy::Homeserver,
                was_believed: true,
                withdrawn_by_ms: None,
                change: 0,
            });
        }

        self.begun_ms = Some(moment.wall_ms);
    }

    /// Nothing parted: is the homeserver as far from us as ever? If not, it is not since then, ms as
    /// counted.
    fn compare(&mut self, distance: Distance, since_counted_ms: i64, moment: Moment, now_ms: i64) {
        let is_usual = self.usual.map_or_else(
            || distance.nearest_ms() <= APART_MS,
            |usual| usual.gap_ms(distance) <= NEAR_MS,
        );

        if is_usual {
            let usual = self.usual.unwrap_or(distance);
            self.usual = Some(usual.narrowed_by(distance));
            self.usual_ms = Some(moment.counted_ms);
            self.apart = None;
            return self.end_off(now_ms, FoundBy::Homeserver);
        }

        if let Some(apart) = &mut self.apart {
            apart.distance = apart.distance.narrowed_by(distance);
            return self.adopt_after_a_while(moment);
        }

        let usual_ms = self.usual.map_or(0, Distance::middle_ms);
        let off_ms = distance.middle_ms().saturating_sub(usual_ms);
        self.apart = Some(Apart {
            since_counted_ms,
            off_ms,
            distance,
        });
        self.note(Off {
            from_ms: now_ms,
            to_ms: None,
            off_ms,
            found_by: FoundBy::Homeserver,
            was_believed: false,
            withdrawn_by_ms: None,
            change: 0,
        });
    }

    /// Another distance than usual is the usual one after a while.
    fn adopt_after_a_while(&mut self, moment: Moment) {
        let Some(apart) = self.apart else {
            return;
        };

        if moment.counted_ms.saturating_sub(apart.since_counted_ms) <= LAPSE_MS {
            return;
        }

        self.apart = None;
        self.usual = Some(apart.distance);
        self.usual_ms = Some(moment.counted_ms);
        let change = self.changes + 1;
        if let Some(off) = self.open(FoundBy::Homeserver) {
            off.to_ms = Some(moment.wall_ms);
            off.withdrawn_by_ms = Some(0);
            off.change = change;
            self.changes = change;
        }
    }

    fn open(&mut self, found_by: FoundBy) -> Option<&mut Off> {
        let is_open = |off: &&mut Off| off.to_ms.is_none() && off.found_by == found_by;
        self.offs.iter_mut().rev().find(is_open)
    }

    fn end_off(&mut self, now_ms: i64, found_by: FoundBy) {
        let change = self.changes + 1;
        if let Some(off) = self.open(found_by) {
            off.to_ms = Some(now_ms.max(off.from_ms));
            off.change = change;
            self.changes = change;
        }
    }

    fn note(&mut self, off: Off) {
        if self.offs.len() >= OFFS_MAX
            && let Some(at) = self.offs.iter().position(|off| off.to_ms.is_some())
        {
            self.offs.remove(at);
        }

        self.changes += 1;
        self.offs.push(Off {
            change: self.changes,
            ..off
        });
    }

    /// Whether what the clock of the machine says is not believed now.
    pub fn doubt(&mut self, moment: Moment) -> Option<Doubt> {
        let now_ms = self.read(moment);
        if let Some(step) = self.step {
            let is_refuted = step.told_ms.is_some();
            let latest_ms = if is_refuted {
                now_ms
            } else {
                now_ms.max(moment.wall_ms)
            };

            return (!step.is_lapsed(moment.counted_ms)).then_some(Doubt {
                off_ms: step.off_ms,
                latest_ms,
            });
        }

        self.apart.map(|apart| Doubt {
            off_ms: apart.off_ms,
            latest_ms: now_ms.max(now_ms.saturating_sub(apart.distance.least_ms)),
        })
    }

    /// Did the homeserver say a while ago that it is about this time, too?
    pub fn is_confirmed(&mut self, moment: Moment) -> bool {
        let is_fresh = |told_ms: i64| moment.counted_ms.saturating_sub(told_ms) <= LAPSE_MS;

        self.doubt(moment).is_none()
            && self.step.is_none()
            && self.usual_ms.is_some_and(is_fresh)
            && self
                .usual
                .is_some_and(|usual| usual.nearest_ms() <= APART_MS)
    }

    /// The times at which it was wrong, oldest first; and a number that changes with them.
    #[must_use]
    pub fn offs(&self) -> (&[Off], u64) {
        (&self.offs, self.changes)
    }
}

/// Did the clock that was set bring us from elsewhere to where the homeserver is?
fn brings_to_the_homeserver(before: Distance, after: Distance) -> bool {
    let near_ms = THERE_MS.max(before.nearest_ms() / 4);
    before.nearest_ms() > THERE_MS && after.farthest_ms() <= near_ms.min(before.nearest_ms())
}

#[cfg(test)]
#[path = "steady_tests.rs"]
mod tests;
