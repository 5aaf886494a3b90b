//! The only place that sends: the token, timeouts, the size limit, and the meaning of an answer's
//! status. It never retries: waiting and retrying are up to the loops that own the request.

use super::error::{Error, Refusal, Result};
use super::secret::Secret;
use super::wire::{Answer, JsonBody, one_line};
use super::{Client, HeardTime};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use url::Url;

/// The wait after a 429 without a time, as in matrix-js-sdk.
const RETRY_DEFAULT: Duration = Duration::from_secs(5);
/// Maximum wait that a homeserver can impose.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// An answer that is read piece by piece may be this many times as large as one that is kept in
/// memory.
const STREAM_FACTOR: usize = 16;
/// Maximum bytes that are read of an error's body.
const ERROR_BODY_MAX: usize = 64 * 1024;
/// Maximum characters of a homeserver's message.
const MESSAGE_MAX: usize = 300;

/// Characters escaped in a part of a path: all that could end the part. The sigils of ids stay
/// readable.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b':')
    .remove(b'@');

/// A request that is not sent yet.
pub(super) struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<Value>,
    timeout: Duration,
    with_token: bool,
    /// A secret in the body, which is kept out of error texts.
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

    /// A PUT of a JSON body to the path made of `parts`, each escaped.
    pub(super) fn put(&self, parts: &[&str], body: Value) -> Request<'_> {
        self.request(Method::PUT, parts, Some(body))
    }

    /// A request with our token and the usual timeout to the path made of `parts`. Each part is
    /// escaped, so that an id cannot end it.
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

impl<'a> Request<'a> {
    /// Adds a query parameter.
    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(key, value);
        self
    }

    /// Sets the timeout of the whole request, including the answer.
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends no access token.
    pub(super) fn without_token(mut self) -> Self {
        self.with_token = false;
        self
    }

    /// Keeps a secret of the body out of error texts, because the homeserver may echo it.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.hidden = Some(secret.clone());
        self
    }

    /// The timeout of the whole request, adapted to the speed of this homeserver.
    pub(super) fn limit(&self) -> Duration {
        self.client.stretched(self.timeout)
    }

    /// The name of this request in error texts and the log: method and path, never the query.
    fn asked(&self) -> String {
        format!("{} {}", self.method, one_line(self.url.path(), 200))
    }

    /// Sends the request and reads the JSON answer, which must contain no events.
    ///
    /// # Errors
    /// Every way in which that can fail; nothing is tried twice.
    pub(super) async fn send(self) -> Result<Answer> {
        Answer::parse_page(self.send_for_page().await?)
    }

    /// Sends the request and returns the answer as text.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn send_for_page(self) -> Result<JsonBody> {
        let token = self.client.token().filter(|_| self.with_token);
        self.client.count_request();
        let begun = Instant::now();
        let answer = self.answer(token.as_ref()).await;
        match &answer {
            Err(Error::Timeout { .. }) => self.client.was_too_slow(),
            Err(error) if error.is_revoked() => self.client.note_refused(token.as_ref()),
            _ if begun.elapsed() < self.timeout / 4 => self.client.was_quick(),
            _ => {}
        }

        answer
    }

    /// Sends the request and reads its whole answer as text.
    async fn answer(&self, token: Option<&Secret>) -> Result<JsonBody> {
        let built = self.build(token).timeout(self.limit());
        let response = self.begin(built, token).await?;
        let (status, limit) = (response.status(), self.client.settings().max_body_bytes);
        let body = self.body_of(response, limit, true).await?;

        JsonBody::read(self.asked(), status.as_u16(), body)
    }

    /// Sends the request and waits until a successful answer begins. The answer's date goes to our
    /// clock. An unsuccessful answer becomes an error.
    async fn begin(&self, built: RequestBuilder, token: Option<&Secret>) -> Result<Response> {
        let begun = Instant::now();
        let response = built.send().await.map_err(|error| self.lost(error, None))?;
        let status = response.status();
        tracing::debug!(asked = self.asked(), %status, "answer begins");
        if let Some(date_ms) = date_header(&response) {
            self.client.inner.has_dates.store(true, Ordering::Relaxed);
            self.client.heard_time(HeardTime {
                date_ms,
                elapsed: begun.elapsed(),
            });
        }

        if status.is_success() {
            return Ok(response);
        }

        if let Some(error) = self.leads_away(&response) {
            return Err(error);
        }

        let wait = retry_after_header(&response);
        let limit = self.client.settings().max_body_bytes;
        let body = self
            .body_of(response, ERROR_BODY_MAX.min(limit), false)
            .await?;

        Err(self.refused(status, wait, &body, token))
    }

    /// The error for a redirect to another host, which is not followed; `None` for any other
    /// answer.
    fn leads_away(&self, response: &Response) -> Option<Error> {
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let to = self.url.join(location).ok()?;
        let status = response.status();
        let is_same = to.host() == self.url.host()
            && to.port_or_known_default() == self.url.port_or_known_default();
        if !status.is_redirection() || is_same {
            return None;
        }

        let place = one_line(&to.origin().ascii_serialization(), 200);
        let why = format!(
            "status {status}: it sends us on to another place ({place}), which is not followed. If \
             that is the homeserver, set homeserver_url (CALLSCOPE_HOMESERVER_URL) to it"
        );

        Some(Error::NotMatrix {
            asked: self.asked(),
            status: status.as_u16(),
            why,
        })
    }

    /// Sends the request and returns its answer as it comes. The body is read piece by piece, and
    /// may have up to [`STREAM_FACTOR`] times the bytes of one that is kept in memory. Only the
    /// time that we wait for the homeserver counts: the reader may take any time between the
    /// pieces.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(super) async fn open(self) -> Result<AnswerBody<'a>> {
        let token = self.client.token().filter(|_| self.with_token);
        self.client.count_request();
        let begun = Instant::now();
        let longest = self.limit();
        let built = self.build(token.as_ref());
        let answer = timeout(longest, self.begin(built, token.as_ref())).await;
        let answer = answer.unwrap_or_else(|_| Err(self.timed_out(longest)));
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                match &error {
                    Error::Timeout { .. } => self.client.was_too_slow(),
                    error if error.is_revoked() => self.client.note_refused(token.as_ref()),
                    _ => {}
                }

                return Err(error);
            }
        };

        let limit = self.client.settings().max_body_bytes;

        Ok(AnswerBody {
            limit: limit.saturating_mul(STREAM_FACTOR),
            request: self,
            response,
            longest,
            waited: begun.elapsed(),
            read: 0,
        })
    }

    /// The request for the HTTP client, with its token and body.
    fn build(&self, token: Option<&Secret>) -> RequestBuilder {
        let http = self.client.http();
        let mut builder = http.request(self.method.clone(), self.url.clone());
        if let Some(token) = token {
            builder = builder.bearer_auth(token.expose());
        }

        if let Some(body) = &self.body {
            builder = builder.json(body);
        }

        builder
    }

    /// Reads the (decompressed) body piece by piece and never keeps more than `limit` bytes. A
    /// longer one is an error if it is wanted as a `whole`; else the pieces that fit are returned.
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

    /// The error for a timeout after this time.
    fn timed_out(&self, after: Duration) -> Error {
        Error::Timeout {
            asked: self.asked(),
            after,
        }
    }

    /// The error for a connection that failed (`begun` is `None`), or that broke off in the middle
    /// of a body (status, bytes so far).
    fn lost(&self, error: reqwest::Error, begun: Option<(u16, usize)>) -> Error {
        let asked = self.asked();
        if error.is_builder() {
            return Error::Setup(format!(
                "{asked}: the request cannot be sent: {}",
                innermost_cause(error)
            ));
        }

        if error.is_connect() && error.is_timeout() {
            return Error::Unreachable {
                asked,
                why: "no connection in time".to_owned(),
            };
        }

        if error.is_timeout() {
            return self.timed_out(self.limit());
        }

        match begun {
            Some((status, bytes)) => {
                let why = format!(
                    "an answer that breaks off after {bytes} bytes ({})",
                    innermost_cause(error)
                );
                Error::NotMatrix { asked, status, why }
            }
            None => Error::Unreachable {
                asked,
                why: innermost_cause(error),
            },
        }
    }

    /// The error that an unsuccessful answer means. `wait` is the time of its `Retry-After` header,
    /// for which a time in the body goes first; `token` is kept out of the texts.
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

    /// The text without our token and without the secret of the request, which the homeserver may
    /// echo.
    fn hide(&self, text: &str, token: Option<&Secret>) -> String {
        [token, self.hidden.as_ref()]
            .into_iter()
            .flatten()
            .fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }
}

/// The body of an answer, as it comes.
pub(super) struct AnswerBody<'a> {
    request: Request<'a>,
    response: Response,
    /// Maximum bytes of the body.
    limit: usize,
    /// Maximum total wait for the homeserver, and the wait so far.
    longest: Duration,
    waited: Duration,
    /// Bytes received so far.
    read: usize,
}

impl AnswerBody<'_> {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke off, the time is over, or the answer is too large.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let status = self.status();
        let asked = Instant::now();
        let left = self.longest.saturating_sub(self.waited);
        let piece = timeout(left, self.response.chunk()).await;
        self.waited += asked.elapsed();
        let piece = match piece {
            Ok(Ok(piece)) => piece,
            Err(_) => {
                self.request.client.was_too_slow();
                return Err(self.request.timed_out(self.longest));
            }
            Ok(Err(error)) => {
                let error = self.request.lost(error, Some((status, self.read)));
                if matches!(error, Error::Timeout { .. }) {
                    self.request.client.was_too_slow();
                }

                return Err(error);
            }
        };

        let Some(piece) = piece else {
            if self.waited < self.request.timeout / 4 {
                self.request.client.was_quick();
            }

            return Ok(None);
        };

        self.read += piece.len();
        if self.read > self.limit {
            return Err(Error::TooLarge {
                asked: self.request.asked(),
                limit: self.limit,
            });
        }

        Ok(Some(piece.to_vec()))
    }

    /// Bytes received so far, decompressed.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// The HTTP status of the answer.
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The error for an answer that does not conform to Matrix.
    pub(super) fn not_matrix(&self, why: impl Into<String>) -> Error {
        Error::NotMatrix {
            asked: self.request.asked(),
            status: self.status(),
            why: why.into(),
        }
    }
}

/// The wait that `Retry-After` asks for, in seconds; `None` without the header. The form with a
/// date depends on two clocks and is ignored.
fn retry_after_header(response: &Response) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();

    seconds.parse().ok().map(Duration::from_secs)
}

/// The answer's date, ms since the Unix epoch: the beginning of its second. `None` without one. The
/// date of a cached answer (`Age`) is ignored: it is the time at which the answer was made.
fn date_header(response: &Response) -> Option<i64> {
    let age = response.headers().get(header::AGE);
    if age.is_some_and(|age| age.as_bytes().trim_ascii() != b"0") {
        return None;
    }

    let text = response.headers().get(header::DATE)?.to_str().ok()?;
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(at.timestamp().as_millisecond())
}

/// The innermost cause of an error, without the URL: "connection refused" says more than "error
/// sending request".
fn innermost_cause(error: reqwest::Error) -> String {
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
