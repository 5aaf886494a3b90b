//! Findings of a room: who may not join its calls, whether it was replaced, and what a state reset
//! did.

use super::format as f;
use super::room_needs::account_words;
use super::state_reset::{advice_on_reset, reason_of_reset, reset_words};
use super::{
    FindingKind, RoomFacts, RoomNeedFacts, RoomProblem, RoomRef, Stamp, person_title,
    power_levels_remedy,
};
use crate::rtc::power::SendAccess;
use crate::rtc::words::Watch;
use crate::store::ingest::access::{NamedAccess, RoomAccount};
use crate::store::ingest::state_resets::{ResetKind, StateReset};
use crate::store::model;
use serde::Serialize;
use utoipa::ToSchema;

/// The room before or after one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomLink {
    pub room_id: String,
    /// Our relation to it: `joined`, `peeked`, `left` or `blind`; null if unknown.
    pub watch: Option<Watch>,
    /// Does it name this room as well? Null while unknown.
    pub names_this_room: Option<bool>,
    /// When the later of the two took the place of the earlier.
    pub at_ms: Option<i64>,
    pub at_at: Option<Stamp>,
    /// Why it cannot be joined or read, in plain words.
    pub error: Option<String>,
}

impl RoomLink {
    /// The room that took the place of this one; `None` if there is none.
    pub(super) fn successor(row: &model::RoomRow) -> Option<Self> {
        let room_id = row.replaced_by.clone()?;
        let is_seen = |watch: Watch| matches!(watch, Watch::Joined | Watch::Peeked | Watch::Left);
        let watch = row.successor.as_ref().map(|successor| successor.watch);
        let names = row.successor_names.as_deref() == Some(row.room.room_id.as_str());

        Some(Self {
            names_this_room: (names || watch.is_some_and(is_seen)).then_some(names),
            watch,
            at_ms: row.replaced_ms,
            at_at: row.replaced_ms.map(Stamp),
            error: row
                .successor
                .as_ref()
                .and_then(|successor| successor.error.clone()),
            room_id,
        })
    }

    /// The room that this one says it replaced; `None` if it names none.
    pub(super) fn predecessor(row: &model::RoomRow) -> Option<Self> {
        let room_id = row.predecessor.clone()?;
        let names = row.predecessor_names.as_deref() == Some(row.room.room_id.as_str());

        Some(Self {
            names_this_room: row.predecessor_watch.map(|_| names),
            watch: row.predecessor_watch,
            at_ms: row.predecessor_replaced_ms.filter(|_| names),
            at_at: row.predecessor_replaced_ms.filter(|_| names).map(Stamp),
            error: None,
            room_id,
        })
    }

    /// Do we follow it?
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.watch.is_some_and(Watch::is_read)
    }

    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/rooms/{}", f::path_segment(&self.room_id))
    }
}

/// A problem of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomFindingFacts {
    /// `few_may_join`: not every account may join a call. `replaced`: it was replaced, and the new
    /// room is not followed, or people are still in a call here. `state_reset`: within the last 24
    /// hours memberships vanished, or came back. `server_denied`, `lost_power`: people in a call
    /// here can no longer say goodbye.
    pub kind: RoomProblem,
    /// Since when, where that is known.
    pub from_ms: Option<i64>,
    pub from_at: Option<Stamp>,
    /// For `few_may_join`: the event type that joins a call, the power that it needs, the number of
    /// accounts in the room (including our own if it is there), and how many of them have that
    /// power.
    pub event_type: Option<String>,
    pub needed_power: Option<i64>,
    pub accounts: Option<i64>,
    pub may_join: Option<i64>,
    /// The room that took the place of this one.
    pub replaced_by: Option<String>,
    /// The number of memberships or people it is about; for `replaced`, the number of calls that
    /// still run in it.
    pub count: Option<i64>,
    /// It is unknown what runs in the room now: its calls ran when it was last seen.
    pub now_unknown: bool,
    /// What to change, ready to copy.
    pub remedy: Option<String>,
}

impl RoomFindingFacts {
    /// A finding of this kind, since this time, ms, if it is known; all else is empty.
    fn new(kind: RoomProblem, from_ms: Option<i64>) -> Self {
        Self {
            kind,
            from_ms,
            from_at: from_ms.map(Stamp),
            event_type: None,
            needed_power: None,
            accounts: None,
            may_join: None,
            replaced_by: None,
            count: None,
            now_unknown: false,
            remedy: None,
        }
    }

    /// Is it wrong with the room itself? Else a finding of a call tells it, too.
    #[must_use]
    pub fn is_of_room_alone(&self) -> bool {
        match self.kind {
            RoomProblem::FewMayJoin => true,
            // While a call runs in it, the call tells it.
            RoomProblem::Replaced => self.count.is_none(),
            _ => false,
        }
    }

    /// The finding, with whether the present of the room is unknown.
    #[must_use]
    pub fn with_now(self, is_unseen: bool) -> Self {
        Self {
            now_unknown: is_unseen,
            ..self
        }
    }

    /// The findings from the row of a room.
    pub(super) fn findings_of_room(row: &model::RoomRow) -> Vec<Self> {
        let mut found = Vec::new();
        let link = RoomLink::successor(row);
        if let Some(link) = &link {
            let is_well = link.is_followed() && link.names_this_room == Some(true);
            if !is_well || row.active > 0 {
                found.push(Self {
                    replaced_by: Some(link.room_id.clone()),
                    count: (row.active > 0).then_some(row.active),
                    ..Self::new(RoomProblem::Replaced, link.at_ms)
                });
            }
        } else {
            // A replaced room should have no calls, so it does not matter who may join.
            let joins = row.access.iter().filter(|access| access.join_type.joins());
            found.extend(joins.map(Self::few_may_join));
        }

        if row.resets > 0 {
            found.push(Self {
                count: Some(row.resets),
                ..Self::new(RoomProblem::StateReset, None)
            });
        }

        found
    }

    /// The finding that not everybody in the room may send the event that joins a call.
    fn few_may_join(access: &SendAccess) -> Self {
        Self {
            event_type: Some(access.join_type.event_type.clone()),
            needed_power: Some(access.needed),
            accounts: Some(access.accounts),
            may_join: Some(access.may),
            remedy: Some(power_levels_remedy(&access.join_type, 0)),
            ..Self::new(RoomProblem::FewMayJoin, None)
        }
    }

    /// The findings of a room that follow from its running calls: people in them can no longer say
    /// goodbye. Ended calls among `calls`, which must all be of this room, do not count. At most
    /// 20.
    pub fn of_calls<'a>(calls: impl Iterator<Item = &'a super::CallFacts>) -> Vec<Self> {
        let findings = calls
            .filter(|call| call.active)
            .flat_map(|call| &call.findings);
        let cannot_leave = findings
            .filter(|finding| finding.until_ms.is_none())
            .filter_map(|finding| match finding.kind {
                FindingKind::ServerDenied => Some((RoomProblem::ServerDenied, finding)),
                FindingKind::LostPower => Some((RoomProblem::LostPower, finding)),
                _ => None,
            });
        let found = cannot_leave.map(|(kind, finding)| Self {
            event_type: finding.state.event_type.clone(),
            needed_power: finding.state.needed_power,
            count: i64::try_from(finding.users.len()).ok(),
            remedy: finding.state.remedy.clone(),
            ..Self::new(kind, Some(finding.from_ms))
        });

        found.take(20).collect()
    }

    /// The finding in a few words.
    #[must_use]
    pub fn title(&self) -> String {
        let count = self.count.unwrap_or_default();
        match self.kind {
            RoomProblem::FewMayJoin => format!(
                "{} of {} may join a call",
                f::group_digits(self.may_join.unwrap_or_default()),
                f::count_with_noun(self.accounts.unwrap_or_default(), "account", "accounts"),
            ),
            RoomProblem::Replaced if count > 0 && self.now_unknown => {
                "The room was replaced, and a call ran in it when it was last seen".to_owned()
            }
            RoomProblem::Replaced if count > 0 => {
                "The room was replaced, and a call still runs in it".to_owned()
            }
            RoomProblem::Replaced => {
                "The room was replaced, and the new one is not followed".to_owned()
            }
            RoomProblem::StateReset => format!(
                "A state reset changed {}",
                f::count_with_noun(count, "membership", "memberships")
            ),
            _ => format!(
                "{} cannot leave the call",
                f::count_with_noun(count, "person", "people")
            ),
        }
    }

    /// What the finding rests on, in a sentence.
    #[must_use]
    pub fn why(&self) -> String {
        let event_type = f::sanitize_line(self.event_type.as_deref().unwrap_or_default());
        let needed = self.needed_power.unwrap_or_default();

        match self.kind {
            RoomProblem::FewMayJoin => format!("{event_type} needs power {needed} here."),
            RoomProblem::Replaced => {
                let by = f::sanitize_line(self.replaced_by.as_deref().unwrap_or_default());
                format!("By {}.", f::isolate_bidi(&by))
            }
            RoomProblem::StateReset => {
                "Within the last 24 hours, without an event that says so.".to_owned()
            }
            RoomProblem::LostPower => {
                format!("{event_type} needs power {needed} now, and they have less.")
            }
            _ => "The room takes no events of their homeserver any more (m.room.server_acl)."
                .to_owned(),
        }
    }
}

/// A room that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomLook {
    #[serde(flatten)]
    pub room: RoomRef,
    pub findings: Vec<RoomFindingFacts>,
    /// Why each of `findings` needs a look, and what to do, in the same order.
    pub needs: Vec<RoomNeedFacts>,
}

impl RoomLook {
    /// The findings and what each needs.
    pub fn each(&self) -> impl Iterator<Item = (&RoomFindingFacts, &RoomNeedFacts)> {
        self.findings.iter().zip(&self.needs)
    }
}

/// The rooms that need a look, with their findings, from their rows and their running calls.
/// `account` is the user id to invite, if it is known.
#[must_use]
pub fn find_rooms_to_look_at(
    rooms: &[model::RoomRow],
    active: &[super::CallFacts],
    account: Option<&str>,
) -> Vec<RoomLook> {
    let account = account_words(account);
    let look = |row: &model::RoomRow| {
        let mut findings = match row.watch {
            Watch::Joined | Watch::Peeked => RoomFindingFacts::findings_of_room(row),
            // The overview already reports rooms that cannot be seen.
            Watch::Left | Watch::Blind => Vec::new(),
        };

        let calls = || {
            let of_room = |call: &&super::CallFacts| call.room.room_id == row.room.room_id;
            active.iter().filter(of_room)
        };

        let is_unseen = calls().any(|call| call.unknown_since_ms.is_some());
        findings = findings
            .into_iter()
            .map(|finding| finding.with_now(is_unseen))
            .collect();
        findings.extend(RoomFindingFacts::of_calls(calls()));
        (!findings.is_empty()).then(|| RoomLook {
            room: row.room.clone().into(),
            needs: findings
                .iter()
                .map(|finding| finding.need(&account))
                .collect(),
            findings,
        })
    };

    rooms.iter().filter_map(look).collect()
}

impl RoomFacts {
    /// Does the room need a look?
    #[must_use]
    pub fn needs_look(&self) -> bool {
        !self.findings.is_empty()
    }
}

/// An account in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountFacts {
    pub user_id: String,
    pub name: Option<String>,
    /// Its power level; null for a creator, who is above all levels.
    pub power: Option<i64>,
    /// It is our own account.
    pub is_observer: bool,
}

impl From<RoomAccount> for AccountFacts {
    fn from(account: RoomAccount) -> Self {
        Self {
            user_id: account.user_id,
            name: super::shorten_name(account.name),
            power: account.power,
            is_observer: account.is_observer,
        }
    }
}

impl AccountFacts {
    /// The account's title.
    #[must_use]
    pub fn title(&self) -> String {
        let name = f::isolate_bidi(&person_title(self.name.as_deref(), &self.user_id));
        if self.is_observer {
            format!("{name} (the observer)")
        } else {
            name
        }
    }
}

/// Who may send an event type that joins calls, or opens their slots, in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccessFacts {
    pub event_type: String,
    /// Sent as room state; else as a message.
    pub is_state: bool,
    /// It joins calls. If false, it opens and closes their slots.
    pub joins: bool,
    pub needed_power: i64,
    /// Accounts in the room, and those of them that may send it.
    pub accounts: i64,
    pub may_send: i64,
    /// Our own account is one of them.
    pub observer_counted: bool,
    /// The first few of those that may, and of those that may not.
    pub may: Vec<AccountFacts>,
    pub may_not: Vec<AccountFacts>,
    /// What to change, ready to copy.
    pub remedy: String,
}

impl AccessFacts {
    /// Who may send a type, from the counts and the named accounts. `observer_counted` says that
    /// our own account is among them.
    #[must_use]
    pub fn new(named: NamedAccess, observer_counted: bool) -> Self {
        let NamedAccess {
            access,
            may,
            may_not,
        } = named;

        Self {
            remedy: power_levels_remedy(&access.join_type, 0),
            joins: access.join_type.joins(),
            is_state: access.join_type.is_state,
            event_type: access.join_type.event_type,
            needed_power: access.needed,
            accounts: access.accounts,
            may_send: access.may,
            observer_counted,
            may: may.into_iter().map(AccountFacts::from).collect(),
            may_not: may_not.into_iter().map(AccountFacts::from).collect(),
        }
    }

    /// The accounts that may send it, in words: `Ben, Cleo and 2 more`.
    #[must_use]
    pub fn who_may(&self) -> String {
        join_account_names(&self.may, self.may_send)
    }

    /// The accounts that may not send it, in words.
    #[must_use]
    pub fn who_may_not(&self) -> String {
        join_account_names(&self.may_not, self.accounts - self.may_send)
    }
}

/// These accounts in words, and how many more there are if the whole number is `all`; `nobody` if
/// none is named.
fn join_account_names(accounts: &[AccountFacts], all: i64) -> String {
    let mut names: Vec<String> = accounts.iter().map(AccountFacts::title).collect();
    let more = all - i64::try_from(names.len()).unwrap_or(all);
    if names.is_empty() {
        return "nobody".to_owned();
    }

    if more > 0 {
        names.push(format!("{} more", f::group_digits(more)));
    }

    f::list_in_words(&names)
}

/// A membership of a call, or of the room, that a state reset removed or restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StateResetFacts {
    /// `call_member_back`, `call_member_vanished`, `room_member_back` or `room_member_vanished`.
    pub kind: ResetKind,
    pub user_id: String,
    pub name: Option<String>,
    /// The event that the state holds, null for none, and the newest that we know of its key.
    pub holds_event_id: Option<String>,
    pub newest_event_id: String,
    pub noticed_ms: i64,
    pub noticed_at: Stamp,
    /// The call that it concerns, if that can be told.
    pub call_id: Option<String>,
}

impl From<StateReset> for StateResetFacts {
    fn from(row: StateReset) -> Self {
        Self {
            kind: row.what,
            user_id: row.user_id,
            name: super::shorten_name(row.name),
            holds_event_id: row.holds_event_id,
            newest_event_id: row.newest_event_id,
            noticed_ms: row.noticed_ms,
            noticed_at: Stamp(row.noticed_ms),
            call_id: row.session_id,
        }
    }
}

impl StateResetFacts {
    /// The person's title.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// What happened to the person.
    #[must_use]
    pub fn what(&self) -> &'static str {
        reset_words(self.kind)
    }

    /// Why we think so.
    #[must_use]
    pub fn why(&self) -> &'static str {
        reason_of_reset(self.kind)
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        advice_on_reset(self.kind)
    }
}
