//! History: what happened before the bot came, page by page, and gaps.

use crate::bed::{Bed, now};
use callscope::sim::NewRoom;

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
    let status = |room: serde_json::Value| (room["history_open"] == false).then_some(room);
    let room = crate::support::eventually("the whole history", 60, async || status(app.room(&room).await)).await;
    assert_eq!(room["calls"], 700);
    let mut seen = Vec::new();
    let mut path = Some("/api/v1/calls?limit=200".to_owned());
    while let Some(next) = path {
        let page = app.json(&next).await;
        seen.extend(page["data"].as_array().unwrap().iter().map(|call| call["started_ms"].as_i64().unwrap()));
        path = page["next_url"].as_str().map(ToOwned::to_owned);
    }
    let want: Vec<i64> = (0..700).rev().map(|at| begin + at * 50_000).collect();
    assert_eq!(seen, want, "newest first, nothing twice, nothing lost");
    app.app.stop().await;
}

#[tokio::test]
async fn history_ends_where_it_is_not_visible() {
    let bed = Bed::new().await;
    let like = NewRoom { history_visibility: "joined".into(), ..NewRoom::default() };
    let room = bed.hs.create_room(like);
    bed.hs.join_user(&room, ALICE, now() - 1_000_000);
    bed.joins(&room, ALICE, "AD", now() - 900_000);
    bed.leaves(&room, ALICE, "AD", now() - 800_000);
    let joined = now() - 700_000;
    bed.hs.join_user(&room, &bed.bot, joined);
    bed.joins(&room, ALICE, "AD", now() - 600_000);
    let app = bed.start().await;
    app.calls_until("the call since", |calls| calls.len() == 1).await;
    crate::support::eventually("the walk ends", 60, async || {
        (app.room(&room).await["history_open"] == false).then_some(())
    })
    .await;
    assert_eq!(app.calls().await.len(), 1);
    let spans = app.room(&room).await["coverage"].clone();
    let hidden: Vec<_> = spans.as_array().unwrap().iter().filter(|span| span["kind"] == "not_visible").collect();
    crate::support::eventually("the hidden leave was asked for", 60, async || {
        (bed.hs.count("/event/") > 0).then_some(())
    })
    .await;
    assert_eq!((bed.hs.count("/event/"), app.calls().await.len()), (1, 1), "404 ends it");
    assert_eq!((hidden.len(), hidden[0]["to_ms"].as_i64()), (1, Some(joined)), "until we joined: {spans}");
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
    crate::support::eventually("the walk ends", 60, async || {
        (app.room(&room).await["history_open"] == false).then_some(())
    })
    .await;
    let calls = app.room(&room).await["calls"].as_i64().unwrap();
    assert!((60..600).contains(&calls), "{calls}");
    app.app.stop().await;
}
