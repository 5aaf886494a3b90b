//! The pages of the set-up: a form for each step. They work without JavaScript.

use super::answers::{RoomChoice, check_same_password, link_to_user, parse_inviters, parse_rooms};
use super::finish::{self, Finished, Shown};
use super::progress::{AccessChoice, AccountStep, EnteredRooms, Progress, RoomStep, Step};
use super::rooms::{self, AccountRooms};
use super::server::{ROOM_VARIABLES, SetUp, SetUpSettings, is_loopback};
use super::steps::{self, Finding, LoginAnswer, StepFault, describe_homeserver, token_advice};
use crate::config::new_file::{FilePlace, SecretText, check_place};
use crate::config::{InvitePolicy, RoomSpec};
use crate::matrix::{FoundHomeserver, Secret};
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::form::{Form, TOKEN, check_sender};
use crate::web::http::host::base_url;
use crate::web::http::response::redirect_to;
use crate::web::sign_in::cookie::CookieKind;
use crate::web::sign_in::password::hash_password;
use crate::web::sign_in::secret_text::hash_secret;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::ErrorRequestTimeout;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{self as http, Bytes, Data, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use askama::Template;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;
use url::form_urlencoded;

/// Maximum size of a form, bytes: as much as the lists of rooms may need.
pub(super) const FORM_MAX: usize = 256 * 1024;
/// How long the body of a form may take to come.
const BODY_LONGEST: Duration = Duration::from_secs(20);
/// Where the pages begin.
const BEGIN: &str = "/set-up";
/// What proxies say of the requests that they pass on.
const PROXY_HEADERS: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];
/// The address at which it is asked whether the program is well.
const HEALTH: &str = "/healthz";

const CLOSED: Note = Note {
    status: StatusCode::FORBIDDEN,
    heading: "Not set up yet",
    text: "Open the whole address that Callscope printed in its terminal or its log when it started. \
           After a new start it is another one.",
};
const FOREIGN_HOST: Note = Note {
    status: StatusCode::MISDIRECTED_REQUEST,
    heading: "Not under this name",
    text: "Callscope does not answer under this name. Open the address that it printed, or set \
           CALLSCOPE_PUBLIC_URL to the address by which people are to reach it, and restart.",
};
const OLD_FORM: Note = Note {
    status: StatusCode::FORBIDDEN,
    heading: "Not allowed",
    text: "This form was not sent by a page of this set-up, or is too old. Open the page again and \
           repeat it.",
};

/// A page that only says something.
#[derive(Debug, Clone, Copy)]
struct Note {
    status: StatusCode,
    heading: &'static str,
    text: &'static str,
}

/// Adds all addresses of the set-up.
pub(super) fn add_routes(config: &mut ServiceConfig) {
    config
        .route(HEALTH, http::get().to(HttpResponse::Ok))
        .route(HEALTH, http::head().to(HttpResponse::Ok))
        .route("/static/{name}", http::get().to(get_asset))
        .route(BEGIN, http::get().to(get_begin))
        .service(
            http::resource(Step::Homeserver.path())
                .get(get_homeserver)
                .post(post_homeserver),
        )
        .service(
            http::resource(Step::Account.path())
                .get(get_account)
                .post(post_account),
        )
        .service(
            http::resource(Step::Rooms.path())
                .get(get_rooms)
                .post(post_rooms),
        )
        .service(
            http::resource(Step::Access.path())
                .get(get_access)
                .post(post_access),
        )
        .service(
            http::resource(Step::Write.path())
                .get(get_write)
                .post(post_write),
        )
        .route("/set-up/text", http::post().to(post_text));
}

/// Refuses names of others. Once Callscope has started, leads every request to it.
///
/// # Errors
/// Those of the guarded service.
pub(super) async fn guard_request(
    set_up: Data<SetUp>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let hosts: Vec<_> = req.headers().get_all(header::HOST).collect();
    let is_ours = !hosts.is_empty()
        && hosts
            .iter()
            .all(|host| host.to_str().is_ok_and(|host| set_up.hosts.allow(host)));
    if !is_ours && req.path() != HEALTH {
        let refused = show_note(&set_up, FOREIGN_HOST);
        return Ok(req.into_response(refused));
    }

    if set_up.is_done() {
        return Ok(req.into_response(redirect_to("/")));
    }

    // Nothing is read of what strangers send.
    let sends = !matches!(*req.method(), Method::GET | Method::HEAD);
    let is_https = is_https(req.headers());
    if sends
        && set_up
            .entrance
            .find_browser(req.headers(), is_https)
            .is_none()
    {
        let refused = show_note(&set_up, CLOSED);
        return Ok(req.into_response(refused));
    }

    Ok(next.call(req).await?.map_into_boxed_body())
}

/// Leads to the set-up from every other address.
pub(super) async fn lead_to_set_up(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::of_request(&req, &set_up) {
        Some(visit) => redirect_to(visit.progress.next_step().path()),
        None => show_note(&set_up, CLOSED),
    }
}

async fn get_asset(
    req: HttpRequest,
    name: http::Path<String>,
    set_up: Data<SetUp>,
) -> HttpResponse {
    match assets::find_asset(&name, !req.query_string().is_empty()) {
        Some(found) => found,
        None => lead_to_set_up(req, set_up).await,
    }
}

/// `GET /set-up`: lets a browser in that comes with the token, and leads to the step that is next.
async fn get_begin(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    let mut query = form_urlencoded::parse(req.query_string().as_bytes());
    let Some((_, token)) = query.find(|(name, _)| name == TOKEN) else {
        return lead_to_set_up(req, set_up).await;
    };
    let Some(secret) = set_up.entrance.let_in(&token) else {
        return show_note(&set_up, CLOSED);
    };

    let next = set_up.progress().next_step();
    let mut response = redirect_to(next.path());
    if let Some(cookie) = CookieKind::SetUp.set(&secret, is_https(req.headers())) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }

    response
}

/// Does the client speak TLS with a proxy before us? Whoever says so untruly only gets a cookie
/// that is of no use.
fn is_https(headers: &HeaderMap) -> bool {
    base_url(headers).starts_with("https")
}

/// The body of a request, or why it did not come in time.
struct SentBody(Result<Bytes, actix_web::Error>);

impl FromRequest for SentBody {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = Bytes::from_request(req, payload);

        Box::pin(async move {
            let body = timeout(BODY_LONGEST, reading).await;
            Ok(Self(body.unwrap_or_else(|_| {
                Err(ErrorRequestTimeout("the form did not come in time"))
            })))
        })
    }
}

/// A form that a page of ours sent.
struct SentForm {
    visit: Visit,
    form: Form,
}

/// A request of a browser that was let in.
struct Visit {
    set_up: Data<SetUp>,
    browser: String,
    /// What the browser sends is not encrypted, and goes over a network.
    is_in_the_clear: bool,
    /// A proxy passed the request on, as far as it says so.
    is_by_proxy: bool,
    progress: Progress,
}

impl Visit {
    /// `None` if the browser was not let in.
    fn of_request(req: &HttpRequest, set_up: &Data<SetUp>) -> Option<Self> {
        let is_https = is_https(req.headers());
        let browser = set_up.entrance.find_browser(req.headers(), is_https)?;
        let host = req.connection_info().host().to_owned();
        let is_own_name = ["localhost", "127.", "[::1]"]
            .iter()
            .any(|own| host.starts_with(own));
        let is_by_proxy = PROXY_HEADERS
            .iter()
            .any(|&name| req.headers().contains_key(name));
        let progress = set_up.progress().clone();

        Some(Self {
            set_up: set_up.clone(),
            browser,
            is_in_the_clear: !is_https && !is_own_name && !is_loopback(set_up.address),
            is_by_proxy,
            progress,
        })
    }

    /// A visit at a step.
    ///
    /// # Errors
    /// The answer: the browser was not let in, or a step before this one is not done.
    fn at_step(
        req: &HttpRequest,
        set_up: &Data<SetUp>,
        step: Step,
    ) -> Result<Self, Box<HttpResponse>> {
        let Some(visit) = Self::of_request(req, set_up) else {
            return Err(show_note(set_up, CLOSED).into());
        };

        let next = visit.progress.next_step();
        if step > next {
            return Err(redirect_to(next.path()).into());
        }

        Ok(visit)
    }

    /// A visit at a step with the form that was sent.
    ///
    /// # Errors
    /// The answer, as [`Self::at_step`], or that no page of ours sent the form.
    fn with_form(
        req: &HttpRequest,
        set_up: &Data<SetUp>,
        step: Step,
        body: SentBody,
    ) -> Result<SentForm, Box<HttpResponse>> {
        let visit = Self::at_step(req, set_up, step)?;
        let form = match Form::read_up_to(body.0, FORM_MAX) {
            Ok(form) => form,
            Err(Error::TooLarge(_)) if step == Step::Rooms => {
                let fault = StepFault::new(
                    "This is too much for one form, so nothing was taken. Name a space that has \
                     these rooms, or add them to the file later.",
                );
                return Err(show_rooms(&visit, &visit.known_rooms(), Some(fault)).into());
            }
            Err(error) => return Err(show_error(set_up, &error).into()),
        };
        let public_url = set_up.settings.config.public_url.as_ref();
        let sender = check_sender(req.headers(), public_url.map(url::Url::as_str));
        let is_ours = set_up
            .entrance
            .is_form_token(&visit.browser, form.get(TOKEN));
        if sender.is_err() || !is_ours {
            return Err(show_note(set_up, OLD_FORM).into());
        }

        Ok(SentForm { visit, form })
    }

    /// The fields about rooms as they were filled in before.
    fn known_rooms(&self) -> EnteredRooms {
        let known = self.progress.rooms.as_ref();

        known.map(|step| step.entered.clone()).unwrap_or_default()
    }

    /// Do only people and programs of this machine come, so that nobody need sign in? A proxy on it
    /// may let others in.
    fn is_of_this_machine_only(&self) -> bool {
        let config = &self.set_up.settings.config;

        is_loopback(config.bind)
            && config.public_url.is_none()
            && config.public_names.is_empty()
            && !self.is_by_proxy
    }

    /// The frame of a page.
    fn frame(&self, step: Step, fault: Option<StepFault>) -> Frame {
        Frame {
            step,
            next: self.progress.next_step(),
            token: self.set_up.entrance.form_token(&self.browser),
            fault,
            is_in_the_clear: self.is_in_the_clear,
        }
    }

    /// A page, with the status of its fault if it has one.
    fn show(&self, frame: &Frame, html: askama::Result<String>) -> HttpResponse {
        let status = match frame.fault {
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::OK,
        };

        show_html(&self.set_up, status, html)
    }
}

/// What every page has.
struct Frame {
    step: Step,
    /// The first step that is not done.
    next: Step,
    /// The token for its forms.
    token: String,
    fault: Option<StepFault>,
    is_in_the_clear: bool,
}

/// A step in the list of steps.
struct StepLink {
    title: &'static str,
    /// `None` if the steps before it are not done.
    href: Option<&'static str>,
    is_current: bool,
    is_done: bool,
}

impl Frame {
    fn steps(&self) -> Vec<StepLink> {
        let link = |step: Step| StepLink {
            title: step.title(),
            href: (step <= self.next).then(|| step.path()),
            is_current: step == self.step,
            is_done: step < self.next,
        };

        Step::ALL.into_iter().map(link).collect()
    }
}

#[derive(Template)]
#[template(path = "set_up_closed.html")]
struct NotePage<'a> {
    heading: &'a str,
    text: &'a str,
}

#[derive(Template)]
#[template(path = "set_up_homeserver.html")]
struct HomeserverPage<'a> {
    frame: &'a Frame,
    entered: &'a str,
}

#[derive(Template)]
#[template(path = "set_up_account.html")]
struct AccountPage<'a> {
    frame: &'a Frame,
    found: &'a FoundHomeserver,
    findings: &'a [Finding],
    advice: &'static str,
    signed_in: Option<&'a str>,
    entered: &'a str,
}

#[derive(Template)]
#[template(path = "set_up_rooms.html")]
struct RoomsPage<'a> {
    frame: &'a Frame,
    findings: &'a [Finding],
    rooms: &'a AccountRooms,
    user_id: &'a str,
    link: String,
    entered: &'a EnteredRooms,
    /// The variables that say already what is watched.
    fixed: String,
}

#[derive(Template)]
#[template(path = "set_up_access.html")]
struct AccessPage<'a> {
    frame: &'a Frame,
    bind: String,
    is_loopback: bool,
    offers_this_machine: bool,
    is_set_already: bool,
    chosen: Option<&'a AccessChoice>,
}

impl AccessPage<'_> {
    fn has_password(&self) -> bool {
        matches!(self.chosen, Some(AccessChoice::Password(_)))
    }

    fn is_open(&self) -> bool {
        self.chosen == Some(&AccessChoice::ThisMachine)
    }
}

#[derive(Template)]
#[template(path = "set_up_write.html")]
struct WritePage<'a> {
    frame: &'a Frame,
    file: String,
    is_free: bool,
    /// Why the file cannot be written.
    obstacle: Option<String>,
    text: String,
    is_with_secrets: bool,
    kept: Vec<String>,
    digest: String,
}

fn show_html(set_up: &SetUp, status: StatusCode, html: askama::Result<String>) -> HttpResponse {
    match html {
        Ok(html) => HttpResponse::build(status)
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(set_up.base.prefix_links(html)),
        Err(error) => {
            tracing::error!(%error, "a page of the set-up could not be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

fn show_note(set_up: &SetUp, note: Note) -> HttpResponse {
    let (heading, text) = (note.heading, note.text);
    show_html(set_up, note.status, NotePage { heading, text }.render())
}

fn show_error(set_up: &SetUp, error: &Error) -> HttpResponse {
    let (heading, text) = ("Not understood", &error.body().error);
    show_html(set_up, error.status(), NotePage { heading, text }.render())
}

async fn get_homeserver(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::at_step(&req, &set_up, Step::Homeserver) {
        Ok(visit) => {
            let known = visit.progress.homeserver.as_ref();
            let entered = known.map(|found| found.url.as_str().trim_end_matches('/'));
            show_homeserver(&visit, entered.unwrap_or_default(), None)
        }
        Err(answer) => *answer,
    }
}

fn show_homeserver(visit: &Visit, entered: &str, fault: Option<StepFault>) -> HttpResponse {
    let frame = &visit.frame(Step::Homeserver, fault);

    visit.show(frame, HomeserverPage { frame, entered }.render())
}

async fn post_homeserver(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    let SentForm { visit, form } = match Visit::with_form(&req, &set_up, Step::Homeserver, body) {
        Ok(sent) => sent,
        Err(answer) => return *answer,
    };

    let entered = form.get("homeserver");
    match steps::look_up_homeserver(entered).await {
        Ok(found) => {
            let changed = set_up.change_progress(|progress| progress.set_homeserver(found));
            match changed {
                Ok(given_up) => SetUp::give_up(given_up),
                Err(fault) => return show_homeserver(&visit, entered, Some(fault)),
            }

            redirect_to(Step::Account.path())
        }
        Err(fault) => show_homeserver(&visit, entered, Some(fault)),
    }
}

async fn get_account(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::at_step(&req, &set_up, Step::Account) {
        Ok(visit) => show_account(&visit, "", None),
        Err(answer) => *answer,
    }
}

fn show_account(visit: &Visit, entered: &str, fault: Option<StepFault>) -> HttpResponse {
    let Some(found) = &visit.progress.homeserver else {
        return redirect_to(Step::Homeserver.path());
    };

    let frame = &visit.frame(Step::Account, fault);
    let account = visit.progress.account.as_ref();
    let page = AccountPage {
        frame,
        found,
        findings: &describe_homeserver(found),
        advice: token_advice(found),
        signed_in: account.map(|step| step.account.user_id.as_str()),
        entered,
    };

    visit.show(frame, page.render())
}

async fn post_account(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    let SentForm { visit, form } = match Visit::with_form(&req, &set_up, Step::Account, body) {
        Ok(sent) => sent,
        Err(answer) => return *answer,
    };
    let Some(found) = &visit.progress.homeserver else {
        return redirect_to(Step::Homeserver.path());
    };

    let user = form.get("user");
    let tried = match steps::read_login(form.get("access_token"), user, form.get("password")) {
        Ok(answer) => {
            let (shared, found) = (set_up.clone(), found.clone());
            run_to_its_end(async move { sign_in(&shared, &found, &answer).await }).await
        }
        Err(fault) => Err(fault),
    };

    match tried {
        Ok(()) => redirect_to(Step::Rooms.path()),
        Err(fault) => show_account(&visit, user, Some(fault)),
    }
}

/// Signs in, and keeps the account and its rooms.
async fn sign_in(
    set_up: &SetUp,
    found: &FoundHomeserver,
    answer: &LoginAnswer,
) -> Result<(), StepFault> {
    let signing_in = set_up.signing_in.lock().await;
    let now = set_up.settings.clock.now_ms();
    let account = steps::sign_in(found, answer, &set_up.settings.config, now).await?;
    let client = account.client.clone();
    let step = AccountStep {
        account: account.clone(),
        rooms: AccountRooms {
            faults: vec!["The rooms are being read. Look again in a moment.".to_owned()],
            ..AccountRooms::default()
        },
    };
    // It is kept before its rooms are read, so that an end meanwhile removes its device.
    match set_up.change_progress(|progress| progress.set_account(found, step)) {
        Ok(given_up) => SetUp::give_up(given_up),
        Err(fault) => {
            if account.has_new_device {
                steps::log_out(&client).await;
            }

            return Err(fault);
        }
    }

    let signed_in = set_up.progress().clone();
    drop(signing_in);
    set_up.keep_rooms(&signed_in, rooms::read_rooms(&client).await);

    Ok(())
}

/// Does something that must not end halfway when a browser goes away.
async fn run_to_its_end<T: Send + 'static>(
    doing: impl Future<Output = Result<T, StepFault>> + Send + 'static,
) -> Result<T, StepFault> {
    match tokio::spawn(doing).await {
        Ok(done) => done,
        Err(error) => Err(StepFault::new(format!(
            "It did not come to an end: {error}."
        ))),
    }
}

async fn get_rooms(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::at_step(&req, &set_up, Step::Rooms) {
        Ok(visit) => {
            let entered = visit.known_rooms();
            show_rooms(&visit, &entered, None)
        }
        Err(answer) => *answer,
    }
}

fn show_rooms(visit: &Visit, entered: &EnteredRooms, fault: Option<StepFault>) -> HttpResponse {
    let Some(step) = &visit.progress.account else {
        return redirect_to(Step::Account.path());
    };

    let frame = &visit.frame(Step::Rooms, fault);
    let user_id = &step.account.user_id;
    let page = RoomsPage {
        frame,
        findings: &step.account.findings,
        rooms: &step.rooms,
        user_id,
        link: link_to_user(user_id),
        entered,
        fixed: visit.set_up.settings.room_variables().join(", "),
    };

    visit.show(frame, page.render())
}

async fn post_rooms(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    let SentForm { mut visit, form } = match Visit::with_form(&req, &set_up, Step::Rooms, body) {
        Ok(sent) => sent,
        Err(answer) => return *answer,
    };

    let entered = EnteredRooms {
        rooms: form.get("rooms").to_owned(),
        spaces: form.get("spaces").to_owned(),
        inviters: form.get("inviters").to_owned(),
        chosen: form.all("accept").chain(form.all("space")).collect(),
    };
    let Some(step) = &mut visit.progress.account else {
        return redirect_to(Step::Account.path());
    };

    if !form.get("again").is_empty() {
        step.rooms = rooms::read_rooms(&step.account.client).await;
        let rooms = step.rooms.clone();
        set_up.keep_rooms(&visit.progress, rooms);

        return show_rooms(&visit, &entered, None);
    }

    let choice = match read_room_choice(&entered, &step.rooms)
        .and_then(|choice| check_that_counts(&set_up.settings, choice))
    {
        Ok(choice) => rooms::check_aliases(&step.account.client, &choice)
            .await
            .map(|()| choice),
        Err(fault) => Err(fault),
    };

    match choice {
        Ok(choice) => {
            let kept = entered.clone();
            let step = RoomStep { choice, entered };
            let is_kept =
                set_up.change_progress(|progress| progress.set_rooms(&visit.progress, step));
            let fault = match is_kept {
                Ok(true) => return redirect_to(Step::Access.path()),
                Ok(false) => StepFault::new(
                    "Another account was signed in meanwhile, in another window. Choose its rooms.",
                ),
                Err(fault) => fault,
            };
            visit.progress = set_up.progress().clone();
            show_rooms(&visit, &kept, Some(fault))
        }
        Err(fault) => show_rooms(&visit, &entered, Some(fault)),
    }
}

/// Checks that nothing was chosen where the environment goes before the file.
///
/// # Errors
/// Something was, with the variables.
fn check_that_counts(
    settings: &SetUpSettings,
    choice: RoomChoice,
) -> Result<RoomChoice, StepFault> {
    let [rooms, spaces, servers, users] = ROOM_VARIABLES;
    let chosen = [
        (rooms, choice.rooms.is_empty()),
        (spaces, choice.spaces.is_empty()),
        (servers, choice.invites.allow_servers.is_empty()),
        (users, choice.invites.allow_users.is_empty()),
    ];
    let set = settings.room_variables();
    let lost: Vec<String> = chosen
        .into_iter()
        .filter(|(name, is_empty)| !is_empty && set.contains(name))
        .map(|(name, _)| name.to_owned())
        .collect();
    if lost.is_empty() {
        return Ok(choice);
    }

    Err(StepFault {
        what: "The environment sets these, and goes before the file, so what is chosen here would \
               not count. Remove the variables and restart, or choose nothing of that kind here."
            .to_owned(),
        details: lost,
    })
}

/// The rooms that were chosen by a tick or entered.
///
/// # Errors
/// What is wrong in the fields.
fn read_room_choice(entered: &EnteredRooms, rooms: &AccountRooms) -> Result<RoomChoice, StepFault> {
    let mut faults = Vec::new();
    let mut read = |text: &str| match parse_rooms(text) {
        Ok(rooms) => rooms,
        Err(why) => {
            faults.extend(why);
            Vec::new()
        }
    };
    let (mut named, mut spaces) = (read(&entered.rooms), read(&entered.spaces));
    let invites = parse_inviters(&entered.inviters).unwrap_or_else(|why| {
        faults.extend(why);
        InvitePolicy::default()
    });
    if !faults.is_empty() {
        return Err(StepFault {
            what: "Not everything is understood. Correct this:".to_owned(),
            details: faults,
        });
    }

    let mut add = |spec: RoomSpec, is_space: bool| {
        let list = if is_space { &mut spaces } else { &mut named };
        if !list.iter().any(|room| room.id_or_alias == spec.id_or_alias) {
            list.push(spec);
        }
    };
    for invited in &rooms.invitations {
        if entered.has_chosen(&invited.room_id) {
            add(invited.to_spec(), invited.is_space);
        }
    }

    for room in rooms.joined.iter().filter(|room| room.is_space) {
        if entered.has_chosen(&room.room_id) {
            let id_or_alias = room.room_id.clone();
            let via = Vec::new();
            add(RoomSpec { id_or_alias, via }, true);
        }
    }

    Ok(RoomChoice {
        rooms: named,
        spaces,
        invites,
    })
}

async fn get_access(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::at_step(&req, &set_up, Step::Access) {
        Ok(visit) => show_access(&visit, None),
        Err(answer) => *answer,
    }
}

fn show_access(visit: &Visit, fault: Option<StepFault>) -> HttpResponse {
    let frame = &visit.frame(Step::Access, fault);
    let config = &visit.set_up.settings.config;
    let page = AccessPage {
        frame,
        bind: config.bind.to_string(),
        is_loopback: is_loopback(config.bind),
        offers_this_machine: visit.is_of_this_machine_only(),
        is_set_already: config.access.is_set(),
        chosen: visit.progress.access.as_ref(),
    };

    visit.show(frame, page.render())
}

async fn post_access(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    let SentForm { visit, form } = match Visit::with_form(&req, &set_up, Step::Access, body) {
        Ok(sent) => sent,
        Err(answer) => return *answer,
    };

    match read_access_choice(&visit, &form).await {
        Ok(choice) => match set_up.change_progress(|progress| progress.access = Some(choice)) {
            Ok(()) => redirect_to(Step::Write.path()),
            Err(fault) => show_access(&visit, Some(fault)),
        },
        Err(why) => show_access(&visit, Some(StepFault::new(why))),
    }
}

/// Who may see the pages, as it was chosen. A password becomes its hash.
///
/// # Errors
/// What is wrong, in words.
async fn read_access_choice(visit: &Visit, form: &Form) -> Result<AccessChoice, String> {
    let config = &visit.set_up.settings.config;
    if config.access.is_set() {
        return Ok(AccessChoice::Configured);
    }

    match form.get("who") {
        "machine" if visit.is_of_this_machine_only() => return Ok(AccessChoice::ThisMachine),
        "password" => {}
        _ => return Err("Nothing is chosen. Choose one of these".to_owned()),
    }

    let (password, again) = (form.get("password").to_owned(), form.get("again"));
    if let (Some(kept @ AccessChoice::Password(_)), "", "") =
        (&visit.progress.access, password.as_str(), again)
    {
        return Ok(kept.clone());
    }

    check_same_password(&password, again)?;
    let hashed = http::block(move || hash_password(&password)).await;
    let hash = hashed.map_err(|error| error.to_string())??;

    Ok(AccessChoice::Password(Secret::new(hash)))
}

async fn get_write(req: HttpRequest, set_up: Data<SetUp>) -> HttpResponse {
    match Visit::at_step(&req, &set_up, Step::Write) {
        Ok(visit) => show_write(&visit, SecretText::Masked, None),
        Err(answer) => *answer,
    }
}

/// `POST /set-up/text`: the page with the text as it has to be copied.
async fn post_text(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    match Visit::with_form(&req, &set_up, Step::Write, body) {
        Ok(sent) => show_write(&sent.visit, SecretText::Written, None),
        Err(answer) => *answer,
    }
}

fn show_write(visit: &Visit, secrets: SecretText, fault: Option<StepFault>) -> HttpResponse {
    let progress = &visit.progress;
    let (Some(file), Some(step)) = (progress.new_file(), &progress.account) else {
        return redirect_to(progress.next_step().path());
    };

    let frame = &visit.frame(Step::Write, fault);
    let settings = &visit.set_up.settings;
    let place = check_place(&settings.file);
    let obstacle = match &place {
        FilePlace::Free => None,
        FilePlace::Taken => Some(
            "There is such a file already, without a homeserver. It is not changed. Add these lines \
             to it yourself, those before [invites] above its first line with [ ]."
                .to_owned(),
        ),
        FilePlace::Unwritable(why) => Some(format!(
            "The file cannot be made ({why}). Let the user that Callscope runs as write to its \
             folder, or make the file yourself with this text, for that user only to read."
        )),
    };
    let page = WritePage {
        frame,
        file: std::path::absolute(&settings.file)
            .unwrap_or_else(|_| settings.file.clone())
            .display()
            .to_string(),
        is_free: place == FilePlace::Free,
        obstacle,
        text: file.text(secrets),
        is_with_secrets: secrets == SecretText::Written,
        kept: finish::describe_kept(&step.account, progress.access.as_ref(), &settings.config),
        digest: hash_secret(&file.text(SecretText::Written)),
    };

    visit.show(frame, page.render())
}

async fn post_write(req: HttpRequest, set_up: Data<SetUp>, body: SentBody) -> HttpResponse {
    let SentForm { mut visit, form } = match Visit::with_form(&req, &set_up, Step::Write, body) {
        Ok(sent) => sent,
        Err(answer) => return *answer,
    };

    let shared = set_up.clone();
    let shown = Shown {
        digest: form.get("shown").to_owned(),
        was_free: form.get("place") == "free",
    };
    let finished = run_to_its_end(async move { finish::write_and_start(&shared, &shown).await });
    match finished.await {
        Ok(Finished::Started { path }) => {
            let mut response = redirect_to(path);
            if let Some(cookie) = CookieKind::SetUp.clear(is_https(req.headers())) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }

            response
        }
        Err(fault) => {
            // Another browser may have changed the answers.
            visit.progress = set_up.progress().clone();
            show_write(&visit, SecretText::Masked, Some(fault))
        }
    }
}
