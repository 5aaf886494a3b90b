//! `Secret`: a text that must not be shown, such as an access token or a password.

use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// A text whose `Debug` is `***`, and which is overwritten in memory when it is dropped. It has no
/// `Display`: whoever needs the text says so with [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text that must not be shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// The text itself: to send it or to store it, never to show it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// `text` with every occurrence of this secret replaced by `***`: a server may echo what we
    /// sent.
    #[must_use]
    pub fn hide_in(&self, text: &str) -> String {
        if self.expose().is_empty() {
            return text.to_owned();
        }

        text.replace(self.expose(), "***")
    }
}

/// For tests, and to see whether a stored secret changed; never to check what a stranger sent.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("syt_abc");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.hide_in("bad token syt_abc!"), "bad token ***!");
        assert_eq!(Secret::new("").hide_in("nothing"), "nothing");
    }
}
