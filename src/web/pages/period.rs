//! The period that a page of numbers is about: 7, 30, 90 or 365 days that end today, and the one before.

use crate::rtc::coverage::Span;
use crate::web::error::Error;
use crate::web::format as f;
use crate::web::query::Query;

/// The parameter, and those of lists beside it.
pub const KNOWN: &[&str] = &["period"];
pub const OF_LIST: &[&str] = &["period", "sort", "limit", "cursor"];
/// Rows of a list where no limit is asked for.
pub const LIMIT: i64 = 50;

/// A number of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub days: i64,
}

/// All of them, with the word of the address and of the page.
const ALL: [(i64, &str, &str); 4] =
    [(7, "7d", "7 days"), (30, "30d", "30 days"), (90, "90d", "90 days"), (365, "365d", "Year")];

impl Period {
    /// The period that a query asks for; 30 days where it does not.
    ///
    /// # Errors
    /// An unknown parameter, or any other word.
    pub fn read(query: &str) -> Result<Self, Error> {
        Self::of(&Query::read(query, KNOWN)?)
    }

    /// The period among other parameters.
    ///
    /// # Errors
    /// Any other word.
    pub fn of(query: &Query) -> Result<Self, Error> {
        let Some(word) = query.get("period") else { return Ok(Self { days: 30 }) };
        let found = ALL.iter().find(|(_, known, _)| *known == word);
        found
            .map(|(days, ..)| Self { days: *days })
            .ok_or_else(|| Error::Invalid(format!("period must be one of {}", ALL.map(|(_, word, _)| word).join(", "))))
    }

    /// The word of the address.
    #[must_use]
    pub fn word(self) -> &'static str {
        ALL.iter().find(|(days, ..)| *days == self.days).map_or("30d", |(_, word, _)| word)
    }

    /// The choices: address, words, and whether it is this one.
    #[must_use]
    pub fn choices(self, path: &str) -> Vec<(String, &'static str, bool)> {
        ALL.iter().map(|(days, word, name)| (format!("{path}?period={word}"), *name, *days == self.days)).collect()
    }

    /// From the midnight (UTC) with which the first day begins until now.
    #[must_use]
    pub fn span(self, now: i64) -> Span {
        Span { from: f::midnight(now) - (self.days - 1) * f::DAY, to: now }
    }

    /// As many days before, up to the same time of day.
    #[must_use]
    pub fn before(self, now: i64) -> Span {
        let Span { from, to } = self.span(now);
        Span { from: from - self.days * f::DAY, to: to - self.days * f::DAY }
    }

    /// As a heading.
    #[must_use]
    pub fn heading(self) -> String {
        if self.days == 365 { "Last 12 months".to_owned() } else { format!("Last {} days", self.days) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_now_and_the_one_before_at_the_same_time_of_day() {
        let now = 100 * f::DAY + 5;
        let week = Period::read("period=7d").unwrap();
        assert_eq!(week.span(now), Span { from: 94 * f::DAY, to: now });
        assert_eq!(week.before(now), Span { from: 87 * f::DAY, to: 93 * f::DAY + 5 });
        assert_eq!((Period::read("").unwrap().days, week.word()), (30, "7d"));
        assert!(Period::read("period=8d").unwrap_err().to_string().contains("7d, 30d, 90d, 365d"));
        assert!(Period::read("days=7").is_err());
    }
}
