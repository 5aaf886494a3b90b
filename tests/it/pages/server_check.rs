//! The check of a homeserver: what it says before the first check, when all is well, when something
//! is broken, and when it is old.

use crate::pages::site::{EVIL, MINUTE, NOW, Site};
use callscope::rtc::server_check::{CheckLine, CheckStep, StepState};
use callscope::store::ingest::probes::{self, CheckResult};
use serde_json::{Value, json};

const SERVER: &str = "example.org";
const DAY: i64 = 86_400_000;

fn line(step: CheckStep, state: StepState, came: &str) -> CheckLine {
    CheckLine {
        step,
        state,
        asked: format!("https://{SERVER}"),
        came: came.to_owned(),
    }
}

async fn store_check(site: &Site, at_ms: i64, lines: &[CheckLine]) {
    let result = CheckResult {
        is_own: false,
        lines: lines.to_vec(),
    };
    probes::record_result(&site.store, SERVER, &result, at_ms)
        .await
        .unwrap();
}

async fn read_word(site: &Site) -> String {
    let path = format!("/api/v1/servers/{SERVER}/rtc-ok");
    site.get(&path).await.text
}

#[tokio::test]
async fn a_server_that_was_never_checked_is_unknown() {
    let site = Site::filled("check_never").await;
    assert_eq!(read_word(&site).await, "unknown\n");
    let page = site.get("/servers/example.org/check").await.text;
    assert!(page.contains("it was never checked"), "{page}");
    assert!(page.contains("The next check comes by itself"), "{page}");
    assert!(page.contains("callscope doctor example.org"), "{page}");
    assert!(!page.contains("Nothing is broken"), "{page}");
    let unknown = site.get("/servers/none.example/check").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_is_broken_comes_first_with_what_to_set() {
    let site = Site::filled("check_broken").await;
    let well = line(CheckStep::Name, StepState::Well, "2 addresses");
    let on = line(CheckStep::DelayedEvents, StepState::Well, "on");
    store_check(&site, NOW - DAY, &[well.clone(), on]).await;
    let off = line(CheckStep::DelayedEvents, StepState::Broken, EVIL);
    store_check(&site, NOW - MINUTE, &[well, off]).await;

    assert_eq!(read_word(&site).await, "broken\n");
    let json = site.json("/api/v1/servers/example.org/check").await;
    let (first, flip) = (&json["steps"][0], &json["flips"][0]);
    assert_eq!(first["step"], "delayed_events");
    assert_eq!(first["since_ms"], NOW - MINUTE);
    assert_eq!(
        first["remedies"][0]["lines"],
        "max_event_delay_duration: 24h"
    );
    assert_eq!(
        (&flip["before"], &flip["state"]),
        (&json!("ok"), &json!("broken"))
    );
    let all: Vec<&Value> = json["steps"].as_array().unwrap().iter().collect();
    assert!(
        all.iter()
            .all(|step| step["step"] != "server_acl" || step["state"] == "ok")
    );
    let page = site.get("/servers/example.org/check").await.text;
    assert!(
        page.contains("1 step is</b>") || page.contains("1 step is broken."),
        "{page}"
    );
    assert!(page.contains("max_event_delay_duration: 24h"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    let badge = site.get("/badge/servers/example.org/rtc.svg").await.text;
    assert!(badge.contains("broken"), "{badge}");
}

#[tokio::test]
async fn an_old_check_is_shown_as_old() {
    let site = Site::filled("check_old").await;
    let well = [
        line(CheckStep::ClientApi, StepState::Well, "it answers"),
        line(CheckStep::TokenService, StepState::Well, "it answers"),
    ];
    store_check(&site, NOW - MINUTE, &well[..1]).await;
    assert_eq!(read_word(&site).await, "unknown\n");
    let page = site.get("/servers/example.org/check").await.text;
    assert!(page.contains("too little of it answered"), "{page}");

    store_check(&site, NOW - MINUTE, &well).await;
    assert_eq!(read_word(&site).await, "ok\n");
    let page = site.get("/servers/example.org/check").await.text;
    assert!(page.contains("Nothing is broken"), "{page}");

    store_check(&site, NOW - DAY, &well).await;
    assert_eq!(read_word(&site).await, "unknown\n");
    let page = site.get("/servers/example.org/check").await.text;
    assert!(page.contains("the last check is old"), "{page}");
    assert!(!page.contains("Nothing is broken"), "{page}");
}
