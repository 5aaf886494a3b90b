//! Login, `whoami` and the credentials file.

use super::super::stub::{Stub, TOKEN, json_reply};
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
    }
}

#[tokio::test]
async fn a_login_takes_the_device_up_again_and_uses_the_new_token() {
    let answer = json!({"user_id": "@bot:x", "device_id": "DEV", "access_token": "syt_new"});
    let whoami = json!({"user_id": "@bot:x", "device_id": "DEV", "is_guest": false});
    let stub = Stub::start(vec![json_reply(200, &answer), json_reply(200, &whoami)]);
    let client = stub.client();
    let found = client
        .login("@bot:x", &Secret::new("pass word"), Some("DEV"))
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
        .login("@bot:x", &Secret::new("hunter2"), None)
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
            .login("@bot:x", &Secret::new("x"), None)
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
