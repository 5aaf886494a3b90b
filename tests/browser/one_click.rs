//! Each question that an admin asks is answered on the first page, or one click away: a script
//! starts there, clicks once what it sees under a name, and reads the answer.

use crate::demo;
use crate::support::app::App;
use crate::support::chromium::Browser;
use crate::support::eventually;
use crate::text;
use serde_json::{Value, json};

/// Reads what a person sees on the page.
async fn seen(browser: &mut Browser) -> String {
    let text = browser.text("page", "main").await;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Starts at the first page, clicks once on what has this name, and looks for the answer.
async fn ask(browser: &mut Browser, app: &App, js: bool, name: &str, answers: &[&str]) {
    open_first_page(browser, app, js).await;
    let led_to = browser.click_name("page", name).await;
    says_all(browser, &format!("{name} (js {js}, {led_to})"), answers).await;
    browser.close("page").await;
}

async fn says_all(browser: &mut Browser, what: &str, answers: &[&str]) {
    let text = seen(browser).await;
    for answer in answers {
        assert!(text.contains(answer), "{what}: no {answer:?} in {text}");
    }
}

async fn open_first_page(browser: &mut Browser, app: &App, js: bool) {
    let like = json!({"js": js, "width": 390, "height": 844});
    browser.open("page", &app.http.base, like).await;
}

/// The running call with a ghost in it, as soon as it is there.
async fn call_with_ghost(app: &App) -> Value {
    eventually("a call has a ghost", 120, async || {
        let active = app.active().await;
        active.into_iter().find(|call| call["ghosts_now"] == 1)
    })
    .await
}

/// A call that has just ended and after which another one of its room began.
async fn ended_call_before_another(app: &App) -> Option<String> {
    let overview = app.http.get("/api/v1/overview").await.ok();
    for call in overview["ended"].as_array()? {
        let path = format!("/calls/{}", text(&call["id"]));
        let call = app.http.get(&format!("/api/v1{path}")).await.ok();
        if !call["next_call"].is_null() {
            return Some(path);
        }
    }

    None
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn each_question_is_answered_within_one_click() {
    let app = demo().await;
    let call = call_with_ghost(&app).await;
    let room = text(&call["room"]["name"]);
    let members = call["members"].as_array().unwrap();
    let ghost = members.iter().find(|member| member["ghost"] == true);
    let ghost = text(&ghost.unwrap()["name"]);
    let status = app.http.get("/api/v1/status").await.ok();
    let account = text(&status["vantages"][0]["user_id"]);
    let own = account.split_once(':').unwrap().1.replace('.', "\\.");
    let ended = eventually("a call ended before another one", 240, async || {
        ended_call_before_another(&app).await
    })
    .await;
    let mut browser = Browser::start().await;

    for js in [true, false] {
        let browser = &mut browser;
        // May I restart my server?
        let restart = format!("^May {own} be restarted");
        ask(browser, &app, js, &restart, &["Restart now?"]).await;
        // Who is here now?
        open_first_page(browser, &app, js).await;
        says_all(browser, "who is here", &[&room]).await;
        browser.click("page", ".cards h3 a").await;
        says_all(browser, "who is here", &["Here now ("]).await;
        browser.close("page").await;
        // Which calls had trouble this week?
        let trouble = "^Calls with trouble this week$";
        ask(browser, &app, js, trouble, &["match", &room]).await;
        // Whose memberships are stuck?
        let stuck = ["is probably gone", &ghost, "curl -X PUT"];
        ask(browser, &app, js, r"^Stuck memberships \(1\)$", &stuck).await;
        // How do I clear this one?
        let clear = [ghost.as_str(), "What to do", "curl -X PUT"];
        ask(browser, &app, js, "calls? needs? a look$", &clear).await;
        // All calls of this server.
        let of_server = format!("^Calls of {own}$");
        ask(browser, &app, js, &of_server, &["match your filter"]).await;
        // This person's missed calls.
        open_first_page(browser, &app, js).await;
        browser.click("page", ".card .who a").await;
        says_all(browser, "missed calls", &["Missed rings"]).await;
        browser.close("page").await;
        // How large must my SFU be?
        open_first_page(browser, &app, js).await;
        let led_to = browser.click_name("page", "^Capacity$").await;
        assert!(led_to.ends_with("/statistics#capacity"), "{led_to}");
        says_all(browser, "capacity", &["How large must my SFU be"]).await;
        browser.close("page").await;
        // Next call of this room.
        open_first_page(browser, &app, js).await;
        browser
            .click("page", &format!("#ended a[href='{ended}']"))
            .await;
        says_all(browser, "next call", &["Next call"]).await;
        browser.close("page").await;
        // Join this call: the link leads out.
        open_first_page(browser, &app, js).await;
        let join = browser.links("page", ".card a.join").await;
        assert!(
            join.iter()
                .any(|link| link.starts_with("https://call.element.io/room/")),
            "{join:?}"
        );
        browser.close("page").await;
    }
}
