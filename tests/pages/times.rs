//! Times and days: how they are asked for.

use crate::site::{ROOM, Site, quote};

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
