//! The program lets nobody in unasked: what it refuses to start with, and how keys are made.

use crate::app::alone::settings;
use crate::app::bed::Bed;
use crate::support::app::{App, Settings};
use crate::support::http::Http;
use crate::support::visitor::Visitor;
use std::io::Write;
use std::process::{Command, Stdio};

const PASSWORD: &str = "correct horse battery";

async fn run(settings: &Settings, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let settings = settings.clone();
    let output = tokio::task::spawn_blocking(move || settings.run(arguments));
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();

    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What `callscope passwd` prints for the configuration.
fn hash_of(password: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .arg("passwd")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{password}\n").as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(!line.contains(password), "{line}");
    let hash = line.trim().strip_prefix("operator_password_hash = \"");

    hash.unwrap().trim_end_matches('"').to_owned()
}

#[tokio::test]
async fn strangers_are_not_let_in_unasked() {
    let bed = Bed::new().await;
    let open = settings(&bed)
        .without("CALLSCOPE_BIND")
        .with("CALLSCOPE_BIND", "0.0.0.0:0");
    let (code, said) = run(&open, &[]).await;
    assert_eq!(code, Some(2), "{said}");
    for way in [
        "callscope passwd",
        "trusted_proxies",
        "open_to_everybody = true",
    ] {
        assert!(said.contains(way), "{said}");
    }

    let (code, said) = run(&open, &["check"]).await;
    assert!(code == Some(1) && said.contains("three ways out"), "{said}");
}

#[tokio::test]
async fn with_a_password_commands_need_a_key() {
    let bed = Bed::new().await;
    let guarded = settings(&bed).with("CALLSCOPE_OPERATOR_PASSWORD_HASH", &hash_of(PASSWORD));
    let (code, secret) = run(&guarded, &["key", "add", "early", "--scope", "all"]).await;
    assert_eq!(code, Some(0), "{secret}");
    let app = App::ready(&guarded).await;
    assert_eq!(app.http.get("/metrics").await.status, 401);
    assert_eq!(app.http.get("/healthz").await.status, 200);

    // Beside the running server.
    let (code, said) = run(
        &guarded,
        &["key", "add", "n", "--scope", "all", "--expires", "9d"],
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
    let secret = said.lines().next().unwrap().to_owned();
    let key = Http::new(&app.http.base, Some(&secret));
    assert_eq!(key.get("/api/v1/rooms").await.status, 200);

    let ask = async |settings: &Settings, url: String| {
        let settings = settings.clone();
        let run = move || settings.run(&["rooms", "--url", &url]);
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = ask(&guarded, app.http.base.clone()).await;
    assert!(
        code == Some(1) && said.contains("CALLSCOPE_API_KEY"),
        "{said}"
    );
    let with_key = guarded.clone().with("CALLSCOPE_API_KEY", &secret);
    let (code, said) = ask(&with_key, app.http.base.clone()).await;
    assert_eq!(code, Some(0), "{said}");

    let (_, list) = run(&guarded, &["key", "list"]).await;
    assert!(list.contains("early") && !list.contains("csk_"), "{list}");
    let id = list.lines().find(|line| line.ends_with(" n")).unwrap();
    let id = id.split(' ').next().unwrap().to_owned();
    let revoke = guarded.clone();
    let run_it = move || revoke.run(&["key", "revoke", &id]);
    let output = tokio::task::spawn_blocking(run_it).await.unwrap();
    assert!(output.status.success());
    assert_eq!(key.get("/api/v1/rooms").await.status, 401);
    assert!(!app.log().contains("csk_") && !app.log().contains("argon2id"));
    app.kill();
}

async fn sign_in(visitor: &mut Visitor, password: &str) -> u16 {
    let fields = [("password", password)];
    let answer = visitor.post("/sign-in", "/sign-in", &fields).await;
    answer.status().as_u16()
}

async fn status_of_admin(visitor: &mut Visitor) -> u16 {
    visitor.open("/admin").await.status().as_u16()
}

#[tokio::test]
async fn a_token_of_the_operator_is_made_and_shown_once() {
    const SHOWN: &str = "The operator's token, shown only now: ";
    let bed = Bed::new().await;
    let kept = settings(&bed).with("CALLSCOPE_OPERATOR_TOKEN", "true");
    let app = App::ready(&kept).await;
    let log = app.log();
    let (_, rest) = log.split_once(SHOWN).expect("the token is shown");
    let token = rest.split_whitespace().next().unwrap().to_owned();
    assert!(token.starts_with("cso_") && token.len() == 36, "{token}");
    assert_eq!(log.matches(&token).count(), 1);
    assert_eq!(app.http.get("/metrics").await.status, 401);

    let mut visitor = Visitor::at(&app);
    assert_eq!(sign_in(&mut visitor, "cso_wrong").await, 403);
    assert_eq!(sign_in(&mut visitor, &token).await, 303);
    assert_eq!(status_of_admin(&mut visitor).await, 200);
    app.kill();

    let app = App::ready(&kept).await;
    assert!(!app.log().contains(SHOWN), "{}", app.log());
    visitor.base.clone_from(&app.http.base);
    assert_eq!(status_of_admin(&mut visitor).await, 200);
    app.kill();

    let (code, said) = run(&kept, &["token"]).await;
    assert_eq!(code, Some(0), "{said}");
    let other = said.lines().next().unwrap().to_owned();
    let app = App::ready(&kept).await;
    visitor.base.clone_from(&app.http.base);
    assert_ne!(status_of_admin(&mut visitor).await, 200);
    assert_eq!(sign_in(&mut visitor, &token).await, 403);
    assert_eq!(sign_in(&mut visitor, &other).await, 303);
    assert_eq!(status_of_admin(&mut visitor).await, 200);
    app.kill();

    let both = kept.with("CALLSCOPE_OPERATOR_PASSWORD_HASH", &hash_of(PASSWORD));
    let (code, said) = run(&both, &[]).await;
    assert!(code == Some(2) && said.contains("operator_token"), "{said}");
}
