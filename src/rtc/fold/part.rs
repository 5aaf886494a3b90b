//! A fold in parts: the state in which a chain stands at a cut, and the fold from there on. Stored
//! states make the cost of an event follow the change and not the chain; the parts together say
//! what one fold of the whole says.

use super::stay::{DeviceFold, Span};
use super::{Rules, Says, Statement, statements};
use crate::rtc::event::RoomEvent;
use crate::rtc::member;
use crate::rtc::membership::{Membership, Rejection};
use crate::rtc::room::Room;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How a chain stands when everything before `at_ms` was folded. A cut is one that [`cuts`] offers:
/// no event before it is moved to a time at or after it by its links, and none after it to one
/// before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// The cut, ms; `None` before the first event.
    pub at_ms: Option<i64>,
    /// The devices that the last event named.
    joined: BTreeSet<String>,
    subs: BTreeMap<String, DeviceState>,
    /// Of the events that are carried: which are rejected so far, and why.
    pub rejected: BTreeMap<String, String>,
}

/// How every chain begins.
pub(super) static BEGINNING: KeyState = KeyState {
    at_ms: None,
    joined: BTreeSet::new(),
    subs: BTreeMap::new(),
    rejected: BTreeMap::new(),
};

/// How one device of a chain stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    pub current: Option<PastStatement>,
    /// When the current statement runs out, ms, and the identity of the stay it speaks of.
    #[serde(default)]
    pub current_until: Option<i64>,
    #[serde(default)]
    pub current_identity: Option<i64>,
    /// A stay began with the current statement, or it goes on with one.
    #[serde(default)]
    pub current_was_live: bool,
    pub live: Option<OpenStay>,
    /// The stay that ran out last, as long as the next event may tell more of it: take a guessed
    /// end back, or show that the device was still there.
    #[serde(default)]
    pub ran_out: Option<OpenStay>,
    pub last_end: Option<i64>,
    pub candidates: Vec<PastStatement>,
}

/// A stay that later events can still change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenStay {
    pub member: Membership,
    /// What tells it apart from the stays before and after it: the `created_ts` of its first event,
    /// else that event's stamp, both as the sender's server gave them, ms.
    pub identity: i64,
    /// Its end is stated by no content.
    #[serde(default)]
    pub is_end_guessed: bool,
}

/// A statement that may still matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PastStatement {
    pub time: i64,
    pub event: RoomEvent,
}

impl PastStatement {
    pub fn statement(&self, sub: &str) -> Statement<'_> {
        let parsed = member::parse(&self.event);
        let join = parsed.joins.into_iter().find(|(key, _)| key == sub);
        let says = join.map_or_else(
            || Says::from_otherwise(parsed.otherwise),
            |(_, join)| Says::Join(Box::new(join)),
        );

        Statement {
            time: self.time,
            event: &self.event,
            says,
        }
    }
}

impl KeyState {
    /// The ids of stays that later events can still change: open ones, and those that ran out.
    pub fn open_stays(&self) -> impl Iterator<Item = &str> {
        self.subs
            .values()
            .flat_map(|sub| sub.live.iter().chain(&sub.ran_out))
            .map(|open| open.member.id.as_str())
    }

    /// Events before the cut that later ones can still change the meaning of.
    pub fn carried(&self) -> impl Iterator<Item = &RoomEvent> {
        self.subs.values().flat_map(|sub| {
            sub.candidates
                .iter()
                .chain(&sub.current)
                .map(|said| &said.event)
        })
    }
}

/// What one part says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoldedPart {
    /// Stays of which this part tells the last; without a cut at its end, all that were or came
    /// open. Sorted by `joined_ms`.
    pub members: Vec<Membership>,
    /// Rejected events, sorted. Of one that is carried in, only what this part has against it.
    pub rejected: Vec<Rejection>,
    /// How the chain stands at the cut where this part ends.
    pub state: KeyState,
}

/// Folds the events of a chain from one cut to the next, or to the end. `events` are those with a
/// time in between.
#[must_use]
pub fn resume<'a>(
    chain: &str,
    from: &'a KeyState,
    events: impl IntoIterator<Item = &'a RoomEvent>,
    until: Option<i64>,
    room: &Room,
    rules: &Rules,
) -> FoldedPart {
    let mut part = FoldedPart::default();
    let mut joined = from.joined.clone();
    let mut said = statements(
        events,
        chain.starts_with('k'),
        &mut joined,
        &mut part.rejected,
    );
    for sub in from
        .subs
        .keys()
        .filter(|sub| !said.contains_key(*sub))
        .cloned()
        .collect::<Vec<_>>()
    {
        said.insert(sub, Vec::new());
    }

    for (sub, new) in said {
        let mut stay = DeviceFold::new(chain, &sub, room, rules);
        let mut statements = from
            .subs
            .get(&sub)
            .map(|sub| stay.carry(sub))
            .unwrap_or_default();
        let span = Span {
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
                .subs
                .insert(sub.clone(), stay.state(&statements, until));
        }
    }

    // One event may be rejected on behalf of several devices of an array: once is enough.
    part.rejected.sort();
    part.rejected.dedup_by(|a, b| a.0 == b.0);
    part.members
        .sort_by(|a, b| (a.joined_ms, &a.id).cmp(&(b.joined_ms, &b.id)));
    part.state
        .subs
        .retain(|_, sub| *sub != DeviceState::default());
    part.state.at_ms = until;
    part.state.joined = joined;
    part.state.rejected = rejections_of_carried(&part.state, &from.rejected, &part.rejected);

    part
}

/// What there is against the carried events, from before and from this part; of two reasons the
/// first by name.
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

/// Where these events of one chain can be cut, ms, ascending; with an `end`, ms, it is one of the
/// places if it can be. Everything out of order lies between an event and an earlier one that
/// replaces it (`rtc::order` moves events nowhere else), so a cut is where no link crosses it
/// backwards. `times` knows the time of what they replace.
#[must_use]
pub fn cuts<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    times: impl Fn(&str) -> Option<i64>,
    end: Option<i64>,
) -> Vec<i64> {
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
