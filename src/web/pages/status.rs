//! `/status`: the observer itself: accounts, errors, events that could not be used or read, and the
//! size of the database.

use super::observer_state::{RoomCounts, Standing, refused_successors};
use super::status;
use crate::rtc::words::Watch;
use crate::store::db::health::{Trouble, TroubleKind};
use crate::store::derive::rederive;
use crate::store::ingest::invitations::{self, PendingInvitation};
use crate::store::ingest::probes::{self, OwnResult, Probed};
use crate::store::ingest::receive_times::{self, ClockDoubts, ClockError, ClockWitness};
use crate::store::ingest::sender_limit::{self, Flood};
use crate::store::ingest::unrequested::{self, UnrequestedEvents};
use crate::store::ingest::{rooms, vantages};
use crate::store::model::{self, Totals};
use crate::store::read::coverage::{self, UnheardSpan};
use crate::store::read::events;
use crate::store::read::history_progress::{self, ReadProgress, ReadSums};
use crate::store::stats::concurrency;
use crate::store::upkeep::retention::{self, DeletedTotal};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{
    CallFacts, FloodFacts, GapFacts, HistoryFacts, InvitationFacts, NowFacts, OwnFacts,
    RejectedFacts, RoomFacts, Stamp, StorageTroubleFacts, VantageFacts, WalkFacts,
};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

const REJECTED: i64 = 100;
const ROOMS: usize = 50;
/// Maximum number of rooms named whose present is unknown; and of reads of history.
const UNKNOWN_ROOMS: usize = 500;
const READS: i64 = 100;
/// Maximum number of invitations in the JSON, and on the page.
const INVITATIONS: i64 = 100;
const INVITATIONS_SHOWN: usize = 10;
const FLOODS: i64 = 20;
const CLOCK_OFFS: i64 = 20;
/// Maximum number of reads of history in the list on the page.
const READS_SHOWN: usize = 20;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Status {
    pub now_ms: i64,
    pub now_at: Stamp,
    pub version: &'static str,
    /// Every account has read its homeserver at least once.
    pub ready: bool,
    pub vantages: Vec<VantageFacts>,
    pub totals: TotalFacts,
    /// Rejected events by reason, most first.
    pub rejected: Vec<Reason>,
    /// Answers received while our own clock was behind: their receive times are not believed.
    pub clock_doubts: ClockDoubtFacts,
    /// Times when the clock of this machine was wrong, newest first; at most 20.
    pub clock_offs: Vec<ClockOffFacts>,
    /// Calls from older rules or other settings are being derived again; null if all are from the
    /// present rules.
    pub rederiving: Option<RederivingFacts>,
    /// Events that the homeserver sent without a request, by type, most first. They were discarded
    /// before anything was stored.
    pub unasked: Vec<UnaskedFacts>,
    /// How many such events there were.
    pub unasked_total: i64,
    /// The newest rejected events.
    pub rejected_events: Vec<RejectedFacts>,
    /// Rooms with encrypted memberships.
    pub encrypted: Vec<RoomFacts>,
    /// Rooms that are followed, and rooms that cannot be read now or whose last look failed.
    pub rooms_followed: usize,
    pub rooms_unread: usize,
    /// Rooms that cannot be read now, or whose last look failed.
    pub troubled: Vec<RoomFacts>,
    /// The same, and rooms with findings of their own: who may join, its successor, state resets.
    pub rooms_to_look_at: Vec<RoomFacts>,
    /// Invitations of the account that are open, those that the configuration does not allow first;
    /// at most 100.
    pub invitations: Vec<InvitationFacts>,
    #[serde(flatten)]
    pub numbers_now: NowFacts,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    /// Rooms for which it is unknown who is in a call now, each with the reason; at most 500.
    pub unknown_in: Vec<RoomFacts>,
    pub history_open: usize,
    /// Rooms of which the homeserver gave the history only in part, and which are asked for again.
    pub history_short: usize,
    /// The reading of history so far.
    pub history: HistoryFacts,
    /// Unfinished walks through history, in the order of their turns; at most 100.
    pub walks: Vec<WalkFacts>,
    /// Walks that ended before the room's beginning because the homeserver returned no more,
    /// refused, or repeated pages in a cycle, and that are retried; the next first, at most 100.
    pub walks_short: Vec<WalkFacts>,
    /// Since when nothing can be stored because the disk is full.
    pub full_since_ms: Option<i64>,
    /// Why nothing can be stored now, whatever the cause; null if there is no problem.
    pub storage_trouble: Option<StorageTroubleFacts>,
    /// What was deleted by age; empty if no age is configured.
    pub removed: Vec<RemovedFacts>,
    /// Breaks of the last 30 days in which nothing was received from any homeserver, newest first.
    pub gaps: Vec<GapFacts>,
    /// Senders of more events than are stored in a room, in the last 30 days, the last first; at
    /// most 20.
    pub floods: Vec<FloodFacts>,
}

/// What was deleted by age so far: `events`, `calls` or `snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RemovedFacts {
    pub what: String,
    pub total: i64,
    pub last_ms: i64,
}

impl From<DeletedTotal> for RemovedFacts {
    fn from(row: DeletedTotal) -> Self {
        Self {
            what: row.what,
            total: row.total,
            last_ms: row.last_ms,
        }
    }
}

/// How often the clock of this machine was not believed because it was behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClockDoubtFacts {
    pub readings: i64,
    /// The clock's time at the last occurrence, and how far it was behind then.
    pub last_ms: Option<i64>,
    pub behind_ms: Option<i64>,
}

impl From<ClockDoubts> for ClockDoubtFacts {
    fn from(row: ClockDoubts) -> Self {
        Self {
            readings: row.readings,
            last_ms: row.last_ms,
            behind_ms: row.behind_ms,
        }
    }
}

/// A time during which the clock of this machine was wrong: receive times from it are not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClockOffFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Null while it goes on.
    pub to_ms: Option<i64>,
    pub to_at: Option<Stamp>,
    /// Below zero, it was behind.
    pub off_ms: i64,
    /// `counting`: it disagreed with a monotonic clock. `homeserver`: it disagrees with the
    /// homeserver's clock, and it is unknown which of the two is wrong.
    pub found_by: ClockWitness,
}

impl From<ClockError> for ClockOffFacts {
    fn from(row: ClockError) -> Self {
        Self {
            from_ms: row.from_ms,
            from_at: Stamp(row.from_ms),
            to_ms: row.to_ms,
            to_at: row.to_ms.map(Stamp),
            off_ms: row.off_ms,
            found_by: row.found_by,
        }
    }
}

impl ClockOffFacts {
    /// Which clock was off and by how much, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let way = if self.off_ms < 0 { "behind" } else { "ahead" };
        let seconds = self.off_ms.saturating_abs() / 1000;
        let off = format!("{} s off ({way})", f::group_digits(seconds));

        if self.found_by == ClockWitness::Homeserver {
            format!("Our clock and the homeserver's differ: ours was {off}")
        } else {
            format!("Our clock was {off}")
        }
    }
}

/// The progress of deriving again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RederivingFacts {
    pub since_ms: i64,
    pub since_at: Stamp,
    /// Rooms with calls from older rules: now, and at the beginning.
    pub rooms_left: usize,
    pub rooms: usize,
    /// Member events read again, and the total number to read.
    pub events_done: i64,
    pub events: i64,
}

impl From<rederive::RederiveProgress> for RederivingFacts {
    fn from(progress: rederive::RederiveProgress) -> Self {
        Self {
            since_ms: progress.since_ms,
            since_at: Stamp(progress.since_ms),
            rooms_left: progress.rooms.len(),
            rooms: progress.rooms_total,
            events_done: progress.events_done,
            events: progress.events_total,
        }
    }
}

/// Discarded events of one type. If there are too many types, the rest is counted together as
/// `other`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnaskedFacts {
    #[serde(rename = "type")]
    pub kind: String,
    pub count: i64,
    pub first_ms: i64,
    pub last_ms: i64,
}

impl From<UnrequestedEvents> for UnaskedFacts {
    fn from(row: UnrequestedEvents) -> Self {
        Self {
            kind: row.kind,
            count: row.events,
            first_ms: row.first_ms,
            last_ms: row.last_ms,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    pub reason: String,
    pub count: i64,
}

/// Counts of everything stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct TotalFacts {
    pub rooms: i64,
    pub events: i64,
    pub memberships: i64,
    pub calls: i64,
    pub snapshots: i64,
    pub rejected: i64,
    pub unreadable: i64,
    /// `null` for somebody who may not see all of it.
    pub database_bytes: Option<i64>,
    pub oldest_event_ms: Option<i64>,
}

impl From<Totals> for TotalFacts {
    fn from(row: Totals) -> Self {
        Self {
            rooms: row.rooms,
            events: row.events,
            memberships: row.memberships,
            calls: row.calls,
            snapshots: row.snapshots,
            rejected: row.rejected,
            unreadable: row.unreadable,
            database_bytes: row.database_bytes,
            oldest_event_ms: row.oldest_event_ms,
        }
    }
}

/// The data of the page.
#[derive(Debug, Clone, Default)]
pub struct StatusRows {
    pub vantages: Vec<model::Vantage>,
    /// The features of the accounts' homeservers, by account id.
    pub own: BTreeMap<String, Probed<OwnResult>>,
    pub totals: Totals,
    pub rejected: Vec<(String, i64)>,
    pub clock_doubts: ClockDoubts,
    pub clock_offs: Vec<ClockError>,
    pub rederiving: Option<rederive::RederiveProgress>,
    pub unasked: Vec<UnrequestedEvents>,
    pub rejected_events: Vec<model::Rejected>,
    pub rooms: Vec<model::RoomRow>,
    pub invitations: Vec<PendingInvitation>,
    pub trouble: Option<Trouble>,
    pub reads: Vec<ReadProgress>,
    pub short: Vec<ReadProgress>,
    pub rooms_short: usize,
    pub read_sums: ReadSums,
    pub removed: Vec<DeletedTotal>,
    pub gaps: Vec<UnheardSpan>,
    pub floods: Vec<Flood>,
    /// The running calls, and whether the present is known.
    pub active: Vec<CallFacts>,
    pub numbers_now: NowFacts,
    pub present: Liveness,
}

/// `GET /status` and `GET /api/v1/status`: the state of Callscope itself, as a page or as JSON.
/// `kept` holds the counts of all that is stored.
pub async fn get_status(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Totals>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_status_page(&web, &ask, &kept)
            .await
            .map(PageAnswer::from),
    )
    .await
}

/// Reads everything that the status page shows. The counts of all that is stored may be kept from
/// an earlier request, because counting is expensive.
async fn load_status_page(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Totals>,
) -> Result<Status, Error> {
    ask.read_query(&[])?;
    let store = &web.store;
    let running = super::read_running_calls(web, ask).await?;
    let rows = StatusRows {
        active: running.calls.clone(),
        numbers_now: running.numbers(),
        present: Liveness::read(web, ask.now).await?,
        vantages: vantages::list_vantages_for(store).await?,
        own: probes::newest_results(store).await?,
        totals: kept
            .get(&web.cache_key(""), concurrency::count_stored_rows(store))
            .await?,
        rejected: events::count_rejected(store).await?,
        clock_doubts: receive_times::count_clock_doubts(store).await?,
        clock_offs: receive_times::list_clock_errors(store, CLOCK_OFFS).await?,
        rederiving: store.rederiving(),
        unasked: unrequested::list_unrequested(store).await?,
        rejected_events: events::list_rejected(store, None, None, REJECTED).await?,
        rooms: rooms::list_rooms(store, ask.now).await?,
        invitations: invitations::list_waiting_invitations(store, INVITATIONS).await?,
        trouble: store.trouble(ask.now),
        reads: history_progress::progress_of_open_reads(store, READS).await?,
        short: history_progress::reads_ended_early(store, READS).await?,
        rooms_short: history_progress::rooms_ended_early(store).await?.len(),
        read_sums: history_progress::sum_reads(store, None).await?,
        removed: retention::list_deleted_totals(store).await?,
        gaps: coverage::list_unheard_spans(store, ask.now - 30 * f::DAY, ask.now).await?,
        floods: sender_limit::list_floods_since(store, ask.now - 30 * f::DAY, FLOODS).await?,
    };

    Ok(status_page(rows, ask.now))
}

/// The page from its rows. They must be as of `now`, ms.
#[must_use]
pub fn status_page(rows: StatusRows, now: i64) -> Status {
    let mut own = rows.own;
    let with_own = |row: model::Vantage| {
        let own = own.remove(&row.id).map(OwnFacts::from);
        VantageFacts {
            own,
            ..VantageFacts::from(row)
        }
    };

    let vantages: Vec<_> = rows.vantages.into_iter().map(with_own).collect();
    let walks: Vec<_> = rows.reads.into_iter().map(WalkFacts::from).collect();
    let troubled = |room: &model::RoomRow| {
        room.error.is_some() || matches!(room.watch, Watch::Blind | Watch::Left)
    };
    let all: Vec<RoomFacts> = rows.rooms.iter().cloned().map(RoomFacts::from).collect();
    let counts = RoomCounts::count_rooms(&all);
    let refused = refused_successors(&all);
    let mut calls: HashMap<&str, Vec<&CallFacts>> = HashMap::new();
    for call in &rows.active {
        calls.entry(&call.room.room_id).or_default().push(call);
    }

    let is_refused = |room: &model::RoomRow| refused.contains(room.room.room_id.as_str());
    let has_findings = |room: &model::RoomRow| RoomFacts::from(room.clone()).needs_look();
    let account = vantages
        .iter()
        .find(|vantage| vantage.is_signed_in())
        .map(|vantage| vantage.user_id.clone());
    let facts = |room: &model::RoomRow| {
        let (id, unknown) = (&room.room.room_id, rows.present.room(&room.room.room_id));
        let calls = calls.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        let facts = RoomFacts::from(room.clone()).with_now(unknown, calls);
        facts.with_needs(account.as_deref())
    };

    let rooms_with = |test: &dyn Fn(&model::RoomRow) -> bool| {
        let rooms = rows.rooms.iter().filter(|room| test(room));
        rooms.map(facts).collect::<Vec<_>>()
    };

    let is_unknown = |room: &&model::RoomRow| rows.present.is_hidden(&room.room.room_id);
    let unknown_in = rows.rooms.iter().filter(is_unknown);

    Status {
        now_ms: now,
        now_at: Stamp(now),
        version: Shell::VERSION,
        ready: !vantages.is_empty()
            && vantages
                .iter()
                .all(|vantage| vantage.first_sync_ms.is_some()),
        vantages,
        totals: rows.totals.into(),
        rejected: rows
            .rejected
            .into_iter()
            .map(|(reason, count)| Reason { reason, count })
            .collect(),
        clock_doubts: rows.clock_doubts.into(),
        clock_offs: rows
            .clock_offs
            .into_iter()
            .map(ClockOffFacts::from)
            .collect(),
        rederiving: rows.rederiving.map(RederivingFacts::from),
        unasked_total: rows.unasked.iter().map(|row| row.events).sum(),
        unasked: rows.unasked.into_iter().map(UnaskedFacts::from).collect(),
        rejected_events: rows
            .rejected_events
            .into_iter()
            .map(RejectedFacts::from)
            .collect(),
        encrypted: rooms_with(&|room| room.unreadable > 0),
        rooms_followed: counts.followed,
        rooms_unread: counts.unread,
        troubled: rooms_with(&|room| !is_refused(room) && troubled(room)),
        rooms_to_look_at: rooms_with(&|room| {
            !is_refused(room) && (troubled(room) || has_findings(room))
        }),
        invitations: rows
            .invitations
            .into_iter()
            .map(InvitationFacts::from)
            .collect(),
        numbers_now: rows.numbers_now,
        seen: rows.present.everything(),
        unknown_in: unknown_in.take(UNKNOWN_ROOMS).map(facts).collect(),
        history_open: rows.rooms.iter().filter(|room| room.history_open).count(),
        history_short: rows.rooms_short,
        history: HistoryFacts::new(rows.read_sums, &walks),
        walks,
        walks_short: rows.short.into_iter().map(WalkFacts::from).collect(),
        full_since_ms: rows
            .trouble
            .as_ref()
            .filter(|trouble| trouble.kind == TroubleKind::Full)
            .map(|trouble| trouble.since_ms),
        storage_trouble: rows.trouble.map(StorageTroubleFacts::from),
        removed: rows.removed.into_iter().map(RemovedFacts::from).collect(),
        gaps: rows.gaps.into_iter().rev().map(GapFacts::from).collect(),
        floods: rows.floods.into_iter().map(FloodFacts::from).collect(),
    }
}

/// The headline of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusHeadline {
    pub title: String,
    pub since_ms: Option<i64>,
    pub text: String,
}

/// Since when the homeserver has been received without a known break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardSince {
    Never,
    /// There are only polls: no stream can break.
    PollsOnly,
    /// Since this time, ms, within the time considered.
    Time(i64),
    Always,
}

impl Status {
    /// The number of rooms by what can be read of them.
    fn counts(&self) -> RoomCounts {
        RoomCounts {
            followed: self.rooms_followed,
            unread: self.rooms_unread,
            encrypted: self.encrypted.len(),
            history_short: self.history_short,
        }
    }

    /// The state of the observer, from what the page knows.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let trouble = self.storage_trouble.as_ref();
        Standing::judge(
            &self.vantages,
            trouble,
            self.counts(),
            &self.seen,
            self.now_ms,
        )
    }

    /// The state of the observer in words; "well" only if everything is.
    #[must_use]
    pub fn headline(&self) -> StatusHeadline {
        let (title, text) = match self.standing() {
            Standing::NotStored => return self.not_stored(),
            Standing::Failing => {
                let vantage = self.account_with_error();
                let error = vantage.and_then(|vantage| vantage.error.as_deref());
                let was_heard = vantage.is_some_and(|vantage| vantage.heard_ms().is_some());
                let title = if was_heard {
                    "Reading from the homeserver fails"
                } else {
                    "Not connected to the homeserver"
                };

                (title, f::sanitize_message(error.unwrap_or_default()))
            }
            Standing::Starting => (
                "Starting",
                "No homeserver account has been read for the first time yet.".to_owned(),
            ),
            Standing::Silent => (
                "Nothing is heard",
                "The homeserver says nothing, though no error tells why. What is said of now may \
                 be old."
                    .to_owned(),
            ),
            Standing::NoRooms => (
                "No room is watched yet",
                "Sync works, and the account is in no room.".to_owned(),
            ),
            Standing::Troubled => {
                let error = self
                    .account_with_error()
                    .and_then(|vantage| vantage.error.as_deref());
                let title = "Sync works, with errors";
                (title, f::sanitize_message(error.unwrap_or_default()))
            }
            Standing::PartlyBlind => ("Not everything can be seen", self.rooms_sentences()),
            Standing::PartOfHistory => (
                "Now is seen, and history only in part",
                format!("{} It is asked again by itself.", self.rooms_sentences()),
            ),
            Standing::Well => ("All is well", self.rooms_sentences()),
        };

        StatusHeadline {
            title: title.to_owned(),
            since_ms: None,
            text,
        }
    }

    /// What is followed, and what is missing: two short sentences.
    fn rooms_sentences(&self) -> String {
        let counts = self.counts();
        let followed = format!("Sync works; {}{}.", counts.words(), self.still_reading());

        match counts.missing_words() {
            Some(missing) => format!("{followed} {missing}"),
            None => followed,
        }
    }

    /// The headline while nothing can be stored: what is wrong with the database, since when, and
    /// what to do.
    fn not_stored(&self) -> StatusHeadline {
        let Some(trouble) = &self.storage_trouble else {
            return StatusHeadline {
                title: "Nothing can be stored".to_owned(),
                since_ms: None,
                text: String::new(),
            };
        };

        let words = trouble.words();

        StatusHeadline {
            title: words.what.to_owned(),
            since_ms: Some(trouble.since_ms),
            text: format!(
                "nothing is stored ({}). {}",
                f::sanitize_line(&trouble.error),
                words.to_do
            ),
        }
    }

    /// The end of a sentence that says in how many rooms history is still being read; empty if in
    /// none.
    fn still_reading(&self) -> String {
        if self.history_open == 0 {
            return String::new();
        }

        let rooms = f::count_with_noun(self.history_open, "room", "rooms");

        format!("; the history of {rooms} is still being read")
    }

    /// What the page says if no encrypted membership was seen: that there is none, or why that is
    /// not known.
    #[must_use]
    pub fn unencrypted_words(&self) -> &'static str {
        if !self.ready || self.rooms_followed == 0 {
            return "Not known: no room has been read yet.";
        }

        if !self.vantages.iter().all(|vantage| vantage.sticky_events) {
            return "No encrypted sticky event was seen. The homeserver does not offer sticky \
                    events, so they would not come to us, encrypted or not.";
        }

        if self.rooms_unread > 0 {
            return "No encrypted sticky event was seen in the rooms that can be read.";
        }

        "No encrypted sticky event was seen in any room."
    }

    /// What the page says if no room has a problem: that there is none, or why that is not known.
    #[must_use]
    pub fn untroubled_words(&self) -> &'static str {
        if !self.ready {
            return "Not known: no room has been read yet.";
        }

        if self.rooms_followed == 0 {
            return "None, as no room is followed.";
        }

        "None. Every room answered when it was last looked at."
    }

    /// Since when the homeserver has been heard, within the 30 days whose breaks the page lists.
    #[must_use]
    pub fn heard_since(&self) -> HeardSince {
        let heard = self
            .vantages
            .iter()
            .filter_map(|vantage| vantage.first_sync_ms);
        let Some(first) = heard.min() else {
            return HeardSince::Never;
        };

        if self.vantages.iter().all(|vantage| !vantage.follows()) {
            return HeardSince::PollsOnly;
        }

        if first > self.now_ms - 30 * f::DAY {
            return HeardSince::Time(first);
        }

        HeardSince::Always
    }

    /// The first account with an error.
    #[must_use]
    pub fn account_with_error(&self) -> Option<&VantageFacts> {
        self.vantages.iter().find(|vantage| vantage.error.is_some())
    }

    /// The invitations in the list on the page.
    #[must_use]
    pub fn shown_invitations(&self) -> &[InvitationFacts] {
        &self.invitations[..self.invitations.len().min(INVITATIONS_SHOWN)]
    }

    /// The reads of history in the list on the page.
    #[must_use]
    pub fn shown_walks(&self) -> &[WalkFacts] {
        &self.walks[..self.walks.len().min(READS_SHOWN)]
    }

    /// The number of deleted items of this kind.
    #[must_use]
    pub fn removed(&self, what: &str) -> i64 {
        self.removed
            .iter()
            .find(|row| row.what == what)
            .map_or(0, |row| row.total)
    }

    /// When deletion by age last ran, ms.
    #[must_use]
    pub fn removed_ms(&self) -> Option<i64> {
        self.removed.iter().map(|row| row.last_ms).max()
    }

    /// The first rooms of a list: the JSON has all.
    #[must_use]
    pub fn first_rooms<'a>(&self, rooms: &'a [RoomFacts]) -> &'a [RoomFacts] {
        &rooms[..rooms.len().min(ROOMS)]
    }
}

/// The meaning of a rejection reason, for an admin: a sentence without its end. An unknown word is
/// returned unchanged.
#[must_use]
pub fn reason_words(reason: &str) -> String {
    let words = match reason {
        "bad_application" => "The application is not named, or by no valid name",
        "bad_created_ts" => "The time at which it says that it began is no number",
        "bad_device_id" | "no_device_id" => "The device is not named, or by no text",
        "bad_foci_preferred" | "bad_transports" => "The list of SFUs is not of the right form",
        "bad_focus_active" | "no_focus_active" => {
            "How the SFU is chosen is not said, or not in the right form"
        }
        "bad_intent" => "The kind of the call (voice or video) is no text",
        "bad_m_calls" => "The list of calls is no list",
        "bad_m_devices" => "The list of devices is no list",
        "bad_memberships" => "The list of memberships is no list",
        "bad_scope" => "The scope of the call is no text",
        "bad_session_id" => "The name of the session is no text",
        "bad_slot_id" | "no_slot_id" => {
            "The slot of the call is not named, or does not fit the application"
        }
        "bad_state_key" => "The state key is no text",
        "bad_sticky_key" | "no_sticky_key" => "The sticky key is missing or no text",
        "born_expired" => "It was over before it came",
        "content_not_an_object" => "The content is no JSON object",
        "encrypted" => "It came encrypted, and we have no key",
        "foreign_user_id" => "It names another user than its sender",
        "id_too_long" => "An id in it is too long",
        "no_application" => "No application is named",
        "no_call_id" => "The call is not named",
        "bad_call_id" => "The name of the call holds the mark that parts names",
        "no_expires_ts" => "It does not say when it expires",
        "no_event_id" | "no_type" | "no_sender" | "no_origin_server_ts" => {
            "It lacks what every event has"
        }
        "no_session_id" => "The session is not named",
        "no_member" | "no_member_id" => "The member is not named",
        "loses_to_longer" => "Another sticky event of the same key counts longer",
        "not_in_room" => "Its sender was not in the room",
        "not_sticky" => "It should be a sticky event and is none",
        "redacted" => "Its content was deleted before we could read it",
        "slot_closed" => "The slot of the call was closed",
        "two_sticky_keys" => "It has two sticky keys that differ",
        _ => return f::sanitize_line(reason),
    };

    words.to_owned()
}

#[derive(Template)]
#[template(path = "status.html")]
struct Html<'a> {
    page: &'a Status,
    shell: &'a Shell,
    now: i64,
}

impl Page for Status {
    const SECTION: Section = Section::Status;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: self.now_ms,
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn reasons_of_the_fold_and_of_what_is_no_event_have_words_too() {
        for reason in [
            "born_expired",
            "loses_to_longer",
            "no_session_id",
            "no_event_id",
            "no_type",
            "no_sender",
        ] {
            assert!(!super::reason_words(reason).contains('_'), "{reason}");
        }
    }
}
