//! One member cannot make pages large; what is left out is stated and can be requested.

use crate::pages::site::{CALL, MINUTE, NOW, Site, event, quote, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const HALL: &str = "!hall:example.org";
const OTHER: &str = "!other:example.org";
const MALLORY: &str = "@mallory:evil.example";

/// A running device in a slot of its room.
fn device(user: &str, device: &str, call: &str, minutes_ago: i64) -> Value {
    let content = json!({ "application": "m.call", "call_id": call, "scope": "m.room",
        "device_id": device,
        "expires": 14_400_000, "focus_active": { "type": "livekit",
        "focus_selection": "multi_sfu" },
        "foci_preferred": [{ "type": "livekit",
        "livekit_service_url": "https://sfu.example/jwt" }] });
    let id = format!("${user}{device}{call}");
    let key = format!("_{user}_{device}_{call}");

    event(&id, CALL, user, &key, minutes_ago, content)
}

fn devices(count: usize) -> Vec<Value> {
    let mut events: Vec<Value> = (0..count)
        .map(|at| {
            let mut event = device(MALLORY, &format!("D{at}"), "", 0);
            event["origin_server_ts"] = json!(NOW - 60 * MINUTE + i64::try_from(at).unwrap());
            event
        })
        .collect();
    events.push(device("@ada:example.org", "ADA", "", 2));

    events
}

#[tokio::test]
async fn a_call_of_thousands_of_devices_is_told_in_part_and_says_so() {
    let site = Site::filled("crowd-of-devices").await;
    site.write_to(HALL, devices(4200)).await;
    let active = site.json("/api/v1/calls/active").await;
    let call = active["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["room"]["room_id"] == HALL)
        .unwrap();
    let members = call["members"].as_array().unwrap();
    assert!(members.len() <= 1000, "{}", members.len());
    let shown = |members: &[Value], device: &str| {
        members.iter().any(|member| member["device_id"] == device)
    };

    assert!(
        shown(members, "D0") && shown(members, "ADA"),
        "who came first, and who came last"
    );
    for (key, want) in [
        ("members_total", json!(4201)),
        ("members_whole", json!(false)),
        ("people_now", json!(2)),
        ("devices_now", json!(4201)),
    ] {
        assert_eq!(call[key], want, "{key}");
    }

    let overview = site.json("/api/v1/overview").await;
    assert_eq!(
        (&overview["people"], &overview["devices"]),
        (&json!(3), &json!(4202)),
        "with the one in the other room"
    );
    let badge = site
        .json(&format!("/badge/rooms/{}/active.json", quote(HALL)))
        .await;
    assert_eq!(badge["message"], "2 people");
    let metrics = site.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_devices_active 4202"),
        "{metrics}"
    );

    let path = format!("/calls/{}", text(&call["id"]));
    let page = site.html(&path).await;
    assert!(page.contains("This call has 4,201 stays"), "{page}");
    let json = site.json(&format!("/api/v1{path}")).await;
    assert_eq!(json["members"].as_array().unwrap().len(), 1000);
    assert_eq!(
        (&json["evidence_whole"], &json["members_whole"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(json["evidence"].as_array().unwrap().len(), 400);
    // All members can be requested, a part at a time.
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut from = 0;
    loop {
        let part = site
            .json(&format!("/api/v1{path}?members_from={from}"))
            .await;
        let members = part["members"].as_array().unwrap().clone();
        if members.is_empty() {
            break;
        }

        assert!(members.len() <= 1000);
        from += members.len();
        found.extend(
            members
                .iter()
                .map(|member| text(&member["device_id"]).to_owned()),
        );
    }

    assert_eq!((from, found.len()), (4201, 4201));
    // Events and stays from different places, in one answer.
    let both = site
        .json(&format!("/api/v1{path}?members_from=4190&events_from=4000"))
        .await;
    assert_eq!(both["members"].as_array().unwrap().len(), 11);
    assert_ne!(both["evidence"], json["evidence"]);
    let later = site.html(&format!("{path}?stays_from=4180")).await;
    assert!(
        later.contains("4,181 to 4,201 of 4,201") && later.contains("ADA"),
        "{later}"
    );
}

#[tokio::test]
async fn people_in_a_part_of_a_large_call_are_counted_though_not_all_are_listed() {
    let site = Site::filled("crowd-in-a-window").await;
    let mut events = devices(2500);
    // Neither among those who came first, nor among those who stay longest.
    let mut middle = device("@middle:elm.example", "M", "", 0);
    middle["origin_server_ts"] = json!(NOW - 60 * MINUTE + 1250);
    events.insert(1250, middle);
    site.write_to(HALL, events).await;
    let active = site.json("/api/v1/calls/active").await;
    let calls = active["data"].as_array().unwrap();
    let call = calls.iter().find(|call| call["room"]["room_id"] == HALL);
    let id = text(&call.unwrap()["id"]).to_owned();
    let (from, to) = (NOW - 61 * MINUTE, NOW - 30 * MINUTE);
    let part = site
        .json(&format!("/api/v1/calls/{id}?from={from}&to={to}"))
        .await;
    let listed = part["members"].as_array().unwrap();
    assert!(listed.iter().all(|stay| stay["user_id"] == MALLORY));
    let window = &part["window"];
    assert_eq!(
        (&window["people"], &window["people_outside"]),
        (&json!(2), &json!(1)),
        "{window}"
    );
}

#[tokio::test]
async fn answers_do_not_grow_with_what_one_member_does() {
    let mut sizes: Vec<Vec<usize>> = Vec::new();
    for (name, count) in [("crowd-of-some", 4000), ("crowd-of-more", 8000)] {
        let site = Site::filled(name).await;
        let mut events = devices(count);
        events.extend((0..count / 4).map(|at| device(MALLORY, "S", &format!("slot{at}"), 30)));
        site.write_to(HALL, events).await;
        let mut of_paths = Vec::new();
        for path in [
            "/",
            "/calls",
            "/wall",
            "/api/v1/overview",
            "/api/v1/calls",
            "/api/v1/calls/active",
        ] {
            of_paths.push(site.get(path).await.text.len());
        }

        sizes.push(of_paths);
    }

    for (some, more) in sizes[0].iter().zip(&sizes[1]) {
        assert!(*more < some + some / 10 + 1000, "{sizes:?}");
    }
}

#[tokio::test]
async fn thousands_of_slots_of_one_room_hide_no_other_room() {
    let site = Site::filled("crowd-of-slots").await;
    site.write_to(OTHER, vec![device("@ada:example.org", "ADA", "", 100)])
        .await;
    let slots = (0..900).map(|at| device(MALLORY, "S", &format!("slot{at}"), 30));
    site.write_to(HALL, slots.collect()).await;
    let active = site.json("/api/v1/calls/active").await;
    let calls = active["data"].as_array().unwrap();
    assert_eq!((&active["active_total"], calls.len()), (&json!(902), 500));
    assert!(calls.iter().any(|call| call["room"]["room_id"] == OTHER));
    let page = site.html("/").await;
    assert!(page.contains("902 calls now, 3 people"), "{page}");
    assert!(page.contains("All 902 running calls"));

    for room in [OTHER, HALL] {
        let embed = site.html(&format!("/embed/rooms/{}", quote(room))).await;
        assert!(
            embed.contains(if room == HALL { "mallory" } else { "ada" }),
            "{embed}"
        );
    }
}

#[tokio::test]
async fn a_moment_of_thousands_of_slots_is_told_in_part_and_says_so() {
    let site = Site::filled("crowd-of-a-moment").await;
    let mut events: Vec<Value> = (0..900)
        .map(|at| device(MALLORY, "S", &format!("slot{at}"), 30))
        .collect();
    for user in ["@ada:example.org", "@bob:example.org"] {
        events.push(device(user, "D", "", 20));
    }

    site.write_to(HALL, events).await;
    site.write_to(OTHER, vec![device("@ada:example.org", "ADA", "", 100)])
        .await;

    let then = site
        .json(&format!("/api/v1/rooms/{}/members", quote(HALL)))
        .await;
    let calls = then["data"].as_array().unwrap();
    assert_eq!(
        (calls.len(), &then["calls_total"], &then["whole"]),
        (500, &json!(901), &json!(false))
    );
    let people = |call: &Value| call["members"].as_array().unwrap().len();
    assert!(
        calls.iter().any(|call| people(call) == 2),
        "the call with most people is told"
    );
    let page = format!("/rooms/{}?at={}", quote(HALL), NOW - MINUTE);
    let page = site.html(&page).await;
    assert!(page.contains("901 calls ran then"), "{page}");

    let other = site
        .json(&format!("/api/v1/rooms/{}/members", quote(OTHER)))
        .await;
    assert_eq!(
        (&other["calls_total"], &other["whole"]),
        (&json!(1), &json!(true))
    );
    let page = format!("/rooms/{}?at={}", quote(OTHER), NOW - MINUTE);
    assert!(!site.html(&page).await.contains("ran then"));
}
