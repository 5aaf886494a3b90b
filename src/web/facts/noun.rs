//! What to call a session on a page: a whiteboard is not a call.

use super::{CallFacts, Flip};
use crate::rtc::application::{Purpose, purpose_of};
use crate::rtc::slot::SlotId;
use crate::web::format;

/// The words for what people meet in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noun {
    pub singular: &'static str,
    pub plural: &'static str,
    /// The first at the beginning of a line.
    pub title: &'static str,
}

/// The words for sessions of this application; neutral ones where we do not know it.
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

    /// Is it what pages are mostly about?
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

/// How many they are, in words: `2 calls`, `1 whiteboard`, and `3 sessions` where they are of
/// several kinds. `all` of them may be more than those that are at hand.
#[must_use]
pub fn counted_by_noun(calls: &[CallFacts], all: usize) -> String {
    let first = calls
        .first()
        .map_or_else(|| noun_of("m.call"), CallFacts::noun);
    let noun = if calls.iter().all(|call| call.noun() == first) {
        first
    } else {
        noun_of("")
    };

    format::counted(all, noun.singular, noun.plural)
}
