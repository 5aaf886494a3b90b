//! How pages and commands describe the observer's state: never "well" for what was not seen.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::app::operator::run;
use crate::support::http::quote;
use callscope::sim::{Fault, FaultKind, NewRoom};
use serde_json::json;

const ALICE: &str = "@alice:sim.example";

/// Claims that must not be shown if nothing was seen.
const CLAIMS: [&str; 18] = [
    "All is well",
    "is well and watching",
    "Syncing",
    "heard all the time",
    "No break",
    "offered (MSC",
    "overcome",
    "nothing is hidden from us",
    "Every room answered",
    "could be understood",
    "Logged in<",
    "No call",
    "nobody is",
    "Nobody",
    "No room is watched",
    "No server was seen",
    "No transport was named",
    "0 rooms",
];

#[tokio::test]
async fn before_the_first_sign_in_nothing_is_said_to_be_well() {
    let bed = Bed::new().await;
    bed.hs.inject(Fault::lasting(
        "/whoami",
        FaultKind::Status(502, json!({"errcode": "M_UNKNOWN", "error": "down"})),
    ));
    let app = bed.start().await;
    app.status_until("it is said", |status| {
        status["vantages"][0]["error"].is_string()
    })
    .await;
    for path in [
        "/",
        "/status",
        "/rooms",
        "/calls",
        "/wall",
        "/servers",
        "/transports",
        "/statistics",
        "/embed/rooms/!any:sim.example",
    ] {
        let page = app.page(path).await;
        for claim in CLAIMS {
            assert!(!page.contains(claim), "{path} says {claim:?}: {page}");
        }
    }

    for path in [
        "calls",
        "rooms",
        "servers",
        "transports",
        "statistics",
        "wall",
    ] {
        let answer = app.json(&format!("/api/v1/{path}")).await;
        assert_eq!(answer["unknown_why"], "not_read", "{path}");
    }

    let page = app.page("/status").await;
    for words in [
        "Not connected to the homeserver",
        "Not signed in yet",
        "not known before the first sign-in",
        "Nothing was heard yet",
        "No event came yet",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    assert!(
        app.page("/")
            .await
            .contains("First, Callscope must hear its homeserver")
    );
    let (code, said, _) = run(&settings(&bed), &["status", "--url", &app.http.base]).await;
    assert!(
        code == Some(1)
            && !said.contains("All is well")
            && said.starts_with("TROUBLE: the account since")
            && !said.contains("no visible name"),
        "{said}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn while_a_room_cannot_be_read_not_all_is_well() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let hidden = bed.hs.create_room(NewRoom {
        join_rule: "invite".into(),
        ..NewRoom::default()
    });
    let app = bed.start_with(&[("ROOMS", &hidden)]).await;
    app.ready().await;
    let status = app
        .status_until("the room is said to be blind", |status| {
            status["rooms_unread"] == 1
        })
        .await;
    assert_eq!(status["rooms_followed"], 1);
    let page = app.page("/status").await;
    assert!(
        page.contains("Not everything can be seen")
            && page.contains("1 room followed, 1 cannot be read")
            && !page.contains("All is well"),
        "{page}"
    );
    let advice = format!("What to do: invite {}", bed.bot);
    let troubled = &page[page.find("id=\"troubled\"").unwrap()..];
    let troubled = &troubled[..troubled.find("</ul>").unwrap()];
    assert!(
        troubled.contains(&advice) && troubled.contains("M_FORBIDDEN"),
        "{troubled}"
    );
    for list in ["troubled", "rooms_to_look_at"] {
        let need = &status[list][0]["needs"][0];
        assert_eq!(need["kind"], "not_readable", "{status}");
        assert!(
            need["remedy"].as_str().unwrap().contains(&bed.bot),
            "{need}"
        );
    }

    let page = app.page("/").await;
    assert!(
        page.contains("1 room followed, 1 cannot be read") && !page.contains("is well and"),
        "{page}"
    );
    let page = app.page("/wall").await;
    assert!(
        page.contains("1 room followed, 1 cannot be read") && !page.contains("Watching 2 rooms"),
        "{page}"
    );
    let wall = app.json("/api/v1/wall").await;
    assert_eq!(
        (&wall["rooms_followed"], &wall["rooms_unread"]),
        (&json!(1), &json!(1))
    );
    let page = app.page(&format!("/rooms/{}", quote(&hidden))).await;
    assert!(
        page.contains("Nothing of this room was ever read")
            && page.contains(&advice.replace("What to do: ", "")),
        "{page}"
    );
    for claim in [
        "Complete since",
        "Watched since",
        "none since we watch",
        "No call was found",
    ] {
        assert!(!page.contains(claim), "{claim}: {page}");
    }

    let page = app.page("/rooms").await;
    assert!(
        page.contains("2 rooms, 1 followed, 1 cannot be read")
            && page.contains("those that can be read"),
        "{page}"
    );
    let (code, said, _) = run(&settings(&bed), &["status", "--url", &app.http.base]).await;
    let line = said.lines().find(|line| line.starts_with(&hidden));
    assert!(
        line.is_some_and(
            |line| line.contains(&format!("what to do: invite {}", bed.bot))
                && line.contains("Why:")
                && line.contains("M_FORBIDDEN")
        ),
        "{said}"
    );
    assert!(
        code == Some(0)
            && said.contains("1 room followed, 1 cannot be read")
            && !said.contains("All is well"),
        "{said}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn on_the_first_day_nothing_is_compared() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 60_000);
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    app.ready().await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["compared"], false);
    let page = app.page("/").await;
    assert!(
        !page.contains("compared with last") && page.contains("last week is not known"),
        "{page}"
    );
    let page = app.page("/status").await;
    assert!(
        page.contains("No break since") && !page.contains("heard all the time"),
        "{page}"
    );
    app.app.stop().await;
}

#[tokio::test]
async fn an_account_in_no_room_is_told_so() {
    let bed = Bed::new().await;
    let app = bed.start().await;
    app.ready().await;
    let page = app.page("/").await;
    assert!(
        page.contains("First, the account must be in a room")
            && page.contains(&bed.bot)
            && page.contains("CALLSCOPE_ROOMS")
            && !page.contains("Rooms read"),
        "{page}"
    );
    assert!(app.page("/status").await.contains("No room is watched yet"));
    app.app.stop().await;
}
