//! `/servers`: all homeservers seen in a call within a period, their people, their time, and how
//! often their stays end only by expiry.

use super::period::{LIMIT, Period};
use crate::rtc::coverage::Span;
use crate::store::Reader;
use crate::store::ingest::probes::{self, ServerResult};
use crate::store::ingest::rooms;
use crate::store::stats::scope::Scope;
use crate::store::stats::{calls_ever, clock_skew, distributions, usage};
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::sort::{self, ColumnHead, RowKey, SortOrder};
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{
    CallFacts, EntriesTotal, MemberFacts, Rate, ReadyFacts, ServerFacts, ServerProbeFacts, Stamp,
};
use crate::web::{Web, view};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Maximum number of servers whose clocks are computed, those with most time; and of those in the
/// table.
const CLOCKS: usize = 200;
const CLOCKS_SHOWN: usize = 12;

/// Parameters of the list.
pub const KNOWN: &[&str] = &["period", "q", "sort", "limit", "cursor"];

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Servers {
    /// When the sums were computed: what took long is kept for a while.
    pub computed_ms: i64,
    pub computed_at: Stamp,
    /// `7d`, `30d`, `90d` or `365d`.
    pub period: &'static str,
    /// Those with somebody in a call now first, then most time, or as `sort` says.
    pub data: Vec<ServerFacts>,
    pub next: Option<String>,
    pub next_url: Option<String>,
    /// The number of entries that match, on all pages together.
    pub entries_total: EntriesTotal,
    /// The number of servers on all pages of the list; `busy` is the number of those with somebody
    /// in a call now.
    pub total: usize,
    /// Those of them that `q` fits; without it, all.
    pub matching: usize,
    pub busy: usize,
    #[serde(flatten)]
    pub looked: LookedFacts,
    /// Some of it is from older rules or other settings: calls are just being derived again.
    pub older_rules: bool,
    /// Whether servers are asked if they are ready (`probe.enabled`).
    pub probing: bool,
    /// Counts all servers of the period, on all pages of the list.
    pub ready: ReadyFacts,
    pub watched_rooms: usize,
    pub calls_ever: i64,
    #[serde(skip)]
    clocks: Vec<ServerFacts>,
    #[serde(skip)]
    days: i64,
    #[serde(skip)]
    query: Query,
    #[serde(skip)]
    chosen: SortOrder,
}

/// `GET /servers` and `GET /api/v1/servers`: the list of servers, as a page or as JSON. `kept`
/// holds expensive lists of earlier requests.
pub async fn get_servers(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Servers>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_servers_page(&web, &ask, &kept)
            .await
            .map(PageAnswer::from),
    )
    .await
}

/// Reads the page of the list that the parameters ask for.
async fn load_servers_page(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Servers>,
) -> Result<Servers, Error> {
    let query = ask.list_query(KNOWN)?;
    let mut page = list_all_servers(web, ask, kept, &query).await?;
    let chosen = page.chosen;
    (page.data, page.next) = chosen.cut(page.data, &query, LIMIT, |server| {
        sort_key_of_server(chosen, server)
    })?;
    page.next_url = sort::next_url(web, "/servers", &query, page.next.as_deref());

    Ok(Servers { query, ..page })
}

/// The complete list of the servers that match, in the requested order.
pub(in crate::web) async fn list_all_servers(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Servers>,
    query: &Query,
) -> Result<Servers, Error> {
    let (period, chosen) = (Period::period_of_query(query)?, sort::SERVERS.read(query)?);
    // Results computed while calls are being derived again are not cached beyond that time.
    let older_rules = web.store.has_older_rules();
    let kept_as = format!("{} {older_rules}", period.word());
    let mut page = kept
        .get(
            &web.cache_key(&kept_as),
            read_servers_in_period(web, ask, period),
        )
        .await?;
    add_now(web, ask, &mut page.data).await?;
    page.looked = LookedFacts::read(web, ask.now).await?;
    page.ready =
        ReadyFacts::count_probes(page.data.iter().filter_map(|server| server.probe.as_ref()));
    page.busy = page
        .data
        .iter()
        .filter(|server| server.calls_now > 0)
        .count();
    page.data
        .retain(|server| query.fits(&[Some(server.server.as_str())]));
    page.matching = page.data.len();
    page.entries_total = EntriesTotal::exactly(page.matching);
    page.data = chosen.all(page.data, |server| sort_key_of_server(chosen, server));

    Ok(Servers { chosen, ..page })
}

/// Adds who of each server is in a call now, and its last probe; neither is ever cached.
pub(super) async fn add_now(
    web: &Web,
    ask: &PageRequest,
    servers: &mut [ServerFacts],
) -> Result<(), Error> {
    let calls = super::read_running_calls(web, ask).await?.calls.clone();
    let mut probed = probes::newest_results::<ServerResult>(&web.store).await?;
    for server in servers {
        server.probe = probed.remove(&server.server).map(ServerProbeFacts::from);
        let now = count_people_now(&calls, &server.server);
        (server.calls_now, server.people_now) = (now.calls, now.people);
        server.ghosts_now = now.ghosts;
    }

    Ok(())
}

/// Adds what is known of the clocks to the first servers of the list, which are those with most
/// time.
pub(super) async fn add_clocks(
    store: &Reader,
    span: Span,
    servers: &mut [ServerFacts],
) -> Result<(), Error> {
    let heard = clock_skew::spans_heard(store).await?;
    for server in servers.iter_mut().take(CLOCKS) {
        server.clock = Some(
            clock_skew::clock_of_server(store, &server.server, span, &heard)
                .await?
                .into(),
        );
    }

    Ok(())
}

/// The key by which a server is sorted in the chosen order.
fn sort_key_of_server(chosen: SortOrder, server: &ServerFacts) -> RowKey {
    let people_now = i64::try_from(server.people_now).map_or(0, |people| people.min(1 << 18));
    let number = match chosen.name {
        "people" => server.people,
        "calls" => server.calls,
        // Servers without a rate come last.
        "run_out" => server.rate().map_or(-1, |rate| rate.permille),
        // By people, and if equal by time: 2^44 ms are five centuries.
        "now" => (people_now << 44) + server.together_ms.min((1 << 44) - 1),
        "time" => server.together_ms,
        _ => 0,
    };

    RowKey::new(number, &server.server, &server.server)
}

/// The people of a server in calls now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PeopleNow {
    /// The number of calls with people of it, and of these people.
    pub calls: usize,
    pub people: usize,
    /// Its devices that still count though they are probably gone.
    pub ghosts: usize,
}

/// Counts the people of a server in these running calls, and its ghosts.
pub(super) fn count_people_now(calls: &[CallFacts], server: &str) -> PeopleNow {
    let mut people: BTreeSet<&str> = BTreeSet::new();
    let mut ghosts: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut count = 0;
    for call in calls {
        let here: Vec<&str> = call
            .present()
            .filter(|member| member.server == server)
            .map(|member| member.user_id.as_str())
            .collect();
        count += usize::from(!here.is_empty());
        people.extend(here);
        let gone = call.ghosts().filter(|member| member.server == server);
        ghosts.extend(gone.map(MemberFacts::device));
    }

    PeopleNow {
        calls: count,
        people: people.len(),
        ghosts: ghosts.len(),
    }
}

/// Computes the list of a period, most time first, without what is said of now.
async fn read_servers_in_period(
    web: &Web,
    ask: &PageRequest,
    period: Period,
) -> Result<Servers, Error> {
    let (store, now) = (&web.store, ask.now);
    let span = period.span(now);
    let gone = super::read_gone_members(web, ask).await?;
    let sums = usage::sums_of_span(store, Scope::All, span, now, &gone).await?;
    let mut data = view::servers_with_time(
        &sums,
        distributions::servers_in_calls(store, span.from, now).await?,
    );
    add_clocks(store, span, &mut data).await?;
    let clocks = largest_clock_errors(&data);

    Ok(Servers {
        computed_ms: now,
        computed_at: Stamp(now),
        period: period.word(),
        total: data.len(),
        matching: data.len(),
        entries_total: EntriesTotal::exactly(data.len()),
        clocks,
        busy: 0,
        looked: LookedFacts::default(),
        older_rules: store.has_older_rules(),
        probing: web.options.probing,
        ready: ReadyFacts::default(),
        data,
        next: None,
        next_url: None,
        watched_rooms: rooms::list_watched_rooms(store).await?.len(),
        calls_ever: calls_ever::count_calls_begun(store, now).await?,
        days: period.days,
        query: Query::default(),
        chosen: SortOrder::default(),
    })
}

/// The servers whose clocks are known, at most [`CLOCKS_SHOWN`]: first those that somebody should
/// look at, then by the size of the error. A clock that is ahead is off sooner than one that is
/// behind.
fn largest_clock_errors(data: &[ServerFacts]) -> Vec<ServerFacts> {
    let off = |server: &ServerFacts| {
        server
            .clock
            .and_then(|clock| clock.behind_ms)
            .map(i64::saturating_abs)
    };

    let mut known: Vec<&ServerFacts> = data.iter().filter(|server| off(server).is_some()).collect();
    known.sort_by_key(|server| {
        let is_off = server.clock.is_some_and(|clock| clock.is_off());
        std::cmp::Reverse((is_off, off(server)))
    });

    known.into_iter().take(CLOCKS_SHOWN).cloned().collect()
}

impl Servers {
    /// The servers with the largest clock errors, from all pages of the list, and how many of them
    /// somebody should look at.
    #[must_use]
    pub fn clocks(&self) -> (&[ServerFacts], usize) {
        let is_off = |server: &&ServerFacts| server.clock.is_some_and(|clock| clock.is_off());
        (&self.clocks, self.clocks.iter().filter(is_off).count())
    }

    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    /// How many servers have people in a call now, in words, and in how many rooms that is unknown
    /// and why. If the present of all rooms is unknown, the number is of when we last saw.
    #[must_use]
    pub fn now_words(&self) -> String {
        let present = &self.looked.seen;
        let busy = || f::count_with_noun(self.busy, "server", "servers");
        if present.is_blind() {
            return match self.busy {
                0 => "Who is in a call now is not known.".to_owned(),
                1 => "People of 1 server were in a call when last seen.".to_owned(),
                _ => format!("People of {} were in a call when last seen.", busy()),
            };
        }

        let here = match (self.busy, present.hidden_rooms()) {
            (0, 0) => "Nobody is in a call now, as far as we see.".to_owned(),
            (0, _) => "Nobody is seen in a call now.".to_owned(),
            (1, _) => "People of 1 server are in a call now.".to_owned(),
            (_, _) => format!("People of {} are in a call now.", busy()),
        };

        match present.hidden_rooms() {
            0 => here,
            rooms => format!(
                "{here} In {} it is unknown: {}.",
                f::count_with_noun(rooms, "room", "rooms"),
                present.seen.words()
            ),
        }
    }

    /// The header of a sortable column.
    #[must_use]
    pub fn head(&self, name: &str) -> ColumnHead {
        self.chosen
            .head(name, name == "server", "/servers", &self.query)
    }

    /// The addresses of the same list as JSON, and of the complete list as files.
    #[must_use]
    pub fn files(&self) -> [(&'static str, String); 3] {
        sort::file_links("/servers", &self.query)
    }

    /// The sortable columns in words, with their headers: for a phone, where tables have no header.
    #[must_use]
    pub fn heads(&self) -> [(&'static str, ColumnHead); 6] {
        [
            ("server", "server"),
            ("people", "people"),
            ("calls", "calls"),
            ("time", "time"),
            ("run_out", "expired"),
            ("now", "now"),
        ]
        .map(|(name, words)| (words, self.head(name)))
    }

    /// The addresses of the first and of the next page, if they exist.
    #[must_use]
    pub fn pages(&self) -> (Option<String>, Option<String>) {
        sort::page_links("/servers", &self.query, self.next.as_deref())
    }
}

#[derive(Template)]
#[template(path = "servers.html")]
struct Html<'a> {
    page: &'a Servers,
    shell: &'a Shell,
    now: i64,
}

impl Page for Servers {
    const SECTION: Section = Section::Servers;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stats::distributions::ServerRow;
    use crate::store::stats::scope::UsageSums;
    use crate::web::view;

    #[test]
    fn the_order_by_now_is_that_of_its_column() {
        let row = |server: &str| ServerRow {
            server: server.to_owned(),
            people: 1,
            calls: 1,
            ended: 0,
            expired: 0,
        };

        let mut servers =
            view::servers_with_time(&UsageSums::default(), ["a", "b", "c", "d"].map(row).into());
        for (server, (people_now, together_ms)) in
            servers
                .iter_mut()
                .zip([(2, 9_000), (7, 10), (7, 20), (0, i64::MAX)])
        {
            (server.people_now, server.calls_now, server.together_ms) =
                (people_now, people_now.min(1), together_ms);
        }

        let chosen = sort::SERVERS
            .read(&Query::read("sort=-now", &["sort"]).unwrap())
            .unwrap();
        servers.sort_by_key(|server| std::cmp::Reverse(sort_key_of_server(chosen, server).number));
        let order: Vec<&str> = servers
            .iter()
            .map(|server| server.server.as_str())
            .collect();
        assert_eq!(order, ["c", "b", "a", "d"]);
    }
}
