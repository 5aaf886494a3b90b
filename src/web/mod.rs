//! Pages for people and JSON for programs, from the same facts; reads the store and never writes
//! it.

#[cfg(test)]
mod fixtures;
pub mod http;
mod outputs;
pub mod pages;
pub mod svg;
pub mod view;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::store::Reader;
use crate::store::model::Totals;
use crate::web::http::cost_cache::{Kept, Shared};
use crate::web::http::response_cache::Answers;
use crate::web::pages::room_at;
use actix_web::dev::Server;
use actix_web::middleware::{Compress, DefaultHeaders, from_fn};
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{App, FromRequest, Handler, HttpServer, Resource, Responder};
use pages::{
    about, call, calls, docs, overview, rejected, room, rooms, server, servers, statistics, status,
    transports, wall,
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Scripts and styles come from here only; nothing is fetched from or sent to anybody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Seconds that open streams are given when the process ends.
const SHUTDOWN_S: u64 = 1;

/// The data that pages need.
#[derive(Debug, Clone)]
pub struct Web {
    pub store: Reader,
    pub changes: Changes,
    pub clock: Clock,
    /// Our public URL. Without it, addresses in JSON are relative. Its host is one of the accepted
    /// names.
    pub public_url: Option<String>,
    pub options: Options,
    pub memory: Memory,
}

/// Caches and limits shared by all requests. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct Memory {
    running: Arc<Shared<pages::Running>>,
    days: Arc<Kept<overview::Day>>,
    streams: outputs::live::Streams,
    /// One permit per file export in progress.
    exports: Arc<Semaphore>,
    /// Only one request for metrics at a time, because the readiness check uses the same
    /// connection.
    metrics: Arc<Semaphore>,
}

/// Maximum number of simultaneous file exports: a slow reader holds one page of a file in memory
/// all that time.
const EXPORTS_MOST: usize = 16;

impl Default for Memory {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            days: Arc::default(),
            streams: outputs::live::Streams::at_most(http::connections::streams()),
            exports: Arc::new(Semaphore::new(EXPORTS_MOST)),
            metrics: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Options that the operator can switch on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Origins whose web pages may read the API from within a browser; `*` is all of them.
    pub cors_origins: Vec<String>,
    /// Metrics have rooms as labels.
    pub metrics_room_labels: bool,
    /// Other servers and SFUs are probed for readiness.
    pub probing: bool,
}

impl Web {
    /// The state of the data that an answer of now shows.
    fn stamp(&self) -> http::cost_cache::Stamp {
        http::cost_cache::Stamp {
            generation: self.changes.generation(),
            second: self.clock.now_ms().div_euclid(1000),
        }
    }

    /// The same with a database connection for expensive queries.
    #[must_use]
    pub fn for_dear_questions(&self) -> Self {
        Self {
            store: self.store.for_dear_questions(),
            ..self.clone()
        }
    }

    /// A path as a public address.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!(
            "{}{path}",
            self.public_url
                .as_deref()
                .unwrap_or_default()
                .trim_end_matches('/')
        )
    }
}

/// Serves on a bound socket until the returned server is stopped; it must be polled (spawned) to
/// run.
///
/// # Errors
/// The socket cannot be used.
pub fn serve(listener: std::net::TcpListener, web: Web) -> std::io::Result<Server> {
    serve_with(listener, web, |_| ())
}

/// [`serve`] with more addresses.
///
/// # Errors
/// The socket cannot be used.
pub fn serve_with(
    listener: std::net::TcpListener,
    web: Web,
    more: fn(&mut ServiceConfig),
) -> std::io::Result<Server> {
    let hosts = http::host::Hosts::new(listener.local_addr()?, web.public_url.as_deref());
    let dear = Data::new(web.for_dear_questions());
    let watched = Data::new(Web {
        store: web.store.for_watchers(),
        ..web.clone()
    });
    let web = Data::new(web);
    let kept = (
        Data::new(Kept::<statistics::Statistics>::default()),
        Data::new(Kept::<servers::Servers>::default()),
        Data::new(Kept::<server::Past>::default()),
        Data::new(Kept::<transports::Transports>::default()),
        Data::new(Kept::<Totals>::default()),
    );
    let answers = Answers::default();
    let connections = http::connections::of_worker(workers());
    let app = move || {
        let headers = DefaultHeaders::new()
            .add(("content-security-policy", POLICY))
            .add(("x-content-type-options", "nosniff"))
            .add(("referrer-policy", "same-origin"))
            .add(("cross-origin-opener-policy", "same-origin"));
        let (hosts, known) = (hosts.clone(), web.clone());
        let guard =
            from_fn(move |req, next| http::host::guard(hosts.clone(), known.clone(), req, next));
        let open = web.clone();
        let paths = web.clone();
        let path = from_fn(move |req, next| http::path::guard(paths.clone(), req, next));
        let cors = from_fn(move |req, next| http::cors::allow(open.clone(), req, next));
        let app = App::new()
            .app_data(web.clone())
            .app_data(kept.0.clone())
            .app_data(kept.1.clone());
        let app = app
            .app_data(kept.2.clone())
            .app_data(kept.3.clone())
            .app_data(kept.4.clone());
        let (answers, asked) = (answers.clone(), web.clone());
        let keep = from_fn(move |req, next| {
            http::response_cache::keep(answers.clone(), asked.clone(), req, next)
        });
        // The first wrapper is the innermost: a cached answer is already compressed, but origin and
        // host are checked for each request.
        let app = app
            .wrap(Compress::default())
            .wrap(keep)
            .wrap(path)
            .wrap(cors)
            .wrap(guard)
            .wrap(headers);
        let (dear, watched) = (dear.clone(), watched.clone());
        app.configure(more)
            .configure(move |config| routes(config, &dear, &watched))
    };

    Ok(HttpServer::new(app)
        .workers(workers())
        .max_connections(connections)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_S)
        .listen(listener)?
        .run())
}

/// The number of worker threads.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// All addresses. Expensive queries and health checks use connections of their own. So they neither
/// wait for the pages nor delay them.
fn routes(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    for_programs(config, dear, watched);
    api(config, dear);
    config
        .service(at("/", overview::get))
        .service(at("/calls", calls::get))
        .service(at("/calls/{id:.+}", call::get))
        .service(at("/rooms", rooms::get))
        .service(at("/rooms/{id:.+}", room::get))
        .service(at("/servers", servers::get).app_data(dear.clone()))
        .service(at("/servers/{name}", server::get).app_data(dear.clone()))
        .service(at("/transports", transports::get).app_data(dear.clone()))
        .service(at("/statistics", statistics::get).app_data(dear.clone()))
        .service(at("/stats", statistics::moved))
        .service(at("/wall", wall::get))
        .service(at("/status", status::get))
        .service(at("/rejected", rejected::get).app_data(dear.clone()))
        .service(at("/about", about::get))
        .service(
            actix::resource("/api/v1/live")
                .route(actix::get().to(outputs::live::get))
                .default_service(actix::to(http::response::only_get)),
        )
        .service(at("/healthz", outputs::health::alive))
        .service(at("/readyz", outputs::health::ready).app_data(watched.clone()))
        .service(at("/static/{name}", http::assets::get))
        .default_service(actix::to(http::response::unknown));
}

/// The API: the pages as JSON, and everything else below it.
fn api(config: &mut ServiceConfig, dear: &Data<Web>) {
    config
        .service(at("/api/v1/overview", overview::get))
        .service(at("/api/v1/calls", calls::get))
        .service(at("/api/v1/calls/active", calls::active))
        .service(at("/api/v1/calls.csv", outputs::export::csv).app_data(dear.clone()))
        .service(at("/api/v1/calls.ndjson", outputs::export::ndjson).app_data(dear.clone()))
        .service(at("/api/v1/calls/{id:.+}", call::get))
        .service(at("/api/v1/rooms", rooms::get))
        .service(at("/api/v1/rooms.csv", outputs::table::rooms))
        .service(at("/api/v1/rooms.ndjson", outputs::table::rooms))
        .service(at("/api/v1/rooms/{id:.+}/members", room_at::members))
        .service(at("/api/v1/rooms/{id:.+}/flips", room_at::flips).app_data(dear.clone()))
        .service(at("/api/v1/rooms/{id:.+}", room::get))
        .service(at("/api/v1/servers", servers::get).app_data(dear.clone()))
        .service(at("/api/v1/servers.csv", outputs::table::servers).app_data(dear.clone()))
        .service(at("/api/v1/servers.ndjson", outputs::table::servers).app_data(dear.clone()))
        .service(at("/api/v1/servers/{name}", server::get).app_data(dear.clone()))
        .service(at("/api/v1/transports", transports::get).app_data(dear.clone()))
        .service(at("/api/v1/transports.csv", outputs::table::transports).app_data(dear.clone()))
        .service(at("/api/v1/transports.ndjson", outputs::table::transports).app_data(dear.clone()))
        .service(at("/api/v1/statistics", statistics::get).app_data(dear.clone()))
        .service(at("/api/v1/wall", wall::get))
        .service(at("/api/v1/status", status::get))
        .service(at("/api/v1/rejected", rejected::get).app_data(dear.clone()))
        .service(at("/api/v1/about", about::get))
        .service(at("/api/v1/openapi.json", docs::document))
        .service(at("/api/docs", docs::get))
        .service(at("/api/docs/{name}", docs::shape));
}

/// Addresses that are neither a page nor its JSON.
fn for_programs(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    config
        .service(at("/metrics", outputs::metrics::get).app_data(watched.clone()))
        .service(at(
            "/badge/rooms/{id:.+}/active.svg",
            outputs::badge::room_svg,
        ))
        .service(at(
            "/badge/rooms/{id:.+}/active.json",
            outputs::badge::room_json,
        ))
        .service(at(
            "/badge/servers/{name}/active.svg",
            outputs::badge::server_svg,
        ))
        .service(at(
            "/badge/servers/{name}/active.json",
            outputs::badge::server_json,
        ))
        .service(at("/feed/calls.atom", outputs::feed::all_atom).app_data(dear.clone()))
        .service(at("/feed/calls.ics", outputs::feed::all_ics).app_data(dear.clone()))
        .service(
            at("/feed/rooms/{id:.+}/calls.atom", outputs::feed::room_atom).app_data(dear.clone()),
        )
        .service(
            at("/feed/rooms/{id:.+}/calls.ics", outputs::feed::room_ics).app_data(dear.clone()),
        )
        .service(at("/embed/rooms/{id:.+}", outputs::embed::room));
}

/// An address that answers GET and HEAD.
fn at<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    actix::resource(path)
        .route(actix::get().to(handler.clone()))
        .route(actix::head().to(handler))
        .default_service(actix::to(http::response::not_allowed))
}
