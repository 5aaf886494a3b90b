//! The operator's token: made at the first start, shown once, and entered at `/sign-in` in the place
//! of a password. Only its hash is stored.

use super::password::{self, PasswordHash};
use super::secret_text::hash_secret;
use crate::store::sign_in::operator_secret;
use crate::store::{self, SignIns};
use data_encoding::BASE32_NOPAD;
use secrecy::SecretString;

/// What every token begins with, so that people and scanners of secrets know it.
const TOKEN_PREFIX: &str = "cso_";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the operator's token cannot be made: {0}")]
    Hash(String),
    #[error("{0}")]
    Store(#[from] store::Error),
}

/// The hash of the operator's token, and the token itself if it was made just now. A new one is not
/// stored yet: [`store_token`] does it once somebody has seen it.
#[derive(Debug, Clone)]
pub struct OperatorToken {
    pub hash: PasswordHash,
    pub new: Option<SecretString>,
}

/// The token of this installation, or a new one if there is none yet.
///
/// # Errors
/// The database fails, or there is no source of random numbers.
pub async fn find_or_make_token(sign_ins: &SignIns) -> Result<OperatorToken, TokenError> {
    match operator_secret::read_token_hash(sign_ins).await? {
        Some(hash) => Ok(OperatorToken {
            hash: PasswordHash::new(hash),
            new: None,
        }),
        None => make_token(),
    }
}

/// Makes a token, which is not stored yet.
///
/// # Errors
/// There is no source of random numbers.
pub fn make_token() -> Result<OperatorToken, TokenError> {
    let random = BASE32_NOPAD.encode(&rand::random::<[u8; 20]>());
    let token = format!("{TOKEN_PREFIX}{}", random.to_lowercase());
    let hash = password::hash_password(&token).map_err(TokenError::Hash)?;

    Ok(OperatorToken {
        hash: PasswordHash::new(hash),
        new: Some(token.into()),
    })
}

/// Stores the hash of a token. A former one is good until the next start.
///
/// # Errors
/// When the database fails.
pub async fn store_token(sign_ins: &SignIns, token: &OperatorToken) -> Result<(), store::Error> {
    operator_secret::set_token_hash(sign_ins, token.hash.phc()).await
}

/// Ends the sessions of a password or token that is no longer the operator's. Returns how many there
/// were.
///
/// # Errors
/// When the database fails.
pub async fn end_former_sessions(
    sign_ins: &SignIns,
    hash: &PasswordHash,
) -> Result<u64, store::Error> {
    let fingerprint = hash_secret(hash.phc());

    operator_secret::end_sessions_of_former_secret(sign_ins, &fingerprint).await
}
