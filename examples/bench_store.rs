//! Prints what the store costs: an event's ingest as history grows, back-fill against plain inserts, rebuild, size.
//!
//! `cargo run --release --example bench_store [EVENTS]`; the floor is Python's `executemany` into `SQLite`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench"
)]

use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::store::batch::{Arrival, Batch, RoomBatch, Source, write};
use callscope::store::{Store, rebuild};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Instant;

const T0: i64 = 1_600_000_000_000;

/// A member event: a join or renewal, or a leave.
fn event(at: usize, device: usize, time: i64, created: i64, joined: bool) -> Arrival {
    let user = format!("@user{device}:server{}.example.org", device % 7);
    let content = if joined {
        json!({"application": "m.call", "call_id": "", "scope": "m.room", "device_id": format!("DEVICE{device:04}"),
            "created_ts": created, "expires": 14_400_000, "m.call.intent": "video",
            "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
            "foci_preferred": [{"type": "livekit", "livekit_alias": "!room:server0.example.org",
                "livekit_service_url": "https://livekit-jwt.server0.example.org"}]})
    } else {
        json!({})
    };
    let json: Value = json!({"event_id": format!("${:0>43}", format!("{:x}", at.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        "type": "org.matrix.msc3401.call.member", "sender": user, "origin_server_ts": time,
        "state_key": format!("_{user}_DEVICE{device:04}_m.call"), "content": content});
    let event = RoomEvent::from_json(&json, None).unwrap();
    Arrival { json: json.to_string(), event, in_timeline: true }
}

/// Calls with gaps between them: two devices join, a minute later they leave.
fn gaps(at: usize) -> Arrival {
    let (round, step) = (at / 4, at % 4);
    let start = T0 + i64::try_from(round).unwrap() * 3_600_000;
    let device = (round * 2 + step % 2) % 40;
    event(
        at,
        device,
        start + i64::try_from(step).unwrap() * 60_000,
        start + i64::try_from(step % 2).unwrap() * 60_000,
        step < 2,
    )
}

/// A lounge: one joins before another leaves, always.
fn lounge(at: usize) -> Arrival {
    let time = T0 + i64::try_from(at).unwrap() * 60_000;
    let joins = at.is_multiple_of(2);
    let device = if joins { at / 2 } else { (at / 2 + 198) % 200 } % 200;
    event(at, device, time, time, joins)
}

/// One device that renews for ever.
fn renewing(at: usize) -> Arrival {
    event(at, 1, T0 + i64::try_from(at).unwrap() * 3_600_000, T0, true)
}

fn batch(arrivals: Vec<Arrival>, source: Source) -> Batch {
    let room = RoomBatch { arrivals, ..RoomBatch::new("!room:server0.example.org", source) };
    Batch { vantage_id: "bench".into(), seen_ms: T0, position: None, rooms: vec![room] }
}

async fn open(folder: &tempfile::TempDir, name: &str) -> Store {
    Store::open(&format!("sqlite://{}", folder.path().join(name).display())).await.unwrap()
}

/// Milliseconds for one event alone, the median of 101, when so many are there.
async fn ingest(name: &str, make: fn(usize) -> Arrival, most: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "bench.db").await;
    let rules = Rules::default();
    let mut figures = Vec::new();
    let mut at = 0;
    for upto in [1_000, 10_000, 100_000].into_iter().filter(|upto| *upto <= most) {
        while at < upto {
            let next = (at + 250).min(upto);
            write(&store, &rules, &batch((at..next).map(make).collect(), Source::Backfill)).await.unwrap();
            at = next;
        }
        let mut times = Vec::new();
        for _ in 0..101 {
            let batch = batch(vec![make(at)], Source::Backfill);
            let begun = Instant::now();
            write(&store, &rules, &batch).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            at += 1;
        }
        times.sort_by(f64::total_cmp);
        figures.push(times[50]);
    }
    let ratio = figures.last().unwrap() / figures[0];
    let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:9.3}")).collect();
    println!("{name:<22}{}   last/first {ratio:.2}", figures.join(""));
    store.close().await;
}

const FLOOR: &str = "
import json, sqlite3, sys, time, os
rows = [tuple(json.loads(line)) for line in open(sys.argv[1])]
best = 0
for _ in range(3):
    path = sys.argv[1] + '.db'
    if os.path.exists(path): os.remove(path)
    db = sqlite3.connect(path)
    db.execute('pragma journal_mode = wal'); db.execute('pragma synchronous = normal')
    db.execute('create table events (event_id text, room_id text, kind text, state_key text, sender text, ts bigint, json text, primary key (event_id, room_id))')
    begun = time.time()
    for at in range(0, len(rows), 250):
        db.executemany('insert into events values (?, ?, ?, ?, ?, ?, ?)', rows[at:at + 250]); db.commit()
    best = max(best, len(rows) / (time.time() - begun)); db.close()
print(int(best))
";

/// Rows a second of Python's `executemany`, the same rows, one commit for each 250.
fn floor(folder: &tempfile::TempDir, arrivals: &[Arrival]) -> Option<f64> {
    let path = folder.path().join("rows");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for Arrival { event, json, .. } in arrivals {
        let row =
            json!([event.event_id, "!room", event.kind, event.state_key, event.sender, event.origin_server_ts, json]);
        writeln!(file, "{row}").unwrap();
    }
    drop(file);
    let done = std::process::Command::new("python3").arg("-c").arg(FLOOR).arg(&path).output().ok()?;
    String::from_utf8(done.stdout).ok()?.trim().parse().ok()
}

async fn rates(events: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "bench.db").await;
    let rules = Rules::default();
    let arrivals: Vec<Arrival> = (0..events.min(100_000)).map(gaps).collect();
    let floor = floor(&folder, &arrivals);
    drop(arrivals);
    let mut spent = 0.0;
    let mut at = events;
    while at > 0 {
        let from = at.saturating_sub(250);
        let batch = batch((from..at).rev().map(gaps).collect(), Source::Backfill);
        let begun = Instant::now();
        write(&store, &rules, &batch).await.unwrap();
        spent += begun.elapsed().as_secs_f64();
        at = from;
    }
    let rate = events as f64 / spent;
    let share = floor.map_or(0.0, |floor| rate / floor);
    println!(
        "back-fill, backwards   {rate:9.0} events/s; executemany {:9.0} rows/s; share {share:.2}",
        floor.unwrap_or(0.0)
    );
    let begun = Instant::now();
    for (room_id, _) in rebuild::sizes(&store, None).await.unwrap() {
        let mut place = rebuild::Place::default();
        while let Some(next) = rebuild::step(&store, &rules, &room_id, place).await.unwrap() {
            place = next;
        }
        rebuild::calls(&store, &room_id).await.unwrap();
    }
    println!("rebuild                {:9.0} events/s", events as f64 / begun.elapsed().as_secs_f64());
    let (bytes, stays) = rebuild::weight(&store).await.unwrap();
    println!("database               {:9.0} bytes a membership ({stays} memberships)", bytes as f64 / stays as f64);
    store.close().await;
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned()
}

#[tokio::main]
async fn main() {
    let events = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    rates(events).await;
    println!("most memory            {}", memory());
    println!("\nms for one event after     1,000   10,000  100,000 of one slot");
    ingest("slot with gaps", gaps, events).await;
    ingest("lounge, never empty", lounge, events).await;
    ingest("one device renewing", renewing, events).await;
}
