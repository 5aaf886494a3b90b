//! The address of the client: that of the other end of the connection, or what trusted proxies say.

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Is the address that of a trusted proxy?
#[must_use]
pub fn is_trusted(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(&address))
}

/// The client behind this peer. Each proxy appends to `X-Forwarded-For` the address that it has the
/// request from, so the last one that is no trusted proxy is the client. Everything before it can be
/// forged. If an address cannot be read, the proxy that wrote it is the client.
#[must_use]
pub fn find_client(proxies: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();

    for hop in hops.into_iter().rev() {
        if !is_trusted(proxies, client) {
            break;
        }

        let Some(address) = parse_hop(hop.trim()) else {
            break;
        };

        client = address.to_canonical();
    }

    client
}

/// Is it an address of this machine or of a private network, at which a proxy of ours may be?
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// The client behind this peer, for limits only; `None` if it is a program on this machine. A near
/// peer that is no trusted proxy may be a proxy all the same; the address from which it says to have
/// the request counts then, so that all its clients are not taken for one.
#[must_use]
pub fn find_client_for_limits(
    proxies: &[IpNet],
    peer: IpAddr,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let mut client = find_client(proxies, peer, headers);
    if !is_trusted(proxies, peer) && is_near(peer) {
        // A proxy adds the address that called it at the end. What stands before is the client's
        // word.
        let hops = headers.get_all(FORWARDED_FOR).last();
        let stated =
            hops.and_then(|list| parse_hop(list.to_str().ok()?.rsplit(',').next()?.trim()));
        client = stated.map_or(peer, |address| address.to_canonical());
    }

    let is_this_machine = client.is_loopback() && !headers.contains_key(FORWARDED_FOR);

    (!is_this_machine).then_some(client)
}

/// An address as proxies write it: some add the port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    plain
        .parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = ["127.0.0.1/32", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        let request = forwarded
            .iter()
            .fold(TestRequest::default(), |request, hops| {
                request.append_header((FORWARDED_FOR, *hops))
            });
        let request = request.to_http_request();

        find_client(&proxies, peer.parse().unwrap(), request.headers()).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_added_counts() {
        assert_eq!(client("192.0.2.9", &[]), "192.0.2.9");
        assert_eq!(
            client("192.0.2.9", &["198.51.100.1"]),
            "192.0.2.9",
            "a stranger says so"
        );
        assert_eq!(client("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("::ffff:127.0.0.1", &["198.51.100.1:4711"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("127.0.0.1", &["203.0.113.5, 198.51.100.1, 10.1.1.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("127.0.0.1", &["203.0.113.5", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["203.0.113.5, unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn for_limits_a_near_peer_may_be_a_proxy() {
        let limited = |trusted: &[&str], peer: &str, forwarded: Option<&str>| {
            let proxies: Vec<IpNet> = trusted.iter().map(|one| one.parse().unwrap()).collect();
            let request = TestRequest::default();
            let request = match forwarded {
                Some(hops) => request.append_header((FORWARDED_FOR, hops)),
                None => request,
            };
            let headers = request.to_http_request().headers().clone();
            let client = find_client_for_limits(&proxies, peer.parse().unwrap(), &headers);

            client.map(|client| client.to_string())
        };
        let some = |address: &str| Some(address.to_owned());

        assert_eq!(limited(&[], "127.0.0.1", None), None, "this machine");
        assert_eq!(limited(&[], "::ffff:127.0.0.1", None), None);
        assert_eq!(limited(&["127.0.0.1/32"], "127.0.0.1", None), None);
        let claimed = limited(&[], "192.168.0.7", Some("127.0.0.1"));
        assert_eq!(claimed, some("127.0.0.1"), "it is limited all the same");
        let through = limited(&[], "127.0.0.1", Some("203.0.113.9, 192.0.2.1"));
        assert_eq!(through, some("192.0.2.1"));
        assert_eq!(
            limited(&[], "192.0.2.1", Some("1.2.3.4")),
            some("192.0.2.1")
        );
        let chain = limited(
            &["127.0.0.1/32", "10.1.1.1/32"],
            "127.0.0.1",
            Some("192.168.0.7, 10.1.1.1"),
        );
        assert_eq!(chain, some("192.168.0.7"));
    }
}
