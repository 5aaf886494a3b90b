//! The first run on a real homeserver: from nothing configured to the first call, by password.

use crate::support::app::{App, Settings};
use crate::support::cookies::token_of_form;
use crate::support::eventually;
use crate::support::sdk::Device;
use crate::support::synapse::{Bed, Oddities};
use crate::support::visitor::Visitor;
use serde_json::json;
use std::path::Path;

/// The program with nothing configured, in this folder, and a browser that opened its address.
async fn open_set_up(folder: &Path) -> (App, Visitor) {
    let settings = Settings::default()
        .inside(folder)
        .with("CALLSCOPE_BIND", "127.0.0.1:0")
        .with("CALLSCOPE_PROBE_OWN_SERVER", "false");
    let app = App::start(&settings).await;
    let link = eventually("the address is printed", 10, async || {
        let log = app.log();
        let at = log.find("/set-up?token=")?;
        Some(log[at..].split_whitespace().next().unwrap().to_owned())
    })
    .await;
    let mut browser = Visitor::at(&app);
    assert_eq!(browser.open(&link).await.status(), 303);

    (app, browser)
}

/// Sends the form of a step, which must lead on to another place.
async fn pass(browser: &mut Visitor, step: &str, fields: &[(&str, &str)]) -> String {
    let path = format!("/set-up/{step}");
    let answer = browser.post(&path, &path, fields).await;
    let status = answer.status();
    let to = answer.headers().get("location").cloned();
    let Some(to) = to else {
        panic!("{step}: {status}: {}", answer.text().await.unwrap());
    };

    to.to_str().unwrap().to_owned()
}

/// Writes the file and starts, from the last step.
async fn write(browser: &mut Visitor) -> String {
    let page = browser.get("/set-up/write").await;
    let (_, rest) = page.split_once("name=\"shown\" value=\"").unwrap();
    let shown = rest.split('"').next().unwrap().to_owned();
    let fields = [
        ("token", token_of_form(&page)),
        ("shown", shown),
        ("place", "free".to_owned()),
    ];
    let fields = fields
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = browser.post_fields("/set-up/write", &fields).await;

    answer.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_password_leads_from_nothing_to_the_first_call() {
    let bed = Bed::start(1).await;
    let (bob, watcher) = (bed.user(0, "bob").await, bed.user(0, "watcher").await);
    let room = bob.create_room(json!({"name": "First"})).await;
    watcher.join(&room, &bob).await;
    let private = json!({"name": "Asked", "preset": "private_chat"});
    let invited = bob.create_room(private).await;
    bob.invite(&invited, &watcher).await;
    let folder = bed.folder("first");

    let (app, mut browser) = open_set_up(&folder).await;
    let url = bed.server(0).url.clone();
    let address = url.replace("http://127.0.0.1", "localhost");
    pass(&mut browser, "homeserver", &[("homeserver", &address)]).await;
    let found = browser.get("/set-up/account").await;
    assert!(
        found.contains("up to v1.") && found.contains("by password"),
        "{found}"
    );
    let login = [("user", "watcher"), ("password", watcher.password.as_str())];
    assert_eq!(pass(&mut browser, "account", &login).await, "/set-up/rooms");
    let page = browser.get("/set-up/rooms").await;
    assert!(page.contains("First") && page.contains("Asked"), "{page}");
    let rooms = [("accept", invited.as_str())];
    assert_eq!(pass(&mut browser, "rooms", &rooms).await, "/set-up/access");
    let access = [("who", "machine")];
    assert_eq!(pass(&mut browser, "access", &access).await, "/set-up/write");
    assert_eq!(write(&mut browser).await, "/");

    let file = std::fs::read_to_string(folder.join("callscope.toml")).unwrap();
    assert!(!file.contains(&watcher.password), "a token is kept: {file}");
    assert!(!app.log().contains(&watcher.password));
    let mut device = Device::start(&bob).await;
    device.join(&room).await;
    eventually("the first call is shown", 60, async || {
        (app.active().await.len() == 1).then_some(())
    })
    .await;
    eventually("the invitation is accepted", 60, async || {
        let member = bob.membership(&invited, &watcher).await;
        (member.as_deref() == Some("join")).then_some(())
    })
    .await;

    let devices = watcher.http.get("/_matrix/client/v3/devices").await.ok();
    let count = devices["devices"].as_array().map(Vec::len);
    assert_eq!(count, Some(2), "our own and the program's: {devices}");
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_homeserver_without_passwords_takes_a_token() {
    let oddities = Oddities {
        passwords: false,
        ..Oddities::NONE
    };
    let bed = Bed::start_odd(1, oddities).await;
    let (bob, watcher) = (bed.user(0, "bob").await, bed.user(0, "watcher").await);
    let room = bob.create_room(json!({"name": "First"})).await;
    watcher.join(&room, &bob).await;
    let (app, mut browser) = open_set_up(&bed.folder("first")).await;
    let url = bed.server(0).url.clone();
    pass(&mut browser, "homeserver", &[("homeserver", &url)]).await;
    let page = browser.get("/set-up/account").await;
    assert!(page.contains("takes no passwords"), "{page}");
    let token = [("access_token", watcher.token.as_str())];
    assert_eq!(pass(&mut browser, "account", &token).await, "/set-up/rooms");
    pass(&mut browser, "rooms", &[]).await;
    pass(&mut browser, "access", &[("who", "machine")]).await;
    assert_eq!(write(&mut browser).await, "/");
    Device::start(&bob).await.join(&room).await;
    eventually("the first call is shown", 60, async || {
        (app.active().await.len() == 1).then_some(())
    })
    .await;
}
