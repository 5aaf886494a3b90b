//! Known and unknown: coverage of rooms, evidence of boundaries, our own outages.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use callscope::clock::Clock;
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:other.example";
const MINUTE: i64 = 60_000;

fn kinds(room: &Value) -> Vec<&str> {
    room["coverage"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| span["kind"].as_str().unwrap())
        .collect()
}

async fn html(app: &Running, path: &str) -> String {
    reqwest::get(format!("{}{path}", app.http.base))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

async fn covered(app: &Running, room: &str, want: &[&str]) -> Value {
    eventually(&format!("coverage {want:?}"), 60, async || {
        let room = app.room(room).await;
        (kinds(&room) == want).then_some(room)
    })
    .await
}

#[tokio::test]
async fn what_happened_while_we_were_down_is_found_and_said_to_be_read_later() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let app = bed.start().await;
    app.ready().await;
    let begin = now() - 10 * MINUTE;
    bed.joins(&room, ALICE, "AD", begin);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    covered(&app, &room, &["backfilled", "live"]).await;
    app.app.stop().await;
    // The call goes on and ends, and another one begins and ends, while nobody watches.
    bed.leaves(&room, ALICE, "AD", begin + 2 * MINUTE);
    bed.joins(&room, BOB, "BD", begin + 3 * MINUTE);
    bed.leaves(&room, BOB, "BD", begin + 4 * MINUTE);
    let app = bed.start().await;
    let calls = app
        .calls_until("both calls", |calls| {
            calls.len() == 2 && calls[1]["active"] == false
        })
        .await;
    assert_eq!(calls[1]["ended_ms"], begin + 2 * MINUTE);
    let room = covered(&app, &room, &["backfilled", "live", "backfilled", "live"]).await;
    let spans = room["coverage"].as_array().unwrap();
    assert!(
        spans
            .windows(2)
            .all(|pair| pair[0]["to_ms"] == pair[1]["from_ms"]),
        "no holes: {spans:?}"
    );
    let calls = app.calls().await;
    for call in &calls {
        assert_eq!(
            (
                &call["certainty"]["verdict"],
                &call["certainty"]["error_ms"]
            ),
            (&json!("exact"), &json!(0))
        );
        assert_eq!(
            call["members"][0]["evidence"]["end"],
            json!({"by": "backfilled", "error_ms": 0})
        );
    }

    app.app.stop().await;
}

#[tokio::test]
async fn what_nobody_watches_is_unknown_and_not_ended() {
    let bed = Bed::new().await;
    let (room, other) = (bed.room(&[ALICE]), bed.room(&[ALICE]));
    let app = bed.start().await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("the call", |calls| calls.len() == 1).await;
    assert_eq!(app.calls().await[0]["certainty"]["verdict"], "exact");
    bed.hs.kick(&room, &bed.bot, ALICE, now());
    covered(&app, &room, &["backfilled", "live", "gap"]).await;
    let call = app.calls().await.remove(0);
    assert_eq!(
        (&call["active"], &call["certainty"]["verdict"]),
        (&json!(false), &json!("right_censored"))
    );
    assert_eq!(call["ended_ms"], json!(null));
    assert!(
        call["unknown_since_ms"].is_i64() && call["members"][0]["unknown_since_ms"].is_i64(),
        "{call}"
    );
    let path = format!("/calls/{}", call["id"].as_str().unwrap());
    let page = html(&app, &path).await;
    assert!(
        page.contains("Unknown since")
            && page.contains("Not watched")
            && !page.contains("Running</span>")
    );
    covered(&app, &other, &["backfilled", "live"]).await;
    app.app.stop().await;
}

#[tokio::test]
async fn cut_off_from_the_homeserver_nothing_ends_and_afterwards_all_is_known() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let clock = Clock::fixed(now());
    let app = bed.start_at(clock.clone(), &[]).await;
    app.ready().await;
    clock.advance(MINUTE / 2);
    bed.joins(&room, ALICE, "AD", clock.now_ms());
    app.calls_until("the call", |calls| calls.len() == 1).await;
    covered(&app, &room, &["backfilled", "live"]).await;
    let begin = clock.now_ms();
    bed.hs.inject(Fault::lasting(
        "/sync",
        FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "gone"})),
    ));
    // It ends the waiting long poll, so that the next request gets the fault.
    bed.joins(&room, BOB, "BD", begin);
    app.status_until("the trouble", |status| {
        status["vantages"][0]["error"].is_string()
    })
    .await;
    clock.advance(10 * MINUTE);
    bed.leaves(&room, ALICE, "AD", begin + 5 * MINUTE);
    bed.leaves(&room, BOB, "BD", begin + 5 * MINUTE);
    let call = app.calls().await.remove(0);
    assert_eq!(
        (&call["active"], call["unknown_since_ms"].as_i64()),
        (&json!(true), Some(begin))
    );
    let overview = app.json("/api/v1/overview").await;
    let gap = &overview["gaps"][0];
    assert_eq!(
        (&gap["from_ms"], &gap["to_ms"], &gap["unread_rooms"]),
        (&json!(begin), &json!(clock.now_ms()), &json!(1))
    );
    assert!(html(&app, "/").await.contains("url(#p-blind)"));
    bed.hs.clear_faults();
    app.status_until("the recovery", |status| {
        status["vantages"][0]["error"].is_null()
    })
    .await;
    clock.advance(1);
    let room = covered(&app, &room, &["backfilled", "live", "backfilled", "live"]).await;
    assert_eq!(room["coverage"][2]["from_ms"], begin);
    let call = app
        .calls_until("the end", |calls| calls[0]["active"] == false)
        .await
        .remove(0);
    assert_eq!(
        (&call["ended_ms"], &call["certainty"]["verdict"]),
        (&json!(begin + 5 * MINUTE), &json!("exact"))
    );
    assert_eq!(
        app.json("/api/v1/overview").await["gaps"][0]["unread_rooms"],
        0
    );
    app.app.stop().await;
}

#[tokio::test]
async fn polls_cover_a_room_that_is_only_looked_into() {
    let bed = Bed::new().await;
    let public = NewRoom {
        history_visibility: "world_readable".into(),
        ..NewRoom::default()
    };

    let room = bed.hs.create_room(public);
    bed.hs.join_user(&room, ALICE, now() - 9 * MINUTE);
    bed.joins(&room, ALICE, "AD", now() - 8 * MINUTE);
    let app = bed.start_with(&[("PEEK_ROOMS", &room)]).await;
    covered(&app, &room, &["backfilled", "polled"]).await;
    let call = app.calls().await.remove(0);
    assert_eq!(call["certainty"]["start"]["by"], "reconciled");
    app.app.stop().await;
}

#[tokio::test]
async fn what_a_limited_timeline_left_out_is_a_gap_until_it_is_read() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let clock = Clock::fixed(now());
    let app = bed.start_at(clock.clone(), &[]).await;
    app.ready().await;
    clock.advance(MINUTE / 3);
    let begin = clock.now_ms();
    bed.joins(&room, BOB, "BD", begin);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    covered(&app, &room, &["backfilled", "live"]).await;
    let gone = |what: &str| {
        Fault::lasting(
            what,
            FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "gone"})),
        )
    };

    bed.hs.inject(gone("/messages"));
    bed.hs.inject(gone("/sync"));
    // It ends the waiting long poll.
    bed.joins(&room, ALICE, "AD", begin + 10);
    app.status_until("the trouble", |status| {
        status["vantages"][0]["error"].is_string()
    })
    .await;
    for n in 0..150 {
        bed.leaves(&room, ALICE, "AD", begin + 20 + 2 * n);
        bed.joins(&room, ALICE, "AD", begin + 21 + 2 * n);
    }

    clock.advance(MINUTE / 3);
    let end = clock.now_ms();
    bed.hs.clear_faults();
    bed.hs.inject(gone("/messages"));
    app.status_until("sync goes on", |status| {
        status["vantages"][0]["last_sync_ms"] == end
    })
    .await;
    clock.advance(1000);
    let facts = covered(&app, &room, &["backfilled", "live", "gap", "live"]).await;
    let gap = &facts["coverage"][2];
    assert_eq!(
        (&gap["from_ms"], &gap["to_ms"]),
        (&json!(begin), &json!(end)),
        "the stream was heard all the time"
    );
    assert_eq!(facts["walks"][1]["reason"], "gap");
    let call = app.calls().await.remove(0);
    assert_eq!(
        (&call["active"], &call["certainty"]["verdict"]),
        (&json!(true), &json!("gapped"))
    );
    bed.hs.clear_faults();
    covered(&app, &room, &["backfilled", "live", "backfilled", "live"]).await;
    let call = app
        .calls_until("all stays", |calls| {
            calls[0]["members"].as_array().unwrap().len() == 152
        })
        .await
        .remove(0);
    assert_eq!(call["certainty"]["verdict"], "exact");
    app.app.stop().await;
}
