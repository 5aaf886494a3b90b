//! Answers kept for a second: however many ask, each page is made once for each change and each second. While the one
//! of a new second is made, and nothing has changed, all but the first to ask have that of the second before: it is
//! as old as a second and the time of this making.

use super::Web;
use super::{fresh, host};
use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Its own second, and the next while a new one is made.
const KEPT: Duration = Duration::from_secs(2);
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Longer questions are answered, but not kept.
const ASKED_MAX: usize = 1024;

/// What an answer belongs to. A change or another second makes it a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    generation: u64,
    second: i64,
    encodings: String,
    /// Feeds say where they are.
    base: String,
    address: String,
}

/// A whole answer.
#[derive(Debug)]
struct Stored {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Is somebody making the one of the next second?
    is_renewed: AtomicBool,
}

/// The answers of the last seconds.
#[derive(Debug, Clone)]
pub struct Answers(Cache<Key, Arc<Stored>>);

impl Default for Answers {
    fn default() -> Self {
        let weigh = |key: &Key, answer: &Arc<Stored>| {
            u32::try_from(answer.body.len() + key.address.len() + 1024).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(BYTES_MAX)
                .weigher(weigh)
                .time_to_live(KEPT)
                .build(),
        )
    }
}

/// The turn of the one who makes the answer of a new second. If it ends without one, the next to ask has it.
struct Renewal(Arc<Stored>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.is_renewed.store(false, Ordering::Relaxed);
    }
}

enum Turn {
    /// Somebody else makes the new one: the one of the second before.
    Before(Arc<Stored>),
    /// Ask for it, or make it.
    New(Option<Renewal>),
}

impl Answers {
    async fn turn(&self, key: &Key) -> Turn {
        if self.0.contains_key(key) {
            return Turn::New(None);
        }
        let Some(before) = self
            .0
            .get(&Key {
                second: key.second - 1,
                ..key.clone()
            })
            .await
        else {
            return Turn::New(None);
        };
        if before.is_renewed.swap(true, Ordering::Relaxed) {
            Turn::Before(before)
        } else {
            Turn::New(Some(Renewal(before)))
        }
    }
}

/// Answers from what is kept, or makes the answer and keeps it. Those who ask the same at the same time wait for one.
///
/// # Errors
/// What the inner service fails with.
pub async fn keep(
    answers: Answers,
    web: Data<Web>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let at = (web.changes.generation(), web.clock.now_ms() / 1000);
    let Some(key) = key(at, &req) else {
        return Ok(next.call(req).await?.map_into_boxed_body());
    };
    // What is kept is the whole answer; whether the asker has it already is told afterwards.
    let known = fresh::known(req.request());
    req.headers_mut().remove(header::IF_NONE_MATCH);
    let _renewal = match answers.turn(&key).await {
        Turn::Before(before) => return Ok(req.into_response(before.response(known.as_deref()))),
        Turn::New(renewal) => renewal,
    };
    let mut asked = Some(req);
    let mut answered: Option<HttpRequest> = None;
    let make = async {
        let Some(req) = asked.take() else {
            return Err(Stored::failure());
        };
        let (request, stored) = whole(next.call(req).await).await;
        answered = request;
        // Failures are not kept, but those who wait for this answer have it, too.
        if stored.status.is_server_error() {
            Err(stored)
        } else {
            Ok(Arc::new(stored))
        }
    };
    let stored = match answers.0.try_get_with(key, make).await {
        Ok(stored) => stored,
        Err(failed) => failed,
    };
    let response = stored.response(known.as_deref());
    match (asked, answered) {
        (Some(req), _) => Ok(req.into_response(response)),
        (None, Some(request)) => Ok(ServiceResponse::new(request, response)),
        (None, None) => Err(actix_web::error::ErrorInternalServerError(
            "the answer was lost",
        )),
    }
}

/// What the answer belongs to; `None` where it is not kept: streams, files, and questions of unusual size.
fn key((generation, second): (u64, i64), req: &ServiceRequest) -> Option<Key> {
    let path = req.path();
    let streams = matches!(
        path,
        "/api/v1/live" | "/api/v1/calls.csv" | "/api/v1/calls.ndjson"
    );
    let own = ["/static/", "/api/docs/"]
        .iter()
        .any(|start| path.starts_with(start));
    let alive = matches!(path, "/healthz" | "/readyz" | "/metrics");
    let address = req.uri().path_and_query()?.as_str();
    let encodings = req
        .headers()
        .get(header::ACCEPT_ENCODING)
        .map_or(Ok(""), |value| value.to_str())
        .ok()?;
    if req.method() != Method::GET
        || streams
        || own
        || alive
        || address.len() + encodings.len() > ASKED_MAX
    {
        return None;
    }
    let base = host::base(req.headers());
    if base.len() > ASKED_MAX {
        return None;
    }
    Some(Key {
        generation,
        second,
        encodings: encodings.to_owned(),
        base,
        address: address.to_owned(),
    })
}

/// An answer, read to its end, and the question that it was to.
async fn whole(
    answer: Result<ServiceResponse<impl MessageBody + 'static>, actix_web::Error>,
) -> (Option<HttpRequest>, Stored) {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return (None, Stored::of(error.error_response()).await),
    };
    let (request, response) = response.into_parts();
    (
        Some(request),
        Stored::of(response.map_into_boxed_body()).await,
    )
}

impl Stored {
    fn failure() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            is_renewed: AtomicBool::new(false),
        }
    }

    async fn of(response: HttpResponse) -> Self {
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
        }
    }

    /// The answer to one who knows these tags.
    fn response(&self, known: Option<&str>) -> HttpResponse {
        let tag = self
            .headers
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        let is_known =
            self.status == StatusCode::OK && tag.is_some_and(|tag| fresh::is_known(tag, known));
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
        if is_known {
            response
        } else {
            response.set_body(BoxBody::new(self.body.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn of(address: &str, header: (&str, &str)) -> Option<Key> {
        key(
            (1, 2),
            &TestRequest::with_uri(address)
                .insert_header(header)
                .to_srv_request(),
        )
    }

    #[test]
    fn an_answer_is_for_its_address_encoding_and_host() {
        let plain = ("host", "a.example");
        let one = of("/feed/calls.atom?limit=1", plain);
        assert!(one.is_some() && one == of("/feed/calls.atom?limit=1", plain));
        assert_ne!(one, of("/feed/calls.atom?limit=2", plain));
        assert_ne!(
            of("/", ("accept-encoding", "gzip")),
            of("/", ("accept-encoding", "br"))
        );
        assert_ne!(
            one,
            of("/feed/calls.atom?limit=1", ("host", "b.example")),
            "a feed says where it is"
        );
        assert_ne!(
            one,
            of("/feed/calls.atom?limit=1", ("x-forwarded-proto", "https"))
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
            assert_eq!(of(address, ("host", "a")), None, "{address}");
        }
        assert_eq!(
            of(
                &format!("/calls?q={}", "a".repeat(ASKED_MAX)),
                ("host", "a")
            ),
            None
        );
    }

    #[tokio::test]
    async fn one_makes_the_answer_of_a_new_second_and_the_others_have_the_one_before() {
        let answers = Answers::default();
        let key = |generation, second| {
            key(
                (generation, second),
                &TestRequest::with_uri("/").to_srv_request(),
            )
            .expect("an answer that is kept")
        };
        answers
            .0
            .insert(key(1, 2), Arc::new(Stored::failure()))
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
            gets_it.push(matches!(turns.last(), Some(Turn::Before(_))));
        }
        assert_eq!(
            gets_it,
            [false, false, false, true, false, true],
            "never after a change, never of two seconds ago"
        );
        turns.clear();
        let again = answers.turn(&key(1, 3)).await;
        assert!(
            matches!(again, Turn::New(Some(_))),
            "who had the turn made nothing: the next one has it"
        );
        answers
            .0
            .insert(key(1, 3), Arc::new(Stored::failure()))
            .await;
        assert!(
            matches!(answers.turn(&key(1, 3)).await, Turn::New(None)),
            "the new one is there"
        );
    }
}
