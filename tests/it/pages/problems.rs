//! The list of all findings: the same before and after they are derived, filtered, paged, linked.

use crate::pages::site::{MINUTE, NOW, ROOM, Site, event, member, quote, text};
use callscope::rtc::broken_call::REJOIN_GRACE_MS;
use callscope::store::findings::derive::{derive_next_findings, list_underived_calls};
use callscope::store::findings::list::{FindingFilter, count_findings};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const HOUR: i64 = 60 * MINUTE;

/// Joins a call for four hours, on an SFU of this host.
fn join(id: &str, user: &str, at_ms: i64, selection: &str, sfu: &str) -> Value {
    let focus = json!([{ "type": "livekit", "livekit_service_url": format!("https://{sfu}") }]);
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 4 * HOUR, "m.call.intent": "video",
        "focus_active": { "type": "livekit", "focus_selection": selection },
        "foci_preferred": focus });
    member(id, user, at_ms, content)
}

fn leave(id: &str, user: &str, at_ms: i64) -> Value {
    member(id, user, at_ms, json!({}))
}

/// A call in which two people could not hear each other, and one in which a client was killed, of
/// days ago; and a ghost of now.
async fn site_with_problems(name: &str) -> Site {
    let site = Site::filled(name).await;
    let (apart, killed, ghost) = (NOW - 60 * HOUR, NOW - 40 * HOUR, NOW - 3 * HOUR);
    let oldest = "oldest_membership";
    site.write(vec![
        join("$p1", "@old:ash.example", apart, oldest, "one.example"),
        join(
            "$p2",
            "@new:elm.example",
            apart + 10 * MINUTE,
            "multi_sfu",
            "two.example",
        ),
        leave("$p3", "@new:elm.example", apart + 40 * MINUTE),
        leave("$p4", "@old:ash.example", apart + 50 * MINUTE),
        join(
            "$k1",
            "@lost:elm.example",
            killed,
            "multi_sfu",
            "one.example",
        ),
        join(
            "$k2",
            "@here:ash.example",
            killed,
            "multi_sfu",
            "one.example",
        ),
        leave("$k3", "@here:ash.example", killed + HOUR),
        join(
            "$g1",
            "@gone:elm.example",
            ghost,
            "multi_sfu",
            "one.example",
        ),
    ])
    .await;

    site
}

async fn derive_all(site: &Site) {
    while derive_next_findings(&site.store, NOW, REJOIN_GRACE_MS)
        .await
        .unwrap()
    {}
    assert!(
        list_underived_calls(&site.store, NOW, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

fn ids(list: &Value) -> Vec<String> {
    let rows = list["data"].as_array().unwrap();
    rows.iter().map(|row| text(&row["id"]).to_owned()).collect()
}

#[tokio::test]
async fn findings_are_the_same_computed_and_derived() {
    let site = site_with_problems("problems").await;
    let before = site.json("/api/v1/problems").await;
    let kinds: Vec<&str> = before["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(&row["kind"]))
        .collect();
    assert_eq!(kinds, ["silent", "no_goodbye", "apart"], "{before}");
    assert_eq!(before["open_total"], 1);
    let ghost = &before["data"][0];
    assert_eq!(ghost["open"], true);
    assert_eq!(ghost["server"], "elm.example");
    assert!(text(&ghost["clear"]["curl"]).contains("_%40gone%3Aelm.example_D"));

    derive_all(&site).await;
    let after = site.json("/api/v1/problems").await;
    assert_eq!(before["data"], after["data"], "derived or not");

    // The page of a call has the same findings, each with a page of its own.
    for row in after["data"].as_array().unwrap() {
        let call = site
            .json(&format!("/api/v1/calls/{}", text(&row["call_id"])))
            .await;
        let of_call = call["findings"].as_array().unwrap();
        assert!(of_call.iter().any(|finding| finding["id"] == row["id"]));
        let one = site
            .json(&format!("/api/v1/problems/{}", text(&row["id"])))
            .await;
        assert_eq!(one["title"], row["title"]);
        assert_eq!(one["from_ms"], row["from_ms"]);
        let html = site.html(&format!("/problems/{}", text(&row["id"]))).await;
        assert!(html.contains("What to do"));
    }

    let html = site.html("/problems").await;
    assert!(html.contains("1 open problem") && html.contains("data-copy"));
    assert_eq!(site.get("/problems/nosuch").await.status, 404);
}

#[tokio::test]
async fn whoever_changes_a_call_takes_its_findings_away() {
    let site = site_with_problems("stale").await;
    derive_all(&site).await;
    let before = site.json("/api/v1/problems?kind=no_goodbye").await;
    assert_eq!(ids(&before).len(), 1);
    // A goodbye that was read late: nobody was lost.
    site.write(vec![leave(
        "$late",
        "@lost:elm.example",
        NOW - 40 * HOUR + 2 * MINUTE,
    )])
    .await;
    let after = site.json("/api/v1/problems?kind=no_goodbye").await;
    assert_eq!(ids(&after).len(), 0, "{after}");
    derive_all(&site).await;
    let after = site.json("/api/v1/problems?kind=no_goodbye").await;
    assert_eq!(ids(&after).len(), 0);
    assert_eq!(
        ids(&site.json("/api/v1/problems?kind=apart").await).len(),
        1
    );
}

/// Somebody joins the call at `from_ms`, and leaves the room an hour later.
fn events_of_left_over(from_ms: i64) -> [Value; 2] {
    let user = "@away:ash.example";
    let leave = json!({"membership": "leave"});
    let mut out = event("$out", "m.room.member", user, user, 0, leave);
    out["origin_server_ts"] = (from_ms + HOUR).into();

    [join("$in", user, from_ms, "multi_sfu", "one.example"), out]
}

#[tokio::test]
async fn what_is_left_over_ends_when_a_moderator_redacts_it() {
    let site = Site::filled("left_over_redacted").await;
    site.write(events_of_left_over(NOW - 3 * HOUR).into()).await;
    let path = "/api/v1/problems?kind=left_over";
    assert_eq!(ids(&site.json(path).await).len(), 1);

    let content = json!({"redacts": "$in"});
    let moderator = "@mod:ash.example";
    let mut redaction = event("$redact", "m.room.redaction", moderator, "", 0, content);
    redaction["origin_server_ts"] = (NOW - HOUR).into();
    redaction["redacts"] = "$in".into();
    redaction.as_object_mut().unwrap().remove("state_key");
    site.write(vec![redaction]).await;
    for derived in [false, true] {
        if derived {
            derive_all(&site).await;
        }

        let past = site.json(path).await;
        assert_eq!(ids(&past).len(), 1, "derived: {derived}, {past}");
        assert_eq!(past["data"][0]["open"], false, "{past}");
        assert_eq!(past["data"][0]["until_ms"], json!(NOW - HOUR), "{past}");
    }
}

#[tokio::test]
async fn what_is_left_over_is_open_until_somebody_empties_it() {
    let site = Site::filled("left_over").await;
    let from_ms = NOW - 3 * HOUR;
    let [came, out] = events_of_left_over(from_ms);
    let state_key = text(&came["state_key"]).to_owned();
    site.write(vec![came, out]).await;

    // The call is over; what it left behind is open, before and after it is derived.
    let path = "/api/v1/problems?kind=left_over";
    let computed = site.json(path).await;
    derive_all(&site).await;
    let stored = site.json(path).await;
    for list in [&computed, &stored] {
        assert_eq!(ids(list).len(), 1, "{list}");
        let one = &list["data"][0];
        let told = [
            "open",
            "ghost_class",
            "sure",
            "mender",
            "until_ms",
            "counts_until_ms",
        ];
        assert_eq!(
            json!(told.map(|key| one[key].clone())),
            json!([
                true,
                "left",
                "computed",
                "room_moderators",
                null,
                from_ms + 4 * HOUR
            ]),
        );
        assert_eq!(one["clear"]["event_id"], "$in");
        assert_eq!(one["clear"]["state_key"], json!(state_key));
        assert_eq!(one["clear"]["for_moderators"], true);
        assert!(text(&one["clear"]["curl"]).starts_with("curl -X PUT"));
    }
    assert_eq!(ids(&site.json(&format!("{path}&open=no")).await).len(), 0);
    let page = site.html(&format!("/problems/{}", ids(&stored)[0])).await;
    assert!(page.contains("unless it is cleared") && page.contains("a moderator of the room"));

    // Whether it was emptied in a room that is no longer read is not known.
    for (watch, listed) in [("left", 0), ("joined", 1)] {
        site.change(&[format!("update rooms set watch = '{watch}'")])
            .await;
        assert_eq!(ids(&site.json(path).await).len(), listed, "{watch}");
    }

    let mut emptied = event(
        "$empty",
        "org.matrix.msc3401.call.member",
        "@mod:ash.example",
        &state_key,
        0,
        json!({}),
    );
    emptied["origin_server_ts"] = (NOW - HOUR).into();
    site.write(vec![emptied]).await;
    for derived in [false, true] {
        if derived {
            derive_all(&site).await;
        }
        let open = site.json(&format!("{path}&open=yes")).await;
        assert_eq!(ids(&open).len(), 0, "derived: {derived}, {open}");
        let past = site.json(path).await;
        assert_eq!(past["data"][0]["until_ms"], json!(NOW - HOUR), "{past}");
        assert_eq!(past["data"][0]["clear"], json!(null));
    }
}

#[tokio::test]
async fn filters_have_the_same_names_everywhere() {
    let site = site_with_problems("filters").await;
    for derived in [false, true] {
        if derived {
            derive_all(&site).await;
        }

        for (query, want) in [
            ("", 3),
            ("open=yes", 1),
            ("open=no", 2),
            ("kind=apart", 1),
            ("certainty=probably", 1),
            ("certainty=computed", 2),
            ("server=elm.example", 3),
            ("server=ash.example", 1),
            ("person=%40old%3Aash.example", 1),
            ("person=%40new%3Aelm.example", 1),
            ("sfu=one.example", 1),
            ("sfu=two.example", 0),
            (&format!("room={}", quote(ROOM)), 3),
            ("room=%21other%3Aexample.org", 0),
            (&format!("from={}", NOW - 50 * HOUR), 2),
            (&format!("to={}", NOW - 50 * HOUR), 1),
        ] {
            let list = site.json(&format!("/api/v1/problems?{query}")).await;
            assert_eq!(ids(&list).len(), want, "{query}, derived: {derived}");
            let csv = site.get("/api/v1/problems.csv").await.text;
            assert_eq!(csv.lines().count(), 4, "{csv}");
            assert_eq!(site.get(&format!("/problems?{query}")).await.status, 200);
        }

        for (query, want) in [
            ("finding=any", 3),
            ("finding=apart", 1),
            ("finding=silent", 1),
            ("certainty=computed", 2),
            ("finding=apart&certainty=probably", 0),
            ("finding=lost_power", 0),
            ("intent=video", 3),
            ("intent=audio", 0),
        ] {
            let room = quote(ROOM);
            let path = format!("/api/v1/calls?room={room}&server=elm.example&{query}");
            assert_eq!(ids(&site.json(&path).await).len(), want, "{query}");
        }
    }

    for bad in ["kind=solo", "open=1", "certainty=sure", "cursor=x"] {
        assert_eq!(
            site.get(&format!("/api/v1/problems?{bad}")).await.status,
            400
        );
    }

    let metrics = site.get("/metrics").await.text;
    assert!(metrics.contains("callscope_findings{kind=\"silent\",state=\"open\"} 1"));
    assert!(metrics.contains("callscope_findings{kind=\"apart\",state=\"past\"} 1"));
    let feed = site.get("/feed/problems.atom?kind=apart").await.text;
    assert_eq!(feed.matches("<entry>").count(), 1);
}

#[tokio::test]
async fn pages_of_the_list_have_each_finding_once() {
    let site = Site::filled("pages").await;
    let mut events = Vec::new();
    for nth in 0..12 {
        // Two at the same time each, so that a page ends between them.
        let at_ms = NOW - (30 + 20 * (nth / 2)) * HOUR;
        let user = format!("@u{nth}:elm.example");
        events.push(join(
            &format!("$j{nth}"),
            &user,
            at_ms,
            "multi_sfu",
            "one.example",
        ));
    }
    events.push(join(
        "$now",
        "@gone:elm.example",
        NOW - 3 * HOUR,
        "multi_sfu",
        "one.example",
    ));
    site.write(events).await;
    for derived in [false, true] {
        if derived {
            derive_all(&site).await;
        }

        let whole = ids(&site.json("/api/v1/problems").await);
        let mut paged = Vec::new();
        let mut path = "/api/v1/problems?limit=2".to_owned();
        loop {
            let page = site.json(&path).await;
            paged.extend(ids(&page));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/api/v1/problems?limit=2&cursor={next}");
        }

        assert_eq!(paged, whole);
        assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), paged.len());
        assert!(whole.len() >= 13, "{}", whole.len());
    }
}

#[tokio::test]
async fn an_empty_list_says_what_was_looked_at() {
    let site = Site::empty("none").await;
    let html = site.html("/problems").await;
    assert!(html.contains("No open problem<"));
    let html = site.html("/problems?kind=apart").await;
    assert!(html.contains("No open problem matches"));

    // Past ones alone are no reason to say that no problem is open.
    let site = site_with_problems("headline").await;
    let html = site.html("/problems?open=no").await;
    assert!(html.contains(">Past problems<"), "{html}");
    assert!(!html.contains("No open problem"));
}

#[tokio::test]
async fn nothing_is_called_right_while_calls_are_still_to_be_looked_at() {
    let site = Site::filled("deriving").await;
    let mut events = Vec::new();
    for nth in 0..210_i64 {
        let at_ms = NOW - 60 * HOUR - nth * 10 * MINUTE;
        let user = "@here:ash.example";
        events.push(join(
            &format!("$d{nth}"),
            user,
            at_ms,
            "multi_sfu",
            "one.example",
        ));
        events.push(leave(&format!("$e{nth}"), user, at_ms + MINUTE));
    }
    site.write(events).await;
    let list = site.json("/api/v1/problems").await;
    assert_eq!(list["still_deriving"], true, "{list}");
    let html = site.html("/problems").await;
    assert!(html.contains("Nothing found so far"), "{html}");
    assert!(!html.contains("Nothing is wrong"));
    derive_all(&site).await;
    assert!(site.html("/problems").await.contains("Nothing is wrong"));
}

#[tokio::test]
async fn findings_of_large_calls_do_not_vanish_from_the_list() {
    let site = Site::filled("largeproblems").await;
    let began = NOW - 60 * HOUR;
    // In the middle of a call of many stays two people could not hear each other.
    let mut events = vec![join(
        "$o",
        "@old:ash.example",
        began,
        "multi_sfu",
        "one.example",
    )];
    for at in 0..1300_i64 {
        let user = format!("@u{at}:ash.example");
        let joined = began + MINUTE + at * 5000;
        events.push(join(
            &format!("$j{at}"),
            &user,
            joined,
            "multi_sfu",
            "one.example",
        ));
        events.push(leave(&format!("$l{at}"), &user, joined + 4000));
    }
    let middle = began + MINUTE + 650 * 5000;
    for (name, sfu) in [("one", "one.example"), ("two", "two.example")] {
        let user = format!("@{name}:elm.example");
        let selection = "oldest_membership";
        events.push(join(&format!("$j{name}"), &user, middle, selection, sfu));
        events.push(leave(&format!("$l{name}"), &user, middle + 90_000));
    }
    events.push(leave("$e", "@old:ash.example", began + 3 * HOUR));
    events.sort_by_key(|event| event["origin_server_ts"].as_i64());
    site.write(events).await;
    derive_all(&site).await;

    let stored = count_findings(&site.store, &FindingFilter::default(), 100)
        .await
        .unwrap();
    assert!(stored > 0, "the call has findings");
    let list = site.json("/api/v1/problems?open=no").await;
    assert_eq!(ids(&list).len(), usize::try_from(stored).unwrap(), "{list}");
    for id in ids(&list) {
        assert_eq!(site.get(&format!("/problems/{id}")).await.status, 200);
    }
}
