//! Messages as their senders make them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::Secret;
use portcullis_vault::keys::ForeignMac;
use serde_json::{Value, json};

use crate::support::required;
use crate::support::signer::now;

pub(crate) const STRIPE_SECRET: &str = "whsec_of_these_tests_and_of_nobody_else";
pub(crate) const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A signed message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    fn new(headers: &[(&str, String)], body: &str) -> Self {
        Message {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            body: body.as_bytes().to_vec(),
        }
    }
}

/// Lets the senders' own libraries do what is ordered.
pub(crate) fn libraries(orders: &[Value]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/webhooks/senders.py");
    let mut child = Command::new(required("PORTCULLIS_TEST_PYTHON"))
        .args(["-B", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let orders = serde_json::to_vec(orders).unwrap();
    child.stdin.take().unwrap().write_all(&orders).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the libraries did not do it");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A message by Stripe's own library and one by the Standard Webhooks' own, of this time.
pub(super) fn by_libraries(time: i64, stripe: &str, standard: &str) -> (Message, Message) {
    let answers = libraries(&[
        json!({ "do": "sign-stripe", "secret": STRIPE_SECRET, "time": time, "body": stripe }),
        json!({ "do": "sign-standard", "secret": STANDARD_SECRET, "time": time, "id": "msg_1", "body": standard }),
    ]);
    let message = |headers: &Value, body: &str| {
        let headers = headers.as_object().unwrap().iter();
        let headers =
            headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_owned()));
        Message::new(&headers.collect::<Vec<_>>(), body)
    };
    (message(&answers[0], stripe), message(&answers[1], standard))
}

pub(crate) fn tag(secret: &str, signed: &str) -> [u8; 32] {
    ForeignMac::new(&Secret::new(secret.to_owned())).tag(signed.as_bytes())
}

/// As Stripe does, now.
pub(crate) fn stripe(body: &str) -> Message {
    stripe_with(STRIPE_SECRET, now(), body)
}

pub(crate) fn stripe_with(secret: &str, time: i64, body: &str) -> Message {
    let signature = hex::encode(tag(secret, &format!("{time}.{body}")));
    Message::new(
        &[("stripe-signature", format!("t={time},v1={signature}"))],
        body,
    )
}

/// An event about an object.
pub(crate) fn event(id: &str, object: &str) -> String {
    json!({ "id": id, "type": "invoice.paid", "data": { "object": { "id": object, "email": "ada@example.org" } } }).to_string()
}

pub(crate) fn github(delivery: &str, body: &str) -> Message {
    let signature = format!("sha256={}", hex::encode(tag(STRIPE_SECRET, body)));
    let headers = [
        ("x-hub-signature-256", signature),
        ("x-github-event", "push".to_owned()),
        ("x-github-delivery", delivery.to_owned()),
    ];
    Message::new(&headers, body)
}

pub(crate) fn slack(body: &str) -> Message {
    let time = now();
    let signature = hex::encode(tag(STRIPE_SECRET, &format!("v0:{time}:{body}")));
    let headers = [
        ("x-slack-signature", format!("v0={signature}")),
        ("x-slack-request-timestamp", time.to_string()),
    ];
    Message::new(&headers, body)
}

pub(super) fn shop(body: &str) -> Message {
    let signature = STANDARD.encode(tag(STRIPE_SECRET, body));
    Message::new(&[("x-shop-hmac-sha256", signature)], body)
}
