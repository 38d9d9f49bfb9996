use serde_json::json;

use super::*;
use crate::signing::SigningKey;

const SECRET: &[u8] = b"a shared secret of thirty-two by";

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn verifying() -> VerifyingKey {
    key().verifying().unwrap()
}

fn token() -> String {
    key()
        .sign("at+jwt", &json!({ "iss": "me", "sub": "u" }))
        .unwrap()
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and these claims under HS256.
fn hs256(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{signed}.{}", signature.unwrap())
}

fn check(token: &str, keys: &[VerifyingKey]) -> Result<Map<String, Value>, Refused> {
    Unverified::read(token)?.verify(keys)
}

#[test]
fn a_token_is_read_and_verified() {
    let token = token();
    let unverified = Unverified::read(&token).unwrap();
    assert_eq!(unverified.issuer(), Some("me"));
    assert_eq!(unverified.header().typ.as_deref(), Some("at+jwt"));
    assert_eq!(unverified.verify([&verifying()]).unwrap()["sub"], "u");
}

#[test]
fn every_prefix_and_every_changed_character_is_refused() {
    let token = token();
    let keys = [verifying()];
    for end in 0..token.len() {
        assert!(check(token.get(..end).unwrap(), &keys).is_err(), "{end}");
    }
    for at in 0..token.len() {
        for other in ['A', 'B', '-', '=', '.', '+', ' '] {
            let mut changed: Vec<char> = token.chars().collect();
            changed[at] = other;
            let changed: String = changed.into_iter().collect();
            assert!(changed == token || check(&changed, &keys).is_err(), "{at}");
        }
    }
}

#[test]
fn other_texts_of_the_same_token_are_refused() {
    let token = token();
    let keys = [verifying()];
    let other = [
        format!("{token}="),
        format!("{token}=="),
        format!("{token} "),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{token}."),
        token.replacen('.', "=.", 1),
        token.replacen('.', "..", 1),
    ];
    for text in other {
        assert!(check(&text, &keys).is_err(), "{text}");
    }
}

#[test]
fn a_key_answers_for_its_own_algorithm_only() {
    let public = key();
    // The public key as an HMAC secret, and no signature at all.
    let confused = {
        let header = part(&json!({ "alg": "HS256", "kid": public.kid() }).to_string());
        let signed = format!("{header}.{}", part("{}"));
        let secret = jsonwebtoken::EncodingKey::from_secret(public.x().as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256);
        format!("{signed}.{}", signature.unwrap())
    };
    assert_eq!(
        check(&confused, &[verifying()]).unwrap_err(),
        Refused::NoKey
    );
    for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "EdDSA "] {
        let header = part(&json!({ "alg": alg, "kid": public.kid() }).to_string());
        for signature in ["", "AA", "c2ln"] {
            let token = format!("{header}.{}.{signature}", part("{}"));
            assert!(check(&token, &[verifying()]).is_err(), "{alg} {signature}");
        }
    }
}

#[test]
fn an_all_zero_signature_is_refused() {
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#);
    let keys = key_set(set.as_bytes(), &[Algorithm::Es256]).unwrap();
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let token = format!("{}.{}.{zeros}", part(r#"{"alg":"ES256"}"#), part("{}"));
    assert_eq!(check(&token, &keys).unwrap_err(), Refused::Signature);
}

#[test]
fn headers_that_choose_a_key_or_ask_for_more_are_refused() {
    let keys = [VerifyingKey::hs256(SECRET, None)];
    let good = hs256(r#"{"alg":"HS256","cat":"x"}"#, "{}");
    assert!(check(&good, &keys).is_ok());
    for member in FORBIDDEN {
        for value in ["[]", "\"https://evil.example\"", "{}", "null", "true"] {
            let token = hs256(&format!(r#"{{"alg":"HS256","{member}":{value}}}"#), "{}");
            assert_eq!(
                check(&token, &keys).unwrap_err(),
                Refused::Header,
                "{member}"
            );
        }
    }
    for header in [
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","kid":1}"#,
        r#"{"alg":"HS256","kid":""}"#,
        r#"{"alg":"HS256","typ":{}}"#,
    ] {
        assert_eq!(
            check(&hs256(header, "{}"), &keys).unwrap_err(),
            Refused::Header
        );
    }
    for (header, claims) in [
        (r#"{"alg":"HS256","alg":"none"}"#, "{}"),
        (r#"{"alg":"HS256"}"#, r#"{"sub":"a","sub":"b"}"#),
        (r#"{"alg":"HS256"}"#, "[]"),
        (r#"{"alg":"HS256"}"#, "\"x\""),
    ] {
        assert_eq!(
            check(&hs256(header, claims), &keys).unwrap_err(),
            Refused::Json
        );
    }
}

#[test]
fn a_long_token_is_not_looked_at() {
    let long = hs256(
        r#"{"alg":"HS256"}"#,
        &json!({ "a": "x".repeat(MAX_LEN) }).to_string(),
    );
    assert_eq!(Unverified::read(&long).unwrap_err(), Refused::TooLong);
}

#[test]
fn a_named_key_is_taken_by_its_name() {
    let other = VerifyingKey::hs256(b"another secret of thirty-two byt", Some("b".into()));
    let keys = [other, VerifyingKey::hs256(SECRET, Some("a".into()))];
    assert!(check(&hs256(r#"{"alg":"HS256","kid":"a"}"#, "{}"), &keys).is_ok());
    assert!(check(&hs256(r#"{"alg":"HS256"}"#, "{}"), &keys).is_ok());
    let wrong = check(&hs256(r#"{"alg":"HS256","kid":"b"}"#, "{}"), &keys);
    assert_eq!(wrong.unwrap_err(), Refused::Signature);
    let unknown = check(&hs256(r#"{"alg":"HS256","kid":"c"}"#, "{}"), &keys);
    assert_eq!(unknown.unwrap_err(), Refused::NoKey);
}
