//! `/sign-in/code`: a code by Matrix is asked for, and entered.

use crate::store::sign_in::sessions::{SessionIdentity, SignInWay};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::own_path::own_path;
use crate::web::http::response::{self, PageRequest, Shell};
use crate::web::pages::sign_in::{
    Refusal, SentForm, add_cookies, address_for_limits, go_to, read_sign_in_form, show_form,
    sign_in, too_many_refusal, with_retry_after,
};
use crate::web::sign_in::Asker;
use crate::web::sign_in::access::CodeEntry;
use crate::web::sign_in::codes::parse_entered_id;
use crate::web::sign_in::cookie::CookieKind;
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::form_urlencoded;

#[derive(Template)]
#[template(path = "sign_in_code.html")]
struct CodePage<'a> {
    shell: &'a Shell,
    /// What went wrong with the last try.
    message: Option<&'a str>,
    next: &'a str,
    token: String,
}

/// `POST /sign-in/code`: asks for a code. The answer is the same whether anybody gets one.
pub async fn ask_for_code(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let is_offered = web.access.offers_codes();
    let sent = match read_sign_in_form(&req, &web, is_offered, body, show_form) {
        Ok(sent) => sent,
        Err(refused) => return *refused,
    };

    let SentForm { ask, asker, form } = sent;
    let next = own_path(form.get("next"));
    let Some(user_id) = parse_entered_id(form.get("user_id")) else {
        let refusal = Refusal {
            status: StatusCode::BAD_REQUEST,
            message: "That is no Matrix id. It looks like @name:example.org.".to_owned(),
            retry_after_s: None,
        };
        return show_form(&web, &req, &asker, next, Some(&refusal));
    };

    let site = web.public_url.as_deref();
    let address = address_for_limits(&web, &req, &asker);
    let made = web.access.ask_for_code(&user_id, site, address, ask.now);
    match made.await {
        Ok(Ok(browser)) => {
            let after: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            let cookie = CookieKind::Code.set(&browser, asker.is_https);
            go_to(&format!("/sign-in/code?next={after}"), [cookie])
        }
        Ok(Err(too_many)) => {
            let refusal = too_many_refusal("Too many codes were asked for.", too_many);
            show_form(&web, &req, &asker, next, Some(&refusal))
        }
        Err(error) => response::send_error(&ask, &error.into()),
    }
}

/// `GET /sign-in/code`: the form for the code.
pub async fn get_code_form(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let Some(asker) = Asker::of_request(&req).filter(|_| web.access.offers_codes()) else {
        return response::send_error(&ask, &Error::Unrecognized);
    };

    match ask.read_query(&["next"]) {
        Ok(query) => {
            let next = own_path(query.get("next").unwrap_or("/"));
            show_code_form(&web, &req, &asker, next, None)
        }
        Err(error) => response::send_error(&ask, &error),
    }
}

/// `POST /sign-in/code/check`: checks a code and begins a session.
pub async fn check_code(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let is_offered = web.access.offers_codes();
    let sent = match read_sign_in_form(&req, &web, is_offered, body, show_code_form) {
        Ok(sent) => sent,
        Err(refused) => return *refused,
    };

    let SentForm { ask, asker, form } = sent;
    let next = own_path(form.get("next"));
    let browser = CookieKind::Code.read(req.headers(), asker.is_https);
    let checked = web
        .access
        .check_code(browser, form.get("code"), asker.address, ask.now);
    let refused = |message: String| Refusal {
        status: StatusCode::FORBIDDEN,
        message,
        retry_after_s: None,
    };

    match checked.await {
        Ok(CodeEntry::Right { user_id }) => {
            let (who, way) = (SessionIdentity::User(user_id), SignInWay::Code);
            match sign_in(&web, &req, &asker, who, way, ask.now).await {
                Ok(cookies) => {
                    let mut response = go_to(next, cookies);
                    add_cookies(&mut response, [CookieKind::Code.clear(asker.is_https)]);
                    response
                }
                Err(error) => response::send_error(&ask, &error),
            }
        }
        Ok(CodeEntry::Wrong { tries_left }) => {
            let left = f::count_with_noun(tries_left, "try is", "tries are");
            let refusal = refused(format!("That is not the code. {left} left."));
            show_code_form(&web, &req, &asker, next, Some(&refusal))
        }
        Ok(CodeEntry::NotGood) => {
            let words = "No code is good in this browser: it was used, is older than ten minutes, \
                         or was entered wrongly too often. Ask for another one.";
            let refusal = refused(words.to_owned());
            show_form(&web, &req, &asker, next, Some(&refusal))
        }
        Err(error) => response::send_error(&ask, &error.into()),
    }
}

/// The page with the form for the code, after a refusal with what went wrong.
fn show_code_form(
    web: &Web,
    req: &HttpRequest,
    asker: &Asker,
    next: &str,
    refusal: Option<&Refusal>,
) -> HttpResponse {
    let status = refusal.map_or(StatusCode::OK, |refusal| refusal.status);
    let response = response::send_form_page(req, web, asker, status, |shell, token| {
        CodePage {
            shell,
            message: refusal.map(|refusal| refusal.message.as_str()),
            next,
            token,
        }
        .render()
    });

    with_retry_after(response, refusal)
}
