//! Findings from the room's state only: who may join a call, and which room replaced it.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, MINUTE, Served, Way, events_of};
use super::stays::{ADA, POWER_LEVELS, UPGRADED};
use crate::app::bed::now;
use crate::support::eventually;
use crate::support::http::quote;
use serde_json::{Value, json};

const MEMBER: &str = crate::app::bed::MEMBER;
const LINE: &str = "m.room.power_levels: events[\"org.matrix.msc3401.call.member\"] = 0";

#[tokio::test]
async fn a_room_in_which_only_the_moderator_may_join_says_so() {
    for way in BOTH {
        let (report, calls) = POWER_LEVELS.served(way).await;
        let room = report.room_json().await;
        let told = room.to_string();
        says(&told, "few_may_join");
        says(&told, MEMBER);

        let page = report.room_page().await;
        says(
            &page,
            "Of 4 accounts in the room (the observer is one of them) 1 may join a call",
        );
        says(&page, "needs power 50");
        says(&page, MEMBER);
        says(&page, "m.room.power_levels");
        says(&page, LINE);

        let call = &calls[0];
        let findings = call["findings"].as_array().unwrap();
        assert!(
            findings
                .iter()
                .any(|finding| finding["kind"] == "nobody_could_come"),
            "{findings:#?}"
        );
        let page = report.call_page(call).await;
        says(&page, "everybody in the room");
        says(&page.to_lowercase(), "nobody could come");
        is_silent_of(&page, "Healthy");

        // The room is in the list of those that need a look.
        let overview = report.page("/").await;
        says(&overview, "Tree house: 1 of 4 accounts may join a call");
        assert_eq!(
            report.app.json("/api/v1/overview").await["rooms_to_look_at_total"],
            1
        );
        report.stop().await;
    }
}

#[tokio::test]
async fn a_room_in_which_all_may_join_says_nothing_of_it() {
    let mut events = events_of(POWER_LEVELS.name);
    for event in &mut events {
        if event["type"] == "m.room.power_levels" {
            event["content"]["events"] = json!({MEMBER: 0});
        }
    }

    for way in BOTH {
        let report =
            Served::start_events("all-may", events.clone(), POWER_LEVELS.now_ms, way, &[]).await;
        let calls = report
            .calls(|calls| calls.len() == 1 && calls[0]["active"] == false)
            .await;
        let page = report.room_page().await;
        is_silent_of(&page, "may join a call");
        is_silent_of(&page, LINE);
        assert_eq!(calls[0]["findings"], json!([]));
        report.stop().await;
    }
}

fn finding_of_replacement(call: &Value) -> Option<Value> {
    let findings = call["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding.to_string().contains("!new:ash.example"))
        .cloned()
}

#[tokio::test]
async fn a_call_in_a_room_that_was_replaced_says_where_it_went() {
    for way in BOTH {
        let (report, calls) = UPGRADED.served(way).await;
        let call = &calls[0];
        let finding =
            finding_of_replacement(call).unwrap_or_else(|| panic!("{}", call["findings"]));
        assert_eq!(finding["from_ms"], report.at(BEGIN + 10 * MINUTE));

        let page = report.call_page(call).await;
        says(&page, "The room was replaced");
        says(&page, &report.clock(BEGIN + 10 * MINUTE));
        says(&page, "!new:ash.example");
        says(&page, "left behind");
        is_silent_of(&page, "Healthy");
        is_silent_of(&report.page("/").await, "Healthy");

        let room = report.room_json().await;
        assert_eq!(room["replaced_by"], "!new:ash.example");
        assert_eq!(room["replaced_ms"], report.at(BEGIN + 10 * MINUTE));
        let page = report.room_page().await;
        says(&page, "replaced");
        says(&page, &report.clock(BEGIN + 10 * MINUTE));
        says(&page, "invite");
        says(&page, "@scope:fake.example");
        report.stop().await;
    }
}

/// The successor is followed within a minute, as its join rules and the settings allow.
#[tokio::test]
async fn the_successor_of_a_room_is_followed() {
    let report = Served::start(UPGRADED.name, BEGIN + 9 * MINUTE, Way::Live).await;
    report.calls(|calls| calls.len() == 1).await;
    let new = "!new:ash.example";
    let made = now();
    for (kind, key, content) in [
        (
            "m.room.create",
            "",
            json!({"room_version": "11", "creator": ADA, "predecessor": {"room_id": report.room,
                "event_id": "$ts"}}),
        ),
        ("m.room.member", ADA, json!({"membership": "join"})),
        ("m.room.join_rules", "", json!({"join_rule": "public"})),
        (
            "m.room.history_visibility",
            "",
            json!({"history_visibility": "shared"}),
        ),
        ("m.room.name", "", json!({"name": "Tree house"})),
    ] {
        report.bed.hs.send_state(new, ADA, kind, key, content, made);
    }

    let tombstone = json!({"body": "This room has been replaced", "replacement_room": new});
    report
        .bed
        .hs
        .send_state(&report.room, ADA, "m.room.tombstone", "", tombstone, now());

    let path = format!("/rooms/{}", quote(new));
    eventually("the successor is followed", 60, async || {
        let room = report.app.http.get(&format!("/api/v1{path}")).await;
        (room.status == 200 && room.body["watch"] == "joined").then_some(())
    })
    .await;
    let old = report.app.page(&report.room_path()).await;
    says(&old, "href=\"/rooms/!new:ash.example\"");
    let page = report.app.page(&path).await;
    says(&page, &format!("href=\"/rooms/{}\"", report.room));
    report.stop().await;
}
