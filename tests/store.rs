//! The store: what it holds after any batches equals what the pure core derives, on each database it is given.

mod generate;

use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::{self, Derived};
use callscope::store::batch::{Arrival, Batch, RoomBatch, Source, write};
use callscope::store::row::{CallFilter, Viewer};
use callscope::store::{Store, events, memberships, sessions};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

const ROOM: &str = "!r:h0";
/// After everything in the generated rooms.
const LATER: i64 = 1_800_000_000_000;

fn arrivals(room: &[Value]) -> Vec<Arrival> {
    let arrival = |json: &Value| Arrival {
        event: RoomEvent::from_recorded(json).unwrap(),
        json: json.to_string(),
        in_timeline: true,
    };
    room.iter().map(arrival).collect()
}

fn batch(arrivals: Vec<Arrival>) -> Batch {
    let room = RoomBatch { arrivals, ..RoomBatch::new(ROOM, Source::Backfill) };
    Batch { vantage_id: "v".into(), seen_ms: LATER, position: None, rooms: vec![room] }
}

async fn open() -> (Store, std::path::PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("callscope-store-{}-{}.db", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    (Store::open(&format!("sqlite://{}", path.display())).await.unwrap(), path)
}

async fn done(store: Store, path: std::path::PathBuf) {
    store.close().await;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

/// What the store shows, in the words of the core.
async fn stored(store: &Store) -> Value {
    let calls = sessions::page(store, Viewer::Operator, &CallFilter::default(), None, 10_000, LATER).await.unwrap();
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let mut members: Vec<Value> = Vec::new();
    for m in memberships::of(store, Viewer::Operator, &ids).await.unwrap() {
        members.push(json!([
            m.joined_ms,
            m.user_id,
            m.device_id,
            m.until_ms,
            m.end_reason,
            m.updates,
            m.join_event_id,
            m.kind,
            m.resumed,
            m.session_id
        ]));
    }
    members.sort_by_key(Value::to_string);
    let mut calls: Vec<Value> = calls
        .iter()
        .map(|c| {
            json!([
                c.id,
                c.slot_id,
                c.started_ms,
                c.until_ms,
                c.memberships,
                c.people,
                c.devices,
                c.peak,
                c.peak_users,
                c.servers,
                c.intent,
                c.first_event_id
            ])
        })
        .collect();
    calls.sort_by_key(Value::to_string);
    let rejected = events::rejected(store, Viewer::Operator, Some(ROOM), 10_000).await.unwrap();
    let mut rejected: Vec<Value> = rejected.iter().map(|r| json!([r.event_id, r.reason])).collect();
    rejected.sort_by_key(Value::to_string);
    json!({"members": members, "calls": calls, "rejected": rejected})
}

fn derived(derived: &Derived) -> Value {
    let mut members: Vec<Value> = Vec::new();
    for m in derived.memberships.iter().filter(|m| m.until_ms > m.joined_ms) {
        let session = derived.sessions.iter().find(|s| s.membership_ids.contains(&m.id)).unwrap();
        members.push(json!([
            m.joined_ms,
            m.user_id,
            m.device_id,
            m.until_ms,
            m.end_reason.as_str(),
            m.updates,
            m.join_event_id,
            m.format.as_str(),
            m.resumed,
            session.id
        ]));
    }
    members.sort_by_key(Value::to_string);
    let mut calls: Vec<Value> = derived
        .sessions
        .iter()
        .map(|s| {
            json!([
                s.id,
                s.slot_id,
                s.started_ms,
                s.until_ms,
                s.memberships,
                s.users,
                s.devices,
                s.peak,
                s.peak_users,
                s.servers,
                s.intent,
                s.first_event_id
            ])
        })
        .collect();
    calls.sort_by_key(Value::to_string);
    let mut rejected: Vec<Value> = derived.rejected.iter().map(|(id, reason)| json!([id, reason])).collect();
    rejected.sort_by_key(Value::to_string);
    json!({"members": members, "calls": calls, "rejected": rejected})
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batch_boundaries_and_order_never_count(
        (room, order, sizes) in generate::room().prop_flat_map(|room| {
            let order = Just((0..room.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(room), order, prop::collection::vec(1..6_usize, 1..12))
        })
    ) {
        let want = derived(&rtc::derive(ROOM, arrivals(&room).into_iter().map(|a| a.event), &Rules::default()));
        let got = block(async {
            let (store, path) = open().await;
            let mut rest = arrivals(&order.iter().map(|&at| room[at].clone()).collect::<Vec<_>>());
            let mut sizes = sizes.iter().copied().cycle();
            while !rest.is_empty() {
                let tail = rest.split_off(sizes.next().unwrap().min(rest.len()));
                write(&store, &Rules::default(), &batch(rest.clone())).await.unwrap();
                // The same again changes nothing.
                let again = write(&store, &Rules::default(), &batch(rest)).await.unwrap();
                assert!(again.slots.is_empty() && again.new_events == 0, "{again:?}");
                rest = tail;
            }
            let got = stored(&store).await;
            done(store, path).await;
            got
        });
        prop_assert_eq!(got, want);
    }
}
