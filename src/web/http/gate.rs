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
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;

/// Addresses that tell nothing of calls, rooms or people. They are open to all.
const OPEN: [&str; 15] = [
    "/sign-in",
    "/sign-in/code",
    "/sign-in/code/check",
    "/sign-in/openid",
    "/sign-in/openid/callback",
    "/sign-out",
    "/widget",
    "/widget/session",
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
/// The addresses of people who sign in, of widgets, and of the admin page. They check themselves
/// who asks, and nothing of them is kept.
const PRIVATE: [&str; 4] = ["/sign-in", "/sign-out", "/widget", "/admin"];

const PRIVATE_AND_NOT_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

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

/// Puts who asks into the request (an [`Asker`]), and passes it on if it may be
/// answered. A key that is not good is refused, and so is one that does not open the address.
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
        Admission::Refuse(error) => {
            let ask = PageRequest::of_request(req.request(), &web);
            req.into_response(response::send_error(&ask, &error))
        }
    };

    if is_signed_in || is_private(&path) {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, PRIVATE_AND_NOT_KEPT);
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
