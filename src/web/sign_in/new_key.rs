//! Makes keys for programs, for the command line and for the admin page.

use super::secret_text::{hash_secret, new_key, new_key_id};
use crate::rtc::time::DAY_MS;
use crate::store::sign_in::api_keys::{self, ApiKey, KeyScope};
use crate::store::{self, SignIns};

/// Maximum length of a key's name, characters.
const NAME_MAX: usize = 80;
/// Maximum time that a key may be good for, days: a hundred years.
const DAYS_MAX: i64 = 36_500;

/// What a key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWish<'a> {
    /// For people, so that they know later what it is for.
    pub name: &'a str,
    pub scope: KeyScope,
    /// How many days it is good for; `None` = for ever.
    pub days: Option<i64>,
}

/// A key that was made. Its secret is known only now.
#[derive(Debug, Clone)]
pub struct MadeKey {
    pub key: ApiKey,
    pub secret: String,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("a key needs a name of at most {NAME_MAX} characters, so that you know it later")]
    Name,
    #[error("a key can be good for 1 to {DAYS_MAX} days, written as 90d, or for ever")]
    Days,
    #[error("{0}")]
    Store(#[from] store::Error),
}

/// Makes and stores a key at `now`, ms. `address` is where the request for it came from; `None` if
/// it was a command.
///
/// # Errors
/// The wish cannot be met, or the database fails.
pub async fn make_key(
    sign_ins: &SignIns,
    wish: &KeyWish<'_>,
    now: i64,
    address: Option<&str>,
) -> Result<MadeKey, KeyError> {
    let name = wish.name.trim();
    let is_name = !name.is_empty() && !name.contains(char::is_control);
    if !is_name || name.chars().count() > NAME_MAX {
        return Err(KeyError::Name);
    }

    if wish
        .days
        .is_some_and(|days| !(1..=DAYS_MAX).contains(&days))
    {
        return Err(KeyError::Days);
    }

    let secret = new_key();
    let key = ApiKey {
        id: new_key_id(),
        name: name.to_owned(),
        scope: wish.scope,
        created_ms: now,
        expires_ms: wish.days.map(|days| now.saturating_add(days * DAY_MS)),
        revoked_ms: None,
        last_used_ms: None,
    };

    api_keys::add_key(sign_ins, &key, &hash_secret(&secret), address).await?;

    Ok(MadeKey { key, secret })
}

/// The number of days in a text like `90d`, or `90`.
///
/// # Errors
/// The text is anything else.
pub fn parse_days(text: &str) -> Result<i64, KeyError> {
    let number = text.strip_suffix('d').unwrap_or(text);
    let days = number.parse().ok();

    days.filter(|days| (1..=DAYS_MAX).contains(days))
        .ok_or(KeyError::Days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_days() {
        assert_eq!(parse_days("90d").unwrap(), 90);
        assert_eq!(parse_days("7").unwrap(), 7);
        for wrong in [
            "",
            "d",
            "0d",
            "-1d",
            "90h",
            "1.5d",
            "99999999999999999999d",
            "d90",
        ] {
            assert!(parse_days(wrong).is_err(), "{wrong}");
        }
    }
}
