//! When people meet: the recurring meetings, holidays, and how the community grew.

use super::past::RECENT_DAYS;

/// Recurring calls on certain days of the week (0 is Monday), at a minute of the day (UTC).
#[derive(Clone, Copy)]
pub(super) struct CallPattern {
    pub room: &'static str,
    pub days: &'static [i64],
    pub minute: i64,
    /// Shortest and longest, in minutes.
    pub length: (i64, i64),
    /// The fewest and most people.
    pub people: (i64, i64),
    /// How many days ago it was held for the first time.
    pub since_days_ago: i64,
}

/// A recurring call: room, days (0 is Monday), minute of the day (UTC), then the shortest and
/// longest length in minutes and the fewest and most people, all inclusive.
const fn new_pattern(
    room: &'static str,
    days: &'static [i64],
    minute: i64,
    length: (i64, i64),
    people: (i64, i64),
) -> CallPattern {
    CallPattern {
        room,
        days,
        minute,
        length,
        people,
        since_days_ago: i64::MAX,
    }
}

/// The pattern, held since so many days only.
const fn begun_days_ago(pattern: CallPattern, since_days_ago: i64) -> CallPattern {
    CallPattern {
        since_days_ago,
        ..pattern
    }
}

const WEEKDAYS: &[i64] = &[0, 1, 2, 3, 4];

pub(super) static PATTERNS: [CallPattern; 11] = [
    new_pattern("backend", WEEKDAYS, 495, (12, 22), (5, 9)),
    new_pattern("ops", &[1, 3], 540, (35, 55), (4, 7)),
    begun_days_ago(new_pattern("repair", &[0], 780, (50, 80), (5, 10)), 520),
    begun_days_ago(
        new_pattern("arabic", &[6, 1, 3], 990, (30, 70), (4, 9)),
        240,
    ),
    new_pattern("board", &[2], 960, (60, 90), (5, 8)),
    begun_days_ago(new_pattern("townhall", &[3], 900, (55, 75), (10, 18)), 300),
    begun_days_ago(new_pattern("film", &[5], 1110, (100, 130), (5, 10)), 450),
    begun_days_ago(new_pattern("mods", &[1, 4], 1020, (20, 40), (3, 6)), 610),
    new_pattern("community", &[2], 1080, (80, 105), (22, 39)),
    begun_days_ago(new_pattern("hallway", &[4], 840, (30, 50), (10, 18)), 130),
    begun_days_ago(new_pattern("lab", &[3], 720, (5, 10), (2, 3)), 90),
];

/// The day of the week of a day since the Unix epoch; 0 is Monday.
pub(super) fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7)
}

/// How many calls there were on a day since the Unix epoch, in percent of those of a usual day now.
/// The community grows, from little; in August, half of it is away.
pub(super) fn share_of_calls(day: i64, days_ago: i64) -> i64 {
    let grown = 80 - (days_ago - RECENT_DAYS) / 7;
    let grown = if days_ago <= RECENT_DAYS {
        100
    } else {
        grown.clamp(12, 100)
    };

    match month_and_day(day) {
        (8, ..) => grown / 2,
        _ => grown,
    }
}

/// Has everybody this day off? From 23 December to New Year, and on the first of May.
pub(super) fn is_holiday(day: i64) -> bool {
    matches!(month_and_day(day), (12, 23..) | (1 | 5, 1))
}

/// Month and day of the month of a day since the Unix epoch, in UTC; both from 1.
fn month_and_day(day: i64) -> (i8, i8) {
    let midnight = jiff::Timestamp::from_second(day.saturating_mul(86_400)).unwrap_or_default();
    let date = midnight.to_zoned(jiff::tz::TimeZone::UTC).date();

    (date.month(), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days since the Unix epoch until this date.
    fn day(date: &str) -> i64 {
        let date: jiff::civil::Date = date.parse().unwrap();
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        midnight.timestamp().as_second() / 86_400
    }

    #[test]
    fn the_community_grows_and_has_holidays() {
        let november = day("2026-11-20");
        assert_eq!(weekday(november), 4, "a Friday");
        assert_eq!(share_of_calls(november, 3), 100);
        assert!(share_of_calls(november, 36) > share_of_calls(november, 360));
        assert_eq!(share_of_calls(november, 5000), 12);
        assert_eq!(share_of_calls(day("2026-08-10"), 3), 50);
        let off = ["2025-12-23", "2025-12-31", "2026-01-01", "2026-05-01"];
        assert!(off.iter().all(|date| is_holiday(day(date))));
        let on = ["2025-12-22", "2026-01-02", "2026-05-02", "2026-08-10"];
        assert!(!on.iter().any(|date| is_holiday(day(date))));
    }
}
