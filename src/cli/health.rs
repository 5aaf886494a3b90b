//! `callscope health`: asks the server that runs with the same configuration whether it is healthy.

use super::ask::reachable_address;
use crate::config::Config;
use crate::tls::trust_authorities;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// `callscope health`: succeeds if the Callscope at the configured address answers `/healthz`.
///
/// # Errors
/// When nothing answers within five seconds, or with an error.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let address = reachable_address(config.bind);
    let client = trust_authorities(reqwest::Client::builder())
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let response = client.get(format!("http://{address}/healthz")).send().await;
    let explain = |error: reqwest::Error| {
        if error.is_timeout() {
            format!("the Callscope at http://{address} does not answer within five seconds")
        } else {
            format!(
                "no Callscope answers at http://{address}; start it, or set the CALLSCOPE_BIND \
                 that it has"
            )
        }
    };

    let status = response.map_err(explain)?.status();
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }

    Err(format!("http://{address}/healthz answered {status}").into())
}
