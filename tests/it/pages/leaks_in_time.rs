//! Of a room that somebody was in for a time, and whose history is for those who were there, only
//! that time is told: neither what was before, nor what came after.

use crate::pages::goldens::Room;
use crate::pages::leaks::{
    ask_json, assert_same_answers, ids_by_room, is_hidden, is_public, may_see, names_of_rooms,
    rooms_of_the_world, site_with_rooms,
};
use crate::pages::site::{NOW, text};
use callscope::store::visible::Viewer;
use serde_json::{Value, json};

const VISITOR: &str = "@visitor:sim.example";

/// A call of a room.
#[derive(Debug, Clone)]
struct Told {
    id: String,
    started_ms: i64,
    until_ms: i64,
}

/// The calls of each room, oldest first, with those of the most calls first.
async fn calls_of_rooms(rooms: &[Room]) -> Vec<(String, Vec<Told>)> {
    let site = site_with_rooms(rooms.iter()).await;
    let answer = ask_json(&site, &Viewer::Operator, "/api/v1/calls?limit=500").await;
    let mut found: Vec<(String, Vec<Told>)> = Vec::new();
    for call in answer["data"].as_array().unwrap() {
        let room_id = text(&call["room"]["room_id"]);
        let told = Told {
            id: text(&call["id"]).to_owned(),
            started_ms: call["started_ms"].as_i64().unwrap(),
            until_ms: call["ended_ms"].as_i64().unwrap_or(NOW),
        };
        match found.iter_mut().find(|(id, _)| id == room_id) {
            Some((_, calls)) => calls.push(told),
            None => found.push((room_id.to_owned(), vec![told])),
        }
    }

    for (_, calls) in &mut found {
        calls.sort_by_key(|call| call.started_ms);
    }

    found.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.len()));

    found
}

/// A moment between two calls, the first before this index, in which nobody is in a call; ms.
fn quiet_moment_before(calls: &[Told], index: usize) -> Option<i64> {
    let ended = calls[..index].iter().map(|call| call.until_ms).max()?;
    let begins = calls[index].started_ms;

    (ended + 2000 < begins).then(|| begins - 1000)
}

fn time_of_event(event: &Value) -> i64 {
    event["origin_server_ts"].as_i64().unwrap()
}

/// A state event of the room at this time, ms.
fn state_event(kind: &str, key: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": format!("${kind}{at}"), "type": kind, "state_key": key,
        "sender": if key.is_empty() { "@admin:sim.example" } else { key },
        "origin_server_ts": at, "content": content})
}

/// The room, in which the visitor is for a time, and whose history is for those who are there.
fn with_visitor(room: &Room, from: i64, to: Option<i64>) -> Room {
    let first = room.events.iter().map(time_of_event).min().unwrap();
    let mut events = room.events.clone();
    let closed = json!({"history_visibility": "joined"});
    events.push(state_event("m.room.history_visibility", "", first, &closed));
    let member = |word: &str| json!({"membership": word, "displayname": "Visitor"});
    events.push(state_event("m.room.member", VISITOR, from, &member("join")));
    if let Some(to) = to {
        events.push(state_event("m.room.member", VISITOR, to, &member("leave")));
    }

    events.sort_by_key(time_of_event);

    Room {
        id: room.id.clone(),
        events,
    }
}

/// What the visitor may see of the room: its state, and all else of the time of the visit.
fn without_hidden_time(room: &Room, from: i64, to: Option<i64>) -> Room {
    let is_seen = |event: &&Value| {
        let kind = text(&event["type"]);
        let is_state = kind.starts_with("m.room.") && event["state_key"].is_string();
        let at = time_of_event(event);

        is_state || (from..to.unwrap_or(i64::MAX)).contains(&at)
    };

    Room {
        id: room.id.clone(),
        events: room.events.iter().filter(is_seen).cloned().collect(),
    }
}

async fn assert_that_only_the_visit_is_told(leaves: bool) {
    let mut rooms = rooms_of_the_world().await;
    let found = calls_of_rooms(&rooms).await;
    let is_chosen = |room_id: &str| {
        let room = rooms.iter().find(|room| room.id == room_id).unwrap();
        !is_hidden(room) && !is_public(room)
    };
    let (room_id, calls, from, to) = found
        .iter()
        .filter(|(room_id, calls)| calls.len() > 3 && is_chosen(room_id))
        .find_map(|(room_id, calls)| {
            let from = (1..calls.len() - 2)
                .find_map(|index| Some((index, quiet_moment_before(calls, index)?)))?;
            let to = (from.0 + 1..calls.len())
                .rev()
                .find_map(|index| quiet_moment_before(calls, index))?;
            Some((room_id, calls, from.1, to))
        })
        .expect("a room with quiet moments between calls");
    let to = leaves.then_some(to);
    let room = rooms.iter_mut().find(|room| room.id == *room_id).unwrap();
    *room = with_visitor(room, from, to);
    let cut = without_hidden_time(room, from, to);
    assert!(cut.events.len() < room.events.len());

    let viewer = Viewer::Account {
        user_id: VISITOR.to_owned(),
    };
    let sees = |room: &Room| room.id == *room_id || may_see(&viewer, room);
    let mut visible: Vec<Room> = rooms.iter().filter(|room| sees(room)).cloned().collect();
    let of_visible = visible.iter_mut().find(|room| room.id == *room_id).unwrap();
    *of_visible = cut;
    let mut names = names_of_rooms(&rooms, sees, &ids_by_room(&rooms).await);
    names
        .calls
        .extend([calls[0].id.clone(), calls[calls.len() - 1].id.clone()]);
    assert_same_answers(&viewer, &rooms, &visible, &names).await;
}

#[tokio::test]
async fn what_was_before_somebody_came_changes_nothing_for_them() {
    assert_that_only_the_visit_is_told(false).await;
}

#[tokio::test]
async fn what_came_after_somebody_left_changes_nothing_for_them() {
    assert_that_only_the_visit_is_told(true).await;
}
