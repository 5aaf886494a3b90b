//! The neighbours of an event in its room's history. If an event's timestamp is impossible, the
//! order in which homeservers return events tells when it happened.

use super::time::DAY_MS;
use std::collections::BTreeMap;

/// How far a timestamp must be from its neighbours to be refuted, ms. Servers that could not reach
/// each other for days put their events side by side, so smaller differences are normal.
const APART_MS: i64 = 7 * DAY_MS;
/// Maximum number of older neighbours considered.
const OLDER: usize = 5;

/// The stamp of an event, ms, and the server of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventStamp<'e> {
    pub server: &'e str,
    pub at_ms: i64,
}

/// For each timestamp of one page of history, newest event first: if its neighbours refute it, the
/// time that they suggest instead, ms; else `None`.
///
/// One server alone cannot move an event of another server. Only neighbours of the event's own
/// server count, or those of at least two other servers.
#[must_use]
pub fn corrected_times(stamps: &[EventStamp<'_>]) -> Vec<Option<i64>> {
    let mut newer: BTreeMap<&str, i64> = BTreeMap::new();
    let mut found = Vec::with_capacity(stamps.len());
    for (at, stamp) in stamps.iter().enumerate() {
        let next = stamps.get(at + 1..).unwrap_or_default();
        let near = next.get(..OLDER).unwrap_or(next);
        let older = times_of_older_neighbours(near, stamp.server);
        let instead = older.into_iter().find_map(|older_ms| {
            corrected_time(*stamp, older_ms, latest_newer_time(&newer, stamp.server))
        });
        found.push(instead);
        let newest_ms = newer.entry(stamp.server).or_insert(stamp.at_ms);
        *newest_ms = stamp.at_ms.max(*newest_ms);
    }

    found
}

/// The times that older neighbours suggest, ms: the median of its own server's stamps, and that of
/// other servers if there are at least two of them. Either may be missing.
fn times_of_older_neighbours(near: &[EventStamp<'_>], server: &str) -> Vec<i64> {
    let of_own = near.iter().filter(|one| one.server == server);
    let own_ms = median_stamp(of_own.map(|one| one.at_ms).collect());
    let mut by_server: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for one in near.iter().filter(|one| one.server != server) {
        by_server.entry(one.server).or_default().push(one.at_ms);
    }

    let has_several = by_server.len() > 1;
    // One median for each server, so that a server with many events counts once.
    let others_ms =
        earlier_median_stamp(by_server.into_values().filter_map(median_stamp).collect());

    own_ms
        .into_iter()
        .chain(others_ms.filter(|_| has_several))
        .collect()
}

/// The latest timestamp of the newer events, ms; `None` if they may not judge an event of this
/// server. `newer` has the latest stamp of each server.
fn latest_newer_time(newer: &BTreeMap<&str, i64>, server: &str) -> Option<i64> {
    let may_tell = newer.contains_key(server) || newer.len() > 1;
    newer.values().max().copied().filter(|_| may_tell)
}

/// The time that the neighbours suggest for a stamp, ms: that of the older ones if the stamp is far
/// before them, that of the newer ones if it is far after both. `None` if the stamp may be right.
fn corrected_time(stamp: EventStamp<'_>, older_ms: i64, newest_ms: Option<i64>) -> Option<i64> {
    // Neighbours that contradict each other prove nothing.
    if newest_ms.is_some_and(|newest_ms| older_ms > newest_ms) {
        return None;
    }

    if stamp.at_ms < older_ms.saturating_sub(APART_MS) {
        return Some(older_ms);
    }

    // A sender of newer events with early timestamps must not move older events of others. So the
    // older neighbours must agree.
    let is_after = |other_ms: i64| stamp.at_ms > other_ms.saturating_add(APART_MS);
    newest_ms.filter(|newest_ms| is_after(*newest_ms) && is_after(older_ms))
}

/// The median timestamp, ms: one wrong clock among several does not move it. `None` of nothing.
fn median_stamp(mut stamps: Vec<i64>) -> Option<i64> {
    stamps.sort_unstable();
    stamps.get(stamps.len() / 2).copied()
}

/// The median timestamp, ms; with an even number, the earlier of the two in the middle. `None` of
/// nothing.
fn earlier_median_stamp(mut stamps: Vec<i64>) -> Option<i64> {
    stamps.sort_unstable();
    stamps.get(stamps.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = DAY_MS;
    const NOW: i64 = 1_700_000_000_000;

    fn of_servers(stamps: &[(&str, i64)]) -> Vec<Option<i64>> {
        let stamp = |(server, at_ms)| EventStamp { server, at_ms };
        super::corrected_times(&stamps.iter().copied().map(stamp).collect::<Vec<_>>())
    }

    fn refuted(stamps: &[i64]) -> Vec<Option<i64>> {
        let all: Vec<_> = stamps.iter().map(|at_ms| ("h", *at_ms)).collect();
        of_servers(&all)
    }

    #[test]
    fn a_stamp_far_from_those_beside_it_is_refuted() {
        let page = [NOW, 0, NOW - DAY, NOW - 2 * DAY];
        assert_eq!(refuted(&page), [None, Some(NOW - DAY), None, None]);
        let page = [NOW - 30 * DAY, NOW, NOW - 31 * DAY, NOW - 32 * DAY];
        assert_eq!(refuted(&page), [None, Some(NOW - 30 * DAY), None, None]);
    }

    #[test]
    fn servers_that_were_apart_for_days_are_believed() {
        let page = [NOW, NOW - 6 * DAY, NOW - DAY, NOW - 5 * DAY];
        assert_eq!(refuted(&page), [None; 4]);
    }

    #[test]
    fn a_stranger_who_stamps_the_newest_events_moves_no_others() {
        let page = [0, 0, 0, NOW, NOW - DAY, NOW - 2 * DAY];
        assert_eq!(refuted(&page)[3..], [None; 3]);
        assert_eq!(refuted(&[0, NOW]), [Some(NOW), None]);
        assert_eq!(refuted(&[]), []);
        assert_eq!(refuted(&[5]), [None]);
    }
    #[test]
    fn one_server_alone_moves_no_event_of_another() {
        for odd in [0, NOW + 400 * DAY] {
            // The other server's events are on both sides, or on one side only.
            for page in [
                [("evil", odd), ("h", NOW), ("evil", odd), ("evil", odd)],
                [("x", NOW + 1), ("h", NOW), ("evil", odd), ("evil", odd)],
                [("evil", odd), ("h", NOW), ("x", NOW - DAY), ("evil", odd)],
            ] {
                assert_eq!(of_servers(&page)[1], None, "{page:?}");
            }
        }

        // Two other servers, or the event's own server, can move it.
        let page = [("x", NOW), ("h", 0), ("x", NOW - DAY), ("y", NOW - 2 * DAY)];
        assert_eq!(of_servers(&page)[1], Some(NOW - 2 * DAY));
        let page = [("x", NOW), ("h", 0), ("x", NOW - DAY), ("h", NOW - DAY)];
        assert_eq!(of_servers(&page)[1], Some(NOW - DAY));
    }
}
