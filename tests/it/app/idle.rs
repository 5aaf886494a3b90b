//! `callscope idle` with the real program: an unknown state is never "idle".

use crate::app::alone::settings;
use crate::app::bed::{Bed, MEMBER, join, key, now};
use crate::app::operator::run;
use crate::support::eventually;
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";
/// Once a year.
const SELDOM: &str = "0 0 0 1 1 *";

#[tokio::test]
async fn without_a_name_it_is_the_bots_own_server() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let settings = settings(&bed);
    let idle = async || run(&settings, &["idle", "--url", &app.http.base]).await;
    let (code, said, why) = idle().await;
    assert!(
        code == Some(0) && said.contains("idle: no call with a member of sim.example"),
        "{said}{why}"
    );
    bed.joins(&room, ALICE, "AD", now() - 60_000);
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let (code, said, _) = idle().await;
    assert!(
        code == Some(1) && said.contains("busy: sim.example"),
        "{said}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn before_the_first_sign_in_nothing_is_idle() {
    let bed = Bed::new().await;
    bed.hs.inject(Fault::lasting(
        "/whoami",
        FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "x"})),
    ));
    let app = bed.start().await;
    app.status_until("it is said", |status| {
        status["vantages"][0]["error"].is_string()
    })
    .await;
    let settings = settings(&bed);
    let (code, _, said) = run(&settings, &["idle", "--url", &app.http.base]).await;
    assert!(
        code == Some(2) && said.contains("has not signed in yet") && said.contains("--server"),
        "{said}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn rooms_that_are_only_polled_are_looked_at_now() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed
        .start_with(&[("MODE", "poll"), ("POLL_SCHEDULE", SELDOM)])
        .await;
    app.ready().await;
    let settings = settings(&bed);
    let idle = async || run(&settings, &["idle", "--url", &app.http.base]).await;
    assert_eq!(idle().await.0, Some(0));
    bed.joins(&room, ALICE, "AD", now());
    let (code, said, why) = idle().await;
    assert!(
        code == Some(1) && said.contains("1 of 1 devices"),
        "{said}{why}"
    );
    bed.leaves(&room, ALICE, "AD", now());
    assert_eq!(idle().await.0, Some(0));
    // If the state cannot be read, the answer is unknown.
    bed.hs.inject(Fault::lasting(
        "/state",
        FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "x"})),
    ));
    let (code, _, said) = idle().await;
    assert!(
        code == Some(2) && said.contains("could not be read now") && said.contains("A room"),
        "{said}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_that_is_looked_into_is_looked_at_now() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let open = bed.hs.create_room(NewRoom {
        history_visibility: "world_readable".into(),
        ..NewRoom::default()
    });
    bed.hs.join_user(&open, ALICE, now() - 500_000);
    let app = bed
        .start_with(&[("PEEK_ROOMS", &open), ("POLL_SCHEDULE", SELDOM)])
        .await;
    app.ready().await;
    eventually("the room is looked into", 30, async || {
        let rooms = app.json("/api/v1/rooms").await.to_string();
        rooms.contains("peeked").then_some(())
    })
    .await;
    bed.joins(&open, ALICE, "AD", now());
    let settings = settings(&bed);
    let (code, said, why) = run(&settings, &["idle", "--url", &app.http.base]).await;
    assert!(
        code == Some(1) && said.contains("1 of 1 devices"),
        "{said}{why}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn probable_ghosts_alone_are_said_and_a_flag_decides() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    // It renewed every hour, and then stopped.
    let hour = 3_600_000;
    let begin = now() - 5 * hour;
    for n in 0..4 {
        let mut content = join("AD");
        content["created_ts"] = json!(begin);
        content["expires"] = json!(4 * (n + 1) * hour);
        bed.hs.send_state(
            &room,
            ALICE,
            MEMBER,
            &key(ALICE, "AD"),
            content,
            begin + n * hour,
        );
    }

    let app = bed.start().await;
    app.ready().await;
    // Only the history shows that it used to renew.
    app.once_read(&room).await;
    app.calls_until("the call", |calls| {
        calls.len() == 1 && calls[0]["active"] == true
    })
    .await;
    let settings = settings(&bed);
    let url = app.http.base.clone();
    let (code, said, why) = run(&settings, &["idle", "--url", &url]).await;
    assert!(
        code == Some(1) && said.contains("probably gone") && said.contains("--ignore-ghosts"),
        "{said}{why}"
    );
    let (code, said, why) = run(&settings, &["idle", "--ignore-ghosts", "--url", &url]).await;
    assert!(
        code == Some(0) && said.contains("probably gone"),
        "{said}{why}"
    );
    bed.joins(&room, ALICE, "LAPTOP", now());
    app.calls_until("the other device", |calls| {
        calls[0]["devices"].as_i64() == Some(2)
    })
    .await;
    let (code, said, _) = run(&settings, &["idle", "--ignore-ghosts", "--url", &url]).await;
    assert_eq!(code, Some(1), "{said}");
    app.app.stop().await;
}
