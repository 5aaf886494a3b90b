//! People come in by a proxy that signs them in: only its own word counts.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::Site;
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;

/// The operator is `admin`, and proxies are in this network. We ask from 127.0.0.1.
fn by_proxy(network: &str) -> AccessSettings {
    AccessSettings {
        proxies: TrustedProxies {
            networks: vec![network.parse().unwrap()],
            user_header: "Remote-User".into(),
            user_id: "@{user}:example.org".into(),
        },
        operators: vec!["@admin:example.org".into()],
        ..AccessSettings::default()
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_is_the_operator() {
    let site = Site::guarded("proxy", by_proxy("127.0.0.0/8")).await;
    let mut operator = Browser::with(&site, "remote-user", "admin");
    assert!(operator.sees_all().await);
    let page = operator.get("/calls").await;
    assert_eq!(page.header("cache-control"), "private, no-store");
    assert!(
        !page.text.contains("Sign out"),
        "the proxy signs people out"
    );
    assert_eq!(operator.get("/admin").await.status, 200);

    let mut users = Vec::new();
    for user in [
        "bob",
        "Admin",
        "admin:evil.example",
        "admin,bob",
        "@admin:example.org",
        "",
    ] {
        users.push(Browser::with(&site, "remote-user", user));
    }

    let mut twice = Browser::with(&site, "remote-user", "admin");
    twice.headers.push(("remote-user", "bob".into()));
    users.push(twice);
    users.push(Browser::new(&site));
    for mut user in users {
        assert!(!user.sees_all().await, "{:?}", user.headers);
        user.get("/api/v1/calls")
            .await
            .tells_nothing("/api/v1/calls");
        assert_eq!(user.get("/admin").await.status, 404);
        assert_eq!(user.get("/metrics").await.status, 401);
    }
}

#[tokio::test]
async fn nobody_else_may_say_so() {
    let settings = AccessSettings {
        password: by_password().password,
        ..by_proxy("10.0.0.0/8")
    };
    let site = Site::guarded("untrusted", settings).await;
    let mut liar = Browser::with(&site, "remote-user", "admin");
    liar.headers.push(("x-forwarded-for", "10.0.0.1".into()));
    assert!(!liar.sees_all().await);
    liar.get("/api/v1/calls")
        .await
        .tells_nothing("/api/v1/calls");
    assert_eq!(liar.get("/admin").await.status, 404);

    let mut operator = Browser::of_operator(&site).await;
    let metrics = operator.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_ignored_proxy_users_total 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_proxy_says_whether_the_visitor_uses_tls() {
    let settings = AccessSettings {
        password: by_password().password,
        ..by_proxy("127.0.0.1/32")
    };
    let site = Site::guarded("tls", settings).await;
    let mut browser = Browser::with(&site, "x-forwarded-proto", "https");
    let form = browser.get("/sign-in").await;
    let cookie = form.header("set-cookie");
    assert!(cookie.starts_with("__Host-callscope-form="), "{cookie}");
    let plain = Browser::new(&site).get("/sign-in").await;
    assert!(plain.header("set-cookie").starts_with("callscope-form="));
}
