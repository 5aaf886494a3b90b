//! The pages of the demonstration in a real browser: no errors, with and without JavaScript, with
//! live updates.
//!
//! `scripts/test browser` installs what these tests need and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod first_run;
mod one_click;
mod pages;
mod record;
#[allow(dead_code, reason = "each test program uses its own part of it")]
#[path = "../it/pages/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;
mod whole;
mod widget;
mod zones;

use serde_json::{Value, json};
use support::app::{App, Settings};
use support::chromium::Browser;
use support::eventually;

/// The running demonstration, with calls to look at.
async fn demo() -> App {
    let app = App::ready(&Settings::demo()).await;
    eventually("calls are running", 60, async || {
        (!app.active().await.is_empty()).then_some(())
    })
    .await;

    app
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn the_running_calls_are_on_the_first_page_either_way() {
    let app = demo().await;
    let mut browser = Browser::start().await;

    for js in [true, false] {
        // Calls begin and end meanwhile: repeat until page and API agree.
        eventually("the first page shows the running calls", 60, async || {
            let opened = browser
                .open("page", &app.http.base, json!({"js": js}))
                .await;
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
    // While history is being read, an earlier join may be found that changes the id of a running
    // call.
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
    assert_eq!(
        call["active"], false,
        "what left the page has ended: {call}"
    );
    let faults = browser.faults("page").await;
    assert!(faults.is_empty(), "{faults:#?}");
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
    assert!(
        links.contains(&"/".to_owned()),
        "there is a way on: {links:?}"
    );
}
