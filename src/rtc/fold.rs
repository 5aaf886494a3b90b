//! The first fold: turns the events of one member key, with the conditions of the room, into
//! memberships.

mod part;
mod stay;

pub(in crate::rtc) use part::StatePart;
pub use part::{FoldedPart, KeyState, find_cut_after, find_cuts, fold_between_cuts};

use super::event::{Reason, RoomEvent};
use super::member::{self, Expiry, Join, UnlistedDevices};
use super::membership::{Membership, Rejection};
use super::order::sort_by_effective_time;
use super::room::{Presence, RoomConditions};
use super::slot::SlotPolicy;
use super::time::{LATEST_MS, add_within_calendar};
use super::words::EndReason;
use std::collections::{BTreeMap, BTreeSet};

/// Settings that change what is derived from the same events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub slot_policy: SlotPolicy,
    /// Lifetime of a state membership that states none, ms (matrix-js-sdk: 4 h).
    pub default_expires_ms: i64,
    /// Maximum stickiness, ms; a longer one is cut to this (MSC4354: 1 h).
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

/// What one event says about one device. `time` is its effective time, ms.
#[derive(Debug, Clone)]
struct Statement<'a> {
    time: i64,
    event: &'a RoomEvent,
    says: StatementContent,
}

/// The device joins or renews, or left for a reason, or the content cannot be used, or it was
/// redacted before we could read it.
#[derive(Debug, Clone)]
enum StatementContent {
    Join(Box<Join>),
    Left(EndReason),
    Invalid,
    Redacted,
}

impl StatementContent {
    /// What an event says about a device that it does not list as joined.
    fn from_otherwise(otherwise: UnlistedDevices) -> Self {
        match otherwise {
            UnlistedDevices::Left(reason) => Self::Left(reason),
            UnlistedDevices::Invalid => Self::Invalid,
            UnlistedDevices::Redacted => Self::Redacted,
        }
    }
}

/// The stays of one member key, and its events that could not be used. `events` are its member
/// events without duplicates; `room` holds the conditions. The result depends only on the set of
/// events, not on their order.
#[must_use]
pub fn fold_member_key<'a>(
    member_key: &str,
    events: impl IntoIterator<Item = &'a RoomEvent>,
    room: &RoomConditions,
    rules: &Rules,
) -> (Vec<Membership>, Vec<Rejection>) {
    let part = fold_between_cuts(member_key, &part::BEGINNING, events, None, room, rules);
    (part.members, part.rejected)
}

/// The statements of a member key, by device key, in order of time. `sticky`: it is a sticky key,
/// whose only device key is empty. `joined` are the devices that the last event named, before and
/// after; unusable events go to `rejected`. A device that an array no longer names gets one leave
/// statement. So the cost is linear in the content of the events, not devices times events.
fn statements_by_device<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    sticky: bool,
    joined: &mut BTreeSet<String>,
    rejected: &mut Vec<Rejection>,
) -> BTreeMap<String, Vec<Statement<'a>>> {
    let mut by_device: BTreeMap<String, Vec<Statement<'a>>> = BTreeMap::new();
    // A leave of a sticky key competes with its other events even if nobody is joined, so each
    // leave is kept there.
    let always: BTreeSet<String> = if sticky {
        [String::new()].into()
    } else {
        BTreeSet::new()
    };

    if sticky {
        joined.clone_from(&always);
    }

    for (time, event) in sort_by_effective_time(events) {
        let parsed = member::parse_member_event(event);
        if let Some(reason) = parsed.rejected {
            rejected.push((event.event_id.clone(), reason));
        }

        let says = StatementContent::from_otherwise(parsed.otherwise);
        if !sticky
            && parsed.joins.is_empty()
            && joined.is_empty()
            && matches!(says, StatementContent::Redacted)
        {
            rejected.push((event.event_id.clone(), "redacted"));
        }

        let now_joined: BTreeSet<String> = parsed
            .joins
            .iter()
            .map(|(array_device, _)| array_device.clone())
            .collect();
        for array_device in joined.difference(&now_joined).cloned() {
            let says = says.clone();
            by_device
                .entry(array_device)
                .or_default()
                .push(Statement { time, event, says });
        }

        for (array_device, join) in parsed.joins {
            by_device.entry(array_device).or_default().push(Statement {
                time,
                event,
                says: StatementContent::Join(Box::new(join)),
            });
        }

        *joined = if sticky { always.clone() } else { now_joined };
    }

    by_device
}

/// Maximum difference between a client's own clock (`created_ts`) and its server's timestamp of the
/// same join, ms.
const SAME_JOIN_MS: i64 = 60_000;

/// When a join expires, ms. `created` is its claimed start, ms, if that claim counts; `time` is
/// when it was stated.
fn expiry_of_join(join: &Join, created: Option<i64>, time: i64, rules: &Rules) -> i64 {
    match join.expiry {
        Expiry::After(length) => {
            let start = created.unwrap_or(time).min(time);
            add_within_calendar(start, length.unwrap_or(rules.default_expires_ms))
        }
        Expiry::At(at) => at.min(LATEST_MS),
        Expiry::Sticky(length) => add_within_calendar(time, length.min(rules.sticky_max_ms)),
    }
}

/// When the join that this event states expires by its own word, ms.
pub(super) fn end_of_join(join: &Join, event: &RoomEvent, rules: &Rules) -> i64 {
    let time = event.time();
    let created = created_ts_if_it_counts(join, event, time, None);

    expiry_of_join(join, created, time, rules)
}

/// Is the end of this join a guess: a flat content that states no expiry? Clients that write those
/// never let a membership expire; clients that read them apply four hours (docs/matrixrtc.md
/// section 6.4).
fn is_end_guessed(join: &Join) -> bool {
    join.format == crate::rtc::words::Format::Session && join.expiry == Expiry::After(None)
}

/// The claimed start of a join (`created_ts`), ms, if it counts. It is a timestamp of the sender's
/// server, so it is compared only with timestamps of that server. It counts if it is not later than
/// the event, or if it is close to the `identity` of the stay that it may belong to, ms. `time` is
/// the effective time of the event, ms.
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

/// Why this join does not count at `time`: its sender is not in the room, or its slot is closed; as
/// the end reason of a stay, and as the reason of a rejection. `None` if it counts. Only sticky
/// memberships depend on slots.
fn failed_condition(
    room: &RoomConditions,
    rules: &Rules,
    user: &str,
    join: &Join,
    time: i64,
) -> Option<(EndReason, Reason)> {
    if let Presence::Out(reason) = room.presence(user, time) {
        return Some((reason, "not_in_room"));
    }

    let is_sticky = join.format == crate::rtc::words::Format::Sticky;
    let open = match rules.slot_policy {
        _ if !is_sticky => true,
        SlotPolicy::Ignore => true,
        SlotPolicy::Required => room.slot(join.slot.as_str(), time).unwrap_or(false),
        SlotPolicy::IfPresent => room.slot(join.slot.as_str(), time).unwrap_or(true),
    };

    (!open).then_some((EndReason::SlotClosed, "slot_closed"))
}
