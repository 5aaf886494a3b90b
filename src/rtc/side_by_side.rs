//! Side by side: calls of one kind that ran at the same time in one room while one person waited
//! alone in each. They were probably looking for each other. Clients that give each call an id
//! create such pairs when two people press "call" at once.

use super::application::{Purpose, purpose_of};

/// Minimum time that two calls must run together, ms. Below it, two people started at once and then
/// settled on one call.
const TOGETHER_MIN_MS: i64 = 10_000;

/// Maximum time between the starts of both calls, ms. A person who began later was not looking for
/// the other.
pub const BEGAN_APART_MAX_MS: i64 = 3_600_000;

/// When a call begins, it is compared with at most this many of the newest running calls: events
/// come from strangers.
const LOOKED_AT_MAX: usize = 64;

/// Maximum number of pairs reported for one room.
const PAIRS_MAX: usize = 200;

/// A call in which one person was alone, from its beginning to its end. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoneCall<'a> {
    pub application: &'a str,
    pub slot_id: &'a str,
    pub user_id: &'a str,
    pub from_ms: i64,
    /// Its end, or the time until which its member is known to have been there.
    pub until_ms: i64,
}

/// Two calls that ran side by side. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideBySide {
    /// The indices of the two calls in the given list; `first` is the one that began first.
    pub first: usize,
    pub second: usize,
    pub from_ms: i64,
    pub until_ms: i64,
}

/// The pairs of calls of one room that ran side by side without a meeting, in the order in which
/// the later call of each began; at most `PAIRS_MAX`, the earliest. `calls` may be in any order.
#[must_use]
pub fn pairs_side_by_side(calls: &[LoneCall]) -> Vec<SideBySide> {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|at| (calls[*at].from_ms, calls[*at].slot_id));

    let mut pairs = Vec::new();
    let mut running: Vec<usize> = Vec::new();
    for second in order {
        let call = &calls[second];
        running.retain(|first| calls[*first].until_ms > call.from_ms);

        for &first in &running {
            let pair = SideBySide {
                first,
                second,
                from_ms: call.from_ms,
                until_ms: call.until_ms.min(calls[first].until_ms),
            };

            if pairs.len() < PAIRS_MAX && missed_each_other(&calls[first], call, &pair) {
                pairs.push(pair);
            }
        }

        running.push(second);
        if running.len() > LOOKED_AT_MAX {
            running.remove(0);
        }
    }

    pairs
}

/// Were two people looking for each other in these two calls? The calls are of one kind in
/// different slots, their people differ, they began within an hour of each other and ran together
/// long enough. `first` began no later than `second`; `pair` is the time of both.
fn missed_each_other(first: &LoneCall, second: &LoneCall, pair: &SideBySide) -> bool {
    first.application == second.application
        && first.slot_id != second.slot_id
        && first.user_id != second.user_id
        // Whiteboards and the like are opened by one person on purpose.
        && purpose_of(first.application) != Purpose::Whiteboard
        && second.from_ms.saturating_sub(first.from_ms) <= BEGAN_APART_MAX_MS
        && pair.until_ms.saturating_sub(pair.from_ms) >= TOGETHER_MIN_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    const ADA: LoneCall = LoneCall {
        application: "m.call",
        slot_id: "m.call#111",
        user_id: "@ada:ash.example",
        from_ms: 1000,
        until_ms: 20 * MINUTE,
    };
    const BEN: LoneCall = LoneCall {
        application: "m.call",
        slot_id: "m.call#222",
        user_id: "@ben:birch.example",
        from_ms: 2000,
        until_ms: 21 * MINUTE,
    };

    #[test]
    fn two_who_wait_at_the_same_time_are_a_pair() {
        let pair = |first, second| SideBySide {
            first,
            second,
            from_ms: 2000,
            until_ms: 20 * MINUTE,
        };

        assert_eq!(pairs_side_by_side(&[ADA, BEN]), [pair(0, 1)]);
        assert_eq!(
            pairs_side_by_side(&[BEN, ADA]),
            [pair(1, 0)],
            "in any order"
        );
    }

    #[test]
    fn three_who_wait_are_three_pairs() {
        let cleo = LoneCall {
            slot_id: "m.call#333",
            user_id: "@cleo:cedar.example",
            from_ms: 3000,
            ..BEN
        };

        assert_eq!(pairs_side_by_side(&[ADA, BEN, cleo]).len(), 3);
    }

    #[test]
    fn near_misses_are_no_pairs() {
        let near = [
            (
                "on two devices",
                LoneCall {
                    user_id: ADA.user_id,
                    ..BEN
                },
            ),
            (
                "one call after a break",
                LoneCall {
                    slot_id: ADA.slot_id,
                    ..BEN
                },
            ),
            (
                "something else",
                LoneCall {
                    application: "org.example.chess",
                    ..BEN
                },
            ),
            (
                "after each other",
                LoneCall {
                    from_ms: ADA.until_ms,
                    until_ms: ADA.until_ms + MINUTE,
                    ..BEN
                },
            ),
            (
                "settled at once",
                LoneCall {
                    until_ms: BEN.from_ms + TOGETHER_MIN_MS - 1,
                    ..BEN
                },
            ),
            (
                "long after",
                LoneCall {
                    from_ms: ADA.from_ms + BEGAN_APART_MAX_MS + 1,
                    until_ms: ADA.from_ms + 3 * BEGAN_APART_MAX_MS,
                    ..BEN
                },
            ),
        ];
        for (why, ben) in near {
            let ada = if why == "long after" {
                LoneCall {
                    until_ms: 5 * BEGAN_APART_MAX_MS,
                    ..ADA
                }
            } else {
                ADA
            };

            assert_eq!(pairs_side_by_side(&[ada, ben]), [], "{why}");
        }

        let board = |call| LoneCall {
            application: "net.nordeck.whiteboard",
            ..call
        };

        assert_eq!(pairs_side_by_side(&[board(ADA), board(BEN)]), [], "boards");
        let game = |call| LoneCall {
            application: "org.example.chess",
            ..call
        };

        assert_eq!(
            pairs_side_by_side(&[game(ADA), game(BEN)]).len(),
            1,
            "two of one kind that we do not know"
        );
    }

    #[test]
    fn a_flood_of_calls_costs_little_and_makes_few_pairs() {
        let names: Vec<(String, String)> = (0..20_000)
            .map(|n| (format!("m.call#{n}"), format!("@u{n}:h")))
            .collect();
        let flood: Vec<LoneCall> = names
            .iter()
            .map(|(slot_id, user_id)| LoneCall {
                slot_id,
                user_id,
                ..ADA
            })
            .collect();
        assert_eq!(pairs_side_by_side(&flood).len(), PAIRS_MAX);
    }
}
