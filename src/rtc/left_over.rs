//! Memberships that nobody in the call sees any more, with an event of their own to tell of it: one
//! that is left over in the state of a room whose person left the room, and one that another
//! device of the same person wrote over.

use super::event::RoomEvent;
use super::fold::{Rules, end_of_join};
use super::member;
use super::words::{EndReason, Format};
use std::collections::HashMap;

/// A membership that is gone from the state within this time, ms, was taken away with its person.
const TAKEN_ALONG_MS: i64 = 60_000;

/// What became of the state event of a stay whose person left the room. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOver {
    /// When the event expires by its own word.
    pub expires_ms: i64,
    /// When it was replaced, emptied or redacted, or its person came back into the room; `None` =
    /// it still stands there.
    pub gone_ms: Option<i64>,
}

/// What these findings need of a stay. Times in ms.
#[derive(Debug, Clone, Copy)]
pub struct EndedStay<'a> {
    pub user_id: &'a str,
    pub device: Option<&'a str>,
    /// Which events state it.
    pub member_key: &'a str,
    pub format: Format,
    pub until_ms: i64,
    pub end_reason: EndReason,
    pub join_event_id: &'a str,
    pub end_event_id: Option<&'a str>,
    /// `None` if it is not known, or if its person is in the room.
    pub left_over: Option<LeftOver>,
}

/// Such a membership. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOverFinding {
    /// Its person left the room, and its event is still in the state.
    LeftOver {
        stay: usize,
        from_ms: i64,
        /// When it is or was no longer in the state, or expires at the latest.
        until_ms: i64,
    },
    /// The event with which the device of stay `by` joined took its place.
    Overwritten { stay: usize, by: usize, at_ms: i64 },
}

/// Did it end since its person is not in the room any more?
#[must_use]
pub fn is_ended_by_room(reason: EndReason) -> bool {
    use EndReason::{RoomBanned, RoomKicked, RoomLeft};
    matches!(reason, RoomLeft | RoomKicked | RoomBanned)
}

/// When the membership expires, ms, that this event states for a device; `None` if it states none.
#[must_use]
pub fn expiry_of_event(event: &RoomEvent, device: Option<&str>, rules: &Rules) -> Option<i64> {
    let parsed = member::parse_member_event(event);
    let joins = parsed.joins.iter().map(|(_, join)| join);
    let mut of_device = joins.filter(|join| join.device_id.as_deref() == device);

    of_device.next().map(|join| end_of_join(join, event, rules))
}

/// The memberships among these stays of one call that were left over, and those that were written
/// over; those that had ended by `upto`, ms. Matrix clients ignore a membership whose sender is not
/// in the room (matrix-js-sdk), so one that is left over disturbs nobody, until its person comes
/// back.
#[must_use]
pub fn left_over_findings(stays: &[EndedStay<'_>], upto: i64) -> Vec<LeftOverFinding> {
    let mut begun: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, stay) in stays.iter().enumerate() {
        begun
            .entry((stay.member_key, stay.join_event_id))
            .or_default()
            .push(at);
    }

    let of_stay = |(at, stay): (usize, &EndedStay<'_>)| {
        if stay.format == Format::Sticky || stay.until_ms > upto {
            return None;
        }

        find_left_over(at, stay).or_else(|| {
            let same = begun.get(&(stay.member_key, stay.end_event_id?))?;
            find_overwriting(stays, at, same)
        })
    };

    stays.iter().enumerate().filter_map(of_stay).collect()
}

/// The finding that this stay, the one at index `at`, is left over in the state of the room.
fn find_left_over(at: usize, stay: &EndedStay<'_>) -> Option<LeftOverFinding> {
    let left = stay
        .left_over
        .filter(|_| is_ended_by_room(stay.end_reason))?;
    let from_ms = stay.until_ms;
    let until_ms = left.gone_ms.unwrap_or(i64::MAX).min(left.expires_ms);

    (until_ms.saturating_sub(from_ms) >= TAKEN_ALONG_MS).then_some(LeftOverFinding::LeftOver {
        stay: at,
        from_ms,
        until_ms,
    })
}

/// The finding that another device of the same person wrote over the stay at index `at`. `begun`
/// are the stays that begin with the event that ended it.
fn find_overwriting(
    stays: &[EndedStay<'_>],
    at: usize,
    begun: &[usize],
) -> Option<LeftOverFinding> {
    let stay = &stays[at];
    // A client that takes its own device out of a list writes nothing new about the others.
    let is_dropped = matches!(stay.end_reason, EndReason::Left | EndReason::Switched);
    let is_another = |by: &&usize| {
        let other = &stays[**by];
        other.user_id == stay.user_id
            && other.device.is_some()
            && stay.device.is_some()
            && other.device != stay.device
    };
    let by = begun.iter().filter(|_| is_dropped).find(is_another)?;

    Some(LeftOverFinding::Overwritten {
        stay: at,
        by: *by,
        at_ms: stay.until_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HOUR: i64 = 3_600_000;

    fn stay<'a>(device: &'a str, join: &'a str, end: Option<&'a str>) -> EndedStay<'a> {
        EndedStay {
            user_id: "@a:h",
            device: Some(device),
            member_key: "k",
            format: Format::Legacy,
            until_ms: HOUR,
            end_reason: EndReason::Left,
            join_event_id: join,
            end_event_id: end,
            left_over: None,
        }
    }

    fn gone(left_over: LeftOver) -> EndedStay<'static> {
        EndedStay {
            end_reason: EndReason::RoomLeft,
            left_over: Some(left_over),
            format: Format::Session,
            ..stay("A", "$1", Some("$leave"))
        }
    }

    #[test]
    fn what_stands_in_the_state_after_its_person_left_the_room() {
        let left = LeftOver {
            expires_ms: 4 * HOUR,
            gone_ms: None,
        };
        let until = |left_over| match left_over_findings(&[gone(left_over)], 2 * HOUR)[..] {
            [
                LeftOverFinding::LeftOver {
                    stay: 0,
                    from_ms: HOUR,
                    until_ms,
                },
            ] => Some(until_ms),
            [] => None,
            ref other => panic!("{other:?}"),
        };
        let emptied = |gone_ms| LeftOver {
            gone_ms: Some(gone_ms),
            ..left
        };
        assert_eq!(until(left), Some(4 * HOUR), "it stands there");
        assert_eq!(until(emptied(2 * HOUR)), Some(2 * HOUR));
        assert_eq!(until(emptied(5 * HOUR)), Some(4 * HOUR), "it had expired");
        assert_eq!(until(emptied(HOUR + 59_000)), None, "taken away with them");
        let expired = LeftOver {
            expires_ms: HOUR,
            ..left
        };
        assert_eq!(until(expired), None);
        let stays = [EndedStay {
            end_reason: EndReason::Left,
            ..gone(left)
        }];
        assert_eq!(left_over_findings(&stays, 2 * HOUR), [], "a goodbye came");
        let later = left_over_findings(&[gone(left)], HOUR - 1);
        assert_eq!(later, [], "they are still here");
    }

    #[test]
    fn a_device_that_another_one_wrote_over() {
        let found = |stays: &[EndedStay<'_>]| left_over_findings(stays, 2 * HOUR);
        let over = stay("A", "$1", Some("$2"));
        let by = EndedStay {
            until_ms: 3 * HOUR,
            ..stay("B", "$2", None)
        };
        let overwritten = [LeftOverFinding::Overwritten {
            stay: 0,
            by: 1,
            at_ms: HOUR,
        }];
        assert_eq!(found(&[over, by]), overwritten);
        let flat = EndedStay {
            end_reason: EndReason::Switched,
            ..over
        };
        assert_eq!(found(&[flat, by]), overwritten, "one device per event");
        let earlier = EndedStay {
            join_event_id: "$0",
            ..by
        };
        assert_eq!(found(&[over, earlier]), [], "it took itself out");
        let again = EndedStay {
            device: Some("A"),
            ..by
        };
        assert_eq!(found(&[over, again]), [], "the same device");
        let other = EndedStay {
            user_id: "@b:h",
            ..by
        };
        assert_eq!(found(&[over, other]), [], "somebody else");
        let room = EndedStay {
            member_key: "l",
            ..by
        };
        assert_eq!(found(&[over, room]), [], "another event");
    }

    #[test]
    fn when_an_event_says_that_it_expires() {
        let event = |content: Value| {
            let json = json!({ "event_id": "$1", "type": "org.matrix.msc3401.call.member",
                "state_key": "_@a:h_A_m.call", "sender": "@a:h", "origin_server_ts": 2 * HOUR,
                "content": content });
            RoomEvent::from_json(&json, None).unwrap()
        };
        let content = json!({ "application": "m.call", "call_id": "", "scope": "m.room",
            "device_id": "A", "expires": 8 * HOUR, "created_ts": HOUR,
            "focus_active": { "type": "livekit", "focus_selection": "oldest_membership" },
            "foci_preferred": [] });
        let rules = Rules::default();
        let expiry = |content, device| expiry_of_event(&event(content), Some(device), &rules);
        assert_eq!(expiry(content.clone(), "A"), Some(9 * HOUR));
        assert_eq!(expiry(content, "B"), None);
        assert_eq!(expiry(json!({}), "A"), None);
    }
}
