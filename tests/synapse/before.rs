//! History before the bot came: 200 calls in rooms of different versions are found, also by a
//! program that is killed in between. If history is only for members, exactly the calls since the
//! join are found.

use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::quote;
use crate::support::synapse::Bed;
use callscope::store::Writer;
use callscope::store::read::history_progress;
use callscope::store::read::history_progress::ReadSums;
use rand::RngExt;
use serde_json::{Value, json};
use std::path::Path;

const MEMBER: &str = "org.matrix.msc3401.call.member";
const CALLS: usize = 200;

/// A call of the script: its first join event, and its members.
type Truth = Vec<(String, Vec<String>)>;

async fn says(account: &Account, room: &str, is_join: bool) -> String {
    let key = format!("_{}_{}_m.call", account.user_id, account.device_id);
    let content = json!({
        "application": "m.call", "call_id": "", "scope": "m.room", "device_id": account.device_id,
        "expires": 14_400_000, "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
        "foci_preferred": [{"type": "livekit", "livekit_alias": room,
        "livekit_service_url": "https://livekit.invalid/jwt"}],
    });

    account
        .state(
            room,
            MEMBER,
            &key,
            &if is_join { content } else { json!({}) },
        )
        .await
}

/// Makes this many calls, one after the other; every third has two people.
async fn make(room: &str, alice: &Account, bob: &Account, calls: usize) -> Truth {
    let mut truth = Truth::new();
    for n in 0..calls {
        let first = says(alice, room, true).await;
        let mut people = vec![alice.user_id.clone()];
        if n % 3 == 0 {
            says(bob, room, true).await;
            people.push(bob.user_id.clone());
            says(bob, room, false).await;
        }

        says(alice, room, false).await;
        truth.push((first, people));
    }

    truth
}

/// The calls of the API in the form of [`Truth`], oldest first.
async fn shown(app: &App, room: &str) -> Truth {
    let mut calls = app.calls(room).await;
    calls.reverse();
    let call = |call: &Value| {
        let members = call["members"].as_array().unwrap();
        let people = members
            .iter()
            .map(|member| member["user_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(call["active"], false, "{call}");
        (
            members[0]["join_event_id"].as_str().unwrap().to_owned(),
            people,
        )
    };

    calls.iter().map(call).collect()
}

async fn read(app: &App, room: &str) -> Value {
    let path = format!("/api/v1/rooms/{}", quote(room));
    eventually("the whole history is read", 120, async || {
        let answer = app.http.get(&path).await;
        (answer.status == 200
            && answer.body["history_open"] == false
            && answer.body["history_pages"] != 0)
            .then_some(answer.body)
    })
    .await
}

/// The newest stable room version that the homeserver offers.
async fn newest(account: &Account) -> String {
    let can = account
        .http
        .get("/_matrix/client/v3/capabilities")
        .await
        .ok();
    let offered = can["capabilities"]["m.room_versions"]["available"]
        .as_object()
        .unwrap();
    let stable = offered
        .iter()
        .filter(|(_, word)| *word == "stable")
        .filter_map(|(version, _)| version.parse().ok());
    let newest: u32 = stable.max().unwrap();
    println!("the newest room version here is {newest}");

    newest.to_string()
}

/// The progress of reading history in the database of a killed process.
async fn left(folder: &Path) -> ReadSums {
    let store = Writer::open(&format!(
        "sqlite://{}",
        folder.join("callscope.db").display()
    ))
    .await
    .unwrap();
    let sums = history_progress::sum_reads(&store, None).await.unwrap();
    store.close().await;

    sums
}

/// Kills the program ten times, each time during a read that has advanced since the last time.
async fn ten_kills(settings: &Settings, folder: &Path) {
    let mut last = 0;
    for kill in 0..10 {
        let enough = last + rand::rng().random_range(1..9);
        let app = App::start(settings).await;
        eventually("so many pages are read", 60, async || {
            let status = app.http.get("/api/v1/status").await.ok();
            (status["history"]["pages"].as_i64().unwrap() >= enough).then_some(())
        })
        .await;
        app.kill();
        let sums = left(folder).await;
        assert!(
            sums.open > 0,
            "kill {kill} came within an open read: {sums:?}"
        );
        assert!(
            sums.pages >= enough,
            "which had come further since the last: {sums:?}, {last} pages before"
        );
        last = sums.pages;
        println!("kill {kill}: {} reads open, {last} pages read", sums.open);
    }
}

/// `callscope backfill` reads the same as the server.
async fn in_the_foreground(bed: &Bed, watcher: &Account, rooms: &[(String, String, Truth)]) {
    let settings = Settings::observe(watcher, &bed.folder("foreground"));
    let run = settings.clone();
    let output = tokio::task::spawn_blocking(move || run.run(&["backfill"]))
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("2 of 2 rooms read"),
        "{said}{output:?}"
    );
    println!("{said}");
    let app = App::ready(&settings.with("CALLSCOPE_BACKFILL", "false")).await;
    for (room, _, truth) in rooms {
        assert_eq!(&shown(&app, room).await, truth, "read in the foreground");
    }

    app.kill();
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn all_calls_from_before_the_bot_came_are_found_and_no_stop_changes_that() {
    let bed = Bed::start(1).await;
    let (alice, bob) = (bed.user(0, "alice").await, bed.user(0, "bob").await);
    let watcher = bed.user(0, "watcher").await;
    let mut rooms = Vec::new();
    for version in ["10".to_owned(), newest(&alice).await] {
        let room = alice
            .create_room(json!({"name": "Old", "room_version": version}))
            .await;
        bob.join(&room, &alice).await;
        let truth = make(&room, &alice, &bob, CALLS).await;
        watcher.join(&room, &alice).await;
        rooms.push((room, version, truth));
    }

    let settings = Settings::observe(&watcher, &bed.folder("whole"));
    let app = App::ready(&settings).await;
    for (room, version, truth) in &rooms {
        let facts = read(&app, room).await;
        assert_eq!(facts["version"], *version);
        assert_eq!(&shown(&app, room).await, truth);
        assert!(
            facts["coverage"]
                .as_array()
                .unwrap()
                .iter()
                .all(|span| span["kind"] != "not_visible"),
            "{facts}"
        );
        assert_eq!(facts["coverage"][0]["kind"], "backfilled");
    }

    app.kill();
    in_the_foreground(&bed, &watcher, &rooms).await;
    let folder = bed.folder("stopped");
    let settings = Settings::observe(&watcher, &folder);
    ten_kills(
        &settings.clone().with("CALLSCOPE_BACKFILL_PAGE", "4"),
        &folder,
    )
    .await;
    let app = App::ready(&settings).await;

    for (room, _, truth) in &rooms {
        read(&app, room).await;
        assert_eq!(&shown(&app, room).await, truth, "killed ten times");
    }
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn where_history_is_for_members_only_those_since_the_join_are_found() {
    let bed = Bed::start(1).await;
    let (alice, bob) = (bed.user(0, "alice").await, bed.user(0, "bob").await);
    let watcher = bed.user(0, "watcher").await;
    let visibility = json!({"type": "m.room.history_visibility", "state_key": "",
        "content": {"history_visibility": "joined"}});
    let room = alice
        .create_room(json!({"name": "Members only", "initial_state": [visibility]}))
        .await;
    bob.join(&room, &alice).await;
    make(&room, &alice, &bob, 20).await;
    watcher.join(&room, &alice).await;
    let truth = make(&room, &alice, &bob, 30).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("joined"))).await;
    let facts = read(&app, &room).await;
    assert_eq!(shown(&app, &room).await, truth);
    let spans = facts["coverage"].as_array().unwrap();
    let hidden: Vec<_> = spans
        .iter()
        .filter(|span| span["kind"] == "not_visible")
        .collect();
    assert_eq!(hidden.len(), 1, "the ledger says why: {spans:?}");
    let calls = app.calls(&room).await;
    let first = calls.last().unwrap()["started_ms"].as_i64().unwrap();
    assert!(
        hidden[0]["to_ms"].as_i64().unwrap() <= first
            && first - hidden[0]["to_ms"].as_i64().unwrap() < 60_000
    );
    assert!(
        calls
            .iter()
            .all(|call| call["certainty"]["verdict"] == "exact"),
        "{calls:#?}"
    );
}
