//! Turns a page struct into an answer: HTML or JSON depending on the route; errors likewise.

use super::base_path::BasePath;
use super::error::Error;
use super::fields::{RecordShape, RecordShapes};
use super::form::FormBinding;
use super::indentation::without_indentation;
use super::request::Query;
use super::{assets, etag, host, json_address, own_path, viewer};
use crate::store::db::health::Health;
use crate::store::visible::Viewer;
use crate::web::Web;
use crate::web::sign_in::{Asker, Frame, SignInLink};
use crate::web::view::format as f;
use crate::web::view::vantage_state::{self, VantageState};
use crate::web::view::{StorageTroubleFacts, VantageFacts};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Serialize;
use std::sync::Arc;

/// A request: by whom, when, for what.
#[derive(Debug, Clone)]
pub struct PageRequest {
    pub now: i64,
    pub viewer: Viewer,
    /// What the frame of a page shows of who asks.
    pub frame: Frame,
    /// The address of the page to sign in, which leads back to what was asked for.
    pub sign_in_address: String,
    /// Is it known who asks? Not where a request is refused before that.
    pub has_asker: bool,
    /// The path below which the pages stand.
    pub base: BasePath,
    /// The route asks for JSON.
    pub api: bool,
    pub query: String,
    /// What the records of the answer may be cut to; `None` if they may not.
    pub shape: Option<Arc<RecordShape>>,
    /// The entity tag of JSON that shows the data as they are now. `None` for a viewer who may not
    /// see everything: it would tell when something else changes.
    pub tag: Option<String>,
    /// Entity tags of answers that the client already has.
    pub known_tags: Option<String>,
    /// Records failures to read the database.
    pub storage: Health,
}

impl PageRequest {
    #[must_use]
    pub fn of_request(req: &HttpRequest, web: &Web) -> Self {
        let viewer = viewer::viewer_of_request(req);

        Self {
            now: web.clock.now_ms(),
            tag: viewer.is_operator().then(|| {
                etag::tag_of_state(
                    web.changes.run_ms,
                    web.data_version(),
                    &host::full_address(req),
                )
            }),
            viewer,
            has_asker: Asker::of_request(req).is_some(),
            base: base_of_request(req),
            frame: web.access.frame_for(Asker::of_request(req).as_ref()),
            sign_in_address: own_path::sign_in_address(req),
            api: is_for_programs(req.path()) || json_address::asks_for_json(req),
            query: req.query_string().to_owned(),
            shape: shape_of_answer(req),
            known_tags: etag::tags_in_request(req),
            storage: web.store.health().clone(),
        }
    }
}

/// The path below which the pages stand, as it was found out at the start.
fn base_of_request(req: &HttpRequest) -> BasePath {
    let base = req.app_data::<web::Data<BasePath>>();

    base.map(|base| base.get_ref().clone()).unwrap_or_default()
}

/// What the records of the answer at this address may be cut to.
fn shape_of_answer(req: &HttpRequest) -> Option<Arc<RecordShape>> {
    let shapes = req.app_data::<web::Data<RecordShapes>>()?;

    let address = req.match_pattern()?.replace(":.+}", "}");

    shapes.0.get(address.as_str()).cloned()
}

impl PageRequest {
    /// The parameters of the request. The API refuses those that are not in `known`; a page ignores
    /// them, since people come by links to which others have added something.
    ///
    /// # Errors
    /// Those of [`Query::read`].
    pub fn read_query(&self, known: &[&'static str]) -> Result<Query, Error> {
        if self.api {
            let cutting = self.shape.iter().flat_map(|shape| shape.parameters());
            let known: Vec<&str> = known.iter().copied().chain(cutting).collect();

            Query::read(&self.query, &known)
        } else {
            Query::read_known(&self.query, known)
        }
    }

    /// The parameters of a list.
    ///
    /// # Errors
    /// Those of [`Query::read`], and a `limit` larger than a page can hold.
    pub fn list_query(&self, known: &[&'static str]) -> Result<Query, Error> {
        let query = self.read_query(known)?;
        if !self.api && query.limit(PAGE_ROWS)? > PAGE_ROWS {
            let words = format!(
                "limit must be a whole number from 1 to {PAGE_ROWS} on a page; the JSON of the \
                 list takes more"
            );
            return Err(Error::Invalid(words));
        }

        Ok(query)
    }
}

/// Pages for people answer in HTML, everything else in JSON or a format of its own.
#[must_use]
pub fn is_for_programs(path: &str) -> bool {
    let is_page = path == "/api/docs" || path.starts_with("/api/docs/");
    let starts = ["/api/", "/badge/", "/feed/"];
    let exact = ["/api", "/metrics", "/healthz", "/readyz", "/widget/session"];
    !is_page && (exact.contains(&path) || starts.iter().any(|start| path.starts_with(start)))
}

/// The entries of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Now,
    Calls,
    Problems,
    Rooms,
    Servers,
    Transports,
    Statistics,
    Status,
    About,
}

impl Section {
    /// The entries at the top. The observer's status and the page about collected data are linked
    /// beside them and at the bottom.
    pub const TOP: [(Self, &'static str, &'static str); 7] = [
        (Self::Now, "/", "Now"),
        (Self::Calls, "/calls", "Calls"),
        (Self::Problems, "/problems", "Problems"),
        (Self::Rooms, "/rooms", "Rooms"),
        (Self::Servers, "/servers", "Servers"),
        (Self::Transports, "/transports", "SFUs"),
        (Self::Statistics, "/statistics", "Stats"),
    ];
}

/// Maximum length of a page, bytes.
pub const PAGE_MAX: usize = 60_000;
/// Maximum number of rows of a list on an HTML page; a program may ask for more.
const PAGE_ROWS: i64 = 50;
/// Maximum number of times that a page that is too long is rendered again, each time with half the
/// rows.
const HALVINGS_MAX: u32 = 6;

/// The frame of every page.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone)]
pub struct Shell {
    pub section: Option<Section>,
    /// The page follows changes while it is open.
    pub follows: bool,
    pub now_ms: i64,
    /// The room whose changes concern this page; all rooms when `None`.
    pub room_id: Option<String>,
    /// `None` if unknown, as on error pages.
    pub vantages: Option<Vec<VantageFacts>>,
    /// Some calls were derived by older rules or other settings, and are being derived again.
    pub older_rules: bool,
    /// All calls are made up.
    pub is_made_up: bool,
    /// Which part of the site the viewer sees; `None` if it is everything.
    pub part_shown: Option<&'static str>,
    /// Why nothing can be stored now.
    pub storage_trouble: Option<StorageTroubleFacts>,
    /// The page is shown to whoever has its address, and leads nowhere else.
    pub is_shared: bool,
    /// How often the number of rows was halved to keep the page short; 0 = not at all.
    pub halvings: u32,
    /// What it shows of who asks.
    pub frame: Frame,
    /// The address of the page to sign in, which leads back to this one.
    pub sign_in_address: String,
    /// The number of open findings, without minor ones; `None` where it is not counted.
    pub open_problems: Option<usize>,
    /// Findings have pages of their own that the viewer may see.
    pub links_findings: bool,
    /// Where others find these pages, without `/` at its end; `None` if it is not configured.
    pub public_url: Option<String>,
}

impl Shell {
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// The frame of a page that knows nothing of the observer.
    #[must_use]
    pub fn without_status(ask: &PageRequest) -> Self {
        Self {
            section: None,
            follows: false,
            is_made_up: false,
            now_ms: ask.now,
            room_id: None,
            vantages: None,
            older_rules: false,
            storage_trouble: None,
            part_shown: viewer::words_of_part(&ask.viewer).filter(|_| ask.has_asker),
            is_shared: false,
            halvings: 0,
            frame: ask.frame,
            sign_in_address: ask.sign_in_address.clone(),
            open_problems: None,
            links_findings: false,
            public_url: None,
        }
    }

    /// The number that stands beside an entry of the navigation; `None` if there is none.
    #[must_use]
    pub fn count_beside(&self, section: Section) -> Option<usize> {
        let open = self.open_problems.filter(|open| *open > 0);
        open.filter(|_| section == Section::Problems)
    }

    /// Does the top offer to sign in?
    #[must_use]
    pub fn offers_sign_in(&self) -> bool {
        // The address of a shared call is a secret, and signing in would lead back to it.
        self.frame.link == SignInLink::SignIn && !self.is_shared
    }

    /// Does the top offer to sign out?
    #[must_use]
    pub fn offers_sign_out(&self) -> bool {
        self.frame.link == SignInLink::SignOut
    }

    /// The number of rows of a list that the page may show.
    #[must_use]
    pub fn at_most(&self, rows: usize) -> usize {
        rows >> self.halvings
    }

    /// The first rows of a list.
    #[must_use]
    pub fn first<'a, T>(&self, rows: &'a [T], most: usize) -> &'a [T] {
        &rows[..rows.len().min(self.at_most(most))]
    }

    /// A name, cut if the page must be shorter.
    #[must_use]
    pub fn name(&self, name: impl AsRef<str>) -> String {
        let name = name.as_ref();
        let most = 160 >> self.halvings;
        if name.chars().nth(most).is_none() {
            return name.to_owned();
        }

        name.chars().take(most).chain(['…']).collect()
    }

    /// The page of a person; `None` where the viewer is shown no people.
    #[must_use]
    pub fn person_href(&self, user_id: impl AsRef<str>) -> Option<String> {
        self.links_findings
            .then(|| format!("/people/{}", f::path_segment(user_id.as_ref())))
    }

    /// The line at the top right; `None` if nothing is known, as on error pages.
    #[must_use]
    pub fn sync_state(&self) -> Option<VantageState> {
        if let Some(trouble) = &self.storage_trouble {
            return Some(VantageState::trouble(
                "Nothing stored",
                Some(trouble.since_ms),
            ));
        }

        let vantages = self.vantages.as_ref()?;

        Some(vantage_state::state_of_accounts(vantages, self.now_ms))
    }
}

/// A page: facts that can be written as HTML and as JSON.
pub trait Page: Serialize {
    const SECTION: Section;

    /// The room whose changes concern this page, if it is only one.
    fn room_id(&self) -> Option<&str> {
        None
    }

    /// Does it follow changes while it is open?
    const FOLLOWS: bool = true;

    /// The page as HTML.
    ///
    /// # Errors
    /// The template failed.
    fn html(&self, shell: &Shell) -> askama::Result<String>;
}

/// The result of a page function.
#[derive(Debug)]
pub enum PageAnswer<P> {
    Page(P),
    /// A redirect to this path without its beginning: `/` for a page, `/api/v1` for JSON.
    Redirect(String),
}

impl<P> From<P> for PageAnswer<P> {
    fn from(page: P) -> Self {
        Self::Page(page)
    }
}

/// Writes the answer.
pub async fn send_page<P: Page>(
    web: &Web,
    ask: &PageRequest,
    answer: Result<PageAnswer<P>, Error>,
) -> HttpResponse {
    let body = match answer {
        Ok(PageAnswer::Page(page)) if ask.api => return send_json(ask, Ok(page)),
        Ok(PageAnswer::Page(page)) => render_page(web, ask, &page).await,
        Ok(PageAnswer::Redirect(path)) => {
            let path = if ask.api {
                format!("/api/v1{path}")
            } else {
                path
            };

            return redirect_to(&path);
        }
        Err(error) => Err(error),
    };

    match body {
        Ok(body) => html_answer(ask, StatusCode::OK, "no-cache", body),
        Err(error) => send_error(ask, &error),
    }
}

/// Writes JSON, or 304 if the client already has it.
pub fn send_json<T: Serialize>(ask: &PageRequest, answer: Result<T, Error>) -> HttpResponse {
    let body = answer.and_then(|answer| match &ask.shape {
        Some(shape) => shape.write_json(&answer, &ask.query),
        None => Ok(serde_json::to_vec(&answer)?),
    });

    match body {
        Ok(body) => {
            let tag = ask.tag.clone().unwrap_or_else(|| etag::tag_of_body(&body));

            send_tagged(ask, "application/json", tag, body)
        }
        Err(error) => send_error(ask, &error),
    }
}

/// The answer for a client that already has the JSON of this state of the data, which has this tag.
#[must_use]
pub fn not_modified(tag: &str) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::VARY, "accept-encoding"))
        .finish()
}

/// Writes a body with an entity tag, or 304 if the client already has it.
#[must_use]
pub fn send_tagged(
    ask: &PageRequest,
    kind: &'static str,
    tag: String,
    body: Vec<u8>,
) -> HttpResponse {
    let is_known = etag::is_known(&tag, ask.known_tags.as_deref());
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

async fn render_page<P: Page>(web: &Web, ask: &PageRequest, page: &P) -> Result<String, Error> {
    let vantages = crate::store::ingest::vantages::list_vantages_for(&web.store).await?;
    let shell = Shell {
        section: Some(P::SECTION),
        follows: P::FOLLOWS,
        is_made_up: web.options.is_made_up,
        room_id: page.room_id().map(ToOwned::to_owned),
        vantages: Some(vantages.into_iter().map(VantageFacts::from).collect()),
        // Which rooms are derived again is not told to those who may not see them.
        older_rules: ask.viewer.is_operator() && web.store.has_older_rules(),
        storage_trouble: web.store.trouble(ask.now).map(StorageTroubleFacts::from),
        open_problems: web.count_open_problems(ask).await?,
        links_findings: web.store.shows_names(),
        public_url: web.public_url.is_some().then(|| web.url("")),
        ..Shell::without_status(ask)
    };

    Ok(render_within_limit(page, shell)?)
}

/// Renders the page with as many rows as keep it short: names and ids of strangers may be long, and
/// lists even longer.
///
/// # Errors
/// The template failed.
pub fn render_within_limit<P: Page>(page: &P, mut shell: Shell) -> askama::Result<String> {
    loop {
        let text = without_indentation(&page.html(&shell)?);
        if text.len() <= PAGE_MAX || shell.halvings == HALVINGS_MAX {
            return Ok(text);
        }

        shell.halvings += 1;
    }
}

/// Writes a page that is for one browser, such as a form. It is not kept.
pub fn send_private_page(
    ask: &PageRequest,
    status: StatusCode,
    html: askama::Result<String>,
) -> HttpResponse {
    match html {
        Ok(html) => html_answer(ask, status, "private, no-store", without_indentation(&html)),
        Err(error) => send_error(ask, &Error::Template(error)),
    }
}

/// An answer with this page, whose links lead below the path of the pages. `kept` says who may keep
/// it, as in `Cache-Control`.
pub fn html_answer(
    ask: &PageRequest,
    status: StatusCode,
    kept: &'static str,
    html: String,
) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, kept))
        .body(ask.base.prefix_links(html))
}

/// Leads on to this address of ours.
#[must_use]
pub fn redirect_to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, path))
        .finish()
}

/// Writes a page with a form for who asks. `render` gets its frame, and the token for its forms.
pub fn send_form_page(
    req: &HttpRequest,
    web: &Web,
    asker: &Asker,
    status: StatusCode,
    render: impl FnOnce(&Shell, String) -> askama::Result<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(req, web);
    let binding = FormBinding::for_page(asker, req.headers());
    let html = render(&Shell::without_status(&ask), binding.token(web));
    let mut response = send_private_page(&ask, status, html);
    if let Some(cookie) = binding.cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }

    response
}

/// Writes the answer, or the error.
pub fn send_answer(
    req: &HttpRequest,
    web: &Web,
    answer: Result<HttpResponse, Error>,
) -> HttpResponse {
    answer.unwrap_or_else(|error| send_error(&PageRequest::of_request(req, web), &error))
}

/// When a client should retry after an overload, s.
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
pub fn send_error(ask: &PageRequest, error: &Error) -> HttpResponse {
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

    if let Error::TooMany { wait_s } = error {
        response.insert_header((header::RETRY_AFTER, *wait_s));
    }

    if error.status() == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }

    if ask.api {
        return response.json(body);
    }

    let shell = Shell {
        storage_trouble,
        ..Shell::without_status(ask)
    };

    let heading = match body.status {
        400 => "This address is not understood",
        401 => "A key is needed",
        403 => "Not allowed",
        404 => "Nothing here",
        405 => "Only for reading",
        408 => "Too slow",
        413 => "Too long",
        421 => "Not under this name",
        429 => "Too many requests",
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
            .body(ask.base.prefix_links(without_indentation(&html))),
        Err(error) => response.body(error.to_string()),
    }
}

/// Answers every unknown address. Those of the set-up, which is over, lead to the pages.
pub async fn refuse_unknown_path(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    let below = req.path().strip_prefix("/set-up");
    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return redirect_to("/");
    }

    send_error(&PageRequest::of_request(&req, &web), &Error::Unrecognized)
}

/// Refuses every method but GET, for streams.
pub async fn refuse_unless_get(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    refuse_method(&req, &web, "GET")
}

/// Refuses every method but GET and HEAD.
pub async fn refuse_unless_get_or_head(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    refuse_method(&req, &web, "GET, HEAD")
}

fn refuse_method(req: &HttpRequest, web: &Web, methods: &'static str) -> HttpResponse {
    let mut response = send_error(&PageRequest::of_request(req, web), &Error::NotAllowed);
    response
        .headers_mut()
        .insert(header::ALLOW, header::HeaderValue::from_static(methods));

    response
}
