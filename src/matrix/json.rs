//! Reads untrusted JSON with bounded memory: checks a text without keeping it, and builds small
//! parts of it.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The memory of a map with up to 11 entries, bytes: one block. The blocks of a larger map are half
/// full.
const MAP_BLOCK: usize = 640;
const MAP_BLOCK_FULL: usize = 11;
/// Memory of a text in addition to its bytes.
const TEXT_EXTRA: usize = 16;
/// Replaces an invalid character.
const NO_CHARACTER: &str = "\u{fffd}";
/// Keys with this prefix have a special meaning for `serde_json`: it reads the value as JSON of its
/// own, uncounted, or rejects everything.
const RESERVED: &str = "$serde_json::private::";

/// The entries of an object, each still as text. If a key occurs twice, the last entry counts.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The entries of an object; `None` if it is no object.
pub(super) fn fields_of_object(raw: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// The value as a text; `None` if it is not one.
pub(super) fn text_of_value(raw: &RawValue) -> Option<String> {
    text_of_bytes(raw.get().as_bytes())
}

/// The text in these bytes of JSON; `None` if they are not one.
pub(super) fn text_of_bytes(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<String>(json).ok().map(replace_nul)
}

/// The text without NUL, which is not a valid character in any text here: `PostgreSQL` would reject
/// it, and with it everything in the same answer.
fn replace_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', NO_CHARACTER)
    } else {
        text
    }
}

/// Checks that all of it is valid for a strict reader. (`RawValue` alone accepts half surrogate
/// pairs, numbers out of range and any depth.)
pub(super) fn check_strictly(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<StrictCheck>(text).map(|_| ())
}

/// The value of a text that was checked and counted.
pub(super) fn build_value(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str::<PlainValue>(text).map(|plain| plain.0)
}

/// An upper bound of the number of values in a text, containers included: each value is at the
/// beginning or follows a comma or a bracket.
pub(super) fn max_value_count(text: &str) -> usize {
    // Whether the byte is within a string, and whether it follows a backslash there.
    let (mut count, mut in_text, mut escaped) = (1_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }

    count
}

/// Roughly how many bytes of memory a value takes.
pub(super) fn estimate_memory(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.capacity() + TEXT_EXTRA,
        Value::Array(list) => {
            let spare = list.capacity() - list.len();
            spare * size_of::<Value>() + list.iter().map(estimate_memory).sum::<usize>()
        }
        Value::Object(map) => {
            let half_full = if map.len() <= MAP_BLOCK_FULL {
                MAP_BLOCK_FULL
            } else {
                MAP_BLOCK_FULL / 2
            };

            let entries = map
                .iter()
                .map(|(key, value)| key.capacity() + TEXT_EXTRA + estimate_memory(value));
            map.len().div_ceil(half_full) * MAP_BLOCK + entries.sum::<usize>()
        }
        _ => 0,
    };

    size_of::<Value>() + inner
}

/// Passes each value of a list to `take`, one at a time, until it returns false. `None` if it did,
/// or if it is no list; `Some` if all values were passed.
pub(super) fn for_each_item<'a>(
    raw: &'a RawValue,
    take: impl FnMut(&'a RawValue) -> bool,
) -> Option<()> {
    serde_json::Deserializer::from_str(raw.get())
        .deserialize_seq(ItemVisitor(take))
        .ok()
}

struct ItemVisitor<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> bool> Visitor<'de> for ItemVisitor<F> {
    type Value = ();

    fn expecting(&self, words: &mut fmt::Formatter<'_>) -> fmt::Result {
        words.write_str("a list")
    }

    /// Passes each value to the closure; stops with an error once that returns false.
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(raw) = list.next_element::<&RawValue>()? {
            if !(self.0)(raw) {
                return Err(A::Error::custom("enough"));
            }
        }

        Ok(())
    }
}

/// Parses any JSON and keeps nothing.
struct StrictCheck;

impl<'de> Deserialize<'de> for StrictCheck {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for StrictCheck {
    type Value = Self;

    fn expecting(&self, words: &mut fmt::Formatter<'_>) -> fmt::Result {
        words.write_str("any JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    /// Reads every value of a list, and so checks it.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    /// Reads every key and value of an object, and so checks them.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A value, built without the special meaning of `serde_json`'s reserved keys.
struct PlainValue(Value);

impl<'de> Deserialize<'de> for PlainValue {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, words: &mut fmt::Formatter<'_>) -> fmt::Result {
        words.write_str("any JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(replace_nul(value.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(PlainValue(value)) = list.next_element()? {
            values.push(value);
        }

        Ok(Value::Array(values))
    }

    /// Builds an object. Keys that have a special meaning for `serde_json` are renamed.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, PlainValue(value))) = map.next_entry::<String, PlainValue>()? {
            // The key is renamed, so that it has no special meaning when it is read from the store.
            let key = if key.starts_with(RESERVED) {
                key.replacen('$', NO_CHARACTER, 1)
            } else {
                replace_nul(key)
            };

            values.insert(key, value);
        }

        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum::<usize>(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }

    #[test]
    fn a_strict_reader_is_strict_and_a_broken_end_is_told_apart() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
            "1e999",
            "{\"a\" 1}",
            "[1]]",
            "\"\u{1}\"",
            deep.as_str(),
        ] {
            assert!(!check_strictly(text).unwrap_err().is_eof(), "{text}");
        }

        assert!(check_strictly("{\"a\":[1").unwrap_err().is_eof());
        assert!(check_strictly(r#" {"a":[null,true,-1,1.5,"\ud83d\ude00"]} "#).is_ok());
    }

    #[test]
    fn keys_that_serde_json_reserves_are_only_keys() {
        for inner in ["7", r#""[1,[2]]""#] {
            let text = format!("{{\"$serde_json::private::RawValue\":{inner}}}");
            let value = build_value(&text).unwrap();
            assert_eq!(
                value["\u{fffd}serde_json::private::RawValue"].to_string(),
                inner
            );
            assert_eq!(
                serde_json::from_str::<Value>(&value.to_string()).unwrap(),
                value
            );
        }
    }

    #[test]
    fn commas_in_texts_are_no_values() {
        assert_eq!(max_value_count(r#""a,[\",{\\""#), 1);
        assert_eq!(max_value_count(r#"{"\\":[1,2],"b":{}}"#), 6);
    }

    proptest! {
        #[test]
        fn what_is_built_is_what_serde_json_builds(texts in proptest::collection::vec("[\\x00-\\x7e\u{e4}]{0,12}", 0..9), n: i64) {
            let texts: Vec<String> = texts.into_iter().map(replace_nul).collect();
            let value = json!({"t": texts, "n": [n, {"f": 1.5, "u": u64::MAX}, {}, []],
                texts.concat(): null});
            let text = value.to_string();
            prop_assert!(check_strictly(&text).is_ok());
            prop_assert_eq!(&build_value(&text).unwrap(), &value);
            prop_assert!(max_value_count(&text) >= count(&value));
        }
    }
}
