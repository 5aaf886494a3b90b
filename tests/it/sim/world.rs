//! The demo's world as a client sees it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use callscope::sim::{Homeserver, World, WorldSettings};
use serde_json::{Value, json};

use super::bot::{MEMBER, ids, text};

const NOW: i64 = 1_790_000_000_000;

async fn get(hs: &Homeserver, world: &World, path: &str) -> Value {
    let url = format!("{}/_matrix/client/v3{path}", hs.url());
    let client = reqwest::Client::builder().timeout(Duration::from_mins(1));
    let request = client
        .build()
        .unwrap()
        .get(url)
        .bearer_auth(&world.bot_token);

    request.send().await.unwrap().json().await.unwrap()
}

async fn built() -> (Homeserver, World) {
    let hs = Homeserver::start(0).await.unwrap();
    hs.set_clock(|| NOW);
    let world = World::build(&hs, NOW, &WorldSettings::for_tests(1));
    (hs, world)
}

fn room<'a>(world: &'a World, key: &str) -> &'a str {
    let found = world.rooms.iter().find(|(name, _)| *name == key);
    &found.unwrap().1
}

async fn history(hs: &Homeserver, world: &World, key: &str) -> Vec<Value> {
    let (mut events, mut from) = (Vec::new(), String::new());
    loop {
        let path = format!("/rooms/{}/messages?dir=b&limit=500{from}", room(world, key));
        let page = get(hs, world, &path).await;
        events.extend(page["chunk"].as_array().unwrap().iter().cloned());
        let Some(end) = page["end"].as_str() else {
            return events;
        };

        from = format!("&from={end}");
    }
}

#[tokio::test]
async fn the_same_time_and_seed_build_the_same_world() {
    let (one, other) = (built().await, built().await);
    for key in ["community", "film", "lab", "townhall"] {
        let history_of_one = history(&one.0, &one.1, key).await;
        assert!(history_of_one.len() > 50, "{key}");
        assert_eq!(history_of_one, history(&other.0, &other.1, key).await);
    }
}

#[tokio::test]
async fn the_bot_is_in_all_rooms_but_one_and_may_read_that_too() {
    let (hs, world) = built().await;
    let rooms = get(&hs, &world, "/joined_rooms").await;
    let joined = rooms["joined_rooms"].as_array().unwrap();
    assert_eq!(joined.len() + 1, world.rooms.len());
    assert!(!joined.contains(&json!(world.outside_room)));
    let state = get(&hs, &world, &format!("/rooms/{}/state", world.outside_room)).await;
    assert!(state.as_array().unwrap().len() > 20);
    assert!(
        history(&hs, &world, "dm")
            .await
            .iter()
            .any(|event| event["type"] == MEMBER)
    );
}

#[tokio::test]
async fn history_carries_its_own_times_over_five_weeks_and_every_format() {
    let (hs, world) = built().await;
    let community = history(&hs, &world, "community").await;
    let times = community.iter().filter(|event| event["type"] == MEMBER);
    let times: Vec<i64> = times
        .map(|event| event["origin_server_ts"].as_i64().unwrap())
        .collect();
    let day = 86_400_000;
    assert!(times.iter().max().unwrap() - times.iter().min().unwrap() > 20 * day);
    let mut formats = BTreeSet::new();
    for (key, _) in &world.rooms {
        for event in history(&hs, &world, key).await {
            let marks = [
                "memberships",
                "m.calls",
                "session",
                "rtc_transports",
                "transports",
                "foci_preferred",
            ];
            let present = marks
                .iter()
                .filter(|mark| event["content"].get(**mark).is_some());
            formats.extend(present.copied());
            let cipher =
                event["type"] == "m.room.encrypted" && event.get("msc4354_sticky").is_some();
            formats.extend(cipher.then_some("cipher"));
        }
    }

    assert_eq!(formats.len(), 7, "{formats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn playing_makes_calls_appear_and_end() {
    let (hs, world) = built().await;
    let first = get(&hs, &world, "/sync").await;
    let asked = AtomicI64::new(0);
    // Ten minutes have gone by when the clock is asked again: all of them is played at once.
    let clock = move || NOW + 600_000 * asked.fetch_add(1, Ordering::Relaxed).min(1);
    let playing = tokio::spawn(world.clone().play(hs.clone(), clock));
    let mut seen = Vec::new();
    let mut since = text(&first, "/next_batch").to_owned();
    let path = format!("/rooms/{}/timeline/events", room(&world, "backend"));
    while seen.len() < 2 {
        let sync = get(&hs, &world, &format!("/sync?timeout=600000&since={since}")).await;
        let events = sync["rooms"]["join"]
            .pointer(&path.replace("/rooms", ""))
            .cloned();
        seen.extend(
            ids(&events.unwrap_or(json!([])))
                .into_iter()
                .map(str::to_owned),
        );
        text(&sync, "/next_batch").clone_into(&mut since);
    }

    playing.abort();
}

#[tokio::test]
async fn nobody_sees_a_world_that_is_only_half_there() {
    let hs = Homeserver::start(0).await.unwrap();
    let mut world = World::found(&hs, &WorldSettings::for_tests(1));
    hs.hold_requests(true);
    let asked = tokio::spawn({
        let (hs, world) = (hs.clone(), world.clone());
        async move { get(&hs, &world, "/joined_rooms").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked.is_finished(), "the request waits");
    assert_eq!(hs.count("/joined_rooms"), 1);

    world.fill(&hs, NOW);
    hs.hold_requests(false);
    let rooms = asked.await.unwrap();
    let joined = rooms["joined_rooms"].as_array().unwrap();
    assert_eq!(joined.len() + 1, world.rooms.len());
}
