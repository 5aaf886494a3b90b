//! Ghosts on real homeservers, one with delayed events and one without: `/problems` lists exactly
//! the clients that were killed where nobody says goodbye for them, and its command clears them.

use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::http::quote;
use crate::support::sdk::Device;
use crate::support::synapse::{Bed, Oddities};
use crate::support::{eventually, pause};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

const MEMBER: &str = "org.matrix.msc3401.call.member";

/// How long ago the clients were killed, s: so that the renewal of each hour is overdue.
const AGO_S: i32 = 4500;

/// So many stays end with a goodbye on each server, so that it can be judged.
const STAYS: usize = 78;

/// So many clients are gone on the server without delayed events, whose memberships are short.
const SHORT: usize = 9;

/// Memberships that run out soon, ms.
const SOON_MS: i64 = 15_000;

/// Who is listed: the user and the device of each.
type Listed = BTreeSet<(String, String)>;

fn pair(account: &Account) -> (String, String) {
    (account.user_id.clone(), account.device_id.clone())
}

/// The open findings of this app that are about devices which are gone.
async fn open_ghosts(app: &App) -> Vec<Value> {
    let found = app.list("/api/v1/problems?open=yes&kind=silent").await;
    let is_probable = |finding: &Value| finding["sure"] == "probably";
    assert!(found.iter().all(is_probable), "{found:#?}");

    found
}

fn listed(found: &[Value]) -> Listed {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found
        .iter()
        .map(|finding| (text(&finding["users"][0]), text(&finding["device_id"])))
        .collect()
}

/// One device joins and leaves again and again, as `STAYS` says: written by hand, since the SDK
/// takes seconds for each.
async fn come_and_go(account: &Account, room: &str) {
    let (key, content) = (key_of_member(account), content_of_join(account, room));
    for _ in 0..STAYS {
        account.state(room, MEMBER, &key, &content).await;
        pause(20).await;
        account.state(room, MEMBER, &key, &json!({})).await;
        pause(20).await;
    }
}

/// What a client writes that joins.
fn content_of_join(account: &Account, room: &str) -> Value {
    json!({
        "application": "m.call", "call_id": "", "scope": "m.room",
        "device_id": account.device_id, "expires": 14_400_000, "m.call.intent": "video",
        "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
        "foci_preferred": [{
            "type": "livekit", "livekit_alias": room,
            "livekit_service_url": "https://livekit.invalid/jwt",
        }],
    })
}

fn key_of_member(account: &Account) -> String {
    format!("_{}_{}_m.call", account.user_id, account.device_id)
}

/// Clients that are gone, and whose memberships run out soon: written by hand, since the clock of
/// the SDK is ahead of the server's.
async fn die_soon(account: &Account, room: &str) {
    for nth in 0..SHORT {
        let account = account.device(&format!("SOON{nth}")).await;
        let mut content = content_of_join(&account, room);
        content["expires"] = json!(SOON_MS);
        account
            .state(room, MEMBER, &key_of_member(&account), &content)
            .await;
    }
}

/// A client that joins as clients do, and is killed.
async fn die(account: &Account, room: &str) {
    let mut device = Device::start(account).await;
    device.join(room).await;
    device.crash();
}

/// The content that the state of the room has for this member; null if it has none.
async fn content_of_member(account: &Account, room: &str, key: &str) -> Value {
    let path = format!(
        "/_matrix/client/v3/rooms/{}/state/{MEMBER}/{}",
        quote(room),
        quote(key)
    );
    let answer = account.http.get(&path).await;
    if answer.status == 404 {
        return Value::Null;
    }

    answer.ok()
}

/// The state of a member whose client is gone.
async fn has_left(account: &Account, room: &str, of: &Account) -> Option<()> {
    let content = content_of_member(account, room, &key_of_member(of)).await;
    (content == json!({})).then_some(())
}

/// Runs a command as it is written, but for the token.
fn run_in_bash(command: &str, token: &str) {
    assert!(!command.contains("YOUR_HOMESERVER"), "{command}");
    let filled = command.replace("YOUR_ACCESS_TOKEN", token);
    let output = Command::new("bash")
        .args(["-c", &format!("{filled} --fail --silent --show-error")])
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    println!("{command}\n  {said}{errors}");
    assert!(output.status.success(), "{said}{errors}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert!(answer["event_id"].is_string(), "{said}");
}

/// The command on the page of a finding, as a browser copies it.
async fn command_on_page(app: &App, id: &str) -> String {
    let url = format!("{}/problems/{id}", app.http.base);
    let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let begin = page.find("data-copy><code>").unwrap() + "data-copy><code>".len();
    let end = begin + page[begin..].find("</code>").unwrap();

    page[begin..end]
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&quot;", "\"")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

/// Waits until the page of a server says this of its goodbyes: history is still being read.
async fn judges(app: &App, server: &str, verdict: &str) {
    let path = format!("/api/v1/servers/{}", quote(server));
    let what = format!("{server} is judged: {verdict}");
    let said = eventually(&what, 90, async || {
        let answer = app.http.get(&path).await;
        let said = answer.ok()["delayed_events"].clone();
        (said["verdict"] == verdict).then_some(said)
    })
    .await;
    println!("{server}: {said}");
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn exactly_the_ghosts_are_listed_and_the_command_clears_them() {
    let odd = Oddities {
        ahead_s: [-AGO_S, -AGO_S],
        ..Oddities::NONE
    };
    let bed = Bed::start_odd(2, odd).await;
    let (with, without) = (bed.server(0), bed.server(1));
    let mut settings = without.settings();
    let all = settings.as_object_mut().unwrap();
    all.remove("max_event_delay_duration");
    without.restart_with(&settings, -AGO_S).await;

    let (alice, dave) = (bed.user(0, "alice").await, bed.user(0, "dave").await);
    let (carol, erin) = (bed.user(1, "carol").await, bed.user(1, "erin").await);
    let (near, far) = (bed.user(0, "near").await, bed.user(1, "far").await);
    let room = alice.create_room(json!({"name": "Haunted"})).await;
    for user in [&dave, &carol, &erin, &near, &far] {
        user.join(&room, &alice).await;
    }

    // How the two servers are known: people come and go, and some clients are killed.
    let (desk, laptop) = (alice.device("DESK").await, carol.device("LAPTOP").await);
    // One server after the other: each fork of the room's history costs both a resolution of its
    // state.
    come_and_go(&desk, &room).await;
    come_and_go(&laptop, &room).await;
    die_soon(&erin, &room).await;
    // Those whose memberships last: the first server says goodbye for them, the second does not.
    let tablet = carol.device("TABLET").await;
    tokio::join!(
        die(&dave, &room),
        die(&carol, &room),
        die(&tablet, &room),
        die(&erin, &room)
    );
    eventually("the delayed leave is sent", 60, async || {
        has_left(&far, &room, &dave).await
    })
    .await;
    pause(u64::try_from(SOON_MS).unwrap()).await;

    // Now is an hour and a quarter later. Some are really there.
    let usual = with.settings();
    tokio::join!(
        with.restart_with(&usual, 0),
        without.restart_with(&settings, 0)
    );
    let phone = erin.device("PHONE").await;
    let mut living = Vec::new();
    for account in [&alice, &phone] {
        let mut device = Device::start(account).await;
        device.join(&room).await;
        living.push(device);
    }

    let apps = [
        App::ready(&Settings::observe(&near, &bed.folder("near"))).await,
        App::ready(&Settings::observe(&far, &bed.folder("far"))).await,
    ];
    let ghosts: Listed = [&carol, &tablet, &erin].map(pair).into();
    let mut found = Vec::new();
    for app in &apps {
        found = eventually("the ghosts are listed", 60, async || {
            let found = open_ghosts(app).await;
            let is_placed = |finding: &Value| !finding["clear"]["homeserver"].is_null();
            let is_whole = found.len() >= ghosts.len() && found.iter().all(is_placed);
            is_whole.then_some(found)
        })
        .await;
        assert_eq!(listed(&found), ghosts);
        let others = app.list("/api/v1/problems?open=yes").await;
        let is_silence = |finding: &&Value| finding["kind"] != "silent";
        let others: Vec<&Value> = others.iter().filter(is_silence).collect();
        assert!(others.is_empty(), "{others:#?}");
        judges(app, &with.name, "works").await;
        judges(app, &without.name, "fails").await;
    }

    // Our own homeserver says itself that it has no delayed events.
    for finding in &found {
        let signs = finding["signs"].as_array().unwrap();
        assert!(signs.contains(&json!("no_delayed_events")), "{signs:?}");
        if finding["users"][0] == erin.user_id.as_str() {
            assert_eq!(finding["ghost_class"], "superseded", "her phone is there");
        }
    }

    // From the page of the ghost's own server, with its own token; a moderator's, from the other.
    for (app, own, moderator) in [(&apps[1], true, &erin), (&apps[0], false, &alice)] {
        let found = open_ghosts(app).await;
        let who = if own { &erin } else { &carol };
        let of_user = |finding: &&Value| finding["users"][0] == who.user_id.as_str();
        for finding in found.iter().filter(of_user) {
            let command = finding["clear"]["curl"].as_str().unwrap();
            let id = finding["id"].as_str().unwrap();
            assert_eq!(command_on_page(app, id).await, command, "page and JSON");
            let key = finding["clear"]["state_key"].as_str().unwrap();
            let before = content_of_member(&near, &room, key).await;
            assert_ne!(before, json!({}), "it is in the state");
            run_in_bash(command, &moderator.token);
            eventually("it is no longer in the state", 30, async || {
                let content = content_of_member(&near, &room, key).await;
                (content == json!({})).then_some(())
            })
            .await;
        }
    }

    for app in &apps {
        eventually("no ghost is listed any more", 30, async || {
            open_ghosts(app).await.is_empty().then_some(())
        })
        .await;
        let calls = app.active().await;
        assert_eq!(calls.len(), 1, "the call goes on: {calls:#?}");
        assert_eq!(calls[0]["people_now"], 2, "{calls:#?}");
    }

    drop(living);
}
