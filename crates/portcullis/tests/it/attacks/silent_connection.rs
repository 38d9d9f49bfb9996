//! Connections that say nothing, or too little, are kept for ever, on whichever listener
//! (CVE-2026-22045, CVE-2026-26999, CVE-2024-28869).

use super::gate;
use crate::support::{Gateway, Upstream, Wire, answers};

async fn impatient(upstream: &Upstream) -> Gateway {
    gate(upstream)
        .await
        .replace(
            "[listen]",
            "[listen]\nfirst-byte-timeout = \"1s\"\nhead-timeout = \"1s\"\nidle-timeout = \"1s\"\nbody-idle-timeout = \"1s\"",
        )
        .start()
        .await
}

#[tokio::test]
async fn what_says_too_little_is_closed() {
    let upstream = Upstream::start().await;
    let gateway = impatient(&upstream).await;
    let host = gateway.address;
    let begun = [
        (String::new(), None),
        ("P".to_owned(), None),
        ("PRI * HTTP/2.0\r\n\r\nSM".to_owned(), None),
        ("GET /public HTTP/1.1\r\n".to_owned(), Some(408)),
        (
            format!("GET /public HTTP/1.1\r\nhost: {host}\r\nx: "),
            Some(408),
        ),
        (
            format!("POST /public HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9\r\n\r\nshort"),
            Some(408),
        ),
        (
            format!(
                "POST /public HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nsh"
            ),
            Some(408),
        ),
    ];
    let ends = begun.into_iter().map(|(bytes, status)| async move {
        let mut wire = Wire::to(host).await;
        wire.send(&bytes).await;
        let rest = wire.end().await;
        match status {
            None => {}
            Some(status) => assert_eq!(answers(&rest)[0].status, status, "{bytes}"),
        }
    });
    futures_util::future::join_all(ends).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_both_protocols() {
    let upstream = Upstream::start().await;
    let gateway = impatient(&upstream).await;
    let host = gateway.address;
    let mut first = Wire::to(host).await;
    first
        .send(format!("GET /public HTTP/1.1\r\nhost: {host}\r\n\r\n"))
        .await;
    assert_eq!(first.answer().await.unwrap().status, 200);
    let mut second = Wire::to(host).await;
    second
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    futures_util::future::join(first.end(), second.end()).await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed() {
    let upstream = Upstream::start().await;
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let gateway = gate(&upstream)
        .await
        .replace(
            "[listen]",
            "[listen]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\nfirst-byte-timeout = \"1s\"\nhead-timeout = \"1s\"",
        )
        .file("cert.pem", &key.cert.pem())
        .file("key.pem", &key.signing_key.serialize_pem())
        .start()
        .await;
    let ends = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"].map(|bytes| {
        let address = gateway.address;
        async move {
            let mut wire = Wire::to(address).await;
            wire.send(bytes).await;
            wire.end().await
        }
    });
    futures_util::future::join_all(ends).await;
}

#[tokio::test]
async fn the_admin_listener_keeps_no_silent_connection_either() {
    let upstream = Upstream::start().await;
    let gateway = impatient(&upstream).await;
    let ends = ["", "G", "GET /healthz HTTP/1.1\r\nhost: x\r\n"].map(|bytes| {
        let address = gateway.admin;
        async move {
            let mut wire = Wire::to(address).await;
            wire.send(bytes).await;
            wire.end().await
        }
    });
    futures_util::future::join_all(ends).await;
}
