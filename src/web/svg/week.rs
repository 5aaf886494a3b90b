//! Hours by weekday: a row per weekday, a cell per hour, coloured by its rank among the others.

use crate::web::view::format as f;
use std::collections::BTreeMap;

/// Weekdays from Monday.
pub const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const PITCH: usize = 20;

/// The picture, in UTC; the browser moves the cells to its own zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Week {
    pub cells: Vec<HourCell>,
    /// The hour of the week with the most time, from Monday midnight.
    pub highest: Option<usize>,
}

/// One hour of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourCell {
    /// Hours from Monday midnight.
    pub hour: usize,
    /// The position: x in hundredths of a percent, y in px.
    pub x: usize,
    pub y: usize,
    /// `h0` (nothing), else `h1` to `h4`: the quartile of its time among the hours that have any.
    pub class: &'static str,
    /// Only if it is not zero.
    pub sum: Option<String>,
}

/// The time of each of the 168 hours of the week from Monday midnight UTC, ms, from the time of
/// hours since the Unix epoch.
#[must_use]
pub fn fold_into_week(hours: &BTreeMap<i64, i64>) -> Vec<i64> {
    hours.iter().fold(vec![0; 168], |mut week, (hour, ms)| {
        week[hour_of_week(*hour)] += ms;
        week
    })
}

/// Draws the time of 168 hours, ms, from Monday midnight UTC. Class `h0` is an hour without time;
/// `h1` to `h4` are the quarters of the other hours, from the least time to the most.
#[must_use]
pub fn draw_week(hours: &[i64]) -> Week {
    let mut busy: Vec<i64> = hours.iter().copied().filter(|ms| *ms > 0).collect();
    busy.sort_unstable();
    let most = busy.last().copied().unwrap_or(0);
    let quarter = |part: usize| busy.get(busy.len() * part / 4).copied().unwrap_or(i64::MAX);
    let cell = |(hour, ms): (usize, &i64)| HourCell {
        hour,
        x: hour % 24 * 10_000 / 24,
        y: hour / 24 * PITCH,
        class: match *ms {
            ..1 => "h0",
            ms if ms < quarter(1) => "h1",
            ms if ms < quarter(2) => "h2",
            ms if ms < quarter(3) => "h3",
            _ => "h4",
        },
        sum: (*ms > 0).then(|| f::total_duration(*ms)),
    };

    Week {
        cells: hours.iter().take(168).enumerate().map(cell).collect(),
        highest: hours.iter().position(|ms| *ms == most).filter(|_| most > 0),
    }
}

impl Week {
    /// The cells in rows for a table: a row for each hour of the day, with a cell for each weekday.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<&HourCell>> {
        (0..24)
            .map(|hour| self.cells.iter().skip(hour).step_by(24).collect())
            .collect()
    }
}

impl HourCell {
    /// Its position, percent.
    #[must_use]
    pub fn percent(&self) -> String {
        format!("{}.{:02}", self.x / 100, self.x % 100)
    }

    /// The weekday and the hour, in UTC, in short form, because there are many of them.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{:.3} {:02}:00",
            DAYS.get(self.hour / 24).copied().unwrap_or_default(),
            self.hour % 24
        )
    }
}

/// The name of an hour of the week, counted from Monday midnight UTC: `Thursday, 13:00 to 14:00`.
#[must_use]
pub fn hour_name(hour: impl f::WholeNumber) -> String {
    let hour = usize::try_from(hour.whole()).unwrap_or(0);
    let day = DAYS.get(hour / 24 % 7).copied().unwrap_or_default();
    format!("{day}, {:02}:00 to {:02}:00", hour % 24, (hour + 1) % 24)
}

/// The hour of the week, from Monday midnight UTC, of an hour since the Unix epoch (a Thursday).
#[must_use]
pub fn hour_of_week(hour: i64) -> usize {
    usize::try_from((hour + 72).rem_euclid(168)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_quarters_of_the_hours() {
        let mut hours = vec![0; 168];
        hours[..5].copy_from_slice(&[60_000_000, 25, 15_000, 15_001, 45_001]);
        let picture = draw_week(&hours);
        let classes: Vec<&str> = picture
            .cells
            .iter()
            .take(6)
            .map(|cell| cell.class)
            .collect();
        assert_eq!(
            (classes.as_slice(), picture.highest),
            (&["h4", "h1", "h2", "h3", "h4", "h0"][..], Some(0))
        );
        assert_eq!(
            (picture.cells[167].y, picture.cells[167].percent().as_str()),
            (120, "95.83")
        );
        assert_eq!(draw_week(&[0; 168]).highest, None);
    }

    #[test]
    fn the_epoch_was_a_thursday() {
        assert_eq!(hour_name(hour_of_week(0)), "Thursday, 00:00 to 01:00");
        assert_eq!(hour_name(hour_of_week(-1)), "Wednesday, 23:00 to 00:00");
        assert_eq!(
            hour_name(hour_of_week(4 * 24 + 5)),
            "Monday, 05:00 to 06:00"
        );
    }
}
