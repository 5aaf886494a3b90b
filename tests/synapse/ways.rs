//! Other ways of observing, and obstacles to it: each on a real homeserver.

use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::sdk::Device;
use crate::support::synapse::Bed;
use crate::support::truth::members;
use serde_json::json;

const EACH_SECOND: &str = "* * * * * *";

/// One homeserver with a member of calls, and the account that watches.
async fn small_bed() -> (Bed, Account, Account) {
    let bed = Bed::start(1).await;
    let (bob, watcher) = (bed.user(0, "bob").await, bed.user(0, "watcher").await);
    (bed, bob, watcher)
}

/// Waits until this many stays of a room are shown, `open` of them still lasting.
async fn shown(app: &App, room: &str, stays: usize, open: usize) {
    eventually(&format!("{stays} stays, {open} open"), 60, async || {
        let all = members(&app.calls(room).await);
        let lasting = all.iter().filter(|m| m["left_ms"].is_null()).count();
        (all.len() == stays && lasting == open).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn looking_by_schedule_alone_is_enough() {
    let (bed, bob, watcher) = small_bed().await;
    let room = bob.create_room(json!({"name": "By schedule"})).await;
    watcher.join(&room, &bob).await;
    let settings = Settings::observe(&watcher, &bed.folder("poll"))
        .with("CALLSCOPE_MODE", "poll")
        .with("CALLSCOPE_POLL_SCHEDULE", EACH_SECOND);
    let app = App::ready(&settings).await;
    let mut device = Device::start(&bob).await;
    device.join(&room).await;
    shown(&app, &room, 1, 1).await;
    device.leave(&room).await;
    shown(&app, &room, 1, 0).await;
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_room_that_everybody_may_read_is_watched_from_outside() {
    let (bed, bob, watcher) = small_bed().await;
    let readable = json!({
        "type": "m.room.history_visibility", "state_key": "",
        "content": {"history_visibility": "world_readable"},
    });
    let options = json!({"name": "Glass", "initial_state": [readable]});
    let room = bob.create_room(options).await;
    let settings = Settings::observe(&watcher, &bed.folder("peek"))
        .with("CALLSCOPE_PEEK_ROOMS", &room)
        .with("CALLSCOPE_POLL_SCHEDULE", EACH_SECOND);
    let app = App::ready(&settings).await;
    let mut device = Device::start(&bob).await;
    device.join(&room).await;
    shown(&app, &room, 1, 1).await;
    assert_eq!(bob.membership(&room, &watcher).await, None, "nobody joined");
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_login_by_password_is_done_once() {
    let (bed, bob, watcher) = small_bed().await;
    let room = bob.create_room(json!({"name": "By password"})).await;
    watcher.join(&room, &bob).await;
    let settings = Settings::observe(&watcher, &bed.folder("password"))
        .without("CALLSCOPE_ACCESS_TOKEN")
        .with("CALLSCOPE_USER_ID", &watcher.user_id)
        .with("CALLSCOPE_PASSWORD", &watcher.password);
    for _ in 0..3 {
        App::ready(&settings).await.kill();
    }

    let devices = watcher.http.get("/_matrix/client/v3/devices").await.ok();
    let count = devices["devices"].as_array().map(Vec::len);
    assert_eq!(count, Some(2), "our own and the program's: {devices}");

    let app = App::ready(&settings).await;
    Device::start(&bob).await.join(&room).await;
    shown(&app, &room, 1, 1).await;
    assert!(
        !app.log().contains(&watcher.password),
        "no secret in the log"
    );
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_homeserver_that_goes_away_and_comes_back_is_followed_again() {
    let (bed, bob, watcher) = small_bed().await;
    let room = bob.create_room(json!({"name": "Outage"})).await;
    watcher.join(&room, &bob).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("outage"))).await;
    let mut device = Device::start(&bob).await;
    // Long enough that the homeserver does not send its leave after a restart.
    let patient = json!({"delay_ms": 120_000});
    device.join_with(&room, patient).await;
    shown(&app, &room, 1, 1).await;

    bed.server(0).kill();
    let answer = app.http.get("/api/v1/calls/active").await;
    assert_eq!(answer.status, 200, "what was seen is shown all the same");
    bed.server(0).launch();
    bed.server(0).healthy().await;
    device.leave(&room).await;
    shown(&app, &room, 1, 0).await;
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_token_that_is_revoked_is_said_and_a_new_one_goes_on() {
    let (bed, bob, watcher) = small_bed().await;
    let room = bob.create_room(json!({"name": "Revoked"})).await;
    watcher.join(&room, &bob).await;
    let first = watcher.device("FIRST").await;
    let folder = bed.folder("revoked");
    let app = App::ready(&Settings::observe(&first, &folder)).await;
    let mut device = Device::start(&bob).await;
    device.join(&room).await;
    shown(&app, &room, 1, 1).await;

    let logout = "/_matrix/client/v3/logout";
    first.http.post(logout, &json!({})).await.ok();
    eventually(
        "the status says that the token is not valid",
        60,
        async || {
            let status = app.http.get("/api/v1/status").await.ok().to_string();
            status.contains("token").then_some(())
        },
    )
    .await;
    assert!(!app.log().contains(&first.token), "no secret in the log");
    app.kill();
    device.leave(&room).await;

    let app = App::ready(&Settings::observe(&watcher.device("SECOND").await, &folder)).await;
    shown(&app, &room, 1, 0).await;
}
