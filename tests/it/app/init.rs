//! `callscope init` with the real program: by flags, what it writes, and its exit codes.

use crate::app::bed::Bed;
use crate::app::operator::run;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use callscope::sim::{Fault, FaultKind};
use std::path::Path;

const ALICE: &str = "@alice:sim.example";

fn settings(folder: &Path) -> Settings {
    Settings::default()
        .inside(folder)
        .with("CALLSCOPE_BIND", "127.0.0.1:0")
        .with("CALLSCOPE_PROBE_OWN_SERVER", "false")
}

/// A file of this name in the folder; returns its path.
fn secret_file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();

    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn flags_write_what_the_next_start_reads() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let folder = bed.folder.path();
    let (secret, operator) = (
        secret_file(folder, "secret", "secret\n"),
        secret_file(folder, "operator", "correct horse battery\n"),
    );
    let url = bed.hs.url();
    let arguments = [
        "init",
        "--homeserver",
        &url,
        "--user",
        "bot",
        "--password-file",
        &secret,
        "--room",
        &room,
        "--accept-from",
        "@admin:sim.example",
        "--operator-password-file",
        &operator,
        "--yes",
    ];
    let plain = settings(folder);
    let (code, said, why) = run(&plain, &arguments).await;
    assert_eq!(code, Some(0), "{said}{why}");
    for sign in [
        "@bot:sim.example",
        "https://matrix.to/#/@bot:sim.example",
        "The password is not kept anywhere",
        "********",
    ] {
        assert!(said.contains(sign), "{sign}: {said}");
    }
    assert!(
        !said.contains("syt_") && !said.contains("argon2id$"),
        "{said}"
    );
    let file = std::fs::read_to_string(folder.join("callscope.toml")).unwrap();
    assert!(
        file.contains("access_token = \"syt_")
            && file.contains(&room)
            && file.contains("@admin:sim.example")
            && file.contains("$argon2id$"),
        "{file}"
    );

    let (code, said, why) = run(&plain, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    let (code, _, why) = run(&plain, &arguments).await;
    assert!(
        code == Some(2) && why.contains("configured already"),
        "{why}"
    );
    let app = App::ready(&plain).await;
    assert_eq!(app.http.get("/metrics").await.status, 401);
}

#[tokio::test]
async fn a_token_is_taken_from_a_file_and_another_place_may_be_named() {
    let bed = Bed::new().await;
    let folder = bed.folder.path();
    let token = secret_file(folder, "token", &bed.token);
    let url = bed.hs.url();
    let plain = settings(folder);
    let arguments = [
        "init",
        "--config",
        "other.toml",
        "--homeserver",
        &url,
        "--token-file",
        &token,
        "--yes",
    ];
    let (code, said, why) = run(&plain, &arguments).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert_eq!(bed.logins(), 0);
    assert!(
        said.contains("`callscope --config other.toml` starts"),
        "{said}"
    );
    let other = folder.join("other.toml");
    let app = App::ready(&plain.with("CALLSCOPE_CONFIG", other.to_str().unwrap())).await;
    app.kill();
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named_and_nothing_is_written() {
    let bed = Bed::new().await;
    let folder = bed.folder.path();
    let token = secret_file(folder, "token", &bed.token);
    let secret = secret_file(folder, "secret", "secret");
    let wrong = secret_file(folder, "wrong", "guess");
    let url = bed.hs.url();
    let plain = settings(folder);
    let home = ["init", "--homeserver", url.as_str()];
    let with = |more: &[&str]| -> Vec<String> {
        home.iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };

    for (arguments, code, sign) in [
        (vec!["init".to_owned()], 2, "--homeserver"),
        (with(&[]), 2, "--token-file"),
        (with(&["--yes", "--user", "bot"]), 2, "--password-file"),
        (with(&["--token-file", &token]), 2, "--yes"),
        (
            with(&["--yes", "--token-file", &token, "--room", "lobby"]),
            2,
            "neither a room id nor an alias",
        ),
        (
            with(&["--yes", "--token-file", &token, "--room", "#no:sim.example"]),
            1,
            "no room has this alias",
        ),
        (
            with(&["--yes", "--user", "bot", "--password-file", &wrong]),
            1,
            "does not accept this user and password",
        ),
        (
            vec![
                "init".to_owned(),
                "--yes".to_owned(),
                "--homeserver".to_owned(),
                "http://127.0.0.1:9".to_owned(),
                "--token-file".to_owned(),
                token.clone(),
            ],
            1,
            "cannot reach the homeserver",
        ),
    ] {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (ended, said, why) = run(&plain, &words).await;
        assert_eq!(ended, Some(code), "{words:?}: {said}{why}");
        assert!(why.contains(sign), "{words:?}: {why}");
        assert!(!folder.join("callscope.toml").exists(), "{words:?}");
    }

    // Other machines would reach it, so it has to be said who may see the pages.
    let open = plain
        .clone()
        .without("CALLSCOPE_BIND")
        .with("CALLSCOPE_BIND", "0.0.0.0:0");
    let arguments = with(&["--yes", "--user", "bot", "--password-file", &secret]);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, _, why) = run(&open, &words).await;
    assert!(
        code == Some(2) && why.contains("operator_password_hash"),
        "{why}"
    );
    assert_eq!(
        bed.logins(),
        1,
        "the wrong password above: no device is made for nothing"
    );

    // What would not count is refused, and no device stays.
    let full = with(&["--yes", "--user", "bot", "--password-file", &secret]);
    let with_password = ["--operator-password-file", &secret].map(str::to_owned);
    let with_room = ["--room", "!a:sim.example"].map(str::to_owned);
    for ((variable, value), more, sign) in [
        (
            ("CALLSCOPE_OPEN_TO_EVERYBODY", "true"),
            with_password,
            "--operator-password-file would not count",
        ),
        (
            ("CALLSCOPE_ROOMS", "!b:sim.example"),
            with_room,
            "chosen for rooms",
        ),
    ] {
        let words: Vec<&str> = full.iter().chain(&more).map(String::as_str).collect();
        let (code, _, why) = run(&plain.clone().with(variable, value), &words).await;
        assert!(code == Some(2) && why.contains(sign), "{why}");
        assert!(!folder.join("callscope.toml").exists());
    }
    eventually("its device is removed", 10, async || {
        (bed.hs.count("/logout") == 1).then_some(())
    })
    .await;

    // A file that is there is left as it is.
    std::fs::write(folder.join("callscope.toml"), "log = \"info\"\n").unwrap();
    let arguments = with(&["--yes", "--token-file", &token]);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, _, why) = run(&plain, &words).await;
    assert!(code == Some(1) && why.contains("not written over"), "{why}");
    let left = std::fs::read_to_string(folder.join("callscope.toml")).unwrap();
    assert_eq!(left, "log = \"info\"\n");
}

#[tokio::test]
async fn a_token_that_runs_out_is_kept_with_its_device() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    bed.hs.set_lasting_token_life(600_000);
    let folder = bed.folder.path();
    let secret = secret_file(folder, "secret", "secret");
    let url = bed.hs.url();
    let plain = settings(folder);
    let arguments = [
        "init",
        "--homeserver",
        &url,
        "--user",
        "bot",
        "--password-file",
        &secret,
        "--yes",
    ];
    // A homeserver that is slow to say which invitations wait holds nothing up.
    bed.hs.inject(Fault::once("/sync", FaultKind::BadJson));
    let (code, said, why) = run(&plain, &arguments).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert!(
        said.contains("callscope.credentials.json") && said.contains("invitations wait"),
        "{said}"
    );
    let app = App::ready(&plain).await;
    assert_eq!(bed.logins(), 1, "the device is used again");
    app.kill();
}
