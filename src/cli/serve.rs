//! `callscope`: observe and serve until told to stop.

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;
use std::error::Error;
use std::process::ExitCode;

/// Runs the server until it is told to stop, or a part of it fails.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::start_log(&config.log)?;
    telemetry::log_panics();
    let app = App::start(config, Clock::watched()).await?;
    app.run_until_stopped().await?;

    Ok(ExitCode::SUCCESS)
}
