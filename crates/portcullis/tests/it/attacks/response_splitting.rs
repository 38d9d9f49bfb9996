//! An answer of the product has two readings, or holds a second answer: a client that shares the
//! connection gets what was not meant for it (CWE-113, CWE-444).

use super::{answers, gate, request};
use crate::support::{WireUpstream, ok};

#[tokio::test]
async fn an_answer_with_two_readings_is_a_502() {
    let marker = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nplanted";
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\rset-cookie: b=c\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/3.7 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "200 OK\r\ncontent-length: 2\r\n\r\nok",
        "nothing of the kind\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "",
    ] {
        let upstream = WireUpstream::answering(move |_| {
            if head.is_empty() {
                Vec::new()
            } else {
                format!("{head}{marker}").into_bytes()
            }
        })
        .await;
        let gateway = gate(&upstream.as_upstream()).await.start().await;
        let bytes = request("GET", "/public", gateway.address, "");
        let raw = gateway.client().raw(&bytes).await;
        let all = answers(&raw);
        assert_eq!(all.len(), 1, "{head:?}");
        assert_eq!(all[0].problem(), "upstream-broken", "{head:?}");
        assert!(
            !String::from_utf8_lossy(&raw).contains("planted"),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn a_second_answer_is_given_to_nobody() {
    let upstream = WireUpstream::answering(|request| {
        if request.starts_with("GET /public?first") {
            let mut bytes = ok("first");
            bytes.extend(ok("planted"));
            bytes
        } else {
            ok("second")
        }
    })
    .await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/public?first").send().await.text(), "first");
        assert_eq!(client.get("/public").send().await.text(), "second");
    }
}

#[tokio::test]
async fn endless_heads_and_early_ends_are_broken_answers() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "a".repeat(1 << 20));
    let upstream = WireUpstream::answering(move |_| endless.clone().into_bytes()).await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    assert_eq!(
        gateway.client().get("/public").send().await.problem(),
        "upstream-broken"
    );

    let short = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\nshort";
    let upstream = WireUpstream::answering(move |_| short.into()).await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let raw = gateway
        .client()
        .raw(&request("GET", "/public", gateway.address, ""))
        .await;
    let text = String::from_utf8_lossy(&raw);
    // The head was on its way: the client must see that the body is not whole.
    assert!(
        text.contains("content-length: 100") && text.ends_with("short"),
        "{text}"
    );
}
