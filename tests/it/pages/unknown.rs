//! Unknown is not empty: every place that shows who is in a call now says "unknown" if it is, and
//! all places agree.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote};
use callscope::rtc::words::Watch;
use callscope::store::ingest::{rooms, vantages};
use serde_json::{Value, json};

/// A site with only ended calls; its room was polled a minute ago.
async fn quiet(name: &str) -> Site {
    let site = Site::filled(name).await;
    let gone = event(
        "$gone",
        CALL,
        "@alice:example.org",
        "_@alice:example.org_AA_m.call",
        1,
        json!({}),
    );
    site.write(vec![gone]).await;
    site.change(&[format!("update rooms set polled_ms = {}", NOW - MINUTE)])
        .await;

    site
}

/// Checks that every place says it: a word in JSON, and a word on each page.
async fn says_unknown(site: &Site, why: &str) {
    let (room, server) = (quote(ROOM), "example.org");
    for path in [
        "/api/v1/overview".to_owned(),
        "/api/v1/wall".to_owned(),
        "/api/v1/calls/active".to_owned(),
        "/api/v1/rooms".to_owned(),
        "/api/v1/status".to_owned(),
        "/api/v1/servers".to_owned(),
        format!("/api/v1/rooms/{room}"),
        format!("/api/v1/rooms/{room}/members"),
    ] {
        let answer = site.json(&path).await;
        assert_eq!(
            (&answer["unknown"], &answer["unknown_why"]),
            (&json!(true), &json!(why)),
            "{path}"
        );
    }

    let listed = site.json("/api/v1/rooms").await["data"][0].clone();
    let status = site.json("/api/v1/status").await["unknown_in"][0].clone();
    let now = site.json(&format!("/api/v1/servers/{server}")).await["now"].clone();
    for one in [listed, status, now.clone()] {
        assert_eq!(
            (&one["unknown"], &one["unknown_why"]),
            (&json!(true), &json!(why))
        );
    }

    assert_eq!(now["can_tell"], false);
    for path in [
        format!("/badge/rooms/{room}/active.json"),
        format!("/badge/servers/{server}/active.json"),
    ] {
        let badge = site.json(&path).await;
        assert_eq!(
            (&badge["message"], &badge["isError"]),
            (&json!("unknown"), &json!(true)),
            "{path}"
        );
    }

    let metrics = site.get("/metrics").await.text;
    for line in ["callscope_now_known 0", "callscope_rooms_unknown 1"] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }

    for path in [
        "/".to_owned(),
        "/wall".to_owned(),
        "/rooms".to_owned(),
        "/servers".to_owned(),
        format!("/rooms/{room}"),
        format!("/embed/rooms/{room}"),
        "/feed/calls.atom".to_owned(),
        format!("/feed/rooms/{room}/calls.atom"),
        format!("/feed/rooms/{room}/calls.ics"),
    ] {
        let text = site.get(&path).await.text.to_lowercase();
        let says = text.contains("unknown") || text.contains("not known whether");
        assert!(says, "{path}: {text}");
        for unsaid in ["no calls now", "no call now", "nobody was in a call"] {
            assert!(!text.contains(unsaid), "{path} says {unsaid}: {text}");
        }
    }

    let server = site.html(&format!("/servers/{server}")).await;
    assert!(server.contains("We cannot tell"), "{server}");
}

#[tokio::test]
async fn where_memberships_are_encrypted() {
    let site = quiet("unknown-encrypted").await;
    let secret = json!({ "event_id": "$secret", "type": "m.room.encrypted",
        "sender": "@alice:example.org",
        "origin_server_ts": NOW - 2 * MINUTE, "msc4354_sticky": { "duration_ms": 3_600_000 },
        "content": { "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x" } });
    site.write(vec![secret]).await;
    says_unknown(&site, "encrypted").await;

    // Visible members are shown; others may be there.
    let join = json!({ "application": "m.call", "call_id": "", "device_id": "AA",
        "expires": 14_400_000,
        "focus_active": { "type": "livekit" } });
    let key = "_@alice:example.org_AA_m.call";
    site.write(vec![event(
        "$more",
        CALL,
        "@alice:example.org",
        key,
        0,
        join,
    )])
    .await;
    let active = site.json("/api/v1/calls/active").await;
    let call = &active["data"][0];
    assert_eq!(
        (&call["state"], &call["people_now"], &call["others_unknown"]),
        (&json!("running"), &json!(1), &json!(true))
    );
    let badge = format!("/badge/rooms/{}/active.json", quote(ROOM));
    assert_eq!(site.json(&badge).await["message"], "at least 1 person");
    let overview = site.html("/").await;
    assert!(overview.contains("1 call now, 1 person"), "{overview}");
    assert!(overview.contains("it is unknown who is in a call"));
    assert!(!overview.contains("is alone") && !overview.contains("Healthy"));

    // A sticky event lasts an hour at most.
    site.change(&[format!(
        "update events set origin_server_ts = {} where rejected = 'encrypted'",
        NOW - 61 * MINUTE
    )])
    .await;
    assert_eq!(site.json("/api/v1/overview").await["unknown"], false);
}

#[tokio::test]
async fn where_the_room_cannot_be_read() {
    let site = quiet("unknown-unreadable").await;
    rooms::record_room_error(&site.store, ROOM, None, "403", NOW)
        .await
        .unwrap();
    says_unknown(&site, "unreadable").await;
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Blind), "403", NOW)
        .await
        .unwrap();
    says_unknown(&site, "unreadable").await;
    rooms::record_room_error(&site.store, ROOM, Some(Watch::Left), "gone", NOW)
        .await
        .unwrap();
    // The room says so; it no longer counts for the present of all rooms.
    let room = site.json(&format!("/api/v1/rooms/{}", quote(ROOM))).await;
    assert_eq!(room["unknown_why"], "left");
    let status = site.json("/api/v1/status").await;
    assert_eq!(
        (&status["unknown"], &status["unknown_in"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(site.json("/api/v1/overview").await["unknown_rooms"], 0);
}

#[tokio::test]
async fn where_the_poll_is_old() {
    let site = quiet("unknown-old").await;
    let polled = |ago: i64| {
        [format!(
            "update rooms set watch = 'peeked', polled_ms = {}",
            NOW - ago * MINUTE
        )]
    };

    site.change(&polled(1)).await;
    assert_eq!(
        site.json("/api/v1/overview").await["unknown"],
        false,
        "a fresh poll"
    );
    site.change(&polled(13)).await;
    says_unknown(&site, "old_poll").await;
    site.change(&["update vantages set polls_every_ms = 3600000".to_owned()])
        .await;
    assert_eq!(
        site.json("/api/v1/overview").await["unknown"],
        false,
        "it polls every hour"
    );
}

#[tokio::test]
async fn where_nobody_hears_the_homeserver_or_nothing_was_read_yet() {
    let site = quiet("unknown-unheard").await;
    vantages::set_standing(
        &site.store,
        "v",
        Some(("it does not answer", NOW - MINUTE)),
        Some(NOW - MINUTE),
    )
    .await
    .unwrap();
    says_unknown(&site, "not_heard").await;
    vantages::set_standing(&site.store, "v", Some(("the probe fails", NOW)), None)
        .await
        .unwrap();
    assert_eq!(
        site.json("/api/v1/overview").await["unknown"],
        false,
        "another work fails, and the homeserver is heard"
    );
    vantages::set_standing(&site.store, "v", None, None)
        .await
        .unwrap();
    assert_eq!(site.json("/api/v1/overview").await["unknown"], false);
    site.change(&[format!(
        "update vantages set last_sync_ms = {}",
        NOW - 6 * MINUTE
    )])
    .await;
    says_unknown(&site, "not_heard").await;
    site.change(&["update vantages set first_sync_ms = null".to_owned()])
        .await;
    says_unknown(&site, "not_read").await;
}

#[tokio::test]
async fn what_ran_when_the_homeserver_was_heard_last_is_not_said_to_run() {
    let site = Site::filled("unknown-running").await;
    site.change(&[format!(
        "update rooms set replaced_by = '!next:example.org', replaced_ms = {}",
        NOW - 20 * MINUTE
    )])
    .await;
    let room = format!("/rooms/{}", quote(ROOM));
    assert!(site.html(&room).await.contains("A call still runs here"));
    assert!(site.html("/transports").await.contains("1 in use now"));
    vantages::set_standing(
        &site.store,
        "v",
        Some(("it does not answer", NOW - MINUTE)),
        Some(NOW - MINUTE),
    )
    .await
    .unwrap();

    let page = site.html(&room).await;
    assert!(
        page.contains("A call ran when last seen here") && !page.contains("still runs"),
        "{page}"
    );
    let finding = site.json(&format!("/api/v1{room}")).await["findings"][0].clone();
    assert_eq!(
        (&finding["kind"], &finding["now_unknown"]),
        (&json!("replaced"), &json!(true))
    );
    let page = site.html("/servers").await;
    assert!(
        page.contains("People of 1 server were in a call when last seen")
            && page.contains("1 person when last seen")
            && page.contains("unknown since"),
        "{page}"
    );
    for claim in [">nobody<", "are in a call now", "Nobody"] {
        assert!(!page.contains(claim), "{claim}: {page}");
    }

    let page = site.html("/transports").await;
    assert!(
        page.contains("1 in use when last seen") && page.contains("in use now is not known since"),
        "{page}"
    );
    assert!(!page.contains("1 in use now"), "{page}");
    let sfus = site.json("/api/v1/transports").await;
    assert_eq!(
        (&sfus["unknown_why"], &sfus["data"][0]["last_ms"]),
        (&json!("not_heard"), &json!(NOW - MINUTE)),
        "{sfus}"
    );
    let page = site.html("/").await;
    assert!(
        !page.contains("still runs") && page.contains("when last seen"),
        "{page}"
    );
}

#[tokio::test]
async fn a_moment_that_nobody_watched_is_unknown() {
    let site = quiet("unknown-then").await;
    let path = format!("/api/v1/rooms/{}/members?at=", quote(ROOM));
    let then = site.json(&format!("{path}{}", NOW - 800 * MINUTE)).await;
    assert_eq!(
        (&then["unknown"], &then["unknown_why"], &then["data"]),
        (&json!(true), &json!("not_watched"), &json!([])),
        "{then}"
    );
    site.watched_since(NOW - 900 * MINUTE).await;
    let then = site.json(&format!("{path}{}", NOW - 800 * MINUTE)).await;
    assert_eq!(
        (&then["unknown"], &then["unknown_why"]),
        (&json!(false), &Value::Null),
        "{then}"
    );
}

#[tokio::test]
async fn just_ended_are_those_that_ended_last() {
    let site = quiet("just-ended").await;
    let join = json!({ "application": "m.call", "call_id": "", "device_id": "AA",
        "expires": 14_400_000,
        "focus_active": { "type": "livekit" } });
    let mut events = Vec::new();
    // Sixty short calls after the long one began, and it ended after all of them.
    for number in 0..60 {
        let (at, key) = (200 - 3 * number, "_@bob:other.example_BB_m.call");
        let mut content = join.clone();
        content["call_id"] = json!(format!("short{number}"));
        for (id, at, content) in [("in", at, content), ("out", at - 1, json!({}))] {
            let id = format!("${id}{number}");
            events.push(event(&id, CALL, "@bob:other.example", key, at, content));
        }
    }

    let mut content = join.clone();
    content["call_id"] = json!("long");
    let key = "_@alice:example.org_LL_m.call";
    events.push(event("$in", CALL, "@alice:example.org", key, 210, content));
    events.push(event("$out", CALL, "@alice:example.org", key, 2, json!({})));
    site.write(events).await;
    let ended = site.json("/api/v1/overview").await["ended"].clone();
    let ended: Vec<&Value> = ended.as_array().unwrap().iter().collect();
    let times: Vec<i64> = ended
        .iter()
        .map(|call| call["ended_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    assert!(
        ended.iter().any(|call| call["slot_id"] == "m.call#long"),
        "{ended:?}"
    );
}
