//! One client counts as many, or as a trusted one, by another spelling of its address or by claims in
//! front of the proxy's own word (CVE-2024-39321).

use super::gate;
use crate::support::{Gateway, Upstream};

async fn limited_to_three(trusted: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(
            "[listen]",
            &format!("[listen]\ntrusted-proxies = [{trusted}]"),
        )
        .more("\n[limits.default]\nrate = \"3/hour\"\n")
        .start()
        .await;
    (upstream, gateway)
}

/// Asks once for each claim; gives the statuses.
async fn ask(gateway: &Gateway, claims: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for claim in claims {
        let answer = gateway
            .client()
            .get("/public")
            .header("x-forwarded-for", claim);
        statuses.push(answer.send().await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn without_a_trusted_proxy_every_claim_is_the_same_client() {
    let (upstream, gateway) = limited_to_three("").await;
    let claims = [
        "198.51.100.1",
        "198.51.100.2",
        "10.0.0.1",
        "198.51.100.4",
        "::1",
    ];
    assert_eq!(ask(&gateway, &claims).await, [200, 200, 200, 429, 429]);
    assert_eq!(upstream.requests(), 3);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn all_spellings_of_one_address_share_one_limit() {
    let (_, gateway) = limited_to_three("\"127.0.0.0/8\"").await;
    let spellings = [
        "203.0.113.7",
        "::ffff:203.0.113.7",
        "[::ffff:cb00:7107]:80",
        "203.0.113.7:1234",
        "6.6.6.6, 203.0.113.7",
        "unknown, 203.0.113.7, 127.0.0.1",
        "0:0:0:0:0:ffff:203.0.113.7",
    ];
    let statuses = ask(&gateway, &spellings).await;
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(
        statuses[3..].iter().all(|status| *status == 429),
        "{statuses:?}"
    );
    let six = [
        "2001:db8::1",
        "2001:db8::2",
        "[2001:DB8::3]:1",
        "2001:db8::4%eth0",
        "2001:db8:0:0:ffff::1",
    ];
    assert_eq!(ask(&gateway, &six).await, [200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn what_stands_left_of_the_proxys_word_is_not_believed() {
    let (upstream, gateway) = limited_to_three("\"127.0.0.0/8\"").await;
    let claims = [
        "1.1.1.1, 203.0.113.9",
        "2.2.2.2, 203.0.113.9",
        "127.0.0.1, 203.0.113.9",
        "4.4.4.4, 203.0.113.9",
    ];
    assert_eq!(ask(&gateway, &claims).await, [200, 200, 200, 429]);
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("203.0.113.9")
    );
}

#[tokio::test]
async fn every_address_cannot_be_a_trusted_proxy() {
    let upstream = Upstream::start().await;
    for network in ["0.0.0.0/0", "::/0"] {
        let builder = gate(&upstream).await.replace(
            "[listen]",
            &format!("[listen]\ntrusted-proxies = [\"{network}\"]"),
        );
        let output = builder.cli(&["check"]);
        assert_eq!(output.status.code(), Some(1));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains("listen.trusted-proxies"), "{printed}");
    }
}
