//! Events replaced unseen, memberships that came back, rings, and who was here at a past moment.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::{Fault, FaultKind};
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:other.example";
const OFTEN: (&str, &str) = ("POLL_SCHEDULE", "* * * * * *");
const MINUTE: i64 = 60_000;

async fn page(app: &Running, path: &str) -> String {
    reqwest::get(format!("{}{path}", app.http.base))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn replaced_events_are_followed_one_by_one_until_the_first_that_is_not_given() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now() - 100 * MINUTE;
    let mut member_key = Vec::new();
    for at in 0..10 {
        member_key.push(bed.joins(&room, ALICE, "AD", begin + 2 * at * 1000));
        member_key.push(bed.leaves(&room, ALICE, "AD", begin + (2 * at + 1) * 1000));
    }

    // More than fits into a timeline, so that only the newest event of the calls is left, in the
    // state.
    for n in 0..150 {
        bed.hs
            .join_user(&room, &format!("@guest{n}:sim.example"), begin + MINUTE);
    }

    let forbidden = json!({"errcode": "M_FORBIDDEN", "error": "no history for you"});
    bed.hs.inject(Fault::lasting(
        "/messages",
        FaultKind::Status(403, forbidden),
    ));
    let hidden = json!({"errcode": "M_NOT_FOUND", "error": "not for you"});
    bed.hs.inject(Fault::lasting(
        &quote(&member_key[6][1..]),
        FaultKind::Status(404, hidden),
    ));
    let app = bed.start().await;
    eventually("the hidden one is asked for", 60, async || {
        (bed.hs.count(&quote(&member_key[6][1..])) > 0).then_some(())
    })
    .await;
    app.calls_until("the calls since", |calls| calls.len() == 6)
        .await;
    // If it continued, it would do so at once.
    crate::support::pause(1000).await;
    let mut asked: Vec<String> = bed
        .hs
        .requests()
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    asked.retain(|path| path.contains("/event/"));
    let want: Vec<&String> = member_key[6..19].iter().rev().collect();
    assert_eq!(
        asked.len(),
        want.len(),
        "each once, and none behind it: {asked:#?}"
    );
    for (path, id) in asked.iter().zip(want) {
        assert!(path.contains(&quote(&id[1..])), "{path} is not {id}");
    }

    assert_eq!(
        app.calls().await.len(),
        6,
        "those that began after the hidden join"
    );
    app.app.stop().await;
}

/// A homeserver under load has an event whose predecessors it fetches later: they never come by
/// sync.
#[tokio::test]
async fn what_the_homeserver_does_not_have_yet_is_asked_for_again() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now() - 100 * MINUTE;
    bed.joins(&room, ALICE, "AD", begin);
    let unseen = bed.leaves(&room, ALICE, "AD", begin + 1000);
    bed.joins(&room, ALICE, "AD", begin + 2000);
    for n in 0..150 {
        bed.hs
            .join_user(&room, &format!("@guest{n}:sim.example"), begin + MINUTE);
    }

    let none = json!({"errcode": "M_NOT_FOUND", "error": "not yet"});
    bed.hs.inject(Fault::lasting(
        "/messages",
        FaultKind::Status(403, none.clone()),
    ));
    bed.hs.inject(Fault::once(
        &quote(&unseen[1..]),
        FaultKind::Status(404, none),
    ));
    let app = bed.start().await;
    app.calls_until("the running call alone", |calls| calls.len() == 1)
        .await;
    app.calls_until("the call before it, too", |calls| calls.len() == 2)
        .await;
    assert_eq!(
        bed.hs.count("/event/"),
        3,
        "the leave twice, the join behind it once"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_state_reset_that_brings_somebody_back_is_said() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    let begin = now() - 10_000;
    let joined = bed.joins(&room, ALICE, "AD", begin);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let leave = bed.leaves(&room, ALICE, "AD", begin + 5000);
    app.calls_until("its end", |calls| calls[0]["active"] == false)
        .await;
    crate::support::pause(1500).await;
    bed.hs.reset_state_silently(&room, &joined);
    let calls = app
        .calls_until("it is back", |calls| calls[0]["active"] == true)
        .await;
    let facts = app.room(&room).await;
    let zombie = &facts["zombies"][0];
    assert_eq!(
        (&zombie["event_id"], &zombie["newer_event_id"]),
        (&json!(joined), &json!(leave))
    );
    assert_eq!(zombie["call_id"], calls[0]["id"]);
    assert_eq!(
        calls[0]["members"].as_array().unwrap().last().unwrap()["evidence"]["start"]["by"],
        "reconciled"
    );
    assert!(
        page(&app, &format!("/rooms/{}", quote(&room)))
            .await
            .contains("state reset")
    );
    bed.joins(&room, BOB, "BD", now());
    app.calls_until("another look", |calls| calls[0]["people"] == 2)
        .await;
    crate::support::pause(1500).await;
    assert_eq!(
        app.room(&room).await["zombies"].as_array().unwrap().len(),
        1,
        "said once"
    );
    bed.leaves(&room, ALICE, "AD", now());
    bed.leaves(&room, BOB, "BD", now());
    app.calls_until("the real end", |calls| calls[0]["active"] == false)
        .await;
    app.app.stop().await;
}

#[tokio::test]
async fn rings_declines_and_slots_stand_with_the_call() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let begin = now() - 10 * MINUTE;
    let joined = bed.joins(&room, ALICE, "AD", begin);
    let rel = |id: &str| json!({"rel_type": "m.reference", "event_id": id});
    let ring = json!({"notification_type": "ring", "sender_ts": begin + 100, "lifetime": 30_000,
        "m.mentions": {"user_ids": [BOB]}, "m.relates_to": rel(&joined)});
    let ring = bed.hs.send_event(
        &room,
        ALICE,
        "org.matrix.msc4075.rtc.notification",
        ring,
        begin + 200,
    );
    let decline = json!({"m.relates_to": rel(&ring)});
    let decline = bed.hs.send_event(
        &room,
        BOB,
        "org.matrix.msc4310.rtc.decline",
        decline,
        begin + 9000,
    );
    let other = json!({"notification_type": "ring", "m.relates_to": rel("$another")});
    bed.hs
        .send_event(&room, BOB, "m.rtc.notification", other, begin + 9500);
    bed.hs.send_state(
        &room,
        ALICE,
        "org.matrix.msc4143.rtc.slot",
        "m.call#ROOM",
        json!({"status": "closed"}),
        begin + MINUTE,
    );
    bed.leaves(&room, ALICE, "AD", begin + 2 * MINUTE);
    let app = bed.start().await;
    let call = app
        .calls_until("the call", |calls| {
            calls.len() == 1 && calls[0]["active"] == false
        })
        .await
        .remove(0);
    let path = format!("/calls/{}", call["id"].as_str().unwrap());
    let related = eventually("all of it", 30, async || {
        let related = app.json(&format!("/api/v1{path}")).await["related"].clone();
        Some(related).filter(|related| related.as_array().unwrap().len() == 3)
    })
    .await;
    let kinds: Vec<&str> = related
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ring", "decline", "slot_closed"]);
    assert_eq!(
        (&related[0]["whom"], &related[0]["at_ms"]),
        (&json!([BOB]), &json!(begin + 100))
    );
    assert_eq!(
        (&related[1]["relates_to"], &related[1]["event_id"]),
        (&json!(ring), &json!(decline))
    );
    let html = page(&app, &path).await;
    assert!(
        html.contains("alice rang bob")
            && html.contains("bob declined")
            && html.contains("#e-ring")
    );
    app.app.stop().await;
}

#[tokio::test]
async fn who_was_here_at_a_moment_can_be_asked() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let begin = now() - 100 * MINUTE;
    bed.joins(&room, ALICE, "AD", begin);
    bed.joins(&room, BOB, "BD", begin + MINUTE);
    bed.leaves(&room, ALICE, "AD", begin + 2 * MINUTE);
    bed.leaves(&room, BOB, "BD", begin + 3 * MINUTE);
    bed.joins(&room, BOB, "BD", begin + 50 * MINUTE);
    let app = bed.start().await;
    app.calls_until("both calls", |calls| calls.len() == 2)
        .await;
    let path = format!("/api/v1/rooms/{}", quote(&room));
    let people = async |at: i64| {
        let then = app.json(&format!("{path}/members?at={at}")).await;
        let members = then["data"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|call| call["members"].as_array().unwrap().clone());
        members
            .map(|member: Value| member["user_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(people(begin - 1).await, Vec::<String>::new());
    assert_eq!(people(begin).await, [ALICE]);
    assert_eq!(people(begin + MINUTE).await, [ALICE, BOB]);
    assert_eq!(people(begin + 2 * MINUTE).await, [BOB]);
    assert_eq!(people(begin + 3 * MINUTE).await, Vec::<String>::new());
    assert_eq!(people(begin + 51 * MINUTE).await, [BOB]);
    let flips = app.json(&format!("{path}/flips?from={}", begin + 1)).await;
    let flips: Vec<_> = flips["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flip| (flip["at_ms"].as_i64().unwrap() - begin, flip["on"] == true))
        .collect();
    assert_eq!(flips, [(50 * MINUTE, true), (3 * MINUTE, false)]);
    for bad in ["members?at=soon", "members?at=9999999999999", "flips?at=5"] {
        assert_eq!(
            app.http.get(&format!("{path}/{bad}")).await.status,
            400,
            "{bad}"
        );
    }

    assert_eq!(
        app.http.get("/api/v1/rooms/%21none/members").await.status,
        404
    );
    let html = page(
        &app,
        &format!("/rooms/{}?at={}", quote(&room), begin + MINUTE),
    )
    .await;
    assert!(
        html.contains("2 devices in")
            && html.contains("Call ended")
            && html.contains("read from history")
    );
    assert_eq!(
        app.json(&format!("{path}?at={begin}")).await["then"]["data"][0]["members"][0]["user_id"],
        ALICE
    );
    app.app.stop().await;
}
