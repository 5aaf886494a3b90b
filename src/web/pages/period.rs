//! The period of a statistics page: 7, 30, 90 or 365 days that end today, and the period before.

use crate::rtc::coverage::Span;
use crate::rtc::words::words;
use crate::store::stats::unobserved::mean_watched_ms;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::PageRequest;
use crate::web::view::format as f;
use serde::Serialize;
use std::ops::Range;
use utoipa::ToSchema;

/// The parameter, and those of lists beside it.
pub const KNOWN: &[&str] = &["period"];
pub const LIST_PARAMETERS: &[&str] = &["period", "sort", "limit", "cursor"];
/// Default number of rows of a list.
pub const LIMIT: i64 = 50;

/// Less than this in a period that nobody watched is not worth a word, ms.
const UNWATCHED_MIN_MS: i64 = 3_600_000;

/// A number of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub days: i64,
}

/// All periods, with the words for the address and for the page.
const ALL: [(i64, &str, &str); 4] = [
    (7, "7d", "7 days"),
    (30, "30d", "30 days"),
    (90, "90d", "90 days"),
    (365, "365d", "Year"),
];

impl Period {
    /// The requested period; the default is 30 days.
    ///
    /// # Errors
    /// An unknown parameter of the API, or any other word.
    pub fn read(ask: &PageRequest) -> Result<Self, Error> {
        Self::period_of_query(&ask.read_query(KNOWN)?)
    }

    /// The period among other parameters.
    ///
    /// # Errors
    /// Any other word.
    pub fn period_of_query(query: &Query) -> Result<Self, Error> {
        let Some(word) = query.get("period") else {
            return Ok(Self { days: 30 });
        };

        let found = ALL.iter().find(|(_, known, _)| *known == word);

        found.map(|(days, ..)| Self { days: *days }).ok_or_else(|| {
            Error::Invalid(format!(
                "period must be one of {}",
                ALL.map(|(_, word, _)| word).join(", ")
            ))
        })
    }

    /// The word in the address.
    #[must_use]
    pub fn word(self) -> &'static str {
        ALL.iter()
            .find(|(days, ..)| *days == self.days)
            .map_or("30d", |(_, word, _)| word)
    }

    /// The choices of a period: address, words, and whether it is this one.
    #[must_use]
    pub fn choices(self, path: &str) -> Vec<(String, &'static str, bool)> {
        ALL.iter()
            .map(|(days, word, name)| (format!("{path}?period={word}"), *name, *days == self.days))
            .collect()
    }

    /// The days of the period: from the midnight (UTC) with which the first one begins until `now`,
    /// ms.
    #[must_use]
    pub fn span(self, now: i64) -> Span {
        Span {
            from: f::start_of_day(now) - (self.days - 1) * f::DAY,
            to: now,
        }
    }

    /// The period before: as many days, up to the same time of day.
    #[must_use]
    pub fn before(self, now: i64) -> Span {
        let Span { from, to } = self.span(now);
        Span {
            from: from - self.days * f::DAY,
            to: to - self.days * f::DAY,
        }
    }

    /// The period as a heading.
    #[must_use]
    pub fn heading(self) -> String {
        if self.days == 365 {
            "Last 12 months".to_owned()
        } else {
            format!("Last {} days", self.days)
        }
    }
}

/// How much of a period was watched. Less than all makes its numbers too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct WatchedFacts {
    /// The time that was watched, or read from history since, in the mean of the rooms that are
    /// read now.
    pub watched_ms: i64,
    /// The time of the period so far.
    pub period_ms: i64,
}

impl WatchedFacts {
    /// How much of this period was watched, as known at `now`, ms.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(web: &Web, period: Period, now: i64) -> Result<Self, Error> {
        let span = period.span(now);

        Ok(Self {
            watched_ms: mean_watched_ms(&web.store, span, now).await?,
            period_ms: span.to - span.from,
        })
    }

    /// What was not watched, in a sentence; `None` if that is little.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let missing_ms = self.period_ms - self.watched_ms;
        if missing_ms < UNWATCHED_MIN_MS {
            return None;
        }

        let days = |ms: i64| (ms + f::DAY / 2) / f::DAY;
        let (watched, all) = (days(self.watched_ms), days(self.period_ms));
        let rooms = "in the mean of its rooms";
        let told = if watched < all {
            format!("Callscope watched {watched} of {all} days in this period, {rooms}")
        } else {
            let missing = f::total_duration(missing_ms);
            format!("Callscope did not watch {missing} of this period, {rooms}")
        };

        Some(format!("{told}: the numbers are of what it saw."))
    }
}

words! {
    /// The unit into which a period is divided.
    pub enum Bucket {
        Day = "day",
        Week = "week",
        Month = "month",
    }
}

impl Bucket {
    const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];
    /// Maximum number of days in a picture by day.
    const MOST_DAYS: i64 = 90;

    /// The requested step; the default is days. A year has too many days, so its default is weeks;
    /// the answer says so.
    ///
    /// # Errors
    /// Any other word.
    pub fn step_of_query(query: &Query, period: Period) -> Result<Self, Error> {
        let is_long = period.days > Self::MOST_DAYS;
        let Some(word) = query.get("step") else {
            return Ok(if is_long { Self::Week } else { Self::Day });
        };

        match word.parse() {
            Ok(Self::Day) if is_long => Ok(Self::Week),
            Ok(step) => Ok(step),
            Err(_) => Err(Error::Invalid(format!(
                "step must be one of {}",
                Self::ALL.map(Self::as_str).join(", ")
            ))),
        }
    }

    #[must_use]
    pub fn is_day(self) -> bool {
        self == Self::Day
    }

    /// The unit as a heading, in the plural.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Day => "Days",
            Self::Week => "Weeks",
            Self::Month => "Months",
        }
    }

    /// The unit by which a period is shown in a small picture: it has about thirty columns at most.
    #[must_use]
    pub fn coarse_step(period: Period) -> Self {
        match period.days {
            ..=31 => Self::Day,
            32..=Self::MOST_DAYS => Self::Week,
            _ => Self::Month,
        }
    }

    /// The choices within a period: address, name, and whether it is this one.
    #[must_use]
    pub fn choices(self, period: Period) -> Vec<(String, &'static str, bool)> {
        let fits = |step: &Self| *step != Self::Day || period.days <= Self::MOST_DAYS;
        let href = |step: Self| format!("/statistics?period={}&step={step}", period.word());

        Self::ALL
            .into_iter()
            .filter(fits)
            .map(|step| (href(step), step.plural(), step == self))
            .collect()
    }

    /// Divides a number of days, from `first` on (in days since the Unix epoch), into steps, each
    /// from its first day (included) to its end (excluded). A step of a week begins where the one
    /// before ends, a step of a month with the month, so that the first may be shorter; so may the
    /// last.
    #[must_use]
    pub fn cut(self, first: i64, days: i64) -> Vec<Range<i64>> {
        let (mut found, mut at, end) = (Vec::new(), first, first + days);
        while at < end {
            let next = match self {
                Self::Day => at + 1,
                Self::Week => at + 7,
                Self::Month => {
                    let day = f::utc_datetime(at * f::DAY);
                    at + i64::from(day.days_in_month() - day.day() + 1)
                }
            };

            found.push(at..next.min(end));
            at = next;
        }

        found
    }

    /// The spans of the steps of a period that ends at `now`, ms. The last one ends there, too.
    #[must_use]
    pub fn spans(self, period: Period, now: i64) -> Vec<Span> {
        let span = period.span(now);
        let step = |days: Range<i64>| Span {
            from: days.start * f::DAY,
            to: span.to.min(days.end * f::DAY),
        };
        let steps = self.cut(span.from / f::DAY, period.days);

        steps.into_iter().map(step).collect()
    }

    /// The name of the step that begins at this time.
    #[must_use]
    pub fn name(self, ms: impl f::WholeNumber) -> String {
        f::utc_datetime(ms)
            .strftime(if self == Self::Month {
                "%B %Y"
            } else {
                "%a %-d %b"
            })
            .to_string()
    }

    /// The short name of the step that begins at this time, ms.
    #[must_use]
    pub fn label(self, ms: impl f::WholeNumber) -> String {
        f::utc_datetime(ms)
            .strftime(if self == Self::Month { "%b" } else { "%-d %b" })
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(query: &str) -> Result<Period, Error> {
        Period::period_of_query(&Query::read(query, KNOWN)?)
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        // 2024-02-28 is day 19781.
        assert_eq!(
            Bucket::Month.cut(19_781, 34),
            [19_781..19_783, 19_783..19_814, 19_814..19_815]
        );
        assert_eq!(Bucket::Week.cut(3, 9), [3..10, 10..12]);
        assert_eq!(Bucket::Day.cut(3, 2), [3..4, 4..5]);
        let year = Period { days: 365 };
        let of = |text: &str| Bucket::step_of_query(&Query::read(text, &["step"]).unwrap(), year);
        assert_eq!(
            (of("").unwrap(), of("step=month").unwrap()),
            (Bucket::Week, Bucket::Month)
        );
        assert!(of("step=day").unwrap() == Bucket::Week && of("step=hour").is_err());
        assert_eq!(Bucket::Week.choices(year).len(), 2);
    }

    #[test]
    fn a_period_ends_now_and_the_one_before_at_the_same_time_of_day() {
        let now = 100 * f::DAY + 5;
        let week = period("period=7d").unwrap();
        assert_eq!(
            week.span(now),
            Span {
                from: 94 * f::DAY,
                to: now
            }
        );
        assert_eq!(
            week.before(now),
            Span {
                from: 87 * f::DAY,
                to: 93 * f::DAY + 5
            }
        );
        assert_eq!((period("").unwrap().days, week.word()), (30, "7d"));
        assert!(
            period("period=8d")
                .unwrap_err()
                .to_string()
                .contains("7d, 30d, 90d, 365d")
        );
    }

    #[test]
    fn what_was_not_watched_is_said() {
        let watched = |missing_ms: i64| {
            let period_ms = 30 * f::DAY;
            let facts = WatchedFacts {
                watched_ms: period_ms - missing_ms,
                period_ms,
            };
            facts.words()
        };
        assert_eq!(watched(0), None);
        assert_eq!(watched(UNWATCHED_MIN_MS - 1), None);
        let words = watched(3 * f::DAY).unwrap();
        assert!(
            words.contains("watched 27 of 30 days in this period"),
            "{words}"
        );
        let words = watched(2 * UNWATCHED_MIN_MS).unwrap();
        assert!(words.contains("did not watch 2 h"), "{words}");
    }
}
