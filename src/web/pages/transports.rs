//! `/transports`: what carried the calls of a period: by SFU its calls, devices, time, and the homeservers it served.

use super::period::Period;
use crate::store::carried::{self, Carried};
use crate::web::draw::sfu::{Paint, Sfus};
use crate::web::draw::{Num, ratio};
use crate::web::error::Error;
use crate::web::facts::Stamp;
use crate::web::kept::Kept;
use crate::web::reply::{self, Answer, Ask, Page, Section, Shell};
use crate::web::{Web, assets, format as f};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows on the page, and servers named in each; the JSON has all.
const SHOWN: usize = 60;
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
    /// Most time first.
    pub data: Vec<TransportRow>,
    pub next: Option<String>,
    pub next_url: Option<String>,
    /// Device time whose transport is not known: the members named none that we know of.
    pub unknown_ms: i64,
    #[serde(skip)]
    days: i64,
}

/// One transport: an SFU, or a type that is none we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TransportRow {
    #[serde(rename = "type")]
    pub kind: String,
    /// False for a type that no client of this time uses: it is counted, and nobody can be heard by it.
    pub known_type: bool,
    pub service_url: Option<String>,
    pub calls: i64,
    pub people: i64,
    pub devices: i64,
    /// Device time.
    pub together_ms: i64,
    /// Homeservers of the people.
    pub servers: Vec<String>,
    /// Devices that use it now.
    pub devices_now: i64,
    pub last_ms: i64,
    pub last_at: Stamp,
}

impl From<Carried> for TransportRow {
    fn from(row: Carried) -> Self {
        Self {
            known_type: row.kind == "livekit",
            kind: row.kind,
            service_url: row.service_url,
            calls: row.calls,
            people: row.people,
            devices: row.devices,
            together_ms: row.together_ms,
            servers: row.servers.into_iter().collect(),
            devices_now: row.now,
            last_ms: row.last_ms,
            last_at: Stamp(row.last_ms),
        }
    }
}

/// `GET /transports` and `GET /api/v1/transports`
pub async fn get(req: HttpRequest, web: http::Data<Web>, kept: http::Data<Kept<Transports>>) -> HttpResponse {
    let ask = Ask::of(&req, &web);
    let answer = match Period::read(&ask.query) {
        Ok(period) => kept.get(period.word(), load(&web, &ask, period)).await.map(Answer::from),
        Err(error) => Err(error),
    };
    reply::send(&web, &ask, answer).await
}

async fn load(web: &Web, ask: &Ask, period: Period) -> Result<Transports, Error> {
    let span = period.span(ask.now);
    let (rows, unknown_ms) = carried::carried(&web.store, ask.viewer, span, ask.now).await?;
    Ok(page(rows, unknown_ms, period, ask.now))
}

/// The page from its rows.
#[must_use]
pub fn page(rows: Vec<Carried>, unknown_ms: i64, period: Period, now: i64) -> Transports {
    let from_ms = period.span(now).from;
    Transports {
        computed_ms: now,
        computed_at: Stamp(now),
        period: period.word(),
        from_ms,
        from_at: Stamp(from_ms),
        data: rows.into_iter().map(TransportRow::from).collect(),
        next: None,
        next_url: None,
        unknown_ms,
        days: period.days,
    }
}

impl Transports {
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    #[must_use]
    pub fn shown(&self) -> &[TransportRow] {
        &self.data[..self.data.len().min(SHOWN)]
    }

    /// SFUs that carry somebody now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.data.iter().filter(|row| row.devices_now > 0).count()
    }

    /// Those that can carry somebody: a known type with an address of the web.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.data.iter().filter(|row| row.doubt().is_none()).count()
    }

    /// The time of all of them.
    #[must_use]
    pub fn together_ms(&self) -> i64 {
        self.data.iter().map(|row| row.together_ms).sum()
    }

    /// The bar of a row, percent of the first.
    #[must_use]
    pub fn part(&self, row: &TransportRow) -> Num {
        Num(100.0 * ratio(row.together_ms, self.data.first().map_or(0, |first| first.together_ms)))
    }
}

impl TransportRow {
    /// Its colour as in every picture of a call.
    #[must_use]
    pub fn paint(&self) -> Paint {
        Sfus::of(self.service_url.as_deref().into_iter()).paint(self.service_url.as_deref())
    }

    /// The first servers, and how many more.
    #[must_use]
    pub fn some_servers(&self) -> (&[String], usize) {
        let shown = &self.servers[..self.servers.len().min(SERVERS_SHOWN)];
        (shown, self.servers.len() - shown.len())
    }

    /// Why nobody can be heard by it, in words, if so.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let url = self.service_url.as_deref();
        match url {
            _ if !self.known_type => Some(format!("Unknown type {}", f::tidy(&self.kind))),
            None => Some("No address named".to_owned()),
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                Some("No web address".to_owned())
            }
            Some(_) => None,
        }
    }

    /// Its host, or what stands for it.
    #[must_use]
    pub fn title(&self) -> String {
        self.service_url.as_deref().map_or_else(|| f::tidy(&self.kind), |url| f::tidy(f::host(url)))
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
        Html { page: self, shell, now: shell.now_ms }.render()
    }
}
