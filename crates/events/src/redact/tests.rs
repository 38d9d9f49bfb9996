use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn what_gives_itself_away_is_masked() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl";
    for (input, output) in [
        ("password=hunter2", "password=[redacted]"),
        (
            r#"{"token": "a\"b", "n": 1}"#,
            r#"{"token":[redacted], "n": 1}"#,
        ),
        ("Authorization: Bearer abc", "Authorization:[redacted]"),
        ("sent bearer abc to us", "sent bearer [redacted] to us"),
        ("Cookie: a=b; c=d", "Cookie:[redacted]"),
        (jwt, "[redacted]"),
        ("key sk_live_abcdefgh1234 leaked", "key [redacted] leaked"),
        ("mail from alice@example.com", "mail from a***@example.com"),
        ("/reset/alice%40example.com", "/reset/a***@example.com"),
        ("GET /a/b?code=1", "GET /a/b?[redacted]"),
        ("postgres://u:p@db/x", "postgres://[redacted]@db/x"),
        ("two\nlines", "two\u{fffd}lines"),
        ("a 404 at /api/v1/users/{id}", "a 404 at /api/v1/users/{id}"),
        (
            "session 01890a5d-ac96-774b-bcce-b302099a8057 ended",
            "session 01890a5d-ac96-774b-bcce-b302099a8057 ended",
        ),
    ] {
        assert_eq!(text(input), output);
    }
}

#[test]
fn values_of_telling_fields_are_masked_at_any_depth() {
    let masked = value(
        "request",
        json!({ "user": { "API-Key": "x1", "name": "Ada" } }),
    );
    assert_eq!(
        masked,
        json!({ "user": { "API-Key": MASK, "name": "Ada" } })
    );
    assert_eq!(value("otp", json!(123_456)), MASK);
}

#[test]
fn a_cut_leaves_no_half_of_a_key() {
    let input = format!("{} sk_live_abcdefgh1234", "x ".repeat(20));
    for bound in 40..64 {
        assert!(!bounded(&input, bound).contains("sk_l"), "{bound}");
    }
}

#[test]
fn addresses_keep_their_first_letter_and_domain() {
    assert_eq!(mask_email("alice@example.com"), "a***@example.com");
    assert_eq!(mask_email("@example.com"), "***@example.com");
    assert_eq!(mask_email("nobody"), "***");
}

fn frame() -> impl Strategy<Value = (String, String)> {
    ("[ -~]{0,40}[ \",;(]", "[ \",;)][ -~]{0,40}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_taken_and_stays_on_one_line(input in any::<String>(), bound in 0_usize..200) {
        let out = bounded(&input, bound);
        prop_assert!(out.chars().all(|c| !c.is_control()));
        text(&input);
        mask_email(&input);
    }

    #[test]
    fn a_planted_token_never_survives((before, after) in frame(), secret in "[A-Za-z0-9_-]{43}") {
        let out = text(&format!("{before}{secret}{after}"));
        prop_assert!(!out.contains(&secret), "{out}");
    }

    #[test]
    fn a_planted_jwt_never_survives((before, after) in frame(), body in "[A-Za-z0-9_-]{20,80}", sig in "[A-Za-z0-9_-]{20,43}") {
        let out = text(&format!("{before}eyJhbGciOiJFZERTQSJ9.{body}.{sig}{after}"));
        prop_assert!(!out.contains(&body) && !out.contains(&sig), "{out}");
    }

    #[test]
    fn a_planted_key_never_survives((before, after) in frame(), key in "(sk_live_|sk_test_|whsec_|sk-ant-|ghp_|AIza)[A-Za-z0-9]{24}") {
        let out = text(&format!("{before}{key}{after}"));
        prop_assert!(!out.contains(&key), "{out}");
    }

    #[test]
    fn a_planted_address_never_survives((before, after) in frame(), local in "[a-z][a-z0-9.]{5,20}") {
        let out = text(&format!("{before}{local}@example.com{after}"));
        let full = format!("{local}@");
        prop_assert!(!out.contains(&full), "{out}");
    }

    #[test]
    fn a_named_value_never_survives(before in "[ -~]{0,20}[ ,;{]", name in "(password|api_key|X-Auth-Token|refresh_token|client_secret)", joint in "(=|: |: \"|=')", secret in "canary[a-z0-9]{8}") {
        let out = text(&format!("{before}{name}{joint}{secret}"));
        prop_assert!(!out.contains(&secret), "{out}");
    }
}
