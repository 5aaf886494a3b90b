//! Attendance: when each person of a call came, left, and how long they were there, with all of
//! their devices taken together.

use super::time::{DAY_MS, day_of_time};
use super::words::EndReason;
use std::collections::{BTreeMap, BTreeSet};

/// A stay, as attendance needs it. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttendanceStay {
    pub call_id: String,
    pub call_started_ms: i64,
    pub user_id: String,
    pub device_id: Option<String>,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// How it ends or ended.
    pub end_reason: EndReason,
}

/// One person in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendance {
    pub call_id: String,
    pub call_started_ms: i64,
    pub user_id: String,
    pub came_ms: i64,
    /// `None` if the person is still there.
    pub left_ms: Option<i64>,
    /// How the last stay ended; `None` if the person is still there. After `expired` nobody said
    /// goodbye: the person may have gone long before.
    pub end_reason: Option<EndReason>,
    /// How long any device of the person was there.
    pub present_ms: i64,
    pub devices: usize,
    pub stays: usize,
}

/// The attendance at `now`, ms, of the calls of these stays: by call in order of their starts, then
/// by arrival.
#[must_use]
pub fn attendance_of_stays(stays: &[AttendanceStay], now: i64) -> Vec<Attendance> {
    let mut people: BTreeMap<(&str, &str), Vec<&AttendanceStay>> = BTreeMap::new();
    let counts = |stay: &&AttendanceStay| stay.joined_ms < now.min(stay.until_ms);
    for stay in stays.iter().filter(counts) {
        people
            .entry((&stay.call_id, &stay.user_id))
            .or_default()
            .push(stay);
    }

    let mut found: Vec<Attendance> = people
        .into_values()
        .filter_map(|stays| attendance_of_person(stays, now))
        .collect();
    found.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));

    found
}

fn sort_key(one: &Attendance) -> (i64, &str, i64, &str) {
    (one.call_started_ms, &one.call_id, one.came_ms, &one.user_id)
}

/// The attendance of one person from their stays in one call; `None` if there is no stay.
fn attendance_of_person(mut stays: Vec<&AttendanceStay>, now: i64) -> Option<Attendance> {
    stays.sort_by_key(|stay| (stay.joined_ms, stay.until_ms));
    let first = *stays.first()?;
    let devices: BTreeSet<Option<&str>> =
        stays.iter().map(|stay| stay.device_id.as_deref()).collect();
    let is_there = stays.iter().any(|stay| stay.until_ms > now);
    let last = stays.iter().max_by_key(|stay| stay.until_ms)?;

    // Stays of several devices at the same time count once.
    let mut present_ms = 0;
    let mut counted_to = i64::MIN;
    for stay in &stays {
        let from = stay.joined_ms.max(counted_to);
        let to = stay.until_ms.min(now);
        present_ms += (to - from).max(0);
        counted_to = counted_to.max(to);
    }

    Some(Attendance {
        call_id: first.call_id.clone(),
        call_started_ms: first.call_started_ms,
        user_id: first.user_id.clone(),
        came_ms: first.joined_ms,
        left_ms: (!is_there).then_some(last.until_ms),
        end_reason: (!is_there).then_some(last.end_reason),
        present_ms,
        devices: devices.len(),
        stays: stays.len(),
    })
}

/// How long a person was in calls on each day (days since the Unix epoch, UTC), ms; several devices
/// at the same time count once. `stays` are begin and end, ms; days outside of `from_ms` to `to_ms`
/// are left out.
#[must_use]
pub fn presence_by_day(stays: &[(i64, i64)], from_ms: i64, to_ms: i64) -> BTreeMap<i64, i64> {
    let mut sorted = stays.to_vec();
    sorted.sort_unstable();
    let mut days = BTreeMap::new();
    let mut counted_to = from_ms;
    for (joined_ms, until_ms) in sorted {
        let mut at = joined_ms.max(counted_to);
        let end = until_ms.min(to_ms);
        while at < end {
            let day = day_of_time(at);
            let next = ((day + 1) * DAY_MS).min(end);
            *days.entry(day).or_default() += next - at;
            at = next;
        }

        counted_to = counted_to.max(end);
    }

    days
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(call: &str, user: &str, device: &str, joined_ms: i64, until_ms: i64) -> AttendanceStay {
        AttendanceStay {
            call_id: call.to_owned(),
            call_started_ms: if call == "first" { 0 } else { 1000 },
            user_id: user.to_owned(),
            device_id: Some(device.to_owned()),
            joined_ms,
            until_ms,
            end_reason: EndReason::Left,
        }
    }

    #[test]
    fn devices_at_the_same_time_count_once() {
        let stays = [
            stay("first", "@ada:a", "phone", 10, 50),
            stay("first", "@ada:a", "desk", 40, 60),
            stay("first", "@ada:a", "desk", 80, 90),
        ];
        let found = attendance_of_stays(&stays, 500);
        assert_eq!(
            found,
            [Attendance {
                call_id: "first".to_owned(),
                call_started_ms: 0,
                user_id: "@ada:a".to_owned(),
                came_ms: 10,
                left_ms: Some(90),
                end_reason: Some(EndReason::Left),
                present_ms: 60,
                devices: 2,
                stays: 3,
            }]
        );
    }

    #[test]
    fn presence_is_cut_at_midnight_and_counts_once() {
        let (day, hour) = (DAY_MS, 3_600_000);
        let stays = [
            (day - hour, day + 2 * hour),
            (day, day + hour),
            (day + 3 * hour, day + 9 * hour),
        ];
        let found = presence_by_day(&stays, 0, day + 4 * hour);
        assert_eq!(found, BTreeMap::from([(0, hour), (1, 3 * hour)]));
        assert_eq!(presence_by_day(&stays, day, day), BTreeMap::new());
    }

    #[test]
    fn who_is_still_there_has_not_left() {
        let stays = [
            stay("second", "@ben:b", "d", 1010, 9000),
            stay("first", "@ada:a", "d", 5, 20),
            stay("first", "@ben:b", "d", 3, 9),
            stay("second", "@later:b", "d", 1600, 9000),
        ];
        let found = attendance_of_stays(&stays, 1500);
        let who: Vec<_> = found
            .iter()
            .map(|one| (one.call_id.as_str(), one.user_id.as_str(), one.left_ms))
            .collect();
        assert_eq!(
            who,
            [
                ("first", "@ben:b", Some(9)),
                ("first", "@ada:a", Some(20)),
                ("second", "@ben:b", None),
            ]
        );
        assert_eq!(found[2].present_ms, 490);
    }
}
