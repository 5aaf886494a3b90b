//! Programs from elsewhere: where they are, and what they say.

use std::path::Path;
use std::process::{Command, Output};

/// Where Debian has programs that are not on the path of everybody.
const FURTHER_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The program's path; `None`, with a line that says so, where it is not installed.
///
/// # Panics
/// It is not installed, and nothing may be skipped.
pub fn find_program(name: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .chain(FURTHER_FOLDERS)
        .map(|folder| format!("{folder}/{name}"))
        .find(|file| Path::new(file).is_file());

    if found.is_none() {
        let said =
            format!("{name} is not installed, `scripts/test contrib` does that where it may");
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "with CI=true nothing may be skipped: {said}"
        );
        println!("skipped: {said}");
    }

    found
}

/// Runs the program to its end.
///
/// # Panics
/// It does not succeed.
pub fn run_program(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = both_outputs(&output);
    assert!(
        output.status.success(),
        "{program} {}: {}\n{said}",
        args.join(" "),
        output.status
    );

    said
}

/// What it wrote to standard output and to standard error.
pub fn both_outputs(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
