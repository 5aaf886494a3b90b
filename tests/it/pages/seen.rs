//! Who may see the pages, whether cached answers are still valid, and that everything can be
//! reached.

use crate::pages::site::{MINUTE, NOW, ROOM, Site, event, quote, text};
use callscope::rtc::words::Watch;
use callscope::store::ingest::rooms;
use serde_json::{Value, json};

#[tokio::test]
async fn a_foreign_name_gets_nothing() {
    let site = Site::filled("host").await;
    let ask = |path: &str, host: &'static str| {
        site.client
            .get(format!("{}{path}", site.base))
            .header("host", host)
            .send()
    };

    for path in [
        "/",
        "/api/v1/calls/active",
        "/api/v1/live",
        "/readyz",
        "/static/style.css",
        "/nowhere",
    ] {
        let answer = ask(path, "evil.example:8080").await.unwrap();
        assert!(
            answer.headers().contains_key("content-security-policy"),
            "{path}"
        );
        assert_eq!(answer.status(), 421, "{path}");
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("CALLSCOPE_PUBLIC_URL") && !text.contains("Alice"),
            "{path}: {text}"
        );
    }

    let body: Value = ask("/api/v1/calls", "evil.example")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&body["errcode"], &body["status"]),
        (&json!("M_FORBIDDEN"), &json!(421))
    );

    for (path, host) in [
        ("/healthz", "evil.example"),
        ("/", "localhost:1"),
        ("/", "calls.example"),
        ("/", "[::1]"),
    ] {
        assert_eq!(
            ask(path, host).await.unwrap().status(),
            200,
            "{path} {host}"
        );
    }
}

#[tokio::test]
async fn a_room_that_we_left_is_not_reported_as_live() {
    let site = Site::filled("lost").await;
    let call = site.json("/api/v1/calls/active").await["data"][0].clone();
    assert_eq!(
        (&call["active"], &call["unknown_since_ms"]),
        (&json!(true), &Value::Null)
    );
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Left), "removed", NOW)
        .await
        .unwrap();
    assert_eq!(site.json("/api/v1/calls/active").await["data"], json!([]));
    assert_eq!(site.json("/api/v1/overview").await["active"], json!([]));
    assert_eq!(
        site.json("/api/v1/calls?status=active").await["data"],
        json!([])
    );
    assert_eq!(
        site.json(&format!("/api/v1/rooms/{}", quote(ROOM))).await["active_calls"],
        0
    );
    let path = format!("/calls/{}", text(&call["id"]));
    let lost = site.json(&format!("/api/v1{path}")).await;
    assert_eq!(
        (&lost["active"], &lost["ended_ms"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        lost["unknown_since_ms"],
        NOW - MINUTE,
        "the room was first seen then, and never polled"
    );
    let page = site.html(&path).await;
    assert!(
        page.contains("can no longer see this room")
            && !page.contains("Running")
            && !page.contains("still here")
    );
    assert!(!site.html("/calls").await.contains("running</span>"));
    let over = site.json("/api/v1/calls?status=ended").await["data"][0]["unknown_since_ms"].clone();
    assert_eq!(over, Value::Null, "what ended before is known");
}

#[tokio::test]
async fn an_answer_is_made_once_until_something_changes_or_a_second_passed() {
    let site = Site::filled("once").await;
    let path = "/api/v1/calls/active";
    let first = site.get(path).await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 1);
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Left), "removed", NOW)
        .await
        .unwrap();
    assert_eq!(
        site.get_kept(path).await.json(),
        first,
        "nothing was announced"
    );
    assert_eq!(
        site.get(path).await.json()["data"],
        json!([]),
        "a change was announced"
    );
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Joined), "back", NOW)
        .await
        .unwrap();
    assert_eq!(site.get_kept(path).await.json()["data"], json!([]));
    site.clock.advance(1000);
    assert_ne!(
        site.get_kept(path).await.json()["data"],
        json!([]),
        "a second passed"
    );
}

#[tokio::test]
async fn every_rejected_event_can_be_reached() {
    let site = Site::filled("rejected").await;
    let first = site.json("/api/v1/rejected?limit=1").await;
    assert_eq!(
        (&first["data"][0]["event_id"], &first["next"]),
        (&json!("$bad"), &Value::Null)
    );
    let wrong = |at: i64| {
        event(
            &format!("$wrong{at}"),
            "m.call.member",
            "@e:h",
            &format!("k{at}"),
            at,
            json!({"a": 1}),
        )
    };

    site.write((1..=119).map(wrong).collect()).await;
    let (mut path, mut seen) = (
        format!("/api/v1/rejected?room={}&limit=50", quote(ROOM)),
        Vec::new(),
    );
    loop {
        let list = site.json(&path).await;
        seen.extend(
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| text(&event["event_id"]).to_owned()),
        );
        let Some(next) = list["next_url"].as_str() else {
            break;
        };

        path = next
            .strip_prefix("https://calls.example")
            .unwrap()
            .to_owned();
    }

    let distinct: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!(
        (seen.len(), distinct.len(), seen.last().map(String::as_str)),
        (120, 120, Some("$bad"))
    );
    assert_eq!(
        site.json("/api/v1/rejected?room=%21none:h").await["data"],
        json!([])
    );
    assert_eq!(site.get("/api/v1/rejected?cursor=x").await.status, 400);
    let page = site.html("/rejected").await;
    assert!(
        page.contains("120 events") && page.contains("href=\"/rejected?cursor="),
        "{page}"
    );
    assert!(site.html("/status").await.contains("href=\"/rejected\""));
    assert!(
        site.html(&format!("/rooms/{}", quote(ROOM)))
            .await
            .contains("href=\"/rejected?room=")
    );
}
