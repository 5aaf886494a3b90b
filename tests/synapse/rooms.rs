//! Rooms that the program cannot read completely, and invitations.

use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::quote;
use crate::support::sdk::Device;
use crate::support::synapse::Bed;
use crate::support::truth::members;
use serde_json::{Value, json};

const HOUR_MS: u32 = 3_600_000;

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn in_an_encrypted_room_state_is_read_and_ciphertext_counts_for_nothing() {
    let bed = Bed::start(1).await;
    let (bob, watcher) = (bed.user(0, "bob").await, bed.user(0, "watcher").await);
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    let options = json!({"name": "Secret", "initial_state": [encryption]});
    let room = bob.create_room(options).await;
    watcher.join(&room, &bob).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("encrypted"))).await;
    let mut device = Device::start(&bob).await;
    let ciphertext = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnAC", "session_id": "s",
    });
    bob.sticky(&room, "m.room.encrypted", HOUR_MS, &ciphertext)
        .await;
    device.join(&room).await;

    // The join came after the encrypted event: once it is shown, the other has been read too.
    let shown = eventually("the state member is shown", 30, async || {
        let shown = members(&app.calls(&room).await);
        (!shown.is_empty()).then_some(shown)
    })
    .await;
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert_eq!(shown[0]["user_id"], bob.user_id.as_str());
    assert_eq!(shown[0]["kind"], "session");
    let path = format!("/api/v1/rooms/{}", quote(&room));
    let said = app.http.get(&path).await.ok();
    assert!(says_encrypted(&said), "the room says so: {said:#}");
}

/// Does the value have encryption set under any key?
fn says_encrypted(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, inner)| {
            let nothing = [json!(false), json!(null), json!(0), json!([]), json!("")];
            (key.contains("encrypt") && !nothing.contains(inner)) || says_encrypted(inner)
        }),
        Value::Array(list) => list.iter().any(says_encrypted),
        _ => false,
    }
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn invites_of_strangers_are_not_accepted() {
    let bed = Bed::start(1).await;
    let (mallory, watcher) = (bed.user(0, "mallory").await, bed.user(0, "watcher").await);
    let known = watcher.create_room(json!({"name": "Known"})).await;
    mallory.join(&known, &watcher).await;
    let private = json!({"name": "Come in", "preset": "private_chat"});
    let before = mallory.create_room(private.clone()).await;
    mallory.invite(&before, &watcher).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("invites"))).await;
    let after = mallory.create_room(private).await;
    mallory.invite(&after, &watcher).await;

    // An event after the invitations is shown, so they have been processed.
    Device::start(&mallory).await.join(&known).await;
    eventually("the call is shown", 30, async || {
        (!app.calls(&known).await.is_empty()).then_some(())
    })
    .await;

    for room in [before, after] {
        let membership = mallory.membership(&room, &watcher).await;
        assert_eq!(membership.as_deref(), Some("invite"));
        assert!(app.calls(&room).await.is_empty());
    }
}
