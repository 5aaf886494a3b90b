//! The operator's token: made at the first start, shown once, and entered at `/sign-in` in the
//! place of a password. Only its hash is stored.

use super::password::{self, PasswordHash};
use super::secret_text::hash_secret;
use crate::store::sign_in::operator_secret;
use crate::store::{self, SignIns};
use data_encoding::BASE32_NOPAD;
use secrecy::SecretString;

/// What every token begins with, so that people and scanners of secrets know it.
const TOKEN_PREFIX: &str = "cso_";

/// A token that was made just now. It is not stored yet: [`store_token`] does it once somebody has
/// seen it.
#[derive(Debug, Clone)]
pub struct NewToken {
    pub token: SecretString,
    pub hash: PasswordHash,
}

/// The hash of the token of this installation; `None` if none was stored yet.
///
/// # Errors
/// When the database fails.
pub async fn find_token(sign_ins: &SignIns) -> Result<Option<PasswordHash>, store::Error> {
    let hash = operator_secret::read_token_hash(sign_ins).await?;

    Ok(hash.map(PasswordHash::new))
}

/// Makes a token.
///
/// # Errors
/// In words: there is no source of random numbers.
pub fn make_token() -> Result<NewToken, String> {
    let random = BASE32_NOPAD.encode(&rand::random::<[u8; 20]>());
    let token = format!("{TOKEN_PREFIX}{}", random.to_lowercase());
    let hash = password::hash_password(&token)?;

    Ok(NewToken {
        token: token.into(),
        hash: PasswordHash::new(hash),
    })
}

/// Stores the hash of a token. A former one is good until the next start.
///
/// # Errors
/// When the database fails.
pub async fn store_token(sign_ins: &SignIns, new: &NewToken) -> Result<(), store::Error> {
    operator_secret::set_token_hash(sign_ins, new.hash.phc()).await
}

/// Ends the sessions of a password or token that is no longer the operator's. Returns how many
/// there were.
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
