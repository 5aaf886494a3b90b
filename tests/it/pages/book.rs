//! The documentation: it is whole, its links lead somewhere, its examples are what the program
//! answers, and nothing is missing in it that the source has.

use crate::pages::browser::{Browser, by_password};
use crate::pages::examples::{compare_examples, shorten};
use crate::pages::goldens::rooms_of_the_demo;
use crate::pages::site::{Site, quote, text};
use crate::support::project;
use callscope::config::KEYS;
use callscope::rtc::finding_kind::KINDS;
use callscope::web::view::book::{list_parts, read_file, write_chapter};
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Maximum size of a page, bytes.
const PAGE_MAX: usize = 60_000;
/// Texts beside the book, whose links lead to files.
const OTHER_TEXTS: [&str; 4] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(project().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The values of an attribute in a page.
fn values_of_attribute<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let begin = format!(" {name}=\"");
    page.split(begin.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// The part of a page that is the chapter.
fn article_of(page: &str) -> &str {
    let (_, rest) = page.split_once("<article").unwrap();

    rest.split_once("</article>").unwrap().0
}

/// Where the links and pictures of a text lead.
fn links_of_text(markdown: &str) -> Vec<String> {
    let link = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    };

    Parser::new_ext(markdown, Options::ENABLE_TABLES)
        .filter_map(link)
        .collect()
}

/// The text between backticks in the lines of tables, the first in each line.
fn first_words_of_rows(chapter: &str) -> Vec<&str> {
    let rows = chapter.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap()).collect()
}

/// All texts of the source below a path.
fn source_below(path: &Path) -> String {
    if path.is_file() {
        // A font is no text, and says nothing that is looked for.
        return String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    }

    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| source_below(&entry.unwrap().path()))
        .collect()
}

#[test]
fn the_contents_name_every_chapter_and_no_other() {
    let listed: Vec<String> = list_parts()
        .into_iter()
        .flat_map(|part| part.chapters)
        .map(|chapter| chapter.file)
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(project().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.strip_suffix(".md").is_some() && name != "SUMMARY.md")
        .collect();

    assert_eq!(BTreeSet::from_iter(listed.clone()), files);
    assert_eq!(listed.len(), files.len(), "each is listed once");
}

#[tokio::test]
async fn every_chapter_is_short_and_every_link_of_it_leads_somewhere() {
    let site = Site::empty("book").await;
    let mut followed = 0;
    for chapter in list_parts().iter().flat_map(|part| &part.chapters) {
        let page = site.html(&chapter.href).await;
        assert!(page.len() < PAGE_MAX, "{}: {}", chapter.href, page.len());
        let first = read_file(&chapter.file).unwrap();
        assert!(first.starts_with("# "), "{} has a title", chapter.file);

        let sources = values_of_attribute(article_of(&page), "src");
        // What else begins otherwise is an example in the text.
        for picture in sources.into_iter().filter(|source| source.starts_with('/')) {
            let answer = site.get(picture).await;
            assert_eq!((answer.status, answer.kind.as_str()), (200, "image/png"));
        }

        for link in values_of_attribute(&page, "href") {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }

            let is_ours = link.starts_with('/') || link.starts_with('#');
            assert!(is_ours, "{}: {link}", chapter.file);
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { &chapter.href } else { path };
            let answer = site.get(path).await;
            assert_eq!(answer.status, 200, "{}: {link}", chapter.file);
            let is_there = anchor.is_empty() || answer.text.contains(&format!("id=\"{anchor}\""));
            assert!(is_there, "{}: no {link}", chapter.file);
            followed += 1;
        }
    }

    assert!(followed > 500, "{followed}");
}

#[test]
fn headings_go_down_by_one_level_at_a_time() {
    for chapter in list_parts().iter().flat_map(|part| &part.chapters) {
        let text = read_file(&chapter.file).unwrap();
        let levels = Parser::new(&text).filter_map(|event| match event {
            Event::Start(Tag::Heading { level, .. }) => Some(level as usize),
            _ => None,
        });
        let mut last = 0;
        for level in levels {
            assert!(level <= last + 1, "{}: a heading is missing", chapter.file);
            last = level;
        }
    }
}

#[tokio::test]
async fn a_chapter_has_one_address_and_others_lead_to_it() {
    let site = Site::empty("chapters").await;
    for (path, to) in [
        ("/docs/introduction", "/docs"),
        ("/docs/ARCHITECTURE", "/docs/architecture"),
        ("/docs/findings.md", "/docs/findings"),
        ("/docs/findings.html", "/docs/findings"),
    ] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.place.as_str()), (303, to), "{path}");
    }

    for path in [
        "/docs/none",
        "/docs/SUMMARY",
        "/docs/book.toml",
        "/docs/..%2fCargo.toml",
    ] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
    assert_eq!(site.get("/api/docs").await.status, 200, "the API's own");
}

#[test]
fn links_of_the_other_texts_lead_to_files() {
    let mut followed = 0;
    for name in OTHER_TEXTS {
        for link in links_of_text(&read(name)) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }

            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let file = if file.is_empty() { name } else { file };
            assert!(project().join(file).exists(), "{name}: no {link}");
            let has_anchor = || {
                let written = write_chapter(&read(file)).html;
                written.contains(&format!("id=\"{anchor}\""))
            };
            assert!(anchor.is_empty() || has_anchor(), "{name}: no {link}");
            followed += 1;
        }
    }

    assert!(followed > 10, "{followed}");
}

#[test]
fn the_readme_is_short_and_has_its_two_commands() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 100, "{}", readme.lines().count());
    for command in ["    cargo run -- demo", "    scripts/test"] {
        assert!(readme.lines().any(|line| line == command), "{command}");
    }
}

/// The versions in the names of the files of a release, such as `callscope_0.2.0-1_amd64.deb`.
fn versions_of_files(text: &str) -> Vec<String> {
    let is_of_version = |letter: char| letter.is_ascii_digit() || letter == '.';
    let names = ["callscope-", "callscope_", "callscope:"];
    let after_names = names.iter().flat_map(|name| text.split(name).skip(1));
    let versions = after_names.map(|rest| {
        let version: String = rest
            .chars()
            .take_while(|letter| is_of_version(*letter))
            .collect();

        version.trim_end_matches('.').to_owned()
    });

    versions
        .filter(|version| version.matches('.').count() == 2)
        .collect()
}

#[test]
fn the_files_of_a_release_are_named_with_this_version() {
    for path in ["README.md", "docs/install.md"] {
        let versions = versions_of_files(&read(path));
        assert!(versions.len() >= 3, "{path}: {versions:?}");
        for version in versions {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{path}");
        }
    }
}

#[test]
fn every_setting_is_explained_with_its_default() {
    let chapter = read("docs/configure.md");
    for key in KEYS {
        let name = format!("`{}`", key.name);
        let row = chapter
            .lines()
            .find(|line| line.starts_with('|') && line.split('|').nth(1).unwrap().contains(&name));
        let row = row.unwrap_or_else(|| panic!("{name} is not explained"));
        let default = key.default.unwrap_or_default();
        let is_said = default.is_empty() || row.ends_with(&format!("`{default}` |"));
        assert!(is_said, "{name}: {default}");
    }

    let known: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    for name in first_words_of_rows(&chapter) {
        assert!(known.contains(name), "{name} is no setting");
    }
}

#[tokio::test]
async fn every_metric_is_explained() {
    let chapter = read("docs/metrics.md");
    let explained: BTreeSet<&str> = first_words_of_rows(&chapter)
        .into_iter()
        .map(|name| name.split('{').next().unwrap())
        .collect();

    let site = Site::guarded("metrics-of-the-book", by_password()).await;
    let metrics = Browser::of_operator(&site).await.get("/metrics").await.text;
    let told: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let plain = name.trim_end_matches("_total").trim_end_matches("_info");
            match kind {
                "counter" => format!("{plain}_total"),
                "info" => format!("{plain}_info"),
                _ => name.to_owned(),
            }
        })
        .collect();
    assert!(told.len() > 25, "{told:?}");
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    let missing: Vec<_> = told.difference(&explained).collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
    // What has no number yet is not in the answer.
    let source = read("src/web/outputs/metrics.rs");
    for name in explained.difference(&told) {
        let plain = name
            .trim_start_matches("callscope_")
            .trim_end_matches("_seconds");
        assert!(
            source.contains(&format!("\"{plain}\"")),
            "{name} is no metric"
        );
    }
}

#[test]
fn every_finding_is_explained() {
    let chapter = read("docs/findings.md");
    for entry in KINDS {
        let heading = format!("### {}\n\n`{}`\n", entry.title, entry.kind);
        assert!(chapter.contains(&heading), "{}", entry.kind);
    }
}

#[test]
fn every_exit_code_is_in_the_chapter_for_the_night() {
    let source = source_below(&project().join("src/cli")) + &read("src/cli.rs");
    let codes = source
        .lines()
        .filter_map(|line| line.strip_prefix("const "))
        .filter_map(|line| line.split_once(": u8 = "))
        .map(|(_, code)| code.trim_end_matches(';'))
        .chain(["0", "1"]);
    let chapter = read("docs/night.md");
    let rows = first_words_of_rows(&chapter);
    let codes: BTreeSet<&str> = codes.collect();
    assert!(codes.len() >= 4, "{codes:?}");
    for code in codes {
        assert!(rows.contains(&code), "{code} is not explained");
    }
}

#[test]
fn the_lines_of_the_log_are_those_that_the_program_writes() {
    let chapter = read("docs/night.md");
    let (_, lines) = chapter.split_once("| the line |").unwrap();
    let (lines, _) = lines.split_once("\n\n").unwrap();
    let source = source_below(&project().join("src"));
    let source: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let source = source.replace("\\ ", "");
    let lines = first_words_of_rows(lines);
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        assert!(source.contains(&format!("\"{line}\"")), "{line}");
    }
}

#[test]
fn every_command_is_explained_and_the_help_leads_here() {
    let help = Command::new(env!("CARGO_BIN_EXE_callscope"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("/docs"), "{help}");
    let chapter = read("docs/terminal.md");
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for name in commands {
        let row = chapter
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert!(row, "{name} is not explained");
    }
}

/// Writes JSON with what fits on a line on one line.
fn write_json(value: &Value, depth: usize, out: &mut String) {
    const WIDTH: usize = 88;
    let flat = value
        .to_string()
        .replace("\":", "\": ")
        .replace(",\"", ", \"");
    let indent = "  ".repeat(depth + 1);
    match value {
        Value::Object(object) if flat.len() + 2 * depth > WIDTH => {
            out.push_str("{\n");
            for (at, (key, value)) in object.iter().enumerate() {
                let comma = if at == 0 { "" } else { ",\n" };
                write!(out, "{comma}{indent}\"{key}\": ").unwrap();
                write_json(value, depth + 1, out);
            }
            write!(out, "\n{}}}", "  ".repeat(depth)).unwrap();
        }
        Value::Array(list) if flat.len() + 2 * depth > WIDTH => {
            out.push_str("[\n");
            for (at, value) in list.iter().enumerate() {
                let comma = if at == 0 { "" } else { ",\n" };
                write!(out, "{comma}{indent}").unwrap();
                write_json(value, depth + 1, out);
            }
            write!(out, "\n{}]", "  ".repeat(depth)).unwrap();
        }
        _ => out.push_str(&flat),
    }
}

/// The chapter with the answers of this site in the place of its examples.
async fn with_answers(site: &Site, chapter: &str, room: &str) -> String {
    let mut whole = String::new();
    let mut asked = None;
    let mut is_example = false;
    for line in chapter.lines() {
        let path = line
            .strip_prefix("`GET ")
            .and_then(|rest| rest.strip_suffix('`'));
        if path.is_some() {
            asked = path;
        }

        if is_example && line != "```" {
            continue;
        }
        is_example = false;
        writeln!(whole, "{line}").unwrap();

        if line == "```json" {
            let path = asked.take().expect("an address before each example");
            let mut answer = site.get(&path.replace("{room}", &quote(room))).await.json();
            shorten(&mut answer);
            write_json(&answer, 0, &mut whole);
            whole.push('\n');
            is_example = true;
        }
    }

    whole
}

#[tokio::test]
async fn the_examples_of_the_api_are_what_the_program_answers() {
    let site = Site::filled("examples").await;
    for room in rooms_of_the_demo(&site).await {
        site.write_to(&room.id, room.events).await;
    }
    let rooms = site.json("/api/v1/rooms?sort=-calls&limit=1").await;
    let room = text(&rooms["data"][0]["room_id"]);

    let writes = std::env::var_os("CALLSCOPE_WRITE_EXAMPLES").is_some();
    compare_examples(&site, room, writes).await;
    let chapter = read("docs/api.md");
    let answered = with_answers(&site, &chapter, room).await;
    if writes {
        std::fs::write(project().join("docs/api.md"), &answered).unwrap();
        return;
    }

    let differs = chapter
        .lines()
        .zip(answered.lines())
        .find(|(old, new)| old != new);
    assert!(
        chapter == answered,
        "CALLSCOPE_WRITE_EXAMPLES=1 writes them anew; first difference: {differs:?}"
    );
}
