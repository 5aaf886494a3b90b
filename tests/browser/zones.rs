//! The viewer's zone: what is typed.

use crate::site::{Site, quote, text};
use crate::support::chromium::Browser;
use serde_json::json;

/// Eight hours behind UTC in November.
const WEST: &str = "America/Los_Angeles";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn what_is_typed_is_the_viewers_time() {
    // 10:00 UTC is 02:00 there; Alice and Bob were in a call then.
    const SEND: &str = "(() => { const field = document.querySelector('input[name=at]');
        field.value = '2026-11-22T02:00'; field.form.requestSubmit(); return field.labels[0].textContent; })()";
    const AFTER: &str = "[location.search, document.querySelector('input[name=at]').value,
        document.getElementById('then')?.textContent]";
    let site = Site::filled("typed").await;
    let mut browser = Browser::start().await;
    let url = format!("{}/rooms/{}", site.base, quote(crate::site::ROOM));
    browser.open("page", &url, json!({"zone": WEST})).await;
    let label = browser.eval("page", SEND).await;
    assert!(text(&label).contains("Los_Angeles"), "which zone counts is said: {label}");
    browser.wait("page", "#then").await;
    let found = browser.eval("page", AFTER).await;
    assert_eq!(found[0], "?at=2026-11-22T10%3A00%3A00Z");
    assert_eq!(found[1], "2026-11-22T02:00", "it stays as it was typed");
    assert!(text(&found[2]).contains("Alice Moreau"), "{found}");
    browser.open("plain", &format!("{url}?at=2026-11-22T10:00"), json!({"js": false, "zone": WEST})).await;
    assert!(browser.text("plain", "main").await.contains("Moment, in UTC"));
}
