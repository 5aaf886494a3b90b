//! Faults of a configuration, reported together. Each names the key, the origin of its value, and
//! what to write.

use super::keys::SettingKey;
use std::fmt;

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// The key or variable as the administrator wrote it, or must write it.
    pub key: String,
    /// The origin of the value: a file or an environment variable; empty if there is no value.
    pub origin: String,
    /// What is wrong, and what to write instead. Never a secret.
    pub problem: String,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl ConfigFaults {
    /// Adds a fault of this key; the origin of its value may be empty.
    pub(super) fn add(&mut self, key: &str, origin: &str, problem: impl Into<String>) {
        let (key, origin, problem) = (key.to_owned(), origin.to_owned(), problem.into());
        self.0.push(ConfigFault {
            key,
            origin,
            problem,
        });
    }

    /// Adds the fault that a key cannot have its value. The fault also says what to write.
    pub(super) fn wrong(&mut self, key: &SettingKey, origin: &str, what: &str) {
        self.add(key.name, origin, format!("{what}. Write {}", key.write));
    }
}

impl fmt::Display for ConfigFaults {
    /// All faults, one per line after a line with their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(f, "{} {word} in the configuration:", self.0.len())?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }

        Ok(())
    }
}

impl fmt::Display for ConfigFault {
    /// The key, the origin of its value if that is not the key itself, and what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.origin.is_empty() && self.origin != self.key {
            write!(f, " ({})", self.origin)?;
        }

        write!(f, ": {}", self.problem)
    }
}

/// A value as it may be shown: quoted, cut to 80 characters, control characters escaped.
pub(super) fn quote_for_display(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}
