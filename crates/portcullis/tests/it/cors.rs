//! Which other origins may call (H1-H4), over the wire.

use axum::response::IntoResponse as _;
use http::Method;

use crate::support::{Answer, Client, Gateway, GatewayBuilder, Upstream};

const ROUTES: &str = r#"
[[route]]
path = "/open"
allow = "public"

[[route]]
path = "/home"
allow = "public"
cors = false

[cors]
allow-origins = ["https://app.corp.test", "https://www.corp.test"]
allow-credentials = true
max-age = "5m"
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES).await
}

async fn loose() -> Upstream {
    // A product with a CORS middleware of its own, and a bad one.
    Upstream::answering(|_| {
        (
            [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("vary", "accept-encoding"),
            ],
            "data",
        )
            .into_response()
    })
    .await
}

async fn preflight(client: &Client, path: &str, origin: &str) -> Answer {
    client
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
}

fn granted(answer: &Answer) -> Option<&str> {
    let values = answer.all("access-control-allow-origin");
    assert!(values.len() <= 1, "{values:?}");
    values.first().copied()
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer
        .all("vary")
        .iter()
        .any(|value| value.to_ascii_lowercase().contains("origin"))
}

const STRANGERS: &[&str] = &[
    "https://evil.test",
    "null",
    "http://app.corp.test",
    "https://app.corp.test:8443",
    "https://app.corp.test.evil.test",
    "https://evil-app.corp.test",
    "https://corp.test",
    "https://APP.corp.test",
    "*",
];

#[tokio::test]
async fn listed_origins_are_granted_and_every_other_is_not() {
    let upstream = loose().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    for origin in ["https://app.corp.test", "https://www.corp.test"] {
        let answer = client.get("/open").header("origin", origin).send().await;
        assert_eq!(
            (answer.status.as_u16(), granted(&answer)),
            (200, Some(origin))
        );
        assert_eq!(answer.all("access-control-allow-credentials"), ["true"]);
        assert!(varies_by_origin(&answer));
    }
    for origin in STRANGERS {
        let answer = client.get("/open").header("origin", origin).send().await;
        assert_eq!(granted(&answer), None, "{origin}");
        assert!(answer.all("access-control-allow-credentials").is_empty());
        assert!(varies_by_origin(&answer), "no cache mixes them up");
        let answer = client.post("/open").header("origin", origin).send().await;
        assert_eq!(answer.problem(), "origin-not-allowed", "{origin}");
    }
    let plain = client.get("/open").send().await;
    assert!(granted(&plain).is_none() && varies_by_origin(&plain));
    let home = client
        .get("/home")
        .header("origin", "https://app.corp.test");
    assert_eq!(granted(&home.send().await), None, "cors = false");
}

/// Without this a page cannot tell "too many" from "the network is gone".
#[tokio::test]
async fn pages_of_listed_origins_may_read_why_they_were_refused_and_no_others() {
    const APP: &str = "https://app.corp.test";
    let upstream = loose().await;
    let gateway = builder(&upstream)
        .await
        .more("\n[[route]]\npath = \"/mine\"\nallow = \"user\"\n\n[[route]]\npath = \"/small\"\nmethods = [\"POST\"]\nallow = \"public\"\ncsrf = false\nmax-body = \"4B\"\n")
        .start()
        .await;
    let client = gateway.client();
    for (path, problem) in [
        ("/mine", "authentication-required"),
        ("/unlisted", "no-route"),
        ("/open/../open", "ambiguous-path"),
    ] {
        let answer = client.get(path).header("origin", APP).send().await;
        assert_eq!(answer.problem(), problem);
        assert_eq!(granted(&answer), Some(APP), "{path}");
        assert_eq!(answer.all("access-control-allow-credentials"), ["true"]);
        assert!(varies_by_origin(&answer), "{path}");
        for origin in STRANGERS {
            let answer = client.get(path).header("origin", origin).send().await;
            assert_eq!(granted(&answer), None, "{path} {origin}");
        }
        let two = client.get(path).header("origin", APP);
        let two = two.header("origin", "https://www.corp.test").send().await;
        assert_eq!(granted(&two), None, "{path}: two origins are none");
    }
    let large = client.post("/small").header("origin", APP).body("12345");
    let large = large.send().await;
    assert_eq!(
        (large.problem().as_str(), granted(&large)),
        ("body-too-large", Some(APP))
    );
    let home = client.request(Method::PUT, "/home").header("origin", APP);
    let home = home.header("content-length", "99999999999").send().await;
    assert_eq!((home.status.is_success(), granted(&home)), (false, None));
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn preflights_are_answered_by_the_gate_alone() {
    let upstream = loose().await;
    let gateway = builder(&upstream).await.start().await;
    let client = gateway.client();
    let answer = preflight(&client, "/open", "https://app.corp.test").await;
    assert_eq!(answer.status, 204);
    assert_eq!(granted(&answer), Some("https://app.corp.test"));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(answer.header("access-control-max-age"), Some("300"));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET, HEAD, POST, PUT, PATCH, DELETE")
    );
    assert!(varies_by_origin(&answer));
    for origin in STRANGERS {
        let answer = preflight(&client, "/open", origin).await;
        assert_eq!(granted(&answer), None);
        assert_eq!(answer.problem(), "origin-not-allowed", "{origin}");
    }
    for path in ["/home", "/.portcullis/auth/me"] {
        let answer = preflight(&client, path, "https://app.corp.test").await;
        assert!(path != "/home" || granted(&answer).is_none(), "{path}");
    }
    let answer = preflight(&client, "/unlisted", "https://app.corp.test").await;
    assert_eq!(answer.problem(), "no-route");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_wildcard_does_not_start_in_production_nor_with_credentials() {
    let upstream = Upstream::start().await;
    let wild = |builder: GatewayBuilder| {
        builder.replace(
            "allow-origins = [\"https://app.corp.test\", \"https://www.corp.test\"]",
            "allow-origins = [\"*\"]",
        )
    };
    let credentials = wild(builder(&upstream).await).cli(&["check", "--output", "json"]);
    let production = wild(builder(&upstream).await)
        .replace("allow-credentials = true", "allow-credentials = false")
        .replace("mode = \"development\"", "mode = \"production\"")
        .cli(&["check", "--output", "json"]);
    for (output, expected) in [
        (credentials, "cors-wildcard-credentials"),
        (production, "\"cors-wildcard\""),
    ] {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            !output.status.success() && text.contains(expected),
            "{text}"
        );
    }
}
