//! Every signature header of every sender: nobody without the secret is believed, whatever they write.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis_core::{Secret, Span, Timestamp};
use portcullis_events::webhooks::verify::{Encoding, Form, Scheme, Verifier};

const NAMES: [&str; 9] = [
    "stripe-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hub-signature-256",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "x-signature",
    "x-timestamp",
];

static VERIFIERS: LazyLock<Vec<Verifier>> = LazyLock::new(|| {
    let form = |encoding, timestamp: Option<&'static str>| Form {
        header: HeaderName::from_static("x-signature"),
        prefix: "sha256=".to_owned(),
        encoding,
        timestamp: timestamp.map(HeaderName::from_static),
    };
    [
        (Scheme::Stripe, None, "a secret that nobody can guess"),
        (
            Scheme::Standard,
            None,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
        (
            Scheme::Standard,
            None,
            "whpk_6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=",
        ),
        (Scheme::Github, None, "a secret that nobody can guess"),
        (Scheme::Slack, None, "a secret that nobody can guess"),
        (
            Scheme::Hmac,
            Some(form(Encoding::Hex, None)),
            "a secret that nobody can guess",
        ),
        (
            Scheme::Hmac,
            Some(form(Encoding::Base64, Some("x-timestamp"))),
            "a secret that nobody can guess",
        ),
    ]
    .into_iter()
    .map(|(scheme, form, secret)| {
        let secrets = [Secret::new(secret.to_owned())];
        Verifier::new(scheme, form, &secrets, Span::from_minutes(5)).expect("a good secret")
    })
    .collect()
});

fuzz_target!(|input: (Vec<(u8, Vec<u8>)>, Vec<u8>, u32)| {
    let (headers, body, now) = input;
    let mut map = HeaderMap::new();
    for (name, value) in headers.into_iter().take(16) {
        let name = NAMES[usize::from(name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            map.append(name, value);
        }
    }
    let now = Timestamp::from_seconds(i64::from(now));
    for verifier in VERIFIERS.iter() {
        assert!(verifier.verify(&map, &body, now).is_err());
    }
});
