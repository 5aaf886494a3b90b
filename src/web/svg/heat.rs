//! A year of days as two half-year calendars: a column per week, a row per weekday, a colour for
//! the number of calls.

use crate::rtc::coverage::Span;
use crate::web::view::format::{DAY, count_with_noun, start_of_day, utc_datetime};
use std::collections::BTreeMap;

const PITCH: i64 = 13;
const LEFT: i64 = 20;
const TOP: i64 = 16;
const WEEKS: i64 = 26;

/// Half a year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfYear {
    pub title: String,
    pub cells: Vec<DayCell>,
    pub months: Vec<(i64, String)>,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCell {
    pub x: i64,
    pub y: i64,
    /// `h0` to `h4`: 0, 1, 2, 3 to 4, 5 or more calls; `hx`: no call is known and most of the day
    /// was not watched. A day before all that is known has no cell.
    pub class: &'static str,
    /// Only for days with a call.
    pub title: Option<String>,
}

impl HalfYear {
    /// The days without a title, as one path per class: squares of 11 px with round corners.
    #[must_use]
    pub fn plain(&self) -> BTreeMap<&'static str, String> {
        let mut paths: BTreeMap<&'static str, String> = BTreeMap::new();
        for cell in self.cells.iter().filter(|cell| cell.title.is_none()) {
            let square = format!("M{} {}h7v7h-7z", cell.x + 2, cell.y + 2);
            paths.entry(cell.class).or_default().push_str(&square);
        }

        paths
    }
}

/// The year in two halves, with a few numbers. The first half is left out if nothing is known of
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Year {
    pub halves: Vec<HalfYear>,
    /// The number of days for which it is known whether there was a call.
    pub days: usize,
    pub days_with_calls: usize,
    /// The day with the most calls, ms, and their number.
    pub most: Option<(i64, i64)>,
    /// At least one day is hatched.
    pub blind: bool,
    /// The longest span of days without a call between two with one: first and last, ms.
    pub pause: Option<(i64, i64)>,
}

/// The beginning, ms, of the Monday (UTC) on which the year that ends with the day of `now`, ms,
/// begins.
#[must_use]
pub fn first_day(now: i64) -> i64 {
    let today = start_of_day(now);
    let weekday = i64::from(utc_datetime(today).weekday().to_monday_zero_offset());
    today - DAY * (weekday + 7 * (2 * WEEKS - 1))
}

/// Draws the calls of the year that ends with the day of `now`, ms. They started at these times,
/// ms, in any order; others are ignored. `known_ms` is the beginning of what is known; `blind` are
/// the unwatched spans after it, which must not overlap.
#[must_use]
pub fn draw_year(
    starts: impl Iterator<Item = i64>,
    known_ms: i64,
    blind: &[Span],
    now: i64,
) -> Year {
    let (first, today) = (first_day(now), start_of_day(now));
    let mut by_day: BTreeMap<i64, i64> = BTreeMap::new();
    for start in starts.filter(|ms| (first..today + DAY).contains(ms)) {
        *by_day.entry(start_of_day(start)).or_default() += 1;
    }

    let half = |index: i64| {
        draw_half_year(
            first + index * WEEKS * 7 * DAY,
            today,
            &by_day,
            start_of_day(known_ms),
            blind,
        )
    };

    let busy: Vec<i64> = by_day.keys().copied().collect();
    // Unwatched days do not count as a pause.
    let watched = |pair: &&[i64]| {
        blind.iter().all(|span| {
            span.within(&Span {
                from: pair[0] + DAY,
                to: pair[1],
            })
            .is_empty()
        })
    };

    let pauses = busy
        .windows(2)
        .filter(|pair| pair[1] - pair[0] > DAY)
        .filter(watched);
    let pause = pauses.max_by_key(|pair| pair[1] - pair[0]);
    let mut halves = vec![half(0), half(1)];
    if halves[0].cells.is_empty() {
        halves.remove(0);
    }

    let hatched = |half: &HalfYear| half.cells.iter().filter(|cell| cell.class == "hx").count();

    Year {
        blind: halves.iter().any(|half| hatched(half) > 0),
        days: halves
            .iter()
            .map(|half| half.cells.len() - hatched(half))
            .sum(),
        halves,
        days_with_calls: by_day.len(),
        most: by_day
            .iter()
            .max_by_key(|(_, calls)| **calls)
            .map(|(day, calls)| (*day, *calls)),
        pause: pause.map(|pair| (pair[0] + DAY, pair[1] - DAY)),
    }
}

/// Was more than half of the day that begins at `day`, ms, unwatched? `blind` must not overlap.
fn is_mostly_unobserved(day: i64, blind: &[Span]) -> bool {
    let day = Span {
        from: day,
        to: day + DAY,
    };

    let inside = blind
        .iter()
        .map(|span| span.within(&day))
        .filter(|span| !span.is_empty());

    inside.map(|span| span.to - span.from).sum::<i64>() > DAY / 2
}

/// Draws half a year from the day `first` until the day `today` at most. A day is named by its
/// beginning, ms, here and below. `by_day` is the number of calls by day, `known` the first day
/// that is known; an earlier one is drawn only if it has a call.
fn draw_half_year(
    first: i64,
    today: i64,
    by_day: &BTreeMap<i64, i64>,
    known: i64,
    blind: &[Span],
) -> HalfYear {
    let days = (0..WEEKS * 7)
        .map(|day| (day, first + day * DAY))
        .filter(|(_, ms)| *ms <= today);
    let told = days
        .clone()
        .filter(|(_, ms)| *ms >= known || by_day.contains_key(ms));
    let cells = told.map(|(day, ms)| {
        let calls = by_day.get(&ms).copied().unwrap_or(0);
        let hatched = calls == 0 && is_mostly_unobserved(ms, blind);
        let class = match calls {
            0 if hatched => "hx",
            0 => "h0",
            1 => "h1",
            2 => "h2",
            3 | 4 => "h3",
            _ => "h4",
        };

        let title = (calls > 0).then(|| {
            format!(
                "{}: {}",
                utc_datetime(ms).strftime("%a %-d %b"),
                count_with_noun(calls, "call", "calls")
            )
        });
        DayCell {
            x: LEFT + day / 7 * PITCH,
            y: TOP + day % 7 * PITCH,
            class,
            title,
        }
    });
    let last = days.clone().next_back().map_or(first, |(_, ms)| ms);
    let title = format!(
        "Calls a day, {} to {}",
        utc_datetime(first).strftime("%B %Y"),
        utc_datetime(last).strftime("%B %Y")
    );

    HalfYear {
        title,
        cells: cells.collect(),
        months: month_labels(first, last),
    }
}

/// The names of the months from the day `first` to the day `last` with the position at which each
/// begins, px. One that the next would touch is left out.
fn month_labels(first: i64, last: i64) -> Vec<(i64, String)> {
    let mut all: Vec<(i64, String)> = Vec::new();
    for week in 0..WEEKS {
        let monday = first + week * 7 * DAY;
        let begins = (0..7)
            .map(|day| monday + day * DAY)
            .find(|ms| *ms <= last && (utc_datetime(*ms).day() == 1 || *ms == first));
        if let Some(ms) = begins {
            let x = LEFT + week * PITCH;
            if all.last().is_some_and(|(before, _)| x - before < 30) {
                all.pop();
            }

            all.push((x, utc_datetime(ms).strftime("%b").to_string()));
        }
    }

    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 14:47 UTC, a Sunday.
    const NOW: i64 = 1_795_358_820_000;

    #[test]
    fn the_year_ends_today_and_begins_on_a_monday() {
        let year = draw_year(
            [NOW, NOW, NOW - 3 * DAY, 0, i64::MAX].into_iter(),
            0,
            &[],
            NOW,
        );
        assert_eq!(year.days, 364);
        assert_eq!(
            year.halves
                .iter()
                .map(|half| half.cells.len())
                .sum::<usize>(),
            364
        );
        let last = year.halves[1].cells.last().unwrap();
        assert_eq!(
            (last.class, last.title.as_deref()),
            ("h2", Some("Sun 22 Nov: 2 calls"))
        );
        assert_eq!(
            (year.days_with_calls, year.most),
            (2, Some((start_of_day(NOW), 2)))
        );
        assert_eq!(
            year.pause,
            Some((start_of_day(NOW) - 2 * DAY, start_of_day(NOW) - DAY))
        );
        assert_eq!(
            utc_datetime(first_day(NOW)).weekday(),
            jiff::civil::Weekday::Monday
        );
    }

    #[test]
    fn a_week_that_has_just_begun_is_short() {
        let monday = NOW + DAY;
        let year = draw_year(std::iter::empty(), 0, &[], monday);
        assert_eq!(year.days, 358);
        assert_eq!((year.most, year.pause), (None, None));
    }

    #[test]
    fn a_day_that_nobody_watched_is_not_a_day_without_calls() {
        let day = start_of_day(NOW);
        let blind = [
            Span {
                from: i64::MIN / 2,
                to: day - 2 * DAY + DAY / 2 + 1,
            },
            Span {
                from: day - 5,
                to: day + 5,
            },
        ];
        let year = draw_year([day - 4 * DAY].into_iter(), i64::MIN, &blind, NOW);
        let last: Vec<_> = year.halves[1]
            .cells
            .iter()
            .rev()
            .take(5)
            .map(|cell| cell.class)
            .collect();
        assert_eq!(last, ["h0", "h0", "hx", "hx", "h1"]);
        assert!(year.halves[1].plain()["hx"].starts_with('M') && year.blind);
        assert!(year.blind);
        let both = [day - 4 * DAY, day];
        assert_eq!(
            super::draw_year(both.into_iter(), 0, &blind, NOW).pause,
            None,
            "nobody knows"
        );
        assert_eq!(
            super::draw_year(both.into_iter(), 0, &[], NOW).pause,
            Some((day - 3 * DAY, day - DAY))
        );
    }

    #[test]
    fn days_before_all_that_is_known_have_no_cell() {
        let year = draw_year([NOW, NOW - 60 * DAY].into_iter(), NOW - 37 * DAY, &[], NOW);
        assert_eq!(
            (year.days, year.days_with_calls, year.halves.len()),
            (39, 2, 1),
            "a call tells of its own day"
        );
    }

    #[test]
    fn month_labels_do_not_touch() {
        for half in draw_year(std::iter::empty(), 0, &[], NOW).halves {
            for pair in half.months.windows(2) {
                assert!(pair[1].0 - pair[0].0 >= 30);
            }
        }
    }
}
