//! A finding as one of a list of findings: beside its call, with its words.

use super::{CallFacts, FindingFacts, RoomRef, Stamp, groups_of_findings};
use crate::rtc::finding_kind::{FindingKind, KindEntry, Severity};
use crate::store::findings::derive::StoredFinding;
use crate::store::findings::list::FindingPlace;
use crate::web::view::format as f;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use utoipa::ToSchema;

/// A problem: a finding, the call in which it was found, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemFacts {
    #[serde(flatten)]
    pub finding: FindingFacts,
    /// It lasts, and its call runs; a `left_over` lasts longer.
    pub open: bool,
    pub room: RoomRef,
    pub call_id: String,
    pub call_started_ms: i64,
    pub call_started_at: Stamp,
    /// Findings of one call with the same group are one problem: that one person cannot hear four
    /// others is four findings. It is the id of the earliest of them.
    pub group: String,
    /// What it is, what it rests on and what to do, in words.
    pub title: String,
    pub why: String,
    pub what_to_do: String,
    /// What its whole group is, in words.
    #[serde(skip)]
    pub group_title: String,
    /// Its number on the page of the call.
    #[serde(skip)]
    pub number: usize,
    /// The begin by which it stands in a list, ms: that of the stored row, if it is stored.
    #[serde(skip)]
    pub listed_ms: i64,
}

/// The order of findings: open ones first, the gravest first, then by begin, newest first; past
/// ones by begin, newest first.
pub type ProblemOrder = (bool, i64, Reverse<(i64, String)>);

impl ProblemFacts {
    /// The findings of a call, in its order.
    #[must_use]
    pub fn of_call(call: &CallFacts) -> Vec<Self> {
        let names: HashMap<&str, Option<&str>> = call
            .members
            .iter()
            .map(|member| (member.user_id.as_str(), member.name.as_deref()))
            .collect();
        let groups = group_words(call);
        let facts = |(at, finding): (usize, &FindingFacts)| {
            let (group, group_title) = groups
                .get(&(at + 1))
                .cloned()
                .unwrap_or_else(|| (finding.id.clone(), finding.title(call)));
            let mut told = finding.clone();
            if told.user_names.is_empty() {
                let name = |user: &String| names.get(user.as_str()).copied().flatten();
                told.user_names = told
                    .users
                    .iter()
                    .map(|user| name(user).map(ToOwned::to_owned))
                    .collect();
            }

            Self {
                open: (call.active || finding.outlasts_call())
                    && finding.until_ms.is_none()
                    && call.unknown_since_ms.is_none(),
                room: call.room.clone(),
                call_id: call.id.clone(),
                call_started_ms: call.started_ms,
                call_started_at: Stamp(call.started_ms),
                title: finding.title(call),
                why: finding.why(),
                what_to_do: call.remedy_words(finding),
                group,
                group_title,
                number: at + 1,
                listed_ms: finding.from_ms,
                finding: told,
            }
        };

        call.findings.iter().enumerate().map(facts).collect()
    }

    /// What is known of its kind.
    #[must_use]
    pub fn entry(&self) -> &'static KindEntry {
        self.finding.kind.entry()
    }

    /// Does it count as an open problem? A minor one mostly needs nothing, and is only listed.
    #[must_use]
    pub fn counts_as_open(&self) -> bool {
        self.open && self.finding.severity != Severity::Minor
    }

    /// Its place among others.
    #[must_use]
    pub fn order(&self) -> ProblemOrder {
        let rank = if self.open {
            self.finding.severity.rank()
        } else {
            0
        };

        (
            !self.open,
            rank,
            Reverse((self.listed_ms, self.finding.id.clone())),
        )
    }

    /// Its place among past ones.
    #[must_use]
    pub fn place(&self) -> FindingPlace {
        FindingPlace {
            from_ms: self.listed_ms,
            id: self.finding.id.clone(),
        }
    }

    /// The finding as it would be stored, to be compared with a filter.
    #[must_use]
    pub fn as_stored(&self) -> StoredFinding {
        let finding = &self.finding;
        let users = finding.users.iter().chain(&finding.unheard);

        StoredFinding {
            id: finding.id.clone(),
            room_id: self.room.room_id.clone(),
            call_id: self.call_id.clone(),
            kind: finding.kind,
            sure: finding.sure,
            from_ms: finding.from_ms,
            until_ms: finding.until_ms,
            server: finding.server().unwrap_or_default().to_owned(),
            sfu: finding
                .service_url
                .as_deref()
                .map(|sfu| f::host_of_url(sfu).to_owned()),
            users: users.cloned().collect(),
        }
    }

    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/problems/{}", f::path_segment(&self.finding.id))
    }

    /// The page of its call.
    #[must_use]
    pub fn call_href(&self) -> String {
        format!("/calls/{}", f::path_segment(&self.call_id))
    }

    /// The class and the icon of its mark.
    #[must_use]
    pub fn look(&self) -> (&'static str, &'static str) {
        let (class, icon, _) = self.finding.pill();
        let class = match self.finding.severity {
            Severity::Grave => "bad",
            Severity::Warning if class.is_empty() => "warn",
            Severity::Warning => class,
            Severity::Minor => "",
        };

        (class, icon)
    }

    /// How long it lasted, or has lasted by `now`, ms.
    #[must_use]
    pub fn length_ms(&self, now: impl f::WholeNumber) -> i64 {
        let until_ms = self.finding.until_ms.unwrap_or(now.whole());
        until_ms.saturating_sub(self.finding.from_ms).max(0)
    }

    /// When it ended, ms, or where it lasts, when it began.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.finding.until_ms.unwrap_or(self.finding.from_ms)
    }

    /// Who can mend it, as a sentence without its end.
    #[must_use]
    pub fn mender_words(&self) -> &'static str {
        self.finding.mender.words()
    }
}

impl CallFacts {
    /// What to do about a finding of this call, in whole sentences.
    #[must_use]
    pub fn remedy_words(&self, finding: &FindingFacts) -> String {
        let Some(advice) = self.advice_for(finding) else {
            return finding.kind.entry().remedy.to_owned();
        };
        let mut words = capitalize(&advice);
        if let Some(remedy) = &finding.state.remedy {
            words.push(' ');
            words.push_str(remedy);
        }

        words
    }
}

/// The id and the words of the group of each finding of a call, by its number from 1.
fn group_words(call: &CallFacts) -> HashMap<usize, (String, String)> {
    let mut found = HashMap::new();
    for group in groups_of_findings(&call.findings) {
        let earliest = group
            .parts
            .iter()
            .map(|part| part.finding)
            .min_by_key(|finding| (finding.from_ms, &finding.id));
        let id = earliest.map_or_else(String::new, |finding| finding.id.clone());
        let title = group.summary.title(call);
        for part in group.parts {
            found.insert(part.number, (id.clone(), title.clone()));
        }
    }

    found
}

/// Findings of one group in a list, shown as one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProblemEntry<'a> {
    /// The one that says what to do: of a ghost, that it is one; else the first.
    pub main: &'a ProblemFacts,
    /// All of them that are in the list, in its order; at least one.
    pub parts: Vec<&'a ProblemFacts>,
}

impl ProblemEntry<'_> {
    /// What it is, in words.
    #[must_use]
    pub fn title(&self) -> &str {
        if self.parts.len() > 1 {
            &self.main.group_title
        } else {
            &self.main.title
        }
    }

    /// Since when, ms: the begin of the first.
    #[must_use]
    pub fn from_ms(&self) -> i64 {
        let begins = self.parts.iter().map(|part| part.finding.from_ms);
        begins.min().unwrap_or(self.main.finding.from_ms)
    }

    /// Until when, ms; `None` if one of them has no end.
    #[must_use]
    pub fn until_ms(&self) -> Option<i64> {
        let ends: Option<Vec<i64>> = self
            .parts
            .iter()
            .map(|part| part.finding.until_ms)
            .collect();
        ends?.into_iter().max()
    }

    /// How long it lasted, or has lasted by `now`, ms.
    #[must_use]
    pub fn length_ms(&self, now: impl f::WholeNumber) -> i64 {
        let until_ms = self.until_ms().unwrap_or(now.whole());
        until_ms.saturating_sub(self.from_ms()).max(0)
    }
}

/// The problems of a list: findings of one group are one, at the place of the first of them.
#[must_use]
pub fn problem_entries<'a>(list: &[&'a ProblemFacts]) -> Vec<ProblemEntry<'a>> {
    let mut at: HashMap<(&str, &str, bool), usize> = HashMap::new();
    let mut entries: Vec<ProblemEntry<'a>> = Vec::new();
    for problem in list {
        let key = (
            problem.call_id.as_str(),
            problem.group.as_str(),
            problem.open,
        );
        let index = *at.entry(key).or_insert(entries.len());
        if index == entries.len() {
            entries.push(ProblemEntry {
                main: problem,
                parts: Vec::new(),
            });
        }

        let entry = &mut entries[index];
        entry.parts.push(problem);
        if problem.finding.kind == FindingKind::Silent {
            entry.main = problem;
        }
    }

    entries
}

/// The text with a capital letter at its beginning.
fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());

    first.unwrap_or_default() + letters.as_str()
}

/// The kinds for a choice: word and title.
#[must_use]
pub fn kind_choices() -> Vec<(FindingKind, &'static str)> {
    crate::rtc::finding_kind::KINDS
        .iter()
        .map(|entry| (entry.kind, entry.title))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, NOW};

    #[test]
    fn what_one_person_cannot_hear_is_one_problem_of_several_findings() {
        let mut call = fixtures::war_room_call();
        let apart = |unheard: &str, from_ms: i64| FindingFacts {
            id: format!("id-{unheard}"),
            users: vec!["@alice:example.org".to_owned()],
            users_total: 1,
            unheard: vec![unheard.to_owned()],
            unheard_total: 1,
            ..FindingFacts::ongoing(FindingKind::Apart, from_ms)
        };
        call.findings = vec![
            apart("@x:h", NOW - 2),
            FindingFacts {
                id: "tie".to_owned(),
                ..FindingFacts::ongoing(FindingKind::OldestTie, NOW)
            },
            apart("@y:h", NOW - 5),
        ];
        let problems = ProblemFacts::of_call(&call);
        let groups: Vec<&str> = problems.iter().map(|one| one.group.as_str()).collect();
        assert_eq!(groups, ["id-@y:h", "tie", "id-@y:h"]);
        let all: Vec<&ProblemFacts> = problems.iter().collect();
        let entries = problem_entries(&all);
        assert_eq!(
            entries
                .iter()
                .map(|one| one.parts.len())
                .collect::<Vec<_>>(),
            [2, 1]
        );
        assert!(entries[0].title().ends_with("cannot hear x and y"));
        assert_eq!(entries[0].from_ms(), NOW - 5);
        assert_eq!(entries[0].until_ms(), None);
        assert_eq!(entries[1].title(), problems[1].title);
        // Alone in a list it says what it is itself.
        assert!(
            problem_entries(&all[..1])[0]
                .title()
                .ends_with("cannot hear x")
        );
    }
}
