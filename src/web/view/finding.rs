//! Findings of a call as pages and JSON show them: the problem, how certain it is, and what to do.

use super::finding_group::groups_of_findings;
use super::format as f;
use super::{CallContext, CallFacts, MemberFacts, OwnAddress, Stamp, SupportFacts, person_title};
use crate::rtc::finding::{Finding, People};
use crate::rtc::finding_kind::{FindingKind, Mender, Severity, Sureness};
use crate::rtc::ghost::{self, GhostClass, GhostDoubt, GhostSign};
use crate::rtc::id::{hash, server_of};
use crate::rtc::left_over::LeftOverFinding;
use crate::rtc::membership::Membership;
use crate::rtc::problem::{Found, Problem, Problems, problems_of_call};
use crate::rtc::room_finding::RoomKnowledge;
use crate::rtc::split_finding::SplitFinding;
use crate::rtc::transport::Transport;
use crate::store::findings::broken::BrokenCall;
use crate::store::findings::inputs::problem_stays;
use crate::store::ingest::state_resets::ResetKind;
use crate::store::model;
use crate::store::read::ghosts::CurrentEvent;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use utoipa::ToSchema;

pub mod room_state;
pub use room_state::{LeftBehind, RoomStateFacts};

/// Maximum number of people named in a finding, on the call's page and in a line of text; others
/// are counted.
const NAMED: usize = 3;
const NAMED_SHORT: usize = 1;

/// A problem in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FindingFacts {
    /// It stays the same when the call is derived again. Its page is `/problems/{id}`.
    pub id: String,
    /// `apart`: `users` were connected to one SFU only and could not hear `unheard`, who were on
    /// others. `silent`: a device still counts, but its renewal did not come. `no_goodbye`: it was
    /// counted until it expired, long after the last that was heard of it, and did not go on from
    /// there. `side_by_side`: another call of the same kind ran in the room at the same time,
    /// `users` were each alone in theirs, and nobody met. `ran_out`: its client does not renew; it
    /// ran out while the device was still there, which said goodbye or renewed it later.
    /// `reconciled` and `vanished`: a look at the room's state found it gone, without an event that
    /// says so. `state_reset` and `came_back`: the state holds it again, without an event that says
    /// so. Which of these it is `reset` says in the word that the room has for it. `room_replaced`:
    /// the room was replaced by another one, `users` are still in it. `nobody_could_come`: nobody
    /// but `users` had the power to join. `server_denied`: the room takes no events of the server
    /// of `users` any more. `lost_power`: one of `users` has no power any more to say goodbye.
    /// `dead_sfu`: `users` were on an SFU that did not answer our probes. `alias_differs`: `users`
    /// named another room of the same SFU than `unheard`. `left_over`: one of `users` left the
    /// room, and the membership is still in its state, which clients ignore. `overwritten`: another
    /// device of the same person wrote over the event of this one, which vanished from the call.
    pub kind: FindingKind,
    /// What a state reset did: `call_member_back` or `call_member_vanished`; null of other kinds.
    pub reset: Option<ResetKind>,
    /// `computed`, `probably` or `perhaps`. A `silent` device is `probably` gone if `signs` say so.
    /// Without a sign it is `perhaps` gone: older clients renew every four hours and some never,
    /// and we do not know which client this is.
    pub sure: Sureness,
    /// How grave it is: `grave` (people could not talk to each other), `warning` or `minor`.
    pub severity: Severity,
    /// Who can mend it: `person` (whom it is about), `server_admin` (of their homeserver),
    /// `room_moderators`, `sfu_operator` or `observer` (whoever runs Callscope).
    pub mender: Mender,
    /// The homeserver of the first person whom it is about.
    pub server: Option<String>,
    /// Since when; for a device, the time of its last event.
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Null while it lasts.
    pub until_ms: Option<i64>,
    pub until_at: Option<Stamp>,
    /// Each of `users` was there together with each of `unheard`; at most 100 of each are named.
    pub users: Vec<String>,
    /// For `side_by_side`: the display names of `users` in the same order, null if unknown. For
    /// other kinds they are among the members of the call.
    pub user_names: Vec<Option<String>>,
    pub users_total: usize,
    pub unheard: Vec<String>,
    pub unheard_total: usize,
    /// `unheard` could not hear `users` either.
    pub mutual: bool,
    pub device_id: Option<String>,
    /// The SFU that `users` were connected to.
    pub service_url: Option<String>,
    /// What kind of ghost a `silent` device or a `no_goodbye` is: `muzzled` (the room takes no
    /// goodbye from it any more, by its power levels or its server ACL), `superseded` (the same
    /// person came later with another device), `expired` (it ran out; its event is still in the
    /// state) or `gone` (it still counts). A `left_over` is `left` (its person left the room), and
    /// an `overwritten` is `overwritten`. Null of other kinds.
    pub ghost_class: Option<GhostClass>,
    /// For `flapping`: how often the device came.
    pub times: Option<usize>,
    /// The calls that ran side by side with this one; of `broken_call`, the one that this one went
    /// on in, or that it goes on.
    pub other_call_ids: Vec<String>,
    /// The signs that a silent device is gone, the strongest first: `came_back` (it came back with
    /// the start of a stay that had already ended: a renewal after a goodbye, so no delayed leave
    /// is set up for it), `renewed_hourly` (it renewed every hour before), `hourly_client` (its
    /// event has fields that only clients with hourly renewal write), `no_delayed_events` (its
    /// homeserver does not support them, so nothing says goodbye for a client that is killed),
    /// `other_device` (the same person joined later with another device) or `loses_goodbyes` (many
    /// stays of its homeserver end only by expiry). Empty if it is only `perhaps` gone, and for
    /// other kinds.
    pub signs: Vec<GhostSign>,
    /// The first of them.
    pub sign: Option<GhostSign>,
    /// When the missing renewal was due.
    pub due_ms: Option<i64>,
    pub due_at: Option<Stamp>,
    /// When a silent device stops counting, or a `left_over` expires, unless somebody clears it
    /// before.
    pub counts_until_ms: Option<i64>,
    pub counts_until_at: Option<Stamp>,
    /// How to clear it; null for other kinds.
    pub clear: Option<ClearFacts>,
    /// Whom to tell about `server`, if that is for its admin to mend and it publishes contacts;
    /// null where that is not known.
    pub support: Option<SupportFacts>,
    #[serde(flatten)]
    pub state: RoomStateFacts,
}

/// How to clear a membership that is still in the state of a room: its own account can, or a
/// moderator of the room whose power suffices for state events of this type, by putting an empty
/// content in its place. Where only its own account may write the state key and that one has left
/// the room, a moderator can by redacting the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClearFacts {
    pub room_id: String,
    pub event_type: String,
    pub state_key: String,
    /// The event that the state holds now.
    pub event_id: String,
    /// Whose account can do it without power in the room, while it is in it.
    pub user_id: String,
    /// That account has left the room, so that only a moderator can do it.
    pub for_moderators: bool,
    /// The command redacts the event, since a moderator may not write this state key.
    pub redacts: bool,
    /// The homeserver that the command is sent to, which is ours, and whose account's token it
    /// needs: that of `user_id`, if it is there, or of a moderator. Null if its address is not
    /// known.
    pub homeserver: Option<String>,
    /// The whole command for a terminal; `YOUR_ACCESS_TOKEN` is to be replaced, and where
    /// `homeserver` is null `YOUR_HOMESERVER`, too.
    pub curl: String,
}

impl ClearFacts {
    /// How to clear the membership that this event states; `None` if it has no state key, because
    /// only a state event can be replaced by others.
    fn new(
        room_id: &str,
        user_id: &str,
        current: &CurrentEvent,
        own: Option<&OwnAddress>,
    ) -> Option<Self> {
        let state_key = current.state_key.clone()?;
        let path = format!(
            "/_matrix/client/v3/rooms/{}/state/{}/{}",
            encode_path_segment(room_id),
            encode_path_segment(&current.kind),
            encode_path_segment(&state_key)
        );
        let curl = command_for(&path, own);

        Some(Self {
            room_id: room_id.to_owned(),
            event_type: current.kind.clone(),
            state_key,
            event_id: current.event_id.clone(),
            user_id: user_id.to_owned(),
            for_moderators: false,
            redacts: false,
            homeserver: own.map(|own| own.server.clone()),
            curl,
        })
    }

    /// How a moderator clears the membership that this event states, whose person has left the
    /// room; `None` if it has no state key.
    fn for_moderators(
        room_id: &str,
        user_id: &str,
        current: &CurrentEvent,
        own: Option<&OwnAddress>,
    ) -> Option<Self> {
        let clear = Self::new(room_id, user_id, current, own)?;
        // Nobody else may send state with a key that begins so, in most versions of rooms.
        let redacts = clear.state_key.starts_with('@');
        let curl = if redacts {
            let path = format!(
                "/_matrix/client/v3/rooms/{}/redact/{}/left-over-{}",
                encode_path_segment(room_id),
                encode_path_segment(&current.event_id),
                // One transaction redacts one event, and homeservers remember them.
                hash(&[&current.event_id], 8)
            );
            command_for(&path, own)
        } else {
            clear.curl
        };

        Some(Self {
            for_moderators: true,
            redacts,
            curl,
            ..clear
        })
    }

    /// Whose token the command needs, in words after "with the token of".
    #[must_use]
    pub fn token_words(&self) -> String {
        let user = f::sanitize_line(&self.user_id);

        match &self.homeserver {
            Some(own) if self.for_moderators || own != server_of(&self.user_id) => {
                let own = f::sanitize_line(own);
                format!("a moderator of the room who is on {own}")
            }
            None if self.for_moderators => "a moderator of the room".to_owned(),
            _ => format!("{user} or of a moderator of the room"),
        }
    }
}

/// The command that puts an empty object to this path of the homeserver.
fn command_for(path: &str, own: Option<&OwnAddress>) -> String {
    let base = own.map_or("https://YOUR_HOMESERVER", |own| own.url.as_str());

    format!(
        "curl -X PUT -H 'Authorization: Bearer YOUR_ACCESS_TOKEN' -H 'Content-Type: \
         application/json' -d '{{}}' '{base}{path}'"
    )
}

/// A text as one segment of a path: every character with a meaning for a shell or a server is
/// encoded.
fn encode_path_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }

    path
}

/// The findings of a call, at most [`PROBLEMS_MAX`](crate::rtc::problem::PROBLEMS_MAX); and for
/// each member whether its device is gone, `None` if that is not in doubt. `used` is the transport
/// of each member, `upto` the time until which the call is known, ms.
pub(super) fn findings_of_call(
    call: &model::Call,
    members: &[model::Member],
    used: &[Option<Transport>],
    ledger: &CallContext,
    upto: i64,
) -> (Vec<FindingFacts>, Vec<Option<GhostDoubt>>) {
    let unknown = RoomKnowledge::default();
    let room = ledger.rooms.get(&call.room.room_id).unwrap_or(&unknown);
    let stays = problem_stays(&call.application, members, used, &ledger.stays);
    let Problems { list, doubts } = problems_of_call(&call.id, &stays, room, upto);
    let facts = |problem| FindingFacts::of_problem(problem, call, members, ledger);

    let mut found: Vec<FindingFacts> = list.into_iter().map(facts).collect();
    found.sort_by_key(|finding| finding.severity.rank());

    (found, doubts)
}

impl FindingFacts {
    /// The finding as one about the device of this stay.
    fn about_device(self, stay: &Membership) -> Self {
        Self {
            users: vec![stay.user_id.clone()],
            users_total: 1,
            device_id: stay.device_id.clone(),
            ..self
        }
    }

    /// A finding of this kind that is computed (no guess) and still lasts; all else is empty.
    pub(super) fn ongoing(kind: FindingKind, from_ms: i64) -> Self {
        Self {
            id: String::new(),
            kind,
            severity: kind.severity(Sureness::Computed),
            mender: kind.entry().mender,
            server: None,
            sure: Sureness::Computed,
            from_ms,
            from_at: Stamp(from_ms),
            until_ms: None,
            until_at: None,
            users: Vec::new(),
            user_names: Vec::new(),
            users_total: 0,
            unheard: Vec::new(),
            unheard_total: 0,
            mutual: false,
            device_id: None,
            service_url: None,
            ghost_class: None,
            times: None,
            other_call_ids: Vec::new(),
            signs: Vec::new(),
            sign: None,
            due_ms: None,
            due_at: None,
            counts_until_ms: None,
            counts_until_at: None,
            clear: None,
            support: None,
            reset: None,
            state: RoomStateFacts::default(),
        }
    }

    /// A finding of the core, with ids and times for pages.
    fn of_problem(
        problem: Problem,
        call: &model::Call,
        members: &[model::Member],
        ledger: &CallContext,
    ) -> Self {
        let base = Self {
            id: problem.id.clone(),
            ghost_class: problem.ghost,
            ..Self::ongoing(problem.kind, problem.from_ms).ended(problem.until_ms)
        };
        let base = match problem.stay() {
            Some(at) => base.about_device(&members[at].stay),
            None => base,
        };
        let owned = |people: &People| people.named.iter().map(ToString::to_string).collect();
        let told = match problem.found {
            Found::Stays(Finding::Apart {
                sfu,
                deaf,
                unheard,
                mutual,
                ..
            }) => Self {
                users: owned(&deaf),
                users_total: deaf.total,
                unheard: owned(&unheard),
                unheard_total: unheard.total,
                mutual,
                service_url: Some(sfu.to_owned()),
                ..base
            },
            Found::Stays(Finding::Silent { stay, doubt, .. }) => {
                base.silent(&members[stay].stay, &doubt, &call.room.room_id, ledger)
            }
            Found::Stays(Finding::NoGoodbye { .. })
            | Found::RanOut { .. }
            | Found::LeftOver(LeftOverFinding::Overwritten { .. }) => base,
            Found::LeftOver(LeftOverFinding::LeftOver { stay, until_ms, .. }) => {
                base.left_over(&members[stay].stay, until_ms, &call.room.room_id, ledger)
            }
            Found::Room(found) => base.with_room_state(found),
            Found::Split(found) => base.with_split(found, members),
        };
        let server = told.users.first().map(|user| server_of(user).to_owned());

        let is_for_admin = told.mender == Mender::ServerAdmin;
        let support = server.as_ref().filter(|_| is_for_admin);
        let support = support.and_then(|server| ledger.support.get(server));

        Self {
            severity: told.kind.severity(told.sure),
            support: support.cloned(),
            server,
            ..told
        }
    }

    /// The finding that a call broke and went on in another one.
    #[must_use]
    pub fn of_broken_call(broken: BrokenCall) -> Self {
        let base = Self::ongoing(FindingKind::BrokenCall, broken.from_ms).until(broken.until_ms);
        let server = broken.users.first().map(|user| server_of(user).to_owned());

        Self {
            id: broken.id,
            sure: Sureness::Probably,
            server,
            users_total: broken.users.len(),
            users: broken.users,
            user_names: broken.names,
            other_call_ids: vec![broken.other_call_id],
            ..base
        }
    }

    /// The finding with what one of the core about how the call holds together says.
    fn with_split(self, found: SplitFinding, members: &[model::Member]) -> Self {
        let user = |at: usize| members[at].stay.user_id.clone();
        let told = match found {
            SplitFinding::OldestTie {
                first, second, sfu, ..
            } => Self {
                users: vec![user(first), user(second)],
                device_id: None,
                service_url: Some(sfu.to_owned()),
                sure: Sureness::Probably,
                ..self
            },
            SplitFinding::GhostOldest { sfu, followers, .. } => Self {
                unheard_total: followers.len(),
                unheard: followers.into_iter().map(ToOwned::to_owned).collect(),
                service_url: Some(sfu.to_owned()),
                sure: Sureness::Probably,
                ..self
            },
            SplitFinding::DeadSfu { sfu, users, .. } => Self {
                users: users.into_iter().map(ToOwned::to_owned).collect(),
                service_url: Some(sfu.to_owned()),
                sure: Sureness::Probably,
                ..self
            },
            SplitFinding::AliasDiffers {
                sfu, users, others, ..
            } => Self {
                users: users.into_iter().map(ToOwned::to_owned).collect(),
                unheard_total: others.len(),
                unheard: others.into_iter().map(ToOwned::to_owned).collect(),
                service_url: Some(sfu.to_owned()),
                mutual: true,
                ..self
            },
            SplitFinding::Flapping { times, .. } => Self {
                times: Some(times),
                ..self
            },
            SplitFinding::NoTransport { .. } => self,
        };

        Self {
            users_total: told.users.len(),
            ..told
        }
    }

    /// The finding with all that is said of a silent device: how sure it is and why, when its
    /// renewal was due, and how to clear its membership.
    fn silent(
        self,
        stay: &Membership,
        doubt: &GhostDoubt,
        room_id: &str,
        ledger: &CallContext,
    ) -> Self {
        let (sure, signs) = match doubt {
            GhostDoubt::Probable(signs) => (Sureness::Probably, signs.clone()),
            GhostDoubt::Possible => (Sureness::Perhaps, Vec::new()),
        };

        let due_ms = ghost::renewal_due_ms(self.from_ms);
        let told = ledger.stays.ghosts.told.get(&stay.id);
        let current = told.and_then(|told| told.current.as_ref());

        Self {
            sure,
            sign: signs.first().copied(),
            signs,
            due_ms: Some(due_ms),
            due_at: Some(Stamp(due_ms)),
            counts_until_ms: Some(stay.until_ms),
            counts_until_at: Some(Stamp(stay.until_ms)),
            clear: current.and_then(|current| {
                ClearFacts::new(room_id, &stay.user_id, current, ledger.own.as_ref())
            }),
            ..self
        }
    }

    /// The finding with all that is said of a membership whose person left the room: as long as it
    /// stands in the state, when it expires, `until_ms`, and how a moderator clears it.
    fn left_over(
        self,
        stay: &Membership,
        until_ms: i64,
        room_id: &str,
        ledger: &CallContext,
    ) -> Self {
        if self.until_ms.is_some() {
            return self;
        }

        let left = ledger.stays.left_overs.get(&stay.id);
        let clear = left.and_then(|left| {
            ClearFacts::for_moderators(room_id, &stay.user_id, &left.event, ledger.own.as_ref())
        });

        Self {
            counts_until_ms: Some(until_ms),
            counts_until_at: Some(Stamp(until_ms)),
            clear,
            ..self
        }
    }

    /// The finding with this end, ms; `None` = it lasts.
    fn ended(self, until_ms: Option<i64>) -> Self {
        match until_ms {
            Some(ms) => self.until(ms),
            None => self,
        }
    }

    /// The finding as one that ended at this time.
    fn until(self, ms: i64) -> Self {
        Self {
            until_ms: Some(ms),
            until_at: Some(Stamp(ms)),
            ..self
        }
    }

    /// Does it count on the pill of its call?
    #[must_use]
    pub fn is_loud(&self) -> bool {
        matches!(
            self.kind,
            FindingKind::Apart
                | FindingKind::SideBySide
                | FindingKind::NoTransport
                | FindingKind::DeadSfu
                | FindingKind::AliasDiffers
        ) || self.is_ghost()
            || self.is_loud_of_room_state()
    }

    /// Is it about a device that is probably gone?
    #[must_use]
    pub fn is_ghost(&self) -> bool {
        self.kind == FindingKind::Silent && self.sure == Sureness::Probably
    }

    /// Is it about people who could not hear each other, since they were on different SFUs?
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.kind == FindingKind::Apart
    }

    /// Is it about how the call holds together?
    #[must_use]
    pub fn is_split(&self) -> bool {
        matches!(
            self.kind,
            FindingKind::OldestTie
                | FindingKind::GhostOldest
                | FindingKind::NoTransport
                | FindingKind::Flapping
                | FindingKind::BrokenCall
                | FindingKind::DeadSfu
                | FindingKind::AliasDiffers
        )
    }

    /// Is it about calls in which people waited alone at the same time?
    #[must_use]
    pub fn is_side_by_side(&self) -> bool {
        self.kind == FindingKind::SideBySide
    }

    /// Is it about a stay that was counted until it expired, without a goodbye?
    #[must_use]
    pub fn is_no_goodbye(&self) -> bool {
        self.kind == FindingKind::NoGoodbye
    }

    /// Is it about a device that is perhaps gone?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.sure == Sureness::Perhaps
    }

    /// Is it about this stay?
    #[must_use]
    pub fn is_of(&self, stay: &MemberFacts) -> bool {
        let is_of_several = matches!(
            self.kind,
            FindingKind::Apart
                | FindingKind::SideBySide
                | FindingKind::OldestTie
                | FindingKind::GhostOldest
                | FindingKind::Flapping
                | FindingKind::BrokenCall
                | FindingKind::DeadSfu
                | FindingKind::AliasDiffers
                | FindingKind::LeftOver
        );

        !is_of_several
            && !self.is_of_room_state()
            && self.users == [stay.user_id.as_str()]
            && self.device_id == stay.device_id
            && self.until_ms == stay.left_ms
            && self.from_ms >= stay.joined_ms
    }

    /// The class, the icon and the words of its pill.
    #[must_use]
    pub fn pill(&self) -> (&'static str, &'static str, &'static str) {
        if let Some(pill) = self.pill_of_room_state() {
            return pill;
        }

        match (self.kind, self.sure) {
            (FindingKind::Apart, _) => ("bad", "split", "Split SFUs"),
            (FindingKind::SideBySide, _) => ("warn", "split", "Side by side"),
            (FindingKind::Silent, Sureness::Probably) => ("warn", "ghost", "Probably a ghost"),
            (FindingKind::Silent, _) => ("", "clock", "Quiet"),
            (FindingKind::RanOut, _) => ("", "clock", "Expired"),
            (FindingKind::OldestTie, _) => ("warn", "split", "Two oldest"),
            (FindingKind::GhostOldest, _) => ("warn", "ghost", "Led by a ghost"),
            (FindingKind::NoTransport, _) => ("bad", "split", "No SFU"),
            (FindingKind::Flapping, _) => ("warn", "clock", "Comes and goes"),
            (FindingKind::BrokenCall, _) => ("warn", "split", "Broke"),
            (FindingKind::DeadSfu, _) => ("bad", "split", "Dead SFU"),
            (FindingKind::AliasDiffers, _) => ("bad", "split", "Different rooms"),
            (FindingKind::LeftOver, _) => ("", "ghost", "Left over"),
            (FindingKind::Overwritten, _) => ("", "ghost", "Overwritten"),
            _ => ("", "clock", "No leave"),
        }
    }

    /// The finding in a few words, without its times. Some of the people are named.
    #[must_use]
    pub fn title(&self, call: &CallFacts) -> String {
        self.told(call, NAMED)
    }

    /// The people whom it is about (`users`) in words; at most about `named` of them by name.
    fn user_words(&self, call: &CallFacts, named: usize) -> String {
        if !self.is_side_by_side() {
            return names_in_call(call, &self.users, self.users_total, named);
        }

        // Some of them are in other calls.
        let known = self.users.iter().zip(&self.user_names);
        let known = known.filter_map(|(user, name)| Some((user.as_str(), name.as_deref()?)));

        join_names(&known.collect(), &self.users, self.users_total, named)
    }

    /// The finding in a few words, with at most about `named` people by name on each side.
    fn told(&self, call: &CallFacts, named: usize) -> String {
        let (users, unheard) = (
            self.user_words(call, named),
            names_in_call(call, &self.unheard, self.unheard_total, named),
        );
        if let Some(title) = self.title_of_room_state(&users) {
            return title;
        }

        // Use the present tense only if the present is known.
        let is_over = self.until_ms.is_some() || call.unknown_since_ms.is_some();
        let could = if is_over { "could not" } else { "cannot" };

        match (self.kind, self.sure) {
            (FindingKind::Apart, _) if self.mutual => {
                format!("{users} and {unheard} {could} hear each other")
            }
            (FindingKind::Apart, _) => format!("{users} {could} hear {unheard}"),
            (FindingKind::SideBySide, _) if is_over => {
                format!("{users} were each alone, in calls side by side")
            }
            (FindingKind::SideBySide, _) => {
                format!("{users} each wait alone, in calls side by side")
            }
            (FindingKind::Silent, sure) => format!("{users} is {sure} gone"),
            (FindingKind::RanOut, _) => format!("{users} expired while the device was still there"),
            (FindingKind::OldestTie, _) => {
                format!("{users} joined at once and named different SFUs")
            }
            (FindingKind::GhostOldest, _) => {
                format!("{unheard} followed the SFU of {users}, who was gone")
            }
            (FindingKind::NoTransport, _) if is_over => format!("{users} had no SFU"),
            (FindingKind::NoTransport, _) => format!("{users} has no SFU"),
            (FindingKind::DeadSfu, _) if is_over => {
                format!("The SFU of {users} did not answer")
            }
            (FindingKind::DeadSfu, _) => format!("The SFU of {users} does not answer"),
            (FindingKind::AliasDiffers, _) => format!(
                "{users} and {unheard} probably {could} hear each other: they named different \
                 rooms of one SFU"
            ),
            (FindingKind::LeftOver, _) if is_over => {
                format!("A membership of {users} was in the room after they were gone from it")
            }
            (FindingKind::LeftOver, _) => {
                format!(
                    "A membership of {users}, who is no longer in the room, was not taken out of \
                     its state"
                )
            }
            (FindingKind::Overwritten, _) => {
                format!("A device of {users} vanished: another one wrote over it")
            }
            (FindingKind::Flapping, _) => format!(
                "{users} came and went {} times",
                f::group_digits(self.times.unwrap_or_default())
            ),
            (FindingKind::BrokenCall, _) => {
                let gap_ms = self.until_ms.unwrap_or(self.from_ms) - self.from_ms;
                format!(
                    "The call of {users} broke and went on after {}",
                    f::ended_duration(gap_ms)
                )
            }
            _ => format!("No leave came for {users}"),
        }
    }

    /// What the finding rests on, in one or two sentences.
    #[must_use]
    pub fn why(&self) -> String {
        if let Some(why) = self.why_of_room_state() {
            return why;
        }

        let sfu = f::sanitize_line(f::host_of_url(
            self.service_url.as_deref().unwrap_or_default(),
        ));

        match (self.kind, self.sure) {
            (FindingKind::Apart, _) if self.mutual => format!(
                "Each of their clients connects only to the SFU of whoever was there first, and \
                 those differ: {sfu} for some."
            ),
            (FindingKind::Apart, _) => format!(
                "Clients that follow the SFU of the oldest member connect to that one only, here \
                 {sfu}; the others sent to another."
            ),
            (FindingKind::SideBySide, _) => {
                "They were probably looking for each other: who starts a call while another one \
                 starts makes a second one."
                    .to_owned()
            }
            (FindingKind::Silent, Sureness::Probably) => {
                let words: Vec<&str> = self.signs.iter().copied().map(sign_words).collect();
                format!(
                    "The membership still counts, but the renewal that was due did not come. {} \
                     Others see an empty tile.",
                    words.join(" ")
                )
            }
            (FindingKind::Silent, _) => {
                "The membership still counts, but nothing came for over an hour. \
                              Perhaps only: clients of today renew every hour, older ones every \
                              four hours and some never, and nothing tells which one this is."
                    .to_owned()
            }
            (FindingKind::RanOut, _) => {
                "Its client does not renew; it expired while the device was still there, and \
                 others did not see it any more. Its homeserver lost no leave."
                    .to_owned()
            }
            (FindingKind::OldestTie, _) => format!(
                "Both follow the SFU of whoever was there first, which each may take itself for: \
                 {sfu} for some."
            ),
            (FindingKind::GhostOldest, _) => format!(
                "Their clients use the SFU of the oldest member, {sfu}, though that one is gone \
                 and they name another themselves."
            ),
            (FindingKind::DeadSfu, _) => format!(
                "The service of {sfu} did not answer when Callscope asked it. Who was connected \
                 already may not have noticed; who came could not join."
            ),
            (FindingKind::AliasDiffers, _) => {
                format!("All of them were on {sfu}, and an SFU keeps its rooms apart.")
            }
            (FindingKind::LeftOver, _) => {
                "They are no longer in the room, so they are in no call of it, and clients that \
                 look at who is in the room ignore the membership. If they come back before it \
                 expires, it counts again."
                    .to_owned()
            }
            (FindingKind::Overwritten, _) => {
                "Two of their devices share one event in the state of the room, and the event \
                 with which the other one joined no longer has this one. Others saw it go at that \
                 moment, though it may have been in the call."
                    .to_owned()
            }
            (FindingKind::NoTransport | FindingKind::Flapping | FindingKind::BrokenCall, _) => {
                self.kind.entry().meaning.to_owned()
            }
            _ => "It was counted until the membership expired; when they really left is not \
                  known."
                .to_owned(),
        }
    }

    /// The homeserver of the first person whom it is about.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| !server.is_empty())
    }

    /// What an admin can do about it, as the rest of a sentence; `None` if there is nothing to do.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        if self.is_of_room_state() {
            return self.advice_of_room_state();
        }

        match (self.kind, self.sure) {
            (FindingKind::Apart, _) => Some(
                "update those clients to a version that connects to every SFU (multi-SFU), or let \
                 all their homeservers name the same SFU.",
            ),
            (FindingKind::SideBySide, _) if self.until_ms.is_none() => {
                Some("tell them of each other: one of them has to leave and join the other call.")
            }
            (FindingKind::Silent, _) if self.clear.is_none() => {
                Some("ask them to open the room once, or wait until it expires.")
            }
            (FindingKind::Silent, _) => Some(
                "ask them to open the room once, or run this line: it takes them out of the call, \
                 not out of the room.",
            ),
            (FindingKind::LeftOver, _) if self.clear.is_some() => Some(
                "nothing until it expires. To have it away before, a moderator of the room runs \
                 this line, which empties it.",
            ),
            (FindingKind::Overwritten, _) => Some(
                "ask them to leave and join again with that device, and to update the client to \
                 one that keeps an event for each device.",
            ),
            _ => None,
        }
    }

    /// Does it go on when its call is over?
    #[must_use]
    pub fn outlasts_call(&self) -> bool {
        self.kind == FindingKind::LeftOver
    }
}

impl CallFacts {
    /// Puts the gravest findings first; otherwise they stay in their order.
    pub fn sort_findings(&mut self) {
        self.findings.sort_by_key(|finding| finding.severity.rank());
    }

    /// The finding that a ghost is why these people are apart: their clients follow its SFU. `None`
    /// if it is not so, or not known.
    #[must_use]
    pub fn ghost_behind(&self, apart: &FindingFacts) -> Option<&FindingFacts> {
        let host = |one: &FindingFacts| {
            let url = one.service_url.as_deref()?;
            Some(f::host_of_url(url).to_lowercase())
        };
        let is_behind = |other: &&FindingFacts| {
            other.kind == FindingKind::GhostOldest
                && host(other) == host(apart)
                && apart.users.iter().all(|user| other.unheard.contains(user))
                && other.from_ms <= apart.until_ms.unwrap_or(i64::MAX)
                && apart.from_ms <= other.until_ms.unwrap_or(i64::MAX)
        };

        let of_kind = |finding: &&FindingFacts| apart.is_apart() && is_behind(finding);
        self.findings.iter().find(of_kind)
    }

    /// What an admin can do about a finding of this call, as the rest of a sentence; `None` if
    /// there is nothing to do.
    #[must_use]
    pub fn advice_for(&self, finding: &FindingFacts) -> Option<String> {
        let is_open = finding.until_ms.is_none() && self.active;
        let behind = self.ghost_behind(finding).filter(|_| is_open);
        let Some(ghost) = behind else {
            return finding.advice().map(ToOwned::to_owned);
        };

        Some(format!(
            "clear the ghost {}, then ask {} to leave and join again. Clients that connect to every \
             SFU (multi-SFU) do not need that.",
            names_in_call(self, &ghost.users, ghost.users_total, NAMED),
            names_in_call(self, &finding.users, finding.users_total, NAMED),
        ))
    }

    /// The findings that count on the pill of the call.
    pub fn loud(&self) -> impl Iterator<Item = &FindingFacts> {
        self.findings.iter().filter(|finding| finding.is_loud())
    }

    /// The sort key among running calls: calls that need a look first, then by number of people.
    #[must_use]
    pub fn rank(&self) -> Reverse<(bool, usize)> {
        Reverse((self.needs_look(), self.people_now))
    }

    /// Findings about devices that are perhaps gone.
    pub fn quiet(&self) -> impl Iterator<Item = &FindingFacts> {
        self.findings.iter().filter(|finding| finding.is_quiet())
    }

    /// Should somebody look at it? Yes also if everybody in it is perhaps gone.
    #[must_use]
    pub fn needs_look(&self) -> bool {
        let is_quiet = || self.quiet().next().is_some() && self.is_quiet();
        self.loud().next().is_some() || is_quiet()
    }

    /// Are all its members perhaps gone or probably gone?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.present()
            .all(|member| member.silent_since_ms.is_some())
    }

    /// The findings of the call as one pill: class, icon and words; `None` if there are none.
    #[must_use]
    pub fn trouble(&self) -> Option<(&'static str, &'static str, String)> {
        let (all, ghosts) = self.loud_groups();
        if let Some(replaced) = self.replaced() {
            let (class, icon, words) = replaced.pill();
            return Some(match all {
                1 => (class, icon, words.to_owned()),
                _ => (
                    class,
                    icon,
                    format!(
                        "{words}, {}",
                        f::count_with_noun(all, "finding", "findings")
                    ),
                ),
            });
        }

        match all {
            0 if self.active && self.quiet().next().is_some() => {
                let quiet = self.quiet().count();
                let words = format!("{} perhaps gone", f::group_digits(quiet));
                Some(("", "clock", words))
            }
            0 => None,
            _ if all == ghosts => Some((
                "warn",
                "ghost",
                f::count_with_noun(ghosts, "ghost", "ghosts"),
            )),
            _ => Some((
                "bad",
                "split",
                f::count_with_noun(all, "finding", "findings"),
            )),
        }
    }

    /// The mark of the call in a list: the gravest of its findings, open or past, in a few words;
    /// `None` if there are none.
    #[must_use]
    pub fn mark_in_list(&self) -> Option<FindingMark> {
        let (class, icon, words) = self.trouble()?;
        let loud: Vec<FindingFacts> = self.loud().cloned().collect();
        let groups = groups_of_findings(&loud);
        if groups.iter().all(|group| group.summary.is_ghost()) {
            return Some(FindingMark { class, icon, words });
        }

        // Of equals, the first.
        let gravest = groups
            .iter()
            .min_by_key(|group| group.summary.severity.rank())?;
        let (class, icon, words) = gravest.summary.pill();
        let words = match groups.len() {
            1 => words.to_owned(),
            all => format!("{words}, {} more", all - 1),
        };

        Some(FindingMark { class, icon, words })
    }

    /// The most serious finding of the call, in a line of text; `None` if there is none that needs
    /// a look.
    #[must_use]
    pub fn first_finding(&self) -> Option<String> {
        let quiet = self.quiet().filter(|_| self.is_quiet());
        let found: Vec<FindingFacts> = self.loud().chain(quiet).cloned().collect();
        let groups = groups_of_findings(&found);

        groups
            .first()
            .map(|group| group.summary.told(self, NAMED_SHORT))
    }
}

/// What a list shows of the findings of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingMark {
    /// The class of its pill, and its icon.
    pub class: &'static str,
    pub icon: &'static str,
    /// The gravest finding in a few words, and how many more there are.
    pub words: String,
}

/// People in words, by their display names in the call: `Ada, Bob and 2 more people`. `total` is
/// how many there are, `named` about how many are named.
fn names_in_call(call: &CallFacts, users: &[String], total: usize, named: usize) -> String {
    let known: HashMap<&str, &str> = call
        .members
        .iter()
        .filter_map(|member| Some((member.user_id.as_str(), member.name.as_deref()?)))
        .collect();

    join_names(&known, users, total, named)
}

/// People in words, by these display names, or by a part of the id where none is known. One more
/// than `named` is named if that names all of `total`, since `and 1 more` is no shorter.
fn join_names(known: &HashMap<&str, &str>, users: &[String], total: usize, named: usize) -> String {
    let mut told: Vec<String> = users
        .iter()
        .take(if total > named + 1 { named } else { named + 1 })
        .map(|user| f::isolate_bidi(&person_title(known.get(user.as_str()).copied(), user)))
        .collect();
    let more = total.saturating_sub(told.len());
    if more > 0 {
        told.push(f::count_with_noun(more, "more person", "more people"));
    }

    f::list_in_words(&told)
}

/// What a sign says, in a sentence.
fn sign_words(sign: GhostSign) -> &'static str {
    match sign {
        GhostSign::CameBack => {
            "It came back with the start of a stay that had already ended: a renewal after a \
             leave, so that no delayed leave stands behind it."
        }
        GhostSign::RenewedHourly => "It renewed every hour before.",
        GhostSign::HourlyClient => {
            "Its event has fields that only clients write which renew every hour."
        }
        GhostSign::NoDelayedEvents => {
            "Its homeserver has no delayed events (MSC4140), so no leave comes for a client \
             that is killed."
        }
        GhostSign::OtherDevice => {
            "The same person came later with another device, and is here with that one."
        }
        GhostSign::LosesGoodbyes => {
            "Its homeserver is known to lose delayed leaves: many of its stays expire."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(state_key: &str, own: Option<&OwnAddress>) -> ClearFacts {
        let current = CurrentEvent {
            event_id: "$1".to_owned(),
            kind: "org.matrix.msc3401.call.member".to_owned(),
            state_key: Some(state_key.to_owned()),
        };

        ClearFacts::for_moderators("!r:h", "@a:h", &current, own).unwrap()
    }

    #[test]
    fn a_moderator_clears_what_its_person_left_behind() {
        let own = OwnAddress {
            server: "h".to_owned(),
            url: "https://h".to_owned(),
        };
        let usual = clear("_@a:h_D_m.call", Some(&own));
        assert_eq!(
            usual.token_words(),
            "a moderator of the room who is on h",
            "the person left the room"
        );
        assert!(!usual.redacts);
        assert!(
            usual.curl.contains(
                "-d '{}' 'https://h/_matrix/client/v3/rooms/%21r%3Ah/state/\
                 org.matrix.msc3401.call.member/_%40a%3Ah_D_m.call'"
            ),
            "{}",
            usual.curl
        );
        // Nobody else may write this one.
        let of_person = clear("@a:h", None);
        assert_eq!(of_person.token_words(), "a moderator of the room");
        assert!(of_person.redacts);
        assert!(
            of_person.curl.contains(
                "'https://YOUR_HOMESERVER/_matrix/client/v3/rooms/%21r%3Ah/redact/%241/left-over-"
            ),
            "{}",
            of_person.curl
        );
    }
}
