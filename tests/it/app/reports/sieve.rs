//! A homeserver that sends events that were not requested: none of them is kept.

use super::page::says;
use super::served::{BEGIN, events_in, moved};
use crate::app::bed::now;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::Homeserver;
use serde_json::{Value, json};
use std::path::Path;

const REPORT: &str = "21-filter-ignored";
const ROOM: &str = "!tree:ash.example";
const ADA: &str = "@ada:ash.example";
const OBSERVER: &str = "@scope:fake.example";

/// The events of the report's only room, the sticky ones last.
fn events() -> Vec<Value> {
    let answer = events_in(REPORT);
    let room = &answer["rooms"]["join"][ROOM];

    ["state", "timeline", "msc4354_sticky"]
        .iter()
        .flat_map(|section| room[section]["events"].as_array().unwrap().clone())
        .collect()
}

/// An encrypted sticky event: its existence may be stored, its content may not.
fn ciphertext(at: i64) -> Value {
    json!({
        "event_id": "$cipher", "type": "m.room.encrypted", "sender": ADA, "origin_server_ts": at,
        "content": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "SECRET-STICKY-CIPHER",
        "session_id": "S"},
        "msc4354_sticky": {"duration_ms": 3_600_000},
    })
}

fn holds_secret(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let secret = b"SECRET-";
        if bytes.windows(secret.len()).any(|window| window == secret) {
            found.push(path.display().to_string());
        }
    }

    found
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_kept_from_anywhere() {
    for is_live in [true, false] {
        let hs = Homeserver::start_as("fake.example", 0, 1).await.unwrap();
        hs.ignore_filters(true);
        let (_, token) = hs.register(OBSERVER, "secret");
        let moved_by = now() - (BEGIN + 600_000);
        let mut events: Vec<Value> = events()
            .into_iter()
            .map(|event| moved(event, moved_by))
            .collect();
        events.push(ciphertext(now() - 60_000));
        events.push(
            json!({"event_id": "$pinned", "type": "m.room.pinned_events", "sender": ADA,
            "state_key": "",
            "origin_server_ts": now() - 50_000, "content": {"pinned": ["SECRET-PINNED"]}}),
        );
        hs.join_user(ROOM, ADA, BEGIN + moved_by - 2000);
        hs.join_user(ROOM, OBSERVER, BEGIN + moved_by - 1000);

        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("callscope.db").display());
        let settings = Settings::default()
            .with("CALLSCOPE_HOMESERVER_URL", &hs.url())
            .with("CALLSCOPE_ACCESS_TOKEN", &token)
            .with("CALLSCOPE_DATABASE_URL", &database)
            .with("CALLSCOPE_BIND", "127.0.0.1:0")
            .with("CALLSCOPE_POLL_SCHEDULE", "* * * * * *")
            .with("CALLSCOPE_LOG", "debug");
        let send = || {
            for event in &events {
                hs.send_raw(ROOM, event.clone());
            }
        };

        if !is_live {
            send();
        }

        let app = App::ready(&settings).await;
        if is_live {
            send();
        }

        let calls = eventually("the call", 60, async || {
            Some(app.active().await).filter(|calls| calls.len() == 1)
        })
        .await;
        assert_eq!(calls[0]["members"].as_array().unwrap().len(), 1);
        assert_eq!(calls[0]["members"][0]["user_id"], ADA);
        assert_eq!(calls[0]["members"][0]["device_id"], "AD");

        // It has read the history and the whole state, and received the sticky events.
        let path = format!("/api/v1/rooms/{}", quote(ROOM));
        let room = eventually("all ways were walked", 60, async || {
            let room = app.http.get(&path).await.ok();
            let is_read = room["history_open"] == false && room["polled_ms"].is_i64();
            (is_read && room["unreadable"] == 1).then_some(room)
        })
        .await;
        assert_eq!(room["unreadable"], 1, "that it was there is kept");
        crate::support::pause(2500).await;

        let status = app.http.get("/api/v1/status").await.ok();
        let told = status["unasked"].to_string();
        for kind in ["m.room.message", "m.room.encrypted", "m.room.pinned_events"] {
            says(&told, kind);
        }

        let page = super::page::text_of(&html(&app, "/status").await);
        says(&page, "sends what was not asked for");
        says(&page, "m.room.message");
        says(&page, "thrown away");
        let about = super::page::text_of(&html(&app, "/about").await);
        says(&about, "thrown away before anything is stored");

        assert_eq!(
            holds_secret(folder.path()),
            Vec::<String>::new(),
            "live: {is_live}"
        );
        let log = app.log();
        assert!(!log.contains("SECRET-"), "the log has it");
        app.kill();
        assert_eq!(
            holds_secret(folder.path()),
            Vec::<String>::new(),
            "live: {is_live}"
        );
        hs.stop().await;
    }
}

async fn html(app: &App, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = client
        .get(format!("{}{path}", app.http.base))
        .header("accept", "text/html");

    ask.send().await.unwrap().text().await.unwrap()
}
