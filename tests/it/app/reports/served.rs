//! A report as a room of the simulated homeserver, moved in time to the present, with the app
//! beside it.

use super::page::text_of;
use crate::app::bed::{Bed, Running, now};
use crate::support::http::quote;
use crate::support::project;
use callscope::sim::Homeserver;
use serde_json::{Value, json};
use std::path::Path;

/// The observing account of all reports.
const OBSERVER: &str = "@scope:fake.example";

/// When the calls of all reports begin: 27 November 2026, 16:00 UTC. Older events create the room.
pub const BEGIN: i64 = 1_795_795_200_000;

pub const SECOND: i64 = 1000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// Number of topic changes: more than the timeline of a first sync has events.
const FILLER: usize = 120;

/// How the app receives the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It follows the room already, and each event arrives by sync.
    Live,
    /// Everything happened before the app came: it reads the room's state and history.
    History,
}

pub const BOTH: [Way; 2] = [Way::Live, Way::History];

/// The app beside a homeserver that has the report as a room.
pub struct Served {
    pub bed: Bed,
    pub app: Running,
    pub room: String,
    moved_by: i64,
}

impl Served {
    /// Serves a report up to `now_ms`, which is then the present, in this way.
    pub async fn start(report: &str, now_ms: i64, way: Way) -> Self {
        Self::start_with(report, now_ms, way, &[]).await
    }

    /// The same with more settings.
    pub async fn start_with(
        report: &str,
        now_ms: i64,
        way: Way,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::start_events(report, events_of(report), now_ms, way, settings).await
    }

    /// The same with events of the test's own; `name` is only the room's id.
    pub async fn start_events(
        name: &str,
        events: Vec<Value>,
        now_ms: i64,
        way: Way,
        settings: &[(&str, &str)],
    ) -> Self {
        let hs = Homeserver::start_as("fake.example", 0, 1).await.unwrap();
        let (bot, token) = hs.register(OBSERVER, "secret");
        let bed = Bed::at(hs, bot, token).await;

        let room = format!("!{name}:ash.example");
        let moved_by = now() - now_ms;

        let (before, calls): (Vec<Value>, Vec<Value>) = events
            .into_iter()
            .filter(|event| event["origin_server_ts"].as_i64().unwrap() <= now_ms)
            .map(|event| moved(event, moved_by))
            .partition(|event| event["origin_server_ts"].as_i64().unwrap() < BEGIN + moved_by);
        for event in before {
            bed.hs.send_raw(&room, event);
        }

        let app = match way {
            Way::Live => {
                let app = bed.start_with(settings).await;
                app.ready().await;
                app.once_read(&room).await;
                for event in calls {
                    bed.hs.send_raw(&room, event);
                }

                app
            }
            Way::History => {
                let last = calls
                    .iter()
                    .filter_map(|event| event["origin_server_ts"].as_i64())
                    .max();
                for event in calls {
                    bed.hs.send_raw(&room, event);
                }

                for number in 0..FILLER {
                    let topic = json!({"topic": format!("Day {number}")});
                    let at = last.unwrap_or(BEGIN + moved_by);
                    bed.hs
                        .send_state(&room, "@ada:ash.example", "m.room.avatar", "", topic, at);
                }

                let app = bed.start_with(settings).await;
                app.ready().await;
                app.once_read(&room).await;
                app
            }
        };

        Self {
            bed,
            app,
            room,
            moved_by,
        }
    }

    /// Converts a time of the report to the present.
    pub fn at(&self, report_ms: i64) -> i64 {
        report_ms + self.moved_by
    }

    /// The hour and minute that pages show for a time of the report.
    pub fn clock(&self, report_ms: i64) -> String {
        let minutes = self.at(report_ms).div_euclid(MINUTE);
        format!("{:02}:{:02}", minutes.div_euclid(60) % 24, minutes % 60)
    }

    /// The moment as pages write it: with its day where that is not today.
    pub fn moment(&self, report_ms: i64) -> String {
        let day = |ms: i64| ms.div_euclid(24 * HOUR);
        if day(self.at(report_ms)) == day(now()) {
            return self.clock(report_ms);
        }

        let date = jiff::Timestamp::from_millisecond(self.at(report_ms))
            .unwrap()
            .strftime("%-d %B");

        format!("{date}, {}", self.clock(report_ms))
    }

    /// The same with the second.
    pub fn clock_seconds(&self, report_ms: i64) -> String {
        let second = self.at(report_ms).div_euclid(SECOND) % 60;
        format!("{}:{second:02}", self.clock(report_ms))
    }

    /// The calls with everything from their own pages in JSON, oldest first, once `right` accepts
    /// them.
    pub async fn calls(&self, right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let listed = self.app.calls_until("the report's calls", right).await;
        let mut calls = Vec::new();
        for call in listed.iter().rev() {
            let path = format!("/api/v1/calls/{}", call["id"].as_str().unwrap());
            calls.push(self.app.json(&path).await);
        }

        calls
    }

    /// The markup of a call's page.
    pub async fn call_html(&self, call: &Value) -> String {
        self.app.page(&call_path(call)).await
    }

    /// The text of a call's page.
    pub async fn call_page(&self, call: &Value) -> String {
        text_of(&self.call_html(call).await)
    }

    /// The text of a page.
    pub async fn page(&self, path: &str) -> String {
        text_of(&self.app.page(path).await)
    }

    pub fn room_path(&self) -> String {
        format!("/rooms/{}", quote(&self.room))
    }

    /// The room's page in JSON.
    pub async fn room_json(&self) -> Value {
        self.app.json(&format!("/api/v1{}", self.room_path())).await
    }

    pub async fn room_page(&self) -> String {
        self.page(&self.room_path()).await
    }

    pub async fn stop(self) {
        self.app.app.stop().await;
        self.bed.hs.stop().await;
    }
}

/// The events of a report, as it was written.
pub fn events_of(report: &str) -> Vec<Value> {
    let Value::Array(events) = events_in(report) else {
        panic!("{report} is no list of events")
    };

    events
}

/// The content of a report's file.
pub fn events_in(report: &str) -> Value {
    let folder = project().join("tests/reports");
    let path = Path::new(&folder).join(format!("{report}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The address of a call's page.
pub fn call_path(call: &Value) -> String {
    format!("/calls/{}", call["id"].as_str().unwrap())
}

/// A copy of the value with all times moved by this many ms.
pub fn moved(value: Value, by: i64) -> Value {
    match value {
        Value::Object(fields) => {
            let moved = fields.into_iter().map(|(key, value)| match value.as_i64() {
                Some(ms) if is_time(&key, ms) => (key, json!(ms + by)),
                _ => (key, moved(value, by)),
            });
            Value::Object(moved.collect())
        }
        Value::Array(items) => items.into_iter().map(|item| moved(item, by)).collect(),
        other => other,
    }
}

/// Is the number under this key a point in time? An `expires` is one only if it cannot be a length.
fn is_time(key: &str, ms: i64) -> bool {
    match key {
        "origin_server_ts" | "created_ts" | "sender_ts" | "expires_ts" | "m.expires_ts" => true,
        "expires" => ms > 100_000_000_000,
        _ => false,
    }
}
