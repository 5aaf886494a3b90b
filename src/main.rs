//! The program `callscope`.

use std::process::ExitCode;
use std::time::Duration;

/// How long the end of the program waits for work that cannot be interrupted, like a picture that is
/// being drawn, or the history of the demonstration.
const PATIENCE: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("callscope: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };

    let code = runtime.block_on(Box::pin(callscope::cli::run()));
    runtime.shutdown_timeout(PATIENCE);

    code
}
