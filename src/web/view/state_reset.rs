//! State resets: changes that a poll of a room's state showed without an event. One set of words
//! for the call, the room and lists.

use crate::store::ingest::state_resets::ResetKind as Reset;

/// What happened to the person, after the name.
#[must_use]
pub fn reset_words(reset: Reset) -> &'static str {
    match reset {
        Reset::CallMemberBack => "is in the call again",
        Reset::CallMemberVanished => "is in the call no more",
        Reset::RoomMemberBack => "is in the room again",
        Reset::RoomMemberVanished => "is in the room no more",
    }
}

/// Why we think so.
#[must_use]
pub fn reason_of_reset(reset: Reset) -> &'static str {
    match reset {
        Reset::CallMemberBack => {
            "At a look the room’s state held an older membership again than the newest that is \
             known, without an event that says so. Nobody joined anew."
        }
        Reset::CallMemberVanished => {
            "At a look the membership was gone from the room’s state, without an event that says \
             so: the end lies between that look and the one before. Whether they hung up is not \
             known."
        }
        Reset::RoomMemberBack => {
            "At a look the room’s state held their membership of the room again, without an event \
             that says so."
        }
        Reset::RoomMemberVanished => {
            "At a look their membership of the room was gone from its state, without an event that \
             says so. Clients count nobody who is not in the room."
        }
    }
}

/// What to do about it.
#[must_use]
pub fn advice_on_reset(reset: Reset) -> &'static str {
    match reset {
        Reset::CallMemberBack => {
            "ask them to join and to hang up once, or let a moderator empty the membership event."
        }
        Reset::CallMemberVanished => "ask them to join the call again if they are still there.",
        Reset::RoomMemberBack => "see whether they are meant to be in the room.",
        Reset::RoomMemberVanished => "ask them to join the room again.",
    }
}
