//! Random texts that nobody can guess, and what is stored of them.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};

/// What every key begins with, so that people and scanners of secrets know it.
pub const KEY_PREFIX: &str = "csk_";
/// The same for keys in the addresses of feeds.
const FEED_KEY_PREFIX: &str = "csf_";

/// A text of 256 random bits, for a session or a form.
#[must_use]
pub fn new_secret() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

/// A new key of 256 random bits.
#[must_use]
pub fn new_key() -> String {
    format!("{KEY_PREFIX}{}", new_secret())
}

/// A new key of 256 random bits for the addresses of feeds.
#[must_use]
pub fn new_feed_key() -> String {
    format!("{FEED_KEY_PREFIX}{}", new_secret())
}

/// A short random id, which is no secret.
#[must_use]
pub fn new_key_id() -> String {
    HEXLOWER.encode(&rand::random::<[u8; 5]>())
}

/// What is stored of a random text: SHA-256 in hex. It need not be slow, because nobody can try all
/// texts of 256 bits. The database compares it, which tells nothing of the text by its time.
#[must_use]
pub fn hash_secret(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_new_and_only_its_hash_is_kept() {
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        assert_eq!(one.len(), KEY_PREFIX.len() + 43);
        assert_eq!(hash_secret(&one), hash_secret(&one));
        assert_ne!(hash_secret(&one), hash_secret(&other));
        assert_eq!(
            hash_secret("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
