//! `Connection` names a header that the gate set or the product decides by, and a careless gate
//! removes it on the way (CVE-2024-45410, CVE-2026-29054, CWE-444).

use super::{Line, gate};
use crate::support::Upstream;

/// Headers that must arrive, whatever `Connection` says.
const KEPT: [&str; 9] = [
    "host",
    "content-length",
    "cookie",
    "authorization",
    "origin",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-portcullis-assertion",
];

#[tokio::test]
async fn connection_takes_nothing_away_that_the_product_decides_by() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let host = gateway.address;
    let mut line = Line::to(&gateway);
    for name in KEPT {
        for spelled in [
            name.to_owned(),
            name.to_uppercase(),
            format!("keep-alive, {name}"),
            format!("{name} , te"),
            format!("x-a,{name},{name}"),
        ] {
            let bytes = format!(
                "POST /public HTTP/1.1\r\nhost: {host}\r\nconnection: {spelled}\r\ncookie: product=1\r\nauthorization: Bearer product\r\norigin: http://{host}\r\ncontent-length: 4\r\n\r\nbody"
            );
            let answer = line.ask(bytes.as_bytes()).await;
            assert_eq!(answer.status, 200, "{spelled}");
            let received = upstream.last();
            assert_eq!(&received.body[..], b"body", "{spelled}");
            for kept in KEPT {
                assert!(
                    received.headers.contains_key(kept),
                    "{kept} lost by {spelled}"
                );
            }
        }
    }
}

#[tokio::test]
async fn headers_of_one_connection_end_at_the_gate() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let bytes = format!(
        "GET /public HTTP/1.1\r\nhost: {}\r\nconnection: close, X-Mine\r\nx-mine: 1\r\nte: trailers\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\ntrailer: x-t\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        gateway.address
    );
    let answer = super::first_answer(&gateway, bytes.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let received = upstream.last();
    for gone in [
        "x-mine",
        "te",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "upgrade",
    ] {
        assert!(!received.headers.contains_key(gone), "{gone}");
    }
}
