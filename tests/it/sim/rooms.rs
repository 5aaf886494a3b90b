//! Reading and joining rooms.

use callscope::sim::NewRoom;
use serde_json::{Value, json};

use super::bot::{ALICE, Bot, MEMBER, T0, ids, joined, text};

#[tokio::test]
async fn a_silent_change_shows_in_the_state_only() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let since = bot.next().await;
    let event_id = bot
        .hs
        .set_state_silently(&room, ALICE, MEMBER, "k", json!({"a": 1}), T0);
    assert_eq!(
        bot.get(&format!("/sync?since={since}")).await.get("rooms"),
        None
    );
    let state = bot.get(&format!("/rooms/{room}/state")).await;
    assert!(ids(&state).contains(&event_id.as_str()));
    assert_eq!(
        bot.get(&format!("/rooms/{room}/state/{MEMBER}/k")).await["a"],
        1
    );
    bot.hs.drop_state_silently(&room, MEMBER, "k");
    assert_eq!(
        bot.status(&format!("/rooms/{room}/state/{MEMBER}/k")).await,
        404
    );
}

#[tokio::test]
async fn messages_end_where_the_room_begins_and_pages_may_be_empty() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let event_id = bot.call(&room, 1);
    for _ in 0..20 {
        bot.hs
            .send_event(&room, ALICE, "m.room.message", json!({}), T0);
    }

    bot.hs.set_scan(6);
    let (mut found, mut empty, mut from) = (Vec::new(), 0, String::new());
    loop {
        let types = r#"{"types":["org.matrix.msc3401.call.member"]}"#;
        let page = bot
            .get(&format!(
                "/rooms/{room}/messages?dir=b&filter={types}{from}"
            ))
            .await;
        found.extend(ids(&page["chunk"]).into_iter().map(str::to_owned));
        empty += usize::from(page["chunk"] == json!([]));
        let Some(end) = page["end"].as_str() else {
            break;
        };

        from = format!("&from={end}");
    }

    assert_eq!(found, [event_id]);
    assert!(empty > 2, "the scan of 20 others gives empty pages");
}

#[tokio::test]
async fn history_is_seen_as_far_as_its_visibility_goes() {
    let bot = Bot::start().await;
    let hidden = |seen: &str| NewRoom {
        history_visibility: seen.into(),
        ts: T0,
        ..NewRoom::default()
    };

    let room = bot.hs.create_room(hidden("joined"));
    let before = bot.call(&room, 1);
    assert_eq!(bot.status(&format!("/rooms/{room}/state")).await, 403);
    bot.hs.join_user(&room, &bot.user, T0);
    let after = bot.call(&room, 2);
    let page = bot
        .get(&format!("/rooms/{room}/messages?dir=b&limit=100"))
        .await;
    assert!(ids(&page["chunk"]).contains(&after.as_str()));
    assert!(!ids(&page["chunk"]).contains(&before.as_str()));
    bot.hs.kick(&room, &bot.user, "@admin:sim.example", T0);
    let late = bot.call(&room, 3);
    let state = bot.get(&format!("/rooms/{room}/state")).await;
    assert!(ids(&state).contains(&after.as_str()) && !ids(&state).contains(&late.as_str()));
    let open = bot.hs.create_room(hidden("world_readable"));
    let event_id = bot.call(&open, 1);
    let state = bot.get(&format!("/rooms/{open}/state")).await;
    assert!(ids(&state).contains(&event_id.as_str()));
}

#[tokio::test]
async fn invites_joins_and_kicks_reach_the_right_section() {
    let bot = Bot::start().await;
    let secret = NewRoom {
        join_rule: "invite".into(),
        name: Some("Den".into()),
        ..NewRoom::default()
    };

    let room = bot.hs.create_room(secret);
    assert_eq!(
        bot.post(&format!("/join/{room}"), json!({})).await["errcode"],
        "M_FORBIDDEN"
    );
    let since = bot.next().await;
    bot.hs.invite(&room, &bot.user, "@admin:sim.example", T0);
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert!(
        sync["rooms"]["invite"][&room]["invite_state"]["events"]
            .to_string()
            .contains("Den")
    );
    assert_eq!(
        bot.post(&format!("/join/{room}"), json!({})).await["room_id"],
        json!(room)
    );
    assert_eq!(
        bot.get("/joined_rooms").await["joined_rooms"],
        json!([room])
    );
    let joined_sync = bot.get(&format!("/sync?since={since}")).await;
    assert_ne!(
        joined(&joined_sync, &room, "/timeline/prev_batch"),
        &Value::Null
    );
    let since = text(&joined_sync, "/next_batch");
    bot.hs.kick(&room, &bot.user, "@admin:sim.example", T0);
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert_ne!(sync["rooms"]["leave"][&room], Value::Null);
}

#[tokio::test]
async fn a_far_room_needs_via_and_an_alias_resolves() {
    let bot = Bot::start().await;
    let far = NewRoom {
        creator: ALICE.into(),
        via: Some("a.example".into()),
        alias: Some("#far:a.example".into()),
        ..NewRoom::default()
    };

    let room = bot.hs.create_room(far);
    assert_eq!(
        bot.post(&format!("/join/{room}"), json!({})).await["errcode"],
        "M_NOT_FOUND"
    );
    let found = bot.get("/directory/room/%23far%3Aa.example").await;
    assert_eq!(found, json!({"room_id": room, "servers": ["a.example"]}));
    let answer = bot
        .post(&format!("/join/{room}?via=a.example"), json!({}))
        .await;
    assert_eq!(answer["room_id"], json!(room));
    assert_eq!(
        bot.get("/directory/room/%23no%3Aa.example").await["errcode"],
        "M_NOT_FOUND"
    );
    assert_eq!(bot.get("/no/such/thing").await["errcode"], "M_UNRECOGNIZED");
}

#[tokio::test]
async fn redaction_empties_and_raw_events_come_as_they_are() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let target = bot.call(&room, 1);
    bot.hs.redact(&room, ALICE, &target, T0);
    let event = bot.get(&format!("/rooms/{room}/event/{target}")).await;
    assert_eq!(event["content"], json!({}));
    assert_eq!(
        event["unsigned"]["redacted_because"]["redacts"],
        json!(target)
    );
    let since = bot.next().await;
    bot.hs.send_raw(&room, json!("no object"));
    bot.hs.send_raw(
        &room,
        json!({"event_id": 7, "type": MEMBER, "origin_server_ts": 1e300}),
    );
    let sync = bot.get(&format!("/sync?since={since}")).await;
    let events = joined(&sync, &room, "/timeline/events");
    assert_eq!(
        (&events[0], &events[1]["event_id"]),
        (&json!("no object"), &json!(7))
    );
}

#[tokio::test]
async fn a_person_may_write_with_any_client() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let state = format!("/rooms/{room}/state/{MEMBER}/_%40bot%3Asim.example_A%2FB");
    bot.put(&state, json!({"application": "m.call"})).await;
    let current = bot.hs.state(&room, MEMBER, "_@bot:sim.example_A/B");
    assert_eq!(current, Some(json!({"application": "m.call"})));
    let send =
        format!("/rooms/{room}/send/m.rtc.member/txn1?org.matrix.msc4354.sticky_duration_ms=1000");
    let first = bot.put(&send, json!({"a": 1})).await;
    assert_eq!(
        bot.put(&send, json!({"a": 1})).await,
        first,
        "one event a transaction"
    );
    let event_id = text(&first, "/event_id");
    let event = bot.get(&format!("/rooms/{room}/event/{event_id}")).await;
    assert_eq!(event["msc4354_sticky"]["duration_ms"], 1000);
    bot.hs.set_feature("org.matrix.msc4354", false);
    let plain = bot.put(&send.replace("txn1", "txn2"), json!({})).await;
    let event_id = text(&plain, "/event_id");
    let event = bot.get(&format!("/rooms/{room}/event/{event_id}")).await;
    assert_eq!(event.get("msc4354_sticky"), None);
    let elsewhere = bot.hs.create_room(NewRoom::default());
    let refused = bot
        .put(&format!("/rooms/{elsewhere}/state/m.room.name"), json!({}))
        .await;
    assert_eq!(refused["errcode"], "M_FORBIDDEN");
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let bot = Bot::start().await;
    let at = |path: &str| format!("{}{path}", bot.hs.url());
    let client = reqwest::Client::new();
    let ask = async |path: &str| -> Value {
        let request = client.get(at(path)).bearer_auth(&bot.token);
        request.send().await.unwrap().json().await.unwrap()
    };

    let versions = ask("/_matrix/client/versions").await;
    assert_eq!(versions["unstable_features"]["org.matrix.msc4354"], true);
    let transports = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
    assert_eq!(
        ask(transports).await,
        json!({}),
        "Synapse leaves the key out"
    );
    let livekit = json!({"type": "livekit", "livekit_service_url": "https://sfu.example"});
    bot.hs.set_transports(vec![livekit.clone()]);
    assert_eq!(ask(transports).await["rtc_transports"], json!([livekit]));
    let known = ask("/.well-known/matrix/client").await;
    assert_eq!(known["m.homeserver"]["base_url"], json!(bot.hs.url()));
    assert_eq!(known["org.matrix.msc4143.rtc_foci"], json!([livekit]));
    bot.hs.set_feature("org.matrix.msc4143", false);
    assert_eq!(ask(transports).await["errcode"], "M_UNRECOGNIZED");
    let room = bot.room(NewRoom::default());
    let members = bot
        .get(&format!("/rooms/{room}/members?not_membership=leave"))
        .await;
    assert_eq!(members["chunk"].as_array().unwrap().len(), 3);
}
