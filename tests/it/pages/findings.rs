//! Findings of a call, who ended a stay, and what is shown while the homeserver is not received.

use crate::pages::site::{MINUTE, NOW, ROOM, Site, event, member, text};
use callscope::store::ingest::vantages;
use serde_json::{Value, json};

const HOUR: i64 = 60 * MINUTE;

fn join(id: &str, user: &str, at_ms: i64, transport: (&str, &str)) -> Value {
    let (selection, sfu) = transport;
    let focus = json!([{ "type": "livekit", "livekit_service_url": format!("https://{sfu}") }]);
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 4 * HOUR,
        "focus_active": { "type": "livekit", "focus_selection": selection },
        "foci_preferred": focus });
    member(id, user, at_ms, content)
}

#[tokio::test]
async fn a_past_call_says_who_was_apart_who_was_removed_and_by_whom() {
    let site = Site::filled("findings").await;
    let begin = NOW - 3 * HOUR;
    let mut kick = event(
        "$kick",
        "m.room.member",
        "@mod:b.example",
        "@old:a.example",
        0,
        json!({"membership": "leave"}),
    );
    kick["origin_server_ts"] = (begin + 30 * MINUTE).into();
    site.write(vec![
        join(
            "$old",
            "@old:a.example",
            begin,
            ("oldest_membership", "one.example"),
        ),
        join(
            "$new",
            "@new:b.example",
            begin + 10 * MINUTE,
            ("multi_sfu", "two.example"),
        ),
        kick,
        member("$bye", "@new:b.example", begin + 40 * MINUTE, json!({})),
    ])
    .await;
    let calls = site
        .json(&format!(
            "/api/v1/calls?user=%40old%3Aa.example&room={}",
            crate::pages::site::quote(ROOM)
        ))
        .await;
    let listed = &calls["data"][0];
    let path = format!("/calls/{}", text(&listed["id"]));
    let call = site.json(&format!("/api/v1{path}")).await;
    assert_eq!(
        call["findings"], listed["findings"],
        "the same wherever it stands"
    );
    let finding = &call["findings"][0];
    let span = (finding["from_ms"].as_i64(), finding["until_ms"].as_i64());
    assert_eq!(
        span,
        (Some(begin + 10 * MINUTE), Some(begin + 30 * MINUTE)),
        "{call}"
    );
    let who = json!([
        "apart",
        ["@old:a.example"],
        ["@new:b.example"],
        false,
        "https://one.example"
    ]);
    let told =
        ["kind", "users", "unheard", "mutual", "service_url"].map(|key| finding[key].clone());
    assert_eq!(json!(told), who);
    let ends: Vec<Value> = call["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["end_event_id"].clone())
        .collect();
    assert_eq!(ends, [json!("$kick"), json!("$bye")]);
    assert!(
        call["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["event_id"] == "$kick"),
        "{call}"
    );
    let page = site.html(&path).await;

    for words in [
        "Ended, 1 finding",
        "old could not hear new",
        "removed from the room by <bdi>mod</bdi>",
        "id=\"e-$kick\"",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn while_nobody_hears_the_homeserver_no_page_says_that_a_call_runs() {
    let site = Site::filled("blind").await;
    let known = || async {
        (
            site.json("/api/v1/overview").await,
            site.get("/metrics").await.text,
        )
    };

    let (overview, metrics) = known().await;
    assert_eq!(
        (
            &overview["unknown"],
            &overview["active"][0]["unknown_since_ms"]
        ),
        (&json!(false), &Value::Null)
    );
    assert!(metrics.contains("callscope_now_known 1"), "{metrics}");
    vantages::set_standing(
        &site.store,
        "v",
        Some(("it does not answer", NOW - MINUTE)),
        Some(NOW - MINUTE),
    )
    .await
    .unwrap();
    let (overview, metrics) = known().await;
    assert_eq!(
        (&overview["unknown"], &overview["unknown_since_ms"]),
        (&json!(true), &json!(NOW - MINUTE))
    );
    assert!(metrics.contains("callscope_now_known 0"), "{metrics}");
    let active = site.json("/api/v1/calls/active").await;
    assert_eq!(
        (&active["unknown"], &active["unknown_since_ms"]),
        (&json!(true), &json!(NOW - MINUTE))
    );
    let call = active["data"][0].clone();
    assert_eq!(
        call["unknown_since_ms"],
        NOW - MINUTE,
        "not only after a while: {call}"
    );
    assert_eq!(
        (&call["active"], &call["members"][0]["unknown_since_ms"]),
        (&json!(true), &json!(NOW - MINUTE))
    );
    assert!(site.html("/").await.contains("1 call when last seen"));
    assert!(site.html("/wall").await.contains("when last seen, with"));
}
