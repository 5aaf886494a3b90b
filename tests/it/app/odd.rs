//! Unusual homeservers: history that ends too early or never, missing endpoints, other logins,
//! first answers that are slow or too large.

use crate::app::bed::{Bed, Running, join, key, now};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::{Fault, FaultKind, MessagesMode, NewRoom};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const ALICE: &str = "@alice:sim.example";
const DAY: i64 = 86_400_000;

fn unrecognized(status: u16) -> FaultKind {
    FaultKind::Status(
        status,
        json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}),
    )
}

/// Short calls, two seconds apart, from `begin` on.
fn calls_at(bed: &Bed, room: &str, calls: i64, begin: i64) {
    for n in 0..calls {
        bed.joins(room, ALICE, "AD", begin + n * 2000);
        bed.leaves(room, ALICE, "AD", begin + n * 2000 + 1000);
    }
}

/// An older room with some calls, more than the first sync returns.
fn old_room(bed: &Bed) -> String {
    let like = NewRoom {
        ts: now() - 20 * DAY,
        ..NewRoom::default()
    };

    let room = bed.hs.create_room(like);
    bed.hs.join_user(&room, ALICE, now() - 20 * DAY);
    calls_at(bed, &room, 100, now() - 19 * DAY);
    calls_at(bed, &room, 100, now() - DAY);
    bed.hs.join_user(&room, &bed.bot, now() - 1_000_000);

    room
}

/// The room, once its newest read of history has ended for this reason.
async fn ended(app: &Running, room: &str, why: &str) -> Value {
    eventually(&format!("history ends: {why}"), 120, async || {
        Some(app.room(room).await).filter(|room| room["walks"][0]["ended_by"] == why)
    })
    .await
}

fn kinds(room: &Value) -> Vec<&str> {
    let spans = room["coverage"].as_array().unwrap();
    spans
        .iter()
        .map(|span| span["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn history_that_is_given_in_odd_ways_is_read_to_its_beginning() {
    for pages in [
        MessagesMode::Right,
        MessagesMode::EmptyEnd,
        MessagesMode::Twice,
    ] {
        let bed = Bed::new().await;
        let room = old_room(&bed);
        bed.hs.set_pages(pages);
        let app = bed.start().await;
        let facts = ended(&app, &room, "beginning").await;
        assert_eq!(facts["calls"], 200, "{pages:?}");
        assert!(!kinds(&facts).contains(&"gap"), "{pages:?}: {facts}");
        app.app.stop().await;
    }
}

#[tokio::test]
async fn a_homeserver_that_gives_no_more_hides_nothing_and_is_asked_again() {
    let bed = Bed::new().await;
    let room = old_room(&bed);
    bed.hs.set_pages(MessagesMode::StopsEarly);
    let app = bed.start().await;
    let facts = ended(&app, &room, "no_more").await;
    assert_eq!(kinds(&facts)[0], "gap", "unknown, not hidden: {facts}");
    assert!(!kinds(&facts).contains(&"not_visible"), "{facts}");
    assert!(facts["walks"][0]["again_ms"].as_i64().unwrap() > now() - 60_000);
    let status = app.json("/api/v1/status").await;
    assert_eq!(
        status["walks_short"][0]["room"]["room_id"],
        json!(room),
        "{status}"
    );
    assert_eq!(status["history_short"], 1);
    let page = app.page("/status").await;
    assert!(
        page.contains("Now is seen, and history only in part") && !page.contains("All is well"),
        "{page}"
    );
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["watched"]["history_short"], 1);
    let kinds_of_unseen = overview["unseen"].to_string();
    assert!(
        kinds_of_unseen.contains("history_short"),
        "{kinds_of_unseen}"
    );
    let page = app.page("/").await;
    assert!(
        page.contains("with only a part of the history") && !page.contains("is well and"),
        "{page}"
    );
    for path in ["/status".to_owned(), format!("/rooms/{}", quote(&room))] {
        let page = app.page(&path).await;
        assert!(
            page.contains("gave no more") && page.contains("asked again"),
            "{path}: {page}"
        );
        assert!(!page.contains("as far as we may see"), "{path}");
    }

    bed.hs.set_pages(MessagesMode::Right);
    let facts = ended(&app, &room, "beginning").await;
    assert_eq!(facts["calls"], 200);
    assert!(!kinds(&facts).contains(&"gap"), "{facts}");
    assert_eq!(
        app.json("/api/v1/status").await["walks_short"],
        json!([]),
        "it is over"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn pages_that_end_where_they_began_are_no_end() {
    let bed = Bed::new().await;
    let room = old_room(&bed);
    bed.hs.set_pages(MessagesMode::SameToken(3));
    let app = bed.start().await;
    assert_eq!(ended(&app, &room, "beginning").await["calls"], 200);
    app.app.stop().await;
}

#[tokio::test]
async fn circles_and_pages_without_end_slow_down_and_stop() {
    let kinds_of_pages = [
        (MessagesMode::Circle, "circle"),
        (MessagesMode::Endless, "endless"),
        (MessagesMode::EndlessSame, "endless"),
    ];
    // In parallel, because they mostly wait until they may ask again.
    join_all(kinds_of_pages.map(async |(pages, why)| {
        let bed = Bed::new().await;
        let room = old_room(&bed);
        bed.hs.set_pages(pages);
        let app = bed.start().await;
        let facts = ended(&app, &room, why).await;
        assert_eq!(kinds(&facts)[0], "gap", "{pages:?}: {facts}");
        assert!(
            bed.hs.count("/messages") < 60,
            "{pages:?}: {} pages",
            bed.hs.count("/messages")
        );
        let page = app.page(&format!("/rooms/{}", quote(&room))).await;
        assert!(page.contains("not read to its end"), "{pages:?}: {page}");
        app.app.stop().await;
    }))
    .await;
}

#[tokio::test]
async fn a_wider_horizon_reads_on_and_forgets_nothing() {
    let bed = Bed::new().await;
    let room = old_room(&bed);
    let app = bed.start_with(&[("BACKFILL_DAYS", "3")]).await;
    let before = ended(&app, &room, "horizon").await;
    assert_eq!(before["calls"], 100);
    app.app.stop().await;
    let known = |facts: &Value| {
        let spans = facts["coverage"].as_array().unwrap().clone();
        let read = spans.iter().find(|span| span["kind"] == "backfilled");
        read.unwrap()["from_ms"].as_i64().unwrap()
    };

    // The first pages of the new read are delayed: what was read before stays known meanwhile.
    bed.hs.inject(Fault::times(
        "/messages",
        2,
        FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "x"})),
    ));
    let app = bed.start_with(&[("BACKFILL_DAYS", "30")]).await;
    let opened = eventually("a new read", 30, async || {
        let facts = app.room(&room).await;
        (facts["walks"].as_array().unwrap().len() == 2).then_some(facts)
    })
    .await;
    assert!(known(&opened) <= known(&before), "{opened}");
    let facts = ended(&app, &room, "beginning").await;
    assert_eq!(facts["calls"], 200);
    assert_eq!(facts["walks"][1]["ended_by"], "horizon");
    assert!(!kinds(&facts).contains(&"gap"), "{facts}");
    app.app.stop().await;
    let app = bed.start_with(&[("BACKFILL_DAYS", "30")]).await;
    app.ready().await;
    app.once_read(&room).await;
    let walks = app.room(&room).await["walks"].clone();
    let of_history = walks.as_array().unwrap().iter();
    assert_eq!(
        of_history
            .filter(|walk| walk["reason"] == "history")
            .count(),
        2,
        "once: {walks}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn endpoints_that_are_missing_are_done_without() {
    for missing in [
        "/filter",
        "/joined_rooms",
        "client/versions",
        "/whoami",
        "/capabilities",
        "/rtc/transports",
    ] {
        for status in [404, 405, 500] {
            // A server that answers with an error is asked again whose token this is.
            if status == 500 && missing == "/whoami" {
                continue;
            }

            let bed = Bed::new().await;
            let room = bed.room(&[ALICE]);
            bed.joins(&room, ALICE, "AD", now() - 5000);
            bed.hs.inject(Fault::lasting(missing, unrecognized(status)));
            let app = bed.start().await;
            let what = format!("{missing} {status}");
            app.calls_until(&what, |calls| calls.len() == 1).await;
            bed.leaves(&room, ALICE, "AD", now());
            app.calls_until(&what, |calls| calls[0]["active"] == false)
                .await;
            let vantage = app.json("/api/v1/status").await["vantages"][0].clone();
            if missing == "client/versions" {
                assert!(vantage["capabilities_ms"].is_null(), "{vantage}");
            }

            app.app.stop().await;
        }
    }
}

#[tokio::test]
async fn polls_do_without_the_list_of_rooms() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 5000);
    bed.hs
        .inject(Fault::lasting("/joined_rooms", unrecognized(404)));
    let app = bed
        .start_with(&[("MODE", "poll"), ("POLL_SCHEDULE", "* * * * * *")])
        .await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    app.app.stop().await;
}

fn by_password<'a>(user: &'a str, password: &'a str, file: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("ACCESS_TOKEN", ""),
        ("USER_ID", user),
        ("PASSWORD", password),
        ("CREDENTIALS_FILE", file),
    ]
}

#[tokio::test]
async fn a_homeserver_without_passwords_is_said_with_what_to_do() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.set_flows(vec![
        json!({"type": "m.login.sso", "org.matrix.msc3824.delegated_oidc_compatibility": true}),
        json!({"type": "m.login.token"}),
    ]);
    let file = bed.folder.path().join("device.json");
    let keys = by_password(&bed.bot, "secret", file.to_str().unwrap());
    let app = bed.start_with(&keys).await;
    let status = app
        .status_until("it is said", |status| {
            status["vantages"][0]["needs_action"] == true
        })
        .await;
    let error = status["vantages"][0]["error"].as_str().unwrap().to_owned();
    for words in [
        "mas-cli manage issue-compatibility-token bot",
        "CALLSCOPE_ACCESS_TOKEN",
        "m.login.sso",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }

    assert_eq!(bed.logins(), 0, "the password is not sent");
    assert!(app.page("/status").await.contains("mas-cli"));
    app.app.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_said_once() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let file = bed.folder.path().join("device.json");
    let keys = by_password(&bed.bot, "wrong", file.to_str().unwrap());
    let app = bed.start_with(&keys).await;
    app.status_until("it is said", |status| {
        status["vantages"][0]["needs_action"] == true
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let vantage = app.json("/api/v1/status").await["vantages"][0].clone();
    assert_eq!(vantage["errors"], 1, "{vantage}");
    let error = vantage["error"].as_str().unwrap();
    assert!(
        error.contains("not tried again") && error.contains("CALLSCOPE_PASSWORD"),
        "{error}"
    );
    assert_eq!(bed.logins(), 1);
    app.app.stop().await;
    let keys = by_password(&bed.bot, "secret", file.to_str().unwrap());
    let app = bed.start_with(&keys).await;
    app.ready().await;
    assert_eq!(
        app.json("/api/v1/status").await["vantages"][0]["needs_action"],
        false
    );
    app.app.stop().await;
}

#[tokio::test]
async fn tokens_that_run_out_are_renewed_without_a_word() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.hs.set_token_life(1500);
    let file = bed.folder.path().join("device.json");
    let keys = by_password(&bed.bot, "secret", file.to_str().unwrap());
    let app = bed.start_with(&keys).await;
    app.ready().await;
    eventually("three tokens", 30, async || {
        (bed.hs.count("/refresh") >= 3).then_some(())
    })
    .await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("a call is seen", |calls| calls.len() == 1)
        .await;
    let vantage = app.json("/api/v1/status").await["vantages"][0].clone();
    assert!(vantage["error"].is_null(), "{vantage}");
    app.app.stop().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let app = bed.start_with(&keys).await;
    app.ready().await;
    assert_eq!(bed.logins(), 1, "nobody logs in again, also at a start");
    app.app.stop().await;
}

#[tokio::test]
async fn a_first_answer_is_waited_for_and_asked_for_in_the_same_words() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.inject(Fault::times(
        "/sync",
        2,
        FaultKind::Status(504, json!({"errcode": "M_UNKNOWN", "error": "proxy"})),
    ));
    bed.hs.inject(Fault::once(
        "/sync",
        FaultKind::Slow(Duration::from_secs(4)),
    ));
    let app = bed.start().await;
    let status = app
        .status_until("it is said", |status| {
            status["vantages"][0]["preparing_since_ms"].is_i64()
        })
        .await;
    assert!(status["vantages"][0]["preparing_since_at"].is_string());
    let page = app.page("/status").await;
    assert!(page.contains("id=\"preparing\""), "{page}");
    app.ready().await;
    let status = app
        .status_until("it came", |status| {
            status["vantages"][0]["preparing_since_ms"].is_null()
        })
        .await;
    assert!(status["vantages"][0]["error"].is_null(), "{status}");
    let asked = bed.hs.requests();
    let mut first: Vec<&String> = asked
        .iter()
        .map(|(_, path)| path)
        .filter(|path| path.contains("/sync") && !path.contains("since="))
        .collect();
    assert_eq!(first.len(), 3);
    first.dedup();
    assert_eq!(first.len(), 1, "the same question each time");
    app.app.stop().await;
}

/// State events of one member, with about this many bytes in total.
fn large_state(bed: &Bed, room: &str, bytes: usize) {
    let mut content = join("AD");
    content["padding"] = json!("x".repeat(57_000));

    for n in 0..bytes / 57_000 {
        let key = key(ALICE, &format!("D{n}"));
        content["device_id"] = json!(format!("D{n}"));
        bed.hs.send_state(
            room,
            ALICE,
            crate::app::bed::MEMBER,
            &key,
            content.clone(),
            now(),
        );
    }
}

#[tokio::test]
async fn a_room_that_is_too_large_for_memory_holds_up_no_other() {
    let bed = Bed::new().await;
    let small: Vec<String> = (0..3).map(|_| bed.room(&[ALICE])).collect();
    let large = bed.room(&[ALICE]);
    for room in &small {
        bed.joins(room, ALICE, "AD", now() - 5000);
    }

    // Smaller than the limit for reading in pieces, and larger than what is kept in memory.
    large_state(&bed, &large, 6_000_000);
    let keys = [("MAX_RESPONSE_MB", "1"), ("BACKFILL", "false")];
    let app = bed.start_with(&keys).await;
    app.ready().await;
    app.calls_until("all rooms", |calls| calls.len() == 4).await;
    let vantage = app.json("/api/v1/status").await["vantages"][0].clone();
    assert_eq!(vantage["errors"], 0, "it comes in pieces: {vantage}");
    // The poll of its state comes in pieces, too: a member in an earlier piece has not gone.
    let whole = eventually("the large room was polled", 60, async || {
        let room = app.room(&large).await;
        room["polled_ms"].is_i64().then_some(room)
    })
    .await;
    assert_eq!(whole["state_resets"], json!([]), "{whole}");
    let calls = app.calls().await;
    assert!(
        calls.iter().all(|call| call["active"] == true),
        "nobody was thrown out: {calls:?}"
    );
    app.app.stop().await;

    // More than that, while the app is stopped: each room is read by itself.
    large_state(&bed, &large, 20_000_000);
    for room in &small {
        bed.leaves(room, ALICE, "AD", now());
    }

    let app = bed.start_with(&keys).await;
    app.calls_until("the others go on", |calls| {
        let ended = calls.iter().filter(|call| call["active"] == false);
        ended.count() == 3
    })
    .await;
    let error = eventually("it is said on the room", 60, async || {
        app.room(&large).await["error"]
            .as_str()
            .map(ToOwned::to_owned)
    })
    .await;
    assert!(error.contains("larger than"), "{error}");
    app.status_until("following goes on", |status| {
        status["vantages"][0]["error"].is_null()
    })
    .await;
    bed.joins(&small[0], ALICE, "NEW", now());
    app.calls_until("what is new comes by sync", |calls| {
        calls
            .iter()
            .any(|call| call["active"] == true && call["room"]["room_id"] == json!(small[0]))
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn redirects_to_other_places_are_not_followed() {
    let bed = Bed::new().await;
    let other = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.inject(Fault::lasting(
        "/_matrix",
        FaultKind::Redirect(format!(
            "{}/_matrix/client/v3/account/whoami",
            other.hs.url()
        )),
    ));
    let app = bed.start().await;
    let status = app
        .status_until("it is said", |status| {
            status["vantages"][0]["error"].is_string()
        })
        .await;
    let error = status["vantages"][0]["error"].as_str().unwrap();
    assert!(error.contains("CALLSCOPE_HOMESERVER_URL"), "{error}");
    assert_eq!(other.hs.requests().len(), 0, "nobody else is asked");
    app.app.stop().await;
}

#[tokio::test]
async fn what_our_own_homeserver_offers_comes_before_what_is_published() {
    for knows in [true, false] {
        let bed = Bed::new().await;
        let room = bed.room(&[ALICE]);
        bed.hs.set_feature("org.matrix.msc4143", knows);
        bed.hs.set_transports(vec![
            json!({"type": "livekit", "livekit_service_url": "https://SFU.example/jwt/"}),
        ]);
        if knows {
            bed.hs.set_capabilities(json!({
                "m.delayed_events": {"max_delay_ms": 600_000, "max_scheduled": 50},
            }));
        }

        bed.hs
            .inject(Fault::lasting(".well-known", unrecognized(404)));
        let app = bed.start().await;
        app.ready().await;
        bed.joins(&room, ALICE, "AD", now());
        app.calls_until("a call", |calls| calls.len() == 1).await;
        let status = app
            .status_until("it was asked", |status| {
                status["vantages"][0]["own"].is_object()
            })
            .await;
        let own = &status["vantages"][0]["own"];
        let server = app.json("/api/v1/servers/sim.example").await;
        assert_eq!(server["own"], *own);
        let page = app.page("/servers/sim.example").await;
        if knows {
            assert_eq!(own["transports"]["state"], "ok");
            assert_eq!(own["sfus"], json!(["https://sfu.example/jwt"]));
            // They are in order of address: the one that the call names comes before it.
            let sfus = server["sfus"].as_array().unwrap();
            let offered = sfus
                .iter()
                .find(|sfu| sfu["service_url"] == "https://sfu.example/jwt");
            assert_eq!(offered.unwrap()["published"], true, "{server}");
            assert_eq!(
                (&own["max_delay_ms"], &own["max_scheduled"]),
                (&json!(600_000), &json!(50))
            );
            assert_eq!(own["delegated_leave_possible"], false);
            for words in [
                "Offers 1 SFU",
                "up to 10 min",
                "too short for a delayed leave",
            ] {
                assert!(page.contains(words), "{words}: {page}");
                assert!(app.page("/status").await.contains(words), "{words}");
            }
        } else {
            assert_eq!(own["transports"]["state"], "missing", "no fault");
            assert_eq!(own["capabilities"]["state"], "missing");
            assert!(own["max_delay_ms"].is_null());
        }

        assert!(status["vantages"][0]["error"].is_null());
        app.app.stop().await;
    }
}
