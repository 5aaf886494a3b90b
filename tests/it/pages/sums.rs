//! Sums with and without inferred time, as pages and JSON show them.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote, text};
use serde_json::{Value, json};

/// A stay of Carol without a goodbye: half an hour, renewed after ten minutes, in watched time.
async fn with_an_expired_stay(name: &str) -> Site {
    let site = Site::filled(name).await;
    let carol = "@carol:third.example";
    let stay = |expires: i64| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": "CC",
            "expires": expires,
            "created_ts": NOW - 55 * MINUTE, "focus_active": { "type": "livekit",
            "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": "https://sfu.example/jwt" }] })
    };

    let key = format!("_{carol}_CC_m.call");
    site.write(vec![
        event(
            "$c",
            "m.room.member",
            carol,
            carol,
            899,
            json!({ "membership": "join", "displayname": "Carol" }),
        ),
        event("$join_c", CALL, carol, &key, 55, stay(20 * MINUTE)),
        event("$more_c", CALL, carol, &key, 45, stay(30 * MINUTE)),
    ])
    .await;

    site
}

#[tokio::test]
async fn every_sum_comes_with_and_without_what_is_inferred() {
    let site = with_an_expired_stay("sums").await;
    site.watched_since(NOW - 900 * MINUTE).await;
    let overview = site.json("/api/v1/overview").await;
    let today = &overview["today"];
    let together = (60 + 40 + 10 + 30) * MINUTE;
    assert_eq!(
        (&today["calls"], &today["calls_exact"], &today["people"]),
        (&json!(3), &json!(2), &json!(3))
    );
    assert_eq!(
        (&today["together_ms"], &today["together_seen_ms"]),
        (&json!(together), &json!(together - 20 * MINUTE))
    );
    let page = site.html("/").await;
    assert!(
        page.contains("1 not exact") && page.contains("of which 20 min inferred"),
        "{page}"
    );

    let path = format!("/rooms/{}", quote(ROOM));
    let month = site.json(&format!("/api/v1{path}")).await["last_30_days"].clone();
    for key in [
        "calls",
        "calls_exact",
        "people",
        "together_ms",
        "together_seen_ms",
    ] {
        assert_eq!(month[key], today[key], "{key}");
    }

    let page = site.html(&path).await;
    assert!(
        page.contains("1 not exact") && page.contains("of which 20 min inferred"),
        "{page}"
    );
}

/// Compares with the verdicts and members' times of all calls, added up in the test.
#[tokio::test]
async fn sums_are_those_of_the_calls() {
    let site = with_an_expired_stay("whole").await;
    for blind in [false, true] {
        site.watched_since(NOW - if blind { 270 } else { 900 } * MINUTE)
            .await;
        let today = site.json("/api/v1/overview").await["today"].clone();
        let calls = site.json("/api/v1/calls").await["data"]
            .as_array()
            .unwrap()
            .clone();
        let exact = calls
            .iter()
            .filter(|call| call["certainty"]["verdict"] == "exact")
            .count();
        assert_eq!(
            (&today["calls"], &today["calls_exact"]),
            (&json!(calls.len()), &json!(exact)),
            "{blind}"
        );
        let members = calls
            .iter()
            .flat_map(|call| call["members"].as_array().unwrap());
        let time = |member: &Value| {
            member["left_ms"].as_i64().unwrap_or(NOW) - member["joined_ms"].as_i64().unwrap()
        };

        assert_eq!(
            today["together_ms"],
            members.map(time).sum::<i64>(),
            "{blind}"
        );
        assert!(
            calls
                .iter()
                .any(|call| text(&call["certainty"]["verdict"]) != "exact")
        );
    }
}

#[tokio::test]
async fn joins_that_name_no_device_are_one_over_time() {
    let site = Site::empty("unnamed").await;
    let mut events = Vec::new();
    for (at, key) in ["k1", "k2", "k3"].into_iter().enumerate() {
        let begin = 100 - 20 * i64::try_from(at).unwrap();
        let join = json!({ "slot_id": "m.call#ROOM", "application": { "type": "m.call" },
            "msc4354_sticky_key": key,
            "member": { "id": key, "user_id": "@ana:a.example" }, "rtc_transports":
            [{ "type": "livekit", "livekit_service_url": "https://sfu.example/jwt" }],
            "versions": [] });
        for (ago, content) in [
            (begin, join),
            (begin - 5, json!({ "msc4354_sticky_key": key })),
        ] {
            let id = format!("${key}{ago}");
            let mut one = event(
                &id,
                "org.matrix.msc4143.rtc.member",
                "@ana:a.example",
                "",
                ago,
                content,
            );
            one.as_object_mut().unwrap().remove("state_key");
            one["msc4354_sticky"] = json!({ "duration_ms": 3_600_000 });
            events.push(one);
        }
    }

    site.write(events).await;
    let sfu = site.json("/api/v1/transports").await["data"][0].clone();
    assert_eq!(
        (&sfu["calls"], &sfu["people"], &sfu["devices"]),
        (&json!(3), &json!(1), &json!(1)),
        "{sfu}"
    );
}
