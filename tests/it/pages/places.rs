//! The content of lists and page headers: names, files, links.

use crate::pages::site::{EVIL, Site, event, quote, text};
use serde_json::json;

#[tokio::test]
async fn a_room_without_a_name_is_called_by_its_id_once() {
    let site = Site::filled("unnamed").await;
    let room = "!nameless:example.org";
    site.write_to(
        room,
        vec![event(
            "$c",
            "m.room.create",
            "@a:example.org",
            "",
            9,
            json!({}),
        )],
    )
    .await;
    let page = site.html(&format!("/rooms/{}", quote(room))).await;
    let head = &page[..page.find("class=\"nums\"").unwrap()];
    assert_eq!(
        head.matches("<bdi>!nameless:example.org</bdi>").count(),
        1,
        "{head}"
    );
    let page = site.html("/rooms").await;
    assert_eq!(
        page.matches("<bdi>!nameless:example.org</bdi>").count(),
        1,
        "{page}"
    );
    assert_eq!(
        page.matches(&format!("<bdi>War {}", EVIL.split('<').next().unwrap()))
            .count(),
        1
    );
}

#[tokio::test]
async fn lists_have_their_files_where_the_calls_have_them() {
    let site = Site::filled("files-place").await;
    for list in ["rooms", "servers", "transports"] {
        let page = site.html(&format!("/{list}")).await;
        let files = page
            .find("<div class=\"key\"><a href=\"/api/v1/")
            .unwrap_or_else(|| panic!("{list}: {page}"));
        assert!(
            files < page.find("<table").unwrap(),
            "{list}: above the table"
        );
        assert!(
            page[files..].contains("download>NDJSON</a></div>"),
            "{list}"
        );
    }
}

#[tokio::test]
async fn the_page_of_a_server_leads_to_the_calls_of_its_people() {
    let site = Site::filled("people").await;
    let page = site.html("/servers/example.org").await;
    let person = "/people/%40alice%3Aexample.org";
    assert!(page.contains(&format!("href=\"{person}\"")), "{page}");
    let person = site.html(person).await;
    let link = "/calls?user=@alice:example.org";
    assert!(person.contains(&format!("href=\"{link}\"")), "{person}");
    assert!(
        site.html(link).await.contains("2 match your filter")
            || site.html(link).await.contains("Alice Moreau")
    );
    assert!(
        page.contains(">today</text>"),
        "the last column says what it is"
    );
    assert_eq!(
        text(&site.json("/api/v1/servers/example.org").await["people"][0]["user_id"]),
        "@alice:example.org"
    );
}
