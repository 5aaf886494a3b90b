//! `callscope check` with the real program: every room and invitation is checked, and no device is
//! left over.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::app::operator::run;
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};

const ALICE: &str = "@alice:sim.example";
const EVE: &str = "@eve:other.example";

#[tokio::test]
async fn each_thing_that_cannot_be_had_is_named_with_what_to_do() {
    let bed = Bed::new().await;
    let good = bed.room(&[ALICE]);
    let hidden = bed.hs.create_room(NewRoom {
        join_rule: "invite".into(),
        ..NewRoom::default()
    });
    let closed = bed.hs.create_room(NewRoom::default());
    let waiting = bed.hs.create_room(NewRoom {
        name: Some("Tree house".into()),
        ..NewRoom::default()
    });
    bed.hs.join_user(&waiting, EVE, now());
    bed.hs.invite(&waiting, &bed.bot, EVE, now());
    let plain = settings(&bed);
    let (code, said, why) = run(&plain, &["check"]).await;
    assert!(
        code == Some(1)
            && said.contains("Tree house")
            && said.contains(EVE)
            && said.contains("CALLSCOPE_INVITES_ALLOW_USERS")
            && why.contains("one thing is to be mended"),
        "{said}{why}"
    );

    let rooms = format!("{good} {hidden} #gone:sim.example");
    let bad = plain
        .clone()
        .with("CALLSCOPE_ROOMS", &rooms)
        .with("CALLSCOPE_PEEK_ROOMS", &closed)
        .with("CALLSCOPE_BIND", "0.0.0.0:8080")
        .with("CALLSCOPE_OPEN_TO_EVERYBODY", "true")
        .with("CALLSCOPE_INVITES_ALLOW_USERS", EVE);
    let (code, said, why) = run(&bad, &["check"]).await;
    assert_eq!(code, Some(1), "{said}");
    let line = |room: &str| {
        let of_room = |line: &&str| line.contains(room);
        said.lines().find(of_room).unwrap_or_default().to_owned()
    };

    assert!(
        line(&hidden).contains("FAILS") && line(&hidden).contains(&format!("invite {}", bed.bot)),
        "{said}"
    );
    assert!(
        line("#gone:sim.example").contains("FAILS") && line("#gone").contains("alias"),
        "{said}"
    );
    assert!(
        line(&closed).contains("FAILS") && line(&closed).contains("in peek_rooms"),
        "{said}"
    );
    assert!(line(&good).contains("is in it"), "{said}");
    assert!(
        line("Tree house").contains("the server accepts it"),
        "{said}"
    );
    assert!(
        said.contains("WARNING: the pages are open to everybody"),
        "{said}"
    );
    assert!(why.contains("3 things are to be mended"), "{why}");

    let well = plain
        .with("CALLSCOPE_ROOMS", &good)
        .with("CALLSCOPE_INVITES_ALLOW_SERVERS", "other.example");
    let (code, said, _) = run(&well, &["check"]).await;
    assert!(
        code == Some(0) && said.contains("Everything that the configuration names can be had"),
        "{said}"
    );
}

#[tokio::test]
async fn a_joined_room_that_no_setting_names_is_tried_too() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let plain = settings(&bed);
    let (code, said, why) = run(&plain, &["check"]).await;
    assert!(
        code == Some(0) && said.contains("1 joined room was tried: 1 can be read"),
        "{said}{why}"
    );
    let unreadable = bed.room(&[ALICE]);
    bed.hs.inject(Fault::lasting(
        &format!("{}/state", &unreadable[1..]),
        FaultKind::Status(
            500,
            json!({"errcode": "M_UNKNOWN", "error": "Internal server error"}),
        ),
    ));
    let (code, said, why) = run(&plain, &["check"]).await;
    let named = said.lines().find(|line| line.contains(&unreadable));
    assert!(
        code == Some(1)
            && named.is_some_and(|line| line.contains("FAILS") && line.contains("cannot read it"))
            && said.contains("2 joined rooms were tried: 1 can be read")
            && why.contains("one thing is to be mended"),
        "{said}{why}"
    );
}

#[tokio::test]
async fn no_device_is_left_behind() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let file = bed.folder.path().join("callscope.credentials.json");
    let by_password = settings(&bed)
        .without("CALLSCOPE_ACCESS_TOKEN")
        .with("CALLSCOPE_USER_ID", &bed.bot)
        .with("CALLSCOPE_PASSWORD", "secret")
        .with("CALLSCOPE_CREDENTIALS_FILE", file.to_str().unwrap());
    let (code, said, why) = run(&by_password, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert_eq!((bed.logins(), bed.hs.count("/logout")), (1, 1));
    assert!(!file.exists(), "nothing is kept");

    let user = bed.bot.clone();
    let keys = [
        ("ACCESS_TOKEN", ""),
        ("USER_ID", user.as_str()),
        ("PASSWORD", "secret"),
        ("CREDENTIALS_FILE", file.to_str().unwrap()),
    ];
    let app = bed.start_with(&keys).await;
    app.ready().await;
    let logins = bed.logins();
    let (code, said, why) = run(&by_password, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert_eq!(
        (bed.logins(), bed.hs.count("/logout")),
        (logins, 1),
        "the device of the server is used and stays"
    );
    app.status_until("the server goes on", |status| {
        status["vantages"][0]["error"].is_null()
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_written_fails() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.app.stop().await;
    let file = bed.folder.path().join("callscope.db");
    let url = format!("sqlite://{}", file.display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    other.execute("begin exclusive").await.unwrap();
    let (code, said, _) = run(&settings(&bed), &["check"]).await;
    assert!(
        code == Some(1)
            && said.contains("database is locked")
            && said.contains("Close what has it"),
        "{said}"
    );
}
