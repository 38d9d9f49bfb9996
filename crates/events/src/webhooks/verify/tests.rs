//! One table of messages for each scheme: what is right, and what is almost right.

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::{Secret, Span, Timestamp};
use portcullis_vault::keys::ForeignMac;
use proptest::prelude::*;

use super::super::content::Facts;
use super::super::tests::{SECRET, endpoint};
use super::{Encoding, Form, Refused, Scheme, Verifier};

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"id":"evt_1","type":"ping"}"#;
/// Of the Standard Webhooks specification and its libraries' own tests.
const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn verifier(scheme: Scheme, form: Option<Form>, secrets: &[&str]) -> Verifier {
    let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
    Verifier::new(scheme, form, &secrets, Span::from_minutes(5)).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn ask(verifier: &Verifier, pairs: &[(&str, &str)], body: &[u8]) -> Result<(), Refused> {
    ask_at(verifier, pairs, body, NOW)
}

fn ask_at(
    verifier: &Verifier,
    pairs: &[(&str, &str)],
    body: &[u8],
    now: i64,
) -> Result<(), Refused> {
    verifier
        .verify(&headers(pairs), body, Timestamp::from_seconds(now))
        .map(drop)
}

fn tag(key: &str, parts: &[&[u8]]) -> String {
    hex::encode(ForeignMac::new(&secret(key)).tag_of_parts(parts))
}

fn stripe_tag(time: i64) -> String {
    tag(SECRET, &[time.to_string().as_bytes(), b".", BODY])
}

#[test]
fn stripe() {
    let verifier = verifier(
        Scheme::Stripe,
        None,
        &["another secret of long ago", SECRET],
    );
    let good = stripe_tag(NOW);
    let other = tag("somebody else's secret", &[b"1700000000.", BODY]);
    let upper = good.to_uppercase();
    let of = |text: String| ask(&verifier, &[("stripe-signature", &text)], BODY);
    assert_eq!(of(format!("t={NOW},v1={good}")), Ok(()));
    assert_eq!(of(format!("t={NOW},v1={other},v1={good},v0=1")), Ok(()));
    assert_eq!(of(format!("v1={good},t={NOW}")), Ok(()));
    for (text, why) in [
        (format!("t={NOW},v0={good}"), Refused::Form),
        (format!("t={NOW},v1={other}"), Refused::Signature),
        (format!("t={NOW},v1={upper}"), Refused::Form),
        (
            format!("t={NOW},v1={}", good.replacen(char::is_alphanumeric, "", 1)),
            Refused::Form,
        ),
        (format!("t={NOW},v1="), Refused::Form),
        (format!("t={NOW}"), Refused::Form),
        (format!("v1={good}"), Refused::Form),
        (format!("t={NOW},t={NOW},v1={good}"), Refused::Form),
        (format!("t=+{NOW},v1={good}"), Refused::Form),
        (format!("t= {NOW},v1={good}"), Refused::Form),
        (format!("t={NOW}.0,v1={good}"), Refused::Form),
        (format!("t=,v1={good}"), Refused::Form),
        (format!("t=9999999999999,v1={good}"), Refused::Form),
        (format!("t={},v1={good}", NOW + 1), Refused::Signature),
        (format!("t={NOW},{good}"), Refused::Form),
        (good.clone(), Refused::Form),
        (String::new(), Refused::Form),
        (
            format!("t={NOW}{}", format!(",v1={good}").repeat(17)),
            Refused::Form,
        ),
        (
            format!("t={NOW},v1={good}{}", ",x=".repeat(2000)),
            Refused::Form,
        ),
    ] {
        assert_eq!(of(text.clone()), Err(why), "{text}");
    }
    let good = format!("t={NOW},v1={good}");
    assert_eq!(ask(&verifier, &[], BODY), Err(Refused::Missing));
    let twice = [("stripe-signature", &*good), ("stripe-signature", &*good)];
    assert_eq!(ask(&verifier, &twice, BODY), Err(Refused::Twice));
    let one = [("stripe-signature", &*good)];
    let rewritten = br#"{"id": "evt_1", "type": "ping"}"#;
    assert_eq!(ask(&verifier, &one, rewritten), Err(Refused::Signature));
    for at in 0..BODY.len() {
        let mut changed = BODY.to_vec();
        changed[at] ^= 1;
        assert_eq!(ask(&verifier, &one, &changed), Err(Refused::Signature));
    }
}

#[test]
fn age_counts_both_ways_to_the_second() {
    let verifier = verifier(Scheme::Stripe, None, &[SECRET]);
    let text = format!("t={NOW},v1={}", stripe_tag(NOW));
    let at = |now| ask_at(&verifier, &[("stripe-signature", &text)], BODY, now);
    for (now, expected) in [
        (NOW, Ok(())),
        (NOW + 300, Ok(())),
        (NOW - 300, Ok(())),
        (NOW + 301, Err(Refused::Old)),
        (NOW - 301, Err(Refused::Future)),
        (i64::MAX / 1_000_000, Err(Refused::Old)),
        (0, Err(Refused::Future)),
    ] {
        assert_eq!(at(now), expected, "{now}");
    }
    // A forger does not learn whether the time would do.
    let forged = format!("t=1,v1={}", stripe_tag(NOW));
    let answer = ask(&verifier, &[("stripe-signature", &forged)], BODY);
    assert_eq!(answer, Err(Refused::Signature));
}

#[test]
fn standard() {
    let verifier = verifier(Scheme::Standard, None, &[STANDARD]);
    // The vector of the libraries' own tests.
    let body = br#"{"test": 2432232314}"#;
    let (id, time) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
    let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let of = |names: [&str; 3], values: [&str; 3]| {
        let pairs: Vec<_> = names.into_iter().zip(values).collect();
        ask_at(&verifier, &pairs, body, 1_614_265_330)
    };
    let own = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let svix = ["svix-id", "svix-timestamp", "svix-signature"];
    let other = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
    assert_eq!(of(own, [id, time, good]), Ok(()));
    assert_eq!(of(svix, [id, time, good]), Ok(()));
    assert_eq!(of(own, [id, time, &format!("{other} v2,x {good}")]), Ok(()));
    let dotted = format!("{id}.{time}");
    for (values, why) in [
        ([id, time, other], Refused::Signature),
        ([id, time, &good.replace("v1,", "v2,")], Refused::Signature),
        ([id, time, &good.replace("v1,", "v1a,")], Refused::Signature),
        ([id, time, &good.replace("v1,", "")], Refused::Form),
        ([id, time, &good.replace('=', "")], Refused::Form),
        ([id, time, &good.replace("v1,", "v1, ")], Refused::Form),
        (["msg_other", time, good], Refused::Signature),
        ([id, "1614265331", good], Refused::Signature),
        ([id, "1614265330 ", good], Refused::Form),
        ([&dotted, time, good], Refused::Form),
    ] {
        assert_eq!(of(own, values), Err(why), "{values:?}");
    }
    assert_eq!(
        of(
            ["webhook-id", "svix-timestamp", "svix-signature"],
            [id, time, good]
        ),
        Err(Refused::Missing)
    );
}

#[test]
fn standard_with_a_public_key() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = format!("whpk_{}", BASE64.encode(pair.public_key().as_ref()));
    let verifier = verifier(Scheme::Standard, None, &[&public]);
    let time = NOW.to_string();
    let message = [b"msg_1.", time.as_bytes(), b".", BODY].concat();
    let signature = BASE64.encode(pair.sign(&message).as_ref());
    let of = |signature: &str| {
        let pairs = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", &*time),
            ("webhook-signature", signature),
        ];
        ask(&verifier, &pairs, BODY)
    };
    assert_eq!(of(&format!("v1a,{signature}")), Ok(()));
    assert_eq!(of(&format!("v1,{signature}")), Err(Refused::Signature));
    // The public key as if it were a secret: everybody knows it.
    let forged = ForeignMac::new(&secret(&public)).tag(&message);
    let forged = format!("v1,{}", BASE64.encode(forged));
    assert_eq!(of(&forged), Err(Refused::Signature));
}

#[test]
fn github() {
    // GitHub's own vector, "Validating webhook deliveries".
    let verifier = verifier(Scheme::Github, None, &["It's a Secret to Everybody"]);
    let body = b"Hello, World!";
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let of = |name: &str, value: &str| ask(&verifier, &[(name, value)], body);
    assert_eq!(of("x-hub-signature-256", good), Ok(()));
    assert_eq!(of("x-hub-signature", good), Err(Refused::Missing));
    for value in [
        good.trim_start_matches("sha256="),
        &good.to_uppercase(),
        &good.replace("256=", "1="),
        "sha256=",
    ] {
        assert_eq!(
            of("x-hub-signature-256", value),
            Err(Refused::Form),
            "{value}"
        );
    }
    let answer = ask(
        &verifier,
        &[("x-hub-signature-256", good)],
        b"Hello, World?",
    );
    assert_eq!(answer, Err(Refused::Signature));
}

#[test]
fn slack() {
    // Slack's own vector, "Verifying requests from Slack".
    let verifier = verifier(Scheme::Slack, None, &["8f742231b10e8888abcd99yyyzzz85a5"]);
    let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let good = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let of = |time: &str, value: &str| {
        let pairs = [
            ("x-slack-request-timestamp", time),
            ("x-slack-signature", value),
        ];
        ask_at(&verifier, &pairs, body, 1_531_420_618)
    };
    assert_eq!(of("1531420618", good), Ok(()));
    assert_eq!(of("1531420619", good), Err(Refused::Signature));
    assert_eq!(
        of("1531420618", good.trim_start_matches("v0=")),
        Err(Refused::Form)
    );
    assert_eq!(of("", good), Err(Refused::Form));
}

#[test]
fn hmac() {
    let form = |encoding, timestamp: Option<&'static str>| Form {
        header: HeaderName::from_static("x-signature"),
        prefix: "sha256=".to_owned(),
        encoding,
        timestamp: timestamp.map(HeaderName::from_static),
    };
    let plain = verifier(Scheme::Hmac, Some(form(Encoding::Hex, None)), &[SECRET]);
    let good = format!("sha256={}", tag(SECRET, &[BODY]));
    assert_eq!(ask(&plain, &[("x-signature", &good)], BODY), Ok(()));
    let bare = [("x-signature", good.trim_start_matches("sha256="))];
    assert_eq!(ask(&plain, &bare, BODY), Err(Refused::Form));
    let timed = form(Encoding::Hex, Some("x-time"));
    let timed = verifier(Scheme::Hmac, Some(timed), &[SECRET]);
    let good = format!("sha256={}", stripe_tag(NOW));
    let of = |time: &str| ask(&timed, &[("x-signature", &good), ("x-time", time)], BODY);
    assert_eq!(of(&NOW.to_string()), Ok(()));
    assert_eq!(of(&(NOW + 1).to_string()), Err(Refused::Signature));
    assert_eq!(
        ask(&timed, &[("x-signature", &good)], BODY),
        Err(Refused::Missing)
    );
}

#[test]
fn what_a_message_is_known_by_is_signed() {
    let facts = |scheme: &str, more: &str, pairs: &[(&str, &str)], body: &[u8]| {
        let endpoint = endpoint(scheme, more);
        // What was verified before does not matter here.
        let id = pairs.first().map(|(_, id)| (*id).to_owned());
        let verified = super::Verified { id, kind: None };
        Facts::of(&endpoint, verified, body).event
    };
    assert_eq!(facts("stripe", "", &[], BODY), "evt_1");
    assert_eq!(facts("standard", "", &[("id", "msg_1")], BODY), "msg_1");
    let github = facts("github", "", &[], BODY);
    assert!(github.starts_with("sha256:"), "{github}");
    assert_eq!(facts("slack", "", &[], br#"{"event_id":"Ev1"}"#), "Ev1");
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(500));
    assert_eq!(facts("stripe", "", &[], long.as_bytes()).len(), 71);
    for body in [
        &b"{}"[..],
        b"",
        b"not json",
        br#"{"id":{"a":1}}"#,
        br#"{"id":""}"#,
    ] {
        assert!(facts("stripe", "", &[], body).starts_with("sha256:"));
    }
}

proptest! {
    #[test]
    fn nothing_that_was_not_signed_is_taken(value in "[ -~]{0,200}", time in "[ -~]{0,14}", body in proptest::collection::vec(any::<u8>(), 0..64)) {
        let pairs = [
            ("stripe-signature", &*value), ("webhook-id", "a"), ("webhook-timestamp", &*time),
            ("webhook-signature", &*value), ("x-hub-signature-256", &*value),
            ("x-slack-signature", &*value), ("x-slack-request-timestamp", &*time),
        ];
        for scheme in [Scheme::Stripe, Scheme::Standard, Scheme::Github, Scheme::Slack] {
            let secret = if scheme == Scheme::Standard { STANDARD } else { SECRET };
            prop_assert!(ask(&verifier(scheme, None, &[secret]), &pairs, &body).is_err());
        }
    }
}
