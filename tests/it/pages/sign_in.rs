//! The operator signs in by a password: what a session is good for, and what is refused.

use crate::pages::browser::{Browser, NAMES, PASSWORD, by_password};
use crate::pages::site::{MINUTE, NOW, ROOM, Site, quote};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;
use std::collections::BTreeSet;

const DAY: i64 = 24 * 60 * MINUTE;

#[tokio::test]
async fn the_operator_signs_in_sees_all_and_signs_out() {
    let site = Site::guarded("whole", by_password()).await;
    let mut browser = Browser::new(&site);
    let page = browser.get("/calls?status=ended").await;
    page.tells_nothing("/calls");
    let way = "/sign-in?next=%2Fcalls%3Fstatus%3Dended";
    assert!(
        page.text.contains(&format!("href=\"{way}\"")),
        "{}",
        page.text
    );
    let form = browser.get(way).await;
    assert!(
        form.text.contains("value=\"/calls?status=ended\""),
        "{}",
        form.text
    );
    assert_eq!(form.header("cache-control"), "private, no-store");
    form.tells_nothing("/sign-in");

    let signed_in = browser.sign_in(PASSWORD, "/calls?status=ended").await;
    assert_eq!(
        (signed_in.status, signed_in.place.as_str()),
        (303, "/calls?status=ended")
    );
    let cookie = signed_in.headers.get_all("set-cookie").iter();
    let cookie: Vec<&str> = cookie.map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(
        cookie[0].starts_with("callscope=") && cookie[0].ends_with("; HttpOnly; SameSite=Lax"),
        "{cookie:?}"
    );

    let page = browser.get("/calls").await;
    assert!(page.text.contains("War ") && page.text.contains(">Sign out</button>"));
    assert!(!page.text.contains(">Sign in<"));
    assert_eq!(page.header("cache-control"), "private, no-store");
    assert_eq!(browser.get("/api/v1/calls").await.status, 200);

    let old = browser.cookies.clone();
    let base = site.base.clone();
    let out = browser
        .post_with("/sign-out", &[], &[("origin", &base)])
        .await;
    assert_eq!((out.status, out.place.as_str()), (303, "/sign-in"));
    assert!(!browser.cookies.contains_key("callscope"));
    assert!(!browser.sees_all().await);
    browser.cookies = old;
    assert!(
        !browser.sees_all().await,
        "a session that was ended is used again"
    );
}

#[tokio::test]
async fn who_has_no_session_sees_nothing_at_any_address() {
    let site = Site::guarded("routes", by_password()).await;
    let addresses = site.addresses.iter();
    let routes: Vec<String> = addresses.map(|address| address.path.to_owned()).collect();
    assert!(routes.len() > 50, "{routes:?}");
    let open = [
        "/sign-in",
        "/sign-out",
        "/about",
        "/healthz",
        "/readyz",
        "/robots.txt",
    ];
    let is_open = |path: &str| {
        let begins = [
            "/static/",
            "/api/docs",
            "/docs",
            "/api/v1/about",
            "/api/v1/openapi.json",
        ];
        open.contains(&path) || begins.iter().any(|begin| path.starts_with(begin))
    };

    let is_made_up = |path: &str| path == "/api/v1/openapi.json";

    let mut operator = Browser::of_operator(&site).await;
    let mut told = BTreeSet::new();
    let mut stranger = Browser::new(&site);
    let mut forger = Browser::new(&site);
    forger.cookies.insert("callscope".into(), "a".repeat(43));
    let mut claimant = Browser::with(&site, "x-forwarded-user", "@admin:example.org");
    let mut asked = 0;
    for route in routes {
        let room = quote(ROOM);
        let path = route
            .replace("{id:.+}", &room)
            .replace("{name}", "example.org")
            .replace("{id}", &quote("@alice:example.org"));
        // A stream has no end; what it tells has a test beside it.
        if path == "/api/v1/live" {
            continue;
        }

        let text = operator.get(&path).await.text;
        told.extend(NAMES.into_iter().filter(|name| text.contains(name)));

        for browser in [&mut stranger, &mut forger, &mut claimant] {
            let reply = browser.get(&path).await;
            // The examples of the API's document are made up: everybody gets the same text.
            if is_made_up(&path) {
                assert_eq!(reply.text, text, "{path}");
            } else {
                reply.tells_nothing(&path);
            }
            assert!(
                is_open(&path) || [200, 308, 401, 404].contains(&reply.status),
                "{path}: {}",
                reply.status
            );
            asked += 1;

            let is_json = reply.header("content-type").starts_with("application/json");
            if reply.status == 401 {
                assert!(is_json && reply.text.contains("M_MISSING_TOKEN"), "{path}");
            }

            assert_eq!(reply.header("x-robots-tag"), "noindex, nofollow", "{path}");
        }
    }

    assert!(asked > 120, "{asked}");
    assert_eq!(told, BTreeSet::from(NAMES), "there is something to be told");
    for path in ["/%63alls", "/%61dmin", "//calls", "/calls/", "/ADMIN"] {
        let reply = stranger.get(path).await;
        assert!(
            [200, 301, 308, 401, 404].contains(&reply.status),
            "{path}: {}",
            reply.status
        );
        reply.tells_nothing(path);
    }

    let robots = stranger.get("/robots.txt").await;
    assert_eq!(robots.text, "User-agent: *\nDisallow: /\n");
    assert!(!stranger.get("/about").await.text.contains("Following"));
}

#[tokio::test]
async fn wrong_forged_and_late_sessions_are_nobody() {
    let site = Site::guarded("late", by_password()).await;
    let mut browser = Browser::new(&site);
    let wrong = browser.sign_in("correct horse batterz", "/").await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text.contains("not the password") && !browser.sees_all().await);

    let mut browser = Browser::of_operator(&site).await;
    let id = browser.cookies["callscope"].clone();
    assert!(browser.sees_all().await);
    let forged = id.chars().rev().collect();
    browser.cookies.insert("callscope".into(), forged);
    assert!(!browser.sees_all().await);
    browser.cookies.insert("callscope".into(), id.clone());

    // A week without a request ends it.
    site.clock.set(NOW + 7 * DAY - 1);
    assert!(browser.sees_all().await);
    let mut other = Browser::of_operator(&site).await;
    site.clock.advance(7 * DAY);
    assert!(!other.sees_all().await);

    // Thirty days end it, however much it is used.
    site.clock.set(NOW + 40 * DAY);
    let mut browser = Browser::of_operator(&site).await;
    for day in 1..30 {
        site.clock.set(NOW + (40 + day) * DAY);
        assert!(browser.sees_all().await, "day {day}");
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }

    site.clock.set(NOW + 70 * DAY);
    assert!(!browser.sees_all().await);
}

#[tokio::test]
async fn each_sign_in_has_a_session_of_its_own() {
    let site = Site::guarded("new", by_password()).await;
    let mut browser = Browser::new(&site);
    let chosen = "c".repeat(43);
    browser.cookies.insert("callscope".into(), chosen.clone());
    browser.sign_in(PASSWORD, "/").await;
    assert_ne!(browser.cookies["callscope"], chosen);

    // The form of a browser that is signed in is that of its session.
    let first = browser.cookies.clone();
    let token = browser.get("/sign-out").await.token();
    let fields = [("token", &*token), ("password", PASSWORD)];
    assert_eq!(browser.post("/sign-in", &fields).await.status, 303);
    assert_ne!(browser.cookies["callscope"], first["callscope"]);
    assert!(browser.sees_all().await);
    browser.cookies = first;
    assert!(!browser.sees_all().await, "the session before it has ended");
}

#[tokio::test]
async fn forms_of_other_pages_are_refused() {
    let site = Site::guarded("forms", by_password()).await;
    let (mut browser, mut other) = (Browser::new(&site), Browser::new(&site));
    let token = browser.get("/sign-in").await.token();
    let foreign = other.get("/sign-in").await.token();
    for bad in ["", "00", &foreign, &token[1..]] {
        let fields = [("token", bad), ("password", PASSWORD)];
        assert_eq!(browser.post("/sign-in", &fields).await.status, 403, "{bad}");
    }

    let fields = [("token", &*token), ("password", PASSWORD)];
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let reply = browser.post_with("/sign-in", &fields, &[header]).await;
        assert_eq!(reply.status, 403, "{header:?}");
    }

    assert!(!browser.sees_all().await);
    let own = [("sec-fetch-site", "same-origin")];
    assert_eq!(
        browser.post_with("/sign-in", &fields, &own).await.status,
        303
    );

    // Signed in, every form needs the token of the session, and to sign out needs a page of ours.
    let session = browser.get("/admin").await.token();
    for (path, token) in [
        ("/admin/sessions/end-all", &*token),
        ("/admin/sessions/end-all", ""),
        ("/admin/keys/add", &*token),
        ("/sign-out", &*token),
        ("/sign-out", ""),
    ] {
        let fields = [("token", token), ("name", "n"), ("scope", "all")];
        assert_eq!(browser.post(path, &fields).await.status, 403, "{path}");
    }

    let crossed = [("origin", "https://evil.example")];
    let fields = [("token", &*session)];
    let reply = browser.post_with("/sign-out", &fields, &crossed).await;
    assert_eq!(reply.status, 403);
    assert!(browser.sees_all().await);
    assert_eq!(browser.post("/sign-out", &fields).await.status, 303);
    assert!(!browser.sees_all().await);
}

#[tokio::test]
async fn signing_in_leads_to_nobody_else() {
    let site = Site::guarded("next", by_password()).await;
    for (next, place) in [
        ("/rooms?q=a", "/rooms?q=a"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/sign-out", "/"),
        ("", "/"),
    ] {
        let mut browser = Browser::new(&site);
        let reply = browser.sign_in(PASSWORD, next).await;
        assert_eq!((reply.status, reply.place.as_str()), (303, place), "{next}");
        let again = browser.get(&format!("/sign-in?next={}", quote(next))).await;
        assert_eq!((again.status, again.place.as_str()), (303, place), "{next}");
    }
}

#[tokio::test]
async fn six_wrong_passwords_are_enough() {
    let settings = AccessSettings {
        proxies: TrustedProxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            user_header: "x-forwarded-user".into(),
            user_id: "{user}".into(),
        },
        ..by_password()
    };
    let site = Site::guarded("limits", settings).await;
    let mut guesser = Browser::with(&site, "x-forwarded-for", "192.0.2.1");
    for _ in 0..6 {
        assert_eq!(guesser.sign_in("wrong wrong wrong", "/").await.status, 403);
    }

    let late = guesser.sign_in(PASSWORD, "/").await;
    assert_eq!((late.status, late.header("retry-after")), (429, "600"));
    assert!(!guesser.sees_all().await);
    let mut other = Browser::with(&site, "x-forwarded-for", "192.0.2.2");
    assert_eq!(other.sign_in(PASSWORD, "/").await.status, 303);
    // What a client writes itself stands before what the proxy adds.
    let mut liar = Browser::with(&site, "x-forwarded-for", "192.0.2.77, 192.0.2.1");
    assert_eq!(liar.sign_in(PASSWORD, "/").await.status, 429);

    site.clock.advance(10 * MINUTE);
    assert_eq!(guesser.sign_in(PASSWORD, "/").await.status, 303);
    let log = list_entries(&site.store.sign_ins(), None, 50)
        .await
        .unwrap();
    let wrong = log.entries.iter().filter(|entry| {
        entry.kind == AuditKind::SignInRefused && entry.address.as_deref() == Some("192.0.2.1")
    });
    assert_eq!(wrong.count(), 6);
    let page = other.get("/metrics").await;
    assert!(
        page.text.contains("callscope_refused_passwords_total 6"),
        "{}",
        page.text
    );
    assert!(page.text.contains("callscope_limited_sign_ins_total 2"));
}

#[tokio::test]
async fn with_tls_cookies_are_for_tls_only() {
    let settings = AccessSettings {
        is_https: true,
        ..by_password()
    };
    let site = Site::guarded_at("https://calls.example/", settings).await;
    let mut browser = Browser::new(&site);
    let reply = browser.sign_in(PASSWORD, "/").await;
    let cookie = reply.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-callscope=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(browser.sees_all().await);
    let id = browser.cookies.remove("__Host-callscope").unwrap();
    browser.cookies.insert("callscope".into(), id);
    assert!(!browser.sees_all().await);
    let hsts = browser.get("/about").await;
    assert_eq!(hsts.header("strict-transport-security"), "max-age=31536000");
}

#[tokio::test]
async fn a_long_form_is_not_read() {
    let site = Site::guarded("long", by_password()).await;
    let mut browser = Browser::new(&site);
    let token = browser.get("/sign-in").await.token();
    let long = "x".repeat(9000);
    let fields = [("token", &*token), ("password", &*long)];
    assert_eq!(browser.post("/sign-in", &fields).await.status, 413);
    assert_eq!(browser.post("/calls", &fields).await.status, 405);
}

#[tokio::test]
async fn the_admin_page_is_for_the_operator_and_shows_what_happened() {
    let site = Site::guarded("admin", by_password()).await;
    let mut stranger = Browser::new(&site);
    stranger.sign_in("wrong wrong wrong", "/").await;
    assert_eq!(stranger.get("/admin").await.status, 404);
    assert_eq!(stranger.post("/admin/keys/add", &[]).await.status, 404);

    let mut browser = Browser::of_operator(&site).await;
    let mut elsewhere = Browser::of_operator(&site).await;
    let page = browser.get("/admin").await;
    assert_eq!(
        (page.status, page.header("cache-control")),
        (200, "private, no-store")
    );
    assert!(page.text.contains("this browser") && page.text.contains("Wrong password"));
    assert!(!page.text.contains(&browser.cookies["callscope"]));
    let token = page.token();

    // A key is shown once, and works.
    let wish = [
        ("token", &*token),
        ("name", "Grafana <1>"),
        ("scope", "all"),
        ("days", "90"),
    ];
    let made = browser.post("/admin/keys/add", &wish).await;
    let (_, secret) = made.text.split_once("class=\"secret\">").unwrap();
    let secret = secret.split('<').next().unwrap().to_owned();
    assert!(made.text.contains("Grafana &#60;1&#62;"), "{}", made.text);
    assert!(!browser.get("/admin").await.text.contains(&secret));
    let mut program = Browser::with(&site, "x-api-key", &secret);
    assert!(program.sees_all().await);
    assert_eq!(
        program.get("/admin").await.status,
        404,
        "a key is no operator"
    );
    assert_eq!(program.get("/%61dmin").await.status, 404);
    let nameless = [("token", &*token), ("name", " "), ("scope", "all")];
    assert_eq!(browser.post("/admin/keys/add", &nameless).await.status, 400);

    let page = browser.get("/admin").await.text;
    let (_, id) = page.split_once("name=\"key\" value=\"").unwrap();
    let revoke = [("token", &*token), ("key", id.split('"').next().unwrap())];
    assert_eq!(
        browser.post("/admin/keys/revoke", &revoke).await.status,
        303
    );
    assert_eq!(program.get("/calls").await.status, 401);

    // Others are signed out, one by one and all at once.
    let page = browser.get("/admin").await.text;
    let rows = page
        .split("<li>")
        .filter(|row| row.contains("name=\"session\""));
    let other = rows
        .filter(|row| !row.contains("this browser"))
        .collect::<Vec<_>>();
    let (_, hash) = other[0].split_once("name=\"session\" value=\"").unwrap();
    let end = [
        ("token", &*token),
        ("session", hash.split('"').next().unwrap()),
    ];
    assert!(elsewhere.sees_all().await);
    assert_eq!(browser.post("/admin/sessions/end", &end).await.status, 303);
    assert!(!elsewhere.sees_all().await && browser.sees_all().await);
    let everywhere = [("token", &*token)];
    let ended = browser.post("/admin/sessions/end-all", &everywhere).await;
    assert_eq!(ended.status, 303);
    assert!(!browser.sees_all().await);

    let log = list_entries(&site.store.sign_ins(), None, 50)
        .await
        .unwrap();
    let kinds: Vec<AuditKind> = log.entries.iter().map(|entry| entry.kind).collect();
    for kind in [
        AuditKind::AllSessionsEnded,
        AuditKind::SessionEnded,
        AuditKind::KeyRevoked,
        AuditKind::KeyUsed,
        AuditKind::KeyAdded,
        AuditKind::SignIn,
        AuditKind::SignInRefused,
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }

    assert_eq!(
        kinds.last(),
        Some(&AuditKind::SignInRefused),
        "newest first: {kinds:?}"
    );
}

#[tokio::test]
async fn open_to_everybody_is_open_for_reading_only() {
    let settings = AccessSettings {
        open_to_everybody: true,
        ..by_password()
    };
    let site = Site::guarded("open", settings).await;
    let mut browser = Browser::new(&site);
    assert!(browser.sees_all().await);
    let page = browser.get("/calls").await;
    assert!(
        page.text
            .contains("href=\"/sign-in?next=%2Fcalls\">Sign in</a>")
    );
    assert_eq!(browser.get("/admin").await.status, 404);
    browser.sign_in(PASSWORD, "/").await;
    assert_eq!(browser.get("/admin").await.status, 200);
    assert!(
        browser.get("/calls").await.text.contains("Sign out"),
        "pages are kept apart"
    );
    assert!(
        !Browser::new(&site)
            .get("/calls")
            .await
            .text
            .contains("Sign out")
    );

    let open = AccessSettings {
        open_to_everybody: true,
        ..AccessSettings::default()
    };
    let site = Site::guarded("all", open).await;
    let mut browser = Browser::new(&site);
    assert!(browser.sees_all().await);
    assert_eq!(
        browser.get("/admin").await.status,
        404,
        "else everybody could make keys"
    );
    assert_eq!(browser.get("/sign-in").await.status, 404);
}

#[tokio::test]
async fn on_this_machine_without_settings_everybody_is_the_operator() {
    let site = Site::guarded("machine", AccessSettings::default()).await;
    let mut browser = Browser::new(&site);
    assert!(browser.sees_all().await);
    let page = browser.get("/calls").await;
    assert!(!page.text.contains("Sign in") && !page.text.contains("Sign out"));
    assert_ne!(page.header("cache-control"), "private, no-store");
    assert_eq!(
        browser.get("/admin").await.status,
        404,
        "strangers may come through a proxy on this machine"
    );
}
