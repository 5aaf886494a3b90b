//! Tokens in forms: a page of somebody else can send a form to us through a browser, but cannot know
//! what stands in ours. A token is bound to what the browser's cookie says.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Makes and checks tokens. A new process makes others, so a form from before its start has to be
/// opened again.
#[derive(Clone)]
pub struct FormKey([u8; 32]);

impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FormKey {
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    fn mac(&self, bound_to: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(bound_to.as_bytes());
        Some(mac)
    }

    /// The token for forms of the browser that has this session or cookie.
    #[must_use]
    pub fn token_for(&self, bound_to: &str) -> String {
        self.mac(bound_to)
            .map(|mac| HEXLOWER.encode(&mac.finalize().into_bytes()))
            .unwrap_or_default()
    }

    /// Is it the token of that browser? The time it takes tells nothing.
    #[must_use]
    pub fn is_valid(&self, bound_to: &str, token: &str) -> bool {
        let Ok(token) = HEXLOWER.decode(token.as_bytes()) else {
            return false;
        };

        self.mac(bound_to)
            .is_some_and(|mac| mac.verify_slice(&token).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_browser_and_one_process() {
        let key = FormKey::random();
        let token = key.token_for("session a");
        assert!(key.is_valid("session a", &token));
        assert!(!key.is_valid("session b", &token));
        assert!(!FormKey::random().is_valid("session a", &token));
        for forged in [
            "",
            "00",
            &token[1..],
            &token.to_uppercase(),
            &"0".repeat(64),
        ] {
            assert!(!key.is_valid("session a", forged), "{forged}");
        }
    }
}
