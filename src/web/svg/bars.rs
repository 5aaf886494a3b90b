//! Column charts of counts: by day, together with the previous period; and by named classes.

use super::chart::{DayColumn, GridLine, grid_lines};
use super::{Num, ratio, to_float};
use crate::web::view::format as f;
use std::fmt::Write;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The height of a picture of time in calls, px.
const TIME_HEIGHT: i64 = 130;
/// The width of "today" and half a label on a phone, percent.
const TODAY_ROOM: f64 = 20.0;

/// The data of one column: its title, its value, and the value in the previous period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarData {
    pub title: String,
    pub value: i64,
    pub before: Option<i64>,
    /// The label below the column, if any.
    pub label: Option<String>,
    /// The column is the current day or week.
    pub now: bool,
}

/// The picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    pub height: i64,
    pub lines: Vec<GridLine>,
    pub columns: Vec<DayColumn>,
    pub labels: Vec<BarLabel>,
    /// The previous period as path data inside 1000 × height, if there is one.
    pub before: Option<String>,
    /// The width for the labels of the lines, px.
    pub gutter: usize,
}

/// A label below the plot.
#[derive(Debug, Clone, PartialEq)]
pub struct BarLabel {
    pub x: Num,
    pub text: String,
    /// Hidden on a phone.
    pub second: bool,
}

/// The time in calls of one day or week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfStep {
    pub from_ms: i64,
    pub time_ms: i64,
}

/// Draws the time in calls by day or week; the last column is the present one. The lines are at
/// multiples of a minute if there is little time, else of an hour.
#[must_use]
pub fn draw_time_bars(steps: &[TimeOfStep]) -> Bars {
    // Every so many columns have a label, and none near the last one, which has its own.
    let every = (steps.len() / 5).max(1);
    let day = |ms: i64| f::utc_datetime(ms).strftime("%-d %b").to_string();
    let column = |(at, step): (usize, &TimeOfStep)| BarData {
        title: format!("{}: {}", day(step.from_ms), f::total_duration(step.time_ms)),
        value: step.time_ms,
        before: None,
        label: (at % every == 0 && at + every.div_ceil(2) + 1 < steps.len())
            .then(|| day(step.from_ms)),
        now: at + 1 == steps.len(),
    };
    let columns: Vec<BarData> = steps.iter().enumerate().map(column).collect();
    let most = steps.iter().map(|step| step.time_ms).max().unwrap_or(0);
    let (unit, name) = if most < 2 * HOUR_MS {
        (MINUTE_MS, "min")
    } else {
        (HOUR_MS, "h")
    };

    draw_bars(&columns, TIME_HEIGHT, unit, |count| {
        format!("{} {name}", f::group_digits(count))
    })
}

/// Draws columns that share the width, from left to right in the order of `slots`, in a plot
/// `height` px high. The grid lines stand at round multiples of `unit`, in the unit of the values;
/// `name` makes the label of such a value.
#[must_use]
pub fn draw_bars(slots: &[BarData], height: i64, unit: i64, name: impl Fn(i64) -> String) -> Bars {
    let tall = ratio(height, 1);
    let most = slots
        .iter()
        .map(|slot| slot.value.max(slot.before.unwrap_or(0)))
        .max()
        .unwrap_or(0);
    let unit = unit.max(1);
    let (mut lines, units) = grid_lines(most / unit + i64::from(most % unit > 0), tall);
    for (line, value) in lines.iter_mut().zip(line_values(units)) {
        line.label = name(value);
    }

    let top = units.saturating_mul(unit);
    let width = 100.0 / to_float(slots.len().max(1));
    let tall_of = |value: i64| {
        if value == 0 {
            0.0
        } else {
            (tall * ratio(value, top)).max(1.0)
        }
    };

    let column = |(at, slot): (usize, &BarData)| DayColumn {
        x: Num(width * (to_float(at) + 0.14)),
        w: Num(width * 0.72),
        y: Num(tall - tall_of(slot.value)),
        h: Num(tall_of(slot.value)),
        title: slot.title.clone(),
        today: slot.now,
    };

    let labelled = slots
        .iter()
        .enumerate()
        .filter_map(|(at, slot)| Some((at, slot.label.clone()?)));
    // On a phone a label near the end would touch "today".
    let end = if slots.iter().any(|slot| slot.now) {
        TODAY_ROOM
    } else {
        0.0
    };

    let label = |(index, (at, text)): (usize, (usize, String))| {
        let x = width * (to_float(at) + 0.5);
        BarLabel {
            x: Num(x),
            text,
            second: index % 2 == 1 || x > 100.0 - end,
        }
    };

    Bars {
        height,
        columns: slots.iter().enumerate().map(column).collect(),
        labels: labelled.enumerate().map(label).collect(),
        before: previous_period_path(slots, tall, top),
        gutter: lines.iter().map(|line| line.label.len()).max().unwrap_or(1) * 7 + 5,
        lines,
    }
}

/// The values of the lines, as [`grid_lines`] chose them for a plot that ends at the value `top`:
/// equal steps from 0. It goes on beyond the top; the caller takes as many as there are lines.
fn line_values(top: i64) -> impl Iterator<Item = i64> {
    let count = (grid_lines(top, 1.0).0.len() - 1).max(1);
    let step = top / i64::try_from(count).unwrap_or(1);
    (0..).map(move |index: i64| index * step)
}

/// The values of the previous period as the path of a stepped line, inside 1000 × `tall`, for a
/// plot that ends at the value `top`. `None` if a column has no such value, or there is no column.
fn previous_period_path(slots: &[BarData], tall: f64, top: i64) -> Option<String> {
    let mut path = String::new();
    for (at, slot) in slots.iter().enumerate() {
        let y = Num(tall - tall * ratio(slot.before?, top));
        let end = Num(1000.0 * to_float(at + 1) / to_float(slots.len()));
        let _ = if at == 0 {
            write!(path, "M0 {y}H{end}")
        } else {
            write!(path, "V{y}H{end}")
        };
    }

    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(value: i64, before: Option<i64>) -> BarData {
        BarData {
            title: String::new(),
            value,
            before,
            label: Some(value.to_string()),
            now: false,
        }
    }

    #[test]
    fn labels_near_today_are_not_for_phones() {
        let mut slots = vec![slot(1, None); 9];
        let seconds = |slots: &[BarData]| {
            let labels = draw_bars(slots, 100, 1, |value| value.to_string()).labels;
            labels.iter().map(|label| label.second).collect::<Vec<_>>()
        };

        assert_eq!(seconds(&slots)[6..], [false, true, false]);
        slots[8].now = true;
        assert_eq!(seconds(&slots)[6..], [false, true, true]);
    }

    #[test]
    fn columns_stand_on_the_line_and_the_period_before_is_a_step() {
        let picture = draw_bars(
            &[slot(0, Some(3)), slot(1, Some(0)), slot(6, Some(6))],
            100,
            1,
            |value| format!("{value} h"),
        );
        let heights: Vec<f64> = picture
            .columns
            .iter()
            .map(|column| column.h.0.round())
            .collect();
        assert_eq!(heights, [0.0, 17.0, 100.0]);
        assert_eq!(
            picture.before.as_deref(),
            Some("M0 50H333.33V100H666.67V0H1000")
        );
        let labels: Vec<&str> = picture
            .lines
            .iter()
            .map(|line| line.label.as_str())
            .collect();
        assert_eq!(labels, ["0 h", "2 h", "4 h", "6 h"]);
        assert_eq!(
            picture
                .labels
                .iter()
                .map(|label| label.second)
                .collect::<Vec<_>>(),
            [false, true, false]
        );
    }

    #[test]
    fn lines_stand_on_whole_units() {
        let picture = draw_bars(&[slot(90, None), slot(61, None)], 100, 60, |value| {
            format!("{value} h")
        });
        let labels: Vec<&str> = picture
            .lines
            .iter()
            .map(|line| line.label.as_str())
            .collect();
        assert_eq!(
            (labels.as_slice(), picture.columns[0].h.0),
            (&["0 h", "1 h", "2 h"][..], 75.0)
        );
    }

    #[test]
    fn nothing_is_an_empty_picture() {
        let picture = draw_bars(&[slot(0, None)], 100, 1, |value| value.to_string());
        assert!(picture.before.is_none() && picture.columns[0].h.0 == 0.0);
        assert!(
            draw_bars(&[], 100, 1, |value| value.to_string())
                .columns
                .is_empty()
        );
        assert!(
            draw_bars(&[slot(1, None), slot(i64::MAX, None)], 100, 1, |value| {
                value.to_string()
            })
            .columns[0]
                .h
                .0
                >= 1.0
        );
    }
}
