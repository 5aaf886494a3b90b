//! Reads the tables of which there may be several, such as `[[channel]]`, key by key. Faults are
//! noted, and handed over at the end.

use super::faults::{ConfigFault, quote_for_display};
use super::layers::Layers;
use crate::matrix::Secret;
use config::{Value, ValueKind};
use std::collections::{BTreeMap, BTreeSet};

/// One table.
#[derive(Debug)]
pub(super) struct TableReader {
    /// The value of its key `name`.
    pub name: String,
    /// `channel` or `alert`.
    word: &'static str,
    origin: String,
    values: BTreeMap<String, Value>,
    /// The variables that may have its secrets, without what they all begin with.
    variables: BTreeMap<String, String>,
    asked: BTreeSet<&'static str>,
    used_variables: BTreeSet<String>,
    faults: Vec<ConfigFault>,
}

/// A name as it stands in the name of a variable.
fn name_in_variable(name: &str) -> String {
    name.to_uppercase()
        .replace(|sign: char| !sign.is_ascii_alphanumeric(), "_")
}

impl TableReader {
    /// The tables of this name, in their order.
    pub fn read_all(layers: &mut Layers, word: &'static str) -> Vec<Self> {
        let mut tables = Vec::new();
        for (origin, values) in layers.take_tables(word) {
            let mut table = Self {
                name: String::new(),
                word,
                origin,
                values,
                variables: layers.variables_of_tables(word),
                asked: BTreeSet::new(),
                used_variables: BTreeSet::new(),
                faults: Vec::new(),
            };
            let is_name = |text: &str| {
                let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "-_".contains(sign);
                if (1..=40).contains(&text.len()) && text.chars().all(is_plain) {
                    Ok(text.to_owned())
                } else {
                    Err("a name has 1 to 40 letters, digits, - and _".to_owned())
                }
            };
            let name = table.required_parsed("name", "a name of your own, such as ops", is_name);
            table.name = name.unwrap_or_default();
            tables.push(table);
        }

        tables
    }

    /// Notes a fault of a key.
    pub fn fault(&mut self, key: &str, problem: &str) {
        let name = if self.name.is_empty() {
            String::new()
        } else {
            format!(" {}", self.name)
        };
        self.faults.push(ConfigFault {
            key: format!("[[{}]]{name}: {key}", self.word),
            origin: self.origin.clone(),
            problem: problem.to_owned(),
        });
    }

    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Hands over the faults. A key that was not asked for is one.
    pub fn finish(mut self, layers: &mut Layers) {
        // Which keys there are, the type says.
        let has_type = !self
            .faults
            .iter()
            .any(|fault| fault.key.ends_with(": type"));
        let unknown: Vec<String> = self
            .values
            .keys()
            .filter(|key| has_type && !self.asked.contains(key.as_str()))
            .cloned()
            .collect();
        let known: Vec<&str> = self.asked.iter().copied().collect();
        let known = known.join(", ");
        for key in unknown {
            let problem = format!("there is no such key here. There are: {known}");
            self.fault(&key, &problem);
        }

        layers.faults.0.append(&mut self.faults);
        layers.note_used_variables(&self.used_variables);
    }

    fn value(&mut self, key: &'static str) -> Option<ValueKind> {
        self.asked.insert(key);
        self.values.get(key).map(|value| value.kind.clone())
    }

    /// A text; `None` if it is not set or no text, which is a fault.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        if let ValueKind::String(text) = self.value(key)? {
            return Some(text.trim().to_owned());
        }

        self.fault(key, "a text in quotes is needed");

        None
    }

    /// A text that must be there. `write` is what to write.
    pub fn required(&mut self, key: &'static str, write: &str) -> Option<String> {
        if self.value(key).is_none() {
            self.fault(key, &format!("it is missing. Write {write}"));
            return None;
        }

        self.text(key)
    }

    /// A text as `parse` reads it; `None` if it is not set or has a fault.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        write: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fault(key, &format!("{what}. Write {write}"));
                None
            }
        }
    }

    /// The same, of a text that must be there.
    pub fn required_parsed<T>(
        &mut self,
        key: &'static str,
        write: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.required(key, write)?;
        self.parsed(key, write, parse)
    }

    /// A list of texts; entries with a fault are left out.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(ValueKind::Array(items)) => items,
            Some(ValueKind::String(text)) => vec![Value::new(None, text)],
            Some(_) => {
                self.fault(key, "a list of texts is needed");
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for item in items {
            match parse(item.into_string().unwrap_or_default().trim()) {
                Ok(value) => found.push(value),
                Err(what) => self.fault(key, &what),
            }
        }

        found
    }

    /// A whole number from `from` to `to`; `None` if it is not set or has a fault.
    pub fn optional_number(&mut self, key: &'static str, from: i64, to: i64) -> Option<i64> {
        match self.value(key)? {
            ValueKind::I64(number) if (from..=to).contains(&number) => Some(number),
            _ => {
                self.fault(key, &format!("a number from {from} to {to} is needed"));
                None
            }
        }
    }

    /// The same, with a default.
    pub fn number(&mut self, key: &'static str, from: i64, to: i64, default: i64) -> i64 {
        self.optional_number(key, from, to).unwrap_or(default)
    }

    /// Yes or no, with a default.
    pub fn switch(&mut self, key: &'static str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(ValueKind::Boolean(switch)) => switch,
            Some(_) => {
                self.fault(key, "it is neither true nor false");
                default
            }
        }
    }

    /// A secret: in the file, in the file that `KEY_file` names, or in a variable, which goes
    /// before. `None` if it is not set or has a fault.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let file_key: &'static str = match key {
            "secret" => "secret_file",
            _ => "token_file",
        };
        let begin = name_in_variable(&self.name);
        let variable = |key: &str| format!("{begin}_{}", key.to_uppercase());
        let (plain, file) = (self.text(key), self.text(file_key));
        for (name, is_file) in [(variable(key), false), (variable(file_key), true)] {
            if let Some(text) = self.variables.get(&name).cloned() {
                self.used_variables.insert(name);
                return if is_file {
                    self.secret_in_file(file_key, &text)
                } else {
                    Some(Secret::new(text))
                };
            }
        }

        match (plain, file) {
            (Some(_), Some(_)) => {
                self.fault(
                    key,
                    &format!("{key} and {file_key} are both set. Remove one of the two"),
                );
                None
            }
            (Some(text), None) if text.is_empty() => {
                self.fault(key, "it is empty");
                None
            }
            (Some(text), None) => Some(Secret::new(text)),
            (None, Some(path)) => self.secret_in_file(file_key, &path),
            (None, None) => None,
        }
    }

    fn secret_in_file(&mut self, key: &str, path: &str) -> Option<Secret> {
        let shown = quote_for_display(path);
        match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Some(Secret::new(text.trim())),
            Ok(_) => {
                self.fault(key, &format!("the file {shown} is empty"));
                None
            }
            Err(error) => {
                self.fault(key, &format!("the file {shown} cannot be read: {error}"));
                None
            }
        }
    }
}
