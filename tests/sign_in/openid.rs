//! People sign in by a real provider of OpenID Connect, and everything that is not as it must be is
//! refused and counted.

use crate::pages::browser::{Browser, Reply};
use crate::pages::site::{MINUTE, Site};
use crate::provider::{CLIENT, OTHER_CLIENT, Provider, SECRET, callback, parameter};
use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::cookies::client_without_redirects;
use crate::support::{eventually, now_ms};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::openid::{ClientSecret, OpenIdSettings};
use std::net::TcpListener;

const BY_NAME: (&str, &str) = ("preferred_username", "@{preferred_username}:example.org");
const BY_ID: (&str, &str) = ("matrix_id", "{matrix_id}");

fn settings(issuer: &str, site: &str, by: (&str, &str)) -> AccessSettings {
    AccessSettings {
        openid: Some(OpenIdSettings {
            name: "Test provider".into(),
            issuer: issuer.into(),
            client_id: CLIENT.into(),
            client_secret: Some(ClientSecret::new(SECRET.into())),
            scopes: vec!["profile".into(), "matrix".into()],
            claim: by.0.into(),
            user_id: by.1.into(),
            servers: vec!["example.org".into()],
            redirect_url: callback(site),
        }),
        operators: vec!["@admin:example.org".into()],
        ..AccessSettings::default()
    }
}

/// A site with a provider that answers.
async fn site_with_provider(by: (&str, &str), in_token: bool) -> (Site, Provider) {
    let mut provider = Provider::listen().await;
    let issuer = provider.issuer.clone();
    let site = Site::guarded_there(|base| settings(&issuer, base, by)).await;
    // The provider has no other clock than that of this machine.
    site.clock.set(now_ms());
    provider.serve(&site.base, in_token).await;

    (site, provider)
}

/// Begins to sign in; returns where the browser is sent.
async fn begin(browser: &mut Browser<'_>, next: &str) -> String {
    let reply = browser.get(&format!("/sign-in/openid?next={next}")).await;
    assert_eq!(reply.status, 303, "{}", reply.text);

    reply.place
}

/// Signs in as this person, to the end.
async fn sign_in(browser: &mut Browser<'_>, site: &Site, provider: &Provider, name: &str) -> Reply {
    let url = begin(browser, "/rooms").await;
    let back = provider.log_in(&url, name).await;
    browser.get(back.strip_prefix(&site.base).unwrap()).await
}

/// Sees the calls of the room that Alice is in, and nothing as the operator.
async fn is_alice(browser: &mut Browser<'_>) -> bool {
    let calls = browser.get("/calls").await.text;
    calls.contains("War ") && browser.get("/admin").await.status == 404
}

async fn refused(browser: &mut Browser<'_>, path: &str, words: &str) {
    let reply = browser.get(path).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(reply.text.contains(words), "{words}: {}", reply.text);
    assert!(!browser.cookies.contains_key("callscope"));
    assert!(!browser.sees_all().await);
}

/// How many sign-ins were refused, by the metrics.
async fn refusals(site: &Site, provider: &Provider) -> String {
    let mut operator = Browser::new(site);
    sign_in(&mut operator, site, provider, "admin").await;
    let metrics = operator.get("/metrics").await.text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("callscope_refused_openid_sign_ins_total"));

    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs Node.js: `scripts/test sign_in`"]
async fn people_see_what_is_theirs_and_operators_everything() {
    for (by, in_token) in [(BY_NAME, true), (BY_NAME, false), (BY_ID, false)] {
        let (site, provider) = site_with_provider(by, in_token).await;
        let mut browser = Browser::new(&site);
        let page = browser.get("/sign-in?next=%2Frooms").await.text;
        assert!(
            page.contains("Sign in with <bdi>Test provider</bdi>"),
            "{page}"
        );
        assert!(page.contains("href=\"/sign-in/openid?next=%2Frooms\""));
        assert!(!browser.sees_all().await, "nobody is in unasked");

        let reply = sign_in(&mut browser, &site, &provider, "alice").await;
        assert_eq!(
            (reply.status, reply.place.as_str()),
            (303, "/rooms"),
            "{}",
            reply.text
        );
        assert!(is_alice(&mut browser).await);
        assert!(!browser.cookies.contains_key("callscope-openid"));

        let mut other = Browser::new(&site);
        sign_in(&mut other, &site, &provider, "zoe").await;
        assert!(!other.sees_all().await, "Zoe is in no room");
        assert!(other.get("/calls").await.text.contains("Sign out"));

        let mut operator = Browser::new(&site);
        sign_in(&mut operator, &site, &provider, "admin").await;
        assert!(operator.sees_all().await);
        let admin = operator.get("/admin").await;
        assert!(admin.text.contains("@alice:example.org"), "{}", admin.text);
        assert!(
            admin
                .text
                .contains("Signed in</b>: <bdi>OpenID Connect</bdi>")
        );
    }
}

#[tokio::test]
#[ignore = "needs Node.js: `scripts/test sign_in`"]
async fn a_scope_that_the_provider_does_not_know_signs_nobody_in() {
    let mut provider = Provider::listen().await;
    let issuer = provider.issuer.clone();
    let with_scope = |base: &str| {
        let mut settings = settings(&issuer, base, BY_NAME);
        let openid = settings.openid.as_mut().unwrap();
        openid.scopes.push("strange".into());
        settings
    };
    let site = Site::guarded_there(with_scope).await;
    site.clock.set(now_ms());
    provider.serve(&site.base, true).await;

    let mut browser = Browser::new(&site);
    let reply = sign_in(&mut browser, &site, &provider, "alice").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(reply.text.contains("signed nobody in"), "{}", reply.text);
}

#[tokio::test]
#[ignore = "needs Node.js: `scripts/test sign_in`"]
async fn what_comes_back_wrong_is_refused_and_counted() {
    let (site, provider) = site_with_provider(BY_NAME, false).await;
    let strip = |back: &str| back.strip_prefix(&site.base).unwrap().to_owned();
    let not_begun = "was not begun in this browser, or has ended already";

    // Nothing was begun, or what was begun is not what comes back.
    let mut browser = Browser::new(&site);
    refused(&mut browser, "/sign-in/openid/callback", not_begun).await;
    let guessed = "/sign-in/openid/callback?state=AAAA&code=BBBB";
    refused(&mut browser, guessed, not_begun).await;
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    let state = parameter(&format!("http://a{back}"), "state");
    refused(&mut browser, &back.replace(&state, "guessed"), not_begun).await;

    // Another browser brings it back; then it is of no use to the first, either.
    let mut thief = Browser::new(&site);
    refused(&mut thief, &back, not_begun).await;
    refused(&mut browser, &back, not_begun).await;
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    begin(&mut thief, "/").await;
    refused(&mut thief, &back, not_begun).await;

    // Twice, and after signing out.
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    let cookies = browser.cookies.clone();
    assert_eq!(browser.get(&back).await.status, 303);
    let token = browser.get("/sign-out").await.token();
    browser.post("/sign-out", &[("token", &*token)]).await;
    browser.cookies = cookies;
    refused(&mut browser, &back, not_begun).await;

    // Late.
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    site.clock.advance(10 * MINUTE);
    refused(&mut browser, &back, "more than ten minutes").await;
    site.clock.set(now_ms());

    // A code that the provider did not give, or that it gave for somebody else's sign-in.
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    let code = parameter(&format!("http://a{back}"), "code");
    refused(
        &mut browser,
        &back.replace(&code, "guessed"),
        "is not valid",
    )
    .await;
    let stolen = strip(
        &provider
            .log_in(&begin(&mut thief, "/").await, "alice")
            .await,
    );
    let stolen = parameter(&format!("http://a{stolen}"), "code");
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "zoe")
            .await,
    );
    let own = parameter(&format!("http://a{back}"), "code");
    refused(&mut browser, &back.replace(&own, &stolen), "is not valid").await;

    // Whoever takes a code away on its way cannot use it, even with the secret of the client.
    let back = provider
        .log_in(&begin(&mut browser, "/").await, "alice")
        .await;
    let code = parameter(&back, "code");
    let tokens = provider.tokens(CLIENT, &callback(&site.base), &code).await;
    assert_eq!(tokens["error"], "invalid_grant", "{tokens}");

    // The provider says no, or another provider says yes.
    let url = begin(&mut browser, "/").await;
    let state = parameter(&url, "state");
    let denied = format!("/sign-in/openid/callback?state={state}&error=access_denied");
    refused(&mut browser, &denied, "signed nobody in").await;
    let back = strip(
        &provider
            .log_in(&begin(&mut browser, "/").await, "alice")
            .await,
    );
    let issuer = parameter(&format!("http://a{back}"), "iss");
    let issuer: String = url::form_urlencoded::byte_serialize(issuer.as_bytes()).collect();
    assert!(back.contains(&issuer), "{back}");
    let foreign = back.replace(&issuer, "https%3A%2F%2Fevil.example");
    refused(&mut browser, &foreign, "is not valid").await;

    // Somebody who has no Matrix account.
    let back = provider
        .log_in(&begin(&mut browser, "/").await, "a:evil.example")
        .await;
    refused(&mut browser, &strip(&back), "which Matrix account is yours").await;

    assert_eq!(refusals(&site, &provider).await, "13");
    let log = list_entries(&site.store.sign_ins(), None, 50)
        .await
        .unwrap();
    let refused = log.entries.iter().filter(|entry| {
        let detail = entry.detail.as_deref().unwrap_or_default();
        entry.kind == AuditKind::SignInRefused && detail.starts_with("OpenID Connect, ")
    });
    // The clock was set on once, so that those before it no longer count.
    assert!(
        (6..=12).contains(&refused.count()),
        "a flood does not fill the log"
    );
    assert!(is_alice(&mut browser_of(&site, &provider, "alice").await).await);
}

async fn browser_of<'s>(site: &'s Site, provider: &Provider, name: &str) -> Browser<'s> {
    let mut browser = Browser::new(site);
    sign_in(&mut browser, site, provider, name).await;
    browser
}

#[tokio::test]
#[ignore = "needs Node.js: `scripts/test sign_in`"]
async fn tokens_that_were_made_for_something_else_are_refused() {
    let (site, mut provider) = site_with_provider(BY_NAME, true).await;
    let mut other = Provider::listen().await;
    other.serve(&site.base, true).await;
    let mut count: u64 = 0;
    for what in ["client", "issuer", "replayed", "unsigned", "forged"] {
        let mut browser = Browser::new(&site);
        let url = begin(&mut browser, "/").await;
        let nonce = parameter(&url, "nonce");
        let base = site.base.as_str();
        let right = provider.id_token(CLIENT, base, "alice", &nonce).await;
        let parts: Vec<&str> = right.split('.').collect();
        let token = match what {
            "client" => provider.id_token(OTHER_CLIENT, base, "alice", &nonce).await,
            "issuer" => other.id_token(CLIENT, base, "alice", &nonce).await,
            "replayed" => provider.id_token(CLIENT, base, "alice", "another").await,
            // {"alg":"none"}
            "unsigned" => format!("eyJhbGciOiJub25lIn0.{}.", parts[1]),
            _ => {
                let zoe = provider.id_token(CLIENT, base, "zoe", &nonce).await;
                let claims = zoe.split('.').nth(1).unwrap().to_owned();
                format!("{}.{claims}.{}", parts[0], parts[2])
            }
        };

        let back = provider.log_in(&url, "alice").await;
        provider.swap(Some(&token)).await;
        let reply = browser.get(back.strip_prefix(base).unwrap()).await;
        provider.swap(None).await;
        count += 1;
        assert_eq!(reply.status, 403, "{what}: {}", reply.text);
        assert!(reply.text.contains("is not valid"), "{what}");
        assert!(!browser.sees_all().await, "{what}");
    }

    let counted: u64 = refusals(&site, &provider).await.parse().unwrap();
    assert_eq!(counted, count);
}

#[tokio::test]
#[ignore = "needs Node.js: `scripts/test sign_in`"]
async fn a_provider_that_is_down_stops_nothing_and_is_asked_again() {
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let (of_provider, of_program) = (free(), free());
    let issuer = format!("http://127.0.0.1:{of_provider}");
    let base = format!("http://127.0.0.1:{of_program}");
    let folder = tempfile::tempdir().unwrap();
    // The homeserver is down, too.
    let account = Account {
        http: crate::support::http::Http::new("http://127.0.0.1:9", None),
        user_id: "@bot:example.org".into(),
        device_id: "D".into(),
        token: "t".into(),
        password: "p".into(),
    };
    let settings = Settings::observe(&account, folder.path())
        .without("CALLSCOPE_BIND")
        .with("CALLSCOPE_BIND", &format!("127.0.0.1:{of_program}"))
        .with("CALLSCOPE_PUBLIC_URL", &base)
        .with("CALLSCOPE_OPENID_ISSUER", &issuer)
        .with("CALLSCOPE_OPENID_CLIENT_ID", CLIENT)
        .with("CALLSCOPE_OPENID_CLIENT_SECRET", SECRET)
        .with("CALLSCOPE_OPENID_USER_ID", BY_NAME.1);
    let app = App::start(&settings).await;
    let client = client_without_redirects();
    let begin = async || {
        client
            .get(format!("{base}/sign-in/openid"))
            .send()
            .await
            .unwrap()
    };

    let down = begin().await;
    assert_eq!(down.status(), 503);
    assert!(down.headers().contains_key("retry-after"));
    assert!(down.text().await.unwrap().contains("does not answer now"));
    assert_eq!(
        app.http.get("/metrics").await.status,
        401,
        "nobody is in unasked"
    );

    let mut provider = Provider::listen_at(of_provider).await;
    provider.serve(&base, false).await;
    let sent = eventually("the provider is asked again", 30, async || {
        let reply = begin().await;
        (reply.status() == 303).then_some(reply)
    })
    .await;
    let place = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(place.starts_with(&issuer) && place.contains("code_challenge_method=S256"));
    let cookie = sent.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let back = provider.log_in(&place, "alice").await;
    let reply = client
        .get(back)
        .header("cookie", cookie.split(';').next().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 303);
    assert!(
        reply
            .headers()
            .get_all("set-cookie")
            .iter()
            .any(|cookie| { cookie.to_str().unwrap().starts_with("callscope=") })
    );
    assert!(!app.log().contains(SECRET), "no secret in the log");
    app.kill();
}
