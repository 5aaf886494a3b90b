//! A ghost is not a person: time after its last event does not count as seen, in all places that
//! show time.

use crate::app::bed::{Bed, MEMBER, Running, join, key, now};
use crate::support::http::quote;
use callscope::clock::Clock;
use serde_json::Value;

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;

/// Every place that shows seen time, and its value, ms.
async fn seen_everywhere(app: &Running, rooms: &[&str]) -> Vec<(&'static str, i64)> {
    let number = |value: &Value| value.as_i64().unwrap_or(-1);
    let statistics = app.json("/api/v1/statistics").await;
    let transports = app.json("/api/v1/transports").await;
    let server = app.json("/api/v1/servers/sim.example").await;
    let servers = app.json("/api/v1/servers").await;
    let mut of_rooms = 0;
    for room in rooms {
        let path = format!("/api/v1/rooms/{}", quote(room));
        of_rooms += number(&app.json(&path).await["last_30_days"]["together_seen_ms"]);
    }

    let sum = |list: &Value, key: &str| {
        let list = list.as_array().unwrap();
        list.iter().map(|row| number(&row[key])).sum::<i64>()
    };

    let stays = app
        .calls()
        .await
        .iter()
        .map(|call| sum(&call["members"], "seen_ms"))
        .sum();

    vec![
        (
            "statistics",
            number(&statistics["this"]["together_seen_ms"]),
        ),
        (
            "statistics by room",
            sum(&statistics["rooms"], "together_seen_ms"),
        ),
        ("transports", number(&transports["together_seen_ms"])),
        (
            "transports by row",
            sum(&transports["data"], "together_seen_ms"),
        ),
        ("server", number(&server["this"]["together_seen_ms"])),
        (
            "people of the server",
            sum(&server["people"], "together_seen_ms"),
        ),
        ("servers", sum(&servers["data"], "together_seen_ms")),
        ("rooms", of_rooms),
        ("stays", stays),
    ]
}

#[tokio::test]
async fn time_after_the_last_sign_of_a_ghost_is_seen_nowhere() {
    let bed = Bed::new().await;
    let haunted = bed.room(&[ALICE, BOB]);
    let ordinary = bed.room(&[ALICE, BOB]);
    // Noon, so that the numbers of a day and of a month include the same calls.
    let begin = now() / (24 * HOUR) * 24 * HOUR + 12 * HOUR;
    let hourly = |device: &str| {
        let mut content = join(device);
        content["membershipID"] = "one".into();
        content
    };

    // The client is killed right after a renewal; nothing says goodbye.
    let send = |at| {
        let state_key = key(ALICE, "AD");
        bed.hs
            .send_state(&haunted, ALICE, MEMBER, &state_key, hourly("AD"), at)
    };

    send(begin - 3 * HOUR);
    bed.joins(&ordinary, BOB, "BD", begin - 2 * HOUR);
    bed.leaves(&ordinary, BOB, "BD", begin - 2 * HOUR + 20 * MINUTE);

    let clock = Clock::fixed(begin);
    let app = bed.start_at(clock.clone(), &[]).await;
    app.once_read(&haunted).await;
    app.once_read(&ordinary).await;
    app.calls_until("both calls", |calls| calls.len() == 2)
        .await;
    let ghost = app.calls().await;
    let ghost = ghost
        .iter()
        .find(|call| call["ghosts_now"] == 1)
        .expect("it is known for a ghost");
    assert_eq!(ghost["members"][0]["seen_ms"], 0, "{ghost}");

    for (place, seen_ms) in seen_everywhere(&app, &[&haunted, &ordinary]).await {
        assert_eq!(seen_ms, 20 * MINUTE, "{place}, while it still counts");
    }

    let overview = app.json("/api/v1/overview").await;
    assert_eq!(
        overview["today"]["longest_ms"],
        20 * MINUTE,
        "{}",
        overview["today"]
    );
    let page = app
        .page(&format!("/calls/{}", ghost["id"].as_str().unwrap()))
        .await;
    assert!(page.contains("as far as it was seen"), "{page}");
    app.app.stop().await;

    // The same after the expiry.
    clock.advance(3 * HOUR);
    let app = bed.start_at(clock, &[]).await;
    app.ready().await;
    app.calls_until("the end", |calls| {
        calls.iter().all(|call| call["active"] == false)
    })
    .await;
    for (place, seen_ms) in seen_everywhere(&app, &[&haunted, &ordinary]).await {
        assert_eq!(seen_ms, 20 * MINUTE, "{place}, when it ran out");
    }

    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["today"]["longest_ms"], 20 * MINUTE);
    app.app.stop().await;
}
