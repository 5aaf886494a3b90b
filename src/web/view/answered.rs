//! Whether a call that rang was answered.

use super::CallFacts;
use crate::rtc::evidence::Certainty;
use crate::store::read::related::RingOfCall;

impl CallFacts {
    /// Sets whether the call was answered, as known at `now`, ms. `rings` are those about its
    /// begin.
    ///
    /// The caller alone does not answer. It stays unknown where nothing rang, where it still rings,
    /// and where somebody may have come unseen.
    pub fn set_answered(&mut self, rings: &[RingOfCall], now: i64) {
        self.answered = self.is_answered(rings, now);
    }

    fn is_answered(&self, rings: &[RingOfCall], now: i64) -> Option<bool> {
        let last_ms = rings.iter().map(|ring| ring.answerable_until_ms).max()?;
        let is_caller = |user_id: &str| rings.iter().all(|ring| ring.who == user_id);
        let came = self.members.iter().any(|stay| !is_caller(&stay.user_id));
        if self.people > 1 || came {
            return Some(true);
        }

        let is_unseen = self.others_unknown
            || self.unknown_since_ms.is_some()
            || self.certainty.gap_ms > 0
            || self.certainty.verdict == Certainty::LeftCensored;

        (last_ms <= now && !is_unseen).then_some(false)
    }

    /// Did it ring, and nobody came?
    #[must_use]
    pub fn is_not_answered(&self) -> bool {
        self.answered == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, MINUTE, NOW};

    fn ring(who: &str, until: i64) -> RingOfCall {
        RingOfCall {
            who: who.to_owned(),
            answerable_until_ms: until,
        }
    }

    /// Dieter waits alone.
    fn alone() -> CallFacts {
        fixtures::two_small_calls().remove(1)
    }

    #[test]
    fn the_caller_alone_does_not_answer() {
        let over = NOW - MINUTE;
        let dieter = "@dieter:hackerspace.example";
        let said = |call: &CallFacts, rings: &[RingOfCall]| call.is_answered(rings, NOW);
        let call = alone();
        assert_eq!(said(&call, &[]), None, "nothing rang");
        assert_eq!(said(&call, &[ring(dieter, over)]), Some(false));
        assert_eq!(said(&call, &[ring(dieter, NOW + 1)]), None, "it rings");
        assert_eq!(
            said(&call, &[ring("@eve:example.org", over)]),
            Some(true),
            "Dieter came"
        );
        let two = fixtures::two_small_calls().remove(0);
        assert_eq!(said(&two, &[ring("@yusuf:example.net", over)]), Some(true));
    }

    #[test]
    fn who_may_have_come_unseen_leaves_it_unknown() {
        let rings = [ring("@dieter:hackerspace.example", NOW - MINUTE)];
        let said = |change: fn(&mut CallFacts)| {
            let mut call = alone();
            change(&mut call);
            call.set_answered(&rings, NOW);
            call.answered
        };
        assert_eq!(said(|_| {}), Some(false));
        assert_eq!(said(|call| call.others_unknown = true), None);
        assert_eq!(said(|call| call.unknown_since_ms = Some(NOW)), None);
        assert_eq!(said(|call| call.certainty.gap_ms = 1), None);
    }
}
