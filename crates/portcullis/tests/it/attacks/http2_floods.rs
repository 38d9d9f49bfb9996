//! Frames that cost their sender nothing and the gate much: streams opened and reset, heads that never
//! end, control frames without number (CVE-2023-44487, CVE-2025-8671, CVE-2024-27316, CVE-2019-9512,
//! CVE-2019-9515, CVE-2019-9518, RUSTSEC-2024-0332, RUSTSEC-2026-0258).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::gate;
use crate::support::memory::resident_kib;
use crate::support::{Gateway, Upstream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and an empty `SETTINGS`.
fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// A head of plain literals (RFC 7541 section 6.2.2).
fn head(gateway: &Gateway, method: &str, path: &str) -> Vec<u8> {
    let host = gateway.address.to_string();
    let mut block = Vec::new();
    for (name, value) in [
        (":method", method),
        (":scheme", "http"),
        (":authority", &host),
        (":path", path),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

/// What came back from a connection that was fed `bytes`.
struct Fed {
    /// Bytes that the gate took before it closed.
    taken: usize,
    /// Kinds of the frames that came back.
    kinds: Vec<u8>,
    closed: bool,
}

/// Feeds bytes until they end or the gate closes, and reads all the while.
async fn feed(gateway: &Gateway, bytes: &[u8]) -> Fed {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(3), reader.read_to_end(&mut all)).await;
        (all, read.is_ok())
    });
    let mut taken = 0;
    for piece in bytes.chunks(4096) {
        if writer.write_all(piece).await.is_err() {
            break;
        }
        taken += piece.len();
    }
    let (all, closed) = reading.await.unwrap();
    let mut kinds = Vec::new();
    let mut rest = &all[..];
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        kinds.push(rest[3]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    Fed {
        taken,
        kinds,
        closed,
    }
}

#[tokio::test]
async fn a_good_request_over_the_same_frames_is_answered() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let mut bytes = opening();
    bytes.extend(frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &head(&gateway, "GET", "/public"),
    ));
    bytes.extend(frame(GOAWAY, 0, 0, &[0; 8]));
    let fed = feed(&gateway, &bytes).await;
    assert!(
        fed.kinds.contains(&HEADERS) && fed.kinds.contains(&DATA),
        "{:?}",
        fed.kinds
    );
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_end_the_connection() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let mut bytes = opening();
    for number in 0..1_000_u32 {
        let stream = 2 * number + 1;
        bytes.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &head(&gateway, "GET", "/public"),
        ));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let fed = feed(&gateway, &bytes).await;
    assert!(fed.closed, "{:?}", fed.kinds);
    assert!(upstream.requests() <= 256, "{}", upstream.requests());
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
}

#[tokio::test]
async fn streams_that_make_the_gate_reset_them_end_the_connection() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let mut bytes = opening();
    for number in 0..1_000_u32 {
        let stream = 2 * number + 1;
        bytes.extend(frame(
            HEADERS,
            END_HEADERS,
            stream,
            &head(&gateway, "POST", "/public"),
        ));
        // A window update of nothing is a stream error (RFC 9113 section 6.9).
        bytes.extend(frame(8, 0, stream, &[0; 4]));
    }
    let fed = feed(&gateway, &bytes).await;
    assert!(fed.closed, "{:?}", fed.kinds.len());
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let before = resident_kib(gateway.pid());
    for filler in [[0x40, 1, b'a', 1, b'b'].repeat(3_000), Vec::new()] {
        let mut bytes = opening();
        bytes.extend(frame(
            HEADERS,
            END_STREAM,
            1,
            &head(&gateway, "GET", "/public"),
        ));
        for _ in 0..2_000 {
            bytes.extend(frame(CONTINUATION, 0, 1, &filler));
        }
        let all = bytes.len();
        let fed = feed(&gateway, &bytes).await;
        assert!(fed.closed, "{:?}", fed.kinds);
        // A small flood fits into the system's buffers: what counts is that the gate closed.
        assert!(fed.taken < all || all < 1 << 16, "{} of {all}", fed.taken);
    }
    assert_eq!(upstream.requests(), 0);
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KiB more");
}

#[tokio::test]
async fn control_frames_without_number_cost_no_memory() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let before = resident_kib(gateway.pid());
    for one in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
    ] {
        let mut bytes = opening();
        bytes.extend(one.repeat(10_000));
        bytes.extend(frame(GOAWAY, 0, 0, &[0; 8]));
        feed(&gateway, &bytes).await;
    }
    let mut empty = opening();
    empty.extend(frame(
        HEADERS,
        END_HEADERS,
        1,
        &head(&gateway, "POST", "/public"),
    ));
    empty.extend(frame(DATA, 0, 1, &[]).repeat(10_000));
    feed(&gateway, &empty).await;
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KiB more");
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
}

#[tokio::test]
async fn more_streams_than_allowed_do_not_reach_the_product() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .replace("[listen]", "[listen]\nmax-streams = 8")
        .start()
        .await;
    let mut bytes = opening();
    for number in 0..200_u32 {
        // Bodies that never come: the streams stay open.
        bytes.extend(frame(
            HEADERS,
            END_HEADERS,
            2 * number + 1,
            &head(&gateway, "POST", "/public"),
        ));
    }
    feed(&gateway, &bytes).await;
    assert!(upstream.requests() <= 8, "{}", upstream.requests());
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
}
