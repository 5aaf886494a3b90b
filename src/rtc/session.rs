//! `Session`: the longest span in which one slot has at least one member; the fold from memberships to sessions.

use super::id::hash;
use super::membership::Membership;
use std::collections::{BTreeSet, HashMap};

/// One call of one slot. Times in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A short hash of room, slot and first join event.
    pub id: String,
    pub slot_id: String,
    pub application: String,
    pub started_ms: i64,
    /// When the last member goes unless renewed.
    pub until_ms: i64,
    /// Stays, distinct people, distinct devices.
    pub memberships: usize,
    pub users: usize,
    pub devices: usize,
    /// Most devices, most people at once.
    pub peak: usize,
    pub peak_users: usize,
    pub servers: BTreeSet<String>,
    /// The intent, if all who state one agree.
    pub intent: Option<String>,
    pub first_event_id: String,
    /// The ids of its memberships.
    pub membership_ids: Vec<String>,
}

/// The sessions of one slot: merged half-open intervals `[joined, until)`; touching stays are one
/// session, stays without length are in none (MATRIXRTC.md section 4).
#[must_use]
pub fn fold<'a>(room_id: &str, members: impl IntoIterator<Item = &'a Membership>) -> Vec<Session> {
    let mut members: Vec<&Membership> = members.into_iter().filter(|m| m.until_ms > m.joined_ms).collect();
    members.sort_by(|a, b| (a.joined_ms, &a.join_event_id, &a.id).cmp(&(b.joined_ms, &b.join_event_id, &b.id)));
    let mut sessions = Vec::new();
    let mut rest = members.as_slice();
    while let Some(first) = rest.first() {
        let mut until = first.until_ms;
        let mut length = 1;
        while let Some(next) = rest.get(length).filter(|next| next.joined_ms <= until) {
            until = until.max(next.until_ms);
            length += 1;
        }
        sessions.push(session(room_id, &rest[..length], until));
        rest = &rest[length..];
    }
    sessions
}

fn session(room_id: &str, members: &[&Membership], until_ms: i64) -> Session {
    let first = members[0];
    // A stay that resumed shares its event with the one before, so its start tells the two apart.
    let resumed = if first.resumed { first.joined_ms.to_string() } else { String::new() };
    let users: BTreeSet<&str> = members.iter().map(|m| m.user_id.as_str()).collect();
    let devices: BTreeSet<_> = members.iter().map(|m| m.device_key()).collect();
    let mut intents: BTreeSet<&str> = members.iter().filter_map(|m| m.intent.as_deref()).collect();
    let intent = intents.pop_first().filter(|_| intents.is_empty());
    Session {
        id: hash(&[room_id, first.slot.as_str(), &first.join_event_id, &resumed], 8),
        slot_id: first.slot.as_str().to_owned(),
        application: first.slot.application().to_owned(),
        started_ms: first.joined_ms,
        until_ms,
        memberships: members.len(),
        users: users.len(),
        devices: devices.len(),
        peak: most(members.iter().map(|m| (m.joined_ms, m.until_ms, m.device_key()))),
        peak_users: most(members.iter().map(|m| (m.joined_ms, m.until_ms, (m.user_id.as_str(), "")))),
        servers: users.iter().map(|user| server_of(user).to_owned()).collect(),
        intent: intent.map(ToOwned::to_owned),
        first_event_id: first.join_event_id.clone(),
        membership_ids: members.iter().map(|m| m.id.clone()).collect(),
    }
}

/// The homeserver in a user id: what follows the first colon.
#[must_use]
pub fn server_of(user_id: &str) -> &str {
    user_id.split_once(':').map_or("", |(_, server)| server)
}

/// A stay, as far as it counts towards a peak. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub user: String,
    /// Tells the devices of a user apart, as [`Membership::device_key`].
    pub device: String,
    pub joined_ms: i64,
    pub until_ms: i64,
}

/// Most distinct devices and most distinct users at once within `[from, to)`, ms.
pub fn peak<'a>(stays: impl Iterator<Item = &'a Stay> + Clone, (from, to): (i64, i64)) -> (usize, usize) {
    let inside = stays.filter(|stay| stay.joined_ms < to && stay.until_ms > from);
    let inside = inside.map(|stay| (stay.joined_ms.max(from), stay.until_ms.min(to), stay));
    let devices = inside.clone().map(|(joined, until, stay)| (joined, until, (&*stay.user, &*stay.device)));
    let users = inside.map(|(joined, until, stay)| (joined, until, (&*stay.user, "")));
    (most(devices), most(users))
}

/// Most distinct keys at once. At one instant leaves come before joins: intervals are half-open.
fn most<'a>(spans: impl Iterator<Item = (i64, i64, (&'a str, &'a str))>) -> usize {
    let steps = spans.flat_map(|(joined, until, key)| [(joined, 1, key), (until, -1, key)]);
    let mut steps: Vec<(i64, i32, (&str, &str))> = steps.collect();
    steps.sort_unstable();
    let mut here: HashMap<(&str, &str), i32> = HashMap::new();
    let mut most = 0;
    for (_, change, key) in steps {
        let count = here.entry(key).or_default();
        *count += change;
        if *count == 0 {
            here.remove(&key);
        }
        most = most.max(here.len());
    }
    most
}
