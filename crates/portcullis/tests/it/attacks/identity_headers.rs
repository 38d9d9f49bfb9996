//! A client sends an identity header in a spelling that the gate does not remove and the product
//! reads as the real one: CGI, WSGI and Rack turn `-`, `_` and `.` alike into `_` (CVE-2025-64484,
//! CVE-2026-39858, CVE-2026-52845); or it marks its request as an internal one (CVE-2025-29927).

use super::{Line, gate, request};
use crate::support::Upstream;

/// Names that products take for the gate's word.
const NAMES: [&str; 62] = [
    "x-portcullis-assertion",
    "x-portcullis-internal",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-remote-user",
    "x-remote-email",
    "x-remote-groups",
    "remote-user",
    "remote-email",
    "remote-groups",
    "x-user",
    "x-user-id",
    "x-user-email",
    "x-userinfo",
    "x-username",
    "x-email",
    "x-groups",
    "x-role",
    "x-roles",
    "x-tenant",
    "x-tenant-id",
    "x-real-ip",
    "x-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-middleware-subrequest",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-email",
    "x-amzn-oidc-data",
    "x-ms-client-principal",
    "cf-access-jwt-assertion",
    "x-vouch-user",
    "x-webauth-user",
    // What other gateways and TLS terminators tell in.
    "x-auth-user",
    "x-auth-username",
    "x-auth-email",
    "x-auth-groups",
    "x-auth-roles",
    "x-consumer-username",
    "x-consumer-custom-id",
    "x-credential-identifier",
    "x-anonymous-consumer",
    "oidc-claim-sub",
    "oidc-access-token",
    "x-ssl-client-s-dn",
    "ssl-client-verify",
    "x-client-cert",
    "client-cert",
    "x-scope-orgid",
    "x-org-id",
    "x-apigateway-api-userinfo",
];

/// Every way to write a name that ends up as one variable behind CGI.
fn spellings(name: &str) -> Vec<String> {
    let title: String = name
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect::<Vec<_>>()
        .join("-");
    let mut all = vec![
        name.to_owned(),
        name.to_uppercase(),
        title.clone(),
        name.replace('-', "_"),
        title.replace('-', "_"),
        name.to_uppercase().replace('-', "_"),
        name.replacen('-', "_", 1),
        title.replacen('-', ".", 1),
    ];
    if let Some(last) = name.rfind('-') {
        all.push(format!("{}_{}", &name[..last], &name[last + 1..]));
    }
    all.extend(['.', '~', '!', '+', '|'].map(|mark| name.replace('-', &mark.to_string())));
    all
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_reaches_the_product() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let mut line = Line::to(&gateway);
    for name in NAMES {
        for spelling in spellings(name) {
            let bytes = format!(
                "GET /public HTTP/1.1\r\nhost: {}\r\n{spelling}: planted\r\n\r\n",
                gateway.address
            );
            let answer = line.ask(bytes.as_bytes()).await;
            if answer.status == 200 {
                let received = upstream.last();
                let planted = received.headers.values().any(|value| value == "planted");
                assert!(!planted, "{spelling}");
            } else {
                assert_eq!(answer.problem(), "malformed-request", "{spelling}");
            }
        }
    }
    let seen = upstream.received();
    let planted = |value: &http::HeaderValue| value == "planted";
    assert!(!seen.iter().any(|one| one.headers.values().any(planted)));
}

#[tokio::test]
async fn a_name_with_white_space_before_its_colon_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    for line in [
        "x-forwarded-user : root\r\n",
        "x-forwarded-user\t: root\r\n",
        " x-forwarded-user: root\r\n",
        "x-a: b\r\n x-forwarded-user: root\r\n",
        "x forwarded-user: root\r\n",
        "x-forwarded-user\0: root\r\n",
        ": root\r\n",
    ] {
        let bytes = request("GET", "/public", gateway.address, line);
        let answer = super::first_answer(&gateway, &bytes).await;
        assert_eq!(answer.status, 400, "{line:?}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn no_header_marks_a_request_as_internal() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await.start().await;
    let middleware = "middleware:middleware:middleware:middleware:middleware";
    for (name, value) in [
        ("x-middleware-subrequest", middleware),
        ("x-middleware-subrequest", "src/middleware"),
        ("x-middleware-next", "1"),
        ("x-portcullis-internal", "1"),
        ("x-portcullis-permit", "1"),
        ("x-internal", "true"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-user", "root"),
        ("x-remote-user", "root"),
    ] {
        for (path, slug) in [
            ("/admin", "authentication-required"),
            ("/closed", "route-closed"),
        ] {
            let answer = gateway.client().get(path).header(name, value).send().await;
            assert_eq!(answer.problem(), slug, "{name}");
        }
    }
    assert_eq!(upstream.requests(), 0);
}
