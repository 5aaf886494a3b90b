//! A ring and its outcome: the same everywhere.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, SECOND, Served, call_path, events_of};
use super::stays::RING_AFTER_HANGUP;
use serde_json::{Value, json};

#[tokio::test]
async fn a_ring_that_is_taken_when_the_caller_has_gone_is_missed_everywhere() {
    for way in BOTH {
        let (report, calls) = RING_AFTER_HANGUP.served(way).await;
        let [ada, ben] = &calls[..] else {
            panic!("{calls:#?}")
        };

        let ring = &ada["related"][0];
        assert_eq!(ring["outcome"], "missed", "{ring}");
        assert_eq!(ring["answered_ms"], Value::Null);

        let room = report.room_json().await;
        let ash = report.app.json("/api/v1/servers/ash.example").await;
        let all = report.app.json("/api/v1/statistics").await;
        for (place, rings) in [
            ("room", &room["rings"]),
            ("server", &ash["rings"]),
            ("statistics", &all["rings"]),
        ] {
            assert_eq!(rings["sent"], 1, "{place}: {rings}");
            assert_eq!(rings["answered"], 0, "{place}: {rings}");
            assert_eq!(rings["missed"], 1, "{place}: {rings}");
            assert_eq!(rings["usual_answer_ms"], Value::Null, "{place}: {rings}");
        }

        let birch = report.app.json("/api/v1/servers/birch.example").await;
        assert_eq!(birch["rings"]["answered"], 0, "{birch}");

        for path in [
            report.room_path(),
            "/servers/ash.example".to_owned(),
            "/statistics".to_owned(),
        ] {
            let page = report.page(&path).await;
            says(&page, "Of 1 ring 0 were answered");
            is_silent_of(&page, "usually within");
        }

        assert_eq!(ada["answered"], false, "{ada}");
        let page = report.call_page(ada).await;
        says(&page, "Not answered");
        says(&page, "Ada rang Ben: not answered");
        says(&page, "Ben came 7 s after the end");
        says(
            &report.call_html(ada).await,
            &format!("href=\"{}\"", call_path(ben)),
        );
        let page = report.call_page(ben).await;
        says(&page, "answered a ring of a call that had ended");
        says(
            &report.call_html(ben).await,
            &format!("href=\"{}\"", call_path(ada)),
        );
        for (call, other) in [(ada, ben), (ben, ada)] {
            let linked = call
                .to_string()
                .matches(other["id"].as_str().unwrap())
                .count();
            assert!(linked > 0, "{call} has no link to {}", other["id"]);
        }

        report.stop().await;
    }
}

#[tokio::test]
async fn a_ring_that_is_answered_while_the_caller_is_there_stays_answered() {
    let mut events = events_of(RING_AFTER_HANGUP.name);
    for event in &mut events {
        if event["event_id"] == "$a2" {
            event["origin_server_ts"] = json!(BEGIN + 20 * SECOND);
        }
    }

    events.sort_by_key(|event| event["origin_server_ts"].as_i64());

    for way in BOTH {
        let report = Served::start_events(
            "answered",
            events.clone(),
            RING_AFTER_HANGUP.now_ms,
            way,
            &[],
        )
        .await;
        let calls = report
            .calls(|calls| calls.len() == 1 && calls[0]["active"] == false)
            .await;
        assert_eq!(calls[0]["related"][0]["outcome"], "answered");
        let room = report.room_json().await;
        assert_eq!(room["rings"]["answered"], 1, "{}", room["rings"]);
        report.stop().await;
    }
}
