//! Every answer over one seeded database, compared byte by byte with what is stored in
//! `tests/it/pages/goldens`.
//!
//! A change that should not change any output changes no byte here. An intended change is reviewed
//! by its diff: `INSTA_UPDATE=always cargo test --test it pages::goldens` writes the files again.

use crate::pages::site::{Answer, NOW, Site, quote, text};
use crate::support::database::Database;
use callscope::sim::{Homeserver, World, WorldSettings};
use serde_json::Value;
use std::collections::BTreeSet;

/// The seed of the demo's world that fills the database.
const SEED: u64 = 13;

/// Events of one room, oldest first, in client format.
#[derive(Clone)]
pub struct Room {
    pub id: String,
    pub events: Vec<Value>,
}

/// A room of its own for each test vector, moved so that its present is ours: all formats, and all
/// faults that were ever found.
fn rooms_of_vectors() -> Vec<Room> {
    let files = [
        include_str!("../../vectors/published.json"),
        include_str!("../../vectors/own.json"),
    ];
    let mut rooms = Vec::new();
    for file in files {
        let file: Value = serde_json::from_str(file).unwrap();
        for vector in file["vectors"].as_array().unwrap() {
            let id = text(&vector["id"]);
            let events = vector["events"].as_array().unwrap();
            rooms.push(moved_room(id, events, vector["now"].as_i64().unwrap()));
        }
    }
    rooms
}

/// A room of its own for each public report.
fn rooms_of_reports() -> Vec<Room> {
    let mut paths: Vec<_> = std::fs::read_dir("tests/reports")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();

    let mut rooms = Vec::new();
    for path in paths {
        let events: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Some(events) = events.as_array() else {
            continue;
        };
        let last = events
            .iter()
            .filter_map(|event| event["origin_server_ts"].as_i64())
            .max()
            .unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        rooms.push(moved_room(name, events, last + 600_000));
    }
    rooms
}

/// The events in a room of this name, later or earlier by as much as `now` differs from our
/// present.
fn moved_room(name: &str, events: &[Value], now: i64) -> Room {
    let by = NOW - now;
    let rename = |id: &str| format!("{id}.{name}");
    let moved = events.iter().map(|event| {
        let mut event = event.clone();
        move_times(&mut event, by);
        for pointer in [
            "/event_id",
            "/unsigned/replaces_state",
            "/redacts",
            "/content/redacts",
            "/content/m.relates_to/event_id",
        ] {
            if let Some(Value::String(id)) = event.pointer_mut(pointer) {
                *id = rename(id);
            }
        }
        event
    });
    Room {
        id: format!("!{name}:vectors.example"),
        events: moved.collect(),
    }
}

/// Moves numbers that are times of this age; other numbers are lengths.
fn move_times(value: &mut Value, by: i64) {
    match value {
        Value::Number(number) => {
            if let Some(time) = number.as_i64().filter(|time| *time > 1_000_000_000_000) {
                *value = (time + by).into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|part| move_times(part, by)),
        Value::Object(object) => object.values_mut().for_each(|part| move_times(part, by)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The rooms of the demo's world: five weeks of calls.
pub async fn rooms_of_the_demo(site: &Site) -> Vec<Room> {
    let homeserver = Homeserver::start_as("sim.example", 0, SEED).await.unwrap();
    homeserver.set_clock(|| NOW);
    let world = World::build(&homeserver, NOW, &WorldSettings::for_tests(SEED));
    let mut rooms = Vec::new();
    for (_, id) in &world.rooms {
        let answer: Value = site
            .client
            .get(format!(
                "{}/_matrix/client/v3/rooms/{}/messages?dir=f&limit=100000",
                homeserver.url(),
                quote(id)
            ))
            .bearer_auth(&world.bot_token)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let events = answer["chunk"].as_array().cloned().unwrap_or_default();
        rooms.push(Room {
            id: id.clone(),
            events,
        });
    }
    homeserver.stop().await;
    rooms
}

/// A site over this database, which is seeded.
pub async fn seeded_site(database: Database) -> Site {
    let site = Site::over(database).await.fill().await;
    let mut rooms = rooms_of_the_demo(&site).await;
    rooms.extend(rooms_of_vectors());
    rooms.extend(rooms_of_reports());
    for room in rooms {
        site.write_to(&room.id, room.events).await;
    }
    site
}

/// The text without the hashes in the addresses of static files: another style sheet is no other
/// page.
pub fn without_hashes(text: &str) -> String {
    let mut parts = text.split("?v=");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|letter: char| !letter.is_ascii_hexdigit())
            .unwrap_or(part.len());
        rest.push_str("?v=*");
        rest.push_str(&part[end..]);
    }
    rest
}

/// The answer without the size of the database, which changes with each migration.
pub fn without_database_size(mut json: Value) -> Value {
    if let Some(size) = json.pointer_mut("/totals/database_bytes") {
        *size = "*".into();
    }

    json
}

/// The text for comparing two versions: JSON with one value per line.
fn readable(site: &Site, path: &str, answer: &Answer) -> String {
    let body = if answer.kind.starts_with("application/json") {
        serde_json::to_string_pretty(&without_database_size(answer.json())).unwrap()
    } else {
        answer.text.clone()
    };
    let body = without_hashes(&body.replace(&site.base, "http://site"));
    format!("{path}\n{} {}\n\n{body}", answer.status, answer.kind)
}

/// Requests that need no name.
const FIXED: &[&str] = &[
    "/",
    "/calls",
    "/calls?status=ended&sort=-duration&limit=20",
    "/calls?q=alice",
    "/calls?sort=none",
    "/calls/none",
    "/rooms",
    "/rooms/none",
    "/servers",
    "/servers?period=365d",
    "/transports",
    "/statistics",
    "/wall",
    "/status",
    "/rejected",
    "/about",
    "/api/docs",
    "/api/v1/overview",
    "/api/v1/calls/active",
    "/api/v1/calls?limit=50",
    "/api/v1/calls?sort=duration&limit=20",
    "/api/v1/calls.csv",
    "/api/v1/calls.ndjson?from=2026-11-20",
    "/api/v1/rooms?limit=500",
    "/api/v1/rooms.csv",
    "/api/v1/servers?limit=500",
    "/api/v1/servers.csv",
    "/api/v1/transports?limit=500",
    "/api/v1/transports.csv",
    "/api/v1/statistics",
    "/api/v1/statistics?period=365d",
    "/api/v1/wall",
    "/api/v1/status",
    "/api/v1/rejected?limit=500",
    "/api/v1/about",
    "/api/v1/openapi.json",
    "/feed/calls.atom",
    "/feed/calls.ics",
];

/// The addresses that are asked for: the fixed ones, and those of calls, rooms and servers.
pub async fn paths(site: &Site) -> Vec<String> {
    let mut paths: Vec<String> = FIXED.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(paths_of_calls(site).await);

    let rooms = site.json("/api/v1/rooms?limit=500").await;
    for room in rooms["data"].as_array().unwrap() {
        let room = text(&room["room_id"]);
        paths.push(format!("/api/v1/rooms/{room}"));
        if !room.ends_with(":vectors.example") {
            paths.push(format!("/rooms/{room}"));
            paths.push(format!("/embed/rooms/{room}"));
            paths.push(format!("/badge/rooms/{room}/active.json"));
            paths.push(format!(
                "/api/v1/rooms/{room}/members?at=2026-11-20T10:00:00Z"
            ));
        }
    }
    let servers = site.json("/api/v1/servers?limit=5").await;
    for server in servers["data"].as_array().unwrap() {
        let server = text(&server["server"]);
        paths.push(format!("/servers/{server}"));
        paths.push(format!("/api/v1/servers/{server}"));
    }
    paths
}

/// Each call of the vectors and reports; and of each kind of call one, also as a page.
async fn paths_of_calls(site: &Site) -> Vec<String> {
    let mut paths = Vec::new();
    let mut kinds = BTreeSet::new();
    let mut next = Some("/api/v1/calls?limit=500".to_owned());
    while let Some(list) = next {
        let calls = site.json(&list).await;
        for call in calls["data"].as_array().unwrap() {
            let id = text(&call["id"]);
            let is_first_of_kind = kinds.insert(kind_of_call(call));
            if is_first_of_kind {
                paths.push(format!("/calls/{id}"));
            }
            if is_first_of_kind || text(&call["room"]["room_id"]).ends_with(":vectors.example") {
                paths.push(format!("/api/v1/calls/{id}"));
            }
        }
        next = calls["next_url"]
            .as_str()
            .map(|url| url.replace("https://calls.example", ""));
    }
    paths
}

/// Calls of one kind have the same state, certainty, application and findings.
fn kind_of_call(call: &Value) -> String {
    let findings: BTreeSet<&str> = call["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| text(&finding["kind"]))
        .collect();
    format!(
        "{} {} {} {findings:?}",
        call["state"], call["certainty"]["verdict"], call["application"]
    )
}

/// The name of the file that holds an answer.
fn file_name(path: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
    let name = path.trim_start_matches('/');
    let name = name.replace(|letter| !is_plain(letter), "_");
    format!("page_{name}")
}

#[tokio::test]
async fn the_answers_over_one_database_are_as_stored() {
    let site = seeded_site(Database::new().await).await;
    let paths = paths(&site).await;
    assert!(paths.len() > 200, "{}", paths.len());

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("goldens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let answer = site.get(&path).await;
        let readable = readable(&site, &path, &answer);
        settings.bind(|| insta::assert_snapshot!(file_name(&path), readable));
    }
}
