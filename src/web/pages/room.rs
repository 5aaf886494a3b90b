//! `/rooms/{id}`: one room: now, a year of calls, the last ones, and which times are known.

use super::{room_at, status};
use crate::rtc::coverage::{Cover, Interval, Span};
use crate::rtc::words::{JobEnd, Watch};
use crate::store::ingest::{access, rooms, sender_limit, state_resets};
use crate::store::model::{self, CallFilter};
use crate::store::read::rings::{self, RingCounts};
use crate::store::read::{calls, events, history_progress, zombies};
use crate::store::stats::scope::Scope;
use crate::store::stats::{concurrency, usage};
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::chart::{self, ColumnChart};
use crate::web::svg::heat::{self, Year};
use crate::web::svg::{blind, shape};
use crate::web::view::format as f;
use crate::web::view::liveness::{Liveness, no_such_room};
use crate::web::view::{
    AccessFacts, CallFacts, CoverageFacts, Flip, FloodFacts, Moment, RejectedFacts, RoomFacts,
    RoomFindingFacts, RoomLink, RoomNeedFacts, SideBySideFacts, StateResetFacts, SumFacts,
    WalkFacts, ZombieFacts,
};
use crate::web::{Web, view};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Parameters of the page.
pub const KNOWN: &[&str] = &["at"];
const RECENT: i64 = 10;
const REJECTED: i64 = 100;
/// Maximum number of spans of coverage in the list on the page; the JSON has all.
const INTERVALS: usize = 12;
/// Maximum number of notifications read, the newest; and of zombies.
const RINGS: i64 = 100;
const ZOMBIES: i64 = 50;
const FLOODS: i64 = 20;
/// Maximum number of accounts named that may join a call, and of those that may not.
const NAMED: usize = 8;
/// Maximum number of reads of history in the JSON; a busy room has had many gaps.
const READS: i64 = 20;
/// Maximum number of flips in the list on the page.
const FLIPS: usize = 10;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoomPage {
    #[serde(flatten)]
    pub room: RoomFacts,
    /// The newest calls, running ones among them.
    pub recent: Vec<CallFacts>,
    /// Those of them that ran side by side without a meeting, the newest first.
    pub side_by_side: Vec<SideBySideFacts>,
    /// The sums of the last 30 days.
    pub last_30_days: SumFacts,
    /// Rings of the last 30 days.
    pub rings: RingCounts,
    /// The calls of the last year as `[started ms, most devices at once]`, oldest first.
    pub year: Vec<(i64, i64)>,
    pub rejected_events: Vec<RejectedFacts>,
    /// The coverage of the room from its beginning until now, without holes.
    pub coverage: Vec<CoverageFacts>,
    /// Walks through its history: that of the whole room first, then gaps, newest first.
    pub walks: Vec<WalkFacts>,
    /// Memberships that a state reset restored, newest first.
    pub zombies: Vec<ZombieFacts>,
    /// Senders of more events than are stored, the last first; at most 20.
    pub floods: Vec<FloodFacts>,
    /// All changes by state resets: memberships of calls and of the room that vanished or came
    /// back, newest first.
    pub state_resets: Vec<StateResetFacts>,
    /// Event types in use by which not everybody may join a call here, or open its slot; empty if
    /// everybody may.
    pub access: Vec<AccessFacts>,
    /// The account to invite, if a successor cannot be followed.
    pub observer_user_id: Option<String>,
    /// Who was in which call at the requested moment `at`.
    pub then: Option<Moment>,
    /// The text in the field for that moment.
    #[serde(skip)]
    pub asked: room_at::AskedMoment,
    #[serde(skip)]
    cover: Vec<Interval>,
    #[serde(skip)]
    pub(super) flips: Vec<Flip>,
}

/// `GET /rooms/{id}` and `GET /api/v1/rooms/{id}`: one room, as a page or as JSON.
pub async fn get_room(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(&web, &ask, load_room_page(&web, &ask, &id).await).await
}

/// Reads everything that the page or its JSON shows of the room with this id or alias. Redirects to
/// the address with the id if it was an alias.
async fn load_room_page(
    web: &Web,
    ask: &PageRequest,
    id: &str,
) -> Result<PageAnswer<RoomPage>, Error> {
    let query = ask.read_query(KNOWN)?;
    let asked = room_at::AskedMoment::read(&query, ask.now);
    // The page says by its field what is wrong with `at`; a program gets an error.
    if ask.api {
        room_at::moment_of_query(&query, ask.now)?;
    }

    let (store, now) = (&web.store, ask.now);
    // Read the progress of history first. Calls found meanwhile may be missing from it, but a
    // history reported as read must not lack any calls.
    let reads = history_progress::progress_of_room(store, id, READS).await?;
    let cover = super::coverage_of(web, ask, id).await?;
    let Some(room) = rooms::find_room(store, id, now).await? else {
        return Err(no_such_room(web, now).await);
    };

    let room_id = room.room.room_id.clone();
    if room_id != id {
        return Ok(PageAnswer::Redirect(format!(
            "/rooms/{}",
            f::path_segment(&room_id)
        )));
    }

    let filter = CallFilter {
        room: Some(room_id.clone()),
        ..Default::default()
    };

    let recent = calls::list_calls(store, &filter, None, RECENT, now).await?;
    let recent = super::read_calls_with_members(web, ask, recent).await?;
    let active = super::read_running_in_room(web, ask, &room_id).await?;
    let present = Liveness::read(web, now).await?;
    let year = concurrency::call_starts_in_room(store, &room_id, heat::first_day(now)).await?;
    let rejected = events::list_rejected(store, Some(&room_id), None, REJECTED).await?;
    // Whole days and today, as in the statistics of 30 days.
    let month = Span {
        from: f::start_of_day(now) - 29 * f::DAY,
        to: now,
    };

    let gone = view::gone_in_calls(active.iter());
    let scope = Scope::Room(&room_id);
    let sums = usage::sums_of_span(store, scope, month, now, &gone).await?;
    let mut page = room_page(
        room,
        recent,
        year,
        rejected,
        cover,
        SumFacts::new(&sums, month),
    );
    let active: Vec<&CallFacts> = active.iter().collect();
    page.room = page.room.with_now(present.room(&room_id), &active);
    page.room.older_rules = store.is_from_older_rules(&room_id);
    page.zombies = zombies::zombies_of_room(store, &room_id, ZOMBIES)
        .await?
        .into_iter()
        .map(ZombieFacts::from)
        .collect();
    page.state_resets = state_resets::resets_of_room(store, &room_id, None, ZOMBIES)
        .await?
        .into_iter()
        .map(StateResetFacts::from)
        .collect();
    let observer_counted = page.room.watch == Watch::Joined;
    page.access = access::name_accounts(store, &room_id, NAMED)
        .await?
        .into_iter()
        .map(|named| AccessFacts::new(named, observer_counted))
        .collect();
    page.observer_user_id = super::find_account(web).await?;
    page.room
        .findings
        .extend(RoomFindingFacts::of_calls(page.recent.iter()));
    if page.room.predecessor.is_none() {
        page.room.replaces = rooms::replaced_by(store, &room_id).await?;
    }

    page.room = page.room.with_needs(page.observer_user_id.as_deref());
    page.walks = reads.into_iter().map(WalkFacts::from).collect();
    page.rings = rings::rings_within(store, Scope::Room(&room_id), month, now, RINGS).await?;
    page.floods = sender_limit::list_floods_of_room(store, &room_id, FLOODS)
        .await?
        .into_iter()
        .map(FloodFacts::from)
        .collect();
    page.flips = room_at::read_last_flips(web, ask, &room_id).await?;
    if let Some(at) = asked.moment() {
        page.then = Some(room_at::load_moment(web, ask, page.room.room.clone(), at).await?);
    }

    page.asked = asked;

    Ok(page.into())
}

/// The page of a room from its rows. `year` has the calls of the last year as `(started ms, most
/// devices at once)`. The rest, such as rings and walks, is empty and filled in by the caller.
#[must_use]
pub fn room_page(
    room: model::RoomRow,
    recent: Vec<CallFacts>,
    year: Vec<(i64, i64)>,
    rejected: Vec<model::Rejected>,
    cover: Vec<Interval>,
    last_30_days: SumFacts,
) -> RoomPage {
    let rejected_events = rejected.into_iter().map(RejectedFacts::from).collect();
    let coverage = cover.iter().map(CoverageFacts::from).collect();
    let (walks, zombies, flips) = (Vec::new(), Vec::new(), Vec::new());

    RoomPage {
        room: room.into(),
        side_by_side: SideBySideFacts::of_calls(&recent),
        recent,
        last_30_days,
        rings: RingCounts::default(),
        year,
        rejected_events,
        coverage,
        walks,
        zombies,
        floods: Vec::new(),
        state_resets: Vec::new(),
        access: Vec::new(),
        observer_user_id: None,
        then: None,
        asked: room_at::AskedMoment::default(),
        cover,
        flips,
    }
}

impl RoomPage {
    /// What would have to be done so that the room can be seen.
    pub fn own_needs(&self) -> impl Iterator<Item = &RoomNeedFacts> {
        self.room.needs.iter().filter(|need| need.is_of_sight())
    }

    /// Can the room not be read, so that the present is unknown?
    #[must_use]
    pub fn is_unread(&self) -> bool {
        !self.room.watch.is_read() || self.room.error.is_some()
    }

    /// The successor, if we are not in it.
    #[must_use]
    pub fn not_followed(&self) -> Option<&RoomLink> {
        self.room
            .successor
            .as_ref()
            .filter(|link| !link.is_followed())
    }

    /// The types of events by which not everybody may join a call; none if the room was replaced,
    /// because calls then are in the new one.
    pub fn few_may_join(&self) -> impl Iterator<Item = &AccessFacts> {
        let is_replaced = self.room.replaced_by.is_some();
        self.access
            .iter()
            .filter(move |access| access.joins && !is_replaced)
    }

    /// Findings of the room that have no words of their own on the page.
    pub fn other_findings(&self) -> impl Iterator<Item = &RoomFindingFacts> {
        let is_other = |finding: &&RoomFindingFacts| finding.kind.is_no_goodbye();
        self.room.findings.iter().filter(is_other)
    }

    /// The newest call that runs, without those that are stuck.
    #[must_use]
    pub fn running(&self) -> Option<&CallFacts> {
        self.recent.iter().find(|call| call.is_running())
    }

    /// The newest call in which only devices are left that are probably gone.
    #[must_use]
    pub fn stuck(&self) -> Option<&CallFacts> {
        self.recent.iter().find(|call| call.is_stuck())
    }

    /// The picture of the last year: a square for each day, by how many calls began on it. Days
    /// that are not known, or that nobody watched, are marked.
    #[must_use]
    pub fn heat(&self, now_ms: impl f::WholeNumber) -> Year {
        let blind: Vec<_> = blind::unobserved_spans(&self.cover).collect();
        // Nothing is known about the time before the first span; usually the room did not exist.
        let known = self
            .cover
            .first()
            .map_or(now_ms.whole(), |first| first.span.from);

        heat::draw_year(
            self.year.iter().map(|(started, _)| *started),
            known,
            &blind,
            now_ms.whole(),
        )
    }

    /// The beginning of the first day that is known, ms, if the year's picture begins before it.
    #[must_use]
    pub fn known_since(&self, now_ms: impl f::WholeNumber) -> Option<i64> {
        let known = self
            .cover
            .first()
            .map(|first| f::start_of_day(first.span.from));
        known.filter(|known| *known > heat::first_day(now_ms.whole()))
    }

    /// The picture of the last 30 days: a column for each day.
    #[must_use]
    pub fn month(&self, now_ms: impl f::WholeNumber) -> ColumnChart {
        chart::draw_daily_columns(
            &self.year,
            blind::unobserved_spans(&self.cover),
            30,
            now_ms.whole(),
        )
    }

    /// The largest call of the year: the most devices at once, and when it started, ms. `None`
    /// without calls.
    #[must_use]
    pub fn largest(&self) -> Option<(i64, i64)> {
        self.year
            .iter()
            .map(|(started, peak)| (*peak, *started))
            .max()
    }

    /// The weekday with most calls, by name, and its hour in which most begin, as hour of the week
    /// from Monday, in UTC. `None` with fewer than ten calls.
    #[must_use]
    pub fn busiest(&self) -> Option<(String, i64)> {
        if self.year.len() < 10 {
            return None;
        }

        let mut days: BTreeMap<i8, (usize, BTreeMap<i8, usize>)> = BTreeMap::new();
        for (started, _) in &self.year {
            let at = f::utc_datetime(*started);
            let day = days
                .entry(at.weekday().to_monday_zero_offset())
                .or_default();
            day.0 += 1;
            *day.1.entry(at.hour()).or_default() += 1;
        }

        let (day, (_, hours)) = days.into_iter().max_by_key(|(_, (calls, _))| *calls)?;
        let (hour, _) = hours.into_iter().max_by_key(|(_, calls)| *calls)?;
        let names = [
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
        ];
        let name = names.get(usize::try_from(day).ok()?)?;

        Some(((*name).to_owned(), i64::from(day) * 24 + i64::from(hour)))
    }

    /// The time, ms, from which on everything is known, except for later gaps. `None` if nothing
    /// is.
    #[must_use]
    pub fn complete_since(&self) -> Option<i64> {
        if self.room.is_never_read() {
            return None;
        }

        let known = || {
            self.coverage
                .iter()
                .find(|interval| !interval.is_blind())
                .map(|interval| interval.from_ms)
        };

        self.hidden_until().or_else(known)
    }

    /// The time, ms, until which the room's history is hidden from us; `None` if it is not. Hidden
    /// time within one day, between the room's creation and the setting of its visibility or our
    /// joining, is not reported.
    #[must_use]
    pub fn hidden_until(&self) -> Option<i64> {
        let days = |interval: &CoverageFacts| {
            f::start_of_day(interval.from_ms) < f::start_of_day(interval.to_ms)
        };
        let hidden =
            |interval: &&CoverageFacts| interval.kind == Cover::NotVisible && days(interval);

        self.coverage
            .iter()
            .rfind(hidden)
            .map(|interval| interval.to_ms)
    }

    /// How the read of the whole room ended, in words. One that reached the beginning past hidden
    /// time has not read everything.
    #[must_use]
    pub fn history_end(&self, walk: &WalkFacts) -> &'static str {
        if self.hidden_until().is_some() && walk.ended_by == Some(JobEnd::Beginning) {
            return "read as far as we may see";
        }

        walk.end()
    }

    /// The number and the total length, ms, of the breaks in our watching since we first saw the
    /// room: with `read` those that were read from history later, else those that were not.
    fn breaks(&self, read: bool) -> (usize, i64) {
        let kind = if read { Cover::Backfilled } else { Cover::Gap };
        let since = self.room.first_seen_ms;
        let found = self
            .coverage
            .iter()
            .filter(|one| one.kind == kind && one.to_ms > since);
        let lengths: Vec<i64> = found
            .map(|one| one.to_ms - one.from_ms.max(since))
            .collect();

        (lengths.len(), lengths.iter().sum())
    }

    /// The number and the total length, ms, of breaks that were read from history later.
    #[must_use]
    pub fn filled(&self) -> (usize, i64) {
        self.breaks(true)
    }

    /// The number and the total length, ms, of breaks that were not read later: the gaps.
    #[must_use]
    pub fn open(&self) -> (usize, i64) {
        self.breaks(false)
    }

    /// The read of the whole room.
    #[must_use]
    pub fn history(&self) -> Option<&WalkFacts> {
        self.walks.iter().find(|walk| walk.is_history())
    }

    /// Gaps that are being read now.
    #[must_use]
    pub fn open_gaps(&self) -> Vec<&WalkFacts> {
        self.walks
            .iter()
            .filter(|walk| !walk.is_history() && walk.is_open())
            .collect()
    }

    /// Gaps of which the homeserver did not return all history.
    #[must_use]
    pub fn short_gaps(&self) -> Vec<&WalkFacts> {
        let gaps = self.walks.iter().filter(|walk| !walk.is_history());
        gaps.filter(|walk| walk.is_short() && walk.again_ms.is_some())
            .collect()
    }

    /// The newest intervals, newest first, for the list on the page.
    #[must_use]
    pub fn intervals(&self) -> Vec<&CoverageFacts> {
        self.coverage.iter().rev().take(INTERVALS).collect()
    }

    /// The newest flips, for the list.
    #[must_use]
    pub fn last_flips(&self) -> &[Flip] {
        &self.flips[..self.flips.len().min(FLIPS)]
    }

    /// All calls of this room.
    #[must_use]
    pub fn all_href(&self) -> String {
        format!("/calls?{}", self.query())
    }

    /// All rejected events of this room.
    #[must_use]
    pub fn rejected_href(&self) -> String {
        format!("/rejected?{}", self.query())
    }

    /// The parameter that names this room in a list.
    fn query(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("room", &self.room.room.room_id)
            .finish()
    }
}

#[derive(Template)]
#[template(path = "room.html")]
struct Html<'a> {
    page: &'a RoomPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for RoomPage {
    const SECTION: Section = Section::Rooms;

    fn room_id(&self) -> Option<&str> {
        Some(&self.room.room.room_id)
    }

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
