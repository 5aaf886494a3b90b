//! Prints how long lists and statistics take a viewer who sees few of the rooms and one who sees
//! most of them, as multiples of the operator's time: 1,000,000 calls of three people each, in
//! 10,000 rooms, over a year.
//!
//! `cargo run --release --example bench_viewers [--keep FOLDER] [CALLS ROOMS]`. To store a million
//! calls takes long: with `--keep` the database stays in the folder and is used again. Everything
//! is stored by the program's own write path.
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
use std::time::Instant;

const NOW: i64 = 1_795_358_836_000;
const MINUTE: i64 = 60_000;
const YEAR: i64 = 365 * 24 * 60 * MINUTE;
const PEOPLE_OF_ROOM: usize = 8;
const PEOPLE: usize = 20_000;
const SERVERS: usize = 200;
/// How often everything is asked, each time of a server that has nothing in memory.
const ROUNDS: usize = 3;

/// Who asks, and how many of 10,000 rooms they see.
const OPERATOR: &str = "@op:example.org";
const VIEWERS: [(&str, usize); 2] = [("@few:example.org", 50), ("@many:example.org", 9000)];

const PATHS: [&str; 16] = [
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

/// The events of one call: three people join and leave, one after the other.
fn call(room: usize, number: usize, calls: usize) -> Vec<Arrival> {
    let step = YEAR / calls as i64;
    // Rooms do not all begin their calls at the same time.
    let start =
        NOW - YEAR + step * number as i64 + (room as i64 * 7_654_321) % (step - 100 * MINUTE);
    let length = MINUTE * (2 + (room + number * 13) as i64 % 58);
    let mut events = Vec::new();
    for at in 0..3 {
        let user = user(room, (number + at * 3) % PEOPLE_OF_ROOM);
        let joined = start + at as i64 * 20_000;
        let mut event = |word: &str, time: i64, content: Value| {
            events.push(arrival(
                &json!({"event_id": format!("${room}-{number}-{at}{word}"),
                "type": "org.matrix.msc3401.call.member", "sender": user,
                "origin_server_ts": time, "state_key": format!("_{user}_DEVICE_m.call"),
                "content": content}),
            ));
        };
        let content = json!({"application": "m.call", "call_id": "", "scope": "m.room",
            "device_id": "DEVICE", "created_ts": joined, "expires": 14_400_000,
            "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
            "foci_preferred": [{"type": "livekit", "livekit_alias": "!room",
                "livekit_service_url": "https://sfu.example.org"}]});
        event("join", joined, content);
        // Somebody never says that they left, now and then.
        if (room + number + at) % 50 != 0 {
            event("leave", joined + length - at as i64 * 5000, json!({}));
        }
    }

    events
}

/// What one room is, and its calls.
fn room(at: usize, rooms: usize, calls: usize) -> RoomBatch {
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

    for number in 0..calls {
        batch.arrivals.extend(call(at, number, calls));
    }

    batch
}

async fn fill(store: &Writer, calls: usize, rooms: usize) {
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
                .map(|at| room(at, rooms, calls / rooms))
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
        fill(&store, calls, rooms).await;
        store.close().await;
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
    assert!(status.is_success(), "{user} {path}: {status}\n{body}");

    (begun.elapsed().as_secs_f64() * 1000.0, body)
}

/// Asks for everything, by a server that has nothing in memory: ms by path and viewer.
async fn ask_for_everything(store: &Writer, users: &[&str]) -> Vec<Vec<f64>> {
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
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    paths.push("page 2".to_owned());
    for path in paths {
        let mut times = Vec::new();
        for user in users {
            // The connections of the viewer are there, and know their rooms.
            ask(&base, user, "/api/v1/calls?limit=1").await;
            let mut path = path.clone();
            if path == "page 2" {
                let (_, first) = ask(&base, user, "/api/v1/calls?limit=50").await;
                let first: Value = serde_json::from_str(&first).unwrap();
                path = format!(
                    "/api/v1/calls?limit=50&cursor={}",
                    first["next"].as_str().expect("a second page")
                );
            }

            times.push(ask(&base, user, &path).await.0);
        }

        found.push(times);
    }

    handle.stop(false).await;

    found
}

#[actix_web::main]
async fn main() {
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
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(ask_for_everything(&store, &users).await);
    }

    println!(
        "{:<54}{:>12}{:>10}{:>7}{:>10}{:>7}",
        "", "operator ms", "few ms", "", "most ms", ""
    );
    for (at, path) in PATHS.iter().chain(&["page 2 of /api/v1/calls"]).enumerate() {
        let median = |user: usize| {
            let mut times: Vec<f64> = rounds.iter().map(|round| round[at][user]).collect();
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
