//! One signing key: what the gate's own tokens are signed with, and how others verify them.
//!
//! - A compact JWS (RFC 7515) with Ed25519 (RFC 8037) and a header of three members: nothing in it
//!   is chosen by a caller.
//! - `typ` tells kinds of tokens apart (RFC 8725 section 3.11), so that an assertion passes for no
//!   access token and the other way round.
//! - `kid` is the key's RFC 7638 thumbprint.
//!
//! Which key is in use is the [ring](crate::ring)'s matter.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Problem;
use serde::Serialize;
use serde_json::{Value, json};

use crate::jws::VerifyingKey;

/// `typ` of an assertion.
pub const ASSERTION_TYPE: &str = "portcullis-assertion+jwt";

/// `typ` of the receipt that goes with an upload.
pub const UPLOAD_TYPE: &str = "portcullis-upload+jwt";

/// `typ` of an access token (RFC 9068 section 2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the signing key was not accepted")]
    Key,
    #[error("the claims could not be written")]
    Claims(#[from] serde_json::Error),
    #[error("signing failed")]
    Sign,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Key | Error::Claims(_) | Error::Sign => Problem::internal(error),
        }
    }
}

/// An Ed25519 key pair with its name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    /// The public key, base64url.
    x: String,
    kid: String,
}

impl SigningKey {
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Key)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        // The required members only, in lexical order, without white space (RFC 7638 section 3).
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        Ok(SigningKey { pair, x, kid })
    }

    /// The claims as a compact JWT of this type. The caller sets every claim, the times included.
    /// About 20 µs: reuse what is signed while it is fresh.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, Error> {
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": typ });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = self
            .pair
            .try_sign(token.as_bytes())
            .map_err(|_| Error::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// The key's name (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key, base64url.
    pub fn x(&self) -> &str {
        &self.x
    }

    /// What verifies its tokens.
    pub fn verifying(&self) -> Option<VerifyingKey> {
        VerifyingKey::ed25519(&self.x, Some(self.kid.clone()))
    }

    /// The public part (RFC 7517).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "x": self.x,
            "kid": self.kid, "use": "sig", "alg": "EdDSA",
        })
    }
}

/// The claims as a compact JWT under HS256, for whoever can verify nothing else.
pub fn sign_hs256(typ: &str, claims: &impl Serialize, secret: &[u8]) -> Result<String, Error> {
    let header = json!({ "alg": "HS256", "typ": typ });
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag.as_ref(), &mut token);
    Ok(token)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32]).unwrap()
    }

    fn verify(key: &SigningKey, token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&["product"]);
        rules.set_issuer(&["https://gate.example"]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let jwk = key.jwk();
        let key = DecodingKey::from_ed_components(jwk["x"].as_str().unwrap())?;
        decode::<Value>(token, &key, &rules).map(|data| data.claims)
    }

    fn claims() -> Value {
        json!({ "iss": "https://gate.example", "aud": "product", "sub": "u", "exp": 4_102_444_800_u64 })
    }

    #[test]
    fn what_is_signed_verifies_with_the_published_key_and_bears_its_type() {
        let key = key();
        let token = key.sign(ASSERTION_TYPE, &claims()).unwrap();
        assert_eq!(verify(&key, &token).unwrap(), claims());
        let header = decode_header(&token).unwrap();
        assert_eq!(header.alg, Algorithm::EdDSA);
        assert_eq!(header.kid.as_deref(), Some(key.kid()));
        assert_eq!(header.typ.as_deref(), Some(ASSERTION_TYPE));
    }

    #[test]
    fn a_changed_token_does_not_verify() {
        let key = key();
        let token = key.sign(ASSERTION_TYPE, &claims()).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed == token || verify(&key, &changed).is_err(), "{at}");
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a() {
        let seed = URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap()).unwrap();
        assert_eq!(key.x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn neither_what_is_published_nor_what_is_printed_holds_a_private_part() {
        assert!(key().jwk().get("d").is_none());
        assert!(!format!("{:?}", key()).contains("pair"));
    }
}
