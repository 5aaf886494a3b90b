//! Opting out by a message, across two federated homeservers.

use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::quote;
use crate::support::synapse::Bed;
use serde_json::json;

async fn write_text(account: &Account, room: &str, number: u32, text: &str) {
    let path = format!(
        "/_matrix/client/v3/rooms/{}/send/m.room.message/t{number}",
        quote(room)
    );
    let body = json!({"msgtype": "m.text", "body": text});
    account.http.put(&path, &body).await.ok();
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn who_writes_opt_out_to_the_account_is_forgotten() {
    let bed = Bed::start(2).await;
    let watcher = bed.user(0, "watcher").await;
    let bob = bed.user(0, "bob").await;
    let (alice, zoe) = (bed.user(1, "alice").await, bed.user(1, "zoe").await);
    let room = bob.create_room(json!({"name": "The shared room"})).await;
    watcher.join(&room, &bob).await;
    alice.join(&room, &bob).await;
    let call = json!({"application": "m.call", "call_id": "", "device_id": "A",
        "scope": "m.room", "expires": 3_600_000, "focus_active": {"type": "livekit",
        "focus_selection": "oldest_membership"}, "foci_preferred": []});
    let key = format!("_{}_A_m.call", alice.user_id);
    alice
        .state(&room, "org.matrix.msc3401.call.member", &key, &call)
        .await;

    let settings = Settings::observe(&watcher, &bed.folder("opt-out"));
    let app = App::ready(&settings).await;
    let page = async || app.http.get("/api/v1/calls").await.ok().to_string();
    eventually("Alice is in a call", 60, async || {
        page().await.contains(&alice.user_id).then_some(())
    })
    .await;

    // As clients make a direct chat: encrypted. The account opens a room of its own.
    for account in [&alice, &zoe] {
        account
            .create_room(json!({"is_direct": true, "preset": "trusted_private_chat",
                "invite": [watcher.user_id], "initial_state": [{"type": "m.room.encryption",
                "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]}))
            .await;
    }
    let invitation = eventually("the account asks Alice into its room", 60, async || {
        alice.list_invitations().await.into_iter().next()
    })
    .await;
    assert_eq!(invitation.inviter, watcher.user_id);
    let direct = invitation.room_id;
    alice.join(&direct, &watcher).await;
    let first = eventually("it says what can be written", 60, async || {
        alice.read_texts(&direct).await.into_iter().next()
    })
    .await;
    assert!(first.contains("opt out"), "{first}");

    write_text(&alice, &direct, 1, "Hello?").await;
    eventually("it says it again", 60, async || {
        let texts = alice.read_texts(&direct).await;
        let answers = texts.iter().filter(|text| **text == first);
        (answers.count() == 2).then_some(())
    })
    .await;
    assert!(
        page().await.contains(&alice.user_id),
        "nothing was asked for"
    );

    write_text(&alice, &direct, 2, "Opt out.").await;
    eventually("Alice is forgotten", 60, async || {
        (!page().await.contains(&alice.user_id)).then_some(())
    })
    .await;
    eventually("she is told", 60, async || {
        let texts = alice.read_texts(&direct).await;
        texts
            .iter()
            .any(|text| text.contains("being forgotten"))
            .then_some(())
    })
    .await;
    let calls = app.http.get("/api/v1/calls").await.ok();
    assert_eq!(calls["data"].as_array().unwrap().len(), 1, "the call stays");

    // Whoever shares no watched room is not written to, and waits for the operator.
    assert_eq!(zoe.list_invitations().await, []);
    let status = app.http.get("/api/v1/status").await.ok().to_string();
    assert!(
        status.contains(&zoe.user_id) && !status.contains(&alice.user_id),
        "{status}"
    );
    assert!(!app.log().contains("Hello?"));
    app.kill();
}
