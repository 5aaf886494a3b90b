//! The page of a call: what is wrong first, then who is here, then the picture, of which a part can
//! be asked for; and what its head says.

use crate::pages::site::{MINUTE, NOW, ROOM, Site, event, member, quote, text};
use serde_json::{Value, json};

const HOUR: i64 = 60 * MINUTE;

fn join(id: &str, user: &str, at_ms: i64) -> Value {
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 8 * HOUR,
        "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
        "foci_preferred": [
            { "type": "livekit", "livekit_service_url": "https://one.example" }
        ] });
    member(id, user, at_ms, content)
}

fn leave(id: &str, user: &str, at_ms: i64) -> Value {
    member(id, user, at_ms, json!({}))
}

/// A call of four hours: one from the beginning to the end, one in the first ten minutes, one in
/// the last hour.
async fn site_with_call(name: &str) -> (Site, Value, i64) {
    let site = Site::filled(name).await;
    let begin = NOW - 50 * HOUR;
    site.watched_since(NOW - 100 * HOUR).await;
    site.write(vec![
        join("$a1", "@all:ash.example", begin),
        join("$f1", "@first:elm.example", begin + MINUTE),
        leave("$f2", "@first:elm.example", begin + 10 * MINUTE),
        join("$l1", "@last:oak.example", begin + 3 * HOUR),
        leave("$l2", "@last:oak.example", begin + 4 * HOUR),
        leave("$a2", "@all:ash.example", begin + 4 * HOUR),
    ])
    .await;
    let room = quote(ROOM);
    let list = format!("/api/v1/calls?room={room}&user=%40all%3Aash.example");
    let call = site.json(&list).await["data"][0].clone();

    (site, call, begin)
}

#[tokio::test]
async fn a_part_of_a_call_can_be_asked_for() {
    let (site, call, begin) = site_with_call("window").await;
    let path = format!("/calls/{}", text(&call["id"]));
    let whole = site.json(&format!("/api/v1{path}")).await;
    assert_eq!(whole["members"].as_array().unwrap().len(), 3);
    assert_eq!(whole["window"], Value::Null);

    let from = begin + 2 * HOUR;
    let part = site.json(&format!("/api/v1{path}?from={from}")).await;
    let users: Vec<&str> = part["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| text(&member["user_id"]))
        .collect();
    assert_eq!(users, ["@all:ash.example", "@last:oak.example"]);
    assert_eq!(part["people"], 3, "those of the whole call");
    assert_eq!(part["window"]["from_ms"], from);
    assert_eq!(part["window"]["to_ms"], begin + 4 * HOUR);
    assert_eq!(part["window"]["people_outside"], 1);
    for bad in ["from=soon", "x=1"] {
        let answer = site.get(&format!("/api/v1{path}?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    for empty in ["from=9999-01-01", "from=5&to=4"] {
        let part = site.json(&format!("/api/v1{path}?{empty}")).await;
        assert_eq!(part["members"], serde_json::json!([]), "{empty}");
        assert_eq!(part["window"]["people"], 0, "{empty}");
    }

    let page = site.html(&format!("{path}?from={from}")).await;
    let picture = |page: &str| {
        let at = page.find("id=\"h-tl\"").unwrap();
        page[at..at + page[at..].find("</section>").unwrap()].to_owned()
    };
    let shown = picture(&page);
    assert!(shown.contains("1 person outside this window"), "{shown}");
    assert!(shown.contains("@last:oak.example") && !shown.contains("@first:elm.example"));
    assert!(page.contains("@first:elm.example"), "below the picture");
    // What is not understood is ignored.
    let plain = picture(&site.html(&path).await);
    for bad in ["from=soon", "from=9999-01-01", "from=5&to=4", "x=1"] {
        let page = site.html(&format!("{path}?{bad}")).await;
        assert_eq!(picture(&page), plain, "{bad}");
    }
}

#[tokio::test]
async fn what_is_wrong_comes_first_and_everybody_is_a_link() {
    let site = Site::filled("call-page").await;
    site.watched_since(NOW - 100 * HOUR).await;
    let begin = NOW - 7 * HOUR;
    site.write_to(
        "!quiet:ash.example",
        vec![
            join("$g1", "@ghost:ash.example", begin),
            join("$g2", "@ghost:ash.example", begin + HOUR),
            join("$g3", "@ghost:ash.example", begin + 2 * HOUR),
            join("$n1", "@new:elm.example", NOW - 20 * MINUTE),
        ],
    )
    .await;
    site.watched_since(NOW - 100 * HOUR).await;
    let path = "/api/v1/calls?user=%40ghost%3Aash.example&status=active";
    let call = site.json(path).await["data"][0].clone();
    assert_eq!(call["ghosts_now"], 1, "{call}");
    let page = site
        .get(&format!("/calls/{}", text(&call["id"])))
        .await
        .text;
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}: {page}"));
    let order = [
        "id=\"h-find\"",
        "id=\"h-here\"",
        "id=\"h-ghosts\"",
        "id=\"h-tl\"",
    ];
    assert!(order.map(place).is_sorted());
    for words in ["Here now (1)", "Ghosts (1)"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(place("data-copy") < place("id=\"h-here\""), "the remedy");
    for href in [
        "/people/@new:elm.example",
        "/people/@ghost:ash.example",
        "/servers/elm.example",
        "/transports/one.example",
    ] {
        assert!(page.contains(&format!("href=\"{href}\"")), "{href}");
    }

    // The ghost does not stretch the picture.
    let axis = &page[place("class=\"tl-back\" data-axis=\"")..];
    let from: i64 = axis
        .split('"')
        .nth(3)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(from > NOW - 30 * MINUTE, "{from}");
    let title = &page[place("<title>")..place("</title>")];
    assert!(title.contains("2026: 1 person now, 1 ghost"), "{title}");
    let about = "<meta property=\"og:description\" content=\"Call of ";
    assert!(page.contains(about) && page.contains("<meta name=\"description\" content=\"Call of "));
}

#[tokio::test]
async fn a_call_that_rang_and_nobody_came_is_not_answered() {
    let site = Site::filled("answered").await;
    site.watched_since(NOW - 200 * HOUR).await;
    let ring = |id: &str, user: &str, at_ms: i64| {
        let content = json!({ "notification_type": "ring", "lifetime": 30_000,
            "sender_ts": at_ms, "m.mentions": { "room": true } });
        let mut ring = event(
            id,
            "org.matrix.msc4075.rtc.notification",
            user,
            "",
            0,
            content,
        );
        ring["origin_server_ts"] = at_ms.into();
        ring.as_object_mut().unwrap().remove("state_key");
        ring
    };
    let begin = NOW - 90 * HOUR;
    let (alone, two, quiet) = (begin, begin + 3 * HOUR, begin + 6 * HOUR);
    site.write(vec![
        join("$1", "@alone:ash.example", alone),
        ring("$r1", "@alone:ash.example", alone + 1000),
        leave("$2", "@alone:ash.example", alone + 5 * MINUTE),
        join("$3", "@caller:ash.example", two),
        ring("$r2", "@caller:ash.example", two + 1000),
        join("$4", "@came:elm.example", two + 10_000),
        leave("$5", "@came:elm.example", two + 5 * MINUTE),
        leave("$6", "@caller:ash.example", two + 5 * MINUTE),
        join("$7", "@quiet:ash.example", quiet),
        leave("$8", "@quiet:ash.example", quiet + MINUTE),
    ])
    .await;
    for (user, answered) in [
        ("alone", json!(false)),
        ("caller", json!(true)),
        ("quiet", Value::Null),
    ] {
        let list = format!("/api/v1/calls?user=%40{user}%3Aash.example");
        let listed = site.json(&list).await["data"][0].clone();
        assert_eq!(listed["answered"], answered, "{user}: {listed}");
        let path = format!("/calls/{}", text(&listed["id"]));
        let call = site.json(&format!("/api/v1{path}")).await;
        assert_eq!(call["answered"], answered, "{user}");
        let is_said = answered == json!(false);
        let page = site.html(&path).await;
        assert_eq!(page.contains("Not answered</span>"), is_said, "{user}");
        let page = site.html(&list.replace("/api/v1", "")).await;
        assert_eq!(page.contains("not answered"), is_said, "{user}");
    }
}
