//! Lists of attendance, the previous and the next call of a room, and the ways to join.

use crate::pages::site::{Site, quote, text};
use serde_json::Value;

async fn newest_calls(site: &Site) -> Vec<Value> {
    let list = site.json("/api/v1/calls?limit=100").await;
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_call_has_a_list_of_who_was_there() {
    let site = Site::filled("attendance").await;
    let calls = newest_calls(&site).await;
    let call = calls
        .iter()
        .max_by_key(|call| call["people"].as_i64())
        .unwrap();
    let id = text(&call["id"]);
    let list = site
        .get(&format!("/api/v1/calls/{id}/attendance.csv"))
        .await;
    assert_eq!(list.status, 200);
    let lines: Vec<&str> = list.text.trim_end().split("\r\n").collect();
    assert!(lines[0].starts_with("call_id,call_started_at,user_id,name,came_at,left_at"));
    let people = usize::try_from(call["people"].as_i64().unwrap()).unwrap();
    assert_eq!(lines.len(), people + 1, "{}", list.text);
    assert!(lines[1..].iter().all(|line| line.starts_with(id)));

    let room = quote(text(&call["room"]["room_id"]));
    let of_room = site
        .get(&format!("/api/v1/rooms/{room}/attendance.csv"))
        .await;
    assert!(of_room.text.contains(lines[1]), "{}", of_room.text);
    let none = format!("/api/v1/rooms/{room}/attendance.csv?from=2001-01-01&to=2001-01-02");
    assert_eq!(site.get(&none).await.text.lines().count(), 1);
    for unknown in [
        "/api/v1/calls/none/attendance.csv",
        "/api/v1/rooms/none/attendance.csv",
    ] {
        assert_eq!(site.get(unknown).await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn a_call_leads_to_the_previous_and_the_next_one_of_its_room() {
    let site = Site::filled("neighbours").await;
    let calls = newest_calls(&site).await;
    let room = &calls
        .iter()
        .find(|call| {
            let of_room = |other: &&Value| other["room"]["room_id"] == call["room"]["room_id"];
            calls.iter().filter(of_room).count() > 1
        })
        .unwrap()["room"]["room_id"];
    let mut of_room: Vec<&Value> = calls
        .iter()
        .filter(|call| call["room"]["room_id"] == *room)
        .collect();
    of_room.sort_by_key(|call| (call["started_ms"].as_i64(), text(&call["id"])));
    let mut at = site
        .json(&format!("/api/v1/calls/{}", text(&of_room[0]["id"])))
        .await;
    for call in &of_room[1..] {
        assert_eq!(at["next_call"]["id"], call["id"]);
        let before = at["id"].clone();
        at = site
            .json(&format!("/api/v1/calls/{}", text(&call["id"])))
            .await;
        assert_eq!(at["previous_call"]["id"], before);
    }

    let page = site.get(&format!("/calls/{}", text(&at["id"]))).await.text;
    assert!(page.contains("rel=\"prev\""), "{page}");
    assert!(page.contains("https://matrix.to/#/"), "{page}");
}
