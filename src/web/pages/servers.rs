//! `/servers`: every homeserver seen in a call within a period, its people, their time, and how often its stays only
//! run out.

use super::period::Period;
use crate::store::statistics;
use crate::store::sums::{self, Scope};
use crate::store::{ever, rooms, sessions};
use crate::web::error::Error;
use crate::web::facts::{self, CallFacts, Rate, ServerFacts, Stamp};
use crate::web::kept::Kept;
use crate::web::reply::{self, Answer, Ask, Page, Section, Shell};
use crate::web::{Web, assets, format as f};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Rows on the page; the JSON has all.
const SHOWN: usize = 100;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Servers {
    /// When the sums were computed: what took long is kept for a while.
    pub computed_ms: i64,
    pub computed_at: Stamp,
    /// `7d`, `30d`, `90d` or `365d`.
    pub period: &'static str,
    /// Most time first.
    pub data: Vec<ServerFacts>,
    pub next: Option<String>,
    pub next_url: Option<String>,
    pub watched_rooms: usize,
    pub calls_ever: i64,
    #[serde(skip)]
    days: i64,
}

/// `GET /servers` and `GET /api/v1/servers`
pub async fn get(req: HttpRequest, web: http::Data<Web>, kept: http::Data<Kept<Servers>>) -> HttpResponse {
    let ask = Ask::of(&req, &web);
    reply::send(&web, &ask, load(&web, &ask, &kept).await.map(Answer::from)).await
}

async fn load(web: &Web, ask: &Ask, kept: &Kept<Servers>) -> Result<Servers, Error> {
    let period = Period::read(&ask.query)?;
    let mut page = kept.get(period.word(), past(web, ask, period)).await?;
    // Who is in a call now is looked at anew each time.
    let calls = sessions::active(&web.store, ask.viewer, ask.now).await?;
    let calls = super::with_members(web, ask, calls).await?;
    for server in &mut page.data {
        (server.calls_now, server.people_now) = now_of(&calls, &server.server);
    }
    Ok(page)
}

/// Calls with people of this server in them now, and how many of these people.
pub(super) fn now_of(calls: &[CallFacts], server: &str) -> (usize, usize) {
    let mut people: BTreeSet<&str> = BTreeSet::new();
    let with = calls.iter().filter(|call| {
        let here = || call.present().filter(|member| member.server == server);
        people.extend(here().map(|member| member.user_id.as_str()));
        here().next().is_some()
    });
    (with.count(), people.len())
}

async fn past(web: &Web, ask: &Ask, period: Period) -> Result<Servers, Error> {
    let (store, viewer, now) = (&web.store, ask.viewer, ask.now);
    let span = period.span(now);
    let sums = sums::of(store, viewer, Scope::All, span, now).await?;
    Ok(Servers {
        computed_ms: now,
        computed_at: Stamp(now),
        period: period.word(),
        data: facts::servers(&sums, statistics::servers(store, viewer, span, now).await?),
        next: None,
        next_url: None,
        watched_rooms: rooms::watched(store).await?.len(),
        calls_ever: ever::calls(store, viewer, now).await?,
        days: period.days,
    })
}

impl Servers {
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    /// The first rows, those with somebody in a call now before the others.
    #[must_use]
    pub fn shown(&self) -> Vec<&ServerFacts> {
        let mut rows: Vec<&ServerFacts> = self.data.iter().collect();
        rows.sort_by_key(|server| server.calls_now == 0);
        rows.truncate(SHOWN);
        rows
    }

    /// Servers with somebody in a call now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.data.iter().filter(|server| server.calls_now > 0).count()
    }
}

#[derive(Template)]
#[template(path = "servers.html")]
struct Html<'a> {
    page: &'a Servers,
    shell: &'a Shell,
}

impl Page for Servers {
    const SECTION: Section = Section::Servers;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html { page: self, shell }.render()
    }
}
