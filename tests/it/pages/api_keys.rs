//! Programs come in by a key: what each scope opens, and which keys open nothing.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::{MINUTE, NOW, Site};
use crate::support::eventually;
use callscope::store::sign_in::api_keys::{KeyScope, list_keys, revoke_key};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::web::sign_in::new_key::{KeyWish, MadeKey, make_key};
use std::time::Duration;

const DAY: i64 = 24 * 60 * MINUTE;

async fn make(site: &Site, scope: KeyScope, days: Option<i64>) -> MadeKey {
    let wish = KeyWish {
        name: "a program",
        scope,
        days,
    };
    make_key(&site.store.sign_ins(), &wish, NOW, None)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_opens_what_its_scope_says() {
    let site = Site::guarded("scopes", by_password()).await;
    let all = make(&site, KeyScope::All, None).await.secret;
    assert!(all.starts_with("csk_"));
    for (name, value) in [
        ("authorization", format!("Bearer {all}")),
        ("authorization", format!("bearer  {all}")),
        ("x-api-key", all.clone()),
    ] {
        let mut program = Browser::with(&site, name, &value);
        for path in ["/api/v1/calls", "/metrics", "/feed/calls.atom", "/calls"] {
            let reply = program.get(path).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.header("cache-control"), "private, no-store", "{path}");
        }

        assert_eq!(program.get("/admin").await.status, 404);
    }

    for scope in [KeyScope::Metrics, KeyScope::Public] {
        let secret = make(&site, scope, None).await.secret;
        let mut program = Browser::with(&site, "x-api-key", &secret);
        let metrics = program.get("/metrics").await.status;
        assert_eq!(metrics, if scope == KeyScope::Metrics { 200 } else { 401 });
        for path in ["/api/v1/calls", "/", "/feed/calls.ics", "/%6detrics"] {
            let reply = program.get(path).await;
            let expected = match scope {
                KeyScope::Public if path == "/%6detrics" => 401,
                // What everybody sees.
                KeyScope::Public => 200,
                _ => 403,
            };
            assert_eq!(reply.status, expected, "{scope} {path}");
            reply.tells_nothing(path);
        }
    }
}

#[tokio::test]
async fn unknown_expired_and_revoked_keys_open_nothing_and_are_counted() {
    let site = Site::guarded("bad", by_password()).await;
    let sign_ins = site.store.sign_ins();
    let short = make(&site, KeyScope::All, Some(90)).await;
    let gone = make(&site, KeyScope::All, None).await;
    let mut program = Browser::with(&site, "x-api-key", &short.secret);
    site.clock.set(NOW + 90 * DAY - 1);
    assert!(program.sees_all().await);
    site.clock.set(NOW + 90 * DAY);

    revoke_key(&sign_ins, &gone.key.id, NOW, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        revoke_key(&sign_ins, &gone.key.id, NOW, None)
            .await
            .unwrap(),
        None
    );
    let unknown = format!("csk_{}", "A".repeat(43));
    let cut = short.secret[..short.secret.len() - 1].to_owned();
    let mut count = 0;
    for secret in [
        short.secret,
        gone.secret,
        unknown,
        cut,
        "csk_".into(),
        "other".into(),
    ] {
        for (name, value) in [
            ("x-api-key", secret.clone()),
            ("authorization", format!("Bearer {secret}")),
        ] {
            let reply = Browser::with(&site, name, &value)
                .get("/api/v1/calls")
                .await;
            assert_eq!(reply.status, 401, "{secret}");
            assert!(reply.text.contains("M_UNKNOWN_TOKEN"), "{}", reply.text);
            reply.tells_nothing("/api/v1/calls");
            count += 1;
        }
    }

    let good = make_key(
        &sign_ins,
        &KeyWish {
            name: "watch",
            scope: KeyScope::Metrics,
            days: None,
        },
        NOW,
        None,
    );
    let secret = good.await.unwrap().secret;
    let metrics = Browser::with(&site, "x-api-key", &secret)
        .get("/metrics")
        .await
        .text;
    let line = format!("callscope_refused_keys_total {count}");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test]
async fn a_bad_key_is_not_helped_by_a_session() {
    let site = Site::guarded("both", by_password()).await;
    let mut browser = Browser::of_operator(&site).await;
    let unknown = format!("csk_{}", "A".repeat(43));
    browser.headers.push(("x-api-key", unknown));
    assert_eq!(browser.get("/api/v1/calls").await.status, 401);
}

#[tokio::test]
async fn the_last_use_is_noted_and_the_first_of_a_day_is_recorded() {
    let site = Site::guarded("use", by_password()).await;
    let sign_ins = site.store.sign_ins();
    let made = make(&site, KeyScope::All, None).await;
    let mut program = Browser::with(&site, "x-api-key", &made.secret);
    let noted = async |at: i64| {
        eventually("the use is noted", 10, async || {
            let keys = list_keys(&sign_ins).await.unwrap();
            (keys[0].last_used_ms == Some(at)).then_some(())
        })
        .await;
    };

    assert!(program.sees_all().await);
    noted(NOW).await;
    site.clock.set(NOW + MINUTE - 1);
    assert!(program.sees_all().await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    noted(NOW).await;
    site.clock.set(NOW + MINUTE);
    assert!(program.sees_all().await);
    noted(NOW + MINUTE).await;
    site.clock.set(NOW + DAY);
    assert!(program.sees_all().await);
    noted(NOW + DAY).await;

    eventually("both days are recorded", 10, async || {
        let log = list_entries(&sign_ins, None, 50).await.unwrap();
        let used = log
            .entries
            .iter()
            .filter(|entry| entry.kind == AuditKind::KeyUsed);
        (used.count() == 2).then_some(())
    })
    .await;
    let log = list_entries(&sign_ins, None, 50).await.unwrap();
    assert!(!format!("{log:?}").contains(&made.secret));
}
