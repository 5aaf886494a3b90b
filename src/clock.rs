//! What time it is: the system's clock, the same watched for jumps, or a clock that stands still
//! until a test moves it.

pub mod steady;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use steady::{Doubt, Moment, Off, Steady, Word};

/// Where the time comes from. Clones of a fixed clock show the same time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The clock of the machine.
    #[default]
    System,
    /// A clock that moves only when told to.
    Fixed(Arc<AtomicI64>),
    /// A machine whose clock may jump, which is then found. Clones are one clock.
    Watched(Arc<Watched>),
}

/// The two clocks of a machine, and what is known of the one that may be set.
#[derive(Debug)]
pub struct Watched {
    /// The beginning of the monotonic clock.
    began: Instant,
    /// The clock is set by so much, ms: by a test.
    set_by_ms: AtomicI64,
    known: Mutex<Steady>,
}

impl Watched {
    /// What both clocks show now. A test may have set the wall clock.
    fn moment(&self) -> Moment {
        let counted = i64::try_from(self.began.elapsed().as_millis());
        let set_by_ms = self.set_by_ms.load(Ordering::SeqCst);

        Moment {
            wall_ms: Clock::System.now_ms().saturating_add(set_by_ms),
            counted_ms: counted.unwrap_or(i64::MAX),
        }
    }

    /// What is known of the clock; nobody else may read it meanwhile.
    fn known(&self) -> MutexGuard<'_, Steady> {
        // Nothing that holds it can fail half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// A clock that stands at `now_ms`, milliseconds since the Unix epoch.
    #[must_use]
    pub fn fixed(now_ms: i64) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(now_ms)))
    }

    /// The clock of the machine, watched for jumps.
    #[must_use]
    pub fn watched() -> Self {
        Self::Watched(Arc::new(Watched {
            began: Instant::now(),
            set_by_ms: AtomicI64::new(0),
            known: Mutex::default(),
        }))
    }

    /// Takes the homeserver's time from an answer. Only a watched clock makes use of it.
    pub fn told(&self, word: Word) {
        if let Self::Watched(clock) = self {
            // The moment is taken while no other one can be: they come in order.
            let mut known = clock.known();
            known.told(word, clock.moment());
        }
    }

    /// By how much the clock of the machine is wrong, if it is not believed now. Always `None` for
    /// a clock that is not watched.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Watched(clock) => clock.known().doubt(clock.moment()),
            _ => None,
        }
    }

    /// Does the homeserver say that it is about this time, too? Never for a clock that is not
    /// watched.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        match self {
            Self::Watched(clock) => clock.known().is_confirmed(clock.moment()),
            _ => false,
        }
    }

    /// The spans in which the clock was found wrong since the start, oldest first; and a number
    /// that changes with them.
    #[must_use]
    pub fn offs(&self) -> (Vec<Off>, u64) {
        match self {
            Self::Watched(clock) => {
                let known = clock.known();
                let (offs, changes) = known.offs();
                (offs.to_vec(), changes)
            }
            _ => (Vec::new(), 0),
        }
    }

    /// The time now, milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            },
            Self::Fixed(now) => now.load(Ordering::SeqCst),
            Self::Watched(clock) => clock.known().read(clock.moment()),
        }
    }

    /// Moves a fixed clock to `now_ms`. The system's clock is not ours to move: it stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Self::Fixed(now) = self {
            now.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Moves a fixed clock on by `ms` (backwards when negative). What a watched machine shows jumps
    /// by as much.
    pub fn advance(&self, ms: i64) {
        match self {
            Self::Watched(clock) => {
                clock.set_by_ms.fetch_add(ms, Ordering::SeqCst);
            }
            _ => self.set(self.now_ms().saturating_add(ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_fixed_clock_show_the_same_time() {
        let clock = Clock::fixed(1_000);
        let other = clock.clone();
        clock.advance(500);
        assert_eq!(other.now_ms(), 1_500);
        other.set(7);
        assert_eq!(clock.now_ms(), 7);
    }

    #[test]
    fn the_system_clock_counts_from_the_epoch_and_cannot_be_moved() {
        let clock = Clock::System;
        clock.set(0);
        assert!(clock.now_ms() > 1_700_000_000_000);
    }
}
