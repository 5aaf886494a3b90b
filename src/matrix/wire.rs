//! Answers as they came over the wire, and the event types that we ask for.

use super::error::{Error, Result};
use super::repair::repair;
use serde_json::{Map, Value};

/// The event types that are asked for in `/sync` and `/messages` (MATRIXRTC.md section 8). `m.room.encrypted` is
/// left out: it would bring every message of a room; sticky ones come in their own section all the same.
pub const TYPES: &[&str] = &[
    "org.matrix.msc3401.call",
    "m.call",
    "org.matrix.msc3401.call.member",
    "m.call.member",
    "org.matrix.msc4143.rtc.member",
    "m.rtc.member",
    "org.matrix.msc4143.rtc.slot",
    "m.rtc.slot",
    "org.matrix.msc4075.rtc.notification",
    "m.rtc.notification",
    "org.matrix.msc4075.call.notify",
    "m.call.notify",
    "org.matrix.msc4310.rtc.decline",
    "m.rtc.decline",
    "m.room.member",
    "m.room.redaction",
    "m.room.encryption",
    "m.room.tombstone",
    "m.room.create",
    "m.room.name",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.topic",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.space.parent",
];

/// A JSON answer with what is needed to complain about it.
#[derive(Debug)]
pub(super) struct Answer {
    pub asked: String,
    pub status: u16,
    pub value: Value,
    /// Parts of the text were not JSON for a strict reader and were replaced.
    pub repaired: bool,
}

impl Answer {
    /// Reads a body as JSON; what a strict reader refuses is repaired where that is possible.
    pub(super) fn read(asked: String, status: u16, body: &[u8]) -> Result<Self> {
        let strict = match serde_json::from_slice(body) {
            Ok(value) => {
                return Ok(Self { asked, status, value, repaired: false });
            }
            Err(error) => error,
        };
        // A body that broke off is not worth the walk: nothing that is missing can be put back.
        let again = if strict.is_eof() { None } else { serde_json::from_str(&repair(body)).ok() };
        match again {
            Some(value) => Ok(Self { asked, status, value, repaired: true }),
            None => Err(Error::NotMatrix { asked, status, why: describe(body, &strict) }),
        }
    }

    /// The error for an answer that is JSON and still not what Matrix says it must be.
    pub(super) fn not_matrix(&self, why: impl Into<String>) -> Error {
        Error::NotMatrix { asked: self.asked.clone(), status: self.status, why: why.into() }
    }

    /// The answer as an object.
    pub(super) fn object(&self) -> Result<&Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.not_matrix("an object was expected"))
    }

    /// The text under `key`: it must be there and must not be empty.
    pub(super) fn text(&self, key: &str) -> Result<String> {
        let text = self.object()?.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(ToOwned::to_owned).ok_or_else(|| self.not_matrix(format!("`{key}` is missing")))
    }

    /// The text under `key`, if there is one.
    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        self.value.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
    }

    /// The list under `key`, which must be there; it is taken out of the answer.
    pub(super) fn take_list(&mut self, key: &str) -> Result<Vec<Value>> {
        match self.value.get_mut(key).map(Value::take) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(self.not_matrix(format!("the list `{key}` is missing"))),
        }
    }
}

fn describe(body: &[u8], error: &serde_json::Error) -> String {
    let start = body.trim_ascii_start();
    if start.is_empty() {
        "an empty answer".to_owned()
    } else if start.starts_with(b"<") {
        "a web page (HTML)".to_owned()
    } else if error.is_eof() {
        format!("JSON that breaks off after {} bytes", body.len())
    } else {
        format!("broken JSON ({error})")
    }
}

/// A stranger's text as it may stand in a log line: no control characters, at most `max` characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(max).map(clean).collect();
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(body: &str) -> String {
        Answer::read("GET /x".to_owned(), 200, body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_reason_says_what_came_instead() {
        assert!(why("").ends_with("an empty answer"), "{}", why(""));
        assert!(why(" <html>").ends_with("a web page (HTML)"));
        assert!(why("{\"a\":1").ends_with("JSON that breaks off after 6 bytes"));
        assert!(why("{\"a\" 1}").contains("broken JSON"));
    }

    #[test]
    fn required_fields_are_required() {
        let answer = Answer::read("GET /x".to_owned(), 200, b"{\"a\":\"\",\"b\":\"x\"}").unwrap();
        assert!(answer.text("a").is_err());
        assert_eq!(answer.text("b").unwrap(), "x");
        assert!(Answer::read(String::new(), 200, b"[]").unwrap().text("a").is_err());
    }

    #[test]
    fn encrypted_messages_are_not_asked_for() {
        assert!(!TYPES.contains(&"m.room.encrypted"));
        assert!(TYPES.contains(&"m.room.member"));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc", 4), "a b …");
    }
}
