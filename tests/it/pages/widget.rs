//! A widget in a room: whose homeserver says who they are sees that room, and nothing else.

use crate::pages::browser::{Browser, Reply, by_password};
use crate::pages::site::{CALL, MINUTE, ROOM, Site, event, quote};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;
use callscope::web::sign_in::widget::{TokenAnswer, TokenChecker, WidgetToken};
use serde_json::json;

const ALICE: &str = "@alice:example.org";
const OTHER_ROOM: &str = "!other:example.org";

/// In the place of all homeservers: the token says whose it is.
fn checker() -> TokenChecker {
    TokenChecker::new(|token: WidgetToken| async move {
        match token.token.split_once('-') {
            Some(("of", name)) => {
                let name = name.split('-').next().unwrap();
                TokenAnswer::User(format!("@{name}:{}", token.server))
            }
            Some(("down", _)) => TokenAnswer::Unreachable("no answer in time".into()),
            _ => TokenAnswer::Refused("its server answered 401".into()),
        }
    })
}

async fn site_with_widgets() -> Site {
    let settings = AccessSettings {
        widgets: Some(checker()),
        operators: vec![ALICE.into()],
        proxies: TrustedProxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            ..TrustedProxies::default()
        },
        ..by_password()
    };
    let site = Site::guarded("widget", settings).await;
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "AA",
        "scope": "m.room", "expires": 14_400_000,
        "foci_preferred": [], "focus_active": { "type": "livekit" } });
    let key = format!("_{ALICE}_AA_m.call");
    let member = json!({ "membership": "join" });
    let events = vec![
        event(
            "$o1",
            "m.room.create",
            ALICE,
            "",
            900,
            json!({ "room_version": "11" }),
        ),
        event(
            "$o2",
            "m.room.name",
            ALICE,
            "",
            899,
            json!({ "name": "The other room" }),
        ),
        event("$o3", "m.room.member", ALICE, ALICE, 899, member),
        event("$o4", CALL, ALICE, &key, 10, content),
    ];
    site.write_to(OTHER_ROOM, events).await;

    site
}

async fn exchange(site: &Site, server: &str, token: &str, room: &str) -> Reply {
    let fields = [("server", server), ("token", token), ("room", room)];
    Browser::new(site).post("/widget/session", &fields).await
}

/// A program that sends the secret of a session for this room.
async fn widget_of<'s>(site: &'s Site, token: &str, room: &str) -> Browser<'s> {
    let reply = exchange(site, "example.org", token, room).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "private, no-store");
    assert!(!reply.headers.contains_key("set-cookie"));
    let answer: serde_json::Value = serde_json::from_str(&reply.text).unwrap();
    let secret = answer["token"].as_str().unwrap();

    Browser::with(site, "authorization", &format!("Bearer {secret}"))
}

#[tokio::test]
async fn a_widget_shows_its_room_and_no_other() {
    let site = site_with_widgets().await;
    for (room, name, other) in [
        (ROOM, "War ", "The other room"),
        (OTHER_ROOM, "The other room", "War "),
    ] {
        let token = format!("of-alice-{}", room.len());
        let mut widget = widget_of(&site, &token, room).await;
        let embed = widget.get(&format!("/embed/rooms/{}", quote(room))).await;
        assert_eq!(embed.status, 200, "{}", embed.text);
        assert!(embed.text.contains(name) && embed.text.contains("person"));
        assert_eq!(embed.header("cache-control"), "private, no-store");
        for path in [
            "/calls",
            "/rooms",
            "/api/v1/calls",
            "/api/v1/rooms",
            "/",
            "/servers",
        ] {
            let page = widget.get(path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(!page.text.contains(other), "{path}: {}", page.text);
        }

        let rooms = widget.get("/api/v1/rooms").await.text;
        let rooms: serde_json::Value = serde_json::from_str(&rooms).unwrap();
        assert_eq!(rooms["data"].as_array().unwrap().len(), 1);
        let elsewhere = if room == ROOM { OTHER_ROOM } else { ROOM };
        let embed = format!("/embed/rooms/{}", quote(elsewhere));
        assert_eq!(widget.get(&embed).await.status, 404);
        assert_eq!(
            widget.get("/admin").await.status,
            404,
            "nobody is an operator by a widget"
        );
        assert_eq!(widget.get("/metrics").await.status, 401);

        // Twelve hours, however much it is used.
        site.clock.advance(12 * 60 * MINUTE);
        assert_eq!(widget.get(&embed).await.status, 401);
        site.clock.advance(-12 * 60 * MINUTE);
    }
}

#[tokio::test]
async fn wrong_used_and_foreign_tokens_are_refused_and_counted() {
    let site = site_with_widgets().await;
    let status = async |server: &str, token: &str, room: &str| {
        exchange(&site, server, token, room).await.status
    };
    assert_eq!(status("example.org", "of-alice-1", ROOM).await, 200);
    assert_eq!(status("example.org", "of-alice-1", ROOM).await, 403, "used");
    assert_eq!(status("example.org", "guessed", ROOM).await, 403);
    assert_eq!(
        status("example.org", "of-zoe-1", ROOM).await,
        403,
        "is not in the room"
    );
    assert_eq!(
        status("far.example", "of-alice-1", ROOM).await,
        403,
        "another Alice"
    );
    site.clock.advance(10 * MINUTE);
    assert_eq!(
        status("example.org", "of-alice-2", "!none:example.org").await,
        403
    );
    assert_eq!(
        status("example.org", "of-alice-3", "#war:example.org").await,
        403
    );
    assert_eq!(status("no server", "of-alice-4", ROOM).await, 403);
    assert_eq!(status("example.org", "", ROOM).await, 403);
    assert_eq!(status("example.org", "down-1", ROOM).await, 503);

    // Six that are not good are enough.
    assert_eq!(status("example.org", "guessed", ROOM).await, 403);
    assert_eq!(
        status("example.org", "of-alice-5", ROOM).await,
        503,
        "too many"
    );

    let crossed = [("origin", "https://evil.example")];
    let fields = [
        ("server", "example.org"),
        ("token", "of-alice-6"),
        ("room", ROOM),
    ];
    let mut browser = Browser::with(&site, "x-forwarded-for", "192.0.2.7");
    let reply = browser
        .post_with("/widget/session", &fields, &crossed)
        .await;
    assert_eq!(reply.status, 403);

    // Neither is a forged secret good, nor a good one in a cookie.
    let mut forged = Browser::with(&site, "authorization", "Bearer csw_forged");
    assert_eq!(forged.get("/calls").await.status, 401);
    site.clock.advance(10 * MINUTE);
    let widget = widget_of(&site, "of-alice-7", ROOM).await;
    let secret = widget.headers[0]
        .1
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned();
    let mut cookie = Browser::new(&site);
    cookie.cookies.insert("callscope".into(), secret);
    assert!(!cookie.sees_all().await);

    let mut operator = Browser::of_operator(&site).await;
    let metrics = operator.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_refused_widget_tokens_total 9"),
        "{metrics}"
    );
    assert!(
        metrics.contains("callscope_limited_sign_ins_total 1"),
        "{metrics}"
    );
    let log = list_entries(&site.store.sign_ins(), None, 50)
        .await
        .unwrap();
    let refused = |entry: &&callscope::store::sign_in::audit_log::AuditEntry| {
        entry.kind == AuditKind::SignInRefused
    };
    assert!(log.entries.iter().filter(refused).count() >= 6);
    assert!(
        operator
            .get("/admin")
            .await
            .text
            .contains("Signed in</b>: <bdi>a widget</bdi>")
    );
}

#[tokio::test]
async fn the_page_may_be_framed_and_has_no_data() {
    let site = site_with_widgets().await;
    let mut browser = Browser::new(&site);
    let page = browser.get("/widget?room=%21a%3Ab").await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors *")
    );
    page.tells_nothing("/widget");

    let site = Site::guarded("none", by_password()).await;
    let mut browser = Browser::new(&site);
    assert_eq!(browser.get("/widget").await.status, 404);
    assert_eq!(browser.post("/widget/session", &[]).await.status, 404);
}

#[tokio::test]
async fn the_page_leads_below_the_path_of_the_pages() {
    let settings = AccessSettings {
        widgets: Some(checker()),
        ..by_password()
    };
    let site = Site::guarded_at("https://calls.example/our/calls/", settings).await;
    let page = Browser::new(&site)
        .get("/our/calls/widget?room=%21a%3Ab")
        .await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("src=\"/our/calls/static/widget.js"));
    for attribute in ["href=\"/static", "src=\"/static"] {
        assert!(!page.text.contains(attribute), "{}", page.text);
    }
}
