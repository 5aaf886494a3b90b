//! What became of a ring: somebody came, somebody declined, or nobody did either in time.

use super::related::{Related, What};

/// How long it rings where the notification does not say, ms (MSC4075).
const LIFETIME: i64 = 30_000;
/// Who accepts at the last moment is in the call a little later, ms.
pub const GRACE_MS: i64 = 30_000;
/// Who came so long before was there already, and did not answer, ms: clocks of servers differ by less.
const BEFORE_MS: i64 = 10_000;

/// What became of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody who was rung came before it stopped.
    Answered,
    /// Nobody came, and somebody said no.
    Declined,
    Missed,
    /// It still rings.
    Ringing,
}

impl Outcome {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Declined => "declined",
            Self::Missed => "missed",
            Self::Ringing => "ringing",
        }
    }
}

/// A stay of somebody in a call: who, from, until, ms.
pub type Came<'a> = (&'a str, i64, i64);

/// Until when somebody who comes has answered, ms.
#[must_use]
pub fn over_ms(ring: &Related) -> i64 {
    let lifetime = ring.lifetime_ms.filter(|ms| *ms > 0).unwrap_or(LIFETIME);
    ring.at_ms.saturating_add(lifetime).saturating_add(GRACE_MS)
}

/// What became of a ring as known at `now`, ms, and when the first came who answered it. Whoever was rung may answer: those
/// it names, or everybody else where it means the room or names nobody.
#[must_use]
pub fn outcome<'a>(
    ring: &Related,
    came: impl Iterator<Item = Came<'a>>,
    related: &[Related],
    now: i64,
) -> (Outcome, Option<i64>) {
    let all = ring.room || ring.whom.is_empty();
    let is_rung =
        |user: &str| user != ring.who && (all || ring.whom.iter().any(|rung| rung == user));
    let over = over_ms(ring);
    let near = ring.at_ms.saturating_sub(BEFORE_MS)..over;
    let in_time = came
        .filter(|(user, from, until)| is_rung(user) && *until > ring.at_ms && near.contains(from));
    if let Some(first) = in_time.map(|(_, from, _)| from.max(ring.at_ms)).min() {
        return (Outcome::Answered, Some(first));
    }
    let says_no = |one: &Related| {
        one.what == What::Decline
            && one.who != ring.who
            && one.relates_to.as_deref() == Some(&ring.event_id)
    };
    let outcome = match () {
        () if related.iter().any(says_no) => Outcome::Declined,
        () if now < over => Outcome::Ringing,
        () => Outcome::Missed,
    };
    (outcome, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What, who: &str, relates_to: Option<&str>) -> Related {
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
        }
    }

    #[test]
    fn a_ring_is_answered_by_whom_it_rang_and_in_time() {
        let ring = event(What::Ring, "@a:h", None);
        let says =
            |ring: &Related, came: &[Came<'_>]| outcome(ring, came.iter().copied(), &[], 1_000_000);
        assert_eq!(
            says(&ring, &[("@b:h", 130_000, 200_000)]),
            (Outcome::Answered, Some(130_000))
        );
        assert_eq!(
            says(&ring, &[("@b:h", 90_000, 200_000)]),
            (Outcome::Answered, Some(100_000)),
            "a clock is off"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 89_999, 200_000)]).0,
            Outcome::Missed,
            "was there already, and was not rung"
        );
        assert_eq!(
            says(&ring, &[("@a:h", 130_000, 200_000)]),
            (Outcome::Missed, None),
            "the caller answers nobody"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 170_000, 200_000)]),
            (Outcome::Missed, None),
            "too late"
        );
        assert_eq!(
            says(&ring, &[("@b:h", 50_000, 100_000)]),
            (Outcome::Missed, None),
            "gone by then"
        );
        let named = Related {
            whom: vec!["@c:h".into()],
            ..ring.clone()
        };
        assert_eq!(
            says(&named, &[("@b:h", 130_000, 200_000)]).0,
            Outcome::Missed,
            "b was not rung"
        );
        assert_eq!(
            says(
                &named,
                &[("@b:h", 110_000, 200_000), ("@c:h", 169_999, 200_000)]
            ),
            (Outcome::Answered, Some(169_999))
        );
        let room = Related {
            room: true,
            ..named
        };
        assert_eq!(
            says(&room, &[("@b:h", 130_000, 200_000)]).0,
            Outcome::Answered
        );
        let unsaid = Related {
            lifetime_ms: None,
            ..ring
        };
        assert_eq!(
            (
                over_ms(&unsaid),
                says(&unsaid, &[("@b:h", 160_000, 200_000)]).0
            ),
            (160_000, Outcome::Missed)
        );
    }

    #[test]
    fn a_decline_counts_where_nobody_came() {
        let ring = event(What::Ring, "@a:h", None);
        let no = |who: &str, to: &str| vec![event(What::Decline, who, Some(to))];
        let says =
            |related: &[Related], now: i64| outcome(&ring, std::iter::empty(), related, now).0;
        assert_eq!(says(&no("@b:h", "$ring"), 110_000), Outcome::Declined);
        assert_eq!(says(&no("@b:h", "$other"), 110_000), Outcome::Ringing);
        assert_eq!(
            says(&no("@a:h", "$ring"), 170_000),
            Outcome::Missed,
            "taken back, not declined"
        );
        let came = [("@c:h", 120_000, 130_000)];
        let both = outcome(&ring, came.into_iter(), &no("@b:h", "$ring"), 170_000);
        assert_eq!(both.0, Outcome::Answered, "one of several came");
    }
}
