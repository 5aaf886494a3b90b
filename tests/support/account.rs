//! A Matrix account with manual requests, next to the real SDK.

use super::http::{Answer, Http, quote};
use serde_json::{Value, json};

/// One logged-in device of a user.
#[derive(Debug, Clone)]
pub struct Account {
    pub http: Http,
    pub user_id: String,
    pub device_id: String,
    pub token: String,
    pub password: String,
}

/// An invitation that an account has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub room_id: String,
    pub inviter: String,
    pub is_direct: bool,
}

impl Account {
    /// From the body of a registration or a login.
    pub fn new(url: &str, answer: &Value, password: String) -> Self {
        let text = |key: &str| answer[key].as_str().expect(key).to_owned();
        let token = text("access_token");

        Self {
            http: Http::new(url, Some(&token)),
            user_id: text("user_id"),
            device_id: text("device_id"),
            token,
            password,
        }
    }

    /// The same user on another device.
    pub async fn device(&self, device_id: &str) -> Self {
        let body = json!({
            "type": "m.login.password", "password": self.password, "device_id": device_id,
            "identifier": {"type": "m.id.user", "user": self.user_id},
        });
        let answer = self.http.post("/_matrix/client/v3/login", &body).await;

        Self::new(&self.http.base, &answer.ok(), self.password.clone())
    }

    pub fn server(&self) -> &str {
        self.user_id.split_once(':').unwrap().1
    }

    /// A room in which every member may say that it is in a call, as calling clients make it.
    pub async fn create_room(&self, options: Value) -> String {
        let mut body = json!({
            "preset": "public_chat",
            "power_level_content_override": {"events": {
                "org.matrix.msc3401.call.member": 0,
                "org.matrix.msc4143.rtc.slot": 0,
            }},
        });
        let Value::Object(options) = options else {
            panic!("options are an object")
        };

        body.as_object_mut().unwrap().extend(options);
        let answer = self.http.post("/_matrix/client/v3/createRoom", &body).await;

        answer.ok()["room_id"].as_str().unwrap().to_owned()
    }

    /// Joins by id, via the server that has the room.
    pub async fn join(&self, room: &str, via: &Account) {
        let via = quote(via.server());
        let room = quote(room);
        let path = format!("/_matrix/client/v3/join/{room}?server_name={via}&via={via}");
        self.http.post(&path, &json!({})).await.ok();
    }

    pub async fn invite(&self, room: &str, other: &Account) {
        let path = format!("/_matrix/client/v3/rooms/{}/invite", quote(room));
        let body = json!({"user_id": other.user_id});
        self.http.post(&path, &body).await.ok();
    }

    /// Sends a state event; returns its id.
    pub async fn state(&self, room: &str, kind: &str, key: &str, content: &Value) -> String {
        let (room, kind, key) = (quote(room), quote(kind), quote(key));
        let path = format!("/_matrix/client/v3/rooms/{room}/state/{kind}/{key}");
        event_id(self.http.put(&path, content).await)
    }

    /// Sends a sticky event (MSC4354); returns its id.
    pub async fn sticky(&self, room: &str, kind: &str, ms: u32, content: &Value) -> String {
        let transaction = super::now_ms();
        let (room, kind) = (quote(room), quote(kind));
        let path = format!(
            "/_matrix/client/v3/rooms/{room}/send/{kind}/{transaction}?org.matrix.msc4354.sticky_duration_ms={ms}"
        );

        event_id(self.http.put(&path, content).await)
    }

    /// All of a room's events that this user may see, oldest first.
    pub async fn messages(&self, room: &str) -> Vec<Value> {
        let room = quote(room);
        let mut from = String::new();
        let mut all = Vec::new();
        loop {
            // Backwards, because only then a server fetches missing events of another server's
            // room.
            let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=500{from}");
            let page = self.http.get(&path).await.ok();
            all.extend(page["chunk"].as_array().unwrap().iter().cloned());
            let Some(end) = page["end"].as_str() else {
                break;
            };

            from = format!("&from={}", quote(end));
        }

        all.reverse();

        all
    }

    /// What was written in a room, oldest first.
    pub async fn read_texts(&self, room: &str) -> Vec<String> {
        let events = self.messages(room).await;
        events
            .iter()
            .filter(|event| event["type"] == "m.room.message")
            .map(|event| event["content"]["body"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The invitations that are open.
    pub async fn list_invitations(&self) -> Vec<Invitation> {
        // Synapse gives the same answer again for minutes, unless something else is asked.
        let wait_ms = u32::try_from(super::now_ms() % 1000).unwrap();
        let answer = self.sync(None, wait_ms).await;
        let rooms = answer["rooms"]["invite"].as_object().into_iter().flatten();
        let invitation = |(room_id, room): (&String, &Value)| {
            let events = room["invite_state"]["events"].as_array().unwrap();
            let is_own = |event: &&Value| event["state_key"] == self.user_id.as_str();
            let own = events.iter().find(is_own).expect("our own membership");

            Invitation {
                room_id: room_id.clone(),
                inviter: own["sender"].as_str().unwrap().to_owned(),
                is_direct: own["content"]["is_direct"] == true,
            }
        };

        rooms.map(invitation).collect()
    }

    /// The user's own `/sync`: one request that answers at once or after up to `wait_ms`.
    pub async fn sync(&self, since: Option<&str>, wait_ms: u32) -> Value {
        let since = since.map_or_else(String::new, |s| format!("&since={}", quote(s)));
        let path = format!("/_matrix/client/v3/sync?timeout={wait_ms}{since}");
        self.http.get(&path).await.ok()
    }

    /// A user's membership in a room: `join`, `invite`, `leave`, …
    pub async fn membership(&self, room: &str, of: &Account) -> Option<String> {
        let (room, user) = (quote(room), quote(&of.user_id));
        let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/{user}");
        let answer = self.http.get(&path).await;
        answer.body["membership"].as_str().map(str::to_owned)
    }
}

#[track_caller]
fn event_id(answer: Answer) -> String {
    answer.ok()["event_id"].as_str().unwrap().to_owned()
}
