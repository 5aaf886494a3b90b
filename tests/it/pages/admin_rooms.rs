//! The operator decides who may see the calls of a room, and has its history read again.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::{NOW, ROOM, Site, event, quote};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::store::sign_in::rooms::{list_rooms, request_backfill};
use serde_json::json;

const OTHER: &str = "!other:example.org";

/// A site with a second room, whose history everybody may read.
async fn site_with_public_room() -> Site {
    let site = Site::guarded("admin-rooms", by_password()).await;
    let readable = json!({"history_visibility": "world_readable"});
    let named = json!({"name": "The <b>open</b> room"});
    site.write_to(
        OTHER,
        vec![
            event(
                "$visible",
                "m.room.history_visibility",
                "@a:example.org",
                "",
                9,
                readable,
            ),
            event("$named", "m.room.name", "@a:example.org", "", 9, named),
        ],
    )
    .await;

    site
}

#[tokio::test]
async fn what_the_operator_decides_is_shown_recorded_and_holds() {
    let site = site_with_public_room().await;
    let mut operator = Browser::of_operator(&site).await;
    let page = operator.get("/admin/rooms?q=open").await;
    assert!(
        page.text
            .contains("Calls are for everybody: everybody may read its history."),
        "{}",
        page.text
    );
    assert!(page.text.contains("The &#60;b&#62;open") && !page.text.contains("War "));
    assert_eq!(page.header("cache-control"), "private, no-store");

    let token = page.token();
    let hide = [
        ("token", &*token),
        ("room", OTHER),
        ("visibility", "hidden"),
        ("q", "open & more"),
    ];
    let path = format!("/rooms/{}", quote(OTHER));
    let mut stranger = Browser::new(&site);
    assert_eq!(stranger.get(&path).await.status, 200);
    let saved = operator.post("/admin/rooms/show", &hide).await;
    assert_eq!(
        (saved.status, saved.place.as_str()),
        (303, "/admin/rooms?q=open+%26+more")
    );
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(stranger.get(&path).await.status, 404, "a second later");
    let page = operator.get("/admin/rooms?q=open").await.text;
    assert!(page.contains("Calls are for operators only: decided by an operator."));
    assert!(
        page.contains("<option value=\"hidden\" selected>"),
        "{page}"
    );

    let log = list_entries(&site.store.sign_ins(), None, 9).await.unwrap();
    let newest = &log.entries[0];
    assert_eq!(newest.kind, AuditKind::RoomShown);
    assert_eq!(newest.identity.as_deref(), Some("operator"));
    assert_eq!(
        newest.detail.as_deref(),
        Some("!other:example.org: operators only")
    );
    let page = operator.get("/admin").await.text;
    assert!(page.contains("!other:example.org: operators only"));

    let default = [
        ("token", &*token),
        ("room", OTHER),
        ("visibility", "default"),
    ];
    assert_eq!(
        operator.post("/admin/rooms/show", &default).await.status,
        303
    );
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(stranger.get(&path).await.status, 200);
}

#[tokio::test]
async fn only_the_operators_page_decides() {
    let site = site_with_public_room().await;
    let mut operator = Browser::of_operator(&site).await;
    let token = operator.get("/admin/rooms").await.token();
    let wish = [
        ("room", OTHER),
        ("visibility", "hidden"),
        ("token", &*token),
    ];
    let mut stranger = Browser::new(&site);
    assert_eq!(stranger.get("/admin/rooms").await.status, 404);
    for path in ["/admin/rooms/show", "/admin/rooms/read"] {
        assert_eq!(stranger.post(path, &wish).await.status, 404, "{path}");
        let without_token = operator.post(path, &wish[..2]).await;
        assert_eq!(without_token.status, 403, "{path}");
        let foreign = [("origin", "https://evil.example")];
        let forged = operator.post_with(path, &wish, &foreign).await;
        assert_eq!(forged.status, 403, "{path}");
    }

    let wrong = [("token", &*token), ("room", OTHER), ("visibility", "all")];
    assert_eq!(operator.post("/admin/rooms/show", &wrong).await.status, 400);
    let unknown = [
        ("token", &*token),
        ("room", "!no:example.org"),
        ("visibility", "hidden"),
    ];
    assert_eq!(
        operator.post("/admin/rooms/show", &unknown).await.status,
        404
    );
    let rooms = list_rooms(&site.store.reader()).await.unwrap();
    assert!(rooms.iter().all(|room| room.by_operator.is_none()));
}

#[tokio::test]
async fn a_history_is_read_again_once_at_a_time() {
    let site = site_with_public_room().await;
    let sign_ins = site.store.sign_ins();
    let mut operator = Browser::of_operator(&site).await;
    let page = operator.get("/admin/rooms").await;
    assert!(
        page.text.contains("Read its history again"),
        "{}",
        page.text
    );
    let token = page.token();
    let wish = [("token", &*token), ("room", ROOM)];
    assert_eq!(operator.post("/admin/rooms/read", &wish).await.status, 303);
    assert!(
        !request_backfill(&sign_ins, ROOM, NOW + 1).await.unwrap(),
        "it is being read"
    );
    let page = operator.get("/admin/rooms").await.text;
    assert!(page.contains("Its history is being read."), "{page}");
    assert!(
        !request_backfill(&sign_ins, "!no:example.org", NOW)
            .await
            .unwrap()
    );
    let log = list_entries(&sign_ins, None, 1).await.unwrap();
    assert_eq!(log.entries[0].kind, AuditKind::BackfillRequested);
}
