//! A room that was replaced by another one: it is followed, both are linked, and a call that was
//! left behind is reported.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use crate::support::http::quote;
use callscope::sim::NewRoom;
use serde_json::{Value, json};

const ADA: &str = "@ada:ash.example";
const BEN: &str = "@ben:birch.example";
const OFTEN: (&str, &str) = ("POLL_SCHEDULE", "* * * * * *");
const RARELY: (&str, &str) = ("POLL_SCHEDULE", "0 0 0 1 1 *");
const MINUTE: i64 = 60_000;

fn made_by_ada() -> NewRoom {
    NewRoom {
        creator: ADA.into(),
        name: Some("Tree house".into()),
        ts: now() - 100 * MINUTE,
        ..NewRoom::default()
    }
}

async fn room_until(
    app: &Running,
    room: &str,
    what: &str,
    right: impl Fn(&Value) -> bool,
) -> Value {
    eventually(what, 60, async || {
        Some(app.room(room).await).filter(|facts| right(facts))
    })
    .await
}

async fn call_until(app: &Running, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(what, 60, async || {
        let calls = app.calls().await;
        let id = calls.last()?["id"].as_str()?.to_owned();
        Some(app.json(&format!("/api/v1/calls/{id}")).await).filter(|facts| right(facts))
    })
    .await
}

fn replaced(facts: &Value) -> Option<&Value> {
    let mut findings = facts["findings"].as_array()?.iter();
    findings.find(|finding| finding["kind"] == "room_replaced")
}

fn joins_of(bed: &Bed, room: &str) -> usize {
    let asked = format!("/join/{}", quote(room));
    let plain = format!("/join/{room}");
    let is_join = |path: &String| path.contains(&asked) || path.contains(&plain);

    bed.hs
        .requests()
        .iter()
        .filter(|(_, path)| is_join(path))
        .count()
}

#[tokio::test]
async fn a_room_replaced_during_a_call_is_followed() {
    let bed = Bed::new().await;
    let old = bed.room_like(made_by_ada(), &[BEN]);
    let begin = now() - 50 * MINUTE;
    bed.joins(&old, ADA, "AD", begin);
    bed.joins(&old, BEN, "BD", begin + MINUTE);
    let app = bed.start_with(&[RARELY]).await;
    app.calls_until("the call", |calls| calls.len() == 1).await;
    let at = now() - MINUTE;
    let new = bed.hs.upgrade_room(&old, ADA, at);
    let facts = room_until(&app, &new, "the new room is followed", |facts| {
        facts["watch"] == "joined" && facts["predecessor"]["names_this_room"] == true
    })
    .await;
    assert_eq!(facts["predecessor"]["room_id"], json!(old));
    assert_eq!(facts["predecessor"]["at_ms"], at);
    bed.leaves(&old, BEN, "BD", now());

    let facts = call_until(&app, "the finding", |facts| {
        facts["people_now"] == 1 && replaced(facts).is_some()
    })
    .await;
    let finding = replaced(&facts).unwrap();
    assert_eq!(finding["replaced_by"], json!(new));
    assert_eq!(finding["from_ms"], at);
    assert_eq!(finding["users"], json!([ADA]));
    assert_eq!(finding["left_behind"][0]["user_id"], ADA);
    assert_eq!(finding["left_behind"][0]["last_heard_ms"], begin);
    assert_eq!(facts["active"], true, "a tombstone ends nothing by itself");
    assert_eq!(facts["room_replaced_by"], json!(new));
    let page = app
        .page(&format!("/calls/{}", facts["id"].as_str().unwrap()))
        .await;
    assert!(
        page.contains("The room was replaced") && page.contains("Room replaced"),
        "{page}"
    );
    assert!(page.contains("probably left behind"));
    let overview = app.page("/").await;
    assert!(overview.contains("The room was replaced by") && overview.contains("Room replaced"));

    let facts = app.room(&old).await;
    assert_eq!(facts["replaced_by"], json!(new));
    assert_eq!(facts["replaced_ms"], at);
    assert_eq!(facts["successor"]["watch"], "joined");
    assert_eq!(
        facts["findings"][0]["kind"], "replaced",
        "a call still runs there"
    );
    let page = app.page(&format!("/rooms/{}", quote(&old))).await;
    assert!(
        page.contains("This room was replaced") && !page.contains("Following"),
        "{page}"
    );
    let page = app.page(&format!("/rooms/{}", quote(&new))).await;
    assert!(
        page.contains("This room replaced") && page.contains(&old),
        "{page}"
    );
    let list = app.page("/rooms").await;
    assert!(list.contains("moved here from"), "{list}");
    assert_eq!(
        list.matches("<tr id=\"r-").count(),
        1,
        "the two stand as one"
    );

    // A call in the new room is another one; the old one says where it went on.
    bed.leaves(&old, ADA, "AD", now());
    bed.joins(&new, ADA, "AD", now());
    app.calls_until("another call", |calls| calls.len() == 2)
        .await;
    let facts = call_until(&app, "the old call is over", |facts| {
        facts["active"] == false
    })
    .await;
    let page = app
        .page(&format!("/calls/{}", facts["id"].as_str().unwrap()))
        .await;
    assert!(page.contains("later calls are in"), "{page}");
    let facts = room_until(&app, &old, "all went well", |facts| {
        facts["findings"] == json!([])
    })
    .await;
    assert_eq!(facts["active_calls"], 0);
    app.app.stop().await;
}

#[tokio::test]
async fn a_successor_that_asks_for_an_invitation() {
    let bed = Bed::new().await;
    let old = bed.room_like(made_by_ada(), &[BEN]);
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    let like = NewRoom {
        join_rule: "invite".into(),
        ..NewRoom::default()
    };

    let new = bed.hs.upgrade_room_to(&old, ADA, like, now());
    let facts = room_until(&app, &old, "it cannot be followed", |facts| {
        facts["successor"]["error"].is_string()
    })
    .await;
    assert_eq!(facts["successor"]["watch"], "blind");
    assert_eq!(facts["findings"][0]["kind"], "replaced");
    assert_eq!(facts["observer_user_id"], json!(bed.bot));
    let page = app.page(&format!("/rooms/{}", quote(&old))).await;
    assert!(
        page.contains("invite the account") && page.contains(&bed.bot),
        "{page}"
    );
    let overview = app.page("/").await;
    assert!(
        overview.contains("the new one is not followed")
            && overview.contains("that took the place of others")
            && !overview.contains("where the configuration names")
            && !overview.contains("out of the configuration"),
        "{overview}"
    );
    let unseen = app.json("/api/v1/overview").await["unseen"].clone();
    assert_eq!(unseen[0]["kind"], "successor", "{unseen}");
    // Its own page names the room that it replaced, and claims nothing that was not read.
    let facts = app.room(&new).await;
    assert_eq!(facts["replaces"], json!(old));
    assert_eq!(
        facts["needs"][0]["remedy"],
        format!("invite {} to it.", bed.bot)
    );
    let page = app.page(&format!("/rooms/{}", quote(&new))).await;
    assert!(
        page.contains("This room took the place of") && page.contains(&old),
        "{page}"
    );
    for claim in [
        "Complete since",
        "Watched since",
        "where the configuration names",
    ] {
        assert!(!page.contains(claim), "{claim}: {page}");
    }

    bed.hs.invite(&new, &bed.bot, ADA, now());
    room_until(&app, &new, "it is followed", |facts| {
        facts["watch"] == "joined"
    })
    .await;
    room_until(&app, &old, "all is well", |facts| {
        facts["findings"] == json!([])
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_successor_that_lets_members_of_the_old_room_in() {
    let bed = Bed::new().await;
    let old = bed.room_like(made_by_ada(), &[]);
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    let like = NewRoom {
        join_rule: "restricted".into(),
        ..NewRoom::default()
    };

    let new = bed.hs.create_room(NewRoom {
        predecessor: Some(old.clone()),
        creator: ADA.into(),
        ..like
    });
    let rules = json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership",
        "room_id": old}]});
    bed.hs
        .send_state(&new, ADA, "m.room.join_rules", "", rules, now());
    bed.hs.tombstone(&old, ADA, &new, now());
    room_until(&app, &new, "it is followed", |facts| {
        facts["watch"] == "joined"
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_that_does_not_name_the_old_one_is_not_followed() {
    let bed = Bed::new().await;
    let old = bed.room_like(made_by_ada(), &[]);
    let seen = |visibility: &str| NewRoom {
        history_visibility: visibility.into(),
        creator: BEN.into(),
        ..NewRoom::default()
    };

    let open = bed.hs.create_room(seen("world_readable"));
    let hidden = bed.hs.create_room(seen("shared"));
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    bed.hs.tombstone(&old, ADA, &open, now());
    let facts = room_until(&app, &old, "it is said", |facts| {
        facts["successor"]["error"].is_string()
    })
    .await;
    let error = facts["successor"]["error"].as_str().unwrap();
    assert!(error.contains("does not name the old room"), "{error}");
    assert_eq!(joins_of(&bed, &open), 0, "it was seen from outside");
    bed.hs.tombstone(&old, ADA, &hidden, now());
    room_until(&app, &old, "the other one", |facts| {
        facts["replaced_by"] == json!(hidden) && facts["successor"]["names_this_room"] == false
    })
    .await;
    eventually("it is left again", 30, async || {
        let standing = bed.hs.state(&hidden, "m.room.member", &bed.bot)?;
        (standing["membership"] == "leave").then_some(())
    })
    .await;
    let page = app.page(&format!("/rooms/{}", quote(&old))).await;
    assert!(page.contains("does not name"), "{page}");
    app.app.stop().await;
}

#[tokio::test]
async fn who_may_invite_may_also_send_us_on() {
    let bed = Bed::new().await;
    let old = bed.room_like(made_by_ada(), &[]);
    let other = bed.hs.create_room(NewRoom::default());
    let app = bed
        .start_with(&[OFTEN, ("INVITES_ALLOW_SERVERS", "ash.example")])
        .await;
    app.ready().await;
    bed.hs.tombstone(&old, ADA, &other, now());
    room_until(&app, &other, "it is followed", |facts| {
        facts["watch"] == "joined"
    })
    .await;
    let facts = room_until(&app, &old, "and said to be odd", |facts| {
        facts["successor"]["names_this_room"] == false
    })
    .await;
    assert_eq!(facts["findings"][0]["kind"], "replaced");
    app.app.stop().await;
}

#[tokio::test]
async fn a_trail_of_rooms_is_not_followed_for_ever() {
    let bed = Bed::new().await;
    let first = bed.room_like(made_by_ada(), &[]);
    let mut trail = vec![first];
    for _ in 0..12 {
        let last = trail.last().unwrap().clone();
        trail.push(bed.hs.upgrade_room(&last, ADA, now() - MINUTE));
    }

    // And back to the beginning.
    bed.hs
        .tombstone(trail.last().unwrap(), ADA, &trail[0], now());
    let app = bed.start_with(&[OFTEN]).await;
    app.ready().await;
    eventually("the trail is given up", 90, async || {
        for room in &trail {
            let facts = app
                .http
                .get(&format!("/api/v1/rooms/{}", quote(room)))
                .await;
            let error = facts.body["successor"]["error"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if error.contains("trail of rooms") {
                return Some(());
            }
        }

        None
    })
    .await;
    let joined = trail.iter().filter(|room| joins_of(&bed, room) > 0).count();
    assert!((2..=6).contains(&joined), "{joined}");
    app.app.stop().await;
}

#[tokio::test]
async fn the_history_of_the_room_before_is_read_where_anybody_may() {
    let bed = Bed::new().await;
    let old = bed.hs.create_room(NewRoom {
        history_visibility: "world_readable".into(),
        ..made_by_ada()
    });
    bed.joins(&old, ADA, "AD", now() - 50 * MINUTE);
    bed.leaves(&old, ADA, "AD", now() - 40 * MINUTE);
    let new = bed.hs.upgrade_room(&old, ADA, now() - 30 * MINUTE);
    bed.hs.join_user(&new, &bed.bot, now() - 20 * MINUTE);
    let app = bed.start_with(&[RARELY]).await;
    let facts = room_until(&app, &old, "it is looked into", |facts| {
        facts["watch"] == "peeked"
    })
    .await;
    assert_eq!(facts["successor"]["room_id"], json!(new));
    app.calls_until("its call", |calls| calls.len() == 1).await;
    app.app.stop().await;
}
