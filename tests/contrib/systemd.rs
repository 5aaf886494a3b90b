//! systemd reads the unit, and says how far it shuts the program in.

use crate::programs::{find_program, run_program};
use crate::support::project;
use std::fs;

/// Maximum exposure, in tenths: from 0 for a service that can do nothing, to 100.
const MOST_EXPOSED: &str = "--threshold=15";

#[test]
#[ignore = "needs systemd: `scripts/test contrib`"]
fn the_unit_is_understood_and_shuts_the_program_in() {
    let Some(systemd) = find_program("systemd-analyze") else {
        return;
    };

    let shown = fs::read_to_string(project().join("contrib/callscope.service")).unwrap();
    let program = env!("CARGO_BIN_EXE_callscope");
    let unit = shown.replace(
        "ExecStart=/usr/local/bin/callscope\n",
        &format!("ExecStart={program}\n"),
    );
    assert_ne!(unit, shown);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callscope.service");
    fs::write(&path, unit).unwrap();
    let path = path.display().to_string();

    // What it does not understand it only warns of.
    let said = run_program(&systemd, &["verify", &path]);
    let about_it: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("callscope"))
        .collect();
    assert!(about_it.is_empty(), "{said}");
    run_program(
        &systemd,
        &["security", "--offline=true", MOST_EXPOSED, &path],
    );
}
