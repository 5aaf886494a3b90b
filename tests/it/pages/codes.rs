//! Sign-in by codes that are sent by Matrix: what is asked and answered. The sending is tested with
//! real homeservers (`tests/synapse`).

use crate::pages::browser::{Browser, Reply, by_password};
use crate::pages::site::{MINUTE, NOW, Site};
use actix_web::http::header::{COOKIE, HeaderMap};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::store::sign_in::codes::{CodeInbox, CodeWish, code_channel, note_sent};
use callscope::web::sign_in::Identity;
use callscope::web::sign_in::access::{Access, AccessSettings};
use callscope::web::sign_in::proxy::TrustedProxies;
use std::time::Duration;
use tokio::time::timeout;

const ALICE: &str = "@alice:example.org";
const STRANGER: &str = "@nobody:far.example";

/// A site that sends codes, and where they come.
async fn site_with_codes() -> (Site, CodeInbox) {
    let (outbox, inbox) = code_channel();
    inbox.set_open(true);
    let settings = AccessSettings {
        codes: Some(outbox),
        operators: vec!["@admin:example.org".into()],
        // So that clients can have several addresses.
        proxies: TrustedProxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            ..TrustedProxies::default()
        },
        ..by_password()
    };

    (Site::guarded("codes", settings).await, inbox)
}

async fn ask(browser: &mut Browser<'_>, user_id: &str) -> Reply {
    let token = browser.get("/sign-in?next=%2Frooms").await.token();
    let fields = [("token", &*token), ("user_id", user_id), ("next", "/rooms")];

    browser.post("/sign-in/code", &fields).await
}

async fn enter(browser: &mut Browser<'_>, code: &str) -> Reply {
    let token = browser.get("/sign-in/code?next=%2Frooms").await.token();
    let fields = [("token", &*token), ("code", code), ("next", "/rooms")];

    browser.post("/sign-in/code/check", &fields).await
}

/// The code that is to be sent next, which is sent then.
async fn next_code(site: &Site, inbox: &CodeInbox) -> CodeWish {
    let wish = next_unsent(inbox).await;
    let sign_ins = site.store.sign_ins();
    note_sent(&sign_ins, &wish.browser_hash, site.clock.now_ms())
        .await
        .unwrap();

    wish
}

async fn next_unsent(inbox: &CodeInbox) -> CodeWish {
    let next = timeout(Duration::from_secs(5), inbox.next());

    next.await.expect("a code").unwrap()
}

fn wrong(code: &str) -> String {
    let other = if code.starts_with('A') { "B" } else { "A" };

    format!("{other}{}", &code[1..])
}

#[tokio::test]
async fn a_code_signs_in_once_and_shows_what_is_theirs() {
    let (site, inbox) = site_with_codes().await;
    let mut browser = Browser::new(&site);
    let reply = ask(&mut browser, ALICE).await;
    assert_eq!(
        (reply.status, reply.place.as_str()),
        (303, "/sign-in/code?next=%2Frooms")
    );
    let wish = next_code(&site, &inbox).await;
    assert_eq!((wish.user_id.as_str(), wish.code.len()), (ALICE, 10));
    assert_eq!(wish.asked_ms, NOW);

    // As people write it.
    let (first, second) = wish.code.split_at(5);
    let cookies = browser.cookies.clone();
    let reply = enter(
        &mut browser,
        &format!(" {first}-{} ", second.to_lowercase()),
    )
    .await;
    assert_eq!((reply.status, reply.place.as_str()), (303, "/rooms"));
    assert!(browser.get("/calls").await.text.contains("War "));
    assert_eq!(browser.get("/admin").await.status, 404);
    assert!(!browser.cookies.contains_key("callscope-code"));

    // The same once more.
    let mut again = Browser::new(&site);
    again.cookies = cookies;
    let reply = enter(&mut again, &wish.code).await;
    assert!(reply.status == 403 && reply.text.contains("No code is good"));
    assert!(!again.sees_all().await);

    let mut admin = Browser::new(&site);
    ask(&mut admin, "@admin:example.org").await;
    let code = next_code(&site, &inbox).await.code;
    enter(&mut admin, &code).await;
    let page = admin.get("/admin").await.text;
    assert!(
        page.contains("Signed in</b>: <bdi>a code by Matrix</bdi>"),
        "{page}"
    );
    let metrics = admin.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_refused_codes_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_answer_is_the_same_whoever_is_asked_for() {
    let (site, inbox) = site_with_codes().await;
    let mut answers = Vec::new();
    for id in [ALICE, STRANGER, "@eve:evil.example"] {
        let mut browser = Browser::new(&site);
        let mut reply = ask(&mut browser, id).await;
        // The next request of each browser has another random text.
        let cookie = reply.headers.remove("set-cookie").unwrap();
        let cookie = cookie.to_str().unwrap().to_owned();
        let (name, rest) = cookie.split_once('=').unwrap();
        assert!(name == "callscope-code" && rest.contains("; HttpOnly; SameSite=Lax"));
        reply.headers.remove("date");
        let page = browser.get("/sign-in/code").await;
        let form = page.text.replace(&page.token(), "");
        answers.push((reply.status, reply.place, reply.headers, reply.text, form));
        assert_eq!(next_code(&site, &inbox).await.user_id, id);
    }

    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
}

#[tokio::test]
async fn wrong_late_and_foreign_codes_are_refused_and_counted() {
    let (site, inbox) = site_with_codes().await;
    let mut browser = Browser::new(&site);

    // Nothing was asked for.
    let reply = enter(&mut browser, "ABCDE23456").await;
    assert!(reply.status == 403 && reply.text.contains("No code is good"));

    // In another browser, which asked for a code of its own.
    ask(&mut browser, ALICE).await;
    let code = next_code(&site, &inbox).await.code;
    let mut thief = Browser::new(&site);
    ask(&mut thief, STRANGER).await;
    assert_ne!(next_code(&site, &inbox).await.code, code);
    assert_eq!(enter(&mut thief, &code).await.status, 403);
    assert!(!thief.sees_all().await);

    // Six times wrong, and then it is no longer good.
    for left in (0..6).rev() {
        let reply = enter(&mut browser, &wrong(&code)).await;
        assert_eq!(reply.status, 403);
        assert!(reply.text.contains(&format!("{left} tr")), "{}", reply.text);
    }

    let reply = enter(&mut browser, &code).await;
    assert!(reply.status == 403 && reply.text.contains("No code is good"));

    // Late.
    ask(&mut browser, ALICE).await;
    let code = next_code(&site, &inbox).await.code;
    site.clock.advance(10 * MINUTE);
    assert_eq!(enter(&mut browser, &code).await.status, 403);
    assert!(!browser.sees_all().await);

    // In time.
    ask(&mut browser, ALICE).await;
    let code = next_code(&site, &inbox).await.code;
    site.clock.advance(10 * MINUTE - 1);
    assert_eq!(enter(&mut browser, &code).await.status, 303);

    let mut operator = Browser::of_operator(&site).await;
    let metrics = operator.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_refused_codes_total 10"),
        "{metrics}"
    );
    let log = list_entries(&site.store.sign_ins(), None, 50)
        .await
        .unwrap();
    let of_alice = log.entries.iter().filter(|entry| {
        entry.kind == AuditKind::SignInRefused && entry.identity.as_deref() == Some(ALICE)
    });
    assert!(
        (3..=6).contains(&of_alice.count()),
        "a flood does not fill the log"
    );
}

#[tokio::test]
async fn a_code_that_was_not_sent_is_not_good_and_answered_as_a_wrong_one() {
    let (site, inbox) = site_with_codes().await;
    let mut browser = Browser::new(&site);
    ask(&mut browser, ALICE).await;
    let wish = next_unsent(&inbox).await;
    let reply = enter(&mut browser, &wish.code).await;
    assert!(reply.status == 403 && reply.text.contains("5 tries are left"));
    assert!(!browser.sees_all().await);

    note_sent(&site.store.sign_ins(), &wish.browser_hash, NOW)
        .await
        .unwrap();
    assert_eq!(enter(&mut browser, &wish.code).await.status, 303);
}

#[tokio::test]
async fn one_code_cannot_be_used_twice_at_once() {
    let (site, inbox) = site_with_codes().await;
    let mut browser = Browser::new(&site);
    ask(&mut browser, ALICE).await;
    let code = next_code(&site, &inbox).await.code;
    let token = browser.get("/sign-in/code").await.token();
    let cookies = browser.cookies.clone();
    let tries = (0..5).map(|_| async {
        let mut same = Browser::new(&site);
        same.cookies = cookies.clone();
        let fields = [("token", &*token), ("code", &*code)];
        same.post("/sign-in/code/check", &fields).await.status
    });
    let answers = futures_util::future::join_all(tries).await;
    let right = answers.iter().filter(|status| **status == 303).count();
    assert_eq!(right, 1, "{answers:?}");
}

#[tokio::test]
async fn too_many_codes_are_not_made() {
    let (site, inbox) = site_with_codes().await;
    let from = |number: u32| Browser::with(&site, "x-forwarded-for", &format!("192.0.2.{number}"));

    // For one id, known or not, from one address. Others can still ask for it.
    for (number, id) in [(1, ALICE), (2, STRANGER)] {
        for _ in 0..3 {
            assert_eq!(ask(&mut from(number), id).await.status, 303);
            next_code(&site, &inbox).await;
        }

        let reply = ask(&mut from(number), id).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, "600"));
        assert!(reply.text.contains("Too many codes"), "{}", reply.text);
        for other in 3..9 {
            assert_eq!(ask(&mut from(other), id).await.status, 303);
            next_code(&site, &inbox).await;
        }

        site.clock.advance(10 * MINUTE);
    }

    // From one address, for several ids.
    for number in 0..6 {
        let reply = ask(&mut from(50), &format!("@u{number}:x{number}.example")).await;
        assert_eq!(reply.status, 303);
        next_code(&site, &inbox).await;
    }

    assert_eq!(ask(&mut from(50), "@other:y.example").await.status, 429);
    let none = timeout(Duration::from_millis(100), inbox.next()).await;
    assert!(none.is_err(), "nothing more is sent: {none:?}");

    site.clock.advance(10 * MINUTE);
    assert_eq!(ask(&mut from(4), ALICE).await.status, 303);
    let mut operator = Browser::of_operator(&site).await;
    let metrics = operator.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_limited_sign_ins_total 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_no_id_or_no_form_of_ours_is_refused() {
    let (site, inbox) = site_with_codes().await;
    let mut browser = Browser::new(&site);
    for wrong in ["", "alice", "@alice", "#room:example.org", "@a:b c"] {
        let reply = ask(&mut browser, wrong).await;
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.text.contains("no Matrix id"));
    }

    for path in ["/sign-in/code", "/sign-in/code/check"] {
        let fields = [("token", "00"), ("user_id", ALICE), ("code", "ABCDE23456")];
        assert_eq!(browser.post(path, &fields).await.status, 403, "{path}");
    }

    assert!(
        timeout(Duration::from_millis(100), inbox.next())
            .await
            .is_err()
    );

    // Where nobody can send, the way is not offered.
    inbox.set_open(false);
    let page = browser.get("/sign-in").await.text;
    assert!(!page.contains("Matrix id"), "{page}");
    assert_eq!(browser.get("/sign-in/code").await.status, 404);
    for path in ["/sign-in/code", "/sign-in/code/check"] {
        assert_eq!(browser.post(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn behind_a_proxy_that_is_not_known_visitors_are_not_one() {
    let (outbox, inbox) = code_channel();
    inbox.set_open(true);
    let settings = AccessSettings {
        codes: Some(outbox),
        ..by_password()
    };
    let site = Site::guarded("codes_behind", settings).await;
    for number in 1..9 {
        let from = format!("192.0.2.{number}");
        let mut visitor = Browser::with(&site, "x-forwarded-for", &from);
        assert_eq!(ask(&mut visitor, ALICE).await.status, 303, "{from}");
        next_unsent(&inbox).await;
    }
}

#[tokio::test]
async fn a_session_of_a_way_that_is_closed_opens_nothing() {
    let (outbox, inbox) = code_channel();
    inbox.set_open(true);
    let settings = AccessSettings {
        codes: Some(outbox),
        operators: vec![ALICE.into()],
        ..by_password()
    };
    let site = Site::guarded("codes_closed", settings.clone()).await;
    let mut browser = Browser::new(&site);
    ask(&mut browser, ALICE).await;
    let code = next_code(&site, &inbox).await.code;
    enter(&mut browser, &code).await;
    let cookie = format!("callscope={}", browser.cookies["callscope"]);
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, cookie.parse().unwrap());

    let identity = async |settings: AccessSettings| {
        let access = Access::new(settings, site.store.sign_ins());
        let asker = access.find_asker(&headers, None, NOW).await.unwrap();
        asker.identity
    };
    assert_eq!(identity(settings.clone()).await, Identity::Operator);
    let closed = AccessSettings {
        codes: None,
        ..settings
    };
    assert_eq!(identity(closed).await, Identity::Anonymous);
}
