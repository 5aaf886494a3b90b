//! The statistics pages: statistics, servers, SFUs, and the wall, as HTML and JSON.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, text};
use callscope::rtc::words::Mode;
use callscope::store::ingest::vantages;
use serde_json::{Value, json};

/// Every statistics page over the filled store.
const PAGES: [&str; 7] = [
    "/statistics",
    "/statistics?period=365d",
    "/servers",
    "/servers/example.org",
    "/servers/other.example?period=7d",
    "/transports",
    "/wall",
];

#[tokio::test]
async fn a_period_is_summed_and_compared() {
    let site = Site::filled("statistics").await;
    site.watched_since(NOW - 900 * MINUTE).await;
    for period in ["7d", "30d", "90d", "365d"] {
        let page = site
            .json(&format!("/api/v1/statistics?period={period}"))
            .await;
        let this = &page["this"];
        let together = (60 + 40 + 10) * MINUTE;
        assert_eq!(
            (&page["period"], &this["calls"], &this["calls_exact"]),
            (&json!(period), &json!(2), &json!(2))
        );
        assert_eq!(
            (&this["people"], &this["together_ms"]),
            (&json!(2), &json!(together)),
            "{period}"
        );
        assert_eq!(this["together_seen_ms"], this["together_ms"]);
        let sum = |list: &Value, key: &str| -> i64 {
            list.as_array()
                .unwrap()
                .iter()
                .map(|one| one[key].as_i64().unwrap())
                .sum()
        };

        let days = &page["days"];
        assert_eq!(
            (sum(days, "calls"), sum(days, "calls_before")),
            (2, 0),
            "{period}"
        );
        assert_eq!(
            (sum(&page["lengths"], "calls"), sum(&page["sizes"], "calls")),
            (2, 2)
        );
        assert_eq!(
            (&page["lengths"][5], &page["sizes"][1]["calls"]),
            (
                &json!({ "from": 60 * MINUTE, "below": 120 * MINUTE, "calls": 1 }),
                &json!(1)
            )
        );
        let hours: Vec<i64> = page["hours"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ms| ms.as_i64().unwrap())
            .collect();
        assert_eq!((hours.len(), hours.iter().sum::<i64>()), (168, together));
        // Sunday, from 14:37 on.
        assert_eq!(hours[6 * 24 + 14], 10 * MINUTE);
        assert_eq!(
            (
                &page["rooms"][0]["room_id"],
                sum(&page["servers"], "together_ms")
            ),
            (&json!(ROOM), together)
        );
        assert_eq!(
            page["usual_length_ms"],
            60 * MINUTE,
            "half of two calls are shorter than the longer one"
        );
    }

    let days = site.json("/api/v1/statistics?period=30d").await["days"].clone();
    assert_eq!(
        (days.as_array().unwrap().len(), &days[29]["calls"]),
        (30, &json!(2))
    );
    let html = site.html("/statistics").await;
    assert!(
        html.contains("Last 30 days")
            && html.contains("1 h 50")
            && html.contains("Hours are in UTC"),
        "{html}"
    );
    let row = "<th scope=\"row\">14:00</th><td></td><td></td><td></td><td></td><td></td><td></td><td>10 min</td></tr>";
    assert!(
        html.contains(row) && html.contains("Sun 14:00: 10 min"),
        "{html}"
    );
    assert!(html.contains("30 to 60: 0 calls") && html.contains("1 to 2 h: 1 call"));
    let error = site.get("/api/v1/statistics?period=8d").await;
    assert!(error.status == 400 && text(&error.json()["error"]).contains("7d, 30d, 90d, 365d"));
    assert_eq!(site.get("/api/v1/servers?perod=7d").await.status, 400);
}

#[tokio::test]
async fn a_server_says_whether_it_may_be_restarted() {
    let site = Site::filled("servers").await;
    site.watched_since(NOW - 900 * MINUTE).await;
    let list = site.json("/api/v1/servers").await["data"].clone();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|server| text(&server["server"]))
        .collect();
    assert_eq!(names, ["example.org", "other.example"], "most time first");
    assert_eq!(
        (
            &list[0]["together_ms"],
            &list[0]["people"],
            &list[0]["calls"]
        ),
        (&json!(70 * MINUTE), &json!(1), &json!(2))
    );
    assert_eq!(
        (&list[0]["people_now"], &list[1]["people_now"]),
        (&json!(1), &json!(0))
    );

    let own = site.json("/api/v1/servers/example.org").await;
    assert_eq!(
        (
            &own["now"]["people"],
            own["now"]["calls"].as_array().unwrap().len()
        ),
        (&json!(1), 1)
    );
    assert_eq!(
        (&own["this"]["calls"], &own["this"]["together_ms"]),
        (&json!(2), &json!(70 * MINUTE))
    );
    assert_eq!(own["ends"], json!([{ "reason": "left", "stays": 1 }]));
    assert_eq!(
        (&own["rate"], &own["expired"], &own["ended"]),
        (&Value::Null, &json!(0), &json!(1))
    );
    assert!(
        site.html("/servers/example.org")
            .await
            .contains("Better wait")
    );
    let other = site.json("/api/v1/servers/other.example").await;
    assert_eq!(
        (&other["now"]["people"], &other["people"][0]["user_id"]),
        (&json!(0), &json!("@bob:other.example"))
    );
    assert!(
        site.html("/servers/other.example")
            .await
            .contains("Nobody of this server is in a call")
    );
    assert_eq!(site.get("/api/v1/servers/nobody.example").await.status, 404);

    vantages::set_standing(&site.store, "v", Some(("gone", NOW)), Some(NOW))
        .await
        .unwrap();
    assert!(
        site.html("/servers/other.example")
            .await
            .contains("We cannot tell")
    );
}

#[tokio::test]
async fn a_server_is_the_same_on_every_page_and_who_is_in_a_call_is_never_kept() {
    let site = Site::filled("same-servers").await;
    site.watched_since(NOW - 900 * MINUTE).await;
    let top = site.json("/api/v1/statistics").await["servers"].clone();
    let mut list = site.json("/api/v1/servers").await["data"]
        .as_array()
        .unwrap()
        .clone();
    list.sort_by_key(|server| std::cmp::Reverse(server["together_ms"].as_i64()));
    assert_eq!(top, Value::Array(list));
    assert_eq!(
        (&top[0]["people_now"], &top[0]["calls_now"]),
        (&json!(1), &json!(1))
    );
    assert!(top[0]["clock"].is_object(), "{top}");
    let key = "_@alice:example.org_AA_m.call";
    site.write(vec![event(
        "$gone",
        CALL,
        "@alice:example.org",
        key,
        0,
        json!({}),
    )])
    .await;
    let top = site.json("/api/v1/statistics").await["servers"].clone();
    assert_eq!(
        (&top[0]["people_now"], &top[0]["calls_now"]),
        (&json!(0), &json!(0)),
        "{top}"
    );
}

#[tokio::test]
async fn an_sfu_is_counted_with_whom_it_served() {
    let site = Site::filled("transports").await;
    let page = site.json("/api/v1/transports").await;
    let sfu = &page["data"][0];
    assert_eq!(
        (&sfu["service_url"], &sfu["known_type"]),
        (&json!("https://sfu.example/jwt"), &json!(true))
    );
    assert_eq!(
        (&sfu["calls"], &sfu["people"], &sfu["devices"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(
        (&sfu["together_ms"], &sfu["devices_now"]),
        (&json!(110 * MINUTE), &json!(1))
    );
    assert_eq!(
        (&sfu["servers"], &page["unknown_ms"]),
        (&json!(["example.org", "other.example"]), &json!(0))
    );
    let html = site.html("/transports").await;
    assert!(
        html.contains(", 1 in use now")
            && html.contains("1 h 50")
            && html.contains("other.example")
    );
}

/// One device in calls of two rooms, another that has gone from the second.
#[tokio::test]
async fn a_device_in_two_calls_is_one_device_and_who_left_is_not_here() {
    let site = Site::filled("twice").await;
    let join = |device: &str| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": device,
            "expires": 14_400_000,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": "https://sfu.example/jwt" }] })
    };

    let (alice, bob) = ("@alice:example.org", "@bob:other.example");
    let hall = "!hall:example.org";
    let events = vec![
        event(
            "$hall_b",
            CALL,
            bob,
            "_@bob:other.example_BB_m.call",
            8,
            join("BB"),
        ),
        event(
            "$hall_a",
            CALL,
            alice,
            "_@alice:example.org_AA_m.call",
            6,
            join("AA"),
        ),
        event(
            "$hall_gone",
            CALL,
            bob,
            "_@bob:other.example_BB_m.call",
            3,
            json!({}),
        ),
    ];
    site.write_to(hall, events).await;
    let overview = site.json("/api/v1/overview").await;
    let steps = overview["concurrency"].as_array().unwrap();
    assert_eq!(
        (&overview["devices"], &steps.last().unwrap()[1]),
        (&json!(1), &json!(1))
    );
    assert_eq!(overview["today"]["peak"], 2, "Alice's one device and Bob's");
    assert_eq!(
        site.json("/api/v1/servers/example.org").await["now"]["devices"],
        1
    );
    assert_eq!(
        site.json("/api/v1/transports").await["data"][0]["devices_now"],
        1
    );

    let active = site.json("/api/v1/calls/active").await;
    let here = active["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["room"]["room_id"] == hall)
        .unwrap();
    assert_eq!(
        (&here["people"], &here["people_now"], &here["devices_now"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let past = site.json("/api/v1/calls?status=ended").await["data"][0].clone();
    assert_eq!(
        (&past["people"], &past["people_now"], &past["devices_now"]),
        (&json!(2), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_period_is_cut_into_days_weeks_or_months() {
    let site = Site::filled("steps").await;
    let ask = async |query: &str| site.json(&format!("/api/v1/statistics?{query}")).await;
    for (query, step, count) in [
        ("period=7d", "day", 7),
        ("period=30d&step=week", "week", 5),
        ("period=90d", "day", 90),
        ("period=90d&step=month", "month", 4),
        ("period=365d", "week", 53),
        ("period=365d&step=month", "month", 13),
    ] {
        let page = ask(query).await;
        let steps = page["days"].as_array().unwrap();
        assert_eq!(
            (&page["step"], steps.len()),
            (&json!(step), count),
            "{query}"
        );
        let last = steps.last().unwrap();
        assert_eq!(
            (&last["calls"], &last["calls_alone"], &last["people"]),
            (&json!(2), &json!(1), &json!(2)),
            "{query}"
        );
        assert_eq!(last["together_ms"], page["this"]["together_ms"], "{query}");
        assert!(
            steps
                .iter()
                .rev()
                .skip(1)
                .all(|step| step["people"] == 0 && step["together_ms"] == 0),
            "{query}"
        );
    }

    let months = ask("period=90d&step=month").await["days"].clone();
    assert_eq!(
        (&months[0]["from_at"], &months[3]["from_at"]),
        (
            &json!("2026-08-25T00:00:00.000Z"),
            &json!("2026-11-01T00:00:00.000Z")
        )
    );
    let html = site.html("/statistics?period=365d&step=month").await;
    assert!(
        html.contains("Calls a month")
            && html.contains("November 2026")
            && html.contains("step=week"),
        "{html}"
    );
    let error = site.get("/api/v1/statistics?step=hour").await;
    assert!(error.status == 400 && text(&error.json()["error"]).contains("day, week, month"));
}

#[tokio::test]
async fn pages_of_numbers_are_small_and_escaped_and_lead_to_each_other() {
    let site = Site::filled("numbers").await;
    for path in PAGES {
        let (page, json) = (
            site.get(path).await.text,
            site.json(&format!("/api/v1{path}")).await,
        );
        assert!(
            !page.contains("<script>") && !page.contains('\u{202e}') && !page.contains(" style="),
            "{path}"
        );
        assert!(
            page.len() < 60_000 && !page.contains("http://"),
            "{path}: {}",
            page.len()
        );
        assert!(json.is_object(), "{path}");
    }

    let wall = site.json("/api/v1/wall").await;
    let html = site.html("/wall").await;
    assert_eq!(
        (&wall["people"], &wall["today"]["calls"]),
        (&json!(1), &json!(2))
    );
    assert!(
        html.contains("1 call <span>with 1 person") && html.contains("Today 2 calls, 2 people"),
        "{html}"
    );
    assert!(
        !html.contains("<a ") && !html.contains("<button"),
        "there is nothing to press on a wall"
    );
    let page = site.get("/statistics").await.text;
    for href in [
        "/",
        "/calls",
        "/rooms",
        "/servers",
        "/transports",
        "/statistics",
        "/status",
        "/about",
        "/docs",
        "/wall",
    ] {
        assert!(page.contains(&format!("href=\"{href}\"")), "{href}");
    }

    assert!(
        page.contains("href=\"/servers/example.org\"")
            && page.contains("aria-current=\"page\">Stats")
    );
}

#[tokio::test]
async fn what_is_empty_says_what_was_looked_at() {
    // If nothing was read, an empty result means nothing.
    let site = Site::empty("unread").await;
    for path in [
        "/statistics",
        "/servers",
        "/transports",
        "/calls",
        "/rooms",
        "/wall",
    ] {
        let page = site.html(path).await;
        assert!(page.contains("Nothing has been read yet"), "{path}: {page}");
        for claim in [
            "o call was found",
            "No call",
            "Nobody",
            "o server was seen",
            "o transport was named",
            "No room",
        ] {
            assert!(!page.contains(claim), "{path} says {claim:?}: {page}");
        }

        let answer = site.json(&format!("/api/v1{path}")).await;
        assert_eq!(answer["unknown_why"], "not_read", "{path}");
    }

    let frame = site.get("/embed/rooms/!any:example.org").await;
    assert!(
        frame.status == 404 && frame.text.contains("has not read its homeserver yet"),
        "{}",
        frame.text
    );

    let site = Site::empty("nothing").await;
    let start = vantages::VantageStart {
        id: "v",
        user_id: "@bot:example.org",
        homeserver: "https://example.org",
        device_id: None,
        mode: Mode::Follow,
        software: None,
        delayed_events: true,
        sticky_events: true,
        now: NOW - 60 * MINUTE,
    };

    vantages::record_start(&site.store, &start).await.unwrap();
    let name = event(
        "$name",
        "m.room.name",
        "@a:h",
        "",
        9,
        json!({ "name": "A" }),
    );
    site.write(vec![name]).await;
    let page = site.html("/statistics").await;
    assert!(
        page.contains("1 room is followed; no call was found in any of them yet."),
        "{page}"
    );
    assert!(
        site.html("/servers")
            .await
            .contains("No server was seen in a call")
    );
    assert!(
        site.html("/transports")
            .await
            .contains("No transport was named")
    );
}

#[tokio::test]
async fn who_uses_an_sfu_now_is_never_kept() {
    let site = Site::filled("used").await;
    let first = site.json("/api/v1/transports").await;
    assert_eq!(
        (
            &first["busy"],
            &first["data"][0]["devices_now"],
            &first["data"][0]["last_ms"]
        ),
        (&json!(1), &json!(1), &json!(NOW))
    );
    let key = "_@alice:example.org_AA_m.call";
    let leave = event("$gone", CALL, "@alice:example.org", key, 0, json!({}));
    site.write(vec![leave]).await;
    let left = site.json("/api/v1/transports").await;
    assert_eq!(
        (&left["busy"], &left["data"][0]["devices_now"]),
        (&json!(0), &json!(0)),
        "{left}"
    );
}

#[tokio::test]
async fn the_page_of_an_sfu_agrees_with_the_list_and_with_the_statistics() {
    let site = Site::filled("sfu").await;
    let list = site.json("/api/v1/transports?period=30d").await;
    let row = &list["data"][0];
    let host = row["service_url"].as_str().unwrap();
    let host = host.split('/').nth(2).unwrap();
    let page = site
        .json(&format!("/api/v1/transports/{host}?period=30d"))
        .await;
    let load = &page["load"];
    for key in ["calls", "people", "together_ms"] {
        assert_eq!(load[key], row[key], "{key}");
    }

    let sum_of = |rows: &Value| -> i64 {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["seen_ms"].as_i64().unwrap()).sum()
    };
    assert_eq!(
        sum_of(&page["servers"]),
        load["together_seen_ms"].as_i64().unwrap()
    );
    let statistics = site.json("/api/v1/statistics?period=30d").await;
    let capacity = &statistics["capacity"];
    let peak = capacity["people_at_once"]["peak"].as_i64().unwrap();
    assert!(peak >= load["peak"].as_i64().unwrap() && peak > 0);
    let steps = capacity["steps"].as_array().unwrap().iter();
    let highest = steps.map(|step| step["peak"].as_i64().unwrap()).max();
    assert_eq!(highest, Some(peak), "the peak is that of a step");
    assert!(capacity["with_ghosts"]["peak"].as_i64().unwrap() >= peak);
    let loads = capacity["sfus"].as_array().unwrap();
    let same = loads.iter().find(|load| load["sfu"] == host).unwrap();
    assert_eq!(same["peak"], load["peak"]);
    let carried: i64 = sum_of(&capacity["carried"]);
    let seen = loads
        .iter()
        .map(|load| load["together_seen_ms"].as_i64().unwrap());
    assert_eq!(carried, seen.sum::<i64>());

    let html = site.html(&format!("/transports/{host}")).await;
    for words in [
        "Most people at once",
        "Who brings the time",
        "Does it answer?",
    ] {
        assert!(html.contains(words), "{words}: {html}");
    }
    let html = site.html("/statistics").await;
    for words in ["How large must my SFU be?", "Who carries whose minutes"] {
        assert!(html.contains(words), "{words}: {html}");
    }
    assert_eq!(site.get("/transports/none.example").await.status, 404);
}
