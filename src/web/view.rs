//! The facts that pages and JSON share: one struct per thing, with ids, milliseconds and counts,
//! but no prose.

pub mod format;
pub(super) mod liveness;
pub mod vantage_state;
use crate::rtc::evidence::Boundaries;
use crate::rtc::ghost::GhostDoubt;
use crate::rtc::present::{Unknown, UnknownReason};
use crate::rtc::transport::Transport;
use crate::rtc::words::{EndReason, Format, words};
use crate::store::findings::inputs::transports_in_use;
use crate::store::model::{self, RoomName};
use crate::store::read::large_calls::PeopleInCall;
use serde::{Serialize, Serializer};
use std::collections::{BTreeSet, HashMap};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

mod answered;
pub mod book;
mod capacity;
mod certainty;
pub(super) mod clock;
pub(super) mod event;
mod finding;
mod finding_group;
mod flood;
mod ghosts;
pub mod glossary;
pub(super) mod history;
pub mod join;
mod noun;
mod own_homeserver;
mod probe;
mod problem;
pub(super) mod ring;
mod room;
mod room_at;
mod room_finding;
pub(super) mod room_needs;
mod server;
pub mod server_check;
mod side_by_side;
pub(in crate::web) mod state_reset;
mod storage;
mod support;
mod usage;
pub use crate::rtc::finding_kind::{FindingKind, Sureness};
pub use capacity::{AtOnceFacts, AtOnceStep, CapacityFacts, CarriedFacts, SfuLoad};
pub use certainty::{
    BoundaryFacts, CallClockFacts, CallContext, CertaintyFacts, CoverageFacts, EndsFacts, GapFacts,
    OwnAddress, boundary_words,
};
pub use clock::{ClockFacts, DelayedFacts, precise_duration};
pub use event::{EvidenceFacts, RejectedFacts};
pub use finding::room_state::power_levels_remedy;
pub use finding::{ClearFacts, FindingFacts, LeftBehind, RoomStateFacts};
pub use finding_group::{FindingGroup, groups_of_findings};
pub use flood::FloodFacts;
pub use ghosts::{NowFacts, PerhapsGone, gone_in_calls};
pub use history::{HistoryFacts, WalkFacts};
pub use noun::{Noun, count_sessions, noun_of};
pub use own_homeserver::OwnFacts;
pub use probe::{
    DriftFacts, ReadyFacts, ServerProbeFacts, SfuOfServer, SfuProbeFacts, words_of_flip,
};
pub use problem::{ProblemEntry, ProblemFacts, kind_choices, problem_entries};
pub use ring::{CallLink, LinkedCallFacts, with_outcomes};
pub use room::{InvitationFacts, RoomFacts, RoomPill, SettingFacts, VantageFacts};
pub use room_at::{CallThen, Flip, Moment, RelatedFacts, ZombieFacts};
pub use room_finding::{
    AccessFacts, AccountFacts, RoomFindingFacts, RoomLink, RoomLook, StateResetFacts,
    find_rooms_to_look_at,
};
pub use room_needs::{RoomNeedFacts, RoomProblem};
pub use server::{
    GhostFacts, PersonTime, Rate, RoomTime, ServerFacts, servers_with_time, top_room_ids, top_rooms,
};
pub use side_by_side::{SideBySideFacts, add_side_by_side, count_calls_to_look_at};
pub use storage::{StorageTroubleFacts, StorageWords, storage_words};
pub use support::{ContactFacts, SupportFacts};
pub use usage::{SumFacts, inferred_words, not_exact_words};

/// Maximum length of a display name, characters; longer ones are cut. Some strangers fill a whole
/// event with one.
const NAME_MAX: usize = 500;

/// A time that JSON writes as RFC 3339, beside the same time in a field `…_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub i64);

impl PartialSchema for Stamp {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let object = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(format));

        object
            .description(Some("The time of the `_ms` key beside it in RFC 3339, UTC"))
            .into()
    }
}

impl ToSchema for Stamp {}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format::rfc3339(self.0))
    }
}

/// The display name, cut if it is very long.
fn shorten_name(name: Option<String>) -> Option<String> {
    let name = name?;
    if name.chars().nth(NAME_MAX).is_none() {
        return Some(name);
    }

    Some(name.chars().take(NAME_MAX).chain(['…']).collect())
}

/// A room as it is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomRef {
    pub room_id: String,
    pub name: Option<String>,
    pub alias: Option<String>,
    /// What pages call it: its name, else its alias, else the names of its people as clients show
    /// them, else its id. Who may not see the people gets the id.
    pub title: String,
}

impl From<RoomName> for RoomRef {
    fn from(room: RoomName) -> Self {
        let mut named = Self {
            name: shorten_name(room.name),
            alias: shorten_name(room.alias),
            ..Self::without_name(&room.room_id)
        };
        let name = named.name.as_deref().filter(|name| !name.trim().is_empty());
        let title = name.or(named.alias.as_deref());
        if let Some(title) = title.or(room.people_title.as_deref()) {
            named.title = format::sanitize_line(title);
        }

        named
    }
}

impl RoomRef {
    /// A room of which only the id is known.
    #[must_use]
    pub fn without_name(room_id: &str) -> Self {
        Self {
            room_id: room_id.to_owned(),
            name: None,
            alias: None,
            title: format::sanitize_line(room_id),
        }
    }

    /// The room's title, as the key `title` has it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The line below the title: alias or id.
    #[must_use]
    pub fn address(&self) -> String {
        format::sanitize_line(self.alias.as_deref().unwrap_or(&self.room_id))
    }

    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/rooms/{}", format::path_segment(&self.room_id))
    }

    /// The link that opens it in a Matrix client; `servers` are in the room.
    #[must_use]
    pub fn matrix_to(&self, servers: &[String]) -> String {
        join::matrix_to_link(self, servers)
    }

    /// The link that joins its call in a browser; `servers` are in the room.
    #[must_use]
    pub fn element_call(&self, servers: &[String]) -> String {
        join::element_call_link(self, servers)
    }
}

/// One stay of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberFacts {
    pub user_id: String,
    pub name: Option<String>,
    /// Null where the event names none.
    pub device_id: Option<String>,
    pub server: String,
    /// The form of its events: `session` (a state event for each device, today's usual one),
    /// `sticky` (MSC4354), `legacy` (a list of devices in one state event) or `mesh` (calls before
    /// `MatrixRTC`).
    pub kind: Format,
    pub joined_ms: i64,
    pub joined_at: Stamp,
    pub left_ms: Option<i64>,
    pub left_at: Option<Stamp>,
    /// Null while it lasts. `left`, `delayed_leave` (the homeserver said goodbye for a lost client,
    /// MSC4140), `expired`, `sticky_expired`, `room_left`, `room_kicked`, `room_banned`,
    /// `superseded` (a new join took its place), `switched` (to another call or SFU), `overwritten`
    /// (by somebody else), `slot_closed`, `redacted` or `invalid_content`.
    pub end_reason: Option<EndReason>,
    /// When it ends unless renewed; only while it lasts.
    pub expires_ms: Option<i64>,
    pub expires_at: Option<Stamp>,
    /// Renewals and other changes after the join.
    pub updates: i64,
    pub join_event_id: String,
    /// The event that ended it: a leave, or the `m.room.member` of who left the room or was
    /// removed, as long as that is stored. Null while it lasts, and where it ran out.
    pub end_event_id: Option<String>,
    /// It goes on from an earlier join, without one of its own.
    pub resumed: bool,
    /// Its start is what the client claims (`created_ts`), earlier than the event.
    pub claimed: bool,
    /// Set if it begins with the renewal of an ended stay: when that one ended. There may be no
    /// delayed leave set up for it any more.
    pub back_since_ms: Option<i64>,
    pub back_since_at: Option<Stamp>,
    /// Set if its device said goodbye or renewed it after its expiry: when. So the device was still
    /// there.
    pub outlived_ms: Option<i64>,
    pub outlived_at: Option<Stamp>,
    /// `audio`, `video` or another word, as the client says.
    pub intent: Option<String>,
    /// The transport that it really uses, as far as that is known.
    pub transport: Option<Transport>,
    /// The evidence for its boundaries.
    pub evidence: EndsFacts,
    /// It is here as far as we know, but the room has not been watched since this time.
    pub unknown_since_ms: Option<i64>,
    pub unknown_since_at: Option<Stamp>,
    /// It still counts, but its device is probably gone: a renewal did not come, and a sign says
    /// that one was due. The finding of the call says which. It is not among `people_now`.
    pub ghost: bool,
    /// The time of its last event, if a renewal is overdue: for a ghost, and for a device that is
    /// perhaps gone.
    pub silent_since_ms: Option<i64>,
    pub silent_since_at: Option<Stamp>,
    /// Until when it was really seen: the last that was heard of it where nobody ended it and it
    /// ran out, or where it is probably gone; else its end, or null while it lasts. And how long
    /// that was.
    pub seen_until_ms: Option<i64>,
    pub seen_until_at: Option<Stamp>,
    pub seen_ms: Option<i64>,
}

impl MemberFacts {
    /// A stay from its row, as of `now`, ms. `ends` is what its boundaries rest on; `lost_ms` is
    /// since when its room cannot be seen, ms, if that is so. Doubts about its device are not in it
    /// yet: see [`Self::with_doubt`] and [`Self::with_seen_until`].
    fn new(
        member: model::Member,
        transport: Option<Transport>,
        ends: &Boundaries,
        lost_ms: Option<i64>,
        now: i64,
    ) -> Self {
        let model::Member { stay, name, .. } = member;
        let left_ms = stay.left_ms(now);
        let expires_ms = left_ms.is_none().then_some(stay.until_ms);
        let unknown_since_ms = ends
            .unknown_since_ms
            .or(lost_ms.filter(|_| left_ms.is_none()));

        Self {
            server: stay.server().to_owned(),
            user_id: stay.user_id,
            name: shorten_name(name),
            device_id: stay.device_id,
            kind: stay.format,
            joined_ms: stay.joined_ms,
            joined_at: Stamp(stay.joined_ms),
            left_ms,
            left_at: left_ms.map(Stamp),
            end_reason: left_ms.map(|_| stay.end_reason),
            expires_ms,
            expires_at: expires_ms.map(Stamp),
            updates: i64::from(stay.updates),
            join_event_id: stay.join_event_id,
            end_event_id: stay.end_event_id.filter(|_| left_ms.is_some()),
            resumed: stay.resumed,
            claimed: stay.claimed,
            back_since_ms: stay.back_since_ms,
            back_since_at: stay.back_since_ms.map(Stamp),
            outlived_ms: stay.outlived_ms,
            outlived_at: stay.outlived_ms.map(Stamp),
            intent: stay.intent,
            transport,
            evidence: EndsFacts {
                start: ends.start.into(),
                end: ends.end.map(BoundaryFacts::from),
            },
            unknown_since_ms,
            unknown_since_at: unknown_since_ms.map(Stamp),
            ghost: false,
            silent_since_ms: None,
            silent_since_at: None,
            seen_until_ms: left_ms,
            seen_until_at: left_ms.map(Stamp),
            seen_ms: left_ms.map(|left_ms| (left_ms - stay.joined_ms).max(0)),
        }
    }

    /// The stay with the doubt whether its device is gone (`None` = no doubt) and when the device
    /// was last heard, ms.
    fn with_doubt(self, doubt: Option<&GhostDoubt>, heard_ms: Option<i64>) -> Self {
        let silent_since_ms = doubt.and(heard_ms).map(|ms| ms.max(self.joined_ms));
        Self {
            ghost: doubt.is_some_and(GhostDoubt::is_probable),
            silent_since_ms,
            silent_since_at: silent_since_ms.map(Stamp),
            ..self
        }
    }

    /// The stay with the time until which it was really seen. If it expired or is probably gone,
    /// that is `heard_ms`, when its device was last heard. So [`Self::with_doubt`] comes before.
    fn with_seen_until(self, heard_ms: Option<i64>) -> Self {
        let ran_out = self.end_reason.is_some_and(EndReason::is_expiry);
        let is_unseen =
            self.ghost || (ran_out && self.end_event_id.is_none() && self.outlived_ms.is_none());
        let Some(heard_ms) = heard_ms.filter(|_| is_unseen) else {
            return self;
        };

        let latest_ms = self.left_ms.unwrap_or(i64::MAX).max(self.joined_ms);
        let until_ms = heard_ms.clamp(self.joined_ms, latest_ms);

        Self {
            seen_until_ms: Some(until_ms),
            seen_until_at: Some(Stamp(until_ms)),
            seen_ms: Some(until_ms - self.joined_ms),
            ..self
        }
    }

    /// The person's title: the display name, else the local part of the id.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// Does it count as here, although a renewal is overdue and no sign tells whether its device is
    /// gone?
    #[must_use]
    pub fn is_perhaps_gone(&self) -> bool {
        self.is_here() && self.silent_since_ms.is_some()
    }

    /// Is it here now, and not probably gone?
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.left_ms.is_none() && !self.ghost
    }

    /// The last event of a ghost, ms; `None` if the device is not probably gone.
    #[must_use]
    pub fn gone_since(&self) -> Option<i64> {
        self.silent_since_ms.filter(|_| self.ghost)
    }

    /// Until when it was certainly there, ms: when it left, or the last event of a silent device.
    /// `None` if it is still there.
    fn there_until_ms(&self) -> Option<i64> {
        self.left_ms.or(self.silent_since_ms)
    }

    /// Is a minute or more at the end of its bar only inferred?
    #[must_use]
    pub fn is_inferred(&self, now: impl format::WholeNumber) -> bool {
        let end_ms = self.end_ms(now);
        self.seen_until_ms
            .is_some_and(|seen_ms| end_ms.saturating_sub(seen_ms) >= 60_000)
    }

    /// The end of its bar, ms: when it left, or now.
    #[must_use]
    pub fn end_ms(&self, now: impl format::WholeNumber) -> i64 {
        self.left_ms.unwrap_or(now.whole()).max(self.joined_ms)
    }

    /// The user id and the device id, which identify its device also across calls at the same
    /// moment. If no device is named, each stay counts as one.
    #[must_use]
    pub fn device(&self) -> (&str, &str) {
        (
            &self.user_id,
            self.device_id.as_deref().unwrap_or(&self.join_event_id),
        )
    }

    /// The address of its SFU, else the SFU's key.
    #[must_use]
    pub fn sfu(&self) -> Option<&str> {
        self.transport.as_ref()?.address()
    }
}

/// What to call a person: the display name, else the local part of the user id; made harmless.
#[must_use]
pub fn person_title(name: Option<&str>, user_id: &str) -> String {
    let local = user_id
        .strip_prefix('@')
        .and_then(|id| id.split(':').next())
        .filter(|local| !local.is_empty());

    format::sanitize_line(
        name.filter(|name| !name.trim().is_empty())
            .or(local)
            .unwrap_or(user_id),
    )
}

words! {
    /// What a call does now, as far as that is known.
    pub enum CallState {
        Running = "running",
        /// It counts as active, but only devices that are probably gone are in it.
        Stuck = "stuck",
        /// It ran when it was seen last.
        Unknown = "unknown",
        Ended = "ended",
    }
}

/// A call with its members.
#[allow(clippy::struct_excessive_bools, reason = "they are keys of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CallFacts {
    pub id: String,
    pub room: RoomRef,
    pub slot_id: String,
    pub application: String,
    pub started_ms: i64,
    pub started_at: Stamp,
    pub ended_ms: Option<i64>,
    pub ended_at: Option<Stamp>,
    pub active: bool,
    pub duration_ms: i64,
    pub people: i64,
    pub devices: i64,
    pub peak: i64,
    pub peak_users: i64,
    /// People and devices (user and device) in it now, 0 when it is over, without those that are
    /// probably gone. Where `unknown_since_ms` is there: those who were in it when it was seen
    /// last.
    pub people_now: usize,
    pub devices_now: usize,
    /// Devices that still count though they are probably gone: in neither of the two numbers
    /// before.
    pub ghosts_now: usize,
    /// Of `devices_now`: devices that are perhaps gone: a renewal is overdue, and no sign tells
    /// which client it is. Each has its `silent_since_ms`.
    pub perhaps_gone_now: usize,
    /// `running`; `stuck`: it counts as active, but only devices that are probably gone are in it;
    /// `unknown`: it ran when it was seen last; or `ended`.
    pub state: CallState,
    /// For a stuck call: the last time at which somebody was certainly there. `duration_ms` ends
    /// then.
    pub stuck_since_ms: Option<i64>,
    pub stuck_since_at: Option<Stamp>,
    /// This room also has encrypted memberships: there may be others whom nobody can count.
    pub others_unknown: bool,
    pub servers: Vec<String>,
    pub intent: Option<String>,
    pub certainty: CertaintyFacts,
    /// Homeservers whose clock is wrong by more than a second, according to the events of this
    /// call.
    pub clocks: Vec<CallClockFacts>,
    /// Nobody watches the room since then. A call that ran stays `active` while we are cut off for
    /// a while; where the room itself was lost neither `active` nor an end says more than we know.
    pub unknown_since_ms: Option<i64>,
    pub unknown_since_at: Option<Stamp>,
    /// The room that replaced this call's room, and since when: later calls are there.
    pub room_replaced_by: Option<String>,
    pub room_replaced_ms: Option<i64>,
    pub room_replaced_at: Option<Stamp>,
    /// Problems, the most serious first; at most 50.
    pub findings: Vec<FindingFacts>,
    /// Its stays. Of a very large call, or in a list of many large ones, only some: those who came
    /// first, and those who are there now or left last.
    pub members: Vec<MemberFacts>,
    /// It was derived by older rules or other settings, and is being derived again.
    pub older_rules: bool,
    /// How many stays it has in all.
    pub members_total: i64,
    /// It rang, and somebody came: true; nobody but the caller came: false. Null where nothing rang
    /// at its begin, where it still rings, and where somebody may have come unseen.
    pub answered: Option<bool>,
    /// `members` has all stays. If false, `findings` are only those of `members`.
    pub members_whole: bool,
    /// The number of people and devices in it now that are not among `members`.
    #[serde(skip)]
    pub unlisted: PeopleInCall,
}

impl CallFacts {
    /// A call as of `now`, ms, from its row, the rows of its members, in order of arrival, and what
    /// else the store knows of them. All members are given; [`Self::is_part_of`] says otherwise.
    #[must_use]
    pub fn new(
        call: model::Call,
        members: Vec<model::Member>,
        ledger: &CallContext,
        now: i64,
    ) -> Self {
        let ended_ms = call.ended_ms(now);
        let used = transports_in_use(&members);
        let cover = ledger.cover(&call.room.room_id);
        let (ends, verdict) = ledger.judge(&members, &cover, now);
        let clocks = ledger.clocks(&members, &cover);
        let unknown_since_ms = verdict
            .and_then(|verdict| verdict.unknown_since_ms)
            .or(call.known_until_ms(now));
        let is_lost = call.known_until_ms(now).is_some();
        let (findings, doubts) = finding::findings_of_call(
            &call,
            &members,
            &used,
            ledger,
            unknown_since_ms.unwrap_or(now).min(now),
        );
        let lost_ms = is_lost.then_some(unknown_since_ms).flatten();
        let members = members.into_iter().zip(used).zip(&ends).zip(&doubts);
        let members: Vec<MemberFacts> = members
            .map(|(((member, used), ends), doubt)| {
                let origins = ledger.stays.origins.get(&member.stay.id);
                let heard_ms = origins.and_then(|origins| origins.last_sign_ms);
                MemberFacts::new(member, used, ends, lost_ms, now)
                    .with_doubt(doubt.as_ref(), heard_ms)
                    .with_seen_until(heard_ms)
            })
            .collect();
        let here = || members.iter().filter(|member| member.is_here());
        let (people_now, devices_now) = (
            here()
                .map(|member| &member.user_id)
                .collect::<BTreeSet<_>>()
                .len(),
            here()
                .map(MemberFacts::device)
                .collect::<BTreeSet<_>>()
                .len(),
        );
        let ghosts_now = members
            .iter()
            .filter(|member| member.ghost)
            .map(MemberFacts::device)
            .collect::<BTreeSet<_>>()
            .len();
        let perhaps_gone_now = PerhapsGone::among(members.iter()).devices;
        let is_active = call.is_active(now);
        let is_stuck = is_active && people_now == 0 && ghosts_now > 0;
        let stuck_since_ms = is_stuck
            .then(|| members.iter().filter_map(MemberFacts::there_until_ms).max())
            .flatten();
        let duration_ms = match (is_lost, stuck_since_ms) {
            (true, _) => unknown_since_ms.unwrap_or(now) - call.started_ms,
            (false, Some(since)) => (since - call.started_ms).max(0),
            (false, None) => call.duration_ms(now),
        };

        let state = match (ended_ms, unknown_since_ms) {
            (Some(_), _) => CallState::Ended,
            (None, Some(_)) => CallState::Unknown,
            (None, None) if is_stuck => CallState::Stuck,
            (None, None) => CallState::Running,
        };

        let replaced = ledger
            .rooms
            .get(&call.room.room_id)
            .and_then(|room| room.rules.replaced());

        Self {
            room_replaced_by: replaced.map(|replaced| replaced.room_id.clone()),
            room_replaced_ms: replaced.map(|replaced| replaced.at_ms),
            room_replaced_at: replaced.map(|replaced| Stamp(replaced.at_ms)),
            certainty: CertaintyFacts::from_verdict(verdict),
            clocks,
            unknown_since_ms,
            unknown_since_at: unknown_since_ms.map(Stamp),
            active: is_active,
            duration_ms,
            id: call.id,
            room: call.room.into(),
            slot_id: call.slot_id,
            application: call.application,
            started_ms: call.started_ms,
            started_at: Stamp(call.started_ms),
            ended_ms,
            ended_at: ended_ms.map(Stamp),
            people: call.people,
            devices: call.devices,
            peak: call.peak,
            peak_users: call.peak_users,
            people_now,
            devices_now,
            ghosts_now,
            perhaps_gone_now,
            state,
            stuck_since_ms,
            stuck_since_at: stuck_since_ms.map(Stamp),
            others_unknown: false,
            servers: call.servers,
            intent: call.intent,
            findings,
            members_total: i64::try_from(members.len()).unwrap_or(i64::MAX),
            answered: None,
            members_whole: true,
            unlisted: PeopleInCall::default(),
            members,
            older_rules: false,
        }
    }

    /// Notes that only some of the call's stays were read, and adds the others to the counts of
    /// now. `total` is the number of all its stays; `present` are all people and devices in it now.
    /// A call that seemed stuck is running if people are there whose stays were not read.
    pub fn is_part_of(&mut self, total: i64, present: PeopleInCall) {
        // The counts include those who are probably gone.
        let here: Vec<&MemberFacts> = self.present().chain(self.ghosts()).collect();
        let people: BTreeSet<&str> = here.iter().map(|member| member.user_id.as_str()).collect();
        let devices: BTreeSet<(&str, &str)> = here.iter().map(|member| member.device()).collect();
        let beyond = |all: i64, listed: usize| {
            let all = usize::try_from(all).unwrap_or(0);
            all.saturating_sub(listed)
        };

        let (people, devices) = (
            beyond(present.people, people.len()),
            beyond(present.devices, devices.len()),
        );
        self.people_now += people;
        self.devices_now += devices;
        if people > 0 && self.state == CallState::Stuck {
            self.state = CallState::Running;
            (self.stuck_since_ms, self.stuck_since_at) = (None, None);
        }

        self.unlisted = PeopleInCall {
            people: i64::try_from(people).unwrap_or(i64::MAX),
            devices: i64::try_from(devices).unwrap_or(i64::MAX),
        };

        self.members_total = total;
        self.members_whole = false;
    }

    /// Takes it that the present of its room is unknown: the call ran when we last heard of it, or
    /// others may be in it.
    pub fn with_unknown(&mut self, unknown: Unknown, now: i64) {
        if unknown.why == UnknownReason::Encrypted {
            self.others_unknown = true;
        } else {
            self.set_unknown_since(unknown.since_ms, now);
        }
    }

    /// Takes it that the call ran when we last heard of it, and that it is unknown whether it runs
    /// since `since_ms` (`None` = since `now`, ms). If more is unknown already, the earlier time
    /// stays.
    pub fn set_unknown_since(&mut self, since_ms: Option<i64>, now: i64) {
        self.state = CallState::Unknown;
        let since = since_ms.unwrap_or(now).max(self.started_ms);
        let since = self
            .unknown_since_ms
            .map_or(since, |known| known.min(since));
        (self.unknown_since_ms, self.unknown_since_at) = (Some(since), Some(Stamp(since)));
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.left_ms.is_none())
        {
            let since = member
                .unknown_since_ms
                .map_or(since, |known| known.min(since))
                .max(member.joined_ms);
            (member.unknown_since_ms, member.unknown_since_at) = (Some(since), Some(Stamp(since)));
        }
    }

    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", format::path_segment(&self.id))
    }

    /// The time up to which it is known, ms: its end, the time when its room was lost, or now.
    #[must_use]
    pub fn end_ms(&self, now: impl format::WholeNumber) -> i64 {
        self.ended_ms.unwrap_or(self.upto(now)).max(self.started_ms)
    }

    /// Was its room lost while it ran, so that nobody saw whether it went on?
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.ended_ms.is_none() && !self.active
    }

    /// How long it ran as far as that is known, ms: until the room was last watched.
    #[must_use]
    pub fn known_duration_ms(&self) -> i64 {
        self.unknown_since_ms
            .map_or(self.duration_ms, |since| since - self.started_ms)
            .clamp(0, self.duration_ms.max(0))
    }

    /// Now, ms; for a call whose room was lost while it ran, that time.
    #[must_use]
    pub fn upto(&self, now: impl format::WholeNumber) -> i64 {
        self.unknown_since_ms
            .filter(|_| self.is_lost())
            .unwrap_or(now.whole())
    }

    /// The members in it now, in order of arrival, without those who are probably gone.
    pub fn present(&self) -> impl Iterator<Item = &MemberFacts> {
        self.members.iter().filter(|member| member.is_here())
    }

    /// The members who still count although they are probably gone.
    pub fn ghosts(&self) -> impl Iterator<Item = &MemberFacts> {
        self.members.iter().filter(|member| member.ghost)
    }

    /// Are all remaining members probably gone?
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.active && self.people_now == 0 && self.ghosts_now > 0
    }

    /// Does it run with at least one member who is not probably gone?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.active && !self.is_stuck()
    }

    /// The number of members who are probably gone in words, `1 ghost`; `None` if there are none.
    #[must_use]
    pub fn ghost_words(&self) -> Option<String> {
        (self.ghosts_now > 0).then(|| format::count_with_noun(self.ghosts_now, "ghost", "ghosts"))
    }

    /// The members who are perhaps gone, in words: `1 perhaps gone, silent for 2 h 05`; `None` if
    /// there are none.
    #[must_use]
    pub fn perhaps_gone_words(&self, now: impl format::WholeNumber) -> Option<String> {
        PerhapsGone::among(self.members.iter()).words(now)
    }

    /// The distinct people in it now, in order of arrival.
    #[must_use]
    pub fn present_people(&self) -> Vec<&MemberFacts> {
        let mut listed = BTreeSet::new();
        self.present()
            .filter(|member| listed.insert(&member.user_id))
            .collect()
    }

    /// The homeservers of the members in it now.
    #[must_use]
    pub fn present_servers(&self) -> BTreeSet<&str> {
        self.present()
            .map(|member| member.server.as_str())
            .collect()
    }
}

/// Calls with their members, as of `now`, ms, in the order of the calls. `members` are those of all
/// calls; each call's must be in order of arrival. Members of other calls are left out.
#[must_use]
pub fn calls_with_members(
    calls: Vec<model::Call>,
    members: Vec<model::Member>,
    ledger: &CallContext,
    now: i64,
) -> Vec<CallFacts> {
    let mut by_call: HashMap<String, Vec<model::Member>> = HashMap::new();
    for member in members {
        by_call
            .entry(member.session_id.clone())
            .or_default()
            .push(member);
    }

    calls
        .into_iter()
        .map(|call| {
            let members = by_call.remove(&call.id).unwrap_or_default();
            CallFacts::new(call, members, ledger, now)
        })
        .collect()
}

/// How many entries a list has on all its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntriesTotal {
    pub count: i64,
    /// It has more than `count`: they were not counted further.
    pub more_than: bool,
}

impl EntriesTotal {
    /// The whole number.
    #[must_use]
    pub fn exactly(count: usize) -> Self {
        Self {
            count: i64::try_from(count).unwrap_or(i64::MAX),
            more_than: false,
        }
    }

    /// The number as far as was counted; `most` is how far that is.
    #[must_use]
    pub fn up_to(count: i64, most: i64) -> Self {
        Self {
            count: count.min(most),
            more_than: count > most,
        }
    }
}

/// A list in JSON: the one shape of all lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    pub next: Option<String>,
    pub next_url: Option<String>,
    /// The number of entries that match, on all pages together; null where it was not counted, as
    /// on later pages of the lists of calls and of findings.
    pub entries_total: Option<EntriesTotal>,
}

impl<T> List<T> {
    /// A complete list: there is no next page.
    #[must_use]
    pub fn whole(data: Vec<T>) -> Self {
        Self {
            entries_total: Some(EntriesTotal::exactly(data.len())),
            data,
            next: None,
            next_url: None,
        }
    }
}
