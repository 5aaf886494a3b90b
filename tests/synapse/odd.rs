//! Unusual behaviour of a real homeserver: a room that is upgraded during a call, and no password
//! login.

use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::{Http, quote};
use crate::support::sdk::Device;
use crate::support::synapse::{Bed, Oddities};
use crate::support::truth::members;
use serde_json::{Value, json};

async fn page(http: &Http, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = client
        .get(format!("{}{path}", http.base))
        .header("accept", "text/html");

    ask.send().await.unwrap().text().await.unwrap()
}

/// How many are in the room's calls now.
async fn present(app: &App, room: &str) -> usize {
    let members = members(&app.calls(room).await);
    members.iter().filter(|m| m["left_ms"].is_null()).count()
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_room_that_is_upgraded_during_a_call_is_followed_within_a_minute() {
    let bed = Bed::start(1).await;
    let (alice, bob) = (bed.user(0, "alice").await, bed.user(0, "bob").await);
    let watcher = bed.user(0, "watcher").await;
    let old = alice
        .create_room(json!({"name": "Tree house", "room_version": "11"}))
        .await;
    bob.join(&old, &alice).await;
    watcher.join(&old, &alice).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("upgraded"))).await;
    let mut desk = Device::start(&alice).await;
    let mut bobs = Device::start(&bob).await;
    desk.join(&old).await;
    bobs.join(&old).await;
    eventually("both are here", 30, async || {
        (present(&app, &old).await == 2).then_some(())
    })
    .await;

    let upgrade = format!("/_matrix/client/v3/rooms/{}/upgrade", quote(&old));
    let answer = alice
        .http
        .post(&upgrade, &json!({"new_version": "12"}))
        .await;
    let new = answer.ok()["replacement_room"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/rooms/{}", quote(&new));
    eventually("the successor is followed", 60, async || {
        let room = app.http.get(&path).await;
        (room.status == 200 && room.body["watch"] == "joined").then_some(())
    })
    .await;

    // The old room's page shows its remaining members where the others went.
    let calls = app.calls(&old).await;
    let call = &calls[0];
    let findings = call["findings"].as_array().unwrap();
    let is_of_upgrade = |finding: &&Value| finding["kind"] == "room_replaced";
    let replaced = findings.iter().find(is_of_upgrade);
    assert_eq!(
        replaced.map(|finding| &finding["replaced_by"]),
        Some(&json!(new)),
        "{findings:#?}"
    );
    let room = app
        .http
        .get(&format!("/api/v1/rooms/{}", quote(&old)))
        .await;
    assert_eq!(room.ok()["replaced_by"], new.as_str());

    // The next call is in the new room.
    bobs.leave(&old).await;
    bob.join(&new, &alice).await;
    bobs.join(&new).await;
    eventually("Bob is in the new room's call", 30, async || {
        (present(&app, &new).await == 1 && present(&app, &old).await == 1).then_some(())
    })
    .await;
    for (here, there) in [(&old, &new), (&new, &old)] {
        let html = page(&app.http, &format!("/rooms/{}", quote(here))).await;
        let address = there.trim_start_matches('!');
        assert!(html.contains(address), "{here} says nothing of {there}");
    }

    desk.leave(&old).await;
    bobs.leave(&new).await;
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn where_nobody_can_log_in_by_password_the_way_to_a_token_is_told() {
    let bed = Bed::start_odd(
        1,
        Oddities {
            passwords: false,
            ..Oddities::NONE
        },
    )
    .await;
    let watcher = bed.user(0, "watcher").await;
    let settings = Settings::observe(&watcher, &bed.folder("no-password"))
        .without("CALLSCOPE_ACCESS_TOKEN")
        .with("CALLSCOPE_USER_ID", &watcher.user_id)
        .with("CALLSCOPE_PASSWORD", &watcher.password);
    let app = App::start(&settings).await;
    let said = eventually("the status says why", 60, async || {
        let status = page(&app.http, "/status").await;
        status.contains("CALLSCOPE_ACCESS_TOKEN").then_some(status)
    })
    .await;
    for text in [said, app.log()] {
        assert!(
            text.contains("password") && text.contains("access token"),
            "{text}"
        );
        assert!(!text.contains(&watcher.password), "no secret: {text}");
    }

    assert_eq!(app.http.get("/readyz").await.status, 503);
}
