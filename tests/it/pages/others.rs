//! Output for other programs: files of calls, metrics, badges, feeds, and the frame for other
//! pages.

use crate::pages::site::{CALL, EVIL, MINUTE, NOW, ROOM, Site, event, quote, text};
use callscope::rtc::words::Watch;
use callscope::store::ingest::{rooms, vantages};
use serde_json::{Value, json};

/// A call of one minute that began the given number of minutes ago.
fn short(index: i64, minutes_ago: i64) -> [Value; 2] {
    let (user, key) = (
        "@bob:other.example",
        "_@bob:other.example_ZZ_m.call".to_owned(),
    );
    let join = json!({ "application": "m.call", "call_id": "", "device_id": "ZZ",
        "expires": 14_400_000,
        "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
        "foci_preferred": [] });

    [
        event(&format!("$s{index}"), CALL, user, &key, minutes_ago, join),
        event(
            &format!("$e{index}"),
            CALL,
            user,
            &key,
            minutes_ago - 1,
            json!({}),
        ),
    ]
}

#[tokio::test]
async fn a_file_holds_every_call_of_the_filter() {
    let site = Site::filled("files").await;
    site.write(
        (0..450)
            .flat_map(|index| short(index, 400 + index * 3))
            .collect(),
    )
    .await;
    for filter in [
        "",
        "?status=ended",
        "?from=2026-11-22",
        "?status=ended&to=2026-11-22T00:00:00Z",
        "?status=active",
        "?room=%21no:x",
        "?user=%40alice%3Aexample.org",
        "?kind=solo&min_minutes=1",
    ] {
        let mut all: Vec<Value> = Vec::new();
        let mut path = format!(
            "/api/v1/calls{filter}{}limit=500",
            if filter.is_empty() { "?" } else { "&" }
        );
        loop {
            let list = site.json(&path).await;
            all.extend(list["data"].as_array().unwrap().iter().cloned());
            let Some(next) = list["next_url"].as_str() else {
                break;
            };

            path = next
                .strip_prefix("https://calls.example")
                .unwrap()
                .to_owned();
        }

        let lines = site.get(&format!("/api/v1/calls.ndjson{filter}")).await;
        assert_eq!(
            (lines.status, lines.kind.as_str()),
            (200, "application/x-ndjson")
        );
        let lines: Vec<Value> = lines
            .text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines, all, "{filter}: the same calls in the same order");
        let table = site.get(&format!("/api/v1/calls.csv{filter}")).await;
        assert_eq!(
            (table.status, table.kind.as_str()),
            (200, "text/csv; charset=utf-8")
        );
        let rows: Vec<&str> = table.text.split_terminator("\r\n").collect();
        assert_eq!(rows.len(), all.len() + 1, "{filter}");
        assert!(rows[0].starts_with("id,room_id,room_name,"));
        for (row, call) in rows[1..].iter().zip(&all) {
            assert!(
                row.starts_with(text(&call["id"])) && row.contains(&call["started_ms"].to_string()),
                "{row}"
            );
        }
    }

    assert_eq!(site.get("/api/v1/calls.csv?limit=1").await.status, 400);
    let page = site
        .html(&format!("/calls?room={}&limit=1", quote(ROOM)))
        .await;
    let link = format!(
        "/api/v1/calls.csv?room={}",
        "%21room%2Fwith%2Bodd%3Aexample.org"
    );
    assert!(
        page.contains(&format!("href=\"{link}\"")),
        "exactly the filter that is shown, without its place"
    );
}

#[tokio::test]
async fn metrics_name_no_person() {
    let site = Site::filled("metrics").await;
    let answer = site.get("/metrics").await;
    assert_eq!(answer.kind, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "callscope_calls_active 1",
        "callscope_people_active 1",
        "callscope_devices_active 1",
        "callscope_servers_active 1",
        "callscope_calls_stored 2",
        "callscope_events_stored_total 12",
        "callscope_events_rejected 1",
        "callscope_rooms{watch=\"joined\"} 1",
        "callscope_vantage_up{homeserver=\"https://example.org\"} 1",
        "callscope_database_full 0",
        "# TYPE callscope_database_size_bytes gauge",
        "# TYPE callscope_events_stored_total counter",
        "# TYPE callscope_build_info gauge",
    ] {
        assert!(
            answer.text.lines().any(|found| found == line),
            "{line}\n{}",
            answer.text
        );
    }

    assert!(
        answer
            .text
            .contains("callscope_room_devices_active{room_id=\"!room/with+odd:example.org\"} 1")
    );
    assert!(!answer.text.contains("alice"), "{}", answer.text);

    let request = site.client.get(format!("{}/metrics", site.base));
    let openmetrics = request.header("accept", "application/openmetrics-text;version=1.0.0");
    let answer = openmetrics.send().await.unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = answer.text().await.unwrap();
    let unit = "# UNIT callscope_database_size_bytes bytes\n";
    assert!(text.contains(unit) && text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("alice"), "{text}");
}

#[tokio::test]
async fn badges_say_how_many_are_there_and_when_it_is_not_known() {
    let site = Site::filled("badges").await;
    let room = format!("/badge/rooms/{}/active", quote(ROOM));
    let badge = site.json(&format!("{room}.json")).await;
    assert_eq!(
        (
            &badge["schemaVersion"],
            &badge["message"],
            &badge["isError"]
        ),
        (&json!(1), &json!("1 person"), &json!(false))
    );
    let svg = site.get(&format!("{room}.svg")).await;
    assert_eq!((svg.status, svg.kind.as_str()), (200, "image/svg+xml"));
    assert!(svg.text.starts_with("<svg ") && svg.text.contains("call: 1 person"));
    let servers = [
        ("example.org", "1 person"),
        ("Example.ORG", "1 person"),
        ("other.example", "nobody"),
    ];
    for (server, message) in servers
        .into_iter()
        .chain([("[2001:db8::1]:8448", "nobody"), ("10.0.0.1", "nobody")])
    {
        assert_eq!(
            site.json(&format!("/badge/servers/{server}/active.json"))
                .await["message"],
            message,
            "{server}"
        );
    }

    for server in [
        "%3Cscript%3E",
        "a%20b",
        "a.example:",
        "a.example:99999x",
        "%C3%BC.example",
        "a,b",
    ] {
        assert_eq!(
            site.get(&format!("/badge/servers/{server}/active.json"))
                .await
                .status,
            404,
            "{server}"
        );
    }

    for hides in [true, false] {
        if hides {
            rooms::record_room_error(&site.store, ROOM, None, "no", NOW)
                .await
                .unwrap();
        } else {
            rooms::clear_room_error(&site.store, ROOM, "no")
                .await
                .unwrap();
        }

        let nobody = if hides { "unknown" } else { "nobody" };
        for (server, message) in [("example.org", "1 person"), ("other.example", nobody)] {
            assert_eq!(
                site.json(&format!("/badge/servers/{server}/active.json"))
                    .await["message"],
                message,
                "{server}"
            );
        }
    }

    rooms::record_room_error(&site.store, ROOM, Some(Watch::Left), "removed", NOW)
        .await
        .unwrap();
    let badge = site.json(&format!("{room}.json")).await;
    assert_eq!(
        (&badge["message"], &badge["isError"]),
        (&json!("unknown"), &json!(true))
    );
    let empty = Site::empty("nobadge").await;
    assert_eq!(
        empty.json("/badge/servers/example.org/active.json").await["message"],
        "unknown"
    );
}

#[tokio::test]
async fn a_badge_of_nothing_is_a_picture_that_says_so() {
    let site = Site::empty("unknown-badge").await;
    assert_eq!(
        site.get("/badge/rooms/%21a/active.json").await.json()["errcode"],
        "M_NOT_FOUND"
    );

    for (path, says) in [
        ("rooms/%21a", "call: unknown room"),
        ("servers/a%20b", "call: unknown server"),
    ] {
        let picture = site.get(&format!("/badge/{path}/active.svg")).await;
        assert_eq!(
            (picture.status, picture.kind.as_str()),
            (404, "image/svg+xml"),
            "{path}"
        );
        assert!(
            picture.text.starts_with("<svg ") && picture.text.contains(says),
            "{}",
            picture.text
        );
    }
}

#[tokio::test]
async fn feeds_hold_the_calls_that_are_over() {
    let site = Site::filled("feeds").await;
    let past = site.json("/api/v1/calls?status=ended").await["data"][0].clone();
    let of_room = format!("/feed/rooms/{}/calls", quote(ROOM));
    for path in ["/feed/calls", of_room.as_str()] {
        let atom = site.get(&format!("{path}.atom")).await;
        assert_eq!(
            (atom.status, atom.kind.as_str()),
            (200, "application/atom+xml; charset=utf-8")
        );
        assert_eq!(atom.text.matches("<entry>").count(), 1, "{}", atom.text);
        assert!(atom.text.contains(&format!(
            "href=\"https://calls.example/calls/{}\"",
            text(&past["id"])
        )));
        assert!(
            atom.text.contains(text(&past["ended_at"]))
                && !atom.text.contains(EVIL)
                && !atom.text.contains('\u{202e}')
        );
        assert!(
            atom.text.contains("<id>urn:callscope:@bot:example.org:"),
            "of this account: {}",
            atom.text
        );
        let page = if path == of_room {
            format!("/rooms/{}", "!room%2Fwith%2Bodd:example.org")
        } else {
            "/calls".into()
        };

        assert!(
            atom.text
                .contains(&format!("<link href=\"https://calls.example{page}\"/>")),
            "{}",
            atom.text
        );
        let ics = site.get(&format!("{path}.ics")).await;
        assert_eq!(
            (ics.status, ics.kind.as_str()),
            (200, "text/calendar; charset=utf-8")
        );
        assert!(
            ics.text
                .contains("DTSTART:20261122T094716Z\r\nDTEND:20261122T104716Z\r\n"),
            "{}",
            ics.text
        );
    }

    assert_eq!(
        site.get("/feed/rooms/%21none:x/calls.atom").await.status,
        404
    );
    assert_eq!(site.get("/feed/calls.ics?limit=0").await.status, 400);
    for path in [
        "/feed/calls.atom",
        "/feed/calls.ics",
        &format!("{of_room}.atom"),
        &format!("{of_room}.ics"),
    ] {
        let ask = |tag: &str| {
            site.client
                .get(format!("{}{path}", site.base))
                .header("if-none-match", tag)
                .send()
        };

        let first = ask("\"none\"").await.unwrap();
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        site.clock.advance(5000);
        assert_eq!(
            (
                first.status().as_u16(),
                ask(&tag).await.unwrap().status().as_u16()
            ),
            (200, 304),
            "{path}"
        );
    }

    site.write(short(0, 100).into()).await;
    let request = site.client.get(format!("{}/feed/calls.ics", site.base));
    assert_eq!(
        request
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .matches("BEGIN:VEVENT")
            .count(),
        2
    );
}

#[tokio::test]
async fn a_table_leads_back_to_where_it_was_taken_from() {
    let site = Site::local("local").await;
    let table = site.get("/api/v1/calls.csv").await.text;
    let past = site.json("/api/v1/calls?status=ended").await["data"][0].clone();
    let url = format!("{}/calls/{}", site.base, text(&past["id"]));
    assert!(table.contains(&format!(",{url},")), "{url}\n{table}");
}

#[tokio::test]
async fn only_the_frame_may_be_framed() {
    let site = Site::filled("embed").await;
    let ask = |path: String| site.client.get(format!("{}{path}", site.base)).send();
    let policy = |answer: &reqwest::Response| {
        answer.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned()
    };

    let framed = ask(format!("/embed/rooms/{}", quote(ROOM))).await.unwrap();
    assert!(
        policy(&framed).contains("frame-ancestors *")
            && policy(&framed).contains("script-src 'self'")
    );
    let page = framed.text().await.unwrap();
    assert!(
        page.contains("Alice Moreau") && page.contains("data-follow") && !page.contains("<script>"),
        "{page}"
    );
    assert!(page.contains(&format!("data-since=\"{}\"", NOW - 10 * MINUTE)));
    assert!(policy(&ask("/".to_owned()).await.unwrap()).contains("frame-ancestors 'none'"));
    assert_eq!(
        ask("/embed/rooms/none".to_owned()).await.unwrap().status(),
        404
    );
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Left), "removed", NOW)
        .await
        .unwrap();
    let lost = site
        .get(&format!("/embed/rooms/{}", quote(ROOM)))
        .await
        .text;
    assert!(lost.contains("Unknown") && !lost.contains("No call now"));
}

#[tokio::test]
async fn the_frame_says_unknown_where_the_badge_does() {
    let path = format!("/embed/rooms/{}", quote(ROOM));
    let since = "datetime=\"2026-11-22T14:42:16Z\"";

    for (name, runs) in [("frame-runs", true), ("frame-quiet", false)] {
        let site = Site::filled(name).await;
        if !runs {
            let leave = json!({});
            let (user, key) = ("@alice:example.org", "_@alice:example.org_AA_m.call");
            site.write(vec![event("$gone", CALL, user, key, 1, leave)])
                .await;
            assert!(site.get(&path).await.text.contains("No call now"));
        }

        rooms::record_room_error(&site.store, ROOM, None, "the last look failed", NOW)
            .await
            .unwrap();
        let page = site.get(&path).await.text;
        assert!(
            page.contains(">Unknown<") && !page.contains("No call now") && !page.contains("Now<"),
            "{page}"
        );
        rooms::clear_room_error(&site.store, ROOM, "the last look failed")
            .await
            .unwrap();
        vantages::set_standing(
            &site.store,
            "v",
            Some(("gone", NOW - 5 * MINUTE)),
            Some(NOW - 5 * MINUTE),
        )
        .await
        .unwrap();
        let page = site.get(&path).await.text;
        assert!(
            page.contains(">Unknown since") && page.contains(since),
            "{page}"
        );
        assert!(
            !page.contains("No call now") && !page.contains("Now<") && !page.contains("data-since"),
            "{page}"
        );
    }
}

/// The alert rules and the dashboard of the program use only existing metrics.
#[tokio::test]
async fn what_the_rules_ask_for_is_there() {
    let site = Site::filled("rules").await;
    let metrics = site.get("/metrics").await.text;

    for text in [
        include_str!("../../../contrib/alerts.yml"),
        include_str!("../../../contrib/grafana.json"),
    ] {
        let names = text.match_indices("callscope_").map(|(at, _)| {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            &text[at..at + text[at..].find(|letter| !is_name(letter)).unwrap()]
        });
        for name in names {
            let has = metrics.lines().any(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            assert!(has, "{name} is not in\n{metrics}");
        }
    }
}
