//! Whether the present is known. If nobody receives or can read a room, it is unknown who is in a
//! call; that is not the same as nobody being there. Every page and answer that shows who is in a
//! call now asks this module; the rules are in [`crate::rtc::present`].

use super::Stamp;
use super::format as f;
use crate::rtc::present::{self, AccountStanding, Sight, Unknown, UnknownReason};
use crate::store::model::Vantage;
use crate::web::Web;
use crate::web::http::error::Error;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Whether the present is known, as part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct SeenFacts {
    /// The present is unknown, or partly unknown. An empty call then does not mean that nobody is
    /// there, and calls shown as running may be those seen last. See `unknown_why`.
    pub unknown: bool,
    /// Null where it is known. `not_read` (no account has read its homeserver yet), `not_heard` (an
    /// account does not hear its homeserver), `not_stored` (nothing can be stored), `unreadable`
    /// (the room cannot be read), `left` (the account is no longer in it), `opted_out` (it asked that its calls are not
    /// recorded), `old_poll` (it is only
    /// looked at by polls, and the last one is too old), `encrypted` (memberships come encrypted:
    /// there may be others whom we cannot count) or `several` (of several rooms: their reasons
    /// differ).
    pub unknown_why: Option<UnknownReason>,
    /// Since when, where that is known.
    pub unknown_since_ms: Option<i64>,
    pub unknown_since_at: Option<Stamp>,
}

impl From<Option<Unknown>> for SeenFacts {
    fn from(unknown: Option<Unknown>) -> Self {
        let unknown_since_ms = unknown.and_then(|unknown| unknown.since_ms);
        Self {
            unknown: unknown.is_some(),
            unknown_why: unknown.map(|unknown| unknown.why),
            unknown_since_ms,
            unknown_since_at: unknown_since_ms.map(Stamp),
        }
    }
}

impl SeenFacts {
    /// Why it is not known, in words; or that it is known.
    #[must_use]
    pub fn words(&self) -> &'static str {
        let Some(why) = self.unknown_why else {
            return "it is known";
        };

        match why {
            UnknownReason::NotRead => "no homeserver has been read yet",
            UnknownReason::NotHeard => "the homeserver is not heard",
            UnknownReason::NotStored => "nothing can be stored",
            UnknownReason::Unreadable => "the room cannot be read",
            UnknownReason::Left => "the account is no longer in the room",
            UnknownReason::OptedOut => "the room asked that its calls are not recorded",
            UnknownReason::Several => "for several reasons",
            UnknownReason::OldPoll => "the last poll is too old",
            UnknownReason::Encrypted => "memberships are encrypted",
            UnknownReason::NotWatched => "nobody watched then",
        }
    }

    /// Is the present known except for encrypted memberships, so that there may be others whom we
    /// cannot see?
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.unknown_why == Some(UnknownReason::Encrypted)
    }
}

/// The same for all rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct AllSeenFacts {
    #[serde(flatten)]
    pub seen: SeenFacts,
    /// The number of rooms whose present is unknown: all rooms if no homeserver is heard.
    pub unknown_rooms: usize,
}

impl AllSeenFacts {
    /// Is the present of all rooms unknown?
    #[must_use]
    pub fn is_blind(&self) -> bool {
        matches!(
            self.seen.unknown_why,
            Some(UnknownReason::NotRead | UnknownReason::NotHeard | UnknownReason::NotStored)
        )
    }

    /// Was nothing read yet? Then an empty page does not mean that there are no calls.
    #[must_use]
    pub fn has_read_nothing(&self) -> bool {
        self.seen.unknown_why == Some(UnknownReason::NotRead)
    }

    /// The number of rooms whose present is unknown although that of others is known.
    #[must_use]
    pub fn hidden_rooms(&self) -> usize {
        if self.is_blind() {
            0
        } else {
            self.unknown_rooms
        }
    }
}

/// How much has been read: it explains a page that has nothing to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct LookedFacts {
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    /// Rooms that are followed, and rooms that cannot be read now or whose last look failed.
    pub rooms_followed: usize,
    pub rooms_unread: usize,
}

impl LookedFacts {
    /// What is known now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(web: &Web, now: i64) -> Result<Self, Error> {
        Ok(Liveness::read(web, now).await?.looked())
    }

    /// Was nothing read yet? Then finding nothing means nothing.
    #[must_use]
    pub fn has_read_nothing(&self) -> bool {
        self.seen.has_read_nothing()
    }

    /// What was read when no call was found, in a sentence. `calls_ever`: the number of calls at
    /// other times.
    #[must_use]
    pub fn nothing_found(&self, calls_ever: impl f::WholeNumber) -> String {
        let found = match (calls_ever.whole(), self.rooms_unread) {
            _ if self.rooms_followed == 0 => "so no call can be found.".to_owned(),
            (0, 0) => "no call was found in any of them yet.".to_owned(),
            (0, _) => "no call was found yet in those that can be read.".to_owned(),
            (ever, _) => format!(
                "{} known from other times. Choose a longer period.",
                f::count_with_noun(ever, "call is", "calls are")
            ),
        };

        let separator = if self.rooms_followed == 0 { "," } else { ";" };

        format!("{}{separator} {found}", self.rooms_words())
    }

    /// `12 rooms are followed, 2 cannot be read`
    #[must_use]
    pub fn rooms_words(&self) -> String {
        let followed = match self.rooms_followed {
            0 => "No room is followed".to_owned(),
            rooms => f::count_with_noun(rooms, "room is followed", "rooms are followed"),
        };

        match self.rooms_unread {
            0 => followed,
            rooms => format!("{followed}, {} cannot be read", f::group_digits(rooms)),
        }
    }
}

/// The error that no room has this id or alias. If nothing was read yet, it says that this is not
/// known. `now` is in ms.
pub async fn no_such_room(web: &Web, now: i64) -> Error {
    let words = match LookedFacts::read(web, now).await {
        Ok(looked) if looked.has_read_nothing() => {
            "No room with this id or alias is known: Callscope has not read its homeserver yet, so \
             which rooms it watches is not known."
        }
        Ok(_) => "No room with this id or alias is watched.",
        Err(error) => return error,
    };

    Error::NotFound(words.to_owned())
}

/// The present of everything and of each room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Liveness {
    all: Option<Unknown>,
    rooms: BTreeMap<String, RoomLiveness>,
}

/// The present of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RoomLiveness {
    unknown: Option<Unknown>,
    /// The account left it, or it asked not to be recorded. The room's own page reports that; answers about all rooms ignore the
    /// room.
    is_left: bool,
    /// It was requested and cannot be read, or the last attempt to read it failed.
    is_unread: bool,
}

impl Liveness {
    /// What is known now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(web: &Web, now: i64) -> Result<Self, Error> {
        let found = crate::store::read::present::read_present_rows(&web.store, now).await?;
        Ok(Self::from_rows(found, now))
    }

    /// The present of everything and of each room at `now`, ms, from what the store knows.
    #[must_use]
    pub fn from_rows(found: crate::store::read::present::PresentRows, now: i64) -> Self {
        let all = unknown_by_vantages(&found.vantages, found.not_stored_since_ms, now);
        let polls_every_ms = found
            .vantages
            .iter()
            .filter_map(|vantage| vantage.polls_every_ms)
            .max();
        let rooms = found.rooms.into_iter().map(|one| {
            let unknown = present::unknown_in_room(all, &one.room, polls_every_ms, now);
            let is_left = matches!(one.room.sight, Sight::Left | Sight::OptedOut);
            let is_unread = one.room.sight == Sight::Blind || (one.room.fails && !is_left);
            let present = RoomLiveness {
                unknown,
                is_left,
                is_unread,
            };

            (one.room_id, present)
        });

        Self {
            all,
            rooms: rooms.collect(),
        }
    }

    /// Whether the present is known, and how many rooms are followed and cannot be read. Rooms that
    /// we left do not count.
    #[must_use]
    pub fn looked(&self) -> LookedFacts {
        let asked = || self.rooms.values().filter(|room| !room.is_left);
        let unread = asked().filter(|room| room.is_unread).count();

        LookedFacts {
            seen: self.everything(),
            rooms_followed: asked().count() - unread,
            rooms_unread: unread,
        }
    }

    /// Why nothing about the present is known; `None` if something is.
    #[must_use]
    pub fn all(&self) -> Option<Unknown> {
        self.all
    }

    /// Why the present of this room is unknown; `None` if it is known. A room that is not observed
    /// is unknown.
    #[must_use]
    pub fn room(&self, room_id: &str) -> Option<Unknown> {
        let nobody = Some(Unknown {
            why: UnknownReason::Unreadable,
            since_ms: None,
        });

        self.rooms.get(room_id).map_or(nobody, |room| room.unknown)
    }

    /// Is this an observed room whose present is unknown?
    #[must_use]
    pub fn is_hidden(&self, room_id: &str) -> bool {
        self.rooms
            .get(room_id)
            .is_some_and(|room| !room.is_left && room.unknown.is_some())
    }

    /// Whether the present of all rooms is known, with the number of rooms for which it is not. If
    /// the rooms have different reasons, none of them is named.
    #[must_use]
    pub fn everything(&self) -> AllSeenFacts {
        let asked = self.rooms.values().filter(|room| !room.is_left);
        let hidden: Vec<Unknown> = asked.filter_map(|room| room.unknown).collect();
        let first = hidden.iter().min_by_key(|unknown| unknown.why).copied();
        let of_rooms = first.map(|first| {
            let alike = hidden.iter().filter(|unknown| unknown.why == first.why);
            Unknown {
                since_ms: alike.filter_map(|unknown| unknown.since_ms).min(),
                ..first
            }
        });
        let mut seen = SeenFacts::from(self.all.or(of_rooms));
        if first.is_some_and(|first| hidden.iter().any(|unknown| unknown.why != first.why)) {
            seen.unknown_why = Some(UnknownReason::Several);
            (seen.unknown_since_ms, seen.unknown_since_at) = (None, None);
        }

        AllSeenFacts {
            seen,
            unknown_rooms: hidden.len(),
        }
    }
}

/// Why nothing about the present is known: because of these accounts, or because nothing can be
/// stored since this time, ms. `None` if that is no reason. It is as of `now`, ms.
fn unknown_by_vantages(
    vantages: &[Vantage],
    not_stored_since_ms: Option<i64>,
    now: i64,
) -> Option<Unknown> {
    let accounts: Vec<AccountStanding> = vantages
        .iter()
        .map(crate::store::read::present::account_of_vantage)
        .collect();

    present::unknown_by_accounts(&accounts, not_stored_since_ms, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::present::RoomObservation;
    use crate::rtc::words::Mode;
    use crate::store::model::Vantage;
    use crate::store::read::present::RoomSight;

    const NOW: i64 = 1_000_000;

    fn room(room_id: &str, sight: Sight, looked_ms: i64) -> RoomSight {
        let room = RoomObservation {
            sight,
            fails: false,
            looked_ms: Some(looked_ms),
            has_encrypted: false,
        };

        RoomSight {
            room_id: room_id.to_owned(),
            room,
        }
    }

    fn everything(rooms: Vec<RoomSight>) -> AllSeenFacts {
        let vantages = vec![Vantage {
            mode: Mode::Follow,
            first_sync_ms: Some(1),
            last_sync_ms: Some(NOW),
            ..Vantage::default()
        }];
        let found = crate::store::read::present::PresentRows {
            vantages,
            rooms,
            not_stored_since_ms: None,
        };

        Liveness::from_rows(found, NOW).everything()
    }

    #[test]
    fn of_several_rooms_one_reason_is_named_only_if_it_is_that_of_all() {
        let known = || room("!known:h", Sight::Followed, NOW);
        assert!(!everything(vec![known()]).seen.unknown);

        let alike = vec![
            known(),
            room("!a:h", Sight::Blind, 70),
            room("!b:h", Sight::Blind, 50),
        ];
        let alike = everything(alike);
        assert_eq!(alike.seen.unknown_why, Some(UnknownReason::Unreadable));
        assert_eq!(alike.seen.unknown_since_ms, Some(50), "the first of them");
        assert_eq!(alike.unknown_rooms, 2);

        let other = vec![
            known(),
            room("!a:h", Sight::Blind, 70),
            room("!b:h", Sight::Polled, 50),
        ];
        let other = everything(other);
        assert_eq!(other.seen.unknown_why, Some(UnknownReason::Several));
        assert_eq!(other.seen.unknown_since_ms, None);
        assert!(other.seen.unknown_since_at.is_none());
        assert_eq!(other.seen.words(), "for several reasons");
        assert_eq!((other.unknown_rooms, other.hidden_rooms()), (2, 2));
    }

    #[test]
    fn a_room_that_was_left_gives_no_reason() {
        let left = everything(vec![
            room("!a:h", Sight::Blind, 70),
            room("!b:h", Sight::Left, 50),
        ]);
        assert_eq!(left.seen.unknown_why, Some(UnknownReason::Unreadable));
        assert_eq!(left.unknown_rooms, 1);
    }
}
