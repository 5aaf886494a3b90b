//! `/calls`: all calls, newest first or in another order, filtered and paged; and the list of
//! running calls.

use super::names::{person_of_query, server_of_query};
use super::problems;
use super::space::site_of_space;
use crate::store::ingest::rooms;
use crate::store::model::{self, CallFilter, FindingOfCall, Matching, More};
use crate::store::read::call_order::{self, ListPlace};
use crate::store::read::calls;
use crate::store::stats::calls_ever;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::sort::{self, ColumnHead, SortOrder};
use crate::web::svg::shape;
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness, LookedFacts};
use crate::web::view::{CallFacts, EntriesTotal, List, NowFacts, ProblemFacts, kind_choices};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Parameters of the list.
pub const KNOWN: &[&str] = &[
    "q",
    "room",
    "space",
    "server",
    "user",
    "application",
    "status",
    "kind",
    "from",
    "to",
    "min_minutes",
    "min_people",
    "finding",
    "certainty",
    "intent",
    "sort",
    "cursor",
    "limit",
];
/// Those behind "More filters".
const MORE: &[&str] = &[
    "room",
    "server",
    "user",
    "application",
    "status",
    "min_minutes",
    "min_people",
    "finding",
    "certainty",
    "intent",
];
const LIMIT: i64 = 50;
/// Maximum number of calls without stored findings that a filter names.
const COMPUTED_MAX: usize = 400;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Calls {
    #[serde(flatten)]
    pub list: List<CallFacts>,
    #[serde(flatten)]
    pub looked: LookedFacts,
    /// The content of the form above the list; its numbers are counted for the page only.
    #[serde(skip)]
    pub form: CallsForm,
}

/// The running calls, and whether the present is known. Stuck calls are among them: their `state`
/// is `stuck`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Active {
    #[serde(flatten)]
    pub list: List<CallFacts>,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    #[serde(flatten)]
    pub numbers_now: NowFacts,
    /// The number of running calls, including stuck ones. If it is more than `data` has, `data` has
    /// some of each room, the newest first.
    pub active_total: i64,
}

/// The requested filter, and how much it matches.
#[derive(Debug, Clone, Default)]
pub struct CallsForm {
    pub query: Query,
    pub chosen: SortOrder,
    pub matching: Matching,
    pub all: i64,
    pub since_ms: Option<i64>,
    pub rooms: usize,
}

/// The calls of one day; all calls if the order is not by time.
#[derive(Debug, Clone)]
pub struct CallsOfDay<'a> {
    pub ms: Option<i64>,
    pub calls: Vec<&'a CallFacts>,
    /// All matching calls of that day are here: none is on the page before or after this one.
    pub whole: bool,
}

impl CallsOfDay<'_> {
    /// The number of distinct people in them.
    #[must_use]
    pub fn people(&self) -> usize {
        let members = self.calls.iter().flat_map(|call| &call.members);
        members
            .map(|member| member.user_id.as_str())
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// An active filter that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChip {
    pub text: String,
    pub without: String,
}

/// `GET /calls` and `GET /api/v1/calls`: the list of calls, as a page or as JSON.
pub async fn get_calls(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_calls_page(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// `GET /api/v1/calls/active`: the running calls as JSON, with how current our view of them is.
pub async fn get_active_calls(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        ask.read_query(&[])?;
        let running = super::read_running_calls(&web, &ask).await?;
        let present = Liveness::read(&web, ask.now).await?;
        Ok(Active {
            active_total: running.total,
            numbers_now: running.numbers(),
            seen: present.everything(),
            list: List {
                entries_total: Some(EntriesTotal::up_to(running.total, running.total)),
                ..List::whole(running.calls.clone())
            },
        })
    };

    response::send_json(&ask, answer.await)
}

/// Reads the page of the list that the parameters ask for, with the members of each call. The
/// numbers of the form are counted for the page only, not for the API.
async fn load_calls_page(web: &Web, ask: &PageRequest) -> Result<Calls, Error> {
    let query = ask.list_query(KNOWN)?;
    let whole_site = web;
    let web = &site_of_space(whole_site, &query).await?;
    let (store, now) = (&web.store, ask.now);
    let (limit, chosen) = (query.limit(LIMIT)?, sort::CALLS.read(&query)?);
    let place = chosen.place(&query)?;
    let filter = filter_of_query(web, ask, &query).await?;
    let calls = call_order::list_ordered_calls(
        store,
        &filter,
        chosen.order(),
        place.as_ref(),
        // One more than the page shows tells whether there is a next page.
        limit + 1,
        now,
    )
    .await?;
    let (calls, next) = split_off_next(calls, limit);
    let next = next.map(|place| chosen.cursor(&place));
    let calls = super::read_calls_with_members(web, ask, calls).await?;
    let form = if ask.api {
        CallsForm::default()
    } else {
        load_form(whole_site, web, ask, &query, &filter).await?
    };

    let entries_total = if ask.api && query.get("cursor").is_none() {
        Some(count_matching(web, &query, &filter, now).await?)
    } else {
        None
    };

    let list = List {
        entries_total,
        data: calls,
        next_url: sort::next_url(web, "/calls", &query, next.as_deref()),
        next,
    };

    Ok(Calls {
        list,
        looked: LookedFacts::read(web, now).await?,
        form: CallsForm {
            query,
            chosen,
            ..form
        },
    })
}

/// The filter from the parameters, for lists and exports. A room may be given by id or alias; the
/// filter has its id.
pub(in crate::web) async fn filter_of_query(
    web: &Web,
    ask: &PageRequest,
    query: &Query,
) -> Result<CallFilter, Error> {
    let mut filter = CallFilter {
        room: query.get("room").map(ToOwned::to_owned),
        active: query.active()?,
        from_ms: query.time("from", false)?,
        to_ms: query.time("to", true)?,
        more: further_filter_of_query(web, ask, query).await?,
    };

    if let Some(room) = &mut filter.room
        && let Some(found) = rooms::find_room_name(&web.store, room).await?
    {
        *room = found.room_id;
    }

    Ok(filter)
}

/// Refuses filters on what this viewer is not shown: the answer would tell it. Findings and
/// certainty are told only where names are, since they tell of single people.
fn refuse_hidden_filters(web: &Web, query: &Query) -> Result<(), Error> {
    let guarded = [
        ("user", web.store.shows_names()),
        ("server", web.store.shows_servers()),
        ("finding", web.store.shows_names()),
        ("certainty", web.store.shows_names()),
    ];
    for (name, is_shown) in guarded {
        if query.get(name).is_some() && !is_shown {
            return Err(Error::Invalid(format!(
                "{name} cannot be asked for without signing in"
            )));
        }
    }

    Ok(())
}

/// The finding that a call must have, and which of the calls without stored findings have it;
/// `None` if none is asked for.
async fn finding_of_query(
    web: &Web,
    ask: &PageRequest,
    query: &Query,
) -> Result<Option<FindingOfCall>, Error> {
    if query.get("finding").is_none() && query.get("certainty").is_none() {
        return Ok(None);
    }

    let kind = match query.get("finding") {
        None | Some("any") => None,
        Some(word) => Some(word.parse().map_err(|_| {
            let words = problems::kind_words();
            Error::Invalid(format!("finding must be any or one of {words}"))
        })?),
    };
    let sure = problems::sureness_of_query(query)?;
    let computed = problems::read_computed(web, ask).await?;
    let fits = |problem: &&ProblemFacts| {
        kind.is_none_or(|kind| problem.finding.kind == kind)
            && sure.is_none_or(|sure| problem.finding.sure == sure)
    };
    let ids: BTreeSet<&String> = computed
        .list
        .iter()
        .filter(fits)
        .map(|problem| &problem.call_id)
        .collect();

    Ok(Some(FindingOfCall {
        kind,
        sure,
        computed: ids.into_iter().take(COMPUTED_MAX).cloned().collect(),
    }))
}

/// The part of the filter that does not depend on room, status and time. A search for an event id
/// becomes one for its call.
async fn further_filter_of_query(
    web: &Web,
    ask: &PageRequest,
    query: &Query,
) -> Result<More, Error> {
    refuse_hidden_filters(web, query)?;
    let text = |name: &str| query.get(name).map(ToOwned::to_owned);
    let mut more = More {
        application: text("application"),
        server: server_of_query(web, query).await?,
        user: person_of_query(web, query, "user").await?,
        group: query.group()?,
        min_ms: query.number("min_minutes")?.map(|minutes| minutes * 60_000),
        min_people: query.number("min_people")?,
        id: None,
        intent: text("intent"),
        finding: finding_of_query(web, ask, query).await?,
        q: text("q"),
    };

    // No name looks like an event id.
    if let Some(event_id) = more.q.take_if(|q| q.starts_with('$')) {
        let found = calls::find_call(&web.store, &event_id).await?;
        more.id = Some(found.map_or(event_id, |call| call.id));
    }

    Ok(more)
}

/// The rows of this page, at most `limit`, and the place after which the next page begins; `None`
/// if this is the last one. The caller must have asked for one more row than `limit`, so that this
/// is known.
fn split_off_next(
    mut calls: Vec<(model::Call, ListPlace)>,
    limit: i64,
) -> (Vec<model::Call>, Option<ListPlace>) {
    let limit = usize::try_from(limit).unwrap_or(0);
    let is_more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls
        .last()
        .filter(|_| is_more)
        .map(|(_, place)| place.clone());

    (calls.into_iter().map(|(call, _)| call).collect(), next)
}

/// Counts the calls that match: all of them have counters, others are counted up to a limit.
async fn count_matching(
    web: &Web,
    query: &Query,
    filter: &CallFilter,
    now: i64,
) -> Result<EntriesTotal, Error> {
    if *filter == CallFilter::default() && query.get("space").is_none() {
        let calls = calls_ever::count_calls_begun(&web.store, now).await?;
        return Ok(EntriesTotal::up_to(calls, calls));
    }

    let matching = calls::count_calls(&web.store, filter, now).await?;

    Ok(EntriesTotal {
        count: matching.calls,
        more_than: matching.more,
    })
}

/// Counts for the form above the list: how many calls match, how many there are, in how many rooms
/// and since when.
async fn load_form(
    whole_site: &Web,
    web: &Web,
    ask: &PageRequest,
    query: &Query,
    filter: &CallFilter,
) -> Result<CallsForm, Error> {
    let (store, now) = (&web.store, ask.now);
    let rooms = rooms::list_rooms(&whole_site.store, now).await?;
    let all: i64 = rooms.iter().map(|room| room.calls).sum();
    let is_filtered = *filter != CallFilter::default() || query.get("space").is_some();
    let matching = if is_filtered {
        calls::count_calls(store, filter, now).await?
    } else {
        Matching {
            calls: all,
            more: false,
        }
    };

    let since_ms = rooms.iter().filter_map(|room| room.oldest_event_ms).min();

    Ok(CallsForm {
        query: query.clone(),
        chosen: SortOrder::default(),
        matching,
        all,
        since_ms,
        rooms: rooms.len(),
    })
}

impl Calls {
    /// The calls of this page, in its order, by the UTC day of their start; all as one group if the
    /// list is in another order than by time.
    #[must_use]
    pub fn days(&self) -> Vec<CallsOfDay<'_>> {
        let mut days: Vec<CallsOfDay<'_>> = Vec::new();
        for call in &self.list.data {
            let ms = self
                .form
                .is_by_time()
                .then(|| f::start_of_day(call.started_ms));
            match days.last_mut().filter(|day| day.ms == ms) {
                Some(day) => day.calls.push(call),
                None => days.push(CallsOfDay {
                    ms,
                    calls: vec![call],
                    whole: true,
                }),
            }
        }

        // A day at the edge of the page may have calls on the page before or after.
        if let Some(first) = days.first_mut().filter(|_| self.newest().is_some()) {
            first.whole = false;
        }

        if let Some(last) = days.last_mut().filter(|_| self.list.next.is_some()) {
            last.whole = false;
        }

        days
    }

    /// The query of the next page; `None` if this is the last one.
    #[must_use]
    pub fn older(&self) -> Option<String> {
        self.list
            .next
            .as_ref()
            .map(|next| self.form.query.with(&[], Some(("cursor", next))))
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

impl CallsForm {
    /// Is the list in order of time?
    #[must_use]
    pub fn is_by_time(&self) -> bool {
        self.chosen.name == "started"
    }

    /// The header of a sortable column.
    #[must_use]
    pub fn head(&self, name: &str) -> ColumnHead {
        self.chosen.head(name, false, "/calls", &self.query)
    }

    /// The order in words.
    #[must_use]
    pub fn order_words(&self) -> &'static str {
        self.orders()
            .into_iter()
            .find(|(.., here)| *here)
            .map_or("fewest first", |(_, says, _)| says)
    }

    /// The choices of order for the form: word, description, and whether it is the present one.
    #[must_use]
    pub fn orders(&self) -> [(&'static str, &'static str, bool); 8] {
        let here = self.chosen.word();
        [
            ("", "Newest first"),
            ("started", "Oldest first"),
            ("-duration", "Longest first"),
            ("duration", "Shortest first"),
            ("-people", "Most people first"),
            ("people", "Fewest people first"),
            ("-peak", "Most at once first"),
            ("peak", "Fewest at once first"),
        ]
        .map(|(word, says)| {
            (
                word,
                says,
                word == here || (word.is_empty() && self.chosen.is_default()),
            )
        })
    }

    /// What the field of this name shows: the parameter as it was given, or nothing.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }

    /// The choices of finding: word, title, and whether it is chosen.
    #[must_use]
    pub fn findings(&self) -> Vec<(&'static str, &'static str, bool)> {
        let kinds = kind_choices()
            .into_iter()
            .map(|(kind, title)| (kind.as_str(), title));

        std::iter::once(("any", "With any finding"))
            .chain(kinds)
            .map(|(word, title)| (word, title, self.value("finding") == word))
            .collect()
    }

    /// How many of the filters behind "More filters" are set.
    #[must_use]
    pub fn more(&self) -> usize {
        MORE.iter()
            .filter(|name| self.query.get(name).is_some())
            .count()
    }

    /// The HTML type of the field for a time: `date` for a day, `text` for another format, which a
    /// date field would not accept.
    #[must_use]
    pub fn field_type(&self, name: &str) -> &'static str {
        let text = self.value(name);
        if text.is_empty() || (text.len() == 10 && text.as_bytes()[4] == b'-') {
            "date"
        } else {
            "text"
        }
    }

    /// How many calls match, in words.
    #[must_use]
    pub fn matching(&self) -> String {
        let calls = f::group_digits(self.matching.calls);
        if self.matching.more {
            format!("more than {calls}")
        } else {
            calls
        }
    }

    /// The filters that are set, each in words and with the query of the list without it.
    #[must_use]
    pub fn chips(&self) -> Vec<FilterChip> {
        let words = [
            ("q", "“", "”"),
            ("room", "room ", ""),
            ("space", "space ", ""),
            ("server", "server ", ""),
            ("user", "person ", ""),
            ("application", "application ", ""),
            ("status", "", ""),
            ("kind", "", ""),
            ("from", "from ", ""),
            ("to", "to ", ""),
            ("min_minutes", "at least ", " min"),
            ("min_people", "at least ", " people"),
            ("finding", "finding: ", ""),
            ("certainty", "finding ", ""),
            ("intent", "intent ", ""),
        ];
        let chip = |(name, before, after): (&str, &str, &str)| {
            let value = self.query.get(name)?;
            Some(FilterChip {
                text: format!("{before}{}{after}", f::sanitize_line(value)),
                without: self.query.with(&[name, "cursor"], None),
            })
        };

        words.into_iter().filter_map(chip).collect()
    }

    /// The address of the complete list as a file. `end` is `csv` or `ndjson`.
    #[must_use]
    pub fn export(&self, end: &str) -> String {
        format!(
            "/api/v1/calls.{end}{}",
            self.query.with(&["cursor", "limit"], None)
        )
    }

    /// The address of this list as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        format!("/api/v1/calls{}", self.query.with(&[], None))
    }
}

#[derive(Template)]
#[template(path = "calls.html")]
struct Html<'a> {
    page: &'a Calls,
    shell: &'a Shell,
    now: i64,
}

impl Page for Calls {
    const SECTION: Section = Section::Calls;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
