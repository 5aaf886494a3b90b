//! The shape of a call: overlapping bars for few devices, a stepped area for many; all pages use
//! it.

use super::sfu::{Paint, Sfus};
use super::{Num, ratio, to_float};
use crate::web::view::format::WholeNumber;
use crate::web::view::{CallFacts, MemberFacts};
use std::fmt::Write;

/// Height of the shape on a card, px.
pub const HEIGHT: f64 = 56.0;
/// Maximum number of devices drawn as bars; more are drawn as an area.
const LANES_MAX: usize = 8;
/// Maximum number of bars: a person may come and go a thousand times.
const BARS_MAX: usize = 200;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Lanes(Vec<LaneBar>),
    Area(StepPaths),
}

/// One stay, x and w in percent, y and h in px.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneBar {
    pub x: Num,
    pub w: Num,
    pub y: Num,
    pub h: Num,
    pub paint: Paint,
}

/// A stepped line and the area beneath it, as path data inside 1000 × the height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPaths {
    pub edge: String,
    pub area: String,
}

/// The shape of a call on a card, until `now`, ms: bars for few devices and stays, else an area.
#[must_use]
pub fn draw_card_shape(call: &CallFacts, now: impl WholeNumber) -> Shape {
    let now = now.whole();
    let lanes = lanes_by_device(&call.members);
    if lanes.len() > LANES_MAX || call.members.len() > BARS_MAX {
        return Shape::Area(area_of_call(call, now, 500));
    }

    let sfus = Sfus::from_urls(call.members.iter().filter_map(MemberFacts::sfu));
    let (start, end) = (call.started_ms, call.end_ms(now));
    let pitch = (HEIGHT / to_float(lanes.len().max(1))).min(14.0);
    let height = (pitch / 2.0).min(7.0);
    let top = (HEIGHT - pitch * to_float(lanes.len())) / 2.0;
    let mut bars = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        for member in lane {
            let (x, until) = (
                position_percent(member.joined_ms, start, end),
                position_percent(member.end_ms(now), start, end),
            );
            let paint = sfus.paint(member.sfu());
            let y = Num(top + pitch * to_float(index) + (pitch - height) / 2.0);
            let mut draw = |x: f64, until: f64, paint| {
                bars.push(LaneBar {
                    x: Num(x),
                    w: Num(until - x),
                    y,
                    h: Num(height),
                    paint,
                });
            };

            let gone = member
                .gone_since()
                .map(|since| position_percent(since, start, end).clamp(x, until));
            draw(x, gone.unwrap_or(until), paint);
            if let Some(gone) = gone {
                draw(gone, until, paint.gone());
            }
        }
    }

    Shape::Lanes(bars)
}

/// The small shape of a call in a list: always the stepped line of the area, as one path from its
/// beginning to its end. The path of a running call ends outside the picture.
#[must_use]
pub fn sparkline_path(call: &CallFacts, now_ms: impl WholeNumber) -> String {
    let edge = area_of_call(call, now_ms.whole(), 100).edge;
    let line = edge
        .strip_prefix("M0 ")
        .unwrap_or_default()
        .trim_end_matches("H1000");

    format!(
        "M0 100V{line}H{}V100",
        if call.active { 1020 } else { 1000 }
    )
}

/// The shape in words.
#[must_use]
pub fn describe_shape(call: &CallFacts) -> String {
    use crate::web::view::format::count_with_noun;
    let stays = count_with_noun(call.members_total, "stay", "stays");
    let sfus = Sfus::from_urls(call.members.iter().filter_map(MemberFacts::sfu))
        .0
        .len();
    let on = if sfus == 0 {
        String::new()
    } else {
        format!(", on {}", count_with_noun(sfus, "SFU", "SFUs"))
    };

    format!(
        "{stays} of {}{on}, at most {} at once",
        count_with_noun(call.devices, "device", "devices"),
        call.peak
    )
}

/// The position of a moment between start and end, percent.
fn position_percent(ms: i64, start: i64, end: i64) -> f64 {
    (ratio(ms.saturating_sub(start), end.saturating_sub(start).max(1)) * 100.0).clamp(0.0, 100.0)
}

/// The stays of each device, in order of arrival; a stay without device id is alone. Stops when
/// there is one device more than can be drawn as bars: so many are drawn as an area.
fn lanes_by_device(members: &[MemberFacts]) -> Vec<Vec<&MemberFacts>> {
    let mut lanes: Vec<Vec<&MemberFacts>> = Vec::new();
    for member in members {
        let same = |lane: &Vec<&MemberFacts>| {
            member.device_id.is_some()
                && lane[0].user_id == member.user_id
                && lane[0].device_id == member.device_id
        };

        match lanes.iter().position(same) {
            Some(index) => lanes[index].push(member),
            None if lanes.len() > LANES_MAX => break,
            None => lanes.push(vec![member]),
        }
    }

    lanes
}

/// The number of devices in the call over time, until `now`, ms, if it runs, as paths of so many
/// cells, 100 high.
fn area_of_call(call: &CallFacts, now: i64, cells: usize) -> StepPaths {
    let counts = device_counts(call, now);
    let most = counts
        .iter()
        .map(|(_, devices)| *devices)
        .max()
        .unwrap_or(1)
        .max(1);

    step_paths(
        &counts,
        call.started_ms,
        call.end_ms(now),
        cells,
        most,
        100.0,
    )
}

/// How many devices were in the call, as steps of `(time ms, devices)`, in order, each valid until
/// the next. Several may have the same time: then the last of them counts from there on. The end of
/// a stay that lasts at `now`, ms, is no step.
#[must_use]
pub fn device_counts(call: &CallFacts, now: i64) -> Vec<(i64, i64)> {
    let start = call.started_ms;
    let mut edges: Vec<(i64, i64)> = Vec::with_capacity(call.members.len() * 2);
    for member in &call.members {
        edges.push((member.joined_ms.max(start), 1));
        if member.left_ms.is_some() {
            edges.push((member.end_ms(now).max(start), -1));
        }
    }

    // At the same time, arrivals are counted before departures: touching stays are one.
    edges.sort_unstable_by_key(|(ms, change)| (*ms, -change));
    let mut devices = 0;
    let count = |(ms, change): (i64, i64)| {
        devices += change;
        (ms, devices)
    };

    edges.into_iter().map(count).collect()
}

/// Draws counts over time as a stepped line, inside 1000 × `height`, for a plot that ends at the
/// value `most`. `counts` are `(time ms, count)`, in order; the plot reaches from `from` to `to`,
/// ms. Each of the `cells` shows its highest count, so that no short peak is lost.
#[must_use]
pub fn step_paths(
    counts: &[(i64, i64)],
    from: i64,
    to: i64,
    cells: usize,
    most: i64,
    height: f64,
) -> StepPaths {
    let highest = highest_by_cell(counts, from, to, cells);
    let mut edge = String::from("M0 ");
    let mut last = None;
    for (cell, count) in highest.iter().enumerate() {
        if last == Some(*count) {
            continue;
        }

        let y = Num(height - height * ratio(*count, most.max(1)).clamp(0.0, 1.0));
        let _ = match last {
            None => write!(edge, "{y}"),
            Some(_) => write!(
                edge,
                "H{}V{y}",
                Num(1000.0 * to_float(cell) / to_float(cells.max(1)))
            ),
        };

        last = Some(*count);
    }

    edge.push_str("H1000");
    let area = format!("{edge}V{}H0Z", Num(height));

    StepPaths { edge, area }
}

/// The highest count in each of the `cells` into which the time from `from` to `to`, ms, is cut.
/// `counts` must be in order; times outside count at the nearest end.
fn highest_by_cell(counts: &[(i64, i64)], from: i64, to: i64, cells: usize) -> Vec<i64> {
    let span = i128::from(to.saturating_sub(from).max(1));
    let cell_of = |ms: i64| -> usize {
        let at =
            i128::from(ms.clamp(from, to.max(from)).saturating_sub(from)) * (cells as i128) / span;
        usize::try_from(at).unwrap_or(0)
    };

    let mut highest = vec![0; cells.max(1)];
    for (index, (ms, count)) in counts.iter().enumerate() {
        let next = counts.get(index + 1).map_or(to, |(ms, _)| *ms);
        if *ms >= next && index + 1 < counts.len() {
            continue;
        }

        let first = cell_of(*ms).min(highest.len() - 1);
        // A count is valid until the next one, which may begin exactly at a cell's border.
        let last = cell_of(next.saturating_sub(1)).clamp(first, highest.len() - 1);
        for cell in &mut highest[first..=last] {
            *cell = (*count).max(*cell);
        }
    }

    highest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures;

    #[test]
    fn few_devices_are_lanes_and_many_an_area() {
        let now = fixtures::NOW;
        let Shape::Lanes(bars) = draw_card_shape(&fixtures::war_room_call(), now) else {
            panic!("not lanes")
        };

        assert_eq!(bars.len(), 8);
        assert!((bars[0].w.0 - 100.0).abs() < 0.01);
        let Shape::Area(steps) = draw_card_shape(&fixtures::crowd_call(42), now) else {
            panic!("not an area")
        };

        assert!(steps.area.starts_with("M0 ") && steps.area.ends_with("V100H0Z"));
    }

    #[test]
    fn steps_keep_short_peaks() {
        let path = step_paths(&[(0, 1), (500, 9), (501, 1)], 0, 1_000_000, 10, 9, 90.0).edge;
        assert_eq!(path, "M0 0H100V80H1000");
        assert_eq!(step_paths(&[], 0, 0, 4, 0, 10.0).edge, "M0 10H1000");
    }

    #[test]
    fn a_call_of_no_length_and_strange_times_draw_something() {
        let mut call = fixtures::war_room_call();
        call.started_ms = i64::MAX - 1;
        assert!(matches!(draw_card_shape(&call, 0_i64), Shape::Lanes(_)));
        call.members.clear();
        assert_eq!(draw_card_shape(&call, 0_i64), Shape::Lanes(Vec::new()));
        assert_eq!(sparkline_path(&call, 0_i64), "M0 100V100H1020V100");
    }
}
