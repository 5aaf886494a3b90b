//! Clients that generators make of the API's document: they compile, and read
//! from the demonstration what the API answers.
//!
//! `scripts/test clients` installs the generators and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::app::{App, Settings};
use support::{eventually, project};

const SOURCES: &str = "tests/support/clients";

/// The demonstration with calls of the past.
async fn demo_with_past() -> App {
    let app = App::ready(&Settings::demo()).await;
    eventually("calls of the past", 120, async || {
        let past = app.list_first("/api/v1/calls?limit=2&status=ended").await;
        (past.len() == 2).then_some(())
    })
    .await;

    app
}

/// Writes the document of the running program, and returns its path.
async fn write_document(app: &App, folder: &Path) -> PathBuf {
    let document = app.http.get("/api/v1/openapi.json").await.ok();
    let path = folder.join("openapi.json");
    std::fs::write(&path, document.to_string()).unwrap();

    path
}

/// Runs a program to its good end; what it printed.
async fn run(mut command: Command) -> String {
    let named = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap_or_else(|why| panic!("{named}: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{named}\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    said
}

/// What a client found is what the API answers.
async fn compare_found(app: &App, said: &str) {
    let found: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let calls = app
        .http
        .get("/api/v1/calls?limit=2&status=ended")
        .await
        .ok();
    let calls = calls["data"].as_array().unwrap();
    let ids: Vec<&Value> = calls.iter().map(|call| &call["id"]).collect();
    let members = calls
        .iter()
        .flat_map(|call| call["members"].as_array().unwrap());
    let reasons: Vec<&Value> = members.map(|stay| &stay["end_reason"]).collect();
    assert!(!reasons.is_empty());
    assert_eq!(found["calls"], json!(ids));
    assert_eq!(found["reasons"], json!(reasons));
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    let rooms = app.http.get("/api/v1/rooms").await.ok();
    assert_eq!(found["rooms"], rooms["total"]);
    assert!(found["running"].is_number());
}

#[tokio::test]
#[ignore = "needs the generators: `scripts/test clients`"]
async fn a_client_in_python_is_made_checked_and_used() {
    let app = demo_with_past().await;
    let folder = tempfile::tempdir().unwrap();
    let document = write_document(&app, folder.path()).await;
    let bin = project().join(".cache/clients/bin");
    let mut generator = Command::new(bin.join("openapi-python-client"));
    generator
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
        .arg(&document)
        .arg("--config")
        .arg(project().join(SOURCES).join("generator.yaml"))
        .args(["--output-path", "callscope_client"])
        .env("PATH", &bin)
        .current_dir(folder.path());
    run(generator).await;

    let script = folder.path().join("use.py");
    std::fs::copy(project().join(SOURCES).join("use.py"), &script).unwrap();
    let mut check = Command::new(bin.join("mypy"));
    check
        // The rest is the generator's own, the same for everybody.
        .args(["--follow-imports=silent", "callscope_client/models"])
        .args(["callscope_client/api", "use.py"])
        .current_dir(folder.path());
    run(check).await;

    let mut used = Command::new(bin.join("python"));
    used.arg("use.py")
        .arg(&app.http.base)
        .current_dir(folder.path());
    compare_found(&app, &run(used).await).await;
}

#[tokio::test]
#[ignore = "needs the generators: `scripts/test clients`"]
async fn a_client_in_typescript_is_made_checked_and_used() {
    let app = demo_with_past().await;
    // Packages are found in the folders above.
    let sources = project().join(SOURCES);
    let folder = tempfile::tempdir_in(&sources).unwrap();
    let document = write_document(&app, folder.path()).await;
    let bin = sources.join("node_modules/.bin");
    for file in ["use.ts", "tsconfig.json", "package.json"] {
        std::fs::copy(sources.join(file), folder.path().join(file)).unwrap();
    }

    let mut generator = Command::new(bin.join("openapi-typescript"));
    generator
        .arg(&document)
        .args(["--output", "api.d.ts"])
        .current_dir(folder.path());
    run(generator).await;

    let mut compiler = Command::new(bin.join("tsc"));
    compiler.current_dir(folder.path());
    run(compiler).await;

    let mut used = Command::new("node");
    used.arg("use.js")
        .arg(&app.http.base)
        .current_dir(folder.path());
    compare_found(&app, &run(used).await).await;
}
