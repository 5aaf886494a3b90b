//! Readings of our own clock: can we believe the time at which an event arrived?
//!
//! An event happened no later than it was first seen. So if our clock is behind even for seconds,
//! events look older than they are, for ever. Readings are kept in the order in which they were
//! taken. If one is earlier than the one before it, one of the two is wrong. The timestamps of the
//! events that came with it tell which.

use super::time::{DAY_MS, millis_of_json};
use serde_json::Value;

/// Usual size of clock corrections, ms. A step back by less is ignored.
const SLACK_MS: i64 = 1000;
/// The clocks of servers usually differ by less than this, ms.
const SKEW_MS: i64 = 10_000;
/// No event can be later than our last good reading by more than this, ms.
const BEYOND_MS: i64 = DAY_MS;

/// One reading of our clock, and the evidence that came with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// The time of our clock, ms.
    pub seen_ms: i64,
    /// The timestamps of the timeline events that came live with it, ms, each with its sender's
    /// server.
    pub stamps: Vec<(String, i64)>,
    /// Our homeserver says that it is about this time, too.
    pub is_confirmed: bool,
}

/// What is known about our own clock when something is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OurClock {
    /// Set if our clock is wrong and therefore not believed.
    pub doubt: Option<ClockDoubt>,
    /// Our homeserver says that it is about this time, too.
    pub is_confirmed: bool,
}

/// Our clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDoubt {
    /// By how much our clock is wrong, ms.
    pub off_ms: i64,
    /// The true time is at most this, ms.
    pub latest_ms: i64,
}

impl ClockDoubt {
    /// The latest possible arrival of an event, ms; `None` = its own timestamp may be right.
    #[must_use]
    pub fn at_the_latest(&self, origin_server_ts: i64) -> Option<i64> {
        (origin_server_ts > self.latest_ms).then_some(self.latest_ms)
    }
}

impl ClockReading {
    /// The median timestamp of the events, ms: one wrong clock among several does not move it.
    /// `None` without events.
    fn middle(&self) -> Option<i64> {
        let mut stamps: Vec<i64> = self.stamps.iter().map(|(_, at)| *at).collect();
        stamps.sort_unstable();
        stamps.get(stamps.len() / 2).copied()
    }

    /// Do several servers agree that all of these events happened after our clock says they
    /// arrived? Then our clock is behind.
    fn is_before_all(&self) -> bool {
        let Some((first, _)) = self.stamps.first() else {
            return false;
        };

        let are_several = self.stamps.iter().any(|(server, _)| server != first);
        let limit = self.seen_ms.saturating_add(SKEW_MS);

        are_several && self.stamps.iter().all(|(_, at)| *at > limit)
    }
}

/// Events older than this, ms, are not used to tell the time: their age may come from another
/// server.
const AGE_MAX_MS: i64 = 60_000;

/// The time of our homeserver, ms: the median of timestamp plus age, as it states them for new
/// events of its own users (`unsigned.age`). `server` is its name. `None` without such an event.
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
pub struct ReadingJudge {
    /// The latest reading that is believed, ms.
    pub high_ms: Option<i64>,
    /// `high_ms` plus the time that has passed since then according to the readings, ms.
    pub latest_ms: Option<i64>,
    /// The last reading, believed or not, ms.
    pub read_ms: Option<i64>,
}

impl ReadingJudge {
    /// Is this reading believed? Readings must come in the order in which they were taken. It is
    /// noted either way. While readings are not believed, `latest_ms` goes on by the time that
    /// passes between them.
    pub fn believes(&mut self, reading: &ClockReading) -> bool {
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

    /// Would this reading be believed only because our homeserver confirms it? Nothing is noted.
    #[must_use]
    pub fn needs_confirmation(mut self, reading: &ClockReading) -> bool {
        let unconfirmed = ClockReading {
            is_confirmed: false,
            ..reading.clone()
        };

        reading.is_confirmed && !self.judge(&unconfirmed)
    }

    /// Is this reading believed? Only `high_ms` is noted. A reading that is not before the last
    /// good one is believed, unless the events say that our clock is behind. A step back is
    /// believed only if something shows that the clock was ahead before.
    fn judge(&mut self, reading: &ClockReading) -> bool {
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

        // The clock went back: either it is behind now, or it was ahead before. It was ahead if the
        // events are nearer to this reading than to the last good one.
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

    /// The latest possible arrival of an event, ms, while our clock is not believed. `None` if the
    /// event's own timestamp may be right, or if no reading was believed yet.
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

    fn reading(seen_ms: i64, stamps: &[(&str, i64)]) -> ClockReading {
        let stamps = stamps
            .iter()
            .map(|(server, at)| ((*server).to_owned(), *at))
            .collect();

        ClockReading {
            seen_ms,
            stamps,
            is_confirmed: false,
        }
    }

    fn judged(readings: &[ClockReading]) -> Vec<bool> {
        let mut judge = ReadingJudge::default();
        readings.iter().map(|one| judge.believes(one)).collect()
    }

    #[test]
    fn the_age_of_new_events_of_our_own_server_tells_its_time() {
        let event = |sender: &str, stamp: i64, age: Value| {
            serde_json::json!({"sender": sender,
            "origin_server_ts": stamp, "unsigned": {"age": age}})
        };
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
            // No events came with it, but it is still earlier than the one before.
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
        let judge = ReadingJudge {
            high_ms: Some(NOW),
            ..ReadingJudge::default()
        };
        assert_eq!(judge.at_the_latest(NOW + HOUR), None);
        assert_eq!(judge.at_the_latest(NOW + 48 * HOUR), Some(NOW));
    }

    #[test]
    fn events_of_a_long_doubt_are_not_put_on_one_moment() {
        let week = 168 * HOUR;
        let mut judge = ReadingJudge::default();
        assert!(judge.believes(&reading(NOW, &[])));
        assert!(!judge.believes(&reading(NOW - week, &[])));
        for hours in 1..100 {
            assert!(!judge.believes(&reading(NOW - week + hours * HOUR, &[])));
            // One event is stamped at its arrival, one far in the future.
            assert_eq!(judge.at_the_latest(NOW + hours * HOUR), None);
            let latest_ms = NOW + hours * HOUR;
            assert_eq!(judge.at_the_latest(NOW + 10 * week), Some(latest_ms));
        }
    }

    #[test]
    fn what_our_homeserver_confirms_is_believed() {
        let mut judge = ReadingJudge::default();
        judge.believes(&reading(NOW + 24 * HOUR, &[]));
        let confirmed = ClockReading {
            is_confirmed: true,
            ..reading(NOW, &[])
        };
        assert!(judge.needs_confirmation(&confirmed));
        assert!(judge.believes(&confirmed));
        assert!(!judge.needs_confirmation(&confirmed));
        assert!(judge.believes(&reading(NOW + 1000, &[])));
    }
}
