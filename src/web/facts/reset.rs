//! What a look at a room's state showed and no event told: one fact, with the same words wherever
//! it is told: on the call, on the room and in lists.

/// What happened to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    CallMemberBack,
    CallMemberVanished,
    RoomMemberBack,
    RoomMemberVanished,
}

impl Reset {
    /// By its word, as the store has it, or by the kind of a finding.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "call_member_back" | "state_reset" | "came_back" => Self::CallMemberBack,
            "call_member_vanished" | "reconciled" | "vanished" => Self::CallMemberVanished,
            "room_member_back" => Self::RoomMemberBack,
            "room_member_vanished" => Self::RoomMemberVanished,
            _ => return None,
        })
    }

    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallMemberBack => "call_member_back",
            Self::CallMemberVanished => "call_member_vanished",
            Self::RoomMemberBack => "room_member_back",
            Self::RoomMemberVanished => "room_member_vanished",
        }
    }

    /// What happened to the person, after the name.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::CallMemberBack => "is in the call again",
            Self::CallMemberVanished => "is in the call no more",
            Self::RoomMemberBack => "is in the room again",
            Self::RoomMemberVanished => "is in the room no more",
        }
    }

    /// Why we think so.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::CallMemberBack => {
                "At a look the room’s state held an older membership again than the newest that is known, without an \
                 event that says so. Nobody joined anew."
            }
            Self::CallMemberVanished => {
                "At a look the membership was gone from the room’s state, without an event that says so: the end lies \
                 between that look and the one before. Whether they hung up is not known."
            }
            Self::RoomMemberBack => {
                "At a look the room’s state held their membership of the room again, without an event that says so."
            }
            Self::RoomMemberVanished => {
                "At a look their membership of the room was gone from its state, without an event that says so. Clients \
                 count nobody who is not in the room."
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::CallMemberBack => {
                "ask them to join and to hang up once, or let a moderator empty the membership event."
            }
            Self::CallMemberVanished => "ask them to join the call again if they are still there.",
            Self::RoomMemberBack => "see whether they are meant to be in the room.",
            Self::RoomMemberVanished => "ask them to join the room again.",
        }
    }
}
