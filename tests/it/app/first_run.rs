//! The first run in a browser: the real program with nothing configured serves the set-up, from the
//! homeserver's name to the first call.

use crate::app::bed::{Bed, now};
use crate::support::app::{App, Settings};
use crate::support::cookies::{client_without_redirects, token_of_form};
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::visitor::Visitor;
use callscope::sim::{Fault, FaultKind, NewRoom};
use reqwest::Response;
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

const ALICE: &str = "@alice:sim.example";
const EVE: &str = "@eve:other.example";
const PASSWORD: &str = "correct horse battery";

/// The program with nothing configured, in a folder of its own.
struct FirstRun {
    app: App,
    folder: TempDir,
    /// The address that it printed, without its beginning.
    link: String,
}

impl FirstRun {
    async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more).await
    }

    async fn start_in(folder: TempDir, more: &[(&str, &str)]) -> Self {
        let app = App::start(&nothing_configured(folder.path(), more)).await;
        let link = eventually("the address is printed", 10, async || link_in(&app.log())).await;

        Self { app, folder, link }
    }

    /// A browser that opened the address.
    async fn browser(&self) -> Visitor {
        let mut browser = Visitor::at(&self.app);
        let opened = browser.open(&self.link).await;
        assert_eq!(opened.status(), 303);
        assert!(!place(&opened).contains("token"), "{}", place(&opened));

        browser
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("callscope.toml")).unwrap_or_default()
    }

    fn names_in_folder(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();

        names
    }
}

fn nothing_configured(folder: &Path, more: &[(&str, &str)]) -> Settings {
    let settings = Settings::default()
        .inside(folder)
        .with("CALLSCOPE_BIND", "127.0.0.1:0")
        .with("CALLSCOPE_PROBE_OWN_SERVER", "false");

    more.iter().fold(settings, |settings, (key, value)| {
        settings.without(key).with(key, value)
    })
}

/// The path and query of the address in the log.
fn link_in(log: &str) -> Option<String> {
    let at = log.find("/set-up?token=")?;

    Some(log[at..].split_whitespace().next().unwrap().to_owned())
}

fn place(answer: &Response) -> String {
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// Sends the form of a step; returns its status, and where it leads or else the page.
async fn send(browser: &mut Visitor, step: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let path = format!("/set-up/{step}");
    let answer = browser.post(&path, &path, fields).await;
    let status = answer.status().as_u16();
    if status == 303 {
        return (status, place(&answer));
    }

    (status, answer.text().await.unwrap())
}

/// Sends the form of a step, which must lead to this place.
async fn pass(browser: &mut Visitor, step: &str, fields: &[(&str, &str)], next: &str) {
    let (status, said) = send(browser, step, fields).await;
    assert_eq!((status, said.as_str()), (303, next), "{step}");
}

/// Sends the first form, with the homeserver of the bed.
async fn pass_homeserver(browser: &mut Visitor, bed: &Bed) {
    let url = bed.hs.url();
    pass(
        browser,
        "homeserver",
        &[("homeserver", &url)],
        "/set-up/account",
    )
    .await;
}

/// Goes through the steps to the last, with a token, for this machine only.
async fn go_to_last_step(browser: &mut Visitor, bed: &Bed) {
    go_to_last_step_with(browser, bed, &[("who", "machine")]).await;
}

/// Goes through the steps to the last, with a token and this answer to who may see the pages.
async fn go_to_last_step_with(browser: &mut Visitor, bed: &Bed, access: &[(&str, &str)]) {
    pass_homeserver(browser, bed).await;
    pass(
        browser,
        "account",
        &[("access_token", &bed.token)],
        "/set-up/rooms",
    )
    .await;
    pass(browser, "rooms", &[], "/set-up/access").await;
    pass(browser, "access", access, "/set-up/write").await;
}

/// Writes and starts, from the last step.
async fn write(browser: &mut Visitor) -> (u16, String) {
    let page = browser.get("/set-up/write").await;
    let (shown, place) = (digest_of(&page), hidden_field(&page, "place"));

    send(browser, "write", &[("shown", &shown), ("place", &place)]).await
}

/// The digest of the text on the last page.
fn digest_of(page: &str) -> String {
    hidden_field(page, "shown")
}

/// The value of a field of the form on the last page.
fn hidden_field(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .expect("the last page");

    rest.split('"').next().unwrap().to_owned()
}

/// The text of the file with its secrets, from the last page.
async fn text_with_secrets(browser: &mut Visitor) -> String {
    let answer = browser.post("/set-up/write", "/set-up/text", &[]).await;
    let page = answer.text().await.unwrap();
    assert!(page.contains("Show it to nobody"), "{page}");
    let (_, rest) = page.split_once("id=\"text\"><code>").expect("the text");

    rest.split("</code>").next().unwrap().replace("&#34;", "\"")
}

/// Sends a form with one more header; returns the answer's status.
async fn send_with_header(
    browser: &Visitor,
    path: &str,
    header: (&str, &str),
    fields: &[(&str, &str)],
) -> u16 {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let cookie = format!("callscope-set-up={}", browser.cookies["callscope-set-up"]);
    let (name, value) = header;
    let asked = client_without_redirects()
        .post(format!("{}{path}", browser.base))
        .header("cookie", cookie)
        .header(name, value)
        .body(body);

    asked.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn from_nothing_to_the_first_call_with_a_password() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let lobby = bed.hs.create_room(NewRoom {
        alias: Some("#lobby:sim.example".into()),
        ..NewRoom::default()
    });
    let waiting = bed.hs.create_room(NewRoom {
        name: Some("Tree house".into()),
        ..NewRoom::default()
    });
    bed.hs.join_user(&waiting, EVE, now());
    bed.hs.invite(&waiting, &bed.bot, EVE, now());
    bed.joins(&room, ALICE, "AD", now());
    // As Synapse does: tokens run out for those who ask for a refresh token.
    bed.hs.set_token_life(300_000);

    let run = FirstRun::start(&[("CALLSCOPE_LOG", "trace")]).await;
    let mut browser = run.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let found = browser.get("/set-up/account").await;
    assert!(
        found.contains("up to v1.12") && found.contains("by password or access token"),
        "{found}"
    );

    let wrong = [("user", "bot"), ("password", "guess")];
    let (status, page) = send(&mut browser, "account", &wrong).await;
    assert!(
        status == 400 && page.contains("does not accept this user and password"),
        "{page}"
    );
    assert!(page.contains("value=\"bot\"") && !page.contains("guess"));
    let right = [("user", "bot"), ("password", "secret")];
    pass(&mut browser, "account", &right, "/set-up/rooms").await;

    let page = browser.get("/set-up/rooms").await;
    for sign in [
        "A room",
        "Tree house",
        EVE,
        "https://matrix.to/#/@bot:sim.example",
        "can be made",
    ] {
        assert!(page.contains(sign), "{sign}: {page}");
    }

    let slip = [("rooms", "#gone:sim.example, lobby")];
    let (status, page) = send(&mut browser, "rooms", &slip).await;
    assert!(
        status == 400 && page.contains("&#34;lobby&#34; is neither a room id nor an alias"),
        "{page}"
    );
    let gone = [("rooms", "#gone:sim.example")];
    let (status, page) = send(&mut browser, "rooms", &gone).await;
    assert!(
        status == 400 && page.contains("no room has this alias"),
        "{page}"
    );
    let chosen = [
        ("rooms", "#lobby:sim.example"),
        ("accept", waiting.as_str()),
        ("inviters", "@admin:sim.example"),
    ];
    pass(&mut browser, "rooms", &chosen, "/set-up/access").await;

    for (password, again) in [("short", "short"), (PASSWORD, "another"), ("", "")] {
        let fields = [
            ("who", "password"),
            ("password", password),
            ("again", again),
        ];
        let (status, _) = send(&mut browser, "access", &fields).await;
        assert_eq!(status, 400, "{password}");
    }

    let fields = [
        ("who", "password"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    pass(&mut browser, "access", &fields, "/set-up/write").await;
    let page = browser.get("/set-up/write").await;
    assert!(
        page.contains("The password is not kept anywhere") && page.contains("callscope.toml"),
        "{page}"
    );
    for secret in ["syt_", "argon2id$", PASSWORD] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    assert_eq!(run.names_in_folder(), Vec::<String>::new(), "nothing yet");

    assert_eq!(write(&mut browser).await, (303, "/sign-in".to_owned()));
    let file = run.file();
    for line in [
        format!("homeserver_url = \"{}\"", bed.hs.url()),
        "access_token = \"syt_".to_owned(),
        "#lobby:sim.example".to_owned(),
        format!("{waiting}?via=other.example"),
        "operator_password_hash = \"$argon2id$".to_owned(),
        "@admin:sim.example".to_owned(),
    ] {
        assert!(file.contains(&line), "{line}: {file}");
    }
    assert!(
        !file.contains("secret\"") && !file.contains(PASSWORD),
        "{file}"
    );
    assert!(
        !run.names_in_folder()
            .iter()
            .any(|name| name.contains("credentials"))
    );
    assert_eq!(mode_of(&run.folder.path().join("callscope.toml")), 0o600);

    // It runs without a restart, at the same address, and asks who comes.
    let signed_in = browser
        .post("/sign-in", "/sign-in", &[("password", PASSWORD)])
        .await;
    assert_eq!(signed_in.status(), 303);
    eventually("the call is shown", 60, async || {
        let page = browser.get("/").await;
        page.contains("A room").then_some(())
    })
    .await;
    eventually("both rooms are joined", 60, async || {
        let member = |room: &str| {
            let asked = bed.hs.requests();
            asked.iter().any(|(method, path)| {
                method == "POST" && path.contains("/join/") && path.contains(&room[1..])
            })
        };
        let by_alias = bed.hs.count("/join/%23lobby:sim.example") > 0;
        (by_alias && member(&waiting)).then_some(())
    })
    .await;
    assert_ne!(lobby, waiting);
    assert_eq!(bed.logins(), 2, "the wrong one and the right one");

    // The set-up is over, and its addresses lead to the pages.
    for path in ["/set-up/homeserver", "/set-up", &run.link] {
        assert_eq!(place(&browser.open(path).await), "/", "{path}");
    }
    assert_eq!(browser.open("/set-upper").await.status(), 404);

    // The one printed line alone has the token, even in the fullest log.
    let token = run.link.split_once('=').unwrap().1;
    assert_eq!(token.len(), 64);
    let log = run.app.log();
    assert_eq!(log.matches(token).count(), 1, "{log}");
    for secret in ["argon2id", PASSWORD, "secret\"", "guess"] {
        assert!(!log.contains(secret), "{secret}");
    }
    let kept = file.split("access_token = \"").nth(1).unwrap();
    let kept = kept.split('"').next().unwrap();
    assert!(!log.contains(kept));

    // The next start reads the file.
    let (app, folder) = (run.app, run.folder);
    app.kill();
    let again = App::ready(&nothing_configured(folder.path(), &[])).await;
    assert_eq!(again.http.get("/metrics").await.status, 401);
}

#[cfg(unix)]
fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;

    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_whoever_has_the_address_is_let_in() {
    let run = FirstRun::start(&[]).await;
    let mut stranger = Visitor::at(&run.app);
    for path in [
        "/",
        "/set-up",
        "/set-up/homeserver",
        "/set-up/write",
        "/readyz",
    ] {
        let answer = stranger.open(path).await;
        assert_eq!(answer.status(), 403, "{path}");
        assert!(
            answer
                .text()
                .await
                .unwrap()
                .contains("printed in its terminal")
        );
    }

    let forged = "0".repeat(64);
    for token in ["", "x", forged.as_str()] {
        let answer = stranger.open(&format!("/set-up?token={token}")).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.headers().get("set-cookie").is_none());
    }

    stranger
        .cookies
        .insert("callscope-set-up".into(), "a".repeat(43));
    assert_eq!(stranger.open("/set-up/homeserver").await.status(), 403);
    assert_eq!(run.app.http.get("/healthz").await.status, 200);

    let mut browser = run.browser().await;
    let page = browser.open("/set-up/homeserver").await;
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    assert!(header("content-security-policy").contains("default-src 'none'"));
    let page = page.text().await.unwrap();
    assert!(!page.contains(run.link.split_once('=').unwrap().1));
    assert_eq!(browser.open("/").await.status(), 303);

    // A form of another browser, of no browser, and from another page.
    let token = token_of_form(&page);
    let other = &mut run.browser().await;
    for token in [token.as_str(), "", &forged] {
        let fields = [("token", token), ("homeserver", "example.org")];
        let answer = other.post_fields("/set-up/homeserver", &fields).await;
        assert_eq!(answer.status(), 403);
    }

    let fields = [("token", token.as_str()), ("homeserver", "")];
    for (header, status) in [
        (("origin", "https://evil.example"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-origin"), 400),
    ] {
        let sent = send_with_header(&browser, "/set-up/homeserver", header, &fields).await;
        assert_eq!(sent, status, "{header:?}");
    }

    // Nobody comes by another name for this address.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = client.get(format!("{}{}", run.app.http.base, run.link));
    let answer = asked.header("host", "evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 421);
}

#[tokio::test]
async fn each_step_says_what_is_wrong_and_what_to_do() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    // Later steps lead back to the first that is not done.
    for step in ["account", "rooms", "access", "write"] {
        let answer = browser.open(&format!("/set-up/{step}")).await;
        assert_eq!(place(&answer), "/set-up/homeserver", "{step}");
    }

    for (entered, sign) in [
        ("", "No homeserver is named"),
        ("ftp://x", "is not a web address"),
        ("http://127.0.0.1:9", "cannot reach the homeserver"),
        ("nowhere.invalid", "https://nowhere.invalid"),
    ] {
        let fields = [("homeserver", entered)];
        let (status, page) = send(&mut browser, "homeserver", &fields).await;
        assert!(status == 400 && page.contains(sign), "{entered}: {page}");
    }

    // A name without a document: it is asked itself, here without TLS.
    let name = bed.hs.url().replace("http://127.0.0.1", "localhost");
    pass(
        &mut browser,
        "homeserver",
        &[("homeserver", &name)],
        "/set-up/account",
    )
    .await;
    let (status, page) = send(&mut browser, "account", &[("access_token", "syt_bad")]).await;
    assert!(
        status == 400
            && page.contains("does not accept this access token")
            && !page.contains("syt_bad"),
        "{page}"
    );

    // The homeserver goes away in between, and comes back.
    bed.hs.inject(Fault::lasting("/login", FaultKind::Drop));
    let login = [("user", "bot"), ("password", "secret")];
    let (status, page) = send(&mut browser, "account", &login).await;
    assert!(status == 400 && page.contains("see that it runs"), "{page}");
    bed.hs.clear_faults();
    bed.hs.inject(Fault::lasting(
        "/filter",
        FaultKind::Status(500, json!({"errcode": "M_UNKNOWN", "error": "no disk"})),
    ));
    let (status, page) = send(&mut browser, "account", &login).await;
    assert!(
        status == 400 && page.contains("does not take the filter"),
        "{page}"
    );
    eventually("the device is removed again", 10, async || {
        (bed.hs.count("/logout") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_homeserver_without_passwords_asks_for_a_token() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.set_flows(vec![json!({
        "type": "m.login.sso",
        "org.matrix.msc3824.delegated_oidc_compatibility": true,
    })]);
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    let homeserver = [("homeserver", bed.hs.url())];
    let homeserver = homeserver
        .each_ref()
        .map(|(name, url)| (*name, url.as_str()));
    pass(&mut browser, "homeserver", &homeserver, "/set-up/account").await;
    let page = browser.get("/set-up/account").await;
    assert!(
        page.contains("mas-cli manage issue-compatibility-token")
            && !page.contains("name=\"password\""),
        "{page}"
    );
    // Also whoever sends a password all the same is told.
    let login = [("user", "bot"), ("password", "secret")];
    let (status, page) = send(&mut browser, "account", &login).await;
    assert!(
        status == 400 && page.contains("takes no passwords"),
        "{page}"
    );

    go_to_last_step(&mut browser, &bed).await;
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
    assert!(
        run.file()
            .contains(&format!("access_token = \"{}\"", bed.token))
    );
    eventually("the room is shown", 60, async || {
        (run.app.http.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_runs_out_is_kept_beside_the_database() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.set_lasting_token_life(600_000);
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let login = [("user", "@bot:sim.example"), ("password", "secret")];
    pass(&mut browser, "account", &login, "/set-up/rooms").await;
    pass(&mut browser, "rooms", &[], "/set-up/access").await;
    pass(
        &mut browser,
        "access",
        &[("who", "machine")],
        "/set-up/write",
    )
    .await;
    let page = browser.get("/set-up/write").await;
    assert!(page.contains("callscope.credentials.json"), "{page}");
    // The device of another account is not written over.
    let credentials = run.folder.path().join("callscope.credentials.json");
    let other = json!({"user_id": "@b:sim.example", "device_id": "B", "access_token": "syt_b"});
    std::fs::write(&credentials, other.to_string()).unwrap();
    let (status, page) = write(&mut browser).await;
    assert!(
        status == 400 && page.contains("device of another account"),
        "{page}"
    );
    assert_eq!(run.file(), "");
    std::fs::remove_file(&credentials).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
    assert!(
        run.file().contains("password = \"secret\""),
        "{}",
        run.file()
    );
    assert_eq!(
        mode_of(&run.folder.path().join("callscope.credentials.json")),
        0o600
    );
    eventually("it runs", 60, async || {
        (run.app.http.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(bed.logins(), 1, "the device is used again");
}

#[tokio::test]
async fn a_file_that_is_there_is_never_written_over() {
    let bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callscope.toml");
    std::fs::write(&path, "rejoin_grace = 40\n").unwrap();
    let run = FirstRun::start_in(folder, &[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let page = browser.get("/set-up/write").await;
    assert!(
        page.contains("There is such a file already") && !page.contains(&bed.token),
        "{page}"
    );
    assert!(!page.contains("data-copy"), "a mask is not to be copied");
    let (status, page) = write(&mut browser).await;
    assert!(
        status == 400 && page.contains("names no homeserver yet"),
        "{page}"
    );
    assert_eq!(run.file(), "rejoin_grace = 40\n");

    let text = text_with_secrets(&mut browser).await;
    assert!(text.contains(&bed.token), "{text}");
    // With the masks, or with another account, it is not what was tried here.
    for token in ["********", "syt_other"] {
        let other = text.replace(&bed.token, token);
        std::fs::write(&path, &other).unwrap();
        let (status, page) = write(&mut browser).await;
        assert!(status == 400 && page.contains("another account"), "{page}");
        assert_eq!(run.file(), other);
    }

    std::fs::write(&path, format!("{text}\nrejoin_grace = 40\n")).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
    eventually("it runs", 60, async || {
        (run.app.http.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_with_the_text() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    // Also whoever may write everywhere cannot write into a folder that is gone.
    let database = run.folder.path().join("callscope.db");
    assert!(!database.exists());
    std::fs::remove_dir(run.folder.path()).unwrap();
    let page = browser.get("/set-up/write").await;
    assert!(page.contains("cannot be made"), "{page}");
    let (status, page) = write(&mut browser).await;
    assert!(
        status == 400 && page.contains("could not be written"),
        "{page}"
    );
    assert!(page.contains("with its secrets, to copy"), "{page}");
}

#[tokio::test]
async fn two_browsers_see_the_same_and_write_what_they_saw() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let (mut one, mut other) = (run.browser().await, run.browser().await);
    go_to_last_step(&mut one, &bed).await;
    let shown = digest_of(&one.get("/set-up/write").await);
    // The other one is where the first is, and changes an answer.
    let answer = other.open("/set-up").await;
    assert_eq!(place(&answer), "/set-up/write");
    pass(
        &mut other,
        "rooms",
        &[("inviters", "other.example")],
        "/set-up/access",
    )
    .await;

    let (status, page) = send(&mut one, "write", &[("shown", &shown)]).await;
    assert!(
        status == 400
            && page.contains("changed in another window")
            && page.contains("other.example"),
        "{page}"
    );
    assert_eq!(run.file(), "");
    assert_eq!(write(&mut one).await, (303, "/".to_owned()));
    assert!(run.file().contains("other.example"));
    // The set-up is over for the other one, too.
    assert_eq!(place(&other.open("/set-up/rooms").await), "/");
}

#[tokio::test]
async fn a_start_that_fails_takes_the_file_back() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let database = run.folder.path().join("callscope.db");
    std::fs::write(&database, "this is no database").unwrap();
    let (status, page) = write(&mut browser).await;
    assert!(
        status == 400
            && page.contains("could not start")
            && page.contains("was taken back")
            && page.contains("callscope.db"),
        "{page}"
    );
    assert_eq!(run.file(), "");
    assert_eq!(
        browser.open("/set-up/access").await.status(),
        200,
        "it goes on"
    );
    std::fs::remove_file(&database).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
    let page = browser.get("/").await;
    assert!(page.contains("Callscope"), "{page}");
}

#[tokio::test]
async fn other_machines_are_asked_for_a_password() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[("CALLSCOPE_BIND", "0.0.0.0:0")]).await;
    assert!(
        run.app.log().contains("http://localhost:"),
        "{}",
        run.app.log()
    );
    let mut browser = run.browser().await;
    browser.base = browser.base.replace("0.0.0.0", "127.0.0.1");
    let opened = browser.open(&run.link).await;
    assert_eq!(opened.status(), 303);
    let token = [("access_token", bed.token.as_str())];
    pass_homeserver(&mut browser, &bed).await;
    pass(&mut browser, "account", &token, "/set-up/rooms").await;
    pass(&mut browser, "rooms", &[], "/set-up/access").await;
    let page = browser.get("/set-up/access").await;
    assert!(!page.contains("value=\"machine\""), "{page}");
    let (status, _) = send(&mut browser, "access", &[("who", "machine")]).await;
    assert_eq!(status, 400);
    let fields = [
        ("who", "password"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    pass(&mut browser, "access", &fields, "/set-up/write").await;
    assert_eq!(write(&mut browser).await, (303, "/sign-in".to_owned()));
    let http = Http::new(&browser.base, None);
    assert_eq!(http.get("/metrics").await.status, 401);
}

#[tokio::test]
async fn what_is_half_configured_is_a_fault_as_before() {
    let folder = tempfile::tempdir().unwrap();
    for half in [
        ("CALLSCOPE_HOMESERVER_URL", "https://matrix.example.org"),
        ("CALLSCOPE_ACCESS_TOKEN", "syt_a"),
        ("CALLSCOPE_CONFIG", "gone.toml"),
    ] {
        let settings = nothing_configured(folder.path(), &[half]);
        let output = tokio::task::spawn_blocking(move || settings.run(&[]));
        let output = output.await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{half:?}");
    }

    let settings = nothing_configured(folder.path(), &[]);
    let output = tokio::task::spawn_blocking(move || settings.run(&["check"]));
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("callscope init") && said.contains("in a browser"),
        "{said}"
    );
}

#[tokio::test]
async fn a_device_that_is_not_used_is_removed_at_the_end() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let login = [("user", "bot"), ("password", "secret")];
    pass(&mut browser, "account", &login, "/set-up/rooms").await;
    // Another sign-in takes its place.
    pass(&mut browser, "account", &login, "/set-up/rooms").await;
    eventually("the first device is removed", 10, async || {
        (bed.hs.count("/logout") == 1).then_some(())
    })
    .await;
    run.app.terminate();
    eventually("the second one, too", 10, async || {
        (bed.hs.count("/logout") == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_homeserver_says_writes_no_setting() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let user_id = "@x\nopen_to_everybody = true\n#:hs.example";
    bed.hs.inject(Fault::lasting(
        "/whoami",
        FaultKind::Status(200, json!({"user_id": user_id, "device_id": "D"})),
    ));
    let (status, page) = send(&mut browser, "account", &[("access_token", &bed.token)]).await;
    assert!(
        status == 400 && page.contains("no user of Matrix"),
        "{page}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_is_put_where_none_can_be_made() {
    use std::os::fd::AsRawFd;
    let bed = Bed::new().await;
    // Not even root makes a file in this folder.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mounted.toml");
    let file = std::fs::File::create(&path).unwrap();
    let place = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let run = FirstRun::start(&[("CALLSCOPE_CONFIG", &place)]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let text = text_with_secrets(&mut browser).await;
    std::fs::write(&path, text).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
    assert_eq!(run.app.http.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_not_started_with() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let shown = digest_of(&browser.get("/set-up/write").await);
    // As `callscope init` in another terminal would write it.
    let text = text_with_secrets(&mut browser).await;
    std::fs::write(run.folder.path().join("callscope.toml"), &text).unwrap();
    let fields = [("shown", shown.as_str()), ("place", "free")];
    let (status, page) = send(&mut browser, "write", &fields).await;
    assert!(
        status == 400 && page.contains("Somebody else has put a file there"),
        "{page}"
    );
    assert_eq!(run.file(), text);
}

/// A browser at a program that listens on every interface.
async fn browser_at_all_interfaces(run: &FirstRun) -> Visitor {
    let mut browser = Visitor::at(&run.app);
    browser.base = browser.base.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(browser.open(&run.link).await.status(), 303);

    browser
}

#[tokio::test]
async fn a_file_that_says_who_may_see_is_completed_in_a_container() {
    let bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callscope.toml");
    std::fs::write(&path, "operator_token = true\n").unwrap();
    let run = FirstRun::start_in(folder, &[("CALLSCOPE_BIND", "0.0.0.0:0")]).await;
    let mut browser = browser_at_all_interfaces(&run).await;
    go_to_last_step_with(&mut browser, &bed, &[]).await;
    let text = text_with_secrets(&mut browser).await;
    std::fs::write(&path, format!("operator_token = true\n{text}")).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/sign-in".to_owned()));
}

#[tokio::test]
async fn the_file_does_not_talk_the_open_socket_away() {
    let bed = Bed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callscope.toml");
    let settings = nothing_configured(folder.path(), &[]).without("CALLSCOPE_BIND");
    std::fs::write(&path, "bind = \"0.0.0.0:0\"\n").unwrap();
    let app = App::start(&settings).await;
    let link = eventually("the address is printed", 10, async || link_in(&app.log())).await;
    let run = FirstRun { app, folder, link };
    let mut browser = browser_at_all_interfaces(&run).await;
    let access = [
        ("who", "password"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    go_to_last_step_with(&mut browser, &bed, &access).await;
    let text = text_with_secrets(&mut browser).await;
    let open: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("operator_password_hash"))
        .collect();
    let open = open.join("\n");
    for (file, sign) in [
        (
            format!("bind = \"127.0.0.1:0\"\n{open}\n"),
            "who may see the pages",
        ),
        (
            format!("bind = \"127.0.0.1:0\"\n{text}"),
            "another address to serve the pages",
        ),
    ] {
        std::fs::write(&path, &file).unwrap();
        let (status, page) = write(&mut browser).await;
        assert!(status == 400 && page.contains(sign), "{sign}: {page}");
    }

    std::fs::write(&path, format!("bind = \"0.0.0.0:0\"\n{text}")).unwrap();
    assert_eq!(write(&mut browser).await, (303, "/sign-in".to_owned()));
}

#[tokio::test]
async fn a_proxy_takes_the_choice_of_this_machine_away() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let page = browser.get("/set-up/access").await;
    assert!(page.contains("value=\"machine\""), "{page}");
    let token = token_of_form(&page);
    let fields = [("token", token.as_str()), ("who", "machine")];
    for (header, status) in [
        (("x-forwarded-for", "192.0.2.1"), 400),
        (("accept", "text/html"), 303),
    ] {
        let sent = send_with_header(&browser, "/set-up/access", header, &fields).await;
        assert_eq!(sent, status, "{header:?}");
    }

    let named = FirstRun::start(&[("CALLSCOPE_PUBLIC_NAMES", "https://calls.example")]).await;
    let mut browser = named.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let token = [("access_token", bed.token.as_str())];
    pass(&mut browser, "account", &token, "/set-up/rooms").await;
    pass(&mut browser, "rooms", &[], "/set-up/access").await;
    let (status, page) = send(&mut browser, "access", &[("who", "machine")]).await;
    assert!(
        status == 400 && !page.contains("value=\"machine\"") && page.contains("A proxy"),
        "{page}"
    );
}

#[tokio::test]
async fn what_the_environment_sets_is_not_chosen_in_vain() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let run = FirstRun::start(&[("CALLSCOPE_ROOMS", &room)]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let page = browser.get("/set-up/rooms").await;
    assert!(page.contains("sets CALLSCOPE_ROOMS."), "{page}");
    let (status, page) = send(&mut browser, "rooms", &[("rooms", "!other:sim.example")]).await;
    assert!(
        status == 400 && page.contains("would not count") && page.contains("CALLSCOPE_ROOMS"),
        "{page}"
    );
    let fields = [("inviters", "@admin:sim.example")];
    pass(&mut browser, "rooms", &fields, "/set-up/access").await;
    assert_eq!(write(&mut browser).await, (303, "/".to_owned()));
}

#[tokio::test]
async fn whoever_presses_twice_is_led_on_twice() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let (mut one, mut other) = (run.browser().await, run.browser().await);
    go_to_last_step(&mut one, &bed).await;
    let both = tokio::join!(write(&mut one), write(&mut other));
    let on = (303, "/".to_owned());
    assert_eq!(both, (on.clone(), on));
    // Whoever is later comes to the pages that follow.
    let late = one.post_fields("/set-up/write", &[("shown", "x")]).await;
    assert_eq!(
        (late.status().as_u16(), place(&late)),
        (303, "/".to_owned())
    );
}

#[tokio::test]
async fn many_rooms_fit_into_a_form_and_too_many_are_told() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    go_to_last_step(&mut browser, &bed).await;
    let rooms = |count: usize| -> String {
        let names = (0..count).map(|n| format!("!{n:0>40}:sim.example\n"));
        names.collect()
    };
    let fields = [("rooms", rooms(400))];
    let fields = fields.each_ref().map(|(name, text)| (*name, text.as_str()));
    pass(&mut browser, "rooms", &fields, "/set-up/access").await;
    let fields = [("rooms", rooms(6000))];
    let fields = fields.each_ref().map(|(name, text)| (*name, text.as_str()));
    let (status, page) = send(&mut browser, "rooms", &fields).await;
    assert!(status == 400 && page.contains("too much"), "{page}");
}

#[tokio::test]
async fn strangers_are_refused_before_they_have_sent_anything() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let run = FirstRun::start(&[]).await;
    let address = run.app.http.base.trim_start_matches("http://").to_owned();
    let mut stranger = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /set-up/homeserver HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\n"
    );
    stranger.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    let reading = stranger.read_exact(&mut said);
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(10), reading);
    in_time.await.expect("an answer").unwrap();
    assert_eq!(&said, b"HTTP/1.1 403");
}

#[tokio::test]
async fn a_device_that_is_being_made_is_removed_at_the_end() {
    let bed = Bed::new().await;
    let run = FirstRun::start(&[]).await;
    let mut browser = run.browser().await;
    pass_homeserver(&mut browser, &bed).await;
    let slow = FaultKind::Slow(std::time::Duration::from_secs(2));
    bed.hs.inject(Fault::lasting("/filter", slow));
    let token = token_of_form(&browser.get("/set-up/account").await);
    let signing_in = tokio::spawn(async move {
        let fields = [
            ("token", token.as_str()),
            ("user", "bot"),
            ("password", "secret"),
        ];
        let header = ("sec-fetch-site", "same-origin");
        send_with_header(&browser, "/set-up/account", header, &fields).await
    });
    eventually("the device is made", 10, async || {
        (bed.hs.count("/filter") == 1).then_some(())
    })
    .await;
    assert_eq!(bed.hs.count("/logout"), 0);
    run.app.terminate();
    eventually("the device is removed", 10, async || {
        (bed.hs.count("/logout") == 1).then_some(())
    })
    .await;
    signing_in.abort();
}
