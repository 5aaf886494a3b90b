//! Charts: counts over time as steps, and one column per day.

use super::axis::{Axis, Tick};
use super::blind::{Band, bands_on_axis};
use super::shape::{StepPaths, step_paths};
use super::{Num, ratio, to_float};
use crate::rtc::coverage::Span;
use crate::web::view::format::{DAY, start_of_day, utc_datetime};

/// Height of the plot of a stepped chart, px.
pub const STEPS_HEIGHT: f64 = 150.0;
/// Height of the plot of a column chart, px.
pub const COLUMNS_HEIGHT: f64 = 130.0;

/// A horizontal line with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct GridLine {
    pub y: Num,
    pub label: String,
}

/// A stepped chart.
#[derive(Debug, Clone, PartialEq)]
pub struct StepChart {
    pub lines: Vec<GridLine>,
    pub steps: StepPaths,
    pub ticks: Vec<Tick>,
    /// The data with which the browser puts the ticks on times of its own zone.
    pub axis: String,
    /// The unwatched time.
    pub blind: Vec<Band>,
    pub highest: i64,
    pub highest_ms: Option<i64>,
}

/// A column chart that ends today.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnChart {
    pub lines: Vec<GridLine>,
    pub columns: Vec<DayColumn>,
    /// Day labels: position, time, and whether a phone hides it.
    pub ticks: Vec<Tick>,
    /// The unwatched time.
    pub blind: Vec<Band>,
    pub highest: i64,
}

/// One day.
#[derive(Debug, Clone, PartialEq)]
pub struct DayColumn {
    pub x: Num,
    pub w: Num,
    pub y: Num,
    pub h: Num,
    pub title: String,
    pub today: bool,
}

/// Grid lines from 0 to at least `highest`: 3 or 4 of them, at multiples of 1, 2 or 5 times a power
/// of ten, in a plot `height` px high. The second result is the value of the top line.
#[must_use]
pub fn grid_lines(highest: i64, height: f64) -> (Vec<GridLine>, i64) {
    let highest = highest.max(2);
    let powers = std::iter::successors(Some(1_i64), |power| power.checked_mul(10));
    let sizes = powers.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
    let step = sizes
        .into_iter()
        .find(|step| (highest - 1) / step < 3)
        .unwrap_or(highest);
    let count = (highest - 1) / step + 1;
    let top = step.saturating_mul(count);
    let line = |index: i64| {
        let value = step.saturating_mul(index);
        GridLine {
            y: Num(height - height * ratio(value, top)),
            label: crate::web::view::format::group_digits(value),
        }
    };

    ((0..=count).map(line).collect(), top)
}

/// Draws counts over time as steps. `counts` are `(time ms, count)`, each valid until the next;
/// `now` is a time on the axis that has a mark of its own, `None` if it is not on it.
#[must_use]
pub fn draw_step_chart(
    counts: &[(i64, i64)],
    blind: impl Iterator<Item = Span>,
    axis: Axis,
    now: Option<i64>,
) -> StepChart {
    let highest = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .max_by_key(|(ms, count)| (*count, -ms));
    let most = highest.map_or(0, |(_, count)| *count);
    let (lines, top) = grid_lines(most, STEPS_HEIGHT);

    StepChart {
        lines,
        steps: step_paths(counts, axis.from, axis.to, 1000, top, STEPS_HEIGHT),
        ticks: axis.ticks(now),
        axis: axis.data(now),
        blind: bands_on_axis(blind, &axis),
        highest: most,
        highest_ms: highest.map(|(ms, _)| *ms),
    }
}

/// Draws a column for each of the last `days` days (UTC), the last that of `now`, ms; each as high
/// as the highest value of its day. `values` are `(time ms, value)`, in any order; those of other
/// days are ignored. `blind` are the unwatched spans, drawn as bands.
#[must_use]
pub fn draw_daily_columns(
    values: &[(i64, i64)],
    blind: impl Iterator<Item = Span>,
    days: usize,
    now: i64,
) -> ColumnChart {
    let today = start_of_day(now);
    let first = today - DAY * i64::try_from(days.saturating_sub(1)).unwrap_or(0);
    let mut highest = vec![0_i64; days];
    for (ms, value) in values {
        let index = usize::try_from(ms.saturating_sub(first).div_euclid(DAY)).ok();
        if let Some(slot) = index.and_then(|index| highest.get_mut(index)) {
            *slot = (*slot).max(*value);
        }
    }

    let most = highest.iter().copied().max().unwrap_or(0);
    let (lines, top) = grid_lines(most, COLUMNS_HEIGHT);
    let slot = 100.0 / to_float(days.max(1));
    let days_ms = (0_i64..).map(|index| first + index * DAY);
    let columns = highest
        .iter()
        .zip(days_ms)
        .enumerate()
        .map(|(index, (value, ms))| {
            let h = if *value == 0 {
                0.0
            } else {
                (COLUMNS_HEIGHT * ratio(*value, top)).max(1.0)
            };

            DayColumn {
                x: Num(slot * (to_float(index) + 0.14)),
                w: Num(slot * 0.72),
                y: Num(COLUMNS_HEIGHT - h),
                h: Num(h),
                title: format!(
                    "{}: {}",
                    utc_datetime(ms).strftime("%a %-d %b"),
                    crate::web::view::format::count_with_noun(*value, "device", "devices")
                ),
                today: ms == today,
            }
        });
    let blind = bands_on_axis(
        blind,
        &Axis {
            from: first,
            to: today + DAY,
        },
    );

    ColumnChart {
        lines,
        columns: columns.collect(),
        ticks: week_ticks(first, days, slot),
        blind,
        highest: most,
    }
}

/// A tick for every seventh of the `days` days from the one that begins at `first`, ms. `slot` is
/// the width of a day, percent. None near the end, where the label would not fit.
fn week_ticks(first: i64, days: usize, slot: f64) -> Vec<Tick> {
    let weeks = (0..days.saturating_sub(4)).step_by(7).enumerate();
    weeks
        .map(|(index, day)| {
            let ms = first + DAY * i64::try_from(day).unwrap_or(0);
            let label = utc_datetime(ms).strftime("%-d %b").to_string();
            Tick {
                x: Num(slot * to_float(day)),
                ms,
                label,
                style: "shortday",
                second: index % 2 == 1,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(highest: i64) -> Vec<String> {
        grid_lines(highest, 100.0)
            .0
            .into_iter()
            .map(|line| line.label)
            .collect()
    }

    #[test]
    fn grid_lines_stand_on_round_numbers() {
        assert_eq!(labels(51), ["0", "20", "40", "60"]);
        assert_eq!(labels(0), ["0", "1", "2"]);
        assert_eq!(labels(3), ["0", "1", "2", "3"]);
        assert_eq!(labels(42), ["0", "20", "40", "60"]);
        assert!(labels(i64::MAX).len() <= 5);
    }

    #[test]
    fn the_highest_moment_is_the_first_of_its_height() {
        let draw = |counts: &[(i64, i64)]| {
            draw_step_chart(counts, std::iter::empty(), Axis { from: 0, to: 100 }, None)
        };

        let chart = draw(&[(0, 1), (10, 5), (20, 2), (30, 5), (40, 0)]);
        assert_eq!((chart.highest, chart.highest_ms), (5, Some(10)));
        assert_eq!(draw(&[(0, 0)]).highest_ms, None);
    }

    #[test]
    fn columns_end_today_and_ignore_what_is_outside() {
        let now = 100 * DAY + 5;
        let chart = draw_daily_columns(
            &[
                (now, 4),
                (now - 1, 7),
                (0, 9),
                (i64::MAX, 9),
                (now - DAY, 2),
            ],
            std::iter::empty(),
            30,
            now,
        );
        assert_eq!(chart.columns.len(), 30);
        assert!(chart.columns[29].today);
        assert_eq!(
            (chart.highest, chart.columns[28].title.as_str()),
            (7, "Fri 10 Apr: 2 devices")
        );
    }
}
