//! Published keys (RFC 7517) as keys with one algorithm each.

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::{Algorithm, VerifyingKey, decode, strict};

/// Most keys that an issuer's set may hold.
const MOST_KEYS: usize = 64;

/// Shorter RSA keys can be broken, longer ones only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySet {
    #[error("the key set is not a JSON object with a list `keys`")]
    Shape,
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
    #[error("the key set holds no key for the algorithms that are pinned")]
    NoUsableKey,
}

/// The keys of a set that can verify one of the `pinned` algorithms. Others in it are left alone:
/// issuers publish keys for other purposes, too.
///
/// SECURITY: a secret (`oct`) is never taken from a set: what is published is not secret.
pub fn key_set(text: &[u8], pinned: &[Algorithm]) -> Result<Vec<VerifyingKey>, BadKeySet> {
    let set = strict::object(text).ok_or(BadKeySet::Shape)?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(BadKeySet::Shape)?;
    if keys.len() > MOST_KEYS {
        return Err(BadKeySet::TooMany);
    }
    let usable: Vec<VerifyingKey> = keys
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|key| pinned.iter().filter_map(|algorithm| read(key, *algorithm)))
        .collect();
    if usable.is_empty() {
        return Err(BadKeySet::NoUsableKey);
    }
    Ok(usable)
}

fn read(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<VerifyingKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|purpose| purpose != "sig")
        || text("alg").is_some_and(|named| named != algorithm.name())
    {
        return None;
    }
    let key = match algorithm {
        Algorithm::EdDsa => {
            is(text("kty"), "OKP")?;
            is(text("crv"), "Ed25519")?;
            DecodingKey::from_ed_components(text("x")?)
        }
        Algorithm::Es256 | Algorithm::Es384 => {
            let curve = if algorithm == Algorithm::Es256 {
                "P-256"
            } else {
                "P-384"
            };
            is(text("kty"), "EC")?;
            is(text("crv"), curve)?;
            DecodingKey::from_ec_components(text("x")?, text("y")?)
        }
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256 => {
            is(text("kty"), "RSA")?;
            let modulus = decode(text("n")?).ok()?;
            let bits = modulus.len().checked_mul(8)?;
            if !RSA_BITS.contains(&bits) {
                return None;
            }
            DecodingKey::from_rsa_components(text("n")?, text("e")?)
        }
        Algorithm::Hs256 => return None,
    };
    Some(VerifyingKey {
        algorithm,
        kid: text("kid").map(str::to_owned),
        key: key.ok()?,
    })
}

fn is(value: Option<&str>, wanted: &str) -> Option<()> {
    (value? == wanted).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(key: &str, pinned: &[Algorithm]) -> Result<Vec<VerifyingKey>, BadKeySet> {
        key_set(format!(r#"{{"keys":[{key}]}}"#).as_bytes(), pinned)
    }

    #[test]
    fn a_key_serves_the_pinned_algorithm_that_it_fits_and_no_other() {
        let all = [Algorithm::Rs256, Algorithm::EdDsa, Algorithm::Hs256];
        let keys = set(ED, &all).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].algorithm(), Algorithm::EdDsa);
        assert_eq!(keys[0].kid(), Some("a"));
        assert!(set(ED, &[Algorithm::Rs256]).is_err());
    }

    #[test]
    fn secrets_short_keys_and_keys_for_encryption_are_not_taken() {
        let short = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, "A".repeat(171));
        for key in [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"oct","alg":"HS256","k":"c2VjcmV0"}"#,
            &short,
            &ED.replace("\"kid\"", "\"use\":\"enc\",\"kid\""),
            &ED.replace("\"kid\"", "\"alg\":\"RS256\",\"kid\""),
            &ED.replace("Ed25519", "Ed448"),
        ] {
            let pinned = [Algorithm::Rs256, Algorithm::EdDsa, Algorithm::Hs256];
            assert_eq!(
                set(key, &pinned).unwrap_err(),
                BadKeySet::NoUsableKey,
                "{key}"
            );
        }
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(
                key_set(text.as_bytes(), &[Algorithm::EdDsa]).unwrap_err(),
                BadKeySet::Shape,
                "{text}"
            );
        }
        let many = vec![ED; 65].join(",");
        assert_eq!(
            set(&many, &[Algorithm::EdDsa]).unwrap_err(),
            BadKeySet::TooMany
        );
    }
}
