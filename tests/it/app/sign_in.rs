//! Accounts: a password login keeps its device, a revoked token is reported and retried,
//! invitations follow the policy.

use crate::app::bed::{Bed, now};
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const ALICE: &str = "@alice:sim.example";

#[tokio::test]
async fn a_password_login_keeps_device_and_token() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let file = bed.folder.path().join("callscope.credentials.json");
    let user = bed.bot.clone();
    let password = [
        ("ACCESS_TOKEN", ""),
        ("USER_ID", user.as_str()),
        ("PASSWORD", "secret"),
        ("CREDENTIALS_FILE", file.to_str().unwrap()),
    ];
    let mut devices = Vec::new();
    for _ in 0..2 {
        let app = bed.start_with(&password).await;
        app.ready().await;
        devices.push(app.json("/api/v1/status").await["vantages"][0]["device_id"].clone());
        app.app.stop().await;
    }

    assert_eq!(devices[0], devices[1]);
    assert_eq!(bed.logins(), 1, "the second start used the kept token");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let kept: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    bed.hs.revoke(kept["access_token"].as_str().unwrap());
    let app = bed.start_with(&password).await;
    app.ready().await;
    assert_eq!(
        app.json("/api/v1/status").await["vantages"][0]["device_id"],
        devices[0],
        "the device is taken up again"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn a_revoked_token_is_said_and_tried_again() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    bed.hs.revoke(&bed.token);
    bed.joins(&room, ALICE, "AD", now());
    let status = app
        .status_until("it is said", |status| {
            status["vantages"][0]["error"]
                .as_str()
                .is_some_and(|error| error.contains("no longer accepted"))
        })
        .await;
    assert!(
        status["vantages"][0]["error"]
            .as_str()
            .unwrap()
            .contains("new one"),
        "it names the fix"
    );
    assert!(
        !status.to_string().contains(&bed.token),
        "the token itself is never shown"
    );
    let whoami = bed.hs.count("/whoami");
    crate::support::eventually("it is tried again", 60, async || {
        (bed.hs.count("/whoami") > whoami).then_some(())
    })
    .await;
    assert_eq!(app.http.get("/healthz").await.status, 200);
    app.app.stop().await;
}

#[tokio::test]
async fn invitations_go_by_policy() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let (good, bad) = (
        bed.hs.create_room(NewRoom::default()),
        bed.hs.create_room(NewRoom::default()),
    );
    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "good.example")])
        .await;
    app.ready().await;
    bed.hs.join_user(&good, "@ann:good.example", now());
    bed.hs.join_user(&bad, "@eve:bad.example", now());
    bed.hs.invite(&bad, &bed.bot, "@eve:bad.example", now());
    bed.hs.invite(&good, &bed.bot, "@ann:good.example", now());
    crate::support::eventually("the good room", 30, async || {
        let rooms = app.json("/api/v1/rooms").await;
        rooms["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|room| room["room_id"] == json!(good))
            .then_some(())
    })
    .await;
    app.status_until("the refusal is counted", |status| {
        status["vantages"][0]["invites_refused"].as_i64() >= Some(1)
    })
    .await;
    let rooms = app.json("/api/v1/rooms").await;
    assert!(!rooms.to_string().contains(&bad));
    app.app.stop().await;
}

#[tokio::test]
async fn rooms_are_joined_by_id_and_alias_and_trouble_is_shown() {
    let bed = Bed::new().await;
    let by_id = bed.hs.create_room(NewRoom::default());
    let alias = "#lounge:sim.example";
    let by_alias = bed.hs.create_room(NewRoom {
        alias: Some(alias.into()),
        ..NewRoom::default()
    });
    let wishes = format!("{by_id}?via=sim.example {alias} #gone:sim.example");
    let app = bed.start_with(&[("ROOMS", &wishes)]).await;
    for room in [&by_id, &by_alias] {
        crate::support::eventually("the room is watched", 30, async || {
            let answer = app
                .http
                .get(&format!(
                    "/api/v1/rooms/{}",
                    crate::support::http::quote(room)
                ))
                .await;
            (answer.status == 200 && answer.body["watch"] == "joined").then_some(())
        })
        .await;
    }

    crate::support::eventually("the wrong alias is shown", 30, async || {
        let rooms = app.json("/api/v1/rooms").await;
        let gone = rooms["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|room| room["room_id"] == "#gone:sim.example")?
            .clone();
        (gone["watch"] == "blind" && gone["error"].is_string()).then_some(())
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn polls_alone_sign_in_again() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let file = bed.folder.path().join("callscope.credentials.json");
    let user = bed.bot.clone();
    let keys = [
        ("ACCESS_TOKEN", ""),
        ("USER_ID", user.as_str()),
        ("PASSWORD", "secret"),
        ("CREDENTIALS_FILE", file.to_str().unwrap()),
        ("MODE", "poll"),
        ("POLL_SCHEDULE", "* * * * * *"),
    ];
    let app = bed.start_with(&keys).await;
    app.ready().await;
    let kept: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    bed.hs.revoke(kept["access_token"].as_str().unwrap());
    crate::support::eventually("a new login", 30, async || {
        (bed.logins() == 2).then_some(())
    })
    .await;
    app.status_until("all is well", |status| {
        status["vantages"][0]["error"].is_null()
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_failing_sign_in_leaves_the_vantage_as_it_was() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.hs.set_feature("org.matrix.msc4140", true);
    let app = bed.start().await;
    app.ready().await;
    let facts = |status: &serde_json::Value| {
        let vantage = &status["vantages"][0];
        ["started_ms", "delayed_events", "sticky_events", "user_id"].map(|key| vantage[key].clone())
    };

    let before = facts(&app.json("/api/v1/status").await);
    assert_eq!(before[1], true);
    bed.hs.revoke(&bed.token);
    bed.joins(&room, ALICE, "AD", now());
    let after = app
        .status_until("some tries", |status| {
            status["vantages"][0]["errors"].as_i64() >= Some(3)
        })
        .await;
    assert_eq!(facts(&after), before);
    app.app.stop().await;
}

#[tokio::test]
async fn an_invitation_is_tried_again_when_the_homeserver_was_busy() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let good = bed.hs.create_room(NewRoom::default());
    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "good.example")])
        .await;
    app.ready().await;
    bed.hs.join_user(&good, "@ann:good.example", now());
    bed.hs.inject(Fault::once(
        "/join/",
        FaultKind::RateLimited {
            retry_after_ms: 500,
            header: false,
        },
    ));
    bed.hs.invite(&good, &bed.bot, "@ann:good.example", now());
    crate::support::eventually("the room", 30, async || {
        let rooms = app.json("/api/v1/rooms").await;
        let room = rooms["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|room| room["room_id"] == json!(good))?
            .clone();
        (room["watch"] == "joined").then_some(())
    })
    .await;
    assert_eq!(bed.hs.count("/join/"), 2);
    app.app.stop().await;
}

#[tokio::test]
async fn an_accepted_invitation_outlives_a_restart() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let [good, late] = [(); 2].map(|()| bed.hs.create_room(NewRoom::default()));
    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "good.example late.example")])
        .await;
    app.ready().await;
    bed.hs.join_user(&good, "@ann:good.example", now());
    bed.hs.join_user(&late, "@lea:late.example", now());
    bed.hs.inject(Fault::lasting(
        "/join/",
        FaultKind::RateLimited {
            retry_after_ms: 100_000,
            header: false,
        },
    ));
    bed.hs.invite(&good, &bed.bot, "@ann:good.example", now());
    bed.hs.invite(&late, &bed.bot, "@lea:late.example", now());
    crate::support::eventually("both are tried", 30, async || {
        (bed.hs.count("/join/") == 2).then_some(())
    })
    .await;
    app.app.stop().await;
    bed.hs.clear_faults();
    // Rooms that the policy no longer allows are not joined.
    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "good.example")])
        .await;
    crate::support::eventually("the room", 30, async || {
        let answer = app
            .http
            .get(&format!(
                "/api/v1/rooms/{}",
                crate::support::http::quote(&good)
            ))
            .await;
        (answer.body["watch"] == "joined").then_some(())
    })
    .await;
    app.app.stop().await;
    assert_eq!(bed.hs.count("/join/"), 3, "and not the other");
}

#[tokio::test]
async fn a_join_that_hangs_stops_nothing() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let good = bed.hs.create_room(NewRoom::default());
    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "good.example")])
        .await;
    app.ready().await;
    bed.hs.join_user(&good, "@ann:good.example", now());
    bed.hs.inject(Fault::once(
        "/join/",
        FaultKind::Hang(std::time::Duration::from_secs(100)),
    ));
    bed.hs.invite(&good, &bed.bot, "@ann:good.example", now());
    crate::support::eventually("the join", 30, async || {
        (bed.hs.count("/join/") == 1).then_some(())
    })
    .await;
    bed.joins(&room, ALICE, "AD", now());
    app.calls_until("the call, while the join hangs", |calls| calls.len() == 1)
        .await;
    app.app.stop().await;
}
