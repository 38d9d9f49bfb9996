//! Webhooks in (B1, B2, B3): signed by the senders' own libraries, sent over sockets, seen by a product.

mod forgeries;
mod journey;
pub(crate) mod senders;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::Body;
use axum::http::Response;
use serde_json::Value;

pub(crate) use self::senders::{Message, STANDARD_SECRET, STRIPE_SECRET, stripe};

use crate::support::{
    Answer, Client, Gateway, GatewayBuilder, Received, Upstream, eventually_asked,
};

/// The product's routes, and one webhook of each scheme.
pub(crate) const ROUTES: &str = r#"
[[route]]
path = "/{*rest}"
allow = "user"

[limits.default]
rate = "100000/minute"

[[webhook]]
name = "stripe"
path = "/webhooks/stripe"
scheme = "stripe"
secrets = [{ file = "stripe" }]
first-wait = "100ms"
longest-wait = "200ms"
attempts = 3
order-by = "/data/object/id"

[[webhook]]
name = "standard"
path = "/webhooks/standard"
upstream-path = "/hooks/standard"
scheme = "standard"
secrets = [{ file = "standard" }]
max-body = "4KiB"

[[webhook]]
name = "github"
path = "/webhooks/github"
scheme = "github"
secrets = [{ file = "stripe" }]

[[webhook]]
name = "slack"
path = "/webhooks/slack"
scheme = "slack"
secrets = [{ file = "stripe" }]

[[webhook]]
name = "shop"
path = "/webhooks/shop"
scheme = "hmac"
secrets = [{ file = "stripe" }]
signature-header = "X-Shop-Hmac-Sha256"
signature-encoding = "base64"
id-at = "/id"
"#;

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .file("stripe", STRIPE_SECRET)
        .file("standard", STANDARD_SECRET)
}

/// A product whose answer a test changes.
pub(crate) async fn product() -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answer = Arc::clone(&status);
    let upstream = Upstream::answering(move |_| {
        let status = answer.load(Ordering::SeqCst);
        Response::builder()
            .status(status)
            .body(Body::empty())
            .unwrap()
    });
    (upstream.await, status)
}

pub(crate) async fn post(gateway: &Gateway, path: &str, message: &Message) -> Answer {
    post_to(&gateway.client(), path, message).send().await
}

pub(crate) fn post_to(
    client: &Client,
    path: &str,
    message: &Message,
) -> crate::support::RequestBuilder {
    let mut request = client.post(path).header("content-type", "application/json");
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    request.body(message.body.clone())
}

pub(crate) fn assert_received(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["status"], "received");
}

pub(crate) fn assert_seen(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["status"], "already seen");
}

/// Waits until the product was asked so often.
pub(crate) async fn delivered(upstream: &Upstream, times: usize) -> Vec<Received> {
    eventually_asked(&format!("{times} are delivered"), async || {
        upstream.requests() >= times
    })
    .await;
    upstream.received()
}

/// What the command line lists.
pub(crate) fn list(gateway: &Gateway, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["--output", "json", "webhooks"];
    arguments.extend(more);
    let output = gateway.cli(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until every message is in this state, so many in all.
pub(crate) async fn all_are(gateway: &Gateway, state: &str, count: usize) {
    eventually_asked(&format!("{count} are {state}"), async || {
        let all = list(gateway, &["list", "--limit", "1000"]);
        all.len() == count && all.iter().all(|row| row["state"] == state)
    })
    .await;
}

/// How often each delivery came, by its id.
pub(crate) fn by_delivery(received: &[Received]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for one in received {
        let id = one.header("x-portcullis-delivery").unwrap().to_owned();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// The claims of an assertion that the gate's published keys verify.
pub(crate) async fn verified(gateway: &Gateway, assertion: &str) -> Value {
    let keys = gateway
        .client()
        .get("/.portcullis/jwks.json")
        .send()
        .await
        .json();
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    let key = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"].as_str() == header.kid.as_deref())
        .unwrap();
    let key = jsonwebtoken::DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&["app"]);
    rules.set_issuer(&["portcullis"]);
    jsonwebtoken::decode::<Value>(assertion, &key, &rules)
        .unwrap()
        .claims
}
