//! Schemathesis generates requests from the API's own document and checks the answers against it,
//! over the demonstration: no request fails, no answer differs from the document, and every allowed
//! request is accepted.
//!
//! `scripts/test schemathesis` installs it and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod support;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use support::app::{App, Settings};
use support::{eventually, project};

/// Known ids and cursors, so that not all generated requests end with 404: they cannot be
/// generated.
async fn known(app: &App) -> String {
    let list = app
        .http
        .get("/api/v1/calls?limit=1&status=ended")
        .await
        .ok();
    let call = list["data"][0].clone();
    let (id, room, at) = (&call["id"], &call["room"]["room_id"], &call["started_ms"]);
    let of_room = ["/api/v1/rooms/{id}", "/api/v1/rooms/{id}/members"];
    let others = [
        "badge/rooms/{id}/active.svg",
        "badge/rooms/{id}/active.json",
    ];
    // A cursor belongs to an order.
    let mut lists = String::new();
    for (path, sort) in [
        ("calls", "-started"),
        ("rooms", "name"),
        ("servers", "server"),
        ("transports", "sfu"),
    ] {
        let next = app
            .http
            .get(&format!("/api/v1/{path}?limit=1&sort={sort}"))
            .await
            .ok()["next"]
            .clone();
        let both = format!("\"query.cursor\" = {next}, \"query.sort\" = \"{sort}\"");
        write!(
            lists,
            "[[operations]]\ninclude-name = \"GET /api/v1/{path}\"\nparameters = {{ {both} }}\n"
        )
        .unwrap();
    }

    let feeds = ["feed/rooms/{id}/calls.atom", "feed/rooms/{id}/calls.ics"];
    let others = others.iter().chain(&feeds).map(|path| format!("/{path}"));
    let rooms: String = of_room
        .iter()
        .map(|path| (*path).to_owned())
        .chain(others)
        .map(|path| operation_parameter(&path, "path.id", room))
        .collect();
    let flips = "include-name = \"GET /api/v1/rooms/{id}/flips\"";
    let flips = format!(
        "[[operations]]\n{flips}\nparameters = {{ \"path.id\" = {room}, \"query.cursor\" = \"{at}\" }}\n"
    );

    let sfus = app.http.get("/api/v1/transports?limit=1").await.ok();
    let sfu = sfus["data"][0]["service_url"].as_str().unwrap_or_default();
    let host = sfu.split('/').nth(2).unwrap_or_default().to_owned();
    let person = &call["members"][0]["user_id"];
    let problems = app.http.get("/api/v1/problems?limit=1").await.ok();
    let problem = &problems["data"][0]["id"];
    // A moment must not be in the future. An answer that is cut has not all keys.
    format!(
        "[parameters]\n\"query.at\" = {at}\n\"query.fields\" = \"\"\n{rooms}{lists}{flips}{}{}{}{}{}{}{}",
        operation_parameter("/api/v1/servers/{name}", "path.name", &"sim.example".into()),
        operation_parameter("/api/v1/calls/{id}", "path.id", id),
        operation_parameter("/api/v1/rejected", "query.cursor", &"1000".into()),
        operation_parameter("/api/v1/problems", "query.cursor", &"past.1000.0".into()),
        operation_parameter("/api/v1/problems/{id}", "path.id", problem),
        operation_parameter("/api/v1/people/{id}", "path.id", person),
        operation_parameter("/api/v1/transports/{host}", "path.host", &host.into()),
    )
}

fn operation_parameter(path: &str, parameter: &str, value: &serde_json::Value) -> String {
    format!(
        "[[operations]]\ninclude-name = \"GET {path}\"\nparameters = {{ \"{parameter}\" = {value} }}\n"
    )
}

#[tokio::test]
#[ignore = "needs Schemathesis: `scripts/test schemathesis`"]
async fn every_answer_is_one_that_the_document_knows() {
    let app = App::ready(&Settings::demo()).await;
    eventually("calls of the past", 120, async || {
        let past = app.list_first("/api/v1/calls?limit=2&status=ended").await;
        (past.len() == 2).then_some(())
    })
    .await;
    eventually("a problem", 120, async || {
        let problems = app.list_first("/api/v1/problems?limit=1").await;
        (!problems.is_empty()).then_some(())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, known(&app).await).unwrap();
    let said = run(&config, &app.http.base, folder.path()).await;
    assert!(said.contains("No issues found"), "{said}");
}

/// All that it printed. The stream of changes has no end, so it is left out.
async fn run(config: &Path, base: &str, folder: &Path) -> String {
    let mut command = Command::new(project().join(".cache/schemathesis/bin/st"));
    command
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(format!("{base}/api/v1/openapi.json"));
    command.args([
        "--exclude-path",
        "/api/v1/live",
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "10",
    ]);
    command
        .args(["--seed", "1", "--no-color"])
        .current_dir(folder);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .expect("Schemathesis starts");

    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
