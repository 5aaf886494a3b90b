//! Lists: their order, page by page, the same on the page, in JSON and in files.

use crate::pages::site::{CALL, MINUTE, NOW, Site, event, text};
use callscope::rtc::words::Watch;
use callscope::store::ingest::rooms;
use serde_json::{Value, json};

/// A call of a given length (minutes) and number of people that began the given number of minutes
/// ago; the people join one minute apart.
fn call(index: i64, minutes_ago: i64, length: i64, people: i64) -> Vec<Value> {
    let stay = |person: i64| {
        let (user, key) = (
            format!("@p{person}:s{person}.example"),
            format!("_@p{person}:s{person}.example_{index}_m.call"),
        );
        let join = json!({ "application": "m.call", "call_id": "", "device_id": index.to_string(),
            "expires": 14_400_000,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": format!("https://sfu{person}.example"),
                "livekit_alias": "r" }] });
        [
            event(
                &format!("$j{index}-{person}"),
                CALL,
                &user,
                &key,
                minutes_ago,
                join,
            ),
            event(
                &format!("$l{index}-{person}"),
                CALL,
                &user,
                &key,
                minutes_ago - length,
                json!({}),
            ),
        ]
    };

    (0..people).flat_map(stay).collect()
}

async fn filled(name: &str) -> Site {
    let site = Site::filled(name).await;
    let calls = [
        (400, 5, 3),
        (500, 90, 1),
        (600, 20, 2),
        (700, 5, 2),
        (800, 33, 1),
        (900, 45, 4),
    ];
    for (index, (ago, length, people)) in calls.into_iter().enumerate() {
        site.write(call(i64::try_from(index).unwrap(), ago, length, people))
            .await;
    }

    site
}

/// All rows of a list, page by page, following `next_url`.
async fn all(site: &Site, path: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut path = path.to_owned();

    loop {
        let list = site.json(&path).await;
        found.extend(list["data"].as_array().unwrap().iter().cloned());
        let Some(next) = list["next_url"].as_str() else {
            return found;
        };

        next.strip_prefix("https://calls.example")
            .unwrap()
            .clone_into(&mut path);
    }
}

#[tokio::test]
async fn calls_are_sorted_alike_on_the_page_in_json_and_in_files() {
    let site = filled("sorted").await;
    let page = site.html("/calls?sort=people").await;
    assert!(page.contains("<option value=\"people\" selected>"));
    for word in [
        "started",
        "-duration",
        "duration",
        "-people",
        "people",
        "-peak",
        "peak",
    ] {
        assert!(
            page.contains(&format!("<option value=\"{word}\"")),
            "{word}"
        );
    }

    for (sort, key) in [
        ("started", "started_ms"),
        ("duration", "duration_ms"),
        ("people", "people"),
        ("peak", "peak"),
    ] {
        for minus in ["", "-"] {
            let sort = format!("{minus}{sort}");
            for filter in [
                "",
                "&status=ended",
                "&kind=group",
                "&from=2026-11-22T01:00:00Z",
            ] {
                let calls = all(&site, &format!("/api/v1/calls?sort={sort}&limit=2{filter}")).await;
                let keys: Vec<i64> = calls
                    .iter()
                    .map(|call| call[key].as_i64().unwrap())
                    .collect();
                let mut want = keys.clone();
                want.sort_unstable();
                if minus == "-" {
                    want.reverse();
                }

                assert_eq!(keys, want, "{sort}{filter}");
                let unsorted = site
                    .json(&format!("/api/v1/calls?{}", filter.trim_start_matches('&')))
                    .await;
                assert_eq!(
                    calls.len(),
                    unsorted["data"].as_array().unwrap().len(),
                    "{sort}{filter}"
                );
                let lines = site
                    .get(&format!("/api/v1/calls.ndjson?sort={sort}{filter}"))
                    .await
                    .text;
                let lines: Vec<Value> = lines
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect();
                assert_eq!(lines, calls, "{sort}{filter}");
                let table = site
                    .get(&format!("/api/v1/calls.csv?sort={sort}{filter}"))
                    .await
                    .text;
                let page = site.html(&format!("/calls?sort={sort}{filter}")).await;
                let mut at = 0;
                for (line, call) in table.lines().skip(1).zip(&calls) {
                    assert!(line.starts_with(text(&call["id"])), "{line}");
                    at += page[at..]
                        .find(&format!("href=\"/calls/{}\"", text(&call["id"])))
                        .expect("in this order");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_sorted_list_does_not_move_while_it_is_read() {
    let site = filled("still").await;
    let before = all(&site, "/api/v1/calls?sort=-duration").await;
    let first = site.json("/api/v1/calls?sort=-duration&limit=3").await;
    // The running call continues until it is the longest, and then a longer one is found.
    site.clock.advance(300 * MINUTE);
    site.write(call(9, -1, 200, 5)).await;
    let rest = all(
        &site,
        text(&first["next_url"])
            .strip_prefix("https://calls.example")
            .unwrap(),
    )
    .await;
    let ids = |calls: &[Value]| {
        calls
            .iter()
            .map(|call| text(&call["id"]).to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(
        [ids(first["data"].as_array().unwrap()), ids(&rest)].concat(),
        ids(&before)
    );
    let cursor = text(&first["next"]);
    let refused = site
        .get(&format!("/api/v1/calls?sort=duration&cursor={cursor}"))
        .await;
    assert_eq!(refused.status, 400, "a place of another order");
    assert!(text(&refused.json()["error"]).contains("with the same sort"));
}

#[tokio::test]
async fn the_heads_of_tables_sort() {
    let site = filled("heads").await;
    let page = site.html("/calls").await;
    assert!(
        page.contains(r#"<th aria-sort="descending"><a href="/calls?sort=started">Started ↓</a>"#),
        "{page}"
    );
    assert!(page.contains(r#"<th class="num"><a href="/calls?sort=-duration">Lasted</a>"#));
    assert!(page.contains("class=\"day\""));
    let page = site.html("/calls?sort=-duration&status=ended").await;
    assert!(
        page.contains(
            r#"aria-sort="descending"><a href="/calls?status=ended&#38;sort=duration">Lasted ↓</a>"#
        ),
        "{page}"
    );
    assert!(
        page.contains(r#"<option value="-duration" selected>"#) && !page.contains("class=\"day\"")
    );
    for (path, head) in [
        (
            "/rooms?sort=name",
            r#"aria-sort="ascending"><a href="/rooms?sort=-name">Room ↑</a>"#,
        ),
        (
            "/servers",
            r#"<th><a href="/servers?sort=server">Server</a>"#,
        ),
        (
            "/servers",
            r#"aria-sort="descending"><a href="/servers?sort=now">Now ↓</a>"#,
        ),
        (
            "/transports?period=7d",
            r#"<th class="num"><a href="/transports?period=7d&#38;sort=-calls">Calls</a>"#,
        ),
    ] {
        let page = site.html(path).await;
        assert!(page.contains(head), "{path}: {page}");
    }

    let error = site.get("/api/v1/servers?sort=size").await.json();
    assert_eq!(
        error["error"],
        "sort must be one of server, -server, people, -people, calls, -calls, time, -time, run_out, -run_out, now, -now"
    );
}

#[tokio::test]
async fn rooms_servers_and_sfus_come_a_page_at_a_time() {
    let site = filled("paged").await;
    for index in 0..7 {
        let room = format!("!r{index}:example.org");
        rooms::record_room_error(
            &site.store,
            &room,
            Some(Watch::Joined),
            "it is far away",
            NOW,
        )
        .await
        .unwrap();
    }

    for (path, id, total) in [
        ("rooms", "room_id", 8),
        ("servers", "server", 6),
        ("transports", "service_url", 5),
    ] {
        let whole = site.json(&format!("/api/v1/{path}?limit=500")).await;
        assert_eq!(
            (&whole["total"], &whole["next"]),
            (&json!(total), &Value::Null),
            "{path}"
        );
        let whole = whole["data"].as_array().unwrap();
        assert_eq!(whole.len(), total, "{path}");
        let paged = all(&site, &format!("/api/v1/{path}?limit=3")).await;
        assert_eq!(paged, *whole, "{path}");
        let first = site.html(&format!("/{path}?limit=3")).await;
        let (_, link) = first.split_once("rel=\"next\" href=\"").unwrap();
        let second = site
            .html(&link.split('"').next().unwrap().replace("&#38;", "&"))
            .await;
        assert!(
            second.contains(text(&whole[3][id]).trim_start_matches("https://")),
            "{path}: {second}"
        );
        assert!(
            second.contains(&format!("href=\"/{path}?limit=3\">First</a>")),
            "{path}"
        );
        assert!(
            second.contains(&format!(">{total} ")),
            "the headline counts all of them: {path}"
        );
    }

    let calls: Vec<Value> = all(&site, "/api/v1/servers?sort=calls&limit=2").await;
    assert!(
        calls.is_sorted_by_key(|server| server["calls"].as_i64()),
        "{calls:?}"
    );
    let names: Vec<Value> = all(&site, "/api/v1/rooms?sort=-name&limit=2").await;
    assert_eq!(
        names[0]["name"]
            .as_str()
            .map(|name| name.starts_with("War")),
        Some(true),
        "{names:?}"
    );
}

#[tokio::test]
async fn files_hold_the_whole_list_in_its_order() {
    let site = filled("lists").await;
    for (path, query, id) in [
        ("rooms", "sort=name", "room_id"),
        ("servers", "sort=-calls&period=7d", "server"),
        ("transports", "sort=sfu&period=7d", "service_url"),
    ] {
        let list = site
            .json(&format!("/api/v1/{path}?{query}&limit=500"))
            .await["data"]
            .clone();
        let list = list.as_array().unwrap();
        let lines = site.get(&format!("/api/v1/{path}.ndjson?{query}")).await;
        assert_eq!(
            (lines.status, lines.kind.as_str()),
            (200, "application/x-ndjson")
        );
        let lines: Vec<Value> = lines
            .text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines, *list, "{path}");
        let table = site.get(&format!("/api/v1/{path}.csv?{query}")).await;
        assert_eq!(table.kind, "text/csv; charset=utf-8");
        let rows: Vec<&str> = table.text.split_terminator("\r\n").collect();
        assert_eq!(rows.len(), list.len() + 1, "{path}");
        assert!(
            rows[0].contains(id)
                && rows[1..]
                    .iter()
                    .zip(list)
                    .all(|(row, one)| row.contains(text(&one[id]))),
            "{path}"
        );
        assert_eq!(
            site.get(&format!("/api/v1/{path}.csv?limit=1"))
                .await
                .status,
            400,
            "{path}"
        );
        let page = site.html(&format!("/{path}?{query}&limit=2")).await;
        let link = format!("/api/v1/{path}.csv?{query}").replace('&', "&#38;");
        assert!(
            page.contains(&format!("href=\"{link}\"")),
            "exactly what is shown, without its place: {page}"
        );
    }
}

#[tokio::test]
async fn rooms_and_servers_are_found_by_a_word() {
    let site = filled("words").await;
    for index in 0..3 {
        let room = format!("!far{index}:example.org");
        rooms::record_room_error(
            &site.store,
            &room,
            Some(Watch::Joined),
            "it is far away",
            NOW,
        )
        .await
        .unwrap();
    }

    for (path, id, asked, want, total) in [
        ("rooms", "room_id", "q=FAR1", vec!["!far1:example.org"], 4),
        (
            "rooms",
            "room_id",
            "q=+far+&sort=-name&limit=2",
            vec![
                "!far2:example.org",
                "!far1:example.org",
                "!far0:example.org",
            ],
            4,
        ),
        ("rooms", "room_id", "q=%25", vec![], 4),
        (
            "servers",
            "server",
            "q=S1.&period=7d",
            vec!["s1.example"],
            6,
        ),
        ("servers", "server", "q=nowhere", vec![], 6),
    ] {
        let list = site.json(&format!("/api/v1/{path}?{asked}")).await;
        assert_eq!(
            (&list["total"], &list["matching"]),
            (&json!(total), &json!(want.len())),
            "{path}?{asked}"
        );
        let found = all(&site, &format!("/api/v1/{path}?{asked}")).await;
        assert_eq!(
            found.iter().map(|one| text(&one[id])).collect::<Vec<_>>(),
            want,
            "{path}?{asked}"
        );
        let file = asked.replace("&limit=2", "");
        let lines = site
            .get(&format!("/api/v1/{path}.ndjson?{file}"))
            .await
            .text;
        assert_eq!(lines.lines().count(), want.len(), "{path}?{asked}");
        let page = site.html(&format!("/{path}?{asked}")).await;
        let words = if path == "rooms" {
            ["room", "fits"]
        } else {
            ["server", "fits"]
        };

        assert_eq!(
            page.contains(&format!("No {} fits your search", words[0])),
            want.is_empty(),
            "{path}?{asked}: {page}"
        );
        assert!(
            page.contains(&format!("{} {}", want.len(), words[0])),
            "how many: {page}"
        );
        assert!(
            page.contains(&format!("href=\"/api/v1/{path}.csv?")) || want.is_empty(),
            "{page}"
        );
    }
}

#[tokio::test]
async fn the_form_keeps_the_word_and_what_else_was_asked() {
    let site = filled("form").await;
    let page = site.html("/servers?q=s1&period=7d&sort=server").await;
    assert!(
        page.contains(r#"name="q" value="s1""#),
        "the word stands in the form: {page}"
    );
    for field in [
        r#"<input type="hidden" name="period" value="7d">"#,
        r#"<input type="hidden" name="sort" value="server">"#,
    ] {
        assert!(page.contains(field), "the rest stays as it is: {page}");
    }

    assert_eq!(site.get("/api/v1/transports?q=s1").await.status, 400);
    let alias = site.json("/api/v1/rooms?q=war").await;
    assert_eq!(alias["matching"], json!(1), "by its name");
}
