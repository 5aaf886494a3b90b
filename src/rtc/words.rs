//! The closed sets of words that are stored, shown in JSON and documented.

use std::fmt;

/// Declares a closed set: an enum, and for each of its members the word by which it is stored,
/// shown in JSON and documented.
macro_rules! words {
    (
        $(#[$about:meta])*
        $vis:vis enum $set:ident {
            $($(#[$note:meta])* $member:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $set {
            $($(#[$note])* $member,)+
        }

        impl $set {
            /// All words of the set.
            #[allow(dead_code, reason = "not every set is in a document")]
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $word,)+
                }
            }
        }

        impl std::str::FromStr for $set {
            type Err = $crate::rtc::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$member),)+
                    _ => Err($crate::rtc::words::UnknownWord::new(stringify!($set), word)),
                }
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $set {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $set {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;

                // Older checkpoints have the names of the members instead.
                $(if word == stringify!($member) {
                    return Ok(Self::$member);
                })+

                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;

/// A word that is in none of the members of a closed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    set: &'static str,
    word: String,
}

impl UnknownWord {
    #[must_use]
    pub fn new(set: &'static str, word: &str) -> Self {
        Self {
            set,
            word: word.to_owned(),
        }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}", self.word, self.set)
    }
}

words! {
    /// The wire format a stay was stated in.
    pub enum Format {
        /// One state event per device, flat content; what clients send today.
        Session = "session",
        /// The `memberships` array of 2023 and 2024.
        Legacy = "legacy",
        /// Full-mesh group calls, `m.calls` (MSC3401).
        Mesh = "mesh",
        /// Sticky events (MSC4354), in the js-sdk's and the newest MSC's form.
        Sticky = "sticky",
    }
}

words! {
    /// How a stay ended, as far as an observer can tell (docs/matrixrtc.md section 11).
    pub enum EndReason {
        Left = "left",
        DelayedLeave = "delayed_leave",
        Expired = "expired",
        StickyExpired = "sticky_expired",
        RoomLeft = "room_left",
        RoomKicked = "room_kicked",
        RoomBanned = "room_banned",
        Superseded = "superseded",
        Switched = "switched",
        Overwritten = "overwritten",
        SlotClosed = "slot_closed",
        Redacted = "redacted",
        InvalidContent = "invalid_content",
    }
}

impl EndReason {
    /// Did it end by its own expiry?
    #[must_use]
    pub fn is_expiry(self) -> bool {
        matches!(self, Self::Expired | Self::StickyExpired)
    }
}

words! {
    /// How events came to us.
    pub enum Source {
        Sync = "sync",
        Poll = "poll",
        Backfill = "backfill",
    }
}

words! {
    /// Our membership of a room.
    pub enum Watch {
        /// The bot is in it: it is followed by sync and polls.
        Joined = "joined",
        /// World-readable, polled without joining.
        Peeked = "peeked",
        /// The bot left or was removed: what is known is outdated.
        Left = "left",
        /// The room was requested and cannot be read.
        Blind = "blind",
    }
}

impl Watch {
    /// Is the room read, by the one way or the other?
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Joined | Self::Peeked)
    }

    /// Reads the stored value; an unknown one is `Blind`.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        word.parse().unwrap_or(Self::Blind)
    }
}

words! {
    /// How a vantage learns of events.
    #[derive(Default)]
    pub enum Mode {
        /// By long-poll sync, and by polls as a check.
        #[default]
        Follow = "follow",
        /// By polls only.
        Poll = "poll",
    }
}

words! {
    /// What a job reads of a room's history.
    #[derive(Default)]
    pub enum JobKind {
        /// The whole history of a room, from now to its beginning. This kind and a gap are *reads*:
        /// they go back page by page.
        #[default]
        Backfill = "backfill",
        /// The events that a limited timeline or a stop left out.
        Gap = "gap",
        /// A gap that is read again.
        Recheck = "recheck",
        /// An event that another one replaced and that is not stored.
        Event = "event",
    }
}

words! {
    /// Why a job that reads history was done.
    pub enum JobEnd {
        /// It reached the room's beginning.
        Beginning = "beginning",
        /// It reached what was known.
        Met = "met",
        /// It went as far back as configured.
        Horizon = "horizon",
        /// What is before is hidden by the room's history visibility.
        NotVisible = "not_visible",
        /// The homeserver gave no further page.
        NoMore = "no_more",
        /// Its pages turn in a circle.
        Circle = "circle",
        /// It gave page after page with nothing new.
        Endless = "endless",
        /// It refuses more.
        Refused = "refused",
        /// All rounds of a recheck were read.
        Read = "read",
        /// A missing event was found.
        Found = "found",
        /// Attempt after attempt failed.
        Failed = "failed",
    }
}

impl JobEnd {
    /// Did it end although there may be more, which the homeserver did not give?
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(
            self,
            Self::NoMore | Self::Circle | Self::Endless | Self::Refused
        )
    }
}
