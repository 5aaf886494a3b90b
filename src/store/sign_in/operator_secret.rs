//! What the operator signs in with: the hash of a token that this installation made, and whether
//! the password or token is still that of the last start.

use super::SignIns;
use super::sessions::SignInWay;
use crate::store::Error;

const READ: &str = "select value from operator_secrets where name = $1";
const SET: &str = "insert into operator_secrets (name, value) values ($1, $2)
    on conflict (name) do update set value = excluded.value";
const END_SESSIONS: &str = "delete from web_sessions where way = $1";

/// The name of the token's hash, and that of the fingerprint.
const TOKEN: &str = "token";
const FINGERPRINT: &str = "fingerprint";

/// The hash of the operator's token in PHC form; `None` if none was made yet.
///
/// # Errors
/// When the database fails.
pub async fn read_token_hash(sign_ins: &SignIns) -> Result<Option<String>, Error> {
    read_value(sign_ins, TOKEN).await
}

/// Stores the hash of the operator's token, in PHC form. A former token is no longer good from the
/// next start on.
///
/// # Errors
/// When the database fails.
pub async fn set_token_hash(sign_ins: &SignIns, hash: &str) -> Result<(), Error> {
    set_value(sign_ins, TOKEN, hash).await
}

/// Ends the sessions of those who signed in with another password or token than that of this
/// fingerprint, which is remembered for the next start. Returns how many there were. At the first
/// start with a fingerprint there is nothing to compare with: they end, too.
///
/// # Errors
/// When the database fails.
pub async fn end_sessions_of_former_secret(
    sign_ins: &SignIns,
    fingerprint: &str,
) -> Result<u64, Error> {
    let former = read_value(sign_ins, FINGERPRINT).await?;
    if former.as_deref() == Some(fingerprint) {
        return Ok(0);
    }

    let way = SignInWay::Password.as_str();
    let ended = sign_ins
        .write(|| sqlx::query(END_SESSIONS).bind(way))
        .await?;

    // Last, so that the sessions end at the next start if this one is stopped here.
    set_value(sign_ins, FINGERPRINT, fingerprint).await?;

    Ok(ended)
}

async fn read_value(sign_ins: &SignIns, name: &str) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(READ).bind(name);

    Ok(query.fetch_optional(&sign_ins.read).await?)
}

async fn set_value(sign_ins: &SignIns, name: &str, value: &str) -> Result<(), Error> {
    let statement = || {
        sqlx::query(SET)
            .bind(name.to_owned())
            .bind(value.to_owned())
    };
    sign_ins.write(statement).await?;

    Ok(())
}
