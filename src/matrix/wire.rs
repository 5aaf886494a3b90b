//! Answers as they were received.

use super::error::{Error, Result};
use super::events::AnswerTooLarge;
use super::json::{Fields, build_value, check_strictly, fields_of_object, max_value_count};
use super::repair::repair_json;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Maximum values in an answer, its events not counted. No homeserver sends more.
const NODES_MAX: usize = 500_000;

/// A JSON answer as text, from which large parts are taken one by one.
#[derive(Debug)]
pub(super) struct JsonBody {
    /// The request: method and path.
    pub asked: String,
    pub status: u16,
    pub text: String,
}

impl JsonBody {
    /// The body as JSON text. Invalid parts are repaired if possible; a body that is cut off is an
    /// error.
    pub(super) fn read(asked: String, status: u16, body: Vec<u8>) -> Result<Self> {
        let text = match String::from_utf8(body) {
            Ok(text) => match check_strictly(&text) {
                Ok(()) => {
                    return Ok(Self {
                        asked,
                        status,
                        text,
                    });
                }
                // A truncated body is not repaired, because the missing part cannot be restored.
                Err(error) if error.is_eof() => {
                    return Err(Error::NotMatrix {
                        asked,
                        status,
                        why: describe_broken_json(&text, &error),
                    });
                }
                Err(_) => repair_json(text.as_bytes()),
            },
            Err(bad) => repair_json(bad.as_bytes()),
        };

        match check_strictly(&text) {
            Ok(()) => Ok(Self {
                asked,
                status,
                text,
            }),
            Err(error) => Err(Error::NotMatrix {
                asked,
                status,
                why: describe_broken_json(&text, &error),
            }),
        }
    }

    /// The error for an answer that is JSON but does not conform to Matrix.
    pub(super) fn not_matrix(&self, why: impl Into<String>) -> Error {
        Error::NotMatrix {
            asked: self.asked.clone(),
            status: self.status,
            why: why.into(),
        }
    }

    /// The whole answer, not yet parsed.
    pub(super) fn raw(&self) -> Result<&RawValue> {
        serde_json::from_str(&self.text)
            .map_err(|error| self.not_matrix(describe_broken_json(&self.text, &error)))
    }

    /// The entries of the answer, which must be an object.
    pub(super) fn fields(&self) -> Result<Fields<'_>> {
        fields_of_object(self.raw()?).ok_or_else(|| self.not_matrix("an object was expected"))
    }

    /// The error for an answer of which even the stand-ins take too much memory.
    pub(super) fn full(&self, _: AnswerTooLarge) -> Error {
        self.not_matrix("more small events than fit into memory")
    }
}

/// A JSON answer with the data for error texts.
#[derive(Debug)]
pub(super) struct Answer {
    /// The request: method and path.
    pub asked: String,
    pub status: u16,
    pub value: Value,
}

impl Answer {
    /// The answer as a value. It must have no events in it: those are built one by one, within
    /// limits.
    pub(super) fn parse_page(page: JsonBody) -> Result<Self> {
        if max_value_count(&page.text) > NODES_MAX {
            return Err(page.not_matrix(format!("more than {NODES_MAX} values")));
        }

        let value = build_value(&page.text)
            .map_err(|error| page.not_matrix(describe_broken_json(&page.text, &error)))?;

        Ok(Self {
            asked: page.asked,
            status: page.status,
            value,
        })
    }

    /// The error for an answer that is JSON but does not conform to Matrix.
    pub(super) fn not_matrix(&self, why: impl Into<String>) -> Error {
        Error::NotMatrix {
            asked: self.asked.clone(),
            status: self.status,
            why: why.into(),
        }
    }

    /// The answer as an object.
    pub(super) fn object(&self) -> Result<&Map<String, Value>> {
        self.value
            .as_object()
            .ok_or_else(|| self.not_matrix("an object was expected"))
    }

    /// The text under `key`: it must be there and must not be empty.
    pub(super) fn text(&self, key: &str) -> Result<String> {
        let text = self
            .object()?
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());

        text.map(ToOwned::to_owned)
            .ok_or_else(|| self.not_matrix(format!("`{key}` is missing")))
    }

    /// The text under `key`; `None` if there is none.
    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        self.value
            .get(key)
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
    }

    /// Takes the list under `key`, which must be there, out of the answer.
    pub(super) fn take_list(&mut self, key: &str) -> Result<Vec<Value>> {
        match self.value.get_mut(key).map(Value::take) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(self.not_matrix(format!("the list `{key}` is missing"))),
        }
    }
}

/// What is wrong with a body that is not JSON, in words: empty, a web page, cut off, or broken.
fn describe_broken_json(body: &str, error: &serde_json::Error) -> String {
    let start = body.trim_ascii_start();
    if start.is_empty() {
        "an empty answer".to_owned()
    } else if start.starts_with('<') {
        "a web page (HTML)".to_owned()
    } else if error.is_eof() {
        format!("JSON that breaks off after {} bytes", body.len())
    } else {
        format!("broken JSON ({error})")
    }
}

/// A stranger's text, made safe for a log line: no control characters, at most `max` characters of
/// it, and `…` if it was cut.
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

    fn read(body: &str) -> Result<Answer> {
        Answer::parse_page(JsonBody::read("GET /x".to_owned(), 200, body.into())?)
    }

    fn why(body: &str) -> String {
        read(body).unwrap_err().to_string()
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
        let answer = read("{\"a\":\"\",\"b\":\"x\"}").unwrap();
        assert!(answer.text("a").is_err());
        assert_eq!(answer.text("b").unwrap(), "x");
        assert!(read("[]").unwrap().text("a").is_err());
    }

    #[test]
    fn an_answer_of_countless_values_is_refused() {
        let list = |values: usize| format!("[{}1]", "1,".repeat(values));
        assert!(read(&list(NODES_MAX / 2)).is_ok());
        assert!(why(&list(NODES_MAX)).ends_with("more than 500000 values"));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc", 4), "a b …");
    }
}
