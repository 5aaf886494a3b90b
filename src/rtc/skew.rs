//! The clock of another server, as far as the stamps of its events tell it.
//!
//! An event is stamped by its server and takes some time to come to us. So `received − stamped` is
//! how far that clock is behind ours, plus the way. The way is never less than nothing, and of many
//! events a few come quickly: the lower end of these differences is the clock, nearly. Below zero,
//! that clock is surely ahead.

/// Under so many events nothing is said.
pub const FEW: usize = 10;
/// The lower end: so many percent of the events are below.
const LOW_PERCENT: usize = 5;

/// Differences in time, ms, in two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differences {
    pub low_ms: i64,
    pub middle_ms: i64,
}

/// The lower end and the middle; nothing where there are too few.
#[must_use]
pub fn differences(mut all: Vec<i64>) -> Option<Differences> {
    if all.len() < FEW {
        return None;
    }

    all.sort_unstable();

    Some(Differences {
        low_ms: all[all.len() * LOW_PERCENT / 100],
        middle_ms: all[all.len() / 2],
    })
}

/// A clock that is ahead by less, or behind by less, is not spoken of on a call, ms. What is behind
/// may be the way.
const AHEAD_MS: i64 = 1_000;
const BEHIND_MS: i64 = 5_000;

/// By how much a server's clock is off, ms, from when the live events of one call came less when it
/// stamped them: more than nothing is behind ours. In the middle of them, so that one odd stamp
/// says nothing.
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
        assert_eq!(differences(vec![5; 9]), None);
        let mut all: Vec<i64> = (0..100).map(|way| 2000 + way * way).collect();
        assert_eq!(
            differences(all.clone()),
            Some(Differences {
                low_ms: 2025,
                middle_ms: 4500
            })
        );
        all.extend([-9_000_000, -8_000_000]);
        assert_eq!(
            differences(all).unwrap().low_ms,
            2009,
            "two stamps of a hundred do not set the clock"
        );
        assert_eq!(differences(vec![-3000; 10]).unwrap().low_ms, -3000);
    }
}
