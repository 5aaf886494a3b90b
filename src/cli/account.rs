//! Signs in to the configured account for one command, and leaves no device behind.

use crate::clock::Clock;
use crate::config::{Config, ConfiguredAccount, Login};
use crate::matrix::{Client, Credentials, Whoami};

/// The account during the check.
#[derive(Debug)]
pub(super) struct SignedIn {
    pub who: Whoami,
    /// It needed a login, which made a new device.
    pub has_new_device: bool,
}

/// Signs in as the server does, but stores nothing. The stored device of the server is used if
/// there is one; if it is no longer accepted, it is left alone and a new login is made.
pub(super) async fn sign_in(
    config: &Config,
    account: &ConfiguredAccount,
    client: &Client,
) -> Result<SignedIn, crate::matrix::Error> {
    let (user_id, password) = match &account.login {
        Login::Token(token) => {
            client.set_token(Some(token.clone()));
            let who = client.whoami().await?;
            return Ok(SignedIn {
                who,
                has_new_device: false,
            });
        }
        Login::Password { user_id, password } => (user_id, password),
    };

    let now_ms = Clock::System.now_ms();
    let kept = Credentials::load(&config.credentials_file)?;
    if let Some(kept) = kept.filter(|kept| kept.user_id == *user_id) {
        client.use_credentials(&kept, now_ms);
        match client.whoami().await {
            Ok(who) => {
                return Ok(SignedIn {
                    who,
                    has_new_device: false,
                });
            }
            Err(error) if error.is_revoked() => client.set_token(None),
            Err(error) => return Err(error),
        }
    }

    client
        .login_where_offered(user_id, password, None, now_ms)
        .await?;
    let who = match client.whoami().await {
        Ok(who) => who,
        Err(error) => {
            let _ = client.logout().await;
            return Err(error);
        }
    };

    Ok(SignedIn {
        who,
        has_new_device: true,
    })
}
