//! The operator's password: only its hash (argon2id) is in the configuration.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Minimum length of a new password, characters.
pub const PASSWORD_MIN: usize = 8;

/// The hash of a password in PHC form. It is not shown.
#[derive(Clone)]
pub struct PasswordHash(SecretString);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PasswordHash {
    /// The hash in this form, such as [`hash_password`] makes it.
    #[must_use]
    pub fn new(phc: impl Into<String>) -> Self {
        Self(phc.into().into())
    }

    /// The text in PHC form: to store it or to compare it, never to show it.
    #[must_use]
    pub fn phc(&self) -> &str {
        self.0.expose_secret()
    }

    /// Is it the hash of this password? It takes long, on purpose. A text that is no hash is that
    /// of no password.
    #[must_use]
    pub fn fits(&self, password: &str) -> bool {
        let Ok(hash) = Phc::new(self.phc()) else {
            return false;
        };

        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    }
}

/// The hash of a password with a new random salt, in PHC form.
///
/// # Errors
/// In words: the password is too short, or there is no source of random numbers.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.chars().count() < PASSWORD_MIN {
        return Err(format!(
            "the password has fewer than {PASSWORD_MIN} characters; take a longer one"
        ));
    }

    let hash: Phc = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| format!("the password cannot be hashed: {error}"))?;

    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_fits() {
        let phc = hash_password("correct horse").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$"), "{phc}");
        let hash = PasswordHash::new(phc.clone());
        assert!(hash.fits("correct horse"));
        for wrong in [
            "",
            "correct hors",
            "correct horse ",
            "Correct horse",
            phc.as_str(),
        ] {
            assert!(!hash.fits(wrong), "{wrong}");
        }

        assert_ne!(
            hash_password("correct horse").unwrap(),
            phc,
            "the salt is new"
        );
        assert!(!PasswordHash::new("correct horse").fits("correct horse"));
        assert!(!format!("{hash:?}").contains("argon2id"));
        assert!(hash_password("short").is_err());
    }
}
