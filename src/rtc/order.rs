//! The order of events of one state key, which does not depend on the order in which they arrived.

use super::event::RoomEvent;
use std::collections::HashMap;

/// A timestamp later than its successor's by more than this is treated as a wrong clock, ms.
const SKEW_MS: i64 = 3_600_000;

/// The events in the order in which they count, each with its effective time, ms (docs/matrixrtc.md
/// section 5, rule 4). The order is by event time, then by event id, with two exceptions. (1) A
/// state event never comes before the event that its `replaces_state` names; if its own time is
/// earlier, it takes that event's time. (2) If the replaced event is stamped far later than both
/// its predecessor and its successor, the replaced event is moved instead. Otherwise one timestamp
/// from the future would move all later events there.
#[must_use]
pub fn sort_by_effective_time<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
) -> Vec<(i64, &'a RoomEvent)> {
    let mut events: Vec<&RoomEvent> = events.into_iter().collect();
    // If links form a cycle, the place where it is cut must not depend on the order of arrival.
    events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
    let index: HashMap<&str, usize> = events
        .iter()
        .enumerate()
        .map(|(at, event)| (event.event_id.as_str(), at))
        .collect();
    // For each event, the index of the event that it replaces, if that is among these.
    let before: Vec<Option<usize>> = events
        .iter()
        .map(|event| {
            event
                .replaces_state
                .as_deref()
                .and_then(|id| index.get(id).copied())
        })
        .collect();
    let keys = sort_keys(&events, &before);
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by(|&a, &b| (keys[a], &events[a].event_id).cmp(&(keys[b], &events[b].event_id)));

    order
        .into_iter()
        .map(|at| (keys[at].0, events[at]))
        .collect()
}

/// Each event's own time, ms, in the order of `events`. A replaced event whose stamp is odd gets an
/// earlier time: a stamp after the receipt of its successor, or one that is far later than those of
/// its predecessor and its successor. `before` has, for each event, the index of the event that it
/// replaces, if that is among `events`.
fn times_without_odd_stamps(events: &[&RoomEvent], before: &[Option<usize>]) -> Vec<i64> {
    let mut own: Vec<i64> = events.iter().map(|event| event.time()).collect();
    let stamped = own.clone();
    for (after, odd) in before
        .iter()
        .enumerate()
        .filter_map(|(after, odd)| Some((after, (*odd)?)))
    {
        // A replaced event existed before we received its successor.
        own[odd] = own[odd].min(events[after].received_ts.unwrap_or(i64::MAX));
        // If its predecessor is not among these events, we assume that the predecessor was earlier.
        // This happens when only a part of a member key is folded.
        let follows = events[odd].replaces_state.is_some()
            && before[odd].is_none_or(|first| stamped[first] <= stamped[after]);
        if follows && stamped[odd] > stamped[after].saturating_add(SKEW_MS) {
            own[odd] = own[odd].min(stamped[after]);
        }
    }

    own
}

/// For each event, its effective time, ms, and its rank after predecessors with the same time: 0,
/// or one more than the event that it replaces. The effective time is its own
/// ([`times_without_odd_stamps`]), or that of the event that it replaces if that is later. `before`
/// has, for each event, the index of the event that it replaces, if that is among `events`.
///
/// `events` must be in order of their ids, since a cycle of links is cut at its lowest index.
fn sort_keys(events: &[&RoomEvent], before: &[Option<usize>]) -> Vec<(i64, u32)> {
    let own_times = times_without_odd_stamps(events, before);
    let mut keys: Vec<Option<(i64, u32)>> = vec![None; events.len()];
    let mut entered = vec![false; events.len()];
    for start in 0..events.len() {
        let mut path = Vec::new();
        let mut next = Some(start);
        // Follow the links to an event whose key is known, or to the first event.
        while let Some(at) = next.filter(|&at| keys[at].is_none() && !entered[at]) {
            entered[at] = true;
            path.push(at);
            next = before[at];
        }

        // A cycle is cut at its first event by id, wherever we entered it: that event comes last in
        // the path, and so gets its key first.
        if let Some(closes) = next.and_then(|at| path.iter().position(|&passed| passed == at)) {
            let cycle = &mut path[closes..];
            let first = cycle
                .iter()
                .enumerate()
                .min_by_key(|(_, at)| **at)
                .map_or(0, |(position, _)| position);
            cycle.rotate_left((first + 1) % cycle.len());
        }

        // From the end of the path, so that the key of the event before is known.
        for &at in path.iter().rev() {
            let own = own_times[at];
            keys[at] = Some(match before[at].and_then(|previous| keys[previous]) {
                Some((time, rank)) if time >= own => (time, rank + 1),
                _ => (own, 0),
            });
        }
    }

    keys.into_iter()
        .zip(events)
        .map(|(key, event)| key.unwrap_or((event.time(), 0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(id: &str, ts: i64, replaces: Option<&str>) -> RoomEvent {
        let json = json!({"event_id": id, "type": "t", "state_key": "", "sender": "@a:a",
            "origin_server_ts": ts,
            "content": {}, "unsigned": {"replaces_state": replaces}});
        RoomEvent::from_json(&json, None).unwrap()
    }

    #[test]
    fn a_link_beats_a_clock_that_is_behind() {
        let (a, b, c) = (
            event("$b", 100, None),
            event("$a", 40, Some("$b")),
            event("$c", 90, Some("$a")),
        );
        let ids: Vec<_> = sort_by_effective_time([&c, &b, &a])
            .iter()
            .map(|(t, e)| (*t, e.event_id.clone()))
            .collect();
        assert_eq!(
            ids,
            [(100, "$b".into()), (100, "$a".into()), (100, "$c".into())]
        );
    }

    #[test]
    fn one_stamp_from_the_future_does_not_move_what_came_after_it() {
        let hour = SKEW_MS;
        let member_key = [
            event("$1", hour, None),
            event("$2", 900 * hour, Some("$1")),
            event("$3", 2 * hour, Some("$2")),
            event("$4", 3 * hour, Some("$3")),
        ];
        let times: Vec<_> = sort_by_effective_time(&member_key)
            .iter()
            .map(|(time, event)| (*time / hour, event.event_id.as_str()))
            .collect();
        assert_eq!(times, [(1, "$1"), (2, "$2"), (2, "$3"), (3, "$4")]);
    }

    #[test]
    fn one_stamp_from_the_past_does_not_move_what_came_before_it() {
        let member_key = [
            event("$1", 5 * SKEW_MS, None),
            event("$2", 6 * SKEW_MS, Some("$1")),
            event("$3", 0, Some("$2")),
        ];
        let times: Vec<_> = sort_by_effective_time(&member_key)
            .iter()
            .map(|(time, _)| *time / SKEW_MS)
            .collect();
        assert_eq!(times, [5, 6, 6]);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let (a, b) = (event("$a", 1, Some("$b")), event("$b", 2, Some("$a")));
        assert_eq!(sort_by_effective_time([&a, &b]).len(), 2);
        assert_eq!(
            sort_by_effective_time([&a, &b]),
            sort_by_effective_time([&b, &a])
        );
        assert_eq!(
            sort_by_effective_time([&event("$x", 1, Some("$x"))]).len(),
            1
        );
    }
}
