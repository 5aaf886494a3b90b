//! The pages of the program, and what must be readable on each.

use crate::support::app::App;
use crate::support::http::quote;
use crate::text;
use serde_json::Value;

/// A page and what must be readable on it.
pub struct Page {
    pub path: String,
    pub facts: Vec<String>,
}

/// The title of a room on a page.
fn title(room: &Value) -> String {
    text(&room["title"])
}

/// The title of a person on a page: the display name, or the local part of the id.
fn person(member: &Value) -> String {
    let id = text(&member["user_id"]);
    let local = id.trim_start_matches('@').split(':').next().unwrap();
    let name = member["name"].as_str().filter(|n| !n.trim().is_empty());
    name.unwrap_or(local).to_owned()
}

/// Each page of the program, with facts from the JSON of the same program.
pub async fn all(app: &App) -> Vec<Page> {
    let past = app.list_first("/api/v1/calls?status=ended").await;
    let rooms = app.list_first("/api/v1/rooms").await;
    let (call, room) = (&past[0], &rooms[0]);
    let people = call["members"].as_array().unwrap().iter().map(person);
    let of_call = people.chain([title(&call["room"])]).collect();
    let newest = past.iter().take(5).map(|c| title(&c["room"])).collect();
    let server = text(&call["servers"][0]);
    // The call with most people, and the busiest room: they are the hardest to show.
    let by_people = |call: &&Value| call["people"].as_i64();
    let (running, ended) = (
        app.active().await,
        past.iter().max_by_key(by_people).unwrap(),
    );
    let running = running.iter().max_by_key(by_people).expect("a call runs");
    let busiest = rooms
        .iter()
        .max_by_key(|room| room["calls"].as_i64())
        .unwrap();
    let of_room = |room: &Value| format!("/rooms/{}", quote(&text(&room["room_id"])));
    let problems = app.list_first("/api/v1/problems").await;
    let problem = problems.first().expect("the demonstration has problems");
    let someone = text(&call["members"][0]["user_id"]);
    let many = format!("/calls/{}", text(&ended["id"]));
    let room_page = format!("/rooms/{}", quote(&text(&room["room_id"])));

    vec![
        page("/", Vec::new()),
        page("/calls", newest),
        page(&format!("/calls/{}", text(&call["id"])), of_call),
        page("/rooms", rooms.iter().take(5).map(title).collect()),
        page(&room_page, vec![title(room)]),
        page(
            "/statistics",
            vec![title(
                &app.http.get("/api/v1/statistics").await.ok()["rooms"][0],
            )],
        ),
        page("/servers", vec![server.clone()]),
        page(&format!("/servers/{}", quote(&server)), vec![server]),
        page("/transports", vec!["in use now".to_owned()]),
        page("/status", Vec::new()),
        page("/calls?q=a&kind=group&min_people=2", Vec::new()),
        page(
            &format!("/calls/{}", text(&running["id"])),
            vec![title(&running["room"])],
        ),
        page(&many, vec!["Who was here when".to_owned()]),
        page(
            &format!("{many}?stays_from=0"),
            vec!["Every stay".to_owned()],
        ),
        page(
            &format!("{many}?events_from=0"),
            vec!["Evidence".to_owned()],
        ),
        page(&of_room(busiest), vec![title(busiest)]),
        page("/problems", vec![title(&problem["room"])]),
        page(
            &format!("/problems/{}", text(&problem["id"])),
            // What is to be done changes when it is over.
            vec![title(&problem["room"])],
        ),
        page(
            &format!("/people/{}", quote(&someone)),
            vec![person(&call["members"][0])],
        ),
        page("/servers/sim.example/check", vec!["sim.example".to_owned()]),
        page("/wall", vec!["running".to_owned()]),
        page("/about", vec!["/api/v1/calls/active".to_owned()]),
        page(
            "/rejected",
            vec!["Events that could not be used".to_owned()],
        ),
        page("/api/docs", vec!["/api/v1/calls/active".to_owned()]),
        page("/docs", vec!["What Callscope is".to_owned()]),
        page("/docs/configure", vec!["homeserver_url".to_owned()]),
        page("/docs/api", vec!["Example answers".to_owned()]),
        page("/docs/findings", vec!["A ghost".to_owned()]),
        page("/docs/matrixrtc", vec!["Delayed events".to_lowercase()]),
        page("/api/docs/CallFacts", vec!["duration_ms".to_owned()]),
        page(&format!("/embed{room_page}"), vec![title(room)]),
    ]
}

pub fn page(path: &str, facts: Vec<String>) -> Page {
    let path = path.to_owned();
    Page { path, facts }
}
