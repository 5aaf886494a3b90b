//! The clock of another server, estimated from the timestamps of its events.
//!
//! An event is stamped by its server and then travels to us. So `received − stamped` is the time by
//! which that clock is behind ours, plus the delay. The delay is never negative, and among many
//! events a few arrive quickly. So the low percentile of these differences is nearly the clock
//! difference. If it is negative, that clock is certainly ahead.

/// Minimum number of events for an estimate.
pub const FEW: usize = 10;
/// The low percentile: this many percent of the events are below it.
const LOW_PERCENT: usize = 5;

/// Time differences, summarised by two numbers, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differences {
    /// The low percentile: nearly the difference of the clocks.
    pub low_ms: i64,
    pub middle_ms: i64,
}

/// The low percentile and the median; `None` if there are fewer than [`FEW`] events.
#[must_use]
pub fn summarise_differences(mut all: Vec<i64>) -> Option<Differences> {
    if all.len() < FEW {
        return None;
    }

    all.sort_unstable();

    Some(Differences {
        low_ms: all[all.len() * LOW_PERCENT / 100],
        middle_ms: all[all.len() / 2],
    })
}

/// A clock that is ahead or behind by less than these is not reported on a call, ms. The bound for
/// "behind" is higher, because the cause may be network delay.
const AHEAD_MS: i64 = 1_000;
const BEHIND_MS: i64 = 5_000;

/// How far a server's clock is off, by the differences `received − stamped` of the live events of
/// one call: their median, ms. Positive: the server is behind our clock. `None` if its clock may be
/// right.
///
/// Delay looks like a server that is behind. So a server is behind only if even its quickest event
/// took too long. Delay never looks like a server that is ahead, so there the median decides, on
/// which one odd timestamp has no effect.
#[must_use]
pub fn clock_off_ms(mut differences: Vec<i64>) -> Option<i64> {
    differences.sort_unstable();
    let middle = *differences.get(differences.len() / 2)?;
    let is_off = middle <= -AHEAD_MS || differences.first().is_some_and(|low| *low >= BEHIND_MS);
    is_off.then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_tells_a_clock_that_is_off() {
        assert_eq!(clock_off_ms(vec![]), None);
        assert_eq!(clock_off_ms(vec![-3_000, -2_900, 80]), Some(-2_900));
        assert_eq!(clock_off_ms(vec![200, 30_000, 31_000]), None, "only late");
        assert_eq!(clock_off_ms(vec![29_000, 30_000, 31_000]), Some(30_000));
    }

    #[test]
    fn the_lower_end_is_the_clock_and_one_odd_stamp_is_not() {
        assert_eq!(summarise_differences(vec![5; 9]), None);
        let mut all: Vec<i64> = (0..100).map(|way| 2000 + way * way).collect();
        assert_eq!(
            summarise_differences(all.clone()),
            Some(Differences {
                low_ms: 2025,
                middle_ms: 4500
            })
        );
        all.extend([-9_000_000, -8_000_000]);
        assert_eq!(
            summarise_differences(all).unwrap().low_ms,
            2009,
            "two stamps of a hundred do not set the clock"
        );
        assert_eq!(
            summarise_differences(vec![-3000; 10]).unwrap().low_ms,
            -3000
        );
    }
}
