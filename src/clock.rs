//! What time it is: the system's clock, or a clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time comes from. Clones of a fixed clock show the same time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The clock of the machine.
    #[default]
    System,
    /// A clock that moves only when told to.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `now_ms`, milliseconds since the Unix epoch.
    #[must_use]
    pub fn fixed(now_ms: i64) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(now_ms)))
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
        }
    }

    /// Moves a fixed clock to `now_ms`. The system's clock is not ours to move: it stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Self::Fixed(now) = self {
            now.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Moves a fixed clock on by `ms` (backwards when negative).
    pub fn advance(&self, ms: i64) {
        self.set(self.now_ms().saturating_add(ms));
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
