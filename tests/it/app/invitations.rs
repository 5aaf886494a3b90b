//! Invitations that the policy does not allow are kept, shown with the setting to change, and
//! accepted once it is changed.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use callscope::sim::NewRoom;
use serde_json::Value;

const EVE: &str = "@eve:other.example";

fn invited(bed: &Bed, name: &str) -> String {
    let room = bed.hs.create_room(NewRoom {
        name: Some(name.into()),
        ..NewRoom::default()
    });
    bed.hs.join_user(&room, EVE, now());
    bed.hs.invite(&room, &bed.bot, EVE, now());

    room
}

async fn waits(app: &Running, count: usize) -> Value {
    app.status_until("the invitations", |status| {
        status["invitations"]
            .as_array()
            .is_some_and(|all| all.len() == count)
    })
    .await["invitations"]
        .clone()
}

#[tokio::test]
async fn one_that_waits_is_named_with_what_to_set_and_accepted_after_that() {
    let bed = Bed::new().await;
    let room = invited(&bed, "Tree house");
    let app = bed.start().await;
    let all = waits(&app, 1).await;
    assert_eq!(all[0]["inviter"], EVE);
    assert_eq!(all[0]["room_id"], room.as_str());
    assert_eq!(all[0]["allowed"], false);
    assert_eq!(all[0]["allow_with"][0]["key"], "invites.allow_users");
    assert_eq!(all[0]["allow_with"][0]["value"], EVE);
    assert_eq!(
        all[0]["allow_with"][1]["env"],
        "CALLSCOPE_INVITES_ALLOW_SERVERS"
    );
    assert_eq!(all[0]["allow_with"][1]["value"], "other.example");
    for path in ["/status", "/"] {
        let page = app.page(path).await;
        for words in [
            "Tree house",
            EVE,
            "CALLSCOPE_INVITES_ALLOW_USERS",
            "invites.allow_servers",
            "and restart",
        ] {
            assert!(page.contains(words), "{path}, {words}: {page}");
        }
    }

    let page = app.page("/").await;
    let waiting = page.find("The account was invited").unwrap();
    assert!(
        !page[..waiting].contains("Invite the account"),
        "what waits comes before what could be done: {page}"
    );
    assert!(app.page("/rooms").await.contains("1 invitation"));
    app.app.stop().await;

    let app = bed
        .start_with(&[("INVITES_ALLOW_SERVERS", "other.example")])
        .await;
    eventually("the room is joined", 30, async || {
        let rooms = app.json("/api/v1/rooms").await;
        rooms.to_string().contains(&room).then_some(())
    })
    .await;
    waits(&app, 0).await;
    assert!(!app.page("/status").await.contains("Tree house</bdi></h3>"));
    app.app.stop().await;
}

#[tokio::test]
async fn one_that_was_withdrawn_is_forgotten() {
    let bed = Bed::new().await;
    bed.room(&[]);
    let app = bed.start().await;
    app.ready().await;
    let room = invited(&bed, "Tree house");
    waits(&app, 1).await;
    bed.hs.kick(&room, &bed.bot, EVE, now());
    waits(&app, 0).await;
    app.app.stop().await;
}

#[tokio::test]
async fn without_live_following_they_are_asked_for() {
    let bed = Bed::new().await;
    let room = invited(&bed, "Tree house");
    let keys = [("MODE", "poll"), ("POLL_SCHEDULE", "* * * * * *")];
    let app = bed.start_with(&keys).await;
    let all = waits(&app, 1).await;
    assert_eq!(all[0]["inviter"], EVE, "though nobody's are accepted");
    assert_eq!(all[0]["allow_with"][0]["value"], EVE);
    let page = app.page("/status").await;
    for words in ["Tree house", EVE, "CALLSCOPE_INVITES_ALLOW_USERS"] {
        assert!(page.contains(words), "{words}: {page}");
    }

    bed.hs.kick(&room, &bed.bot, EVE, now());
    waits(&app, 0).await;
    app.app.stop().await;
}
