//! The results of the wire formats' rules for clients that are in use.

use super::page::{is_silent_of, says};
use super::served::{BEGIN, BOTH, HOUR, MINUTE, Way, call_path};
use super::stays::{ABSOLUTE_EXPIRES, ADA, BEN, BOTS_OWN_CLOCK, FAMEDLY};
use crate::support::app::Settings;
use serde_json::json;

#[tokio::test]
async fn a_whiteboard_ends_when_its_absolute_time_says() {
    for way in BOTH {
        let (report, calls) = ABSOLUTE_EXPIRES.served(way).await;
        let board = &calls[0];
        assert_eq!(board["active"], false);
        assert_eq!(board["ended_ms"], report.at(BEGIN + 7 * HOUR));

        assert_eq!(
            report.app.json("/api/v1/calls/active").await["data"],
            json!([])
        );
        for path in ["/api/v1/overview", "/api/v1/wall"] {
            let told = report.app.json(path).await;
            assert_eq!(told["active"], json!([]), "{path}");
            assert_eq!(told["people"], 0, "{path}");
        }

        let badge = format!("/badge{}/active.json", report.room_path());
        assert_eq!(report.app.json(&badge).await["message"], "nobody");
        says(
            &report.app.page("/metrics").await,
            "callscope_calls_active 0\n",
        );
        let idle = idle(&report.app.http.base, "ash.example").await;
        assert_eq!(idle, Some(0));

        // 7 h of Ada and 30 min of Ben, and nothing after the end.
        let together = 7 * HOUR + 30 * MINUTE;
        let room = report.room_json().await;
        assert_eq!(room["last_30_days"]["together_ms"], together, "{room}");
        let ash = report.app.json("/api/v1/servers/ash.example").await;
        assert_eq!(ash["this"]["together_ms"], 7 * HOUR, "{ash}");
        let birch = report.app.json("/api/v1/servers/birch.example").await;
        assert_eq!(birch["this"]["together_ms"], 30 * MINUTE, "{birch}");
        let all = report.app.json("/api/v1/statistics").await;
        assert_eq!(all["this"]["together_ms"], together, "{all}");

        let page = report.call_page(board).await;
        says(&page, &report.clock(BEGIN + 7 * HOUR));
        says(
            &page,
            &format!("Last heard {}", day_and_clock(report.at(BEGIN + 3 * HOUR))),
        );
        is_silent_of(&page, "replaced by a new session");
        says(&page, "whiteboard");
        is_silent_of(&page, "The call ");
        for path in [
            "/",
            "/calls",
            &call_path(board),
            &report.room_path(),
            "/statistics",
        ] {
            // The digits may stand within a time in ms of an event.
            let page = report.page(path).await;
            let mut numbers = page.split(|letter: char| !letter.is_ascii_digit());
            assert!(numbers.all(|number| number != "2083"), "{page}");
        }

        report.stop().await;
    }
}

/// `27 November, 16:00`, as pages write a moment of another day.
fn day_and_clock(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .strftime("%-d %B, %H:%M")
        .to_string()
}

/// The exit code of `callscope idle` for a server.
async fn idle(url: &str, server: &str) -> Option<i32> {
    let (url, server) = (url.to_owned(), server.to_owned());
    let run = move || Settings::default().run(&["idle", "--server", &server, "--url", &url]);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    output.status.code()
}

#[tokio::test]
async fn a_running_whiteboard_is_not_called_a_call() {
    use super::served::Served;
    let report = Served::start(ABSOLUTE_EXPIRES.name, BEGIN + 20 * MINUTE, Way::Live).await;
    let boards = report
        .calls(|calls| calls.len() == 1 && calls[0]["people_now"] == 2)
        .await;
    for path in ["/", "/wall"] {
        let page = report.page(path).await;
        says(&page, "1 whiteboard");
        says(&page, "Whiteboard");
        is_silent_of(&page, "1 call now");
    }

    let page = report.call_page(&boards[0]).await;
    says(&page, "whiteboard, slot net.nordeck.whiteboard#wb1");
    let room = report.room_page().await;
    says(&room, "A whiteboard is running");
    says(&room, "Whiteboard began");
    is_silent_of(&room, "A call is running");
    report.stop().await;
}

#[tokio::test]
async fn calls_under_the_type_of_the_dart_sdk_are_calls_like_any_other() {
    for way in BOTH {
        let (report, calls) = FAMEDLY.served(way).await;
        let room = report.room_json().await;
        assert_eq!(room["rejected"], 0);
        assert_eq!(room["calls"], 1);
        says(&report.page("/calls").await, "Tree house");
        let page = report.call_page(&calls[0]).await;
        for user in [ADA, BEN] {
            says(&page, user);
        }

        let month = report.app.json("/api/v1/statistics").await;
        assert_eq!(month["this"]["calls"], 1, "{month}");
        assert_eq!(month["this"]["together_ms"], 24 * MINUTE, "{month}");
        for page in ["/about", &report.room_path()] {
            let page = report.page(page).await;
            is_silent_of(&page, "Every call membership of this room is readable");
            is_silent_of(&page, "nothing is hidden from us");
        }

        let about = report.page("/about").await;
        for kind in [
            "org.matrix.msc3401.call.member",
            "com.famedly.call.member",
            "org.matrix.msc4143.rtc.member",
            "m.call.invite",
        ] {
            says(&about, kind);
        }

        report.stop().await;
    }

    let chapter = crate::support::project().join("docs/calls.md");
    let chapter = std::fs::read_to_string(chapter).unwrap();
    says(&chapter, "com.famedly.call.member");
    says(&chapter, "m.call.invite");
}

/// A program that only polls finds it in the room's state.
#[tokio::test]
async fn a_poll_finds_calls_under_the_type_of_the_dart_sdk() {
    use super::served::Served;
    let report = Served::start_with(
        FAMEDLY.name,
        BEGIN + 3 * MINUTE,
        Way::History,
        &[
            ("MODE", "poll"),
            ("POLL_SCHEDULE", "* * * * * *"),
            ("BACKFILL", "false"),
        ],
    )
    .await;
    let calls = report.calls(|calls| calls.len() == 1).await;
    assert_eq!(calls[0]["people_now"], 2, "{}", calls[0]);
    report.stop().await;
}

#[tokio::test]
async fn a_bot_that_notes_its_own_clock_stays_once() {
    for way in BOTH {
        let (report, calls) = BOTS_OWN_CLOCK.served(way).await;
        let call = &calls[0];
        assert_eq!(call["members"].as_array().unwrap().len(), 1);
        let page = report.call_page(call).await;
        is_silent_of(&page, "replaced by a new session");
        assert_eq!(page.matches(" joined").count(), 1, "{page}");
        says(&page, "renewed");

        let room = report.room_json().await;
        let month = &room["last_30_days"];
        assert_eq!(month["together_ms"], 7 * HOUR);
        let is_exact = call["certainty"]["verdict"] == "exact";
        let is_seen = month["together_ms"] == month["together_seen_ms"];
        assert_eq!(is_exact, is_seen, "{} {month}", call["certainty"]);
        assert_eq!(
            is_exact,
            month["calls_exact"] == 1,
            "{} {month}",
            call["certainty"]
        );
        if way == Way::History {
            assert!(is_exact, "all of it is read: {}", call["certainty"]);
        }

        report.stop().await;
    }
}
