//! The words of pages for events that could not be used, and for periods of which nothing is known.

use crate::pages::site::{CALL, MINUTE, NOW, ROOM, Site, event, quote};
use serde_json::json;

#[tokio::test]
async fn what_could_not_be_used_is_told_in_a_sentence_and_when_it_came() {
    let site = Site::filled("sentence").await;
    let eve = "@eve:evil.example";
    // Its sender stamps it with next year.
    let bad = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "created_ts": "soon",
        "focus_active": { "type": "livekit" }, "foci_preferred": [] });
    site.write(vec![event("$soon", CALL, eve, "_late", -600_000, bad)])
        .await;
    let came = NOW - MINUTE;
    for path in ["/rejected".to_owned(), format!("/rooms/{}", quote(ROOM))] {
        let page = site.html(&path).await;
        assert!(
            !page.contains("bad created ts") && !page.contains("bad application"),
            "{path}"
        );
        assert!(
            page.contains("The time at which it says that it began is no number"),
            "{path}"
        );
        assert!(
            page.contains("<code>bad_created_ts</code>"),
            "{path}: the word of the JSON"
        );
        let row = &page[page.find("id=\"e-$soon\"").unwrap()..];
        let summary = &row[..row.find("</summary>").unwrap()];
        assert!(
            summary.contains(">14:46<"),
            "{path}: when it came: {summary}"
        );
        assert_eq!(
            summary.contains("War"),
            !path.starts_with("/rooms"),
            "{path}: the room's name: {summary}"
        );
        let fold = &row[..row.find("</details>").unwrap()][summary.len()..];
        assert!(
            fold.contains("its sender’s server claims <time datetime=\"2028-"),
            "{path}: {fold}"
        );
    }

    let list = site.json("/api/v1/rejected").await;
    assert_eq!(
        (&list["data"][0]["reason"], &list["data"][0]["seen_ms"]),
        (&json!("bad_created_ts"), &json!(came))
    );
}

#[tokio::test]
async fn what_is_not_known_is_not_compared() {
    let site = Site::filled("compared").await;
    // The room begins 15 hours ago, so nothing is known of the days before.
    for path in ["/statistics?period=7d", "/servers/example.org?period=7d"] {
        let page = site.html(path).await;
        assert!(
            !page.contains("2 more") && !page.contains("1 more"),
            "{path}: {page}"
        );
        assert!(page.contains("earlier days are not known"), "{path}");
        assert!(!page.contains("class=\"prev\""), "{path}: no line at 0");
        let json = site.json(&format!("/api/v1{path}")).await;
        assert_eq!(json["compared"], false, "{path}");
    }

    let site = Site::filled("covered").await;
    site.watched_since(NOW - 20 * 24 * 60 * MINUTE).await;

    for path in ["/statistics?period=7d", "/servers/example.org?period=7d"] {
        assert_eq!(
            site.json(&format!("/api/v1{path}")).await["compared"],
            true,
            "{path}"
        );
        assert!(
            !site.html(path).await.contains("earlier days are not known"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn each_explained_word_has_its_explanation_once_on_the_page() {
    let site = Site::filled("explained").await;
    let call = site.json("/api/v1/calls").await["data"][0]["id"].clone();
    let call = format!("/calls/{}", call.as_str().unwrap());
    let mut explained = 0;
    for path in [
        "/",
        "/about",
        "/status",
        "/transports",
        "/census",
        "/servers",
        "/servers/example.org",
        "/servers/example.org/check",
        &call,
    ] {
        let page = site.html(path).await;
        for part in page.split("aria-describedby=\"term-").skip(1) {
            let (key, _) = part.split_once('"').unwrap();
            let tip = format!("role=\"tooltip\" id=\"term-{key}\">");
            let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
            let count = flat.matches(tip.trim_end_matches('>')).count();
            assert_eq!(count, 1, "{path}: {key}");
            explained += 1;
        }
    }

    assert!(explained >= 8, "{explained} words are explained");
    for (path, key) in [
        (call.as_str(), "sfu"),
        ("/status", "sticky"),
        ("/status", "delayed"),
        ("/about", "sticky"),
    ] {
        let tip = format!("id=\"term-{key}\"");
        assert!(site.html(path).await.contains(&tip), "{path}: {key}");
    }
}
