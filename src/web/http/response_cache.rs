//! Caches all answers for one second: however many requests come, each page is made once per change
//! and per second. While the answer of a new second is being made and nothing has changed, other
//! requests get that of the previous second. So it is at most one second old, plus the time of this
//! making.

use super::error::Error;
use super::fair_turns::{FairTurn, FairTurns, OwnTurn, TurnOwner};
use super::response::{self, PageRequest};
use super::{etag, gate, host};
use crate::store::visible::Viewer;
use crate::web::Web;
use crate::web::sign_in::Frame;
use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// How long an answer is kept: its own second, and the next one while a new answer is made.
const KEPT: Duration = Duration::from_secs(2);
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Maximum length of a cached request, bytes. Longer ones are answered, but not cached.
const ASKED_MAX: usize = 1024;

/// Maximum number of answers made at the same time, of those for one viewer, and of requests
/// waiting for their turn.
const MAKING_MOST: usize = 4;
const MAKING_OF_VIEWER: usize = 2;
const WAITING_MOST: usize = 1000;
/// Maximum time that a request waits for its turn, and maximum time for making its answer.
const WAIT_LONGEST: Duration = Duration::from_secs(10);
const MAKE_LONGEST: Duration = Duration::from_secs(20);
/// Maximum pause between two makings of the same answer. The pause is as long as the previous
/// making took, up to this. So at most half of the time goes into one answer, even if much changes.
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Maximum number of requests whose last making is remembered.
const PACES_MOST: u64 = 4000;
/// Maximum memory for answers, cached ones and those still being sent, kB in all.
const HELD_MOST_KB: usize = 96 * 1024;
/// Maximum size of one slice handed to a connection, bytes. Only this much is copied for a slow
/// reader; the rest is shared.
const SLICE: usize = 32 * 1024;
/// Size above which an answer counts as large, bytes, because it may stay with a slow reader for
/// long; and the maximum number of large answers being sent at the same time.
const LARGE: usize = 64 * 1024;
const LARGE_MOST: usize = 200;

/// A request, and the form of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RequestKey {
    /// Who may read the answer.
    viewer: Viewer,
    /// What the frame of the page shows of who asks.
    frame: Frame,
    encodings: String,
    /// The base of our own addresses, which feeds contain.
    base: String,
    address: String,
}

/// The key of a cached answer. A change or another second makes a new key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CacheKey {
    generation: u64,
    second: i64,
    question: RequestKey,
}

impl CacheKey {
    /// The key of the answer whose frame shows this of who asks.
    fn in_frame(mut self, frame: Frame) -> Self {
        self.question.frame = frame;
        self
    }
}

/// A complete answer.
#[derive(Debug)]
struct StoredResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Is the answer of the next second being made?
    is_renewed: AtomicBool,
    /// The memory that it takes; released when nobody reads it any more.
    #[expect(dead_code, reason = "it is held, and given back when this is dropped")]
    held: Option<OwnedSemaphorePermit>,
}

/// The last answer made for a request.
#[derive(Debug, Default)]
struct LastResponse {
    made: Option<MadeResponse>,
}

/// An answer that was made, how long that took, and when it ended.
#[derive(Debug)]
struct MadeResponse {
    /// The state of the data that it shows.
    key: CacheKey,
    /// The answer, while it is cached or being read. A failure is kept until the next answer.
    stored: Weak<StoredResponse>,
    failed: Option<Arc<StoredResponse>>,
    ended: Instant,
    took: Duration,
}

/// A lock: its holder may make the answer to a request.
type MakerLock = Arc<Mutex<LastResponse>>;

/// The answers of the last seconds, and the limits for making and holding them.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    kept: Cache<CacheKey, Arc<StoredResponse>>,
    paces: Cache<RequestKey, MakerLock>,
    making: FairTurns,
    waiting: Arc<AtomicUsize>,
    held: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for ResponseCache {
    fn default() -> Self {
        Self::holding(HELD_MOST_KB, LARGE_MOST)
    }
}

/// The right to make the answer of a new second. If it is dropped without an answer, the next
/// request gets it.
struct Renewal(Arc<StoredResponse>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.is_renewed.store(false, Ordering::Relaxed);
    }
}

/// What a request does that comes at a new second.
enum CacheTurn {
    /// Another request makes the new answer: use that of the previous second.
    Before(Arc<StoredResponse>),
    /// Wait for the new answer, or make it. With the right to make it, others get that of the
    /// previous second meanwhile.
    New(Option<Renewal>),
}

/// A waiting request.
struct WaitingRequest(Arc<AtomicUsize>);

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const TOO_MANY: Error = Error::Busy("too many questions are asked at once");
const TOO_LONG: Error = Error::Busy("the answer takes too long");
const TOO_MUCH: Error = Error::Busy("too many large answers are being read");

impl ResponseCache {
    /// An empty cache that limits the memory for answers, kB, and the number of large answers being
    /// sent at the same time.
    fn holding(held_kb: usize, large: usize) -> Self {
        let weigh = |key: &CacheKey, answer: &Arc<StoredResponse>| {
            let asked = &key.question;
            let words = asked.address.len() + asked.base.len() + asked.encodings.len();
            u32::try_from(answer.body.len() + words + 1024).unwrap_or(u32::MAX)
        };

        Self {
            kept: Cache::builder()
                .max_capacity(BYTES_MAX)
                .weigher(weigh)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(KEPT)
                .build(),
            paces: Cache::builder()
                .max_capacity(PACES_MOST)
                .time_to_live(2 * WAIT_LONGEST)
                .build(),
            making: FairTurns::at_most(MAKING_OF_VIEWER, MAKING_MOST),
            waiting: Arc::default(),
            held: Arc::new(Semaphore::new(held_kb)),
            large: Arc::new(Semaphore::new(large)),
        }
    }

    /// Whether a request waits for the new answer or takes that of the previous second. Of several
    /// requests of a new second only the first makes the new one; it must hold the [`Renewal`]
    /// until that is made.
    async fn turn(&self, key: &CacheKey) -> CacheTurn {
        if self.kept.contains_key(key) {
            return CacheTurn::New(None);
        }

        let Some(before) = self
            .kept
            .get(&CacheKey {
                second: key.second - 1,
                ..key.clone()
            })
            .await
        else {
            return CacheTurn::New(None);
        };

        if before.is_renewed.swap(true, Ordering::Relaxed) {
            CacheTurn::Before(before)
        } else {
            CacheTurn::New(Some(Renewal(before)))
        }
    }

    /// Counts one more waiting request until the result is dropped; an error if there are too many.
    fn enter_queue(&self) -> Result<WaitingRequest, Error> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MOST {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(TOO_MANY);
        }

        Ok(WaitingRequest(Arc::clone(&self.waiting)))
    }

    /// Waits until few enough answers to this owner are made. An error if that takes too long, or
    /// too many wait.
    async fn own_turn(&self, owner: &TurnOwner) -> Result<OwnTurn, Error> {
        let turn = timeout(WAIT_LONGEST, self.making.wait_for_own_turn(owner)).await;
        turn.ok().flatten().ok_or(TOO_MANY)
    }

    /// Waits for the right to make an answer, of which only a few are made at a time. An error if
    /// that takes too long.
    async fn turn_to_make(&self, own: OwnTurn) -> Result<FairTurn, Error> {
        let turn = timeout(WAIT_LONGEST, self.making.wait_for_turn(own)).await;
        turn.ok().flatten().ok_or(TOO_MANY)
    }

    /// Reserves memory for an answer of this size, bytes; evicts answers that are only cached if
    /// necessary.
    async fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let kb = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let free = || Arc::clone(&self.held).try_acquire_many_owned(kb).ok();
        if let Some(held) = free() {
            return Ok(held);
        }

        self.kept.invalidate_all();
        self.paces.invalidate_all();
        self.kept.run_pending_tasks().await;
        self.paces.run_pending_tasks().await;

        free().ok_or(TOO_MUCH)
    }

    /// The answer to a request. `make` makes it, unless another request has made one that is as
    /// new. `at` tells the state of the data at the time of the call: generation of changes, and
    /// second. An answer that is a server error is not kept, but goes to all who waited for it.
    async fn answer(
        &self,
        key: CacheKey,
        owner: &TurnOwner,
        at: impl Fn() -> (u64, i64),
        make: impl Future<Output = Result<StoredResponse, Error>>,
    ) -> Result<Arc<StoredResponse>, Error> {
        if let Some(kept) = self.kept.get(&key).await {
            return Ok(kept);
        }

        let (_waiting, asked) = (self.enter_queue()?, Instant::now());
        // Before the lock: others who ask the same must not wait behind the owner's other requests.
        let own = self.own_turn(owner).await?;
        let pace = self
            .paces
            .get_with(key.question.clone(), async { MakerLock::default() })
            .await;
        let turn = timeout(WAIT_LONGEST, pace.lock()).await;
        let mut last = turn.map_err(|_| TOO_MANY)?;
        if let Some(made) = &last.made {
            if let Some(known) = made.answers(&key, asked) {
                return Ok(known);
            }

            sleep_until(made.ended + made.took.min(PAUSE_LONGEST)).await;
        }

        let _turn = self.turn_to_make(own).await?;
        // An answer made now shows at least everything that has changed by now.
        let (generation, second) = at();
        let key = CacheKey {
            generation,
            second,
            ..key
        };

        let begun = Instant::now();
        let stored = timeout(MAKE_LONGEST, make).await;
        let stored = Arc::new(stored.map_err(|_| TOO_LONG)??);
        let has_failed = stored.status.is_server_error();
        if !has_failed {
            self.kept.insert(key.clone(), Arc::clone(&stored)).await;
        }

        last.made = Some(MadeResponse {
            key,
            failed: has_failed.then(|| Arc::clone(&stored)),
            stored: Arc::downgrade(&stored),
            ended: Instant::now(),
            took: begun.elapsed(),
        });

        Ok(stored)
    }
}

impl MadeResponse {
    /// The last answer, if it may serve a request that came at `asked`: it is of the request's
    /// state of the data or a later one. A failure is only for requests that waited for it.
    fn answers(&self, key: &CacheKey, asked: Instant) -> Option<Arc<StoredResponse>> {
        if let Some(failed) = &self.failed {
            return (asked < self.ended).then(|| Arc::clone(failed));
        }

        let is_new = self.key.generation >= key.generation && self.key.second >= key.second;

        if is_new { self.stored.upgrade() } else { None }
    }
}

/// Answers from the cache, or makes the answer and caches it. Requests for the same at the same
/// time wait for one making.
///
/// # Errors
/// Those of the inner service.
pub async fn answer_from_cache(
    answers: ResponseCache,
    web: Data<Web>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // The router decodes a path before it compares it: `/api/v1/%6cive` is a stream, too.
    if is_always_answered(req.match_info().as_str()) {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }

    let at = || (web.changes.generation(), web.clock.now_ms() / 1000);
    let ask = PageRequest::of_request(req.request(), &web);
    // The cache has the complete answer. Whether the client already has it (304) is decided
    // afterwards.
    let known = etag::tags_in_request(req.request());
    let reads = matches!(*req.method(), Method::GET | Method::HEAD);
    if let Some(tag) = ask.tag.as_deref().filter(|_| reads)
        && etag::is_named(tag, known.as_deref())
    {
        // The tag names the state of the data: no answer has to be made.
        return Ok(req.into_response(response::not_modified(tag)));
    }

    let owner = TurnOwner::of_request(req.request(), &ask.viewer);
    let key = cache_key(at(), &ask.viewer, &req).map(|key| key.in_frame(ask.frame));
    if key.is_some() {
        req.headers_mut().remove(header::IF_NONE_MATCH);
    }

    let _renewal = match &key {
        None => None,
        Some(key) => match answers.turn(key).await {
            CacheTurn::Before(before) => {
                let response = answers.response(&before, known.as_deref(), &ask);
                return Ok(req.into_response(response));
            }
            CacheTurn::New(renewal) => renewal,
        },
    };

    if req.method() == Method::HEAD {
        // A HEAD request has no body to hold in memory.
        let entered = async {
            let waiting = answers.enter_queue()?;
            let turn = answers
                .turn_to_make(answers.own_turn(&owner).await?)
                .await?;
            Ok::<_, Error>((waiting, turn))
        };

        return match entered.await {
            Ok(_held) => match timeout(MAKE_LONGEST, next.call(req)).await {
                Ok(answer) => Ok(answer?.map_into_boxed_body()),
                Err(_) => Err(error_of_answer(response::send_error(&ask, &TOO_LONG))),
            },
            Err(error) => Ok(req.into_response(response::send_error(&ask, &error))),
        };
    }

    let mut asked = Some(req);
    let mut answered: Option<HttpRequest> = None;
    let make = async {
        let Some(req) = asked.take() else {
            return Ok(StoredResponse::failure());
        };

        let (request, stored) = collect_answer(&answers, next.call(req).await).await;
        answered = request;
        stored
    };

    let stored = match key {
        Some(key) => answers.answer(key, &owner, at, make).await,
        None => answers.once(&owner, make).await,
    };

    let response = match stored {
        Ok(stored) => answers.response(&stored, known.as_deref(), &ask),
        Err(error) => response::send_error(&ask, &error),
    };

    match (asked, answered) {
        (Some(req), _) => Ok(req.into_response(response)),
        (None, Some(request)) => Ok(ServiceResponse::new(request, response)),
        // The request went with the making of its answer, which was stopped.
        (None, None) => Err(error_of_answer(response)),
    }
}

/// An answer for which there is no request any more.
fn error_of_answer(answer: HttpResponse) -> actix_web::Error {
    InternalError::from_response("the answer took too long", answer).into()
}

/// Requests that are always answered, whatever the load: files, streams (which have their own
/// limits), health checks, and what is for one browser only.
fn is_always_answered(path: &str) -> bool {
    let streams = matches!(
        path,
        "/api/v1/live"
            | "/api/v1/calls.csv"
            | "/api/v1/calls.ndjson"
            | "/api/v1/problems.csv"
            | "/api/v1/problems.ndjson"
    );
    let own = ["/static/", "/api/docs/"]
        .iter()
        .any(|start| path.starts_with(start));

    // A shared call is shown to strangers.
    let for_one_browser = gate::is_private(path) && !gate::is_shared(path);

    streams || own || for_one_browser || matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The key under which the answer to a request of this viewer is kept, at this generation of
/// changes and second. `None` if it is not kept: unusually long requests, requests that are always
/// answered, and HEAD.
fn cache_key(at: (u64, i64), viewer: &Viewer, req: &ServiceRequest) -> Option<CacheKey> {
    let (generation, second) = at;
    let address = req.uri().path_and_query()?.as_str();
    let encodings = req
        .headers()
        .get(header::ACCEPT_ENCODING)
        .map_or(Ok(""), |value| value.to_str())
        .ok()?;
    if req.method() != Method::GET
        || is_always_answered(req.match_info().as_str())
        || address.len() + encodings.len() > ASKED_MAX
    {
        return None;
    }

    let base = host::base_url(req.headers());
    if base.len() > ASKED_MAX {
        return None;
    }

    Some(CacheKey {
        generation,
        second,
        question: RequestKey {
            viewer: viewer.clone(),
            frame: Frame::PLAIN,
            encodings: encodings.to_owned(),
            base,
            address: address.to_owned(),
        },
    })
}

/// Reads an answer to its end and reserves memory for it. Returns it with its request, which is
/// `None` if the service failed.
async fn collect_answer(
    answers: &ResponseCache,
    answer: Result<ServiceResponse<impl MessageBody + 'static>, actix_web::Error>,
) -> (Option<HttpRequest>, Result<StoredResponse, Error>) {
    let (request, response) = match answer {
        Ok(response) => {
            let (request, response) = response.into_parts();
            (Some(request), response.map_into_boxed_body())
        }
        Err(error) => (None, error.error_response()),
    };

    let stored = StoredResponse::from_response(response).await;
    let held = answers.hold(stored.body.len()).await;
    let stored = held.map(|held| StoredResponse {
        held: Some(held),
        ..stored
    });

    (request, stored)
}

impl ResponseCache {
    /// Makes an answer that is not shared with other requests.
    async fn once(
        &self,
        owner: &TurnOwner,
        make: impl Future<Output = Result<StoredResponse, Error>>,
    ) -> Result<Arc<StoredResponse>, Error> {
        let _waiting = self.enter_queue()?;
        let own = self.own_turn(owner).await?;
        let _turn = self.turn_to_make(own).await?;
        let stored = timeout(MAKE_LONGEST, make).await;
        Ok(Arc::new(stored.map_err(|_| TOO_LONG)??))
    }

    /// The answer for a client that has these entity tags: 304 if one of them is that of the
    /// answer. 503 if it is large and too many large answers are being sent.
    fn response(
        &self,
        stored: &Arc<StoredResponse>,
        known: Option<&str>,
        ask: &PageRequest,
    ) -> HttpResponse {
        let mut response = stored.head(known);
        if response.status() == StatusCode::NOT_MODIFIED {
            return response;
        }

        let reader = if stored.body.len() > LARGE {
            match Arc::clone(&self.large).try_acquire_owned() {
                Ok(reader) => Some(reader),
                Err(_) => return response::send_error(ask, &TOO_MUCH),
            }
        } else {
            None
        };

        response = response.set_body(BoxBody::new(SlicedBody {
            stored: Arc::clone(stored),
            at: 0,
            reader,
        }));

        response
    }
}

impl StoredResponse {
    /// An empty answer with the status 500.
    fn failure() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            is_renewed: AtomicBool::new(false),
            held: None,
        }
    }

    /// The answer as it is stored, with its whole body. Memory is not reserved for it yet (`held`).
    async fn from_response(response: HttpResponse) -> Self {
        let (head, body) = response.into_parts();
        debug_assert!(
            body.size() != BodySize::Stream
                || head.headers().contains_key(header::CONTENT_ENCODING)
        );
        let Ok(body) = to_bytes(body).await else {
            return Self::failure();
        };

        Self {
            status: head.status(),
            headers: head.headers().clone(),
            body,
            is_renewed: AtomicBool::new(false),
            held: None,
        }
    }

    /// The answer for a client that has these entity tags, without its body.
    fn head(&self, known: Option<&str>) -> HttpResponse {
        let tag = self
            .headers
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        let is_known =
            self.status == StatusCode::OK && tag.is_some_and(|tag| etag::is_known(tag, known));
        let mut response = HttpResponse::new(if is_known {
            StatusCode::NOT_MODIFIED
        } else {
            self.status
        });
        for (name, value) in &self.headers {
            let of_body = [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LENGTH,
            ]
            .contains(name);
            if !(is_known && of_body) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }

        response
    }
}

/// The body of an answer, shared by all its readers slice by slice: a connection copies only what
/// it is about to send.
struct SlicedBody {
    stored: Arc<StoredResponse>,
    at: usize,
    #[expect(dead_code, reason = "it is held, and given back when this is dropped")]
    reader: Option<OwnedSemaphorePermit>,
}

impl MessageBody for SlicedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.stored.body.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let (from, all) = (self.at, self.stored.body.len());
        if from >= all {
            return Poll::Ready(None);
        }

        self.at = (from + SLICE).min(all);
        let slice = self.stored.body.slice(from..self.at);

        Poll::Ready(Some(Ok(slice)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::http::base_path::BasePath;
    use actix_web::test::TestRequest;

    fn key_of_request(address: &str, header: (&str, &str)) -> Option<CacheKey> {
        cache_key(
            (1, 2),
            &Viewer::Operator,
            &TestRequest::with_uri(address)
                .insert_header(header)
                .to_srv_request(),
        )
    }

    fn owner() -> TurnOwner {
        TurnOwner::of_request(&TestRequest::default().to_http_request(), &Viewer::Operator)
    }

    #[test]
    fn an_answer_is_for_its_address_encoding_and_host() {
        let plain = ("host", "a.example");
        let one = key_of_request("/feed/calls.atom?limit=1", plain);
        assert!(one.is_some() && one == key_of_request("/feed/calls.atom?limit=1", plain));
        assert_ne!(one, key_of_request("/feed/calls.atom?limit=2", plain));
        assert_ne!(
            key_of_request("/", ("accept-encoding", "gzip")),
            key_of_request("/", ("accept-encoding", "br"))
        );
        assert_ne!(
            one,
            key_of_request("/feed/calls.atom?limit=1", ("host", "b.example")),
            "a feed says where it is"
        );
        assert_ne!(
            one,
            key_of_request("/feed/calls.atom?limit=1", ("x-forwarded-proto", "https"))
        );
    }

    #[test]
    fn streams_files_and_long_questions_are_not_kept() {
        for address in [
            "/api/v1/live",
            "/api/v1/calls.csv?q=a",
            "/static/style.css",
            "/metrics",
            "/healthz",
        ] {
            assert_eq!(key_of_request(address, ("host", "a")), None, "{address}");
        }

        assert_eq!(
            key_of_request(
                &format!("/calls?q={}", "a".repeat(ASKED_MAX)),
                ("host", "a")
            ),
            None
        );
    }

    #[tokio::test]
    async fn one_makes_the_answer_of_a_new_second_and_the_others_have_the_one_before() {
        let answers = ResponseCache::default();
        let key = |generation, second| {
            cache_key(
                (generation, second),
                &Viewer::Operator,
                &TestRequest::with_uri("/").to_srv_request(),
            )
            .expect("an answer that is kept")
        };

        answers
            .kept
            .insert(key(1, 2), Arc::new(StoredResponse::failure()))
            .await;
        let (mut gets_it, mut turns) = (Vec::new(), Vec::new());
        for asked in [
            key(1, 2),
            key(2, 3),
            key(1, 3),
            key(1, 3),
            key(1, 4),
            key(1, 3),
        ] {
            turns.push(answers.turn(&asked).await);
            gets_it.push(matches!(turns.last(), Some(CacheTurn::Before(_))));
        }

        assert_eq!(
            gets_it,
            [false, false, false, true, false, true],
            "never after a change, never of two seconds ago"
        );
        turns.clear();
        let again = answers.turn(&key(1, 3)).await;
        assert!(
            matches!(again, CacheTurn::New(Some(_))),
            "who had the turn made nothing: the next one has it"
        );
        answers
            .kept
            .insert(key(1, 3), Arc::new(StoredResponse::failure()))
            .await;
        assert!(
            matches!(answers.turn(&key(1, 3)).await, CacheTurn::New(None)),
            "the new one is there"
        );
    }

    fn asks() -> PageRequest {
        PageRequest {
            shape: None,
            now: 0,
            viewer: Viewer::Operator,
            has_asker: true,
            base: BasePath::default(),
            frame: Frame::PLAIN,
            sign_in_address: String::new(),
            api: true,
            query: String::new(),
            tag: None,
            known_tags: None,
            storage: crate::store::db::health::Health::default(),
        }
    }

    fn of_size(bytes: usize, held: OwnedSemaphorePermit) -> StoredResponse {
        StoredResponse {
            status: StatusCode::OK,
            body: Bytes::from(vec![b'x'; bytes]),
            held: Some(held),
            ..StoredResponse::failure()
        }
    }

    #[tokio::test]
    async fn answers_take_so_much_memory_and_no_more_until_they_are_read() {
        let answers = ResponseCache::holding(300, 2);
        let one = Arc::new(of_size(200_000, answers.hold(200_000).await.unwrap()));
        let asked = cache_key(
            (1, 2),
            &Viewer::Operator,
            &TestRequest::with_uri("/").to_srv_request(),
        )
        .unwrap();
        answers.kept.insert(asked.clone(), Arc::clone(&one)).await;
        let reading = answers.response(&one, None, &asks());
        drop(one);
        assert!(answers.hold(200_000).await.is_err(), "somebody reads it");
        drop(reading);
        assert!(
            answers.hold(200_000).await.is_ok(),
            "what is only kept is let go"
        );
        assert!(!answers.kept.contains_key(&asked));
    }

    #[tokio::test]
    async fn so_many_read_large_answers_at_once() {
        let answers = ResponseCache::holding(1000, 2);
        let large = Arc::new(of_size(LARGE + 1, answers.hold(LARGE).await.unwrap()));
        let small = Arc::new(of_size(LARGE, answers.hold(LARGE).await.unwrap()));
        let first = answers.response(&large, None, &asks());
        let second = answers.response(&large, None, &asks());
        let third = answers.response(&large, None, &asks());
        assert_eq!(
            [first.status(), second.status(), third.status()].map(|status| status.as_u16()),
            [200, 200, 503]
        );
        assert!(third.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(answers.response(&small, None, &asks()).status(), 200);
        drop(first);
        assert_eq!(answers.response(&large, None, &asks()).status(), 200);
        // The complete body arrives, slice by slice.
        let read = to_bytes(second.into_body()).await.unwrap();
        assert_eq!(read, large.body);
    }

    #[tokio::test]
    async fn those_who_ask_at_once_have_one_answer_and_never_one_from_before_a_change() {
        let (answers, owner) = (ResponseCache::default(), owner());
        let generation = std::cell::Cell::new(1);
        let asked = |generation| {
            cache_key(
                (generation, 2),
                &Viewer::Operator,
                &TestRequest::with_uri("/").to_srv_request(),
            )
            .unwrap()
        };

        let count = std::cell::Cell::new(0);
        let make = || async {
            count.set(count.get() + 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(of_size(count.get(), answers.hold(1).await?))
        };

        let at = || (generation.get(), 2);
        let ask = |generation| answers.answer(asked(generation), &owner, at, make());
        let (one, other) = tokio::join!(ask(1), ask(1));
        assert_eq!((one.unwrap().body.len(), other.unwrap().body.len()), (1, 1));
        generation.set(5);
        let (old, new) = tokio::join!(ask(3), ask(5));
        assert_eq!(
            (old.unwrap().body.len(), new.unwrap().body.len()),
            (2, 2),
            "made once for all changes so far"
        );
        generation.set(6);
        assert_eq!(ask(6).await.unwrap().body.len(), 3);
    }

    #[tokio::test]
    async fn a_failure_is_for_those_who_waited_for_it() {
        let (answers, owner) = (ResponseCache::default(), owner());
        let asked = || {
            cache_key(
                (1, 2),
                &Viewer::Operator,
                &TestRequest::with_uri("/").to_srv_request(),
            )
            .unwrap()
        };
        let fail = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(StoredResponse::failure())
        };

        let well = || async { Ok(of_size(1, answers.hold(1).await?)) };
        let (one, other) = tokio::join!(
            answers.answer(asked(), &owner, || (1, 2), fail()),
            answers.answer(asked(), &owner, || (1, 2), well())
        );
        assert_eq!(
            (one.unwrap().status.as_u16(), other.unwrap().status.as_u16()),
            (500, 500)
        );
        let later = answers
            .answer(asked(), &owner, || (1, 2), well())
            .await
            .unwrap();
        assert_eq!(later.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn slow_answers_to_one_viewer_keep_no_other_waiting() {
        let answers = ResponseCache::default();
        let key = |viewer: &Viewer, number: usize| {
            let address = format!("/statistics?n={number}");
            let request = TestRequest::with_uri(&address).to_srv_request();
            cache_key((1, 2), viewer, &request).unwrap()
        };
        let viewer_of = |name: &str| Viewer::Account {
            user_id: format!("@{name}:example.org"),
        };
        let request = TestRequest::default().to_http_request();
        let (slow, other) = (viewer_of("slow"), viewer_of("other"));
        let owner_of_slow = TurnOwner::of_request(&request, &slow);
        let never = (0..20).map(|number| {
            let make = std::future::pending();
            answers.answer(key(&slow, number), &owner_of_slow, || (1, 2), make)
        });
        let mut never = Box::pin(futures_util::future::join_all(never));
        let asks = futures_util::FutureExt::now_or_never(&mut never);
        assert!(asks.is_none(), "they are being made");

        let owner = TurnOwner::of_request(&request, &other);
        let make = async { Ok(StoredResponse::failure()) };
        let answer = answers.answer(key(&other, 0), &owner, || (1, 2), make);
        let answer = timeout(Duration::from_secs(5), answer).await;
        assert!(answer.is_ok_and(|answer| answer.is_ok()));
    }
}
