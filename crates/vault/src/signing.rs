//! Signed assertions: how an upstream knows that a request came through the gate, and for whom.
//!
//! - A compact JWS (RFC 7515) with Ed25519 (RFC 8037) and one fixed header: nothing in it is
//!   chosen by a caller.
//! - `typ` is ours (RFC 8725 section 3.11), so that an assertion passes for no other token, and
//!   none passes for an assertion.
//! - The key comes from the master secret, so every node has the same one and nothing is stored.
//!   `kid` is the key's RFC 7638 thumbprint. During a rotation the key set lists both.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::Problem;
use serde::Serialize;
use serde_json::{Value, json};

use crate::keys::{self, Keys, Purpose};

/// `typ` of an assertion.
pub const ASSERTION_TYPE: &str = "portcullis-assertion+jwt";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] keys::Error),
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
            Error::Keys(_) | Error::Key | Error::Claims(_) | Error::Sign => {
                Problem::internal(error)
            }
        }
    }
}

struct SigningKey {
    pair: Ed25519KeyPair,
    /// The public key, base64url.
    x: String,
    kid: String,
}

/// Signs assertions and publishes the keys that verify them.
pub struct Signer {
    current: SigningKey,
    /// Encoded once: the same header goes before every assertion.
    header: String,
    jwks: Value,
}

impl Signer {
    pub fn new(keys: &Keys) -> Result<Self, Error> {
        let mut pairs = keys
            .derive(Purpose::Assertion)?
            .into_iter()
            .map(|seed| SigningKey::from_seed(seed.expose()))
            .collect::<Result<Vec<_>, _>>()?;
        let jwks = json!({ "keys": pairs.iter().map(SigningKey::jwk).collect::<Vec<_>>() });
        if pairs.is_empty() {
            return Err(Error::Key);
        }
        let current = pairs.swap_remove(0);
        let header = json!({ "alg": "EdDSA", "kid": current.kid, "typ": ASSERTION_TYPE });
        Ok(Signer {
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            current,
            jwks,
        })
    }

    /// The claims as a compact JWT, signed with the current key. The caller sets every claim,
    /// the times included. About 20 µs: reuse an assertion while it is fresh.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, Error> {
        let mut token = self.header.clone();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
        let signature = self
            .current
            .pair
            .try_sign(token.as_bytes())
            .map_err(|_| Error::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// The public keys (RFC 7517), current first, for `/.well-known/jwks.json`.
    pub const fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// Thumbprint of the current key (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.current.kid
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.current.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Key)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        // The required members only, in lexical order, without white space (RFC 7638 section 3).
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        Ok(SigningKey { pair, x, kid })
    }

    fn jwk(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "x": self.x,
            "kid": self.kid, "use": "sig", "alg": "EdDSA",
        })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    use portcullis_core::Secret;

    use super::*;

    fn keys(current: &str, previous: &[&str]) -> Keys {
        let secret = |text: &str| Secret::new(text.to_owned());
        Keys::new(
            secret(current),
            previous.iter().map(|text| secret(text)).collect(),
        )
    }

    fn verify(
        signer: &Signer,
        key: usize,
        token: &str,
    ) -> Result<Value, jsonwebtoken::errors::Error> {
        let x = signer.jwks()["keys"][key]["x"].as_str().unwrap();
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&["product"]);
        rules.set_issuer(&["https://gate.example"]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let key = DecodingKey::from_ed_components(x)?;
        decode::<Value>(token, &key, &rules).map(|data| data.claims)
    }

    fn claims() -> Value {
        json!({ "iss": "https://gate.example", "aud": "product", "sub": "u", "exp": 4_102_444_800_u64 })
    }

    #[test]
    fn an_assertion_verifies_with_the_published_key_and_bears_its_type() {
        let signer = Signer::new(&keys("current", &[])).unwrap();
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(verify(&signer, 0, &token).unwrap(), claims());
        let header = decode_header(&token).unwrap();
        assert_eq!(header.alg, Algorithm::EdDSA);
        assert_eq!(header.kid.as_deref(), Some(signer.kid()));
        assert_eq!(header.typ.as_deref(), Some(ASSERTION_TYPE));
    }

    #[test]
    fn a_changed_assertion_does_not_verify() {
        let signer = Signer::new(&keys("current", &[])).unwrap();
        let token = signer.sign(&claims()).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                changed == token || verify(&signer, 0, &changed).is_err(),
                "{at}"
            );
        }
    }

    #[test]
    fn during_a_rotation_both_keys_are_published_and_the_current_one_signs() {
        let old = Signer::new(&keys("old", &[])).unwrap();
        let both = Signer::new(&keys("new", &["old"])).unwrap();
        let before = old.sign(&claims()).unwrap();
        let after = both.sign(&claims()).unwrap();
        assert_ne!(old.kid(), both.kid());
        assert_eq!(both.jwks()["keys"][1]["kid"], old.kid());
        assert!(verify(&both, 1, &before).is_ok());
        assert!(verify(&both, 0, &before).is_err());
        assert!(verify(&both, 0, &after).is_ok());
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
    fn the_published_keys_hold_no_private_part() {
        let signer = Signer::new(&keys("current", &["old"])).unwrap();
        for key in signer.jwks()["keys"].as_array().unwrap() {
            assert!(key.get("d").is_none());
        }
        assert!(!format!("{signer:?}").contains("pair"));
    }
}
