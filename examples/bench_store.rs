//! Prints the cost of the store: ingest of an event as history grows, back-fill compared with plain
//! inserts, rebuild, size.
//!
//! `cargo run --release --example bench_store [EVENTS]`. The floor is Python's `executemany` of the
//! same raw rows: all columns that the store has of a raw event and its primary key, none of the
//! store's other indexes, as many rows in a commit. Rates are given by the clock and by the
//! processor's time of the whole process, since all of it runs on one core: on a machine with other
//! work the second is what can be compared. `taskset -c 0` before it keeps it on one.
//!
//! `bench_store fill FILE EVENTS` makes a database of rooms of all shapes, `bench_store rebuild
//! FILE` derives it again in a process of its own, so that its memory can be seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench"
)]

use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::member;
use callscope::rtc::words::Source;
use callscope::store::Writer;
use callscope::store::derive::rebuild;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch};
use callscope::store::ingest::write::write_batch;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Instant;

/// Number of events of a back-fill per batch.
const BATCH: usize = 2500;
const T0: i64 = 1_600_000_000_000;

/// A member event: a join or renewal, or a leave.
fn event(at: usize, device: usize, time: i64, created: i64, joined: bool) -> Arrival {
    let user = format!("@user{device}:server{}.example.org", device % 7);
    let content = if joined {
        json!({"application": "m.call", "call_id": "", "scope": "m.room",
            "device_id": format!("DEVICE{device:04}"),
            "created_ts": created, "expires": 14_400_000, "m.call.intent": "video",
            "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
            "foci_preferred": [{"type": "livekit", "livekit_alias": "!room:server0.example.org",
                "livekit_service_url": "https://livekit-jwt.server0.example.org"}]})
    } else {
        json!({})
    };

    arrival(
        at,
        json!({"type": "org.matrix.msc3401.call.member", "sender": user, "origin_server_ts": time,
        "state_key": format!("_{user}_DEVICE{device:04}_m.call"), "content": content}),
    )
}

fn arrival(at: usize, mut json: Value) -> Arrival {
    json["event_id"] = json!(format!(
        "${:0>43}",
        format!("{:x}", at.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    ));
    let event = RoomEvent::from_json(&json, None).unwrap();

    Arrival {
        json: json.to_string(),
        event: event.into(),
        in_timeline: true,
    }
}

/// A slot that opens for each call of two by sticky events, and closes after it.
fn slots(at: usize) -> Arrival {
    let (round, step) = (at / 6, at % 6);
    let time =
        T0 + i64::try_from(round).unwrap() * 3_600_000 + i64::try_from(step).unwrap() * 60_000;
    let (user, key) = (
        format!("@user{}:server1.example.org", step % 2),
        format!("key{round}{}", step % 2),
    );
    let json = if step % 5 == 0 {
        let status = if step == 0 { "open" } else { "closed" };
        json!({"type": "org.matrix.msc4143.rtc.slot", "sender": user, "origin_server_ts": time,
            "state_key": "m.call#ROOM",
            "content": {"status": status, "application": {"type": "m.call"}}})
    } else {
        let mut content = json!({"msc4354_sticky_key": key});
        if step < 3 {
            content = json!({"slot_id": "m.call#ROOM", "application": {"type": "m.call"},
                "msc4354_sticky_key": key,
                "member": {"id": key, "user_id": user, "device_id": "DEVICE"}, "rtc_transports": [],
                "versions": []});
        }

        json!({"type": "org.matrix.msc4143.rtc.member", "sender": user, "origin_server_ts": time,
            "content": content,
            "msc4354_sticky": {"duration_ms": 3_600_000}})
    };

    arrival(at, json)
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

/// A lounge: always, one device joins before another leaves.
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
    let room = RoomBatch {
        arrivals,
        ..RoomBatch::new("!room:server0.example.org", source)
    };

    Batch {
        vantage_id: "bench".into(),
        seen_ms: T0,
        position: None,
        rooms: vec![room],
        invitations: vec![],
    }
}

async fn open(folder: &tempfile::TempDir, name: &str) -> Writer {
    Writer::open(&format!("sqlite://{}", folder.path().join(name).display()))
        .await
        .unwrap()
}

/// The time for one event, ms: the median of 101, when the history has this many events.
async fn ingest(name: &str, make: fn(usize) -> Arrival, most: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, "bench.db").await;
    let rules = Rules::default();
    let mut figures = Vec::new();
    let mut at = 0;
    for upto in [1_000, 10_000, 100_000]
        .into_iter()
        .filter(|upto| *upto <= most)
    {
        while at < upto {
            let next = (at + BATCH).min(upto);
            write_batch(
                &store,
                &rules,
                &batch((at..next).map(make).collect(), Source::Backfill),
            )
            .await
            .unwrap();
            at = next;
        }

        let mut times = Vec::new();
        for _ in 0..101 {
            let batch = batch(vec![make(at)], Source::Backfill);
            let begun = Instant::now();
            write_batch(&store, &rules, &batch).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            at += 1;
        }

        times.sort_by(f64::total_cmp);
        figures.push(times[50]);
    }

    let ratio = figures.last().unwrap() / figures[0];
    let figures: Vec<String> = figures
        .iter()
        .map(|figure| format!("{figure:9.3}"))
        .collect();
    println!("{name:<22}{}   last/first {ratio:.2}", figures.join(""));
    store.close().await;
}

const FLOOR: &str = "
import json, sqlite3, sys, time, os
rows = [tuple(json.loads(line)) for line in open(sys.argv[1])]
size, best = int(sys.argv[2]), (0, 0)
for _ in range(3):
    path = sys.argv[1] + '.db'
    for name in (path, path + '-wal', path + '-shm'):
        if os.path.exists(name): os.remove(name)
    db = sqlite3.connect(path)
    for pragma in ('journal_mode = wal', 'synchronous = normal', 'cache_size = -32000'):
        db.execute('pragma ' + pragma)
    db.execute('''create table events (event_id text not null, room_id text not null, kind text not null,
        state_key text, sender text not null, origin_server_ts bigint not null, received_ms bigint, chain text,
        replaces_state text, redacts text, redacted_ms bigint, stream bigint not null, source text not null,
        in_timeline bigint not null, rejected text, json text not null, time_ms bigint not null,
        primary key (event_id, room_id))''')
    begun, cpu = time.time(), time.process_time()
    for at in range(0, len(rows), size):
        db.executemany('insert into events values (' + '?, ' * 16 + '?)', rows[at:at + size]); db.commit()
    rate = (len(rows) / (time.time() - begun), len(rows) / (time.process_time() - cpu))
    best = (max(best[0], rate[0]), max(best[1], rate[1])); db.close()
print(*best)
";

/// A rate by wall-clock time and by CPU time.
type Rate = (f64, f64);

/// Rows per second of Python's `executemany`, with the same rows and as many per commit.
fn floor(folder: &tempfile::TempDir, arrivals: &[Arrival]) -> Option<Rate> {
    let path = folder.path().join("rows");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for (at, Arrival { event, json, .. }) in arrivals.iter().enumerate() {
        let event = event.clone();
        let member_key = member::member_key_of(&event).unwrap();
        let (time, room) = (event.time(), "!room:server0.example.org");
        let row = json!([
            event.event_id,
            room,
            event.kind,
            event.state_key,
            event.sender,
            event.origin_server_ts,
            event.received_ts,
            member_key,
            event.replaces_state,
            event.redacts,
            event.redacted_ts,
            at,
            "backfill",
            1,
            null,
            json,
            time
        ]);
        writeln!(file, "{row}").unwrap();
    }

    drop(file);
    let python = std::process::Command::new("python3")
        .arg("-c")
        .arg(FLOOR)
        .arg(&path)
        .arg(BATCH.to_string())
        .output();
    let said = String::from_utf8(python.ok()?.stdout).ok()?;
    let (clock, processor) = said.trim().split_once(' ')?;

    Some((clock.parse().ok()?, processor.parse().ok()?))
}

/// A start time, by wall clock and by CPU time.
struct Timer(Instant, f64);

impl Timer {
    fn new() -> Self {
        Self(Instant::now(), cpu())
    }

    fn rate(&self, events: usize) -> Rate {
        (
            events as f64 / self.0.elapsed().as_secs_f64(),
            events as f64 / (cpu() - self.1).max(0.01),
        )
    }
}

/// The CPU time of this process so far, s.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };

    (ticks(11) + ticks(12)) / 100.0
}

async fn rates(events: usize) {
    println!("events/s              clock    processor");
    let folder = tempfile::tempdir().unwrap();
    let arrivals: Vec<Arrival> = (0..events).rev().map(gaps).collect();
    let floor = floor(&folder, &arrivals).unwrap_or((0.0, 0.0));
    println!("executemany        {:9.0}    {:9.0}", floor.0, floor.1);
    let store = open(&folder, "bench.db").await;
    let batches: Vec<Batch> = arrivals
        .chunks(BATCH)
        .map(|some| batch(some.to_vec(), Source::Backfill))
        .collect();
    drop(arrivals);
    let timer = Timer::new();
    for batch in &batches {
        write_batch(&store, &Rules::default(), batch).await.unwrap();
    }

    print_rate("back-fill", timer.rate(events), floor);
    drop(batches);
    let timer = Timer::new();
    rebuild_all(&store).await;
    print_rate("rebuild", timer.rate(events), floor);
    let (bytes, stays) = rebuild::measure_database(&store).await.unwrap();
    println!(
        "database            {:9.0} bytes a membership ({stays} memberships)",
        bytes as f64 / stays as f64
    );
    store.close().await;
}

fn print_rate(name: &str, rate: Rate, floor: Rate) {
    let share = (rate.0 / floor.0, rate.1 / floor.1);
    println!(
        "{name:<18} {:9.0}    {:9.0}    share of executemany {:.2}  {:.2}",
        rate.0, rate.1, share.0, share.1
    );
}

async fn rebuild_all(store: &Writer) {
    for (room_id, _) in rebuild::count_member_events(store, None).await.unwrap() {
        let mut place = rebuild::RebuildPlace::default();
        while let Some(next) = rebuild::rebuild_next_part(store, &Rules::default(), &room_id, place)
            .await
            .unwrap()
        {
            place = next;
        }

        rebuild::recount_calls(store, &room_id).await.unwrap();
    }
}

/// Makes the event number `at`.
type Shape = fn(usize) -> Arrival;

/// Rooms of all shapes: half of the events in calls with gaps between them, the rest in lounges.
async fn fill(path: &str, events: usize) {
    let store = Writer::open(&format!("sqlite://{path}")).await.unwrap();
    let shapes: [(&str, Shape, usize); 3] = [
        ("gaps", gaps, 2),
        ("lounge", lounge, 4),
        ("one", renewing, 4),
    ];
    for (name, make, share) in shapes {
        let timer = Timer::new();
        for from in (0..events / share).step_by(BATCH) {
            let mut arrivals: Vec<Arrival> = (from..(from + BATCH).min(events / share))
                .map(make)
                .collect();
            for arrival in &mut arrivals {
                std::sync::Arc::make_mut(&mut arrival.event)
                    .event_id
                    .push_str(name);
            }

            let mut batch = batch(arrivals, Source::Backfill);
            batch.rooms[0].room_id = format!("!{name}:server0.example.org");
            write_batch(&store, &Rules::default(), &batch)
                .await
                .unwrap();
        }

        println!(
            "{name:<10} {:9.0} events/s by the processor",
            timer.rate(events / share).1
        );
    }

    store.close().await;
}

/// Derives a whole database again; prints the time and the peak memory.
async fn again(path: &str) {
    let store = Writer::open(&format!("sqlite://{path}")).await.unwrap();
    let events: i64 = rebuild::count_member_events(&store, None)
        .await
        .unwrap()
        .iter()
        .map(|(_, events)| events)
        .sum();
    let timer = Timer::new();
    rebuild_all(&store).await;
    let rate = timer.rate(usize::try_from(events).unwrap());
    println!(
        "rebuild of {events} events: {:.0} events/s by the clock, {:.0} by the processor",
        rate.0, rate.1
    );
    let (bytes, stays) = rebuild::measure_database(&store).await.unwrap();
    println!(
        "database: {bytes} bytes, {:.0} a membership ({stays} memberships)",
        bytes as f64 / stays as f64
    );
    println!("most memory: {}", memory());
    store.close().await;
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", path, events] => return fill(path, events.parse().unwrap()).await,
        ["rebuild", path] => return again(path).await,
        _ => {}
    }

    let events = arguments
        .first()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    rates(events).await;
    if arguments.len() > 1 {
        return;
    }

    println!("\nms for one event after     1,000   10,000  100,000 of one slot");
    ingest("slot with gaps", gaps, events).await;
    ingest("lounge, never empty", lounge, events).await;
    ingest("one device renewing", renewing, events).await;
    ingest("slot opened each time", slots, events).await;
}
