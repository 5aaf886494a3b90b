//! Who is forgotten is nowhere afterwards: not in the bytes of the database, not in the log, not in
//! an answer; and comes again without a name.

use crate::app::alone::settings;
use crate::app::bed::{Bed, MEMBER, join, key, now};
use crate::app::sieve::files_with;
use crate::support::app::App;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::NewRoom;
use serde_json::{Value, json};
use std::process::Output;

const ANN: &str = "@zebulonqx:sim.example";
const BOB: &str = "@bob:sim.example";
const RING: &str = "org.matrix.msc4075.rtc.notification";
const STICKY: &str = "org.matrix.msc4143.rtc.member";
/// What must be nowhere: the name on the server, the display name, and all devices.
const TRACES: [&str; 3] = ["zebulonqx", "Zebulina Quux", "ZQDEV"];

/// Ann in calls of every wire format, and in everything else that can name her.
fn live_a_life(bed: &Bed, room: &str, at: i64) {
    let hs = &bed.hs;
    let mut first = join("ZQDEVFLAT");
    first["foci_preferred"][0]["livekit_alias"] = json!("zebulonqx at home");
    first["membershipID"] = json!(format!("{ANN}:ZQDEVFLAT"));
    hs.send_state(room, ANN, MEMBER, &key(ANN, "ZQDEVFLAT"), first, at);
    let renewed = join("ZQDEVFLAT");
    hs.send_state(
        room,
        ANN,
        MEMBER,
        &key(ANN, "ZQDEVFLAT"),
        renewed,
        at + 60_000,
    );
    bed.leaves(room, ANN, "ZQDEVFLAT", at + 300_000);
    bed.joins(room, BOB, "BD", at + 1000);
    bed.leaves(room, BOB, "BD", at + 200_000);
    let array = json!({"memberships": [{"application": "m.call", "call_id": "old",
        "device_id": "ZQDEVARRAY", "expires": 120_000, "created_ts": at,
        "foci_active": [{"type": "livekit", "livekit_service_url": "https://sfu.example"}]}]});
    hs.send_state(room, ANN, MEMBER, ANN, array, at + 2000);
    let mesh = json!({"m.calls": [{"m.call_id": "mesh", "m.devices": [{"device_id": "ZQDEVMESH",
        "session_id": "ZQDEVSESSION", "expires_ts": at + 120_000}]}]});
    hs.send_state(room, ANN, MEMBER, &format!("_{ANN}_mesh"), mesh, at + 3000);
    let sticky = json!({"slot_id": "m.call#ROOM", "msc4354_sticky_key": "ZQDEVSTICKYKEY",
        "application": {"type": "m.call", "m.call.intent": "audio"}, "rtc_transports": [],
        "member": {"id": "ZQDEVSTICKYKEY", "device_id": "ZQDEVSTICKY", "user_id": ANN}});
    hs.send_sticky(room, ANN, STICKY, sticky, 60_000, at + 4000);
    let invalid = json!({"application": "m.call", "call_id": 7, "device_id": "ZQDEVINVALID"});
    hs.send_state(
        room,
        ANN,
        MEMBER,
        &key(ANN, "ZQDEVINVALID"),
        invalid,
        at + 5000,
    );
    let redacted = hs.send_state(
        room,
        ANN,
        MEMBER,
        &key(ANN, "ZQDEVREDACTED"),
        join("ZQDEVREDACTED"),
        at + 6000,
    );
    hs.redact(room, ANN, &redacted, at + 50_000);
    let ring = json!({"notification_type": "ring", "sender_ts": at, "lifetime": 30_000,
        "m.mentions": {"user_ids": [ANN], "room": false}});
    hs.send_event(room, BOB, RING, ring, at + 7000);
    let decline = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$x"}});
    hs.send_event(
        room,
        ANN,
        "org.matrix.msc4310.rtc.decline",
        decline,
        at + 8000,
    );
    let levels = json!({"users": {ANN: 100, BOB: 50}, "state_default": 0});
    hs.set_power_levels(room, BOB, levels, at + 9000);
    hs.send_raw(
        room,
        json!({"event_id": format!("$broken{at}"), "type": MEMBER, "sender": ANN,
            "state_key": {"zebulonqx": 1}, "origin_server_ts": at, "content": {}}),
    );
}

/// Everything that the program answers about these rooms and calls, as page and as JSON.
async fn all_answers(app: &App, rooms: &[&str]) -> String {
    let mut paths: Vec<String> = [
        "/",
        "/calls",
        "/rooms",
        "/statistics",
        "/servers",
        "/transports",
        "/rejected",
        "/status",
        "/wall",
        "/admin",
        "/servers/sim.example",
        "/calls?q=zebulonq",
        "/calls?q=Zebulina",
        "/api/v1/overview",
        "/api/v1/calls",
        "/api/v1/calls/active",
        "/api/v1/calls.csv",
        "/api/v1/calls.ndjson",
        "/api/v1/rooms",
        "/api/v1/rooms.csv",
        "/api/v1/servers",
        "/api/v1/servers/sim.example",
        "/api/v1/statistics",
        "/api/v1/rejected",
        "/api/v1/status",
        "/api/v1/wall",
        "/api/v1/transports",
        "/metrics",
        "/feed/calls.atom",
        "/feed/calls.ics",
    ]
    .map(str::to_owned)
    .into();
    for room in rooms {
        let room = quote(room);
        paths.push(format!("/rooms/{room}"));
        paths.push(format!("/api/v1/rooms/{room}"));
        paths.push(format!(
            "/api/v1/rooms/{room}/members?at={}",
            now() - 550_000
        ));
        paths.push(format!("/rooms/{room}?at={}", now() - 550_000));
        paths.push(format!("/feed/rooms/{room}/calls.atom"));
    }

    for room in rooms {
        for call in app.calls(room).await {
            let id = call["id"].as_str().unwrap();
            paths.push(format!("/calls/{id}"));
            paths.push(format!("/api/v1/calls/{id}"));
        }
    }

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut text = String::new();
    for path in paths {
        let ask = client.get(format!("{}{path}", app.http.base));
        let answer = ask.send().await.unwrap();
        let body = answer.text().await.unwrap();
        // The page of a search says what was searched.
        let body = if path.contains("q=") {
            body.replace("zebulonq\"", "").replace("Zebulina\"", "")
        } else {
            body
        };
        text.push_str(&path);
        text.push('\n');
        text.push_str(&body);
        text.push('\n');
    }

    text
}

fn traces_in(text: &str) -> Vec<String> {
    let found = text.lines().filter(|line| {
        let line = line.to_lowercase();
        TRACES
            .iter()
            .any(|trace| line.contains(&trace.to_lowercase()))
    });

    found.map(|line| line.chars().take(400).collect()).collect()
}

/// The files that hold a trace: those of the database in its folder, or those of its relations on
/// the server.
async fn files_with_traces(bed: &Bed) -> Vec<String> {
    let folder = if Database::are_files() {
        bed.folder.path().to_owned()
    } else {
        bed.database.execute("checkpoint").await;
        bed.database.folder().await
    };

    TRACES
        .iter()
        .flat_map(|trace| files_with(&folder, trace))
        .collect()
}

async fn run(bed: &Bed, arguments: &[&str]) -> Output {
    let program = settings(bed);
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        program.run(&arguments)
    });

    running.await.unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What is counted of each call.
async fn numbers(app: &App, room: &str) -> Vec<Value> {
    let mut numbers: Vec<Value> = app
        .calls(room)
        .await
        .iter()
        .map(|call| {
            json!([
                call["id"],
                call["slot_id"],
                call["started_ms"],
                call["ended_ms"],
                call["people"],
                call["devices"],
                call["peak"]
            ])
        })
        .collect();
    numbers.sort_by_key(Value::to_string);

    numbers
}

/// The people whose user id is a pseudonym, in the calls of a room.
async fn pseudonyms(app: &App, room: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in app.calls(room).await {
        let path = format!("/api/v1/calls/{}", call["id"].as_str().unwrap());
        let call = app.http.get(&path).await.ok();
        let members = call["members"].as_array().unwrap();
        let users = members
            .iter()
            .filter_map(|member| member["user_id"].as_str());
        found.extend(
            users
                .filter(|user| user.starts_with("@forgotten-"))
                .map(str::to_owned),
        );
    }

    found.sort();
    found.dedup();

    found
}

#[tokio::test]
async fn who_is_forgotten_is_nowhere_and_comes_again_without_a_name() {
    let bed = Bed::new().await;
    bed.hs.set_display_name(ANN, "Zebulina Quux");
    let rooms = [
        bed.room(&[ANN, BOB]),
        bed.room_like(NewRoom::default(), &[ANN, BOB]),
    ];
    let rooms = [rooms[0].as_str(), rooms[1].as_str()];
    for room in rooms {
        bed.hs.join_user(room, ANN, now() - 900_000);
        live_a_life(&bed, room, now() - 600_000);
    }

    let program = settings(&bed).with(
        "CALLSCOPE_LOG",
        "trace,hyper_util=info,h2=info,actix_http=info,mio=info",
    );
    let app = App::ready(&program).await;
    eventually("her calls", 60, async || {
        for room in rooms {
            let path = format!("/api/v1/rooms/{}", quote(room));
            if app.http.get(&path).await.ok()["history_open"] != false
                || app.calls(room).await.len() < 3
            {
                return None;
            }
        }

        Some(())
    })
    .await;
    let before = [numbers(&app, rooms[0]).await, numbers(&app, rooms[1]).await];
    let shown = all_answers(&app, &rooms).await;
    assert!(
        TRACES.iter().all(|trace| shown.contains(trace)),
        "the test is one"
    );
    assert!(!files_with_traces(&bed).await.is_empty(), "the test is one");

    let unknown = run(&bed, &["forget", "@nobody:sim.example", "--yes"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("nothing is stored about"),
        "{}",
        said(&unknown)
    );
    let unasked = run(&bed, &["forget", ANN]).await;
    assert_eq!(unasked.status.code(), Some(1), "{}", said(&unasked));
    assert!(
        said(&unasked).contains("Nothing was done"),
        "{}",
        said(&unasked)
    );
    let document = run(&bed, &["export", ANN]).await;
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["user_id"], ANN);
    for part in [
        "rooms",
        "names",
        "room_memberships",
        "stays",
        "events",
        "pseudonyms",
    ] {
        assert!(!document[part].as_array().unwrap().is_empty(), "{part}");
    }

    let done = run(&bed, &["forget", ANN, "--yes"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(
        said(&done).contains("Forgotten in 2 rooms"),
        "{}",
        said(&done)
    );
    eventually("the server has noticed", 20, async || {
        traces_in(&all_answers(&app, &rooms).await)
            .is_empty()
            .then_some(())
    })
    .await;
    let log_before = app.log().len();
    for (at, room) in rooms.iter().enumerate() {
        assert_eq!(numbers(&app, room).await, before[at], "the numbers stay");
    }

    // She comes again, from a new device; her old events come again with a poll of the state.
    for room in rooms {
        bed.joins(room, ANN, "ZQDEVNEW", now());
        bed.hs.set_display_name(ANN, "Zebulina Quux the Second");
        bed.hs.join_user(room, ANN, now());
        live_a_life(&bed, room, now() - 1000);
    }

    for (at, room) in rooms.iter().enumerate() {
        eventually("she is counted", 60, async || {
            let calls = numbers(&app, room).await;
            (calls.len() > before[at].len()).then_some(())
        })
        .await;
    }

    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let names = [
        pseudonyms(&app, rooms[0]).await,
        pseudonyms(&app, rooms[1]).await,
    ];
    assert!(
        names[0].len() == 1 && names[1].len() == 1,
        "one for each room: {names:?}"
    );
    assert_ne!(names[0], names[1], "two rooms cannot be matched");
    assert_eq!(
        traces_in(&all_answers(&app, &rooms).await),
        Vec::<String>::new()
    );
    assert_eq!(traces_in(&app.log()[log_before..]), Vec::<String>::new());

    let document = run(&bed, &["export", ANN]).await;
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    let empty = document.as_object().unwrap().values();
    assert!(
        empty.filter_map(Value::as_array).all(Vec::is_empty),
        "{document}"
    );
    let again = run(&bed, &["forget", ANN, "--yes"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(
        said(&again).contains("is forgotten already"),
        "{}",
        said(&again)
    );
    assert_eq!(files_with_traces(&bed).await, Vec::<String>::new());
    drop(app);
    assert_eq!(
        files_with_traces(&bed).await,
        Vec::<String>::new(),
        "after a kill"
    );

    // A rebuild from the events says the same.
    let app = App::ready(&settings(&bed)).await;
    let now_counted = numbers(&app, rooms[0]).await;
    let rebuilt = run(&bed, &["rebuild"]).await;
    assert_eq!(rebuilt.status.code(), Some(0), "{}", said(&rebuilt));
    assert_eq!(numbers(&app, rooms[0]).await, now_counted);
    drop(app);
    assert_eq!(files_with_traces(&bed).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_people_of_a_server_that_opted_out_are_counted_without_names() {
    const CARL: &str = "@carl:qxsmall.example";
    let bed = Bed::new().await;
    let room = bed.room(&[CARL, BOB]);
    bed.joins(&room, CARL, "CD", now() - 60_000);
    bed.joins(&room, BOB, "BD", now() - 50_000);
    let app = App::ready(&settings(&bed)).await;
    let two_people = async |app: &App| {
        eventually("two people", 30, async || {
            let calls = app.calls(&room).await;
            (calls.len() == 1 && calls[0]["people"] == 2).then_some(())
        })
        .await;
    };
    two_people(&app).await;
    drop(app);
    assert!(!files_with(bed.folder.path(), "qxsmall").is_empty() || !Database::are_files());

    let program = settings(&bed).with("CALLSCOPE_OPTED_OUT_SERVERS", "qxsmall.example");
    let app = App::ready(&program).await;
    two_people(&app).await;
    bed.joins(&room, "@dora:qxsmall.example", "DD", now());
    eventually("a third one", 30, async || {
        (app.calls(&room).await[0]["people"] == 3).then_some(())
    })
    .await;
    let shown = all_answers(&app, &[&room]).await;
    assert!(!shown.contains("qxsmall") && !shown.contains("@carl") && !shown.contains("@dora"));
    assert!(!app.log().contains("qxsmall"));
    drop(app);
    if Database::are_files() {
        assert_eq!(
            files_with(bed.folder.path(), "qxsmall"),
            Vec::<String>::new()
        );
    }

    // Another start has nothing to do.
    let app = App::ready(&program).await;
    drop(app);
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(bed.database.url()).await.unwrap();
    let entries = "select count(*) from audit_log where kind = 'forgotten'";
    let entries: i64 = sqlx::query_scalar(entries).fetch_one(&pool).await.unwrap();
    assert_eq!(entries, 1);
    pool.close().await;
}
