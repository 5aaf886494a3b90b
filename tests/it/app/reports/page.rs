//! A page as people read it: its text without the markup.

/// Inline elements; all others separate their text from the text beside them.
const INLINE: [&str; 10] = [
    "a", "b", "bdi", "code", "i", "em", "small", "span", "strong", "time",
];

/// Elements whose text is not visible.
const UNSEEN: [&str; 4] = ["head", "script", "style", "noscript"];

/// The text of a page, in one line.
pub fn text_of(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;

    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];

        let name = element_name(rest);
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|end| end + 3)
        } else if UNSEEN.contains(&name.as_str()) {
            let closing = format!("</{name}>");
            rest.find(&closing).map(|end| end + closing.len())
        } else {
            rest.find('>').map(|end| end + 1)
        };

        if !INLINE.contains(&name.trim_start_matches('/')) {
            text.push(' ');
        }

        rest = end.map_or("", |end| &rest[end..]);
    }

    text.push_str(rest);

    let text = unescape(&text);

    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of the element that begins here; with a slash for an end tag.
fn element_name(tag: &str) -> String {
    tag[1..]
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '/' || *letter == '!')
        .collect::<String>()
        .trim_end_matches('/')
        .to_lowercase()
}

fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (coded, plain)| {
        text.replace(coded, plain)
    })
}

/// Fails if a page does not contain a text, and shows the page.
#[track_caller]
pub fn says(page: &str, wanted: &str) {
    assert!(page.contains(wanted), "{wanted:?} is not said:\n{page}");
}

/// Fails if a page contains a text that it must not.
#[track_caller]
pub fn is_silent_of(page: &str, unwanted: &str) {
    assert!(!page.contains(unwanted), "{unwanted:?} is said:\n{page}");
}

#[test]
fn the_text_of_a_page_is_what_one_reads() {
    let html = "<!doctype html><html><head><title>No</title></head><body><h1>Two &amp; <b>three</b></h1>\
        <p><bdi>Ada</bdi>, since <time datetime=\"x\">16:00</time>.</p><script>no()</script><ul><li>one<li>two</ul>";
    assert_eq!(text_of(html), "Two & three Ada, since 16:00. one two");
}
