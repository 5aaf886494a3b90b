//! The simulated homeserver over real HTTP: what it answers, and how it breaks.
#![allow(clippy::unwrap_used, reason = "in a test that is the point")]

use std::time::Duration;

use callscope::sim::{Homeserver, NewRoom};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const MEMBER: &str = "org.matrix.msc3401.call.member";
const ALICE: &str = "@alice:a.example";
const T0: i64 = 1_700_000_000_000;

struct Bot {
    hs: Homeserver,
    token: String,
    user: String,
    http: Client,
}

impl Bot {
    async fn start() -> Self {
        let hs = Homeserver::start(0).await.unwrap();
        hs.set_clock(|| T0);
        let (user, token) = hs.register("bot", "secret");
        let http = Client::new();
        Self { hs, token, user, http }
    }

    fn room(&self, new: NewRoom) -> String {
        let room = self.hs.create_room(NewRoom { ts: T0, ..new });
        self.hs.join_user(&room, &self.user, T0);
        self.hs.join_user(&room, ALICE, T0);
        room
    }

    fn call(&self, room: &str, n: i64) -> String {
        let content = json!({"application": "m.call", "n": n});
        self.hs.send_state(room, ALICE, MEMBER, "_@alice:a.example_AD_m.call", content, T0 + n)
    }

    async fn ask(&self, path: &str) -> reqwest::Result<Response> {
        let url = format!("{}/_matrix/client/v3{path}", self.hs.url());
        self.http.get(url).bearer_auth(&self.token).send().await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(path).await.unwrap().json().await.unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.ask(path).await.unwrap().status().as_u16()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_matrix/client/v3{path}", self.hs.url());
        let request = self.http.post(url).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn next(&self) -> String {
        text(&self.get("/sync").await, "/next_batch").to_owned()
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap()
}

fn joined<'a>(sync: &'a Value, room: &str, rest: &str) -> &'a Value {
    sync["rooms"]["join"][room].pointer(rest).unwrap_or(&Value::Null)
}

fn ids(events: &Value) -> Vec<&str> {
    let events = events.as_array().unwrap().iter();
    events.map(|event| text(event, "/event_id")).collect()
}

#[tokio::test]
async fn login_keeps_the_device_and_a_revoked_token_is_unknown() {
    let bot = Bot::start().await;
    let login = json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bot"},
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
    let path = format!("/sync?since={since}&timeout=60000");
    let waiting = bot.get(&path);
    let acting = async {
        while bot.hs.count("timeout=60000") == 0 {
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
    assert_eq!(bot.call(&loud, 1), event_id, "the same state twice makes one event");
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
    bot.hs.send_event(&room, ALICE, "m.room.message", json!({}), T0);
    let filter = json!({"room": {"timeline": {"limit": 2, "types": ["org.matrix.msc3401.*"]}}});
    let kept = bot.post(&format!("/user/{}/filter", bot.user), filter).await;
    let sync = bot.get(&format!("/sync?since={since}&filter={}", text(&kept, "/filter_id"))).await;
    assert_eq!(ids(joined(&sync, &room, "/timeline/events")), sent.split_off(3));
    assert_eq!(joined(&sync, &room, "/timeline/limited"), true);
    let from = text(joined(&sync, &room, "/timeline"), "/prev_batch");
    let types = r#"{"types":["org.matrix.msc3401.call.member"]}"#;
    let page = bot.get(&format!("/rooms/{room}/messages?dir=b&from={from}&limit=50&filter={types}")).await;
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
    let before = bot.get(&format!("/sync?since={since}&filter={filter}")).await;
    assert_eq!(ids(joined(&before, &room, "/state/events")), [old]);
    let asked = "org.matrix.msc4222.use_state_after=true";
    let after = bot.get(&format!("/sync?since={since}&filter={filter}&{asked}")).await;
    let key = "/org.matrix.msc4222.state_after/events";
    assert_eq!(ids(joined(&after, &room, key)), [new]);
    assert_eq!(joined(&after, &room, "/state"), &Value::Null);
}

#[tokio::test]
async fn a_silent_change_shows_in_the_state_only() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let since = bot.next().await;
    let event_id = bot.hs.set_state_silently(&room, ALICE, MEMBER, "k", json!({"a": 1}), T0);
    assert_eq!(bot.get(&format!("/sync?since={since}")).await.get("rooms"), None);
    let state = bot.get(&format!("/rooms/{room}/state")).await;
    assert!(ids(&state).contains(&event_id.as_str()));
    assert_eq!(bot.get(&format!("/rooms/{room}/state/{MEMBER}/k")).await["a"], 1);
    bot.hs.drop_state_silently(&room, MEMBER, "k");
    assert_eq!(bot.status(&format!("/rooms/{room}/state/{MEMBER}/k")).await, 404);
}

#[tokio::test]
async fn sticky_events_come_beside_the_filter_a_hundred_at_a_time() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let expired = json!({"msc4354_sticky_key": "old"});
    bot.hs.send_sticky(&room, ALICE, "m.rtc.member", expired, 1000, T0 - 5000);
    for n in 0..120 {
        bot.hs.send_sticky(&room, ALICE, "m.rtc.member", json!({"n": n}), 9_999_999, T0);
    }
    let filter = r#"filter={"room":{"timeline":{"types":["m.room.name"]}}}"#;
    let first = bot.get(&format!("/sync?{filter}")).await;
    let events = joined(&first, &room, "/msc4354_sticky/events");
    assert_eq!(events.as_array().unwrap().len(), 100);
    assert_eq!(events[0]["content"]["n"], 0, "oldest first, the expired one left out");
    assert_eq!(events[0]["unsigned"]["msc4354_sticky_duration_ttl_ms"], 3_600_000);
    let since = text(&first, "/next_batch");
    let rest = bot.get(&format!("/sync?since={since}&{filter}")).await;
    let events = joined(&rest, &room, "/msc4354_sticky/events");
    assert_eq!(events.as_array().unwrap().len(), 20);
    let since = text(&rest, "/next_batch");
    bot.hs.send_sticky(&room, ALICE, "m.rtc.member", json!({}), 60_000, T0);
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert_eq!(joined(&sync, &room, "/msc4354_sticky"), &Value::Null, "it is in the timeline");
}

#[tokio::test]
async fn messages_end_where_the_room_begins_and_pages_may_be_empty() {
    let bot = Bot::start().await;
    let room = bot.room(NewRoom::default());
    let event_id = bot.call(&room, 1);
    for _ in 0..20 {
        bot.hs.send_event(&room, ALICE, "m.room.message", json!({}), T0);
    }
    bot.hs.set_walk(6);
    let (mut found, mut empty, mut from) = (Vec::new(), 0, String::new());
    loop {
        let types = r#"{"types":["org.matrix.msc3401.call.member"]}"#;
        let page = bot.get(&format!("/rooms/{room}/messages?dir=b&filter={types}{from}")).await;
        found.extend(ids(&page["chunk"]).into_iter().map(str::to_owned));
        empty += usize::from(page["chunk"] == json!([]));
        let Some(end) = page["end"].as_str() else {
            break;
        };
        from = format!("&from={end}");
    }
    assert_eq!(found, [event_id]);
    assert!(empty > 2, "the walk of 20 others gives empty pages");
}

#[tokio::test]
async fn history_is_seen_as_far_as_its_visibility_goes() {
    let bot = Bot::start().await;
    let hidden = |seen: &str| NewRoom { history_visibility: seen.into(), ts: T0, ..NewRoom::default() };
    let room = bot.hs.create_room(hidden("joined"));
    let before = bot.call(&room, 1);
    assert_eq!(bot.status(&format!("/rooms/{room}/state")).await, 403);
    bot.hs.join_user(&room, &bot.user, T0);
    let after = bot.call(&room, 2);
    let page = bot.get(&format!("/rooms/{room}/messages?dir=b&limit=100")).await;
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
    let secret = NewRoom { join_rule: "invite".into(), name: Some("Den".into()), ..NewRoom::default() };
    let room = bot.hs.create_room(secret);
    assert_eq!(bot.post(&format!("/join/{room}"), json!({})).await["errcode"], "M_FORBIDDEN");
    let since = bot.next().await;
    bot.hs.invite(&room, &bot.user, "@admin:sim.example", T0);
    let sync = bot.get(&format!("/sync?since={since}")).await;
    assert!(sync["rooms"]["invite"][&room]["invite_state"]["events"].to_string().contains("Den"));
    assert_eq!(bot.post(&format!("/join/{room}"), json!({})).await["room_id"], json!(room));
    assert_eq!(bot.get("/joined_rooms").await["joined_rooms"], json!([room]));
    let joined_sync = bot.get(&format!("/sync?since={since}")).await;
    assert_ne!(joined(&joined_sync, &room, "/timeline/prev_batch"), &Value::Null);
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
    assert_eq!(bot.post(&format!("/join/{room}"), json!({})).await["errcode"], "M_NOT_FOUND");
    let found = bot.get("/directory/room/%23far%3Aa.example").await;
    assert_eq!(found, json!({"room_id": room, "servers": ["a.example"]}));
    let answer = bot.post(&format!("/join/{room}?via=a.example"), json!({})).await;
    assert_eq!(answer["room_id"], json!(room));
    assert_eq!(bot.get("/directory/room/%23no%3Aa.example").await["errcode"], "M_NOT_FOUND");
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
    assert_eq!(event["unsigned"]["redacted_because"]["redacts"], json!(target));
    let since = bot.next().await;
    bot.hs.send_raw(&room, json!("no object"));
    bot.hs.send_raw(&room, json!({"event_id": 7, "type": MEMBER, "origin_server_ts": 1e300}));
    let sync = bot.get(&format!("/sync?since={since}")).await;
    let events = joined(&sync, &room, "/timeline/events");
    assert_eq!((&events[0], &events[1]["event_id"]), (&json!("no object"), &json!(7)));
}
