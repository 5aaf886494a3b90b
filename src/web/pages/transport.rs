//! `/transports/{host}`: one SFU: whose it is, how many people it carries at once, who brings the
//! time, what its probes said, and what is wrong on it.

use super::capacity::{load_of_sfus, owners_of_sfus, people_by_step, publishers_of_sfus};
use super::period::{Bucket, Period, WatchedFacts};
use super::problems::{ProblemRequest, next_problems, read_computed};
use super::statistics::draw_people_at_once;
use crate::store::findings::list::{FindingFilter, count_findings};
use crate::store::ingest::probe_flips::{ProbeFlip, list_flips};
use crate::store::ingest::probes::{ProbeKind, SfuResult, newest_result};
use crate::store::stats::capacity::{CarriedStays, is_known_sfu};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::bars::Bars;
use crate::web::svg::{Num, ratio};
use crate::web::view::format as f;
use crate::web::view::{
    AtOnceStep, CallFacts, MemberFacts, ProblemEntry, ProblemFacts, SfuLoad, SfuProbeFacts, Stamp,
    problem_entries,
};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Maximum length of a host name.
const HOST_MAX: usize = 255;
/// Maximum addresses and servers of an SFU, changes of each address, and findings.
const ADDRESSES: usize = 8;
const SERVERS: usize = 50;
const FLIPS: i64 = 20;
const PROBLEMS: usize = 5;
/// Past findings are counted up to this number.
const COUNTED: i64 = 1000;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TransportPage {
    /// The host.
    pub sfu: String,
    /// `7d`, `30d`, `90d` or `365d`.
    pub period: &'static str,
    /// People and devices that use it now, each once.
    pub people_now: usize,
    pub devices_now: usize,
    #[serde(flatten)]
    pub past: SfuPast,
    /// The addresses under which members named it, and what their probes said.
    pub addresses: Vec<SfuAddress>,
    /// Whether SFUs are asked for their health (`probe.enabled`).
    pub probing: bool,
    /// The newest findings about it, at most 5, and how many there are: open ones, and past ones (at
    /// most 1001).
    pub problems: Vec<ProblemFacts>,
    pub problems_open: usize,
    pub problems_past: i64,
    #[serde(skip)]
    days: i64,
}

/// What an SFU had in a period.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SfuPast {
    /// When this was computed: what took long is kept for a while.
    pub computed_ms: i64,
    pub computed_at: Stamp,
    /// There are too many stays in the period: the numbers are empty.
    pub is_too_many: bool,
    pub load: SfuLoad,
    /// The unit of `steps`: `day`, or `week` for a year.
    pub step: Bucket,
    /// People at once on it for each step of the period.
    pub steps: Vec<AtOnceStep>,
    /// Whose people were on it, most time first, at most 50.
    pub servers: Vec<ServerOnSfu>,
    pub servers_total: usize,
    pub watched: WatchedFacts,
    #[serde(skip)]
    named_as: Vec<String>,
}

/// A homeserver whose people were on the SFU, or that publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerOnSfu {
    pub server: String,
    /// Device time in which the devices were heard, and the people.
    pub seen_ms: i64,
    pub people: usize,
    /// It publishes this SFU itself, as far as it was asked.
    pub publishes: bool,
}

/// An address of the SFU.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SfuAddress {
    pub service_url: String,
    /// What it said when it was asked last; null where it was not asked.
    pub probe: Option<SfuProbeFacts>,
    /// What changed from one probe to the next, the newest first, at most 20.
    pub flips: Vec<ProbeFlip>,
}

/// `GET /transports/{host}` and `GET /api/v1/transports/{host}`: one SFU, as a page or as JSON.
/// `kept` holds expensive answers about the past.
pub async fn get_transport(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<SfuPast>>,
    host: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = load_transport_page(&web, &ask, &kept, &host.to_lowercase()).await;
    response::send_page(&web, &ask, answer.map(PageAnswer::from)).await
}

/// Reads everything that the page shows of the SFU of this host.
async fn load_transport_page(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<SfuPast>,
    host: &str,
) -> Result<TransportPage, Error> {
    let period = Period::read(ask)?;
    let unknown = || Error::NotFound("No member named an SFU of this host.".to_owned());
    if host.is_empty() || host.len() > HOST_MAX {
        return Err(unknown());
    }

    // First, because the numbers of a period take long.
    if !is_known_sfu(&web.store, host).await? {
        return Err(unknown());
    }

    let key = format!("{} {host}", period.word());
    let past = kept
        .get(
            &web.cache_key(&key),
            read_sfu_in_period(web, ask, host, period),
        )
        .await?;
    let mut addresses = Vec::new();
    for url in &past.named_as {
        addresses.push(SfuAddress {
            service_url: url.clone(),
            probe: newest_result::<SfuResult>(&web.store, url)
                .await?
                .map(SfuProbeFacts::from),
            flips: list_flips(&web.store, SfuResult::WORD, url, FLIPS).await?,
        });
    }

    let asked = ProblemRequest {
        filter: FindingFilter {
            sfu: Some(host.to_owned()),
            ..FindingFilter::default()
        },
        open: None,
    };
    let computed = read_computed(web, ask).await?;
    let problems = next_problems(web, ask, &asked, &computed, None, PROBLEMS).await?;
    let calls = super::read_running_calls(web, ask).await?.calls.clone();
    let is_on_it = |member: &&MemberFacts| {
        let used = member.transport.as_ref();
        used.and_then(|used| used.sfu.as_deref()) == Some(host)
    };
    let devices: BTreeSet<(&str, &str)> = calls
        .iter()
        .flat_map(CallFacts::present)
        .filter(is_on_it)
        .map(MemberFacts::device)
        .collect();
    let people: BTreeSet<&str> = devices.iter().map(|(user_id, _)| *user_id).collect();

    Ok(TransportPage {
        sfu: host.to_owned(),
        period: period.word(),
        people_now: people.len(),
        devices_now: devices.len(),
        past,
        addresses,
        probing: web.options.probing,
        problems_open: computed.count_open(&asked),
        problems,
        problems_past: count_findings(&web.store, &asked.filter, COUNTED + 1).await?,
        days: period.days,
    })
}

/// Computes the numbers of an SFU in a period.
async fn read_sfu_in_period(
    web: &Web,
    ask: &PageRequest,
    host: &str,
    period: Period,
) -> Result<SfuPast, Error> {
    let (store, now) = (&web.store, ask.now);
    let span = period.span(now);
    let step = Bucket::step_of_query(&Query::default(), period)?;
    let watched = WatchedFacts::read(web, period, now).await?;
    let gone = super::read_gone_members(web, ask).await?;
    let stays = CarriedStays::read(store, span, now, &gone).await?;
    if stays.is_too_many {
        return Ok(SfuPast {
            computed_ms: now,
            computed_at: Stamp(now),
            is_too_many: true,
            load: SfuLoad {
                sfu: Some(host.to_owned()),
                ..SfuLoad::default()
            },
            step,
            steps: Vec::new(),
            servers: Vec::new(),
            servers_total: 0,
            watched,
            named_as: Vec::new(),
        });
    }

    let sfus = BTreeSet::from([host]);
    let sums = stays.sums_by_sfu().remove(host).unwrap_or_default();
    let publishers = publishers_of_sfus(store, &stays.servers()).await?;
    let owner = owners_of_sfus(&stays, &publishers).remove(host);
    let publishers = publishers.get(host).cloned().unwrap_or_default();
    let mut servers: Vec<ServerOnSfu> = stays
        .time_by_server_and_sfu()
        .into_iter()
        .filter(|row| row.sfu == host)
        .map(|row| ServerOnSfu {
            publishes: publishers.contains(&row.server),
            server: row.server,
            seen_ms: row.seen_ms,
            people: row.people,
        })
        .collect();
    for server in &publishers {
        if !servers.iter().any(|row| row.server == *server) {
            servers.push(ServerOnSfu {
                server: server.clone(),
                seen_ms: 0,
                people: 0,
                publishes: true,
            });
        }
    }

    let servers_total = servers.len();
    servers.truncate(SERVERS);
    let named_as = stays.addresses(host).into_iter().take(ADDRESSES);

    Ok(SfuPast {
        computed_ms: now,
        computed_at: Stamp(now),
        is_too_many: false,
        load: SfuLoad {
            sfu: Some(host.to_owned()),
            owner,
            ..load_of_sfus(&stays, span, &sfus, sums)
        },
        step,
        steps: people_by_step(&stays, &step.spans(period, now), Some(&sfus)),
        servers,
        servers_total,
        watched,
        named_as: named_as.map(ToOwned::to_owned).collect(),
    })
}

impl TransportPage {
    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    /// Its address.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/transports/{}", f::path_segment(&self.sfu))
    }

    /// The most people on it at once by day or week.
    #[must_use]
    pub fn chart(&self) -> Bars {
        draw_people_at_once(&self.past.steps, self.past.step)
    }

    /// The bar of a server, percent of the first one.
    #[must_use]
    pub fn part(&self, server: &ServerOnSfu) -> Num {
        let most_ms = self.past.servers.first().map_or(0, |first| first.seen_ms);
        Num(100.0 * ratio(server.seen_ms, most_ms))
    }

    /// The findings, those of one problem together.
    #[must_use]
    pub fn entries(&self) -> Vec<ProblemEntry<'_>> {
        problem_entries(&self.problems.iter().collect::<Vec<_>>())
    }

    /// The number of past findings, in words.
    #[must_use]
    pub fn past_words(&self) -> String {
        if self.problems_past > COUNTED {
            format!("more than {}", f::group_digits(COUNTED))
        } else {
            f::group_digits(self.problems_past)
        }
    }
}

#[derive(Template)]
#[template(path = "transport.html")]
struct Html<'a> {
    page: &'a TransportPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for TransportPage {
    const SECTION: Section = Section::Transports;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
