//! The outcome of a ring: somebody came, somebody declined, or nobody did either in time.

use super::related::{Related, RelatedKind};
use super::words::words;

/// How long it rings if the notification does not state it, ms (MSC4075).
const LIFETIME: i64 = 30_000;
/// Extra time after the ring stops, ms: a person who accepts at the last moment joins a little
/// later.
pub const GRACE_MS: i64 = 30_000;
/// A person who joined earlier than this before the ring was already there and did not answer, ms.
/// Clocks of servers differ by less.
const BEFORE_MS: i64 = 10_000;

/// Maximum clock error assumed when somebody declines, ms.
pub const OFF_MS: i64 = 60_000;

words! {
    /// The outcome of a ring.
    pub enum RingOutcome {
        /// Somebody who was rung came before it stopped.
        Answered = "answered",
        /// Nobody came, and somebody said no.
        Declined = "declined",
        /// Nobody came or declined before the caller withdrew it.
        Withdrawn = "withdrawn",
        /// Nobody came in time: while it rang, and before the call had ended.
        Missed = "missed",
        /// It still rings.
        Ringing = "ringing",
    }
}

/// A stay in the call that a ring belongs to: user, from, until, ms.
pub type RingStay<'a> = (&'a str, i64, i64);

/// When it stops ringing, ms: after the time that the notification states, else after [`LIFETIME`].
fn ringing_until_ms(ring: &Related) -> i64 {
    let lifetime = ring.lifetime_ms.filter(|ms| *ms > 0).unwrap_or(LIFETIME);
    ring.at_ms.saturating_add(lifetime)
}

/// The time until which a join counts as an answer, ms.
#[must_use]
pub fn answerable_until_ms(ring: &Related) -> i64 {
    ringing_until_ms(ring).saturating_add(GRACE_MS)
}

/// The span in which a join counts as an answer: from, and until (exclusive), ms. It begins a
/// little before the ring, since clocks of servers differ.
#[must_use]
pub fn answer_span_ms(ring: &Related) -> (i64, i64) {
    (
        ring.at_ms.saturating_sub(BEFORE_MS),
        answerable_until_ms(ring),
    )
}

/// Was this user rung? A ring is for the users that it names; if it means the room or names nobody,
/// for everybody but the caller.
#[must_use]
pub fn is_rung(ring: &Related, user_id: &str) -> bool {
    let all = ring.room || ring.whom.is_empty();
    user_id != ring.who && (all || ring.whom.iter().any(|rung| rung == user_id))
}

/// A call near a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearCall {
    pub id: String,
    pub slot_id: String,
    pub started_ms: i64,
    pub until_ms: i64,
}

/// Maximum time by which a ring may come before its call begins or after it has ended, ms: clocks
/// differ.
const NEAR_MS: i64 = 60_000;

/// Which calls a ring can belong to: the latest time at which they may start, then the earliest
/// time at which they may end, ms.
#[must_use]
pub fn attachable_span_ms(ring: &Related) -> (i64, i64) {
    (
        ring.at_ms.saturating_add(NEAR_MS),
        ring.at_ms.saturating_sub(NEAR_MS),
    )
}

/// The call that a ring belongs to; `None` if there is none near it. `near` are the calls around
/// it, in any order. If the ring names a slot, only calls of that slot count. `referred` is the
/// call of the event that the ring refers to. Without it, the choice is the call that ran when it
/// rang, then the next one that began, then the one that had just ended.
#[must_use]
pub fn call_of_ring<'a>(
    ring: &Related,
    referred: Option<&'a NearCall>,
    near: &'a [NearCall],
) -> Option<&'a NearCall> {
    let is_for = |call: &&NearCall| {
        ring.slot_id
            .as_ref()
            .is_none_or(|slot| *slot == call.slot_id)
    };

    if let Some(call) = referred.filter(is_for) {
        return Some(call);
    }

    let at = ring.at_ms;
    let near = || near.iter().filter(is_for);
    let running = near()
        .filter(|call| call.started_ms <= at && at < call.until_ms)
        .max_by_key(|call| call.started_ms);
    let next = || {
        near()
            .filter(|call| call.started_ms > at && call.started_ms - at <= NEAR_MS)
            .min_by_key(|call| call.started_ms)
    };

    let last = || {
        near()
            .filter(|call| call.until_ms <= at && at - call.until_ms <= NEAR_MS)
            .max_by_key(|call| call.until_ms)
    };

    running.or_else(next).or_else(last)
}

/// The outcome of a ring as known at `now`, ms, and when the first person came who answered it, ms;
/// `None` in all other outcomes. `came` are the stays of its call, in any order; a person who comes
/// after the call's end has answered nobody. `related` may hold any events: declines and
/// withdrawals of this ring are found among them.
#[must_use]
pub fn outcome_of_ring<'a>(
    ring: &Related,
    came: impl Iterator<Item = RingStay<'a>>,
    related: &[Related],
    now: i64,
) -> (RingOutcome, Option<i64>) {
    let takes_back = |one: &&Related| {
        one.what == RelatedKind::Withdrawal
            && one.who == ring.who
            && one.sticky_key.is_some()
            && one.sticky_key == ring.sticky_key
            && (ring.at_ms..ringing_until_ms(ring)).contains(&one.at_ms)
    };

    let taken_back_ms = related.iter().filter(takes_back).map(|one| one.at_ms).min();
    // From then on a join is no answer any more.
    let over = taken_back_ms.map_or(answerable_until_ms(ring), |ms| ms.saturating_add(GRACE_MS));
    let over = over.min(answerable_until_ms(ring));
    let near = ring.at_ms.saturating_sub(BEFORE_MS)..over;
    let in_time = came.filter(|(user, from, until)| {
        is_rung(ring, user) && *until > ring.at_ms && near.contains(from)
    });
    if let Some(first) = in_time.map(|(_, from, _)| from.max(ring.at_ms)).min() {
        return (RingOutcome::Answered, Some(first));
    }

    // A decline is stamped by another server, so its time may be off by a minute.
    let answers =
        ring.at_ms.saturating_sub(OFF_MS)..answerable_until_ms(ring).saturating_add(OFF_MS);
    let says_no = |one: &Related| {
        one.what == RelatedKind::Decline
            && answers.contains(&one.at_ms)
            && one.who != ring.who
            && one.relates_to.as_deref() == Some(&ring.event_id)
    };

    let outcome = match () {
        () if related.iter().any(says_no) => RingOutcome::Declined,
        () if taken_back_ms.is_some() => RingOutcome::Withdrawn,
        () if now < over => RingOutcome::Ringing,
        () => RingOutcome::Missed,
    };

    (outcome, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: RelatedKind, who: &str, relates_to: Option<&str>) -> Related {
        Related {
            what,
            event_id: "$ring".into(),
            who: who.into(),
            whom: Vec::new(),
            room: false,
            at_ms: 100_000,
            lifetime_ms: Some(40_000),
            intent: None,
            relates_to: relates_to.map(ToOwned::to_owned),
            slot_id: None,
            sticky_key: None,
        }
    }

    #[test]
    fn a_ring_belongs_to_the_call_of_its_slot_then_of_its_reference_then_of_its_time() {
        let call = |id: &str, slot: &str, started_ms: i64, until_ms: i64| NearCall {
            id: id.into(),
            slot_id: slot.into(),
            started_ms,
            until_ms,
        };

        let near = [
            call("first", "m.call#ROOM", 99_500, 108_000),
            call("second", "m.call#ROOM", 115_000, 160_000),
            call("other", "m.call#b", 99_900, 200_000),
        ];
        let ring = event(RelatedKind::Ring, "@a:h", None);
        let of = |ring: &Related, referred: Option<usize>| {
            call_of_ring(ring, referred.map(|at| &near[at]), &near).map(|call| call.id.clone())
        };

        let in_slot = |slot: &str| Related {
            slot_id: Some(slot.into()),
            ..ring.clone()
        };

        assert_eq!(of(&ring, Some(1)).as_deref(), Some("second"));
        assert_eq!(
            of(&in_slot("m.call#ROOM"), Some(2)).as_deref(),
            Some("first")
        );
        assert_eq!(of(&in_slot("m.call#ROOM"), None).as_deref(), Some("first"));
        assert_eq!(of(&in_slot("m.call#c"), Some(0)), None);
        let at = |at_ms: i64| Related {
            at_ms,
            ..in_slot("m.call#ROOM")
        };

        assert_eq!(of(&at(110_000), None).as_deref(), Some("second"));
        assert_eq!(of(&at(161_000), None).as_deref(), Some("second"));
        assert_eq!(of(&at(39_000), None), None);
    }

    #[test]
    fn a_caller_may_take_an_invitation_back() {
        let keyed = |what: RelatedKind, who: &str, at_ms: i64| Related {
            at_ms,
            sticky_key: Some("m.call#ROOM".into()),
            ..event(what, who, None)
        };

        let ring = keyed(RelatedKind::Ring, "@a:h", 100_000);
        let says = |came: &[RingStay<'_>], who: &str, at_ms: i64| {
            let back = [keyed(RelatedKind::Withdrawal, who, at_ms)];
            outcome_of_ring(&ring, came.iter().copied(), &back, 1_000_000).0
        };

        assert_eq!(says(&[], "@a:h", 120_000), RingOutcome::Withdrawn);
        assert_eq!(
            says(&[], "@c:h", 120_000),
            RingOutcome::Missed,
            "not its own"
        );
        assert_eq!(
            says(&[], "@a:h", 140_000),
            RingOutcome::Missed,
            "it had ended"
        );
        let came = [("@b:h", 110_000, 200_000)];
        assert_eq!(says(&came, "@a:h", 120_000), RingOutcome::Answered);
        let late = [("@b:h", 155_000, 200_000)];
        assert_eq!(says(&late, "@a:h", 120_000), RingOutcome::Withdrawn);
    }

    #[test]
    fn a_ring_is_answered_by_whom_it_rang_and_in_time() {
        let ring = event(RelatedKind::Ring, "@a:h", None);
        let says = |ring: &Related, came: &[RingStay<'_>]| {
            outcome_of_ring(ring, came.iter().copied(), &[], 1_000_000)
        };
        assert_eq!(
            says(&ring, &[("@b:h", 130_000, 200_000)]),
            (RingOutcome::Answered, Some(130_000))
        );
        assert_eq!(
            says(&ring, &[("@b:h", 90_000, 200_000)]),
            (RingOutcome::Answered, Some(100_000)),
            "a clock is off"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 89_999, 200_000)]).0,
            RingOutcome::Missed,
            "was there already, and was not rung"
        );
        assert_eq!(
            says(&ring, &[("@a:h", 130_000, 200_000)]),
            (RingOutcome::Missed, None),
            "the caller answers nobody"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 170_000, 200_000)]),
            (RingOutcome::Missed, None),
            "too late"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 50_000, 100_000)]),
            (RingOutcome::Missed, None),
            "gone by then"
        );
        let named = Related {
            whom: vec!["@c:h".into()],
            ..ring.clone()
        };

        assert_eq!(
            says(&named, &[("@b:h", 130_000, 200_000)]).0,
            RingOutcome::Missed,
            "b was not rung"
        );
        assert_eq!(
            says(
                &named,
                &[("@b:h", 110_000, 200_000), ("@c:h", 169_999, 200_000)]
            ),
            (RingOutcome::Answered, Some(169_999))
        );
        let room = Related {
            room: true,
            ..named
        };

        assert_eq!(
            says(&room, &[("@b:h", 130_000, 200_000)]).0,
            RingOutcome::Answered
        );
        let unsaid = Related {
            lifetime_ms: None,
            ..ring
        };

        assert_eq!(
            (
                answerable_until_ms(&unsaid),
                says(&unsaid, &[("@b:h", 160_000, 200_000)]).0
            ),
            (160_000, RingOutcome::Missed)
        );
    }

    #[test]
    fn a_decline_counts_where_nobody_came() {
        let ring = event(RelatedKind::Ring, "@a:h", None);
        let no = |who: &str, to: &str| vec![event(RelatedKind::Decline, who, Some(to))];
        let says = |related: &[Related], now: i64| {
            outcome_of_ring(&ring, std::iter::empty(), related, now).0
        };
        assert_eq!(says(&no("@b:h", "$ring"), 110_000), RingOutcome::Declined);
        assert_eq!(says(&no("@b:h", "$other"), 110_000), RingOutcome::Ringing);
        assert_eq!(
            says(&no("@a:h", "$ring"), 170_000),
            RingOutcome::Missed,
            "taken back, not declined"
        );
        let came = [("@c:h", 120_000, 130_000)];
        let both = outcome_of_ring(&ring, came.into_iter(), &no("@b:h", "$ring"), 170_000);
        assert_eq!(both.0, RingOutcome::Answered, "one of several came");
    }
}
