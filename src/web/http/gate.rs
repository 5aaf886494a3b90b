//! Finds out who asks, and lets in who may come: before a page is made, and before a kept one is
//! found.

use super::error::Error;
use super::response::{self, PageRequest};
use super::viewer;
use crate::store::sign_in::api_keys::KeyScope;
use crate::web::Web;
use crate::web::sign_in::access::AskerError;
use crate::web::sign_in::{Asker, Entrance, Identity};
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use std::time::Duration;
use tokio::time::timeout;
use url::form_urlencoded;

/// Addresses that tell nothing of calls, rooms or people. They are open to all.
const OPEN: [&str; 18] = [
    "/sign-in",
    "/sign-in/code",
    "/sign-in/code/check",
    "/sign-in/openid",
    "/sign-in/openid/callback",
    "/sign-out",
    "/widget",
    "/widget/session",
    "/about",
    "/docs",
    "/healthz",
    "/readyz",
    "/robots.txt",
    "/favicon.ico",
    "/api/docs",
    "/api/v1/about",
    "/api/v1/openapi.json",
    "/api/v1/version",
];
const OPEN_BEGINS: [&str; 3] = ["/static/", "/api/docs/", "/docs/"];
/// Addresses that are the same for everybody, so that nobody has to ask who asks.
const SAME_FOR_ALL: [&str; 4] = ["/healthz", "/readyz", "/robots.txt", "/favicon.ico"];
/// The addresses of people who sign in, of widgets, and of the admin page. They check themselves
/// who asks, and nothing of them is kept.
const PRIVATE: [&str; 7] = [
    "/sign-in",
    "/sign-out",
    "/widget",
    "/me",
    "/admin",
    "/feeds",
    SHARED,
];
/// Below it are feeds, which take a key in their address: programs that read them cannot sign in.
const FEEDS: &str = "/feed/";
const KEY: &str = "key";
/// Below it are the addresses of calls that an operator shared.
const SHARED: &str = "/shared";

const PRIVATE_AND_NOT_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// How long the body of a form may take to come, and the form to be answered.
const FORM_TIME: Duration = Duration::from_secs(30);

/// What becomes of a request.
#[derive(Debug)]
enum Admission {
    Pass,
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

/// Is it the address of a shared call?
#[must_use]
pub fn is_shared(path: &str) -> bool {
    secret_of_share(path).is_some()
}

/// Puts who asks into the request (an [`Asker`]), and passes it on if it may be
/// answered. A key that is not good is refused, and so is one that does not open the address.
///
/// # Errors
/// Those of the guarded service.
pub async fn admit_askers(
    web: Data<Web>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let path = req.path().to_owned();
    if SAME_FOR_ALL.contains(&path.as_str()) || path.starts_with("/static/") {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }

    let (access, now) = (&web.access, web.clock.now_ms());
    let asker = access.find_asker(req.headers(), req.peer_addr(), now).await;
    let asker = match (asker, secret_of_share(&path), take_feed_key(&mut req)) {
        // Whoever asks sees what was shared, and no more.
        (Ok(asker), Some(secret), _) => access.with_share(asker, secret, now).await,
        (Ok(asker), _, Some(key)) => access.with_feed_key(asker, &key, now).await,
        (asker, ..) => asker,
    };
    let admission = match asker {
        Ok(asker) => {
            let admission = admit(&asker, &req);
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
        Admission::Pass if req.method() == Method::POST => {
            // A clone of the request would keep the router from changing it.
            let ask = PageRequest::of_request(req.request(), &web);
            if let Ok(answer) = timeout(FORM_TIME, next.call(req)).await {
                answer?.map_into_boxed_body()
            } else {
                let refused = response::send_error(&ask, &Error::TooSlow);
                return Err(InternalError::from_response(Error::TooSlow, refused).into());
            }
        }
        Admission::Pass => next.call(req).await?.map_into_boxed_body(),
        Admission::Refuse(error) => {
            let ask = PageRequest::of_request(req.request(), &web);
            req.into_response(response::send_error(&ask, &error))
        }
    };

    if is_signed_in || is_private(&path) {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, PRIVATE_AND_NOT_KEPT);
    }

    // The address is a secret: pages to which the call's page leads must not see it.
    if is_shared(&path) {
        let headers = response.headers_mut();
        headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    }

    // A program must not take a part for the whole: "no call runs" may be untrue then.
    if !viewer::viewer_of_request(response.request()).is_operator() {
        let shows = HeaderName::from_static(viewer::SHOWS);
        response
            .headers_mut()
            .insert(shows, HeaderValue::from_static(viewer::PART));
    }

    Ok(response)
}

/// The secret part of the address of a shared call; `None` if it is another address.
fn secret_of_share(path: &str) -> Option<&str> {
    path.strip_prefix(SHARED)?.strip_prefix('/')
}

/// Takes the key out of the address of a feed, so that it stands in no answer and in no cache.
fn take_feed_key(req: &mut ServiceRequest) -> Option<String> {
    if !req.path().starts_with(FEEDS) {
        return None;
    }

    let parameters = || form_urlencoded::parse(req.query_string().as_bytes());
    let (_, key) = parameters().find(|(name, _)| name == KEY)?;
    let key = key.into_owned();
    let others = parameters().filter(|(name, _)| name != KEY);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(others)
        .finish();

    let mut parts = req.uri().clone().into_parts();
    let address = if query.is_empty() {
        req.path().to_owned()
    } else {
        format!("{}?{query}", req.path())
    };
    parts.path_and_query = Some(address.parse().ok()?);
    req.head_mut().uri = Uri::from_parts(parts).ok()?;

    Some(key)
}

/// What becomes of a request of this asker.
fn admit(asker: &Asker, req: &ServiceRequest) -> Admission {
    let path = req.path();
    // The router takes `/%61dmin` for `/admin`. What is decided by a path must not be another one.
    if is_private(req.match_info().as_str()) != is_private(path) {
        return Admission::Refuse(Error::Unrecognized);
    }

    match &asker.identity {
        // Whoever has no such key gets an error there that says so.
        Identity::Key { scope, .. }
            if *scope == KeyScope::Metrics && path != "/metrics" && !is_open(path) =>
        {
            Admission::Refuse(Error::Forbidden("this key does not open this address"))
        }
        _ => Admission::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_page_is_private_with_all_below_it() {
        for private in [
            "/admin",
            "/admin/keys",
            "/sign-in",
            "/sign-in/openid/callback",
            "/sign-out",
        ] {
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
