//! Bytes behind a request to upgrade are passed on before the product has agreed: they are requests
//! that no check sees (RUSTSEC-2026-0033).

use super::{answers, gate};
use crate::support::{Upstream, WireUpstream, ok};

fn upgrade(gateway: &crate::support::Gateway, behind: &str) -> Vec<u8> {
    let host = gateway.address;
    format!(
        "GET /public HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{behind}"
    )
    .into_bytes()
}

#[tokio::test]
async fn what_follows_a_declined_upgrade_is_a_request_like_any_other() {
    for declined in [
        ok("no"),
        b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ] {
        let upstream = WireUpstream::answering(move |_| declined.clone()).await;
        let gateway = gate(&upstream.as_upstream()).await.start().await;
        let behind = format!(
            "GET /closed?smuggled HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            gateway.address
        );
        let raw = gateway.client().raw(&upgrade(&gateway, &behind)).await;
        let all = answers(&raw);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].problem(), "route-closed");
        assert!(!upstream.text().contains("smuggled"));
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_reaches_nobody() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let behind = format!(
        "GET /closed?smuggled HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        gateway.address
    );
    let asked = String::from_utf8(upgrade(&gateway, &behind)).unwrap();
    let raw = gateway
        .client()
        .raw(asked.replace("/public", "/admin").as_bytes())
        .await;
    let slugs: Vec<String> = answers(&raw)
        .iter()
        .map(crate::support::Answer::problem)
        .collect();
    assert_eq!(slugs, ["authentication-required", "route-closed"]);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_broken_answer() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = WireUpstream::answering(move |_| switch.into()).await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let host = gateway.address;
    for more in [
        "",
        "upgrade: websocket\r\n",
        "connection: upgrade\r\n",
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\n",
    ] {
        let bytes = format!(
            "GET /public HTTP/1.1\r\nhost: {host}\r\n{more}\r\nGET /public?smuggled HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        );
        let all = answers(&gateway.client().raw(bytes.as_bytes()).await);
        assert_eq!(all[0].status, 502, "{more:?}");
        assert!(!upstream.text().contains("/closed"));
    }
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let upstream = WireUpstream::answering(move |_| other.into()).await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let mut bytes = upgrade(&gateway, "");
    bytes.extend(super::request("GET", "/closed", gateway.address, ""));
    let all = answers(&gateway.client().raw(&bytes).await);
    assert_eq!(all[0].status, 502);
}

#[tokio::test]
async fn an_upgrade_to_anything_but_a_websocket_is_not_passed_on() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for protocol in ["h2c", "TLS/1.0", "websocket, h2c", "foo"] {
        let answer = gateway
            .client()
            .get("/public")
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .send()
            .await;
        assert_eq!(answer.status, 200, "{protocol}");
        assert!(
            !upstream.last().headers.contains_key("upgrade"),
            "{protocol}"
        );
    }
}
