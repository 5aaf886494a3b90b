//! Accounts and `/sync`.

use std::time::Duration;

use callscope::sim::NewRoom;
use serde_json::{Value, json};

use super::bot::{ALICE, Bot, T0, ids, joined, text};

#[tokio::test]
async fn login_keeps_the_device_and_a_revoked_token_is_unknown() {
    let bot = Bot::start().await;
    let login = json!({"type": "m.login.password", "identifier": {"type": "m.id.user",
        "user": "bot"},
                       "password": "secret", "device_id": "KEPT"});
    let first = bot.post("/login", login.clone()).await;
    let second = bot.post("/login", login).await;
    assert_eq!(second["device_id"], "KEPT");
    assert_ne!(first["access_token"], second["access_token"]);
    let wrong = json!({"type": "m.login.password", "user": "bot", "password": "no"});
    assert_eq!(bot.post("/login", wrong).await["errcode"], "M_FORBIDDEN");
    let me = bot.get("/account/whoami").await;
    assert_eq!(me["user_id"], "@bot:sim.example");
    bot.hs.revoke(&bot.token);
    assert_eq!(bot.status("/account/whoami").await, 401);
    assert_eq!(bot.get("/sync").await["errcode"], "M_UNKNOWN_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_for_an_event_and_not_for_a_foreign_room() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let since = bot.next().await;
    let path = format!("/sync?since={since}&timeout=600000");
    let waiting = bot.get(&path);
    let acting = async {
        while bot.hs.count("timeout=600000") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        bot.hs.create_room(NewRoom::default());
        bot.call(&room, 1)
    };

    let (sync, event_id) = tokio::join!(waiting, acting);
    assert_eq!(ids(joined(&sync, &room, "/timeline/events")), [event_id]);
    assert_eq!(sync["rooms"]["join"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn since_tells_only_news_and_an_unknown_one_is_refused() {
    let bot = Bot::start().await;
    let (quiet, loud) = (bot.room(NewRoom::default()), bot.room(NewRoom::default()));
    let since = bot.next().await;
    let idle = bot.get(&format!("/sync?since={since}")).await;
    assert_eq!(idle.get("rooms"), None);
    assert_eq!(text(&idle, "/next_batch"), since);
    let event_id = bot.call(&loud, 1);
    assert_eq!(
        bot.call(&loud, 1),
        event_id,
        "the same state twice makes one event"
    );
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert_eq!(ids(joined(&sync, &loud, "/timeline/events")), [event_id]);
    assert_eq!(sync["rooms"]["join"].get(&quiet), None);
    let unknown = bot.get("/sync?since=s999_999").await;
    assert_eq!(unknown["error"], "Invalid stream token");
}

#[tokio::test]
async fn a_filter_limits_the_timeline_and_prev_batch_leads_to_the_rest() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let since = bot.next().await;
    let mut sent: Vec<String> = (1..=5).map(|n| bot.call(&room, n)).collect();
    bot.hs
        .send_event(&room, ALICE, "m.room.message", json!({}), T0);
    let filter = json!({"room": {"timeline": {"limit": 2, "types": ["org.matrix.msc3401.*"]}}});
    let kept = bot
        .post(&format!("/user/{}/filter", bot.user), filter)
        .await;
    let sync = bot
        .get(&format!(
            "/sync?since={since}&filter={}",
            text(&kept, "/filter_id")
        ))
        .await;
    assert_eq!(
        ids(joined(&sync, &room, "/timeline/events")),
        sent.split_off(3)
    );
    assert_eq!(joined(&sync, &room, "/timeline/limited"), true);
    let from = text(joined(&sync, &room, "/timeline"), "/prev_batch");
    let types = r#"{"types":["org.matrix.msc3401.call.member"]}"#;
    let page = bot
        .get(&format!(
            "/rooms/{room}/messages?dir=b&from={from}&limit=50&filter={types}"
        ))
        .await;
    sent.reverse();
    assert_eq!(ids(&page["chunk"]), sent);
    assert_eq!(page["chunk"][0]["unsigned"]["prev_content"]["n"], 2);
}

#[tokio::test]
async fn state_is_before_the_timeline_or_after_it_where_asked() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let since = bot.next().await;
    let old = bot.call(&room, 1);
    let new = bot.call(&room, 2);
    let filter = r#"{"room":{"timeline":{"limit":1}}}"#;
    let before = bot
        .get(&format!("/sync?since={since}&filter={filter}"))
        .await;
    assert_eq!(ids(joined(&before, &room, "/state/events")), [old]);
    let asked = "org.matrix.msc4222.use_state_after=true";
    let after = bot
        .get(&format!("/sync?since={since}&filter={filter}&{asked}"))
        .await;
    let key = "/org.matrix.msc4222.state_after/events";
    assert_eq!(ids(joined(&after, &room, key)), [new]);
    assert_eq!(joined(&after, &room, "/state"), &Value::Null);
}

#[tokio::test]
async fn sticky_events_come_beside_the_filter_a_hundred_at_a_time() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let expired = json!({"msc4354_sticky_key": "old"});
    bot.hs
        .send_sticky(&room, ALICE, "m.rtc.member", expired, 1000, T0 - 5000);
    for n in 0..120 {
        bot.hs
            .send_sticky(&room, ALICE, "m.rtc.member", json!({"n": n}), 9_999_999, T0);
    }

    let filter = r#"filter={"room":{"timeline":{"types":["m.room.name"]}}}"#;
    let first = bot.get(&format!("/sync?{filter}")).await;
    let events = joined(&first, &room, "/msc4354_sticky/events");
    assert_eq!(events.as_array().unwrap().len(), 100);
    assert_eq!(
        events[0]["content"]["n"], 0,
        "oldest first, the expired one left out"
    );
    assert_eq!(
        events[0]["unsigned"]["msc4354_sticky_duration_ttl_ms"],
        3_600_000
    );
    let since = text(&first, "/next_batch");
    let rest = bot.get(&format!("/sync?since={since}&{filter}")).await;
    let events = joined(&rest, &room, "/msc4354_sticky/events");
    assert_eq!(events.as_array().unwrap().len(), 20);
    let since = text(&rest, "/next_batch");
    bot.hs
        .send_sticky(&room, ALICE, "m.rtc.member", json!({}), 60_000, T0);
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert_eq!(
        joined(&sync, &room, "/msc4354_sticky"),
        &Value::Null,
        "it is in the timeline"
    );
}

#[tokio::test]
async fn who_joins_late_is_told_of_all_sticky_events_that_last() {
    let bot = Bot::start().await;
    let room = bot.hs.create_room(NewRoom::default());
    let event_id = bot
        .hs
        .send_sticky(&room, ALICE, "m.rtc.member", json!({}), 60_000, T0);
    let since = bot.next().await;
    let none = bot.get(&format!("/sync?since={since}")).await;
    assert_eq!(none.get("rooms"), None);
    bot.hs.join_user(&room, &bot.user, T0);
    let filter = r#"filter={"room":{"timeline":{"types":["m.room.name"]}}}"#;
    let sync = bot.get(&format!("/sync?since={since}&{filter}")).await;
    let events = joined(&sync, &room, "/msc4354_sticky/events");
    assert_eq!(ids(events), [event_id]);
}

#[tokio::test]
async fn stopping_ends_a_waiting_sync() {
    let bot = Bot::start().await;
    let since = bot.next().await;
    let path = format!("/sync?since={since}&timeout=600000");
    let stopping = async {
        while bot.hs.count("timeout=600000") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        bot.hs.stop().await;
    };

    let (answer, ()) = tokio::join!(bot.ask(&path), stopping);
    assert!(answer.unwrap_err().is_request());
    let port = bot.hs.url().rsplit(':').next().unwrap().parse().unwrap();
    callscope::sim::Homeserver::start(port).await.unwrap();
}
