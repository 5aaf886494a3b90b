//! The server: starts it, and handles a request: log, fault, account, endpoint, answer.

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer, web};
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

use super::exchange::{Answer, ApiRequest};
use super::ledger::Ledger;
use super::{Homeserver, Inner, endpoints, faults, lock_ignoring_poison, wall_clock};

impl Homeserver {
    /// Starts a server called `sim.example` on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(port: u16) -> io::Result<Self> {
        Self::start_as("sim.example", port, 1).await
    }

    /// Starts a server of this name. Ids come from the seed: the same calls make the same ids.
    ///
    /// # Errors
    /// When the port cannot be bound.
    #[allow(clippy::unused_async)] // Needs a running tokio runtime: `async` says so.
    pub async fn start_as(server_name: &str, port: u16, seed: u64) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        let hs = Self {
            inner: Arc::new(Inner {
                url: format!("http://{}", listener.local_addr()?),
                ledger: Mutex::new(Ledger::new(server_name.to_owned(), seed)),
                news: watch::Sender::new(0),
                clock: Mutex::new(Box::new(wall_clock)),
                faults: Mutex::default(),
                odd: Mutex::default(),
                are_held: watch::Sender::new(false),
                requests: Mutex::default(),
                server: Mutex::default(),
            }),
        };

        let shared = web::Data::new(hs.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(10_000_000))
                .default_service(web::to(handle_request))
        })
        .on_connect(|connection, data| {
            if let Some(socket) = faults::hold_socket(connection) {
                data.insert(socket);
            }
        })
        .workers(2)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
        *lock_ignoring_poison(&hs.inner.server) = Some(server.handle());
        tokio::spawn(server);

        Ok(hs)
    }
}

/// Answers any request: notes it, waits while requests are held, performs a fault if one waits for it, or asks its endpoint.
async fn handle_request(
    request: HttpRequest,
    body: web::Bytes,
    hs: web::Data<Homeserver>,
) -> HttpResponse {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    hs.note_request(request.method().as_str(), target);
    hs.wait_while_held().await;
    let fault = hs.take_fault(target);
    let call = ApiRequest::read(&request, body);

    match fault {
        Some(kind) if faults::needs_answer(&kind) => {
            let right = endpoints::route_request(&hs, &call)
                .await
                .unwrap_or(Value::Null);
            faults::perform_fault(kind, &request, &right).await
        }
        Some(kind) => faults::perform_fault(kind, &request, &Value::Null).await,
        None => to_http_response(endpoints::route_request(&hs, &call).await),
    }
}

/// The body, or the error with its status.
fn to_http_response(answer: Answer) -> HttpResponse {
    match answer {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status);
            HttpResponseBuilder::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
                .json(refusal.body())
        }
    }
}
