//! A site below a path: every link of every page leads to an address of the site.

use crate::pages::site::{ROOM, Site, quote};
use callscope::config::Config;
use reqwest::StatusCode;
use std::collections::BTreeSet;

const ROUTES: &str = include_str!("../../../src/web/routes.rs");
const BASE: &str = "/our/calls";

/// The addresses to which a page leads on this host, without what stands behind `#`.
fn links_of_page(page: &str) -> BTreeSet<String> {
    let mut links = BTreeSet::new();
    for attribute in ["href=\"/", "src=\"/", "action=\"/", "data-stream=\"/"] {
        for (place, _) in page.match_indices(attribute) {
            let begin = place + attribute.len() - 1;
            let link = page[begin..].split('"').next().unwrap();
            let link = link.split('#').next().unwrap();
            links.insert(link.replace("&#38;", "&").replace("&amp;", "&"));
        }
    }

    links
}

#[tokio::test]
async fn every_link_leads_below_the_path() {
    let site = Site::below(BASE).await;
    let room = format!("/rooms/{}", quote(ROOM));
    let embedded = format!("/embed/rooms/{}", quote(ROOM));
    let mut pages = BTreeSet::from(
        [
            "",
            "/",
            "/calls",
            "/rooms",
            "/servers",
            "/transports",
            "/statistics",
            "/wall",
            "/status",
            "/rejected",
            "/about",
            "/docs",
            "/api/docs",
            &room,
            &embedded,
        ]
        .map(|path| format!("{BASE}{path}")),
    );
    let mut found = BTreeSet::new();
    for page in pages.clone() {
        for link in links_of_page(&site.html(&page).await) {
            assert!(link.starts_with(BASE), "{page} leads to {link}");
            found.insert(link);
        }
    }

    assert!(found.len() > 50, "{found:?}");
    pages.extend(found.into_iter().filter(|link| !link.ends_with("/live")));
    for page in pages {
        let answer = site.get(&page).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.text);
    }
}

#[tokio::test]
async fn redirects_and_json_stay_below_the_path() {
    let site = Site::below(BASE).await;
    let moved = site.get(&format!("{BASE}/stats?period=30d")).await;
    assert!(
        moved.place.starts_with("/our/calls/statistics"),
        "{}",
        moved.place
    );
    let calls = site.json(&format!("{BASE}/api/v1/calls?limit=1")).await;
    let next = calls["next_url"].as_str().unwrap();
    assert!(
        next.starts_with("https://calls.example/our/calls/api/v1/calls?"),
        "{next}"
    );
    // A proxy may take the path away.
    assert_eq!(site.get("/calls").await.status, 200);
    assert_eq!(site.get("/our/callsign").await.status, 404);
    let document = site.json(&format!("{BASE}/api/v1/openapi.json")).await;
    assert_eq!(
        document["servers"][0]["url"],
        "https://calls.example/our/calls"
    );
}

#[tokio::test]
async fn errors_lead_below_the_path_too() {
    let site = Site::below(BASE).await;
    for path in ["/nothing", "/%61dmin", "/a%0ab", "/calls?sort=no"] {
        let ask = site.client.get(format!("{}{BASE}{path}", site.base));
        let answer = ask.header("accept", "text/html").send().await.unwrap();
        assert!(answer.status().is_client_error(), "{path}");
        let page = answer.text().await.unwrap();
        let links = links_of_page(&page);
        assert!(!links.is_empty(), "{path}: {page}");
        for link in links {
            assert!(link.starts_with(BASE), "{path} leads to {link}");
        }
    }
}

#[test]
fn a_path_that_is_a_page_of_ours_is_refused() {
    let source: String = ROUTES.split_whitespace().collect();
    let names: BTreeSet<&str> = source
        .split("\"/")
        .skip(1)
        .filter_map(|rest| rest.split(['"', '/', '{']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let url = format!("https://example.org/{name}");
        let settings = [("CALLSCOPE_PUBLIC_URL".to_owned(), url)];
        let faults = Config::load(None, settings.into_iter()).unwrap_err();
        assert!(
            faults.to_string().contains("is the name of a page"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn further_names_are_answered_and_foreign_ones_are_not() {
    let site = Site::below(BASE).await;
    for (host, status) in [
        ("calls.example", StatusCode::OK),
        ("calls.example.net:443", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let ask = site.client.get(format!("{}/calls", site.base));
        let answer = ask.header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
}
