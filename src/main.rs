//! The program `callscope`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    callscope::cli::run().await
}
