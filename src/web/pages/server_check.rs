//! `/servers/{name}/check`: why calls fail on a homeserver: what it answered from its name to its
//! SFU, beside what really happened in its calls.

use super::server::NamedFacts;
use crate::rtc::coverage::Span;
use crate::rtc::id::server_of;
use crate::rtc::server_check::{CheckLine, RoomAnswers, gravest_first};
use crate::rtc::spelling::spellings_of_name;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::EndReason;
use crate::store::ingest::probe_flips;
use crate::store::ingest::probes::{self, CheckResult, ProbeKind, Probed};
use crate::store::ingest::vantages;
use crate::store::read::call_rules;
use crate::store::stats::distributions::{self, EndFacts};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::outputs::badge::{self, Badge, BadgeLook};
use crate::web::svg::timeline::end_reason_words;
use crate::web::view::format as f;
use crate::web::view::server_check::{
    CheckStepFacts, CheckVerdict, FlipOfStep, is_stale, verdict_of_check,
};
use crate::web::view::{Rate, Stamp};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What really happened is counted over this time, days.
const DAYS: i64 = 7;
/// Rooms in which its people called within this time are looked at, ms.
const ROOMS_MS: i64 = 90 * DAY_MS;
const FLIPS_MAX: i64 = 50;
/// Maximum length of a server's name; longer ones are not servers.
const NAME_MAX: usize = 255;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own in the JSON"
)]
pub struct ServerCheckPage {
    pub server: String,
    /// It is the homeserver of the account that we observe from.
    pub is_own: bool,
    /// It was asked with our account; else as everybody may.
    pub is_asked_with_account: bool,
    /// `ok` (nothing is broken), `broken`, or `unknown` (not checked, or too long ago).
    pub verdict: CheckVerdict,
    /// When it was asked; null if it never was.
    pub checked_ms: Option<i64>,
    pub checked_at: Option<Stamp>,
    /// The check is too old to say something of now.
    pub is_stale: bool,
    /// Whether servers of this kind are checked at all (`probe.own_server`, `probe.enabled`).
    pub is_checked_regularly: bool,
    /// The steps, broken ones first.
    pub steps: Vec<CheckStepFacts>,
    /// What changed, the newest first.
    pub flips: Vec<FlipOfStep>,
    pub happened: Happened,
}

/// What happened in calls of the server's people.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Happened {
    /// Over how many days it is counted.
    pub days: i64,
    /// Ended stays by the way they ended, and their number.
    pub ends: Vec<EndFacts>,
    pub ended: i64,
    /// Stays that nobody ended: they only ran out.
    pub expired: i64,
    /// The share of them; null with too few stays.
    pub rate: Option<Rate>,
    /// Transports that its people named.
    pub transports: Vec<NamedFacts>,
}

/// What the store has about the check of a server.
#[derive(Debug)]
struct StoredCheck {
    is_own: bool,
    check: Option<Probed<CheckResult>>,
    /// The lines of the check, and those of rooms.
    lines: Vec<CheckLine>,
}

impl StoredCheck {
    fn verdict(&self, now: i64) -> CheckVerdict {
        verdict_of_check(self.check.as_ref(), now)
    }
}

/// `GET /servers/{name}/check` and `GET /api/v1/servers/{name}/check`: the check of a homeserver,
/// as a page or as JSON.
pub async fn get_server_check(
    req: HttpRequest,
    web: Web,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_server_check(&web, &ask, &name)
            .await
            .map(PageAnswer::from),
    )
    .await
}

/// `GET /api/v1/servers/{name}/rtc-ok`: one word, `ok`, `broken` or `unknown`.
pub async fn get_rtc_ok(req: HttpRequest, web: Web, name: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let verdict = async {
        ask.read_query(&[])?;
        load_verdict(&web, &ask, &name).await
    };
    match verdict.await {
        Ok(verdict) => HttpResponse::build(StatusCode::OK)
            .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(format!("{verdict}\n")),
        Err(error) => response::send_error(&ask, &error),
    }
}

/// `GET /badge/servers/{name}/rtc.svg`: whether calls work there, as a picture.
pub async fn get_check_badge_svg(
    req: HttpRequest,
    web: Web,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let badge = load_check_badge(&web, &ask, &name).await;
    badge::send_badge_svg(&ask, "unknown server", badge)
}

/// `GET /badge/servers/{name}/rtc.json`: the same in the JSON format of Shields.
pub async fn get_check_badge_json(
    req: HttpRequest,
    web: Web,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_json(&ask, load_check_badge(&web, &ask, &name).await)
}

/// The badge of the check, in the look that was asked for.
async fn load_check_badge(web: &Web, ask: &PageRequest, name: &str) -> Result<Badge, Error> {
    let look = BadgeLook::read(ask)?;
    let verdict = load_verdict(web, ask, name).await?;

    Ok(look.put_on(badge_of_verdict(verdict)))
}

fn badge_of_verdict(verdict: CheckVerdict) -> Badge {
    let (color, is_error) = match verdict {
        CheckVerdict::Ok => ("brightgreen", false),
        CheckVerdict::Broken => ("red", false),
        CheckVerdict::Unknown => ("lightgrey", true),
    };

    Badge::with_label("calls", verdict.to_string(), color, is_error)
}

async fn load_verdict(web: &Web, ask: &PageRequest, name: &str) -> Result<CheckVerdict, Error> {
    let server = find_server(web, name).await?;
    let check = probes::newest_result::<CheckResult>(&web.store, &server.name).await?;

    Ok(verdict_of_check(check.as_ref(), ask.now))
}

/// A server that can be checked.
struct CheckedServer {
    name: String,
    /// It is that of the account that we observe from.
    is_own: bool,
}

/// The server of this name, in any case. A server that the viewer may not know does not exist for
/// them, nor do checks for those who see people by pseudonyms.
async fn find_server(web: &Web, name: &str) -> Result<CheckedServer, Error> {
    let store = &web.store;
    let ours = vantages::list_vantages_for(store).await?;
    let ours: BTreeSet<&str> = ours.iter().map(|one| server_of(&one.user_id)).collect();
    let is_asked = name.len() <= NAME_MAX && store.shows_names();
    let spellings = spellings_of_name(name).into_iter();
    for name in spellings.filter(|_| is_asked) {
        let is_own = ours.contains(name.as_str());
        if is_own || distributions::is_known_server(store, &name).await? {
            return Ok(CheckedServer { name, is_own });
        }
    }

    Err(Error::NotFound(
        "Nobody of a server with this name was seen in a call.".to_owned(),
    ))
}

/// Hides what the account's own server answered to it, which is for operators.
fn hide_answers_to_account(check: &mut CheckResult) {
    for line in &mut check.lines {
        line.asked.clear();
        line.came.clear();
    }
}

/// Reads the newest check of a server, as this viewer may see it, and adds a line for each room whose
/// rules keep people of that server out of calls.
async fn read_stored_check(
    web: &Web,
    ask: &PageRequest,
    server: &CheckedServer,
) -> Result<StoredCheck, Error> {
    let (store, name, is_own) = (&web.store, server.name.as_str(), server.is_own);
    let mut check = probes::newest_result::<CheckResult>(store, name).await?;
    // Whoever sees all rooms is an operator.
    let is_operator = store.visible_rooms().is_none();
    if let Some(check) = check.as_mut()
        && check.result.is_own
        && !is_operator
    {
        hide_answers_to_account(&mut check.result);
    }

    let since = ask.now - ROOMS_MS;
    let rooms = call_rules::rules_against_server(store, name, since, ask.now).await?;
    let lines = check.iter().flat_map(|check| check.result.lines.clone());
    let of_rooms = rooms.iter().flat_map(RoomAnswers::check_lines);
    let lines = lines.chain(of_rooms).collect();

    Ok(StoredCheck {
        is_own,
        check,
        lines,
    })
}

async fn load_server_check(
    web: &Web,
    ask: &PageRequest,
    name: &str,
) -> Result<ServerCheckPage, Error> {
    ask.read_query(&[])?;
    let server = find_server(web, name).await?;
    let name = server.name.as_str();
    let stored = read_stored_check(web, ask, &server).await?;
    let verdict = stored.verdict(ask.now);
    let flips = probe_flips::list_flips(&web.store, CheckResult::WORD, name, FLIPS_MAX).await?;
    let mut flips: Vec<FlipOfStep> = flips.into_iter().map(FlipOfStep::from).collect();
    if stored.is_own && web.store.visible_rooms().is_some() {
        for flip in &mut flips {
            flip.came.clear();
        }
    }

    let steps = gravest_first(stored.lines)
        .into_iter()
        .map(|line| CheckStepFacts::new(line, &flips))
        .collect();
    let check = stored.check.as_ref();
    let checked_ms = check.map(|check| check.asked_ms);
    let is_checked_regularly = if stored.is_own {
        web.options.checks_own_server
    } else {
        web.options.probing
    };

    Ok(ServerCheckPage {
        server: name.to_owned(),
        is_own: stored.is_own,
        is_asked_with_account: check.is_some_and(|check| check.result.is_own),
        verdict,
        checked_ms,
        checked_at: checked_ms.map(Stamp),
        is_stale: check.is_some_and(|check| is_stale(check, ask.now)),
        is_checked_regularly,
        steps,
        flips,
        happened: read_what_happened(web, ask, name).await?,
    })
}

/// How stays of the last days ended, and which transports were named.
async fn read_what_happened(web: &Web, ask: &PageRequest, name: &str) -> Result<Happened, Error> {
    let span = Span {
        from: ask.now - DAYS * DAY_MS,
        to: ask.now,
    };
    let ends = distributions::end_reasons_of_server(&web.store, name, span, ask.now).await?;
    let transports = distributions::transports_of_server(&web.store, name, span).await?;
    let count = |is_counted: fn(EndReason) -> bool| {
        let counted = ends.iter().filter(|end| is_counted(end.reason));
        counted.map(|end| end.stays).sum::<i64>()
    };
    let ended = count(|_| true);
    let expired = count(|reason| matches!(reason, EndReason::Expired | EndReason::StickyExpired));

    Ok(Happened {
        days: DAYS,
        rate: Rate::with_bounds(expired, ended),
        ends,
        ended,
        expired,
        transports: transports.into_iter().map(NamedFacts::from).collect(),
    })
}

impl ServerCheckPage {
    /// What is broken or weak.
    pub fn faults(&self) -> impl Iterator<Item = &CheckStepFacts> {
        self.steps.iter().filter(|step| step.is_fault())
    }

    /// The path of the server's page.
    #[must_use]
    pub fn server_href(&self) -> String {
        format!("/servers/{}", f::path_segment(&self.server))
    }

    /// Did enough of it answer to say that calls work?
    #[must_use]
    pub fn is_known_to_work(&self) -> bool {
        self.verdict == CheckVerdict::Ok
    }

    /// How many steps are broken.
    #[must_use]
    pub fn broken(&self) -> usize {
        let broken = |step: &&CheckStepFacts| step.state_word() == "Broken";
        self.steps.iter().filter(broken).count()
    }

    /// The way that stays ended, in words.
    #[must_use]
    pub fn end_words(&self, end: &EndFacts) -> &'static str {
        end_reason_words(end.reason)
    }
}

#[derive(Template)]
#[template(path = "server_check.html")]
struct ServerCheckTemplate<'a> {
    page: &'a ServerCheckPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for ServerCheckPage {
    const SECTION: Section = Section::Servers;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        ServerCheckTemplate {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
