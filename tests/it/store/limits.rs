//! Limits for the events of one sender and for the length of an id, on each database.

use crate::store::*;
use callscope::store::ingest::sender_limit::{self, BURST};

const MALLORY: &str = "@mallory:evil.example";

fn join(device: i64, at: i64) -> Value {
    let content = json!({"application": "m.call", "call_id": "", "device_id": format!("D{device}"),
        "expires": 1000,
        "focus_active": {"type": "livekit"}, "foci_preferred": []});
    json!({"event_id": format!("$d{device}"), "type": "org.matrix.msc3401.call.member",
        "sender": MALLORY,
        "state_key": format!("_{MALLORY}_D{device}"), "origin_server_ts": at, "content": content})
}

/// A sync answer with the joins of these devices.
fn answer(devices: std::ops::Range<i64>, is_first_answer: bool) -> Batch {
    let joins: Vec<Value> = devices.map(|device| join(device, LATER)).collect();
    let mut batch = batch(arrivals(&joins));
    batch.rooms[0].source = Source::Sync;
    batch.rooms[0].is_first_answer = is_first_answer;

    batch
}

async fn stored(store: &Writer) -> i64 {
    let totals = concurrency::count_stored_rows(store).await.unwrap();
    totals.events
}

async fn floods(store: &Writer) -> usize {
    let floods = sender_limit::list_floods_of_room(store, ROOM, 9).await;
    floods.unwrap().len()
}

#[test]
fn the_first_answer_of_a_room_is_stored_whole_in_however_many_pieces_it_comes() {
    block(async {
        let (store, place) = open().await;
        let half = BURST / 2 + 100;
        for piece in 0..3 {
            let piece = answer(piece * half..(piece + 1) * half, true);
            let changed = write_batch(&store, &Rules::default(), &piece)
                .await
                .unwrap();
            assert!(changed.set_aside.is_empty());
        }

        assert_eq!((stored(&store).await, floods(&store).await), (3 * half, 0));
        // The limit applies to the next answer, and the events of the first do not count.
        let next = answer(3 * half..3 * half + BURST + 7, false);
        let changed = write_batch(&store, &Rules::default(), &next).await.unwrap();
        assert!(changed.set_aside.contains(ROOM));
        assert_eq!(
            (stored(&store).await, floods(&store).await),
            (3 * half + BURST, 1)
        );
        done(store, place).await;
    });
}

#[test]
fn what_no_index_takes_stops_nothing_that_came_with_it() {
    block(async {
        let (store, place) = open().await;
        let long = (0..9000_u32).map(|n| char::from_u32(0x4e00 + n % 8000).unwrap());
        let long: String = long.collect();
        let with = |key: &str, value: &str| {
            let mut event = join(7, LATER);
            event["event_id"] = json!(format!("$with_{key}"));
            event[key] = json!(value);
            event
        };

        let mut odd: Vec<Value> = ["event_id", "sender", "type", "state_key"]
            .map(|key| with(key, &long))
            .into();
        let mut reference = with("type", "m.room.redaction");
        reference["event_id"] = json!("$reference");
        reference["redacts"] = json!(long);
        reference["unsigned"] = json!({"replaces_state": long});
        odd.push(reference);
        for key in ["slot_id", "call_id", "device_id"] {
            let mut event = join(8, LATER);
            event["event_id"] = json!(format!("$in_{key}"));
            event["content"][key] = json!(long);
            odd.push(event);
        }

        odd.push(join(1, LATER));
        let mut room = RoomBatch::new(ROOM, Source::Sync);
        for event in &odd {
            match RoomEvent::from_recorded(event) {
                Ok(_) => room.arrivals.extend(arrivals(std::slice::from_ref(event))),
                Err(reason) => room.malformed.push((reason, event.to_string())),
            }
        }

        assert_eq!(room.malformed.len(), 4);
        assert!(
            room.malformed
                .iter()
                .all(|(reason, _)| *reason == "id_too_long")
        );
        let all = Batch {
            rooms: vec![room],
            ..batch(Vec::new())
        };

        write_batch(&store, &Rules::default(), &all).await.unwrap();
        assert_eq!(stored(&store).await, 9);
        done(store, place).await;
    });
}
