//! Makes strangers' text harmless: for a line, as raw JSON, in an address.

use crate::rtc::direction::turns_direction;
use askama::filters::HtmlSafe;
use std::fmt::{self, Write};

/// Maximum length of a name on pages, characters; longer ones are cut.
pub(super) const NAME_MAX: usize = 160;
/// Maximum length of an error on pages, characters; longer ones are cut.
const SENTENCE_MAX: usize = 1000;
/// Maximum length of raw JSON on pages, bytes of the pretty text; longer JSON is cut.
const JSON_MAX: usize = 4096;

/// Is it a control character, one that changes the direction of text, or an invisible one? The
/// joiners U+200C and U+200D are invisible, too, but are no deception: names in Persian and in
/// Indian scripts are spelled with them, and many emoji are made of several with a joiner between.
fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || turns_direction(letter)
        || matches!(letter, '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}'
            | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

/// A stranger's text made harmless for one line: no control characters, no direction overrides,
/// limited length.
#[must_use]
pub fn sanitize_line(text: &str) -> String {
    sanitize_text(text, NAME_MAX)
}

/// An error message made harmless for one line, as [`sanitize_line`] does with a name. It may be
/// longer, because it also says what to do.
#[must_use]
pub fn sanitize_message(text: &str) -> String {
    sanitize_text(text, SENTENCE_MAX)
}

/// A stranger's text made harmless for one line, of at most `most` characters; a longer one ends in
/// `…`. A text of which nothing is visible becomes words that say so.
fn sanitize_text(text: &str, most: usize) -> String {
    let mut letters = text
        .chars()
        .map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    let mut clean: String = letters
        .by_ref()
        .filter(|letter| !is_deceptive(*letter))
        .take(most)
        .collect();
    if letters.any(|letter| !is_deceptive(letter)) {
        clean.push('…');
    }

    if clean.trim().is_empty() {
        "(no visible name)".to_owned()
    } else {
        clean
    }
}

/// A name within a sentence of plain text. A right-to-left name is isolated, so that the text after
/// it, such as a time, does not move to its other side (UAX #9, isolates).
#[must_use]
pub fn isolate_bidi(name: &str) -> String {
    let leftwards = |letter: char| {
        matches!(letter, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
    };

    if name.chars().any(leftwards) {
        format!("\u{2068}{name}\u{2069}")
    } else {
        name.to_owned()
    }
}

/// Our own text, with names of keys in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodedText(String);

impl fmt::Display for CodedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            let part = RawJson(part.to_owned());
            if index % 2 == 1 {
                write!(f, "<code>{part}</code>")?;
            } else {
                write!(f, "{part}")?;
            }
        }

        Ok(())
    }
}

impl HtmlSafe for CodedText {}

/// The text with its backticked names as `<code>`.
#[must_use]
pub fn mark_code(text: &str) -> CodedText {
    CodedText(text.to_owned())
}

/// JSON as text of an element. Only characters special in HTML text are escaped; escaping quotes as
/// well would triple its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawJson(String);

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                _ => f.write_char(letter)?,
            }
        }

        Ok(())
    }
}

impl HtmlSafe for RawJson {}

/// A stored event as pretty JSON; dangerous characters are escaped, and very long text is cut.
#[must_use]
pub fn raw_json(event: &serde_json::Value) -> RawJson {
    let text = event.as_str().map(ToOwned::to_owned);
    let text = text
        .or_else(|| serde_json::to_string_pretty(event).ok())
        .unwrap_or_default();
    let mut clean = String::with_capacity(text.len().min(JSON_MAX));
    for letter in text.chars() {
        if clean.len() >= JSON_MAX {
            clean.push_str("\n… cut here: the event is longer");
            break;
        }

        match letter {
            '\n' => clean.push(letter),
            _ if is_deceptive(letter) => {
                let _ = write!(clean, "\\u{:04x}", u32::from(letter));
            }
            _ => clean.push(letter),
        }
    }

    RawJson(clean)
}

/// A text as one segment of a path: Matrix ids stay readable.
#[must_use]
pub fn path_segment(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'@'
            | b':' => {
                path.push(char::from(byte));
            }
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }

    path
}

/// `Ada`, `Ada and Bob`, `Ada, Bob and Cy`.
#[must_use]
pub fn list_in_words(names: &[String]) -> String {
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// The page of the SFU at this service URL.
#[must_use]
pub fn sfu_href(url: &str) -> String {
    let host = crate::rtc::transport::host_of_url(url);
    format!("/transports/{}", path_segment(&host))
}

/// The host of a service URL, for a label; the whole text when it has none.
#[must_use]
pub fn host_of_url(url: &str) -> &str {
    url.split_once("://")
        .map_or(url, |(_, rest)| rest.split('/').next().unwrap_or(rest))
}
