//! Rooms recorded from a real Synapse and the real matrix-js-sdk: `callscope derive` must give what
//! the recorded script did.
//!
//! The expectations were compared with the times of the script's actions: joins, a crash with its
//! delayed leave, an expiry, leaving the room, a slot that was closed.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

fn derive(events: &Value, now: i64) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command
        .args(["derive", "--now", &now.to_string(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(events.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());

    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn recorded_rooms_are_read_as_they_were_played() {
    let mut stays = 0;
    for entry in std::fs::read_dir("tests/captures").unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let got = derive(&file["events"], file["now"].as_i64().unwrap());
        assert_eq!(got, file["expected"], "{}", path.display());
        stays += got["memberships"].as_array().unwrap().len();
    }

    assert_eq!(stays, 17);
}
