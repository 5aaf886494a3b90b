//! The pages in a real browser, over the demonstration: no fault, with JavaScript and without, live.
//!
//! `scripts/test browser` installs what these tests need and runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is not as it must be")]

mod support;

use serde_json::{Value, json};
use support::app::{App, Settings};
use support::chromium::Browser;
use support::eventually;
use support::http::quote;

/// The demonstration, running, with calls to look at.
async fn demo() -> App {
    let app = App::ready(&Settings::demo()).await;
    eventually("calls are running", 60, async || (!app.active().await.is_empty()).then_some(())).await;
    app
}

/// A page and what must be readable on it.
struct Page {
    path: String,
    facts: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// What a page calls a room: its name, its alias or its id.
fn title(room: &Value) -> String {
    let names = ["name", "alias", "room_id"].map(|key| room[key].as_str());
    let mut names = names.into_iter().flatten();
    names.find(|n| !n.trim().is_empty()).unwrap().to_owned()
}

/// What a page calls a person: the display name, or the local part of the id.
fn person(member: &Value) -> String {
    let id = text(&member["user_id"]);
    let local = id.trim_start_matches('@').split(':').next().unwrap();
    let name = member["name"].as_str().filter(|n| !n.trim().is_empty());
    name.unwrap_or(local).to_owned()
}

/// Each page of the program, with facts from the JSON of the same program.
async fn pages(app: &App) -> Vec<Page> {
    let past = app.list_first("/api/v1/calls?status=ended").await;
    let rooms = app.list_first("/api/v1/rooms").await;
    let (call, room) = (&past[0], &rooms[0]);
    let people = call["members"].as_array().unwrap().iter().map(person);
    let of_call = people.chain([title(&call["room"])]).collect();
    let newest = past.iter().take(5).map(|c| title(&c["room"])).collect();
    let server = text(&call["servers"][0]);
    let room_page = format!("/rooms/{}", quote(&text(&room["room_id"])));
    vec![
        page("/", Vec::new()),
        page("/calls", newest),
        page(&format!("/calls/{}", text(&call["id"])), of_call),
        page("/rooms", rooms.iter().take(5).map(title).collect()),
        page(&room_page, vec![title(room)]),
        page("/statistics", vec![title(&app.http.get("/api/v1/statistics").await.ok()["rooms"][0])]),
        page("/servers", vec![server.clone()]),
        page(&format!("/servers/{}", quote(&server)), vec![server]),
        page("/transports", vec!["in use now".to_owned()]),
        page("/status", Vec::new()),
        page("/about", Vec::new()),
        page("/rejected", Vec::new()),
        page("/wall", Vec::new()),
        page("/api/docs", vec!["/api/v1/calls/active".to_owned()]),
        page("/api/docs/CallFacts", vec!["duration_ms".to_owned()]),
        page(&format!("/embed{room_page}"), vec![title(room)]),
    ]
}

/// Spaces and line ends as one: how text is broken into lines is not what matters.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn page(path: &str, facts: Vec<String>) -> Page {
    let path = path.to_owned();
    Page { path, facts }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn every_page_is_whole_with_and_without_javascript() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    for js in [true, false] {
        for Page { path, facts } in pages(&app).await {
            let url = format!("{}{path}", app.http.base);
            let opened = browser.open("page", &url, json!({"js": js})).await;
            assert_eq!(opened["status"], 200, "{path}");
            let seen = plain(&browser.text("page", "main").await);
            assert!(seen.len() > 20, "{path} is not empty: {seen}");
            for fact in facts {
                let fact = plain(&fact);
                assert!(seen.contains(&fact), "{path}, js {js}: no {fact} in {seen}");
            }
            let faults = browser.faults("page").await;
            assert!(faults.is_empty(), "{path}, js {js}: {faults:#?}");
            browser.close("page").await;
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn no_page_shuts_anybody_out() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    let mut serious = Vec::new();
    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)] {
        for Page { path, .. } in pages(&app).await {
            let url = format!("{}{path}", app.http.base);
            browser.open("page", &url, json!({"scheme": scheme, "width": width})).await;
            for found in browser.audit("page").await {
                if found["impact"] == "serious" || found["impact"] == "critical" {
                    serious.push(format!("{path}, {scheme}, {width}: {found}"));
                }
            }
            browser.close("page").await;
        }
    }
    assert!(serious.is_empty(), "{serious:#?}");
    // It can find something.
    browser.open("page", &app.http.base, json!({})).await;
    browser.eval("page", "document.querySelector('main').append(document.createElement('button'))").await;
    assert!(browser.audit("page").await.iter().any(|found| found["rule"] == "button-name"));
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn the_running_calls_are_on_the_first_page_either_way() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    for js in [true, false] {
        // Calls come and go meanwhile: look until page and API agree.
        eventually("the first page shows the running calls", 60, async || {
            let opened = browser.open("page", &app.http.base, json!({"js": js})).await;
            assert_eq!(opened["status"], 200);
            let shown = browser.links("page", ".cards a[href^='/calls/']").await;
            browser.close("page").await;
            let active = app.active().await;
            let all = active.iter().map(|c| format!("/calls/{}", text(&c["id"])));
            all.clone().all(|link| shown.contains(&link)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_call_appears_and_one_ends_without_a_reload() {
    const CARDS: &str = ".cards a[href^='/calls/']";
    let app = demo().await;
    // As long as history is read, an earlier join may be found and give a running call another id.
    eventually("history is read", 120, async || {
        let status = app.http.get("/api/v1/status").await.ok();
        (status["history"]["rooms_open"] == 0).then_some(())
    })
    .await;
    let mut browser = Browser::start().await;
    browser.open("page", &app.http.base, json!({})).await;
    browser.eval("page", "window.sameDocument = true").await;
    let at_first = browser.links("page", CARDS).await;
    assert!(!at_first.is_empty(), "calls are running");

    let appeared = eventually("a call appears", 180, async || {
        let now = browser.links("page", CARDS).await;
        now.into_iter().find(|link| !at_first.contains(link))
    })
    .await;
    let ended = eventually("a call ends", 180, async || {
        let now = browser.links("page", CARDS).await;
        let mut seen = at_first.iter().chain([&appeared]);
        seen.find(|link| !now.contains(link)).cloned()
    })
    .await;
    let still = browser.eval("page", "window.sameDocument === true").await;
    assert_eq!(still, true, "the page was not loaded again");
    let path = format!("/api/v1{ended}");
    let call = app.http.get(&path).await.ok();
    assert_eq!(call["active"], false, "what left the page has ended: {call}");
    let faults = browser.faults("page").await;
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn pages_fit_a_phone_and_follow_light_and_dark() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    let colour = "getComputedStyle(document.body).backgroundColor";
    for Page { path, .. } in pages(&app).await {
        let url = format!("{}{path}", app.http.base);
        let mut colours = Vec::new();
        for scheme in ["light", "dark"] {
            let phone = json!({"width": 390, "height": 844, "scheme": scheme});
            browser.open("page", &url, phone).await;
            let over = "document.documentElement.scrollWidth - innerWidth";
            let over = browser.eval("page", over).await;
            assert!(over.as_i64() <= Some(0), "{path} is {over} px too wide");
            colours.push(browser.eval("page", colour).await);
            browser.close("page").await;
        }
        assert_ne!(colours[0], colours[1], "{path} is the same in the dark");
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_page_that_is_not_there_says_so() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    let url = format!("{}/calls/no-such-call", app.http.base);
    let opened = browser.open("page", &url, json!({})).await;
    assert_eq!(opened["status"], 404);
    let links = browser.links("page", "a[href]").await;
    assert!(links.contains(&"/".to_owned()), "there is a way on: {links:?}");
}
