//! Consistency: all places that show the same number must agree, in a world with all formats,
//! ghosts, rings and unreadable rooms.

use crate::app::bed::{Bed, Running};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::clock::Clock;
use callscope::sim::{Homeserver, NewRoom, World, WorldSettings};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

const SEED: u64 = 7;

/// The values of each fact, by place.
#[derive(Default)]
struct Told {
    facts: BTreeMap<String, Vec<(String, String)>>,
}

impl Told {
    fn tell(&mut self, fact: &str, place: &str, value: impl Display) {
        self.facts
            .entry(fact.to_owned())
            .or_default()
            .push((place.to_owned(), value.to_string()));
    }

    /// The facts for which places disagree.
    fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (fact, told) in &self.facts {
            let values: BTreeSet<&str> = told.iter().map(|(_, value)| value.as_str()).collect();
            if values.len() > 1 {
                let lines: Vec<String> = told
                    .iter()
                    .map(|(place, value)| format!("    {value}: {place}"))
                    .collect();
                found.push(format!("{fact}\n{}", lines.join("\n")));
            }
        }

        found
    }

    /// The number of facts shown by more than one place; a single place proves nothing.
    fn told_twice(&self) -> usize {
        self.facts.values().filter(|told| told.len() > 1).count()
    }
}

struct Asked<'a> {
    app: &'a Running,
    told: Told,
    calls: Vec<Value>,
    rooms: Vec<Value>,
    servers: Vec<Value>,
}

fn array(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn sum(rows: &[Value], pointer: &str) -> i64 {
    rows.iter()
        .map(|row| row.pointer(pointer).and_then(Value::as_i64).unwrap_or(0))
        .sum()
}

/// A whole list of the API, over all of its pages.
async fn list(app: &Running, path: &str) -> Vec<Value> {
    let mut path = path.to_owned();
    let mut rows = Vec::new();

    loop {
        let page = app.json(&path).await;
        rows.extend(array(&page["data"]).iter().cloned());
        let Some(next) = page["next_url"].as_str() else {
            return rows;
        };

        next[next.find("/api/").unwrap()..].clone_into(&mut path);
    }
}

/// The number in front of a word, as a page writes it.
fn number_before(page: &str, word: &str) -> String {
    let Some(at) = page.find(word) else {
        return format!("{word:?} is not there");
    };

    let before = page[..at].trim_end();
    let start = before
        .rfind(|letter: char| !letter.is_ascii_digit() && !matches!(letter, ',' | '.' | '\u{202f}'))
        .map_or(0, |at| at + before[at..].chars().next().unwrap().len_utf8());

    before[start..].replace([',', '\u{202f}'], "")
}

/// The value of a gauge without labels.
fn gauge(metrics: &str, name: &str) -> String {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("callscope_{name} ")));
    line.map_or_else(|| format!("no {name}"), str::to_owned)
}

/// The headline of a page: the text of its first `<h1>`.
async fn headline(app: &Running, path: &str) -> String {
    let html = app.page(path).await;
    let start = html.find("<h1").expect(path);
    let end = html[start..].find("</h1>").expect(path);
    crate::app::reports::page::text_of(&html[start..start + end])
}

fn is_here(member: &Value) -> bool {
    member["left_ms"].is_null()
}

fn distinct<'a>(members: impl Iterator<Item = &'a Value>, keys: &[&str]) -> usize {
    members
        .map(|member| keys.iter().map(|key| member[*key].to_string()).collect())
        .collect::<BTreeSet<Vec<String>>>()
        .len()
}

impl Asked<'_> {
    /// Calls, people, devices and servers of now.
    async fn now(&mut self) {
        let overview = self.app.json("/api/v1/overview").await;
        let wall = self.app.json("/api/v1/wall").await;
        let active = self.app.json("/api/v1/calls/active").await;
        let metrics = self.app.page("/metrics").await;
        let running = list(self.app, "/api/v1/calls?status=active&limit=5").await;
        let told = &mut self.told;

        for (place, calls) in [
            ("/api/v1/overview active", array(&overview["active"])),
            ("/api/v1/wall active", array(&wall["active"])),
            ("/api/v1/calls/active", array(&active["data"])),
            ("/api/v1/calls?status=active", &running),
        ] {
            told.tell("calls now", place, calls.len());
            let ids: BTreeSet<&str> = calls.iter().map(|call| text(&call["id"])).collect();
            told.tell("which calls now", place, format!("{ids:?}"));
            let here = || {
                calls
                    .iter()
                    .flat_map(|call| array(&call["members"]))
                    .filter(|member| is_here(member))
            };

            let ghosts = calls
                .iter()
                .map(|call| call["ghosts_now"].as_i64().unwrap_or(0));
            told.tell("ghosts now, by call", place, ghosts.sum::<i64>());
            let people = distinct(
                here().filter(|member| !is_ghost(calls, member)),
                &["user_id"],
            );
            told.tell("people now", place, people);
            told.tell(
                "devices, ghosts among them, now",
                place,
                distinct(here(), &["user_id", "device_id"]),
            );
        }

        for (place, page) in [("/api/v1/overview", &overview), ("/api/v1/wall", &wall)] {
            told.tell("people now", place, &page["people"]);
            told.tell(
                "watched rooms",
                place,
                if page["watched_rooms"].is_null() {
                    &page["watched"]["rooms"]
                } else {
                    &page["watched_rooms"]
                },
            );
        }

        told.tell("people now", "/metrics", gauge(&metrics, "people_active"));
        told.tell("calls now", "/metrics", gauge(&metrics, "calls_active"));
        let last = array(&overview["concurrency"]).last().cloned();
        if let Some(last) = last {
            told.tell("devices now", "/api/v1/overview concurrency", &last[1]);
        }

        told.tell("devices now", "/metrics", gauge(&metrics, "devices_active"));
        told.tell("devices now", "/api/v1/overview", &overview["devices"]);
        told.tell("servers now", "/metrics", gauge(&metrics, "servers_active"));
        told.tell("servers now", "/api/v1/overview", &overview["servers"]);
        told.tell("today", "/api/v1/overview", &overview["today"]);
        told.tell("today", "/api/v1/wall", &wall["today"]);

        told.tell(
            "calls ever",
            "/api/v1/overview watched",
            &overview["watched"]["calls_ever"],
        );
        told.tell("calls ever", "/metrics", gauge(&metrics, "calls_stored"));
        told.tell(
            "rejected events",
            "/metrics",
            gauge(&metrics, "events_rejected"),
        );
        told.tell(
            "unreadable events",
            "/api/v1/overview",
            &overview["watched"]["unreadable"],
        );

        for path in ["/", "/wall"] {
            let headline = headline(self.app, path).await;
            self.told
                .tell("calls now", path, number_before(&headline, " call"));
            let people = number_before(&headline, " people");
            self.told.tell("people now", path, people);
        }
    }

    /// The facts of each call in all places.
    async fn calls(&mut self) {
        let lines = self.app.page("/api/v1/calls.ndjson").await;
        let exported = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let exported: Vec<Value> = exported.collect();
        let csv = self.app.page("/api/v1/calls.csv").await;
        let overview = self.app.json("/api/v1/overview").await;
        let wall = self.app.json("/api/v1/wall").await;
        self.told
            .tell("calls ever", "/api/v1/calls", self.calls.len());
        self.told
            .tell("calls ever", "/api/v1/calls.ndjson", exported.len());
        self.told
            .tell("calls ever", "/api/v1/calls.csv", csv.lines().count() - 1);

        let mut whole: Vec<(String, &Value)> = Vec::new();
        for call in &self.calls {
            whole.push(("/api/v1/calls".to_owned(), call));
        }

        for call in &exported {
            whole.push(("/api/v1/calls.ndjson".to_owned(), call));
        }

        for (place, page) in [("overview", &overview), ("wall", &wall)] {
            for list in ["active", "ended"] {
                for call in page[list].as_array().unwrap_or(&Vec::new()) {
                    // The page's own vectors live as long as this function.
                    let call: &Value = call;
                    self.told.tell(
                        &format!("call {}", text(&call["id"])),
                        place,
                        facts_of(call),
                    );
                }
            }
        }

        for room in &self.rooms {
            for call in array(&room["recent"]) {
                whole.push((format!("room {}", room["room_id"]), call));
            }
        }

        for server in &self.servers {
            for call in array(&server["now"]["calls"]) {
                whole.push((format!("server {}", server["server"]), call));
            }
        }

        for (place, call) in whole {
            let fact = format!("call {}", text(&call["id"]));
            self.told.tell(&fact, &place, facts_of(call));
        }

        // One call of each kind also through its own page, as JSON and as HTML.
        let mut seen = BTreeSet::new();
        let some: Vec<Value> = self
            .calls
            .iter()
            .filter(|call| {
                let kind = array(&call["members"])
                    .first()
                    .map(|member| member["kind"].clone());
                let kind = (
                    kind.map(|kind| kind.to_string()),
                    call["certainty"]["verdict"].to_string(),
                    call["active"] == true,
                );
                call["active"] == true || seen.insert(kind)
            })
            .cloned()
            .collect();

        for call in some {
            let path = format!("/calls/{}", text(&call["id"]));
            let own = self.app.json(&format!("/api/v1{path}")).await;
            let fact = format!("call {}", text(&call["id"]));
            self.told.tell(&fact, "its own JSON", facts_of(&own));
            let html = self.app.page(&path).await;
            let page = crate::app::reports::page::text_of(&html);
            let people = format!("people of {fact}");
            self.told.tell(
                &people,
                "its page",
                number_after(&html, "<dt>People</dt><dd><b>"),
            );
            self.told.tell(&people, "its JSON", &own["people"]);
            let is_exact = own["certainty"]["verdict"] == "exact";
            self.told
                .tell(&format!("certainty of {fact}"), "its JSON", is_exact);
            self.told.tell(
                &format!("certainty of {fact}"),
                "its page",
                page.contains("Certainty Exact"),
            );
        }
    }

    /// The facts of each room, and the sums of all.
    async fn rooms(&mut self) {
        let listed = list(self.app, "/api/v1/rooms?limit=7").await;
        let status = self.app.json("/api/v1/status").await;
        let metrics = self.app.page("/metrics").await;
        let csv = self.app.page("/api/v1/rooms.csv").await;
        let overview = self.app.json("/api/v1/overview").await;

        self.told
            .tell("watched rooms", "/api/v1/rooms", listed.len());
        self.told.tell(
            "watched rooms",
            "/api/v1/rooms.csv",
            csv.lines().count() - 1,
        );
        self.told.tell(
            "watched rooms",
            "/api/v1/status",
            &status["totals"]["rooms"],
        );
        let gauges: i64 = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("callscope_rooms{")?.split_once("} "))
            .map(|(_, number)| number.parse::<i64>().unwrap())
            .sum();
        self.told.tell("watched rooms", "/metrics", gauges);
        let page = crate::app::reports::page::text_of(&self.app.page("/rooms").await);
        self.told.tell(
            "watched rooms",
            "/rooms",
            number_before(&page, " rooms watched"),
        );

        self.told
            .tell("calls ever", "sum of rooms", sum(&listed, "/calls"));
        self.told
            .tell("calls ever", "/api/v1/status", &status["totals"]["calls"]);
        self.told
            .tell("rejected events", "sum of rooms", sum(&listed, "/rejected"));
        self.told.tell(
            "rejected events",
            "/api/v1/status",
            &status["totals"]["rejected"],
        );
        self.told.tell(
            "rejected events",
            "/api/v1/status by reason",
            sum(array(&status["rejected"]), "/count"),
        );
        self.told.tell(
            "unreadable events",
            "sum of rooms",
            sum(&listed, "/unreadable"),
        );
        self.told.tell(
            "unreadable events",
            "/api/v1/status",
            &status["totals"]["unreadable"],
        );
        self.told
            .tell("calls now", "sum of rooms", sum(&listed, "/active_calls"));

        for (row, room) in listed.iter().zip(&self.rooms) {
            let id = text(&room["room_id"]);
            for key in [
                "calls",
                "active_calls",
                "rejected",
                "unreadable",
                "watch",
                "last_call_ms",
            ] {
                let fact = format!("{key} of room {id}");
                self.told.tell(&fact, "/api/v1/rooms", &row[key]);
                self.told.tell(&fact, "its JSON", &room[key]);
            }

            let own: Vec<&Value> = self
                .calls
                .iter()
                .filter(|call| call["room"]["room_id"] == id)
                .collect();
            self.told
                .tell(&format!("calls of room {id}"), "/api/v1/calls", own.len());
            self.told.tell(
                &format!("year of room {id}"),
                "its JSON",
                array(&room["year"]).len(),
            );
            self.told
                .tell(&format!("year of room {id}"), "/api/v1/calls", own.len());

            // Now: badge, frame and banner, beside the overview's calls of this room.
            let running: Vec<&Value> = array(&overview["active"])
                .iter()
                .filter(|call| call["room"]["room_id"] == id)
                .collect();
            let is_known = running
                .iter()
                .all(|call| call["unknown_since_ms"].is_null())
                && room["unreadable"] == 0;
            if is_known {
                let people: i64 = running
                    .iter()
                    .map(|call| call["people_now"].as_i64().unwrap())
                    .sum();
                let fact = format!("people now in room {id}");
                self.told.tell(&fact, "overview", people);
                let badge = self
                    .app
                    .json(&format!("/badge/rooms/{}/active.json", quote(id)))
                    .await;
                let message = text(&badge["message"]);
                let told = if message == "nobody" {
                    "0"
                } else {
                    message.split(' ').next().unwrap()
                };

                self.told.tell(&fact, "badge", told);
                let svg = self
                    .app
                    .page(&format!("/badge/rooms/{}/active.svg", quote(id)))
                    .await;
                assert!(svg.contains(message), "{id}: {svg}");
                let frame = crate::app::reports::page::text_of(
                    &self.app.page(&format!("/embed/rooms/{}", quote(id))).await,
                );
                if people > 1 && running.len() == 1 {
                    self.told
                        .tell(&fact, "frame", number_before(&frame, " people"));
                    let page = crate::app::reports::page::text_of(
                        &self.app.page(&format!("/rooms/{}", quote(id))).await,
                    );
                    let banner = &page[page.find(" is running").unwrap_or(0)..];
                    self.told
                        .tell(&fact, "its page", number_before(banner, " people"));
                }
            }
        }
    }

    /// Rings by call, room, server and statistics; and sums of time.
    async fn sums(&mut self) {
        let statistics = self.app.json("/api/v1/statistics").await;
        let from = statistics["this"]["from_ms"].as_i64().unwrap();
        let mut by_server: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        let mut by_room: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        let mut all: BTreeMap<String, i64> = BTreeMap::new();
        for call in &self.calls {
            let path = format!("/api/v1/calls/{}", text(&call["id"]));
            let own = self.app.json(&path).await;
            for ring in array(&own["related"])
                .iter()
                .filter(|one| one["kind"] == "ring")
            {
                if ring["at_ms"].as_i64().unwrap() < from {
                    continue;
                }

                let server = text(&ring["user_id"]).split_once(':').unwrap().1.to_owned();
                let room = text(&call["room"]["room_id"]).to_owned();
                for word in ["sent", text(&ring["outcome"])] {
                    *by_server
                        .entry(server.clone())
                        .or_default()
                        .entry(word.to_owned())
                        .or_default() += 1;
                    *by_room
                        .entry(room.clone())
                        .or_default()
                        .entry(word.to_owned())
                        .or_default() += 1;
                    *all.entry(word.to_owned()).or_default() += 1;
                }
            }
        }

        let words = ["sent", "answered", "declined", "missed", "ringing"];
        let count = |rings: Option<&BTreeMap<String, i64>>, word: &str| {
            rings
                .and_then(|rings| rings.get(word))
                .copied()
                .unwrap_or(0)
        };

        for word in words {
            let fact = format!("rings {word}");
            self.told
                .tell(&fact, "statistics", &statistics["rings"][word]);
            self.told
                .tell(&fact, "sum of calls", count(Some(&all), word));
            // A room counts only its newest ones, and says if there are more.
            if self.rooms.iter().all(|room| room["rings"]["whole"] == true) {
                let rooms = sum(&self.rooms, &format!("/rings/{word}"));
                self.told.tell(&fact, "sum of rooms", rooms);
            }

            self.told.tell(
                &fact,
                "sum of servers",
                sum(&self.servers, &format!("/rings/{word}")),
            );
            for room in &self.rooms {
                let id = text(&room["room_id"]);
                if room["rings"]["whole"] == true {
                    self.told
                        .tell(&format!("{fact} in {id}"), "room", &room["rings"][word]);
                    self.told.tell(
                        &format!("{fact} in {id}"),
                        "calls",
                        count(by_room.get(id), word),
                    );
                }
            }

            for server in &self.servers {
                let name = text(&server["server"]);
                self.told.tell(
                    &format!("{fact} by {name}"),
                    "server",
                    &server["rings"][word],
                );
                self.told.tell(
                    &format!("{fact} by {name}"),
                    "calls",
                    count(by_server.get(name), word),
                );
            }
        }

        for key in ["calls", "calls_exact", "together_ms", "together_seen_ms"] {
            let fact = format!("{key} of 30 days");
            self.told
                .tell(&fact, "statistics", &statistics["this"][key]);
            self.told.tell(
                &fact,
                "sum of rooms",
                sum(&self.rooms, &format!("/last_30_days/{key}")),
            );
        }

        for key in ["together_ms", "together_seen_ms"] {
            let fact = format!("{key} of 30 days");
            self.told.tell(
                &fact,
                "sum of servers",
                sum(&self.servers, &format!("/this/{key}")),
            );
        }

        self.told.tell(
            "together_ms of 30 days",
            "sum of days",
            sum(array(&statistics["days"]), "/together_ms"),
        );
        self.told.tell(
            "calls of 30 days",
            "sum of days",
            sum(array(&statistics["days"]), "/calls"),
        );
        self.told.tell(
            "together_ms of 30 days",
            "sum of hours",
            array(&statistics["hours"])
                .iter()
                .filter_map(Value::as_i64)
                .sum::<i64>(),
        );
        for classes in ["lengths", "sizes"] {
            self.told.tell(
                "calls of 30 days",
                classes,
                sum(array(&statistics[classes]), "/calls"),
            );
        }

        let begun: Vec<&Value> = self
            .calls
            .iter()
            .filter(|call| call["started_ms"].as_i64().unwrap() >= from)
            .collect();
        self.told
            .tell("calls of 30 days", "/api/v1/calls", begun.len());
        let exact = begun
            .iter()
            .filter(|call| call["certainty"]["verdict"] == "exact")
            .count();
        self.told
            .tell("calls_exact of 30 days", "/api/v1/calls", exact);
        self.told
            .tell("watched rooms", "statistics", &statistics["watched_rooms"]);
        self.told
            .tell("calls ever", "statistics", &statistics["calls_ever"]);
    }

    /// Servers now: list, page, badge.
    async fn servers_now(&mut self) {
        let listed = list(self.app, "/api/v1/servers").await;
        let overview = self.app.json("/api/v1/overview").await;

        for row in &listed {
            let name = text(&row["server"]);
            let fact = format!("people now of {name}");
            self.told.tell(&fact, "/api/v1/servers", &row["people_now"]);
            let server = self
                .servers
                .iter()
                .find(|server| server["server"] == name)
                .unwrap();
            self.told.tell(&fact, "its JSON", &server["now"]["people"]);
            let calls = array(&overview["active"]);
            let here = calls
                .iter()
                .flat_map(|call| array(&call["members"]))
                .filter(|member| is_here(member))
                .filter(|member| member["server"] == name && !is_ghost(calls, member));
            self.told
                .tell(&fact, "overview", distinct(here, &["user_id"]));
            self.told.tell(
                &format!("calls now of {name}"),
                "/api/v1/servers",
                &row["calls_now"],
            );
            self.told.tell(
                &format!("calls now of {name}"),
                "its JSON",
                array(&server["now"]["calls"]).len(),
            );
            let badge = self
                .app
                .json(&format!("/badge/servers/{}/active.json", quote(name)))
                .await;
            let message = text(&badge["message"]);
            if message != "unknown" {
                let told = if message == "nobody" {
                    "0"
                } else {
                    message.split(' ').next().unwrap()
                };

                self.told.tell(&fact, "badge", told);
            }
        }
    }
}

/// Does a finding of its call say that this device is probably gone?
fn is_ghost(calls: &[Value], member: &Value) -> bool {
    if !member["ghost"].is_null() {
        return member["ghost"] == true;
    }

    let _ = calls;

    false
}

/// The facts of a call in a list, without those that change with the clock.
fn facts_of(call: &Value) -> String {
    let keys = [
        "room",
        "slot_id",
        "started_ms",
        "ended_ms",
        "active",
        "people",
        "devices",
        "peak",
        "peak_users",
        "people_now",
        "devices_now",
        "ghosts_now",
        "servers",
        "intent",
        "certainty",
        "findings",
        "members",
        "unknown_since_ms",
    ];
    let facts: Vec<Value> = keys.iter().map(|key| call[*key].clone()).collect();
    let text = json!(facts).to_string();
    // Long lists are compared by their numbers and their length.
    let short: Vec<Value> = keys[..16].iter().map(|key| call[*key].clone()).collect();

    format!("{} with {} characters in all", json!(short), text.len())
}

/// The number that follows some words.
fn number_after(page: &str, words: &str) -> String {
    let Some(at) = page.find(words) else {
        return format!("{words:?} is not there");
    };

    page[at + words.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect()
}

#[tokio::test]
async fn all_places_that_tell_one_number_tell_the_same() {
    let clock = Clock::fixed(crate::app::bed::now());
    let hs = Homeserver::start_as("sim.example", 0, SEED).await.unwrap();
    let world = World::build(&hs, clock.now_ms(), &WorldSettings::for_tests(SEED));
    let bed = Bed::at(hs.clone(), world.bot_user.clone(), world.bot_token.clone()).await;

    let app = bed
        .start_at(clock, &[("PEEK_ROOMS", &world.outside_room)])
        .await;
    app.ready().await;
    eventually("all history is read", 300, async || {
        let status = app.json("/api/v1/status").await;
        let is_read = status["history_open"] == 0
            && status["totals"]["rooms"].as_i64() == i64::try_from(world.rooms.len()).ok()
            // The totals of the status page are ten seconds old at most.
            && status["totals"]["calls"] == app.json("/api/v1/overview").await["watched"]["calls_ever"];
        is_read.then_some(())
    })
    .await;

    assert!(compare(&app).await > 100, "too little was compared");
    app.app.stop().await;
    hs.stop().await;
}

/// Asks all places of a running app and fails if they disagree; returns how many facts were shown
/// more than once.
async fn compare(app: &Running) -> usize {
    let mut rooms = Vec::new();
    for row in list(app, "/api/v1/rooms?limit=7").await {
        rooms.push(
            app.json(&format!("/api/v1/rooms/{}", quote(text(&row["room_id"]))))
                .await,
        );
    }

    let mut servers = Vec::new();
    for row in list(app, "/api/v1/servers").await {
        servers.push(
            app.json(&format!("/api/v1/servers/{}", quote(text(&row["server"]))))
                .await,
        );
    }

    let calls = list(app, "/api/v1/calls?limit=100").await;
    let mut asked = Asked {
        app,
        told: Told::default(),
        calls,
        rooms,
        servers,
    };

    asked.now().await;
    asked.calls().await;
    asked.rooms().await;
    asked.servers_now().await;
    asked.sums().await;

    let disagreements = asked.told.disagreements();
    assert!(
        disagreements.is_empty(),
        "{} facts have more than one answer:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );

    asked.told.told_twice()
}

/// Unusual and mostly wrong behaviour of clients and homeservers.
#[tokio::test]
async fn odd_times_are_told_alike_in_all_places() {
    let bed = Bed::new().await;
    let begin = crate::app::bed::now() / HOUR * HOUR - 10 * HOUR;
    let at = |minutes: i64| begin + minutes * MINUTE;
    let (alice, bob, eve) = (
        "@alice:sim.example",
        "@bob:other.example",
        "@eve:third.example",
    );
    let room = || {
        let room = bed.hs.create_room(NewRoom {
            name: Some("A room".into()),
            ts: begin - 24 * HOUR,
            ..NewRoom::default()
        });
        for user in [bed.bot.as_str(), alice, bob, eve] {
            bed.hs.join_user(&room, user, begin - 24 * HOUR);
        }

        room
    };

    let send = |room: &str, user: &str, device: &str, content: Value, ms: i64| {
        let state_key = crate::app::bed::key(user, device);
        bed.hs
            .send_state(room, user, crate::app::bed::MEMBER, &state_key, content, ms)
    };

    let joins = |more: Value| {
        let mut content = crate::app::bed::join("D");
        for (key, value) in more.as_object().unwrap() {
            content[key] = value.clone();
        }

        content
    };

    // A goodbye after the expiry, and a renewal after it.
    let late = room();
    send(
        &late,
        alice,
        "D",
        joins(json!({"expires": 30 * MINUTE})),
        at(0),
    );
    send(&late, alice, "D", json!({}), at(45));
    send(
        &late,
        bob,
        "D",
        joins(json!({"expires": 30 * MINUTE})),
        at(5),
    );
    send(
        &late,
        bob,
        "D",
        joins(json!({"expires": 90 * MINUTE, "created_ts": at(5)})),
        at(50),
    );
    send(&late, bob, "D", json!({}), at(60));

    // Two servers whose clocks are wrong by a minute, in either direction.
    let skewed = room();
    send(&skewed, alice, "D", joins(json!({})), at(0));
    send(&skewed, bob, "D", joins(json!({})), at(1) + MINUTE);
    send(&skewed, eve, "D", joins(json!({})), at(2) - MINUTE);
    send(&skewed, bob, "D", json!({}), at(20) + MINUTE);
    send(&skewed, eve, "D", json!({}), at(21) - MINUTE);
    send(&skewed, alice, "D", json!({}), at(22));

    // Absolute expiry, a claim of an hour before, a timestamp of 1970, one of a year ago.
    let claimed = room();
    send(
        &claimed,
        alice,
        "D",
        joins(json!({"expires": at(90)})),
        at(0),
    );
    send(
        &claimed,
        bob,
        "D",
        joins(json!({"created_ts": at(-60)})),
        at(10),
    );
    send(&claimed, bob, "D", json!({}), at(30));
    let stamped = room();
    send(&stamped, alice, "D", joins(json!({})), 5);
    send(&stamped, alice, "D", json!({}), at(10));
    send(
        &stamped,
        bob,
        "D",
        joins(json!({})),
        at(0) - 365 * 24 * HOUR,
    );
    send(&stamped, bob, "D", json!({}), at(12));

    // A slot that opens and closes around those who are in it.
    let slotted = room();
    let slot = "m.call#ROOM";
    let kind = "org.matrix.msc4143.rtc.slot";
    let open = json!({"status": "open", "application": {"type": "m.call"}});
    bed.hs
        .send_state(&slotted, alice, kind, slot, open.clone(), at(0));
    send(&slotted, alice, "D", joins(json!({})), at(1));
    bed.hs
        .send_state(&slotted, alice, kind, slot, json!({}), at(5));
    bed.hs.send_state(&slotted, alice, kind, slot, open, at(10));
    send(&slotted, alice, "D", json!({}), at(15));

    // A running one.
    let running = room();
    send(&running, alice, "D", joins(json!({})), at(9 * 60 - 20));
    send(&running, bob, "D", joins(json!({})), at(9 * 60 - 10));

    let clock = Clock::fixed(begin + 9 * HOUR);
    let app = bed.start_at(clock, &[]).await;
    for room in [&late, &skewed, &claimed, &stamped, &slotted, &running] {
        app.once_read(room).await;
    }

    assert!(compare(&app).await > 30, "too little was compared");
    let longest = app.json("/api/v1/overview").await["today"]["longest_ms"].clone();
    assert!(longest.as_i64() < Some(24 * HOUR), "{longest}");
    app.app.stop().await;
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
