//! Prints how long lists and statistics take a viewer who sees few of the rooms and one who sees
//! most of them, as multiples of the operator's time: 1,000,000 calls of three people each, in
//! 10,000 rooms, over a year.
//!
//! `cargo run --release --example bench_viewers [--keep FOLDER] [CALLS ROOMS]`. To store a million
//! calls takes a while: with `--keep` the database stays in the folder and is used again. Rooms and
//! their members are stored by the program's own write path; calls and stays are written as derived
//! rows, without their events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a bench"
)]

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
use callscope::web::sign_in::access::{Access, AccessSettings};
use callscope::web::sign_in::proxy::TrustedProxies;
use callscope::web::{Options, SharedMemory, Web, serve};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const NOW: i64 = 1_795_358_836_000;
const MINUTE: i64 = 60_000;
const YEAR: i64 = 365 * 24 * 60 * MINUTE;
const PEOPLE_OF_ROOM: usize = 8;
const PEOPLE: usize = 20_000;
const SERVERS: usize = 200;
/// How often everything is asked, each time of a server that has nothing in memory; and what takes
/// the operator longer than this, ms, on a machine that also does other things.
const ROUNDS: usize = 9;
const ROUNDS_OF_SLOW: usize = 3;
const SLOW_MS: f64 = 1000.0;

/// Who asks, and how many of 10,000 rooms they see.
const OPERATOR: &str = "@op:example.org";
const VIEWERS: [(&str, usize); 2] = [("@few:example.org", 50), ("@many:example.org", 9000)];

/// The page of a list after the first.
const SECOND_PAGE: &str = "page 2 of /api/v1/calls";

const PATHS: [&str; 17] = [
    SECOND_PAGE,
    "/calls",
    "/api/v1/calls?limit=50",
    "/api/v1/calls?limit=50&kind=group&min_minutes=30",
    "/api/v1/calls?limit=50&server=server7.example.org",
    "/api/v1/calls?limit=50&sort=-peak",
    "/api/v1/calls?limit=50&q=room7",
    "/api/v1/calls?limit=50&status=active",
    "/",
    "/rooms",
    "/servers?period=7d",
    "/servers?period=30d",
    "/servers?period=365d",
    "/statistics?period=7d",
    "/statistics?period=30d",
    "/statistics?period=90d",
    "/statistics?period=365d",
];

fn arrival(json: &Value) -> Arrival {
    Arrival {
        json: json.to_string(),
        event: RoomEvent::from_json(json, None).unwrap().into(),
        in_timeline: true,
    }
}

fn state(room: usize, kind: &str, key: &str, content: &Value) -> Arrival {
    arrival(
        &json!({"event_id": format!("${room}{kind}{key}"), "type": kind, "state_key": key,
        "sender": "@admin:example.org", "origin_server_ts": NOW - YEAR - MINUTE,
        "content": content}),
    )
}

/// The account of somebody of a room.
fn user(room: usize, at: usize) -> String {
    let number = (room * 37 + at * 7919) % PEOPLE;

    format!("@user{number}:server{}.example.org", number % SERVERS)
}

/// `$1` calls in `$2` rooms, until `$3` and over `$4`, ms: each room's at even steps of time, from
/// another moment on.
const CALLS: &str =
    "with recursive n(n) as (select 0 union all select n + 1 from n where n < $1 - 1),
        calls as (select n, n % $2 as room, $3 - $4 + $4 / ($1 / $2) * (n / $2)
            + n % $2 * 7654321 % ($4 / ($1 / $2) - 6000000) as start,
            60000 * (2 + (n % $2 + n / $2 * 13) % 58) as length,
            (n % $2 * 37 + n / $2 % 8 * 7919) % 200 as one,
            (n % $2 * 37 + (n / $2 + 3) % 8 * 7919) % 200 as two,
            (n % $2 * 37 + (n / $2 + 6) % 8 * 7919) % 200 as three from n)
    insert into sessions (id, room_id, slot_id, application, started_ms, until_ms, memberships,
        users, devices, peak, peak_users, servers, first_event_id)
    select 'c' || n, '!room' || room || ':example.org', 's', 'm.call', start, start + length, 3, 3,
        3, 3, 3, 'server' || one || '.example.org server' || two || '.example.org server' || three
            || '.example.org', '$j' || n
    from calls";

/// The stays of each call, of three of the eight people of its room. One of 50 ran out.
const STAYS: &str = "with places(at) as (values (0), (1), (2)),
        numbers as (select s.*, cast(substr(s.id, 2) as integer) as n from sessions s),
        stays as (select n.*, at, (n % $1 * 37 + (n / $1 + at * 3) % 8 * 7919) % 20000 as who,
            n % 50 = at as ran_out from numbers n cross join places)
    insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind,
        joined_ms, until_ms, end_event_id, end_reason, updates, join_event_id, resumed, claimed,
        selection, session_id)
    select id || '-' || at, room_id, 'k' || who, slot_id,
        '@user' || who || ':server' || who % 200 || '.example.org', 'DEVICE',
        'server' || who % 200 || '.example.org', 'session', started_ms + at * 20000, until_ms,
        case when ran_out then null else '$l' || id || at end,
        case when ran_out then 'expired' else 'left' end, 0, '$j' || id || at, 0, 0, 'unknown', id
    from stays";
const SIGNS: &str =
    "insert into signs (membership_id, joined_ms, until_ms, updates, from_ms, to_ms)
    select id, joined_ms, until_ms, updates, joined_ms, (joined_ms + until_ms) / 2
    from memberships where end_event_id is null";

/// Writes the calls and their stays.
async fn write_calls(url: &str, calls: usize, rooms: usize) {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let (calls, rooms) = (calls as i64, rooms as i64);
    let statement = sqlx::query(CALLS).bind(calls).bind(rooms);
    let statement = statement.bind(NOW - 100 * MINUTE).bind(YEAR);
    statement.execute(&pool).await.unwrap();
    sqlx::query(STAYS).bind(rooms).execute(&pool).await.unwrap();
    sqlx::query(SIGNS).execute(&pool).await.unwrap();
    pool.close().await;
}

/// What one room is, and who is in it.
fn room(at: usize, rooms: usize) -> RoomBatch {
    let mut batch = RoomBatch::new(&format!("!room{at}:example.org"), Source::Sync);
    batch.watch = Some(Watch::Joined);
    batch.arrivals = vec![
        state(
            at,
            "m.room.name",
            "",
            &json!({"name": format!("Room {at}")}),
        ),
        state(at, "m.room.join_rules", "", &json!({"join_rule": "invite"})),
        state(
            at,
            "m.room.history_visibility",
            "",
            &json!({"history_visibility": "shared"}),
        ),
    ];
    let others = VIEWERS
        .iter()
        .filter(|(_, sees)| at % (rooms / 10).max(1) < sees * rooms / 10_000 / 10)
        .map(|(user, _)| (*user).to_owned());
    for user in (0..PEOPLE_OF_ROOM)
        .map(|number| user(at, number))
        .chain(others)
    {
        batch.arrivals.push(state(
            at,
            "m.room.member",
            &user,
            &json!({"membership": "join", "displayname": user[1..9]}),
        ));
    }

    batch
}

async fn fill(store: &Writer, rooms: usize) {
    let start = vantages::VantageStart {
        id: "bench",
        user_id: "@bot:example.org",
        homeserver: "https://example.org",
        device_id: None,
        mode: Mode::Follow,
        software: None,
        delayed_events: true,
        sticky_events: true,
        now: NOW - YEAR,
    };

    vantages::record_start(store, &start).await.unwrap();
    for from in (0..rooms).step_by(100) {
        let batch = Batch {
            vantage_id: "bench".into(),
            seen_ms: NOW - MINUTE,
            position: Some("s1".into()),
            rooms: (from..(from + 100).min(rooms))
                .map(|at| room(at, rooms))
                .collect(),
            invitations: vec![],
        };

        write_batch(store, &Rules::default(), &batch).await.unwrap();
        eprint!("\r{from} of {rooms} rooms stored ");
    }

    eprintln!();
}

/// The database: a kept one if there is one, else a new one, which is made under a temporary name.
async fn filled(folder: &std::path::Path, calls: usize, rooms: usize) -> Writer {
    let done = folder.join(format!("viewers-{calls}-{rooms}.db"));
    let url = |path: &std::path::Path| format!("sqlite://{}", path.display());
    if !done.exists() {
        let making = done.with_extension("making");
        let _ = std::fs::remove_file(&making);
        let store = Writer::open(&url(&making)).await.unwrap();
        fill(&store, rooms).await;
        store.close().await;
        write_calls(&url(&making), calls, rooms).await;
        std::fs::rename(&making, &done).unwrap();
    }

    Writer::open(&url(&done)).await.unwrap()
}

/// Counts the finished days, as the observer does in the background.
async fn count_days(store: &Writer) {
    let (begun, mut counted) = (Instant::now(), 0);
    for day in daily_rollup::list_uncounted_days(store, NOW).await.unwrap() {
        counted += usize::from(daily_rollup::count_day(store, day, NOW).await.unwrap());
    }

    let seconds = begun.elapsed().as_secs_f64();
    println!("{counted} days counted in the background in {seconds:.1} s");
}

/// How long an address takes somebody, ms, and the answer.
async fn ask(base: &str, user: &str, path: &str) -> (f64, String) {
    let begun = Instant::now();
    let answer = reqwest::Client::new()
        .get(format!("{base}{path}"))
        .header("x-user", user)
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let body = answer.text().await.unwrap();
    if !status.is_success() {
        println!("{user} {path}: {status} {body}");
    }

    (begun.elapsed().as_secs_f64() * 1000.0, body)
}

/// Asks for these paths, by a server that has nothing in memory: ms by path and viewer.
async fn ask_for_all(store: &Writer, users: &[&str], paths: &[&str]) -> Vec<Vec<f64>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let settings = AccessSettings {
        proxies: TrustedProxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            user_header: "x-user".into(),
            user_id: "{user}".into(),
        },
        operators: vec![OPERATOR.into()],
        ..AccessSettings::default()
    };
    let web = Web {
        store: store.reader(),
        changes: Changes::default(),
        clock: Clock::fixed(NOW),
        public_url: None,
        access: Access::new(settings, store.sign_ins()),
        options: Options::default(),
        memory: SharedMemory::default(),
    };
    let server = serve(listener, web).unwrap();
    let handle = server.handle();
    tokio::spawn(server);

    let mut found = Vec::new();
    for path in paths {
        let mut times = Vec::new();
        for user in users {
            // The connections of the viewer are there, and know their rooms.
            ask(&base, user, "/api/v1/calls?limit=1").await;
            let mut path = (*path).to_owned();
            if path == SECOND_PAGE {
                let (_, first) = ask(&base, user, "/api/v1/calls?limit=50").await;
                let first: Value = serde_json::from_str(&first).unwrap();
                path = format!(
                    "/api/v1/calls?limit=50&cursor={}",
                    first["next"].as_str().expect("a second page")
                );
            }

            times.push(ask(&base, user, &path).await.0);
        }

        eprintln!("{path}: {times:.0?} ms");

        found.push(times);
    }

    handle.stop(false).await;

    found
}

#[actix_web::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kept = words
        .iter()
        .position(|word| word == "--keep")
        .map(|at| &words[at + 1]);
    let numbers: Vec<usize> = words.iter().filter_map(|text| text.parse().ok()).collect();
    let (calls, rooms) = match numbers[..] {
        [calls, rooms] => (calls, rooms),
        _ => (1_000_000, 10_000),
    };
    let own = tempfile::tempdir().unwrap();
    let folder = kept.map_or(own.path(), std::path::Path::new);
    std::fs::create_dir_all(folder).unwrap();
    let store = filled(folder, calls, rooms).await;
    count_days(&store).await;
    let users: Vec<&str> = std::iter::once(OPERATOR)
        .chain(VIEWERS.iter().map(|(user, _)| *user))
        .collect();
    let mut times: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let is_asked = |path: &&str| {
            let fastest =
                |of_path: &Vec<Vec<f64>>| of_path.iter().map(|one| one[0]).fold(f64::MAX, f64::min);
            round < ROUNDS_OF_SLOW || times.get(*path).map(fastest) < Some(SLOW_MS)
        };
        let paths: Vec<&str> = PATHS.into_iter().filter(is_asked).collect();
        let found = ask_for_all(&store, &users, &paths).await;
        for (path, of_path) in paths.into_iter().zip(found) {
            times.entry(path).or_default().push(of_path);
        }
    }

    println!(
        "{:<54}{:>12}{:>10}{:>7}{:>10}{:>7}",
        "", "operator ms", "few ms", "", "most ms", ""
    );
    for path in PATHS {
        let median = |user: usize| {
            let mut times: Vec<f64> = times[path].iter().map(|round| round[user]).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let (operator, few, many) = (median(0), median(1), median(2));
        println!(
            "{path:<54}{operator:>12.1}{few:>10.1}{:>6.2}x{many:>10.1}{:>6.2}x",
            few / operator,
            many / operator
        );
    }

    store.close().await;
}
