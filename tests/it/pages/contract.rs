//! The contract of the API: every address is in its document, every answer matches the document,
//! and unchanged answers are not sent twice.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Path prefixes for programs; everything else is a page, or a part of one.
const PROGRAMS: [&str; 5] = ["/api/v1/", "/badge/", "/feed/", "/metrics", "/healthz"];

#[tokio::test]
async fn every_address_is_in_the_document_and_the_reverse() {
    let site = Site::empty("document").await;
    let document = site.json("/api/v1/openapi.json").await;
    assert_eq!(
        (&document["openapi"], &document["info"]["title"]),
        (&json!("3.1.0"), &json!("Callscope"))
    );
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let routes = site.addresses.iter().map(|address| address.path);
    let plain = |path: &str| path.replace(":.+}", "}");
    let is_for_programs =
        |path: &String| path == "/readyz" || PROGRAMS.iter().any(|start| path.starts_with(start));
    let answered: BTreeSet<String> = routes.map(plain).filter(is_for_programs).collect();
    assert!(answered.len() > 10, "{answered:?}");
    assert_eq!(answered, documented);
}

/// The schema of an answer, closed: a key that the document does not name is an error.
fn schema(document: &Value, path: &str, status: u16) -> Value {
    let answer = &document["paths"][path]["get"]["responses"][status.to_string()];
    let answer = match answer["$ref"].as_str() {
        Some(named) => document.pointer(named.trim_start_matches('#')).unwrap(),
        None => answer,
    };

    let schema = &answer["content"]["application/json"]["schema"];
    assert!(
        schema.is_object(),
        "{path} has no answer {status} in the document"
    );
    let mut components = document["components"].clone();
    for component in components["schemas"].as_object_mut().unwrap().values_mut() {
        close(component);
    }

    json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "components": components,
        "allOf": [schema],
        "unevaluatedProperties": path == "/api/v1/openapi.json" })
}

fn close(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        for (key, part) in object.iter_mut() {
            // A struct that is a part of another one cannot be closed alone; the whole is closed.
            if key == "allOf" {
                let parts = part.as_array_mut().unwrap().iter_mut();
                parts
                    .filter_map(|part| part.get_mut("properties"))
                    .for_each(close);
            } else {
                close_one(part);
            }
        }
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(close_one);
    }
}

fn close_one(part: &mut Value) {
    if part["$ref"].is_string() {
        *part = json!({ "allOf": [part.clone()], "unevaluatedProperties": is_open(part) });
    } else {
        close(part);
    }
}

/// Raw events and times are not our structs.
fn is_open(part: &Value) -> bool {
    let name = part["$ref"].as_str().unwrap();
    ["/Value", "/Stamp"].iter().any(|end| name.ends_with(end))
}

/// An address of the document, a request for it, and the expected status.
fn questions(call: &str, problem: &str) -> Vec<(&'static str, String, u16)> {
    let room = quote(ROOM);
    vec![
        ("/api/v1/overview", "/api/v1/overview".to_owned(), 200),
        (
            "/api/v1/calls/active",
            "/api/v1/calls/active".to_owned(),
            200,
        ),
        ("/api/v1/calls", "/api/v1/calls".to_owned(), 200),
        ("/api/v1/calls", "/api/v1/calls?limit=1".to_owned(), 200),
        ("/api/v1/calls", "/api/v1/calls?limit=0".to_owned(), 400),
        (
            "/api/v1/calls",
            "/api/v1/calls?sort=-duration&limit=1".to_owned(),
            200,
        ),
        ("/api/v1/calls/{id}", format!("/api/v1/calls/{call}"), 200),
        (
            "/api/v1/calls/{id}",
            format!("/api/v1/calls/{call}?events_from=1"),
            200,
        ),
        (
            "/api/v1/calls/{id}",
            format!("/api/v1/calls/{call}?stays_from=1"),
            400,
        ),
        ("/api/v1/calls/{id}", "/api/v1/calls/none".to_owned(), 404),
        (
            "/api/v1/rooms",
            "/api/v1/rooms?sort=name&limit=500".to_owned(),
            200,
        ),
        ("/api/v1/rooms", "/api/v1/rooms?limit=501".to_owned(), 400),
        (
            "/api/v1/rooms",
            "/api/v1/rooms?q=no+such+room".to_owned(),
            200,
        ),
        ("/api/v1/rooms/{id}", format!("/api/v1/rooms/{room}"), 200),
        (
            "/api/v1/rooms/{id}",
            format!("/api/v1/rooms/{room}?at={}", NOW - 280 * MINUTE),
            200,
        ),
        (
            "/api/v1/rooms/{id}/members",
            format!("/api/v1/rooms/{room}/members?at={}", NOW - 280 * MINUTE),
            200,
        ),
        (
            "/api/v1/rooms/{id}/flips",
            format!("/api/v1/rooms/{room}/flips"),
            200,
        ),
        (
            "/api/v1/rooms/{id}/flips",
            "/api/v1/rooms/none/flips".to_owned(),
            404,
        ),
        ("/api/v1/problems", "/api/v1/problems".to_owned(), 200),
        (
            "/api/v1/problems",
            "/api/v1/problems?kind=apart&open=no&limit=2".to_owned(),
            200,
        ),
        (
            "/api/v1/problems",
            "/api/v1/problems?kind=x".to_owned(),
            400,
        ),
        (
            "/api/v1/problems/{id}",
            format!("/api/v1/problems/{problem}"),
            200,
        ),
        (
            "/api/v1/problems/{id}",
            "/api/v1/problems/none".to_owned(),
            404,
        ),
        ("/api/v1/status", "/api/v1/status".to_owned(), 200),
        ("/api/v1/rejected", "/api/v1/rejected".to_owned(), 200),
        ("/api/v1/about", "/api/v1/about".to_owned(), 200),
        ("/api/v1/version", "/api/v1/version".to_owned(), 200),
        (
            "/api/v1/calls",
            "/api/v1/calls?members=false".to_owned(),
            200,
        ),
        ("/api/v1/calls", "/api/v1/calls?fields=x".to_owned(), 400),
        ("/api/v1/about", "/api/v1/about?x=1".to_owned(), 400),
        (
            "/api/v1/openapi.json",
            "/api/v1/openapi.json".to_owned(),
            200,
        ),
        (
            "/badge/rooms/{id}/active.json",
            format!("/badge/rooms/{room}/active.json"),
            200,
        ),
        (
            "/badge/rooms/{id}/active.json",
            "/badge/rooms/none/active.json".to_owned(),
            404,
        ),
        (
            "/badge/servers/{name}/active.json",
            "/badge/servers/example.org/active.json".to_owned(),
            200,
        ),
        (
            "/api/v1/statistics",
            "/api/v1/statistics?period=7d".to_owned(),
            200,
        ),
        (
            "/api/v1/statistics",
            "/api/v1/statistics?period=365d&step=month".to_owned(),
            200,
        ),
        (
            "/api/v1/statistics",
            "/api/v1/statistics?period=1d".to_owned(),
            400,
        ),
        (
            "/api/v1/servers",
            "/api/v1/servers?sort=run_out&limit=1".to_owned(),
            200,
        ),
        (
            "/api/v1/servers",
            "/api/v1/servers?q=example&period=7d".to_owned(),
            200,
        ),
        (
            "/api/v1/servers/{name}",
            "/api/v1/servers/example.org".to_owned(),
            200,
        ),
        (
            "/api/v1/servers/{name}",
            "/api/v1/servers/none.example".to_owned(),
            404,
        ),
        (
            "/api/v1/servers/{name}/check",
            "/api/v1/servers/example.org/check".to_owned(),
            200,
        ),
        (
            "/api/v1/servers/{name}/check",
            "/api/v1/servers/none.example/check".to_owned(),
            404,
        ),
        (
            "/api/v1/people/{id}",
            "/api/v1/people/@alice:example.org".to_owned(),
            200,
        ),
        ("/api/v1/people/{id}", "/api/v1/people/none".to_owned(), 404),
        ("/api/v1/people", "/api/v1/people?q=ali".to_owned(), 200),
        ("/api/v1/people", "/api/v1/people?limit=0".to_owned(), 400),
        (
            "/badge/servers/{name}/rtc.json",
            "/badge/servers/example.org/rtc.json".to_owned(),
            200,
        ),
        (
            "/api/v1/transports",
            "/api/v1/transports?sort=sfu".to_owned(),
            200,
        ),
        (
            "/api/v1/transports/{host}",
            "/api/v1/transports/sfu.example".to_owned(),
            200,
        ),
        (
            "/api/v1/transports/{host}",
            "/api/v1/transports/none.example".to_owned(),
            404,
        ),
        ("/api/v1/census", "/api/v1/census?period=7d".to_owned(), 200),
        ("/api/v1/wall", "/api/v1/wall".to_owned(), 200),
        ("/healthz", "/healthz".to_owned(), 200),
        ("/readyz", "/readyz".to_owned(), 200),
    ]
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let site = Site::filled("answers").await;
    let document = site.json("/api/v1/openapi.json").await;
    let past = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    let mut checked = BTreeSet::new();
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 240 * MINUTE, "m.call.intent": "audio",
        "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
        "foci_preferred": [] });
    let ghost = super::site::member("$ghost", "@gone:elm.example", NOW - 180 * MINUTE, content);
    site.write(vec![ghost]).await;
    let problem = site.json("/api/v1/problems?open=yes").await["data"][0]["id"].clone();
    for (path, asked, status) in questions(text(&past), text(&problem)) {
        let answer = site.get(&asked).await;
        assert_eq!(answer.status, status, "{asked}: {}", answer.text);
        let validator = jsonschema::draft202012::new(&schema(&document, path, status)).unwrap();
        let json = answer.json();
        let faults: Vec<String> = validator
            .iter_errors(&json)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{asked}\n{}", faults.join("\n"));
        checked.insert(path.to_owned());
    }

    let paths = document["paths"].as_object().unwrap().iter();
    let json = paths.filter(|(_, item)| {
        item.pointer("/get/responses/200/content/application~1json")
            .is_some()
    });
    let documented: BTreeSet<String> = json.map(|(path, _)| path.clone()).collect();
    assert_eq!(
        checked, documented,
        "every address is asked here at least once"
    );
    let none = Site::empty("unready").await;
    let validator = jsonschema::draft202012::new(&schema(&document, "/readyz", 503)).unwrap();
    assert!(validator.is_valid(&none.get("/readyz").await.json()));
}

#[tokio::test]
async fn no_address_takes_a_parameter_that_it_does_not_know() {
    let site = Site::filled("unknown").await;
    let document = site.json("/api/v1/openapi.json").await;

    for path in document["paths"].as_object().unwrap().keys() {
        let asked = path
            .replace("{id}", &quote(ROOM))
            .replace("{name}", "example.org")
            .replace("{host}", "sfu.example");
        let answer = site
            .client
            .get(format!("{}{asked}?nonsense=1", site.base))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        let answer: Value = answer.json().await.unwrap();
        let known = document["paths"][path]["get"]["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for parameter in known.iter().filter(|parameter| parameter["in"] == "query") {
            assert!(
                text(&answer["error"]).contains(text(&parameter["name"])),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let site = Site::filled("tags").await;
    let ask = |path: &str, tag: Option<String>| {
        let request = site.client.get(format!("{}{path}", site.base));
        let request = if let Some(tag) = tag {
            request.header("if-none-match", tag)
        } else {
            request
        };

        async move { request.send().await.unwrap() }
    };

    for path in [
        "/api/v1/calls/active",
        "/api/v1/calls?status=active",
        "/api/v1/rooms",
        "/api/v1/openapi.json",
    ] {
        let first = ask(path, None).await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let again = ask(path, Some(format!("\"other\", {tag}"))).await;
        assert_eq!(
            (
                again.status().as_u16(),
                again.headers()["etag"].to_str().unwrap()
            ),
            (304, tag.as_str()),
            "{path}"
        );
        assert!(
            again.headers().contains_key("cache-control")
                && again.bytes().await.unwrap().is_empty(),
            "{path}"
        );
        assert_eq!(
            ask(path, Some("W/\"0\"".to_owned())).await.status(),
            200,
            "{path}"
        );
    }

    let tag = |answer: &reqwest::Response| answer.headers()["etag"].to_str().unwrap().to_owned();
    let before = ask("/api/v1/calls/active", None).await;
    let posted = site
        .client
        .post(format!("{}/api/v1/calls/active", site.base))
        .header("if-none-match", tag(&before))
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 405, "a tag is for those who read");
    site.clock.advance(5000);
    let later = ask("/api/v1/calls/active", Some(tag(&before))).await;
    assert_eq!(
        later.status(),
        304,
        "a running call that only goes on is not news"
    );
    let leave = event(
        "$gone",
        CALL,
        "@alice:example.org",
        "_@alice:example.org_AA_m.call",
        0,
        json!({}),
    );
    site.write(vec![leave]).await;
    let after = ask("/api/v1/calls/active", Some(tag(&before))).await;
    assert_eq!(after.status(), 200);
    assert_eq!(after.json::<Value>().await.unwrap()["data"], json!([]));
}

#[tokio::test]
async fn a_call_that_is_over_is_not_sent_again_while_we_hear_on() {
    let site = Site::filled("over").await;
    let leave = event(
        "$gone",
        CALL,
        "@alice:example.org",
        "_@alice:example.org_AA_m.call",
        0,
        json!({}),
    );
    site.write(vec![leave]).await;
    site.watched_since(NOW - 900 * MINUTE).await;
    let ended = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    let path = format!("/api/v1/calls/{}", ended.as_str().unwrap());
    let mut tags = Vec::new();
    for _ in 0..2 {
        site.hear(site.clock.now_ms() + 5000).await;
        site.clock.advance(6000);
        let known = site.get_kept(&path).await.text;
        let answer = site
            .client
            .get(format!("{}{path}", site.base))
            .send()
            .await
            .unwrap();
        tags.push((answer.headers()["etag"].to_str().unwrap().to_owned(), known));
    }

    assert_eq!(tags[0].0, tags[1].0, "{}\n{}", tags[0].1, tags[1].1);
}

#[tokio::test]
async fn what_only_the_clock_moves_is_not_sent_again() {
    let site = Site::filled("clock").await;
    let leave = |user: &str, device: &str| {
        let key = format!("_{user}_{device}_m.call");
        event(&format!("$gone{device}"), CALL, user, &key, 0, json!({}))
    };

    let ask = |path: &'static str, tag: String| {
        let request = site
            .client
            .get(format!("{}{path}", site.base))
            .header("if-none-match", tag);
        async move { request.send().await.unwrap() }
    };

    let lists = [
        "/api/v1/calls?limit=1",
        "/api/v1/calls?limit=1&sort=-people",
        "/api/v1/calls?limit=1&sort=started",
    ];
    let pages = [
        "/api/v1/overview",
        "/api/v1/wall",
        "/api/v1/status",
        "/api/v1/servers/other.example",
    ];
    for (paths, runs) in [(&lists[..], true), (&pages[..], false)] {
        if !runs {
            site.write(vec![leave("@alice:example.org", "AA")]).await;
        }

        for path in paths {
            let first = ask(path, "\"none\"".to_owned()).await;
            let tag = first.headers()["etag"].to_str().unwrap().to_owned();
            let first = first.text().await.unwrap();
            site.clock.advance(5000);
            let later = ask(path, tag).await;
            assert_eq!(
                later.status(),
                304,
                "{path}\n{first}\n{}",
                site.get(path).await.text
            );
        }
    }

    let tag = ask(pages[0], "\"none\"".to_owned()).await.headers()["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    site.write(vec![event(
        "$renamed",
        "m.room.name",
        "@alice:example.org",
        "",
        0,
        json!({ "name": "Peace" }),
    )])
    .await;
    assert_eq!(
        ask(pages[0], tag).await.status(),
        200,
        "a room has another name"
    );
}

#[tokio::test]
async fn only_named_sites_may_read_through_a_browser() {
    let site = Site::filled("cors").await;
    let ask = |method: reqwest::Method, path: &str, origin: &str| {
        let request = site
            .client
            .request(method, format!("{}{path}", site.base))
            .header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        async move { request.send().await.unwrap() }
    };

    let says = |answer: &reqwest::Response, name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };

    let allow = "access-control-allow-origin";
    let (get, options) = (reqwest::Method::GET, reqwest::Method::OPTIONS);
    let paths = ["/api/v1/calls/active", "/api/v1/calls?x=1", "/calls.json"];
    for path in paths {
        let answer = ask(get.clone(), path, "https://app.example").await;
        assert_eq!(
            says(&answer, allow).as_deref(),
            Some("https://app.example"),
            "{path}"
        );
        assert!(
            answer
                .headers()
                .get_all("vary")
                .iter()
                .any(|vary| vary == "origin"),
            "{path}"
        );
        assert_eq!(
            says(&ask(get.clone(), path, "https://evil.example").await, allow),
            None,
            "{path}"
        );
    }

    let asked = ask(options.clone(), "/api/v1/calls", "https://app.example").await;
    assert_eq!(
        (asked.status().as_u16(), says(&asked, allow).as_deref()),
        (204, Some("https://app.example"))
    );
    assert!(
        says(&asked, "access-control-allow-headers")
            .unwrap()
            .contains("if-none-match")
    );
    let asked = ask(options, "/api/v1/calls", "https://evil.example").await;
    assert_eq!((asked.status().as_u16(), says(&asked, allow)), (405, None));
    assert_eq!(
        says(&ask(get, "/", "https://app.example").await, allow),
        None,
        "pages are for people"
    );
}

#[tokio::test]
async fn a_cursor_stays_good_while_calls_come() {
    let site = Site::filled("cursor").await;
    let all = site.json("/api/v1/calls").await["data"].clone();
    let first = site.json("/api/v1/calls?limit=1").await;
    let join = json!({ "application": "m.call", "call_id": "", "device_id": "CC", "expires": 60_000,
        "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
        "foci_preferred": [] });
    let newer = event(
        "$new",
        CALL,
        "@eve:evil.example",
        "_@eve:evil.example_CC_m.call2",
        400,
        join,
    );
    site.write(vec![newer]).await;
    let second = site
        .json(&format!(
            "/api/v1/calls?limit=1&cursor={}",
            text(&first["next"])
        ))
        .await;
    assert_eq!(
        second["data"][0]["id"], all[1]["id"],
        "nothing twice, nothing left out"
    );
    let third = site
        .json(&format!(
            "/api/v1/calls?limit=1&cursor={}",
            text(&second["next"])
        ))
        .await;
    assert_eq!(
        (third["data"][0]["started_ms"].as_i64(), &third["next"]),
        (Some(NOW - 400 * MINUTE), &Value::Null)
    );
}

#[tokio::test]
async fn the_documentation_is_a_page_like_any_other() {
    let site = Site::filled("docs").await;
    let page = site.html("/api/docs").await;
    let document = site.json("/api/v1/openapi.json").await;
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!(">{path}<")), "{path}");
    }

    assert!(page.contains("href=\"/api/docs/Calls\"") && page.len() < 60_000);
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let page = site.html(&format!("/api/docs/{}", quote(name))).await;
        assert!(page.len() < 60_000, "{name}");
    }

    let call = site.html("/api/docs/CallFacts").await;
    assert!(call.contains("duration_ms") && call.contains("href=\"/api/docs/MemberFacts\""));
    let missing = site.get("/api/docs/Nothing").await;
    assert_eq!(
        (missing.status, missing.kind.as_str()),
        (404, "text/html; charset=utf-8")
    );
}
