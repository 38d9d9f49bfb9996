//! The product, or who took it over, weakens the headers that protect the page, opens it to other
//! origins, or speaks in the gate's name.

use axum::response::IntoResponse as _;

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn the_gates_headers_replace_the_products() {
    let upstream = Upstream::answering(|_| {
        let mut response = axum::response::Html("<p>hello").into_response();
        for (name, value) in [
            ("content-security-policy", "default-src * 'unsafe-inline'"),
            ("x-frame-options", "ALLOWALL"),
            ("x-content-type-options", "sniff"),
            ("referrer-policy", "unsafe-url"),
            ("strict-transport-security", "max-age=0"),
            ("cross-origin-opener-policy", "unsafe-none"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("permissions-policy", "camera=*"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-private-network", "true"),
            ("x-request-id", "the-products"),
            ("x-portcullis-assertion", "the-products"),
            ("server", "product/1.2.3"),
            ("x-powered-by", "product"),
            ("proxy-authenticate", "Basic"),
            ("keep-alive", "timeout=99"),
            ("ratelimit", "\"default\";r=424242"),
        ] {
            // Twice, since a client may take the first or the last.
            response.headers_mut().append(name, value.parse().unwrap());
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    })
    .await;
    let gateway = gate(&upstream).await.start().await;
    let answer = gateway
        .client()
        .get("/public")
        .header("origin", "https://evil.test")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    for (name, wanted) in [
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=()"),
        ("ratelimit", "default"),
    ] {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        let value = values[0].to_str().unwrap();
        assert!(value.contains(wanted), "{name}: {value}");
        assert!(
            !value.contains("unsafe-inline") && !value.contains("424242"),
            "{name}: {value}"
        );
    }
    for gone in [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-private-network",
        "strict-transport-security",
        "x-portcullis-assertion",
        "server",
        "x-powered-by",
        "proxy-authenticate",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    let id = answer.headers.get_all("x-request-id").iter().count();
    assert_eq!(id, 1);
    assert_ne!(answer.header("x-request-id"), Some("the-products"));
}
