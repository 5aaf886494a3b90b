//! A client with an account on the simulated homeserver, and how its answers are read.

use std::time::Duration;

use callscope::sim::{Homeserver, NewRoom};
use reqwest::{Client, Response};
use serde_json::{Value, json};

pub const MEMBER: &str = "org.matrix.msc3401.call.member";
pub const ALICE: &str = "@alice:a.example";
pub const T0: i64 = 1_700_000_000_000;

pub struct Bot {
    pub hs: Homeserver,
    pub token: String,
    pub user: String,
    http: Client,
}

impl Bot {
    pub async fn start() -> Self {
        let hs = Homeserver::start(0).await.unwrap();
        hs.set_clock(|| T0);
        let (user, token) = hs.register("bot", "secret");
        // Shorter than a long poll, so that a request that is not woken fails.
        let http = Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();

        Self {
            hs,
            token,
            user,
            http,
        }
    }

    pub fn room(&self, new: NewRoom) -> String {
        let room = self.hs.create_room(NewRoom { ts: T0, ..new });
        self.hs.join_user(&room, &self.user, T0);
        self.hs.join_user(&room, ALICE, T0);
        room
    }

    pub fn call(&self, room: &str, n: i64) -> String {
        let content = json!({"application": "m.call", "n": n});
        self.hs.send_state(
            room,
            ALICE,
            MEMBER,
            "_@alice:a.example_AD_m.call",
            content,
            T0 + n,
        )
    }

    pub async fn ask(&self, path: &str) -> reqwest::Result<Response> {
        let url = format!("{}/_matrix/client/v3{path}", self.hs.url());
        self.http.get(url).bearer_auth(&self.token).send().await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(path).await.unwrap().json().await.unwrap()
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.ask(path).await.unwrap().status().as_u16()
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_matrix/client/v3{path}", self.hs.url());
        let request = self.http.put(url).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_matrix/client/v3{path}", self.hs.url());
        let request = self.http.post(url).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    pub async fn next(&self) -> String {
        text(&self.get("/sync").await, "/next_batch").to_owned()
    }
}

pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap()
}

pub fn joined<'a>(sync: &'a Value, room: &str, rest: &str) -> &'a Value {
    sync["rooms"]["join"][room]
        .pointer(rest)
        .unwrap_or(&Value::Null)
}

pub fn ids(events: &Value) -> Vec<&str> {
    let events = events.as_array().unwrap().iter();
    events.map(|event| text(event, "/event_id")).collect()
}
