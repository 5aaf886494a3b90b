//! Readings of our own clock: whether the time at which we say that something came can be believed.
//!
//! A clock that is behind for seconds would make events look older than they are, for ever: an
//! event happened no later than it was first seen. Readings stand in the order in which they were
//! taken. One that is earlier than the one before it means that one of the two is wrong; which one,
//! the stamps of the events that came with it tell.

use super::time::millis_of_json;
use serde_json::Value;

/// A clock is set right by less than this now and then, ms.
const SLACK_MS: i64 = 1000;
/// Servers' clocks differ by less than this, as a rule, ms.
const SKEW_MS: i64 = 10_000;
/// So far beyond our last good reading no event can be, ms.
const BEYOND_MS: i64 = 86_400_000;

/// One reading, and what came with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// What our clock said, ms.
    pub seen_ms: i64,
    /// How the events of timelines that came live with it were stamped, ms, each with its sender's
    /// server.
    pub stamps: Vec<(String, i64)>,
    /// Our homeserver says that it is about this time, too.
    pub is_confirmed: bool,
}

/// What the clock of the machine knows of itself when something is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OurClock {
    /// It is off, and not believed.
    pub doubt: Option<ClockDoubt>,
    /// Our homeserver says that it is about this time, too.
    pub is_confirmed: bool,
}

/// Our clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDoubt {
    /// How far it is off, ms.
    pub off_ms: i64,
    /// It is no later than this, ms.
    pub latest_ms: i64,
}

impl ClockDoubt {
    /// When an event came at the latest, ms; `None` = its own stamp may be right.
    #[must_use]
    pub fn at_the_latest(&self, origin_server_ts: i64) -> Option<i64> {
        (origin_server_ts > self.latest_ms).then_some(self.latest_ms)
    }
}

impl Reading {
    /// The stamp in the middle: one odd clock among several does not move it.
    fn middle(&self) -> Option<i64> {
        let mut stamps: Vec<i64> = self.stamps.iter().map(|(_, at)| *at).collect();
        stamps.sort_unstable();
        stamps.get(stamps.len() / 2).copied()
    }

    /// Several servers say that all of it happened after our clock says that it came.
    fn is_before_all(&self) -> bool {
        let Some((first, _)) = self.stamps.first() else {
            return false;
        };

        let several = self.stamps.iter().any(|(server, _)| server != first);
        let limit = self.seen_ms.saturating_add(SKEW_MS);

        several && self.stamps.iter().all(|(_, at)| *at > limit)
    }
}

/// An event that is older than this, ms, tells no time: what it says of its age may be of another
/// server.
const AGE_MAX_MS: i64 = 60_000;

/// What time it is at our homeserver by the age that it gives to new events of its own users
/// (`unsigned.age`), ms.
#[must_use]
pub fn time_by_age(events: &[Value], server: &str) -> Option<i64> {
    let of_event = |event: &Value| {
        let sender = event.get("sender")?.as_str()?;
        let age = event.pointer("/unsigned/age").and_then(millis_of_json)?;
        let stamp = event.get("origin_server_ts").and_then(millis_of_json)?;
        let is_own = sender.split_once(':').map(|(_, name)| name) == Some(server);
        (is_own && (0..=AGE_MAX_MS).contains(&age)).then(|| stamp.saturating_add(age))
    };

    let mut times: Vec<i64> = events.iter().filter_map(of_event).collect();
    times.sort_unstable();

    times.get(times.len() / 2).copied()
}

/// Judges readings in the order in which they were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judge {
    /// The latest reading that is believed, ms.
    pub high_ms: Option<i64>,
    /// The same and the time that passed since then, ms, as far as readings tell.
    pub latest_ms: Option<i64>,
    /// The last reading, believed or not, ms.
    pub read_ms: Option<i64>,
}

impl Judge {
    /// Is this reading believed?
    pub fn believes(&mut self, reading: &Reading) -> bool {
        let is_believed = self.judge(reading);
        if is_believed {
            self.latest_ms = self.high_ms;
        } else {
            let read_ms = self.read_ms.unwrap_or(reading.seen_ms);
            let passed_ms = reading.seen_ms.saturating_sub(read_ms).max(0);
            let latest_ms = self.latest_ms.or(self.high_ms);
            self.latest_ms = latest_ms.map(|latest_ms| latest_ms.saturating_add(passed_ms));
        }

        self.read_ms = Some(reading.seen_ms);

        is_believed
    }

    /// Would it not be believed but for the word of our homeserver?
    #[must_use]
    pub fn needs_confirmation(mut self, reading: &Reading) -> bool {
        let unconfirmed = Reading {
            is_confirmed: false,
            ..reading.clone()
        };

        reading.is_confirmed && !self.judge(&unconfirmed)
    }

    fn judge(&mut self, reading: &Reading) -> bool {
        let seen_ms = reading.seen_ms;
        let Some(high_ms) = self.high_ms else {
            let is_believed = !reading.is_before_all();
            self.high_ms = is_believed.then_some(seen_ms);
            return is_believed;
        };

        if seen_ms >= high_ms.saturating_sub(SLACK_MS) {
            let is_believed = !reading.is_before_all();
            if is_believed {
                self.high_ms = Some(seen_ms.max(high_ms));
            }

            return is_believed;
        }

        // The clock went back: it is behind now, or it was ahead before.
        let off = high_ms.saturating_sub(seen_ms) / 2;
        let was_ahead = reading
            .middle()
            .is_some_and(|at| at.saturating_sub(seen_ms).saturating_abs() < off.max(SLACK_MS));
        if was_ahead || reading.is_confirmed {
            self.high_ms = Some(seen_ms);
            return true;
        }

        false
    }

    /// When an event came at the latest, ms, although our clock could not be believed; `None` = its
    /// own stamp may be right.
    #[must_use]
    pub fn at_the_latest(&self, origin_server_ts: i64) -> Option<i64> {
        let latest_ms = self.latest_ms.or(self.high_ms)?;
        (origin_server_ts > latest_ms.saturating_add(BEYOND_MS)).then_some(latest_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_700_000_000_000;

    fn reading(seen_ms: i64, stamps: &[(&str, i64)]) -> Reading {
        let stamps = stamps
            .iter()
            .map(|(server, at)| ((*server).to_owned(), *at))
            .collect();

        Reading {
            seen_ms,
            stamps,
            is_confirmed: false,
        }
    }

    fn judged(readings: &[Reading]) -> Vec<bool> {
        let mut judge = Judge::default();
        readings.iter().map(|one| judge.believes(one)).collect()
    }

    #[test]
    fn the_age_of_new_events_of_our_own_server_tells_its_time() {
        let event = |sender: &str, stamp: i64, age: Value| serde_json::json!({"sender": sender, "origin_server_ts": stamp, "unsigned": {"age": age}});
        let events = [
            event("@a:h", NOW, 50.into()),
            event("@b:other", NOW - HOUR, 10.into()),
            event("@a:h", NOW - HOUR, HOUR.into()),
            event("@a:h", NOW, "7".into()),
            event("@a:h", NOW, (-5).into()),
        ];
        assert_eq!(time_by_age(&events, "h"), Some(NOW + 50));
        assert_eq!(time_by_age(&events, "x"), None);
    }

    #[test]
    fn a_clock_that_is_behind_for_a_while_is_not_believed() {
        let readings = [
            reading(NOW, &[("a", NOW - 100)]),
            reading(NOW + 500 - HOUR, &[("a", NOW + 400)]),
            // Nothing came with it: it is earlier than the one before all the same.
            reading(NOW + 800 - HOUR, &[]),
            reading(NOW + 1000, &[("a", NOW + 900)]),
        ];
        assert_eq!(judged(&readings), [true, false, false, true]);
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_right_again_is_believed() {
        let readings = [
            reading(NOW, &[("a", NOW - 100)]),
            reading(NOW + 24 * HOUR, &[("a", NOW + 400)]),
            reading(NOW + 1000, &[("a", NOW + 900), ("b", NOW - HOUR)]),
            reading(NOW + 2000, &[]),
        ];
        assert_eq!(judged(&readings), [true, true, true, true]);
    }

    #[test]
    fn small_corrections_and_odd_clocks_of_others_are_no_jump() {
        let readings = [
            reading(NOW, &[("a", NOW - 100)]),
            reading(NOW - 900, &[("a", NOW)]),
            reading(NOW + 1000, &[("a", NOW + 300_000)]),
            reading(NOW + 2000, &[("a", NOW + 300_000), ("b", NOW + 1900)]),
        ];
        assert_eq!(judged(&readings), [true; 4]);
    }

    #[test]
    fn a_first_reading_that_all_servers_refute_is_not_believed() {
        let readings = [
            reading(NOW - HOUR, &[("a", NOW), ("b", NOW + 50)]),
            reading(NOW + 1000, &[("a", NOW + 900)]),
        ];
        assert_eq!(judged(&readings), [false, true]);
        assert_eq!(
            judged(&[reading(NOW - HOUR, &[("a", NOW), ("a", NOW + 50)])]),
            [true]
        );
    }

    #[test]
    fn an_event_from_the_far_future_came_with_the_last_good_reading() {
        let judge = Judge {
            high_ms: Some(NOW),
            ..Judge::default()
        };
        assert_eq!(judge.at_the_latest(NOW + HOUR), None);
        assert_eq!(judge.at_the_latest(NOW + 48 * HOUR), Some(NOW));
    }

    #[test]
    fn events_of_a_long_doubt_are_not_put_on_one_moment() {
        let week = 168 * HOUR;
        let mut judge = Judge::default();
        assert!(judge.believes(&reading(NOW, &[])));
        assert!(!judge.believes(&reading(NOW - week, &[])));
        for hours in 1..100 {
            assert!(!judge.believes(&reading(NOW - week + hours * HOUR, &[])));
            // Stamped as it came, and far in the future.
            assert_eq!(judge.at_the_latest(NOW + hours * HOUR), None);
            let latest_ms = NOW + hours * HOUR;
            assert_eq!(judge.at_the_latest(NOW + 10 * week), Some(latest_ms));
        }
    }

    #[test]
    fn what_our_homeserver_confirms_is_believed() {
        let mut judge = Judge::default();
        judge.believes(&reading(NOW + 24 * HOUR, &[]));
        let confirmed = Reading {
            is_confirmed: true,
            ..reading(NOW, &[])
        };
        assert!(judge.needs_confirmation(&confirmed));
        assert!(judge.believes(&confirmed));
        assert!(!judge.needs_confirmation(&confirmed));
        assert!(judge.believes(&reading(NOW + 1000, &[])));
    }
}
