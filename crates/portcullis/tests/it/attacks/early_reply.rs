//! A request is answered before its body has come, and what is left of the body is read as the next
//! request on that connection (RUSTSEC-2025-0037, CVE-2024-24791).

use super::{answers, gate};
use crate::support::{WireUpstream, ok};

const HIDDEN: &str = "GET /public?smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn the_rest_of_a_refused_body_is_never_a_request() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream())
        .await
        .replace(
            "path = \"/public\"\nmethods = [\"GET\", \"POST\"]",
            "path = \"/public\"\nmax-body = \"8B\"\nmethods = [\"GET\", \"POST\"]",
        )
        .start()
        .await;
    let host = gateway.address;
    let length = HIDDEN.len();
    for (target, more, status) in [
        ("/admin", String::new(), 401),
        ("/closed", String::new(), 403),
        ("/public", String::new(), 413),
        ("/public", "sec-fetch-site: cross-site\r\n".to_owned(), 403),
        ("/admin", "expect: 100-continue\r\n".to_owned(), 401),
        ("/public", "expect: 100-continue\r\n".to_owned(), 413),
    ] {
        for framing in [
            (format!("content-length: {length}\r\n"), HIDDEN.to_owned()),
            (
                "transfer-encoding: chunked\r\n".to_owned(),
                format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
        ] {
            let bytes = format!(
                "POST {target} HTTP/1.1\r\nhost: {host}\r\n{more}{}\r\n{}",
                framing.0, framing.1
            );
            let next = format!("GET /closed HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let all = answers(
                &gateway
                    .client()
                    .raw(format!("{bytes}{next}").as_bytes())
                    .await,
            );
            let all: Vec<_> = all
                .into_iter()
                .filter(|answer| !answer.status.is_informational())
                .collect();
            assert_eq!(all[0].status, status, "{target} {more}{}", framing.0);
            // Either the body was read to its end and the next request answered, or the connection closed.
            assert!(all.len() <= 2);
            if let Some(next) = all.get(1) {
                assert_eq!(next.problem(), "route-closed");
            }
        }
    }
    assert!(!upstream.text().contains("smuggled"), "{}", upstream.text());
}

#[tokio::test]
async fn an_early_answer_of_the_product_leaves_no_half_request_behind() {
    let upstream = WireUpstream::answering_heads(|_| ok("early")).await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let host = gateway.address;
    for _ in 0..3 {
        let mut wire = crate::support::Wire::to(host).await;
        wire.send(format!(
            "POST /public HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000\r\n\r\n"
        ))
        .await;
        assert_eq!(wire.answer().await.unwrap().text(), "early");
        wire.send(HIDDEN).await;
        drop(wire);
        // The half-sent request's connection is not used again: this one gets an answer of its own.
        assert_eq!(gateway.client().get("/public").send().await.text(), "early");
    }
    for seen in upstream.by_connection() {
        if let Some((_, rest)) = seen.split_once("content-length: 1000") {
            // Behind the head stands the client's body, and nothing that the gate began itself.
            assert!(!rest.contains("GET /public HTTP"), "{seen}");
        }
    }
}
