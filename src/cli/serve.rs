//! `callscope`: observe and serve until told to stop.

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;
use std::error::Error;
use std::process::ExitCode;

pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::start(&config.log)?;
    telemetry::log_panics();
    // Not the watched clock: it still takes a machine that slept, or a homeserver that is minutes off,
    // for a clock that was set wrong.
    let app = App::start(config, Clock::System).await?;
    app.run_until_stopped().await?;

    Ok(ExitCode::SUCCESS)
}
