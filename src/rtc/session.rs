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
        peak: peak(members, Membership::device_key),
        peak_users: peak(members, |m| (m.user_id.as_str(), "")),
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

/// Most distinct keys at once. At one instant leaves come before joins: intervals are half-open.
fn peak<'a>(members: &[&'a Membership], key: impl Fn(&'a Membership) -> (&'a str, &'a str)) -> usize {
    let joins = members.iter().map(|m| (m.joined_ms, 1, key(m)));
    let leaves = members.iter().map(|m| (m.until_ms, -1, key(m)));
    let mut steps: Vec<(i64, i32, (&str, &str))> = joins.chain(leaves).collect();
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
