//! The program `callscope`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(callscope::cli::run()).await
}
