//! The clock of a homeserver, and how reliably it says goodbye for devices that are gone, as pages
//! and JSON show them.

use super::Rate;
use super::format as f;
use super::format::WholeNumber;
use crate::rtc::words::{EndReason, words};
use crate::store::stats::clock_skew::ServerClock;
use crate::store::stats::distributions::EndFacts;
use serde::Serialize;
use utoipa::ToSchema;

/// A clock that is ahead or behind by more than this is reported, ms. The bound for "behind" is
/// higher, because it includes the network delay.
const AHEAD: i64 = 2_000;
const BEHIND: i64 = 10_000;

/// A server's clock, estimated from the timestamps of its newest member events, compared with the
/// clock of Callscope. With fewer than ten events of a kind nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ClockFacts {
    /// Events that arrived as they happened; the next two values are based on them.
    pub live_events: usize,
    /// Receive time minus `origin_server_ts`: the 5th percentile. Negative: the clock is ahead by
    /// at least this much. Positive: the clock is behind, or its events take this long to arrive.
    pub behind_ms: Option<i64>,
    /// The same as median: it includes the usual delay.
    pub usual_behind_ms: Option<i64>,
    /// Events that state when their stay began; the next two values are based on them.
    pub stated_events: usize,
    /// `origin_server_ts` minus `created_ts`: the 5th percentile. Negative: the clocks of devices
    /// are ahead of their server's.
    pub after_created_ms: Option<i64>,
    /// Events that state a beginning after their own timestamp.
    pub created_ahead: usize,
}

impl From<ServerClock> for ClockFacts {
    fn from(clock: ServerClock) -> Self {
        Self {
            live_events: clock.live,
            behind_ms: clock.behind.map(|behind| behind.low_ms),
            usual_behind_ms: clock.behind.map(|behind| behind.middle_ms),
            stated_events: clock.stated,
            after_created_ms: clock.after_stated.map(|after| after.low_ms),
            created_ahead: clock.stated_ahead,
        }
    }
}

impl ClockFacts {
    /// The verdict about the clock: class, icon, words.
    #[must_use]
    pub fn verdict(&self) -> (&'static str, &'static str, String) {
        match self.behind_ms {
            None => ("faint", "unknown", "Too few events to say".to_owned()),
            Some(ms) if ms < -AHEAD => (
                "warn",
                "alert",
                format!("At least {} ahead of ours", precise_duration(-ms)),
            ),
            Some(ms) if ms > BEHIND => (
                "warn",
                "clock",
                format!(
                    "{} behind ours, or its events take as long",
                    precise_duration(ms)
                ),
            ),
            Some(_) => ("ok", "check", "Agrees with ours".to_owned()),
        }
    }

    /// Is the clock wrong enough that somebody should look?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.verdict().0 == "warn"
    }
}

/// The size of a clock error in words: `0.3 s`, `12 s`, `4 min`.
#[must_use]
pub fn precise_duration(ms: impl WholeNumber) -> String {
    let ms = ms.whole();
    let sign = if ms < 0 { "−" } else { "" };
    let ms = ms.saturating_abs();

    match ms {
        0..10_000 => format!("{sign}{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{sign}{} s", ms / 1000),
        _ => format!("{sign}{}", f::ended_duration(ms)),
    }
}

words! {
    /// Whether a server sends delayed events.
    pub enum DelayedVerdict {
        Works = "works",
        Fails = "fails",
        Unclear = "unclear",
        /// Too few stays ended to say.
        TooFew = "too_few",
    }
}

/// How the stays of a server ended, as a sign of whether it sends delayed events (MSC4140). A
/// client's delayed leave often says no more than a plain one, so that `left` holds both: what
/// counts is how many only ran out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DelayedFacts {
    /// Stays that ended with a goodbye; of them those that say that the connection was lost; and
    /// those that ran out.
    pub left: i64,
    pub delayed_leave: i64,
    pub expired: i64,
    /// `works`, `fails`, `unclear`, or `too_few` to say.
    pub verdict: DelayedVerdict,
}

impl DelayedFacts {
    /// The verdict from how many stays of the server ended in which way. Delayed events work if
    /// surely at most 5 % of the stays ran out, and fail if surely at least 5 % did.
    #[must_use]
    pub fn new(ends: &[EndFacts]) -> Self {
        let stays_with = |is: fn(EndReason) -> bool| {
            let with = ends.iter().filter(|end| is(end.reason));
            with.map(|end| end.stays).sum::<i64>()
        };

        let delayed_leave = stays_with(|reason| reason == EndReason::DelayedLeave);
        let left = delayed_leave + stays_with(|reason| reason == EndReason::Left);
        let expired = stays_with(EndReason::is_expiry);
        let verdict = match Rate::with_bounds(expired, left + expired) {
            None => DelayedVerdict::TooFew,
            Some(rate) if rate.high_permille <= 50 => DelayedVerdict::Works,
            Some(rate) if rate.low_permille >= 50 => DelayedVerdict::Fails,
            Some(_) => DelayedVerdict::Unclear,
        };

        Self {
            left,
            delayed_leave,
            expired,
            verdict,
        }
    }

    /// Do goodbyes of lost devices not come?
    #[must_use]
    pub fn fails(&self) -> bool {
        self.verdict == DelayedVerdict::Fails
    }

    /// The verdict about delayed events: class, icon, words.
    #[must_use]
    pub fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self.verdict {
            DelayedVerdict::Works => ("ok", "check", "Lost connections are reported"),
            DelayedVerdict::Fails => ("warn", "alert", "Lost connections are not reported"),
            DelayedVerdict::Unclear if self.expired == 0 => {
                ("faint", "unknown", "All left properly; too few to be sure")
            }
            DelayedVerdict::Unclear => {
                ("faint", "unknown", "Most left properly; too few to be sure")
            }
            DelayedVerdict::TooFew => ("faint", "unknown", "Too few stays to say"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_said() {
        let at = |behind_ms: Option<i64>| {
            ClockFacts {
                behind_ms,
                ..ClockFacts::default()
            }
            .verdict()
            .2
        };

        assert_eq!(at(Some(-3400)), "At least 3.4 s ahead of ours");
        assert_eq!(at(Some(-2000)), "Agrees with ours", "a way and a slow look");
        assert_eq!(at(Some(10_000)), "Agrees with ours");
        assert_eq!(
            at(Some(75_900)),
            "75 s behind ours, or its events take as long"
        );
        assert_eq!(at(None), "Too few events to say");
        assert_eq!(
            (precise_duration(-250_i64), precise_duration(300_000_i64)),
            ("−0.2 s".to_owned(), "5 min".to_owned())
        );
    }

    fn delayed(ends: &[(EndReason, i64)]) -> DelayedFacts {
        let ends = ends
            .iter()
            .map(|&(reason, stays)| EndFacts { reason, stays });
        DelayedFacts::new(&ends.collect::<Vec<_>>())
    }

    #[test]
    fn what_only_runs_out_shows_whether_delayed_events_work() {
        let verdict = |left: i64, lost: i64, expired: i64| {
            let ends = [
                (EndReason::Left, left),
                (EndReason::DelayedLeave, lost),
                (EndReason::Expired, expired),
                (EndReason::RoomLeft, 500),
            ];
            delayed(&ends).verdict
        };

        assert_eq!(verdict(300, 20, 2), DelayedVerdict::Works);
        assert_eq!(verdict(200, 0, 60), DelayedVerdict::Fails);
        assert_eq!(verdict(40, 0, 2), DelayedVerdict::Unclear);
        assert_eq!(verdict(20, 0, 5), DelayedVerdict::TooFew);
        let facts = delayed(&[
            (EndReason::Left, 3),
            (EndReason::DelayedLeave, 2),
            (EndReason::StickyExpired, 1),
        ]);
        assert_eq!((facts.left, facts.delayed_leave, facts.expired), (5, 2, 1));
        let words = |left: i64, expired: i64| {
            delayed(&[(EndReason::Left, left), (EndReason::Expired, expired)]).words()
        };

        assert_eq!(
            words(62, 0),
            ("faint", "unknown", "All left properly; too few to be sure")
        );
        assert_eq!(
            words(40, 2),
            ("faint", "unknown", "Most left properly; too few to be sure")
        );
    }
}
