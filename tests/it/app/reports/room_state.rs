//! Findings from the room's own state: only the moderator may join; the room was replaced during a
//! call.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, MINUTE, Served};
use super::stays::{ADA, POWER_LEVELS, UPGRADED};
use crate::support::eventually;
use serde_json::{Value, json};

const MEMBER: &str = "org.matrix.msc3401.call.member";
const REMEDY: &str = "m.room.power_levels: events[\"org.matrix.msc3401.call.member\"] = 0";
const NEW_ROOM: &str = "!new:ash.example";

fn finding<'a>(facts: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut findings = facts["findings"].as_array()?.iter();
    findings.find(|finding| finding["kind"] == kind)
}

async fn room_until(report: &Served, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(what, 90, async || {
        Some(report.room_json().await).filter(|facts| right(facts))
    })
    .await
}

#[tokio::test]
async fn only_the_moderator_could_join() {
    for way in BOTH {
        let (report, calls) = POWER_LEVELS.served(way).await;
        let room = room_until(&report, "who may join", |facts| {
            finding(facts, "few_may_join").is_some() && facts["access"] != json!([])
        })
        .await;
        let found = finding(&room, "few_may_join").unwrap();
        assert_eq!(found["event_type"], MEMBER);
        assert_eq!(found["needed_power"], 50);
        assert_eq!(
            (&found["accounts"], &found["may_join"]),
            (&json!(4), &json!(1))
        );
        assert_eq!(found["remedy"], REMEDY);
        let page = report.room_page().await;
        says(
            &page,
            "Of 4 accounts in the room (the observer is one of them) 1 may join a call",
        );
        says(&page, "org.matrix.msc3401.call.member needs power 50 here");
        says(&page, "It has not: Ben, Cleo and scope (the observer)");
        says(&page, REMEDY);
        for path in ["/", "/rooms", "/status"] {
            says(&report.page(path).await, "Tree house");
        }

        says(&report.page("/").await, "1 of 4 accounts may join a call");
        says(&report.page("/rooms").await, "Needs a look");
        is_silent_of(&report.page("/rooms").await, "Following");

        let path = format!("/api/v1/calls/{}", calls[0]["id"].as_str().unwrap());
        let call = eventually("the finding of the call", 60, async || {
            let call = report.app.json(&path).await;
            finding(&call, "nobody_could_come")
                .is_some()
                .then_some(call)
        })
        .await;
        let found = finding(&call, "nobody_could_come").unwrap();
        assert_eq!(found["users"], json!([ADA]));
        assert_eq!(found["from_ms"], report.at(BEGIN));
        assert_eq!(found["rang_everybody"], true);
        assert_eq!(found["remedy"], REMEDY);
        let page = report.call_page(&call).await;
        says(&page, "It rang for everybody, and nobody could come");
        says(&page, REMEDY);
        report.stop().await;
    }
}

#[tokio::test]
async fn a_room_replaced_while_people_talked() {
    for way in BOTH {
        let (report, calls) = UPGRADED.served(way).await;
        let at = report.at(BEGIN + 10 * MINUTE);
        let path = format!("/api/v1/calls/{}", calls[0]["id"].as_str().unwrap());
        let call = eventually("the finding of the call", 60, async || {
            let call = report.app.json(&path).await;
            finding(&call, "room_replaced").is_some().then_some(call)
        })
        .await;
        assert_eq!(call["active"], true, "a tombstone ends nothing by itself");
        let found = finding(&call, "room_replaced").unwrap();
        assert_eq!(found["replaced_by"], NEW_ROOM);
        assert_eq!(found["from_ms"], at);
        assert_eq!(found["until_ms"], Value::Null);
        assert_eq!(found["users"], json!([ADA]));
        assert_eq!(found["left_behind"][0]["user_id"], ADA);
        assert_eq!(found["left_behind"][0]["last_heard_ms"], report.at(BEGIN));
        let moment = report.moment(BEGIN + 10 * MINUTE);
        let page = report.call_page(&call).await;
        says(
            &page,
            &format!("The room was replaced at {moment} by {NEW_ROOM}"),
        );
        says(&page, "Room replaced");
        says(&page, "clients hide");
        says(&page, "probably left behind: Ada");
        let overview = report.page("/").await;
        says(&overview, &format!("The room was replaced by {NEW_ROOM}"));
        says(&overview, "Room replaced");

        let room = room_until(&report, "it cannot be followed", |facts| {
            facts["successor"]["error"].is_string()
        })
        .await;
        assert_eq!(room["replaced_by"], NEW_ROOM);
        assert_eq!(room["replaced_ms"], at);
        assert_eq!(room["successor"]["watch"], "blind");
        let page = report.room_page().await;
        says(
            &page,
            &format!("This room was replaced {moment} by {NEW_ROOM}"),
        );
        says(
            &page,
            "invite the account @scope:fake.example to !new:ash.example",
        );
        is_silent_of(&page, "Following");
        let list = report.page("/rooms").await;
        says(&list, &format!("went on in {NEW_ROOM}"));
        says(&list, "Replaced");
        report.stop().await;
    }
}
