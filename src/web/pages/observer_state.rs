//! The state of the observer. It decides what a page may say about the present: never "well" for
//! what was not seen.

use crate::rtc::present::{SILENT_MS, UnknownReason};
use crate::rtc::words::Watch;
use crate::store::ingest::rooms::is_unread;
use crate::web::view::format as f;
use crate::web::view::liveness::AllSeenFacts;
use crate::web::view::{RoomFacts, StorageTroubleFacts, VantageFacts};
use std::collections::BTreeSet;

/// The number of rooms by what can be read of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// Joined or looked into, and read.
    pub followed: usize,
    /// Requested, but not readable, or the last poll failed.
    pub unread: usize,
    /// Followed rooms in which encrypted memberships came at some time.
    pub encrypted: usize,
    /// Rooms of which the homeserver returned only a part of the history.
    pub history_short: usize,
}

impl RoomCounts {
    /// Counts these rooms, except rooms that the account left and refused successors.
    #[must_use]
    pub fn count_rooms(rooms: &[RoomFacts]) -> Self {
        let refused = refused_successors(rooms);
        let mut counts = Self::default();
        for room in rooms {
            if refused.contains(room.room.room_id.as_str()) {
                continue;
            }

            let fails = is_unread(room.error.as_deref());
            if room.watch == Watch::Blind || (room.watch != Watch::Left && fails) {
                counts.unread += 1;
            } else if room.watch != Watch::Left {
                counts.followed += 1;
                counts.encrypted += usize::from(room.unreadable > 0);
            }
        }

        counts
    }

    /// `12 rooms followed, 2 cannot be read`
    #[must_use]
    pub fn words(&self) -> String {
        let followed = f::count_with_noun(self.followed, "room", "rooms");
        if self.unread == 0 {
            return format!("{followed} followed");
        }

        format!(
            "{followed} followed, {} cannot be read",
            f::group_digits(self.unread)
        )
    }

    /// What is missing from the followed rooms, in a sentence: `Missing: history of 2 rooms,
    /// encrypted memberships of 1 room.` `None` if nothing is.
    #[must_use]
    pub fn missing_words(&self) -> Option<String> {
        let rooms = |rooms| f::count_with_noun(rooms, "room", "rooms");
        let mut missing = Vec::new();
        if self.history_short > 0 {
            missing.push(format!(
                "part of the history of {}",
                rooms(self.history_short)
            ));
        }

        if self.encrypted > 0 {
            missing.push(format!(
                "encrypted memberships of {}",
                rooms(self.encrypted)
            ));
        }

        (!missing.is_empty()).then(|| format!("Missing: {}.", missing.join(", ")))
    }
}

/// Rooms that another one names as its successor and that are not followed: nobody requested them.
#[must_use]
pub fn refused_successors(rooms: &[RoomFacts]) -> BTreeSet<&str> {
    let named: BTreeSet<&str> = rooms
        .iter()
        .filter_map(|room| room.replaced_by.as_deref())
        .collect();

    rooms
        .iter()
        .filter(|room| room.watch == Watch::Blind)
        .map(|room| room.room.room_id.as_str())
        .filter(|room_id| named.contains(room_id))
        .collect()
}

/// The state of the observer: the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing can be stored.
    NotStored,
    /// An account receives nothing from its homeserver.
    Failing,
    /// No account has read its homeserver for the first time yet.
    Starting,
    /// An account has received nothing for long, though there is no error.
    Silent,
    /// The homeserver is received, but some other work fails.
    Troubled,
    /// There is no room.
    NoRooms,
    /// Some rooms cannot be read, or not completely.
    PartlyBlind,
    /// The present is seen completely, but the history of some rooms is not.
    PartOfHistory,
    Well,
}

impl Standing {
    /// The state of the observer, from its accounts, the problem of the database, the rooms, and
    /// what is known of the present: the first one that applies, worst first. `now`, ms, tells
    /// which accounts are silent.
    #[must_use]
    pub fn judge(
        vantages: &[VantageFacts],
        trouble: Option<&StorageTroubleFacts>,
        rooms: RoomCounts,
        seen: &AllSeenFacts,
        now: i64,
    ) -> Self {
        let because = |why: UnknownReason| seen.seen.unknown_why == Some(why);
        let is_heard = !because(UnknownReason::NotRead) && !because(UnknownReason::NotHeard);
        let has_error = vantages.iter().any(|vantage| vantage.error.is_some());
        if trouble.is_some() {
            return Self::NotStored;
        }

        if has_error && !is_heard {
            return Self::Failing;
        }

        let is_new = |vantage: &VantageFacts| vantage.first_sync_ms.is_none();
        if vantages.is_empty() || vantages.iter().any(is_new) {
            return Self::Starting;
        }

        if !is_heard || vantages.iter().any(|vantage| vantage.is_silent(now)) {
            return Self::Silent;
        }

        if has_error {
            return Self::Troubled;
        }

        if rooms.followed == 0 && rooms.unread == 0 {
            return Self::NoRooms;
        }

        if rooms.unread > 0 || seen.unknown_rooms > 0 {
            return Self::PartlyBlind;
        }

        if rooms.history_short > 0 {
            return Self::PartOfHistory;
        }

        Self::Well
    }
}

impl VantageFacts {
    /// Has it ever signed in, so that the homeserver's features are known?
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        !self.user_id.is_empty()
    }

    /// Has it received anything since the observer's start?
    #[must_use]
    pub fn is_heard_since_start(&self) -> bool {
        self.heard_ms().is_some_and(|ms| ms >= self.started_ms)
    }

    /// Does it follow live, but has received nothing for long?
    #[must_use]
    pub fn is_silent(&self, now_ms: impl f::WholeNumber) -> bool {
        let heard = self.heard_ms().unwrap_or(0);
        self.follows() && now_ms.whole().saturating_sub(heard) > SILENT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::words::Mode;
    use crate::store::db::health::TroubleKind;
    use crate::store::model::Vantage;

    const NOW: i64 = 1_795_358_836_000;

    fn vantage() -> VantageFacts {
        let row = Vantage {
            id: "v".into(),
            user_id: "@b:h".into(),
            homeserver: "https://h".into(),
            device_id: None,
            mode: Mode::Follow,
            software: None,
            delayed_events: false,
            sticky_events: false,
            polls_every_ms: None,
            started_ms: NOW - 9000,
            first_sync_ms: Some(NOW - 8000),
            last_sync_ms: Some(NOW - 2000),
            last_poll_ms: None,
            error: None,
            error_since_ms: None,
            unheard_since_ms: None,
            last_error: None,
            last_error_ms: None,
            errors: 0,
            invites_refused: 0,
            preparing_ms: None,
            needs_action: false,
            capabilities_ms: None,
        };

        row.into()
    }

    #[test]
    fn the_bar_of_every_page_says_that_nothing_was_heard_for_long() {
        let words = |last_sync_ms| {
            let shell = crate::web::http::response::Shell {
                vantages: Some(vec![VantageFacts {
                    last_sync_ms,
                    started_ms: NOW - 2 * SILENT_MS,
                    ..vantage()
                }]),
                ..crate::web::fixtures::shell()
            };

            shell.sync_state().map(|state| state.words)
        };

        assert_eq!(words(Some(NOW - 2000)), Some("Syncing"));
        assert_eq!(words(Some(NOW - SILENT_MS - 1)), Some("No answer"));
        assert_eq!(words(Some(NOW - 3 * SILENT_MS)), Some("No answer"));
    }

    #[test]
    fn all_is_well_only_where_everything_is_seen() {
        let rooms = RoomCounts {
            followed: 3,
            ..RoomCounts::default()
        };

        let known = AllSeenFacts::default();
        let standing =
            |vantage: VantageFacts, rooms| Standing::judge(&[vantage], None, rooms, &known, NOW);
        assert_eq!(standing(vantage(), rooms), Standing::Well);
        let blind = RoomCounts { unread: 1, ..rooms };
        assert_eq!(standing(vantage(), blind), Standing::PartlyBlind);
        assert_eq!(blind.words(), "3 rooms followed, 1 cannot be read");
        assert_eq!(blind.missing_words(), None);
        let missing = RoomCounts {
            history_short: 1,
            encrypted: 2,
            ..rooms
        };
        assert_eq!(missing.words(), "3 rooms followed");
        assert_eq!(
            missing.missing_words().as_deref(),
            Some("Missing: part of the history of 1 room, encrypted memberships of 2 rooms.")
        );
        let short = RoomCounts {
            history_short: 1,
            ..rooms
        };

        assert_eq!(standing(vantage(), short), Standing::PartOfHistory);
        let encrypted = RoomCounts {
            encrypted: 1,
            ..rooms
        };

        let hidden = |rooms: usize, why: Option<UnknownReason>| {
            let mut seen = AllSeenFacts {
                unknown_rooms: rooms,
                ..AllSeenFacts::default()
            };

            seen.seen.unknown_why = why;
            seen
        };

        let partly = hidden(1, Some(UnknownReason::Encrypted));
        assert_eq!(
            Standing::judge(&[vantage()], None, encrypted, &partly, NOW),
            Standing::PartlyBlind
        );
        assert_eq!(
            standing(vantage(), encrypted),
            Standing::Well,
            "what came encrypted long ago hides nobody now"
        );
        let unheard = hidden(3, Some(UnknownReason::NotHeard));
        assert_eq!(
            Standing::judge(&[vantage()], None, rooms, &unheard, NOW),
            Standing::Silent
        );
        assert_eq!(
            standing(vantage(), RoomCounts::default()),
            Standing::NoRooms
        );
        let silent = VantageFacts {
            last_sync_ms: Some(NOW - SILENT_MS - 1),
            ..vantage()
        };

        assert_eq!(standing(silent, rooms), Standing::Silent);
        let new = VantageFacts {
            first_sync_ms: None,
            ..vantage()
        };

        assert_eq!(standing(new, rooms), Standing::Starting);
        assert_eq!(
            Standing::judge(&[], None, rooms, &known, NOW),
            Standing::Starting
        );
        let failing = VantageFacts {
            error: Some("down".into()),
            ..vantage()
        };

        assert_eq!(
            Standing::judge(std::slice::from_ref(&failing), None, rooms, &unheard, NOW),
            Standing::Failing
        );
        assert_eq!(
            standing(failing.clone(), rooms),
            Standing::Troubled,
            "another work than listening fails"
        );
        let trouble = StorageTroubleFacts {
            kind: TroubleKind::Locked,
            since_ms: 1,
            since_at: crate::web::view::Stamp(1),
            error: "database is locked".into(),
        };

        assert_eq!(
            Standing::judge(&[failing], Some(&trouble), rooms, &known, NOW),
            Standing::NotStored
        );
    }
}
