//! Limits for strangers: senders of events, and viewers.

use crate::app::bed::{Bed, MEMBER, join, key, now};
use crate::support::eventually;
use crate::support::http::quote;
use serde_json::{Value, json};
use std::time::Duration;

const MALLORY: &str = "@mallory:evil.example";
const ALICE: &str = "@alice:sim.example";

/// How many devices of the room's state are in the call now.
fn devices_now(calls: &[Value], room: &str) -> i64 {
    let here = calls
        .iter()
        .filter(|call| call["room"]["room_id"] == room && call["active"] == true);
    here.map(|call| call["devices_now"].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn a_flood_is_stored_up_to_a_limit_and_the_state_is_right_afterwards() {
    let bed = Bed::new().await;
    let (flooded, quiet) = (bed.room(&[MALLORY, ALICE]), bed.room(&[ALICE]));
    let app = bed.start().await;
    app.ready().await;
    // 3,600 devices join, leave and join, and some of them leave again.
    for round in 0..3 {
        for device in 0..3600 {
            let content = if round == 1 {
                json!({})
            } else {
                join(&format!("D{device}"))
            };

            let key = key(MALLORY, &format!("D{device}"));
            bed.hs
                .send_state(&flooded, MALLORY, MEMBER, &key, content, now());
        }
    }

    for device in 0..200 {
        bed.leaves(&flooded, MALLORY, &format!("D{device}"), now());
    }

    bed.joins(&flooded, ALICE, "A", now());
    bed.joins(&quiet, ALICE, "A", now());
    app.calls_until("another room is not kept waiting", |calls| {
        devices_now(calls, &quiet) == 1
    })
    .await;
    app.calls_until("who is there now is read from the state", |calls| {
        devices_now(calls, &flooded) == 3401
    })
    .await;
    let path = format!("/rooms/{}", quote(&flooded));
    let room = eventually("the flood is told", 240, async || {
        let room = app.json(&format!("/api/v1{path}")).await;
        let events = room["floods"][0]["events"].as_i64();
        (events > Some(1000)).then_some(room)
    })
    .await;
    assert_eq!(room["floods"][0]["user_id"], MALLORY);
    assert_eq!(room["floods"].as_array().unwrap().len(), 1, "nobody else");
    assert!(app.page(&path).await.contains("Sent more than is stored"));
    let status = app.json("/api/v1/status").await;
    assert_eq!(status["floods"][0]["room"]["room_id"], flooded);
    assert!(app.page("/status").await.contains("mallory"));
    app.app.stop().await;
}

#[tokio::test]
async fn many_streams_of_one_address_keep_nobody_else_out() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let live = format!("{}/api/v1/live", app.http.base);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..80 {
        let stream = client.get(&live).send().await.unwrap();
        if stream.status() == 200 {
            open.push(stream);
        } else {
            assert_eq!(stream.status(), 503);
            assert!(stream.headers().contains_key("retry-after"));
            let body: Value = serde_json::from_str(&stream.text().await.unwrap()).unwrap();
            assert_eq!(body["errcode"], "M_LIMIT_EXCEEDED");
            refused += 1;
        }
    }

    assert_eq!((open.len(), refused), (64, 16));
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/status"] {
        let answer = client.get(format!("{}{path}", app.http.base)).send().await;
        assert_eq!(answer.unwrap().status(), 200, "{path}");
    }

    let behind_proxy = client.get(&live).header("x-forwarded-for", "10.9.9.9");
    assert_eq!(
        behind_proxy.send().await.unwrap().status(),
        200,
        "another address"
    );
    drop(open);
    eventually("there is room again", 30, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let again = client.get(&live).send().await.unwrap();
        (again.status() == 200).then_some(())
    })
    .await;
    app.app.stop().await;
}
