//! Decides whether the present is known. If nobody receives or can read a room, it is unknown who
//! is in a call; that is not the same as nobody being there. All code that shows who is in a call
//! now asks this module.

use super::words::words;

/// Maximum silence of a homeserver that is followed live, ms. After that the stream is not trusted.
pub const SILENT_MS: i64 = 5 * 60 * 1000;
/// The assumed interval of polls if it is unknown, ms; and the extra time granted beyond two
/// intervals, ms.
const POLLS_MS: i64 = 5 * 60 * 1000;
const GRANTED_MS: i64 = 2 * 60 * 1000;

words! {
    /// Why the present is not known.
    pub enum UnknownReason {
        /// No account has read its homeserver yet.
        NotRead = "not_read",
        /// An account receives nothing from its homeserver.
        NotHeard = "not_heard",
        /// Nothing can be stored.
        NotStored = "not_stored",
        /// The room cannot be read.
        Unreadable = "unreadable",
        /// The account left the room, or was removed.
        Left = "left",
        /// The room asked that its calls are not recorded.
        OptedOut = "opted_out",
        /// The room is only polled, and the last poll is too old.
        OldPoll = "old_poll",
        /// Memberships are encrypted: we see that there are some, but not whose.
        Encrypted = "encrypted",
        /// Of a past moment: nobody watched then, or history is hidden from the account.
        NotWatched = "not_watched",
        /// Of several rooms: their reasons differ.
        Several = "several",
    }
}

/// The present is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    pub why: UnknownReason,
    /// Since when, ms, if known.
    pub since_ms: Option<i64>,
}

/// The state of an observing account that decides about the present. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountStanding {
    /// The account follows by live sync, not only by polls.
    pub follows: bool,
    /// It has read its homeserver at least once.
    pub has_read: bool,
    /// It fails now.
    pub fails: bool,
    pub fails_since_ms: Option<i64>,
    /// When it last received something from its homeserver.
    pub heard_ms: Option<i64>,
    /// The interval of its polls, if known.
    pub polls_every_ms: Option<i64>,
}

/// How a room is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// By live sync.
    Followed,
    /// By polls only.
    Polled,
    /// It was requested, but cannot be read.
    Blind,
    /// The account is no longer in it.
    Left,
    /// The room asked that its calls are not recorded. It is looked at, for when it comes back.
    OptedOut,
}

/// The state of a room that decides about the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomObservation {
    pub sight: Sight,
    /// The last attempt to read it failed.
    pub fails: bool,
    /// When it was last read successfully, ms.
    pub looked_ms: Option<i64>,
    /// Encrypted memberships came so lately that they may still count.
    pub has_encrypted: bool,
}

/// Why nothing about the present is known at `now`, ms: no account receives from its homeserver, or
/// nothing can be stored (`not_stored_since_ms`: since when, ms). `None` if the present is known.
#[must_use]
pub fn unknown_by_accounts(
    accounts: &[AccountStanding],
    not_stored_since_ms: Option<i64>,
    now: i64,
) -> Option<Unknown> {
    let found: Vec<Unknown> = accounts
        .iter()
        .filter_map(|account| unknown_by_account(account, now))
        .collect();
    let first = found.iter().min_by_key(|unknown| unknown.why).copied();
    let since_ms = found.iter().filter_map(|unknown| unknown.since_ms).min();
    if let Some(first) = first {
        return Some(Unknown { since_ms, ..first });
    }

    if accounts.is_empty() {
        return Some(Unknown {
            why: UnknownReason::NotRead,
            since_ms: None,
        });
    }

    not_stored_since_ms.map(|ms| Unknown {
        why: UnknownReason::NotStored,
        since_ms: Some(ms),
    })
}

/// Why this account does not know the present at `now`, ms: it has read nothing yet, it fails, or
/// its homeserver has been silent for too long. `None` if it knows.
fn unknown_by_account(account: &AccountStanding, now: i64) -> Option<Unknown> {
    if !account.has_read {
        return Some(Unknown {
            why: UnknownReason::NotRead,
            since_ms: account.fails_since_ms,
        });
    }

    if account.fails {
        return Some(Unknown {
            why: UnknownReason::NotHeard,
            since_ms: account.fails_since_ms,
        });
    }

    let granted_ms = if account.follows {
        SILENT_MS
    } else {
        max_poll_age_ms(account.polls_every_ms)
    };

    let is_silent = account
        .heard_ms
        .is_none_or(|heard| now.saturating_sub(heard) > granted_ms);

    is_silent.then_some(Unknown {
        why: UnknownReason::NotHeard,
        since_ms: account.heard_ms,
    })
}

/// Maximum age at which a poll still tells of the present, ms: two intervals and [`GRANTED_MS`].
fn max_poll_age_ms(polls_every_ms: Option<i64>) -> i64 {
    let every_ms = polls_every_ms.unwrap_or(POLLS_MS).max(0);
    every_ms.saturating_mul(2).saturating_add(GRANTED_MS)
}

/// Why the present of a room is unknown at `now`, ms; `None` if it is known. `accounts` is the
/// answer of [`unknown_by_accounts`], and comes first. `polls_every_ms` is the interval of polls,
/// ms, if known.
#[must_use]
pub fn unknown_in_room(
    accounts: Option<Unknown>,
    room: &RoomObservation,
    polls_every_ms: Option<i64>,
    now: i64,
) -> Option<Unknown> {
    let because = |why, since_ms| Some(Unknown { why, since_ms });
    let encrypted = Unknown {
        why: UnknownReason::Encrypted,
        since_ms: None,
    };

    if accounts.is_some() {
        return accounts;
    }

    match room.sight {
        Sight::Left => return because(UnknownReason::Left, room.looked_ms),
        Sight::OptedOut => return because(UnknownReason::OptedOut, room.looked_ms),
        Sight::Blind => return because(UnknownReason::Unreadable, room.looked_ms),
        Sight::Followed | Sight::Polled if room.fails => {
            return because(UnknownReason::Unreadable, room.looked_ms);
        }
        Sight::Polled => {
            let is_old = |looked: i64| now.saturating_sub(looked) > max_poll_age_ms(polls_every_ms);
            if room.looked_ms.is_none_or(is_old) {
                return because(UnknownReason::OldPoll, room.looked_ms);
            }
        }
        Sight::Followed => {}
    }

    room.has_encrypted.then_some(encrypted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100_000_000;
    const MINUTE: i64 = 60_000;

    fn well() -> AccountStanding {
        AccountStanding {
            follows: true,
            has_read: true,
            fails: false,
            fails_since_ms: None,
            heard_ms: Some(NOW - MINUTE),
            polls_every_ms: Some(5 * MINUTE),
        }
    }

    fn seen() -> RoomObservation {
        RoomObservation {
            sight: Sight::Followed,
            fails: false,
            looked_ms: None,
            has_encrypted: false,
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is what is compared")]
    fn because(why: UnknownReason, since_ms: Option<i64>) -> Option<Unknown> {
        Some(Unknown { why, since_ms })
    }

    #[test]
    fn nothing_is_known_where_an_account_hears_nothing() {
        let of = |account| unknown_by_accounts(&[well(), account], None, NOW);
        assert_eq!(of(well()), None);
        assert_eq!(
            unknown_by_accounts(&[], None, NOW),
            because(UnknownReason::NotRead, None)
        );
        let unread = AccountStanding {
            has_read: false,
            heard_ms: None,
            ..well()
        };

        assert_eq!(of(unread), because(UnknownReason::NotRead, None));
        let failing = AccountStanding {
            fails: true,
            fails_since_ms: Some(5),
            ..well()
        };

        assert_eq!(of(failing), because(UnknownReason::NotHeard, Some(5)));
        let heard = |ago| AccountStanding {
            heard_ms: Some(NOW - ago),
            ..well()
        };

        assert_eq!(of(heard(SILENT_MS)), None);
        let long = SILENT_MS + 1;
        assert_eq!(
            of(heard(long)),
            because(UnknownReason::NotHeard, Some(NOW - long))
        );
        let by_polls = |ago| AccountStanding {
            follows: false,
            ..heard(ago)
        };

        assert_eq!(of(by_polls(12 * MINUTE)), None, "two polls and a little");
        let old = of(by_polls(12 * MINUTE + 1)).unwrap();
        assert_eq!(old.why, UnknownReason::NotHeard);
        let full = unknown_by_accounts(&[well()], Some(7), NOW);
        assert_eq!(full, because(UnknownReason::NotStored, Some(7)));
    }

    #[test]
    fn a_room_is_known_only_if_it_can_be_read_now_and_whole() {
        let of = |room| unknown_in_room(None, &room, Some(5 * MINUTE), NOW);
        assert_eq!(of(seen()), None);
        let failing = RoomObservation {
            fails: true,
            ..seen()
        };

        assert_eq!(of(failing), because(UnknownReason::Unreadable, None));
        let encrypted = RoomObservation {
            has_encrypted: true,
            ..seen()
        };

        assert_eq!(of(encrypted), because(UnknownReason::Encrypted, None));
        let by = |sight, looked_ms| {
            of(RoomObservation {
                sight,
                looked_ms,
                ..seen()
            })
        };

        assert_eq!(
            by(Sight::Blind, None),
            because(UnknownReason::Unreadable, None)
        );
        assert_eq!(
            by(Sight::Left, Some(5)),
            because(UnknownReason::Left, Some(5))
        );
        let polled = |ago: Option<i64>| by(Sight::Polled, ago.map(|ago| NOW - ago));
        assert_eq!(polled(Some(12 * MINUTE)), None);
        let old = 12 * MINUTE + 1;
        assert_eq!(
            polled(Some(old)),
            because(UnknownReason::OldPoll, Some(NOW - old))
        );
        assert_eq!(polled(None), because(UnknownReason::OldPoll, None));
        let unheard = because(UnknownReason::NotHeard, Some(3));
        assert_eq!(
            unknown_in_room(unheard, &encrypted, None, NOW),
            unheard,
            "what concerns all comes first"
        );
    }

    #[test]
    fn each_reason_has_a_word_of_its_own() {
        let all = [
            UnknownReason::NotRead,
            UnknownReason::NotHeard,
            UnknownReason::NotStored,
            UnknownReason::Unreadable,
            UnknownReason::Left,
            UnknownReason::OldPoll,
            UnknownReason::Encrypted,
        ];
        let words: std::collections::BTreeSet<&str> = all.iter().map(|why| why.as_str()).collect();
        assert_eq!(words.len(), all.len());
    }
}
