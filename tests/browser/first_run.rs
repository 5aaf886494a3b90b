//! The first run in a real browser, with JavaScript off: five forms, then the overview.

use crate::support::app::{App, Settings};
use crate::support::chromium::Browser;
use crate::support::eventually;
use callscope::sim::{Homeserver, NewRoom};
use serde_json::json;
use std::path::PathBuf;

/// The folder for pictures of the steps, if somebody wants to look at them.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("CALLSCOPE_TEST_PICTURES").map(PathBuf::from)
}

/// The page that has JavaScript, which the audit needs.
const AUDITED: &str = "audited";

/// Makes a picture of what is shown, or audits it.
async fn picture(browser: &mut Browser, page: &str, name: &str) {
    if page == AUDITED {
        let found = browser.audit(page).await;
        assert!(found.is_empty(), "{name}: {found:#?}");
    } else if let Some(folder) = pictures() {
        let path = folder.join(format!("{name}-{page}.png"));
        browser.screenshot(page, &path, true).await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn five_forms_lead_to_the_overview_without_javascript() {
    let hs = Homeserver::start(0).await.unwrap();
    let (bot, _) = hs.register("bot", "secret");
    let room = hs.create_room(NewRoom {
        name: Some("Community lounge".into()),
        ..NewRoom::default()
    });
    hs.join_user(&room, &bot, 1);
    let space = hs.create_room(NewRoom {
        name: Some("Our space".into()),
        kind: Some("m.space".into()),
        ..NewRoom::default()
    });
    hs.join_user(&space, &bot, 1);
    let waiting = hs.create_room(NewRoom {
        name: Some("Tree house".into()),
        ..NewRoom::default()
    });
    hs.join_user(&waiting, "@eve:other.example", 1);
    hs.invite(&waiting, &bot, "@eve:other.example", 2);

    for (page, look) in [
        (AUDITED, json!({})),
        ("desk", json!({"js": false})),
        (
            "phone",
            json!({"js": false, "width": 390, "height": 844, "scheme": "dark"}),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::default()
            .inside(folder.path())
            .with("CALLSCOPE_BIND", "127.0.0.1:0")
            .with("CALLSCOPE_PROBE_OWN_SERVER", "false");
        let app = App::start(&settings).await;
        let link = eventually("the address is printed", 10, async || {
            let log = app.log();
            let at = log.find("/set-up?token=")?;
            Some(log[at..].split_whitespace().next().unwrap().to_owned())
        })
        .await;

        let mut browser = Browser::start().await;
        let opened = browser
            .open(page, &format!("{}{link}", app.http.base), look)
            .await;
        assert_eq!(opened["status"], 200);
        picture(&mut browser, page, "1").await;
        browser.fill(page, "[name=homeserver]", "127.0.0.1:9").await;
        browser.click(page, "button.main").await;
        let said = browser.text(page, "[role=alert]").await;
        assert!(said.contains("No homeserver answers there"), "{said}");
        picture(&mut browser, page, "1-fault").await;
        browser.fill(page, "[name=homeserver]", &hs.url()).await;
        let at = browser.click(page, "button.main").await;
        assert!(
            at.ends_with("/set-up/account") && !at.contains("token"),
            "{at}"
        );
        picture(&mut browser, page, "2").await;
        browser.fill(page, "[name=user]", "bot").await;
        browser.fill(page, "[name=password]", "secret").await;
        let at = browser.click(page, "button.main").await;
        assert!(at.ends_with("/set-up/rooms"), "{at}");
        picture(&mut browser, page, "3").await;
        browser.fill(page, "[name=space]", "").await;
        browser.fill(page, "[name=inviters]", "sim.example").await;
        let at = browser.click(page, "button.main").await;
        assert!(at.ends_with("/set-up/access"), "{at}");
        picture(&mut browser, page, "4").await;
        browser.fill(page, "[value=machine]", "").await;
        let at = browser.click(page, "button.main").await;
        assert!(at.ends_with("/set-up/write"), "{at}");
        picture(&mut browser, page, "5").await;
        let text = browser.text(page, "#text").await;
        assert!(
            text.contains("sim.example") && text.contains("********"),
            "{text}"
        );
        let at = browser.click(page, "button.main").await;
        assert_eq!(at.trim_end_matches('/'), app.http.base, "the overview");
        if page != AUDITED {
            picture(&mut browser, page, "6").await;
        }
        let faults: Vec<String> = browser.faults(page).await;
        let faults: Vec<_> = faults
            .iter()
            .filter(|fault| !fault.contains("400"))
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
        app.kill();
    }
}
