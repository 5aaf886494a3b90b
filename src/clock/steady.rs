//! A clock that withstands jumps of the machine's clock. It compares the wall clock, which may be
//! set, with a monotonic clock and with the time of the homeserver.
//!
//! Two events can be detected. **A step**: the wall clock and the monotonic clock diverge. Somebody
//! set the wall clock, or the machine slept and the monotonic clock stood still. **A changed
//! distance**: the two clocks agree, but the distance to the homeserver's clock is not the usual
//! one. The homeserver's clock was set, or both of our clocks stood still.
//!
//! The homeserver decides a step. Its time comes with each answer, as an interval. The clock at the
//! usual distance from it is right; or the wall clock, if setting it brought us to the homeserver's
//! time. Each answer decides again. Until the first answer, time goes on by the monotonic clock. A
//! verdict that no answer confirms for ten minutes lapses: then the wall clock is believed.
//!
//! If only the distance changed, nobody can say which side is wrong. Our clock is doubted for ten
//! minutes; then the new distance becomes the usual one. If the usual distance was heard meanwhile,
//! too, several homeservers answer by turns: then both distances are usual.

/// Maximum size of an ordinary step, ms: clocks are corrected by this much now and then.
const STEP_MS: i64 = 3_000;
/// Maximum change of the usual distance to the homeserver, ms, while no clock is set.
const NEAR_MS: i64 = 10_000;
/// Maximum distance to a homeserver that is heard for the first time, ms. If it is larger,
/// something is wrong.
const APART_MS: i64 = 90_000;
/// A verdict lapses after this time without an answer that confirms it, ms: ten minutes, less the
/// two long polls that it may take to notice that.
const LAPSE_MS: i64 = 530_000;
/// One clock is right if it is nearer to the usual distance than the other by at least this, ms.
const CLEAR_MS: i64 = 1_000;
/// A clock that is at most this far from the homeserver, ms, counts as being at its time.
const THERE_MS: i64 = 2_000;
/// Maximum number of other usual distances, where several homeservers answer by turns.
const OTHERS_MAX: usize = 8;
/// Maximum number of stored spans in which the clock was wrong.
const OFFS_MAX: usize = 100;

/// How a wrong clock was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// By the monotonic clock, which went on as before.
    Counting,
    /// By the homeserver, which reports another time. Which of the two is wrong is not known.
    Homeserver,
}

/// A span of time in which the wall clock was wrong. Times in ms since the Unix epoch, as the
/// monotonic clock went on from the last moment at which both agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Off {
    pub from_ms: i64,
    /// `None` while it lasts.
    pub to_ms: Option<i64>,
    /// The wall clock minus the right time; negative = it was behind.
    pub off_ms: i64,
    pub found_by: FoundBy,
    /// It was found afterwards: the readings of the span had been believed.
    pub was_believed: bool,
    /// The clock was not wrong after all: the readings of the span are right, plus this many ms.
    pub withdrawn_by_ms: Option<i64>,
    /// The number of the last change, see [`Steady::offs`].
    pub change: u64,
}

/// Both clocks of the machine at one moment, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, which may be set.
    pub wall_ms: i64,
    /// The monotonic clock, from an arbitrary beginning.
    pub counted_ms: i64,
}

/// The homeserver's time in an answer. Some homeservers give the time of the request, which for a
/// long poll is long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The beginning of the second in the answer's date, ms.
    pub date_ms: i64,
    /// How long the request took, ms by the monotonic clock.
    pub elapsed_ms: i64,
}

/// Our wall clock is not believed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// When the doubt began, ms: the beginning of its [`Off`], if there is one.
    pub since_ms: i64,
    /// How far the wall clock is off, ms.
    pub off_ms: i64,
    /// The latest possible time now, ms.
    pub latest_ms: i64,
}

/// Our time minus the homeserver's, ms, as an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distance {
    least_ms: i64,
    most_ms: i64,
}

impl Distance {
    /// Our time minus the homeserver's, from one answer. `our_ms` is when the answer came. The
    /// homeserver gave its time at some moment since the request was sent, and within a second: so
    /// only an interval is known. `slept_ms` is how long the machine may have slept meanwhile.
    fn from_server(our_ms: i64, word: Word, slept_ms: i64) -> Self {
        let passed_ms = word.elapsed_ms.max(0).saturating_add(slept_ms);
        let most_ms = our_ms.saturating_sub(word.date_ms);

        Self {
            least_ms: most_ms.saturating_sub(passed_ms).saturating_sub(1_000),
            most_ms,
        }
    }

    /// The gap between the two intervals, ms; 0 if they overlap.
    fn gap_ms(self, other: Self) -> i64 {
        let above = self.least_ms.saturating_sub(other.most_ms);
        let below = other.least_ms.saturating_sub(self.most_ms);
        above.max(below).max(0)
    }

    /// The intersection of both intervals, or the new one if they do not overlap.
    fn narrowed_by(self, new: Self) -> Self {
        if self.gap_ms(new) > 0 {
            return new;
        }

        Self {
            least_ms: self.least_ms.max(new.least_ms),
            most_ms: self.most_ms.min(new.most_ms),
        }
    }

    /// How far our time may be from the homeserver's at most, ms.
    fn farthest_ms(self) -> i64 {
        let least = self.least_ms.saturating_abs();
        least.max(self.most_ms.saturating_abs())
    }

    /// How far our time is from the homeserver's at least, ms; 0 if they may be equal.
    fn nearest_ms(self) -> i64 {
        self.least_ms.max(self.most_ms.saturating_neg()).max(0)
    }

    /// The middle of the interval, ms; negative if we are behind.
    fn middle_ms(self) -> i64 {
        self.least_ms / 2 + self.most_ms / 2
    }
}

/// The wall clock and the monotonic clock have diverged.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Since when, ms by our time and by the monotonic clock.
    since_ms: i64,
    since_counted_ms: i64,
    /// The wall clock minus the time by the monotonic clock, ms.
    off_ms: i64,
    /// When the homeserver last said that the wall clock is wrong, ms by the monotonic clock.
    told_ms: Option<i64>,
    /// The distance of the wall clock since the step.
    distance: Option<Distance>,
    /// Nobody said which clock is wrong until it lapsed: its doubt is withdrawn.
    is_withdrawn: bool,
}

impl Step {
    /// Is the step too long ago without a word of the homeserver, so that the wall clock is
    /// believed again? `counted_ms` is now, as [`Moment::counted_ms`].
    fn is_lapsed(&self, counted_ms: i64) -> bool {
        // A small step, hardly larger than an ordinary one, is believed in any case.
        let is_small = self.off_ms.saturating_abs() <= NEAR_MS;
        let told_ms = self.told_ms.filter(|_| !is_small);
        let last_ms = told_ms.unwrap_or(self.since_counted_ms);
        counted_ms.saturating_sub(last_ms) > LAPSE_MS
    }
}

/// The distance to the homeserver is not the usual one, although the two clocks agree.
#[derive(Debug, Clone, Copy)]
struct Apart {
    /// Since when, ms.
    since_ms: i64,
    /// The same by the monotonic clock, ms.
    since_counted_ms: i64,
    /// By how much the distance changed, ms.
    off_ms: i64,
    distance: Distance,
    /// Meanwhile it was as far as usual, too.
    was_usual: bool,
}

/// The homeserver was not as far from us as usual, and is again.
#[derive(Debug, Clone, Copy)]
struct EndedApart {
    apart: Apart,
    ended_counted_ms: i64,
}

/// Which clock is right after a step, as the homeserver's time shows: the monotonic one (`Counted`)
/// or the wall clock.
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
    /// The last moment at which both clocks agreed.
    anchor: Option<Moment>,
    /// The clocks have diverged and do not agree again yet.
    step: Option<Step>,
    /// The usual distance to the homeserver.
    usual: Option<Distance>,
    /// How far it is by turns, too.
    others: Vec<Distance>,
    /// The distance is not a usual one.
    apart: Option<Apart>,
    /// The distance was not a usual one until lately.
    ended_apart: Option<EndedApart>,
    /// When the homeserver last confirmed the usual distance, ms by the monotonic clock.
    usual_ms: Option<i64>,
    /// The spans in which the clock was wrong, oldest first.
    offs: Vec<Off>,
    /// The number of changes of `offs` so far.
    changes: u64,
}

impl Steady {
    /// The best known time, ms: that of the wall clock if both clocks agree, or if a step has
    /// lapsed; else that of the monotonic clock. Each call notes what both clocks show.
    pub fn read(&mut self, moment: Moment) -> i64 {
        self.begun_ms.get_or_insert(moment.wall_ms);
        let by_count_ms = self.time_by_count(moment);
        let off_ms = moment.wall_ms.saturating_sub(by_count_ms);
        if off_ms.saturating_abs() <= STEP_MS {
            self.end_step(moment, by_count_ms);
            self.anchor = Some(moment);
            self.adopt_after_a_while(moment);
            return moment.wall_ms;
        }

        let step = match self.step {
            // The wall clock is being corrected little by little.
            Some(step) if step.off_ms.abs_diff(off_ms) <= STEP_MS.unsigned_abs() => {
                Step { off_ms, ..step }
            }
            _ => {
                self.end_off(by_count_ms, FoundBy::Counting);
                Step {
                    since_ms: by_count_ms,
                    since_counted_ms: moment.counted_ms,
                    off_ms,
                    told_ms: None,
                    distance: None,
                    is_withdrawn: false,
                }
            }
        };

        self.step = Some(step);
        if step.is_lapsed(moment.counted_ms) {
            if step.told_ms.is_none() && !step.is_withdrawn {
                self.withdraw(step, by_count_ms);
                self.step = Some(Step {
                    is_withdrawn: true,
                    ..step
                });
            }

            self.end_off(by_count_ms, FoundBy::Counting);
            return moment.wall_ms;
        }

        by_count_ms
    }

    /// The time by the monotonic clock, ms since the Unix epoch: the wall clock at the last moment
    /// at which both agreed, plus what was counted since. Not to be confused with
    /// [`Moment::counted_ms`], which has an arbitrary beginning.
    fn time_by_count(&self, moment: Moment) -> i64 {
        self.anchor.map_or(moment.wall_ms, |anchor| {
            let passed_ms = moment.counted_ms.saturating_sub(anchor.counted_ms);
            anchor.wall_ms.saturating_add(passed_ms)
        })
    }

    /// Ends the step, if there is one: both clocks agree again, so the wall clock was wrong
    /// meanwhile. `by_count_ms` is [`Self::time_by_count`] at this moment, as in all of this file.
    fn end_step(&mut self, moment: Moment, by_count_ms: i64) {
        let Some(step) = self.step.take() else {
            return;
        };

        if self.open(FoundBy::Counting).is_none() && !step.is_lapsed(moment.counted_ms) {
            self.note_step(step, by_count_ms, None);
        }

        self.end_off(by_count_ms, FoundBy::Counting);
    }

    /// Takes the time that the homeserver reported in an answer that came at this moment. Moments
    /// must be given in the order in which they were, here and to [`Self::read`].
    pub fn told(&mut self, word: Word, moment: Moment) {
        let now_ms = self.read(moment);
        let Some(step) = self.step else {
            let distance = Distance::from_server(moment.wall_ms, word, 0);
            return self.compare(distance, moment.counted_ms, moment, now_ms);
        };

        let by_count_ms = self.time_by_count(moment);
        // The machine may have slept while the request was under way. Then the monotonic clock did
        // not count all of the time.
        let begun_ms = moment.counted_ms.saturating_sub(word.elapsed_ms);
        let slept_ms = if begun_ms <= step.since_counted_ms {
            step.off_ms.max(0)
        } else {
            0
        };

        let of_counted = Distance::from_server(by_count_ms, word, slept_ms);
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
                if !step.is_withdrawn {
                    self.withdraw(step, by_count_ms);
                }

                self.believe(step, of_counted, moment);
                return self.compare(of_wall, step.since_counted_ms, moment, moment.wall_ms);
            }
            Verdict::CountedIsRight => {
                step.told_ms = Some(moment.counted_ms);
                if self.open(FoundBy::Counting).is_none() && !step.is_lapsed(moment.counted_ms) {
                    self.record_span(Off {
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
        // The homeserver was heard, but no verdict was possible: its present distance becomes the
        // usual one.
        if step.is_lapsed(moment.counted_ms) {
            self.believe(step, of_counted, moment);
            self.usual = Some(of_wall);
            self.compare(of_wall, step.since_counted_ms, moment, moment.wall_ms);
        }
    }

    /// Which clock is right, by their distances to the homeserver. A clock at the usual distance is
    /// right, or one that the step brought to the homeserver's time. `Unknown` if neither shows it
    /// clearly.
    fn decide(&self, of_counted: Distance, of_wall: Distance) -> Verdict {
        let usual = self.usual;
        // The usual distance narrows the distance of the monotonic time.
        let before = usual
            .filter(|usual| usual.gap_ms(of_counted) <= NEAR_MS)
            .map_or(of_counted, |usual| usual.narrowed_by(of_counted));
        if brings_to_the_homeserver(before, of_wall) {
            return Verdict::WallIsRight;
        }

        let gaps = self
            .usual_gap_ms(of_counted)
            .zip(self.usual_gap_ms(of_wall));
        if let Some((counted_gap, wall_gap)) = gaps {
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

    /// How far a distance is from the nearest one that is usual, ms; `None` if none is usual yet.
    fn usual_gap_ms(&self, distance: Distance) -> Option<i64> {
        let usual = self.usual?.gap_ms(distance);
        let others = self.others.iter().map(|other| other.gap_ms(distance));

        Some(others.fold(usual, i64::min))
    }

    /// Is this distance about a usual one?
    fn is_usual(&self, distance: Distance) -> bool {
        self.usual_gap_ms(distance)
            .is_some_and(|gap_ms| gap_ms <= NEAR_MS)
    }

    /// Withdraws the doubt of a step: the wall clock had been right since then, and the monotonic
    /// time was wrong.
    fn withdraw(&mut self, step: Step, by_count_ms: i64) {
        let withdrawn_by_ms = Some(step.off_ms);
        let change = self.changes + 1;
        if let Some(off) = self.open(FoundBy::Counting) {
            off.to_ms = Some(by_count_ms);
            off.withdrawn_by_ms = withdrawn_by_ms;
            off.change = change;
            self.changes = change;
            return;
        }

        self.note_step(step, by_count_ms, withdrawn_by_ms);
    }

    /// Notes a step that is over now and was not noted while it went on. `withdrawn_by_ms` is set
    /// if the wall clock had been right.
    fn note_step(&mut self, step: Step, by_count_ms: i64, withdrawn_by_ms: Option<i64>) {
        self.record_span(Off {
            from_ms: step.since_ms,
            to_ms: Some(by_count_ms),
            off_ms: step.off_ms,
            found_by: FoundBy::Counting,
            was_believed: false,
            withdrawn_by_ms,
            change: 0,
        });
    }

    /// Believes the wall clock from this moment on. Either the machine slept, or the wall clock was
    /// wrong before and is right now; then the whole time before the step was wrong. `of_counted`
    /// is the distance that the monotonic time has to the homeserver. If the time before was wrong,
    /// no distance is usual afterwards.
    fn believe(&mut self, step: Step, of_counted: Distance, moment: Moment) {
        self.step = None;
        self.anchor = Some(moment);
        self.end_off(step.since_ms, FoundBy::Counting);
        self.apart = None;
        self.ended_apart = None;
        self.end_off(step.since_ms, FoundBy::Homeserver);
        let has_slept = step.distance.is_some_and(|wall| self.is_usual(wall));
        let was_wrong = self.is_usual(of_counted) && !has_slept;
        if was_wrong {
            self.usual = None;
            self.others.clear();
            self.record_span(Off {
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

    /// Compares a distance to the homeserver with the usual ones, while the two clocks agree. If it
    /// is another one, it changed at `since_counted_ms`, as [`Moment::counted_ms`], and our clock
    /// is doubted from `now_ms` on, our time. The first distance heard is the usual one, unless it
    /// is larger than [`APART_MS`].
    fn compare(&mut self, distance: Distance, since_counted_ms: i64, moment: Moment, now_ms: i64) {
        let is_near = |known: &Distance| known.gap_ms(distance) <= NEAR_MS;
        let is_usual = self
            .usual
            .as_ref()
            .map_or_else(|| distance.nearest_ms() <= APART_MS, is_near);
        let other = self.others.iter_mut().find(|other| is_near(other));
        if is_usual {
            let usual = self.usual.unwrap_or(distance);
            self.usual = Some(usual.narrowed_by(distance));
            return self.end_apart(moment, now_ms);
        }

        if let Some(other) = other {
            *other = other.narrowed_by(distance);
            return self.end_apart(moment, now_ms);
        }

        if let Some(apart) = &mut self.apart {
            apart.distance = apart.distance.narrowed_by(distance);
            return self.adopt_after_a_while(moment);
        }

        let is_short = |ended: &EndedApart| {
            moment.counted_ms.saturating_sub(ended.ended_counted_ms) <= LAPSE_MS
        };
        // The usual distance was back only for a short time: the earlier doubt goes on from where
        // it began.
        let ended = self.ended_apart.take().filter(is_short);
        if let Some(EndedApart { apart, .. }) = ended {
            self.apart = Some(Apart {
                distance: apart.distance.narrowed_by(distance),
                was_usual: true,
                ..apart
            });
            self.note_apart(apart.since_ms, apart.off_ms);
            return self.adopt_after_a_while(moment);
        }

        let usual_ms = self.usual.map_or(0, Distance::middle_ms);
        let off_ms = distance.middle_ms().saturating_sub(usual_ms);
        self.apart = Some(Apart {
            since_ms: now_ms,
            since_counted_ms,
            off_ms,
            distance,
            was_usual: false,
        });
        self.note_apart(now_ms, off_ms);
    }

    /// Ends the doubt, if there is one: the homeserver is as far from us as usual. `now_ms` is our
    /// time at this moment.
    fn end_apart(&mut self, moment: Moment, now_ms: i64) {
        self.usual_ms = Some(moment.counted_ms);
        if let Some(apart) = self.apart.take() {
            self.ended_apart = Some(EndedApart {
                apart,
                ended_counted_ms: moment.counted_ms,
            });
        }

        self.end_off(now_ms, FoundBy::Homeserver);
    }

    /// Notes that the distance is not the usual one since `from_ms`, our time, by `off_ms`. If that
    /// was noted before and had ended, it goes on.
    fn note_apart(&mut self, from_ms: i64, off_ms: i64) {
        let is_it = |off: &&mut Off| off.from_ms == from_ms && off.found_by == FoundBy::Homeserver;
        let change = self.changes + 1;
        if let Some(off) = self.offs.iter_mut().rev().find(is_it) {
            off.to_ms = None;
            off.change = change;
            self.changes = change;
            return;
        }

        self.record_span(Off {
            from_ms,
            to_ms: None,
            off_ms,
            found_by: FoundBy::Homeserver,
            was_believed: false,
            withdrawn_by_ms: None,
            change: 0,
        });
    }

    /// Makes a changed distance the usual one, if it has lasted longer than [`LAPSE_MS`]; the doubt
    /// of it is withdrawn.
    fn adopt_after_a_while(&mut self, moment: Moment) {
        let Some(apart) = self.apart else {
            return;
        };

        if moment.counted_ms.saturating_sub(apart.since_counted_ms) <= LAPSE_MS {
            return;
        }

        self.apart = None;
        if apart.was_usual && self.usual.is_some() {
            if self.others.len() >= OTHERS_MAX {
                self.others.remove(0);
            }

            self.others.push(apart.distance);
        } else {
            self.usual = Some(apart.distance);
            self.others.clear();
        }

        self.usual_ms = Some(moment.counted_ms);
        let change = self.changes + 1;
        if let Some(off) = self.open(FoundBy::Homeserver) {
            off.to_ms = Some(moment.wall_ms);
            off.withdrawn_by_ms = Some(0);
            off.change = change;
            self.changes = change;
        }
    }

    /// The span that still lasts and was found in this way; there is at most one.
    fn open(&mut self, found_by: FoundBy) -> Option<&mut Off> {
        let is_open = |off: &&mut Off| off.to_ms.is_none() && off.found_by == found_by;
        self.offs.iter_mut().rev().find(is_open)
    }

    /// Ends the span that still lasts and was found in this way, if there is one, at `now_ms`, our
    /// time; not before it began.
    fn end_off(&mut self, now_ms: i64, found_by: FoundBy) {
        let change = self.changes + 1;
        if let Some(off) = self.open(found_by) {
            off.to_ms = Some(now_ms.max(off.from_ms));
            off.change = change;
            self.changes = change;
        }
    }

    /// Stores a span, and gives it the number of its change, whatever `off.change` is. If there are
    /// too many, the oldest one that is over is dropped.
    fn record_span(&mut self, off: Off) {
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

    /// How far the wall clock is off, if it is not believed now.
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
                since_ms: step.since_ms,
                off_ms: step.off_ms,
                latest_ms,
            });
        }

        self.apart.map(|apart| Doubt {
            since_ms: apart.since_ms,
            off_ms: apart.off_ms,
            latest_ms: now_ms.max(now_ms.saturating_sub(apart.distance.least_ms)),
        })
    }

    /// Did the homeserver confirm our time within `LAPSE_MS`?
    pub fn is_confirmed(&mut self, moment: Moment) -> bool {
        let is_fresh = |told_ms: i64| moment.counted_ms.saturating_sub(told_ms) <= LAPSE_MS;

        self.doubt(moment).is_none()
            && self.step.is_none()
            && self.usual_ms.is_some_and(is_fresh)
            && self
                .usual
                .is_some_and(|usual| usual.nearest_ms() <= APART_MS)
    }

    /// The spans in which the clock was wrong, oldest first; and a number that changes with them.
    #[must_use]
    pub fn offs(&self) -> (&[Off], u64) {
        (&self.offs, self.changes)
    }
}

/// Did a step bring us from elsewhere to the homeserver's time? `before` and `after` are our
/// distances to it.
fn brings_to_the_homeserver(before: Distance, after: Distance) -> bool {
    let near_ms = THERE_MS.max(before.nearest_ms() / 4);
    before.nearest_ms() > THERE_MS && after.farthest_ms() <= near_ms.min(before.nearest_ms())
}

#[cfg(test)]
#[path = "steady_tests.rs"]
mod tests;
