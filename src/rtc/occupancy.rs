//! How many were there at once over time: the most, and how many are enough for nearly all of the
//! time in which somebody was there.

use super::coverage::Span;
use std::collections::BTreeMap;

/// The share of the time with somebody there for which [`Occupancy::p95`] is enough, percent.
const MOST_OF_TIME: i64 = 95;

/// Somebody was there. Times in ms; the end is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Presence {
    /// Who it was. Who is there several times at once counts once.
    pub who: usize,
    pub from_ms: i64,
    pub until_ms: i64,
}

/// How many were there at once within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// The most at once, and when that was first so, ms; 0 and `None` if nobody was there.
    pub peak: i64,
    pub peak_ms: Option<i64>,
    /// The least number that was not exceeded in 95 % of the time with somebody there.
    pub p95: i64,
    /// How long somebody was there, ms.
    pub busy_ms: i64,
}

/// The number of those who are there at once, from a time on, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    from_ms: i64,
    count: i64,
}

/// How many were there at once within each of these spans, in their order.
#[must_use]
pub fn occupancy_of_spans(mut presences: Vec<Presence>, spans: &[Span]) -> Vec<Occupancy> {
    presences.sort_unstable();
    let levels = levels_of_presences(&presences);

    spans
        .iter()
        .map(|span| occupancy_of_span(&levels, *span))
        .collect()
}

/// The number of those who are there at once, over all time. The presences are in order.
fn levels_of_presences(presences: &[Presence]) -> Vec<Level> {
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for one in presences.chunk_by(|one, next| one.who == next.who) {
        // In order of begin: a later one adds only the part after the end known so far.
        let mut end_ms = i64::MIN;
        for presence in one {
            let from_ms = presence.from_ms.max(end_ms);
            if presence.until_ms > from_ms {
                *changes.entry(from_ms).or_default() += 1;
                *changes.entry(presence.until_ms).or_default() -= 1;
                end_ms = presence.until_ms;
            }
        }
    }

    let mut count = 0;
    let level = |(from_ms, change)| {
        count += change;
        Level { from_ms, count }
    };

    changes.into_iter().map(level).collect()
}

/// How many were there at once within a span.
fn occupancy_of_span(levels: &[Level], span: Span) -> Occupancy {
    let mut found = Occupancy::default();
    let mut time_by_count: BTreeMap<i64, i64> = BTreeMap::new();
    let first = levels.partition_point(|level| level.from_ms <= span.from);
    for at in first.saturating_sub(1)..levels.len() {
        let Level { from_ms, count } = levels[at];
        if from_ms >= span.to {
            break;
        }

        let until_ms = levels.get(at + 1).map_or(span.to, |next| next.from_ms);
        let (from_ms, until_ms) = (from_ms.max(span.from), until_ms.min(span.to));
        if count == 0 || until_ms <= from_ms {
            continue;
        }

        *time_by_count.entry(count).or_default() += until_ms - from_ms;
        found.busy_ms += until_ms - from_ms;
        if count > found.peak {
            (found.peak, found.peak_ms) = (count, Some(from_ms));
        }
    }

    let mut reached_ms: i128 = 0;
    for (count, time_ms) in time_by_count {
        reached_ms += i128::from(time_ms);
        if reached_ms * 100 >= i128::from(found.busy_ms) * i128::from(MOST_OF_TIME) {
            found.p95 = count;
            break;
        }
    }

    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn presence(who: usize, from_ms: i64, until_ms: i64) -> Presence {
        Presence {
            who,
            from_ms,
            until_ms,
        }
    }

    fn within(presences: &[Presence], from: i64, to: i64) -> Occupancy {
        occupancy_of_spans(presences.to_vec(), &[Span { from, to }])[0]
    }

    /// The same, counted moment by moment.
    fn count_moments(presences: &[Presence], from: i64, to: i64) -> Occupancy {
        let there = |ms: i64| {
            let here = presences
                .iter()
                .filter(|one| one.from_ms <= ms && ms < one.until_ms);
            let people: BTreeSet<usize> = here.map(|one| one.who).collect();
            i64::try_from(people.len()).unwrap()
        };
        let mut busy: Vec<i64> = (from..to).map(there).filter(|count| *count > 0).collect();
        let peak = busy.iter().copied().max().unwrap_or(0);
        busy.sort_unstable();
        let enough = (busy.len() * 95).div_ceil(100);

        Occupancy {
            peak,
            peak_ms: (from..to).find(|ms| peak > 0 && there(*ms) == peak),
            p95: enough.checked_sub(1).map_or(0, |at| busy[at]),
            busy_ms: i64::try_from(busy.len()).unwrap(),
        }
    }

    #[test]
    fn a_short_crowd_is_the_peak_and_not_the_95_percent() {
        let mut all = vec![presence(0, 0, 1000), presence(1, 0, 1000)];
        all.extend((2..50).map(|who| presence(who, 400, 440)));
        let found = within(&all, 0, 2000);
        assert_eq!((found.peak, found.peak_ms), (50, Some(400)));
        assert_eq!((found.p95, found.busy_ms), (2, 1000));
        assert_eq!(within(&all, 1000, 2000), Occupancy::default());
    }

    #[test]
    fn who_comes_when_another_leaves_is_not_there_at_once_with_them() {
        let all = [presence(0, 0, 10), presence(1, 10, 20)];
        assert_eq!(within(&all, 0, 20).peak, 1);
        let twice = [presence(0, 0, 10), presence(0, 5, 20), presence(0, 6, 7)];
        let found = within(&twice, 0, 30);
        assert_eq!((found.peak, found.busy_ms), (1, 20));
    }

    proptest! {
        #[test]
        fn it_equals_a_count_of_moments(
            all in vec((0_usize..6, 0_i64..60, 0_i64..40), 0..24), from in 0_i64..50, len in 0_i64..60
        ) {
            let all: Vec<Presence> = all
                .into_iter()
                .map(|(who, from, len)| presence(who, from, from + len))
                .collect();
            prop_assert_eq!(
                within(&all, from, from + len),
                count_moments(&all, from, from + len)
            );
        }

        #[test]
        fn parts_have_the_peak_and_the_time_of_the_whole(
            all in vec((0_usize..9, 0_i64..900, 0_i64..400), 0..40), cut in 1_i64..999
        ) {
            let mut all: Vec<Presence> = all
                .into_iter()
                .map(|(who, from, len)| presence(who, from, from + len))
                .collect();
            let spans = [
                Span { from: 0, to: cut },
                Span { from: cut, to: 1000 },
                Span { from: 0, to: 1000 },
            ];
            let found = occupancy_of_spans(all.clone(), &spans);
            prop_assert_eq!(found[0].peak.max(found[1].peak), found[2].peak);
            prop_assert_eq!(found[0].busy_ms + found[1].busy_ms, found[2].busy_ms);
            prop_assert!(found.iter().all(|one| one.p95 <= one.peak));
            all.reverse();
            prop_assert_eq!(occupancy_of_spans(all, &spans), found, "whatever the order");
        }
    }
}
