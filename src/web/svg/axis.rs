//! The time axis: the position of a moment in percent, and which round times get a label.

use super::{Num, ratio};
use crate::web::view::format::{DAY, utc_datetime};

const MINUTE: i64 = 60_000;

/// Steps between ticks, minutes; beyond the last, days are doubled.
const STEPS: [i64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880];
/// Pairs of a maximum length of the span and the step between ticks, minutes.
const TABLE: [(i64, i64); 8] = [
    (10, 1),
    (30, 5),
    (90, 10),
    (240, 30),
    (720, 120),
    (1440, 240),
    (4320, 720),
    (11_520, 1440),
];
const TICKS_MAX: i64 = 8;
/// Minimum distance of a label from "now", percent; nearer labels are left out.
const NOW_ROOM: f64 = 6.0;

/// A span of time that a drawing shows from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The first and the last moment shown, ms since the Unix epoch.
    pub from: i64,
    pub to: i64,
}

/// A labelled moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub x: Num,
    pub ms: i64,
    pub label: String,
    /// How the label is written: `clock`, `shortday` or `month`.
    pub style: &'static str,
    /// On a phone, every second tick is hidden.
    pub second: bool,
}

impl Axis {
    /// The axis around a call that lasts from `start` to `end`, ms: it begins 4 % before the call
    /// and ends 5 % after it. A call shorter than five minutes is taken for five minutes long.
    #[must_use]
    pub fn around(start: i64, end: i64) -> Self {
        let span = end.saturating_sub(start).max(5 * MINUTE);
        Self {
            from: start.saturating_sub(span / 25),
            to: start.saturating_add(span).saturating_add(span / 20),
        }
    }

    /// Its length, ms.
    #[must_use]
    pub fn span(&self) -> i64 {
        self.to.saturating_sub(self.from).max(1)
    }

    /// Is this moment, ms, on the axis?
    #[must_use]
    pub fn shows(&self, ms: i64) -> bool {
        (self.from..=self.to).contains(&ms)
    }

    /// The position of a moment, percent from the left; always inside the picture.
    #[must_use]
    pub fn x(&self, ms: i64) -> f64 {
        (ratio(ms.saturating_sub(self.from), self.span()) * 100.0).clamp(0.0, 100.0)
    }

    /// The distance of two ticks, ms: a round time that gives at most [`TICKS_MAX`] ticks.
    fn step(&self) -> i64 {
        // The table is for the length of the call; the axis around it is 9 % longer.
        let minutes = self.span() / 109 * 100 / MINUTE;
        let wanted = TABLE
            .iter()
            .find(|(up_to, _)| minutes <= *up_to)
            .map_or(1440, |(_, step)| *step);
        let fits = |step: &i64| *step >= wanted && self.span() / (step * MINUTE) <= TICKS_MAX;
        let mut step = STEPS.iter().copied().find(fits).unwrap_or(2880);
        while self.span() / (step * MINUTE) > TICKS_MAX {
            step *= 2;
        }

        step * MINUTE
    }

    /// The data with which the browser puts the ticks on round times of its own time zone:
    /// beginning, end, step, and, if the axis shows it, `now`, ms.
    #[must_use]
    pub fn data(&self, now: Option<i64>) -> String {
        let now = now.map(|now| format!(" {now}")).unwrap_or_default();
        format!("{} {} {}{now}", self.from, self.to, self.step())
    }

    /// The ticks, on round times in UTC between the two ends, exclusive, from left to right. Those
    /// too near to `now`, ms, are left out; `None` = the axis does not show now. `static/time.js`
    /// does the same for the viewer's zone.
    #[must_use]
    pub fn ticks(&self, now: Option<i64>) -> Vec<Tick> {
        let step = self.step();
        let now_x = now.map(|now| self.x(now));
        let first = self
            .from
            .div_euclid(step)
            .saturating_add(1)
            .saturating_mul(step);
        let times = std::iter::successors(Some(first), |ms| ms.checked_add(step))
            .take_while(|ms| *ms < self.to);
        let free = |ms: &i64| now_x.is_none_or(|now_x| (now_x - self.x(*ms)).abs() >= NOW_ROOM);

        times
            .filter(free)
            .enumerate()
            .map(|(index, ms)| {
                let (style, pattern) = match step {
                    _ if step >= 200 * DAY => ("month", "%b %Y"),
                    _ if step >= DAY || (step >= DAY / 2 && ms.rem_euclid(DAY) == 0) => {
                        ("shortday", "%-d %b")
                    }
                    _ => ("clock", "%H:%M"),
                };

                let label = utc_datetime(ms).strftime(pattern).to_string();
                Tick {
                    x: Num(self.x(ms)),
                    ms,
                    label,
                    style,
                    second: index % 2 == 1,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * MINUTE;
    /// 2026-11-22 00:00 UTC
    const SUNDAY: i64 = 1_795_305_600_000;

    fn labels(start: i64, end: i64) -> Vec<String> {
        Axis::around(start, end)
            .ticks(None)
            .into_iter()
            .map(|tick| tick.label)
            .collect()
    }

    #[test]
    fn ticks_follow_the_table() {
        let start = SUNDAY + 13 * HOUR + 58 * MINUTE;
        assert_eq!(
            labels(start, start + 49 * MINUTE),
            ["14:00", "14:10", "14:20", "14:30", "14:40"]
        );
        assert_eq!(
            labels(start, start),
            ["13:58", "13:59", "14:00", "14:01", "14:02", "14:03"]
        );
        assert_eq!(
            labels(start, start + 3 * DAY)[..3],
            ["12:00", "23 Nov", "12:00"]
        );
        assert_eq!(labels(start, start + 6 * DAY)[..2], ["23 Nov", "24 Nov"]);
    }

    #[test]
    fn any_span_has_few_ticks() {
        for end in [
            0,
            1,
            HOUR,
            DAY,
            40 * DAY,
            60 * 365 * DAY,
            i64::MAX / 4,
            i64::MAX,
        ] {
            for start in [0, SUNDAY, i64::MIN, i64::MAX] {
                let count = Axis::around(start, end).ticks(Some(end)).len();
                assert!(count <= 9, "{start} to {end}: {count}");
            }
        }
    }

    #[test]
    fn the_browser_is_told_beginning_end_step_and_now() {
        let axis = Axis {
            from: SUNDAY,
            to: SUNDAY + DAY,
        };

        assert_eq!(
            axis.data(None),
            format!("{SUNDAY} {} {}", SUNDAY + DAY, 4 * HOUR)
        );
        assert!(axis.data(Some(5)).ends_with(" 14400000 5"));
    }

    #[test]
    fn labels_make_room_for_now() {
        let axis = Axis {
            from: SUNDAY,
            to: SUNDAY + DAY,
        };

        assert_eq!(
            axis.ticks(Some(SUNDAY + 20 * HOUR)).last().unwrap().label,
            "16:00"
        );
        assert_eq!(axis.ticks(None).last().unwrap().label, "20:00");
    }
}
