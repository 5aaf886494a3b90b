//! Sums over a span of time as pages and JSON show them: with and without inferred time.

use super::Stamp;
use super::format as f;
use crate::rtc::coverage::Span;
use crate::store::stats::scope::UsageSums;
use serde::Serialize;
use utoipa::ToSchema;

/// The sums of a span of time. Inferred is what rests on expiry, on a member's own claim, or on
/// time that nobody watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct SumFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
    pub calls: i64,
    /// Calls of which start, end and everything between were seen.
    pub calls_exact: i64,
    pub people: i64,
    /// Device time in calls: ten devices for six minutes are one hour.
    pub together_ms: i64,
    /// The same without what is inferred.
    pub together_seen_ms: i64,
}

impl SumFacts {
    /// The sums of this span.
    #[must_use]
    pub fn new(sums: &UsageSums, Span { from, to }: Span) -> Self {
        Self {
            from_ms: from,
            from_at: Stamp(from),
            to_ms: to,
            to_at: Stamp(to),
            calls: sums.calls,
            calls_exact: sums.calls_exact,
            people: sums.people,
            together_ms: sums.together_ms,
            together_seen_ms: sums.together_seen_ms,
        }
    }

    /// How many calls are not exact, in words, if any.
    #[must_use]
    pub fn not_exact(&self) -> Option<String> {
        not_exact_words(self.calls, self.calls_exact)
    }

    /// How much time is inferred, in words, if any.
    #[must_use]
    pub fn inferred(&self) -> Option<String> {
        inferred_words(self.together_ms, self.together_seen_ms)
    }
}

/// `3 not exact`; `None` if all are exact.
#[must_use]
pub fn not_exact_words(calls: i64, exact: i64) -> Option<String> {
    (calls > exact).then(|| format!("{} not exact", f::group_digits(calls - exact)))
}

/// `of which 3 h 12 inferred`; `None` if it is less than a minute.
#[must_use]
pub fn inferred_words(all_ms: impl f::WholeNumber, seen_ms: impl f::WholeNumber) -> Option<String> {
    let rest = all_ms.whole() - seen_ms.whole();
    (rest >= 60_000).then(|| format!("of which {} inferred", f::total_duration(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inferred_is_said() {
        assert_eq!(not_exact_words(5, 5), None);
        assert_eq!(
            not_exact_words(1_300, 100).as_deref(),
            Some("1,200 not exact")
        );
        assert_eq!(
            inferred_words(10_000_000_i64, 10_000_000_i64 - 59_999),
            None
        );
        assert_eq!(
            inferred_words(20_000_000_i64, 20_000_000_i64 - 3 * 3_600_000).as_deref(),
            Some("of which 3 h 00 inferred")
        );
    }
}
