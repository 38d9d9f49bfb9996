//! Whose address counts: limits, log and product follow the trusted-proxy walk, and nothing else.

use std::net::TcpListener;

use crate::support::{Client, Gateway, GatewayBuilder, Upstream};

const ROUTES: &str = "
[[route]]
path = \"/x\"
allow = \"public\"
limits = [\"few\"]

[limits.few]
rate = \"1/hour\"
";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES).await
}

async fn ask(client: &Client, forwarded: &str) -> u16 {
    let request = client.get("/x").header("x-forwarded-for", forwarded);
    request.send().await.status.as_u16()
}

#[tokio::test]
async fn a_trusted_proxy_tells_whose_limit_counts_and_what_the_log_and_the_product_see() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace(
            "[listen]",
            "[listen]\ntrusted-proxies = [\"127.0.0.1/32\", \"192.0.2.0/24\"]",
        )
        .start()
        .await;
    let client = gateway.client();
    assert_eq!(ask(&client, "198.51.100.7").await, 200);
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("198.51.100.7")
    );
    // What stands left of the first address that is not trusted is the client's own tale.
    assert_eq!(
        ask(&client, "203.0.113.9, 198.51.100.7, 192.0.2.1").await,
        429
    );
    assert_eq!(ask(&client, "198.51.100.8").await, 200);
    // Everybody in one /64 shares a limit; the next one has its own.
    assert_eq!(ask(&client, "2001:db8:0:1::1").await, 200);
    assert_eq!(ask(&client, "2001:db8:0:1:ffff::2").await, 429);
    assert_eq!(ask(&client, "2001:db8:0:2::1").await, 200);
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("2001:db8:0:2::1")
    );
    // IPv4 in an IPv6 coat is IPv4.
    assert_eq!(ask(&client, "::ffff:198.51.100.8").await, 429);
    gateway
        .wait_until_printed("\"client.address\":\"198.51.100.7\"")
        .await;
    assert!(!gateway.printed().contains("203.0.113.9"));
}

#[tokio::test]
async fn nobody_else_can_claim_an_address_or_a_scheme() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let answer = client
        .get("/x")
        .header("x-forwarded-for", "198.51.100.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "for=198.51.100.7;proto=https")
        .header("x-real-ip", "198.51.100.7")
        .header("x-request-id", "mine")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").is_none());
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_ne!(seen.header("x-request-id"), Some("mine"));
    for gone in ["x-forwarded-host", "forwarded", "x-real-ip"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
        assert_eq!(seen.headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(ask(&client, "198.51.100.8").await, 429);
    gateway
        .wait_until_printed("\"client.address\":\"127.0.0.1\"")
        .await;
    assert!(!gateway.printed().contains("198.51.100"));
}

#[tokio::test]
async fn the_gate_listens_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        // A machine without IPv6 has nothing to show here.
        return;
    }
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            "[listen]\naddress = \"[::1]:0\"",
        )
        .start()
        .await;
    assert!(gateway.address.is_ipv6());
    let answer = gateway.client().get("/x").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("::1"));
    let host = format!("[::1]:{}", gateway.address.port());
    assert_eq!(upstream.last().header("host"), Some(host.as_str()));
}
