//! The rooms of a space are joined and watched, and can be chosen as a list of their own.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use callscope::sim::NewRoom;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OFTEN: (&str, &str) = ("POLL_SCHEDULE", "* * * * * *");
const ADMIN: &str = "@admin:sim.example";
const ADA: &str = "@ada:ash.example";
const BEN: &str = "@ben:birch.example";
const SPACE: &str = "%23community%3Asim.example";

fn room(bed: &Bed, name: &str, kind: Option<&str>) -> String {
    bed.hs.create_room(NewRoom {
        name: Some(name.into()),
        kind: kind.map(ToOwned::to_owned),
        alias: (name == "Community").then(|| "#community:sim.example".into()),
        join_rule: if name == "Closed" { "invite" } else { "public" }.into(),
        ..NewRoom::default()
    })
}

fn set_child(bed: &Bed, space: &str, room: &str, via: &[&str]) {
    let content = json!({ "via": via });
    bed.hs
        .send_state(space, ADMIN, "m.space.child", room, content, now());
}

/// The ids of the rooms of the space, once they are these.
async fn rooms_until(app: &Running, wanted: &[&String]) -> Vec<Value> {
    let wanted: BTreeSet<&str> = wanted.iter().map(|id| id.as_str()).collect();
    eventually("the rooms of the space", 60, async || {
        let path = format!("/api/v1/rooms?space={SPACE}&limit=100");
        // Until it is read, there is no such space.
        let answer = app.http.get(&path).await;
        let list = answer.body["data"].as_array()?.clone();
        let found: BTreeSet<&str> = list
            .iter()
            .map(|room| room["room_id"].as_str().unwrap())
            .collect();
        (found == wanted).then(|| list.clone())
    })
    .await
}

#[tokio::test]
async fn the_rooms_of_a_space_are_watched_and_can_be_chosen() {
    let bed = Bed::new().await;
    let space = room(&bed, "Community", Some("m.space"));
    let inner = room(&bed, "Inner", Some("m.space"));
    let [lobby, deep, closed, removed, late] =
        ["Lobby", "Deep", "Closed", "Removed", "Late"].map(|name| room(&bed, name, None));
    let other = bed.room(&[ADA]);
    for child in [&lobby, &inner, &closed, &space] {
        set_child(&bed, &space, child, &["sim.example"]);
    }
    set_child(&bed, &space, &removed, &[]);
    set_child(&bed, &inner, &deep, &["sim.example"]);
    // Spaces that name each other are read once.
    set_child(&bed, &inner, &space, &["sim.example"]);
    bed.hs.join_user(&lobby, ADA, now() - 90_000);
    for called in [&lobby, &other] {
        bed.joins(called, ADA, "AD", now() - 60_000);
        // A ghost: who left the room is still in its call.
        bed.hs.join_user(called, BEN, now() - 90_000);
        bed.joins(called, BEN, "BD", now() - 50_000);
        bed.hs.leave_user(called, BEN, now() - 40_000);
    }

    let app = bed
        .start_with(&[("SPACES", "#community:sim.example"), OFTEN])
        .await;
    let rooms = rooms_until(&app, &[&space, &lobby, &inner, &deep, &closed]).await;
    for one in &rooms {
        let is_closed = one["name"] == Value::Null;
        assert_eq!(one["watch"] == "joined", !is_closed, "{one}");
    }

    let all = app.json("/api/v1/rooms").await;
    assert_eq!(all["spaces"][0]["room"]["title"], "Community", "{all}");
    assert_eq!(all["spaces"].as_array().unwrap().len(), 1);
    let page = app.page("/rooms").await;
    assert!(page.contains("id=\"spaces\""), "{page}");
    let path = format!("/api/v1/calls?space={SPACE}");
    let calls = eventually("the call of the space", 30, async || {
        Some(app.json(&path).await["data"].clone()).filter(|calls| calls != &json!([]))
    })
    .await;
    assert_eq!(calls.as_array().unwrap().len(), 1, "{calls}");
    assert_eq!(calls[0]["room"]["room_id"], lobby.as_str());
    assert!(
        app.calls().await.len() == 2,
        "the other one is watched, too"
    );

    let counted = [("", 2), (&format!("?space={SPACE}&period=7d"), 1)];
    for (query, calls) in counted {
        let numbers = app.json(&format!("/api/v1/statistics{query}")).await;
        assert_eq!(numbers["this"]["calls"], calls, "{query}: {numbers}");
    }
    let numbers = app.json(&format!("/api/v1/statistics?space={SPACE}")).await;
    assert_eq!(numbers["rooms"][0]["room_id"], lobby.as_str());
    let page = app
        .page(&format!("/statistics?space={SPACE}&period=7d"))
        .await;
    let step = format!("/statistics?period=7d&#38;step=week&#38;space={SPACE}");
    assert!(page.contains(&step), "{page}");

    let problems = async |query: &str| {
        let problems = app.json(&format!("/api/v1/problems{query}")).await;
        let of_room = |one: &Value| one["room"]["room_id"].as_str().unwrap().to_owned();
        let rooms = problems["data"].as_array().unwrap().iter().map(of_room);
        rooms.collect::<BTreeSet<String>>()
    };
    assert_eq!(
        problems("").await,
        [&lobby, &other].map(Clone::clone).into()
    );
    let of_space = format!("?space={SPACE}");
    assert_eq!(problems(&of_space).await, [lobby.clone()].into());
    let csv = app.page(&format!("/api/v1/problems.csv{of_space}")).await;
    assert!(csv.contains(&lobby) && !csv.contains(&other), "{csv}");
    let csv = app.page(&format!("/api/v1/calls.csv{of_space}")).await;
    assert!(csv.contains(&lobby) && !csv.contains(&other), "{csv}");

    set_child(&bed, &space, &late, &["sim.example"]);
    set_child(&bed, &space, &lobby, &[]);
    rooms_until(&app, &[&space, &late, &inner, &deep, &closed]).await;
    assert_eq!(app.room(&lobby).await["watch"], "joined", "it is not left");
    for path in ["rooms", "calls", "problems", "statistics", "calls.csv"] {
        let unknown = format!("/api/v1/{path}?space=!nothing:sim.example");
        let answer = app.http.get(&unknown).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}
