//! Calls that broke and went on: all left at once, and the same people were in the next call of the
//! slot within seconds. The calls themselves stay as they are.

use std::collections::BTreeSet;

/// The default of the setting `rejoin_grace`, ms.
pub const REJOIN_GRACE_MS: i64 = 30_000;
/// Who left within this time before the end was in the call when it broke, ms.
const AT_ONCE_MS: i64 = 10_000;

/// What this needs of a stay. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct BrokenStay<'a> {
    pub user_id: &'a str,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// It ran out: when it really ended is not known.
    pub ran_out: bool,
}

/// How a call went on in the next one. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WentOn<'a> {
    pub from_ms: i64,
    pub until_ms: i64,
    /// Who was in both, in order of their ids.
    pub users: Vec<&'a str>,
}

/// How the call `before` went on in the call `after`, the next one of its slot; `None` if it did
/// not. At least two people, and more than half of those who were in it at its end, came back within
/// `grace_ms` after it.
#[must_use]
pub fn find_going_on<'a>(
    before: &[BrokenStay<'a>],
    after: &[BrokenStay<'a>],
    grace_ms: i64,
) -> Option<WentOn<'a>> {
    let end_ms = before.iter().map(|stay| stay.until_ms).max()?;
    let start_ms = after.iter().map(|stay| stay.joined_ms).min()?;
    let gap_ms = start_ms.saturating_sub(end_ms);
    if !(1..=grace_ms).contains(&gap_ms) {
        return None;
    }

    let at_end: BTreeSet<&str> = before
        .iter()
        .filter(|stay| !stay.ran_out && end_ms - stay.until_ms <= AT_ONCE_MS)
        .map(|stay| stay.user_id)
        .collect();
    let back: BTreeSet<&str> = after
        .iter()
        .filter(|stay| stay.joined_ms.saturating_sub(end_ms) <= grace_ms)
        .map(|stay| stay.user_id)
        .collect();
    let users: Vec<&str> = at_end.intersection(&back).copied().collect();
    let is_same = users.len() >= 2 && 2 * users.len() > at_end.len();

    is_same.then_some(WentOn {
        from_ms: end_ms,
        until_ms: start_ms,
        users,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(user_id: &str, joined_ms: i64, until_ms: i64) -> BrokenStay<'_> {
        BrokenStay {
            user_id,
            joined_ms,
            until_ms,
            ran_out: false,
        }
    }

    #[test]
    fn the_same_people_within_the_grace_went_on() {
        let before = [
            stay("@a:h", 0, 600_000),
            stay("@b:h", 0, 599_000),
            stay("@left:h", 0, 100_000),
        ];
        let after = [
            stay("@b:h", 612_000, 900_000),
            stay("@a:h", 620_000, 900_000),
        ];
        let found = WentOn {
            from_ms: 600_000,
            until_ms: 612_000,
            users: vec!["@a:h", "@b:h"],
        };
        assert_eq!(find_going_on(&before, &after, REJOIN_GRACE_MS), Some(found));
        assert_eq!(find_going_on(&before, &after, 11_999), None, "too late");
        assert_eq!(
            find_going_on(&before, &after[..1], REJOIN_GRACE_MS),
            None,
            "one alone"
        );
        let late = [after[0], stay("@a:h", 631_000, 900_000)];
        assert_eq!(find_going_on(&before, &late, REJOIN_GRACE_MS), None);
        // Most of those who were there are somebody else.
        let many = [
            before[0],
            before[1],
            stay("@c:h", 0, 600_000),
            stay("@d:h", 0, 600_000),
        ];
        assert_eq!(find_going_on(&many, &after, REJOIN_GRACE_MS), None);
        // Nobody knows when it really ended.
        let silent = before.map(|stay| BrokenStay {
            ran_out: true,
            ..stay
        });
        assert_eq!(find_going_on(&silent, &after, REJOIN_GRACE_MS), None);
        assert_eq!(find_going_on(&[], &after, REJOIN_GRACE_MS), None);
    }
}
