//! Prints how fast pages and JSON are, as shares of a handler of the same server that answers a
//! constant body of the same size: with 10,000 and with 1,000,000 calls, 100 of them running.
//!
//! `cargo run --release --example bench_web [--keep FOLDER] [CALLS…]`; it drives `wrk`, which must
//! be installed. To store a million calls takes minutes: with `--keep` the databases stay in the
//! folder and are used again.
//!
//! `bench_web hostile [DEVICES SLOTS NAMES [SECONDS]]` prints how long each address takes where one
//! member of one room has so many running devices, slots and names, and then how long an event
//! takes into the database and onto a page while 20 viewers ask as fast as they can, first with 20
//! events a second and then with 1,000.
//!
//! `bench_web databases POSTGRES_URL [CALLS]` prints how long the lists take on both databases,
//! with 200,000 calls. The URL names an empty database.
//!
//! `bench_web ingest [BATCHES]` prints how many events a second are stored when nobody asks:
//! batches of 50 into one call of 7,500 devices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    reason = "a bench"
)]

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Path, ServiceConfig, get};
use callscope::changes::Changes;
use callscope::clock::Clock;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::words::{Mode, Source, Watch};
use callscope::store::Writer;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch};
use callscope::store::ingest::vantages;
use callscope::store::ingest::write::write_batch;
use callscope::store::stats::daily_rollup;
use callscope::web::{Options, SharedMemory, Web, serve_with};
use serde_json::json;
use std::process::Command;
use std::sync::RwLock;

const NOW: i64 = 1_795_358_836_000;
const MINUTE: i64 = 60_000;
const ROOMS: usize = 100;
const ACTIVE: usize = 100;
/// Number of requests named per list: those that took longest with an empty cache.
const SLOWEST: usize = 5;

/// Bodies of the constant handler, by number.
static BODIES: RwLock<Vec<(String, Bytes)>> = RwLock::new(Vec::new());

async fn constant(at: Path<usize>) -> HttpResponse {
    let bodies = BODIES.read().unwrap();
    let (kind, body) = &bodies[*at];

    HttpResponse::Ok()
        .insert_header(("content-type", kind.as_str()))
        .body(body.clone())
}

fn constants(config: &mut ServiceConfig) {
    config.route("/constant/{at}", get().to(constant));
}

/// The events of one call: somebody joins and, unless it still runs, leaves.
fn call(number: usize, calls: usize) -> Vec<Arrival> {
    let user = format!(
        "@user{}:server{}.example.org",
        number / ROOMS % 500,
        number % 40
    );
    let start = NOW - (calls - number) as i64 * 30_000 - 2 * MINUTE;
    let content = json!({"application": "m.call", "call_id": "", "scope": "m.room",
        "device_id": "DEVICE",
        "created_ts": start, "expires": 14_400_000, "m.call.intent": "video",
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": [{"type": "livekit", "livekit_alias": "!room",
            "livekit_service_url": "https://sfu.example.org"}]});
    let event = |word: &str, time: i64, content: serde_json::Value| {
        let json = json!({"event_id": format!("${number}{word}{:a>30}", ""),
            "type": "org.matrix.msc3401.call.member",
            "sender": user, "origin_server_ts": time, "state_key": format!("_{user}_DEVICE_m.call"),
            "content": content});
        Arrival {
            json: json.to_string(),
            event: RoomEvent::from_json(&json, Some(time)).unwrap().into(),
            in_timeline: true,
        }
    };

    let mut events = vec![event("join", start, content)];
    if number + ACTIVE < calls {
        events.push(event("leave", start + MINUTE, json!({})));
    }

    events
}

fn room(number: usize) -> String {
    format!("!room{}:example.org", number % ROOMS)
}

async fn fill(store: &Writer, calls: usize) {
    let start = vantages::VantageStart {
        id: "bench",
        user_id: "@bot:example.org",
        homeserver: "https://example.org",
        device_id: None,
        mode: Mode::Follow,
        software: None,
        delayed_events: true,
        sticky_events: true,
        now: NOW - 60 * MINUTE,
    };

    vantages::record_start(store, &start).await.unwrap();
    for from in (0..calls).step_by(20_000) {
        let upto = (from + 20_000).min(calls);
        let mut rooms: Vec<RoomBatch> = (0..ROOMS)
            .map(|at| RoomBatch::new(&room(at), Source::Sync))
            .collect();
        for number in from..upto {
            rooms[number % ROOMS].arrivals.extend(call(number, calls));
        }

        for room in &mut rooms {
            room.watch = Some(Watch::Joined);
        }

        let batch = Batch {
            vantage_id: "bench".into(),
            seen_ms: NOW - MINUTE,
            position: Some("s1".into()),
            rooms,
            invitations: vec![],
        };

        write_batch(store, &Rules::default(), &batch).await.unwrap();
        eprint!("\r{upto} of {calls} calls stored ");
    }

    eprintln!();
}

/// A database with this many calls: a kept one if there is one, else a new one. It is made under a
/// temporary name, so that an unfinished one is never used.
async fn filled(folder: &std::path::Path, calls: usize) -> Writer {
    let path = |name: String| folder.join(name);
    let url = |path: &std::path::Path| format!("sqlite://{}", path.display());
    let done = path(format!("calls-{calls}.db"));
    if !done.exists() {
        let making = path(format!("calls-{calls}.making"));
        let _ = std::fs::remove_file(&making);
        let store = Writer::open(&url(&making)).await.unwrap();
        fill(&store, calls).await;
        store.close().await;
        std::fs::rename(&making, &done).unwrap();
    }

    Writer::open(&url(&done)).await.unwrap()
}

/// Results of wrk: answers per second, and the 99th percentile, ms.
fn wrk(base: &str, paths: &[String]) -> (f64, f64) {
    let list: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    let text = format!(
        "local paths = {{{}}} local at = 0
        request = function() at = at + 1 return wrk.format('GET', paths[at % #paths + 1]) end",
        list.join(", ")
    );
    let script = tempfile::Builder::new().suffix(".lua").tempfile().unwrap();
    std::fs::write(script.path(), text).unwrap();
    let mut run = Command::new("wrk");
    run.args(["-t1", "-c16", "-d4s", "--latency", "-s"])
        .arg(script.path())
        .arg(base);
    let text = String::from_utf8(run.output().expect("wrk must be installed").stdout).unwrap();
    assert!(!text.contains("Non-2xx"), "{text}");
    let after = |word: &str| {
        text.split(word)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("0")
    };

    let p99 = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("99%"))
        .unwrap_or("0")
        .trim();
    let number = p99
        .trim_end_matches(char::is_alphabetic)
        .parse::<f64>()
        .unwrap();
    let scale = [("us", 0.001), ("ms", 1.0)]
        .iter()
        .find(|(unit, _)| p99.ends_with(unit))
        .map_or(1000.0, |(_, ms)| *ms);

    (after("Requests/sec:").parse().unwrap(), number * scale)
}

/// Results of wrk for the constant bodies, and for the real answers.
type Pair = ((f64, f64), (f64, f64));

/// The filters of lists of calls, by name: 40 of all kinds, and those of one kind by themselves.
fn filters() -> Vec<(&'static str, Vec<String>)> {
    let rooms: Vec<String> = (0..20_usize)
        .map(|at| {
            format!(
                "&status=ended&room={}",
                room(at * 7).replace('!', "%21").replace(':', "%3A")
            )
        })
        .collect();
    let times: Vec<String> = (0..20)
        .map(|at| format!("&to={}", NOW - at * 10_800_000))
        .collect();
    let user = |at: usize| format!("%40user{at}%3Aserver{}.example.org", at % 40);
    let people: Vec<String> = (0..20).map(|at| format!("&user={}", user(at))).collect();
    let servers: Vec<String> = (0..20)
        .map(|at| format!("&server=server{at}.example.org"))
        .collect();
    let words: Vec<String> = (0..5).map(|at| format!("&q=user{at}%3A")).collect();
    let others = [
        "&kind=solo",
        "&kind=group",
        "&min_people=2",
        "&min_minutes=1",
        "&min_minutes=600",
        "&application=m.call",
        "&application=none",
        "&status=active",
        "&status=ended&kind=solo&min_minutes=1",
        "&q=nowhere",
        "&q=room7",
    ];
    let others: Vec<String> = others
        .iter()
        .map(|filter| (*filter).to_owned())
        .chain(words)
        .collect();
    let of = |list: &[String], some: usize| {
        list.iter()
            .step_by(list.len() / some)
            .take(some)
            .cloned()
            .collect::<Vec<_>>()
    };

    let all = [
        of(&rooms, 6),
        of(&times, 6),
        of(&people, 6),
        of(&servers, 6),
        others.clone(),
    ]
    .concat();

    vec![
        ("/api/v1/calls?limit=50, 40 filters", all),
        ("  by room and by time", [rooms, times].concat()),
        ("  by person", people),
        ("  by server", servers),
        ("  by other things", others),
    ]
}

/// Measures three pairs: constant bodies of the same sizes, then the real answers. Returns the
/// median share, and the lowest p99, ms, because other work on the machine only adds to it.
async fn measure(base: &str, name: &str, paths: &[String]) -> (f64, f64) {
    let mut constants = Vec::new();
    let mut size = 0;
    let mut first: Vec<(f64, &str)> = Vec::new();
    for path in paths {
        let begun = std::time::Instant::now();
        let answer = reqwest::get(format!("{base}{path}"))
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let body = answer.bytes().await.unwrap();
        first.push((begun.elapsed().as_secs_f64() * 1000.0, path));
        size += body.len() / paths.len();
        let mut bodies = BODIES.write().unwrap();
        constants.push(format!("/constant/{}", bodies.len()));
        bodies.push((kind, body));
    }

    let (base, asked) = (base.to_owned(), paths.to_vec());
    let pairs = move || {
        (0..3)
            .map(|_| (wrk(&base, &constants), wrk(&base, &asked)))
            .collect::<Vec<Pair>>()
    };

    let mut pairs = tokio::task::spawn_blocking(pairs).await.unwrap();
    pairs.sort_by(|(a_floor, a), (b_floor, b)| (a.0 / a_floor.0).total_cmp(&(b.0 / b_floor.0)));
    let ((floor, _), (rate, _)) = pairs[1];
    let lowest = |p99: fn(&Pair) -> f64| pairs.iter().map(p99).fold(f64::INFINITY, f64::min);
    let (floor_p99, p99) = (lowest(|pair| pair.0.1), lowest(|pair| pair.1.1));
    let share = 100.0 * rate / floor;
    println!(
        "{name:<36}{size:>9}{floor:>10.0}{rate:>10.0}{share:>7.0} %{floor_p99:>11.2}{p99:>9.2}"
    );
    first.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ms, path) in first.iter().take(SLOWEST).filter(|_| paths.len() > SLOWEST) {
        println!("{ms:>12.1} ms the first time: {path}");
    }

    (share, p99)
}

/// Counts the finished days, as the observer does in the background.
async fn count_days(store: &Writer) {
    let (begun, mut counted) = (std::time::Instant::now(), 0);
    for day in daily_rollup::list_uncounted_days(store, NOW).await.unwrap() {
        counted += usize::from(daily_rollup::count_day(store, day, NOW).await.unwrap());
    }

    println!(
        "\n{counted} days counted in the background in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}

/// Starts the web server; returns its address and its handle.
fn start_server(
    store: &Writer,
    changes: Changes,
    clock: Clock,
) -> (String, actix_web::dev::ServerHandle) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let web = Web {
        store: store.reader(),
        changes,
        clock,
        public_url: None,
        access: callscope::web::sign_in::access::Access::open(),
        options: Options::default(),
        memory: SharedMemory::default(),
    };

    let server = serve_with(listener, web, constants).unwrap();
    let handle = server.handle();
    tokio::spawn(server);

    (base, handle)
}

/// Measures with this many calls: share and p99 of the lists, by name.
async fn with(folder: &std::path::Path, calls: usize) -> Vec<(String, f64, f64)> {
    let store = filled(folder, calls).await;
    let (base, handle) = start_server(&store, Changes::default(), Clock::fixed(NOW));
    let head = format!("{calls} calls");
    count_days(&store).await;
    println!(
        "{head:<36}{:>9}{:>10}{:>10}{:>9}{:>11}{:>9}",
        "bytes", "floor/s", "rate/s", "share", "its p99", "p99 ms"
    );
    measure(
        &base,
        "/api/v1/calls/active",
        &["/api/v1/calls/active".to_owned()],
    )
    .await;
    measure(&base, "/", &["/".to_owned()]).await;
    let mut tails = Vec::new();
    for (name, filters) in filters() {
        let paths: Vec<String> = filters
            .iter()
            .map(|filter| format!("/api/v1/calls?limit=50{filter}"))
            .collect();
        let (share, p99) = measure(&base, name, &paths).await;
        tails.push((name.to_owned(), share, p99));
    }

    let pages = [
        "/statistics?period=365d",
        "/servers?period=365d",
        "/rooms",
        "/calls?server=server7.example.org",
    ];
    for page in pages {
        let begun = std::time::Instant::now();
        reqwest::get(format!("{base}{page}"))
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .bytes()
            .await
            .unwrap();
        println!(
            "{page:<36} the first time: {:.2} s",
            begun.elapsed().as_secs_f64()
        );
    }

    handle.stop(false).await;
    store.close().await;

    tails
}

/// The lists that both databases answer, each in variants, so that no answer is a cached one.
fn lists() -> Vec<(String, Vec<String>)> {
    let mut named = vec![(
        String::from("/api/v1/calls"),
        String::from("/api/v1/calls?"),
    )];
    for sort in [
        "started",
        "-duration",
        "duration",
        "-people",
        "people",
        "-peak",
        "peak",
    ] {
        let path = format!("/api/v1/calls?sort={sort}");
        named.push((path.clone(), format!("{path}&")));
    }

    for (_, filters) in &filters()[1..] {
        for filter in filters.iter().step_by(4) {
            let path = format!("/api/v1/calls?{}", &filter[1..]);
            named.push((path.clone(), format!("{path}&")));
            named.push((
                format!("{path}&sort=-people"),
                format!("{path}&sort=-people&"),
            ));
        }
    }

    let periods = [
        "/api/v1/servers?period=30d",
        "/api/v1/servers?period=30d&sort=-people",
    ];
    named.extend(periods.map(|path| (path.to_owned(), format!("{path}&"))));

    named
        .into_iter()
        .map(|(name, path)| {
            let variants = (41..50).map(|limit| format!("{path}limit={limit}"));
            (name, variants.collect())
        })
        .collect()
}

/// Median time of the answers to these requests, ms.
async fn median_time(base: &str, paths: &[String]) -> f64 {
    let client = reqwest::Client::new();
    let mut times = Vec::new();
    for path in paths {
        let begun = std::time::Instant::now();
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body:?}");
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }

    times.sort_by(f64::total_cmp);

    times[times.len() / 2]
}

/// Times of all lists on this database, ms.
async fn times_of_lists(store: Writer) -> Vec<f64> {
    let (base, handle) = start_server(&store, Changes::default(), Clock::fixed(NOW));
    count_days(&store).await;
    let mut times = Vec::new();
    for (_, paths) in lists() {
        times.push(median_time(&base, &paths).await);
    }

    handle.stop(false).await;
    store.close().await;

    times
}

/// Compares the lists on both databases.
async fn compare_databases(postgres: &str, calls: usize) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = times_of_lists(filled(folder.path(), calls).await).await;
    let store = Writer::open(postgres).await.unwrap();
    fill(&store, calls).await;
    let postgres = times_of_lists(store).await;

    println!("{:>10}{:>12}{:>8}", "SQLite ms", "Postgres ms", "times");
    for (((name, _), ours), theirs) in lists().into_iter().zip(sqlite).zip(postgres) {
        let verdict = if theirs > 3.0 * ours && theirs > 50.0 {
            "  slow"
        } else {
            ""
        };
        println!(
            "{ours:>10.1}{theirs:>12.1}{:>8.1}  {name}{verdict}",
            theirs / ours
        );
    }
}

/// The room of the hostile member, and the member.
const HALL: &str = "!hall:example.org";
const LOAD: &str = "!load:example.org";
/// The room of the marks. A page of a very large call does not show each of its stays.
const MARKS: &str = "!marks:example.org";
const MALLORY: &str = "@mallory:evil.example";

fn arrival(json: &serde_json::Value, received: Option<i64>) -> Arrival {
    Arrival {
        json: json.to_string(),
        event: RoomEvent::from_json(json, received).unwrap().into(),
        in_timeline: true,
    }
}

/// A join of a device into a slot.
fn join(id: &str, user: &str, device: &str, call: &str, time: i64) -> Arrival {
    let content = json!({"application": "m.call", "call_id": call, "scope": "m.room",
        "device_id": device,
        "expires": 14_400_000, "focus_active": {"type": "livekit",
        "focus_selection": "oldest_membership"},
        "foci_preferred": [{"type": "livekit",
        "livekit_service_url": format!("https://sfu{}.example", id.len() % 3)}]});
    let key = format!("_{user}_{device}_{call}");
    let json = json!({"event_id": format!("${id}"), "type": "org.matrix.msc3401.call.member",
        "sender": user,
        "origin_server_ts": time, "state_key": key, "content": content});

    arrival(&json, Some(time))
}

/// The load that one member can cause in a room: devices, slots, names, rings, and calls that
/// nobody ever left.
fn mischief(now: i64, devices: usize, slots: usize, names: usize) -> Vec<Arrival> {
    let mut events = Vec::new();
    let spread = |at: usize, all: usize| 3 * 60 * MINUTE * at as i64 / all.max(1) as i64;
    for at in 0..devices {
        let time = now - 3 * 60 * MINUTE + spread(at, devices);
        events.push(join(
            &format!("device{at}"),
            MALLORY,
            &format!("D{at}"),
            "",
            time,
        ));
        // Every third one expired long ago: the last member is searched in the events.
        let old = time - 8 * 60 * MINUTE;
        if at % 3 == 0 {
            events.push(join(
                &format!("old{at}"),
                MALLORY,
                &format!("OLD{at}"),
                "",
                old,
            ));
        }
    }

    for at in 0..slots {
        let time = now - 2 * 60 * MINUTE + spread(at, slots) / 3;
        events.push(join(
            &format!("slot{at}"),
            MALLORY,
            "S",
            &format!("call{at}"),
            time,
        ));
    }

    for at in 0..names {
        let time = now - 3 * 60 * MINUTE + spread(at, names);
        let content = json!({"membership": "join", "displayname": format!("Name {at}")});
        let json = json!({"event_id": format!("$name{at}"), "type": "m.room.member",
            "sender": MALLORY,
            "origin_server_ts": time, "state_key": MALLORY, "content": content});
        events.push(arrival(&json, Some(time)));
        let content = json!({"notification_type": "ring", "sender_ts": time, "lifetime": 30_000,
            "m.mentions": {"room": true}});
        let json = json!({"event_id": format!("$ring{at}"),
            "type": "org.matrix.msc4075.rtc.notification",
            "sender": MALLORY, "origin_server_ts": time, "content": content});
        events.push(arrival(&json, Some(time)));
    }

    events
}

async fn put(store: &Writer, room_id: &str, arrivals: Vec<Arrival>, seen_ms: i64, source: Source) {
    let mut room = RoomBatch::new(room_id, source);
    room.watch = Some(Watch::Joined);
    room.arrivals = arrivals;
    let batch = Batch {
        vantage_id: "bench".into(),
        seen_ms,
        position: Some("s1".into()),
        rooms: vec![room],
        invitations: vec![],
    };

    write_batch(store, &Rules::default(), &batch).await.unwrap();
}

fn percentile(sorted: &[f64], of: usize) -> f64 {
    sorted[(sorted.len() * of / 100).min(sorted.len() - 1)]
}

/// Each address: milliseconds after a change, the second best of three, and bytes.
async fn ask_each(base: &str, changes: &Changes, paths: &[String]) {
    for path in paths {
        let (mut times, mut size, mut status) = (Vec::new(), 0, 0);
        for _ in 0..3 {
            changes.announce(callscope::changes::Change::Observer);
            // After a slow answer the next one is not made at once.
            tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
            let begun = std::time::Instant::now();
            let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
            status = answer.status().as_u16();
            size = answer.bytes().await.unwrap().len();
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
        }

        times.sort_by(f64::total_cmp);
        println!("{:>9.1} ms {size:>10} bytes  {status}  {path}", times[1]);
    }
}

async fn read_page(client: &reqwest::Client, address: &str) -> String {
    let answer = client.get(address).send().await.unwrap();

    answer.text().await.unwrap()
}

/// How long events take while viewers ask: into the database, and onto the list of what runs now.
async fn under_load(
    store: &Writer,
    base: &str,
    changes: &Changes,
    paths: &[String],
    rate: usize,
    seconds: usize,
) {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut viewers = Vec::new();
    for at in 0..20 {
        let (stop, asked, base) = (stop.clone(), asked.clone(), base.to_owned());
        let path = paths[at % paths.len()].clone();
        viewers.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = client.get(format!("{base}{path}")).send().await.unwrap();
                let _ = answer.bytes().await;
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }));
    }

    let client = reqwest::Client::new();
    let writer = store.for_observer();
    let (batches, each) = if rate <= 20 {
        (rate, 1)
    } else {
        (20, rate / 20)
    };

    let (mut stored, mut shown) = (Vec::new(), Vec::new());
    let begun = std::time::Instant::now();
    for number in 0..batches * seconds {
        let due = begun + std::time::Duration::from_millis((number * 1000 / batches) as u64);
        tokio::time::sleep_until(due.into()).await;
        let now = Clock::System.now_ms();
        let marked = number % (batches * 2) == batches;
        let device = format!("MARK{rate}_{number}");
        let arrivals = load(&format!("load{rate}"), number, each, now);
        put(&writer, LOAD, arrivals, now, Source::Sync).await;
        if marked {
            let mark = join(
                &format!("mark{rate}_{number}"),
                "@mark:h.example",
                &device,
                "",
                now,
            );

            put(&writer, MARKS, vec![mark], now, Source::Sync).await;
        }

        let came = std::time::Instant::now();
        stored.push((came - due.max(begun)).as_secs_f64() * 1000.0);
        for room in [LOAD, MARKS] {
            changes.announce(callscope::changes::Change::Slot {
                room_id: room.into(),
                slot_id: "m.call#ROOM".into(),
            });
        }

        if marked {
            let path = format!("{base}/api/v1/rooms/%21marks%3Aexample.org/members");
            let client = client.clone();
            shown.push(tokio::spawn(async move {
                while !read_page(&client, &path).await.contains(&device) {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }

                due.elapsed().as_secs_f64() * 1000.0
            }));
        }
    }

    let mut on_page = Vec::new();
    for one in shown {
        on_page.push(one.await.unwrap());
    }

    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for viewer in viewers {
        viewer.await.unwrap();
    }

    stored.sort_by(f64::total_cmp);
    on_page.sort_by(f64::total_cmp);
    println!(
        "{rate} events/s for {seconds} s, 20 viewers ({} answers/s): in the database p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms; \
         on the page p50 {:.0} ms, most {:.0} ms",
        asked.load(std::sync::atomic::Ordering::Relaxed) / seconds,
        percentile(&stored, 50),
        percentile(&stored, 99),
        stored.last().unwrap(),
        percentile(&on_page, 50),
        on_page.last().unwrap()
    );
}

/// The number of events stored per second without requests.
async fn ingest(batches: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingest.db");
    let store = Writer::open(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let first = Clock::System.now_ms();
    put(&store, LOAD, Vec::new(), first, Source::Sync).await;

    let mut begun = std::time::Instant::now();
    for number in 0..batches {
        let now = first + 50 * number as i64;
        let arrivals = load("ingest", number, 50, now);
        put(&store, LOAD, arrivals, now, Source::Sync).await;

        if (number + 1) % 100 == 0 {
            println!(
                "{:>8} events stored, the last 5,000 at {:.0} events/s",
                (number + 1) * 50,
                5000.0 / begun.elapsed().as_secs_f64()
            );
            begun = std::time::Instant::now();
        }
    }

    store.close().await;
}

/// The events of one batch under load: of 300 people with 25 devices each.
fn load(prefix: &str, number: usize, each: usize, now: i64) -> Vec<Arrival> {
    let one = |at: usize| {
        let person = (number * each + at) % 300;
        let user = format!("@user{person}:server{}.example.org", person % 40);

        join(
            &format!("{prefix}_{number}_{at}"),
            &user,
            &format!("L{}", number % 50),
            "",
            now,
        )
    };

    (0..each).map(one).collect()
}

async fn hostile(devices: usize, slots: usize, names: usize, seconds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.db");
    let store = Writer::open(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let now = Clock::System.now_ms();
    let start = vantages::VantageStart {
        id: "bench",
        user_id: "@bot:example.org",
        homeserver: "https://example.org",
        device_id: None,
        mode: Mode::Follow,
        software: None,
        delayed_events: true,
        sticky_events: true,
        now: now - 12 * 60 * MINUTE,
    };

    vantages::record_start(&store, &start).await.unwrap();
    let begun = std::time::Instant::now();
    // The first answer of a room: no limit applies to it.
    put(
        &store,
        HALL,
        mischief(now, devices, slots, names),
        now,
        Source::Sync,
    )
    .await;
    for room in [LOAD, MARKS] {
        put(&store, room, Vec::new(), now, Source::Sync).await;
    }

    println!(
        "{devices} devices, {slots} slots, {names} names and rings stored in {:.1} s; {} MB",
        begun.elapsed().as_secs_f64(),
        std::fs::metadata(&file).unwrap().len() / 1_000_000
    );
    let changes = Changes::default();
    let (base, handle) = start_server(&store, changes.clone(), Clock::System);
    let list = reqwest::get(format!("{base}/api/v1/calls?limit=500&sort=-people"))
        .await
        .unwrap();
    let list: serde_json::Value = serde_json::from_str(&list.text().await.unwrap()).unwrap();
    let calls = list["data"].as_array().unwrap();
    let large = calls
        .iter()
        .max_by_key(|call| call["devices"].as_i64())
        .unwrap();
    let call = large["id"].as_str().unwrap();
    let hall = "%21hall%3Aexample.org";
    let mut paths: Vec<String> = [
        "/",
        "/calls",
        "/wall",
        "/rooms",
        "/servers",
        "/transports",
        "/statistics",
        "/status",
        "/rejected",
        "/metrics",
        "/readyz",
        "/calls?status=active",
        "/calls?q=mallory",
        "/api/v1/overview",
        "/api/v1/calls/active",
        "/api/v1/calls",
        "/api/v1/calls?limit=500",
        "/api/v1/wall",
        "/api/v1/rooms",
        "/api/v1/servers",
        "/api/v1/transports",
        "/api/v1/statistics",
        "/api/v1/status",
        "/api/v1/calls.csv",
        "/api/v1/calls.ndjson",
        "/feed/calls.atom",
        "/feed/calls.ics",
        "/servers/evil.example",
        "/api/v1/servers/evil.example",
        "/badge/servers/evil.example/active.svg",
    ]
    .map(ToOwned::to_owned)
    .into();
    for path in [
        "/calls/CALL",
        "/calls/CALL?stays_from=10000",
        "/calls/CALL?events_from=5000",
        "/api/v1/calls/CALL",
        "/api/v1/calls/CALL?members_from=12000",
        "/rooms/HALL",
        "/api/v1/rooms/HALL",
        "/api/v1/rooms/HALL/members",
        "/api/v1/rooms/HALL/flips",
        "/badge/rooms/HALL/active.svg",
        "/embed/rooms/HALL",
        "/feed/rooms/HALL/calls.atom",
    ] {
        paths.push(path.replace("CALL", call).replace("HALL", hall));
    }

    ask_each(&base, &changes, &paths).await;
    let looked_at: Vec<String> = [
        "/",
        "/calls",
        &format!("/calls/{call}"),
        "/wall",
        &format!("/badge/rooms/{hall}/active.svg"),
    ]
    .map(ToOwned::to_owned)
    .into();
    under_load(&store, &base, &changes, &looked_at, 20, seconds).await;
    under_load(&store, &base, &changes, &looked_at, 1000, seconds).await;
    handle.stop(false).await;
    store.close().await;
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "hostile") {
        let numbers: Vec<usize> = words.iter().filter_map(|text| text.parse().ok()).collect();
        let number = |at: usize, otherwise: usize| numbers.get(at).copied().unwrap_or(otherwise);
        return hostile(
            number(0, 16_000),
            number(1, 2000),
            number(2, 10_000),
            number(3, 30),
        )
        .await;
    }

    if words.first().is_some_and(|word| word == "databases") {
        let url = words
            .get(1)
            .expect("the URL of an empty PostgreSQL database");
        let calls = words.get(2).and_then(|text| text.parse().ok());
        return compare_databases(url, calls.unwrap_or(200_000)).await;
    }

    if words.first().is_some_and(|word| word == "ingest") {
        let batches = words.get(1).and_then(|text| text.parse().ok());
        return ingest(batches.unwrap_or(1000)).await;
    }

    let kept = words
        .iter()
        .position(|word| word == "--keep")
        .map(|at| &words[at + 1]);
    let asked: Vec<usize> = words.iter().filter_map(|text| text.parse().ok()).collect();
    let own = tempfile::tempdir().unwrap();
    let folder = kept.map_or(own.path(), std::path::Path::new);
    std::fs::create_dir_all(folder).unwrap();
    let mut tables = Vec::new();
    for calls in if asked.is_empty() {
        vec![10_000, 1_000_000]
    } else {
        asked
    } {
        tables.push((calls, with(folder, calls).await));
    }

    if let [(few, first), .., (many, last)] = &tables[..] {
        println!("\np99 with {many} calls as a multiple of that with {few}");
        for ((name, _, p99), (_, _, p99_first)) in last.iter().zip(first) {
            println!("{name:<36}{:>9.2}", p99 / p99_first);
        }
    }
}
