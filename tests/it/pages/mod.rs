//! The pages over real HTTP from a filled store: HTML and JSON say the same, errors have one shape,
//! nothing is unescaped.

mod addresses;
mod admin_rooms;
mod api_keys;
mod attendance;
mod below_path;
mod book;
mod browser;
mod call_page;
mod codes;
mod contract;
mod crowds;
mod examples;
mod feeds;
mod findings;
pub mod goldens;
mod health;
mod leak_paths;
mod leaks;
mod leaks_in_time;
mod lists;
mod numbers;
mod openid;
mod others;
mod person;
mod pictures;
mod places;
mod problems;
mod proxy;
mod room_titles;
mod seen;
mod server_check;
mod shared;
mod sign_in;
pub mod site;
mod sums;
mod times;
mod unknown;
mod weight;
mod widget;
mod words;

use callscope::changes::Change;
use serde_json::{Value, json};
use site::{EVIL, MINUTE, NOW, ROOM, Site, quote, text};

#[tokio::test]
async fn both_ways_give_the_same_facts() {
    let site = Site::filled("same").await;
    let overview = site.json("/api/v1/overview").await;
    let html = site.html("/").await;
    assert_eq!(
        (
            &overview["people"],
            overview["active"].as_array().unwrap().len()
        ),
        (&json!(1), 1)
    );
    assert!(html.contains("1 call now, 1 person") && html.contains("Alice Moreau"));
    assert!(html.contains(&format!(
        "href=\"/calls/{}\"",
        text(&overview["active"][0]["id"])
    )));
    assert!(html.contains(&format!(
        "data-since=\"{}\"",
        overview["active"][0]["started_ms"]
    )));

    let list = site.json("/api/v1/calls").await;
    let html = site.html("/calls").await;
    let calls = list["data"].as_array().unwrap();
    assert_eq!(
        (calls.len(), &list["next"], &list["next_url"]),
        (2, &Value::Null, &Value::Null)
    );
    for call in calls {
        assert!(html.contains(&format!("href=\"/calls/{}\"", text(&call["id"]))));
        assert!(html.contains(&format!("data-start=\"{}\"", call["started_ms"])));
        let path = format!("/calls/{}", text(&call["id"]));
        let (page, json) = (
            site.html(&path).await,
            site.json(&format!("/api/v1{path}")).await,
        );
        for key in call.as_object().unwrap().keys() {
            assert_eq!(json[key], call[key], "{key}");
        }

        for member in json["members"].as_array().unwrap() {
            assert!(
                page.contains(text(&member["device_id"]))
                    && page.contains("https://sfu.example/jwt")
            );
        }

        assert!(
            page.contains(&format!("{} event", json["evidence_total"])),
            "{page}"
        );
    }

    assert_eq!(
        site.json("/api/v1/calls/active").await["data"],
        json!([calls[0]])
    );

    let rooms = site.json("/api/v1/rooms").await;
    let path = format!("/rooms/{}", quote(ROOM));
    let (room, page) = (
        site.json(&format!("/api/v1{path}")).await,
        site.html(&path).await,
    );
    assert_eq!(rooms["data"][0]["room_id"], ROOM);
    assert_eq!(
        (
            &room["calls"],
            room["year"].as_array().unwrap().len(),
            &room["rejected"]
        ),
        (&json!(2), 2, &json!(1))
    );
    assert!(page.contains("2 ever") && page.contains("$bad") && page.contains("A call is running"));
    assert!(site.html("/rooms").await.contains("1 room watched"));

    let status = site.json("/api/v1/status").await;
    let page = site.html("/status").await;
    assert_eq!(
        (&status["totals"]["calls"], &status["ready"]),
        (&json!(2), &json!(true))
    );
    assert!(page.contains("@bot:example.org") && page.contains("All is well"));
    assert!(page.contains("<a href=\"/rejected\">1 event could not be used</a>"));
    assert_eq!(
        status["rejected_events"][0]["event"]["content"]["application"],
        EVIL
    );
    assert!(site.html("/about").await.contains("/api/v1/calls/active"));
}

#[tokio::test]
async fn a_call_in_json_is_what_was_promised() {
    let site = Site::filled("call").await;
    let calls = site.json("/api/v1/calls").await;
    let (now, past) = (&calls["data"][0], &calls["data"][1]);
    assert_eq!(
        now["room"],
        json!({
            "room_id": ROOM,
            "name": format!("War {EVIL}"),
            "alias": "#war:example.org",
            "title": format!("War {}", EVIL.trim_end_matches('\u{202e}')),
        })
    );
    assert_eq!(
        (&now["active"], &now["ended_ms"], &now["duration_ms"]),
        (&json!(true), &Value::Null, &json!(10 * MINUTE))
    );
    assert_eq!(
        (&now["slot_id"], &now["application"]),
        (&json!("m.call#ROOM"), &json!("m.call"))
    );
    assert_eq!(
        (&past["started_ms"], &past["ended_ms"]),
        (&json!(NOW - 300 * MINUTE), &json!(NOW - 240 * MINUTE))
    );
    assert_eq!(
        (&past["started_at"], &past["ended_at"]),
        (
            &json!("2026-11-22T09:47:16.000Z"),
            &json!("2026-11-22T10:47:16.000Z")
        )
    );
    assert_eq!(
        (
            &past["people"],
            &past["devices"],
            &past["peak"],
            &past["peak_users"]
        ),
        (&json!(2), &json!(2), &json!(2), &json!(2))
    );
    assert_eq!(past["servers"], json!(["example.org", "other.example"]));
    let bob = &past["members"][1];
    assert_eq!(
        (&bob["user_id"], &bob["device_id"], &bob["server"]),
        (
            &json!("@bob:other.example"),
            &json!("BB"),
            &json!("other.example")
        )
    );
    assert_eq!(
        (&bob["joined_ms"], &bob["left_ms"], &bob["end_reason"]),
        (
            &json!(NOW - 290 * MINUTE),
            &json!(NOW - 250 * MINUTE),
            &json!("left")
        )
    );
    assert_eq!(
        bob["transport"],
        json!({ "type": "livekit", "service_url": "https://sfu.example/jwt", "url": null,
            "sfu": "sfu.example" })
    );
    let alice = &now["members"][0];
    assert_eq!(
        (&alice["left_ms"], &alice["end_reason"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn the_id_of_any_member_event_leads_to_its_call() {
    let site = Site::filled("event").await;
    let past = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    for event in ["$join/a", "$join_b", "$leave_b"] {
        for prefix in ["", "/api/v1"] {
            for id in [event.to_owned(), quote(event)] {
                let answer = site.get(&format!("{prefix}/calls/{id}")).await;
                assert_eq!(
                    (answer.status, answer.place),
                    (303, format!("{prefix}/calls/{}", text(&past))),
                    "{event}"
                );
            }
        }
    }

    let answer = site
        .get(&format!("/api/v1/rooms/{}", quote("#war:example.org")))
        .await;
    assert_eq!(
        (answer.status, answer.place.as_str()),
        (303, "/api/v1/rooms/!room%2Fwith%2Bodd:example.org")
    );
    assert_eq!(site.json(&answer.place).await["room_id"], ROOM);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let site = Site::filled("pages").await;
    let all = site.json("/api/v1/calls").await["data"].clone();
    let first = site.json("/api/v1/calls?limit=1").await;
    assert_eq!(first["data"], json!([all[0]]));
    let next_url = text(&first["next_url"])
        .strip_prefix("https://calls.example")
        .unwrap()
        .to_owned();
    let second = site.json(&next_url).await;
    assert_eq!(
        (&second["data"], &second["next"]),
        (&json!([all[1]]), &Value::Null)
    );
    let alias = quote("#war:example.org");
    let (day, minutes) = (NOW - 600 * MINUTE, NOW - 200 * MINUTE);

    for (filter, want) in [
        (format!("room={alias}"), json!([all[0], all[1]])),
        (format!("room={}", quote(ROOM)), json!([all[0], all[1]])),
        ("room=%21nowhere:x".to_owned(), json!([])),
        ("status=active".to_owned(), json!([all[0]])),
        ("status=ended".to_owned(), json!([all[1]])),
        (format!("from={minutes}"), json!([all[0]])),
        (format!("from={day}&to={minutes}"), json!([all[1]])),
        ("to=2026-11-21".to_owned(), json!([])),
        (
            "from=2026-11-22&to=2026-11-22".to_owned(),
            json!([all[0], all[1]]),
        ),
        ("to=2026-11-22T12:00:00Z".to_owned(), json!([all[1]])),
    ] {
        assert_eq!(
            site.json(&format!("/api/v1/calls?{filter}")).await["data"],
            want,
            "{filter}"
        );
        let page = site.html(&format!("/calls?{filter}")).await;
        assert_eq!(
            page.matches("data-start=").count(),
            want.as_array().unwrap().len(),
            "{filter}"
        );
    }
}

#[tokio::test]
async fn calls_are_searched_by_all_that_is_known_of_them() {
    let site = Site::filled("search").await;
    let all = site.json("/api/v1/calls").await["data"].clone();
    let alias = quote("#war:example.org");

    for (filter, want) in [
        ("server=Other.Example".to_owned(), json!([all[1]])),
        ("server=example".to_owned(), json!([])),
        ("user=%40bob%3Aother.example".to_owned(), json!([all[1]])),
        (
            "user=%40alice%3Aexample.org&status=active".to_owned(),
            json!([all[0]]),
        ),
        ("application=m.call".to_owned(), json!([all[0], all[1]])),
        ("application=x".to_owned(), json!([])),
        ("kind=solo".to_owned(), json!([all[0]])),
        ("kind=group".to_owned(), json!([all[1]])),
        ("min_minutes=10".to_owned(), json!([all[0], all[1]])),
        ("min_minutes=11".to_owned(), json!([all[1]])),
        ("min_people=2".to_owned(), json!([all[1]])),
        (
            format!("min_people=1&room={alias}&status=ended"),
            json!([all[1]]),
        ),
        ("q=WAR".to_owned(), json!([all[0], all[1]])),
        ("q=alice+mor".to_owned(), json!([all[0], all[1]])),
        ("q=other.ex".to_owned(), json!([all[1]])),
        ("q=%24leave_b".to_owned(), json!([all[1]])),
        ("q=%24nothing".to_owned(), json!([])),
        ("q=%25".to_owned(), json!([])),
    ] {
        assert_eq!(
            site.json(&format!("/api/v1/calls?{filter}")).await["data"],
            want,
            "{filter}"
        );
        let page = site.get(&format!("/calls?{filter}")).await.text;
        assert_eq!(
            page.matches("data-start=").count(),
            want.as_array().unwrap().len(),
            "{filter}"
        );
        assert!(
            page.contains(&format!(
                "{} match your filter",
                want.as_array().unwrap().len()
            )),
            "{filter}"
        );
    }
}

/// Requests that get an error: path, status, errcode.
const ERRORS: [(&str, u16, &str); 18] = [
    ("/calls?limit=no", 400, "M_INVALID_PARAM"),
    ("/calls?limit=0", 400, "M_INVALID_PARAM"),
    ("/calls?cursor=zz", 400, "M_INVALID_PARAM"),
    ("/calls?from=soon", 400, "M_INVALID_PARAM"),
    ("/calls?kind=x", 400, "M_INVALID_PARAM"),
    ("/calls?sort=colour", 400, "M_INVALID_PARAM"),
    ("/rooms?sort=colour", 400, "M_INVALID_PARAM"),
    ("/servers?limit=501", 400, "M_INVALID_PARAM"),
    ("/transports?cursor=00", 400, "M_INVALID_PARAM"),
    ("/calls?min_people=-1", 400, "M_INVALID_PARAM"),
    ("/calls?kind=%3Cscript%3E", 400, "M_INVALID_PARAM"),
    ("/calls?q=%00", 400, "M_INVALID_PARAM"),
    ("/rejected?room=%21a%0A:b", 400, "M_INVALID_PARAM"),
    ("/rooms/%21a%00:b", 404, "M_NOT_FOUND"),
    ("/servers/a%1Fb", 404, "M_NOT_FOUND"),
    ("/calls/nothing", 404, "M_NOT_FOUND"),
    ("/rooms/%21nothing:x", 404, "M_NOT_FOUND"),
    ("/nowhere", 404, "M_UNRECOGNIZED"),
];

#[tokio::test]
async fn errors_have_one_shape_and_the_routes_way() {
    let site = Site::filled("errors").await;
    for (path, status, errcode) in ERRORS {
        let json = site.get(&format!("/api/v1{path}")).await;
        let body = json.json();
        assert_eq!(
            (json.status, &body["errcode"], &body["status"]),
            (status, &json!(errcode), &json!(status)),
            "{path}"
        );
        assert_eq!(body.as_object().unwrap().len(), 3);
        let html = site.get(path).await;
        assert_eq!(
            (html.status, html.kind.as_str()),
            (status, "text/html; charset=utf-8"),
            "{path}"
        );
        assert!(
            html.text.contains("<h1") && !html.text.contains("<script>"),
            "{path}"
        );
    }

    for path in ["/calls?rom=1", "/?utm=1&utm=2", "/status?x=%3Cscript%3E"] {
        let html = site.html(path).await;
        assert!(!html.contains("<script>"), "a page ignores it: {path}");
    }

    let unknown = site.get("/api/v1/calls?rom=1").await.json();
    assert_eq!(
        unknown["error"],
        "unknown parameter \"rom\"; known here: q, room, space, server, user, application, status, kind, from, to, min_minutes, \
         min_people, finding, certainty, intent, sort, cursor, limit, fields, members"
    );
}

#[tokio::test]
async fn each_address_says_which_methods_it_answers() {
    let site = Site::filled("methods").await;
    let answer = site
        .client
        .post(format!("{}/api/v1/calls", site.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["allow"].to_str().unwrap()
        ),
        (405, "GET, HEAD")
    );
    assert_eq!(
        answer.json::<Value>().await.unwrap()["errcode"],
        "M_UNRECOGNIZED"
    );
    let answer = site
        .client
        .head(format!("{}/calls", site.base))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer = site
        .client
        .head(format!("{}/api/v1/live", site.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["allow"].to_str().unwrap()
        ),
        (405, "GET")
    );

    for query in ["", "?period=7d"] {
        let (short, long) = (format!("/stats{query}"), format!("/statistics{query}"));
        let answer = site
            .client
            .get(format!("{}{short}", site.base))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["location"].to_str().unwrap()
            ),
            (308, long.as_str())
        );
        assert_eq!(site.get(&long).await.status, 200);
    }
}

#[tokio::test]
async fn what_strangers_wrote_is_text() {
    let site = Site::filled("hostile").await;
    let past = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    let call = format!("/calls/{}", text(&past));

    for path in [
        "/",
        "/calls",
        call.as_str(),
        "/rooms",
        &format!("/rooms/{}", quote(ROOM)),
        "/status",
    ] {
        let page = site.get(path).await.text;
        assert!(
            !page.contains("<script>") && !page.contains('\u{202e}'),
            "{path}"
        );
        assert!(
            !page.contains(" style=") && !page.contains("http://") && page.len() < 60_000,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_empty_store_is_explained() {
    let site = Site::empty("empty").await;
    assert_eq!(site.get("/healthz").await.status, 200);
    let ready = site.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json()["errcode"]),
        (503, &json!("M_NOT_READY"))
    );
    assert!(site.html("/").await.contains("Not logged in yet"));
    assert!(
        site.html("/calls")
            .await
            .contains("Nothing has been read yet")
    );
    assert!(
        site.html("/rooms")
            .await
            .contains("Nothing has been read yet")
    );
    assert!(site.html("/status").await.contains("Starting"));
    let calls = site.json("/api/v1/calls").await;
    assert_eq!(
        (&calls["data"], &calls["next"], &calls["next_url"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    assert_eq!(
        calls["unknown_why"], "not_read",
        "an empty list says nothing where nothing was read"
    );
    let filled = Site::filled("ready").await;
    assert_eq!(filled.json("/readyz").await, json!({ "ready": true }));
}

#[tokio::test]
async fn changes_are_told_at_once_and_files_are_kept() {
    let site = Site::filled("live").await;
    let request = site
        .client
        .get(format!("{}/api/v1/live", site.base))
        .header("accept-encoding", "gzip, br");
    let mut live = request.send().await.unwrap();
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    assert!(live.chunk().await.unwrap().unwrap().starts_with(b"retry:"));
    site.changes.announce(Change::Slot {
        room_id: ROOM.into(),
        slot_id: "m.call#ROOM".into(),
    });
    let told = live.chunk().await.unwrap().unwrap();
    let data = json!({ "room_id": ROOM, "slot_id": "m.call#ROOM" });
    assert_eq!(
        std::str::from_utf8(&told).unwrap(),
        format!("event: change\ndata: {data}\n\n")
    );

    let page = site.get("/").await.text;
    for name in [
        "style.css",
        "theme.js",
        "time.js",
        "detail.js",
        "live.js",
        "favicon.svg",
    ] {
        let start = page.find(&format!("/static/{name}?v=")).unwrap();
        let path = page[start..].split('"').next().unwrap();
        let answer = site
            .client
            .get(format!("{}{path}", site.base))
            .send()
            .await
            .unwrap();
        assert!(
            answer.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable"),
            "{name}"
        );
    }

    for name in ["nothing.css", "%2Fproc%2Fself%2Fexe", "..%2FCargo.toml"] {
        let answer = site.get(&format!("/static/{name}")).await;
        assert_eq!(answer.status, 404, "{name}");
    }
}
