//! `callscope`: observe and serve until told to stop.

use crate::app::{self, App};
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;
use crate::web::sign_in::operator_token;
use secrecy::ExposeSecret;
use std::error::Error;
use std::process::ExitCode;

/// Runs the server until it is told to stop, or a part of it fails. The exit code is 2 if nothing
/// says who may see the pages and strangers could.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::start_log(&config.log)?;
    telemetry::log_panics();
    let app = match App::start(config, Clock::watched()).await {
        Err(app::Error::Config(faults)) => return Ok(super::report_faults(&faults)),
        started => started?,
    };

    if let Some(new) = &app.new_operator_token {
        // It is stored after it was shown, so that nobody is locked out by a start that ends here.
        eprintln!(
            "The operator's token, shown only now: {}\nEnter it at /sign-in. `callscope token` \
             makes another one.",
            new.token.expose_secret()
        );
        operator_token::store_token(&app.store.sign_ins(), new).await?;
    }

    app.run_until_stopped().await?;

    Ok(ExitCode::SUCCESS)
}
