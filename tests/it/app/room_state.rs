//! Findings from the room's own state: who may join a call, who can no longer say goodbye, what a
//! state reset did.

use crate::app::bed::{Bed, MEMBER, Running, join, key, now};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::NewRoom;
use serde_json::{Value, json};

const ADA: &str = "@ada:ash.example";
const BEN: &str = "@ben:birch.example";
const CLEO: &str = "@cleo:cedar.example";
const OFTEN: (&str, &str) = ("POLL_SCHEDULE", "* * * * * *");
const MINUTE: i64 = 60_000;
const REMEDY: &str = "m.room.power_levels: events[\"org.matrix.msc3401.call.member\"] = 0";

fn made_by_ada() -> NewRoom {
    NewRoom {
        creator: ADA.into(),
        name: Some("Tree house".into()),
        version: "11".into(),
        ts: now() - 100 * MINUTE,
        ..NewRoom::default()
    }
}

fn only_moderators() -> Value {
    json!({"users": {ADA: 100}, "users_default": 0, "state_default": 50, "events": {}})
}

/// The room, once `right` accepts it.
async fn room_until(
    app: &Running,
    room: &str,
    what: &str,
    right: impl Fn(&Value) -> bool,
) -> Value {
    eventually(what, 60, async || {
        Some(app.room(room).await).filter(|facts| right(facts))
    })
    .await
}

async fn call(app: &Running) -> Value {
    let id = app.calls().await[0]["id"].as_str().unwrap().to_owned();
    app.json(&format!("/api/v1/calls/{id}")).await
}

async fn call_until(app: &Running, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(what, 60, async || {
        Some(call(app).await).filter(|facts| right(facts))
    })
    .await
}

fn kinds(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().unwrap().iter();
    findings
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect()
}

/// Who vanished from the call.
fn vanished(facts: &Value) -> Vec<Value> {
    let findings = facts["findings"].as_array().unwrap().iter();
    let vanished = findings.filter(|finding| {
        // Found by the state of the room, or later in the evidence.
        finding["kind"] == "vanished" || finding["kind"] == "reconciled"
    });

    vanished
        .map(|finding| finding["users"][0].clone())
        .collect()
}

fn finding<'a>(facts: &'a Value, kind: &str) -> &'a Value {
    let mut findings = facts["findings"].as_array().unwrap().iter();
    findings
        .rfind(|finding| finding["kind"] == kind)
        .unwrap_or(&Value::Null)
}

#[tokio::test]
async fn only_the_moderator_can_join() {
    let bed = Bed::new().await;
    let room = bed.room_like(made_by_ada(), &[BEN, CLEO]);
    let begin = now() - 10 * MINUTE;
    bed.hs
        .set_power_levels(&room, ADA, only_moderators(), begin - 50 * MINUTE);
    let joined = bed.joins(&room, ADA, "AD", begin);
    let ring = json!({"notification_type": "ring", "lifetime": 30_000, "sender_ts": begin + 1000,
        "m.mentions": {"room": true}, "m.relates_to": {"rel_type": "m.reference",
        "event_id": joined}});
    let notification = "org.matrix.msc4075.rtc.notification";
    bed.hs
        .send_event(&room, ADA, notification, ring, begin + 1000);
    bed.leaves(&room, ADA, "AD", begin + 4 * MINUTE);
    let app = bed.start_with(&[OFTEN]).await;
    let facts = room_until(&app, &room, "who may join", |facts| {
        facts["access"] != json!([]) && facts["findings"] != json!([])
    })
    .await;
    let access = &facts["access"][0];
    assert_eq!(access["event_type"], MEMBER);
    assert_eq!(access["needed_power"], 50);
    assert_eq!(access["accounts"], 4);
    assert_eq!(access["may_send"], 1);
    assert_eq!(access["observer_counted"], true);
    assert_eq!(access["remedy"], REMEDY);
    assert_eq!(access["may"][0]["user_id"], ADA);
    let may_not = access["may_not"].as_array().unwrap();
    let may_not: Vec<&str> = may_not
        .iter()
        .map(|one| one["user_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        may_not,
        [BEN, bed.bot.as_str(), CLEO]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(kinds(&facts["findings"]), ["few_may_join"]);

    let page = app.page(&format!("/rooms/{}", quote(&room))).await;
    for word in [
        "Of 4 accounts in the room",
        "(the observer is one of them)",
        "1 may join a call",
        "needs power 50 here",
        "@ben",
    ] {
        let named = word == "@ben" && page.contains("ben");
        assert!(named || page.contains(word), "{word}: {page}");
    }

    let rooms = app.json("/api/v1/rooms").await;
    assert_eq!(rooms["to_look_at"], 1);
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["rooms_to_look_at"][0]["room_id"], json!(room));
    let overview = app.page("/").await;
    assert!(
        overview.contains("Rooms that need a look")
            && overview.contains("1 of 4 accounts may join a call")
    );

    let facts = call_until(&app, "the finding", |facts| {
        finding(facts, "nobody_could_come") != &Value::Null
    })
    .await;
    let found = finding(&facts, "nobody_could_come");
    assert_eq!(found["users"], json!([ADA]));
    assert_eq!(found["event_type"], MEMBER);
    assert_eq!(found["needed_power"], 50);
    assert_eq!(found["rang_everybody"], true);
    assert_eq!(found["remedy"], REMEDY);
    let page = app
        .page(&format!("/calls/{}", facts["id"].as_str().unwrap()))
        .await;
    assert!(
        page.contains("It rang for everybody, and nobody could come"),
        "{page}"
    );

    // After the repair, the room has no finding; the past one stays.
    let open = json!({"users": {ADA: 100}, "state_default": 50, "events": {MEMBER: 0}});
    bed.hs.set_power_levels(&room, ADA, open, now());
    let facts = room_until(&app, &room, "all may join", |facts| {
        facts["access"] == json!([]) && facts["findings"] == json!([])
    })
    .await;
    assert_eq!(facts["findings"], json!([]));
    let page = app.page(&format!("/rooms/{}", quote(&room))).await;
    assert!(!page.contains("may join a call"));
    assert_ne!(
        finding(&call(&app).await, "nobody_could_come"),
        &Value::Null
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_in_which_all_may_join_says_nothing() {
    let bed = Bed::new().await;
    let open = bed.room_like(made_by_ada(), &[BEN]);
    // Nobody calls here, so nobody is prevented from joining.
    let quiet = bed.room_like(made_by_ada(), &[BEN]);
    bed.hs
        .set_power_levels(&quiet, ADA, only_moderators(), now() - MINUTE);
    bed.joins(&open, ADA, "AD", now() - 5 * MINUTE);
    let app = bed.start_with(&[OFTEN]).await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    for room in [&open, &quiet] {
        let facts = room_until(&app, room, "it was looked at", |facts| {
            facts["polled_ms"].is_i64()
        })
        .await;
        assert_eq!(facts["access"], json!([]));
        assert_eq!(facts["findings"], json!([]));
    }

    assert_eq!(call(&app).await["findings"], json!([]));
    assert!(!app.page("/").await.contains("Rooms that need a look"));
    app.app.stop().await;
}

#[tokio::test]
async fn who_was_shut_out_cannot_say_goodbye() {
    let bed = Bed::new().await;
    let room = bed.room_like(made_by_ada(), &[BEN, CLEO]);
    let begin = now() - 20 * MINUTE;
    bed.joins(&room, BEN, "BD", begin);
    bed.joins(&room, CLEO, "CD", begin);
    bed.hs.deny_servers(
        &room,
        ADA,
        &["*.example.org", "birch.example"],
        begin + 5 * MINUTE,
    );
    let powerless = json!({"users": {ADA: 100, BEN: 50}, "events": {MEMBER: 50}});
    bed.hs
        .set_power_levels(&room, ADA, powerless, begin + 6 * MINUTE);
    let app = bed.start_with(&[OFTEN]).await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let facts = call_until(&app, "both findings", |facts| {
        finding(facts, "lost_power") != &Value::Null
    })
    .await;
    let (denied, powerless) = (
        finding(&facts, "server_denied"),
        finding(&facts, "lost_power"),
    );
    assert_eq!(denied["users"], json!([BEN]));
    assert_eq!(denied["denied_server"], "birch.example");
    assert_eq!(denied["from_ms"], begin + 5 * MINUTE);
    assert_eq!(denied["until_ms"], Value::Null);
    assert_eq!(powerless["users"], json!([CLEO]));
    assert_eq!(powerless["from_ms"], begin + 6 * MINUTE);
    assert_eq!(powerless["remedy"], REMEDY);
    let room_facts = app.room(&room).await;
    let found = kinds(&room_facts["findings"]);
    assert!(
        found.contains(&"server_denied") && found.contains(&"lost_power"),
        "{found:?}"
    );
    let page = app.page(&format!("/rooms/{}", quote(&room))).await;
    assert!(page.contains("cannot leave the call"));
    let overview = app.json("/api/v1/overview").await;
    let found = kinds(&overview["rooms_to_look_at"][0]["findings"]);
    assert!(
        found.contains(&"server_denied") && found.contains(&"lost_power"),
        "{found:?}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_state_reset_takes_people_out_and_brings_them_back() {
    let bed = Bed::new().await;
    let room = bed.hs.create_room(made_by_ada());
    bed.hs.join_user(&room, &bed.bot, now() - 90 * MINUTE);
    let standing = bed.hs.join_user(&room, BEN, now() - 90 * MINUTE);
    bed.joins(&room, ADA, "AD", now() - 5 * MINUTE);
    bed.joins(&room, BEN, "BD", now() - 4 * MINUTE);
    let app = bed.start_with(&[OFTEN]).await;
    app.calls_until("the call", |calls| {
        calls.len() == 1 && calls[0]["people_now"] == 2
    })
    .await;
    crate::support::pause(1500).await;
    bed.hs.drop_state_silently(&room, "m.room.member", BEN);
    let facts = call_until(&app, "Ben is gone", |facts| facts["people_now"] == 1).await;
    assert!(vanished(&facts).contains(&json!(BEN)), "{facts}");
    let room_facts = app.room(&room).await;
    assert_eq!(
        room_facts["state_resets"][0]["kind"],
        "room_member_vanished"
    );
    assert_eq!(room_facts["state_resets"][0]["user_id"], BEN);
    assert_eq!(
        room_facts["state_resets"][0]["newest_event_id"],
        json!(standing)
    );
    assert_eq!(room_facts["state_resets"][0]["call_id"], facts["id"]);
    assert_eq!(kinds(&room_facts["findings"]), ["state_reset"]);
    assert!(
        app.page(&format!("/rooms/{}", quote(&room)))
            .await
            .contains("is in the room no more")
    );
    assert!(
        app.page("/")
            .await
            .contains("A state reset changed 1 membership")
    );
    bed.hs.reset_state_silently(&room, &standing);
    let facts = call_until(&app, "Ben is back", |facts| facts["people_now"] == 2).await;
    let found = app.room(&room).await;
    assert_eq!(found["state_resets"][0]["kind"], "room_member_back");
    assert_eq!(facts["active"], true);

    // The membership of a call vanishes, too.
    crate::support::pause(1500).await;
    bed.hs.drop_state_silently(&room, MEMBER, &key(ADA, "AD"));
    let facts = call_until(&app, "Ada is gone", |facts| facts["people_now"] == 1).await;
    assert!(vanished(&facts).contains(&json!(ADA)), "{facts}");
    let found = app.room(&room).await;
    assert_eq!(found["state_resets"][0]["kind"], "call_member_vanished");
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(
        overview["rooms_to_look_at"][0]["findings"][0]["kind"],
        "state_reset"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn the_simulated_homeserver_refuses_what_has_no_power() {
    let bed = Bed::new().await;
    let room = bed.room_like(made_by_ada(), &[]);
    bed.hs
        .set_power_levels(&room, ADA, only_moderators(), now() - MINUTE);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let path = format!(
        "{}/_matrix/client/v3/rooms/{room}/state/{MEMBER}/{}",
        bed.hs.url(),
        key(&bed.bot, "D")
    );
    let put = || {
        client
            .put(&path)
            .bearer_auth(&bed.token)
            .body(join("D").to_string())
            .send()
    };

    let answer = put().await.unwrap();
    assert_eq!(answer.status(), 403);
    let text = answer.text().await.unwrap();
    assert!(text.contains("user_level (0) < send_level (50)"), "{text}");
    let open = json!({"users": {ADA: 100}, "events": {MEMBER: 0}});
    bed.hs.set_power_levels(&room, ADA, open, now());
    assert_eq!(put().await.unwrap().status(), 200);
}
