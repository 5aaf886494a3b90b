//! A request taken apart, and what may be answered.

use super::Homeserver;
use super::accounts::Caller;
use actix_web::{HttpRequest, web};
use serde_json::{Value, json};
use url::form_urlencoded;

/// A body, or why not.
pub(super) type Answer = Result<Value, Refusal>;

/// An error in Matrix form.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    errcode: &'static str,
    error: String,
    /// The device is still there: `soft_logout`.
    soft: bool,
}

impl Refusal {
    /// An error that does not log the device out.
    pub fn new(status: u16, errcode: &'static str, error: impl Into<String>) -> Self {
        Self {
            status,
            errcode,
            error: error.into(),
            soft: false,
        }
    }

    /// The error for an expired token: the device is still there (`soft_logout`).
    pub fn run_out() -> Self {
        Self {
            soft: true,
            ..Self::new(401, "M_UNKNOWN_TOKEN", "Access token has expired")
        }
    }

    /// The error for an endpoint that does not exist.
    pub fn unrecognized() -> Self {
        Self::new(404, "M_UNRECOGNIZED", "Unrecognized request")
    }
}

/// A request taken apart.
pub(super) struct ApiRequest {
    pub method: String,
    /// Path segments, each decoded on its own, so that a state key may hold a slash.
    pub path: Vec<String>,
    query: Vec<(String, String)>,
    body: web::Bytes,
    token: Option<String>,
}

impl ApiRequest {
    /// Takes a request apart. The token is in the header, or in the query as older clients have it.
    pub fn read(request: &HttpRequest, body: web::Bytes) -> Self {
        let segments = request.uri().path().split('/').skip(1);
        let query = form_urlencoded::parse(request.query_string().as_bytes());
        let query: Vec<(String, String)> = query.into_owned().collect();
        let header = request.headers().get("Authorization");
        let bearer = header
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .map(str::to_owned);
        let mut call = Self {
            method: request.method().to_string(),
            path: segments.map(decode_segment).collect(),
            query,
            body,
            token: bearer,
        };

        if call.token.is_none() {
            call.token = call.param("access_token").map(str::to_owned);
        }

        call
    }

    /// The first query parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All query parameters of this name.
    pub fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A query parameter as a number; `None` if it is none.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.param(name)?.parse().ok()
    }

    /// Is this query parameter `true`?
    pub fn is_set(&self, name: &str) -> bool {
        self.param(name) == Some("true")
    }

    /// The body as a JSON object; no body is an empty one. Anything else is refused.
    pub fn json(&self) -> Answer {
        if self.body.is_empty() {
            return Ok(json!({}));
        }

        let parsed = serde_json::from_slice(&self.body).ok();

        parsed
            .filter(Value::is_object)
            .ok_or_else(|| Refusal::new(400, "M_NOT_JSON", "Content not JSON."))
    }

    /// The account of the access token. Refused if there is none, or if it expired or is unknown.
    pub fn caller(&self, hs: &Homeserver) -> Result<Caller, Refusal> {
        let Some(token) = &self.token else {
            let text = "Missing access token";
            return Err(Refusal::new(401, "M_MISSING_TOKEN", text));
        };

        let now_ms = hs.now_ms();
        let caller = hs.ledger().accounts.caller(token);
        if caller
            .as_ref()
            .is_some_and(|caller| caller.expires_ms.is_some_and(|at| at <= now_ms))
        {
            return Err(Refusal::run_out());
        }

        caller.ok_or_else(|| Refusal::new(401, "M_UNKNOWN_TOKEN", "Invalid access token passed."))
    }
}

/// One path segment without percent-encoding; an invalid `%` stays.
fn decode_segment(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%');
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }

    String::from_utf8_lossy(&bytes).into_owned()
}

impl Refusal {
    /// The error as JSON.
    pub fn body(&self) -> Value {
        let mut body = json!({"errcode": self.errcode, "error": self.error});
        if self.soft {
            body["soft_logout"] = json!(true);
        }

        body
    }
}
