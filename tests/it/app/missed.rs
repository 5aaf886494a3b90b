//! A temporary error of a homeserver, or a removal, must not make us miss anything for good.

use crate::app::bed::{Bed, now};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::clock::Clock;
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";
const DAY: i64 = 86_400_000;

fn stays(bed: &Bed, room: &str, count: i64, begin: i64) {
    for at in 0..count {
        bed.joins(room, ALICE, "AD", begin + at * 1000);
        bed.leaves(room, ALICE, "AD", begin + at * 1000 + 500);
    }
}

#[tokio::test]
async fn a_failed_join_of_a_room_that_we_are_in_makes_no_new_room_of_it() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let settings = [("ROOMS", room.as_str())];
    let app = bed.start_with(&settings).await;
    app.ready().await;
    app.once_read(&room).await;
    app.app.stop().await;
    stays(&bed, &room, 300, now() - 500_000);
    for path in ["/join/", "/sync"] {
        bed.hs
            .inject(Fault::once(path, FaultKind::Status(502, json!({}))));
    }

    let app = bed.start_with(&settings).await;
    app.calls_until("all calls of the time when we were down", |calls| {
        calls.len() == 300
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn an_address_that_is_not_known_for_a_moment_does_not_end_history() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    stays(&bed, &room, 300, now() - 40_000_000);
    let lost = json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"});
    bed.hs
        .inject(Fault::once("/messages", FaultKind::Status(404, lost)));
    let app = bed.start().await;
    app.calls_until("all calls", |calls| calls.len() == 300)
        .await;
    app.once_read(&room).await;
    let walks = app.room(&room).await["walks"].clone();
    assert!(!walks.to_string().contains("not_visible"), "{walks}");
    app.app.stop().await;
}

#[tokio::test]
async fn one_event_that_cannot_be_asked_for_does_not_hold_up_the_others() {
    let bed = Bed::new().await;
    let mut rooms = [bed.room(&[ALICE]), bed.room(&[ALICE])];
    rooms.sort();
    let begin = now() - 6_000_000;
    let mut unseen = Vec::new();
    for room in &rooms {
        bed.joins(room, ALICE, "AD", begin);
        unseen.push(bed.leaves(room, ALICE, "AD", begin + 1000));
        bed.joins(room, ALICE, "AD", begin + 2000);
        for guest in 0..150 {
            bed.hs
                .join_user(room, &format!("@guest{guest}:sim.example"), begin + 60_000);
        }
    }

    let no = json!({"errcode": "M_FORBIDDEN", "error": "no"});
    bed.hs
        .inject(Fault::lasting("/messages", FaultKind::Status(403, no)));
    let broken = json!({"errcode": "M_UNKNOWN", "error": "Internal server error"});
    bed.hs.inject(Fault::lasting(
        &quote(&unseen[0][1..]),
        FaultKind::Status(500, broken),
    ));
    let app = bed.start().await;
    eventually("the other room has both calls", 60, async || {
        (app.room(&rooms[1]).await["calls"] == 2).then_some(())
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn what_is_older_than_we_want_is_not_called_hidden() {
    let bed = Bed::new().await;
    let old = now() - 30 * DAY;
    let room = bed.hs.create_room(NewRoom {
        ts: old,
        ..NewRoom::default()
    });
    bed.hs.join_user(&room, &bed.bot, old + 1000);
    bed.hs.join_user(&room, ALICE, old + 2000);
    stays(&bed, &room, 5, now() - 20 * DAY);
    stays(&bed, &room, 80, now() - 500_000);
    let app = bed.start_with(&[("BACKFILL_DAYS", "3")]).await;
    app.once_read(&room).await;
    let facts = app.room(&room).await;
    let page = app.page(&format!("/rooms/{}", quote(&room))).await;
    app.app.stop().await;
    assert!(
        !facts["coverage"].to_string().contains("not_visible"),
        "{facts}"
    );
    assert!(facts["walks"].to_string().contains("horizon"), "{facts}");
    assert!(!page.contains("hidden from us"), "{page}");
}

#[tokio::test]
async fn calls_before_we_were_removed_while_we_were_down_are_read() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.once_read(&room).await;
    app.app.stop().await;
    stays(&bed, &room, 300, now() - 500_000);
    bed.hs.kick(&room, &bed.bot, ALICE, now());
    let app = bed.start().await;
    app.calls_until("all calls", |calls| calls.len() == 300)
        .await;
    assert_eq!(app.room(&room).await["watch"], "left");
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_that_lets_us_in_at_last_ends_the_word_of_a_full_disk() {
    let bed = Bed::new().await;
    let rooms: Vec<String> = (0..30)
        .map(|_| bed.hs.create_room(NewRoom::default()))
        .collect();
    let busy =
        json!({"errcode": "M_LIMIT_EXCEEDED", "error": "x ".repeat(140), "retry_after_ms": 500});
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    app.ready().await;
    app.app.stop().await;
    bed.hs.inject(Fault::lasting(
        "/join/",
        FaultKind::Status(
            429,
            json!({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 500}),
        ),
    ));
    let app = bed
        .start_with(&[("BACKFILL", "false"), ("ROOMS", &rooms.join(","))])
        .await;
    app.ready().await;
    app.app.store.limit_growth(Some(0)).await.unwrap();
    bed.hs.clear_faults();
    bed.hs
        .inject(Fault::lasting("/join/", FaultKind::Status(429, busy)));
    app.status_until("the full disk is said", |status| {
        status["full_since_ms"].is_i64()
    })
    .await;
    bed.hs.clear_faults();
    app.app.store.limit_growth(None).await.unwrap();
    app.status_until("all is well", |status| status["full_since_ms"].is_null())
        .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_gap_and_no_storm_of_polls() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    // The machine was started with its clock an hour ahead.
    let clock = Clock::fixed(now() + 3_600_000);
    let app = bed.start_at(clock.clone(), &[]).await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("the call", |calls| calls.len() == 1).await;
    clock.set(now());
    let before = bed.hs.count("/state");
    for at in 0..10 {
        clock.advance(30_000);
        bed.joins(&room, "@bob:sim.example", &format!("B{at}"), clock.now_ms());
        let devices = at + 2;
        app.calls_until("it is followed", |calls| calls[0]["devices"] == devices)
            .await;
    }

    let call = app.calls().await[0].clone();
    assert!(
        call["unknown_since_ms"].is_null() && call["certainty"]["gap_ms"] == 0,
        "{call}"
    );
    assert!(
        bed.hs.count("/state") - before <= 2,
        "one look after the break is enough"
    );
    app.app.stop().await;
}
