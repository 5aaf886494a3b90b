//! The noun for a session on a page: a whiteboard is not a call.

use super::{CallFacts, Flip, format};
use crate::rtc::application::{Purpose, purpose_of};
use crate::rtc::slot::SlotId;

/// The noun for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    pub singular: &'static str,
    pub plural: &'static str,
    /// The singular with a capital letter.
    pub title: &'static str,
}

/// The noun for sessions of this application; a neutral one if it is unknown.
#[must_use]
pub fn noun_of(application: &str) -> Noun {
    let (singular, plural, title) = match purpose_of(application) {
        Purpose::Call => ("call", "calls", "Call"),
        Purpose::Whiteboard => ("whiteboard", "whiteboards", "Whiteboard"),
        Purpose::Other => ("session", "sessions", "Session"),
    };

    Noun {
        singular,
        plural,
        title,
    }
}

impl CallFacts {
    #[must_use]
    pub fn noun(&self) -> Noun {
        noun_of(&self.application)
    }

    /// Is it a call in the narrow sense?
    #[must_use]
    pub fn is_call(&self) -> bool {
        purpose_of(&self.application) == Purpose::Call
    }
}

impl Flip {
    #[must_use]
    pub fn noun(&self) -> Noun {
        noun_of(SlotId::from_text(&self.slot_id).application())
    }
}

/// The number of sessions in words: `2 calls`, `1 whiteboard`, or `3 sessions` if they are of
/// several kinds. `all` may be larger than the number of given calls.
#[must_use]
pub fn count_sessions(calls: &[CallFacts], all: usize) -> String {
    let first = calls
        .first()
        .map_or_else(|| noun_of("m.call"), CallFacts::noun);
    let noun = if calls.iter().all(|call| call.noun() == first) {
        first
    } else {
        noun_of("")
    };

    format::count_with_noun(all, noun.singular, noun.plural)
}
