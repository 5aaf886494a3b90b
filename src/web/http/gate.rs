//! Finds out who asks, and lets in who may come: before a page is made, and before a kept one is
//! found.

use super::error::Error;
use super::response::{self, PageRequest};
use crate::store::sign_in::api_keys::KeyScope;
use crate::web::Web;
use crate::web::sign_in::access::AskerError;
use crate::web::sign_in::{Asker, Entrance, Identity};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpResponse};
use url::form_urlencoded;

/// Addresses that tell nothing of calls, rooms or people. They are open to all.
const OPEN: [&str; 9] = [
    "/sign-in",
    "/sign-out",
    "/about",
    "/healthz",
    "/readyz",
    "/robots.txt",
    "/api/docs",
    "/api/v1/about",
    "/api/v1/openapi.json",
];
const OPEN_BEGINS: [&str; 2] = ["/static/", "/api/docs/"];
/// Addresses that are the same for everybody, so that nobody has to ask who asks.
const SAME_FOR_ALL: [&str; 3] = ["/healthz", "/readyz", "/robots.txt"];
/// The addresses of people who sign in, and of the admin page. They check themselves who asks, and
/// nothing of them is kept.
const PRIVATE: [&str; 3] = ["/sign-in", "/sign-out", "/admin"];

const PRIVATE_AND_NOT_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// What becomes of a request.
#[derive(Debug)]
enum Admission {
    Pass,
    /// To the page where people sign in.
    SignIn,
    Refuse(Error),
}

/// Does this address tell nothing of calls, rooms or people?
#[must_use]
pub fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || OPEN_BEGINS.iter().any(|begin| path.starts_with(begin))
}

/// Is it one of the addresses about signing in, or of the admin page?
#[must_use]
pub fn is_private(path: &str) -> bool {
    PRIVATE
        .iter()
        .filter_map(|begin| path.strip_prefix(begin))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Puts who asks into the request (an [`Asker`] and an [`Identity`]), and passes it on if it may be
/// answered. Else people are sent to sign in, and programs get 401 or 403.
///
/// # Errors
/// Those of the guarded service.
pub async fn admit_askers(
    web: Data<Web>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let path = req.path().to_owned();
    if SAME_FOR_ALL.contains(&path.as_str()) || path.starts_with("/static/") {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }

    let asker = web
        .access
        .find_asker(req.headers(), req.peer_addr(), web.clock.now_ms());
    let admission = match asker.await {
        Ok(asker) => {
            let admission = admit(&asker, &req);
            req.extensions_mut().insert(asker.identity.clone());
            req.extensions_mut().insert(asker);
            admission
        }
        Err(AskerError::BadKey) => Admission::Refuse(Error::BadKey),
        Err(AskerError::Store(error)) => Admission::Refuse(Error::Store(error)),
    };

    let is_signed_in = {
        let extensions = req.extensions();
        let asker = extensions.get::<Asker>();
        asker.is_some_and(|asker| asker.entrance != Entrance::None)
    };

    let mut response = match admission {
        Admission::Pass => next.call(req).await?.map_into_boxed_body(),
        Admission::SignIn => {
            let place = sign_in_address(&req);
            req.into_response(
                HttpResponse::SeeOther()
                    .insert_header((header::LOCATION, place))
                    .insert_header((header::CACHE_CONTROL, "no-store"))
                    .finish(),
            )
        }
        Admission::Refuse(error) => {
            let ask = PageRequest::of_request(req.request(), &web);
            req.into_response(response::send_error(&ask, &error))
        }
    };

    if is_signed_in || is_private(&path) {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, PRIVATE_AND_NOT_KEPT);
    }

    Ok(response)
}

/// What becomes of a request of this asker.
fn admit(asker: &Asker, req: &ServiceRequest) -> Admission {
    let path = req.path();
    // The router takes `/%61dmin` for `/admin`. What is decided by a path must not be another one.
    if is_private(req.match_info().as_str()) != is_private(path) {
        return Admission::Refuse(Error::Unrecognized);
    }

    if is_open(path) || is_private(path) || asker.identity.sees_all() {
        return Admission::Pass;
    }

    match &asker.identity {
        Identity::Key { scope, .. } if *scope == KeyScope::Metrics && path == "/metrics" => {
            Admission::Pass
        }
        Identity::Key { .. } => {
            Admission::Refuse(Error::Forbidden("this key does not open this address"))
        }
        _ if response::is_for_programs(path) => Admission::Refuse(Error::MissingKey),
        _ => Admission::SignIn,
    }
}

/// The page where people sign in, which leads back to where they wanted to go.
fn sign_in_address(req: &ServiceRequest) -> String {
    let wanted = req.uri().path_and_query().map_or("/", |path| path.as_str());
    if wanted == "/" || wanted.len() > NEXT_MAX {
        return "/sign-in".to_owned();
    }

    let next: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();

    format!("/sign-in?next={next}")
}

/// Maximum length of an address that signing in leads back to, bytes.
const NEXT_MAX: usize = 800;

/// The path of ours that signing in leads to; `/` if the text is anything else, so that nobody is
/// led to somebody else's page.
#[must_use]
pub fn own_path(text: &str) -> &str {
    let is_plain = |sign: char| sign.is_ascii_graphic() && sign != '\\';
    let is_own = text.starts_with('/') && !text.starts_with("//") && text.chars().all(is_plain);
    let path = text.split(['?', '#']).next().unwrap_or_default();

    if is_own && text.len() <= NEXT_MAX && !is_sign_in(path) {
        text
    } else {
        "/"
    }
}

/// Would it lead round in a circle?
fn is_sign_in(path: &str) -> bool {
    path == "/sign-in" || path == "/sign-out"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_a_path_of_ours_only() {
        for own in [
            "/",
            "/calls",
            "/calls?room=%21a%3Ab&q=x",
            "/rooms/!a:b",
            "/admin",
        ] {
            assert_eq!(own_path(own), own);
        }

        for foreign in [
            "",
            "calls",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/a\r\nlocation: https://evil.example",
            "/a b",
            "/sign-in?next=/",
            "/sign-out",
            &format!("/{}", "a".repeat(2000)),
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }

    #[test]
    fn the_admin_page_is_private_with_all_below_it() {
        for private in ["/admin", "/admin/keys", "/sign-in", "/sign-out"] {
            assert!(is_private(private), "{private}");
        }

        for public in [
            "/",
            "/administration",
            "/calls/admin",
            "/sign-inn",
            "/about",
        ] {
            assert!(!is_private(public), "{public}");
        }
    }
}
