//! Bodies that stream: event streams, large uploads and downloads, `Expect`, early answers.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use portcullis_core::Clock as _;
use portcullis_core::time::SystemClock;

use crate::support::{Gateway, Upstream, database, memory, sockets};

/// A product whose answer is an event stream; the test sends the events.
async fn events() -> (Upstream, mpsc::UnboundedSender<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver = Mutex::new(Some(receiver));
    let upstream = Upstream::answering(move |_| {
        let receiver = receiver.lock().unwrap().take().expect("one stream");
        let body = stream::unfold(receiver, async |mut receiver| {
            let event = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(event), receiver))
        });
        http::Response::builder()
            .header("content-type", "text/event-stream; charset=utf-8")
            .body(Body::from_stream(body))
            .unwrap()
    })
    .await;
    (upstream, sender)
}

#[tokio::test]
async fn events_arrive_one_by_one_and_silence_within_the_limits_ends_nothing() {
    let (upstream, events) = events().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(
            "[listen]",
            "[listen]\nidle-timeout = \"1s\"\nhead-timeout = \"1s\"\nbody-idle-timeout = \"1s\"\nwrite-timeout = \"1s\"",
        )
        .replace("[upstream.app]", "[headers]\nnonces = \"all\"\n\n[upstream.app]\nresponse-timeout = \"1s\"\nidle-timeout = \"1s\"")
        .start()
        .await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /public HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    events.send("data: one\n\n").unwrap();
    let first = sockets::read_until(&mut stream, "data: one\n\n").await;
    assert!(first.contains("x-content-type-options: nosniff"), "{first}");
    events.send("data: two\n\n").unwrap();
    sockets::read_until(&mut stream, "data: two\n\n").await;

    // Another connection has had its answer and is closed for being idle: as much time has passed
    // without an event.
    let mut idle = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    idle.write_all(head.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();

    events.send("data: three\n\n").unwrap();
    sockets::read_until(&mut stream, "data: three\n\n").await;
    drop(events);
    sockets::read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_revoked_session_takes_its_event_stream_along() {
    let (upstream, events) = events().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "GET /events HTTP/1.1\r\nHost: {host}\r\nCookie: session={}\r\n\r\n",
        ana.cookie("session").unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    events.send("data: one\n\n").unwrap();
    sockets::read_until(&mut stream, "data: one\n\n").await;
    let answer = ana.post("/.portcullis/auth/logout").send().await;
    assert_eq!(answer.status, 204);
    sockets::read_until(&mut stream, "0\r\n\r\n").await;
    // The product is told, too: its side of the stream is gone.
    events.closed().await;
}

#[tokio::test]
async fn a_session_that_reaches_its_end_takes_its_event_stream_along() {
    let (upstream, events) = events().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    // Its lifetime ends soon; it was not asked for yet, so that no memory knows another end.
    let soon = SystemClock.now().as_seconds() + 4;
    let sql = format!("UPDATE session SET expires_at = {soon}000000");
    database::execute(&gateway.folder, &sql).await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "GET /events HTTP/1.1\r\nHost: {host}\r\nCookie: session={}\r\n\r\n",
        ana.cookie("session").unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    events.send("data: one\n\n").unwrap();
    sockets::read_until(&mut stream, "data: one\n\n").await;
    sockets::read_until(&mut stream, "0\r\n\r\n").await;
    events.closed().await;
}

const LARGE: usize = 48 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// The most memory that a process has had, in bytes.
fn peak(pid: u32) -> usize {
    memory::peak_kib(pid) * 1024
}

#[tokio::test]
async fn large_bodies_pass_both_ways_without_being_kept() {
    let address = sockets::bytes_product(async |mut stream| {
        let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
        if head.starts_with("GET") {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; PIECE];
            for _ in 0..LARGE / PIECE {
                stream.write_all(&piece).await.unwrap();
            }
        } else {
            let (_, early) = head.split_once("\r\n\r\n").unwrap();
            let mut seen = early.len();
            let mut buffer = vec![0; PIECE];
            while seen < LARGE {
                seen += stream.read(&mut buffer).await.unwrap();
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{seen}",
                seen.to_string().len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::builder(
        &Upstream::at(address),
        "[[route]]\npath = \"/large\"\nallow = \"public\"\nmax-body = \"64MiB\"\n",
    )
    .await
    .start()
    .await;
    let client =
        async || sockets::speak_http1(TcpStream::connect(gateway.address).await.unwrap()).await;
    let host = gateway.address.to_string();
    let before = peak(gateway.pid());

    let request = sockets::get_from(&host, "/large");
    let mut body = client()
        .await
        .send_request(request)
        .await
        .unwrap()
        .into_body();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        seen += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(seen, LARGE);

    let (pieces, body) = sockets::pieces();
    let mut request = sockets::request(http::Method::POST, "/large", body);
    let headers = request.headers_mut();
    headers.insert("host", host.parse().unwrap());
    headers.insert("origin", format!("http://{host}").parse().unwrap());
    headers.insert("content-length", LARGE.into());
    let piece = Bytes::from(vec![b'x'; PIECE]);
    for _ in 0..LARGE / PIECE {
        pieces.send(piece.clone()).unwrap();
    }
    drop(pieces);
    let answer = sockets::read(client().await.send_request(request).await.unwrap()).await;
    assert_eq!(answer.text(), LARGE.to_string());

    let grown = peak(gateway.pid()).saturating_sub(before);
    assert!(grown < LARGE / 3, "{grown} bytes more than before");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_only_where_its_body_is_wanted() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let host = gateway.address;
    let head = |length: usize| {
        format!(
            "POST /public HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(head(5).as_bytes()).await.unwrap();
    let go_on = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    stream.write_all(b"hello").await.unwrap();
    let answer = sockets::read_until(&mut stream, "hello from the product").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upstream.last().body, "hello");

    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(head(1 << 40).as_bytes()).await.unwrap();
    let answer = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_has_ended_is_passed_on() {
    let address = sockets::bytes_product(async |mut stream| {
        sockets::read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Gateway::in_front_of(&Upstream::at(address)).await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /public HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 100000\r\n\r\nonly this"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = sockets::read_until(&mut stream, "early").await;
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_products_work_along() {
    let (upstream, events) = events().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /public HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    events.send("data: one\n\n").unwrap();
    sockets::read_until(&mut stream, "data: one\n\n").await;
    drop(stream);
    events.closed().await;
}
