//! Splits JSON while it comes: wanted values are passed on one by one, the rest is skipped, and the
//! whole is never kept. The structure on the path to wanted values must be valid JSON. Each value
//! is passed on unchecked.

use super::json::text_of_bytes;
use super::repair::repair_json;
use memchr::memchr2;

/// Maximum length of a key on the path to wanted values, bytes. A longer one is an error.
const KEY_MAX: usize = 64 * 1024;

/// What the taker wants of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Enter it as an object: something in it is wanted.
    Object,
    /// Enter it as a list: its values are wanted, and their path has one more, empty key.
    List,
    /// Its text, up to this many bytes.
    Text(usize),
    Nothing,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Text(&'a [u8]),
    /// The value has more bytes than were wanted.
    TooLong,
    /// It is not the expected object or list; its first byte.
    Other(u8),
    /// The end of an object that was entered.
    End,
}

/// Decides what is wanted, and receives it.
pub(super) trait Taker {
    /// What is wanted of the value at this path. A path is the keys of the objects around it; a
    /// value of a list has an empty key.
    fn wants(&mut self, path: &[String]) -> Want;
    /// Receives what was found at this path.
    fn takes(&mut self, path: &[String], found: Found<'_>);
}

/// The text is not valid JSON from this byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenJson(pub usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SplitState {
    /// A value is expected; in a new list (`FirstValue`) also its end.
    Value,
    FirstValue,
    /// A key is expected; in a new object (`FirstKey`) also its end.
    Key,
    FirstKey,
    /// Within the text of a key.
    KeyText,
    Colon,
    /// A comma or an end is expected.
    After,
    /// Within a value that is wanted or skipped.
    Inside,
    Done,
}

/// Reads one text.
#[derive(Debug)]
pub(super) struct Splitter {
    state: SplitState,
    /// The keys of the entered containers; a list has an empty one.
    path: Vec<String>,
    /// The containers that were entered; true = object, false = list.
    entered: Vec<bool>,
    /// Bytes read so far.
    read: usize,
    /// The current key as far as it has come.
    key: Vec<u8>,
    /// Position within the current value: its depth, whether in a text, whether after a backslash.
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Maximum wanted bytes of the current value; `None` = it is skipped.
    limit: Option<usize>,
    /// The current value has more bytes than were wanted.
    too_long: bool,
    /// The current value as far as it has come, if it is wanted.
    text: Vec<u8>,
}

impl Splitter {
    /// A splitter before the first byte.
    pub(super) fn new() -> Self {
        Self {
            state: SplitState::Value,
            path: Vec::new(),
            entered: Vec::new(),
            read: 0,
            key: Vec::new(),
            depth: 0,
            in_text: false,
            escaped: false,
            limit: None,
            too_long: false,
            text: Vec::new(),
        }
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// Is the text complete? Only white space may follow.
    pub(super) fn is_done(&self) -> bool {
        self.state == SplitState::Done
    }

    /// Reads the next bytes, which may begin and end anywhere, and passes on what is wanted. After
    /// an error the splitter must not be used any more.
    pub(super) fn feed(&mut self, bytes: &[u8], taker: &mut impl Taker) -> Result<(), BrokenJson> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            let used = match self.state {
                SplitState::Inside => self.continue_value(rest, taker),
                SplitState::KeyText => self.continue_key(rest)?,
                _ if first.is_ascii_whitespace() => 1,
                _ => self.read_byte(*first, taker)?,
            };

            self.read += used;
            rest = rest.get(used..).unwrap_or_default();
        }

        Ok(())
    }

    /// Processes one byte outside of values and keys. Returns how many bytes were used.
    fn read_byte(&mut self, byte: u8, taker: &mut impl Taker) -> Result<usize, BrokenJson> {
        match (self.state, byte) {
            (SplitState::FirstKey, b'}') | (SplitState::FirstValue, b']') => {
                self.leave_container(taker);
            }
            (SplitState::FirstKey | SplitState::Key, b'"') => {
                self.key.clear();
                self.state = SplitState::KeyText;
            }
            (SplitState::Colon, b':') => self.state = SplitState::Value,
            (SplitState::Value | SplitState::FirstValue, _) => {
                return self.begin_value(byte, taker);
            }
            (SplitState::After, b',') => {
                let in_object = self.entered.last() == Some(&true);
                self.state = if in_object {
                    SplitState::Key
                } else {
                    SplitState::Value
                };
            }
            (SplitState::After, b'}') if self.entered.last() == Some(&true) => {
                self.leave_container(taker);
            }
            (SplitState::After, b']') if self.entered.last() == Some(&false) => {
                self.leave_container(taker);
            }
            _ => return Err(BrokenJson(self.read)),
        }

        Ok(1)
    }

    /// Decides what happens to a value that begins with this byte: it is entered, collected or
    /// skipped. Returns how many bytes were used: 0 if the value is read from this byte on.
    fn begin_value(&mut self, byte: u8, taker: &mut impl Taker) -> Result<usize, BrokenJson> {
        if !matches!(
            byte,
            b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'
        ) {
            return Err(BrokenJson(self.read));
        }

        let want = taker.wants(&self.path);
        match (want, byte) {
            (Want::Object, b'{') => {
                self.entered.push(true);
                self.state = SplitState::FirstKey;
                return Ok(1);
            }
            (Want::List, b'[') => {
                self.entered.push(false);
                self.path.push(String::new());
                self.state = SplitState::FirstValue;
                return Ok(1);
            }
            (Want::Object | Want::List, _) => taker.takes(&self.path, Found::Other(byte)),
            (Want::Text(_) | Want::Nothing, _) => {}
        }

        self.limit = match want {
            Want::Text(limit) => Some(limit),
            _ => None,
        };

        (self.depth, self.in_text, self.escaped) = (0, false, false);
        self.too_long = false;
        self.state = SplitState::Inside;

        Ok(0)
    }

    /// Continues within a value that is collected or skipped, to its end or to the end of the
    /// bytes. Returns how many bytes were used.
    fn continue_value(&mut self, bytes: &[u8], taker: &mut impl Taker) -> usize {
        let (used, ended) = self.scan_value(bytes);
        if let Some(limit) = self.limit
            && !self.too_long
        {
            self.too_long = self.text.len() + used > limit;
            self.text
                .extend_from_slice(bytes.get(..used.min(limit)).unwrap_or_default());
        }

        if ended {
            if self.limit.is_some() {
                let found = if self.too_long {
                    Found::TooLong
                } else {
                    Found::Text(&self.text)
                };

                taker.takes(&self.path, found);
            }

            self.text.clear();
            self.end_of_value();
        }

        used
    }

    /// How many of these bytes belong to the current value, and whether it ends with the last of
    /// them. `depth`, `in_text` and `escaped` say where in the value the bytes begin, and move on.
    fn scan_value(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.escaped {
                self.escaped = false;
                at += 1;
            } else if self.in_text {
                let Some(next) = memchr2(b'"', b'\\', &bytes[at..]) else {
                    return (bytes.len(), false);
                };

                at += next + 1;
                self.escaped = bytes[at - 1] == b'\\';
                self.in_text = self.escaped;
                if !self.in_text && self.depth == 0 {
                    return (at, true);
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    // The end of a number or a word is recognised by the byte after it.
                    b'}' | b']' | b',' if self.depth == 0 => return (at, true),
                    byte if self.depth == 0 && byte.is_ascii_whitespace() => return (at, true),
                    _ => {}
                }

                at += 1;
            }
        }

        (bytes.len(), false)
    }

    /// Continues within a key, to its end or to the end of the bytes. Returns how many bytes were
    /// used.
    fn continue_key(&mut self, bytes: &[u8]) -> Result<usize, BrokenJson> {
        let mut at = 0;
        let mut ended = false;
        while at < bytes.len() && !ended {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }

            let Some(next) = memchr2(b'"', b'\\', &bytes[at..]) else {
                at = bytes.len();
                break;
            };

            at += next + 1;
            self.escaped = bytes[at - 1] == b'\\';
            ended = !self.escaped;
        }

        self.key.extend_from_slice(&bytes[..at]);
        if self.key.len() > KEY_MAX {
            return Err(BrokenJson(self.read));
        }

        if ended {
            self.key.pop();
            let key = read_key(&self.key);
            self.path.push(key);
            self.state = SplitState::Colon;
        }

        Ok(at)
    }

    /// Leaves a container that was entered, at its end.
    fn leave_container(&mut self, taker: &mut impl Taker) {
        match self.entered.pop() {
            Some(true) => taker.takes(&self.path, Found::End),
            _ => {
                self.path.pop();
            }
        }

        self.end_of_value();
    }

    /// Takes the key of a value that has ended off the path, and decides what comes next.
    fn end_of_value(&mut self) {
        match self.entered.last() {
            Some(true) => {
                self.path.pop();
                self.state = SplitState::After;
            }
            Some(false) => self.state = SplitState::After,
            None => self.state = SplitState::Done,
        }
    }
}

/// A key from the bytes between its quotes. Invalid parts are replaced.
fn read_key(raw: &[u8]) -> String {
    let quoted = repair_json(&[b"\"", raw, b"\""].concat());
    text_of_bytes(quoted.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Wants `pos`, and of each room its list `events`.
    #[derive(Default)]
    struct Rooms {
        taken: Vec<String>,
    }

    impl Taker for Rooms {
        fn wants(&mut self, path: &[String]) -> Want {
            match path.len() {
                0 => Want::Object,
                1 if path[0] == "pos" => Want::Text(20),
                1 | 2 if path[0] == "rooms" => Want::Object,
                3 if path[2] == "events" => Want::List,
                4 => Want::Text(20),
                _ => Want::Nothing,
            }
        }

        fn takes(&mut self, path: &[String], found: Found<'_>) {
            let words = match found {
                Found::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Found::TooLong => "too long".to_owned(),
                Found::Other(byte) => format!("other {}", char::from(byte)),
                Found::End => "end".to_owned(),
            };

            self.taken.push(format!("{}={words}", path.join("/")));
        }
    }

    /// The results for a text that comes in pieces of this many bytes.
    fn taken(text: &str, piece: usize) -> Result<Vec<String>, BrokenJson> {
        let (mut splitter, mut rooms) = (Splitter::new(), Rooms::default());
        for bytes in text.as_bytes().chunks(piece) {
            splitter.feed(bytes, &mut rooms)?;
        }

        if splitter.is_done() {
            Ok(rooms.taken)
        } else {
            Err(BrokenJson(splitter.read()))
        }
    }

    #[test]
    fn what_is_wanted_comes_value_by_value_in_pieces_of_any_size() {
        let text = r#" {"a":{"pos":[1,{"}":"]"}]},"pos" : "s\"1","rooms":{"!a":{"events":[ {"x":"}\\"},7 ,null,[]],"b":[1]},
            "!\u00e4":{},"!c":5,"!d":{"events":{}},"!e":{"events":["0123456789012345678901234"]}}} "#;
        let want = [
            r#"pos="s\"1""#,
            r#"rooms/!a/events/={"x":"}\\"}"#,
            "rooms/!a/events/=7",
            "rooms/!a/events/=null",
            "rooms/!a/events/=[]",
            "rooms/!a=end",
            "rooms/!ä=end",
            "rooms/!c=other 5",
            "rooms/!d/events=other {",
            "rooms/!d=end",
            "rooms/!e/events/=too long",
            "rooms/!e=end",
            "rooms=end",
            "=end",
        ];

        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(taken(text, piece).unwrap(), want, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_json_on_the_way_is_told_with_its_place() {
        for (text, at) in [
            ("<html>", 0),
            ("{\"pos\" 1}", 7),
            ("{\"rooms\":{]}", 10),
            ("{} x", 3),
            ("{\"pos\":1", 8),
            ("", 0),
        ] {
            assert_eq!(taken(text, 3), Err(BrokenJson(at)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[\\[\\]{}\"\\\\:,0-9trueposrmsvn \
                                           !-]{0,80}", piece in 1_usize..9) {
            let _ = taken(&text, piece);
        }

        #[test]
        fn values_of_a_list_are_those_that_were_written(texts in proptest::collection::vec("[ \
                                                                                            -~\u{e4}]{0,4}", 0..6)) {
            let text = json!({"rooms": {"!a": {"events": texts}}}).to_string();
            let found: Vec<Value> = taken(&text, 5).unwrap().iter()
                .filter_map(|one| serde_json::from_str(one.strip_prefix("rooms/!a/events/=")?).ok())
                .collect();
            prop_assert_eq!(Value::from(found), json!(texts));
        }
    }
}
