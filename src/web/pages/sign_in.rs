//! `/sign-in` and `/sign-out`: the ways to sign in, the operator's password, and the end of a
//! session.

use crate::store::sign_in::audit_log::AuditKind;
use crate::store::sign_in::sessions::{self, SessionIdentity, SignInWay};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::form::{self, Form, Sender};
use crate::web::http::own_path::own_path;
use crate::web::http::response::{self, PageRequest, Shell};
use crate::web::sign_in::access::{PasswordCheck, begin_session, record};
use crate::web::sign_in::attempts::TooMany;
use crate::web::sign_in::cookie::CookieKind;
use crate::web::sign_in::{Asker, Entrance};
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use std::net::IpAddr;
use url::form_urlencoded;

/// Seconds after which a sign-in may be tried again when too many are checked at once.
const BUSY_S: u64 = 5;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    shell: &'a Shell,
    has_password: bool,
    has_proxies: bool,
    /// The name of the provider at which people sign in.
    provider: Option<&'a str>,
    /// Where it is begun.
    provider_path: String,
    /// Can a code by Matrix be asked for?
    has_codes: bool,
    /// What went wrong with the last try.
    message: Option<&'a str>,
    next: &'a str,
    token: String,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    shell: &'a Shell,
    is_signed_in: bool,
    token: String,
}

/// What came of a sign-in that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub message: String,
    pub retry_after_s: Option<u64>,
}

impl Refusal {
    pub(super) fn of_error(error: &Error) -> Self {
        Self {
            status: error.status(),
            message: error.body().error,
            retry_after_s: None,
        }
    }
}

/// `GET /sign-in`: the form, with a path of ours to go to afterwards (`next`).
pub async fn get_sign_in(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let query = match ask.read_query(&["next"]) {
        Ok(query) => query,
        Err(error) => return response::send_error(&ask, &error),
    };

    let next = own_path(query.get("next").unwrap_or("/"));
    match Asker::of_request(&req) {
        // Who has signed in, and comes back to this page, wants to go on.
        Some(asker) if matches!(asker.entrance, Entrance::Session { .. }) => go_to(next, []),
        Some(asker) if web.access.has_sign_in() || web.access.has_proxies() => {
            show_form(&web, &req, &asker, next, None)
        }
        _ => response::send_error(&ask, &Error::Unrecognized),
    }
}

/// `POST /sign-in`: checks the password and begins a session.
pub async fn post_sign_in(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let is_offered = web.access.has_password();
    let sent = match read_sign_in_form(&req, &web, is_offered, body, show_form) {
        Ok(sent) => sent,
        Err(refused) => return *refused,
    };

    let SentForm { ask, asker, form } = sent;
    let next = own_path(form.get("next"));
    let password = form.get("password").to_owned();
    let checked = web
        .access
        .check_password(password, asker.address, ask.now)
        .await;
    let refusal = match checked {
        PasswordCheck::Right => {
            let (who, way) = (SessionIdentity::Operator, SignInWay::Password);
            return match sign_in(&web, &req, &asker, who, way, ask.now).await {
                Ok(cookies) => go_to(next, cookies),
                Err(error) => response::send_error(&ask, &error),
            };
        }
        PasswordCheck::Wrong => {
            if let Err(error) = record_wrong_password(&web, &asker, ask.now).await {
                return response::send_error(&ask, &error);
            }

            Refusal {
                status: StatusCode::FORBIDDEN,
                message: "That is not the password.".to_owned(),
                retry_after_s: None,
            }
        }
        PasswordCheck::TooMany(too_many) => {
            too_many_refusal("There were too many wrong passwords.", too_many)
        }
        PasswordCheck::Busy => Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: "Too many sign in at once. Try again in a moment.".to_owned(),
            retry_after_s: Some(BUSY_S),
        },
    };

    show_form(&web, &req, &asker, next, Some(&refusal))
}

/// A form for signing in, by whom and when it was sent.
pub(super) struct SentForm {
    pub ask: PageRequest,
    pub asker: Asker,
    pub form: Form,
}

/// A page with a form, after a refusal with what went wrong: to whom, and the path of ours to go to
/// afterwards.
type ShowForm = fn(&Web, &HttpRequest, &Asker, &str, Option<&Refusal>) -> HttpResponse;

/// Reads a form for signing in, if this way of signing in `is_offered`. `show` is the page that
/// sent it.
///
/// # Errors
/// The answer, if the form is refused.
pub(super) fn read_sign_in_form(
    req: &HttpRequest,
    web: &Web,
    is_offered: bool,
    body: Result<Bytes, actix_web::Error>,
    show: ShowForm,
) -> Result<SentForm, Box<HttpResponse>> {
    let ask = PageRequest::of_request(req, web);
    let Some(asker) = Asker::of_request(req).filter(|_| is_offered) else {
        return Err(response::send_error(&ask, &Error::Unrecognized).into());
    };

    let form = Form::read(body).map_err(|error| response::send_error(&ask, &error))?;
    if let Err(error) = form::check_form(web, &asker, req.headers(), &form) {
        let next = own_path(form.get("next"));
        return Err(show(web, req, &asker, next, Some(&Refusal::of_error(&error))).into());
    }

    Ok(SentForm { ask, asker, form })
}

/// Records a wrong password in the log.
async fn record_wrong_password(web: &Web, asker: &Asker, now: i64) -> Result<(), Error> {
    let Some(sign_ins) = web.access.sign_ins() else {
        return Ok(());
    };

    tracing::warn!(address = %asker.address, "a wrong password was refused");

    let kind = AuditKind::SignInRefused;

    Ok(record(sign_ins, kind, None, None, asker.address, now).await?)
}

/// The address that counts for limits of what anybody may ask for, also where the proxy before us
/// is not known as one.
pub(super) fn address_for_limits(web: &Web, req: &HttpRequest, asker: &Asker) -> IpAddr {
    let client = web.access.client_for_limits(req.headers(), req.peer_addr());

    client.unwrap_or(asker.address)
}

/// Begins a session. One that the browser had before ends. Returns the cookies for the browser.
pub(super) async fn sign_in(
    web: &Web,
    req: &HttpRequest,
    asker: &Asker,
    who: SessionIdentity,
    way: SignInWay,
    now: i64,
) -> Result<[Option<HeaderValue>; 2], Error> {
    let sign_ins = web.access.sign_ins().ok_or(Error::Unrecognized)?;
    if let Entrance::Session { id_hash } = &asker.entrance {
        sessions::end_session(sign_ins, id_hash).await?;
    }

    let id = begin_session(sign_ins, who, way, asker.address, now).await?;
    let form_cookie = CookieKind::Form
        .read(req.headers(), asker.is_https)
        .and_then(|_| CookieKind::Form.clear(asker.is_https));

    Ok([CookieKind::Session.set(&id, asker.is_https), form_cookie])
}

/// The page with the form, after a refusal with what went wrong.
pub(super) fn show_form(
    web: &Web,
    req: &HttpRequest,
    asker: &Asker,
    next: &str,
    refusal: Option<&Refusal>,
) -> HttpResponse {
    let after: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let status = refusal.map_or(StatusCode::OK, |refusal| refusal.status);
    let response = response::send_form_page(req, web, asker, status, |shell, token| {
        SignInPage {
            shell,
            has_password: web.access.has_password(),
            has_proxies: web.access.has_proxies(),
            provider: web.access.provider_name(),
            has_codes: web.access.offers_codes(),
            provider_path: format!("/sign-in/openid?next={after}"),
            message: refusal.map(|refusal| refusal.message.as_str()),
            next,
            token,
        }
        .render()
    });

    with_retry_after(response, refusal)
}

/// What is answered after too many tries; `what` says of what.
pub(super) fn too_many_refusal(what: &str, too_many: TooMany) -> Refusal {
    let minutes = too_many.0.div_ceil(60).cast_signed();

    Refusal {
        status: StatusCode::TOO_MANY_REQUESTS,
        message: format!(
            "{what} Try again in {}.",
            f::count_with_noun(minutes, "minute", "minutes")
        ),
        retry_after_s: Some(too_many.0),
    }
}

/// The answer, with the time after which a refused try may be repeated.
pub(super) fn with_retry_after(
    mut response: HttpResponse,
    refusal: Option<&Refusal>,
) -> HttpResponse {
    if let Some(seconds) = refusal.and_then(|refusal| refusal.retry_after_s) {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }

    response
}

/// `GET /sign-out`: asks whether to, for those without a button at the top.
pub async fn get_sign_out(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let Some(asker) = Asker::of_request(&req) else {
        return response::send_error(&ask, &Error::Unrecognized);
    };

    response::send_form_page(&req, &web, &asker, StatusCode::OK, |shell, token| {
        SignOutPage {
            shell,
            is_signed_in: matches!(asker.entrance, Entrance::Session { .. }),
            token,
        }
        .render()
    })
}

/// `POST /sign-out`: ends the session. The button at the top of each page has no token, because
/// pages are kept for several sessions; there the browser itself must say that a page of ours sent
/// it.
pub async fn post_sign_out(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let Some(asker) = Asker::of_request(&req) else {
        return response::send_error(&ask, &Error::Unrecognized);
    };

    match sign_out(&web, &req, &asker, body, ask.now).await {
        Ok(()) => go_to("/sign-in", [CookieKind::Session.clear(asker.is_https)]),
        Err(error) => response::send_error(&ask, &error),
    }
}

async fn sign_out(
    web: &Web,
    req: &HttpRequest,
    asker: &Asker,
    body: Result<Bytes, actix_web::Error>,
    now: i64,
) -> Result<(), Error> {
    let form = Form::read(body)?;
    let sender = form::check_sender(req.headers(), web.public_url.as_deref())?;
    if sender == Sender::Unknown {
        form::check_form(web, asker, req.headers(), &form)?;
    }

    let (Some(sign_ins), Entrance::Session { id_hash }) = (web.access.sign_ins(), &asker.entrance)
    else {
        return Ok(());
    };

    if sessions::end_session(sign_ins, id_hash).await? {
        let who = Some(asker.identity.as_str());
        record(sign_ins, AuditKind::SignOut, who, None, asker.address, now).await?;
    }

    Ok(())
}

/// Leads to a path of ours, with cookies for the browser.
pub(super) fn go_to<const COUNT: usize>(
    path: &str,
    cookies: [Option<HeaderValue>; COUNT],
) -> HttpResponse {
    let mut response = response::redirect_to(path);
    add_cookies(&mut response, cookies);

    response
}

pub(super) fn add_cookies<const COUNT: usize>(
    response: &mut HttpResponse,
    cookies: [Option<HeaderValue>; COUNT],
) {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
