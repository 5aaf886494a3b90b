//! `/problems`: all findings, open ones first, then past ones, newest first; and `/problems/{id}`:
//! one of them.

use super::names::{person_of_query, server_of_query};
use super::observer_state::refused_successors;
use super::space::site_of_space;
use super::{read_problems_of_calls, stays_of_findings};
use crate::rtc::finding_kind::{FindingKind, Mender, Sureness};
use crate::rtc::words::Watch;
use crate::store::findings::derive::{has_outdated_calls, list_underived_calls};
use crate::store::findings::list::{self, FindingFilter, FindingPlace};
use crate::store::ingest::rooms;
use crate::store::model;
use crate::store::read::calls;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::sort;
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{
    EntriesTotal, List, ProblemEntry, ProblemFacts, RoomFacts, RoomFindingFacts, RoomNeedFacts,
    RoomRef, kind_choices, problem_entries,
};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;

/// Parameters of the list.
pub const KNOWN: &[&str] = &[
    "kind",
    "certainty",
    "room",
    "space",
    "server",
    "person",
    "sfu",
    "open",
    "from",
    "to",
    "cursor",
    "limit",
];
/// Those of the filter alone, for files and feeds.
pub const FILTER: &[&str] = &[
    "kind",
    "certainty",
    "room",
    "space",
    "server",
    "person",
    "sfu",
    "open",
    "from",
    "to",
];
/// Those behind "More filters".
const MORE: &[&str] = &["room", "space", "server", "person", "sfu", "from", "to"];
const LIMIT: i64 = 50;
/// Maximum number of calls that are over and whose findings are computed for one answer.
const UNDERIVED_MAX: i64 = 200;
/// Maximum number of calls that are over and of which something lasts.
const OUTLASTED_MAX: i64 = 100;
/// Maximum number of stays of those calls together, beside the first call.
const UNDERIVED_STAYS: i64 = 40_000;
/// Past findings are counted up to this number.
const COUNTED: i64 = 1000;

/// Maximum number of rooms that are shown as in need of a look.
const ROOMS_MOST: usize = 20;

/// A room in which something is wrong that is no finding of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomProblems {
    #[serde(flatten)]
    pub room: RoomRef,
    /// What is wrong, and what to do.
    pub needs: Vec<RoomNeedFacts>,
}

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problems {
    /// Open ones first, the gravest first; then past ones, newest first.
    #[serde(flatten)]
    pub list: List<ProblemFacts>,
    /// The number of open findings that match.
    pub open_total: usize,
    /// Those of them that are minor, which the headline and the navigation do not count.
    #[serde(skip)]
    pub open_minor: usize,
    /// How many problems the others are: findings of one group are one.
    #[serde(skip)]
    pub open_groups: usize,
    /// Rooms in which something is wrong now that is no finding of a call, such as that few may
    /// join one, or that the room cannot be read. At most 20, and only with the first page of a
    /// list that asks for no kind, certainty, server, person, SFU or past.
    pub rooms: Vec<RoomProblems>,
    /// How many rooms that are.
    pub rooms_total: usize,
    /// The findings of more calls than were looked at for this answer are still being derived:
    /// past ones may be missing.
    pub still_deriving: bool,
    /// Findings are not shown, since they name people, and who asks is not shown people.
    pub hidden: bool,
    #[serde(flatten)]
    pub looked: LookedFacts,
    /// For the page only.
    #[serde(skip)]
    pub form: ProblemsForm,
}

/// The filter as it was asked for, and what was looked at.
#[derive(Debug, Clone, Default)]
pub struct ProblemsForm {
    pub query: Query,
    /// The number of past findings that match, up to `COUNTED`.
    pub past: i64,
    /// The number of all calls, and since when events are known, ms.
    pub calls: i64,
    pub since_ms: Option<i64>,
    pub rooms: usize,
}

/// An active filter that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProblemChip {
    pub text: String,
    pub without: String,
}

/// The past findings of one day.
#[derive(Debug, Clone)]
pub struct ProblemsOfDay<'a> {
    pub ms: i64,
    pub problems: Vec<ProblemEntry<'a>>,
}

/// What a list of findings is asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct ProblemRequest {
    pub filter: FindingFilter,
    /// Only open ones, or only past ones.
    pub open: Option<bool>,
}

/// The findings that are not stored: those of running calls, and of calls that are over and not
/// derived yet.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct ComputedProblems {
    pub list: Vec<ProblemFacts>,
    /// There are more calls that are over and not derived, or derived by other rules.
    pub still_deriving: bool,
}

/// `GET /problems` and `GET /api/v1/problems`: the findings, as a page or as JSON.
pub async fn get_problems(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_problems(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// Reads the page of the list that the parameters ask for.
async fn load_problems(web: &Web, ask: &PageRequest) -> Result<Problems, Error> {
    let query = ask.list_query(KNOWN)?;
    let whole_site = web;
    let web = &site_of_space(whole_site, &query).await?;
    let limit = usize::try_from(query.limit(LIMIT)?).unwrap_or(0);
    let asked = request_of_query(web, &query).await?;
    let after = query.get("cursor").map(parse_cursor).transpose()?;
    let computed = read_computed(web, ask).await?;
    let still_deriving = computed.still_deriving;
    let open = computed.open(&asked);
    let open_total = open.len();
    let open_minor = open.iter().filter(|one| !one.counts_as_open()).count();
    let open_groups = count_groups(open.iter().copied());
    // One more than the page shows tells whether there is a next page.
    let mut data = next_problems(web, ask, &asked, &computed, after, limit + 1).await?;
    let next = (data.len() > limit).then(|| data[limit - 1].cursor());
    data.truncate(limit);
    let shows_rooms = asks_for_rooms(&query) && web.store.shows_names();
    let watched = if !ask.api || shows_rooms {
        // Of a room before or after one of the space, too, it is known whether it is read.
        let mut watched = rooms::list_rooms(&whole_site.store, ask.now).await?;
        if let Some(shown) = web.store.visible_rooms() {
            watched.retain(|row| shown.has_room(&row.room.room_id));
        }

        watched
    } else {
        Vec::new()
    };
    let entries_total = if ask.api && query.get("cursor").is_none() {
        let past = count_past(web, ask, &asked, &computed).await?;
        let open = i64::try_from(open_total).unwrap_or(i64::MAX);
        Some(EntriesTotal::up_to(open + past, open + COUNTED))
    } else {
        None
    };
    let form = if ask.api {
        ProblemsForm::default()
    } else {
        load_form(web, ask, &query, &asked, &computed, &watched).await?
    };
    let mut rooms = if shows_rooms {
        find_rooms_with_problems(web, &asked, watched).await?
    } else {
        Vec::new()
    };
    let rooms_total = rooms.len();
    let is_first = query.get("cursor").is_none();
    rooms.truncate(if is_first { ROOMS_MOST } else { 0 });

    Ok(Problems {
        rooms,
        rooms_total,
        list: List {
            entries_total,
            data,
            next_url: sort::next_url(web, "/problems", &query, next.as_deref()),
            next,
        },
        open_total,
        open_minor,
        open_groups,
        still_deriving,
        hidden: !web.store.shows_names(),
        looked: LookedFacts::read(whole_site, ask.now).await?,
        form: ProblemsForm { query, ..form },
    })
}

/// Can what is wrong with a room alone match the filter?
fn asks_for_rooms(query: &Query) -> bool {
    let others = ["kind", "certainty", "server", "person", "sfu", "to"];
    let asks_for_past = query.get("open") == Some("no");

    !asks_for_past && others.iter().all(|name| query.get(name).is_none())
}

/// The rooms in which something is wrong now that is no finding of a call.
async fn find_rooms_with_problems(
    web: &Web,
    asked: &ProblemRequest,
    rooms: Vec<model::RoomRow>,
) -> Result<Vec<RoomProblems>, Error> {
    let account = super::find_account(web).await?;
    let asked_room = asked.filter.room.as_deref();
    // A room that the account left needs nothing, unless it is wanted again.
    let is_asked = |room: &RoomFacts| {
        room.watch != Watch::Left && asked_room.is_none_or(|asked| asked == room.room.room_id)
    };
    let facts: Vec<RoomFacts> = rooms.into_iter().map(RoomFacts::from).collect();
    // Nobody asked for a room that only takes the place of another; that one says so itself.
    let refused = refused_successors(&facts);
    let with_needs = |room: &RoomFacts| {
        let mut room = room.clone();
        room.findings.retain(RoomFindingFacts::is_of_room_alone);
        let room = room.with_needs(account.as_deref());

        RoomProblems {
            room: room.room,
            needs: room.needs,
        }
    };
    let found = facts
        .iter()
        .filter(|room| is_asked(room) && !refused.contains(room.room.room_id.as_str()))
        .map(with_needs);

    Ok(found.filter(|room| !room.needs.is_empty()).collect())
}

/// Counts what the page says beside the list.
async fn load_form(
    web: &Web,
    ask: &PageRequest,
    query: &Query,
    asked: &ProblemRequest,
    computed: &ComputedProblems,
    rooms: &[model::RoomRow],
) -> Result<ProblemsForm, Error> {
    Ok(ProblemsForm {
        query: query.clone(),
        past: count_past(web, ask, asked, computed).await?,
        calls: rooms.iter().map(|room| room.calls).sum(),
        since_ms: rooms.iter().filter_map(|room| room.oldest_event_ms).min(),
        rooms: rooms.len(),
    })
}

/// Counts the past findings that match. Those that are stored are counted up to one more than
/// `COUNTED`.
async fn count_past(
    web: &Web,
    ask: &PageRequest,
    asked: &ProblemRequest,
    computed: &ComputedProblems,
) -> Result<i64, Error> {
    if asked.open == Some(true) {
        return Ok(0);
    }

    let over = asked.filter.clone().over_by(ask.now);
    let stored = list::count_findings(&web.store, &over, COUNTED + 1).await?;
    let computed = i64::try_from(computed.past(asked).len()).unwrap_or(0);

    Ok(stored + computed)
}

/// What the parameters ask for. A room may be given by id or alias.
///
/// # Errors
/// A word that is no kind, no certainty, or neither `yes` nor `no`; or a time that is none.
pub(in crate::web) async fn request_of_query(
    web: &Web,
    query: &Query,
) -> Result<ProblemRequest, Error> {
    let text = |name: &str| query.get(name).map(ToOwned::to_owned);
    let kind = query
        .get("kind")
        .map(str::parse::<FindingKind>)
        .transpose()
        .map_err(|_| Error::Invalid(format!("kind must be one of {}", kind_words())))?;
    let sure = sureness_of_query(query)?;
    let open = match query.get("open") {
        None => None,
        Some("yes") => Some(true),
        Some("no") => Some(false),
        Some(_) => return Err(Error::Invalid("open must be yes or no".to_owned())),
    };
    let mut room = text("room");
    if let Some(asked) = &mut room
        && let Some(found) = rooms::find_room_name(&web.store, asked).await?
    {
        *asked = found.room_id;
    }

    Ok(ProblemRequest {
        filter: FindingFilter {
            kind,
            sure,
            room,
            server: server_of_query(web, query).await?,
            user: person_of_query(web, query, "person").await?,
            sfu: query
                .get("sfu")
                .map(|sfu| f::host_of_url(sfu).to_lowercase()),
            from_ms: query.time("from", false)?,
            to_ms: query.time("to", true)?,
            over_by_ms: None,
        },
        open,
    })
}

/// The parameter `certainty`; `None` if it is not given.
pub(super) fn sureness_of_query(query: &Query) -> Result<Option<Sureness>, Error> {
    let sure = query.get("certainty").map(str::parse::<Sureness>);
    let words = "certainty must be computed, probably or perhaps";
    sure.transpose()
        .map_err(|_| Error::Invalid(words.to_owned()))
}

/// All kinds, as words of a list.
#[must_use]
pub fn kind_words() -> String {
    let words: Vec<&str> = kind_choices()
        .into_iter()
        .map(|(kind, _)| kind.as_str())
        .collect();
    words.join(", ")
}

/// The findings that are not stored. Empty for those who are not shown people.
///
/// # Errors
/// When the database fails.
pub(in crate::web) async fn read_computed(
    web: &Web,
    ask: &PageRequest,
) -> Result<ComputedProblems, Error> {
    if !web.store.shows_names() {
        return Ok(ComputedProblems::default());
    }

    let running = super::read_running_calls(web, ask).await?;
    let mut list: Vec<ProblemFacts> = running
        .calls
        .iter()
        .flat_map(ProblemFacts::of_call)
        .collect();
    let mut ids = list_underived_calls(&web.store, ask.now, UNDERIVED_MAX + 1).await?;
    let most = usize::try_from(UNDERIVED_MAX).unwrap_or(0);
    let grace_ms = web.options.rejoin_grace_ms;
    let mut still_deriving = ids.len() > most || has_outdated_calls(&web.store, grace_ms).await?;
    ids.truncate(most);
    ids.extend(list::list_outlasted_calls(&web.store, ask.now, OUTLASTED_MAX).await?);
    ids.sort_unstable();
    ids.dedup();
    let mut over = calls::find_calls(&web.store, &ids).await?;
    over.sort_by_key(|call| std::cmp::Reverse(call.until_ms));
    let fitting = count_fitting_calls(&over);
    still_deriving |= fitting < over.len();
    over.truncate(fitting);
    list.extend(read_problems_of_calls(web, ask, over).await?);
    list.sort_by_key(ProblemFacts::order);

    Ok(ComputedProblems {
        list,
        still_deriving,
    })
}

/// How many of these calls, from the first one on, are read for one answer.
fn count_fitting_calls(calls: &[model::Call]) -> usize {
    let mut stays = 0;
    let fitting = calls.iter().take_while(|call| {
        stays += stays_of_findings(call);
        stays <= UNDERIVED_STAYS
    });

    fitting.count().max(1)
}

impl ComputedProblems {
    /// The number of open ones that are asked for.
    pub(in crate::web) fn count_open(&self, asked: &ProblemRequest) -> usize {
        self.open(asked).len()
    }

    /// The open ones that are asked for, in order.
    fn open(&self, asked: &ProblemRequest) -> Vec<&ProblemFacts> {
        if asked.open == Some(false) {
            return Vec::new();
        }

        let fits = |one: &&ProblemFacts| one.open && asked.filter.matches(&one.as_stored());
        self.list.iter().filter(fits).collect()
    }

    /// The past ones that are asked for, newest first.
    fn past(&self, asked: &ProblemRequest) -> Vec<&ProblemFacts> {
        if asked.open == Some(true) {
            return Vec::new();
        }

        let fits = |one: &&ProblemFacts| !one.open && asked.filter.matches(&one.as_stored());
        self.list.iter().filter(fits).collect()
    }
}

/// A place in the list: an open finding by its rank, or a past one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct ProblemPlace {
    open: Option<i64>,
    place: FindingPlace,
}

impl ProblemFacts {
    /// The place of this finding, as text.
    fn cursor(&self) -> String {
        let FindingPlace { from_ms, id } = self.place();
        if self.open {
            format!("{}.{from_ms}.{id}", self.finding.severity.rank())
        } else {
            format!("past.{from_ms}.{id}")
        }
    }

    /// Its place, to go on from.
    pub(in crate::web) fn list_place(&self) -> ProblemPlace {
        ProblemPlace {
            open: self.open.then(|| self.finding.severity.rank()),
            place: self.place(),
        }
    }

    /// Does it come after this place?
    fn is_after(&self, place: &ProblemPlace) -> bool {
        use std::cmp::Reverse;
        let rank = place.open.unwrap_or(0);
        let at = (place.place.from_ms, place.place.id.clone());

        self.order() > (place.open.is_none(), rank, Reverse(at))
    }
}

/// The place that a cursor names.
fn parse_cursor(text: &str) -> Result<ProblemPlace, Error> {
    let parse = || {
        let mut parts = text.splitn(3, '.');
        let (first, from_ms, id) = (parts.next()?, parts.next()?, parts.next()?);
        let open = match first {
            "past" => None,
            rank => Some(rank.parse().ok()?),
        };

        Some(ProblemPlace {
            open,
            place: FindingPlace {
                from_ms: from_ms.parse().ok()?,
                id: id.to_owned(),
            },
        })
    };

    parse().ok_or_else(|| Error::Invalid("cursor must be the next of an earlier answer".to_owned()))
}

/// The next findings after a place, at most `limit`: open ones, then past ones, both computed and
/// stored.
///
/// # Errors
/// When the database fails.
pub(in crate::web) async fn next_problems(
    web: &Web,
    ask: &PageRequest,
    asked: &ProblemRequest,
    computed: &ComputedProblems,
    after: Option<ProblemPlace>,
    limit: usize,
) -> Result<Vec<ProblemFacts>, Error> {
    let is_next = |one: &&&ProblemFacts| after.as_ref().is_none_or(|place| one.is_after(place));
    let open = computed.open(asked);
    let mut data: Vec<ProblemFacts> = open
        .iter()
        .filter(is_next)
        .take(limit)
        .map(|one| (*one).clone())
        .collect();
    if data.len() == limit || asked.open == Some(true) || !web.store.shows_names() {
        return Ok(data);
    }

    let wanted = limit - data.len();
    let place = after.as_ref().filter(|place| place.open.is_none());
    let place = place.map(|place| &place.place);
    let over = asked.filter.clone().over_by(ask.now);
    let stored = read_stored(web, ask, &over, place, wanted).await?;
    let past = computed.past(asked);
    let past = past.iter().filter(is_next).take(wanted);
    let mut seen = BTreeSet::new();
    let mut past: Vec<ProblemFacts> = past
        .map(|one| (*one).clone())
        .chain(stored)
        .filter(|one| seen.insert(one.finding.id.clone()))
        .collect();
    past.sort_by_key(ProblemFacts::order);
    past.truncate(wanted);
    data.extend(past);

    Ok(data)
}

/// The stored findings after a place, with all that is shown of them. One that does not follow from
/// what the viewer may see of its call is left out.
async fn read_stored(
    web: &Web,
    ask: &PageRequest,
    filter: &FindingFilter,
    after: Option<&FindingPlace>,
    limit: usize,
) -> Result<Vec<ProblemFacts>, Error> {
    let mut found = Vec::new();
    let mut place = after.cloned();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    // Those that are left out are few, so that this ends soon.
    while found.len() < limit {
        let rows = list::list_findings(&web.store, filter, place.as_ref(), most).await?;
        let is_last = rows.len() < limit;
        place = rows.last().map(|row| FindingPlace {
            from_ms: row.from_ms,
            id: row.id.clone(),
        });
        let ids: BTreeSet<String> = rows.iter().map(|row| row.call_id.clone()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let calls = calls::find_calls(&web.store, &ids).await?;
        let problems = read_problems_of_calls(web, ask, calls).await?;
        let mut by_id: HashMap<String, ProblemFacts> = problems
            .into_iter()
            .map(|problem| (problem.finding.id.clone(), problem))
            .collect();
        // The order is that of the rows, whatever part of a call the viewer may see.
        found.extend(rows.iter().filter_map(|row| {
            let problem = by_id.remove(&row.id)?;
            Some(ProblemFacts {
                listed_ms: row.from_ms,
                ..problem
            })
        }));
        if is_last {
            break;
        }
    }

    found.truncate(limit);

    Ok(found)
}

/// The page of one finding.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemPage {
    #[serde(flatten)]
    pub problem: ProblemFacts,
    /// What findings of this kind mean, and what to do about them.
    pub kind_title: &'static str,
    pub kind_meaning: &'static str,
    pub kind_remedy: &'static str,
}

/// `GET /problems/{id}` and `GET /api/v1/problems/{id}`: one finding, as a page or as JSON.
pub async fn get_problem(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = load_problem(&web, &ask, &id).await.map(PageAnswer::from);
    response::send_page(&web, &ask, answer).await
}

/// Reads one finding: a stored one, or one that is computed.
async fn load_problem(web: &Web, ask: &PageRequest, id: &str) -> Result<ProblemPage, Error> {
    ask.read_query(&[])?;
    let found = if let Some(stored) = list::find_finding(&web.store, id).await? {
        let calls = calls::find_calls(&web.store, &[stored.call_id]).await?;
        read_problems_of_calls(web, ask, calls).await?
    } else {
        read_computed(web, ask).await?.list
    };

    let problem = found.into_iter().find(|problem| problem.finding.id == id);
    let problem = problem.ok_or_else(|| {
        Error::NotFound(
            "No finding has this id. One that is over without a trace has none any more, nor has \
             one of a call that changed since."
                .to_owned(),
        )
    })?;
    let entry = problem.entry();
    let mut problem = problem;
    if problem.finding.support.is_none() && entry.mender == Mender::ServerAdmin {
        let servers: BTreeSet<&str> = problem.finding.server().into_iter().collect();
        let support = super::read_support(web, &servers).await?;
        problem.finding.support = support.into_values().next();
    }

    Ok(ProblemPage {
        kind_title: entry.title,
        kind_meaning: entry.meaning,
        kind_remedy: entry.remedy,
        problem,
    })
}

impl Problems {
    /// The number of open findings that match, as the navigation counts them, and of minor ones; in
    /// words. `None` if there is none.
    #[must_use]
    pub fn open_words(&self) -> Option<String> {
        words_of_open(self.open_groups, self.open_total, self.open_minor)
    }

    /// The list of rooms, of the same space if one is asked for.
    #[must_use]
    pub fn rooms_href(&self) -> String {
        let space = self.form.query.get("space").map(|space| ("space", space));

        format!("/rooms{}", Query::default().with(&[], space))
    }

    /// The number of rooms that need a look, in words; `None` if there is none.
    #[must_use]
    pub fn rooms_words(&self) -> Option<String> {
        let words = f::count_with_noun(self.rooms_total, "room needs", "rooms need");
        (self.rooms_total > 0).then(|| format!("{words} a look"))
    }

    /// The open problems of this page.
    #[must_use]
    pub fn open(&self) -> Vec<ProblemEntry<'_>> {
        let open: Vec<&ProblemFacts> = self.list.data.iter().filter(|one| one.open).collect();
        problem_entries(&open)
    }

    /// The past findings of this page, by the UTC day of their begin.
    #[must_use]
    pub fn days(&self) -> Vec<ProblemsOfDay<'_>> {
        let past: Vec<&ProblemFacts> = self.list.data.iter().filter(|one| !one.open).collect();
        let mut days: Vec<ProblemsOfDay<'_>> = Vec::new();
        for problem in problem_entries(&past) {
            let ms = f::start_of_day(problem.parts[0].listed_ms);
            match days.last_mut().filter(|day| day.ms == ms) {
                Some(day) => day.problems.push(problem),
                None => days.push(ProblemsOfDay {
                    ms,
                    problems: vec![problem],
                }),
            }
        }

        days
    }

    /// The query of the next page; `None` if this is the last one.
    #[must_use]
    pub fn older(&self) -> Option<String> {
        let next = self.list.next.as_ref()?;
        Some(self.form.query.with(&[], Some(("cursor", next))))
    }

    /// The query of the first page, unless this is it.
    #[must_use]
    pub fn newest(&self) -> Option<String> {
        self.form
            .query
            .get("cursor")
            .map(|_| self.form.query.with(&["cursor"], None))
    }
}

/// The number of problems that these findings are, without minor ones.
fn count_groups<'a>(findings: impl Iterator<Item = &'a ProblemFacts>) -> usize {
    let counted = findings.filter(|one| one.counts_as_open());
    let groups: BTreeSet<(&str, &str)> = counted
        .map(|one| (one.call_id.as_str(), one.group.as_str()))
        .collect();

    groups.len()
}

/// The number of open problems and of their findings, of which some are minor and in none of the
/// problems, in words; `None` if there is none.
fn words_of_open(groups: usize, total: usize, minor: usize) -> Option<String> {
    let counted = total.saturating_sub(minor);
    let open = f::count_with_noun(groups, "open problem", "open problems");
    let open = if counted > groups {
        format!(
            "{open}, {}",
            f::count_with_noun(counted, "finding", "findings")
        )
    } else {
        open
    };
    match (counted, minor) {
        (0, 0) => None,
        (0, _) => Some(f::count_with_noun(
            minor,
            "minor open problem",
            "minor open problems",
        )),
        (_, 0) => Some(open),
        _ => Some(format!("{open} and {} minor", f::group_digits(minor))),
    }
}

impl ProblemsForm {
    /// What the field of this name shows.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }

    /// The choices of kind: word, title, and whether it is chosen.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&'static str, &'static str, bool)> {
        kind_choices()
            .into_iter()
            .map(|(kind, title)| (kind.as_str(), title, self.value("kind") == kind.as_str()))
            .collect()
    }

    /// How many of the filters behind "More filters" are set.
    #[must_use]
    pub fn more(&self) -> usize {
        MORE.iter()
            .filter(|name| self.query.get(name).is_some())
            .count()
    }

    /// The number of past findings, in words.
    #[must_use]
    pub fn past_words(&self) -> String {
        if self.past > COUNTED {
            format!("more than {}", f::group_digits(COUNTED))
        } else {
            f::group_digits(self.past)
        }
    }

    /// The filters that are set, each in words and with the query of the list without it.
    #[must_use]
    pub fn chips(&self) -> Vec<ProblemChip> {
        let words = [
            ("kind", ""),
            ("certainty", ""),
            ("room", "room "),
            ("space", "space "),
            ("server", "server "),
            ("person", "person "),
            ("sfu", "SFU "),
            ("open", "open: "),
            ("from", "from "),
            ("to", "to "),
        ];
        let chip = |(name, before): (&str, &str)| {
            let value = self.query.get(name)?;
            let title = value.parse::<FindingKind>().ok();
            let text = title.filter(|_| name == "kind").map_or_else(
                || format!("{before}{}", f::sanitize_line(value)),
                |kind| kind.entry().title.to_owned(),
            );

            Some(ProblemChip {
                text,
                without: self.query.with(&[name, "cursor"], None),
            })
        };

        words.into_iter().filter_map(chip).collect()
    }

    /// The address of this list in another form: `.csv`, `.ndjson`, or JSON if `end` is empty.
    #[must_use]
    pub fn file(&self, end: &str) -> String {
        let without: &[&str] = if end.is_empty() {
            &[]
        } else {
            &["cursor", "limit"]
        };

        format!("/api/v1/problems{end}{}", self.query.with(without, None))
    }

    /// The address of the feed of this list.
    #[must_use]
    pub fn feed(&self) -> String {
        let query = self.query.with(&["cursor", "limit"], None);
        format!("/feed/problems.atom{query}")
    }
}

#[derive(Template)]
#[template(path = "problems.html")]
struct ProblemsHtml<'a> {
    page: &'a Problems,
    shell: &'a Shell,
    now: i64,
}

impl Page for Problems {
    const SECTION: Section = Section::Problems;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        ProblemsHtml {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemHtml<'a> {
    page: &'a ProblemPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for ProblemPage {
    const SECTION: Section = Section::Problems;

    fn room_id(&self) -> Option<&str> {
        Some(&self.problem.room.room_id)
    }

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        ProblemHtml {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}

impl Web {
    /// The number of open problems that are not minor. Counted only for those who may see all
    /// rooms: for them the running calls are read once for all pages.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::web) async fn count_open_problems(
        &self,
        ask: &PageRequest,
    ) -> Result<Option<usize>, Error> {
        if self.store.visible_rooms().is_some() {
            return Ok(None);
        }

        let running = super::read_running_calls(self, ask).await?;
        let problems = running.calls.iter().flat_map(ProblemFacts::of_call);

        let problems: Vec<ProblemFacts> = problems.collect();
        Ok(Some(count_groups(problems.iter())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_counts_as_the_navigation_does() {
        let words = |groups, total, minor| words_of_open(groups, total, minor).unwrap_or_default();
        assert_eq!(words(0, 0, 0), "");
        assert_eq!(words(1, 1, 0), "1 open problem");
        assert_eq!(words(3, 5, 2), "3 open problems and 2 minor");
        assert_eq!(words(2, 6, 0), "2 open problems, 6 findings");
        assert_eq!(words(0, 1, 1), "1 minor open problem");
    }
}
