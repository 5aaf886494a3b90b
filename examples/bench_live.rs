//! Prints the cost of many open browsers: memory and CPU of a server, and how long a change takes
//! to reach all of them.
//!
//! `cargo run --release --example bench_live [BROWSERS]`, on Linux. Each browser holds the stream
//! of `/api/v1/live` open and fetches `/` again after a change, as `static/live.js` does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench"
)]

use callscope::changes::{Change, Changes};
use callscope::clock::Clock;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::words::Source;
use callscope::rtc::words::Watch;
use callscope::store::Writer;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch};
use callscope::store::ingest::write::write_batch;
use callscope::web::{Options, SharedMemory, Web, serve};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ROOMS: usize = 20;
const CHANGES: usize = 5;
/// CPU clock ticks in `/proc`, per second.
const TICKS: u64 = 100;

#[tokio::main]
async fn main() {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("serve") {
        return server().await;
    }

    let browsers: usize =
        argument.map_or(400, |count| count.parse().expect("a number of browsers"));
    let mut child = Command::new(std::env::current_exe().unwrap());
    let mut child = child
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut base = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut base)
        .unwrap();
    watch(&child, base.trim(), browsers).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A server with 20 running calls; a line on standard input is a change.
async fn server() {
    let folder = tempfile::tempdir().unwrap();
    let store = Writer::open(&format!(
        "sqlite://{}",
        folder.path().join("live.db").display()
    ))
    .await
    .unwrap();
    let now = Clock::System.now_ms();
    let batch = Batch {
        vantage_id: "v".into(),
        seen_ms: now,
        position: None,
        rooms: (0..ROOMS).map(|n| room(n, now)).collect(),
        invitations: Vec::new(),
    };

    write_batch(&store, &Rules::default(), &batch)
        .await
        .unwrap();
    let (changes, listener) = (
        Changes::default(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    println!("http://{}", listener.local_addr().unwrap());

    let web = Web {
        store: store.reader(),
        changes: changes.clone(),
        clock: Clock::System,
        public_url: None,
        access: callscope::web::sign_in::access::Access::open(),
        options: Options::default(),
        memory: SharedMemory::default(),
    };

    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            line.unwrap();
            changes.announce(Change::Observer);
        }
    });
    serve(listener, web).unwrap().await.unwrap();
}

fn room(number: usize, now: i64) -> RoomBatch {
    let join = |person: usize| {
        let user = format!("@user{person}:server{}.example.org", person % 5);
        let json = json!({"event_id": format!("${number}_{person}"),
            "type": "org.matrix.msc3401.call.member",
            "sender": user, "origin_server_ts": now - 60_000,
            "state_key": format!("_{user}_DEVICE_m.call"),
            "content": {"application": "m.call", "call_id": "", "scope": "m.room",
            "device_id": "DEVICE", "expires": 14_400_000,
                "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
                "foci_preferred": []}});
        Arrival {
            json: json.to_string(),
            event: RoomEvent::from_json(&json, Some(now)).unwrap().into(),
            in_timeline: true,
        }
    };

    let arrivals = (0..4).map(|person| join(number + person)).collect();

    RoomBatch {
        arrivals,
        watch: Some(Watch::Joined),
        ..RoomBatch::new(&format!("!room{number}:example.org"), Source::Sync)
    }
}

/// A message of a browser: it is connected, it received a change, it has the new page.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Open,
    Heard,
    Fetched,
}

async fn browser(client: reqwest::Client, base: String, number: usize, say: UnboundedSender<Said>) {
    // As behind a proxy, because the number of streams per address is limited.
    let address = format!("10.0.{}.{}", number / 50, number % 50);
    let mut stream = client
        .get(format!("{base}/api/v1/live"))
        .header("x-forwarded-for", address)
        .send()
        .await
        .unwrap();

    // It ends with the server.
    while let Ok(Some(chunk)) = stream.chunk().await {
        if chunk.starts_with(b"retry") {
            say.send(Said::Open).unwrap();
        }

        if chunk.starts_with(b"event: change") {
            say.send(Said::Heard).unwrap();
            tokio::time::sleep(Duration::from_millis(80 + number as u64 * 37 % 120)).await;
            let page = client
                .get(&base)
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            assert!(page.len() > 5000, "a page");
            say.send(Said::Fetched).unwrap();
        }
    }
}

/// Waits until each of them has sent this message; returns how long that took, ms.
async fn all(
    said: &mut UnboundedReceiver<Said>,
    what: Said,
    browsers: usize,
    since: Instant,
    early: &mut usize,
) -> u128 {
    let mut count = if what == Said::Fetched {
        std::mem::take(early)
    } else {
        0
    };

    while count < browsers {
        let one = said.recv().await.unwrap();
        count += usize::from(one == what);
        *early += usize::from(one == Said::Fetched && what == Said::Heard);
    }

    since.elapsed().as_millis()
}

async fn watch(child: &Child, base: &str, browsers: usize) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .build()
        .unwrap();
    client.get(base).send().await.unwrap();
    let before = kilobytes(child);
    let (say, mut said) = unbounded_channel();
    let begun = Instant::now();
    for number in 0..browsers {
        tokio::spawn(browser(
            client.clone(),
            base.to_owned(),
            number,
            say.clone(),
        ));
    }

    let mut early = 0;
    let opened = all(&mut said, Said::Open, browsers, begun, &mut early).await;
    let open = kilobytes(child);
    println!(
        "{browsers} streams open after {opened} ms; memory {before} kB before, {open} kB with them: {} kB each",
        (open - before) / browsers as u64
    );
    let idle = ticks(child);
    tokio::time::sleep(Duration::from_secs(30)).await;
    println!(
        "30 s without a change: {} ms of processor time",
        (ticks(child) - idle) * 1000 / TICKS
    );

    for _ in 0..CHANGES {
        let (used, changed) = (ticks(child), Instant::now());
        child.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        let heard = all(&mut said, Said::Heard, browsers, changed, &mut early).await;
        let fetched = all(&mut said, Said::Fetched, browsers, changed, &mut early).await;
        let used = (ticks(child) - used) * 1000 / TICKS;
        println!(
            "a change: all heard of it after {heard} ms, all have the new page after {fetched} ms; {used} ms of processor \
            time, memory {} kB",
            kilobytes(child)
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Memory that the process holds, kB.
fn kilobytes(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();

    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU time of the process, in ticks.
fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();

    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
