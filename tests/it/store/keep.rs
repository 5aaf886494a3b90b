//! Deletion by age: deleting raw events changes no derived data; calls are deleted completely.

use crate::generate;
use crate::store::{LATER, all_calls, members_of};
use crate::support::database::Database;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::words::Source;
use callscope::store::db::instance_lock::InstanceLock;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch, StateSnapshot};
use callscope::store::ingest::write::write_batch;
use callscope::store::stats::concurrency;
use callscope::store::upkeep::retention;
use callscope::store::{Error, Writer};
use proptest::prelude::*;
use serde_json::{Value, json};

const ROOM: &str = "!r:h0";
/// The generated rooms begin here, and last a tenth of a second.
const BEGIN: i64 = 1_700_000_000_000;

struct Place {
    store: Writer,
    database: Database,
}

async fn open() -> Place {
    let database = Database::new().await;

    Place {
        store: Writer::open(database.url()).await.unwrap(),
        database,
    }
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn batch(room: &[Value]) -> Batch {
    let arrival = |json: &Value| Arrival {
        event: RoomEvent::from_recorded(json).unwrap().into(),
        json: json.to_string(),
        in_timeline: true,
    };

    let room = RoomBatch {
        arrivals: room.iter().map(arrival).collect(),
        ..RoomBatch::new(ROOM, Source::Backfill)
    };

    Batch {
        vantage_id: "v".into(),
        seen_ms: LATER,
        position: None,
        rooms: vec![room],
        invitations: vec![],
    }
}

async fn take(store: &Writer, room: &[Value]) {
    for some in room.chunks(3) {
        write_batch(store, &Rules::default(), &batch(some))
            .await
            .unwrap();
    }
}

/// Calls and stays as pages show them.
async fn shown(store: &Writer) -> Vec<String> {
    let calls = all_calls(store).await;
    let mut members = members_of(store, &calls).await;
    // The room's event by which somebody was removed is named only while it is stored.
    for member in members
        .iter_mut()
        .filter(|member| member.stay.end_reason.as_str().starts_with("room_"))
    {
        member.stay.end_event_id = None;
    }

    calls
        .iter()
        .map(|call| format!("{call:?}"))
        .chain(members.iter().map(|member| format!("{member:?}")))
        .collect()
}

/// Deletes by age in one room, as the observer does each day; returns the number of deleted events.
async fn forget(store: &Writer, events: i64, calls: Option<i64>) -> usize {
    let rules = Rules::default();
    let keep = retention::events_in_state(store, ROOM).await.unwrap();
    let mut gone = 0;
    for member_key in retention::list_old_keys(store, ROOM, events).await.unwrap() {
        retention::raise_cutoff(store, &rules, ROOM, &member_key, events)
            .await
            .unwrap();
        let old = retention::events_before_cutoff(store, ROOM, &member_key)
            .await
            .unwrap();
        let old: Vec<&String> = old.iter().filter(|id| !keep.contains(*id)).collect();
        gone += old.len();
        retention::delete_stored_events(store, ROOM, &old, LATER)
            .await
            .unwrap();
    }

    let loose = retention::old_events_without_key(store, ROOM, events)
        .await
        .unwrap();
    gone += loose.len();
    retention::delete_stored_events(store, ROOM, &loose.iter().collect::<Vec<_>>(), LATER)
        .await
        .unwrap();
    while let Some(true) = match calls {
        Some(before) => Some(
            retention::delete_calls(store, ROOM, before, LATER)
                .await
                .unwrap(),
        ),
        None => None,
    } {}
    while retention::delete_snapshots(store, events, LATER)
        .await
        .unwrap()
    {}
    while retention::release_free_pages(store).await.unwrap() {}

    gone
}

proptest! {
    #![proptest_config(generate::config(120))]

    /// Events are deleted in two rounds, at any times; events that the homeserver sends again later
    /// change nothing.
    #[test]
    fn nothing_that_follows_from_events_changes_when_they_go(
        room in generate::room(), first in 0..200_i64, second in 0..200_i64, again in 0..40_usize
    ) {
        block(async {
            let place = open().await;
            let store = &place.store;
            take(store, &room).await;
            let before = shown(store).await;
            let (first, second) = (first * generate::UNIT, second * generate::UNIT);
            forget(store, BEGIN + first, None).await;
            assert_eq!(shown(store).await, before, "events went");
            let old: Vec<Value> = room.iter().filter(|event| {
                RoomEvent::from_recorded(event).unwrap().time() < BEGIN + first.min(second)
                    && event["type"].as_str().unwrap().ends_with(".member") && event["type"] != "m.room.member"
            }).skip(again % room.len()).cloned().collect();
            forget(store, BEGIN + second, None).await;
            assert_eq!(shown(store).await, before, "more events went");
            let sealed = retention::events_before_cutoff(store, ROOM, "").await.unwrap();
            assert!(sealed.is_empty());
            if forget(store, BEGIN + 100_000_000, None).await > 0 || !old.is_empty() {
                take(store, &old).await;
                assert_eq!(shown(store).await, before, "old events came back");
            }

            let events = concurrency::count_stored_rows(store).await.unwrap().events;
            forget(store, BEGIN + 100_000_000, Some(LATER)).await;
            assert!(shown(store).await.is_empty(), "calls go whole: {events} events were left");
        });
    }
}

fn member(id: &str, user: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": "m.call.member", "state_key": format!("_{user}_D"),
        "sender": user,
        "origin_server_ts": BEGIN + at, "content": content})
}

fn join() -> Value {
    json!({"application": "m.call", "call_id": "", "device_id": "D", "expires": 1_000_000,
        "focus_active": {"type": "livekit"}})
}

/// A new call after the old events were deleted: the old call stays, the new one is there, its
/// events are kept.
#[test]
fn a_chain_goes_on_after_its_events_went() {
    block(async {
        let place = open().await;
        let store = &place.store;
        let old = [
            member("$1", "@a:h", 0, &join()),
            member("$2", "@a:h", 100, &json!({})),
        ];
        take(store, &old).await;
        let was = shown(store).await;
        assert_eq!(forget(store, BEGIN + 1000, None).await, 2);
        take(store, &[member("$3", "@a:h", 5000, &join())]).await;
        let now = shown(store).await;
        assert!(
            was.iter().all(|line| now.contains(line)) && now.len() == 4,
            "{now:?}"
        );
        assert_eq!(
            forget(store, BEGIN + 6000, Some(BEGIN + 3000)).await,
            0,
            "the open stay needs its event"
        );
        let left = shown(store).await;
        assert!(
            left.len() == 2 && left.iter().all(|line| !was.contains(line)),
            "{left:?}"
        );
        let removed = retention::list_deleted_totals(store).await.unwrap();
        let total = |what: &str| {
            removed
                .iter()
                .find(|row| row.what == what)
                .map(|row| row.total)
        };

        assert_eq!((total("events"), total("calls")), (Some(2), Some(1)));
    });
}

/// An event in the room's state comes with every poll: it stays, but no longer counts.
#[test]
fn what_is_in_the_state_stays_and_its_call_can_go() {
    block(async {
        let place = open().await;
        let store = &place.store;
        let mut look = batch(&[
            member("$1", "@a:h", 0, &join()),
            member("$2", "@a:h", 100, &json!({})),
        ]);
        look.rooms[0].snapshot = Some(StateSnapshot {
            asked_ms: BEGIN,
            members: ["$2".to_owned()].into(),
            people: std::collections::BTreeSet::new(),
        });
        write_batch(store, &Rules::default(), &look).await.unwrap();
        assert_eq!(forget(store, BEGIN + 1000, Some(BEGIN + 1000)).await, 1);
        assert!(shown(store).await.is_empty());
        let again = write_batch(store, &Rules::default(), &look).await.unwrap();
        assert_eq!(forget(store, BEGIN + 1000, Some(BEGIN + 1000)).await, 1);
        assert_eq!(
            again.new_events, 1,
            "only the one that is not in the state is new to us"
        );
        assert!(shown(store).await.is_empty());
    });
}

#[test]
fn deleted_space_is_given_back() {
    block(async {
        let place = open().await;
        let store = &place.store;
        let bytes = async || {
            concurrency::count_stored_rows(store)
                .await
                .unwrap()
                .database_bytes
                .unwrap()
        };

        let empty = bytes().await;
        let mut long = join();
        long["x"] = json!("x".repeat(20_000));
        let room: Vec<Value> = (0..200)
            .map(|at| member(&format!("${at}"), &format!("@u{at}:h"), at, &long))
            .collect();
        take(store, &room).await;
        let full = bytes().await;
        assert!(full > empty, "{empty} {full}");
        assert_eq!(forget(store, BEGIN + 10_000_000, None).await, 200);
        let after = bytes().await;
        // PostgreSQL does this later by itself.
        assert!(
            after < empty + 1_000_000 || !place.database.is_file(),
            "{empty} {full} {after}"
        );
    });
}

#[test]
fn one_process_has_a_database() {
    block(async {
        let place = open().await;
        let first = InstanceLock::acquire_lock(place.database.url(), "process 1")
            .await
            .unwrap();
        let error = InstanceLock::acquire_lock(place.database.url(), "process 2")
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Held { by, .. } if by == "process 1"),
            "{error}"
        );
        drop(first);
        // A server needs a moment to notice that a connection is closed.
        for _ in 0..500 {
            if InstanceLock::acquire_lock(place.database.url(), "process 3")
                .await
                .is_ok()
            {
                return;
            }

            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }

        panic!("the hold was not given free");
    });
}
