//! Ghosts: shown as such, with the sign that proves it and the command that clears it.

use super::page::{is_silent_of, says, text_of};
use super::served::{BEGIN, BOTH, HOUR, MINUTE, Served, Way, call_path, events_of, moved};
use super::stays::{ADA, RESURRECTED, STUCK};
use crate::app::bed::{Bed, Running, now};
use crate::support::http::quote;
use callscope::sim::Homeserver;
use serde_json::{Value, json};

const KEY: &str = "_@ada:ash.example_AD_m.call";

fn silent(call: &Value) -> Value {
    let found: Vec<&Value> = call["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["kind"] == "silent")
        .collect();
    assert_eq!(found.len(), 1, "{}", call["findings"]);

    found[0].clone()
}

/// The command of a finding. Its address is that of the homeserver as soon as that is known.
fn command(report: &Served, finding: &Value) -> String {
    let command = finding["clear"]["curl"].as_str().unwrap();
    command.replace(&report.bed.hs.url(), "https://YOUR_HOMESERVER")
}

/// The command that clears Ada's membership in this room.
fn curl(room: &str) -> String {
    let encoded = |text: &str| {
        text.replace('!', "%21")
            .replace(':', "%3A")
            .replace('@', "%40")
    };

    format!(
        "curl -X PUT -H 'Authorization: Bearer YOUR_ACCESS_TOKEN' -H 'Content-Type: application/json' -d '{{}}' \
         'https://YOUR_HOMESERVER/_matrix/client/v3/rooms/{}/state/org.matrix.msc3401.call.member/{}'",
        encoded(room),
        encoded(KEY)
    )
}

/// Every place that shows a number of people shows nobody but one ghost.
async fn nobody_but_a_ghost(app: &Running, room: &str) {
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["active"], json!([]), "{overview}");
    assert_eq!(overview["stuck"].as_array().unwrap().len(), 1);
    for key in ["people", "people_now", "devices_now", "calls_now"] {
        assert_eq!(overview[key], 0, "{key}");
    }

    assert_eq!(
        (&overview["ghosts_now"], &overview["calls_stuck"]),
        (&json!(1), &json!(1))
    );
    let active = app.json("/api/v1/calls/active").await;
    let call = &active["data"][0];
    assert_eq!(
        (&call["state"], &call["active"]),
        (&json!("stuck"), &json!(true))
    );
    assert_eq!(
        (&call["people_now"], &call["ghosts_now"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        (&active["people_now"], &active["ghosts_now"]),
        (&json!(0), &json!(1))
    );
    let status = app.json("/api/v1/status").await;
    assert_eq!(
        (&status["people_now"], &status["ghosts_now"]),
        (&json!(0), &json!(1))
    );
    let room_path = format!("/api/v1/rooms/{}", quote(room));
    for one in [
        app.json(&room_path).await,
        app.json("/api/v1/rooms").await["data"][0].clone(),
    ] {
        assert_eq!(
            (&one["active_calls"], &one["stuck_calls"]),
            (&json!(0), &json!(1)),
            "{one}"
        );
        assert_eq!(
            (&one["people_now"], &one["ghosts_now"]),
            (&json!(0), &json!(1))
        );
    }

    let server = app.json("/api/v1/servers/ash.example").await;
    assert_eq!(
        (&server["now"]["people"], &server["now"]["ghosts"]),
        (&json!(0), &json!(1))
    );
    let servers = app.json("/api/v1/servers").await;
    let ash = servers["data"].as_array().unwrap().iter();
    let ash = ash
        .clone()
        .find(|one| one["server"] == "ash.example")
        .unwrap();
    assert_eq!(
        (&ash["people_now"], &ash["ghosts_now"]),
        (&json!(0), &json!(1))
    );
    for path in [
        format!("/badge/rooms/{}/active.json", quote(room)),
        "/badge/servers/ash.example/active.json".to_owned(),
    ] {
        assert_eq!(
            app.json(&path).await["message"],
            "nobody, 1 ghost",
            "{path}"
        );
    }

    let metrics = app.page("/metrics").await;
    for line in [
        "callscope_calls_active 0",
        "callscope_calls_stuck 1",
        "callscope_people_active 0",
        "callscope_ghosts 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }

    let overview = text_of(&app.page("/").await);
    says(&overview, "No calls now");
    says(&overview, "1 call is probably stuck");
    says(&overview, "What to do");
    is_silent_of(&overview, "Healthy");
    let wall = text_of(&app.page("/wall").await);
    says(&wall, "No calls now");
    says(&wall, "1 call is probably stuck");
    let frame = text_of(&app.page(&format!("/embed/rooms/{}", quote(room))).await);
    says(&frame, "Probably stuck");
    says(&frame, "1 ghost");
    is_silent_of(&frame, "1 person");
    says(&text_of(&app.page("/calls").await), "Stuck, 1 ghost");
    says(&text_of(&app.page("/rooms").await), "Stuck");
    says(
        &text_of(&app.page(&format!("/rooms/{}", quote(room))).await),
        "is probably stuck",
    );
    says(
        &text_of(&app.page("/servers/ash.example").await),
        "Only a probable ghost is left",
    );
}

#[tokio::test]
async fn who_came_back_after_the_goodbye_is_a_ghost_and_nobody_is_counted() {
    for way in BOTH {
        let report = Served::start(RESURRECTED.name, RESURRECTED.now_ms, way).await;
        let calls = report.calls(|calls| calls.len() == 2).await;
        let finding = silent(&calls[1]);
        assert_eq!(
            (&finding["sure"], &finding["sign"]),
            (&json!("probably"), &json!("came_back")),
            "{way:?} {finding}"
        );
        assert_eq!(finding["users"], json!([ADA]));
        assert_eq!(finding["device_id"], "AD");
        let heard = BEGIN + 9 * HOUR + 30 * MINUTE;
        assert_eq!(finding["from_ms"], report.at(heard));
        assert_eq!(finding["due_ms"], report.at(heard + HOUR));
        assert_eq!(finding["counts_until_ms"], report.at(BEGIN + 52 * HOUR));
        let clear = &finding["clear"];
        assert_eq!(
            (
                &clear["event_type"],
                &clear["state_key"],
                &clear["event_id"]
            ),
            (&json!(crate::app::bed::MEMBER), &json!(KEY), &json!("$a2"))
        );
        assert_eq!(command(&report, &finding), curl(&report.room));
        let stays = calls[1]["members"].as_array().unwrap();
        assert_eq!((stays.len(), &stays[0]["ghost"]), (1, &json!(true)));

        let page = report.call_page(&calls[1]).await;
        // The renewal links to the earlier call, and to the goodbye before it.
        let earlier = &calls[1]["earlier_stays"][0];
        assert_eq!(earlier["call_id"], calls[0]["id"], "{way:?} {earlier}");
        assert_eq!(
            earlier["end_event_id"],
            calls[0]["members"][0]["end_event_id"]
        );
        let html = report.call_html(&calls[1]).await;
        let goodbye = format!(
            "{}#e-{}",
            call_path(&calls[0]),
            earlier["end_event_id"].as_str().unwrap()
        );
        assert_eq!(html.matches(&goodbye).count(), 2, "{html}");
        let (findings, picture) = (html.find("id=\"h-find\""), html.find("id=\"h-tl\""));
        assert!(findings < picture, "trouble and remedy come first");
        for words in [
            "Ada is probably gone",
            "came back with the start of a stay that had already ended",
            "no delayed leave stands behind it",
            KEY,
            "Probably stuck, 1 ghost",
        ] {
            says(&page, words);
        }

        says(&page, &format!("Last heard {}", report.moment(heard)));
        is_silent_of(&page, "Healthy");
        nobody_but_a_ghost(&report.app, &report.room).await;
        report.stop().await;
    }
}

#[tokio::test]
async fn a_killed_client_is_perhaps_gone_where_no_sign_tells_and_says_why() {
    for way in BOTH {
        let (report, calls) = STUCK.served(way).await;
        let finding = silent(&calls[0]);
        assert_eq!(
            (&finding["sure"], &finding["sign"], &finding["signs"]),
            (&json!("perhaps"), &Value::Null, &json!([])),
            "{finding}"
        );
        assert_eq!(finding["from_ms"], report.at(BEGIN));
        assert_eq!(finding["due_ms"], report.at(BEGIN + HOUR));
        assert_eq!(finding["counts_until_ms"], report.at(BEGIN + 4 * HOUR));
        assert_eq!(command(&report, &finding), curl(&report.room));
        let page = report.call_page(&calls[0]).await;
        for words in [
            "Ada is perhaps gone",
            "older ones every four hours",
            "silent",
        ] {
            says(&page, words);
        }

        is_silent_of(&page, "Healthy");
        let overview = report.page("/").await;
        says(&overview, "One call needs a look");
        is_silent_of(&overview, "Healthy");
        perhaps_gone_everywhere(&report).await;
        report.stop().await;
    }
}

/// Every place that counts Ada says that she is perhaps gone, and for how long she has been silent.
async fn perhaps_gone_everywhere(report: &Served) {
    let words = "perhaps gone, silent for 2 h 0";
    let app = &report.app;
    for path in [
        format!("/badge/rooms/{}/active.json", quote(&report.room)),
        "/badge/servers/ash.example/active.json".to_owned(),
    ] {
        let message = app.json(&path).await["message"].clone();
        let message = message.as_str().unwrap();
        assert!(
            message.starts_with(&format!("1 person, {words}")),
            "{path}: {message}"
        );
    }

    for path in [
        format!("/embed/rooms/{}", quote(&report.room)),
        format!("/rooms/{}", quote(&report.room)),
        "/servers/ash.example".to_owned(),
    ] {
        says(&text_of(&app.page(&path).await), words);
    }

    let now = app.json("/api/v1/servers/ash.example").await["now"].clone();
    assert_eq!(
        (&now["people"], &now["perhaps_gone"]),
        (&json!(1), &json!(1)),
        "{now}"
    );
    assert_eq!(now["silent_since_ms"], report.at(BEGIN));

    for path in ["/api/v1/calls/active", "/api/v1/overview", "/api/v1/status"] {
        assert_eq!(app.json(path).await["perhaps_gone_now"], 1, "{path}");
    }
}

/// The same on our own homeserver, which does not support delayed events; `change` modifies Ada's
/// content.
async fn served_at_home(
    change: impl Fn(&mut Value),
    has_delayed_events: bool,
) -> (Bed, Running, String) {
    let hs = Homeserver::start_as("ash.example", 0, 1).await.unwrap();
    hs.set_feature("org.matrix.msc4140", has_delayed_events);
    let (bot, token) = hs.register("@scope:ash.example", "secret");
    let bed = Bed::at(hs, bot, token).await;

    let room = "!tree:ash.example".to_owned();
    let by = now() - STUCK.now_ms;
    for event in events_of(STUCK.name) {
        let text = event
            .to_string()
            .replace("@scope:fake.example", "@scope:ash.example");
        let mut event = moved(serde_json::from_str(&text).unwrap(), by);
        if event["event_id"] == "$a1" {
            change(&mut event["content"]);
        }

        bed.hs.send_raw(&room, event);
    }

    let app = bed.start().await;
    app.ready().await;
    app.once_read(&room).await;

    (bed, app, room)
}

#[tokio::test]
async fn a_killed_client_is_probably_gone_by_the_signs_that_there_are() {
    for (sign, has_delayed_events) in [("no_delayed_events", false), ("hourly_client", true)] {
        let change = |content: &mut Value| {
            if sign == "hourly_client" {
                content["membershipID"] = json!("@ada:ash.example:AD");
            }
        };

        let (bed, app, room) = served_at_home(change, has_delayed_events).await;
        let ben_left = |calls: &[Value]| {
            let members = calls.first().and_then(|call| call["members"].as_array());
            members.is_some_and(|all| all.iter().any(|one| one["left_ms"].is_i64()))
        };

        let listed = app.calls_until("the call", ben_left).await;
        let call = app.json(&format!("/api/v1{}", call_path(&listed[0]))).await;
        let finding = silent(&call);
        assert_eq!(
            (&finding["sure"], &finding["signs"]),
            (&json!("probably"), &json!([sign])),
            "{finding}"
        );
        assert_eq!(call["stuck_since_ms"], now_of(&call) + 25 * MINUTE);
        nobody_but_a_ghost(&app, &room).await;
        app.app.stop().await;
        bed.hs.stop().await;
    }
}

/// When the call began here.
fn now_of(call: &Value) -> i64 {
    call["started_ms"].as_i64().unwrap()
}

#[tokio::test]
async fn who_is_heard_is_no_ghost() {
    // An hour and four minutes after the join: the renewal may be on its way.
    let report = Served::start(STUCK.name, BEGIN + 64 * MINUTE, Way::Live).await;
    let ben_left = |calls: &[Value]| {
        let members = calls.first().and_then(|call| call["members"].as_array());
        members.is_some_and(|all| all.iter().any(|one| one["left_ms"].is_i64()))
    };

    let calls = report.calls(ben_left).await;
    assert_eq!(calls[0]["findings"], json!([]));
    assert_eq!(
        (&calls[0]["state"], &calls[0]["people_now"]),
        (&json!("running"), &json!(1))
    );
    report.stop().await;
}
