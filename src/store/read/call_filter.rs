//! The conditions of a list of calls: one for each filter that was given. A condition is written in
//! two ways: so that the calls are found by its index, or so that each call is checked.

use super::name_search::{name_words, room_words, word_pattern};
use crate::store::db::dialect::Dialect;
use crate::store::db::select_text::SelectText;
use crate::store::model::{CallFilter, FindingOfCall};

/// The calls of a list by when they ended or will end, ms, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndBounds {
    pub at_least: i64,
    pub at_most: i64,
}

impl EndBounds {
    /// The bounds of a filter at `now`, ms: running calls end later than now, ended ones by now.
    pub fn of_filter(filter: &CallFilter, now: i64) -> Self {
        let from = filter.from_ms.unwrap_or(i64::MIN);
        let (at_least, at_most) = match filter.active {
            Some(true) => (from.max(now.saturating_add(1)), i64::MAX),
            Some(false) => (from, now),
            None => (from, i64::MAX),
        };

        Self { at_least, at_most }
    }
}

/// One condition on `sessions s` and its room `r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallCondition<'a> {
    /// It is this call.
    Call(&'a str),
    /// It ended, or will end, at this time or later, ms.
    EndsFrom(i64),
    /// It ended at this time or before, ms.
    EndsBy(i64),
    /// So many people were in it at once, at the maximum.
    Peak {
        least: i64,
        most: i64,
    },
    /// At least so many people over the whole call.
    People(i64),
    /// It is at least this long at `now`, ms.
    Length {
        least: i64,
        now: i64,
    },
    /// This user was in it.
    User(&'a str),
    /// Somebody of this homeserver was in it.
    Server(&'a str),
    Application(&'a str),
    /// All members who say so intend this.
    Intent(&'a str),
    /// It has such a finding.
    Finding(&'a FindingOfCall),
    Room(&'a str),
    /// We can see its room. A call of a room that we can no longer see counts neither as running
    /// nor, before its end, as ended.
    InSight,
    /// A word of its room, people or servers.
    Word(&'a str),
}

/// The conditions of a filter for the calls that end within `ends`, all of which must hold. `ends`
/// is [`EndBounds::of_filter`] of it, or a part of that. `now` in ms.
pub(super) fn conditions_of_filter(
    filter: &CallFilter,
    ends: EndBounds,
    now: i64,
) -> Vec<CallCondition<'_>> {
    use CallCondition as Is;

    let more = &filter.more;
    let peak = more.group.map(|group| {
        let (least, most) = if group { (2, i64::MAX) } else { (0, 1) };
        Is::Peak { least, most }
    });
    let length = more.min_ms.map(|least| Is::Length { least, now });
    let given = [
        more.id.as_deref().map(Is::Call),
        (ends.at_least > i64::MIN).then_some(Is::EndsFrom(ends.at_least)),
        (ends.at_most < i64::MAX).then_some(Is::EndsBy(ends.at_most)),
        peak,
        more.min_people.map(Is::People),
        length,
        more.user.as_deref().map(Is::User),
        more.server.as_deref().map(Is::Server),
        more.application.as_deref().map(Is::Application),
        more.intent.as_deref().map(Is::Intent),
        more.finding.as_ref().map(Is::Finding),
        filter.room.as_deref().map(Is::Room),
        (filter.active == Some(true)).then_some(Is::InSight),
        more.q.as_deref().map(Is::Word),
    ];

    given.into_iter().flatten().collect()
}

impl CallCondition<'_> {
    /// Appends the condition as ` and …` in a form that uses no index: the calls are found by
    /// something else, and each of them is checked.
    pub fn push_check(self, select: &mut SelectText) {
        match self {
            Self::Call(id) => select.push(" and s.id = ").text(id),
            Self::EndsFrom(ms) => select.push(" and {s.until_ms} >= ").number(ms),
            Self::EndsBy(ms) => select.push(" and {s.until_ms} <= ").number(ms),
            Self::Peak { least, most } => select
                .push(" and {s.peak_users} >= ")
                .number(least)
                .push(" and {s.peak_users} <= ")
                .number(most),
            Self::People(least) => select.push(" and {s.users} >= ").number(least),
            Self::Length { least, now } => select
                .push(" and (case when s.until_ms > ")
                .number(now)
                .push(" then ")
                .number(now)
                .push(" else s.until_ms end) - s.started_ms >= ")
                .number(least),
            Self::User(user_id) => select
                .push(
                    " and exists (select 1 from memberships m where m.session_id = s.id
                        and {m.user_id} = ",
                )
                .text(user_id)
                .push(")"),
            Self::Server(server) => select
                .push(" and replace(' ' || s.servers || ' ', ' ' || ")
                .text(server)
                .push(" || ' ', '') <> ' ' || s.servers || ' '"),
            Self::Application(application) => {
                select.push(" and {s.application} = ").text(application)
            }
            Self::Intent(intent) => select.push(" and {s.intent} = ").text(intent),
            Self::Finding(finding) => {
                select.push(" and {s.id} in (");
                push_calls_with_finding(select, finding);
                select.push(")")
            }
            Self::Room(room_id) => select.push(" and {s.room_id} = ").text(room_id),
            Self::InSight => select.push(" and r.watch in ('joined', 'peeked')"),
            Self::Word(word) => push_word(select, word),
        };
    }

    /// Appends the condition as ` and …` in a form that finds the calls by its index. A condition
    /// without an index of its own is appended as a check.
    pub fn push_search(self, select: &mut SelectText) {
        match self {
            Self::EndsFrom(ms) => {
                select.push(" and s.until_ms >= ").number(ms);
            }
            Self::Peak { least, most } => {
                select
                    .push(" and s.peak_users >= ")
                    .number(least)
                    .push(" and s.peak_users <= ")
                    .number(most);
            }
            Self::People(least) => {
                select.push(" and s.users >= ").number(least);
            }
            Self::Length { least, .. } => {
                select
                    .push(" and s.until_ms - s.started_ms >= ")
                    .number(least);
                self.push_check(select);
            }
            Self::User(user_id) => {
                select
                    .push(
                        " and s.id in (select m.session_id from memberships m
                            where m.user_id = ",
                    )
                    .text(user_id)
                    .push(")");
            }
            Self::Server(server) => {
                select
                    .push(
                        " and s.id in (select m.session_id from memberships m
                            where m.server = ",
                    )
                    .text(server)
                    .push(")");
                self.push_check(select);
            }
            Self::Application(application) => {
                select.push(" and s.application = ").text(application);
            }
            Self::Room(room_id) => {
                select.push(" and s.room_id = ").text(room_id);
            }
            Self::Finding(finding) => {
                select.push(" and s.id in (");
                push_calls_with_finding(select, finding);
                select.push(")");
            }
            Self::Call(_) | Self::EndsBy(_) | Self::InSight | Self::Intent(_) | Self::Word(_) => {
                self.push_check(select);
            }
        }
    }

    /// The statement that counts the calls or stays that this condition finds, up to `limit`.
    /// `None` if they are not counted: it is one call, or most calls match.
    pub fn select_count(self, dialect: Dialect, limit: i64) -> Option<SelectText> {
        let counted = |text| Some(SelectText::new(dialect, text));
        let mut select = match self {
            Self::EndsFrom(_) | Self::Peak { .. } | Self::People(_) | Self::Length { .. } => {
                counted("select count(*) from (select 1 from sessions s where 1 = 1")
            }
            Self::User(_) | Self::Server(_) => {
                counted("select count(*) from (select 1 from memberships m where ")
            }
            Self::Finding(_) => counted("select count(*) from (select c.call_id from ("),
            _ => None,
        }?;

        match self {
            Self::User(user_id) => {
                select.push("m.user_id = ").text(user_id);
            }
            Self::Server(server) => {
                select.push("m.server = ").text(server);
            }
            Self::Length { least, .. } => {
                select
                    .push(" and s.until_ms - s.started_ms >= ")
                    .number(least);
            }
            Self::Finding(finding) => {
                push_calls_with_finding(&mut select, finding);
                select.push(") as c");
            }
            other => other.push_search(&mut select),
        }

        select.push(" limit ").number(limit).push(") as found");

        Some(select)
    }
}

/// Appends the statement that reads the ids of the calls with such a finding.
fn push_calls_with_finding(select: &mut SelectText, finding: &FindingOfCall) {
    select.push("select f.call_id from findings f where 1 = 1");
    if let Some(kind) = finding.kind {
        select.push(" and f.kind = ").text(kind.as_str());
    }

    if let Some(sure) = finding.sure {
        select.push(" and f.certainty = ").text(sure.as_str());
    }

    for id in &finding.computed {
        select
            .push(" union all select s.id from sessions s where s.id = ")
            .text(id);
    }
}

/// Appends ` and (…)`: the word is in the names of the room, in a server's name, or in the id or
/// name of somebody who was in the call.
fn push_word<'t>(select: &'t mut SelectText, word: &str) -> &'t mut SelectText {
    let pattern = word_pattern(word);

    select
        .push(concat!(" and (", room_words!(), " like "))
        .text(&pattern)
        .push(" escape '!' or lower(s.servers) like ")
        .text(&pattern)
        .push(concat!(
            " escape '!' or exists (select 1 from memberships m
                left join people p on p.room_id = m.room_id and p.user_id = m.user_id
                where m.session_id = s.id and lower(m.user_id) || ' ' || coalesce(",
            name_words!(),
            ", '') like "
        ))
        .text(&pattern)
        .push(" escape '!'))")
}
