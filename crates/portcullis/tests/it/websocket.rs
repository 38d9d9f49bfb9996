//! WebSockets through the gate: messages, limits, and who may open one for how long.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::{Browser, Gateway, GatewayBuilder, Upstream, sockets};

/// Says every text back; `close` closes with a code of its own.
async fn echo() -> Upstream {
    let address = sockets::bytes_product(async |stream| {
        let Ok(mut socket) = accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if message.to_text().is_ok_and(|text| text == "close") {
                let frame = CloseFrame {
                    code: 4001.into(),
                    reason: "enough".into(),
                };
                let _ = socket.close(Some(frame)).await;
            } else if message.is_text() {
                let _ = socket.send(message).await;
            }
        }
    })
    .await;
    Upstream::at(address)
}

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
}

/// A handshake with these headers besides the usual ones.
async fn open(
    gateway: &Gateway,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{}/live", gateway.address)
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    client_async(request, stream)
        .await
        .map(|(socket, _)| socket)
}

async fn open_as(gateway: &Gateway, who: &Browser) -> WebSocketStream<TcpStream> {
    let cookie = format!("session={}", who.cookie("session").unwrap());
    let origin = format!("http://{}", gateway.address);
    open(gateway, &[("cookie", &cookie), ("origin", &origin)])
        .await
        .expect("the handshake is accepted")
}

async fn say(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer.to_text().unwrap(), text);
}

/// Nothing more comes: closed or cut.
async fn ended(mut socket: WebSocketStream<TcpStream>) {
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_text(), "{message:?}");
    }
}

fn refusal(outcome: Result<WebSocketStream<TcpStream>, Error>) -> u16 {
    match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn messages_pass_both_ways_and_close_codes_arrive() {
    let gateway = builder(&echo().await).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let mut socket = open_as(&gateway, &ana).await;
    say(&mut socket, "hello").await;
    say(&mut socket, &"long ".repeat(50_000)).await;
    socket.send(Message::text("close")).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("a close frame");
    };
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (4001, "enough")
    );
}

#[tokio::test]
async fn a_handshake_needs_a_session_and_a_page_of_the_product() {
    let (upstream, connections) = counting().await;
    let gateway = builder(&upstream).await.start().await;
    assert_eq!(refusal(open(&gateway, &[]).await), 401);
    let ana = gateway.signed_in("ana@corp.test").await;
    let cookie = format!("session={}", ana.cookie("session").unwrap());
    for other in ["https://evil.test", "null", "http://127.0.0.1:1"] {
        let outcome = open(&gateway, &[("cookie", &cookie), ("origin", other)]).await;
        assert_eq!(refusal(outcome), 403, "{other}");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

async fn counting() -> (Upstream, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&count);
    let address = sockets::bytes_product(move |_| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::ready(())
    })
    .await;
    (Upstream::at(address), count)
}

#[tokio::test]
async fn bytes_right_behind_the_handshake_are_not_lost_on_either_side() {
    let address = sockets::bytes_product(async |mut stream| {
        let asked = sockets::read_until(&mut stream, "\r\n\r\n").await;
        assert!(
            asked.ends_with("\r\n\r\n"),
            "nothing passes before the product has agreed: {asked}"
        );
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly from the product";
        stream.write_all(head.as_bytes()).await.unwrap();
        sockets::read_until(&mut stream, "early from the client").await;
        stream.write_all(b", and heard").await.unwrap();
        sockets::read_until(&mut stream, "end").await;
    })
    .await;
    let gateway = Gateway::in_front_of(&Upstream::at(address)).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let host = gateway.address;
    let handshake = format!(
        "GET /public HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly from the client"
    );
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let answer = sockets::read_until(&mut stream, "early from the product").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    if !answer.ends_with(", and heard") {
        sockets::read_until(&mut stream, "heard").await;
    }
    stream.write_all(b"end").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_a_stopping_gate_ends_the_others() {
    let gateway = builder(&echo().await)
        .await
        .replace(
            "[listen]",
            "[listen]\ntunnel-idle-timeout = \"1s\"\ndrain-timeout = \"1s\"",
        )
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let mut socket = open_as(&gateway, &ana).await;
    say(&mut socket, "hello").await;
    ended(socket).await;

    let mut socket = open_as(&gateway, &ana).await;
    let chatting = tokio::spawn(async move {
        loop {
            if socket.send(Message::text("still here")).await.is_err() {
                return;
            }
            let Some(Ok(_)) = socket.next().await else {
                return;
            };
        }
    });
    assert_eq!(gateway.stop().await.code(), Some(0));
    chatting.await.unwrap();
}

#[tokio::test]
async fn a_revoked_session_takes_its_open_connections_along_and_no_others() {
    let gateway = builder(&echo().await).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let elsewhere = gateway.signed_in("ana@corp.test").await;
    let mut socket = open_as(&gateway, &ana).await;
    let mut second = open_as(&gateway, &ana).await;
    let mut kept = open_as(&gateway, &elsewhere).await;
    for socket in [&mut socket, &mut second, &mut kept] {
        say(socket, "hello").await;
    }
    let answer = ana.post("/.portcullis/auth/logout").send().await;
    assert_eq!(answer.status, 204);
    ended(socket).await;
    ended(second).await;
    say(&mut kept, "still here").await;
}
