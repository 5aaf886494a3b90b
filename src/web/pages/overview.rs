//! `/`: running calls, today's numbers, the last 24 hours, and what cannot be seen.

use super::observer_state::{RoomCounts, Standing, refused_successors};
use super::saturating_i64;
use crate::rtc::coverage::Span;
use crate::rtc::id::server_of;
use crate::rtc::words::Watch;
use crate::store::Reader;
use crate::store::db::health::Trouble;
use crate::store::ingest::invitations::{self, PendingInvitation};
use crate::store::ingest::{rooms, vantages};
use crate::store::model::{self, SpanNumbers};
use crate::store::read::coverage::{self, UnheardSpan};
use crate::store::read::{calls, history_progress};
use crate::store::stats::ghost_time::Gone;
use crate::store::stats::{concurrency, distributions};
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::axis::Axis;
use crate::web::svg::chart::{self, StepChart};
use crate::web::svg::shape::{self, Shape};
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{
    CallFacts, GapFacts, InvitationFacts, NowFacts, RoomFacts, RoomLook, RoomRef, Stamp,
    StorageTroubleFacts, VantageFacts, count_calls_to_look_at, count_sessions,
    find_rooms_to_look_at, inferred_words, not_exact_words,
};
use crate::web::{Web, view};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Maximum number of running calls shown as a card, and as a line.
const CARDS: usize = 20;
const LINES: usize = 176;
/// Maximum number of running calls with which cards lead to people and into calls.
const CARDS_LEADING: usize = 12;
/// Maximum number of probably stuck calls on the page.
const STUCK: usize = 10;
/// Number of recently ended calls on the page.
const ENDED: i64 = 5;
/// Maximum number of invitations in the JSON, and on the empty page.
const INVITATIONS: i64 = 20;
const INVITATIONS_SHOWN: usize = 3;
/// Maximum number of steps for the last 24 hours; number of stays of a day from which on they are
/// not counted again for each change.
const STEPS: i64 = 2880;
const STAYS_DEAR: i64 = 20_000;
/// Maximum number of rooms that need a look, on the page and in its JSON.
const LOOKS: usize = 12;
/// Maximum number of rooms named in one remark.
const NAMED: usize = 3;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Overview {
    pub now_ms: i64,
    pub now_at: Stamp,
    /// Calls that run: what needs a look first, then most people first.
    pub active: Vec<CallFacts>,
    /// Calls that still count as active, but in which only devices are left that are probably gone.
    pub stuck: Vec<CallFacts>,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    #[serde(flatten)]
    pub numbers_now: NowFacts,
    /// People, devices (user and device) and homeservers in calls now, each once, in however many
    /// calls; without those that are probably gone, as `people_now`, `devices_now` and
    /// `servers_now`.
    pub people: usize,
    pub devices: usize,
    pub servers: usize,
    /// How many calls run now. Where it is more than `active` holds, `active` has some of each
    /// room.
    pub active_total: i64,
    pub today: Numbers,
    /// The same weekday last week, up to the same time of day.
    pub last_week: Numbers,
    /// Whether that day is known, so that it may be compared with.
    pub compared: bool,
    /// Devices in calls at once over the last 24 hours, each once however many calls it is in, as
    /// steps of `[time ms, devices]`. Those that are probably gone count up to the last that was
    /// heard of them.
    pub concurrency: Vec<(i64, i64)>,
    /// False where there were too many steps: then each is the most of about half a minute.
    pub concurrency_whole: bool,
    /// Breaks of the last 24 hours in which no homeserver was heard.
    pub gaps: Vec<GapFacts>,
    pub ended: Vec<CallFacts>,
    pub unseen: Vec<Unseen>,
    /// Rooms whose own state needs a look: the first few, and how many there are.
    pub rooms_to_look_at: Vec<RoomLook>,
    pub rooms_to_look_at_total: usize,
    pub watched: Watched,
    /// The homeserver of our account, if somebody of it was ever in a call.
    #[serde(skip)]
    pub own_server: Option<String>,
    /// Some of it is from older rules or other settings: calls are just being derived again.
    pub older_rules: bool,
}

/// The numbers of one span of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Numbers {
    pub from_ms: i64,
    pub to_ms: i64,
    pub calls: i64,
    /// Calls of which start, end and everything between were seen.
    pub calls_exact: i64,
    pub people: i64,
    /// Device time in calls: ten devices for six minutes are one hour.
    pub together_ms: i64,
    /// The same without what is inferred from expiry and claims, or was not watched.
    pub together_seen_ms: i64,
    pub longest_ms: i64,
    pub longest_id: Option<String>,
    pub longest_room: Option<RoomRef>,
    /// Most devices in calls at once, each once however many calls it was in; and when that was
    /// first.
    pub peak: i64,
    pub peak_ms: Option<i64>,
}

impl Numbers {
    /// The numbers of the span from `from_ms` to `to_ms`.
    fn new(row: SpanNumbers, from_ms: i64, to_ms: i64) -> Self {
        Self {
            from_ms,
            to_ms,
            calls: row.calls,
            calls_exact: row.calls_exact,
            people: row.people,
            together_ms: row.together_ms,
            together_seen_ms: row.together_seen_ms,
            longest_ms: row.longest_ms,
            longest_id: row.longest_id,
            longest_room: row.longest_room.map(RoomRef::from),
            peak: row.peak,
            peak_ms: row.peak_ms,
        }
    }
}

impl Numbers {
    /// The number of calls that are not exact, in words, if any.
    #[must_use]
    pub fn not_exact(&self) -> Option<String> {
        not_exact_words(self.calls, self.calls_exact)
    }

    /// How much time is inferred, in words, if any.
    #[must_use]
    pub fn inferred(&self) -> Option<String> {
        inferred_words(self.together_ms, self.together_seen_ms)
    }
}

/// Something that we cannot see, and in which rooms.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Unseen {
    pub kind: UnseenKind,
    pub count: usize,
    /// The first few rooms.
    pub rooms: Vec<RoomRef>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnseenKind {
    /// Sticky member events came encrypted.
    EncryptedMembers,
    /// History before we joined is hidden.
    SinceJoined,
    /// Requested, but not readable.
    Blind,
    /// Successors of followed rooms that cannot be joined; nobody requested them.
    Successor,
    /// The homeserver gave their history only in part.
    HistoryShort,
    /// The bot left or was removed.
    Left,
}

/// What the observer follows, and its state.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Watched {
    pub rooms: usize,
    /// The number of rooms that are followed, and of rooms that cannot be read now or whose last
    /// poll failed.
    pub followed: usize,
    pub unread: usize,
    pub history_open: usize,
    /// Rooms of which the homeserver gave the history only in part, and which are asked for again.
    pub history_short: usize,
    pub calls_ever: i64,
    pub unreadable: i64,
    pub oldest_event_ms: Option<i64>,
    pub vantages: Vec<VantageFacts>,
    /// Invitations that wait because the configuration does not allow them; at most 20.
    pub invitations: Vec<InvitationFacts>,
    /// Nothing can be stored, so nothing about the present is known; null if there is no problem.
    pub storage_trouble: Option<StorageTroubleFacts>,
}

/// The data of the page.
#[derive(Debug, Clone, Default)]
pub struct OverviewRows {
    pub active: Vec<CallFacts>,
    pub active_total: i64,
    pub ended: Vec<CallFacts>,
    pub day: DayCounts,
    pub compared: bool,
    pub gaps: Vec<UnheardSpan>,
    pub rooms: Vec<model::RoomRow>,
    /// Rooms of which the homeserver gave the history only in part.
    pub short: Vec<model::RoomName>,
    pub vantages: Vec<model::Vantage>,
    /// Whether the present is known.
    pub seen: AllSeenFacts,
    /// The homeserver of our account, if somebody of it was ever in a call.
    pub own_server: Option<String>,
    /// Some calls are from older rules.
    pub older_rules: bool,
    pub trouble: Option<Trouble>,
    pub invitations: Vec<PendingInvitation>,
}

/// The counts of the last 24 hours, and of the same time last week.
#[derive(Debug, Clone, Default)]
pub struct DayCounts {
    pub today: SpanNumbers,
    pub last_week: SpanNumbers,
    pub concurrency: Vec<(i64, i64)>,
    pub concurrency_whole: bool,
    /// Is the time of last week's numbers known?
    pub compared: bool,
}

impl DayCounts {
    /// Counts today (UTC) until now and the same time last week, and the devices of the last 24
    /// hours. Nobody saw the devices of `gone` after they were last heard. `gone` must be as of the
    /// request's time.
    async fn read(store: &Reader, ask: &PageRequest, gone: &Gone) -> Result<Self, Error> {
        let now = ask.now;
        let (midnight, yesterday) = (f::start_of_day(now), now - f::DAY);
        let last_week = Span {
            from: midnight - 7 * f::DAY,
            to: now - 7 * f::DAY,
        };

        // This comes first: everything reported as known is counted after it.
        let compared = coverage::is_span_known(store, last_week, now).await?;
        let last_hours = Span {
            from: yesterday,
            to: now,
        };

        // This includes the devices of today.
        let devices = concurrency::DevicesOfSpan::read(store, last_hours, now, gone).await?;
        let steps = devices.steps(last_hours);
        let (concurrency, concurrency_whole) = concurrency::thin_steps(steps, last_hours, STEPS);
        let today = Span {
            from: midnight,
            to: now,
        };

        Ok(Self {
            today: concurrency::numbers_with_devices(store, today, now, gone, &devices).await?,
            last_week: concurrency::numbers_of_span(store, last_week, now, gone).await?,
            concurrency,
            concurrency_whole,
            compared,
        })
    }

    /// Was so much counted that it is kept for a while, and not counted again for each change?
    fn is_dear(&self) -> bool {
        self.today.stays + self.last_week.stays > STAYS_DEAR || !self.concurrency_whole
    }
}

/// `GET /` and `GET /api/v1/overview`: the first page, as a page or as JSON.
pub async fn get_overview(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_overview_page(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// Reads everything that the overview shows. The wall shows a part of it.
pub(super) async fn load_overview_page(web: &Web, ask: &PageRequest) -> Result<Overview, Error> {
    ask.read_query(&[])?;
    let (store, now) = (&web.store, ask.now);
    let running = super::read_running_calls(web, ask).await?;
    let midnight = web.cache_key(&f::start_of_day(now).to_string());
    let days = &web.memory.days;
    let gone = view::gone_in_calls(running.calls.iter());
    let day = days.get_dear(
        &midnight,
        DayCounts::is_dear,
        Box::pin(DayCounts::read(store, ask, &gone)),
    );
    let ended = calls::ended_last(store, now - f::DAY, now, ENDED).await?;
    let day = day.await?;
    let vantages = vantages::list_vantages_for(store).await?;
    let rows = OverviewRows {
        own_server: find_own_server(store, &vantages).await?,
        active: running.calls.clone(),
        active_total: running.total,
        ended: super::read_calls_with_members(web, ask, ended).await?,
        compared: day.compared,
        day,
        gaps: coverage::list_unheard_spans(store, now - f::DAY, now).await?,
        rooms: rooms::list_rooms(store, now).await?,
        short: history_progress::rooms_ended_early(store).await?,
        seen: Liveness::read(web, now).await?.everything(),
        vantages,
        older_rules: store.has_older_rules(),
        trouble: store.trouble(now),
        invitations: invitations::list_waiting_invitations(store, INVITATIONS).await?,
    };

    Ok(overview_page(rows, now))
}

/// The homeserver of the first of these accounts that is signed in; `None` if nobody of it was seen
/// in a call, so that it has no page.
async fn find_own_server(
    store: &Reader,
    vantages: &[model::Vantage],
) -> Result<Option<String>, Error> {
    let signed_in = vantages.iter().find(|vantage| !vantage.user_id.is_empty());
    let Some(server) = signed_in.map(|vantage| server_of(&vantage.user_id)) else {
        return Ok(None);
    };

    let is_known = distributions::is_known_server(store, server).await?;
    Ok(is_known.then(|| server.to_owned()))
}

/// The page from its rows. They must be as of `now`, ms.
#[must_use]
pub fn overview_page(mut rows: OverviewRows, now: i64) -> Overview {
    rows.active.sort_by_key(CallFacts::rank);
    let listed = rows.active.len();
    let active_total = rows.active_total.max(saturating_i64(listed));
    let numbers_now = NowFacts::count_members(rows.active.iter()).with_total(active_total, listed);
    let mut user_ids = rows.vantages.iter().map(|vantage| vantage.user_id.as_str());
    let account = user_ids.find(|user_id| !user_id.is_empty());
    let mut to_look_at = find_rooms_to_look_at(&rows.rooms, &rows.active, account);
    let rooms_to_look_at_total = to_look_at.len();
    to_look_at.truncate(LOOKS);
    let (stuck, active): (Vec<_>, Vec<_>) = rows.active.into_iter().partition(CallFacts::is_stuck);
    let midnight = f::start_of_day(now);
    let facts: Vec<RoomFacts> = rows.rooms.iter().cloned().map(RoomFacts::from).collect();
    let counts = RoomCounts::count_rooms(&facts);

    Overview {
        rooms_to_look_at: to_look_at,
        rooms_to_look_at_total,
        now_ms: now,
        now_at: Stamp(now),
        seen: rows.seen,
        numbers_now,
        people: numbers_now.people_now,
        devices: numbers_now.devices_now,
        servers: numbers_now.servers_now,
        active_total: active_total - saturating_i64(stuck.len()),
        active,
        stuck,
        today: Numbers::new(rows.day.today, midnight, now),
        last_week: Numbers::new(rows.day.last_week, midnight - 7 * f::DAY, now - 7 * f::DAY),
        compared: rows.compared,
        concurrency: rows.day.concurrency,
        concurrency_whole: rows.day.concurrency_whole,
        gaps: rows.gaps.into_iter().map(GapFacts::from).collect(),
        ended: rows.ended,
        unseen: list_unseen(&rows.rooms, &refused_successors(&facts), &rows.short),
        watched: Watched {
            rooms: rows.rooms.len(),
            followed: counts.followed,
            unread: counts.unread,
            history_open: rows.rooms.iter().filter(|room| room.history_open).count(),
            history_short: rows.short.len(),
            calls_ever: rows.rooms.iter().map(|room| room.calls).sum(),
            unreadable: rows.rooms.iter().map(|room| room.unreadable).sum(),
            oldest_event_ms: rows
                .rooms
                .iter()
                .filter_map(|room| room.oldest_event_ms)
                .min(),
            vantages: rows.vantages.into_iter().map(VantageFacts::from).collect(),
            invitations: rows
                .invitations
                .into_iter()
                .filter(|pending| !pending.accepted)
                .map(InvitationFacts::from)
                .collect(),
            storage_trouble: rows.trouble.map(StorageTroubleFacts::from),
        },
        own_server: rows.own_server,
        older_rules: rows.older_rules,
    }
}

/// What cannot be seen and in which rooms, without what there is none of. `refused` are successors
/// that nobody requested, by room id; `short` the rooms of which the homeserver gave the history
/// only in part.
fn list_unseen(
    rooms: &[model::RoomRow],
    refused: &BTreeSet<&str>,
    short: &[model::RoomName],
) -> Vec<Unseen> {
    let is_refused = |room: &model::RoomRow| refused.contains(room.room.room_id.as_str());
    // What was before we joined is hidden from us there.
    let late = |room: &model::RoomRow| {
        room.watch == Watch::Joined && room.history_visibility.as_deref() == Some("joined")
    };

    let unseen_of = |kind, test: &dyn Fn(&model::RoomRow) -> bool| {
        let found = || rooms.iter().filter(|room| test(room));
        let rooms = found()
            .take(NAMED)
            .map(|room| RoomRef::from(room.room.clone()))
            .collect();
        Unseen {
            kind,
            count: found().count(),
            rooms,
        }
    };

    let all = [
        unseen_of(UnseenKind::EncryptedMembers, &|room| room.unreadable > 0),
        unseen_of(UnseenKind::Blind, &|room| {
            room.watch == Watch::Blind && !is_refused(room)
        }),
        unseen_of(UnseenKind::Successor, &is_refused),
        Unseen {
            kind: UnseenKind::HistoryShort,
            count: short.len(),
            rooms: short
                .iter()
                .take(NAMED)
                .cloned()
                .map(RoomRef::from)
                .collect(),
        },
        unseen_of(UnseenKind::Left, &|room| room.watch == Watch::Left),
        unseen_of(UnseenKind::SinceJoined, &late),
    ];

    all.into_iter().filter(|unseen| unseen.count > 0).collect()
}

impl Unseen {
    /// The rooms by name, and how many more.
    #[must_use]
    pub fn names(&self) -> String {
        let mut names: Vec<String> = self.rooms.iter().map(|room| room.title.clone()).collect();
        if self.count > self.rooms.len() {
            names.push(format!("{} more", self.count - self.rooms.len()));
        }

        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

impl Overview {
    /// Do people on cards lead to their pages, and cards to the call itself? Not where there are so
    /// many calls that the page would be too long.
    #[must_use]
    pub fn cards_lead_on(&self) -> bool {
        self.active.len() <= CARDS_LEADING
    }

    /// The day a week ago, in UTC, for a filter.
    #[must_use]
    pub fn week_ago(&self) -> String {
        let day = f::utc_datetime(self.now_ms - 7 * f::DAY);
        day.strftime("%Y-%m-%d").to_string()
    }

    /// The number of running calls, including those that are not in the list.
    #[must_use]
    pub fn calls_now(&self) -> usize {
        let total = usize::try_from(self.active_total).unwrap_or(0);
        total.max(self.active.len())
    }

    /// The running calls that have a card, those that have a line, and whether there are still
    /// more, which the page does not show.
    #[must_use]
    pub fn split(&self, shell: &Shell) -> (&[CallFacts], &[CallFacts], bool) {
        let cards = shell.first(&self.active, CARDS);
        let after = &self.active[cards.len()..];
        let lines = shell.first(after, LINES);
        (cards, lines, cards.len() + lines.len() < self.calls_now())
    }

    /// The number of calls that need a look, and the first of them. Calls that ran side by side
    /// count as one.
    #[must_use]
    pub fn troubled(&self) -> (usize, Option<&CallFacts>) {
        count_calls_to_look_at(&self.active)
    }

    /// The number of running calls in words: `2 calls`, `1 whiteboard`.
    #[must_use]
    pub fn counted_active(&self) -> String {
        count_sessions(&self.active, self.calls_now())
    }

    /// The calls that are probably stuck, as many as the page has room for.
    #[must_use]
    pub fn stuck_shown(&self, shell: &Shell) -> &[CallFacts] {
        shell.first(&self.stuck, STUCK)
    }

    /// What runs now, in words.
    #[must_use]
    pub fn headline(&self) -> String {
        let calls = || self.counted_active();
        let people = || f::count_with_noun(self.people, "person", "people");
        let hidden = self.seen.hidden_rooms() > 0;

        match (self.active.is_empty(), self.seen.is_blind()) {
            (true, true) => "Not known whether there are calls".to_owned(),
            (false, true) => format!("{} when last seen, {}", calls(), people()),
            (true, false) if hidden => "No call that we can see".to_owned(),
            (true, false) => "No calls now".to_owned(),
            (false, false) => format!("{} now, {}", calls(), people()),
        }
    }

    /// What runs now, short, for the title of the page.
    #[must_use]
    pub fn heading(&self) -> String {
        match (self.active.is_empty(), self.seen.seen.unknown) {
            (_, true) if self.active.is_empty() || self.seen.is_blind() => {
                "Calls of now not known".to_owned()
            }
            (true, _) => "No calls now".to_owned(),
            _ => format!("{} now", self.counted_active()),
        }
    }

    /// The devices in calls over the last 24 hours as a picture, with the time that nobody watched
    /// and that was not read later.
    #[must_use]
    pub fn chart(&self) -> StepChart {
        let blind = self
            .gaps
            .iter()
            .filter(|gap| gap.unread_rooms > 0)
            .map(GapFacts::span);

        let axis = Axis {
            from: self.now_ms - f::DAY,
            to: self.now_ms,
        };

        chart::draw_step_chart(&self.concurrency, blind, axis, Some(self.now_ms))
    }

    /// The state of the observer, from what the page knows.
    fn standing(&self) -> Standing {
        let encrypted = self
            .unseen
            .iter()
            .find(|unseen| unseen.kind == UnseenKind::EncryptedMembers)
            .map_or(0, |unseen| unseen.count);
        let rooms = RoomCounts {
            followed: self.watched.followed,
            unread: self.watched.unread,
            encrypted,
            history_short: self.watched.history_short,
        };

        let trouble = self.watched.storage_trouble.as_ref();

        Standing::judge(
            &self.watched.vantages,
            trouble,
            rooms,
            &self.seen,
            self.now_ms,
        )
    }

    /// The state of the observer in a sentence; "well" only if everything is seen.
    #[must_use]
    pub fn watching_words(&self) -> String {
        match self.standing() {
            Standing::NotStored => {
                let trouble = self.watched.storage_trouble.as_ref();
                trouble.map_or_else(String::new, |trouble| format!("{}.", trouble.words().what))
            }
            Standing::Failing => "No sync with the homeserver.".to_owned(),
            Standing::Starting => {
                "Connecting to the homeserver; calls appear once it has answered.".to_owned()
            }
            Standing::Silent => {
                "The homeserver has said nothing for long, so what is shown may be old.".to_owned()
            }
            Standing::NoRooms => "Callscope watches no room yet.".to_owned(),
            Standing::Troubled => format!(
                "Callscope is watching, with errors: {}.",
                self.rooms_words()
            ),
            Standing::PartlyBlind => format!("Callscope is watching: {}.", self.rooms_words()),
            Standing::PartOfHistory => format!(
                "Callscope is watching: {}; of {} the homeserver gave the history only in part.",
                self.rooms_words(),
                f::count_with_noun(self.watched.history_short, "room", "rooms")
            ),
            Standing::Well => {
                let rooms = f::count_with_noun(self.watched.followed, "room", "rooms");
                // Next to a stuck call, "well" would suggest that nothing has to be done.
                let well = if self.stuck.is_empty() {
                    "well and "
                } else {
                    ""
                };

                format!("Callscope is {well}watching {rooms}.")
            }
        }
    }

    /// `12 rooms followed, 2 cannot be read`
    #[must_use]
    pub fn rooms_words(&self) -> String {
        let rooms = RoomCounts {
            followed: self.watched.followed,
            unread: self.watched.unread,
            ..RoomCounts::default()
        };

        rooms.words()
    }

    /// The user id to invite into rooms, made harmless; a general word as long as it is not known.
    #[must_use]
    pub fn account(&self) -> String {
        let known = self.watched.vantages.iter().find(|one| one.is_signed_in());
        known.map_or_else(
            || "the account".to_owned(),
            |vantage| f::sanitize_line(&vantage.user_id),
        )
    }

    /// The invitations on the empty page.
    #[must_use]
    pub fn shown_invitations(&self) -> &[InvitationFacts] {
        let all = &self.watched.invitations;
        &all[..all.len().min(INVITATIONS_SHOWN)]
    }

    /// Does a homeserver send us sticky events?
    #[must_use]
    pub fn sees_sticky(&self) -> bool {
        self.watched
            .vantages
            .iter()
            .any(|vantage| vantage.sticky_events)
    }

    /// The first account with an error.
    #[must_use]
    pub fn account_with_error(&self) -> Option<&VantageFacts> {
        self.watched
            .vantages
            .iter()
            .find(|vantage| vantage.error.is_some())
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Html<'a> {
    page: &'a Overview,
    shell: &'a Shell,
    now: i64,
}

impl Page for Overview {
    const SECTION: Section = Section::Now;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: self.now_ms,
        }
        .render()
    }
}
