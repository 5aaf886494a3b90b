//! CORS: which other web pages may read the API from a browser; none, unless the configuration
//! names them.

use super::json_address::asks_for_json;
use crate::web::Web;
use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;

/// How long a browser may cache the answer to a preflight request, s.
const ASK_AGAIN_S: HeaderValue = HeaderValue::from_static("86400");
/// The path prefixes that are meant for programs, as is a page's address with `.json` behind it.
const OPEN: [&str; 4] = ["/api/", "/badge/", "/feed/", "/healthz"];

/// The value of `Access-Control-Allow-Origin` for a page of this origin; `None` if it may not read.
fn allow_origin_value(origins: &[String], origin: &str) -> Option<HeaderValue> {
    if origins.iter().any(|known| known == "*") {
        return Some(HeaderValue::from_static("*"));
    }

    let is_known = origins
        .iter()
        .any(|known| known.eq_ignore_ascii_case(origin));

    is_known
        .then(|| HeaderValue::from_str(origin).ok())
        .flatten()
}

/// Adds to answers for programs the headers that tell a browser which other pages may read them.
/// Does nothing if the configuration names no origins. A preflight request is answered here.
///
/// # Errors
/// Those of the wrapped service.
pub async fn answer_with_cors(
    web: Data<Web>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let origins = &web.options.cors_origins;
    let is_open = || {
        let is_below = OPEN.iter().any(|start| req.path().starts_with(start));
        is_below || asks_for_json(req.request())
    };
    if origins.is_empty() || !is_open() {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }

    let origin = req
        .headers()
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let answer = origin.and_then(|origin| allow_origin_value(origins, origin));
    let asks_whether = req.method() == Method::OPTIONS
        && req
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && answer.is_some();
    let mut response = if asks_whether {
        req.into_response(HttpResponse::NoContent().finish())
    } else {
        next.call(req).await?.map_into_boxed_body()
    };

    insert_cors_headers(response.headers_mut(), answer, asks_whether);

    Ok(response)
}

/// Adds the headers for an origin that may read (`answer` is its header value; `None` = it may
/// not). `asks_whether` says that the browser asks before the request itself (preflight).
fn insert_cors_headers(headers: &mut HeaderMap, answer: Option<HeaderValue>, asks_whether: bool) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(answer) = answer else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, answer);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("etag, location"),
    );

    if asks_whether {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("if-none-match, accept, authorization, x-api-key"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, ASK_AGAIN_S);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_origins_may_read() {
        let named = [
            "https://app.example".to_owned(),
            "https://other.example:8443".to_owned(),
        ];
        let answer = |origins: &[String], origin| {
            allow_origin_value(origins, origin).map(|value| value.to_str().unwrap().to_owned())
        };

        assert_eq!(
            answer(&named, "https://app.example").as_deref(),
            Some("https://app.example")
        );
        assert_eq!(
            answer(&named, "https://other.example:8443").as_deref(),
            Some("https://other.example:8443")
        );
        for foreign in [
            "http://app.example",
            "https://app.example.evil",
            "https://other.example",
            "null",
            "",
        ] {
            assert_eq!(answer(&named, foreign), None, "{foreign}");
        }

        assert_eq!(
            answer(&["*".to_owned()], "https://any.example").as_deref(),
            Some("*")
        );
        assert_eq!(answer(&[], "https://app.example"), None);
    }
}
