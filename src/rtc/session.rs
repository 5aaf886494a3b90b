//! `Session`: a maximal span in which one slot has at least one member. Also the fold from
//! memberships to sessions.

use super::id::{hash, server_of};
use super::membership::Membership;
use super::slot::SlotId;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// One call of one slot. Times in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A short hash of room, slot and first join event.
    pub id: String,
    pub slot_id: String,
    pub application: String,
    pub started_ms: i64,
    /// When the last member leaves or expires, unless it renews.
    pub until_ms: i64,
    /// Numbers of stays, distinct people and distinct devices.
    pub memberships: usize,
    pub users: usize,
    pub devices: usize,
    /// Maximum number of devices, and of people, at the same time.
    pub peak: usize,
    pub peak_users: usize,
    pub servers: BTreeSet<String>,
    /// The intent, if all members that state one agree.
    pub intent: Option<String>,
    pub first_event_id: String,
    /// The ids of its memberships.
    pub membership_ids: Vec<String>,
}

/// The sessions of one slot, in order, from its memberships, which need none: merged half-open
/// intervals `[joined, until)`. Touching stays are one session; stays without length are in none
/// (docs/matrixrtc.md section 12).
#[must_use]
pub fn sessions_of_slot<'a>(
    room_id: &str,
    members: impl IntoIterator<Item = &'a Membership>,
) -> Vec<Session> {
    let mut stays: Vec<(&str, CountedStay)> = members
        .into_iter()
        .filter_map(|m| Some((m.slot.as_str(), CountedStay::of_membership(m)?)))
        .collect();
    stays.sort_by(|a, b| a.1.place().cmp(&b.1.place()));
    let mut sessions = Vec::new();
    let mut count = SessionCounter::default();
    let mut ids = Vec::new();
    for (slot, stay) in &stays {
        if count.is_over(stay) {
            let ids = std::mem::take(&mut ids);
            sessions.extend(count.end().map(|session| Session {
                membership_ids: ids,
                ..session
            }));
        }

        count.push(room_id, slot, stay);
        ids.push(stay.id.clone());
    }

    sessions.extend(count.end().map(|session| Session {
        membership_ids: ids,
        ..session
    }));

    sessions
}

/// The properties of a stay that sessions need. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedStay {
    pub id: String,
    pub user: String,
    /// Distinguishes the devices of a user, as [`Membership::device_key`].
    pub device: String,
    pub joined_ms: i64,
    pub until_ms: i64,
    pub join_event_id: String,
    pub resumed: bool,
    pub intent: Option<String>,
}

impl CountedStay {
    /// The part of a membership that counts towards a session; `None` if it has no length.
    #[must_use]
    pub fn of_membership(member: &Membership) -> Option<Self> {
        let (user, device) = member.device_key();

        member.has_length().then(|| Self {
            id: member.id.clone(),
            user: user.to_owned(),
            device: device.to_owned(),
            joined_ms: member.joined_ms,
            until_ms: member.until_ms,
            join_event_id: member.join_event_id.clone(),
            resumed: member.resumed,
            intent: member.intent.clone(),
        })
    }

    /// Its sort key in the order in which [`SessionCounter`] takes the stays of a slot.
    #[must_use]
    pub fn place(&self) -> (i64, &str, &str) {
        (self.joined_ms, &self.join_event_id, &self.id)
    }
}

/// How many are present at one time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PresentCount {
    /// ms since the Unix epoch.
    pub at_ms: i64,
    pub devices: usize,
    pub users: usize,
}

/// Counts one session after the other from the stays of a slot in order. Its memory grows with the
/// number of participants, not with the number of their stays.
#[derive(Debug, Default)]
pub struct SessionCounter {
    session: Option<Session>,
    /// The number of stays by user, by user and device, and by intent.
    pub users: HashMap<String, i64>,
    pub devices: HashMap<(String, String), i64>,
    pub intents: BTreeMap<String, i64>,
    /// The last join, ms.
    last_join_ms: i64,
    /// Who is present at the last join: the earliest end comes first, ms, with user and device.
    ends: BinaryHeap<Reverse<(i64, String, String)>>,
    /// The number of stays that are present then, by user and device, and by user.
    here: HashMap<(String, String), i64>,
    users_here: HashMap<String, i64>,
}

impl SessionCounter {
    /// Does this next stay begin another session? It does if it comes after the end of all stays so
    /// far. Then the caller takes the session with [`Self::end`] before it adds the stay.
    #[must_use]
    pub fn is_over(&self, next: &CountedStay) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| next.joined_ms > session.until_ms)
    }

    /// Adds the next stay of the session, in the order of [`CountedStay::place`]; its length must
    /// not be zero. Stays that ended before it no longer count as present.
    pub fn push(&mut self, room_id: &str, slot: &str, stay: &CountedStay) {
        while self
            .ends
            .peek()
            .is_some_and(|Reverse((until, ..))| *until <= stay.joined_ms)
        {
            let Some(Reverse((_, user, device))) = self.ends.pop() else {
                break;
            };

            decrement_count(&mut self.users_here, user.clone());
            decrement_count(&mut self.here, (user, device));
        }

        let device = (stay.user.clone(), stay.device.clone());
        *self.users_here.entry(stay.user.clone()).or_default() += 1;
        *self.here.entry(device.clone()).or_default() += 1;
        self.ends.push(Reverse((
            stay.until_ms,
            stay.user.clone(),
            stay.device.clone(),
        )));
        *self.users.entry(stay.user.clone()).or_default() += 1;
        *self.devices.entry(device).or_default() += 1;
        if let Some(intent) = &stay.intent {
            *self.intents.entry(intent.clone()).or_default() += 1;
        }

        self.last_join_ms = stay.joined_ms;
        let session = self
            .session
            .get_or_insert_with(|| begin_session(room_id, slot, stay));
        session.until_ms = session.until_ms.max(stay.until_ms);
        session.memberships += 1;
        session.peak = session.peak.max(self.here.len());
        session.peak_users = session.peak_users.max(self.users_here.len());
    }

    /// The session so far, from the stays added. Participants are counted only at its end.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How many are present at the last join.
    #[must_use]
    pub fn present(&self) -> PresentCount {
        PresentCount {
            at_ms: self.last_join_ms,
            devices: self.here.len(),
            users: self.users_here.len(),
        }
    }

    /// The complete session, and a counter that is empty again; `None` if no stay was added. The
    /// caller has to fill its `membership_ids`.
    pub fn end(&mut self) -> Option<Session> {
        let count = std::mem::take(self);
        let mut intents = count.intents.into_keys();
        let session = Session {
            users: count.users.len(),
            devices: count.devices.len(),
            servers: count
                .users
                .keys()
                .map(|user| server_of(user).to_owned())
                .collect(),
            intent: intents.next().filter(|_| intents.next().is_none()),
            ..count.session?
        };

        Some(session)
    }
}

/// The session that begins with this stay. Its counts are zero: [`SessionCounter::push`] adds the
/// stay.
fn begin_session(room_id: &str, slot: &str, first: &CountedStay) -> Session {
    // A resumed stay has the same event as the one before, so its start distinguishes the two.
    let resumed = if first.resumed {
        first.joined_ms.to_string()
    } else {
        String::new()
    };

    Session {
        id: hash(&[room_id, slot, &first.join_event_id, &resumed], 8),
        slot_id: slot.to_owned(),
        application: SlotId::from_text(slot).application().to_owned(),
        started_ms: first.joined_ms,
        until_ms: first.until_ms,
        memberships: 0,
        users: 0,
        devices: 0,
        peak: 0,
        peak_users: 0,
        servers: BTreeSet::new(),
        intent: None,
        first_event_id: first.join_event_id.clone(),
        membership_ids: Vec::new(),
    }
}

/// Takes one from the count of this key; a count of zero is removed, so that the number of keys is
/// the number of those present.
fn decrement_count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, i64>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// Maximum number of distinct devices, then of distinct users, at the same time within `[from,
/// to)`, ms.
pub fn peak_within<'a>(
    stays: impl Iterator<Item = &'a CountedStay> + Clone,
    from: i64,
    to: i64,
) -> (usize, usize) {
    let inside = stays.filter(|stay| stay.joined_ms < to && stay.until_ms > from);
    let inside = inside.map(|stay| (stay.joined_ms.max(from), stay.until_ms.min(to), stay));
    let devices = inside
        .clone()
        .map(|(joined, until, stay)| (joined, until, (&*stay.user, &*stay.device)));
    let users = inside.map(|(joined, until, stay)| (joined, until, (&*stay.user, "")));

    (max_at_once(devices), max_at_once(users))
}

/// Maximum number of distinct keys at the same time; each span is from, until (ms), key. At one
/// instant leaves come before joins: intervals are half-open.
fn max_at_once<'a>(spans: impl Iterator<Item = (i64, i64, (&'a str, &'a str))>) -> usize {
    let steps = spans.flat_map(|(joined, until, key)| [(joined, 1, key), (until, -1, key)]);
    let mut steps: Vec<(i64, i32, (&str, &str))> = steps.collect();
    // The order of the keys at one instant does not count.
    steps.sort_unstable_by_key(|(time, change, _)| (*time, *change));
    let mut here: HashMap<(&str, &str), i32> = HashMap::with_capacity(steps.len() / 2);
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
