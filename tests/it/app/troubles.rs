//! Errors on the status page: each disappears with its cause, and the first one is shown.

use crate::app::bed::{Bed, Running, now};
use crate::support::{eventually, pause};
use callscope::sim::{Fault, FaultKind};
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";

fn status(code: u16) -> FaultKind {
    FaultKind::Status(code, json!({"errcode": "M_UNKNOWN", "error": "x"}))
}

async fn vantage(app: &Running) -> Value {
    app.json("/api/v1/status").await["vantages"][0].clone()
}

#[tokio::test]
async fn an_error_of_a_poll_goes_with_the_next_good_poll() {
    for mode in ["poll", "follow"] {
        let bed = Bed::new().await;
        bed.room(&[ALICE]);
        let app = bed
            .start_with(&[("MODE", mode), ("POLL_SCHEDULE", "* * * * * *")])
            .await;
        app.ready().await;
        bed.hs.inject(Fault::once("/joined_rooms", status(500)));
        eventually("it is said", 30, async || {
            vantage(&app).await["last_error"].is_string().then_some(())
        })
        .await;
        eventually("it is over", 30, async || {
            vantage(&app).await["error"].is_null().then_some(())
        })
        .await;
        app.app.stop().await;
    }
}

#[tokio::test]
async fn the_first_error_stays_while_it_lasts() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    for n in 0..300 {
        bed.joins(&room, ALICE, "AD", now() - 9_000_000 + n * 2000);
        bed.leaves(&room, ALICE, "AD", now() - 9_000_000 + n * 2000 + 1000);
    }

    bed.hs.inject(Fault::lasting("/messages", status(502)));
    let app = bed.start().await;
    app.ready().await;
    bed.hs.inject(Fault::lasting("/sync", status(502)));
    bed.joins(&room, ALICE, "AD", now());
    let first = eventually("sync fails", 30, async || {
        Some(vantage(&app).await).filter(|vantage| {
            vantage["error"]
                .as_str()
                .is_some_and(|it| it.contains("sync"))
        })
    })
    .await;
    let syncs = bed.hs.count("/sync");
    while bed.hs.count("/sync") < syncs + 4 {
        let later = vantage(&app).await;
        assert_eq!(later["error_since_ms"], first["error_since_ms"], "{later}");
        pause(20).await;
    }

    bed.hs.clear_faults();
    eventually("it is over", 60, async || {
        vantage(&app).await["error"].is_null().then_some(())
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn an_account_at_another_address_is_the_only_one() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.app.stop().await;
    let of = async |app: &Running| {
        let vantages = app.json("/api/v1/status").await["vantages"].clone();
        vantages
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["homeserver"].clone())
            .collect::<Vec<_>>()
    };

    let nowhere = "http://127.0.0.1:1/";
    let app = bed.start_with(&[("HOMESERVER_URL", nowhere)]).await;
    assert_eq!(app.http.get("/readyz").await.status, 503);
    eventually("it is said", 30, async || {
        vantage(&app).await["error"].is_string().then_some(())
    })
    .await;
    assert_eq!(of(&app).await, [nowhere]);
    assert_eq!(app.http.get("/readyz").await.status, 503);
    assert_eq!(
        app.json("/badge/servers/sim.example/active.json").await["isError"],
        true
    );
    app.app.stop().await;

    for url in [bed.hs.url().replace("127.0.0.1", "localhost"), bed.hs.url()] {
        let app = bed.start_with(&[("HOMESERVER_URL", &url)]).await;
        app.ready().await;
        eventually("it is well", 30, async || {
            vantage(&app).await["error"].is_null().then_some(())
        })
        .await;
        assert_eq!(of(&app).await.len(), 1);
        assert!(
            vantage(&app).await["homeserver"]
                .as_str()
                .unwrap()
                .starts_with(&url)
        );
        assert_eq!(
            app.json("/badge/servers/sim.example/active.json").await["isError"],
            false
        );
        app.app.stop().await;
    }
}

#[tokio::test]
async fn a_long_poll_that_is_answered_at_once_makes_no_hot_loop() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    bed.hs.inject(Fault::lasting(
        "/sync",
        FaultKind::Status(200, json!({"next_batch": "s1_1"})),
    ));
    bed.room(&[]);
    let before = bed.hs.count("/sync");
    eventually("the proxy answers", 30, async || {
        (bed.hs.count("/sync") >= before + 2).then_some(())
    })
    .await;
    let before = bed.hs.count("/sync");
    pause(2000).await;
    let asked = bed.hs.count("/sync") - before;
    assert!(asked < 12, "{asked} in two seconds");
    app.app.stop().await;
}
