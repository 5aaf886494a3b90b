//! Two calls at the same time in one room, with one person in each.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, MINUTE, SECOND, Served, Way, call_path, events_of};
use super::stays::{ADA, BEN, GLARE};
use crate::support::eventually;
use serde_json::{Value, json};

fn side_by_side(call: &Value) -> Vec<Value> {
    let findings = call["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["kind"] == "side_by_side")
        .cloned()
        .collect()
}

/// The report's events; `change` modifies those of the first seconds.
fn changed(change: impl Fn(&str, &mut Value)) -> Vec<Value> {
    let mut events = events_of(GLARE.name);
    for event in &mut events {
        let id = event["event_id"].as_str().unwrap().to_owned();
        change(&id, event);
    }

    events
}

#[tokio::test]
async fn two_who_started_at_once_are_told_that_each_was_alone() {
    for way in BOTH {
        let (report, calls) = GLARE.served(way).await;
        let [ada, ben] = &calls[..] else {
            panic!("{calls:#?}")
        };

        for (call, other) in [(ada, ben), (ben, ada)] {
            let found = side_by_side(call);
            assert_eq!(found.len(), 1, "{}", call["findings"]);
            assert_eq!(found[0]["from_ms"], report.at(BEGIN + 2 * SECOND));
            assert_eq!(found[0]["until_ms"], report.at(BEGIN + 20 * MINUTE));
            assert_eq!(found[0]["other_call_ids"], json!([other["id"]]));
            assert_eq!(found[0]["users"], json!([ADA, BEN]));
            assert_eq!(found[0]["user_names"], json!(["Ada", "Ben"]));

            let html = report.call_html(call).await;
            says(&html, &format!("href=\"{}\"", call_path(other)));
            let page = report.call_page(call).await;
            let from = report.clock_seconds(BEGIN + 2 * SECOND);
            let until = report.clock_seconds(BEGIN + 20 * MINUTE);
            says(
                &page,
                &format!(
                    "Two calls of one kind ran side by side in this room from {from} to {until} and nobody met"
                ),
            );
            says(&page, "probably looking for each other");
            says(&page, "Ada and Ben were each alone");
            is_silent_of(&page, "Healthy");
        }

        let room = report.room_json().await;
        let told = room["side_by_side"].as_array().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        let mut ids = [&ada["id"], &ben["id"]].map(|id| id.as_str().unwrap());
        ids.sort_unstable();
        assert_eq!(told[0]["call_ids"], json!(ids));

        let page = report.room_page().await;
        let from = report.moment(BEGIN + 2 * SECOND);
        let until = report.moment(BEGIN + 20 * MINUTE);
        says(
            &page,
            &format!(
                "Two calls of one kind ran side by side from {from} to {until} and nobody met"
            ),
        );
        assert_eq!(page.matches("side by side").count(), 1, "one line: {page}");
        says(&page, "Ada, Ben, each alone");
        let html = report.app.page(&report.room_path()).await;
        for call in [ada, ben] {
            says(&html, &format!("href=\"{}\">call", call_path(call)));
        }

        // In a list each has its own row, with its finding.
        let list = report.page("/calls").await;
        assert_eq!(list.matches("Side by side").count(), 2, "{list}");
        report.stop().await;
    }
}

#[tokio::test]
async fn two_who_wait_now_are_one_trouble_and_it_ends_when_they_meet() {
    let report = Served::start(GLARE.name, BEGIN + 10 * MINUTE, Way::Live).await;
    let calls = report.calls(|calls| calls.len() == 2).await;
    let since = report.at(BEGIN + 2 * SECOND);
    for call in &calls {
        let found = side_by_side(call);
        assert_eq!(found.len(), 1, "{}", call["findings"]);
        assert_eq!(found[0]["from_ms"], since);
        assert_eq!(found[0]["until_ms"], Value::Null);
        let page = report.call_page(call).await;
        says(
            &page,
            "Two calls of one kind run side by side in this room since",
        );
        says(&page, "What to do: tell them of each other");
    }

    let overview = report.page("/").await;
    says(&overview, "One call needs a look");
    assert_eq!(overview.matches("side by side").count(), 3, "{overview}");

    // Ben leaves his call and joins Ada: the waiting is over, and they met.
    let now = crate::app::bed::now();
    let device =
        json!({"device_id": "BD", "session_id": "s3", "expires_ts": now + 3_600_000, "feeds": []});
    let content = json!({"m.calls": [{"m.call_id": "111", "m.devices": [device]}]});
    report.bed.hs.send_state(
        &report.room,
        BEN,
        crate::app::bed::MEMBER,
        BEN,
        content,
        now,
    );
    let overview = eventually("nobody waits any more", 30, async || {
        let overview = report.page("/").await;
        (!overview.contains("needs a look")).then_some(overview)
    })
    .await;
    says(&overview, "1 call now, 2 people");
    report.stop().await;
}

#[tokio::test]
async fn calls_that_run_side_by_side_on_purpose_are_no_trouble() {
    let of_application = |application: &'static str| {
        // The same two, in the form that names its application.
        changed(move |id, event| {
            let (user, device, call_id) = if event["sender"] == ADA {
                (ADA, "AD", "111")
            } else {
                (BEN, "BD", "222")
            };

            match id {
                "$a1" | "$b1" => {
                    event["content"] = crate::app::bed::join(device);
                    event["content"]["call_id"] = json!(call_id);
                    event["content"]["application"] = json!(application);
                }
                "$a2" | "$b2" => event["content"] = json!({}),
                _ => return,
            }

            event["state_key"] = json!(crate::app::bed::key(user, device));
        })
    };

    let mixed = {
        let mut events = of_application("m.call");
        for event in &mut events {
            if event["event_id"] == "$b1" {
                event["content"]["application"] = json!("org.example.chess");
            }
        }

        events
    };

    // Cleo and Dora join the two calls: two meetings at the same time.
    let meetings = {
        let mut events = of_application("m.call");
        for (user, device, call_id, at) in [
            ("@cleo:cedar.example", "CD", "111", 5 * MINUTE),
            ("@scope:fake.example", "SD", "222", 6 * MINUTE),
        ] {
            let mut content = crate::app::bed::join(device);
            content["call_id"] = json!(call_id);
            for (id, at, content) in [
                (format!("$join{device}"), BEGIN + at, content),
                (
                    format!("$leave{device}"),
                    BEGIN + at + 5 * MINUTE,
                    json!({}),
                ),
            ] {
                events.push(json!({
                    "event_id": id, "type": crate::app::bed::MEMBER, "sender": user,
                    "state_key": crate::app::bed::key(user, device), "origin_server_ts": at,
                    "content": content,
                }));
            }
        }

        events.sort_by_key(|event| event["origin_server_ts"].as_i64());
        events
    };

    for (name, events) in [
        ("two-meetings", meetings),
        ("call-and-game", mixed),
        ("two-boards", of_application("net.nordeck.whiteboard")),
    ] {
        for way in BOTH {
            let report = Served::start_events(name, events.clone(), GLARE.now_ms, way, &[]).await;
            let calls = report
                .calls(|calls| calls.len() == 2 && calls.iter().all(|call| call["active"] == false))
                .await;
            for call in &calls {
                assert_eq!(side_by_side(call), Vec::<Value>::new(), "{name}");
                is_silent_of(&report.call_page(call).await, "side by side");
            }

            is_silent_of(&report.room_page().await, "side by side");
            report.stop().await;
        }
    }
}
