//! Groups findings of a call that belong together: if one person cannot hear five others, that is
//! one problem, though each pair has its own time.

use super::finding::FindingFacts;
use super::{CallFacts, Stamp};
use crate::rtc::finding_kind::FindingKind;
use std::collections::BTreeSet;

/// Findings that are shown as one, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingGroup<'f> {
    /// The summary of all of them; of a single finding, the finding itself.
    pub summary: FindingFacts,
    pub parts: Vec<NumberedFinding<'f>>,
}

/// A finding and its number among all of the call, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberedFinding<'f> {
    pub number: usize,
    pub finding: &'f FindingFacts,
}

impl FindingGroup<'_> {
    /// The number of its first finding.
    #[must_use]
    pub fn number(&self) -> usize {
        self.parts.first().map_or(1, |part| part.number)
    }

    /// Its findings, if there are several; else none, because the summary is the finding.
    #[must_use]
    pub fn list(&self) -> &[NumberedFinding<'_>] {
        if self.parts.len() > 1 {
            &self.parts
        } else {
            &[]
        }
    }
}

/// Which side the findings of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SharedSide {
    /// One person cannot hear several others.
    Listener,
    /// Several people cannot hear one person.
    Speaker,
}

impl SharedSide {
    /// The one person on this side of a finding; `None` if there are several, if neither side hears
    /// the other, or if it is no finding about people apart.
    fn person(self, finding: &FindingFacts) -> Option<&str> {
        let (people, total) = match self {
            Self::Listener => (&finding.users, finding.users_total),
            Self::Speaker => (&finding.unheard, finding.unheard_total),
        };

        let is_told_so = finding.is_apart() && !finding.mutual && total == 1;
        people.first().filter(|_| is_told_so).map(String::as_str)
    }

    /// Is it the same person, and the same SFU?
    fn is_same(self, one: &FindingFacts, other: &FindingFacts) -> bool {
        let person = self.person(one);
        person.is_some() && person == self.person(other) && one.service_url == other.service_url
    }

    /// The numbers of the findings that belong together with `first`, one of `all`: those of the
    /// same person whose times make up one time without a break. `first` is among them. `all` may
    /// be in any order.
    fn grouped_with(
        self,
        first: NumberedFinding<'_>,
        all: &[NumberedFinding<'_>],
    ) -> BTreeSet<usize> {
        let mut same: Vec<NumberedFinding<'_>> = all
            .iter()
            .filter(|one| self.is_same(first.finding, one.finding))
            .copied()
            .collect();
        same.sort_by_key(|one| one.finding.from_ms);
        let mut together = BTreeSet::new();
        let mut upto_ms = i64::MIN;
        for one in same {
            if one.finding.from_ms > upto_ms {
                if together.contains(&first.number) {
                    break;
                }

                together.clear();
            }

            together.insert(one.number);
            upto_ms = upto_ms.max(one.finding.until_ms.unwrap_or(i64::MAX));
        }

        together.insert(first.number);

        together
    }
}

/// The numbers of the findings that belong together with `first`, one of `all`: that a device is a
/// ghost, and that others follow its SFU.
fn grouped_by_ghost(first: NumberedFinding<'_>, all: &[NumberedFinding<'_>]) -> BTreeSet<usize> {
    let is_about_ghost =
        |one: &FindingFacts| matches!(one.kind, FindingKind::Silent | FindingKind::GhostOldest);
    let of_device = all.iter().filter(|one| {
        is_about_ghost(one.finding)
            && one.finding.users == first.finding.users
            && one.finding.device_id == first.finding.device_id
    });
    let alone = BTreeSet::from([first.number]);
    if !is_about_ghost(first.finding) {
        return alone;
    }

    let found: Vec<&NumberedFinding<'_>> = of_device.collect();
    let silent = found
        .iter()
        .filter(|one| one.finding.kind == FindingKind::Silent);
    if silent.count() != 1 {
        return alone;
    }

    found.iter().map(|one| one.number).collect()
}

/// The findings in groups; each group is at the position of its first finding. A group has the
/// findings of one person who cannot hear several others, else those of several who cannot hear
/// one, as far as their times make up one time; or those about one ghost. Any other finding is
/// alone. The order of `findings`
/// decides the numbers and the positions, nothing else.
#[must_use]
pub fn groups_of_findings(findings: &[FindingFacts]) -> Vec<FindingGroup<'_>> {
    let mut left: Vec<NumberedFinding<'_>> = findings
        .iter()
        .zip(1..)
        .map(|(finding, number)| NumberedFinding { number, finding })
        .collect();
    let mut groups = Vec::new();
    while let Some(first) = left.first().copied() {
        let mut together = SharedSide::Listener.grouped_with(first, &left);
        if together.len() < 2 {
            together = SharedSide::Speaker.grouped_with(first, &left);
        }

        if together.len() < 2 {
            together = grouped_by_ghost(first, &left);
        }

        let is_in = |one: &NumberedFinding<'_>| together.contains(&one.number);
        let (parts, others) = left.into_iter().partition(is_in);
        left = others;
        groups.push(FindingGroup {
            summary: summarise_findings(&parts),
            parts,
        });
    }

    groups
}

/// One finding that summarises all of these: it lasts from the first begin to the last end (without
/// end, if one of them still lasts) and has the named people of all. The rest is that of the first
/// one in the list. There is at least one. A ghost is summarised as what it is.
fn summarise_findings(parts: &[NumberedFinding<'_>]) -> FindingFacts {
    let silent = |part: &&NumberedFinding<'_>| part.finding.kind == FindingKind::Silent;
    if let Some(ghost) = parts.iter().find(silent) {
        return ghost.finding.clone();
    }

    let mut findings = parts.iter().map(|part| part.finding);
    let mut summary = findings
        .next()
        .cloned()
        .unwrap_or_else(|| FindingFacts::ongoing(FindingKind::Apart, 0));
    for finding in findings {
        summary.from_ms = summary.from_ms.min(finding.from_ms);
        summary.until_ms = summary
            .until_ms
            .zip(finding.until_ms)
            .map(|(one, other)| one.max(other));
        add_people(&mut summary.users, &finding.users);
        add_people(&mut summary.unheard, &finding.unheard);
        summary.users_total = summary.users.len().max(summary.users_total);
        summary.unheard_total = summary.unheard.len().max(summary.unheard_total);
    }

    summary.from_at = Stamp(summary.from_ms);
    summary.until_at = summary.until_ms.map(Stamp);

    summary
}

/// Adds the people who are not known yet.
fn add_people(known: &mut Vec<String>, more: &[String]) {
    for user in more {
        if !known.contains(user) {
            known.push(user.clone());
        }
    }
}

impl CallFacts {
    /// How many things need a look, and how many of them are ghosts.
    pub(super) fn loud_groups(&self) -> (usize, usize) {
        let loud: Vec<FindingFacts> = self.loud().cloned().collect();
        let groups = groups_of_findings(&loud);
        let ghosts = groups
            .iter()
            .filter(|group| group.summary.is_ghost())
            .count();

        (groups.len(), ghosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(user: &str, unheard: &str, from_ms: i64, until_ms: Option<i64>) -> FindingFacts {
        FindingFacts {
            users: vec![user.to_owned()],
            users_total: 1,
            unheard: vec![unheard.to_owned()],
            unheard_total: 1,
            until_ms,
            ..FindingFacts::ongoing(FindingKind::Apart, from_ms)
        }
    }

    fn numbers(groups: &[FindingGroup<'_>]) -> Vec<Vec<usize>> {
        let of_group =
            |group: &FindingGroup<'_>| group.parts.iter().map(|part| part.number).collect();
        groups.iter().map(of_group).collect()
    }

    #[test]
    fn what_one_person_cannot_hear_is_one_finding() {
        let findings = [
            apart("@q:h", "@x:h", 20, None),
            FindingFacts::ongoing(FindingKind::Silent, 5),
            apart("@q:h", "@y:h", 10, Some(30)),
            apart("@z:h", "@x:h", 40, Some(50)),
            apart("@z:h", "@y:h", 50, Some(70)),
        ];
        let groups = groups_of_findings(&findings);
        assert_eq!(numbers(&groups), [vec![1, 3], vec![2], vec![4, 5]]);
        let told = &groups[0].summary;
        assert_eq!((told.from_ms, told.until_ms), (10, None));
        assert_eq!((told.users.len(), told.users_total), (1, 1));
        assert_eq!((told.unheard.len(), told.unheard_total), (2, 2));
        let told = &groups[2].summary;
        assert_eq!((told.from_ms, told.until_ms), (40, Some(70)));
        assert!(groups[1].list().is_empty() && groups[0].list().len() == 2);
    }

    #[test]
    fn times_that_do_not_touch_are_not_one() {
        let findings = [
            apart("@z:h", "@x:h", 40, Some(50)),
            apart("@z:h", "@y:h", 60, Some(70)),
            apart("@z:h", "@v:h", 48, Some(55)),
            apart("@z:h", "@w:h", 65, None),
            apart("@z:h", "@u:h", 55, Some(57)),
        ];
        let groups = groups_of_findings(&findings);
        assert_eq!(numbers(&groups), [vec![1, 3, 5], vec![2, 4]]);
        assert_eq!(groups[0].summary.until_ms, Some(57));
        assert_eq!(
            (groups[1].summary.from_ms, groups[1].summary.until_ms),
            (60, None)
        );
    }

    #[test]
    fn what_is_said_of_one_sfu_is_not_said_of_another() {
        let at = |sfu: &str, unheard: &str| FindingFacts {
            service_url: Some(sfu.to_owned()),
            ..apart("@q:h", unheard, 10, None)
        };
        let findings = [
            at("https://a.example", "@x:h"),
            at("https://b.example", "@y:h"),
            at("https://a.example", "@z:h"),
        ];
        assert_eq!(
            numbers(&groups_of_findings(&findings)),
            [vec![1, 3], vec![2]]
        );
    }

    #[test]
    fn a_ghost_and_who_follows_it_are_one_finding() {
        let about = |kind, device: &str, from_ms| FindingFacts {
            users: vec!["@g:h".to_owned()],
            users_total: 1,
            device_id: Some(device.to_owned()),
            ..FindingFacts::ongoing(kind, from_ms)
        };
        let findings = [
            about(FindingKind::GhostOldest, "A", 20),
            about(FindingKind::GhostOldest, "B", 20),
            about(FindingKind::Silent, "A", 5),
        ];
        let groups = groups_of_findings(&findings);
        assert_eq!(numbers(&groups), [vec![1, 3], vec![2]]);
        let told = &groups[0].summary;
        assert_eq!((told.kind, told.from_ms), (FindingKind::Silent, 5));
    }

    #[test]
    fn whom_nobody_hears_is_one_finding() {
        let findings = [
            apart("@a:h", "@x:h", 1, None),
            apart("@b:h", "@x:h", 2, None),
        ];
        let groups = groups_of_findings(&findings);
        assert_eq!(numbers(&groups), [vec![1, 2]]);
        assert_eq!(groups[0].summary.users_total, 2);
        let both = FindingFacts {
            mutual: true,
            ..apart("@a:h", "@x:h", 1, None)
        };
        assert_eq!(groups_of_findings(&[both.clone(), both]).len(), 2);
    }
}
