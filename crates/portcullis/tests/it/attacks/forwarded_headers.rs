//! Forwarding headers of a client that is no trusted proxy are believed: they choose another rule,
//! another host in a link, another scheme, another address (CVE-2026-40575, CVE-2026-33495,
//! CVE-2025-64101).

use super::{credentials, gate, set_cookies};
use crate::support::{Answer, Upstream};

const NAMES: [&str; 22] = [
    "x-forwarded-uri",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-method",
    "x-forwarded-for",
    "x-forwarded-server",
    "forwarded",
    "x-original-url",
    "x-original-uri",
    "x-original-method",
    "x-rewrite-url",
    "x-real-ip",
    "x-http-method-override",
    "x-host",
    "true-client-ip",
    "cf-connecting-ip",
];

const VALUES: [&str; 8] = [
    "/public",
    "GET",
    "https",
    "on",
    "443",
    "evil.test",
    "127.0.0.1",
    "for=127.0.0.1;host=evil.test;proto=https",
];

#[tokio::test]
async fn no_forwarding_header_changes_a_decision() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for name in NAMES {
        for value in VALUES {
            let ask = |path| gateway.client().get(path).header(name, value).send();
            assert_eq!(
                ask("/admin").await.problem(),
                "authentication-required",
                "{name}: {value}"
            );
            assert_eq!(
                ask("/closed").await.problem(),
                "route-closed",
                "{name}: {value}"
            );
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_product_sees_none_of_what_the_client_claimed() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for name in NAMES {
        for value in ["marker.evil.test", "198.51.100.77"] {
            let answer = gateway.client().get("/public").header(name, value);
            assert_eq!(answer.send().await.status, 200, "{name}");
            let received = upstream.last();
            assert!(
                received.headers.values().all(|seen| seen != value),
                "{name}"
            );
            assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(received.header("x-forwarded-proto"), Some("http"));
        }
    }
}

#[tokio::test]
async fn links_and_cookies_do_not_follow_them() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let spoofed = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.test;proto=https"),
    ];
    let mut login = gateway.browser().post("/.portcullis/auth/login");
    let mut form = gateway
        .browser()
        .post("/.portcullis/auth/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "email=ana%40corp.test&password={}&next=%2Fhome",
            crate::support::PASSWORD
        ));
    for (name, value) in spoofed {
        login = login.header(name, value);
        form = form.header(name, value);
    }
    let attributes = |answer: &Answer| -> Vec<String> {
        set_cookies(answer)
            .iter()
            .map(|cookie| cookie.split_once(';').unwrap().1.to_owned())
            .collect()
    };
    let usual = gateway.browser().post("/.portcullis/auth/login");
    let usual = usual.json(&credentials("ana@corp.test")).send().await;
    let login = login.json(&credentials("ana@corp.test")).send().await;
    assert_eq!(login.status, 200);
    assert_eq!(attributes(&login), attributes(&usual));
    let form = form.send().await;
    assert_eq!(form.status, 303);
    assert_eq!(form.header("location"), Some("/home"));
    assert_eq!(form.header("strict-transport-security"), None);
}
