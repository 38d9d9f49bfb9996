//! Which names the gate answers to, in every place where a request can name one.

use crate::support::{Gateway, Upstream};

#[tokio::test]
async fn a_host_that_is_not_listed_is_refused_before_the_product_sees_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(
            "[upstream.app]",
            "[hosts]\nallow = [\"app.test\", \"*.customers.test\", \"port.test:8443\"]\n\n[upstream.app]",
        )
        .start()
        .await;
    let client = gateway.client();
    for (host, status) in [
        ("app.test", 200),
        ("APP.test.", 200),
        ("app.test:1234", 200),
        ("one.customers.test", 200),
        ("port.test:8443", 200),
        ("port.test", 421),
        ("customers.test", 421),
        ("a.b.customers.test", 421),
        ("app.test.evil.test", 421),
        ("127.0.0.1", 421),
        ("localhost", 421),
    ] {
        let asked = upstream.requests();
        let answer = client.get("/public").replace("host", host).send().await;
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(
            upstream.requests() - asked,
            usize::from(status == 200),
            "{host}"
        );
        if status == 421 {
            assert_eq!(answer.problem(), "unknown-host");
        }
    }
    // The target's host counts, and a `Host` that says something else is no way around it.
    let asked = upstream.requests();
    for (target, host, status) in [
        ("http://app.test/public", "app.test", "200"),
        ("http://evil.test/public", "evil.test", "421"),
        ("http://app.test/public", "evil.test", "400"),
        ("http://evil.test/public", "app.test", "400"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = client.raw(request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target} {host}: {answer}"
        );
    }
    assert_eq!(upstream.requests() - asked, 1);
    assert_eq!(upstream.last().target, "/public");
    assert_eq!(upstream.last().header("host"), Some("app.test"));
}

#[tokio::test]
async fn in_development_the_names_of_the_machine_for_itself_are_enough() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    for (host, status) in [
        ("localhost:1", 200),
        ("[::1]", 200),
        ("rebound.evil.test", 421),
    ] {
        let answer = gateway
            .client()
            .get("/public")
            .replace("host", host)
            .send()
            .await;
        assert_eq!(answer.status, status, "{host}");
    }
}
