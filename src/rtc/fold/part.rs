//! A fold in parts: stores the state of a member key at a cut and continues the fold from there. So
//! the cost of a new event depends on the change, not on the length of the history. Folding the
//! parts one after the other gives the same result as one fold of all events.

use super::stay::{DeviceFold, RunSpan};
use super::{Rules, Statement, StatementContent, statements_by_device};
use crate::rtc::event::RoomEvent;
use crate::rtc::member;
use crate::rtc::membership::{Membership, Rejection};
use crate::rtc::room::RoomConditions;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state of a member key after folding everything before `at_ms`. The cut must be one that
/// [`find_cuts`] returns: no link moves an event across it, in either direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// The cut, ms; `None` before the first event, and after a part that has no end.
    pub at_ms: Option<i64>,
    /// The device keys that the last event before the cut named as joined. A device that is among
    /// them, and not in the next event, left with that.
    joined: BTreeSet<String>,
    /// By device key: the device within an array of the legacy format, empty in all other formats.
    #[serde(rename = "subs")]
    devices: BTreeMap<String, DeviceState>,
    /// Rejected events among the carried ones, with the reason so far; by event id.
    pub rejected: BTreeMap<String, String>,
}

/// The initial state of every member key.
pub(super) static BEGINNING: KeyState = KeyState {
    at_ms: None,
    joined: BTreeSet::new(),
    devices: BTreeMap::new(),
    rejected: BTreeMap::new(),
};

/// A part of a state that names somebody.
pub(in crate::rtc) enum StatePart<'s> {
    Event(&'s mut RoomEvent),
    Member(&'s mut Membership),
}

/// The state of one device of a member key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    /// The join that is current, whether or not its conditions hold.
    pub current: Option<PastStatement>,
    /// When the current statement expires, ms.
    #[serde(default)]
    pub current_until: Option<i64>,
    /// The identity of the stay that the current statement belongs to, ms.
    #[serde(default)]
    pub current_identity: Option<i64>,
    /// The current statement began or continued a stay.
    #[serde(default)]
    pub current_was_live: bool,
    /// The stay that counts at the cut.
    pub live: Option<OpenStay>,
    /// The stay that expired last, while the next event can still change it: extend a guessed end,
    /// or show that the device was still there.
    #[serde(default, rename = "ran_out")]
    pub revivable: Option<OpenStay>,
    /// The latest end of all stays so far, ms.
    pub last_end: Option<i64>,
    /// The sticky statements that may still become current.
    pub candidates: Vec<PastStatement>,
}

/// A stay that later events can still change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenStay {
    pub member: Membership,
    /// Distinguishes it from the stays before and after it: the `created_ts` of its first event,
    /// else that event's timestamp; ms, both by the sender's server.
    pub identity: i64,
    /// No content states its end, so the end is assumed.
    #[serde(default)]
    pub is_end_guessed: bool,
}

/// An earlier statement that can still affect the result. `time` is its effective time, ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PastStatement {
    pub time: i64,
    pub event: RoomEvent,
}

impl PastStatement {
    /// This statement again, as parsed from its event: what it says about the device with this
    /// device key.
    pub fn statement(&self, array_device: &str) -> Statement<'_> {
        let parsed = member::parse_member_event(&self.event);
        let join = parsed
            .joins
            .into_iter()
            .find(|(key, _)| key == array_device);
        let says = join.map_or_else(
            || StatementContent::from_otherwise(parsed.otherwise),
            |(_, join)| StatementContent::Join(Box::new(join)),
        );

        Statement {
            time: self.time,
            event: &self.event,
            says,
        }
    }
}

impl KeyState {
    /// The ids of stays that later events can still change: open ones, and expired ones that may go
    /// on.
    pub fn open_stays(&self) -> impl Iterator<Item = &str> {
        self.devices
            .values()
            .flat_map(|device| device.live.iter().chain(&device.revivable))
            .map(|open| open.member.id.as_str())
    }

    /// The user of the member key, as far as the state tells. All its events are of one user, but
    /// for those by which a moderator ends a stay.
    pub(in crate::rtc) fn user_id(&self) -> Option<&str> {
        let of_stays = self.devices.values().find_map(|device| {
            let open = device.live.as_ref().or(device.revivable.as_ref())?;
            Some(open.member.user_id.as_str())
        });

        of_stays.or_else(|| self.carried().map(|event| event.sender.as_str()).next())
    }

    /// The device keys in the state.
    pub(in crate::rtc) fn device_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.joined.iter().chain(self.devices.keys());
        keys.map(String::as_str)
    }

    /// The same state with other names: `map_key` gives the new name of a device key, `map_part`
    /// changes each event and each stay.
    pub(in crate::rtc) fn map_names(
        self,
        map_key: impl Fn(&str) -> String,
        mut map_part: impl FnMut(StatePart<'_>),
    ) -> Self {
        let joined = self.joined.iter().map(|key| map_key(key)).collect();
        let mut devices = BTreeMap::new();
        for (key, mut device) in self.devices {
            for said in device.candidates.iter_mut().chain(&mut device.current) {
                map_part(StatePart::Event(&mut said.event));
            }

            for open in device.live.iter_mut().chain(&mut device.revivable) {
                map_part(StatePart::Member(&mut open.member));
            }

            devices.insert(map_key(&key), device);
        }

        Self {
            joined,
            devices,
            ..self
        }
    }

    /// The events before the cut whose meaning later events can still change; they are folded again
    /// with them.
    pub fn carried(&self) -> impl Iterator<Item = &RoomEvent> {
        self.devices.values().flat_map(|device| {
            device
                .candidates
                .iter()
                .chain(&device.current)
                .map(|said| &said.event)
        })
    }
}

/// The result of one part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoldedPart {
    /// Stays that this part completes. If the part has no end, also all stays that are still open.
    /// Sorted by `joined_ms`.
    pub members: Vec<Membership>,
    /// Rejected events, sorted. A carried event appears only with the reason found in this part.
    pub rejected: Vec<Rejection>,
    /// The state of the member key at the cut where this part ends. If the part has no end, nothing
    /// can be folded from it: it lacks the devices.
    pub state: KeyState,
}

/// Folds the events of a member key from the cut of `from` (inclusive) to the cut `until`
/// (exclusive), ms, or to the end if that is `None`. `events` are those with a time in between, in
/// any order.
///
/// Only a part with an end has a state of devices in its result: after the last part there is
/// nothing to go on with.
#[must_use]
pub fn fold_between_cuts<'a>(
    member_key: &str,
    from: &'a KeyState,
    events: impl IntoIterator<Item = &'a RoomEvent>,
    until: Option<i64>,
    room: &RoomConditions,
    rules: &Rules,
) -> FoldedPart {
    let mut part = FoldedPart::default();
    // As of the last event so far: first of the part before, then of this one.
    let mut joined = from.joined.clone();
    // A member key begins with `k` if it is a sticky key, with `s` if it is a state key.
    let mut new_by_device = statements_by_device(
        events,
        member_key.starts_with('k'),
        &mut joined,
        &mut part.rejected,
    );
    // A device that no new event tells of is folded as well: its stay may expire in this part.
    for array_device in from.devices.keys() {
        new_by_device.entry(array_device.clone()).or_default();
    }

    for (array_device, new) in new_by_device {
        let mut stay = DeviceFold::new(member_key, &array_device, room, rules);
        let mut statements = from
            .devices
            .get(&array_device)
            .map(|device| stay.carry(device))
            .unwrap_or_default();
        let span = RunSpan {
            from: from.at_ms.unwrap_or(i64::MIN),
            until,
            carried: statements.len(),
        };

        statements.extend(new);
        stay.run(&statements, &span);
        part.members.append(&mut stay.members);
        part.rejected.append(&mut stay.rejected);
        if let Some(until) = until {
            part.state
                .devices
                .insert(array_device.clone(), stay.state(&statements, until));
        }
    }

    // A device without state needs no entry: it is as before its first event.
    part.state
        .devices
        .retain(|_, device| *device != DeviceState::default());

    // One event may be rejected for several devices of an array; it is listed once.
    part.rejected.sort();
    part.rejected.dedup_by(|a, b| a.0 == b.0);
    part.members
        .sort_by(|a, b| (a.joined_ms, &a.id).cmp(&(b.joined_ms, &b.id)));
    part.state.at_ms = until;
    part.state.joined = joined;
    part.state.rejected = rejections_of_carried(&part.state, &from.rejected, &part.rejected);

    part
}

/// The reasons for which carried events are rejected, by event id, from earlier parts and from this
/// one. If an event has two reasons, the alphabetically first one counts, as in a fold of all
/// events.
fn rejections_of_carried(
    state: &KeyState,
    before: &BTreeMap<String, String>,
    new: &[Rejection],
) -> BTreeMap<String, String> {
    let before = before
        .iter()
        .map(|(id, reason)| (id.as_str(), reason.as_str()));
    let mut against: BTreeMap<String, String> = BTreeMap::new();
    for (id, reason) in before.chain(new.iter().map(|(id, reason)| (id.as_str(), *reason))) {
        if state.carried().any(|event| event.event_id == id) {
            let known = against
                .entry(id.to_owned())
                .or_insert_with(|| reason.to_owned());
            if reason < known.as_str() {
                reason.clone_into(known);
            }
        }
    }

    against
}

/// The times at which the events of one member key can be cut, ms, ascending. A cut is a time at
/// which a fold may stop and continue later, because no event moves across it. `rtc::order` moves
/// events only between an event and the one that it replaces, so a cut is a time that no such link
/// crosses backwards. An event at the time of a cut comes after it. `end`, ms, is included if it is
/// a possible cut. `times` gives the time of an event by its id, ms; `None` if it is not stored.
#[must_use]
pub fn find_cuts<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    times: impl Fn(&str) -> Option<i64>,
    end: Option<i64>,
) -> Vec<i64> {
    // The time of the event that this one replaces. If that is later, the two are moved.
    let reach = |event: &RoomEvent| {
        event
            .replaces_state
            .as_deref()
            .and_then(&times)
            .unwrap_or(i64::MIN)
    };

    let mut reaches: Vec<(i64, i64)> = events
        .into_iter()
        .map(|event| (event.time(), reach(event)))
        .collect();
    reaches.sort_unstable();
    let mut latest = i64::MIN;
    let mut cuts = Vec::new();
    for (own, reach) in reaches.into_iter().chain(end.map(|end| (end, end))) {
        if latest < own && cuts.last() != Some(&own) {
            cuts.push(own);
        }

        latest = latest.max(own).max(reach);
    }

    cuts
}

/// The first time, ms, at which all events of one member key are past: the cut after the last one.
/// `None` without events. `times` gives the time of an event by its id, ms.
#[must_use]
pub fn find_cut_after<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    times: impl Fn(&str) -> Option<i64>,
) -> Option<i64> {
    let reach = |event: &RoomEvent| event.replaces_state.as_deref().and_then(&times);

    events
        .into_iter()
        .map(|event| event.time().max(reach(event).unwrap_or(i64::MIN)))
        .max()
        .and_then(|latest| latest.checked_add(1))
}
