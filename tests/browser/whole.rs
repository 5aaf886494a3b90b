//! Every page: complete with and without JavaScript, small, without foreign resources, on a phone,
//! in dark mode, accessible.

use crate::demo;
use crate::pages::{self, Page, page};
use crate::support::app::{App, Settings};
use crate::support::chromium::Browser;
use serde_json::{Value, json};

/// Maximum size of a page, bytes, uncompressed.
const BYTES_MAX: u64 = 60_000;

/// Normalises white space: line breaks do not matter.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn every_page_is_whole_with_and_without_javascript() {
    let app = demo().await;
    let mut browser = Browser::start().await;

    for js in [true, false] {
        for Page { path, facts } in pages::all(&app).await {
            let url = format!("{}{path}", app.http.base);
            let opened = browser.open("page", &url, json!({"js": js})).await;
            assert_eq!(opened["status"], 200, "{path}");
            let seen = plain(&browser.text("page", "main").await);
            assert!(seen.len() > 20, "{path} is not empty: {seen}");
            for fact in facts {
                // Lists show the beginning of a very long name.
                let fact: String = plain(&fact).chars().take(120).collect();
                assert!(seen.contains(&fact), "{path}, js {js}: no {fact} in {seen}");
            }

            assert!(
                opened["bytes"].as_u64() < Some(BYTES_MAX),
                "{path}: {} bytes",
                opened["bytes"]
            );
            let foreign: Vec<String> = browser
                .asked("page")
                .await
                .into_iter()
                .filter(|url| !url.starts_with(&app.http.base))
                .collect();
            assert!(
                foreign.is_empty(),
                "{path}, js {js}, asks others: {foreign:?}"
            );
            let faults = browser.faults("page").await;
            assert!(faults.is_empty(), "{path}, js {js}: {faults:#?}");
            browser.close("page").await;
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn pages_fit_a_phone_and_follow_light_and_dark() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    let colour = "getComputedStyle(document.body).backgroundColor";

    for Page { path, .. } in pages::all(&app).await {
        let url = format!("{}{path}", app.http.base);
        let mut colours = Vec::new();
        for scheme in ["light", "dark"] {
            let phone = json!({"width": 390, "height": 844, "scheme": scheme});
            browser.open("page", &url, phone).await;
            let over = "document.documentElement.scrollWidth - innerWidth";
            let over = browser.eval("page", over).await;
            assert!(over.as_i64() <= Some(0), "{path} is {over} px too wide");
            colours.push(browser.eval("page", colour).await);
            browser.close("page").await;
        }

        assert_ne!(colours[0], colours[1], "{path} is the same in the dark");
    }
}

/// The findings of axe-core in these pages, in light and dark mode, on a desktop and on a phone,
/// without minor ones.
async fn audited(browser: &mut Browser, app: &App, pages: &[Page]) -> Vec<String> {
    let mut found = Vec::new();
    for scheme in ["light", "dark"] {
        for (width, height) in [(1280, 900), (390, 844)] {
            let like = json!({"width": width, "height": height, "scheme": scheme});
            browser
                .open("page", &format!("{}/healthz", app.http.base), like)
                .await;
            for Page { path, .. } in pages {
                browser
                    .go("page", &format!("{}{path}", app.http.base))
                    .await;
                let violations = browser.audit("page").await;
                let grave = violations.iter().filter(|one| one["impact"] != "minor");
                found.extend(
                    grave.map(|one: &Value| format!("{path}, {scheme}, {width} px: {one:#}")),
                );
            }

            browser.close("page").await;
        }
    }

    found
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn nobody_is_kept_out_of_any_page() {
    let app = demo().await;
    let mut browser = Browser::start().await;
    let mut pages = pages::all(&app).await;
    pages.extend(["/calls/no-such-call", "/calls?limit=x"].map(|path| page(path, Vec::new())));
    let found = audited(&mut browser, &app, &pages).await;
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
    // Check that it can find something.
    browser.open("page", &app.http.base, json!({})).await;
    browser
        .eval(
            "page",
            "document.querySelector('main').append(document.createElement('button'))",
        )
        .await;
    assert!(
        browser
            .audit("page")
            .await
            .iter()
            .any(|one| one["rule"] == "button-name")
    );
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn nobody_is_kept_out_where_nothing_was_seen_yet() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("callscope.db").display());
    let settings = Settings::default()
        // Nothing listens there: the program starts, and waits for its homeserver.
        .with("CALLSCOPE_HOMESERVER_URL", "http://127.0.0.1:9")
        .with("CALLSCOPE_ACCESS_TOKEN", "none")
        .with("CALLSCOPE_DATABASE_URL", &database)
        .with("CALLSCOPE_BIND", "127.0.0.1:0");
    let app = App::start(&settings).await;
    let mut browser = Browser::start().await;
    let paths = [
        "/",
        "/calls",
        "/rooms",
        "/servers",
        "/transports",
        "/statistics",
        "/wall",
        "/status",
        "/rejected",
    ];
    let pages = paths.map(|path| page(path, Vec::new()));
    let found = audited(&mut browser, &app, &pages).await;
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );

    for Page { path, .. } in &pages {
        browser
            .open("page", &format!("{}{path}", app.http.base), json!({}))
            .await;
        let faults = browser.faults("page").await;
        assert!(faults.is_empty(), "{path}: {faults:#?}");
        browser.close("page").await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_word_is_explained_where_it_has_the_focus() {
    const FOCUS: &str = "(() => { const word = document.querySelector('.term [tabindex]'); word.focus();
        const tip = document.getElementById(word.getAttribute('aria-describedby'));
        const box = tip.getBoundingClientRect();
        return [getComputedStyle(tip).display, box.width > 0 && box.left >= 0 && box.right <= innerWidth]; })()";
    const ESCAPE: &str = "(() => { const word = document.activeElement;
        word.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}));
        return getComputedStyle(document.getElementById(word.getAttribute('aria-describedby'))).display; })()";
    let app = demo().await;
    let mut browser = Browser::start().await;
    for width in [1280, 360] {
        let page = format!("{}/transports", app.http.base);
        browser.open("page", &page, json!({"width": width})).await;
        let told = browser.eval("page", FOCUS).await;
        assert_eq!(told, json!(["block", true]), "{width} px");
        let closed = browser.eval("page", ESCAPE).await;
        assert_eq!(closed, "none", "the Escape key takes it away, {width} px");
        browser.close("page").await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_bar_of_the_timeline_says_what_it_is_where_it_has_the_focus() {
    const FOCUS: &str = "(() => { const bar = document.querySelector('.tl [tabindex]'); bar.focus();
        const tip = document.querySelector('.tip'); const box = tip?.getBoundingClientRect();
        return [bar.querySelector('title').textContent, tip?.textContent,
            box && box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight]; })()";
    // The tooltip looks the same wherever the previous one was.
    const ALIKE: &str = "(() => { const [bar, other] = document.querySelectorAll('.tl [tabindex]');
        const tip = document.querySelector('.tip');
        const size = () => { bar.focus(); const { width, height } = tip.getBoundingClientRect();
            return `${Math.round(width)} ${Math.round(height)}`; };
        other.focus(); const first = size();
        other.focus(); tip.style.left = `${innerWidth - 40}px`; const second = size();
        return first === second || [first, second]; })()";
    const ESCAPE: &str =
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}));
        document.querySelectorAll('.tip').length";
    let app = demo().await;
    let mut browser = Browser::start().await;
    let calls = app
        .http
        .get("/api/v1/calls?status=ended&kind=group&limit=1")
        .await
        .ok();
    let path = format!(
        "{}/calls/{}",
        app.http.base,
        calls["data"][0]["id"].as_str().expect("an ended call")
    );

    for width in [1280, 360] {
        browser.open("page", &path, json!({"width": width})).await;
        let told = browser.eval("page", FOCUS).await;
        assert!(
            told[0].as_str().is_some_and(|title| !title.is_empty()),
            "{told}"
        );
        assert_eq!(told[0], told[1], "{width} px");
        assert_eq!(told[2], true, "the words are in sight, {width} px");
        assert_eq!(browser.eval("page", ALIKE).await, true, "{width} px");
        assert_eq!(
            browser.eval("page", ESCAPE).await,
            0,
            "the Escape key takes it away"
        );
        browser.close("page").await;
    }
}
