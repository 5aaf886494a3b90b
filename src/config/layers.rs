//! Merges the layers of a configuration (defaults, file, environment), and reads it key by key.

use super::faults::{ConfigFaults, quote_for_display};
use super::keys::{CONFIG_VARIABLE, KEYS, PREFIX, SettingKey, find_key, nearest_key};
use crate::matrix::Secret;
use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The file that is read by default.
pub(super) const DEFAULT_FILE: &str = "callscope.toml";

/// The merged values and the faults found so far. A reader that finds a fault notes it and returns
/// `None`.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// By the full name of the key, such as `invites.x`.
    values: BTreeMap<String, Value>,
    /// Tables of which there may be several, by their name.
    tables: BTreeMap<&'static str, Vec<Value>>,
    /// Variables that may have secrets of channels, without what they all begin with.
    variables: BTreeMap<String, String>,
    pub faults: ConfigFaults,
}

/// The names of tables of which there may be several.
const TABLES: [&str; 2] = ["channel", "alert"];
/// What variables with secrets of channels begin with.
const CHANNEL_PREFIX: &str = "CALLSCOPE_CHANNEL_";

/// The environment as one layer: only known variables, each as the origin of its value.
#[derive(Debug, Clone, Default)]
struct Environment(Map<String, Value>);

impl Source for Environment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layers {
    /// The merged values of defaults, file and environment. What cannot be read, and every unknown
    /// key, is a fault.
    pub(super) fn read(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Self {
        let mut env = own_variables(env);
        let named = path
            .map(Path::to_owned)
            .or_else(|| env.get(CONFIG_VARIABLE).map(PathBuf::from));
        env.remove(CONFIG_VARIABLE);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let mut layers = Self::default();
        let variables = layers.environment(env);
        let text = layers.file(&path, named.is_some());
        layers.merge(&path, &text, &variables);

        layers
    }

    /// The same, with the text of the file given instead of read.
    pub(super) fn from_text(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Self {
        let mut env = own_variables(env);
        env.remove(CONFIG_VARIABLE);
        let mut layers = Self::default();
        let variables = layers.environment(env);
        layers.merge(path, text, &variables);

        layers
    }

    /// Takes over the values of the file's text and of the environment. What is wrong with the text
    /// is a fault.
    fn merge(&mut self, path: &Path, text: &str, variables: &Environment) {
        let path = path.display().to_string();
        match merge_layers(&path, text, variables) {
            Ok(root) => self.flatten("", root),
            Err(error) => {
                self.faults.add(&path, "", message_without_source(&error));
                if let Ok(root) = merge_layers(&path, "", variables) {
                    self.flatten("", root);
                }
            }
        }
    }

    /// The layer of our variables. An unknown one is a fault, unless Kubernetes set it.
    fn environment(&mut self, env: BTreeMap<String, String>) -> Environment {
        let mut known = Map::new();
        for (name, value) in env {
            if let Some(key) = KEYS.iter().find(|key| key.env() == name) {
                known.insert(key.name.to_owned(), Value::new(Some(&name), value));
            } else if let Some(rest) = name.strip_prefix(CHANNEL_PREFIX) {
                self.variables.insert(rest.to_owned(), value);
            } else if !is_service_link(&name[PREFIX.len()..], &value) {
                let likely = nearest_key(&name[PREFIX.len()..]).map(SettingKey::env);
                self.faults
                    .add(&name, "environment", unknown_setting_words(likely));
            }
        }

        Environment(known)
    }

    /// The text of the file; empty if it cannot be read, which is a fault. The default file may be
    /// missing (`is_named` is `false`).
    pub(super) fn file(&mut self, path: &Path, is_named: bool) -> String {
        match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if !is_named && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => {
                let fix = "Give --config or CALLSCOPE_CONFIG the path of a file that can be read";
                let problem = format!("the file cannot be read: {error}. {fix}");
                self.faults.add(&path.display().to_string(), "", problem);
                String::new()
            }
        }
    }

    /// Stores the values of a table under their full names, such as `invites.x`. `path` is the name
    /// so far. An unknown name is a fault.
    fn flatten(&mut self, path: &str, value: Value) {
        let origin = value.origin().unwrap_or_default().to_owned();
        if let Some(word) = TABLES.into_iter().find(|word| *word == path) {
            self.note_tables(word, value);
            return;
        }

        match value.kind {
            ValueKind::Table(table) => {
                let entries: BTreeMap<String, Value> = table.into_iter().collect();
                for (name, value) in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.flatten(&format!("{path}{dot}{name}"), value);
                }
            }
            kind if find_key(path).is_some() => {
                self.values
                    .insert(path.to_owned(), Value::new(Some(&origin), kind));
            }
            _ => self.faults.add(
                path,
                &origin,
                unknown_setting_words(nearest_key(path).map(|key| key.name.to_owned())),
            ),
        }
    }

    /// Keeps the tables of this name for those who read them.
    fn note_tables(&mut self, word: &'static str, value: Value) {
        let origin = value.origin().unwrap_or_default().to_owned();
        let is_table = |value: &Value| matches!(value.kind, ValueKind::Table(_));
        match value.kind {
            ValueKind::Array(items) if items.iter().all(is_table) => {
                let items = items.into_iter();
                let with_origin = items.map(|item| Value::new(Some(&origin), item.kind));
                self.tables.insert(word, with_origin.collect());
            }
            _ => self.faults.add(
                word,
                &origin,
                format!("it is a table of its own for each. Write [[{word}]]"),
            ),
        }
    }

    /// How many tables of this name there are that were not taken.
    pub(super) fn count_tables(&self, word: &str) -> usize {
        self.tables.get(word).map_or(0, Vec::len)
    }

    /// The tables of this name, each with its origin.
    pub(super) fn take_tables(&mut self, word: &str) -> Vec<(String, BTreeMap<String, Value>)> {
        let tables = self.tables.remove(word).unwrap_or_default();
        let taken = tables.into_iter().filter_map(|value| {
            let origin = value.origin().unwrap_or_default().to_owned();
            match value.kind {
                ValueKind::Table(table) => Some((origin, table.into_iter().collect())),
                _ => None,
            }
        });

        taken.collect()
    }

    /// The variables with secrets of tables of this name, without what they all begin with.
    pub(super) fn variables_of_tables(&self, word: &str) -> BTreeMap<String, String> {
        if word == "channel" {
            self.variables.clone()
        } else {
            BTreeMap::new()
        }
    }

    /// Notes that these variables were used.
    pub(super) fn note_used_variables(&mut self, names: &BTreeSet<String>) {
        self.variables.retain(|name, _| !names.contains(name));
    }

    /// Notes as faults the variables of channels that no channel uses.
    pub(super) fn refuse_unused_variables(&mut self) {
        for name in std::mem::take(&mut self.variables).into_keys() {
            if is_service_link(&format!("CHANNEL_{name}"), "") {
                continue;
            }

            let fix = "no [[channel]] has a secret of this name. It is CALLSCOPE_CHANNEL_, the name \
                       of the channel in capitals, and _SECRET or _TOKEN";
            self.faults
                .add(&format!("{CHANNEL_PREFIX}{name}"), "environment", fix);
        }
    }

    /// Notes as a fault that a key cannot have its value.
    pub(super) fn wrong(&mut self, name: &str, what: &str) {
        let origin = self.origin(name);
        if let Some(key) = find_key(name) {
            self.faults.wrong(key, &origin, what);
        }
    }

    /// Notes as a fault that a key must have a value.
    pub(super) fn missing(&mut self, name: &str, what: &str) {
        if let Some(key) = find_key(name) {
            self.faults.wrong(key, &format!("or {}", key.env()), what);
        }
    }

    /// The origin of a key's value: a file or a variable. Empty for a default, and without a value.
    pub(super) fn origin(&self, name: &str) -> String {
        self.values
            .get(name)
            .and_then(Value::origin)
            .unwrap_or_default()
            .to_owned()
    }

    /// Does the key have its value from a variable?
    fn is_from_environment(&self, name: &str) -> bool {
        self.origin(name).starts_with(PREFIX)
    }

    /// Does the key have a value, valid or not?
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value as a text; `None` if it is not set or no text, which is a fault.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        if let ValueKind::String(text) = &self.values.get(name)?.kind {
            return Some(text.clone());
        }

        self.wrong(name, "a text in quotes is needed");

        None
    }

    /// The value as `parse` reads it from a text; `None` if it is not set or has a fault.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(text.trim())
            .map_err(|what| self.wrong(name, &what))
            .ok()
    }

    /// The entries of a list: in the file a list of texts, in the environment texts separated by
    /// commas or spaces. Entries with a fault are left out.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let kind = self
            .values
            .get(name)
            .map_or(ValueKind::Nil, |value| value.kind.clone());
        let texts: Vec<String> = match kind {
            ValueKind::Nil => return Vec::new(),
            ValueKind::String(text) => text
                .split([',', ' ', '\n', '\t'])
                .map(ToOwned::to_owned)
                .collect(),
            ValueKind::Array(items) => items
                .into_iter()
                .map(|item| item.into_string().unwrap_or_default())
                .collect(),
            _ => {
                self.wrong(name, "a list of texts is needed");
                return Vec::new();
            }
        };

        let texts = texts
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty());

        texts
            .filter_map(|text| parse(text).map_err(|what| self.wrong(name, &what)).ok())
            .collect()
    }

    /// A whole number from `from` to `to`; `None` if it is not set or has a fault. In the
    /// environment it is a text.
    pub(super) fn number(&mut self, name: &str, from: i64, to: i64) -> Option<i64> {
        let number = match &self.values.get(name)?.kind {
            ValueKind::I64(number) => Some(*number),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };

        let inside = number.filter(|number| (from..=to).contains(number));
        if inside.is_none() {
            self.wrong(name, "it is not a number within the bounds");
        }

        inside
    }

    /// Yes or no; `None` if it is not set or has a fault.
    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        let switch = match &self.values.get(name)?.kind {
            ValueKind::Boolean(switch) => Some(*switch),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };

        if switch.is_none() {
            self.wrong(name, "it is neither yes nor no");
        }

        switch
    }

    /// A secret, given directly or as the file `NAME_file` that holds it. The one in the
    /// environment takes precedence; two in the same layer are a fault. `None` if it is not set or
    /// has a fault.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        let file_key = format!("{name}_file");
        let (plain, file) = (self.is_given(name), self.is_given(&file_key));
        let same_layer = self.is_from_environment(name) == self.is_from_environment(&file_key);
        if plain && file && same_layer {
            let origin = self.origin(name);
            self.faults.add(
                name,
                &origin,
                format!("{name} and {file_key} are both set. Remove one of the two"),
            );
            return None;
        }

        if file && (!plain || self.is_from_environment(&file_key)) {
            return self.secret_file(&file_key);
        }

        let text = self.text(name)?;
        if text.trim().is_empty() {
            self.wrong(name, "it is empty");
            return None;
        }

        Some(Secret::new(text))
    }

    /// Does the key have a value that is not its default?
    fn is_given(&self, name: &str) -> bool {
        !self.origin(name).is_empty()
    }

    /// The secret in the file that this key names, without the line break at its end; `None` if it
    /// cannot be read or is empty, which is a fault.
    fn secret_file(&mut self, name: &str) -> Option<Secret> {
        let path = self.text(name)?;
        match std::fs::read_to_string(&path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        {
            Ok(text) if !text.is_empty() => return Some(Secret::new(text)),
            Ok(_) => self.wrong(
                name,
                &format!("the file {} is empty", quote_for_display(&path)),
            ),
            Err(error) => self.wrong(
                name,
                &format!(
                    "the file {} cannot be read: {error}",
                    quote_for_display(&path)
                ),
            ),
        }

        None
    }
}

/// Our variables that are set. Compose files pass unset variables as empty ones.
fn own_variables(env: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    env.filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
        .collect()
}

/// Is it a variable that Kubernetes sets for a service named `callscope`, or with a name that
/// begins so (`callscope-db`)? Kubernetes sets it by itself, and nobody can remove it. `name` is
/// without our prefix.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    let name = format!("_{name}");
    let begins_with_digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let is_numbered_port = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| begins_with_digit(rest));
    let is_service = name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_");

    is_service || is_numbered_port || (name.ends_with("_PORT") && value.contains("://"))
}

/// The words for an unknown setting, with the name that was likely meant.
fn unknown_setting_words(likely: Option<String>) -> String {
    match likely {
        Some(name) => format!("there is no such setting. Did you mean {name}?"),
        None => "there is no such setting. Remove it; callscope.sample.toml lists all there are"
            .to_owned(),
    }
}

/// All values, as one tree: the defaults, over them those of the file's text, over them those of
/// the environment. Each has its origin. An error if the text is not TOML.
fn merge_layers(path: &str, text: &str, environment: &Environment) -> Result<Value, ConfigError> {
    let mut builder = config::Config::builder();
    for key in KEYS {
        if let Some(default) = key.default {
            builder = builder.set_default(key.name, default)?;
        }
    }

    let file = config::Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .build()?;
    let file = Environment(with_file_as_origin(file.cache, path));

    Ok(builder
        .add_source(file)
        .add_source(environment.clone())
        .build()?
        .cache)
}

/// The values of the file, each with the file as its origin, because a text given to the parser has
/// none.
fn with_file_as_origin(root: Value, path: &str) -> Map<String, Value> {
    let ValueKind::Table(table) = root.kind else {
        return Map::new();
    };

    let name = path.to_owned();
    let entry = |(key, value): (String, Value)| {
        let kind = match value.kind {
            ValueKind::Table(_) => ValueKind::Table(with_file_as_origin(value, path)),
            kind => kind,
        };

        (key, Value::new(Some(&name), kind))
    };

    table.into_iter().map(entry).collect()
}

/// The parser's message without the line of the file that it quotes, because that may hold a
/// secret.
fn message_without_source(error: &ConfigError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.contains('|') && !line.is_empty())
        .collect();

    format!("this is not TOML: {}", lines.join(", "))
}
