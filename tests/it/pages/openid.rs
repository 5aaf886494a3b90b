//! Sign-in by OpenID Connect where the provider does not answer. With one that does,
//! `tests/sign_in` tests it.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::Site;
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::openid::OpenIdSettings;

fn by_provider(site: &str) -> AccessSettings {
    AccessSettings {
        openid: Some(OpenIdSettings {
            name: "Our <login>".into(),
            issuer: "http://127.0.0.1:9".into(),
            client_id: "callscope".into(),
            client_secret: None,
            scopes: Vec::new(),
            claim: "sub".into(),
            user_id: "@{sub}:example.org".into(),
            servers: Vec::new(),
            redirect_url: format!("{site}/sign-in/openid/callback"),
        }),
        ..by_password()
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_said_and_nobody_comes_in() {
    let site = Site::guarded_there(by_provider).await;
    let mut browser = Browser::new(&site);
    let page = browser.get("/sign-in?next=%2Frooms").await.text;
    assert!(page.contains("Our &#60;login&#62;"), "{page}");
    let down = browser.get("/sign-in/openid?next=%2Frooms").await;
    assert_eq!((down.status, down.header("retry-after")), (503, "10"));
    assert!(down.text.contains("does not answer now"), "{}", down.text);
    assert!(
        down.text.contains("openid?next=%2Frooms"),
        "there is a way on"
    );

    for forged in ["", "?state=a&code=b", "?error=denied", "?state=&code="] {
        let path = format!("/sign-in/openid/callback{forged}");
        let reply = browser.get(&path).await;
        assert_eq!(reply.status, 403, "{path}");
        assert!(!browser.sees_all().await);
    }

    assert_eq!(browser.post("/sign-in/openid", &[]).await.status, 405);
    let mut operator = Browser::of_operator(&site).await;
    let metrics = operator.get("/metrics").await.text;
    assert!(
        metrics.contains("callscope_refused_openid_sign_ins_total 4"),
        "{metrics}"
    );
    // They are no more than counted: whoever makes them up must not hide what is real.
    let log = operator.get("/admin").await.text;
    assert!(!log.contains("Sign-in refused"));
}

#[tokio::test]
async fn without_a_provider_there_is_no_such_address() {
    let site = Site::guarded("none", by_password()).await;
    let mut browser = Browser::new(&site);
    assert!(!browser.get("/sign-in").await.text.contains("openid"));
    for path in ["/sign-in/openid", "/sign-in/openid/callback?state=a"] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
}
