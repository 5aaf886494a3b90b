//! The first fold: the events of one chain, with what holds in the room, into memberships.

mod part;
mod stay;

pub use part::{FoldedPart, KeyState, cuts, resume};

use super::event::{Reason, RoomEvent};
use super::member::{self, Expiry, Join, Otherwise};
use super::membership::{EndReason, Membership, Rejection};
use super::order::in_order;
use super::room::{Presence, Room};
use super::slot::SlotPolicy;
use super::time::{LATEST_MS, add_within_calendar};
use std::collections::{BTreeMap, BTreeSet};

/// What is a matter of choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub slot_policy: SlotPolicy,
    /// Lifetime of a state membership that states none, ms (matrix-js-sdk: 4 h).
    pub default_expires_ms: i64,
    /// The longest stickiness that counts, ms (MSC4354: 1 h).
    pub sticky_max_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            slot_policy: SlotPolicy::IfPresent,
            default_expires_ms: 14_400_000,
            sticky_max_ms: 3_600_000,
        }
    }
}

/// One thing that one event says of one device.
#[derive(Debug, Clone)]
struct Statement<'a> {
    time: i64,
    event: &'a RoomEvent,
    says: Says,
}

#[derive(Debug, Clone)]
enum Says {
    Join(Box<Join>),
    Left(EndReason),
    Invalid,
    Redacted,
}

impl Says {
    fn from_otherwise(otherwise: Otherwise) -> Self {
        match otherwise {
            Otherwise::Left(reason) => Self::Left(reason),
            Otherwise::Invalid => Self::Invalid,
            Otherwise::Redacted => Self::Redacted,
        }
    }
}

/// Folds one chain. `events` are its member events, each once; `room` holds the conditions.
/// The result depends on the set of events only, not on their order.
#[must_use]
pub fn fold<'a>(
    chain: &str,
    events: impl IntoIterator<Item = &'a RoomEvent>,
    room: &Room,
    rules: &Rules,
) -> (Vec<Membership>, Vec<Rejection>) {
    let part = resume(chain, &part::BEGINNING, events, None, room, rules);
    (part.members, part.rejected)
}

/// The statements of a chain, by sub-key, in order. A device that an array no longer names is said
/// to have left, once: the cost is what the events hold, not devices times events.
fn statements<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    sticky: bool,
    joined: &mut BTreeSet<String>,
    rejected: &mut Vec<Rejection>,
) -> BTreeMap<String, Vec<Statement<'a>>> {
    let mut subs: BTreeMap<String, Vec<Statement<'a>>> = BTreeMap::new();
    // A leave counts in the contest of sticky events even when nobody is joined, so there each one
    // is kept.
    let always: BTreeSet<String> = if sticky {
        [String::new()].into()
    } else {
        BTreeSet::new()
    };

    if sticky {
        joined.clone_from(&always);
    }

    for (time, event) in in_order(events) {
        let parsed = member::parse(event);
        if let Some(reason) = parsed.rejected {
            rejected.push((event.event_id.clone(), reason));
        }

        let says = Says::from_otherwise(parsed.otherwise);
        if !sticky && parsed.joins.is_empty() && joined.is_empty() && matches!(says, Says::Redacted)
        {
            rejected.push((event.event_id.clone(), "redacted"));
        }

        let now_joined: BTreeSet<String> =
            parsed.joins.iter().map(|(sub, _)| sub.clone()).collect();
        for sub in joined.difference(&now_joined).cloned() {
            let says = says.clone();
            subs.entry(sub)
                .or_default()
                .push(Statement { time, event, says });
        }

        for (sub, join) in parsed.joins {
            subs.entry(sub).or_default().push(Statement {
                time,
                event,
                says: Says::Join(Box::new(join)),
            });
        }

        *joined = if sticky { always.clone() } else { now_joined };
    }

    subs
}

/// A client that notes its own clock may be so far from its server's stamp of the same join, ms.
const SAME_JOIN_MS: i64 = 60_000;

/// When a join runs out, ms. `created` is its claim, where it counts.
fn expires(join: &Join, created: Option<i64>, time: i64, rules: &Rules) -> i64 {
    match join.expiry {
        Expiry::After(length) => {
            let start = created.unwrap_or(time).min(time);
            add_within_calendar(start, length.unwrap_or(rules.default_expires_ms))
        }
        Expiry::At(at) => at.min(LATEST_MS),
        Expiry::Sticky(length) => add_within_calendar(time, length.min(rules.sticky_max_ms)),
    }
}

/// Is the end of this join a guess? Flat contents without one were written by clients that never
/// let one expire, and are read by clients that do after four hours (docs/matrixrtc.md section
/// 6.4).
fn is_end_guessed(join: &Join) -> bool {
    join.format == member::Format::Session && join.expiry == Expiry::After(None)
}

/// `created_ts`, where it counts. It is a stamp of the sender's server, and compared with the
/// stamps of that server only: not later than the event, or close to the `identity` of the stay
/// that it may speak of.
fn created_ts_if_it_counts(
    join: &Join,
    event: &RoomEvent,
    time: i64,
    identity: Option<i64>,
) -> Option<i64> {
    let stamped = event.origin_server_ts.max(time);
    let is_near = |created: i64| {
        identity.is_some_and(|identity| {
            created.saturating_sub(identity).saturating_abs() <= SAME_JOIN_MS
        })
    };

    join.created_ts
        .filter(|created| *created <= stamped || is_near(*created))
}

/// Why this join does not hold at `time`, if so: its sender is not in the room, its slot is closed.
fn failed_condition(
    room: &Room,
    rules: &Rules,
    user: &str,
    join: &Join,
    time: i64,
) -> Option<(EndReason, Reason)> {
    if let Presence::Out(reason) = room.presence(user, time) {
        return Some((reason, "not_in_room"));
    }

    let bound = join.format == member::Format::Sticky;
    let open = match rules.slot_policy {
        _ if !bound => true,
        SlotPolicy::Ignore => true,
        SlotPolicy::Required => room.slot(join.slot.as_str(), time).unwrap_or(false),
        SlotPolicy::IfPresent => room.slot(join.slot.as_str(), time).unwrap_or(true),
    };

    (!open).then_some((EndReason::SlotClosed, "slot_closed"))
}
