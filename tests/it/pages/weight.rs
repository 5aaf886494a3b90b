//! No page is too large, however much there is to show: 60,000 bytes, uncompressed.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote, text};
use callscope::store::ingest::rooms;
use serde_json::{Value, json};

const MAX: usize = 60_000;
const HALL: &str = "!hall:example.org";
const DAY: i64 = 24 * 60;

/// A member event of a device: a join, or a leave. `ago` is in seconds.
fn says(id: &str, member: (&str, &str), ago: i64, joins: bool) -> Value {
    let (user, device) = member;
    let sfu = user.split_once(":server").map_or("sfu", |(_, rest)| rest);
    let content = json!({ "application": "m.call", "call_id": "", "scope": "m.room",
        "device_id": device,
        "expires": 14_400_000, "focus_active": { "type": "livekit",
        "focus_selection": "multi_sfu" },
        "foci_preferred": [{ "type": "livekit",
        "livekit_service_url": format!("https://livekit.{sfu}/jwt") }] });
    let key = format!("_{user}_{device}_m.call");
    let mut event = event(
        id,
        CALL,
        user,
        &key,
        0,
        if joins { content } else { json!({}) },
    );
    event["origin_server_ts"] = json!(NOW - ago * 1000);

    event
}

fn person(index: i64) -> String {
    format!("@participant{index}:server{}.example", index % 12)
}

fn named(index: i64) -> Value {
    let user = person(index);
    let name =
        json!({ "membership": "join", "displayname": format!("Participant Number {index}") });

    event(
        &format!("$named{index}"),
        "m.room.member",
        &user,
        &user,
        40 * DAY,
        name,
    )
}

/// A call of `people`, each with `stays` stays, over the last `minutes`.
fn crowd(people: i64, stays: i64, minutes: i64) -> Vec<Value> {
    let mut events: Vec<Value> = (0..people).map(named).collect();
    let span = minutes * 60;
    for index in 0..people {
        for stay in 0..stays {
            let (user, at) = (
                person(index),
                span - span * stay / stays - index * span / stays / people / 2,
            );
            let (id, device) = (
                format!("$crowd{index}_{stay}_{minutes}"),
                format!("DEVICE{index}"),
            );
            events.push(says(&id, (&user, &device), at, true));
            if stay + 1 < stays || index % 5 == 0 {
                events.push(says(
                    &format!("{id}_end"),
                    (&user, &device),
                    at - span / stays / 3,
                    false,
                ));
            }
        }
    }

    events
}

/// Checks the size of a page and returns it; also writes it below the directory in
/// `CALLSCOPE_LOOK`, for viewing.
async fn light(site: &Site, name: &str, path: &str) -> String {
    let page = site.get(path).await;
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    if let Ok(folder) = std::env::var("CALLSCOPE_LOOK") {
        std::fs::write(format!("{folder}/{name}.html"), &page.text).unwrap();
    }

    assert!(
        page.text.len() < MAX,
        "{name}, {path}: {} bytes",
        page.text.len()
    );

    page.text
}

async fn the_call_of(site: &Site, room: &str) -> String {
    let calls = site
        .json(&format!("/api/v1/calls?room={}", quote(room)))
        .await;
    text(&calls["data"][0]["id"]).to_owned()
}

#[tokio::test]
async fn a_call_of_two_hundred_devices_is_light() {
    for (name, stays, minutes) in [("crowd-5-minutes", 1, 5), ("crowd-3-days", 3, 3 * DAY)] {
        let site = Site::filled(name).await;
        site.write_to(HALL, crowd(200, stays, minutes)).await;
        let id = the_call_of(&site, HALL).await;
        let page = light(&site, name, &format!("/calls/{id}")).await;
        assert!(
            page.contains("Participant Number 199"),
            "everybody has a row in the picture"
        );
        assert!(
            ["20", "10", "5"]
                .iter()
                .any(|first| page.contains(&format!("1 to {first} of"))),
            "the first stays, and a way to the others"
        );
        assert!(!page.contains("class=\"area\""), "rows, not an area");
        let members = site.json(&format!("/api/v1/calls/{id}")).await["members"]
            .as_array()
            .unwrap()
            .len();
        assert!(members >= 200, "{members}");
    }
}

#[tokio::test]
async fn stays_and_events_are_all_reached_by_links() {
    let site = Site::filled("reached").await;
    site.write_to(HALL, crowd(150, 1, 60)).await;
    let call = format!("/calls/{}", the_call_of(&site, HALL).await);
    let json = site.json(&format!("/api/v1{call}")).await;
    let total = usize::try_from(json["evidence_total"].as_i64().unwrap()).unwrap();
    for (what, row, all) in [
        ("stays", "<tr><td>", 150),
        ("events", "<details class=\"ev\"", total),
    ] {
        let (mut path, mut seen) = (format!("{call}?{what}_from=0"), 0);
        loop {
            let page = light(&site, what, &path).await;
            seen += page.matches(row).count();
            let next = page
                .split_once("rel=\"next\" href=\"")
                .map(|(_, rest)| rest.split('"').next().unwrap());
            let Some(next) = next else { break };
            next.clone_into(&mut path);
        }

        assert_eq!(seen, all, "{what}");
    }

    let later = site.json(&format!("/api/v1{call}?events_from=7")).await;
    assert_eq!(later["evidence"][0], json["evidence"][7]);
    assert_eq!(later["evidence_total"], json["evidence_total"]);
    for wrong in [
        "?events_from=x",
        "?events_from=1&stays_from=1",
        "?events_from=100001",
    ] {
        assert_eq!(
            site.get(&format!("{call}{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }

    assert!(
        light(&site, "behind", &format!("{call}?stays_from=9999"))
            .await
            .contains("none after them")
    );
}

#[tokio::test]
async fn a_hundred_running_calls_are_light() {
    let site = Site::filled("hundred").await;
    for room in 0..100 {
        let room_id = format!("!room{room}:example.org");
        let name = json!({ "name": format!("Working group number {room}, weekly") });
        let mut events = vec![event(
            &format!("$name{room}"),
            "m.room.name",
            "@a:example.org",
            "",
            900,
            name,
        )];
        events.extend((0..2 + room % 7).map(|index| {
            let (user, device) = (person(room + index), format!("DEVICE{room}_{index}"));
            says(
                &format!("$hundred{room}_{index}"),
                (&user, &device),
                3000 - room * 20 - index * 60,
                true,
            )
        }));
        site.write_to(&room_id, events).await;
    }

    let page = light(&site, "hundred", "/").await;
    assert!(page.contains("101 calls now") && page.contains("Working group number 99"));
    let calls = site.json("/api/v1/calls/active").await;
    for call in calls["data"].as_array().unwrap() {
        assert!(
            page.contains(&format!("href=\"/calls/{}\"", text(&call["id"]))),
            "each call has a link"
        );
    }

    light(&site, "calls", "/calls").await;
    for path in [
        "/calls?limit=500",
        "/calls?limit=%35%31",
        "/calls?%6Cimit=50%30&q=",
        "/rooms?limit=200",
        "/servers?limit=51",
    ] {
        let refused = site.get(path).await;
        assert!(
            refused.status == 400 && refused.text.contains("limit must be"),
            "{path}: {}",
            refused.text
        );
    }

    assert_eq!(
        light(&site, "calls-50", "/calls?limit=50")
            .await
            .matches("data-start=")
            .count(),
        50
    );
    assert_eq!(
        site.json("/api/v1/calls?limit=500").await["data"]
            .as_array()
            .unwrap()
            .len(),
        102
    );
}

#[tokio::test]
async fn a_year_of_calls_is_light() {
    let site = Site::filled("year").await;
    let mut events = vec![named(1), named(2)];
    for day in 0..364 {
        for call in 0..=day % 6 {
            let ago = (day * DAY + 20 + call * 60) * 60;
            let (user, id) = (person(1 + call % 2), format!("$year{day}_{call}"));
            events.push(says(&id, (&user, "D"), ago, true));
            events.push(says(&format!("{id}_end"), (&user, "D"), ago - 600, false));
        }
    }

    site.write_to(HALL, events).await;
    let page = light(&site, "year", &format!("/rooms/{}", quote(HALL))).await;
    assert!(page.contains("364 of 364"), "there was a call on every day");
    light(&site, "statistics", "/statistics?period=365d").await;
}

/// A call in every hour of a hundred days, alternating between two rooms.
#[tokio::test]
async fn statistics_of_busy_months_are_light() {
    let site = Site::filled("busy").await;
    for room in 0..8 {
        let name = json!({ "name": format!("Working group number {room}, weekly meeting and open office hours") });
        let mut events = vec![event(
            &format!("$name{room}"),
            "m.room.name",
            "@a:example.org",
            "",
            101 * DAY,
            name,
        )];
        for hour in (room..100 * 24).step_by(8) {
            let (id, user) = (format!("$busy{hour}"), person(hour / 8));
            events.push(says(&id, (&user, "D"), hour * 3600 + 3300, true));
            events.push(says(
                &format!("{id}_end"),
                (&user, "D"),
                hour * 3600 + 100 + hour % 50 * 60,
                false,
            ));
        }

        site.write_to(&format!("!busy{room}:example.org"), events)
            .await;
    }

    for query in ["period=7d", "period=30d", "period=365d", "period=90d"] {
        let page = light(
            &site,
            &format!("busy-{query}"),
            &format!("/statistics?{query}"),
        )
        .await;
        let table = page
            .split_once("data-hours")
            .unwrap()
            .1
            .split_once("</table>")
            .unwrap()
            .0;
        assert_eq!(
            table.matches("<td>").count(),
            168,
            "the table of hours is whole"
        );
        assert!(
            query == "period=7d" || !table.contains("<td></td>"),
            "there was a call in each of them"
        );
    }

    light(&site, "busy-months", "/statistics?period=365d&step=month").await;
}

#[tokio::test]
async fn long_names_and_bad_events_make_no_page_heavy() {
    let site = Site::filled("long").await;
    let long = "𝕷𝖔𝖓𝖌 ".repeat(60);
    let mut events = Vec::new();
    for index in 0..200 {
        let user = format!("@{}{index}:server{}.example", "long".repeat(30), index % 9);
        let member = json!({ "membership": "join", "displayname": format!("{long}{index}") });
        events.push(event(
            &format!("$m{index}"),
            "m.room.member",
            &user,
            &user,
            900,
            member,
        ));
        events.push(says(
            &format!("$j{index}"),
            (&user, &"D".repeat(200)),
            3000 - index,
            true,
        ));
        let bad = json!({ "application": long, "device_id": index, "more": "x".repeat(3000) });
        events.push(event(
            &format!("$bad{index}"),
            CALL,
            &user,
            &format!("_{user}_BAD_m.call"),
            20,
            bad,
        ));
    }

    events.push(event(
        "$name",
        "m.room.name",
        "@a:example.org",
        "",
        900,
        json!({ "name": long }),
    ));
    site.write_to(HALL, events).await;
    let id = the_call_of(&site, HALL).await;
    for path in [
        "/",
        "/calls",
        "/rooms",
        "/servers",
        "/transports",
        "/statistics",
        "/status",
        "/rejected",
        "/wall",
    ] {
        light(&site, "long", path).await;
    }

    light(&site, "long-call", &format!("/calls/{id}")).await;
    light(
        &site,
        "long-room",
        &format!("/rooms/{}?at={}", quote(HALL), NOW - MINUTE),
    )
    .await;
    light(
        &site,
        "long-embed",
        &format!("/embed/rooms/{}", quote(HALL)),
    )
    .await;
    light(&site, "long-server", "/servers/server1.example").await;
}

#[tokio::test]
async fn many_rooms_with_long_names_make_no_page_heavy() {
    let site = Site::filled("long-rooms").await;
    for room in 0..60 {
        let (room_id, maker) = (
            format!("!{}{room}:example.org", "r".repeat(80)),
            "@a:example.org",
        );
        let name = json!({ "name": format!("{room} {}", "𝕷𝖔𝖓𝖌 & <b> ".repeat(25)) });
        let alias = json!({ "alias": format!("#{}{room}:example.org", "l".repeat(200)) });
        let events = vec![
            event(&format!("$name{room}"), "m.room.name", maker, "", 900, name),
            event(
                &format!("$alias{room}"),
                "m.room.canonical_alias",
                maker,
                "",
                900,
                alias,
            ),
            says(
                &format!("$join{room}"),
                (&person(room), "D"),
                3000 - room,
                true,
            ),
        ];
        site.write_to(&room_id, events).await;
        rooms::record_room_error(
            &site.store,
            &room_id,
            None,
            &"it cannot be read ".repeat(20),
            NOW,
        )
        .await
        .unwrap();
    }

    let paths = [
        "/",
        "/calls",
        "/rooms",
        "/rooms?sort=-name",
        "/rooms?sort=name&limit=50",
        "/status",
        "/wall",
    ];
    for path in paths.into_iter().chain([
        "/servers",
        "/transports",
        "/statistics",
        "/servers/server1.example",
    ]) {
        light(&site, "long-rooms", path).await;
    }

    assert_eq!(
        site.html("/rooms").await.matches("<tr id=").count(),
        50,
        "no room is left out"
    );
}

#[tokio::test]
async fn what_a_pointer_is_told_of_a_stay_the_keyboard_reaches() {
    let site = Site::filled("keyboard").await;
    let (long, often) = ("@long:server.example", "@often:server.example");
    let mut events = vec![says("$long", (long, "L"), 3000, true)];
    for stay in 0..3 {
        events.push(says(
            &format!("$in{stay}"),
            (often, "O"),
            2900 - stay * 700,
            true,
        ));
        events.push(says(
            &format!("$out{stay}"),
            (often, "O"),
            2600 - stay * 700,
            false,
        ));
    }

    site.write_to(HALL, events).await;
    let picture = async |room: &str| {
        let page = light(
            &site,
            "keyboard",
            &format!("/calls/{}", the_call_of(&site, room).await),
        )
        .await;
        page.split_once("class=\"tl\"")
            .unwrap()
            .1
            .split_once("</section>")
            .unwrap()
            .0
            .to_owned()
    };

    let several = picture(HALL).await;
    assert_eq!(
        several
            .matches("y=\"8\" tabindex=\"0\" role=\"img\"><title>")
            .count(),
        3,
        "{several}"
    );
    assert!(
        !several.contains("y=\"8\"><title>"),
        "no bar tells more than it tells the keyboard: {several}"
    );
    let one = picture(ROOM).await;
    assert!(
        one.contains("role=\"img\" tabindex=\"0\"><title>"),
        "a row with one stay is one stop: {one}"
    );
}
