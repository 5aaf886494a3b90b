//! `callscope health`: asks the server that runs with the same configuration whether it is well.

use crate::config::Config;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let address = reachable(config.bind);
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let status = client.get(format!("http://{address}/healthz")).send().await?.status();
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("http://{address}/healthz answered {status}").into())
}

/// A server that listens everywhere is reached on loopback.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
