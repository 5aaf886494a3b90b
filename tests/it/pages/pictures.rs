//! Pictures that other programs show: badges in the look that was asked for, the card of a call,
//! and icons.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::{EVIL, ROOM, Site, event, quote, text};
use serde_json::json;

/// Width and height, px, as the head of a PNG says.
fn size_of_png(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());

    (number(16), number(20))
}

async fn get(site: &Site, path: &str) -> (u16, String, Vec<u8>) {
    let request = site.client.get(format!("{}{path}", site.base)).send();
    let answer = request.await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();

    (
        answer.status().as_u16(),
        kind,
        answer.bytes().await.unwrap().to_vec(),
    )
}

#[tokio::test]
async fn a_badge_has_the_label_and_the_style_that_are_asked_for() {
    let site = Site::filled("badges-with-labels").await;
    let badge = format!("/badge/rooms/{}/active", quote(ROOM));
    let plain = site.json(&format!("{badge}.json")).await;
    assert_eq!(
        (&plain["schemaVersion"], &plain["label"], &plain["style"]),
        (&json!(1), &json!("call"), &json!("flat"))
    );
    let asked = "?label=our+lobby&style=for-the-badge";
    let changed = site.json(&format!("{badge}.json{asked}")).await;
    assert_eq!(
        (&changed["label"], &changed["style"], &changed["message"]),
        (
            &json!("our lobby"),
            &json!("for-the-badge"),
            &plain["message"]
        )
    );
    let svg = site.get(&format!("{badge}.svg{asked}")).await.text;
    assert!(
        svg.contains(">OUR LOBBY<") && svg.contains("height=\"28\""),
        "{svg}"
    );
    let square = site
        .get(&format!("{badge}.svg?style=flat-square"))
        .await
        .text;
    assert!(square.contains("rx=\"0\""), "{square}");
    let evil = site
        .get(&format!("{badge}.svg?label={}", quote(EVIL)))
        .await
        .text;
    assert!(
        !evil.contains("<script") && !evil.contains('\u{202e}'),
        "{evil}"
    );

    for server in [
        "/badge/servers/example.org/active.json",
        "/badge/servers/example.org/rtc.json",
    ] {
        assert_eq!(
            site.json(&format!("{server}?label=x")).await["label"],
            "x",
            "{server}"
        );
    }
    let long = "x".repeat(61);
    for bad in [
        format!("label={long}"),
        "style=3d".to_owned(),
        "colour=red".to_owned(),
    ] {
        let answer = site.get(&format!("{badge}.svg?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_call_has_a_card_that_its_page_names() {
    let site = Site::filled("cards").await;
    let call = site.json("/api/v1/calls?status=ended").await["data"][0].clone();
    let path = format!("/calls/{}/card.png", text(&call["id"]));
    let (status, kind, png) = get(&site, &path).await;
    assert_eq!(
        (status, kind.as_str(), size_of_png(&png)),
        (200, "image/png", (1200, 630))
    );
    assert!((5_000..100_000).contains(&png.len()), "{}", png.len());
    let page = site
        .get(&format!("/calls/{}", text(&call["id"])))
        .await
        .text;
    let image = format!("<meta property=\"og:image\" content=\"https://calls.example{path}\">");
    assert!(page.contains(&image));
    assert!(page.contains("<meta name=\"twitter:card\" content=\"summary_large_image\">"));

    // A name that is no letter of ours, and one that is markup, draw a picture, too.
    for name in [EVIL, "会议", "]]> & <text>"] {
        let named = event(
            &format!("${name}"),
            "m.room.name",
            "@alice:example.org",
            "",
            0,
            json!({ "name": name }),
        );
        site.write(vec![named]).await;
        assert_eq!(get(&site, &path).await.0, 200, "{name}");
    }

    assert_eq!(site.get("/calls/none/card.png").await.status, 404);
    assert_eq!(site.get(&format!("{path}?size=9")).await.status, 400);
    let joined = call["members"][0]["join_event_id"].clone();
    let moved = site
        .get(&format!("/calls/{}/card.png", quote(text(&joined))))
        .await;
    assert_eq!((moved.status, moved.place), (303, path));
}

#[tokio::test]
async fn the_card_of_a_call_is_for_those_who_may_see_it() {
    let site = Site::guarded("hidden-cards", by_password()).await;
    let mut operator = Browser::of_operator(&site).await;
    let calls = operator.get("/api/v1/calls").await.text;
    let calls: serde_json::Value = serde_json::from_str(&calls).unwrap();
    let path = format!("/calls/{}/card.png", text(&calls["data"][0]["id"]));
    assert_eq!(site.get(&path).await.status, 404);
    let page = operator
        .get(&format!("/calls/{}", text(&calls["data"][0]["id"])))
        .await;
    assert!(
        !page.text.contains("og:image"),
        "nobody finds it without a public address"
    );
}

#[tokio::test]
async fn icons_are_where_programs_look_for_them() {
    let site = Site::guarded("icons", by_password()).await;
    let (status, kind, ico) = get(&site, "/favicon.ico").await;
    assert_eq!(
        (status, kind.as_str(), &ico[..6]),
        (200, "image/x-icon", &[0, 0, 1, 0, 1, 0][..])
    );
    assert_eq!(size_of_png(&ico[22..]), (32, 32));
    let (_, kind, manifest) = get(&site, "/static/manifest.webmanifest").await;
    assert_eq!(kind, "application/manifest+json");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for icon in manifest["icons"].as_array().unwrap() {
        let (status, kind, _) = get(&site, &format!("/static/{}", text(&icon["src"]))).await;
        assert_eq!(
            (status, kind.as_str()),
            (200, text(&icon["type"])),
            "{icon}"
        );
    }
    let page = site.get("/sign-in").await.text;
    assert!(page.contains("rel=\"manifest\""));
    for size in [192, 512] {
        let (_, _, png) = get(&site, &format!("/static/icon-{size}.png")).await;
        assert_eq!(size_of_png(&png), (size, size));
    }
}
