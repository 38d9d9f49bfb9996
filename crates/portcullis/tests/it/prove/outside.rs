//! `prove --against`: a product without the gate, and the same product behind it.

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::{findings, verdict};
use crate::support::{Gateway, GatewayBuilder, Upstream};

fn document() -> serde_json::Value {
    let secured = json!([{ "bearer": [] }]);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "careless", "version": "1" },
        "paths": {
            "/": { "get": { "security": [] } },
            "/api/users": { "get": { "security": secured } },
            "/auth/login": { "post": { "security": [] } },
            "/webhooks/pay": { "post": { "security": [] } },
        },
    })
}

/// A product as many are: it works.
async fn careless() -> std::net::SocketAddr {
    let cors = |headers: HeaderMap| {
        let origin = headers.get("origin").cloned();
        let mut answer = Json(json!(["ana", "bob"])).into_response();
        if let Some(origin) = origin {
            answer
                .headers_mut()
                .insert("access-control-allow-origin", origin);
            answer
                .headers_mut()
                .insert("access-control-allow-credentials", "true".parse().unwrap());
        }
        answer
    };
    let router = Router::new()
        .route(
            "/",
            get(async || {
                (
                    [
                        ("set-cookie", "session=abc"),
                        ("server", "Apache/2.4.1"),
                        ("x-powered-by", "Express"),
                    ],
                    "home",
                )
            }),
        )
        .route(
            "/api/users",
            get(async move |headers: HeaderMap| cors(headers)),
        )
        .route(
            "/auth/login",
            post(async || (StatusCode::UNAUTHORIZED, "no")),
        )
        .route("/webhooks/pay", post(async || "thanks"))
        .route("/openapi.json", get(async || Json(document())))
        .route(
            "/.env",
            get(async || ([("content-type", "text/plain")], "SECRET_KEY=hunter2")),
        )
        .route(
            "/metrics",
            get(async || ([("content-type", "text/plain")], "# TYPE up gauge\nup 1\n")),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

const LOUD: [&str; 13] = [
    "I10", "I4", "S1", "L1", "L2", "L5", "H1", "H6", "H8", "E1", "X1", "B1", "M4",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_product_without_the_gate_lacks_is_named_and_the_gate_adds_it() {
    let product = careless().await;
    let folder = GatewayBuilder::empty();
    let run = |url: &str, more: &[&str]| {
        let mut arguments = vec!["prove", "--against", url, "--format", "json"];
        arguments.extend(more);
        tokio::task::block_in_place(|| folder.run(&arguments))
    };
    let output = run(&format!("http://{product}"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let bare = findings(&output);
    for id in LOUD {
        let (found, said) = verdict(&bare, id);
        assert_eq!(found, "failed", "{id}: {said}");
    }
    assert!(verdict(&bare, "I10").1.contains("/api/users"));
    assert_eq!(
        verdict(&bare, "S2").0,
        "not-proven",
        "a stranger cannot see it"
    );

    let text = tokio::task::block_in_place(|| {
        folder.run(&["prove", "--against", &format!("http://{product}")])
    });
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in ["Missing (", "behind Portcullis:", "NOT PROVEN:"] {
        assert!(text.contains(part), "{text}");
    }

    // The same product behind the gate, with a decision for each operation.
    let routes = r#"
[[route]]
path = "/"
allow = "public"

[[route]]
path = "/api/users"
allow = "user"

[limits.default]
rate = "100/minute"

[auth-api]
mounts = ["/auth"]
"#;
    let gateway = Gateway::builder(&Upstream::at(product), routes)
        .await
        .start()
        .await;
    let file = gateway.folder.join("openapi.json");
    std::fs::write(&file, document().to_string()).unwrap();
    let output = run(
        &format!("http://{}", gateway.address),
        &["--openapi", file.to_str().unwrap()],
    );
    let behind = findings(&output);
    for id in [
        "I10", "I4", "L2", "L5", "H1", "H6", "H8", "X1", "M4", "H10", "H13", "L10", "B1",
    ] {
        let (found, said) = verdict(&behind, id);
        assert_eq!(found, "held", "{id}: {said}");
    }
}
