//! Devices that still count though nobody is there: its membership came back by itself.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, HOUR, MINUTE, Served};
use super::stays::{ADA, RESURRECTED};
use serde_json::{Value, json};

const KEY: &str = "_@ada:ash.example_AD_m.call";

/// The finding that says this device is a ghost.
fn ghost(call: &Value) -> Value {
    let findings = call["findings"].as_array().unwrap();
    let ghosts: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["users"] == json!([ADA]) && finding["device_id"] == "AD")
        .collect();
    assert_eq!(ghosts.len(), 1, "{findings:#?}");

    ghosts[0].clone()
}

/// No number of people includes the ghost; it is counted separately.
async fn is_counted_apart(report: &Served, call: &Value) {
    assert_eq!(call["people_now"], 0, "{call}");
    assert_eq!(call["ghosts_now"], 1, "{call}");

    for path in ["/api/v1/overview", "/api/v1/wall"] {
        let told = report.app.json(path).await;
        assert_eq!(told["people"], 0, "{path}: {told}");
        assert_eq!(told["ghosts_now"], 1, "{path}: {told}");
    }

    let room = report.room_json().await;
    assert_eq!(room["recent"][0]["people_now"], 0);

    let badge = format!("/badge{}/active.json", report.room_path());
    let badge = report.app.json(&badge).await;
    is_silent_of(badge["message"].as_str().unwrap(), "1 person");
    let badge = report
        .app
        .json("/badge/servers/ash.example/active.json")
        .await;
    is_silent_of(badge["message"].as_str().unwrap(), "1 person");

    let metrics = report.app.page("/metrics").await;
    says(&metrics, "callscope_people_active 0\n");
    says(&metrics, "callscope_ghosts 1\n");

    for page in ["/", "/wall", &format!("/embed{}", report.room_path())] {
        let page = report.page(page).await;
        is_silent_of(&page, "Healthy");
        says(&page, "ghost");
    }
}

/// The command that clears it, with everything filled in.
async fn can_be_cleared(report: &Served, call: &Value) {
    let page = report.call_page(call).await;
    says(&page, "org.matrix.msc3401.call.member");
    says(&page, KEY);
    says(&page, "curl");
    let filled = format!(
        "/rooms/{}/state/org.matrix.msc3401.call.member/{}",
        crate::support::http::quote(&report.room),
        crate::support::http::quote(KEY)
    );
    let page = page.replace("%3a", "%3A");
    assert!(
        page.contains(&filled) || page.contains(&filled.replace("%3A", ":").replace("%40", "@")),
        "the address is not filled in: {filled}\n{page}"
    );
}

#[tokio::test]
async fn a_renewal_after_the_goodbye_is_told_as_what_it_is() {
    for way in BOTH {
        let (report, calls) = RESURRECTED.served(way).await;
        let back = 9 * HOUR + 30 * MINUTE;
        let second = &calls[1];
        assert_eq!(
            calls[0]["ended_ms"],
            report.at(BEGIN + 8 * HOUR + 20 * MINUTE)
        );
        assert_eq!(second["ended_ms"], Value::Null);

        let ghost = ghost(second);
        assert_eq!(ghost["sure"], "probably", "{ghost}");
        assert_eq!(ghost["from_ms"], report.at(BEGIN + back));

        let page = report.call_page(second).await;
        says(&page, "Probably a ghost");
        says(&page, "Ada is probably gone");
        says(
            &page,
            "came back with the start of a stay that had already ended",
        );
        says(&page, &report.clock(BEGIN + back));
        says(&page, &report.clock(BEGIN + 52 * HOUR));
        says(&page, "renewed a membership that had ended");
        is_silent_of(&page, "Ada joined");
        assert_ne!(second["certainty"]["verdict"], "exact", "{second}");

        is_counted_apart(&report, second).await;
        can_be_cleared(&report, second).await;
        report.stop().await;
    }
}
