//! From a page struct to an answer: HTML or JSON by the route, and errors in the same two ways.

use super::Web;
use super::error::Error;
use super::facts::{StorageTroubleFacts, VantageFacts};
use super::indentation::without_indentation;
use super::query::Query;
use super::{assets, format as f, fresh};
use crate::store::health::Health;
use crate::store::row::Viewer;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Serialize;

/// Who asks, when, for what.
#[derive(Debug, Clone)]
pub struct Ask {
    pub now: i64,
    pub viewer: Viewer,
    /// JSON is wanted, by the route.
    pub api: bool,
    pub query: String,
    /// Tags of answers that the asker has already.
    pub known_tags: Option<String>,
    /// Where it is noted that the database could not be read.
    pub storage: Health,
}

impl Ask {
    #[must_use]
    pub fn of_request(req: &HttpRequest, web: &Web) -> Self {
        Self {
            now: web.clock.now_ms(),
            viewer: Viewer::Operator,
            api: is_for_programs(req.path()),
            query: req.query_string().to_owned(),
            known_tags: fresh::known(req),
            storage: web.store.health().clone(),
        }
    }
}

impl Ask {
    /// The parameters of a list.
    ///
    /// # Errors
    /// Those of [`Query::read`], and a `limit` that is more than a page has room for.
    pub fn of_list(&self, known: &[&str]) -> Result<Query, Error> {
        let query = Query::read(&self.query, known)?;
        if !self.api && query.limit(PAGE_ROWS)? > PAGE_ROWS {
            let words = format!(
                "limit must be a whole number from 1 to {PAGE_ROWS} on a page; the JSON of the list takes more"
            );
            return Err(Error::Invalid(words));
        }

        Ok(query)
    }
}

/// Pages for people answer in HTML, everything else in JSON or a format of its own.
fn is_for_programs(path: &str) -> bool {
    let is_page = path == "/api/docs" || path.starts_with("/api/docs/");
    let starts = ["/api/", "/badge/", "/feed/"];
    let exact = ["/api", "/metrics", "/healthz", "/readyz"];
    !is_page && (exact.contains(&path) || starts.iter().any(|start| path.starts_with(start)))
}

/// The entries of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Now,
    Calls,
    Rooms,
    Servers,
    Transports,
    Statistics,
    Status,
    About,
}

impl Section {
    /// Those at the top; the observer's status and what is collected are linked beside them and at
    /// the bottom.
    pub const TOP: [(Self, &'static str, &'static str); 6] = [
        (Self::Now, "/", "Now"),
        (Self::Calls, "/calls", "Calls"),
        (Self::Rooms, "/rooms", "Rooms"),
        (Self::Servers, "/servers", "Servers"),
        (Self::Transports, "/transports", "SFUs"),
        (Self::Statistics, "/statistics", "Stats"),
    ];
}

/// No page is longer than this, bytes.
pub const PAGE_MAX: usize = 60_000;
/// Rows of a list on one page; a program may ask for more of them.
const PAGE_ROWS: i64 = 50;
/// A page that is too long is written anew, each time with half the rows, so many times.
const SPARE_MAX: u32 = 6;

/// What stands around every page.
#[derive(Debug, Clone)]
pub struct Shell {
    pub section: Option<Section>,
    pub now_ms: i64,
    /// The room whose changes concern this page; all rooms when `None`.
    pub room_id: Option<String>,
    /// `None` where it is not known, on error pages.
    pub vantages: Option<Vec<VantageFacts>>,
    /// Some calls are from older rules or other settings, and are just being derived again.
    pub older_rules: bool,
    /// Why nothing can be stored now.
    pub storage_trouble: Option<StorageTroubleFacts>,
    /// How spare the page must be: 0 where all that is wanted on it keeps it short enough.
    pub spare: u32,
}

/// How the observer fares, in a word and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub class: &'static str,
    pub words: &'static str,
    pub ms: Option<i64>,
}

impl Shell {
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// How many rows of a list the page has.
    #[must_use]
    pub fn at_most(&self, rows: usize) -> usize {
        rows >> self.spare
    }

    /// The first rows of a list.
    #[must_use]
    pub fn first<'a, T>(&self, rows: &'a [T], most: usize) -> &'a [T] {
        &rows[..rows.len().min(self.at_most(most))]
    }

    /// A name as long as the page has room for it.
    #[must_use]
    pub fn name(&self, name: impl AsRef<str>) -> String {
        let name = name.as_ref();
        let most = 160 >> self.spare;
        if name.chars().nth(most).is_none() {
            return name.to_owned();
        }

        name.chars().take(most).chain(['…']).collect()
    }

    /// The line at the top right.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        if let Some(trouble) = &self.storage_trouble {
            return Some(Step {
                class: "warn",
                words: "Nothing stored since",
                ms: Some(trouble.since_ms),
            });
        }

        let vantages = self.vantages.as_ref()?;
        let unheard = vantages
            .iter()
            .find(|vantage| vantage.unheard_since_ms.is_some());
        if let Some(unheard) = unheard {
            let words = match unheard.heard_ms() {
                Some(_) => "Not in step since",
                None => "Not connected since",
            };

            return Some(Step {
                class: "warn",
                words,
                ms: unheard.unheard_since_ms,
            });
        }

        if vantages.is_empty()
            || vantages
                .iter()
                .any(|vantage| vantage.first_sync_ms.is_none())
        {
            return Some(Step {
                class: "warn",
                words: "Starting",
                ms: None,
            });
        }

        let heard = vantages.iter().filter_map(VantageFacts::heard_ms).min();
        if vantages
            .iter()
            .any(|vantage| vantage.is_silent(self.now_ms))
        {
            return Some(Step {
                class: "warn",
                words: "Not heard since",
                ms: heard,
            });
        }

        if let Some(failing) = vantages.iter().find(|vantage| vantage.error.is_some()) {
            return Some(Step {
                class: "warn",
                words: "Heard, with trouble since",
                ms: failing.error_since_ms,
            });
        }

        Some(Step {
            class: "ok",
            words: "In step",
            ms: heard,
        })
    }
}

/// A page: facts that can be written in both ways.
pub trait Page: Serialize {
    const SECTION: Section;

    /// The room whose changes concern this page, if it is only one.
    fn room_id(&self) -> Option<&str> {
        None
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// The template failed.
    fn html(&self, shell: &Shell) -> askama::Result<String>;
}

/// What a page function answers.
#[derive(Debug)]
pub enum Answer<P> {
    Page(P),
    /// It is elsewhere: a path below `/` or `/api/v1`.
    Elsewhere(String),
}

impl<P> From<P> for Answer<P> {
    fn from(page: P) -> Self {
        Self::Page(page)
    }
}

/// Writes the answer.
pub async fn send<P: Page>(web: &Web, ask: &Ask, answer: Result<Answer<P>, Error>) -> HttpResponse {
    let body = match answer {
        Ok(Answer::Page(page)) if ask.api => return json(ask, Ok(page)),
        Ok(Answer::Page(page)) => html(web, ask, &page).await,
        Ok(Answer::Elsewhere(path)) => {
            let path = if ask.api {
                format!("/api/v1{path}")
            } else {
                path
            };

            return HttpResponse::SeeOther()
                .insert_header((header::LOCATION, path))
                .finish();
        }
        Err(error) => Err(error),
    };

    match body {
        Ok(body) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(body),
        Err(error) => failure(ask, &error),
    }
}

/// Writes JSON, or that the asker has it already.
pub fn json<T: Serialize>(ask: &Ask, answer: Result<T, Error>) -> HttpResponse {
    tagged(
        ask,
        "application/json",
        answer.and_then(|answer| Ok(serde_json::to_vec(&answer)?)),
    )
}

/// Writes what is told from a changed one by its tag, or that the asker has it already.
#[must_use]
pub fn tagged(ask: &Ask, kind: &'static str, body: Result<Vec<u8>, Error>) -> HttpResponse {
    let body = match body {
        Ok(body) => body,
        Err(error) => return failure(ask, &error),
    };

    let tag = fresh::tag(&body);
    let is_known = fresh::is_known(&tag, ask.known_tags.as_deref());
    let mut response = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };

    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    if is_known {
        return response.finish();
    }

    response
        .insert_header((header::CONTENT_TYPE, kind))
        .body(body)
}

async fn html<P: Page>(web: &Web, ask: &Ask, page: &P) -> Result<Vec<u8>, Error> {
    let vantages = crate::store::vantages::list_for(&web.store, ask.viewer).await?;
    let shell = Shell {
        section: Some(P::SECTION),
        now_ms: ask.now,
        room_id: page.room_id().map(ToOwned::to_owned),
        vantages: Some(vantages.into_iter().map(VantageFacts::from).collect()),
        older_rules: web.store.has_older_rules(),
        storage_trouble: web.store.trouble(ask.now).map(StorageTroubleFacts::from),
        spare: 0,
    };

    Ok(short(page, shell)?.into_bytes())
}

/// The page with as many rows as keep it short: names and ids of strangers may be long, and lists
/// longer.
///
/// # Errors
/// The template failed.
pub fn short<P: Page>(page: &P, mut shell: Shell) -> askama::Result<String> {
    loop {
        let text = without_indentation(&page.html(&shell)?);
        if text.len() <= PAGE_MAX || shell.spare == SPARE_MAX {
            return Ok(text);
        }

        shell.spare += 1;
    }
}

/// Who asked when there was too much to do is to ask again after so many seconds.
const RETRY_AFTER_S: u32 = 5;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    shell: &'a Shell,
    status: u16,
    heading: &'static str,
    text: String,
}

/// Writes an error, and logs it if it is ours.
#[must_use]
pub fn failure(ask: &Ask, error: &Error) -> HttpResponse {
    let mut body = error.body();
    if error.is_internal() {
        tracing::error!(error = %error, "a request failed");
    }

    if let Error::Store(error) = error {
        ask.storage.note_unread(error, ask.now);
    }

    let storage_trouble = ask.storage.trouble(ask.now).map(StorageTroubleFacts::from);
    if let (Error::Store(_), Some(trouble)) = (error, &storage_trouble) {
        let words = trouble.words();
        body.error = format!("{}. {}", words.what, words.to_do);
    }

    let mut response = HttpResponse::build(error.status());
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if error.is_busy() {
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
    }

    if ask.api {
        return response.json(body);
    }

    let shell = Shell {
        section: None,
        now_ms: ask.now,
        room_id: None,
        vantages: None,
        older_rules: false,
        storage_trouble,
        spare: 0,
    };

    let heading = match body.status {
        400 => "This address is not understood",
        404 => "Nothing here",
        405 => "Only for reading",
        421 => "Not under this name",
        503 => "Too much to do",
        _ => "Something broke",
    };

    let page = ErrorPage {
        shell: &shell,
        status: body.status,
        heading,
        text: body.error,
    };

    match page.render() {
        Ok(html) => response
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(without_indentation(&html)),
        Err(error) => response.body(error.to_string()),
    }
}

/// Every address that nobody answers.
pub async fn unknown(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    failure(&Ask::of_request(&req, &web), &Error::Unrecognized)
}

/// Every method but GET, where an answer has no end.
pub async fn only_get(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    allowed(&req, &web, "GET")
}

/// Every method but GET and HEAD.
pub async fn not_allowed(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    allowed(&req, &web, "GET, HEAD")
}

fn allowed(req: &HttpRequest, web: &Web, methods: &'static str) -> HttpResponse {
    let mut response = failure(&Ask::of_request(req, web), &Error::NotAllowed);
    response
        .headers_mut()
        .insert(header::ALLOW, header::HeaderValue::from_static(methods));

    response
}
