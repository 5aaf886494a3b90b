//! Pages for people and JSON for programs, from the same facts; reads the store, and writes only
//! who signed in.

#[cfg(test)]
mod fixtures;
pub mod http;
mod outputs;
pub mod pages;
pub mod routes;
pub mod sign_in;
pub mod svg;
pub mod upgrading;
pub mod view;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::rtc::alert::AlertRule;
use crate::store::Reader;
use crate::store::model::Totals;
use crate::store::visible::VisibilityPolicy;
use crate::web::http::address_slots::AddressSlots;
use crate::web::http::base_path::BasePath;
use crate::web::http::cost_cache::{CostCache, SharedValue};
use crate::web::http::fair_turns::FairTurns;
use crate::web::http::rate_limit::RateLimit;
use crate::web::http::response_cache::ResponseCache;
use crate::web::sign_in::access::Access;
use actix_web::dev::Server;
use actix_web::middleware::{Compress, DefaultHeaders, from_fn};
use actix_web::web::{Data, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};
use pages::{census, overview, server, servers, statistics, transport, transports};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Scripts and styles come from here only; nothing is fetched from or sent to anybody else.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors \
                      'none'";

/// Browsers that reached us by TLS once use nothing else for a year.
const TLS_ONLY: &str = "max-age=31536000";

/// Seconds that open streams are given when the process ends.
const SHUTDOWN_S: u64 = 1;

/// Maximum time that the totals of the status page are kept. They are shown without the time at
/// which they were counted, so they must not be old.
const TOTALS_LONGEST: Duration = Duration::from_secs(10);

/// The data that pages need.
#[derive(Debug, Clone)]
pub struct Web {
    pub store: Reader,
    pub changes: Changes,
    pub clock: Clock,
    /// Our public URL. Without it, addresses in JSON are relative. Its host is one of the accepted
    /// names.
    pub public_url: Option<String>,
    /// Who may come in.
    pub access: Access,
    pub options: Options,
    pub memory: SharedMemory,
}

/// Caches and limits shared by all requests. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct SharedMemory {
    running: Arc<SharedValue<pages::RunningCalls>>,
    days: Arc<CostCache<overview::DayCounts>>,
    streams: AddressSlots,
    /// The requests of each address; `None` if they are not limited.
    rate_limit: Option<RateLimit>,
    /// One turn per file export in progress.
    exports: FairTurns,
    /// Only one request for metrics at a time, because the readiness check uses the same
    /// connection.
    metrics: Arc<Semaphore>,
}

/// Maximum number of simultaneous file exports, and of those for one viewer: a slow reader holds
/// one page of a file in memory all that time.
const EXPORTS_MOST: usize = 16;
const EXPORTS_OF_VIEWER: usize = 4;

impl Default for SharedMemory {
    fn default() -> Self {
        Self {
            running: Arc::default(),
            days: Arc::default(),
            streams: AddressSlots::at_most(
                outputs::live::STREAMS_OF_ADDRESS,
                http::connections::max_live_streams(),
            ),
            rate_limit: None,
            exports: FairTurns::at_most(EXPORTS_OF_VIEWER, EXPORTS_MOST),
            metrics: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Options that the operator can switch on.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// All calls are made up, and each page says so.
    pub is_made_up: bool,
    /// The addresses of further names under which people reach us, as `https://calls.example.net`.
    pub public_names: Vec<String>,
    /// Origins whose web pages may read the API from within a browser; `*` is all of them.
    pub cors_origins: Vec<String>,
    /// Metrics have rooms as labels.
    pub metrics_room_labels: bool,
    /// Other servers and SFUs are probed for readiness.
    pub probing: bool,
    /// Our own homeserver is checked, from its name to its SFU.
    pub checks_own_server: bool,
    /// Whoever writes to the account that they opt out is forgotten.
    pub hears_opt_outs: bool,
    /// What is kept, and for how long.
    pub kept: KeptTimes,
    /// Which rooms are visible to whom.
    pub visibility: VisibilityPolicy,
    /// A call whose people are back in the next one within this time broke, ms.
    pub rejoin_grace_ms: i64,
    pub alerts: AlertOptions,
}

/// The alerts of the configuration, and where a test of a rule is asked for.
#[derive(Debug, Clone, Default)]
pub struct AlertOptions {
    pub rules: Vec<AlertRule>,
    pub channels: Vec<ChannelFacts>,
    /// Takes the name of a rule.
    pub tests: Option<mpsc::Sender<String>>,
}

/// A channel of the configuration, without its address and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelFacts {
    pub name: String,
    /// Its type, such as `webhook`.
    pub kind: &'static str,
    pub is_ping: bool,
    pub is_operator: bool,
    /// The rooms of which it may hear.
    pub rooms: Vec<String>,
}

/// What is kept, and for how long, as the operator configured it.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeptTimes {
    /// How long raw events are kept, days; `None` = for ever.
    pub events_days: Option<u32>,
    /// How long calls are kept, days; `None` = for ever.
    pub calls_days: Option<u32>,
    /// What happened in a room before the account came is read.
    pub reads_history: bool,
    /// How far back it is read, days; `None` = to the beginning.
    pub history_days: Option<u32>,
}

impl SharedMemory {
    /// Limits each address to this many requests a second; `None` = no limit.
    #[must_use]
    pub fn with_rate_limit(requests_per_second: Option<NonZeroU32>) -> Self {
        Self {
            rate_limit: requests_per_second.map(RateLimit::per_second),
            ..Self::default()
        }
    }

    /// How many requests were refused since the start because their address asked too often.
    #[must_use]
    pub fn limited_requests(&self) -> u64 {
        self.rate_limit.as_ref().map_or(0, RateLimit::refused)
    }
}

impl Web {
    /// The key of an answer in a cache that all viewers share: viewers who may see other rooms have
    /// other answers.
    fn cache_key(&self, asked: &str) -> String {
        format!(
            "{} {} {asked}",
            self.store.rooms_number(),
            self.store.forgets_number()
        )
    }

    /// The state of the data that an answer made now shows.
    fn data_version(&self) -> http::cost_cache::DataVersion {
        http::cost_cache::DataVersion {
            generation: self.changes.generation(),
            second: self.clock.now_ms().div_euclid(1000),
        }
    }

    /// The same data, read through the connections for expensive queries.
    #[must_use]
    pub fn for_dear_questions(&self) -> Self {
        Self {
            store: self.store.for_dear_questions(),
            ..self.clone()
        }
    }

    /// The path as an address that others can follow. Without a public URL it stays a path.
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

/// Serves on a bound socket until the returned server is stopped. The server must be polled
/// (spawned) to run.
///
/// # Errors
/// The socket cannot be used.
pub fn serve(listener: std::net::TcpListener, web: Web) -> std::io::Result<Server> {
    serve_with(listener, web, |_| ())
}

/// Like [`serve`], with more addresses: `more` adds them.
///
/// # Errors
/// The socket cannot be used.
pub fn serve_with(
    listener: std::net::TcpListener,
    web: Web,
    more: fn(&mut ServiceConfig),
) -> std::io::Result<Server> {
    let public_url = web.public_url.as_deref().unwrap_or_default();
    let is_https = public_url.starts_with("https://");
    let base = BasePath::from_public_url(web.public_url.as_deref());
    let names = web.public_url.iter().chain(&web.options.public_names);
    let hosts = http::host::AllowedHosts::new(listener.local_addr()?, names);
    let dear = Data::new(web.for_dear_questions());
    let watched = Data::new(Web {
        store: web.store.for_watchers(),
        ..web.clone()
    });
    let access = web.access.clone();
    let web = Data::new(web);
    let kept = (
        Data::new(CostCache::<statistics::Statistics>::default()),
        Data::new(CostCache::<servers::Servers>::default()),
        Data::new(CostCache::<server::Past>::default()),
        Data::new(CostCache::<transports::Transports>::default()),
        Data::new(CostCache::<Totals>::kept_at_most(TOTALS_LONGEST)),
        Data::new(CostCache::<transport::SfuPast>::default()),
        Data::new(CostCache::<census::Census>::default()),
    );
    let shapes = Data::new(outputs::openapi::shapes::record_shapes().clone());
    let answers = ResponseCache::default();
    let connections = http::connections::max_connections_per_worker(worker_count());
    // This runs once on each thread that answers.
    let app = move || {
        http::worker_priority::lower_priority();
        let headers = DefaultHeaders::new()
            .add(("content-security-policy", PAGE_POLICY))
            .add(("x-content-type-options", "nosniff"))
            .add(("x-robots-tag", "noindex, nofollow"))
            .add(("referrer-policy", "same-origin"))
            .add(("cross-origin-opener-policy", "same-origin"));
        let headers = if is_https {
            headers.add(("strict-transport-security", TLS_ONLY))
        } else {
            headers
        };

        let outer = base.clone();
        let below =
            from_fn(move |req, next| http::base_path::serve_below_path(outer.clone(), req, next));
        let (hosts, known) = (hosts.clone(), web.clone());
        let guard = from_fn(move |req, next| {
            http::host::refuse_foreign_hosts(hosts.clone(), known.clone(), req, next)
        });
        let open = web.clone();
        let limited = web.clone();
        let flood =
            from_fn(move |req, next| http::rate_limit::refuse_floods(limited.clone(), req, next));
        let paths = web.clone();
        let path = from_fn(move |req, next| {
            http::path::refuse_control_characters(paths.clone(), req, next)
        });
        let cors = from_fn(move |req, next| http::cors::answer_with_cors(open.clone(), req, next));
        let entrance = web.clone();
        let gate = from_fn(move |req, next| http::gate::admit_askers(entrance.clone(), req, next));
        let app = App::new()
            .app_data(PayloadConfig::new(http::form::FORM_MAX))
            .app_data(web.clone())
            .app_data(Data::new(base.clone()))
            .app_data(kept.0.clone())
            .app_data(kept.1.clone());
        let app = app
            .app_data(kept.2.clone())
            .app_data(kept.3.clone())
            .app_data(kept.4.clone())
            .app_data(kept.5.clone())
            .app_data(kept.6.clone())
            .app_data(shapes.clone());
        let (answers, asked) = (answers.clone(), web.clone());
        let keep = from_fn(move |req, next| {
            http::response_cache::answer_from_cache(answers.clone(), asked.clone(), req, next)
        });
        let twins = web.clone();
        let json =
            from_fn(move |req, next| http::json_address::lead_to_json(twins.clone(), req, next));
        // The first wrapper is the innermost: a cached answer is already compressed, but origin,
        // host and who asks are checked for each request.
        let app = app
            .wrap(Compress::default())
            .wrap(json)
            .wrap(keep)
            .wrap(gate)
            .wrap(from_fn(http::trailing_slash::lead_to_plain_address))
            .wrap(flood)
            .wrap(path)
            .wrap(cors)
            .wrap(guard)
            .wrap(headers)
            .wrap(below);
        let (dear, watched) = (dear.clone(), watched.clone());
        app.configure(more).configure(move |config| {
            routes::add_routes(config, &dear, &watched);
        })
    };

    let open_connections = http::connections::OpenConnections::default();

    Ok(HttpServer::new(app)
        .on_connect(move |connection, extensions| {
            open_connections.admit_or_close(connection, extensions, |address| {
                access.may_be_proxy(address)
            });
        })
        .workers(worker_count())
        .max_connections(connections)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_S)
        .listen(listener)?
        .run())
}

/// Every address of the program.
#[must_use]
pub fn list_addresses(web: &Web) -> Vec<routes::Address> {
    let web = Data::new(web.clone());
    let mut addresses = Vec::new();
    // Only an app gives out what addresses are added to.
    let _app = App::new().configure(|config| addresses = routes::add_routes(config, &web, &web));

    addresses
}

/// The number of worker threads.
fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
