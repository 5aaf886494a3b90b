//! Decides which addresses may be contacted if a stranger names them: only those of the public
//! Internet. The check is made after name resolution, on the very address that is connected to. So
//! neither a name that resolves to an internal address, nor one that resolves differently the
//! second time, gets past it.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::Url;

/// Maximum addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The name or address is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it leads to an address that is not public")]
pub struct NotPublic;

/// Is it an address of the public Internet? Private, loopback, link-local, shared (CGNAT),
/// multicast, reserved and documentation addresses are not (the registries of special addresses of
/// IANA), nor are such inside of an IPv6 address.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// The IPv4 networks that are not public: address and length of the prefix.
const SPECIAL: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    // Relays of 6to4.
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast; reserved, with broadcast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Is the address in none of the networks of [`SPECIAL`]?
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let within = |(network, length): &([u8; 4], u32)| {
        (ip.to_bits() ^ u32::from_be_bytes(*network)) >> (32 - length) == 0
    };

    !SPECIAL.iter().any(within)
}

/// Is it one of the addresses that are allocated for the public Internet (`2000::/3`), without the
/// special ones among them?
fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // NAT64: the embedded IPv4 address is what counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Of the allocated addresses, these are not public: protocol assignments (Teredo among
        // them), 6to4, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        // Not public: loopback, link-local, private, multicast, and every form of an IPv4 address
        // within an IPv6 one.
        _ => false,
    }
}

/// Resolves names with the system's resolver and keeps only public addresses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PublicResolver;

impl Resolve for PublicResolver {
    /// The public addresses of a name; an error if it has none.
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public = only_public(found);
            if public.is_empty() {
                return Err(NotPublic.into());
            }

            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The public ones among the addresses of a name, at most [`ADDRESSES_MAX`].
fn only_public(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    found
        .filter(|address| is_public(address.ip()))
        .take(ADDRESSES_MAX)
        .collect()
}

/// Does this address lead to a private network, so that whoever named it is at home there?
pub(super) async fn is_private_address(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };

    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or_default();
    match tokio::net::lookup_host((host, port)).await {
        Ok(mut found) => found.any(|address| !is_public(address.ip())),
        Err(_) => false,
    }
}

/// For tests without Internet: resolves every name to one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct FixedResolver(pub SocketAddr);

impl Resolve for FixedResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let place = self.0;
        Box::pin(async move { Ok(Box::new(std::iter::once(place)) as Addrs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_asked() {
        let public = "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
                      128.0.0.1 169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.0 192.0.1.1 \
                      192.0.3.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 \
                      203.0.112.255 203.0.114.0 223.255.255.255 2606:4700:4700::1111 2a01:4f8::1 \
                      2001:200::1 2001:4860:4860::8888 2003::1 3ffe:ffff::1 64:ff9b::8.8.8.8";

        for text in public.split(' ') {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn no_other_address_is_in_whatever_form() {
        let inside = [
            // This host, private, shared, loopback, link-local (where clouds keep their secrets).
            "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 \
             127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255",
            // Assignments, documentation, relays, benchmarks, multicast, reserved, broadcast.
            "192.0.0.1 192.0.0.170 192.0.2.1 198.51.100.7 203.0.113.9 192.88.99.1 198.18.0.1 \
             198.19.255.255 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255",
            // The same in IPv6: loopback, unspecified, link-local, site-local, private, multicast.
            "::1 :: fe80::1 febf::1 fec0::1 fc00::1 fd12:3456::1 fd00:ec2::254 ff02::1 ff0e::1",
            // IPv4 in IPv6: mapped, compatible, translated, 6to4, Teredo, NAT64 of private
            // addresses and of own prefixes.
            "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::ffff:0:127.0.0.1 \
             2002:7f00:1:: 2002:808:808::1 2001::1 2001:0:53aa:64c:0:fbff:80ff:fffe \
             64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 \
             64:ff9b:0:0:1::8.8.8.8",
            // Protocols, benchmarks, ORCHID, documentation, discard, segment routing, never given
            // out.
            "2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 3fff::1 3fff:fff::1 100::1 \
             100:0:0:1::1 5f00::1 4000::1 1fff::1 e000::1",
        ];

        for text in inside.iter().flat_map(|some| some.split(' ')) {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_no_name() {
        let refused = PublicResolver.resolve("localhost".parse().unwrap()).await;
        assert!(refused.err().unwrap().is::<NotPublic>());
        let mixed = ["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"].map(|text| text.parse().unwrap());
        assert_eq!(
            only_public(mixed.into_iter()),
            ["1.1.1.1:0".parse().unwrap()],
            "one of each is one"
        );
    }
}
