//! Faults to inject: failures of a homeserver, its proxy or the network as a client sees them.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream;
use serde_json::{Value, json};

/// A fault for the next requests whose path (with query) contains a text.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Part of path and query; empty means every request.
    pub path_contains: String,
    /// How many requests it affects; `u32::MAX` = until `clear_faults`.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

impl Fault {
    /// A fault that happens once.
    #[must_use]
    pub fn once(path_contains: &str, kind: FaultKind) -> Self {
        Self::times(path_contains, 1, kind)
    }

    /// A fault that happens this many times.
    #[must_use]
    pub fn times(path_contains: &str, times: u32, kind: FaultKind) -> Self {
        Self {
            path_contains: path_contains.to_owned(),
            times,
            kind,
        }
    }

    /// A fault that lasts until `clear_faults`.
    #[must_use]
    pub fn lasting(path_contains: &str, kind: FaultKind) -> Self {
        Self::times(path_contains, u32::MAX, kind)
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// This status with this JSON body.
    Status(u16, Value),
    /// 429 `M_LIMIT_EXCEEDED`; with `header` also `Retry-After` (whole seconds, rounded up).
    RateLimited {
        /// Milliseconds to wait, in the body.
        retry_after_ms: u64,
        /// Whether the header is there too.
        header: bool,
    },
    /// Accepts the request, does not answer for this time, then closes.
    Hang(Duration),
    /// The correct headers and half of the correct body, then closed.
    Truncated,
    /// 200 with an HTML page, as a proxy in front sends it.
    Html,
    /// 200 with `{}`.
    EmptyObject,
    /// 200 with a JSON content type, but no valid JSON.
    BadJson,
    /// 200 with that many bytes of well-formed JSON, chunked; not held in memory.
    Huge(u64),
    /// A `Content-Length` of half the body that follows.
    WrongLength,
    /// The correct answer, after this time.
    Slow(Duration),
    /// A redirect to this address.
    Redirect(String),
    /// Closes at once.
    Drop,
    /// 400 "Invalid stream token": the server does not know the position any more.
    UnknownPos,
}

/// The socket of a connection, beside the one the server itself holds.
pub(super) type SocketHandle = Arc<TcpStream>;

/// A second handle of the connection's socket, so that a fault can write to it or close it while
/// the server uses it.
pub(super) fn hold_socket(connection: &dyn std::any::Any) -> Option<SocketHandle> {
    use std::os::fd::AsFd;
    let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>()?;
    let held = stream.as_fd().try_clone_to_owned().ok()?;
    Some(Arc::new(TcpStream::from(held)))
}

/// Does this fault need the answer that would have been given?
pub(super) fn needs_answer(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Truncated | FaultKind::WrongLength | FaultKind::Slow(_)
    )
}

/// Performs a fault and returns the answer, if the connection is still open; `right` is the correct
/// one, for faults that need it.
pub(super) async fn perform_fault(
    kind: FaultKind,
    request: &HttpRequest,
    right: &Value,
) -> HttpResponse {
    let body = right.to_string();
    match kind {
        FaultKind::Status(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            HttpResponseBuilder::new(status).json(body)
        }
        FaultKind::RateLimited {
            retry_after_ms,
            header,
        } => rate_limited_response(retry_after_ms, header),
        FaultKind::Hang(time) => {
            tokio::time::sleep(time).await;
            close_connection(request)
        }
        FaultKind::Slow(time) => {
            tokio::time::sleep(time).await;
            HttpResponse::Ok().json(right)
        }
        FaultKind::Redirect(to) => HttpResponse::TemporaryRedirect()
            .insert_header(("Location", to))
            .finish(),
        FaultKind::Truncated => {
            write_response(request, body.len(), first_half(&body)).await;
            close_connection(request)
        }
        FaultKind::WrongLength => {
            write_response(request, first_half(&body).len(), &body).await;
            close_connection(request)
        }
        FaultKind::Html => HttpResponse::Ok()
            .content_type("text/html")
            .body("<!doctype html><title>Welcome</title><h1>It works!</h1>"),
        FaultKind::EmptyObject => HttpResponse::Ok().json(json!({})),
        FaultKind::BadJson => HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"next_batch": "s1_1", "rooms": {"join": ["#),
        FaultKind::Huge(bytes) => huge_response(bytes),
        FaultKind::Drop => close_connection(request),
        FaultKind::UnknownPos => HttpResponse::BadRequest()
            .json(json!({"errcode": "M_UNKNOWN", "error": "Invalid stream token"})),
    }
}

/// A 429 that asks to wait this long, ms; with `header` also in `Retry-After`, in whole seconds.
fn rate_limited_response(retry_after_ms: u64, header: bool) -> HttpResponse {
    let mut response = HttpResponse::TooManyRequests();
    if header {
        let seconds = retry_after_ms.div_ceil(1000);
        response.insert_header(("Retry-After", seconds.to_string()));
    }

    response.json(
        json!({"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests",
                         "retry_after_ms": retry_after_ms}),
    )
}

/// About the first half of the text, without cutting a character.
fn first_half(body: &str) -> &str {
    let mut middle = body.len() / 2;
    while !body.is_char_boundary(middle) {
        middle += 1;
    }

    &body[..middle]
}

/// Writes an answer directly to the socket. `length` is the length that it states, right or not.
async fn write_response(request: &HttpRequest, length: usize, body: &str) {
    let Some(socket) = request.conn_data::<SocketHandle>() else {
        return;
    };

    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let whole = [head.as_bytes(), body.as_bytes()].concat();
    let mut rest = whole.as_slice();

    while !rest.is_empty() {
        match (&**socket).write(rest) {
            Ok(0) => return,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(_) => return,
        }
    }
}

/// Closes the connection. Nothing of the answer that it returns arrives.
fn close_connection(request: &HttpRequest) -> HttpResponse {
    if let Some(socket) = request.conn_data::<SocketHandle>() {
        // An error means that the other side has already closed it, which is fine.
        let _ = socket.shutdown(Shutdown::Both);
    }

    HttpResponse::ServiceUnavailable().force_close().finish()
}

/// An answer with about `bytes` bytes of valid JSON, sent in pieces.
fn huge_response(bytes: u64) -> HttpResponse {
    const HEAD: &[u8] = br#"{"next_batch":"s1_1","padding":["#;
    const TAIL: &[u8] = br#""x"]}"#;
    // Each piece consists of complete list items, so that the text is valid JSON at any length.
    let piece = Bytes::from(format!("\"{}\",", "x".repeat(65_533)));
    let step = piece.len() as u64;
    let pieces = bytes / step;
    let head = stream::iter([Ok(Bytes::from_static(HEAD))]);
    let middle = stream::unfold(0_u64, move |sent| {
        let piece = piece.clone();
        async move { (sent < pieces).then(|| (Ok::<_, std::io::Error>(piece), sent + 1)) }
    });
    let tail = stream::iter([Ok(Bytes::from_static(TAIL))]);
    let body = futures_util::StreamExt::chain(head, middle);
    let body = futures_util::StreamExt::chain(body, tail);

    HttpResponse::Ok()
        .content_type("application/json")
        .streaming(body)
}
