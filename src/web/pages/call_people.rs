//! Who is in a call, as its page lists them: those who are here, or were, and apart from them the
//! ghosts.

use super::call::CallPage;
use crate::web::http::response::Shell;
use crate::web::svg::sfu::Sfus;
use crate::web::view::MemberFacts;
use crate::web::view::format as f;
use std::collections::BTreeMap;

/// Maximum number of people of whom all are listed; of more, the first so many. The table of stays
/// has all.
const PEOPLE: [usize; 2] = [48, 24];
/// Maximum number of ghosts listed.
const GHOSTS: usize = 20;

/// One person of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonInCall<'a> {
    /// The first stay: of those that last, if the person is here.
    pub first: &'a MemberFacts,
    /// How long the person was here in all, each time once, as far as it was seen, ms.
    pub there_ms: i64,
    pub devices: usize,
    /// The letters of the SFUs in use, in order of use.
    pub sfus: Vec<&'a str>,
}

/// A list of people under one heading.
#[derive(Debug)]
pub struct PeopleInCall<'a> {
    pub heading: &'static str,
    pub total: usize,
    pub people: Vec<PersonInCall<'a>>,
    /// They are here now: the list says since when, not how long they were.
    pub now: bool,
}

impl CallPage {
    /// Who is here now; of a call that is over, who was. Ghosts are not among them.
    #[must_use]
    pub fn people<'a>(&'a self, sfus: &'a Sfus, shell: &Shell) -> PeopleInCall<'a> {
        let call = &self.call;
        let now = call.active && call.unknown_since_ms.is_none();
        let stays = call.members.iter();
        let of_list = stays.filter(|stay| !stay.ghost && (!call.active || stay.is_here()));
        let people = group_stays(of_list, sfus, call.upto(shell.now_ms));
        let total = if call.active {
            call.people_now
        } else {
            usize::try_from(call.people).unwrap_or(0)
        };

        let is_crowd = total.max(people.len()) > PEOPLE[0];

        PeopleInCall {
            heading: match (call.active, now) {
                (true, true) => "Here now",
                (true, false) => "Here when last seen",
                _ => "Who was here",
            },
            total: total.max(people.len()),
            people: first_of(people, shell.at_most(PEOPLE[usize::from(is_crowd)])),
            now,
        }
    }

    /// Who still counts though the device is probably gone.
    #[must_use]
    pub fn ghosts<'a>(&'a self, sfus: &'a Sfus, shell: &Shell) -> PeopleInCall<'a> {
        let people = group_stays(self.call.ghosts(), sfus, self.call.upto(shell.now_ms));

        PeopleInCall {
            heading: "Ghosts",
            total: people.len(),
            people: first_of(people, shell.at_most(GHOSTS)),
            now: false,
        }
    }
}

/// The first rows of a list, at most so many.
fn first_of<T>(mut rows: Vec<T>, most: usize) -> Vec<T> {
    rows.truncate(most);
    rows
}

/// The people of these stays, which are in order of arrival, in the order in which they came. A
/// stay that lasts goes until `now`, ms.
fn group_stays<'a>(
    stays: impl Iterator<Item = &'a MemberFacts>,
    sfus: &'a Sfus,
    now: i64,
) -> Vec<PersonInCall<'a>> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut people: Vec<(PersonInCall<'a>, Vec<&MemberFacts>)> = Vec::new();
    for stay in stays {
        let index = *at.entry(&stay.user_id).or_insert(people.len());
        if index == people.len() {
            let person = PersonInCall {
                first: stay,
                there_ms: 0,
                devices: 0,
                sfus: Vec::new(),
            };
            people.push((person, Vec::new()));
        }

        people[index].1.push(stay);
    }

    let told = |(mut person, stays): (PersonInCall<'a>, Vec<&'a MemberFacts>)| {
        let devices: std::collections::BTreeSet<_> =
            stays.iter().map(|stay| stay.device()).collect();
        person.devices = devices.len();
        person.there_ms = time_there(&stays, now);
        for stay in stays {
            if let Some(letter) = sfus.letter(stay.sfu())
                && !person.sfus.contains(&letter)
            {
                person.sfus.push(letter);
            }
        }

        person
    };

    people.into_iter().map(told).collect()
}

/// How long these stays lasted together, each time once, as far as they were seen, ms. They are in
/// order of arrival; one that lasts goes until `now`, ms.
fn time_there(stays: &[&MemberFacts], now: i64) -> i64 {
    let (mut sum, mut until) = (0, i64::MIN);
    for stay in stays {
        let end = stay.seen_until_ms.unwrap_or_else(|| stay.end_ms(now));
        let from = stay.joined_ms.max(until);
        sum += end.saturating_sub(from).max(0);
        until = until.max(end);
    }

    sum
}

impl PeopleInCall<'_> {
    /// How many more there are than are listed, in words; `None` if all are.
    #[must_use]
    pub fn more_words(&self) -> Option<String> {
        let more = self.total.saturating_sub(self.people.len());
        (more > 0).then(|| f::count_with_noun(more, "more person", "more people"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, MINUTE, NOW};
    use crate::web::pages::call::call_page;

    #[test]
    fn a_person_is_listed_once_with_the_time_of_all_devices() {
        let mut call = fixtures::war_room_call();
        let stay = call.members[0].clone();
        let part = |device: &str, from: i64, to: i64| MemberFacts {
            device_id: Some(device.to_owned()),
            joined_ms: stay.joined_ms + from * MINUTE,
            left_ms: Some(stay.joined_ms + to * MINUTE),
            seen_until_ms: Some(stay.joined_ms + to * MINUTE),
            ..stay.clone()
        };
        call.members = vec![part("A", 0, 10), part("B", 5, 12), part("A", 20, 21)];
        (call.active, call.ended_ms, call.people) = (false, Some(NOW), 1);
        let page = call_page(call, Vec::new(), 0, Vec::new(), NOW);
        let sfus = page.sfus();
        let shell = fixtures::shell();
        let people = page.people(&sfus, &shell);
        assert_eq!((people.heading, people.total), ("Who was here", 1));
        assert_eq!(people.people[0].devices, 2);
        assert_eq!(people.people[0].there_ms, 13 * MINUTE);
        assert_eq!(people.more_words(), None);
    }

    #[test]
    fn ghosts_are_not_among_those_who_are_here() {
        let mut call = fixtures::war_room_call();
        let here = call.people_now;
        let mut ghost = call.members[0].clone();
        ghost.user_id = "@ghost:example.org".to_owned();
        (ghost.ghost, ghost.silent_since_ms) = (true, Some(ghost.joined_ms));
        call.members.push(ghost);
        let page = call_page(call, Vec::new(), 0, Vec::new(), NOW);
        let (sfus, shell) = (page.sfus(), fixtures::shell());
        let people = page.people(&sfus, &shell);
        assert_eq!((people.heading, people.people.len()), ("Here now", here));
        let ghosts = page.ghosts(&sfus, &shell);
        assert_eq!((ghosts.heading, ghosts.total), ("Ghosts", 1));
    }
}
