//! Who is calling, in addresses: the TCP peer, and the client behind trusted proxies.
//!
//! `X-Forwarded-For` is read from right to left, and only while the address that wrote the next
//! element is a trusted proxy; none is trusted by default. RFC 7239 `Forwarded` is not read: one
//! source of truth cannot disagree with itself. An element that is no address ends the walk at the
//! last good one, so garbage never widens what a client can claim (CWE-348).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;
pub use portcullis_core::Scheme;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The other end of the TCP connection, as the socket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// IPv4-mapped IPv6 addresses are IPv4 here.
    pub addr: SocketAddr,
    /// Whether this connection is TLS.
    pub tls: bool,
}

impl Peer {
    pub fn new(addr: SocketAddr, tls: bool) -> Self {
        Peer {
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            tls,
        }
    }
}

/// The client's address after the trusted-proxy rules. Always canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(IpAddr);

/// The networks whose word is taken for the address and scheme of a client.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        TrustedProxies(networks)
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind `peer`.
    pub fn client(&self, peer: &Peer, headers: &HeaderMap) -> ClientAddr {
        let mut last_good = peer.addr.ip();
        if self.0.is_empty() || !self.trusts(last_good) {
            return ClientAddr(last_good);
        }
        // Several lines are one list (RFC 9110 section 5.3), so the last line's end comes first.
        let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        for line in lines.into_iter().rev() {
            for element in line.as_bytes().rsplit(|byte| *byte == b',') {
                let Some(address) = parse_element(element) else {
                    return ClientAddr(last_good);
                };
                last_good = address;
                if !self.trusts(address) {
                    return ClientAddr(address);
                }
            }
        }
        ClientAddr(last_good)
    }

    /// The scheme the client used: TLS here, or what a trusted peer says in `X-Forwarded-Proto`.
    pub fn scheme(&self, peer: &Peer, headers: &HeaderMap) -> Scheme {
        if peer.tls {
            return Scheme::Https;
        }
        if self.0.is_empty() || !self.trusts(peer.addr.ip()) {
            return Scheme::Http;
        }
        // The nearest proxy wrote the last element; anything but a clear `https` is plain.
        let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
        let https = last
            .and_then(|value| value.as_bytes().rsplit(|byte| *byte == b',').next())
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"https"));
        if https { Scheme::Https } else { Scheme::Http }
    }
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`, with or without a zone.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let host = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() {
            after.strip_prefix(':')?.parse::<u16>().ok()?;
        }
        return parse_v6(inside);
    } else if let Ok(socket) = text.parse::<std::net::SocketAddrV4>() {
        return Some(IpAddr::V4(*socket.ip()));
    } else {
        text
    };
    if host.contains(':') {
        return parse_v6(host);
    }
    host.parse().ok().map(IpAddr::V4)
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    let without_zone = text.split_once('%').map_or(text, |(address, _)| address);
    let address: Ipv6Addr = without_zone.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

impl ClientAddr {
    pub fn new(address: IpAddr) -> Self {
        ClientAddr(address.to_canonical())
    }

    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// What limits count by: an IPv4 address (as IPv4-mapped), or an IPv6 /64, because one
    /// subscriber owns at least that many addresses.
    pub fn limit_key(self) -> [u8; 16] {
        limit_key(self.0)
    }
}

pub(crate) fn limit_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => (u128::from(v6) >> 64 << 64).to_be_bytes(),
    }
}

impl std::fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ])
    }

    fn client(trusted: &TrustedProxies, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        let peer = Peer::new(peer.parse().unwrap(), false);
        trusted.client(&peer, &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_by_default() {
        let nobody = TrustedProxies::default();
        assert_eq!(client(&nobody, "10.0.0.1:1", &["1.2.3.4"]), "10.0.0.1");
        assert_eq!(client(&proxies(), "192.0.2.1:1", &["1.2.3.4"]), "192.0.2.1");
    }

    #[test]
    fn the_walk_goes_right_to_left_over_trusted_proxies() {
        for (lines, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4, 10.9.9.9"], "1.2.3.4"),
            (&["1.2.3.4:5678"], "1.2.3.4"),
            (&["[2001:db8::1]:5678"], "2001:db8::1"),
            (&["fe80::1%eth0"], "fe80::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&["10.0.0.2"], "10.0.0.2"),
            (&[], "10.0.0.1"),
            // Malformed elements end the walk at the last good address.
            (&["1.2.3.4, unknown"], "10.0.0.1"),
            (&["1.2.3.4, , 10.0.0.3"], "10.0.0.3"),
            (&["1.2.3.4, 10.0.0.3:99999"], "10.0.0.1"),
            (&["1.2.3.4, 010.0.0.3"], "10.0.0.1"),
            (&["1.2.3.4, 10.0.0.3\"x"], "10.0.0.1"),
        ] {
            assert_eq!(
                client(&proxies(), "10.0.0.1:1", lines),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_mapped_peer_is_an_ipv4_peer() {
        assert_eq!(
            client(&proxies(), "[::ffff:10.0.0.1]:1", &["1.2.3.4"]),
            "1.2.3.4"
        );
    }

    #[test]
    fn only_a_trusted_peer_names_the_scheme() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_PROTO, "http, https".parse().unwrap());
        let trusted = Peer::new("10.0.0.1:1".parse().unwrap(), false);
        let other = Peer::new("192.0.2.1:1".parse().unwrap(), false);
        assert_eq!(proxies().scheme(&trusted, &headers), Scheme::Https);
        assert_eq!(proxies().scheme(&other, &headers), Scheme::Http);
        let tls = Peer::new("192.0.2.1:1".parse().unwrap(), true);
        assert_eq!(proxies().scheme(&tls, &HeaderMap::new()), Scheme::Https);
    }

    #[test]
    fn neighbours_in_one_slash_64_share_a_limit() {
        let key = |text: &str| ClientAddr::new(text.parse().unwrap()).limit_key();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("1.2.3.4"), key("1.2.3.5"));
        assert_eq!(key("1.2.3.4"), key("::ffff:1.2.3.4"));
    }
}
