//! Findings of a call as pages and JSON show them: what needs a look, how sure it is, and what to do.

use super::{CallFacts, Ledger, MemberFacts, Stamp, person};
use crate::rtc::finding::{self, Finding, Stay};
use crate::rtc::room_finding::RoomKnowledge;
use crate::rtc::session::server_of;
use crate::rtc::transport::Transport;
use crate::store::row;
use crate::web::format as f;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use utoipa::ToSchema;

pub mod room_state;
pub use room_state::{LeftBehind, RoomStateFacts};

/// So many people are named on the call's page, and in a line of text; others are counted.
const NAMED: usize = 3;
const NAMED_SHORT: usize = 1;

/// Something in a call that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FindingFacts {
    /// `apart`: `users` were connected to one SFU only and could not hear `unheard`, who were on others. `silent`: a
    /// device still counts, but its renewal did not come. `no_goodbye`: it was counted until it expired, long after the
    /// last that was heard of it, and did not go on from there. `side_by_side`: another call of the same kind ran in the
    /// room at the same time, `users` were each alone in theirs, and nobody met. `ran_out`: its client does not renew; it
    /// ran out while the device was still there, which said goodbye or renewed it later. `reconciled`: no event told its
    /// end, a look at the room's state did. `state_reset`: the room's state holds it again, without an event that says so.
    /// `room_replaced`: the room was replaced by another one, `users` are still in it. `nobody_could_come`: nobody but
    /// `users` had the power to join. `server_denied`: the room takes no events of the server of `users` any more.
    /// `lost_power`: one of `users` has no power any more to say goodbye. `came_back`, `vanished`: a look at the room's
    /// state found a stay again, or no more.
    pub kind: &'static str,
    /// `computed`, `probably` or `perhaps`.
    pub sure: &'static str,
    /// Since when; of a device: when it was heard last.
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Null while it lasts.
    pub until_ms: Option<i64>,
    pub until_at: Option<Stamp>,
    pub users: Vec<String>,
    pub unheard: Vec<String>,
    /// `unheard` could not hear `users` either.
    pub mutual: bool,
    pub device_id: Option<String>,
    /// The SFU that `users` were connected to.
    pub service_url: Option<String>,
    /// The calls that ran side by side with this one.
    pub other_call_ids: Vec<String>,
    #[serde(flatten)]
    pub state: RoomStateFacts,
}

/// The findings of a call. `used`: the transport of each member; `upto`: until when the call is known, ms.
pub(super) fn of(
    room_id: &str,
    members: &[row::Member],
    used: &[Option<Transport>],
    ledger: &Ledger,
    upto: i64,
) -> Vec<FindingFacts> {
    let unknown = RoomKnowledge::default();
    let room = ledger.rooms.get(room_id).unwrap_or(&unknown);
    let (mut found, resets) = room_state::of(members, ledger, room, upto);
    found.extend(of_stays(members, used, ledger, upto));
    // What looking back at the evidence tells already is told once.
    let is_told = |reset: &FindingFacts| {
        found.iter().any(|one| {
            matches!(one.kind, "reconciled" | "state_reset")
                && one.users == reset.users
                && one.device_id == reset.device_id
        })
    };
    let resets: Vec<FindingFacts> = resets.into_iter().filter(|one| !is_told(one)).collect();
    found.extend(resets);
    found.truncate(FINDINGS_MAX);
    found
}

fn of_stays(
    members: &[row::Member],
    used: &[Option<Transport>],
    ledger: &Ledger,
    upto: i64,
) -> Vec<FindingFacts> {
    let stays: Vec<Stay> = members
        .iter()
        .zip(used)
        .map(|(member, transport)| Stay {
            user_id: &member.user_id,
            device: member.device_id.as_deref(),
            joined_ms: member.joined_ms,
            until_ms: member.until_ms,
            expires: matches!(member.end_reason.as_str(), "expired" | "sticky_expired")
                && member.outlived_ms.is_none(),
            renewed_by_hours: member.kind == "session",
            last_sign_ms: ledger
                .origins
                .get(&member.id)
                .and_then(|origins| origins.last_sign_ms),
            transport: transport.as_ref(),
            selection: member.selection,
        })
        .collect();
    let told = finding::findings(&stays, upto)
        .into_iter()
        .map(|found| FindingFacts::new(found, members, upto));
    let shown = told.chain(super::look_back::findings(members, ledger, upto));
    shown.take(FINDINGS_MAX).collect()
}

/// So many findings of a call are told.
const FINDINGS_MAX: usize = 50;

impl FindingFacts {
    /// One that is sure and told of one device.
    pub(super) fn of_device(kind: &'static str, member: &row::Member, from_ms: i64) -> Self {
        let base = Self::base(kind, from_ms);
        Self {
            users: vec![member.user_id.clone()],
            device_id: member.device_id.clone(),
            ..base
        }
    }

    fn base(kind: &'static str, from_ms: i64) -> Self {
        Self {
            kind,
            sure: "computed",
            from_ms,
            from_at: Stamp(from_ms),
            until_ms: None,
            until_at: None,
            users: Vec::new(),
            unheard: Vec::new(),
            mutual: false,
            device_id: None,
            service_url: None,
            other_call_ids: Vec::new(),
            state: RoomStateFacts::default(),
        }
    }

    fn new(found: Finding, members: &[row::Member], upto: i64) -> Self {
        let base = Self::base("apart", found.from_ms());
        let owned = |users: Vec<&str>| users.into_iter().map(ToOwned::to_owned).collect();
        let of = |stay: usize| {
            let member = &members[stay];
            Self {
                users: vec![member.user_id.clone()],
                device_id: member.device_id.clone(),
                ..base.clone()
            }
        };
        match found {
            Finding::Apart {
                until_ms,
                sfu,
                deaf,
                unheard,
                mutual,
                ..
            } => {
                let base = if until_ms < upto {
                    base.until(until_ms)
                } else {
                    base
                };
                Self {
                    users: owned(deaf),
                    unheard: owned(unheard),
                    mutual,
                    service_url: Some(sfu.to_owned()),
                    ..base
                }
            }
            Finding::Silent { stay, sure, .. } => Self {
                kind: "silent",
                sure: if sure { "probably" } else { "perhaps" },
                ..of(stay)
            },
            Finding::NoGoodbye { stay, .. } => Self {
                kind: "no_goodbye",
                ..of(stay)
            }
            .until(members[stay].until_ms),
        }
    }

    pub(super) fn until(self, ms: i64) -> Self {
        Self {
            until_ms: Some(ms),
            until_at: Some(Stamp(ms)),
            ..self
        }
    }

    /// Does it count on the pill of its call?
    #[must_use]
    pub fn is_loud(&self) -> bool {
        matches!(self.kind, "apart" | "side_by_side")
            || self.is_ghost()
            || self.is_loud_of_room_state()
    }

    #[must_use]
    pub fn is_ghost(&self) -> bool {
        self.sure == "probably"
    }

    /// Is it about this stay?
    #[must_use]
    pub fn is_of(&self, stay: &MemberFacts) -> bool {
        !matches!(self.kind, "apart" | "side_by_side")
            && !self.is_of_room_state()
            && self.users == [stay.user_id.as_str()]
            && self.device_id == stay.device_id
            && self.until_ms == stay.left_ms
            && self.from_ms >= stay.joined_ms
    }

    /// Class, icon and words of its pill.
    #[must_use]
    pub fn pill(&self) -> (&'static str, &'static str, &'static str) {
        if let Some(pill) = self.pill_of_room_state() {
            return pill;
        }
        match (self.kind, self.sure) {
            ("apart", _) => ("bad", "split", "Split SFUs"),
            ("side_by_side", _) => ("warn", "split", "Side by side"),
            ("silent", "probably") => ("warn", "ghost", "Ghost"),
            ("silent", _) => ("", "clock", "Quiet"),
            ("ran_out", _) => ("", "clock", "Ran out"),
            ("reconciled", _) => ("", "eye-off", "Found later"),
            ("state_reset", _) => ("", "alert", "State reset"),
            _ => ("", "clock", "No goodbye"),
        }
    }

    /// What it is, in a few words, without its times.
    #[must_use]
    pub fn title(&self, call: &CallFacts) -> String {
        self.told(call, NAMED)
    }

    fn told(&self, call: &CallFacts, named: usize) -> String {
        let (users, unheard) = (
            names(call, &self.users, named),
            names(call, &self.unheard, named),
        );
        if let Some(title) = self.title_of_room_state(&users) {
            return title;
        }
        let could = if self.until_ms.is_some() {
            "could not"
        } else {
            "cannot"
        };
        match (self.kind, self.sure) {
            ("apart", _) if self.mutual => format!("{users} and {unheard} {could} hear each other"),
            ("apart", _) => format!("{users} {could} hear {unheard}"),
            ("side_by_side", _) if self.until_ms.is_some() => {
                format!("{users} were each alone, in calls side by side")
            }
            ("side_by_side", _) => format!("{users} each wait alone, in calls side by side"),
            ("silent", sure) => format!("{users} is {sure} gone"),
            ("ran_out", _) => format!("{users} ran out while the device was still there"),
            ("reconciled", _) => format!("No event told the end of {users}"),
            ("state_reset", _) => format!("The state of the room brought {users} back"),
            _ => format!("No goodbye came for {users}"),
        }
    }

    /// Why we think so.
    #[must_use]
    pub fn why(&self) -> String {
        if let Some(why) = self.why_of_room_state() {
            return why;
        }
        let sfu = f::tidy(f::host(self.service_url.as_deref().unwrap_or_default()));
        match (self.kind, self.sure) {
            ("apart", _) if self.mutual => format!(
                "Each of their clients connects only to the SFU of whoever was there first, and those differ: {sfu} for some."
            ),
            ("apart", _) => format!(
                "Clients that follow the SFU of the oldest member connect to that one only, here {sfu}; the others sent to another."
            ),
            ("side_by_side", _) => {
                "They were probably looking for each other: who starts a call while another one starts makes a second one."
                    .to_owned()
            }
            ("silent", "probably") => {
                "The membership still counts, but the renewal that came every hour before did not come. Others see an \
                 empty tile."
                    .to_owned()
            }
            ("silent", _) => {
                "Nothing came for over an hour. Clients of today renew every hour, older ones every four hours."
                    .to_owned()
            }
            ("ran_out", _) => {
                "Its client does not renew; it ran out while the device was still there, and others lost sight of it. Its \
                 homeserver lost no goodbye."
                    .to_owned()
            }
            ("reconciled", _) => {
                "It was gone at a look at the state of the room: the end lies between that look and the one before."
                    .to_owned()
            }
            ("state_reset", _) => {
                "At a look the state of the room held this membership again, though a newer event or none was known: a \
                 state reset, or an event that the homeserver did not give."
                    .to_owned()
            }
            _ => "It was counted until the membership ran out; when they really went is not known.".to_owned(),
        }
    }

    /// The homeserver of the device that it is about.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        Some(server_of(self.users.first()?)).filter(|server| !server.is_empty())
    }

    /// What an admin can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        if self.is_of_room_state() {
            return self.advice_of_room_state();
        }
        match (self.kind, self.sure) {
            ("apart", _) => Some(
                "update those clients to a version that connects to every SFU (multi-SFU), or let all their homeservers \
                 name the same SFU.",
            ),
            ("side_by_side", _) if self.until_ms.is_none() => {
                Some("tell them of each other: one of them has to leave and join the other call.")
            }
            ("silent", "probably") => Some(
                "ask them to open the room once, or let a moderator empty the membership event.",
            ),
            _ => None,
        }
    }
}

impl CallFacts {
    /// Findings that count on its pill.
    pub fn loud(&self) -> impl Iterator<Item = &FindingFacts> {
        self.findings.iter().filter(|finding| finding.is_loud())
    }

    /// Where it stands among those that run: what needs a look first, then by people.
    #[must_use]
    pub fn rank(&self) -> Reverse<(bool, usize)> {
        Reverse((self.loud().next().is_some(), self.people_now))
    }

    /// When this device, which still counts, was heard last, ms; nothing where there is no reason to doubt it.
    #[must_use]
    pub fn gone_since(&self, stay: &MemberFacts) -> Option<i64> {
        stay.left_ms.is_none().then_some(())?;
        Some(
            self.loud()
                .find(|finding| finding.is_ghost() && finding.is_of(stay))?
                .from_ms,
        )
    }

    /// What the findings come to: the class, icon and words of a pill; nothing where there are none.
    #[must_use]
    pub fn trouble(&self) -> Option<(&'static str, &'static str, String)> {
        let (all, ghosts) = (
            self.loud().count(),
            self.loud().filter(|finding| finding.is_ghost()).count(),
        );
        if let Some(replaced) = self.replaced() {
            let (class, icon, words) = replaced.pill();
            return Some(match all {
                1 => (class, icon, words.to_owned()),
                _ => (
                    class,
                    icon,
                    format!("{words}, {}", f::counted(all, "finding", "findings")),
                ),
            });
        }
        match all {
            0 => None,
            _ if all == ghosts => Some(("warn", "ghost", f::counted(ghosts, "ghost", "ghosts"))),
            _ => Some(("bad", "split", f::counted(all, "finding", "findings"))),
        }
    }

    /// The first of its findings in a line of text.
    #[must_use]
    pub fn first_finding(&self) -> Option<String> {
        self.loud()
            .next()
            .map(|finding| finding.told(self, NAMED_SHORT))
    }
}

/// `Ada, Bob and 2 more people`, by their display names in the call.
fn names(call: &CallFacts, users: &[String], named: usize) -> String {
    let known: HashMap<&str, &str> = call
        .members
        .iter()
        .filter_map(|member| Some((member.user_id.as_str(), member.name.as_deref()?)))
        .collect();
    let mut told: Vec<String> = users
        .iter()
        .take(if users.len() > named + 1 {
            named
        } else {
            named + 1
        })
        .map(|user| f::within(&person(known.get(user.as_str()).copied(), user)))
        .collect();
    let more = users.len() - told.len();
    if more > 0 {
        told.push(f::counted(more, "more person", "more people"));
    }
    match told.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => told.concat(),
    }
}
