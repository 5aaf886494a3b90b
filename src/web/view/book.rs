//! The book of `/docs`: its chapters are the files of `docs/`, embedded in the program and written
//! as HTML. `docs/SUMMARY.md` is its list of contents; mdBook makes the same book of the same
//! files.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use rust_embed::RustEmbed;
use serde::Serialize;
use std::collections::HashMap;

/// Where the book is served.
const ROOT: &str = "/docs";
const CONTENTS: &str = "SUMMARY.md";

/// A file outside of the book that a chapter shows as a whole, as mdBook includes it.
const INCLUDES: [(&str, &str); 1] = [(
    "{{#include ../callscope.sample.toml}}",
    include_str!("../../../callscope.sample.toml"),
)];

#[derive(RustEmbed)]
#[folder = "docs/"]
struct Files;

/// A part of the book, with its chapters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookPart {
    /// Empty for what stands before all parts.
    pub title: String,
    pub chapters: Vec<ChapterLink>,
}

/// A chapter as the list of contents names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChapterLink {
    pub title: String,
    /// Its name in `docs/`.
    pub file: String,
    pub href: String,
}

/// A heading within a chapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadingLink {
    pub title: String,
    pub anchor: String,
}

/// The text of a chapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChapterText {
    pub html: String,
    /// Its headings of the second level.
    pub headings: Vec<HeadingLink>,
}

/// The parts of the book with their chapters, as `docs/SUMMARY.md` lists them.
#[must_use]
pub fn list_parts() -> Vec<BookPart> {
    parse_contents(&read_file(CONTENTS).unwrap_or_default())
}

/// The text of a file of the book; `None` if there is none of this name.
#[must_use]
pub fn read_file(name: &str) -> Option<String> {
    let file = Files::get(name)?;

    String::from_utf8(file.data.into_owned()).ok()
}

/// A picture of the book; `None` if there is none of this name.
#[must_use]
pub fn find_picture(name: &str) -> Option<Vec<u8>> {
    name.strip_suffix(".png")
        .filter(|name| !name.contains(['/', '\\']))?;

    Some(Files::get(name)?.data.into_owned())
}

/// The chapter of this name, whether in capitals or not, with or without the end of its file.
#[must_use]
pub fn find_chapter(parts: &[BookPart], name: &str) -> Option<ChapterLink> {
    let name = name.strip_suffix(".html").unwrap_or(name);
    let name = name.strip_suffix(".md").unwrap_or(name);
    let mut chapters = parts.iter().flat_map(|part| &part.chapters);

    chapters
        .find(|chapter| stem(&chapter.file).eq_ignore_ascii_case(name))
        .cloned()
}

/// The name of a file without its end.
fn stem(file: &str) -> &str {
    file.strip_suffix(".md").unwrap_or(file)
}

/// The address of a chapter.
fn address_of_file(file: &str) -> String {
    format!("{ROOT}/{}", stem(file).to_ascii_lowercase())
}

/// The parts that a list of contents names. The first chapter is the page of the book itself.
fn parse_contents(contents: &str) -> Vec<BookPart> {
    let mut parts: Vec<BookPart> = Vec::new();
    // The first heading is the name of the book.
    let mut is_first = true;
    for line in contents.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            let title = if is_first { "" } else { title };
            parts.push(BookPart {
                title: title.to_owned(),
                chapters: Vec::new(),
            });
            is_first = false;
        } else if let Some((title, file)) = link_in_line(line) {
            let is_root = parts.iter().all(|part| part.chapters.is_empty());
            let href = if is_root {
                ROOT.to_owned()
            } else {
                address_of_file(file)
            };
            if let Some(part) = parts.last_mut() {
                part.chapters.push(ChapterLink {
                    title: title.to_owned(),
                    file: file.to_owned(),
                    href,
                });
            }
        }
    }

    parts
}

/// The words and the target of the link in a line of the contents.
fn link_in_line(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once('[')?;
    let (title, rest) = rest.split_once("](")?;
    let (file, _) = rest.split_once(')')?;

    Some((title, file))
}

/// Writes a chapter as HTML. Links to other chapters lead to their addresses, pictures come from
/// the book, each heading has an anchor, and HTML in the text is shown as text.
#[must_use]
pub fn write_chapter(markdown: &str) -> ChapterText {
    let markdown = INCLUDES
        .iter()
        .fold(markdown.to_owned(), |text, (name, file)| {
            text.replace(name, file)
        });
    let mut events: Vec<Event<'_>> = Parser::new_ext(&markdown, Options::ENABLE_TABLES)
        .map(event_of_book)
        .collect();
    let headings = add_anchors(&mut events);
    add_column_names(&mut events);

    let mut written = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut written, events.into_iter());

    ChapterText {
        html: written,
        headings,
    }
}

/// The event with the addresses of the program, and without HTML.
fn event_of_book(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: address_of_link(&dest_url).into(),
            title,
            id,
        }),
        Event::Start(Tag::Image {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Image {
            link_type,
            dest_url: format!("{ROOT}/{dest_url}").into(),
            title,
            id,
        }),
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    }
}

/// Where a link of a chapter leads in the program.
fn address_of_link(link: &str) -> String {
    let (file, anchor) = match link.split_once('#') {
        Some((file, anchor)) => (file, format!("#{anchor}")),
        None => (link, String::new()),
    };
    if file.contains(':') || file.strip_suffix(".md").is_none() {
        return link.to_owned();
    }

    let first = list_parts()
        .into_iter()
        .flat_map(|part| part.chapters)
        .find(|chapter| chapter.file == file);
    let address = first.map_or_else(|| address_of_file(file), |chapter| chapter.href);

    format!("{address}{anchor}")
}

/// Gives each heading its anchor, and a link to it; returns the headings of the second level.
fn add_anchors(events: &mut Vec<Event<'_>>) -> Vec<HeadingLink> {
    let mut headings = Vec::new();
    let mut used = HashMap::new();
    let mut at = 0;
    while at < events.len() {
        let Event::Start(Tag::Heading { level, .. }) = &events[at] else {
            at += 1;
            continue;
        };

        let level = *level;
        let is_end = |event: &Event<'_>| matches!(event, Event::End(TagEnd::Heading(_)));
        let Some(length) = events[at..].iter().position(is_end) else {
            break;
        };
        let title: String = events[at..at + length]
            .iter()
            .filter_map(words_of)
            .collect();
        let anchor = unique_anchor(anchor_of_heading(&title), &mut used);
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(CowStr::from(anchor.clone()));
        }

        at += length;
        if level != HeadingLevel::H1 {
            let link = format!(
                " <a class=\"anchor\" href=\"#{anchor}\" aria-label=\"Link to {}\">#</a>",
                escape_text(&title)
            );
            events.insert(at, Event::InlineHtml(link.into()));
            at += 1;
        }
        if level == HeadingLevel::H2 {
            headings.push(HeadingLink { title, anchor });
        }
    }

    headings
}

/// Names the column in each cell of a table with three columns or more, but for the first: on a
/// phone a row is a block, far from its heads.
fn add_column_names(events: &mut Vec<Event<'_>>) {
    let mut heads: Vec<String> = Vec::new();
    let mut is_head = false;
    let mut column = 0;
    let mut at = 0;
    while at < events.len() {
        match &events[at] {
            Event::Start(Tag::TableHead) => {
                heads.clear();
                is_head = true;
            }
            Event::End(TagEnd::TableHead) => is_head = false,
            Event::Start(Tag::TableRow) => column = 0,
            Event::Start(Tag::TableCell) if is_head => heads.push(String::new()),
            Event::End(TagEnd::TableCell) => column += 1,
            Event::Start(Tag::TableCell) if column > 0 && heads.len() > 2 => {
                let is_empty = matches!(events.get(at + 1), Some(Event::End(_)));
                let name = heads.get(column).filter(|name| !name.is_empty());
                if let Some(name) = name.filter(|_| !is_empty) {
                    let name = format!("<span class=\"ph\">{}: </span>", escape_text(name));
                    at += 1;
                    events.insert(at, Event::InlineHtml(name.into()));
                }
            }
            other if is_head => {
                if let (Some(words), Some(head)) = (words_of(other), heads.last_mut()) {
                    head.push_str(words);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The text as HTML.
fn escape_text(text: &str) -> String {
    let mut escaped = String::new();
    html::push_html(&mut escaped, std::iter::once(Event::Text(text.into())));

    escaped.replace('"', "&quot;")
}

/// The words of an event in a heading.
fn words_of<'e>(event: &'e Event<'_>) -> Option<&'e str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        Event::SoftBreak => Some(" "),
        _ => None,
    }
}

/// The anchor of a heading, as mdBook and forges make it.
#[must_use]
pub fn anchor_of_heading(title: &str) -> String {
    let sign = |sign: char| match sign {
        '_' | '-' => Some(sign),
        _ if sign.is_alphanumeric() => Some(sign.to_ascii_lowercase()),
        _ if sign.is_whitespace() => Some('-'),
        _ => None,
    };

    title.trim().chars().filter_map(sign).collect()
}

/// The anchor with a number, if the chapter has it already.
fn unique_anchor(anchor: String, used: &mut HashMap<String, u32>) -> String {
    let times = used.entry(anchor.clone()).or_default();
    *times += 1;

    match *times {
        1 => anchor,
        more => format!("{anchor}-{}", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contents_are_parts_with_chapters() {
        let parts = parse_contents(
            "# The book\n\n[First](first.md)\n\n# Use it\n\n- [Then](THEN.md)\n- [Last](last.md)\n",
        );
        let titles: Vec<&str> = parts.iter().map(|part| part.title.as_str()).collect();
        assert_eq!(titles, ["", "Use it"]);
        assert_eq!(parts[0].chapters[0].href, "/docs");
        assert_eq!(parts[1].chapters[0].href, "/docs/then");

        for name in ["then", "THEN", "then.md", "then.html"] {
            let found = find_chapter(&parts, name).map(|chapter| chapter.file);
            assert_eq!(found.as_deref(), Some("THEN.md"), "{name}");
        }
        assert_eq!(find_chapter(&parts, "SUMMARY"), None);
    }

    #[test]
    fn links_lead_to_chapters_and_pictures_come_from_the_book() {
        let html = |markdown: &str| write_chapter(markdown).html;

        assert_eq!(
            html("[a](ARCHITECTURE.md#tests)"),
            "<p><a href=\"/docs/architecture#tests\">a</a></p>\n"
        );
        assert_eq!(
            html("[a](introduction.md)"),
            "<p><a href=\"/docs\">a</a></p>\n"
        );
        assert_eq!(html("[a](#b)"), "<p><a href=\"#b\">a</a></p>\n");
        assert_eq!(
            html("<https://a.example/b.md>"),
            "<p><a href=\"https://a.example/b.md\">https://a.example/b.md</a></p>\n"
        );
        assert_eq!(
            html("![A call](call.png)"),
            "<p><img src=\"/docs/call.png\" alt=\"A call\" /></p>\n"
        );
    }

    #[test]
    fn headings_have_anchors_that_are_unique() {
        let chapter =
            write_chapter("# All\n\n## 17. `Some` words\n\n### In it\n\n## 17. Some words");
        let anchors: Vec<&str> = chapter
            .headings
            .iter()
            .map(|heading| heading.anchor.as_str())
            .collect();
        assert_eq!(anchors, ["17-some-words", "17-some-words-1"]);
        assert!(chapter.html.contains("<h1 id=\"all\">All</h1>"));
        assert!(chapter.html.contains(
            "<h3 id=\"in-it\">In it <a class=\"anchor\" href=\"#in-it\" \
             aria-label=\"Link to In it\">#</a></h3>"
        ));
    }

    #[test]
    fn cells_name_their_column_where_a_row_has_many() {
        let html = write_chapter("| a | b<c | |\n|---|---|---|\n| 1 | 2 | 3 |\n| 4 | | |").html;
        assert!(
            html.contains("<td>1</td><td><span class=\"ph\">b&lt;c: </span>2</td><td>3</td>"),
            "{html}"
        );
        assert!(html.contains("<td>4</td><td></td><td></td>"), "{html}");
        let html = write_chapter("| a | b |\n|---|---|\n| 1 | 2 |").html;
        assert!(html.contains("<td>1</td><td>2</td>"), "{html}");
    }

    #[test]
    fn html_in_a_chapter_is_text() {
        let html = write_chapter("a <b>c</b>\n\n<script>d()</script>\n\n    <pre>\n").html;
        assert!(!html.contains("<b>") && !html.contains("<script"), "{html}");
        assert!(html.contains("<pre><code>&lt;pre&gt;"), "{html}");
    }

    #[test]
    fn pictures_are_the_only_other_files() {
        assert!(find_picture("call.png").is_some());
        for name in ["book.toml", "SUMMARY.md", "../Cargo.toml", "none.png"] {
            assert!(find_picture(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_sample_file_is_shown_as_it_is() {
        let html = write_chapter(&read_file("sample.md").unwrap()).html;
        assert!(html.contains("#homeserver_url = &quot;") || html.contains("#homeserver_url = \""));
        assert!(!html.contains("#include"));
    }
}
