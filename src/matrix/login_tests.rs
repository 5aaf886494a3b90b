//! Login, `whoami` and the credentials file.

use super::super::stub::{Reply, Stub, TOKEN, json_reply};
use super::*;
use std::path::PathBuf;

/// A directory of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("callscope-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("callscope.credentials.json")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn credentials(token: &str) -> Credentials {
    let (user_id, device_id) = ("@bot:x".to_owned(), "DEV".to_owned());
    Credentials {
        user_id,
        device_id,
        access_token: Secret::new(token),
        refresh_token: None,
        expires_ms: None,
    }
}

#[tokio::test]
async fn a_token_that_lasts_is_asked_for_without_a_refresh_token() {
    let flows = json!({"flows": [{"type": "m.login.password"}]});
    let answer = |more: Value| {
        let mut answer = json!({"user_id": "@bot:x", "device_id": "DEV", "access_token": "syt_a"});
        answer
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json_reply(200, &answer)
    };
    let stub = Stub::start(vec![
        json_reply(200, &flows),
        answer(json!({})),
        json_reply(200, &flows),
        answer(json!({"expires_in_ms": 1000})),
        json_reply(200, &json!({"flows": []})),
    ]);
    let client = stub.client();
    let login = async || {
        let password = Secret::new("pass word");
        client.login_for_lasting_token("bot", &password, 5).await
    };
    assert_eq!(login().await.unwrap(), credentials("syt_a"));
    assert_eq!(login().await.unwrap().expires_ms, Some(1005));
    assert!(login().await.unwrap_err().is_login_refused());
    let asked = stub.requests();
    assert!(asked[1].contains("Callscope") && !asked[1].contains("refresh_token"));
}

#[tokio::test]
async fn a_login_takes_the_device_up_again_and_uses_the_new_token() {
    let answer = json!({"user_id": "@bot:x", "device_id": "DEV", "access_token": "syt_new"});
    let whoami = json!({"user_id": "@bot:x", "device_id": "DEV", "is_guest": false});
    let stub = Stub::start(vec![json_reply(200, &answer), json_reply(200, &whoami)]);
    let client = stub.client();
    let found = client
        .login("@bot:x", &Secret::new("pass word"), Some("DEV"), 0)
        .await
        .unwrap();
    assert_eq!(found, credentials("syt_new"));
    assert_eq!(client.user_id().as_deref(), Some("@bot:x"));
    assert_eq!(
        client.whoami().await.unwrap().device_id.as_deref(),
        Some("DEV")
    );
    let asked = stub.requests();
    assert!(
        asked[0].starts_with("POST /_matrix/client/v3/login HTTP") && !asked[0].contains(TOKEN)
    );
    for part in [
        "\"device_id\":\"DEV\"",
        "\"initial_device_display_name\":\"Callscope\"",
        "\"password\":\"pass word\"",
    ] {
        assert!(asked[0].contains(part), "{}", asked[0]);
    }

    assert!(asked[1].contains("Bearer syt_new"));
}

#[tokio::test]
async fn a_refused_login_says_so_without_the_password() {
    let no = json!({"errcode": "M_FORBIDDEN", "error": "Invalid password hunter2 or username"});
    let stub = Stub::start(vec![
        json_reply(403, &no),
        json_reply(200, &json!({"user_id": "@bot:x"})),
    ]);
    let client = stub.client();
    let error = client
        .login("@bot:x", &Secret::new("hunter2"), None, 0)
        .await
        .unwrap_err();
    assert!(error.is_forbidden() && !error.is_transient());
    assert!(
        error
            .to_string()
            .ends_with("(403 M_FORBIDDEN: Invalid password *** or username)"),
        "{error}"
    );
    assert!(!stub.requests()[0].contains("device_id"));
    assert!(
        client
            .login("@bot:x", &Secret::new("x"), None, 0)
            .await
            .unwrap_err()
            .is_transient()
    );
}

#[test]
fn credentials_come_back_as_they_were_saved() {
    let scratch = Scratch::new("saved");
    assert_eq!(Credentials::load(&scratch.file()).unwrap(), None);
    credentials("old").save(&scratch.file()).unwrap();
    credentials("syt_new").save(&scratch.file()).unwrap();
    assert_eq!(
        Credentials::load(&scratch.file()).unwrap(),
        Some(credentials("syt_new"))
    );
    assert_eq!(
        std::fs::read_dir(&scratch.0).unwrap().count(),
        1,
        "no draft is left behind"
    );
    assert!(!format!("{:?}", credentials("syt_new")).contains("syt_"));
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("mode");
    std::fs::write(scratch.file(), "{}").unwrap();
    std::fs::set_permissions(scratch.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    credentials("syt").save(&scratch.file()).unwrap();
    let mode = std::fs::metadata(scratch.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_file_and_a_missing_directory_are_named() {
    let scratch = Scratch::new("damaged");
    std::fs::write(
        scratch.file(),
        "{\"user_id\":\"@a:x\",\"access_token\":\"syt_1\"}",
    )
    .unwrap();
    let error = Credentials::load(&scratch.file()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("callscope.credentials.json: is damaged"),
        "{error}"
    );
    assert!(!error.to_string().contains("syt_"));
    let nowhere = scratch.0.join("no/where.json");
    assert!(
        credentials("x")
            .save(&nowhere)
            .unwrap_err()
            .to_string()
            .contains("cannot be written")
    );
}

fn scratch_with(name: &str, kept: &Credentials) -> Scratch {
    let scratch = Scratch::new(name);
    kept.save(&scratch.file()).unwrap();
    scratch
}

#[tokio::test]
async fn a_token_that_runs_out_is_followed_by_the_next_one() {
    let first = json!({"user_id": "@bot:x", "device_id": "DEV", "access_token": "syt_1",
        "refresh_token": "r1",
        "expires_in_ms": 4000});
    let next = json!({"access_token": "syt_2", "expires_in_ms": 4000});
    let stub = Stub::start(vec![
        json_reply(200, &json!({"flows": [{"type": "m.login.password"}]})),
        json_reply(200, &first),
        json_reply(200, &next),
        json_reply(
            401,
            &json!({"errcode": "M_UNKNOWN_TOKEN", "error": "r1 is old", "soft_logout": true}),
        ),
    ]);
    let client = stub.client();
    let scratch = Scratch::new("refresh");
    let secret = Secret::new("pass");
    client
        .sign_in("@bot:x", &secret, &scratch.file(), 10_000)
        .await
        .unwrap();
    assert_eq!(client.refresh_due_ms(), Some(13_000), "before it runs out");
    // At the next start the token has expired: it is refreshed without a login.
    client
        .sign_in("@bot:x", &secret, &scratch.file(), 20_000)
        .await
        .unwrap();
    let kept = Credentials::load(&scratch.file()).unwrap().unwrap();
    assert_eq!(
        (kept.access_token.expose(), kept.expires_ms),
        ("syt_2", Some(24_000))
    );
    assert_eq!(kept.refresh_token.as_ref().unwrap().expose(), "r1");
    let asked = stub.requests();
    assert!(asked[1].contains("\"refresh_token\":true"), "{}", asked[1]);
    assert!(
        asked[2].starts_with("POST /_matrix/client/v3/refresh HTTP")
            && asked[2].contains("{\"refresh_token\":\"r1\"}"),
        "{}",
        asked[2]
    );
    let error = client.refresh(&kept, 30_000).await.unwrap_err();
    assert!(
        error.is_soft_logout() && error.to_string().contains("*** is old"),
        "{error}"
    );
}

#[tokio::test]
async fn a_soft_logout_logs_in_again_as_the_same_device() {
    let gone = json!({"errcode": "M_UNKNOWN_TOKEN", "error": "x", "soft_logout": true});
    let answer = json!({"user_id": "@bot:x", "device_id": "DEV", "access_token": "syt_new"});
    let stub = Stub::start(vec![
        json_reply(401, &gone),
        json_reply(
            403,
            &json!({"errcode": "M_FORBIDDEN", "error": "refresh token is used"}),
        ),
        json_reply(404, &json!({"errcode": "M_UNRECOGNIZED", "error": "x"})),
        json_reply(200, &answer),
    ]);
    let kept = Credentials {
        refresh_token: Some(Secret::new("r1")),
        ..credentials("syt_old")
    };

    let scratch = scratch_with("soft", &kept);
    let secret = Secret::new("pass");
    stub.client()
        .sign_in("@bot:x", &secret, &scratch.file(), 0)
        .await
        .unwrap();
    assert_eq!(
        Credentials::load(&scratch.file()).unwrap(),
        Some(credentials("syt_new"))
    );
    let asked = stub.requests();
    assert!(asked[1].contains("/refresh") && asked[2].starts_with("GET /_matrix/client/v3/login"));
    assert!(asked[3].contains("\"device_id\":\"DEV\""), "{}", asked[3]);
}

async fn refusal_of(flows: serde_json::Value, answers: Vec<Reply>) -> (Error, usize) {
    let replies = std::iter::once(json_reply(200, &json!({"flows": flows}))).chain(answers);
    let stub = Stub::start(replies.collect());
    let scratch = Scratch::new(&format!("refused-{}", stub.url.replace([':', '/'], "-")));
    let secret = Secret::new("pass");
    let signed_in = stub
        .client()
        .sign_in("@bot:x", &secret, &scratch.file(), 0)
        .await;

    (signed_in.unwrap_err(), stub.requests().len())
}

#[tokio::test]
async fn where_no_password_is_taken_it_is_said_what_to_do() {
    let delegated =
        json!({"type": "m.login.sso", "org.matrix.msc3824.delegated_oidc_compatibility": true});
    let (error, asked) = refusal_of(json!([delegated, {"type": "m.login.token"}]), vec![]).await;
    assert_eq!(asked, 1, "the password is not sent");
    let text = error.to_string();
    for words in [
        "@bot:x",
        "m.login.sso, m.login.token",
        "mas-cli manage issue-compatibility-token bot",
        "Element",
        "CALLSCOPE_ACCESS_TOKEN",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }

    assert!(error.is_login_refused() && !error.is_transient());
    let password = || json!([{"type": "m.login.password"}]);

    for (status, errcode, words) in [
        (404, "M_UNRECOGNIZED", "Unrecognized request"),
        (400, "M_UNKNOWN", "Unknown login type m.login.password"),
        (403, "M_FORBIDDEN", "Password login has been disabled."),
    ] {
        let no = json_reply(status, &json!({"errcode": errcode, "error": words}));
        let (error, _) = refusal_of(password(), vec![no]).await;
        assert!(
            matches!(error, Error::NoPassword { .. }),
            "{words}: {error}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_busy_homeserver() {
    let password = || json!([{"type": "m.login.password"}]);
    for (status, errcode, refused) in [
        (403, "M_FORBIDDEN", true),
        (403, "M_USER_DEACTIVATED", true),
        (429, "M_LIMIT_EXCEEDED", false),
        (500, "M_UNKNOWN", false),
    ] {
        let no = json_reply(status, &json!({"errcode": errcode, "error": "no"}));
        let (error, asked) = refusal_of(password(), vec![no]).await;
        assert_eq!((error.is_login_refused(), asked), (refused, 2), "{error}");
    }
}
