//! `/transports`: the SFUs of a period: their calls, devices, time, and the homeservers that they
//! served.

use super::period::{LIMIT, LIST_PARAMETERS, Period};
use crate::rtc::transport::host_of_url;
use crate::store::ingest::probes::{self, SfuResult};
use crate::store::stats::transport_usage::{self, TransportUsage};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::sort::{self, ColumnHead, RowKey, SortOrder};
use crate::web::svg::sfu::{Paint, Sfus};
use crate::web::svg::{Num, ratio};
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{CallFacts, EntriesTotal, SfuProbeFacts, Stamp};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;

/// Maximum number of servers named in each row; the JSON has all.
const SERVERS_SHOWN: usize = 3;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Transports {
    /// When this was computed: what took long is kept for a while.
    pub computed_ms: i64,
    pub computed_at: Stamp,
    /// `7d`, `30d`, `90d` or `365d`.
    pub period: &'static str,
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Most time first, or as `sort` says.
    pub data: Vec<TransportRow>,
    pub next: Option<String>,
    pub next_url: Option<String>,
    /// The number of entries that match, on all pages together.
    pub entries_total: EntriesTotal,
    /// Device time with an unknown transport: the members named none that we know.
    pub unknown_ms: i64,
    /// The number of transports on all pages of the list; of those that can carry somebody (a known
    /// type with a web address); of those that carry somebody now; and the device time of all.
    pub total: usize,
    pub usable: usize,
    pub busy: usize,
    pub together_ms: i64,
    /// Device time without inferred time.
    pub together_seen_ms: i64,
    #[serde(flatten)]
    pub looked: LookedFacts,
    /// Some of it is from older rules or other settings: calls are just being derived again.
    pub older_rules: bool,
    /// Whether SFUs are asked for their health (`probe.enabled`).
    pub probing: bool,
    #[serde(skip)]
    most_ms: i64,
    /// The part of `together_ms` on transports that can carry somebody.
    #[serde(skip)]
    carried_ms: i64,
    #[serde(skip)]
    days: i64,
    #[serde(skip)]
    query: Query,
    #[serde(skip)]
    chosen: SortOrder,
}

/// One transport: an SFU, or an unknown type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TransportRow {
    #[serde(rename = "type")]
    pub kind: String,
    /// False for a type that no present client uses: it is counted, but nobody can be heard through
    /// it.
    pub known_type: bool,
    pub service_url: Option<String>,
    pub calls: i64,
    pub people: i64,
    pub devices: i64,
    /// Device time; and device time without inferred time: after the last sign of a device that is
    /// gone nobody is carried.
    pub together_ms: i64,
    pub together_seen_ms: i64,
    /// Homeservers of the people.
    pub servers: Vec<String>,
    /// Distinct devices that use it now; if nothing is received, those that used it when it was
    /// last seen.
    pub devices_now: i64,
    pub last_ms: i64,
    pub last_at: Stamp,
    /// What it said when it was asked for its health; null where it was not asked.
    pub probe: Option<SfuProbeFacts>,
    #[serde(skip)]
    paint: Paint,
}

impl From<TransportUsage> for TransportRow {
    fn from(row: TransportUsage) -> Self {
        Self {
            known_type: row.kind == "livekit",
            kind: row.kind,
            service_url: row.service_url,
            calls: row.calls,
            people: row.people,
            devices: row.devices,
            together_ms: row.together_ms,
            together_seen_ms: row.together_seen_ms,
            servers: row.servers.into_iter().collect(),
            devices_now: row.now,
            last_ms: row.last_ms,
            last_at: Stamp(row.last_ms),
            probe: None,
            paint: Paint::GREY,
        }
    }
}

/// `GET /transports` and `GET /api/v1/transports`: the list of SFUs, as a page or as JSON. `kept`
/// holds expensive lists of earlier requests.
pub async fn get_transports(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Transports>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_transports_page(&web, &ask, &kept)
            .await
            .map(PageAnswer::from),
    )
    .await
}

/// Reads the page of the list that the parameters ask for.
async fn load_transports_page(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Transports>,
) -> Result<Transports, Error> {
    let query = ask.list_query(LIST_PARAMETERS)?;
    let mut page = list_all_transports(web, ask, kept, &query).await?;
    let chosen = page.chosen;
    (page.data, page.next) = chosen.cut(page.data, &query, LIMIT, |row| {
        sort_key_of_transport(chosen, row)
    })?;
    page.next_url = sort::next_url(web, "/transports", &query, page.next.as_deref());

    Ok(Transports { query, ..page })
}

/// The complete list of transports, in the requested order.
pub(in crate::web) async fn list_all_transports(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Transports>,
    query: &Query,
) -> Result<Transports, Error> {
    let (period, chosen) = (
        Period::period_of_query(query)?,
        sort::TRANSPORTS.read(query)?,
    );
    // Results computed while calls are being derived again are not cached beyond that time.
    let older_rules = web.store.has_older_rules();
    let kept_as = format!("{} {older_rules}", period.word());
    let mut page = kept
        .get(
            &web.cache_key(&kept_as),
            read_transports_in_period(web, ask, period),
        )
        .await?;
    page.older_rules = older_rules;
    page.looked = LookedFacts::read(web, ask.now).await?;
    // The present users are read again each time.
    let calls = super::read_running_calls(web, ask).await?.calls.clone();
    let now = devices_now_by_transport(&calls);
    let seen = &page.looked.seen;
    // If nothing is received, people count until they were last heard, and no longer.
    let here_ms = match seen.seen.unknown_since_ms {
        Some(since) if seen.is_blind() => since,
        _ => ask.now,
    };

    for row in &mut page.data {
        row.devices_now = now
            .get(&(row.kind.as_str(), row.service_url.as_deref()))
            .copied()
            .unwrap_or(0);
        if row.devices_now > 0 {
            (row.last_ms, row.last_at) = (here_ms, Stamp(here_ms));
        }
    }

    page.busy = page.data.iter().filter(|row| row.devices_now > 0).count();
    page.data = chosen.all(page.data, |row| sort_key_of_transport(chosen, row));
    let mut probed = probes::newest_results::<SfuResult>(&web.store).await?;
    for row in &mut page.data {
        let url = row.service_url.as_ref().filter(|_| row.known_type);
        row.probe = url
            .and_then(|url| probed.remove(url))
            .map(SfuProbeFacts::from);
    }

    page.probing = web.options.probing;

    Ok(Transports { chosen, ..page })
}

/// The number of devices that use each transport now, by kind and address.
fn devices_now_by_transport(calls: &[CallFacts]) -> HashMap<(&str, Option<&str>), i64> {
    let using = calls
        .iter()
        .flat_map(CallFacts::present)
        .filter_map(|member| {
            let transport = member.transport.as_ref()?;
            Some((
                (transport.kind.as_str(), transport.service_url.as_deref()),
                member.device(),
            ))
        });
    let mut found = HashMap::new();
    for (transport, _) in using.collect::<BTreeSet<_>>() {
        *found.entry(transport).or_insert(0) += 1;
    }

    found
}

/// The key by which a transport is sorted in the chosen order.
fn sort_key_of_transport(chosen: SortOrder, row: &TransportRow) -> RowKey {
    let number = match chosen.name {
        "time" => row.together_ms,
        "calls" => row.calls,
        "people" => row.people,
        // Nobody uses it: by the last use.
        "now" if row.devices_now == 0 => row.last_ms.saturating_sub(1 << 60),
        "now" => row.devices_now,
        _ => 0,
    };

    RowKey::new(
        number,
        &row.title(),
        &format!(
            "{} {}",
            row.kind,
            row.service_url.as_deref().unwrap_or_default()
        ),
    )
}

/// Computes the list of a period, most time first, without what is said of now.
async fn read_transports_in_period(
    web: &Web,
    ask: &PageRequest,
    period: Period,
) -> Result<Transports, Error> {
    let span = period.span(ask.now);
    let gone = super::read_gone_members(web, ask).await?;
    let (rows, unknown_ms) =
        transport_usage::usage_by_transport(&web.store, span, ask.now, &gone).await?;

    Ok(transports_page(rows, unknown_ms, period, ask.now))
}

/// The page from its rows. They must be as of `now`, ms, when they were computed; `unknown_ms` is
/// the device time without a known transport, ms.
#[must_use]
pub fn transports_page(
    rows: Vec<TransportUsage>,
    unknown_ms: i64,
    period: Period,
    now: i64,
) -> Transports {
    let from_ms = period.span(now).from;
    let mut data: Vec<TransportRow> = rows.into_iter().map(TransportRow::from).collect();
    assign_colours(&mut data);
    let usable = || data.iter().filter(|row| row.doubt().is_none());

    Transports {
        total: data.len(),
        entries_total: EntriesTotal::exactly(data.len()),
        usable: usable().count(),
        carried_ms: usable().map(|row| row.together_ms).sum(),
        busy: data.iter().filter(|row| row.devices_now > 0).count(),
        together_ms: data.iter().map(|row| row.together_ms).sum(),
        together_seen_ms: data.iter().map(|row| row.together_seen_ms).sum(),
        most_ms: data.iter().map(|row| row.together_ms).max().unwrap_or(0),
        looked: LookedFacts::default(),
        older_rules: false,
        probing: false,
        query: Query::default(),
        chosen: SortOrder::default(),
        computed_ms: now,
        computed_at: Stamp(now),
        period: period.word(),
        from_ms,
        from_at: Stamp(from_ms),
        data,
        next: None,
        next_url: None,
        unknown_ms,
        days: period.days,
    }
}

/// Gives each SFU its preferred colour, or the next free one. The rows must be in order of time:
/// the colours do not change with the order of the list.
fn assign_colours(rows: &mut [TransportRow]) {
    let sfus = Sfus::from_urls(
        rows.iter()
            .filter(|row| row.doubt().is_none())
            .filter_map(|row| row.service_url.as_deref()),
    );

    for row in rows {
        row.paint = sfus.paint(row.service_url.as_deref());
    }
}

impl Transports {
    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    /// The header of a sortable column.
    #[must_use]
    pub fn head(&self, name: &str) -> ColumnHead {
        self.chosen
            .head(name, name == "sfu", "/transports", &self.query)
    }

    /// The addresses of the same list as JSON, and of the complete list as files.
    #[must_use]
    pub fn files(&self) -> [(&'static str, String); 3] {
        sort::file_links("/transports", &self.query)
    }

    /// The sortable columns in words, with their headers: for a phone, where tables have no header.
    #[must_use]
    pub fn heads(&self) -> [(&'static str, ColumnHead); 5] {
        [
            ("sfu", "SFU"),
            ("time", "time"),
            ("calls", "calls"),
            ("people", "people"),
            ("now", "now"),
        ]
        .map(|(name, words)| (words, self.head(name)))
    }

    /// The addresses of the first and of the next page, if they exist.
    #[must_use]
    pub fn pages(&self) -> (Option<String>, Option<String>) {
        sort::page_links("/transports", &self.query, self.next.as_deref())
    }

    /// The bar of a row, percent of the longest.
    #[must_use]
    pub fn part(&self, row: &TransportRow) -> Num {
        Num(100.0 * ratio(row.together_ms, self.most_ms))
    }
}

impl TransportRow {
    /// Device time after the last sign of devices that nobody ended, ms.
    #[must_use]
    pub fn inferred_ms(&self) -> i64 {
        self.together_ms - self.together_seen_ms
    }

    /// Its colour: the one that it has in a call with no other SFU, or the next one that is free in
    /// the list.
    #[must_use]
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// The first of its servers, and how many more there are.
    #[must_use]
    pub fn some_servers(&self) -> (&[String], usize) {
        let shown = &self.servers[..self.servers.len().min(SERVERS_SHOWN)];
        (shown, self.servers.len() - shown.len())
    }

    /// Why nobody can be heard through it, in words; `None` if it can carry somebody.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let url = self.service_url.as_deref();
        match url {
            _ if !self.known_type => Some(format!("Unknown type {}", f::sanitize_line(&self.kind))),
            None => Some("No address named".to_owned()),
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                Some("No web address".to_owned())
            }
            Some(_) => None,
        }
    }

    /// The page of its host; `None` if it can carry nobody.
    #[must_use]
    pub fn href(&self) -> Option<String> {
        let url = self
            .service_url
            .as_deref()
            .filter(|_| self.doubt().is_none())?;
        Some(format!(
            "/transports/{}",
            f::path_segment(&host_of_url(url))
        ))
    }

    /// The host of its address; its type if it has none.
    #[must_use]
    pub fn title(&self) -> String {
        self.service_url.as_deref().map_or_else(
            || f::sanitize_line(&self.kind),
            |url| f::sanitize_line(f::host_of_url(url)),
        )
    }
}

#[derive(Template)]
#[template(path = "transports.html")]
struct Html<'a> {
    page: &'a Transports,
    shell: &'a Shell,
    now: i64,
}

impl Page for Transports {
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
