//! The only place that sends: the token, time-outs, the size cap, and what an answer's status means. It never
//! asks twice; waiting and asking again belongs to the loops that own the question.

use super::Client;
use super::error::{Error, Refusal, Result};
use super::secret::Secret;
use super::wire::{Answer, Page, one_line};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// The wait after a 429 that names none, as matrix-js-sdk has it.
const RETRY_DEFAULT: Duration = Duration::from_secs(5);
/// No homeserver makes us wait longer than this.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// The body of an error is read no further than this, in bytes.
const ERROR_BODY_MAX: usize = 64 * 1024;
/// A homeserver's own words are shortened to this many characters.
const MESSAGE_MAX: usize = 300;

/// In a part of a path everything is escaped that could end the part; what ids begin with stays readable.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b':')
    .remove(b'@');

/// One request about to be sent.
pub(super) struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<Value>,
    timeout: Duration,
    with_token: bool,
    hidden: Option<Secret>,
}

impl Client {
    /// A GET of the path made of `parts`, each escaped.
    pub(super) fn get(&self, parts: &[&str]) -> Request<'_> {
        self.request(Method::GET, parts, None)
    }

    /// A POST of a JSON body to the path made of `parts`, each escaped.
    pub(super) fn post(&self, parts: &[&str], body: Value) -> Request<'_> {
        self.request(Method::POST, parts, Some(body))
    }

    fn request(&self, method: Method, parts: &[&str], body: Option<Value>) -> Request<'_> {
        let mut url = self.settings().homeserver_url.clone();
        let mut path = url.path().trim_end_matches('/').to_owned();
        for part in parts {
            path.push('/');
            path.extend(utf8_percent_encode(part, PATH_PART));
        }
        url.set_path(&path);
        let timeout = self.settings().request_timeout;
        Request {
            client: self,
            method,
            url,
            body,
            timeout,
            with_token: true,
            hidden: None,
        }
    }
}

impl Request<'_> {
    /// Adds a query parameter.
    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(key, value);
        self
    }

    /// Gives the whole request, answer included, this long.
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends no access token.
    pub(super) fn without_token(mut self) -> Self {
        self.with_token = false;
        self
    }

    /// Keeps a secret of the body out of error texts, should the homeserver echo it.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.hidden = Some(secret.clone());
        self
    }

    /// How long the whole request may take.
    #[cfg(test)]
    pub(super) fn time_limit(&self) -> Duration {
        self.timeout
    }

    /// Method and path: what error texts and the log call this request.
    fn asked(&self) -> String {
        format!("{} {}", self.method, one_line(self.url.path(), 200))
    }

    /// Sends the request and reads the JSON answer, which has no events in it.
    ///
    /// # Errors
    /// Every way in which that can fail; nothing is tried twice.
    pub(super) async fn send(self) -> Result<Answer> {
        Answer::of(self.send_for_page().await?)
    }

    /// Sends the request; the answer stays text.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn send_for_page(self) -> Result<Page> {
        let token = self.client.token().filter(|_| self.with_token);
        self.client.count_request();
        let built = self.build(token.as_ref());
        let response = built.send().await.map_err(|error| self.lost(error, None))?;
        let status = response.status();
        tracing::debug!(asked = self.asked(), %status, "answer begins");
        let limit = self.client.settings().max_body_bytes;
        if status.is_success() {
            let body = self.body_of(response, limit, true).await?;
            return Page::read(self.asked(), status.as_u16(), body);
        }
        let wait = retry_after_header(&response);
        let body = self
            .body_of(response, ERROR_BODY_MAX.min(limit), false)
            .await?;
        Err(self.refused(status, wait, &body, token.as_ref()))
    }

    fn build(&self, token: Option<&Secret>) -> RequestBuilder {
        let http = self.client.http();
        let mut builder = http
            .request(self.method.clone(), self.url.clone())
            .timeout(self.timeout);
        if let Some(token) = token {
            builder = builder.bearer_auth(token.expose());
        }
        if let Some(body) = &self.body {
            builder = builder.json(body);
        }
        builder
    }

    /// Reads the (decompressed) body piece by piece and never keeps more than `limit` bytes.
    async fn body_of(&self, mut response: Response, limit: usize, whole: bool) -> Result<Vec<u8>> {
        let status = response.status().as_u16();
        let too_large = || Error::TooLarge {
            asked: self.asked(),
            limit,
        };
        let announced = response.content_length().unwrap_or(0);
        if whole && announced > limit as u64 {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.lost(error, Some((status, body.len()))))?
        {
            if body.len() + piece.len() > limit {
                if whole {
                    return Err(too_large());
                }
                break;
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The error for a connection that failed, or that broke off in the middle of a body (status, bytes so far).
    fn lost(&self, error: reqwest::Error, begun: Option<(u16, usize)>) -> Error {
        let asked = self.asked();
        if error.is_builder() {
            return Error::Setup(format!(
                "{asked}: the request cannot be sent: {}",
                deepest(error)
            ));
        }
        if error.is_connect() && error.is_timeout() {
            return Error::Unreachable {
                asked,
                why: "no connection in time".to_owned(),
            };
        }
        if error.is_timeout() {
            return Error::Timeout {
                asked,
                after: self.timeout,
            };
        }
        match begun {
            Some((status, bytes)) => {
                let why = format!(
                    "an answer that breaks off after {bytes} bytes ({})",
                    deepest(error)
                );
                Error::NotMatrix { asked, status, why }
            }
            None => Error::Unreachable {
                asked,
                why: deepest(error),
            },
        }
    }

    /// What an answer that is not a success means.
    fn refused(
        &self,
        status: StatusCode,
        wait: Option<Duration>,
        body: &[u8],
        token: Option<&Secret>,
    ) -> Error {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let code = status.as_u16();
        let errcode = text("errcode").map(|word| one_line(&self.hide(word, token), 80));
        let limited = code == 429 || errcode.as_deref() == Some("M_LIMIT_EXCEEDED");
        if errcode.is_none() && !limited && !status.is_server_error() {
            let why = format!(
                "status {status} without a Matrix error code; is this the homeserver's address?"
            );
            return Error::NotMatrix {
                asked: self.asked(),
                status: code,
                why,
            };
        }
        let named = json
            .get("retry_after_ms")
            .and_then(Value::as_u64)
            .map(Duration::from_millis)
            .or(wait);
        let default = limited.then_some(RETRY_DEFAULT);
        Error::Refused(Box::new(Refusal {
            asked: self.asked(),
            status: code,
            errcode,
            message: one_line(
                &self.hide(text("error").unwrap_or_default(), token),
                MESSAGE_MAX,
            ),
            retry_after: named.or(default).map(|duration| duration.min(RETRY_MAX)),
            soft_logout: json.get("soft_logout") == Some(&Value::Bool(true)),
        }))
    }

    fn hide(&self, text: &str, token: Option<&Secret>) -> String {
        [token, self.hidden.as_ref()]
            .into_iter()
            .flatten()
            .fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }
}

/// `Retry-After` in seconds. Its other form, a date, depends on two clocks and is not read.
fn retry_after_header(response: &Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    seconds.parse().ok().map(Duration::from_secs)
}

/// The innermost cause, without the URL: "connection refused" says more than "error sending request".
fn deepest(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string(), MESSAGE_MAX)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
