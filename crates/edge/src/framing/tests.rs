use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::framing::strict_io::Patience;

const LIMITS: Limits = Limits {
    head: 8 * 1024,
    headers: 20,
    uri: 1024,
};
const LONG: Duration = Duration::from_mins(10);
const PATIENCE: Patience = Patience {
    head: LONG,
    idle: LONG,
    body_idle: LONG,
    body_min_rate: 0,
    write: LONG,
};

/// What a handler behind hyper saw, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Method, target, and the body or why it broke off.
    Request(String, Result<Vec<u8>, ()>),
    Refused(Malformed),
}

/// Sends `pieces` one read at a time through [`StrictIo`] and hyper; gives what came out.
fn run(pieces: &[&[u8]]) -> Vec<Seen> {
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    crate::lane_runtime().unwrap().block_on(async move {
        let (client, server) = tokio::io::duplex(1 << 20);
        let gate = Rc::new(Gate::new(LIMITS, PATIENCE));
        let io = StrictIo::new(server, Rc::clone(&gate), bytes::BytesMut::new());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&seen);
        let number = Rc::new(std::cell::Cell::new(0));
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let gate = Rc::clone(&gate);
            let record = Rc::clone(&record);
            let number = Rc::clone(&number);
            async move {
                let at = number.replace(number.get() + 1);
                let entry = if let Some(reason) = gate.refusal(at) {
                    Seen::Refused(reason)
                } else {
                    let line = format!("{} {}", request.method(), request.uri());
                    let body = crate::Body::Incoming(request.into_body());
                    let body = body.collect(1 << 20).await;
                    gate.decide_upgrade(false);
                    Seen::Request(line, body.map(|bytes| bytes.to_vec()).map_err(|_| ()))
                };
                record.borrow_mut().push(entry);
                Ok::<_, std::convert::Infallible>(http::Response::new(crate::Body::Empty))
            }
        });
        let connection = tokio::task::spawn_local(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .header_read_timeout(None)
                .max_buf_size(16 * 1024)
                .serve_connection(hyper_util::rt::TokioIo::new(io), service)
                .await;
        });
        let (mut read, mut write) = tokio::io::split(client);
        let sink = tokio::task::spawn_local(async move {
            let mut all = Vec::new();
            let _ = read.read_to_end(&mut all).await;
        });
        for piece in pieces {
            if write.write_all(&piece).await.is_err() {
                break;
            }
            // Lets the connection read exactly this piece.
            for _ in 0..6 {
                tokio::task::yield_now().await;
            }
        }
        let _ = write.shutdown().await;
        connection.await.unwrap();
        sink.await.unwrap();
        seen.take()
    })
}

fn refusal(raw: &[u8]) -> Option<Malformed> {
    run(&[raw]).into_iter().find_map(|seen| match seen {
        Seen::Refused(reason) => Some(reason),
        Seen::Request(..) => None,
    })
}

const REFUSED: &[(&[u8], Malformed)] = &[
    (b"GET /\r\n\r\n", Malformed::RequestLine),
    (b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", Malformed::Version),
    (b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", Malformed::Version),
    (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", Malformed::Version),
    (b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::RequestLine),
    (b"GET / x HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Version),
    (b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::RequestLine),
    (b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::LineEnd),
    (b"GET /#f HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Target),
    (b"GET x HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Target),
    (b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Target),
    (b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Target),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Target),
    (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", Malformed::Connect),
    (b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::Trace),
    // Host: none, two, two alike, a list, empty, with credentials; another than the target's.
    (b"GET / HTTP/1.1\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.0\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost:\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", Malformed::Host),
    (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Malformed::Host),
    (b"GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", Malformed::HostMismatch),
    (b"GET http://a@b/ HTTP/1.1\r\nhost: b\r\n\r\n", Malformed::HostMismatch),
    // Lengths.
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 05\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5 5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nContent-Length: 6\r\n\r\nhello", Malformed::ContentLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Malformed::AmbiguousLength),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n", Malformed::AmbiguousLength),
    (b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Malformed::HeaderLine),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Malformed::TransferEncoding),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", Malformed::HeaderLine),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\n\r\n0\r\n\r\n", Malformed::LookAlike),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent_length: 5\r\n\r\nhello", Malformed::LookAlike),
    // Lines.
    (b"GET / HTTP/1.1\nhost: a\n\n", Malformed::LineEnd),
    (b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", Malformed::LineEnd),
    (b"GET / HTTP/1.1\nhost: a\r\n\r\n", Malformed::LineEnd),
    (b"GET / HTTP/1.1\r\nhost: a\r\n\n", Malformed::LineEnd),
    (b"GET / HTTP/1.1\r\nhost: a\n\r\n", Malformed::LineEnd),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: y\rz: 1\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: y\x00z\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n folded: z\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\n host: a\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\nnocolon\r\n\r\n", Malformed::HeaderLine),
    (b"GET / HTTP/1.1\r\nhost: a\r\nX_Forwarded_User: admin\r\n\r\n", Malformed::LookAlike),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx.portcullis.user: admin\r\n\r\n", Malformed::LookAlike),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\nContent-Type: a/b\r\n\r\n", Malformed::ContentType),
    (b"GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n", Malformed::Expectation),
];

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    for (raw, reason) in REFUSED {
        let text = String::from_utf8_lossy(raw);
        assert_eq!(refusal(raw), Some(*reason), "{text:?}");
        // In any piece size, and behind a good request, the outcome is the same.
        let bytewise: Vec<&[u8]> = raw.chunks(1).collect();
        let seen = run(&bytewise);
        assert_eq!(seen, [Seen::Refused(*reason)], "bytewise {text:?}");
        let mut behind = b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
        behind.extend_from_slice(raw);
        let seen = run(&[&behind]);
        assert_eq!(seen.len(), 2, "{text:?}");
        assert_eq!(seen[1], Seen::Refused(*reason), "behind another: {text:?}");
    }
}

#[test]
fn limits_have_their_own_reasons() {
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(LIMITS.headers)
    );
    assert_eq!(refusal(many.as_bytes()), Some(Malformed::TooManyHeaders));
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: a\r\n\r\n",
        "a".repeat(LIMITS.uri)
    );
    assert_eq!(refusal(long.as_bytes()), Some(Malformed::TargetTooLong));
    let endless = format!("GET /{}", "a".repeat(LIMITS.uri + 100));
    assert_eq!(refusal(endless.as_bytes()), Some(Malformed::TargetTooLong));
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(LIMITS.head)
    );
    assert_eq!(refusal(large.as_bytes()), Some(Malformed::HeadTooLarge));
}

fn body_of(raw_body: &[u8]) -> Result<Vec<u8>, ()> {
    let mut raw = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    raw.extend_from_slice(raw_body);
    let whole = run(&[&raw]);
    let bytewise: Vec<&[u8]> = raw.chunks(1).collect();
    assert_eq!(whole, run(&bytewise), "pieces change the outcome");
    match whole.into_iter().next() {
        Some(Seen::Request(_, body)) => body,
        other => panic!("{other:?}"),
    }
}

#[test]
fn chunks_are_read_without_latitude() {
    for good in [
        &b"5\r\nhello\r\n0\r\n\r\n"[..],
        b"5;a=b\r\nhello\r\n0;last\r\n\r\n",
        b"2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx-check: 1\r\n\r\n",
    ] {
        assert_eq!(body_of(good), Ok(b"hello".to_vec()), "{good:?}");
    }
    for bad in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\n: x\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx: a\nb: c\r\n\r\n",
        b"5\r\nhel",
    ] {
        assert_eq!(body_of(bad), Err(()), "{:?}", String::from_utf8_lossy(bad));
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(2000));
    assert_eq!(body_of(long.as_bytes()), Err(()));
    let trailers = format!("5\r\nhello\r\n0\r\n{}\r\n", "x: yyyyyyyyy\r\n".repeat(500));
    assert_eq!(body_of(trailers.as_bytes()), Err(()));
}

#[test]
fn an_upgrade_to_anything_but_a_websocket_is_a_plain_request() {
    let raw = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(run(&[raw]).len(), 2);
}

#[test]
fn requests_behind_a_declined_websocket_are_requests() {
    let raw = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(run(&[raw]).len(), 2);
    let smuggled = b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
    assert_eq!(run(&[smuggled])[1], Seen::Refused(Malformed::Host));
}

/// One message and what a handler must see of it.
fn message() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    (0..5_u8, "[a-z]{1,12}", body, 1..40_usize).prop_map(|(kind, path, body, size)| {
        let head = |method: &str, more: &str| {
            format!("{method} /{path} HTTP/1.1\r\nHost: a.example\r\nX-Some:  thing \r\n{more}\r\n")
                .into_bytes()
        };
        let seen =
            |method: &str, body: Vec<u8>| Seen::Request(format!("{method} /{path}"), Ok(body));
        match kind {
            0 => (head("GET", ""), seen("GET", Vec::new())),
            1 => (
                [head("GET", "Empty:\r\n"), Vec::new()].concat(),
                seen("GET", Vec::new()),
            ),
            2 => (
                [
                    head("PUT", &format!("Content-Length: {}\r\n", body.len())),
                    body.clone(),
                ]
                .concat(),
                seen("PUT", body),
            ),
            3 => {
                let mut raw = head("POST", "Transfer-Encoding: chunked\r\n");
                for chunk in body.chunks(size) {
                    raw.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    raw.extend(chunk);
                    raw.extend(b"\r\n");
                }
                raw.extend(b"0\r\n\r\n");
                (raw, seen("POST", body))
            }
            _ => (
                [b"\r\n".to_vec(), head("DELETE", "")].concat(),
                seen("DELETE", Vec::new()),
            ),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// If our view of where messages end differed from hyper's by one byte, a later request would
    /// be refused, missing or another one.
    #[test]
    fn our_view_and_hypers_agree_however_the_bytes_are_split(
        messages in proptest::collection::vec(message(), 1..6),
        cuts in proptest::collection::vec(0.0..1.0_f64, 0..8),
    ) {
        let raw: Vec<u8> = messages.iter().flat_map(|(raw, _)| raw.clone()).collect();
        let expected: Vec<Seen> = messages.into_iter().map(|(_, seen)| seen).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let mut places: Vec<usize> = cuts.iter().map(|cut| (cut * raw.len() as f64) as usize).collect();
        places.extend([0, raw.len()]);
        places.sort_unstable();
        places.dedup();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &raw[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&pieces), expected);
    }

    /// One byte of a good pipeline is changed: whatever that does, the split must not matter.
    #[test]
    fn a_mutated_message_has_one_outcome(
        messages in proptest::collection::vec(message(), 1..4),
        at in any::<proptest::sample::Index>(),
        byte in prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(0), Just(b','), any::<u8>()],
    ) {
        let mut raw: Vec<u8> = messages.iter().flat_map(|(raw, _)| raw.clone()).collect();
        let at = at.index(raw.len());
        raw[at] = byte;
        let bytewise: Vec<&[u8]> = raw.chunks(1).collect();
        prop_assert_eq!(run(&[&raw]), run(&bytewise));
    }
}
