//! How the commands for operators get their facts: from the API of the Callscope that runs with the
//! same configuration. They open no database, because only the running process knows the present
//! state.

use crate::config::Config;
use crate::config::check::parse_web_address;
use crate::matrix::Secret;
use crate::tls::trust_authorities;
use crate::web::http::viewer::{PART, SHOWS};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A running Callscope, and how it is reached.
#[derive(Debug)]
pub(super) struct RunningServer {
    base: String,
    /// What the server asks for where people have to sign in.
    key: Option<Secret>,
    client: reqwest::Client,
}

/// The error of a request, in words for a terminal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no Callscope answers at {0} ({1}); start it, or name another with --url")]
    Silent(String, reqwest::Error),
    #[error(
        "{0} wants a key: set CALLSCOPE_API_KEY to what `callscope key add NAME --scope all` prints"
    )]
    NoKey(String),
    #[error("{0} answered {1}: {2}")]
    Refused(String, u16, String),
    #[error("{0} did not answer with JSON of Callscope ({1})")]
    Strange(String, reqwest::Error),
}

impl RunningServer {
    /// The server at `url`, or else the one that listens where the configuration says.
    ///
    /// # Errors
    /// The address is invalid, or no HTTP client could be made.
    pub(super) fn new(
        config: &Config,
        url: Option<&str>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let base = match url.map(check_address) {
            Some(address) => address?,
            None => format!("http://{}", reachable_address(config.bind)),
        };

        // A server on this machine is not reached through a proxy.
        let client = trust_authorities(reqwest::Client::builder())
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()?;

        Ok(Self {
            base,
            key: config.api_key.clone(),
            client,
        })
    }

    /// The JSON that the server answers to a path.
    ///
    /// # Errors
    /// Nobody answers, or not with what was asked for.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.get(&url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }

        let answer = request.send().await;
        let answer =
            answer.map_err(|error| Error::Silent(self.base.clone(), error.without_url()))?;
        let status = answer.status();
        // Without a key a guarded server shows what everybody may see. That is not enough to tell
        // whether a call runs.
        let shows_part = answer
            .headers()
            .get(SHOWS)
            .is_some_and(|shows| shows == PART);
        let body: Result<Value, _> = answer.json().await;

        match body {
            Ok(_) if shows_part => Err(Error::NoKey(url)),
            Ok(body) if status.is_success() => Ok(body),
            Ok(_) if status.as_u16() == 401 => Err(Error::NoKey(url)),
            Ok(body) => Err(Error::Refused(
                url,
                status.as_u16(),
                body["error"].as_str().unwrap_or("").to_owned(),
            )),
            Err(error) => Err(Error::Strange(url, error.without_url())),
        }
    }

    /// A whole list, page by page, as one. The path must have a `?`.
    ///
    /// # Errors
    /// Nobody answers, or not with what was asked for.
    pub(super) async fn all(&self, path: &str) -> Result<Value, Error> {
        let mut whole = self.get(path).await?;
        while let Some(next) = whole["next"].take().as_str() {
            let mut more = self.get(&format!("{path}&cursor={next}")).await?;
            if let (Some(data), Some(rows)) =
                (whole["data"].as_array_mut(), more["data"].as_array_mut())
            {
                data.append(rows);
            }

            whole["next"] = more["next"].take();
        }

        whole["next_url"] = Value::Null;

        Ok(whole)
    }
}

/// The address without a trailing `/`, if it can be requested and shown in an error; else what to
/// write.
fn check_address(text: &str) -> Result<String, &'static str> {
    // The invalid part may be a password, so the message does not repeat the address.
    let why = "--url takes the http(s) address of a Callscope, without user and password: \
               http://127.0.0.1:8080";

    parse_web_address(text)
        .map(|_| text.trim_end_matches('/').to_owned())
        .map_err(|_| why)
}

/// The address at which a server is reached that listens on `bind`: loopback, if it listens on all
/// addresses.
pub(super) fn reachable_address(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };

    SocketAddr::new(ip, bind.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_on_loopback() {
        let at = |bind: &str| reachable_address(bind.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(at("[::]:8080"), "[::1]:8080");
        assert_eq!(at("192.0.2.7:80"), "192.0.2.7:80");
    }
}
