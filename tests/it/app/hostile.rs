//! A room with hostile events: everything is kept, counted, escaped and shown; nothing breaks.

use crate::app::alone::settings;
use crate::app::bed::{Bed, MEMBER, Running, join, key, now};
use crate::support::app::App;
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::NewRoom;
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const MARKUP: &str = "<script>alert(1)</script>\"'&<b>";

fn vectors() -> Vec<Value> {
    let text = std::fs::read_to_string("tests/vectors/published.json").unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let wanted = ["V51", "V71", "V72"];
    let vectors = file["vectors"].as_array().unwrap().iter();
    let events = vectors
        .filter(|vector| wanted.iter().any(|id| vector["id"] == *id))
        .flat_map(|vector| {
            let prefix = vector["id"].as_str().unwrap().to_owned();
            vector["events"]
                .as_array()
                .unwrap()
                .clone()
                .into_iter()
                .map(move |mut event| {
                    event["event_id"] = json!(format!(
                        "${prefix}{}",
                        &event["event_id"].as_str().unwrap()[1..]
                    ));
                    event["origin_server_ts"] = json!(now());
                    event
                })
        });

    events.collect()
}

fn odd(user: &str) -> Vec<Value> {
    let event = |id: &str, ts: Value, content: Value| {
        json!({"event_id": format!("$odd{id}"), "type": MEMBER, "sender": user,
            "state_key": key(user, id),
            "origin_server_ts": ts, "content": content})
    };

    let long = "x".repeat(60_000);
    let mut markup = join(MARKUP);
    markup["call_id"] = json!(MARKUP);
    markup["m.call.intent"] = json!(MARKUP);
    markup["foci_preferred"][0]["livekit_service_url"] = json!("javascript:alert(1)");
    let mut numbers = join("NUM");
    numbers["expires"] = json!(u64::MAX);
    numbers["created_ts"] = json!(-1.5e300);
    let mut control = join("CTL\u{0}\u{1b}[31m\u{202e}");
    control["call_id"] = json!("a\u{0}\nb\u{7}");

    vec![
        event("markup", json!(now()), markup),
        event("long", json!(now()), join(&long)),
        event("numbers", json!(now()), numbers),
        event("control", json!(now()), control),
        event("future", json!(i64::MAX), join("FUT")),
        event("pastfuture", json!(1.0e300), join("PF")),
        event("array", json!(now()), json!([1, 2])),
        event("null", json!(now()), Value::Null),
        json!({"event_id": "$oddsender", "type": MEMBER, "sender": 5, "state_key": "k",
            "origin_server_ts": 1, "content": {}}),
        json!({"event_id": "$oddts", "type": MEMBER, "sender": user, "state_key": "k2",
            "origin_server_ts": "x", "content": {}}),
    ]
}

/// Sends everything hostile into a room with a hostile name, beside one good join.
async fn hostile_room() -> (Bed, Running, String) {
    let bed = Bed::new().await;
    let like = NewRoom {
        name: Some(MARKUP.into()),
        ..NewRoom::default()
    };

    let room = bed.room_like(like, &[ALICE]);
    bed.hs.set_display_name(ALICE, MARKUP);
    let app = bed.start().await;
    app.ready().await;
    bed.joins(&room, ALICE, "GOOD", now());
    for mut event in vectors().into_iter().chain(odd(ALICE)) {
        event["room_id"] = json!(room);
        bed.hs.send_raw(&room, event);
    }

    app.status_until("the rejected events", |status| {
        status["totals"]["rejected"].as_i64().unwrap() >= 21
    })
    .await;

    (bed, app, room)
}

#[tokio::test]
async fn everything_hostile_is_kept_and_counted_with_its_reason() {
    let (_bed, app, room) = hostile_room().await;
    let status = app.json("/api/v1/status").await;
    let counts = status["rejected"].as_array().unwrap();
    let names = [
        "no_device_id",
        "no_call_id",
        "bad_scope",
        "encrypted",
        "foreign_user_id",
        "id_too_long",
        "no_sender",
    ];
    for name in names {
        let count = counts.iter().find(|count| count["reason"] == name);
        assert!(
            count.is_some_and(|count| count["count"].as_i64() >= Some(1)),
            "{name} is not in {counts:?}"
        );
    }

    let listed = app.room(&room).await["rejected_events"]
        .as_array()
        .unwrap()
        .len();
    assert!(listed >= 21, "each is listed on its room: {listed}");
    let calls = app.calls().await;
    assert!(
        calls
            .iter()
            .any(|call| call["slot_id"] == "m.call#ROOM" && call["active"] == true)
    );
    app.app.stop().await;
}

#[tokio::test]
async fn everything_hostile_is_escaped() {
    let (_bed, app, room) = hostile_room().await;
    let calls = app.calls().await;
    let marked = calls
        .iter()
        .find(|call| call["slot_id"] == format!("m.call#{MARKUP}"))
        .expect("markup in a call id");
    let call = format!("/calls/{}", marked["id"].as_str().unwrap());
    for page in [
        "/",
        "/calls",
        "/rooms",
        "/status",
        &format!("/rooms/{}", quote(&room)),
        &call,
    ] {
        let answer = reqwest::get(format!("{}{page}", app.http.base))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{page}");
        let text = answer.text().await.unwrap();
        assert!(
            !text.contains("<script>alert") && !text.contains("href=\"javascript:"),
            "{page}"
        );
        assert!(
            !text.contains('\u{0}') && !text.contains('\u{1b}'),
            "{page} has control characters"
        );
        assert!(text.contains("</html>"), "{page} is whole");
    }

    app.app.stop().await;
}

#[tokio::test]
async fn a_line_break_in_a_name_makes_no_line_of_the_log() {
    let bed = Bed::new().await;
    let forged = "2026-11-22T00:00:00.000000Z ERROR callscope: forged";
    let room = bed.hs.create_room(NewRoom {
        room_id: Some(format!("!a\n{forged}\r\u{1b}[2J:sim.example")),
        name: Some(format!("A room\n{forged}")),
        ..NewRoom::default()
    });
    bed.hs.join_user(&room, "@eve:other.example", now());
    bed.hs.invite(&room, &bed.bot, "@eve:other.example", now());
    let app = App::ready(&settings(&bed)).await;
    eventually("the invitation is in the log", 30, async || {
        app.log().contains("an invitation waits").then_some(())
    })
    .await;
    let log = app.log();
    assert!(
        log.contains(&format!("\\n{forged}")),
        "it is told as it is: {log}"
    );
    for line in log.lines() {
        assert!(
            !line.starts_with(forged) && !line.contains('\u{1b}'),
            "{line:?}"
        );
    }

    app.kill();
}

#[tokio::test]
async fn who_listens_to_all_the_world_is_warned() {
    let bed = Bed::new().await;
    let open = settings(&bed)
        .without("CALLSCOPE_BIND")
        .with("CALLSCOPE_BIND", "0.0.0.0:0")
        .with("CALLSCOPE_OPEN_TO_EVERYBODY", "true");
    let app = App::start(&open).await;
    eventually("the warning", 30, async || {
        app.log().contains("open to everybody").then_some(())
    })
    .await;
    app.kill();
    let app = App::start(&settings(&bed)).await;
    assert!(!app.log().contains("open to everybody"));
    app.kill();
}
