//! HTTP/2 in front: the same rules as on HTTP/1, and many requests at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::sockets::{self, AnyBody, pieces, read};
use crate::support::{Answer, Gateway, Upstream, eventually};

type Connection = SendRequest<AnyBody>;

async fn connect(gateway: &Gateway) -> Connection {
    sockets::speak_http2(TcpStream::connect(gateway.address).await.unwrap()).await
}

fn get(gateway: &Gateway, path: &str) -> Request<AnyBody> {
    sockets::get(&format!("http://{}{path}", gateway.address))
}

async fn ask(connection: &mut Connection, request: Request<AnyBody>) -> Answer {
    read(connection.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn the_pipeline_is_the_same_and_split_cookies_are_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let mut connection = connect(&gateway).await;
    let answer = ask(&mut connection, get(&gateway, "/public")).await;
    assert_eq!(answer.text(), "hello from the product");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let answer = ask(&mut connection, get(&gateway, "/anything")).await;
    assert_eq!(answer.problem(), "authentication-required");

    let ana = gateway.signed_in("ana@corp.test").await;
    let mut request = get(&gateway, "/anything");
    for cookie in [
        "theme=dark".to_owned(),
        format!("session={}", ana.cookie("session").unwrap()),
        "lang=de".to_owned(),
    ] {
        let headers = request.headers_mut();
        headers.append(header::COOKIE, cookie.parse().unwrap());
    }
    assert_eq!(ask(&mut connection, request).await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.headers.get_all("cookie").iter().count(), 1);
    assert_eq!(seen.header("cookie"), Some("theme=dark; lang=de"));
    let host = gateway.address.to_string();
    assert_eq!(seen.header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn one_authority_that_is_listed_and_nothing_that_only_http_1_has() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let mut connection = connect(&gateway).await;
    let with = |name: &'static str, value: &str| {
        let mut request = get(&gateway, "/public");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let answer = ask(&mut connection, with("host", "evil.test")).await;
    assert_eq!(answer.problem(), "malformed-request");
    let answer = ask(&mut connection, sockets::get("http://evil.test/public")).await;
    assert_eq!(answer.problem(), "unknown-host");
    let answer = ask(&mut connection, with("x_forwarded_for", "192.0.2.1")).await;
    assert_eq!(answer.status, 400);
    let mut typed = get(&gateway, "/public");
    for kind in ["text/plain", "application/json"] {
        typed
            .headers_mut()
            .append("content-type", kind.parse().unwrap());
    }
    assert_eq!(
        ask(&mut connection, typed).await.problem(),
        "malformed-request"
    );
    let long = format!("/public?{}", "x".repeat(9000));
    let answer = ask(&mut connection, get(&gateway, &long)).await;
    assert_eq!(answer.problem(), "uri-too-long");
    let mut many = get(&gateway, "/public");
    for number in 0..101 {
        let name: http::HeaderName = format!("x-{number}").parse().unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    let answer = ask(&mut connection, many).await;
    assert_eq!(answer.problem(), "header-too-large");
    assert_eq!(upstream.requests(), 0);
    let answer = ask(&mut connection, get(&gateway, "/public")).await;
    assert_eq!(
        answer.status, 200,
        "the connection has survived all of that"
    );
}

#[tokio::test]
async fn many_streams_run_at_the_same_time_and_bodies_stream_both_ways() {
    const MANY: usize = 40;
    let asked = Arc::new(AtomicUsize::new(0));
    let (release, released) = watch::channel(false);
    let counter = Arc::clone(&asked);
    let address = sockets::bytes_product(move |mut stream| {
        let (counter, mut released) = (Arc::clone(&counter), released.clone());
        async move {
            let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
            let (_, early) = head.split_once("\r\n\r\n").unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            if head.starts_with("POST") {
                // Piece for piece: the first half goes back before the second one comes.
                if early.is_empty() {
                    sockets::read_until(&mut stream, "one").await;
                }
                stream.write_all(b"one").await.unwrap();
                sockets::read_until(&mut stream, "two").await;
                stream.write_all(b"two").await.unwrap();
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = released.wait_for(|go| *go).await;
            stream.write_all(b"answer").await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::in_front_of(&Upstream::at(address)).await;
    let connection = connect(&gateway).await;
    let streams: Vec<_> = (0..MANY)
        .map(|_| {
            let (mut connection, request) = (connection.clone(), get(&gateway, "/public"));
            tokio::spawn(async move { ask(&mut connection, request).await })
        })
        .collect();
    eventually("all are with the product at the same time", || {
        asked.load(Ordering::SeqCst) == MANY
    })
    .await;

    let (sender, body) = pieces();
    let uri = format!("http://{}/public", gateway.address);
    let mut request = sockets::request(Method::POST, &uri, body);
    let origin = format!("http://{}", gateway.address);
    let headers = request.headers_mut();
    headers.insert("origin", origin.parse().unwrap());
    headers.insert("content-length", 6.into());
    sender.send(Bytes::from_static(b"one")).unwrap();
    let answer = connection.clone().send_request(request).await.unwrap();
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "one");
    sender.send(Bytes::from_static(b"two")).unwrap();
    drop(sender);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "two");

    release.send_replace(true);
    for stream in streams {
        assert_eq!(stream.await.unwrap().text(), "answer");
    }
}

#[tokio::test]
async fn a_body_that_pauses_for_too_long_is_refused_and_the_connection_lives_on() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace("[listen]", "[listen]\nbody-idle-timeout = \"200ms\"")
        .start()
        .await;
    let mut connection = connect(&gateway).await;
    let (sender, body) = pieces();
    let uri = format!("http://{}/public", gateway.address);
    let mut request = sockets::request(Method::POST, &uri, body);
    let origin = format!("http://{}", gateway.address);
    request
        .headers_mut()
        .insert("origin", origin.parse().unwrap());
    sender.send(Bytes::from_static(b"half")).unwrap();
    let answer = ask(&mut connection, request).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (408, "request-timeout")
    );
    assert_eq!(
        ask(&mut connection, get(&gateway, "/public")).await.status,
        200
    );
}

#[tokio::test]
async fn an_answer_that_nobody_takes_does_not_hold_the_product() {
    let (told, mut gone) = watch::channel(false);
    let told = Arc::new(told);
    let address = sockets::bytes_product(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
            if head.contains("other=1") {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
            stream.write_all(answer.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 * 1024];
            while stream.write_all(&piece).await.is_ok() {}
            told.send_replace(true);
        }
    })
    .await;
    let gateway = Gateway::builder_usual(&Upstream::at(address))
        .await
        .replace("[listen]", "[listen]\nwrite-timeout = \"200ms\"")
        .start()
        .await;
    let mut connection = connect(&gateway).await;
    let request = get(&gateway, "/public");
    let untouched = connection.send_request(request).await.unwrap();
    assert_eq!(untouched.status(), 200);
    gone.wait_for(|gone| *gone).await.unwrap();
    // Its neighbours go on.
    let answer = ask(&mut connection, get(&gateway, "/public?other=1")).await;
    assert_eq!(answer.text(), "ok");
    let broken = untouched.into_body().collect().await;
    assert!(broken.is_err(), "the client is told that this was not all");
}
