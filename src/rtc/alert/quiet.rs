//! Quiet hours: a span of each day, by the clocks of a time zone.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// Why a text is not quiet hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuietFault {
    #[error("it does not have the form 22:00-07:00 Europe/Berlin")]
    Form,
    #[error("{0:?} is no time zone of the IANA database")]
    Zone(String),
    #[error("it begins and ends at the same time")]
    Empty,
}

/// A span of each day in which nothing is told.
#[derive(Debug, Clone, PartialEq)]
pub struct QuietHours {
    pub from: Time,
    /// The end; if it is before `from`, it is of the next day.
    pub until: Time,
    pub zone: TimeZone,
}

/// Which of the instants is meant by a time of day that comes twice.
#[derive(Debug, Clone, Copy)]
enum Twice {
    First,
    Last,
}

impl QuietHours {
    /// Reads `22:00-07:00 Europe/Berlin`; without a zone it is UTC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, QuietFault> {
        let mut words = text.split_whitespace();
        let span = words.next().ok_or(QuietFault::Form)?;
        let zone = words.next().unwrap_or("UTC");
        let (from, until) = span.split_once('-').ok_or(QuietFault::Form)?;
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| QuietFault::Form);
        let (from, until) = (time(from)?, time(until)?);
        if words.next().is_some() {
            return Err(QuietFault::Form);
        }

        if from == until {
            return Err(QuietFault::Empty);
        }

        let zone = TimeZone::get(zone).map_err(|_| QuietFault::Zone(zone.to_owned()))?;

        Ok(Self { from, until, zone })
    }

    /// Is it quiet at `now`, ms? Where clocks are put back, a span lasts until its end comes for
    /// the last time; where they skip its begin or end, that is the moment of the skip.
    #[must_use]
    pub fn covers(&self, now: i64) -> bool {
        let Ok(now) = Timestamp::from_millisecond(now) else {
            return false;
        };

        let today = self.zone.to_datetime(now).date();
        // A span may have begun yesterday; and where clocks are put back over midnight, tomorrow.
        let begins = [today.yesterday(), Ok(today), today.tomorrow()];

        begins
            .into_iter()
            .flatten()
            .any(|day| self.is_within(day, now).unwrap_or(false))
    }

    /// Is `now` within the span that begins on this day?
    fn is_within(&self, day: Date, now: Timestamp) -> Option<bool> {
        let last_day = if self.until < self.from {
            day.checked_add(1.day()).ok()?
        } else {
            day
        };
        let begin = self.instant(day, self.from, Twice::First)?;
        let end = self.instant(last_day, self.until, Twice::Last)?;

        Some(begin <= now && now < end)
    }

    /// When it is this time on this day.
    fn instant(&self, day: Date, time: Time, twice: Twice) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        match (ambiguous.offset(), twice) {
            (AmbiguousOffset::Gap { .. }, _) => {
                let after = ambiguous.later().ok()?;
                let skip = self.zone.preceding(after).next();
                Some(skip.map_or(after, |skip| skip.timestamp()))
            }
            (_, Twice::First) => ambiguous.earlier().ok(),
            (_, Twice::Last) => ambiguous.later().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(hours: &str, at: &str) -> bool {
        let now: Timestamp = at.parse().unwrap();
        QuietHours::parse(hours)
            .unwrap()
            .covers(now.as_millisecond())
    }

    #[test]
    fn a_night_begins_on_one_day_and_ends_on_the_next() {
        let night = "22:00-07:00 Europe/Berlin";
        assert!(!covers(night, "2026-01-10T20:59:59Z"));
        assert!(covers(night, "2026-01-10T21:00:00Z"));
        assert!(covers(night, "2026-01-11T05:59:59Z"));
        assert!(!covers(night, "2026-01-11T06:00:00Z"));
        assert!(covers("12:00-13:00", "2026-01-11T12:30:00Z"));
        assert!(!covers("12:00-13:00", "2026-01-11T13:00:00Z"));
    }

    #[test]
    fn the_night_in_which_summer_time_begins_is_an_hour_shorter() {
        let night = "22:00-07:00 Europe/Berlin";
        assert!(covers(night, "2026-03-28T21:00:00Z"));
        assert!(covers(night, "2026-03-29T04:59:59Z"));
        assert!(!covers(night, "2026-03-29T05:00:00Z"), "it is 07:00 there");
    }

    #[test]
    fn the_night_in_which_summer_time_ends_is_an_hour_longer() {
        let night = "22:00-07:00 Europe/Berlin";
        assert!(!covers(night, "2026-10-24T19:59:59Z"));
        assert!(covers(night, "2026-10-24T20:00:00Z"));
        assert!(covers(night, "2026-10-25T05:59:59Z"));
        assert!(!covers(night, "2026-10-25T06:00:00Z"));
    }

    #[test]
    fn a_time_that_comes_twice_ends_the_span_at_its_last_coming() {
        let span = "01:00-02:30 Europe/Berlin";
        // 02:15 for the first time, 02:45 for the first time, 02:15 again, 02:30 again.
        assert!(covers(span, "2026-10-25T00:15:00Z"));
        assert!(covers(span, "2026-10-25T00:45:00Z"));
        assert!(covers(span, "2026-10-25T01:15:00Z"));
        assert!(!covers(span, "2026-10-25T01:30:00Z"));
    }

    #[test]
    fn a_time_that_is_skipped_is_the_moment_of_the_skip() {
        // At 02:00, 01:00 in UTC, it becomes 03:00.
        let from = "02:30-04:00 Europe/Berlin";
        assert!(!covers(from, "2026-03-29T00:59:59Z"));
        assert!(covers(from, "2026-03-29T01:00:00Z"));
        assert!(!covers(from, "2026-03-29T02:00:00Z"));
        let until = "01:00-02:30 Europe/Berlin";
        assert!(covers(until, "2026-03-29T00:59:59Z"));
        assert!(!covers(until, "2026-03-29T01:00:00Z"));
    }

    #[test]
    fn a_zone_that_nobody_knows_is_named() {
        assert_eq!(
            QuietHours::parse("22:00-07:00 Mars/Base"),
            Err(QuietFault::Zone("Mars/Base".to_owned()))
        );
        assert_eq!(QuietHours::parse("22-07"), Err(QuietFault::Form));
        assert_eq!(QuietHours::parse("07:00-07:00"), Err(QuietFault::Empty));
    }
}
