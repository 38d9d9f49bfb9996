//! Stopping: what is in flight finishes, what is idle is closed, and what hangs is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::{Client, Gateway, Upstream, eventually, signal, sockets};

/// A product that counts what it was asked and answers when it is told to.
async fn held() -> (Upstream, Arc<AtomicUsize>, watch::Sender<bool>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (release, released) = watch::channel(false);
    let counter = Arc::clone(&asked);
    let address = sockets::bytes_product(move |mut stream| {
        let (counter, mut released) = (Arc::clone(&counter), released.clone());
        async move {
            sockets::read_until(&mut stream, "\r\n\r\n").await;
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = released.wait_for(|go| *go).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    (Upstream::at(address), asked, release)
}

#[tokio::test]
async fn requests_in_flight_finish_and_nothing_new_begins() {
    const MANY: usize = 12;
    let (upstream, asked, release) = held().await;
    let mut gateway = Gateway::in_front_of(&upstream).await;
    let (client, admin) = (gateway.client(), Client::to(gateway.admin));
    let ready = admin.get("/readyz").send().await;
    assert_eq!(ready.status, 200);
    let in_flight: Vec<_> = (0..MANY)
        .map(|_| tokio::spawn(client.get("/public").send()))
        .collect();
    // One of them over HTTP/2.
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut http2 = sockets::speak_http2(stream).await;
    let request = sockets::get(&format!("http://{}/public", gateway.address));
    let over_http2 = tokio::spawn(http2.send_request(request));
    eventually("all requests are with the product", || {
        asked.load(Ordering::SeqCst) == MANY + 1
    })
    .await;
    // One connection has had its answer and waits.
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    idle.write_all(head.as_bytes()).await.unwrap();
    sockets::read_until(&mut idle, "ok\n").await;

    signal(gateway.pid(), "TERM");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    let ready = admin.get("/readyz").send().await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["draining"], true);
    assert!(TcpStream::connect(gateway.address).await.is_err());

    release.send_replace(true);
    for request in in_flight {
        let answer = request.await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "done")
        );
    }
    let answer = over_http2.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_does_not_finish_is_cut_when_the_time_is_over() {
    let (upstream, asked, release) = held().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace("[listen]", "[listen]\ndrain-timeout = \"200ms\"")
        .start()
        .await;
    let host = gateway.address;
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /public HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the request is with the product", || {
        asked.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    drop(release);
}

#[tokio::test]
async fn a_steady_load_loses_no_request_that_was_begun() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let host = gateway.address;
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                // Until the gate accepts no more, or closes an idle connection before the next request.
                while let Ok(mut stream) = TcpStream::connect(host).await {
                    for _ in 0..8 {
                        let head = format!("GET /public HTTP/1.1\r\nHost: {host}\r\n\r\n");
                        if stream.write_all(head.as_bytes()).await.is_err() {
                            break;
                        }
                        let mut seen = Vec::new();
                        let mut buffer = [0; 4096];
                        while !seen.ends_with(b"hello from the product") {
                            match stream.read(&mut buffer).await {
                                Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                                // Nothing of an answer: the gate closed before it read the request.
                                Ok(_) | Err(_) => {
                                    assert!(seen.is_empty(), "an answer was cut");
                                    break;
                                }
                            }
                        }
                        if seen.is_empty() {
                            break;
                        }
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    eventually("the load has begun", || {
        answered.load(Ordering::SeqCst) > 50
    })
    .await;
    assert_eq!(gateway.stop().await.code(), Some(0));
    for client in clients {
        client.await.unwrap();
    }
    // Whatever reached the product was answered.
    assert_eq!(upstream.requests(), answered.load(Ordering::SeqCst));
}
