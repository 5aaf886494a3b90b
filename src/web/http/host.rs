//! Checks the `Host` of requests. Without this, any web page could read our pages through the
//! operator's browser by DNS rebinding: the page's name is made to point to our address, and the
//! browser takes us for that page's own server.

use super::error::Error;
use super::response::{self, PageRequest};
use crate::web::Web;
use crate::web::view::format;
use actix_web::HttpRequest;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;
use actix_web::web::Data;
use std::net::{IpAddr, SocketAddr};
use url::Url;

/// Maximum number of characters of a refused name that the error repeats.
const NAME_MAX: usize = 80;

/// The allowed names. Ports are ignored: an attacker chooses the name.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    bind: IpAddr,
    /// The hosts of our public addresses as browsers write them.
    public: Vec<String>,
}

impl AllowedHosts {
    /// The allowed names for a bound address and for our public addresses.
    #[must_use]
    pub fn new(bind: SocketAddr, public: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let host_of_address = |url: &str| Url::parse(url).ok()?.host_str().map(ToOwned::to_owned);

        Self {
            bind: bind.ip().to_canonical(),
            public: public
                .into_iter()
                .filter_map(|url| host_of_address(url.as_ref()))
                .collect(),
        }
    }

    /// May a request with this `Host` be answered?
    #[must_use]
    pub fn allow(&self, host: &str) -> bool {
        let Some(name) = host_without_port(host) else {
            return false;
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }

        if self
            .public
            .iter()
            .any(|public| name.eq_ignore_ascii_case(public))
        {
            return true;
        }

        let literal = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(name);

        literal
            .parse::<IpAddr>()
            .is_ok_and(|ip| self.allow_ip(ip.to_canonical()))
    }

    /// Is this an address at which we can be reached?
    fn allow_ip(&self, ip: IpAddr) -> bool {
        // A server that listens on all interfaces does not know all its addresses. An IP literal
        // needs no name resolution, so it is safe.
        self.bind.is_unspecified()
            || ip == self.bind
            || [IpAddr::from([127, 0, 0, 1]), LOOPBACK_6].contains(&ip)
    }
}

const LOOPBACK_6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

/// The host without its port; `None` if the rest is not a port.
fn host_without_port(host: &str) -> Option<&str> {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };

    let (name, port) = host.split_at_checked(end)?;
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());

    is_port.then_some(name)
}

/// Answers 421 if the request's `Host` is not one of ours or is missing, and passes other requests
/// on. `/healthz` is always answered: it reveals nothing.
///
/// # Errors
/// Those of the guarded service.
pub async fn refuse_foreign_hosts(
    hosts: AllowedHosts,
    web: Data<Web>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let given: Vec<String> = req
        .headers()
        .get_all(header::HOST)
        .map(header_text)
        .collect();
    let refused = given
        .iter()
        .find(|host| !hosts.allow(host))
        .map(String::as_str);
    let Some(name) = refused
        .or(given.is_empty().then_some(""))
        .filter(|_| req.path() != "/healthz")
    else {
        return Ok(next.call(req).await?.map_into_boxed_body());
    };

    let name = format::sanitize_line(&name.chars().take(NAME_MAX).collect::<String>());
    let error = Error::Misdirected(name);
    let ask = PageRequest::of_request(req.request(), &web);

    Ok(req.into_response(response::send_error(&ask, &error)))
}

/// The beginning of our addresses (scheme and host) as this client sees them. The `Host` has been
/// checked. Of a proxy's headers only the scheme is believed: its other headers name a host that
/// nobody has checked.
#[must_use]
pub fn base_url(headers: &HeaderMap) -> String {
    let said = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };

    let scheme = if said("x-forwarded-proto")
        .trim()
        .eq_ignore_ascii_case("https")
    {
        "https"
    } else {
        "http"
    };

    format!("{scheme}://{}", said("host"))
}

/// The address of a request with its query, as it was asked for.
#[must_use]
pub fn full_address(req: &HttpRequest) -> String {
    let address = req.uri().path_and_query().map_or("", PathAndQuery::as_str);

    base_url(req.headers()) + address
}

/// The beginning of our addresses: the public URL if it is configured, else what [`base_url`] makes
/// of the request.
#[must_use]
pub fn public_base_url(public_url: Option<&str>, headers: &HeaderMap) -> String {
    public_url.map_or_else(
        || base_url(headers),
        |url| url.trim_end_matches('/').to_owned(),
    )
}

/// The value of a header as text, whatever its bytes are.
fn header_text(value: &header::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn allowed(bind: &str, public_url: Option<&str>, hosts: &[&str]) -> Vec<bool> {
        let names = AllowedHosts::new(bind.parse().unwrap(), public_url);
        hosts.iter().map(|host| names.allow(host)).collect()
    }

    const FOREIGN: &[&str] = &[
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "",
        ":8080",
        "localhost:8080:1",
        "localhost:evil",
        "[::1",
        "[::1].evil.example",
        "user@localhost",
    ];

    #[test]
    fn loopback_is_always_ours_and_a_foreign_name_never() {
        let own = [
            "localhost",
            "LocalHost:9000",
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
        ];

        for bind in [
            "127.0.0.1:0",
            "[::1]:8080",
            "0.0.0.0:8080",
            "[::]:8080",
            "192.0.2.7:80",
        ] {
            assert_eq!(allowed(bind, None, &own), [true; 6], "{bind}");
            assert_eq!(
                allowed(bind, Some("https://calls.example"), FOREIGN),
                [false; 11],
                "{bind}"
            );
        }
    }

    #[test]
    fn a_literal_is_ours_where_we_listen_on_it() {
        let literals = [
            "192.0.2.7",
            "192.0.2.7:8080",
            "198.51.100.1",
            "[2001:db8::1]:8080",
        ];
        assert_eq!(allowed("127.0.0.1:8080", None, &literals), [false; 4]);
        assert_eq!(
            allowed("192.0.2.7:8080", None, &literals),
            [true, true, false, false]
        );
        assert_eq!(allowed("0.0.0.0:8080", None, &literals), [true; 4]);
        assert_eq!(allowed("[::]:8080", None, &literals), [true; 4]);
    }

    #[test]
    fn an_address_of_ours_is_made_of_the_name_that_was_checked() {
        let of = |more: &[(&str, &str)]| {
            let request = TestRequest::default().insert_header(("host", "localhost:8080"));
            let request = more
                .iter()
                .fold(request, |request, header| request.insert_header(*header));
            base_url(request.to_http_request().headers())
        };

        assert_eq!(of(&[]), "http://localhost:8080");
        assert_eq!(
            of(&[
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "HTTPS")
            ]),
            "https://localhost:8080"
        );
        let forged = [
            ("forwarded", "host=evil.example;proto=javascript"),
            ("x-forwarded-proto", "javascript"),
        ];
        assert_eq!(of(&forged), "http://localhost:8080");
    }

    #[test]
    fn the_public_name_is_ours() {
        let names = [
            "calls.example",
            "Calls.Example:443",
            "other.example",
            "xn--bcher-kva.example",
        ];
        assert_eq!(
            allowed("0.0.0.0:1", Some("https://calls.example/x/"), &names),
            [true, true, false, false]
        );
        assert_eq!(
            allowed("0.0.0.0:1", Some("https://bücher.example"), &names),
            [false, false, false, true]
        );
    }
}
