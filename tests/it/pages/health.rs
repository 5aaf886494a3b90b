//! Facts about a server besides its calls: its clock, how it says goodbye; and the outcomes of
//! rings.

use crate::pages::site::{EVIL, MINUTE, NOW, ROOM, Site, member, quote, text};
use callscope::store::ingest::probes::{self, RequestResult, ServerResult, SfuResult};
use serde_json::{Value, json};

const RING: &str = "org.matrix.msc4075.rtc.notification";
const SECOND: i64 = 1000;

fn join(id: &str, user: &str, at_ms: i64) -> Value {
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 14_400_000,
        "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
        "foci_preferred": [] });
    member(id, user, at_ms, content)
}

fn message(id: &str, kind: &str, user: &str, at_ms: i64, content: &Value) -> Value {
    json!({ "event_id": id, "type": kind, "sender": user, "origin_server_ts": at_ms,
        "content": content })
}

/// A call of Carol, who rings `whom`; Dan joins, declines, or does neither.
fn ringing(index: i64, at_ms: i64, whom: &[&str]) -> Vec<Value> {
    let ring = json!({ "notification_type": "ring", "sender_ts": at_ms, "lifetime": 30_000,
        "m.mentions": { "user_ids": whom, "room": false },
        "m.relates_to": { "rel_type": "m.reference", "event_id": format!("$c{index}") } });

    vec![
        join(&format!("$c{index}"), "@carol:c.example", at_ms),
        message(
            &format!("$ring{index}"),
            RING,
            "@carol:c.example",
            at_ms + 100,
            &ring,
        ),
        member(
            &format!("$cl{index}"),
            "@carol:c.example",
            at_ms + 5 * MINUTE,
            json!({}),
        ),
    ]
}

async fn rung(name: &str) -> Site {
    let site = Site::filled(name).await;
    let at = |index: i64| NOW - (100 + 10 * index) * MINUTE;
    for index in 0..4 {
        site.write(ringing(index, at(index), &["@dan:d.example"]))
            .await;
    }

    let decline = json!({ "m.relates_to": { "rel_type": "m.reference", "event_id": "$ring1" } });
    let silent = json!({ "notification_type": "notification", "m.mentions": { "room": true } });
    site.write(vec![
        join("$d0", "@dan:d.example", at(0) + 12 * SECOND),
        member("$dl0", "@dan:d.example", at(0) + 4 * MINUTE, json!({})),
        message(
            "$no",
            "org.matrix.msc4310.rtc.decline",
            "@dan:d.example",
            at(1) + 9 * SECOND,
            &decline,
        ),
        // Two minutes later the ring is over.
        join("$d2", "@dan:d.example", at(2) + 2 * MINUTE),
        member("$dl2", "@dan:d.example", at(2) + 4 * MINUTE, json!({})),
        // Somebody came who was not rung.
        join("$e3", "@erin:c.example", at(3) + 10 * SECOND),
        member("$el3", "@erin:c.example", at(3) + 4 * MINUTE, json!({})),
        message("$silent", RING, "@dan:d.example", at(3), &silent),
    ])
    .await;

    site
}

#[tokio::test]
async fn what_became_of_rings_is_told_by_call_room_server_and_in_all() {
    let site = rung("rings").await;
    let want = json!({ "sent": 4, "answered": 1, "declined": 1, "missed": 2, "ringing": 0,
        "silent": 1,
        "withdrawn": 0, "usual_answer_ms": 12_000, "whole": true });
    assert_eq!(
        site.json("/api/v1/statistics?period=7d").await["rings"],
        want
    );
    assert_eq!(
        site.json(&format!("/api/v1/rooms/{}", quote(ROOM))).await["rings"],
        want
    );
    let of_server = site.json("/api/v1/servers/c.example?period=7d").await["rings"].clone();
    assert_eq!(
        (&of_server["sent"], &of_server["silent"]),
        (&json!(4), &json!(0))
    );
    let other = site.json("/api/v1/servers/d.example?period=7d").await["rings"].clone();
    assert_eq!(
        (&other["sent"], &other["silent"]),
        (&json!(0), &json!(1)),
        "by who rang, not by who was rung"
    );

    for (event, outcome, answered) in [
        ("$c0", "answered", json!(12_000)),
        ("$c1", "declined", Value::Null),
        ("$c2", "missed", Value::Null),
        ("$c3", "missed", Value::Null),
    ] {
        let place = site
            .get(&format!("/api/v1/calls/{}", quote(event)))
            .await
            .place;
        let related = site.json(&place).await["related"].clone();
        let ring = related
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["kind"] == "ring")
            .unwrap()
            .clone();
        assert_eq!(ring["outcome"], outcome, "{event}");
        let after = ring["answered_ms"].as_i64().map_or(Value::Null, |ms| {
            json!(ms - ring["at_ms"].as_i64().unwrap())
        });
        assert_eq!(after, answered, "{event}");
        let page = site.html(place.strip_prefix("/api/v1").unwrap()).await;
        let said = match outcome {
            "answered" => ": answered after 12 s",
            "missed" => ": not answered",
            _ => ": declined",
        };

        assert!(page.contains(said), "{page}");
    }

    for path in ["/statistics?period=7d", "/servers/c.example?period=7d"] {
        let page = site.html(path).await;
        assert!(
            page.contains("Of 4 rings 1 was answered; usually within 12 s"),
            "{path}: {page}"
        );
        assert!(
            page.contains("missed <b>2</b>") && page.len() < 60_000,
            "{path}"
        );
    }

    assert!(
        site.html(&format!("/rooms/{}", quote(ROOM)))
            .await
            .contains("1 more notification did not ring")
    );
}

#[tokio::test]
async fn a_ring_that_is_not_over_is_neither_missed_nor_answered() {
    let site = Site::filled("pending").await;
    site.write(ringing(7, NOW - 20 * SECOND, &[])[..2].to_vec())
        .await;
    let rings = site.json("/api/v1/statistics").await["rings"].clone();
    assert_eq!(
        (&rings["ringing"], &rings["missed"]),
        (&json!(1), &json!(0)),
        "{rings}"
    );
}

/// Three servers: one whose clock is ahead, one whose clock is right, one that is behind.
async fn with_clocks(name: &str) -> Site {
    let site = Site::filled(name).await;
    // The stream is received since NOW - MINUTE; the events of the first answer are old and are not
    // used for clocks.
    let came = NOW - 50 * SECOND;
    let old = (0..20).flat_map(|index| {
        let at = NOW - (60 + index) * MINUTE;
        [
            join(&format!("$o{index}"), "@x:well.example", at),
            member(&format!("$p{index}"), "@x:well.example", at + 30, json!({})),
        ]
    });
    site.write_live(old.collect(), NOW - MINUTE).await;
    // In order of arrival: if our clock went back, it would not be believed.
    for index in 0..12 {
        let came = came + 2 * SECOND * index;
        for (server, ahead, state) in [
            ("fast.example", 3400, true),
            ("well.example", -400, false),
            ("slow.example", -75_000, false),
        ] {
            let user = format!("@x:{server}");
            let mut joined = join(&format!("$j{index}-{server}"), &user, came + ahead);
            if state {
                joined["content"]["created_ts"] =
                    json!(came + ahead + if index < 4 { 50 } else { -50 });
            }

            site.write_live(vec![joined], came).await;
        }

        let came = came + SECOND;
        for (server, ahead) in [
            ("fast.example", 3400),
            ("well.example", -400),
            ("slow.example", -75_000),
        ] {
            let left = member(
                &format!("$l{index}-{server}"),
                &format!("@x:{server}"),
                came + ahead,
                json!({}),
            );
            site.write_live(vec![left], came).await;
        }
    }

    site
}

#[tokio::test]
async fn a_clock_is_read_from_what_came_live() {
    let site = with_clocks("clocks").await;
    let clock = async |server: &str| {
        site.json(&format!("/api/v1/servers/{server}?period=7d"))
            .await["clock"]
            .clone()
    };

    let fast = clock("fast.example").await;
    assert!(fast["live_events"].as_i64().unwrap() >= 10, "{fast}");
    assert_eq!(fast["behind_ms"], -3400, "{fast}");
    assert!(
        fast["stated_events"].as_i64().unwrap() >= 10
            && fast["created_ahead"].as_i64().unwrap() >= 3,
        "{fast}"
    );
    assert_eq!(fast["after_created_ms"], -50, "{fast}");
    let well = clock("well.example").await;
    assert_eq!(
        (&well["behind_ms"], &well["live_events"]),
        (&json!(400), &json!(24)),
        "{well}"
    );
    let slow = clock("slow.example").await;
    assert_eq!(slow["behind_ms"], 75_000, "{slow}");
    let few = clock("other.example").await;
    assert_eq!(
        (&few["behind_ms"], &few["after_created_ms"]),
        (&Value::Null, &Value::Null),
        "{few}"
    );
    let page = site.html("/servers/fast.example?period=7d").await;
    assert!(
        page.contains("At least 3.4 s ahead of ours")
            && page.contains("clocks of devices are ahead"),
        "{page}"
    );
    assert!(
        site.html("/servers/other.example?period=7d")
            .await
            .contains("Too few events to say")
    );

    let list = site.json("/api/v1/servers?period=7d").await;
    for server in list["data"].as_array().unwrap() {
        assert_eq!(
            server["clock"],
            clock(text(&server["server"])).await,
            "the list and the page say the same"
        );
    }

    let page = site.html("/servers?period=7d").await;
    let table = &page[page.find("id=\"clocks\"").unwrap()..];
    let [slow, fast, well] =
        ["slow.example", "fast.example", "well.example"].map(|name| table.find(name).unwrap());
    assert!(slow < fast && fast < well, "the most off first: {table}");
    assert!(
        page.contains("2 not in agreement with ours") && table.contains("Agrees with ours"),
        "{page}"
    );
}

#[tokio::test]
async fn how_stays_end_says_whether_goodbyes_come() {
    let site = Site::filled("goodbyes").await;
    let stay = |index: i64, server: &str, left: bool| {
        let user = format!("@p{index}:{server}");
        let at = NOW - 900 * MINUTE + index * MINUTE;
        let mut stay = vec![join(&format!("$j{index}-{server}"), &user, at)];
        if left {
            let why = if index == 0 {
                json!({ "leave_reason": "CONNECTION_LOST" })
            } else {
                json!({})
            };

            stay.push(member(
                &format!("$l{index}-{server}"),
                &user,
                at + MINUTE,
                why,
            ));
        }

        stay
    };

    site.write(
        (0..80)
            .flat_map(|index| stay(index, "good.example", true))
            .collect(),
    )
    .await;
    site.write(
        (0..60)
            .flat_map(|index| stay(index, "bad.example", index % 2 == 0))
            .collect(),
    )
    .await;
    let good = site.json("/api/v1/servers/good.example").await["delayed_events"].clone();
    assert_eq!(
        good,
        json!({ "left": 80, "delayed_leave": 1, "expired": 0, "verdict": "works" })
    );
    let bad = site.json("/api/v1/servers/bad.example").await["delayed_events"].clone();
    assert_eq!(
        bad,
        json!({ "left": 30, "delayed_leave": 1, "expired": 30, "verdict": "fails" })
    );
    let page = site.html("/servers/bad.example").await;
    assert!(
        page.contains(
            "Lost connections are not reported</span></span>: 30 expired, 30 left, 1 of them"
        ),
        "{page}"
    );
}

/// Sixty probed servers, one of them with a problem; and an SFU.
async fn asked(site: &Site) {
    let answer = |state: &str, why: Option<&str>| RequestResult {
        state: state.parse().unwrap(),
        why: why.map(ToOwned::to_owned),
    };

    for index in 0..60 {
        let server = format!("a-long-name-of-a-server-{index:02}.matrix.example");
        let user = format!("@somebody:{server}");
        let at = NOW - 600 * MINUTE;
        let content = join("$x", &user, at)["content"].clone();
        site.write(vec![
            member(&format!("$j{index}"), &user, at, content),
            member(
                &format!("$l{index}"),
                &user,
                at + index * MINUTE + 1,
                json!({}),
            ),
        ])
        .await;
        let result = ServerResult {
            well_known: answer(
                if index == 3 { "failed" } else { "ok" },
                (index == 3).then_some(EVIL),
            ),
            versions: answer(
                if index == 3 { "refused" } else { "ok" },
                Some("it leads to an address that is not public"),
            ),
            homeserver_url: Some(format!("https://matrix.{server}")),
            sfus: vec![format!("https://livekit.{server}/jwt"); 3],
            delayed_events: (index != 3).then_some(true),
            sticky_events: (index != 3).then_some(false),
            rtc_transports: (index != 3).then_some(true),
        };

        probes::record_result(&site.store, &server, &result, NOW - MINUTE)
            .await
            .unwrap();
    }

    let sfu = SfuResult {
        health: answer("failed", Some("it answered 502 Bad Gateway")),
        took_ms: None,
        delegates_leave: None,
        cors: None,
    };

    probes::record_result(&site.store, "https://sfu.example/jwt", &sfu, NOW - MINUTE)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_said_when_asked_is_on_the_pages_and_they_stay_small() {
    let site = Site::filled("probed").await;
    asked(&site).await;
    for path in [
        "/servers",
        "/servers?sort=server",
        "/transports",
        "/servers/example.org",
    ] {
        let page = site.get(path).await.text;
        assert!(page.len() < 60_000, "{path}: {}", page.len());
        assert!(
            !page.contains("<script>") && !page.contains("switched off"),
            "{path}"
        );
    }

    let page = site.html("/servers?sort=server").await;
    assert!(
        page.contains("Client API: Not asked: it leads")
            && page.contains("Names 3 SFUs; has delayed events"),
        "{page}"
    );
    assert!(
        page.contains("Of 60 servers that were asked, 59 answer, 60 publish an <dfn"),
        "{page}"
    );
    let page = site
        .html("/servers/a-long-name-of-a-server-03.matrix.example")
        .await;
    assert!(
        page.contains("Not asked: it leads to an address that is not public"),
        "{page}"
    );
    assert!(
        site.html("/servers/example.org")
            .await
            .contains("Not asked yet")
    );
    assert!(
        site.html("/transports")
            .await
            .contains("No good answer: it answered 502 Bad Gateway")
    );
    let own = site
        .json("/api/v1/servers/a-long-name-of-a-server-03.matrix.example")
        .await;
    assert_eq!(
        (&own["probe"]["well_known"]["why"], &own["drift"]),
        (&json!(EVIL), &Value::Null)
    );
}
