//! `callscope token`: makes another token for the operator.

use super::look::say;
use crate::config::Config;
use crate::web::sign_in::operator_token::{make_token, store_token};
use secrecy::ExposeSecret;
use std::error::Error;
use std::process::ExitCode;

/// Makes a token, stores its hash and prints it. Beside a running server it opens the database a
/// second time.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let store = super::key::open_store(config).await?;
    let new = make_token()?;
    store_token(&store.sign_ins(), &new).await?;
    store.close().await;

    say!("{}", new.token.expose_secret());
    eprintln!(
        "This is the operator's token; it is shown only now. It is good from the next start of \
         Callscope on, which ends the sessions of the former one."
    );
    if !config.access.operator_token {
        eprintln!(
            "It is asked for at /sign-in only with operator_token = true in the configuration, or \
             CALLSCOPE_OPERATOR_TOKEN=true."
        );
    }

    Ok(ExitCode::SUCCESS)
}
