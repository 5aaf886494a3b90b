//! Tests of the test bed itself: the assumptions of the other tests are true.

use crate::support::account::Account;
use crate::support::sdk::{DELAY_MS, Device, RESTART_MS};
use crate::support::synapse::Bed;
use crate::support::{eventually, now_ms};
use serde_json::{Value, json};

const MEMBER: &str = "org.matrix.msc3401.call.member";

/// Waits until the user's own long poll brings an event that `wanted` accepts.
async fn seen(by: &Account, room: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut since: Option<String> = None;
    eventually("the event comes by /sync", 30, async || {
        let answer = by.sync(since.as_deref(), 1000).await;
        since = answer["next_batch"].as_str().map(str::to_owned);
        let joined = &answer["rooms"]["join"][room];
        ["timeline", "state", "msc4354_sticky"]
            .iter()
            .filter_map(|part| joined[part]["events"].as_array())
            .flatten()
            .find(|event| wanted(event))
            .cloned()
    })
    .await
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn two_servers_federate_and_a_crash_gives_a_delayed_leave() {
    let bed = Bed::start(2).await;
    let alice = bed.user(0, "alice").await;
    let carol = bed.user(1, "carol").await;
    let room = alice.create_room(json!({"name": "Federated"})).await;
    carol.join(&room, &alice).await;

    let mut device = Device::start(&carol).await;
    let mine = device.join(&room).await;
    let joined = seen(&alice, &room, |e| e["event_id"] == mine["event_id"]).await;
    assert_eq!(joined["type"], MEMBER);
    assert_eq!(joined["sender"], carol.user_id.as_str());
    assert_eq!(joined["content"]["device_id"], carol.device_id.as_str());
    let answered = device.sent_ms(mine["event_id"].as_str().unwrap());
    let made = joined["origin_server_ts"].as_i64().unwrap();
    assert!(answered.unwrap() >= made, "the PUT was answered after that");

    let crashed = now_ms();
    device.crash();
    let key = joined["state_key"].clone();
    let left = seen(&alice, &room, |e| {
        e["state_key"] == key && e["content"] == json!({})
    })
    .await;
    let after = left["origin_server_ts"].as_i64().unwrap() - crashed;
    let earliest = DELAY_MS - RESTART_MS - 1000;
    assert!(
        after >= earliest,
        "the leave came {after} ms after the crash"
    );
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn sticky_events_and_state_after_are_on() {
    let bed = Bed::start(1).await;
    let alice = bed.user(0, "alice").await;
    let bob = bed.user(0, "bob").await;
    let room = alice.create_room(json!({"name": "Sticky"})).await;
    bob.join(&room, &alice).await;
    let mut device = Device::start(&bob.device("PHONE").await).await;
    let mine = device.join_with(&room, json!({"sticky": true})).await;
    assert_eq!(mine["kind"], "sticky");
    let event = seen(&alice, &room, |e| e["event_id"] == mine["event_id"]).await;
    assert_eq!(event["msc4354_sticky"]["duration_ms"], 3_600_000);

    let path = "/_matrix/client/v3/sync?timeout=0&org.matrix.msc4222.use_state_after=true";
    let answer = alice.http.get(path).await.ok();
    let joined = &answer["rooms"]["join"][&room];
    assert!(joined["org.matrix.msc4222.state_after"].is_object());
}
