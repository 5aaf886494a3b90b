//! Times and days: how they are asked for, and when they carry their date.

use crate::site::{MINUTE, ROOM, Site, event, quote, text};
use serde_json::{Value, json};

const CALL: &str = "org.matrix.msc3401.call.member";
const HALL: &str = "!hall:example.org";

/// Stays of one minute or more, one device each: who, and from and until how many minutes ago.
fn stays(of: &[(&str, i64, i64)]) -> Vec<Value> {
    let one = |(user, from, until): &(&str, i64, i64)| {
        let join = json!({ "application": "m.call", "call_id": "", "device_id": "D", "expires": 10_000 * MINUTE,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit", "livekit_service_url": "https://sfu.example/jwt" }] });
        let key = format!("_{user}_D_m.call");
        [
            event(&format!("$in{from}{user}"), CALL, user, &key, *from, join),
            event(&format!("$out{from}{user}"), CALL, user, &key, *until, json!({})),
        ]
    };
    of.iter().flat_map(one).collect()
}

async fn page_of_call(site: &Site, room: &str) -> String {
    let calls = site.json(&format!("/api/v1/calls?room={}", quote(room))).await;
    site.html(&format!("/calls/{}", text(&calls["data"][0]["id"]))).await
}

/// What stands between two texts.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = page.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {page}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} after {begin}")).0
}

#[tokio::test]
async fn a_moment_is_asked_for_as_people_write_it() {
    let site = Site::filled("moment").await;
    let room = format!("/rooms/{}", quote(ROOM));
    for at in ["2026-11-22T10:00", "2026-11-22 10:00", "2026-11-22T10:00:00", "2026-11-22T10:00:00Z"] {
        let page = site.html(&format!("{room}?at={}", quote(at))).await;
        let form = between(&page, "id=\"h-then\"", "id=\"h-flips\"");
        assert!(
            form.contains("type=\"datetime-local\"") && form.contains("value=\"2026-11-22T10:00\""),
            "{at}: {form}"
        );
        assert!(form.contains("in UTC") && form.contains("Alice Moreau") && form.contains("2 devices"), "{at}: {form}");
        let json = site.json(&format!("/api/v1{room}/members?at={}", quote(at))).await;
        assert_eq!(json["at_at"], "2026-11-22T10:00:00.000Z", "{at}");
    }
    for (at, field, says) in [
        ("2026-11-23 10:00", "value=\"2026-11-23T10:00\"", "lies in the future"),
        ("five past two", "type=\"text\" name=\"at\" value=\"five past two\"", "not a time"),
    ] {
        let page = site.html(&format!("{room}?at={}", quote(at))).await;
        let form = between(&page, "id=\"h-then\"", "id=\"h-flips\"");
        assert!(form.contains(field) && form.contains(says) && !form.contains("id=\"then\""), "{at}: {form}");
        for path in [format!("{room}/members"), room.clone()] {
            assert_eq!(site.get(&format!("/api/v1{path}?at={}", quote(at))).await.status, 400, "{at}");
        }
    }
}

#[tokio::test]
async fn times_of_a_call_over_several_days_carry_their_day() {
    let site = Site::filled("dated").await;
    let (ana, ben) = ("@ana:a.example", "@ben:b.example");
    site.write_to(HALL, stays(&[(ana, 3000, 100), (ben, 2000, 1990)])).await;
    let page = page_of_call(&site, HALL).await;
    for part in [between(&page, "id=\"stays\"", "</table>"), between(&page, "id=\"evidence\"", "</section>")] {
        assert!(part.contains(">20 Nov, 12:47:16</time>") && part.contains(">22 Nov, 13:07:16</time>"), "{part}");
    }
    let room = format!("!other:{}", "example.org");
    site.write_to(&room, stays(&[(ana, 80, 70)])).await;
    let page = page_of_call(&site, &room).await;
    let part = between(&page, "id=\"stays\"", "</table>");
    assert!(part.contains(">13:27:16</time>") && !part.contains("Nov"), "{part}");
}
