//! History: what happened before the bot came, page by page, and gaps.

use crate::app::bed::{Bed, now};
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";

#[tokio::test]
async fn calls_from_before_the_bot_came_are_found() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let begin = now() - 40_000_000;
    for at in 0..700 {
        bed.joins(&room, ALICE, "AD", begin + at * 50_000);
        bed.leaves(&room, ALICE, "AD", begin + at * 50_000 + 30_000);
    }

    let app = bed.start().await;
    let room = app.once_read(&room).await;
    assert_eq!(room["calls"], 700);
    let mut seen = Vec::new();
    let mut path = Some("/api/v1/calls?limit=200".to_owned());
    while let Some(next) = path {
        let page = app.json(&next).await;
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|call| call["started_ms"].as_i64().unwrap()),
        );
        path = page["next_url"].as_str().map(ToOwned::to_owned);
    }

    let want: Vec<i64> = (0..700).rev().map(|at| begin + at * 50_000).collect();
    assert_eq!(seen, want, "newest first, nothing twice, nothing lost");
    app.app.stop().await;
}

#[tokio::test]
async fn history_ends_where_it_is_not_visible() {
    let bed = Bed::new().await;
    let like = NewRoom {
        history_visibility: "joined".into(),
        ..NewRoom::default()
    };

    let room = bed.hs.create_room(like);
    bed.hs.join_user(&room, ALICE, now() - 1_000_000);
    bed.joins(&room, ALICE, "AD", now() - 900_000);
    bed.leaves(&room, ALICE, "AD", now() - 800_000);
    let joined = now() - 700_000;
    bed.hs.join_user(&room, &bed.bot, joined);
    bed.joins(&room, ALICE, "AD", now() - 600_000);
    let app = bed.start().await;
    app.calls_until("the call since", |calls| calls.len() == 1)
        .await;
    app.once_read(&room).await;
    assert_eq!(app.calls().await.len(), 1);
    let spans = app.room(&room).await["coverage"].clone();
    let hidden: Vec<_> = spans
        .as_array()
        .unwrap()
        .iter()
        .filter(|span| span["kind"] == "not_visible")
        .collect();
    crate::support::eventually("the hidden leave was asked for", 60, async || {
        (bed.hs.count("/event/") > 0).then_some(())
    })
    .await;
    assert_eq!(
        (bed.hs.count("/event/"), app.calls().await.len()),
        (1, 1),
        "404 ends it"
    );
    assert_eq!(
        (hidden.len(), hidden[0]["to_ms"].as_i64()),
        (1, Some(joined)),
        "until we joined: {spans}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_horizon_is_kept() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let day = 86_400_000;
    for days in (0..30).rev() {
        let at = now() - days * day - 7_200_000;
        for n in 0..20 {
            bed.joins(&room, ALICE, "AD", at + n * 2000);
            bed.leaves(&room, ALICE, "AD", at + n * 2000 + 1000);
        }
    }

    let app = bed.start_with(&[("BACKFILL_DAYS", "3")]).await;
    app.once_read(&room).await;
    let calls = app.room(&room).await["calls"].as_i64().unwrap();
    assert!((60..600).contains(&calls), "{calls}");
    app.app.stop().await;
}

#[tokio::test]
async fn without_backfill_only_the_time_since_the_last_look_is_read() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    calls_at(&bed, &room, 300, now() - 900_000_000);
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    app.ready().await;
    let before = app.once_read(&room).await;
    assert_eq!(before["history_pages"], 0, "{before}");
    app.app.stop().await;
    calls_at(&bed, &room, 200, now() - 500_000);
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    let want = before["calls"].as_i64().unwrap() + 200;
    app.calls_until("the calls of the gap", |calls| {
        i64::try_from(calls.len()).unwrap() >= want
    })
    .await;
    assert_eq!(
        app.once_read(&room).await["calls"],
        want,
        "and nothing older"
    );
    app.app.stop().await;
}

/// A homeserver that lags fetches missed events from others later, without notice: they were not
/// there when the read passed.
#[tokio::test]
async fn what_the_homeserver_gets_late_is_found_behind_the_gap() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.once_read(&room).await;
    app.app.stop().await;
    calls_at(&bed, &room, 200, now() - 500_000);
    // With the filter and without.
    bed.hs.inject(Fault::times(
        "/messages",
        2,
        FaultKind::Status(200, json!({"chunk": [], "start": "t0"})),
    ));
    let app = bed.start().await;
    crate::support::eventually("the gap is read", 60, async || {
        let walks = app.room(&room).await["walks"].clone();
        (walks[1]["ended_by"] == "no_more").then_some(())
    })
    .await;
    assert!(app.room(&room).await["calls"].as_i64().unwrap() < 200);
    app.calls_until("all calls, late", |calls| calls.len() >= 200)
        .await;
    crate::support::eventually("the gap is known to be read", 30, async || {
        let coverage = app.room(&room).await["coverage"].clone();
        let spans = coverage.as_array().unwrap();
        spans.iter().all(|span| span["kind"] != "gap").then_some(())
    })
    .await;
    assert_eq!(app.room(&room).await["calls"], 200);
    app.app.stop().await;
}

#[tokio::test]
async fn a_gap_keeps_the_horizon_too() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start_with(&[("BACKFILL_DAYS", "3")]).await;
    app.ready().await;
    app.once_read(&room).await;
    app.app.stop().await;
    calls_at(&bed, &room, 600, now() - 900_000_000);
    calls_at(&bed, &room, 100, now() - 500_000);
    let app = bed.start_with(&[("BACKFILL_DAYS", "3")]).await;
    app.calls_until("the calls of the gap", |calls| calls.len() >= 100)
        .await;
    assert_eq!(app.once_read(&room).await["calls"], 100);
    app.app.stop().await;
}

#[tokio::test]
async fn how_far_it_has_come_is_told_while_it_goes_on() {
    let bed = Bed::new().await;
    let like = NewRoom {
        ts: now() - 1_000_000,
        ..NewRoom::default()
    };

    let room = bed.room_like(like, &[ALICE]);
    calls_at(&bed, &room, 300, now() - 700_000);
    // All pages except the first, which has no token.
    let fault = FaultKind::Status(500, json!({"errcode": "M_UNKNOWN", "error": "x"}));
    bed.hs.inject(Fault::lasting("from=", fault));
    let app = bed
        .start_with(&[("MODE", "poll"), ("BACKFILL_PAGE", "100")])
        .await;
    let status = app
        .status_until("the first page", |status| status["walks"][0]["pages"] == 1)
        .await;
    let walk = &status["walks"][0];
    assert_eq!(
        (&walk["reason"], &walk["room"]["room_id"]),
        (&json!("history"), &json!(room))
    );
    // A simultaneous poll may have brought some of the newest ones first.
    let found = walk["events"].as_i64().unwrap();
    assert!((95..=100).contains(&found), "{walk}");
    assert!(
        walk["reached_ms"].as_i64().unwrap() > now() - 300_000,
        "{walk}"
    );
    assert!(
        (70..90).contains(&walk["ahead_percent"].as_i64().unwrap()),
        "{walk}"
    );
    assert_eq!(app.room(&room).await["walks"][0]["pages"], 1);
    for path in [
        "/status".to_owned(),
        format!("/rooms/{}", crate::support::http::quote(&room)),
    ] {
        let page = app.page(&path).await;
        assert!(
            page.contains("id=\"walks\"") && page.contains(&format!("1 page, {found} events")),
            "{path}"
        );
    }

    bed.hs.clear_faults();
    app.once_read(&room).await;
    let status = app.json("/api/v1/status").await;
    assert_eq!(
        (&status["walks"], &status["history"]["rooms_open"]),
        (&json!([]), &json!(0))
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_that_cannot_be_read_holds_up_no_other() {
    let bed = Bed::new().await;
    let mut rooms: Vec<String> = (0..3).map(|_| bed.room(&[ALICE])).collect();
    rooms.sort();
    for room in &rooms {
        calls_at(&bed, room, 300, now() - 9_000_000);
    }

    let broken = crate::support::http::quote(&rooms[0]);
    let path = format!("{}/messages", &broken[broken.len() - 10..]);
    bed.hs.inject(Fault::lasting(
        &path,
        FaultKind::Status(500, json!({"errcode": "M_UNKNOWN", "error": "x"})),
    ));
    let app = bed.start_with(&[("POLL_SCHEDULE", "0 0 0 1 1 *")]).await;
    for room in &rooms[1..] {
        assert_eq!(app.once_read(room).await["calls"], 300);
    }

    let error = crate::support::eventually("it is said on the room", 60, async || {
        app.room(&rooms[0]).await["error"]
            .as_str()
            .map(ToOwned::to_owned)
    })
    .await;
    assert!(
        error.contains("history") && error.contains("500"),
        "{error}"
    );
    let status = app.json("/api/v1/status").await;
    assert!(
        status["vantages"][0]["error"].is_null(),
        "not on the account: {status}"
    );
    bed.hs.clear_faults();
    assert_eq!(app.once_read(&rooms[0]).await["calls"], 300);
    assert!(
        app.room(&rooms[0]).await["error"].is_null(),
        "and it goes with the trouble"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn an_empty_page_is_not_the_end_and_a_busy_server_is_given_its_time() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    for part in 0..10 {
        calls_at(&bed, &room, 8, now() - 9_000_000 + part * 100_000);
        for n in 0..40 {
            let at = now() - 9_000_000 + part * 100_000 + 50_000 + n;
            bed.hs
                .send_event(&room, ALICE, "m.room.message", json!({"body": "talk"}), at);
        }
    }

    bed.hs.set_scan(3);
    bed.hs.inject(Fault::times(
        "/messages",
        2,
        FaultKind::RateLimited {
            retry_after_ms: 300,
            header: false,
        },
    ));
    let app = bed.start().await;
    // Calls continue while history is read, so that both must meet.
    app.ready().await;
    calls_at(&bed, &room, 5, now() - 400_000);
    app.calls_until("old and new", |calls| calls.len() == 85)
        .await;
    let facts = app.once_read(&room).await;
    assert_eq!(
        (&facts["calls"], &facts["walks"][0]["ended_by"]),
        (&json!(85), &json!("beginning"))
    );
    let found = facts["walks"][0]["pages"].as_i64().unwrap();
    assert!(found > 50, "most pages were empty: {found}");
    app.app.stop().await;
}

/// Short calls, two seconds apart, from `begin` on.
fn calls_at(bed: &Bed, room: &str, calls: i64, begin: i64) {
    for n in 0..calls {
        bed.joins(room, ALICE, "AD", begin + n * 2000);
        bed.leaves(room, ALICE, "AD", begin + n * 2000 + 1000);
    }
}
