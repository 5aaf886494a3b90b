//! The commands for operators, with the real program: what they print, and the exit codes that
//! scripts rely on.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::support::app::{App, Settings};
use crate::support::eventually;
use serde_json::Value;

const ALICE: &str = "@alice:sim.example";

/// Runs a command of the program; returns its exit code, standard output and standard error.
pub async fn run(settings: &Settings, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (settings, arguments) = (
        settings.clone(),
        arguments
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>(),
    );
    let run = move || settings.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();

    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_facts_are_in_the_terminal_too() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 60_000);
    let settings = settings(&bed);
    let app = App::ready(&settings).await;
    let url = app.http.base.clone();
    eventually("the call runs", 30, async || {
        (app.active().await.len() == 1).then_some(())
    })
    .await;
    let id = app.active().await[0]["id"].as_str().unwrap().to_owned();

    for arguments in [
        &["calls", "--url", &url][..],
        &["calls", "--active", "--url", &url],
    ] {
        let (code, said, _) = run(&settings, arguments).await;
        assert!(
            code == Some(0)
                && said.contains("running")
                && said.contains("A room")
                && said.contains(&id),
            "{said}"
        );
    }

    let (code, said, _) = run(&settings, &["calls", "--json", "--active", "--url", &url]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, json["data"][0]["id"].as_str()),
        (Some(0), Some(id.as_str()))
    );
    let (code, said, _) = run(&settings, &["rooms", "--url", &url]).await;
    assert!(
        code == Some(0) && said.contains(&room) && said.contains("joined"),
        "{said}"
    );
    let (code, said, _) = run(&settings, &["status", "--url", &url]).await;
    assert!(
        code == Some(0) && said.contains("All is well") && said.contains("1 call,"),
        "{said}"
    );

    let idle = |server: &'static str, url: String| {
        let settings = settings.clone();
        async move { run(&settings, &["idle", "--server", server, "--url", &url]).await }
    };

    let (code, said, _) = idle("sim.example", url.clone()).await;
    assert!(
        code == Some(1) && said.contains(&id) && said.contains("1 of 1 devices"),
        "{said}"
    );
    let (code, said, _) = idle("sfu.example", url.clone()).await;
    assert!(code == Some(1) && said.contains("on its SFU"), "{said}");
    // For an unknown server name, an empty result means nothing.
    let (code, _, said) = idle("other.example", url.clone()).await;
    assert!(
        code == Some(2) && said.contains("other.example was ever seen"),
        "{said}"
    );
    bed.leaves(&room, ALICE, "AD", now());
    eventually("the call ended", 30, async || {
        app.active().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(idle("sim.example", url.clone()).await.0, Some(0));

    app.kill();
    let (code, _, said) = idle("sim.example", url.clone()).await;
    assert!(
        code == Some(2) && said.contains("cannot tell") && said.contains("no Callscope answers"),
        "{said}"
    );
    let (code, _, said) = run(&settings, &["calls", "--url", &url]).await;
    assert!(
        code == Some(1) && said.contains("no Callscope answers"),
        "{said}"
    );
}

#[tokio::test]
async fn a_slip_is_refused_and_nothing_is_made() {
    let bed = Bed::new().await;
    let settings = settings(&bed);
    // A text that is not a server name would always be idle.
    for slip in [
        "",
        " ",
        "https://sim.example",
        "sim.example/",
        "@a:sim.example",
    ] {
        let (code, _, said) = run(&settings, &["idle", "--server", slip]).await;
        assert!(
            code == Some(2) && said.contains("not a server name"),
            "{slip:?}: {said}"
        );
    }

    for slip in ["ftp://x", "localhost:8080", "http://me:secret@localhost"] {
        let (code, _, said) = run(&settings, &["status", "--url", slip]).await;
        assert!(
            code == Some(1) && said.contains("--url takes") && !said.contains("secret"),
            "{slip}: {said}"
        );
    }

    let typo = bed.folder.path().join("typo.db");
    let other = settings.clone().without("CALLSCOPE_DATABASE_URL");
    let other = other.with(
        "CALLSCOPE_DATABASE_URL",
        &format!("sqlite://{}", typo.display()),
    );
    let (code, _, said) = run(&other, &["rebuild"]).await;
    assert!(
        code == Some(1) && said.contains("there is no database") && !typo.exists(),
        "{said}"
    );
}
