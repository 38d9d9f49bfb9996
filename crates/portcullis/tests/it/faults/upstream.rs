//! Products that are away, slow, broken or endless, and clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};

use super::in_time;
use super::wire::{Product, nobody, read_head, read_rest, request, say, status};
use crate::support::memory::{peak_kib, resident_kib};
use crate::support::{Gateway, GatewayBuilder, eventually};

const ROUTES: &str = r#"
[[route]]
path = "/{*rest}"
allow = "public"
csrf = false
"#;

async fn builder(product: std::net::SocketAddr) -> GatewayBuilder {
    let usual = nobody().await;
    Gateway::builder(&usual, ROUTES)
        .await
        .on_sqlite()
        .replace(&usual.url(), &format!("http://{product}"))
}

async fn gate(product: std::net::SocketAddr) -> Gateway {
    builder(product).await.start().await
}

async fn problem(gateway: &Gateway) -> (u16, String) {
    let answer = in_time("a request", gateway.client().get("/x").send()).await;
    (answer.status.as_u16(), answer.problem())
}

async fn assert_alive(gateway: &Gateway) {
    let answer = in_time("/healthz", gateway.client().get("/healthz").send()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_product_that_refuses_connections_is_502() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = gate(address).await;
    assert_eq!(
        problem(&gateway).await,
        (502, "upstream-unreachable".to_owned())
    );
    // It comes back by itself.
    let _product = std::net::TcpListener::bind(address).unwrap();
    assert_alive(&gateway).await;
}

#[tokio::test]
async fn a_product_that_does_not_answer_is_504_and_its_connection_is_closed() {
    let left = Arc::new(Notify::new());
    let told = Arc::clone(&left);
    let product = Product::doing(move |mut stream, _| {
        let told = Arc::clone(&told);
        async move {
            read_rest(&mut stream).await;
            told.notify_one();
        }
    })
    .await;
    let gateway = builder(product.address)
        .await
        .replace(
            "[upstream.app]",
            "[upstream.app]\nresponse-timeout = \"200ms\"",
        )
        .start()
        .await;
    assert_eq!(
        problem(&gateway).await,
        (504, "upstream-timeout".to_owned())
    );
    in_time("the product's connection", left.notified()).await;
    assert_alive(&gateway).await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9\r\n"[..],
        b"HTTP/1.1 two-hundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 O",
        b"",
    ] {
        let product = Product::saying(bytes).await;
        let gateway = gate(product.address).await;
        assert_eq!(
            problem(&gateway).await,
            (502, "upstream-broken".to_owned()),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_502() {
    let product = Product::doing(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        let line = format!("x-more: {}\r\n", "a".repeat(1000));
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    let gateway = gate(product.address).await;
    assert_eq!(problem(&gateway).await, (502, "upstream-broken".to_owned()));
    assert_alive(&gateway).await;
}

/// The client must be able to tell that it has not got everything: a length that is not reached, or
/// chunks without an end.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let product = Product::doing(move |mut stream, _| async move {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nabcd\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            // What was written so far must not be overtaken by the reset.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.set_zero_linger().unwrap();
        })
        .await;
        let gateway = gate(product.address).await;
        let mut stream = say(gateway.address, &request(gateway.address, "/x")).await;
        let head = in_time("the head", read_head(&mut stream)).await;
        assert_eq!(status(&head), 200);
        let body = in_time("the body", read_rest(&mut stream)).await;
        assert!(body.len() < 1000, "{}", body.escape_ascii());
        assert!(!body.ends_with(b"0\r\n\r\n"), "{}", body.escape_ascii());
        assert_alive(&gateway).await;
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_its_middle_is_given_up() {
    for head in ["content-length: 1000", "transfer-encoding: chunked"] {
        let left = Arc::new(Notify::new());
        let told = Arc::clone(&left);
        let product = Product::doing(move |mut stream, _| {
            let told = Arc::clone(&told);
            async move {
                let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nabcd\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
                read_rest(&mut stream).await;
                told.notify_one();
            }
        })
        .await;
        let builder = builder(product.address).await;
        let gateway = builder.replace("[upstream.app]", STALLED).start().await;
        let mut stream = say(gateway.address, &request(gateway.address, "/x")).await;
        let head = in_time("the head", read_head(&mut stream)).await;
        assert_eq!(status(&head), 200);
        let body = in_time("the end", read_rest(&mut stream)).await;
        assert!(!body.ends_with(b"0\r\n\r\n"), "{}", body.escape_ascii());
        in_time("the product's connection", left.notified()).await;
        assert_alive(&gateway).await;
    }
}

const STALLED: &str = "[upstream.app]\nbody-idle-timeout = \"200ms\"";

#[tokio::test]
async fn a_stream_of_events_may_be_silent() {
    let product = Product::doing(|mut stream, _| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // Three times as long as an answer may pause.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        let event = "9\r\ndata: a\n\n\r\n0\r\n\r\n";
        stream.write_all(event.as_bytes()).await.unwrap();
    })
    .await;
    let builder = builder(product.address).await;
    let gateway = builder.replace("[upstream.app]", STALLED).start().await;
    let answer = in_time("the answer", gateway.client().get("/x").send()).await;
    assert_eq!(answer.text(), "data: a\n\n");
}

/// Memory does not grow with what passes through, either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarter_of_a_gibibyte_passes_through_flat_memory() {
    const SIZE: usize = 256 * 1024 * 1024;
    let product = Product::doing(|mut stream, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let block = vec![b'x'; 256 * 1024];
        for _ in 0..SIZE / block.len() {
            if stream.write_all(&block).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gateway = gate(product.address).await;
    let before = resident_kib(gateway.pid());
    let mut stream = say(gateway.address, &request(gateway.address, "/x")).await;
    in_time("the head", read_head(&mut stream)).await;
    let mut buffer = vec![0; 256 * 1024];
    let mut seen = 0;
    // A reader that stops half way: what it does not take must wait in the product, not in the gate.
    while seen < SIZE {
        if seen > SIZE / 2 && seen < SIZE / 2 + buffer.len() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        seen += in_time("the body", stream.read(&mut buffer)).await.unwrap();
    }
    assert_eq!(seen, SIZE);
    let grown = peak_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for {} KiB", SIZE / 1024);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let left = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&left);
    let product = Product::doing(move |mut stream, head| {
        let told = Arc::clone(&told);
        async move {
            if head.starts_with("GET /endless") {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                while stream.write_all(b"4\r\nabcd\r\n").await.is_ok() {}
            } else {
                read_rest(&mut stream).await;
            }
            told.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let gateway = gate(product.address).await;
    // Before there is an answer.
    let stream = say(gateway.address, &request(gateway.address, "/silent")).await;
    eventually("the product is asked", || product.asked() == 1).await;
    drop(stream);
    eventually("the product is left", || left.load(Ordering::SeqCst) == 1).await;
    // In the middle of one.
    let mut stream = say(gateway.address, &request(gateway.address, "/endless")).await;
    in_time("the head", read_head(&mut stream)).await;
    drop(stream);
    eventually("the product is left", || left.load(Ordering::SeqCst) == 2).await;
    assert_alive(&gateway).await;
}

/// A client that says that it will not say more gets its answer or a closed connection; it does not
/// hang, and nothing stays behind at the product.
#[tokio::test]
async fn a_client_that_closes_its_half_does_not_hang() {
    let go = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&go);
    let done = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&done);
    let product = Product::doing(move |mut stream, _| {
        let (waiting, told) = (Arc::clone(&waiting), Arc::clone(&told));
        async move {
            let mut byte = [0];
            tokio::select! {
                _ = waiting.acquire() => {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                        .await;
                }
                _ = stream.read(&mut byte) => {}
            }
            told.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let gateway = gate(product.address).await;
    let mut stream = say(gateway.address, &request(gateway.address, "/x")).await;
    eventually("the product is asked", || product.asked() == 1).await;
    stream.shutdown().await.unwrap();
    go.add_permits(1);
    let answer = in_time("the answer or the end", read_rest(&mut stream)).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.is_empty() || (status(&text) == 200 && text.ends_with("ok")),
        "{text}"
    );
    eventually("the product is left", || done.load(Ordering::SeqCst) == 1).await;
    assert_alive(&gateway).await;
}
