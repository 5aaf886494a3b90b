//! Checks the architecture: who may import whom, where SQL may be, what a file is for.

use std::path::{Path, PathBuf};

/// Which of our modules each module may import. `app`, `cli` and `main` connect the modules, so
/// they may import all.
const MAY: &[(&str, &[&str])] = &[
    ("rtc", &[]),
    ("clock", &[]),
    ("changes", &[]),
    ("telemetry", &[]),
    ("sim", &[]),
    ("matrix", &["rtc"]),
    ("store", &["rtc"]),
    ("config", &["rtc", "matrix", "telemetry"]),
    ("observer", &["rtc", "matrix", "store", "changes", "clock"]),
    ("web", &["rtc", "store", "changes", "clock"]),
];
const WIRING: &[&str] = &["app", "cli", "main", "lib"];

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }

    found.sort();

    found
}

/// The top module of a source file: `src/store/row.rs` is in `store`.
fn module(path: &Path) -> String {
    let first = path
        .strip_prefix("src")
        .unwrap()
        .components()
        .next()
        .unwrap();
    let name = first.as_os_str().to_string_lossy();

    name.strip_suffix(".rs").unwrap_or(&name).to_owned()
}

/// The module behind each `crate::` in the code. Comments may link to any module.
fn imports(text: &str) -> Vec<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let list = &list[..list.find('}').unwrap_or(list.len())];
            found.extend(
                list.split(',')
                    .map(|name| name.trim().split("::").next().unwrap().to_owned()),
            );
        } else {
            found.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }

    found
}

fn wrong_arrows(path: &Path, text: &str) -> Vec<String> {
    let own = module(path);
    if WIRING.contains(&own.as_str()) {
        return Vec::new();
    }

    let Some((_, may)) = MAY.iter().find(|(name, _)| *name == own) else {
        return vec![format!(
            "{}: the module {own} is not in the table",
            path.display()
        )];
    };

    let wrong = imports(text)
        .into_iter()
        .filter(|to| *to != own && !may.contains(&to.as_str()));

    wrong
        .map(|to| format!("{}: {own} may not import {to}", path.display()))
        .collect()
}

fn looks_like_sql(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        ("\"select ", " from "),
        ("\"insert into ", " values"),
        ("\"update ", " set "),
        ("\"delete from ", ""),
    ]
    .iter()
    .any(|(begin, then)| text.split(begin).skip(1).any(|rest| rest.contains(then)))
        || text.contains("sqlx::query")
}

#[test]
fn no_arrow_that_the_table_does_not_have() {
    let mut wrong = Vec::new();
    for path in files(Path::new("src"), "rs") {
        wrong.extend(wrong_arrows(
            &path,
            &std::fs::read_to_string(&path).unwrap(),
        ));
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_arrow_is_seen() {
    assert_eq!(
        wrong_arrows(Path::new("src/rtc/fold.rs"), "use crate::store::Store;").len(),
        1
    );
    assert_eq!(
        wrong_arrows(
            Path::new("src/web/mod.rs"),
            "use crate::{matrix, rtc::Derived};"
        )
        .len(),
        1
    );
    assert_eq!(
        wrong_arrows(
            Path::new("src/store/row.rs"),
            "use crate::rtc::slot::SlotId;"
        )
        .len(),
        0
    );
    assert!(looks_like_sql("const A: &str = \"select a\n from b\";"));
}

#[test]
fn sql_is_in_store_only() {
    for path in files(Path::new("src"), "rs")
        .into_iter()
        .filter(|path| module(path) != "store")
    {
        assert!(
            !looks_like_sql(&std::fs::read_to_string(&path).unwrap()),
            "{} holds SQL",
            path.display()
        );
    }
}

#[test]
fn the_core_is_pure() {
    for path in files(Path::new("src/rtc"), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in [
            "async ",
            "tokio",
            "tracing",
            "std::fs",
            "std::net",
            "SystemTime",
            "Instant",
            "println!",
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn the_observer_alone_writes() {
    for path in files(Path::new("src/web"), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let is_fixture = path.ends_with("fixtures.rs");
        assert!(
            is_fixture || !text[..tests].contains("store::batch"),
            "{} writes the store",
            path.display()
        );
    }
}

#[test]
fn source_files_open_with_what_they_are_for() {
    for folder in ["src", "tests"] {
        let sources = files(Path::new(folder), "rs");
        let ours = sources.into_iter().filter(|path| {
            !path
                .components()
                .any(|part| part.as_os_str() == "node_modules")
        });
        for path in ours {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("//!"),
                "{} does not open with what it is for",
                path.display()
            );
        }
    }
}
