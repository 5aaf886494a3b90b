//! Calls that ran side by side in one room without a meeting: as findings of the calls, and as
//! lines of the room.

use super::{CallFacts, FindingFacts, FindingKind, Stamp, format, person_title};
use crate::rtc::id::server_of;
use crate::rtc::problem::id_of_problem;
use crate::rtc::side_by_side::{LoneCall, pairs_side_by_side};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::ToSchema;

/// Maximum number of people named in a line.
const NAMED: usize = 3;

/// Calls of one kind that ran at the same time in one room, each with one person in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SideBySideFacts {
    /// The calls, in order of their ids.
    pub call_ids: Vec<String>,
    /// Who was alone in them, and their display names in the same order; null if unknown.
    pub users: Vec<String>,
    pub user_names: Vec<Option<String>>,
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Null while it lasts.
    pub until_ms: Option<i64>,
    pub until_at: Option<Stamp>,
}

impl CallFacts {
    /// The last time, ms, at which somebody is known to have been in the call, up to `now`, ms. A
    /// ghost was there until its last event.
    fn known_until_ms(&self, now: i64) -> i64 {
        let known = |stay: &super::MemberFacts| {
            self.findings
                .iter()
                .find(|finding| finding.kind.is_silence() && finding.is_of(stay))
                .map_or(stay.end_ms(self.upto(now)), |finding| finding.from_ms)
        };

        self.members
            .iter()
            .map(known)
            .max()
            .unwrap_or(self.started_ms)
    }

    /// The display name of the first member. It is asked only of calls with one person.
    fn lone_name(&self) -> Option<&str> {
        self.members.first()?.name.as_deref()
    }

    /// The only person who was ever in the call; `None` if there were several.
    #[must_use]
    pub fn lone_user(&self) -> Option<&str> {
        let first = self.members.first()?;
        (self.people == 1).then_some(first.user_id.as_str())
    }
}

/// Adds to each of `calls` the finding that other calls ran side by side with it, if so, as of
/// `now`, ms. Those may be among `calls` or among `others`, calls of the same rooms; a call may be
/// in both. `others` stay as they are. The other findings must be there already, since they tell of
/// ghosts.
pub fn add_side_by_side(calls: &mut [CallFacts], others: &[CallFacts], now: i64) {
    let mut by_room: BTreeMap<&str, Vec<&CallFacts>> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    for call in calls.iter().chain(others) {
        if call.lone_user().is_some() && listed.insert(&call.id) {
            by_room.entry(&call.room.room_id).or_default().push(call);
        }
    }

    let mut found: HashMap<String, FindingFacts> = HashMap::new();
    for calls in by_room.values() {
        let lone: Vec<LoneCall> = calls
            .iter()
            .map(|call| LoneCall {
                application: &call.application,
                slot_id: &call.slot_id,
                user_id: call.lone_user().unwrap_or_default(),
                from_ms: call.started_ms,
                until_ms: call.known_until_ms(now),
            })
            .collect();
        for pair in pairs_side_by_side(&lone) {
            let (first, second) = (calls[pair.first], calls[pair.second]);
            let lasts =
                first.ended_ms.is_none() && second.ended_ms.is_none() && pair.until_ms >= now;
            let until_ms = (!lasts).then_some(pair.until_ms);
            for (call, other) in [(first, second), (second, first)] {
                let users = [call, other].map(LonePerson::of_call);
                let finding = FindingFacts {
                    id: id_of_problem(FindingKind::SideBySide, &call.id, &[]),
                    server: call.lone_user().map(|user| server_of(user).to_owned()),
                    ..FindingFacts::side_by_side(pair.from_ms, until_ms, users, &other.id)
                };
                found
                    .entry(call.id.clone())
                    .and_modify(|known| known.join(&finding))
                    .or_insert(finding);
            }
        }
    }

    for call in calls {
        call.findings.extend(found.remove(&call.id));
    }
}

impl FindingFacts {
    /// The finding that these two people were each alone in a call: in this one, and in the other
    /// one of this id. `until_ms` is `None` while it lasts.
    fn side_by_side(
        from_ms: i64,
        until_ms: Option<i64>,
        users: [LonePerson<'_>; 2],
        other_call_id: &str,
    ) -> Self {
        let users: BTreeSet<LonePerson<'_>> = users.into();
        let names = users.iter().map(|one| one.name.map(ToOwned::to_owned));

        Self {
            user_names: names.collect(),
            until_ms,
            until_at: until_ms.map(Stamp),
            users_total: users.len(),
            users: users.iter().map(|one| one.user_id.to_owned()).collect(),
            other_call_ids: vec![other_call_id.to_owned()],
            ..Self::ongoing(FindingKind::SideBySide, from_ms)
        }
    }

    /// Takes another finding of this kind about the same call into this one: a third call ran side
    /// by side, too. It lasts if one of the two does.
    fn join(&mut self, other: &Self) {
        self.from_ms = self.from_ms.min(other.from_ms);
        self.from_at = Stamp(self.from_ms);
        self.until_ms = self
            .until_ms
            .zip(other.until_ms)
            .map(|(one, other)| one.max(other));
        self.until_at = self.until_ms.map(Stamp);

        (self.users, self.user_names) = merge_people(
            (&self.users, &self.user_names),
            (&other.users, &other.user_names),
        );
        self.users_total = self.users.len();
        self.other_call_ids
            .extend(other.other_call_ids.iter().cloned());
    }

    /// How many calls ran side by side, in words.
    #[must_use]
    pub fn side_by_side_words(&self, call: &CallFacts) -> String {
        let number = number_word(1 + self.other_call_ids.len());
        format!("{number} {} of one kind", call.noun().plural)
    }

    /// The addresses of the calls that ran side by side with this one.
    #[must_use]
    pub fn other_calls(&self) -> Vec<String> {
        self.other_call_ids.iter().map(|id| call_href(id)).collect()
    }
}

/// A person who was alone in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LonePerson<'a> {
    user_id: &'a str,
    name: Option<&'a str>,
}

impl<'a> LonePerson<'a> {
    /// The person who was alone in this call.
    fn of_call(call: &'a CallFacts) -> Self {
        Self {
            user_id: call.lone_user().unwrap_or_default(),
            name: call.lone_name(),
        }
    }
}

/// The people of two lists, each once, in order of their ids, and their names in the same order.
/// Each list comes with its names.
fn merge_people(
    one: (&[String], &[Option<String>]),
    other: (&[String], &[Option<String>]),
) -> (Vec<String>, Vec<Option<String>>) {
    let mut names: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (users, known) in [one, other] {
        for (at, user) in users.iter().enumerate() {
            let name = known.get(at).cloned().flatten();
            let entry = names.entry(user.clone()).or_default();
            *entry = entry.take().or(name);
        }
    }

    names.into_iter().unzip()
}

/// A small number as a word at the beginning of a sentence, others in digits.
fn number_word(count: usize) -> String {
    match count {
        2 => "Two".to_owned(),
        3 => "Three".to_owned(),
        more => more.to_string(),
    }
}

/// The page of the call with this id.
fn call_href(id: &str) -> String {
    format!("/calls/{}", format::path_segment(id))
}

impl SideBySideFacts {
    /// The number of calls, in words.
    #[must_use]
    pub fn number(&self) -> String {
        number_word(self.call_ids.len())
    }

    /// The addresses of the calls.
    #[must_use]
    pub fn hrefs(&self) -> Vec<String> {
        self.call_ids.iter().map(|id| call_href(id)).collect()
    }

    /// Who was alone, in words.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> = self
            .users
            .iter()
            .enumerate()
            .take(NAMED)
            .map(|(at, user)| {
                let name = self.user_names.get(at).and_then(Option::as_deref);
                format::isolate_bidi(&person_title(name, user))
            })
            .collect();

        match self.users.len() - names.len() {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    /// The groups of calls of one room that ran side by side, without duplicates; the newest first.
    #[must_use]
    pub fn of_calls(calls: &[CallFacts]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for call in calls {
            let of_call = call
                .findings
                .iter()
                .filter(|finding| finding.is_side_by_side());
            for finding in of_call {
                let mut new = Self::new(call, finding);
                groups.retain(|known| {
                    let same = known.call_ids.iter().any(|id| new.call_ids.contains(id));
                    if same {
                        new.join(known);
                    }

                    !same
                });
                groups.push(new);
            }
        }

        groups.sort_by_key(|group| std::cmp::Reverse(group.from_ms));

        groups
    }

    /// The group of calls that this finding of a call is about.
    fn new(call: &CallFacts, finding: &FindingFacts) -> Self {
        let mut call_ids = vec![call.id.clone()];
        call_ids.extend(finding.other_call_ids.iter().cloned());
        call_ids.sort_unstable();

        Self {
            call_ids,
            users: finding.users.clone(),
            user_names: finding.user_names.clone(),
            from_ms: finding.from_ms,
            from_at: finding.from_at,
            until_ms: finding.until_ms,
            until_at: finding.until_at,
        }
    }

    /// Takes another group into this one, because both have a call in common.
    fn join(&mut self, other: &Self) {
        self.from_ms = self.from_ms.min(other.from_ms);
        self.from_at = Stamp(self.from_ms);
        self.until_ms = self
            .until_ms
            .zip(other.until_ms)
            .map(|(one, other)| one.max(other));
        self.until_at = self.until_ms.map(Stamp);
        let ids: BTreeSet<String> = self
            .call_ids
            .iter()
            .chain(&other.call_ids)
            .cloned()
            .collect();
        self.call_ids = ids.into_iter().collect();
        (self.users, self.user_names) = merge_people(
            (&self.users, &self.user_names),
            (&other.users, &other.user_names),
        );
    }
}

/// The number of calls that need a look, and the first of them. Calls that ran side by side count
/// as one.
#[must_use]
pub fn count_calls_to_look_at(calls: &[CallFacts]) -> (usize, Option<&CallFacts>) {
    let troubled: Vec<&CallFacts> = calls.iter().filter(|call| call.needs_look()).collect();

    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut count = 0;
    for call in &troubled {
        let mut loud = call.loud().peekable();
        let is_told = told.contains(call.id.as_str()) && loud.all(FindingFacts::is_side_by_side);
        if !is_told {
            count += 1;
        }

        let others = call.loud().flat_map(|finding| &finding.other_call_ids);
        told.extend(others.map(String::as_str));
    }

    (count, troubled.first().copied())
}
