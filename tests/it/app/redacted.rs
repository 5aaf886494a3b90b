//! Redacted events are redacted here, too: in pages, views and the bytes of the database; the stays
//! remain.

use crate::app::bed::{Bed, MEMBER, Running, join, key, now};
use crate::app::sieve::files_with;
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const RING: &str = "org.matrix.msc4075.rtc.notification";

/// A join with text that is not needed.
fn secret_join(device: &str) -> Value {
    let mut content = join(device);
    content["note"] = json!("SECRET-NOTE");
    content["m.call.intent"] = json!("SECRET-INTENT");
    content["foci_preferred"][0]["livekit_service_url"] =
        json!("https://secret-sfu.example/SECRET-PATH");

    content
}

fn joins_secretly(bed: &Bed, room: &str, user: &str, at: i64) -> String {
    bed.hs
        .send_state(room, user, MEMBER, &key(user, "AD"), secret_join("AD"), at)
}

async fn spans(app: &Running) -> Vec<Value> {
    let mut spans: Vec<Value> = app
        .calls()
        .await
        .iter()
        .map(|call| {
            json!([
                call["id"],
                call["started_ms"],
                call["ended_ms"],
                call["people"],
                call["devices"]
            ])
        })
        .collect();
    spans.sort_by_key(Value::to_string);

    spans
}

/// Everything that is shown of it, as HTML and as JSON.
async fn shown(app: &Running, room: &str) -> String {
    let mut text = String::new();
    let mut paths = vec![
        "/calls".to_owned(),
        "/rejected".to_owned(),
        format!("/rooms/{room}"),
    ];
    for call in app.calls().await {
        paths.push(format!("/calls/{}", call["id"].as_str().unwrap()));
    }

    for path in paths {
        text += &app.page(&path).await;
        text += &app.json(&format!("/api/v1{path}")).await.to_string();
    }

    text
}

#[tokio::test]
async fn the_content_goes_and_the_stays_remain() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let begin = now() - 600_000;
    let first = joins_secretly(&bed, &room, ALICE, begin);
    bed.leaves(&room, ALICE, "AD", begin + 60_000);
    let ring = json!({"notification_type": "ring", "sender_ts": begin, "lifetime": 30_000,
        "note": "SECRET-RING"});
    let ring = bed.hs.send_event(&room, ALICE, RING, ring, begin + 10);
    let mut broken = secret_join("AD");
    broken["scope"] = json!({"x": "SECRET-SCOPE"});
    let rejected = bed
        .hs
        .send_state(&room, BOB, MEMBER, &key(BOB, "BD"), broken, begin + 70_000);
    let app = bed.start().await;
    app.once_read(&room).await;
    let before = spans(&app).await;
    assert_eq!(before.len(), 1);
    assert!(
        shown(&app, &room).await.contains("SECRET"),
        "the test is one"
    );
    for (at, target) in (0_i64..).zip([&first, &ring, &rejected]) {
        bed.hs.redact(&room, ALICE, target, begin + 100_000 + at);
    }

    crate::support::eventually("nothing of it is shown", 60, async || {
        (!shown(&app, &room).await.contains("SECRET")).then_some(())
    })
    .await;
    assert_eq!(
        spans(&app).await,
        before,
        "the first join is not current any more"
    );
    let call = before[0][0].as_str().unwrap();
    let page = app.json(&format!("/api/v1/calls/{call}")).await;
    let evidence = page["evidence"].as_array().unwrap();
    assert!(
        evidence
            .iter()
            .any(|one| one["redacted"] == true && one["event"]["content"] == json!({})),
        "{evidence:?}"
    );
    assert_eq!(page["members"][0]["intent"], Value::Null);
    app.app.stop().await;
    assert_eq!(
        files_with(bed.folder.path(), "SECRET"),
        Vec::<String>::new()
    );
    let program = crate::app::alone::settings(&bed);
    let rebuilt = tokio::task::spawn_blocking(move || program.run(&["rebuild"]));
    assert_eq!(rebuilt.await.unwrap().status.code(), Some(0));
    let app = bed.start().await;
    app.ready().await;
    assert_eq!(spans(&app).await, before, "a rebuild says the same");
    app.app.stop().await;
}

#[tokio::test]
async fn a_redaction_that_comes_first_counts_and_a_ban_takes_all_back() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    app.ready().await;
    // A homeserver that still returns the event with its content.
    bed.hs.send_raw(
        &room,
        json!({"event_id": "$r", "type": "m.room.redaction", "sender": ALICE, "redacts": "$late",
            "origin_server_ts": now(),
            "content": {"redacts": "$late", "reason": "SECRET-REASON"}}),
    );
    bed.hs.send_raw(
        &room,
        json!({"event_id": "$late", "type": MEMBER, "sender": ALICE, "state_key": key(ALICE, "AD"),
            "origin_server_ts": now() - 5000, "content": secret_join("AD")}),
    );
    bed.hs.set_display_name(BOB, "SECRET-BOB");
    bed.hs.join_user(&room, BOB, now());
    joins_secretly(&bed, &room, BOB, now());
    app.calls_until("Bob's call", |calls| {
        calls.iter().any(|call| call["active"] == true)
    })
    .await;
    let ban = json!({"membership": "ban", "org.matrix.msc4293.redact_events": true,
        "reason": "SECRET-REASON"});
    bed.hs
        .send_state(&room, &bed.bot, "m.room.member", BOB, ban, now());
    app.calls_until("the ban ends it", |calls| {
        calls.iter().all(|call| call["active"] == false)
    })
    .await;
    crate::support::eventually("nothing of it is shown", 60, async || {
        (!shown(&app, &room).await.contains("SECRET")).then_some(())
    })
    .await;
    let reasons: Vec<Value> = app
        .calls()
        .await
        .iter()
        .flat_map(|call| call["members"].as_array().unwrap().clone())
        .filter(|member| member["user_id"] == BOB)
        .map(|member| member["end_reason"].clone())
        .collect();
    assert_eq!(reasons, [json!("room_banned")]);
    app.app.stop().await;
    assert_eq!(
        files_with(bed.folder.path(), "SECRET"),
        Vec::<String>::new()
    );
}
