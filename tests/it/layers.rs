//! Checks the architecture: who may import whom, who may write, where SQL may be, what a file is
//! for.

mod circles;

use std::path::{Path, PathBuf};

/// Which of our modules each module may import. `app`, `cli` and `main` connect the modules, so
/// they may import all.
const MAY: &[(&str, &[&str])] = &[
    ("rtc", &[]),
    ("clock", &[]),
    ("changes", &[]),
    ("tls", &[]),
    ("telemetry", &["rtc"]),
    ("sim", &[]),
    ("matrix", &["rtc", "tls"]),
    ("store", &["rtc"]),
    ("config", &["rtc", "matrix", "telemetry", "alerting"]),
    (
        "alerting",
        &["rtc", "matrix", "store", "changes", "clock", "tls"],
    ),
    ("observer", &["rtc", "matrix", "store", "changes", "clock"]),
    ("web", &["rtc", "store", "changes", "clock", "tls"]),
    (
        "setup",
        &["rtc", "matrix", "store", "config", "web", "clock"],
    ),
];
const WIRING: &[&str] = &["app", "cli", "main", "lib"];

/// What the folders of the store may not name: `db` is below all others, and `stats` is below the
/// commit of a batch, what it derives, and the upkeep. Each of these names would make a circle.
const NEVER_IN_STORE: &[(&str, &[&str])] = &[
    ("db", &["ingest", "derive", "read", "stats", "upkeep"]),
    (
        "stats",
        &[
            "ingest::write",
            "derive::memberships",
            "derive::sessions",
            "derive::rebuild",
            "upkeep",
        ],
    ),
];

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

/// The top module of a source file: `src/store/model.rs` is in `store`.
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

/// The text without its comments, which may link to any module.
fn code(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The same without the tests at the end of the file.
fn code_without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {");
    code(&text[..end.unwrap_or(text.len())])
}

/// Is the whole file for tests?
fn is_of_tests(path: &Path) -> bool {
    path.iter().any(|part| {
        let part = part.to_string_lossy();
        let name = part.strip_suffix(".rs").unwrap_or(&part);
        name == "fixtures" || name == "tests" || name.ends_with("_tests")
    })
}

/// The module behind each `crate::` in the code.
fn imports(text: &str) -> Vec<String> {
    let code = code(text);
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

/// The paths at the beginning of a text: `a::{b, c::d};` holds `a::b` and `a::c::d`.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lists: Vec<String> = Vec::new();
    let mut path = String::new();
    // After a path in a list, another name for it may stand.
    let mut is_whole = false;
    for sign in text.chars() {
        match sign {
            '{' => lists.push(path.clone()),
            ',' | '}' if !lists.is_empty() => {
                found.push(path);
                if sign == '}' {
                    lists.pop();
                }

                path = lists.last().cloned().unwrap_or_default();
                is_whole = false;
                if lists.is_empty() {
                    break;
                }
            }
            _ if is_whole => (),
            _ if sign.is_whitespace() && !lists.is_empty() => {
                is_whole = !path.is_empty() && !path.ends_with("::");
            }
            _ if sign.is_alphanumeric() || sign == '_' || sign == ':' => path.push(sign),
            _ => break,
        }
    }

    found.push(path);
    // What stands before a list is no path of its own, unless the list has `self`.
    found.retain(|path| !path.is_empty() && !path.ends_with("::"));

    found
        .iter()
        .map(|path| path.trim_end_matches("::self").to_owned())
        .collect()
}

/// Is it `outer`, or in it?
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What a file of the store names though its folder may not. To name the folder of a forbidden
/// module counts, too.
fn wrong_paths(path: &Path, text: &str) -> Vec<String> {
    let Ok(inside) = path.strip_prefix("src/store") else {
        return Vec::new();
    };

    let folder = inside.iter().next().unwrap().to_string_lossy();
    let Some((_, never)) = NEVER_IN_STORE.iter().find(|(name, _)| *name == folder) else {
        return Vec::new();
    };

    let up = if path.ends_with("mod.rs") {
        "super::"
    } else {
        "super::super::"
    };

    let code = code_without_tests(text).replace(up, "store::");
    let named = code.split("store::").skip(1).flat_map(paths);
    let is_wrong = |named: &String| {
        never
            .iter()
            .any(|never| is_within(named, never) || is_within(never, named))
    };

    named
        .filter(is_wrong)
        .map(|named| format!("{}: {folder} may not name {named}", path.display()))
        .collect()
}

fn names_writer(text: &str) -> bool {
    code_without_tests(text)
        .split(|sign: char| !sign.is_alphanumeric() && sign != '_')
        .any(|word| word == "Writer")
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
        wrong_arrows(Path::new("src/rtc/fold.rs"), "use crate::store::Writer;").len(),
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
            Path::new("src/store/model.rs"),
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

/// The rows of `days` tell of all rooms. Who reads them must keep those that are visible.
#[test]
fn only_one_place_reads_the_numbers_of_days() {
    let reads = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = code_without_tests(&text).replace("delete from days", "");
        code.contains(" from days") || code.contains("join days")
    };
    let mut found: Vec<String> = files(Path::new("src"), "rs")
        .into_iter()
        .filter(|path| !is_of_tests(path) && reads(path))
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    // One lists which days there are, one which of them change, and one keeps the visible rooms.
    assert_eq!(
        found,
        [
            "src/store/derive/dirty.rs",
            "src/store/stats/daily_rollup.rs",
            "src/store/stats/day_totals.rs"
        ]
    );
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
fn the_web_never_writes() {
    for path in files(Path::new("src/web"), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            is_of_tests(&path) || !names_writer(&text),
            "{} names the handle that writes",
            path.display()
        );
    }
}

/// The tables that the web itself writes, and the folder that is alone with them.
const TABLES_OF_SIGN_INS: &[&str] = &[
    "web_sessions",
    "api_keys",
    "audit_log",
    "share_links",
    "feed_keys",
    "sign_in_codes",
    "opt_outs",
    "operator_secrets",
];
const FOLDER_OF_SIGN_INS: &str = "src/store/sign_in";
/// The folder that forgets people, and the table of its own work there.
const FOLDER_OF_RIGHTS: &str = "src/store/rights";
const TABLE_OF_RIGHTS: &str = "opt_outs";
/// The file that writes what an operator decides about rooms, and the tables of that. The observer
/// writes these tables, too.
const FILE_OF_DECISIONS: &str = "src/store/sign_in/rooms.rs";
const TABLES_OF_DECISIONS: &[&str] = &["rooms", "history_jobs"];

/// The tables that the statements of a text change.
fn changed_tables(text: &str) -> Vec<String> {
    let code = code_without_tests(text);
    let mut found = Vec::new();
    for begin in ["insert into ", "update ", "delete from "] {
        let begin = format!("\"{begin}");
        let named = code.split(&begin).skip(1);
        found.extend(named.map(|rest| {
            rest.chars()
                .take_while(|sign| sign.is_alphanumeric() || *sign == '_')
                .collect()
        }));
    }

    found
}

#[test]
fn the_web_writes_only_who_signed_in() {
    let mut count = 0;
    for path in files(Path::new("src/store"), "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_of_sign_ins = path.starts_with(FOLDER_OF_SIGN_INS);
        let decides = path.ends_with(FILE_OF_DECISIONS);
        for table in changed_tables(&text) {
            if decides && TABLES_OF_DECISIONS.contains(&table.as_str()) {
                continue;
            }

            if path.starts_with(FOLDER_OF_RIGHTS) && table == TABLE_OF_RIGHTS {
                continue;
            }

            assert_eq!(
                TABLES_OF_SIGN_INS.contains(&table.as_str()),
                is_of_sign_ins,
                "{} changes {table}",
                path.display()
            );
            count += usize::from(is_of_sign_ins);
        }
    }

    assert!(count >= 8, "{count}");
}

#[test]
fn a_table_that_is_changed_is_seen() {
    let text = "const A: &str = \"update rooms set a = 1\";\nconst B: &str =\n    \"insert into \
                api_keys (id) values ($1)\";";
    assert_eq!(changed_tables(text), ["api_keys", "rooms"]);
}

#[test]
fn a_web_that_writes_is_seen() {
    let tests = "\n#[cfg(test)]\nmod tests {\n    use crate::store::Writer;\n}\n";
    assert!(names_writer("use crate::store::{Reader, Writer};"));
    assert!(names_writer(&format!("fn f(store: &Writer) {{}}\n{tests}")));
    assert!(!names_writer(&format!("/// Not a [`Writer`].\n{tests}")));
    assert!(!names_writer("struct WriterOfFiles;"));
    assert!(is_of_tests(Path::new("src/web/pages/tests/lists.rs")));
    assert!(!is_of_tests(Path::new("src/web/pages/calls.rs")));
}

#[test]
fn no_circle_that_the_list_of_the_store_forbids() {
    let mut wrong = Vec::new();
    for path in files(Path::new("src/store"), "rs") {
        if !is_of_tests(&path) {
            wrong.extend(wrong_paths(&path, &std::fs::read_to_string(&path).unwrap()));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_forbidden_circle_in_the_store_is_seen() {
    let wrong = |path: &str, text: &str| wrong_paths(Path::new(path), text).len();
    let db = "src/store/db/disk.rs";
    assert_eq!(wrong(db, "use crate::store::{Error, derive::dirty};"), 1);
    assert_eq!(wrong(db, "use super::super::read::{calls, events};"), 2);
    assert_eq!(wrong(db, "use crate::store::{Error, Writer};"), 0);
    assert_eq!(wrong("src/store/db/mod.rs", "use super::upkeep;"), 1);

    let stats = "src/store/stats/usage.rs";
    let list = "use crate::store::{derive::{dirty, sessions::settle}, ingest::{self, rooms}};";
    assert_eq!(wrong(stats, list), 2);
    assert_eq!(wrong(stats, "use crate::store::derive as d;"), 1);
    assert_eq!(wrong(stats, "use crate::store::{ingest as i, Db};"), 1);
    assert_eq!(wrong(stats, "use crate::store::derive::dirty::Dirty;"), 0);
    assert_eq!(wrong(stats, "use crate::store::derive::session_rows;"), 0);
    assert_eq!(wrong(stats, "crate::store::ingest::write::write(tx)"), 1);
    assert_eq!(wrong("src/store/read/calls.rs", list), 0);
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
