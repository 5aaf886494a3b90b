//! `/sign-in/openid`: the way to the provider of sign-ins, and back.

use crate::store::sign_in::sessions::{SessionIdentity, SignInWay};
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::own_path::own_path;
use crate::web::http::response::{self, PageRequest};
use crate::web::pages::sign_in::{
    Refusal, add_cookies, address_for_limits, go_to, show_form, sign_in,
};
use crate::web::sign_in::Asker;
use crate::web::sign_in::cookie::CookieKind;
use crate::web::sign_in::openid::{OpenIdError, Returned};
use actix_web::http::StatusCode;
use actix_web::web as http;
use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded;

/// Seconds after which a provider that does not answer may be tried again.
const AGAIN_S: u64 = 10;

/// `GET /sign-in/openid`: sends the browser to the provider. Afterwards it comes to `next`.
pub async fn begin_sign_in(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let query = match ask.read_query(&["next"]) {
        Ok(query) => query,
        Err(error) => return response::send_error(&ask, &error),
    };

    let next = own_path(query.get("next").unwrap_or("/"));
    let Some(asker) = Asker::of_request(&req) else {
        return response::send_error(&ask, &Error::Unrecognized);
    };

    let address = address_for_limits(&web, &req, &asker);
    match web.access.begin_openid(next, address, ask.now).await {
        Some(Ok(begun)) => {
            let cookie = CookieKind::OpenId.set(&begun.browser, asker.is_https);
            go_to(begun.url.as_str(), [cookie])
        }
        Some(Err(error)) => show_refusal(&web, &req, &asker, next, &error),
        None => response::send_error(&ask, &Error::Unrecognized),
    }
}

/// `GET /sign-in/openid/callback`: the browser comes back from the provider, which says who it is.
pub async fn end_sign_in(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let Some(asker) = Asker::of_request(&req) else {
        return response::send_error(&ask, &Error::Unrecognized);
    };

    let returned = read_returned(&req, &asker);
    let mut response = match web
        .access
        .end_openid(returned, asker.address, ask.now)
        .await
    {
        Some(Ok(signed_in)) => {
            let who = SessionIdentity::User(signed_in.user_id);
            match sign_in(&web, &req, &asker, who, SignInWay::OpenId, ask.now).await {
                Ok(cookies) => go_to(own_path(&signed_in.next), cookies),
                Err(error) => response::send_error(&ask, &error),
            }
        }
        Some(Err(error)) => show_refusal(&web, &req, &asker, "/", &error),
        None => response::send_error(&ask, &Error::Unrecognized),
    };

    add_cookies(&mut response, [CookieKind::OpenId.clear(asker.is_https)]);

    response
}

/// What the browser brings back. Providers add parameters of their own, which are passed over.
fn read_returned(req: &HttpRequest, asker: &Asker) -> Returned {
    let mut returned = Returned {
        browser: CookieKind::OpenId.read(req.headers(), asker.is_https),
        ..Returned::default()
    };

    for (name, value) in form_urlencoded::parse(req.query_string().as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "state" => returned.state = value,
            "code" => returned.code = Some(value),
            "error" => returned.error = Some(value),
            "iss" => returned.issuer = Some(value),
            _ => (),
        }
    }

    returned
}

/// The page with the ways to sign in, and why this one failed.
fn show_refusal(
    web: &Web,
    req: &HttpRequest,
    asker: &Asker,
    next: &str,
    error: &OpenIdError,
) -> HttpResponse {
    let is_unreachable = error.is_unreachable();
    let refusal = Refusal {
        status: if is_unreachable {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::FORBIDDEN
        },
        message: error.words_for_reader().to_owned(),
        retry_after_s: is_unreachable.then_some(AGAIN_S),
    };

    show_form(web, req, asker, next, Some(&refusal))
}
