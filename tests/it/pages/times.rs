//! Times and days: how they are requested, when they have their date, and what is shown for a day.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote, text};
use serde_json::{Value, json};

const HALL: &str = "!hall:example.org";

/// Stays of one minute or more, one device each: user, from and until, in minutes ago.
fn stays(of: &[(&str, i64, i64)]) -> Vec<Value> {
    let one = |(user, from, until): &(&str, i64, i64)| {
        let join = json!({ "application": "m.call", "call_id": "", "device_id": "D",
            "expires": 10_000 * MINUTE,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": "https://sfu.example/jwt" }] });
        let key = format!("_{user}_D_m.call");
        [
            event(&format!("$in{from}{user}"), CALL, user, &key, *from, join),
            event(
                &format!("$out{from}{user}"),
                CALL,
                user,
                &key,
                *until,
                json!({}),
            ),
        ]
    };

    of.iter().flat_map(one).collect()
}

async fn page_of_call(site: &Site, room: &str) -> String {
    let calls = site
        .json(&format!("/api/v1/calls?room={}", quote(room)))
        .await;

    site.html(&format!("/calls/{}", text(&calls["data"][0]["id"])))
        .await
}

/// The text between two texts.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = page
        .split_once(begin)
        .unwrap_or_else(|| panic!("no {begin} in {page}"))
        .1;

    rest.split_once(end)
        .unwrap_or_else(|| panic!("no {end} after {begin}"))
        .0
}

#[tokio::test]
async fn a_moment_is_asked_for_as_people_write_it() {
    let site = Site::filled("moment").await;
    let room = format!("/rooms/{}", quote(ROOM));
    for at in [
        "2026-11-22T10:00",
        "2026-11-22 10:00",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00:00Z",
    ] {
        let page = site.html(&format!("{room}?at={}", quote(at))).await;
        let form = between(&page, "id=\"h-then\"", "id=\"h-flips\"");
        assert!(
            form.contains("type=\"datetime-local\"") && form.contains("value=\"2026-11-22T10:00\""),
            "{at}: {form}"
        );
        assert!(
            form.contains("in UTC") && form.contains("Alice Moreau") && form.contains("2 devices"),
            "{at}: {form}"
        );
        let json = site
            .json(&format!("/api/v1{room}/members?at={}", quote(at)))
            .await;
        assert_eq!(json["at_at"], "2026-11-22T10:00:00.000Z", "{at}");
    }

    for (at, field, says) in [
        (
            "2026-11-23 10:00",
            "value=\"2026-11-23T10:00\"",
            "lies in the future",
        ),
        (
            "five past two",
            "type=\"text\" name=\"at\" value=\"five past two\"",
            "not a time",
        ),
    ] {
        let page = site.html(&format!("{room}?at={}", quote(at))).await;
        let form = between(&page, "id=\"h-then\"", "id=\"h-flips\"");
        assert!(
            form.contains(field) && form.contains(says) && !form.contains("id=\"then\""),
            "{at}: {form}"
        );
        for path in [format!("{room}/members"), room.clone()] {
            assert_eq!(
                site.get(&format!("/api/v1{path}?at={}", quote(at)))
                    .await
                    .status,
                400,
                "{at}"
            );
        }
    }
}

#[tokio::test]
async fn times_of_a_call_over_several_days_carry_their_day() {
    let site = Site::filled("dated").await;
    let (ana, ben) = ("@ana:a.example", "@ben:b.example");
    site.write_to(HALL, stays(&[(ana, 3000, 100), (ben, 2000, 1990)]))
        .await;
    let page = page_of_call(&site, HALL).await;
    for part in [
        between(&page, "id=\"stays\"", "</table>"),
        between(&page, "id=\"evidence\"", "</section>"),
    ] {
        assert!(
            part.contains(">20 Nov, 12:47:16</time>") && part.contains(">22 Nov, 13:07:16</time>"),
            "{part}"
        );
    }

    let room = format!("!other:{}", "example.org");
    site.write_to(&room, stays(&[(ana, 80, 70)])).await;
    let page = page_of_call(&site, &room).await;
    let part = between(&page, "id=\"stays\"", "</table>");
    assert!(
        part.contains(">13:27:16</time>") && !part.contains("Nov"),
        "{part}"
    );
}

#[tokio::test]
async fn the_sums_of_a_day_are_those_of_the_day_or_none() {
    let site = Site::empty("days").await;
    let (ana, ben) = ("@ana:a.example", "@ben:b.example");
    // Today two calls, yesterday three, the day before two.
    let ago = [30, 90, 1000, 1100, 1200, 2600, 2700];
    site.write_to(
        HALL,
        ago.iter()
            .flat_map(|ago| stays(&[(ana, *ago, ago - 9), (ben, ago - 1, ago - 9)]))
            .collect(),
    )
    .await;
    let heads = async |path: &str| {
        let page = site.html(path).await;
        let heads = page
            .split("class=\"day\"")
            .skip(1)
            .map(|rest| between(rest, ">", "</tr>").to_owned());
        heads
            .map(|head| {
                head.split_once("<small>")
                    .map(|(_, sum)| between(sum, "", "</small>").to_owned())
            })
            .collect()
    };

    let all: Vec<Option<String>> = heads("/calls").await;
    let sums = [
        "2 calls, 2 people",
        "3 calls, 2 people",
        "2 calls, 2 people",
    ]
    .map(|sum| Some(sum.to_owned()));
    assert_eq!(all, sums);
    // The page ends within yesterday, and the next begins there: neither has all calls of that day.
    let first: Vec<Option<String>> = heads("/calls?limit=4").await;
    assert_eq!(first, [sums[0].clone(), None]);
    let next = site.json("/api/v1/calls?limit=4").await["next"].clone();
    let second: Vec<Option<String>> =
        heads(&format!("/calls?limit=4&cursor={}", text(&next))).await;
    assert_eq!(second, [None, sums[2].clone()]);
    let filtered: Vec<Option<String>> = heads("/calls?min_minutes=600").await;
    assert!(filtered.is_empty());
}

#[tokio::test]
async fn days_of_the_calendar_in_utc_are_nobody_elses() {
    let site = Site::filled("calendar").await;
    site.write(stays(&[("@ana:a.example", 9000, 8990)])).await;
    site.watched_since(NOW - 20_000 * MINUTE).await;
    let page = site.html(&format!("/rooms/{}", quote(ROOM))).await;
    let facts = between(&page, "Days with a call", "</dl>");
    assert!(
        facts.contains("2, on <time datetime=\"2026-11-22\">22 November</time>"),
        "{facts}"
    );
    assert!(
        facts.contains("Longest pause") && !facts.contains("data-f"),
        "{facts}"
    );
    let period = site.html("/transports?period=7d").await;
    assert!(!period.contains("T00:00:00Z\" data-f=\"day\""), "{period}");
}

#[tokio::test]
async fn a_call_of_three_hundred_has_a_chart_with_labels() {
    let site = Site::filled("three-hundred").await;
    let people: Vec<String> = (0..300)
        .map(|index| format!("@c{index}:s{}.example", index % 20))
        .collect();
    let of: Vec<(&str, i64, i64)> = people
        .iter()
        .zip(0_i64..)
        .map(|(user, at)| (&**user, 1500 - at % 60, 1400 - at % 30))
        .collect();
    site.write_to(HALL, stays(&of)).await;
    let page = page_of_call(&site, HALL).await;
    let picture = between(&page, "id=\"h-tl\"", "</section>");
    assert!(
        picture.contains("class=\"area\"") && picture.contains("class=\"axes\""),
        "{picture}"
    );
    for label in ["0", "100", "200", "300"] {
        assert!(
            picture.contains(&format!(">{label}</text>")),
            "{label}: {picture}"
        );
    }

    assert!(
        picture.matches("data-ms=").count() >= 4 && !picture.contains(" UTC</text>"),
        "{picture}"
    );
    assert!(
        !picture.contains("<b>A</b>"),
        "no legend of colours that are not there: {picture}"
    );
}

#[tokio::test]
async fn without_a_time_all_flips_are_given() {
    let site = Site::filled("old").await;
    let before = site
        .json(&format!("/api/v1/rooms/{}/flips", quote(ROOM)))
        .await["data"]
        .as_array()
        .unwrap()
        .len();
    let day = 24 * 60;
    site.write(stays(&[("@ana:a.example", 40 * day, 40 * day - 5)]))
        .await;
    let flips = site
        .json(&format!("/api/v1/rooms/{}/flips", quote(ROOM)))
        .await;
    assert_eq!(
        (flips["data"].as_array().unwrap().len(), &flips["next"]),
        (before + 2, &Value::Null)
    );
}
