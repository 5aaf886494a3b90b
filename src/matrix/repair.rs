//! Repairs JSON that Matrix servers forward but a strict reader rejects as a whole. Without this,
//! one hostile event in one room would stop every sync for good.

/// Maximum depth; deeper values are replaced by `null`. The reader's own limit is 128. An event is
/// 7 levels deep in a sync.
const DEPTH_MAX: usize = 100;

/// Replaces an invalid character.
const NO_CHARACTER: &str = "\u{fffd}";

/// The body with everything replaced that a strict reader rejects: half surrogate pairs and control
/// characters in strings, numbers beyond a 64 bit float, values nested too deep, bytes that are not
/// UTF-8. Text that is not JSON at all stays invalid.
#[must_use]
pub fn repair_json(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut scan = Scan {
        rest: &text,
        out: String::with_capacity(text.len()),
        depth: 0,
    };

    while let Some(next) = scan.rest.bytes().next() {
        match next {
            b'"' => scan.string(),
            b'[' | b'{' => scan.open(),
            b']' | b'}' => {
                scan.depth = scan.depth.saturating_sub(1);
                scan.copy(1);
            }
            b'-' | b'0'..=b'9' => scan.number(),
            _ => scan.copy_to(|byte| b"\"[]{}-0123456789".contains(&byte)),
        }
    }

    scan.out
}

struct Scan<'a> {
    /// What is still to be read.
    rest: &'a str,
    /// The repaired text so far.
    out: String,
    /// How many lists and objects are open.
    depth: usize,
}

impl Scan<'_> {
    /// Copies `bytes` bytes unchanged. If they do not end at the end of a character, all the rest
    /// is copied.
    fn copy(&mut self, bytes: usize) {
        let (now, later) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.out.push_str(now);
        self.rest = later;
    }

    /// Copies everything before the first byte at which to stop.
    fn copy_to(&mut self, stop: impl Fn(u8) -> bool) {
        let length = self.rest.bytes().position(stop).unwrap_or(self.rest.len());
        self.copy(length);
    }

    /// Leaves out `bytes` bytes.
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    /// Enters a list or an object, at whose first byte the scan must be. One that is nested too
    /// deep is left out to its end, and `null` stands in its place.
    fn open(&mut self) {
        if self.depth < DEPTH_MAX {
            self.depth += 1;
            self.copy(1);
            return;
        }

        let kept = self.out.len();
        let mut open = 0_usize;
        while let Some(next) = self.rest.bytes().next() {
            match next {
                b'"' => self.string(),
                b'[' | b'{' => {
                    open += 1;
                    self.skip(1);
                }
                b']' | b'}' => {
                    open -= 1;
                    self.skip(1);
                }
                _ => self.copy_to(|byte| b"\"[]{}".contains(&byte)),
            }

            self.out.truncate(kept);
            if open == 0 {
                break;
            }
        }

        self.out.push_str("null");
    }

    /// Copies a string, from its first quote to its last. Control characters are replaced.
    fn string(&mut self) {
        self.copy(1);
        while let Some(next) = self.rest.bytes().next() {
            match next {
                b'"' => return self.copy(1),
                b'\\' => self.escape(),
                0..=0x1f => {
                    self.out.push_str(NO_CHARACTER);
                    self.skip(1);
                }
                _ => self.copy_to(|byte| byte == b'"' || byte == b'\\' || byte < 0x20),
            }
        }
    }

    /// Copies an escape, which begins with a backslash. A half of a surrogate pair is replaced;
    /// both halves together are copied.
    fn escape(&mut self) {
        match (
            utf16_unit(self.rest),
            self.rest.get(6..).and_then(utf16_unit),
        ) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => self.copy(12),
            (Some(0xd800..=0xdfff), _) => {
                self.out.push_str(NO_CHARACTER);
                self.skip(6);
            }
            (Some(_), _) => self.copy(6),
            (None, _) => {
                let second = self.rest.chars().nth(1).map_or(0, char::len_utf8);
                self.copy(1 + second);
            }
        }
    }

    /// Copies a number, or what looks like one. One that is too large for a 64 bit float becomes
    /// 1e308 or -1e308; what is no number stays, for the strict reader to reject.
    fn number(&mut self) {
        let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let length = self
            .rest
            .bytes()
            .position(|byte| !is_part(byte))
            .unwrap_or(self.rest.len());
        let infinite = self.rest[..length]
            .parse::<f64>()
            .is_ok_and(f64::is_infinite);

        if infinite {
            self.out.push_str(if self.rest.starts_with('-') {
                "-1e308"
            } else {
                "1e308"
            });
            self.skip(length);
        } else {
            self.copy(length);
        }
    }
}

/// The UTF-16 unit of a `\uXXXX` at the beginning of `text`; `None` if it begins otherwise.
fn utf16_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        assert!(
            serde_json::from_str::<Value>(text).is_err(),
            "the strict reader takes {text}"
        );

        serde_json::from_str(&repair_json(text.as_bytes())).unwrap()
    }

    #[test]
    fn half_surrogates_control_characters_and_endless_numbers_become_readable() {
        assert_eq!(
            read(r#"["\ud800", "x\udc00y", "\ud83d\ude00\n", 1]"#),
            json!(["\u{fffd}", "x\u{fffd}y", "\u{1f600}\n", 1])
        );
        assert_eq!(read("[\"a\u{1}b\"]"), json!(["a\u{fffd}b"]));
        let digits = "9".repeat(400);
        assert_eq!(
            read(&format!("[{digits}, -{digits}, 1e999]")),
            json!([1e308, -1e308, 1e308])
        );
    }

    #[test]
    fn what_is_nested_too_deep_becomes_null_and_what_follows_is_kept() {
        let deep = format!(
            "{{\"deep\":{}\"]}}\\\"[\"{},\"next\":2}}",
            "[".repeat(500),
            "]".repeat(500)
        );
        let value = read(&deep);
        assert_eq!(value["next"], 2);
        let mut inner = &value["deep"];
        while let Some(next) = inner.get(0) {
            inner = next;
        }

        assert_eq!(*inner, Value::Null);
    }

    #[test]
    fn bytes_that_are_not_utf8_become_readable() {
        let repaired = repair_json(b"[\"a\xffb\"]");
        assert_eq!(
            serde_json::from_str::<Value>(&repaired).unwrap(),
            json!(["a\u{fffd}b"])
        );
    }

    proptest! {
        #[test]
        fn good_json_stays_as_it_is(text in "[\\x20-\\x7e\u{e4}\u{1f600}\\n]{0,40}", number: i64) {
            let good = json!({"t": text, "n": [number, {"f": 1.5}],
                "e": "\u{1}\u{1f600}"}).to_string();
            prop_assert_eq!(repair_json(good.as_bytes()), good);
        }

        #[test]
        fn nothing_makes_it_panic(body: Vec<u8>, text in "[\\[\\]{}\"\\\\u0-9d8,a-f-]{0,60}") {
            let _ = repair_json(&body);
            let _ = repair_json(text.as_bytes());
        }
    }
}
