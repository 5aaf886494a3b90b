//! `/metrics` for Prometheus: base units, and neither rooms nor people in labels unless the
//! operator wants rooms there.

use crate::rtc::finding_kind::{FindingKind, KINDS, KindEntry};
use crate::rtc::words::Watch;
use crate::store::db::health::{Trouble, TroubleKind};
use crate::store::findings::list;
use crate::store::ingest::{rooms, vantages};
use crate::store::model::Vantage;
use crate::store::read::large_calls::{self, PeopleInAllCalls};
use crate::store::stats::gauges::{self, Gauges};
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest, Shell};
use crate::web::outputs::metrics_format::MetricsFormat;
use crate::web::pages::{RunningCalls, read_running_calls};
use crate::web::sign_in::access::RefusalCounts;
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{CallFacts, MemberFacts, NowFacts, ProblemFacts};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::timeout;

/// How long a request waits for earlier ones.
const PATIENCE: Duration = Duration::from_secs(5);

type Labels = Vec<(&'static str, String)>;
type SecondsGauge = Family<Labels, Gauge<f64, AtomicU64>>;

/// The data of the answer.
#[derive(Debug, Default)]
struct MetricsData {
    everybody: PeopleInAllCalls,
    /// Read only if rooms are labels.
    devices_by_room: Option<HashMap<String, i64>>,
    running: Arc<RunningCalls>,
    seen: AllSeenFacts,
    watched: Vec<(String, Watch)>,
    vantages: Vec<Vantage>,
    gauges: Gauges,
    trouble: Option<Trouble>,
    /// `None` where nobody signs in.
    refusals: Option<RefusalCounts>,
    limited_requests: u64,
    /// By kind: open ones, and past ones.
    findings: Vec<(FindingKind, i64, i64)>,
}

impl MetricsData {
    /// Is there a problem with the database, of a kind that fits?
    fn is_in_trouble(&self, by: impl Fn(TroubleKind) -> bool) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| by(trouble.kind))
    }
}

/// `GET /metrics`: the metrics for Prometheus, in the format that `Accept` asks for. Only one
/// request at a time computes them; another one waits a few seconds for its turn and is then
/// refused.
pub async fn get_metrics(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    if web.store.visible_rooms().is_some() {
        return response::send_error(&ask, &Error::MissingKey);
    }

    let Ok(Ok(_turn)) = timeout(PATIENCE, web.memory.metrics.acquire()).await else {
        return response::send_error(&ask, &Error::Busy("too many ask for the metrics"));
    };

    let format = MetricsFormat::of_request(&req);
    match load_metrics(&web, &ask).await {
        Ok(text) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, format.media_type()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::VARY, "accept"))
            .body(format.write(text)),
        Err(error) => response::send_error(&ask, &error),
    }
}

/// Reads all numbers and writes them as the text that Prometheus reads.
async fn load_metrics(web: &Web, ask: &PageRequest) -> Result<String, Error> {
    Query::read(&ask.query, &[])?;
    let store = &web.store;
    let devices_by_room = if web.options.metrics_room_labels {
        Some(large_calls::devices_by_room(store, ask.now).await?)
    } else {
        None
    };

    let running = read_running_calls(web, ask).await?;
    let rows = MetricsData {
        findings: count_findings(web, &running).await?,
        everybody: large_calls::people_now_overall(store, ask.now).await?,
        devices_by_room,
        running,
        seen: Liveness::read(web, ask.now).await?.everything(),
        watched: rooms::list_watched_rooms(store).await?,
        vantages: vantages::list_vantages_for(store).await?,
        gauges: gauges::read_gauges(store).await?,
        trouble: store.trouble(ask.now),
        refusals: web.access.refusals(),
        limited_requests: web.memory.limited_requests(),
    };

    let mut text = String::new();
    encode(&mut text, &build_registry(&rows)).map_err(|_| Error::Metrics)?;

    Ok(text)
}

/// The number of open and of past findings, of each kind.
async fn count_findings(
    web: &Web,
    running: &RunningCalls,
) -> Result<Vec<(FindingKind, i64, i64)>, Error> {
    let past: HashMap<FindingKind, i64> =
        list::count_by_kind(&web.store).await?.into_iter().collect();
    let open: Vec<FindingKind> = running
        .calls
        .iter()
        .flat_map(ProblemFacts::of_call)
        .filter(|problem| problem.open)
        .map(|problem| problem.finding.kind)
        .collect();
    let count = |entry: &KindEntry| {
        let open = open.iter().filter(|kind| **kind == entry.kind).count();
        let past = past.get(&entry.kind).copied().unwrap_or(0);
        (entry.kind, i64::try_from(open).unwrap_or(i64::MAX), past)
    };

    Ok(KINDS.iter().map(count).collect())
}

/// All series of the answer, with their numbers.
fn build_registry(rows: &MetricsData) -> Registry {
    let mut registry = Registry::with_prefix("callscope");
    let version = vec![("version", Shell::VERSION)];
    registry.register("build", "The program that answers", Info::new(version));
    register_current_calls(&mut registry, rows);
    register_findings(&mut registry, rows);
    register_storage(&mut registry, rows);
    register_rooms(&mut registry, rows);
    register_accounts(&mut registry, rows);
    registry.register(
        "limited_requests",
        "Requests refused because their address asked too often",
        ConstCounter::new(rows.limited_requests),
    );
    if let Some(refusals) = rows.refusals {
        register_refusals(&mut registry, refusals);
    }

    if let Some(devices_by_room) = &rows.devices_by_room {
        register_room_devices(&mut registry, rows, devices_by_room);
    }

    registry
}

/// Adds a series with one number and no labels.
fn register_gauge(registry: &mut Registry, name: &str, help: &str, number: i64) {
    registry.register(name, help, ConstGauge::new(number));
}

/// Adds the findings: those that last now, and those that are over and still stored.
fn register_findings(registry: &mut Registry, rows: &MetricsData) {
    let family = Family::<Labels, Gauge>::default();
    for (kind, open, past) in &rows.findings {
        for (state, count) in [("open", open), ("past", past)] {
            family
                .get_or_create(&vec![
                    ("kind", kind.to_string()),
                    ("state", state.to_owned()),
                ])
                .set(*count);
        }
    }

    registry.register("findings", "Problems in calls, by kind", family);
}

/// Adds who was refused.
fn register_refusals(registry: &mut Registry, refusals: RefusalCounts) {
    let counts = [
        (
            "refused_keys",
            "Requests with a key that is unknown, expired or revoked",
            refusals.refused_keys,
        ),
        (
            "ignored_proxy_users",
            "Requests that named a user without coming from a trusted proxy, or no possible user",
            refusals.ignored_proxy_users,
        ),
        (
            "refused_passwords",
            "Sign-ins with a wrong password",
            refusals.refused_passwords,
        ),
        (
            "refused_openid_sign_ins",
            "Sign-ins by OpenID Connect that were late, repeated, forged or denied, or named no Matrix id",
            refusals.refused_openid_sign_ins,
        ),
        (
            "refused_codes",
            "Codes by Matrix that were wrong, late or used, or entered in another browser",
            refusals.refused_codes,
        ),
        (
            "refused_widget_tokens",
            "Tokens of widgets that were not good, or used, or for a room that shows nothing",
            refusals.refused_widget_tokens,
        ),
        (
            "limited_sign_ins",
            "Sign-ins refused unseen, after too many wrong ones or too many codes asked for",
            refusals.limited_sign_ins,
        ),
        (
            "refused_share_links",
            "Requests for a shared call at an unknown, expired or revoked address",
            refusals.refused_share_links,
        ),
    ];

    for (name, help, count) in counts {
        registry.register(name, help, ConstCounter::new(count));
    }
}

/// A count as a metric has it.
fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The numbers of those who still count although they are probably gone.
#[derive(Debug, Clone, Copy, Default)]
struct GhostCounts {
    people: i64,
    devices: i64,
    servers: i64,
}

impl GhostCounts {
    /// Counts who is in these calls only as a ghost: a person, device or server that is also there
    /// in another way does not count.
    fn among<'a>(calls: impl Iterator<Item = &'a CallFacts>) -> Self {
        let calls: Vec<&CallFacts> = calls.collect();
        let here = || calls.iter().flat_map(|call| call.present());
        let gone = || calls.iter().flat_map(|call| call.ghosts());
        let people: BTreeSet<&str> = here().map(|one| one.user_id.as_str()).collect();
        let devices: BTreeSet<(&str, &str)> = here().map(MemberFacts::device).collect();
        let servers: BTreeSet<&str> = here().map(|one| one.server.as_str()).collect();
        let only_people: BTreeSet<&str> = gone().map(|one| one.user_id.as_str()).collect();
        let only_devices: BTreeSet<(&str, &str)> = gone().map(MemberFacts::device).collect();
        let only_servers: BTreeSet<&str> = gone().map(|one| one.server.as_str()).collect();

        Self {
            people: to_i64(only_people.difference(&people).count()),
            devices: to_i64(only_devices.difference(&devices).count()),
            servers: to_i64(only_servers.difference(&servers).count()),
        }
    }
}

/// Adds what is known of calls now. The database counted everybody who counts, so ghosts are
/// subtracted here.
fn register_current_calls(registry: &mut Registry, rows: &MetricsData) {
    let known = i64::from(!rows.seen.seen.unknown);
    register_gauge(
        registry,
        "now_known",
        "1 while all calls of now can be told; 0: what follows was seen last, or is not all",
        known,
    );
    register_gauge(
        registry,
        "rooms_unknown",
        "Rooms of which it cannot be told who is in a call now",
        to_i64(rows.seen.unknown_rooms),
    );
    let calls = &rows.running.calls;
    let (gone, numbers) = (
        GhostCounts::among(calls.iter()),
        NowFacts::count_members(calls.iter()),
    );
    let stuck = to_i64(numbers.calls_stuck);
    let all = &rows.everybody;
    let numbers = [
        (
            "calls_active",
            "Calls that run now",
            rows.running.total - stuck,
        ),
        (
            "calls_stuck",
            "Calls in which only devices are left that are probably gone",
            stuck,
        ),
        (
            "devices_active",
            "Devices in calls now",
            all.devices - gone.devices,
        ),
        (
            "people_active",
            "People in calls now",
            all.people - gone.people,
        ),
        (
            "servers_active",
            "Homeservers of the people in calls now",
            all.servers - gone.servers,
        ),
        (
            "ghosts",
            "Devices that still count in a call though they are probably gone",
            to_i64(numbers.ghosts_now),
        ),
    ];

    for (name, help, number) in numbers {
        register_gauge(registry, name, help, number.max(0));
    }
}

/// Adds how much is stored, how far history is read, and whether the database can be written.
fn register_storage(registry: &mut Registry, rows: &MetricsData) {
    let Gauges {
        calls,
        events,
        rejected,
        reads_open,
        database_bytes,
        ..
    } = rows.gauges;
    register_gauge(registry, "calls_stored", "Calls in the database", calls);
    let events = ConstCounter::new(u64::try_from(events).unwrap_or(0));
    registry.register("events_stored", "Events stored since the beginning", events);
    register_gauge(
        registry,
        "events_rejected",
        "Stored events that could not be used",
        rejected,
    );
    register_gauge(
        registry,
        "history_walks_open",
        "Walks through the history of rooms that are not done",
        reads_open,
    );
    let size = ConstGauge::new(database_bytes);
    registry.register_with_unit("database_size", "Size of the database", Unit::Bytes, size);
    register_gauge(
        registry,
        "database_full",
        "1 while nothing can be stored because the disk is full",
        i64::from(rows.is_in_trouble(|kind| kind == TroubleKind::Full)),
    );
    register_gauge(
        registry,
        "database_writable",
        "0 while nothing can be stored, whatever the cause",
        i64::from(!rows.is_in_trouble(|_| true)),
    );
}

/// Adds the number of rooms by our relation to them, and of those whose last poll failed.
fn register_rooms(registry: &mut Registry, rows: &MetricsData) {
    let rooms = Family::<Labels, Gauge>::default();
    for watch in [Watch::Joined, Watch::Peeked, Watch::Left, Watch::Blind] {
        let number = rows.watched.iter().filter(|(_, how)| *how == watch).count();
        rooms
            .get_or_create(&vec![("watch", watch.as_str().to_owned())])
            .set(to_i64(number));
    }

    registry.register("rooms", "Rooms by how we stand towards them", rooms);
    register_gauge(
        registry,
        "rooms_failing",
        "Rooms whose last look failed",
        rows.gauges.rooms_failing,
    );
}

/// Adds a set of series for each observing account: whether its homeserver is heard, when it last
/// was, and its errors.
fn register_accounts(registry: &mut Registry, rows: &MetricsData) {
    let (up, heard) = (Family::<Labels, Gauge>::default(), SecondsGauge::default());
    let errors = Family::<Labels, prometheus_client::metrics::counter::Counter>::default();
    for vantage in &rows.vantages {
        let labels = vec![("homeserver", vantage.homeserver.clone())];
        let is_up =
            vantage.error.is_none() && vantage.first_sync_ms.is_some() && rows.trouble.is_none();
        up.get_or_create(&labels).set(i64::from(is_up));
        errors
            .get_or_create(&labels)
            .inc_by(u64::try_from(vantage.errors).unwrap_or(0));
        if let Some(ms) = vantage.last_sync_ms.max(vantage.last_poll_ms) {
            heard.get_or_create(&labels).set(to_seconds(ms));
        }
    }

    registry.register(
        "vantage_up",
        "1 while the homeserver is heard and what it says is stored",
        up,
    );
    let help = "When the homeserver was heard last";
    registry.register_with_unit("vantage_last_heard_timestamp", help, Unit::Seconds, heard);
    registry.register(
        "vantage_errors",
        "Errors of the account since it was installed",
        errors,
    );
}

/// Milliseconds as seconds; exact for any time that a clock shows.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of this era fit into 53 bits"
)]
fn to_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Adds the devices in calls of each watched room, without ghosts. `devices_by_room` has those that
/// count.
fn register_room_devices(
    registry: &mut Registry,
    rows: &MetricsData,
    devices_by_room: &HashMap<String, i64>,
) {
    let mut calls: HashMap<&str, Vec<&CallFacts>> = HashMap::new();
    for call in &rows.running.calls {
        calls.entry(&call.room.room_id).or_default().push(call);
    }

    let devices = Family::<Labels, Gauge>::default();
    for (room_id, _) in &rows.watched {
        let all = devices_by_room.get(room_id).copied().unwrap_or(0);
        let of_room = calls.get(room_id.as_str()).into_iter().flatten().copied();
        let gone = GhostCounts::among(of_room);
        devices
            .get_or_create(&vec![("room_id", room_id.clone())])
            .set(all.saturating_sub(gone.devices));
    }

    registry.register(
        "room_devices_active",
        "Devices in calls of the room now",
        devices,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use crate::clock::Clock;
    use crate::store::Writer;
    use crate::web::http::gate;
    use crate::web::outputs::health;
    use crate::web::{Options, SharedMemory};
    use actix_web::App;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::web::Data;

    #[actix_web::test]
    async fn one_reads_the_metrics_at_a_time_and_keeps_no_readiness_check_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("t.db").display());
        let web = Web {
            store: Writer::open(&url).await.unwrap().for_watchers(),
            changes: Changes::default(),
            clock: Clock::fixed(1000),
            public_url: None,
            access: crate::web::sign_in::access::Access::open(),
            options: Options::default(),
            memory: SharedMemory::default(),
        };

        let data = Data::new(web.clone());
        let gate = data.clone();
        let gate = from_fn(move |req, next| gate::admit_askers(gate.clone(), req, next));
        let app = App::new()
            .app_data(data)
            .wrap(gate)
            .route("/metrics", actix_web::web::get().to(get_metrics))
            .route("/readyz", actix_web::web::get().to(health::get_readyz));
        let app = init_service(app).await;
        let ask = |path: &str| TestRequest::get().uri(path).to_request();

        let turn = web.memory.metrics.acquire().await.unwrap();
        let second = call_service(&app, ask("/metrics"));
        let answered = timeout(Duration::from_millis(500), second).await;
        assert!(answered.is_err(), "somebody else reads them");
        let ready = call_service(&app, ask("/readyz")).await;
        assert_eq!(
            ready.status(),
            503,
            "nothing was read yet, and that is said"
        );
        let late = call_service(&app, ask("/metrics")).await;
        assert_eq!(late.status(), 503, "nobody waits for ever");
        assert!(late.headers().contains_key(header::RETRY_AFTER));
        drop(turn);
        assert_eq!(call_service(&app, ask("/metrics")).await.status(), 200);
    }
}
