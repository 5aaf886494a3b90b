//! Ids: the homeserver in a user id; and natural keys, which are short hashes of content, so that
//! a rebuild gives the same ids and links stay valid.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A hash of some texts: `bytes` bytes, written in hex. Each text is hashed with its length, so
/// that the concatenation is unambiguous.
#[must_use]
pub fn hash(parts: &[&str], bytes: usize) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }

    let digest = digest.finalize();

    HEXLOWER.encode(digest.get(..bytes).unwrap_or(&digest))
}

/// The homeserver in a user id: what follows the first colon. Empty without a colon.
#[must_use]
pub fn server_of(user_id: &str) -> &str {
    user_id.split_once(':').map_or("", |(_, server)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(hash(&["ab", "c"], 8), hash(&["a", "bc"], 8));
        assert_eq!(hash(&["a"], 8).len(), 16);
    }
}
