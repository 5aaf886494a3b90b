//! Until when a device was really seen. A stay without an end event counts as seen until the last
//! sign of its device, even while it still counts. For stays that ran out, the stored events tell
//! that. For devices that still count though they are probably gone, the caller says it
//! ([`crate::rtc::ghost`]), because it knows the signs.

use super::scope::{PlaceUsage, Scope};
use super::unobserved::UnobservedSpans;
use crate::rtc::coverage::Span;
use std::collections::{BTreeMap, HashMap};

/// A device that still counts in a call though it is probably gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ghost {
    pub room_id: String,
    pub session_id: String,
    pub user_id: String,
    pub server: String,
    /// Distinguishes the device from others of the same person.
    pub device: String,
    pub join_event_id: String,
    /// When the device was last heard, ms.
    pub heard_ms: i64,
}

/// All devices that still count though they are probably gone, and the calls in which only such
/// devices are left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    pub ghosts: Vec<Ghost>,
    /// By call: when somebody in it was last heard, ms.
    pub stuck: BTreeMap<String, i64>,
}

impl Gone {
    /// When the device of a stay was last heard, ms, if it is probably gone.
    pub(in crate::store) fn heard_ms(
        &self,
        room_id: &str,
        join_event_id: &str,
        user_id: &str,
    ) -> Option<i64> {
        let is_it = |ghost: &&Ghost| {
            ghost.join_event_id == join_event_id
                && ghost.room_id == room_id
                && ghost.user_id == user_id
        };

        self.ghosts
            .iter()
            .filter(is_it)
            .map(|ghost| ghost.heard_ms)
            .max()
    }

    /// When the device of each stay was last heard, ms, by room, join event and person.
    pub(in crate::store) fn last_heard(&self) -> HashMap<(&str, &str, &str), i64> {
        let mut found: HashMap<(&str, &str, &str), i64> = HashMap::new();
        for ghost in &self.ghosts {
            let stay = (&*ghost.room_id, &*ghost.join_event_id, &*ghost.user_id);
            let heard_ms = found.entry(stay).or_insert(ghost.heard_ms);
            *heard_ms = ghost.heard_ms.max(*heard_ms);
        }

        found
    }

    /// For each device the part of a span in which it counted though it was no longer heard;
    /// devices without such a part are left out.
    fn unseen(&self, span: Span) -> Vec<(&Ghost, Span)> {
        // Two stays of one device are one device: it was last heard at the later of the two.
        let mut devices: HashMap<(&str, &str, &str), &Ghost> = HashMap::new();
        for ghost in &self.ghosts {
            let key = (&*ghost.room_id, &*ghost.user_id, &*ghost.device);
            let known = devices.entry(key).or_insert(ghost);
            if ghost.heard_ms > known.heard_ms {
                *known = ghost;
            }
        }

        let part = |ghost: &Ghost| Span {
            from: ghost.heard_ms.max(span.from),
            to: span.to,
        };

        devices
            .into_values()
            .map(|ghost| (ghost, part(ghost)))
            .filter(|(_, part)| part.from < part.to)
            .collect()
    }

    /// Subtracts from the seen time of each place the time in which its ghosts were not heard.
    /// `blind` is time that is subtracted already, so that it does not count twice.
    pub(super) fn subtract_unheard_time(
        &self,
        scope: Scope<'_>,
        places: &mut [PlaceUsage],
        blind: &UnobservedSpans,
        span: Span,
    ) {
        for (ghost, part) in self.unseen(span) {
            let is_ours = match scope {
                Scope::All => true,
                Scope::Room(room_id) => ghost.room_id == room_id,
                Scope::Server(server) => ghost.server == server,
            };

            let place = places.iter_mut().find(|place| {
                is_ours && place.room_id == ghost.room_id && place.server == ghost.server
            });
            if let Some(place) = place {
                let unseen_ms =
                    part.to - part.from - unobserved_within(blind, &ghost.room_id, part);
                place.together_seen_ms = (place.together_seen_ms - unseen_ms).max(0);
            }
        }
    }

    /// How long within a span each person of a server counted without being heard, ms, by person.
    pub(super) fn unseen_of_people(&self, server: &str, span: Span) -> HashMap<&str, i64> {
        let mut found: HashMap<&str, i64> = HashMap::new();
        for (ghost, part) in self.unseen(span) {
            if ghost.server == server {
                *found.entry(&ghost.user_id).or_default() += part.to - part.from;
            }
        }

        found
    }
}

/// How much of a span the room was unobserved, ms. The unobserved spans of one room must not
/// overlap.
fn unobserved_within(blind: &UnobservedSpans, room_id: &str, span: Span) -> i64 {
    blind
        .iter()
        .filter(|(_, rooms)| rooms.contains(room_id))
        .map(|(gap, _)| (gap.to.min(span.to) - gap.from.max(span.from)).max(0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ghost(device: &str, join: &str, heard_ms: i64) -> Ghost {
        Ghost {
            room_id: "!r:h".to_owned(),
            session_id: "call".to_owned(),
            user_id: "@a:h".to_owned(),
            server: "h".to_owned(),
            device: device.to_owned(),
            join_event_id: join.to_owned(),
            heard_ms,
        }
    }

    fn taken_off(ghosts: Vec<Ghost>, blind: &UnobservedSpans, scope: Scope<'_>) -> i64 {
        let mut places = [PlaceUsage {
            room_id: "!r:h".to_owned(),
            server: "h".to_owned(),
            together_ms: 1000,
            together_seen_ms: 1000,
        }];
        let gone = Gone {
            ghosts,
            ..Gone::default()
        };

        gone.subtract_unheard_time(scope, &mut places, blind, Span { from: 0, to: 1000 });

        1000 - places[0].together_seen_ms
    }

    #[test]
    fn a_device_is_seen_until_it_was_heard_last_and_once() {
        let nothing = UnobservedSpans::new();
        let one = vec![ghost("D", "$1", 400)];
        assert_eq!(taken_off(one.clone(), &nothing, Scope::All), 600);
        let twice = vec![ghost("D", "$1", 400), ghost("D", "$2", 700)];
        assert_eq!(taken_off(twice, &nothing, Scope::Room("!r:h")), 300);
        assert_eq!(taken_off(one.clone(), &nothing, Scope::Server("h")), 600);
        assert_eq!(taken_off(one.clone(), &nothing, Scope::Server("x")), 0);
        // Unobserved time is subtracted only once.
        let rooms = BTreeSet::from(["!r:h".to_owned()]);
        let blind = UnobservedSpans::from([(Span { from: 300, to: 500 }, rooms)]);
        assert_eq!(taken_off(one, &blind, Scope::All), 500);
        let before = vec![ghost("D", "$1", -50)];
        assert_eq!(taken_off(before, &nothing, Scope::All), 1000);
    }
}
