//! How the observer stands, from which follows what a page may say of now: never well what was not seen.

use crate::web::facts::{RoomFacts, StorageTroubleFacts, VantageFacts};
use crate::web::format as f;

/// Where nothing was heard from the homeserver for so long, the stream is not trusted, ms.
const SILENT_MS: i64 = 5 * 60 * 1000;

/// How many rooms can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomCounts {
    /// Joined or looked into, and read.
    pub followed: usize,
    /// Asked for and not readable, or their last look failed.
    pub unread: usize,
    /// Of those followed: memberships come as ciphertext.
    pub encrypted: usize,
}

impl RoomCounts {
    /// Of these rooms; one that the account left is none of them any more.
    #[must_use]
    pub fn of<'a>(rooms: impl Iterator<Item = &'a RoomFacts>) -> Self {
        let mut counts = Self::default();
        for room in rooms {
            if room.watch == "blind" || (room.watch != "left" && room.error.is_some()) {
                counts.unread += 1;
            } else if room.watch != "left" {
                counts.followed += 1;
                counts.encrypted += usize::from(room.unreadable > 0);
            }
        }
        counts
    }

    /// `12 rooms followed, 2 cannot be read`
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = vec![format!(
            "{} followed",
            f::counted(self.followed, "room", "rooms")
        )];
        if self.unread > 0 {
            words.push(format!("{} cannot be read", f::count(self.unread)));
        }
        if self.encrypted > 0 {
            words.push(format!(
                "in {} memberships are encrypted",
                f::count(self.encrypted)
            ));
        }
        words.join(", ")
    }
}

/// How it stands: the first of these that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing can be stored.
    NotStored,
    /// An account does not hear its homeserver.
    Failing,
    /// No account has read its homeserver for the first time yet.
    Starting,
    /// An account heard nothing for long, though no error says so.
    Silent,
    /// There is no room.
    NoRooms,
    /// Some rooms cannot be read, or not wholly.
    PartlyBlind,
    Well,
}

impl Standing {
    #[must_use]
    pub fn of(
        vantages: &[VantageFacts],
        trouble: Option<&StorageTroubleFacts>,
        rooms: RoomCounts,
        now: i64,
    ) -> Self {
        if trouble.is_some() {
            return Self::NotStored;
        }
        if vantages.iter().any(|vantage| vantage.error.is_some()) {
            return Self::Failing;
        }
        let is_new = |vantage: &VantageFacts| vantage.first_sync_ms.is_none();
        if vantages.is_empty() || vantages.iter().any(is_new) {
            return Self::Starting;
        }
        if vantages.iter().any(|vantage| vantage.is_silent(now)) {
            return Self::Silent;
        }
        match rooms {
            RoomCounts {
                followed: 0,
                unread: 0,
                ..
            } => Self::NoRooms,
            RoomCounts {
                unread: 0,
                encrypted: 0,
                ..
            } => Self::Well,
            _ => Self::PartlyBlind,
        }
    }
}

impl VantageFacts {
    /// Did it ever sign in, so that it is known what its homeserver offers?
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        !self.user_id.is_empty()
    }

    /// Was anything heard since this start of the observer?
    #[must_use]
    pub fn is_heard_since_start(&self) -> bool {
        self.heard_ms().is_some_and(|ms| ms >= self.started_ms)
    }

    /// It follows live and heard nothing for long.
    #[must_use]
    pub fn is_silent(&self, now: impl f::Whole) -> bool {
        let heard = self.heard_ms().unwrap_or(0);
        self.mode == "follow" && now.whole().saturating_sub(heard) > SILENT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::row::Vantage;

    const NOW: i64 = 1_795_358_836_000;

    fn vantage() -> VantageFacts {
        let row = Vantage {
            id: "v".into(),
            user_id: "@b:h".into(),
            homeserver: "https://h".into(),
            device_id: None,
            mode: "follow".into(),
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
            let shell = crate::web::reply::Shell {
                section: None,
                now_ms: NOW,
                room_id: None,
                vantages: Some(vec![VantageFacts {
                    last_sync_ms,
                    ..vantage()
                }]),
                older_rules: false,
                storage_trouble: None,
                spare: 0,
            };
            shell.step().map(|step| step.words)
        };
        assert_eq!(words(Some(NOW - 2000)), Some("In step"));
        assert_eq!(words(Some(NOW - SILENT_MS - 1)), Some("Not heard since"));
    }

    #[test]
    fn all_is_well_only_where_everything_is_seen() {
        let rooms = RoomCounts {
            followed: 3,
            ..RoomCounts::default()
        };
        let standing = |vantage: VantageFacts, rooms| Standing::of(&[vantage], None, rooms, NOW);
        assert_eq!(standing(vantage(), rooms), Standing::Well);
        let blind = RoomCounts { unread: 1, ..rooms };
        assert_eq!(standing(vantage(), blind), Standing::PartlyBlind);
        assert_eq!(blind.words(), "3 rooms followed, 1 cannot be read");
        let encrypted = RoomCounts {
            encrypted: 1,
            ..rooms
        };
        assert_eq!(standing(vantage(), encrypted), Standing::PartlyBlind);
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
        assert_eq!(Standing::of(&[], None, rooms, NOW), Standing::Starting);
        let failing = VantageFacts {
            error: Some("down".into()),
            ..vantage()
        };
        assert_eq!(standing(failing.clone(), rooms), Standing::Failing);
        let trouble = StorageTroubleFacts {
            kind: "locked",
            since_ms: 1,
            since_at: crate::web::facts::Stamp(1),
            error: "database is locked".into(),
        };
        assert_eq!(
            Standing::of(&[failing], Some(&trouble), rooms, NOW),
            Standing::NotStored
        );
    }
}
