//! `[listen]`: where the gate listens, how long it waits, how much it reads.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use portcullis_core::Span;
use portcullis_core::finding::Finding;
use portcullis_core::size::ByteSize;
use serde::Deserialize;

/// A mistake at `key`, from the top of the file: `listen.tls.cert`.
pub(crate) fn finding(key: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Finding {
    Finding::error("wire", key, message)
}

/// The table `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address and port of the gate. Default `"127.0.0.1:8080"`. An address that the network
    /// reaches wants `tls`, or a proxy in front that does TLS.
    pub address: SocketAddr,
    /// Certificate and key. Default: none, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Address of a plaintext listener that sends browsers to https. Default: none. Needs `tls`.
    pub redirect_http: Option<SocketAddr>,
    /// Networks of the proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are
    /// believed. Default: none. Whoever can connect from one of these can claim any address.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest request head. Default `"32KiB"`, at least 8 KiB. More costs memory per connection.
    pub max_head: ByteSize,
    /// Most header lines in a request. Default 100, at most 256.
    pub max_headers: usize,
    /// Longest request target. Default `"8KiB"`.
    pub max_uri: ByteSize,
    /// Most connections in one process, split evenly among its lanes. Default 20000.
    pub max_connections: usize,
    /// Most connections of one client network (IPv4 address, IPv6 /64), for each lane. Default 256.
    /// Trusted proxies are exempt.
    pub max_connections_per_address: usize,
    /// Most requests in flight in one process, from their head to the end of their answer. Beyond
    /// it, requests for a product are answered 503 with `Retry-After`; the gate's own routes
    /// (health, sign-out, revocation) go on. Default 2048. More costs memory per request.
    pub max_in_flight: usize,
    /// Most streams at a time on one HTTP/2 connection. Default 128.
    pub max_streams: u32,
    /// How long a new connection may stay silent. Default `"10s"`.
    pub first_byte_timeout: Span,
    /// How long a request head (or a TLS handshake) may take. Default `"10s"`.
    pub head_timeout: Span,
    /// How long a connection may lie idle between requests. Default `"60s"`.
    pub idle_timeout: Span,
    /// How long a request body may pause. Default `"30s"`.
    pub body_idle_timeout: Span,
    /// Least rate of a request body while we wait for it, per second, after a grace of one
    /// `body-idle-timeout`. Default `"128B"`. Zero turns it off: slow senders then hold connections.
    pub body_min_rate: ByteSize,
    /// How long a client may refuse to take the answer's bytes. Default `"30s"`.
    pub write_timeout: Span,
    /// How long an upgraded connection (`WebSocket`) may be silent both ways. Default `"10m"`.
    pub tunnel_idle_timeout: Span,
    /// How long requests in flight may finish when the gate stops. Default `"30s"`.
    pub drain_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            redirect_http: None,
            trusted_proxies: Vec::new(),
            max_head: ByteSize::kib(32),
            max_headers: 100,
            max_uri: ByteSize::kib(8),
            max_connections: 20_000,
            max_connections_per_address: 256,
            max_in_flight: 2048,
            max_streams: 128,
            first_byte_timeout: Span::from_seconds(10),
            head_timeout: Span::from_seconds(10),
            idle_timeout: Span::from_seconds(60),
            body_idle_timeout: Span::from_seconds(30),
            body_min_rate: ByteSize::bytes(128),
            write_timeout: Span::from_seconds(30),
            tunnel_idle_timeout: Span::from_minutes(10),
            drain_timeout: Span::from_seconds(30),
        }
    }
}

/// The table `[listen.tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsConfig {
    /// PEM file with the certificate and the rest of its chain.
    pub cert: PathBuf,
    /// PEM file with the private key. Should be readable by the gate alone.
    pub key: PathBuf,
}

impl Config {
    /// Every mistake that can be seen without opening a file or a socket.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, key: &str, message: &'static str| {
            if wrong {
                found.push(finding(format!("listen.{key}"), message));
            }
        };
        let head = self.max_head.as_u64();
        refuse(
            !(8 * 1024..=1024 * 1024).contains(&head),
            "max-head",
            "must be 8KiB to 1MiB",
        );
        refuse(
            !(1..=256).contains(&self.max_headers),
            "max-headers",
            "must be 1 to 256",
        );
        refuse(
            self.max_uri.as_u64() == 0 || self.max_uri.as_u64() >= head,
            "max-uri",
            "must be more than zero and less than `max-head`",
        );
        refuse(
            self.max_uri.as_u64() > 65_000,
            "max-uri",
            "must be at most 65000B",
        );
        refuse(
            self.max_connections == 0,
            "max-connections",
            "must be more than zero",
        );
        refuse(
            self.max_connections_per_address == 0,
            "max-connections-per-address",
            "must be more than zero",
        );
        refuse(
            self.max_in_flight == 0,
            "max-in-flight",
            "must be more than zero",
        );
        refuse(
            !(1..=1000).contains(&self.max_streams),
            "max-streams",
            "must be 1 to 1000",
        );
        refuse(
            self.redirect_http.is_some() && self.tls.is_none(),
            "redirect-http",
            "needs `listen.tls`: there is no https to send anybody to",
        );
        refuse(
            self.trusted_proxies.iter().any(is_half_the_world),
            "trusted-proxies",
            "a network as large as that would let clients claim any address: write the proxies' own",
        );
        refuse(
            !self.trusted_proxies.iter().any(is_half_the_world)
                && is_a_quarter_of_the_world(&self.trusted_proxies),
            "trusted-proxies",
            "these networks together are a quarter of all addresses or more, and would let clients claim any address: write the proxies' own",
        );
        for (key, span) in [
            ("first-byte-timeout", self.first_byte_timeout),
            ("head-timeout", self.head_timeout),
            ("idle-timeout", self.idle_timeout),
            ("body-idle-timeout", self.body_idle_timeout),
            ("write-timeout", self.write_timeout),
            ("tunnel-idle-timeout", self.tunnel_idle_timeout),
        ] {
            refuse(span.is_zero(), key, "must be more than zero");
        }
        found
    }
}
/// Whether nobody has so many proxies: larger than any organization's network.
fn is_half_the_world(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 7,
    }
}

/// Whether these networks, each small enough, cover a quarter of the addresses that clients have:
/// all of IPv4, or the part of IPv6 that is given out (`2000::/3`, RFC 4291 section 2.4).
fn is_a_quarter_of_the_world(networks: &[IpNet]) -> bool {
    const GIVEN_OUT: u8 = 3;
    // What overlaps counts once.
    let apart = IpNet::aggregate(&networks.to_vec());
    let (mut four, mut six) = (0_u64, 0_u128);
    for network in apart {
        match network {
            IpNet::V4(network) => four = four.saturating_add(1 << (32 - network.prefix_len())),
            IpNet::V6(network) if network.network().segments()[0] >> 13 == 1 => {
                // Neighbours may have grown together to more than was given out.
                let length = network.prefix_len().max(GIVEN_OUT);
                six = six.saturating_add(1 << (128 - length));
            }
            IpNet::V6(_) => {}
        }
    }
    four >= 1 << 30 || six >= 1 << (126 - GIVEN_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(networks: &[String]) -> usize {
        let config = Config {
            trusted_proxies: networks.iter().map(|net| net.parse().unwrap()).collect(),
            ..Config::default()
        };
        config.findings().len()
    }

    #[test]
    fn networks_that_are_a_quarter_of_all_addresses_together_are_refused() {
        let four = |count: u8| (0..count).map(|at| format!("{}.0.0.0/8", at * 3 + 1));
        assert_eq!(trusts(&four(63).collect::<Vec<_>>()), 0);
        assert_eq!(trusts(&four(64).collect::<Vec<_>>()), 1);
        // Twice the same is once.
        let twice: Vec<String> = four(40).chain(four(40)).collect();
        assert_eq!(trusts(&twice), 0);
        let small: Vec<String> = (0..=255_u8)
            .flat_map(|a| (0..64).map(move |b| format!("{a}.{}.0.0/16", b * 4)))
            .collect();
        assert_eq!(trusts(&small), 1);

        let six = |count: u16| (0..count).map(|at| format!("{:x}::/8", 0x2000 + at * 0x400));
        assert_eq!(trusts(&six(7).collect::<Vec<_>>()), 0);
        assert_eq!(trusts(&six(8).collect::<Vec<_>>()), 1);
        // What networks have inside is no part of the world outside.
        let inside = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        assert_eq!(trusts(&inside.map(str::to_owned)), 0);
    }
}
