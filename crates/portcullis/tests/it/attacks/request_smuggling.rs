//! Two servers disagree on where a message ends, and what one takes for a body the other takes for a
//! request (CWE-444; CVE-2025-55315, CVE-2025-22871, RUSTSEC-2026-0034, RUSTSEC-2021-0020,
//! RUSTSEC-2021-0078, RUSTSEC-2021-0079).

use super::{answers, gate};
use crate::support::WireUpstream;

/// What a smuggler wants to be taken for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Lines that make the end of a message ambiguous, each with a body that hides a request.
const HEADS: [&str; 47] = [
    // Two lengths. RFC 9112 section 6.1.
    "content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "Transfer-Encoding: Chunked\r\nContent-Length: 0\r\n",
    // Lengths that stand twice. RFC 9112 section 6.3.
    "content-length: 5\r\ncontent-length: 5\r\n",
    "content-length: 5\r\ncontent-length: 6\r\n",
    "content-length: 5, 5\r\n",
    "content-length: 5, 6\r\n",
    // Lengths that are no digits alone. RFC 9110 section 8.6.
    "content-length: +5\r\n",
    "content-length: -5\r\n",
    "content-length: 05\r\n",
    "content-length: 0x5\r\n",
    "content-length: 5.0\r\n",
    "content-length: 5 \t5\r\n",
    "content-length: 5e0\r\n",
    "content-length: \r\n",
    "content-length: five\r\n",
    "content-length: 18446744073709551621\r\n",
    "content-length: 99999999999999999999\r\n",
    "content-length: \u{665}\r\n",
    // Transfer codings that not everybody knows, or reads alike. RFC 9112 sections 6.1 and 7.
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding: identity, chunked\r\n",
    "transfer-encoding: chunked, identity\r\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: xchunked\r\n",
    "transfer-encoding: chunked;q=1\r\n",
    "transfer-encoding: \"chunked\"\r\n",
    "transfer-encoding: chunked,\r\n",
    "transfer-encoding: ,chunked\r\n",
    "transfer-encoding: \r\n",
    "transfer-encoding: \x0bchunked\r\n",
    "transfer-encoding: chun\x00ked\r\n",
    "transfer-encoding:\n chunked\r\n",
    "transfer-encoding:\r\n chunked\r\n",
    // Names that are read alike by some. RFC 9112 section 5.1.
    "transfer-encoding : chunked\r\n",
    "transfer-encoding\t: chunked\r\n",
    " transfer-encoding: chunked\r\n",
    "transfer_encoding: chunked\r\n",
    "transfer.encoding: chunked\r\n",
    "content_length: 5\r\n",
    "content-length : 5\r\n",
    // Line ends. RFC 9112 section 2.2.
    "x: y\ntransfer-encoding: chunked\r\n",
    "x: y\rtransfer-encoding: chunked\r\n",
    "x: y\r\n\tz\r\ntransfer-encoding: chunked\r\n",
];

#[tokio::test]
async fn a_head_with_two_readings_is_refused_and_reaches_nobody() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    for head in HEADS {
        let bytes = format!(
            "POST /public HTTP/1.1\r\nhost: {}\r\n{head}\r\n0\r\n\r\n{SMUGGLED}",
            gateway.address
        );
        let raw = gateway.client().raw(bytes.as_bytes()).await;
        let all = answers(&raw);
        assert_eq!(all.len(), 1, "{head:?}: {}", String::from_utf8_lossy(&raw));
        assert_eq!(all[0].status, 400, "{head:?}");
        assert_eq!(all[0].header("connection"), Some("close"), "{head:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_old_version_has_no_chunks() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    for version in [
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "http/1.1",
        "HTTP/1.10",
        "",
    ] {
        let bytes = format!(
            "POST /public {version}\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
            gateway.address
        );
        let all = answers(&gateway.client().raw(bytes.as_bytes()).await);
        assert_eq!(all.len(), 1, "{version}");
        assert_eq!(all[0].status, 400, "{version}");
    }
    assert_eq!(upstream.connections(), 0);
}

/// Chunked bodies that are read differently by whoever is lenient. RFC 9112 section 7.1.
const CHUNKS: [&str; 27] = [
    "0\n\r\n",
    "0\r\n\n",
    "0\n\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhell\r\n0\r\n\r\n",
    "5;x\nhello\r\n0\r\n\r\n",
    "5;x=\ny\r\nhello\r\n0\r\n\r\n",
    "5;\nxx\r\n3e\r\n",
    "5;x\r\r\nhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\t5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5_0\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    ";x\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "0\r\n x: folded\r\n\r\n",
    "0\r\nx: y\n\r\n",
    "0\r\nx : y\r\n\r\n",
];

#[tokio::test]
async fn a_chunk_with_two_readings_ends_the_connection_on_both_sides() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    for chunks in CHUNKS {
        let bytes = format!(
            "POST /public HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{SMUGGLED}",
            gateway.address
        );
        let raw = gateway.client().raw(bytes.as_bytes()).await;
        let all = answers(&raw);
        assert_eq!(
            all.len(),
            1,
            "{chunks:?}: {}",
            String::from_utf8_lossy(&raw)
        );
        assert_eq!(all[0].status, 400, "{chunks:?}");
    }
    let seen = upstream.text();
    assert!(!seen.contains("smuggled"), "{seen}");
    assert!(
        !seen.contains("0\r\n\r\n"),
        "a broken body was ended: {seen}"
    );
}

#[tokio::test]
async fn a_good_body_that_looks_like_a_request_stays_a_body() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let host = gateway.address;
    let length = SMUGGLED.len();
    let bytes = format!(
        "POST /public HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}\
         POST /public HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{length:x};ext=\"v\"\r\n{SMUGGLED}\r\n0\r\nx-trailer: 1\r\n\r\n"
    );
    let all = answers(&gateway.client().raw(bytes.as_bytes()).await);
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200]);
    let seen = upstream.text();
    assert_eq!(seen.matches("POST /public").count(), 2);
    assert_eq!(seen.matches("\r\n\r\nGET /smuggled").count(), 1);
    assert!(
        !seen.contains("x-trailer") && !seen.contains("ext="),
        "{seen}"
    );
}

#[tokio::test]
async fn a_body_behind_a_get_is_no_second_request() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let host = gateway.address;
    let length = SMUGGLED.len();
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        // `/closed` refuses at the head: the body that comes with it must not be read as a request.
        let bytes = format!(
            "{method} /closed HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}"
        );
        let mut wire = crate::support::Wire::to(gateway.address).await;
        wire.send(bytes).await;
        wire.send(super::request("GET", "/closed?last", host, ""))
            .await;
        let rest = wire.end().await;
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            (1..=2).contains(&text.matches("HTTP/1.1 ").count()),
            "{method}: {text}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}
