//! `CONNECT` opens a tunnel through the gate, or leaves a tunnelled connection in the pool for the
//! next request (CVE-2026-71324). `TRACE` shows a client what the gate added.

use super::{first_answer, gate, request};
use crate::support::{Upstream, WireUpstream};

#[tokio::test]
async fn connect_and_trace_are_refused_in_every_form() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream.as_upstream()).await.start().await;
    let host = gateway.address;
    for (method, target, slug) in [
        ("CONNECT", host.to_string(), "method-not-supported"),
        (
            "CONNECT",
            "evil.test:443".to_owned(),
            "method-not-supported",
        ),
        ("CONNECT", "/public".to_owned(), "method-not-supported"),
        (
            "CONNECT",
            format!("http://{host}/public"),
            "method-not-supported",
        ),
        ("TRACE", "/public".to_owned(), "method-not-allowed"),
        ("TRACK", "/public".to_owned(), "method-not-allowed"),
    ] {
        let mut bytes = request(method, &target, host, "");
        bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = first_answer(&gateway, &bytes).await;
        assert_eq!(answer.problem(), slug, "{method} {target}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_route_for_any_method_is_not_one_for_connect() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for method in ["connect", "Connect", "PRI", "FOO", "get"] {
        let answer = first_answer(&gateway, &request(method, "/public", gateway.address, "")).await;
        assert!(
            answer.status.is_client_error(),
            "{method}: {}",
            answer.status
        );
    }
    assert_eq!(upstream.requests(), 0);
}
