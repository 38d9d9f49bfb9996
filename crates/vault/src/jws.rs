//! Signed tokens of strangers: compact JWS (RFC 7515) with JSON claims (RFC 7519), read strictly.
//!
//! Libraries are lax where an attacker looks first, so the reading is ours and only the
//! mathematics of signatures is the library's (`jsonwebtoken` over aws-lc):
//!
//! - Three parts, each in its one canonical text: no padding, no other alphabet, no trailing bits.
//!   At most [`MAX_LEN`] bytes, so that a flood of long ones costs no more than one of short ones.
//! - Header and claims are JSON objects in which no member stands twice, at any depth.
//! - A header that names a key (`jwk`, `jku`, `x5u`, `x5c`), asks for something that must be
//!   understood (`crit`, `b64`) or speaks of encryption is refused: nothing in a token chooses the
//!   key, and nothing in a token makes the gate fetch anything.
//! - A [`VerifyingKey`] has exactly one algorithm. A token whose `alg` is another one is refused
//!   before any signature is computed (RFC 8725 section 3.1), so that an RSA key is never an HMAC
//!   secret, and `none` is nothing at all.
//!
//! What the claims must say is not decided here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

mod jwk;
mod strict;

pub use jwk::{BadKeySet, key_set};

/// Longest token that is looked at, in bytes.
pub const MAX_LEN: usize = 8 * 1024;

/// Header members that no token may bear.
const FORBIDDEN: [&str; 10] = [
    "crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "epk", "p2c",
];

/// What signs a token. `none` and everything else is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
pub enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// The value of `alg` (RFC 7518 section 3.1, RFC 8037).
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Hs256 => "HS256",
        }
    }

    const fn of_the_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// Why a token is not taken. For the log: a client learns only that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the token is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("the token is not three parts with dots between")]
    Parts,
    #[error("a part of the token is not canonical base64url")]
    Encoding,
    #[error("header or claims are no JSON object with each member once")]
    Json,
    #[error("the token's header bears a member that no token may bear")]
    Header,
    #[error("no key of the issuer fits the token's `alg` and `kid`")]
    NoKey,
    #[error("the signature is not right")]
    Signature,
}

/// What the header says, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// A key with its one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    kid: Option<String>,
    key: DecodingKey,
}

impl VerifyingKey {
    /// The key of HS256. Whoever can verify with it can sign with it.
    pub fn hs256(secret: &[u8], kid: Option<String>) -> Self {
        VerifyingKey {
            algorithm: Algorithm::Hs256,
            kid,
            key: DecodingKey::from_secret(secret),
        }
    }

    /// An Ed25519 public key, base64url.
    pub fn ed25519(x: &str, kid: Option<String>) -> Option<Self> {
        Some(VerifyingKey {
            algorithm: Algorithm::EdDsa,
            kid,
            key: DecodingKey::from_ed_components(x).ok()?,
        })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// A key without a name fits every token of its algorithm; so does every key a token that
    /// names none.
    fn fits(&self, header: &Header) -> bool {
        let named_alike = match (&self.kid, &header.kid) {
            (Some(ours), Some(named)) => ours == named,
            (None, _) | (_, None) => true,
        };
        named_alike && self.algorithm.name() == header.alg
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Whether a credential has the shape of a token: three parts, whatever is in them.
pub fn is_compact(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// A token that can be read and that nobody has vouched for yet.
#[derive(Debug)]
pub struct Unverified<'t> {
    header: Header,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Unverified<'t> {
    pub fn read(token: &'t str) -> Result<Self, Refused> {
        if token.len() > MAX_LEN {
            return Err(Refused::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Parts);
        };
        // SECURITY: the library below decodes what is padded or has bits left over; two texts of
        // one token would be two tokens to whatever counts or revokes them.
        if decode(signature)?.is_empty() {
            return Err(Refused::Encoding);
        }
        let signed = token
            .get(..header.len().saturating_add(claims.len()).saturating_add(1))
            .ok_or(Refused::Parts)?;
        Ok(Unverified {
            header: read_header(object(header)?)?,
            claims: object(claims)?,
            signed,
            signature,
        })
    }

    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Who the token says has made it. To find the issuer's keys, and for nothing else.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The claims, where one of `keys` has signed them.
    pub fn verify<'k>(
        self,
        keys: impl IntoIterator<Item = &'k VerifyingKey>,
    ) -> Result<Map<String, Value>, Refused> {
        let mut refused = Refused::NoKey;
        // A set of keys without names may hold several that fit; more than a few is no set but an
        // attempt to make us work.
        for key in keys
            .into_iter()
            .filter(|key| key.fits(&self.header))
            .take(4)
        {
            let algorithm = key.algorithm.of_the_library();
            let verified = jsonwebtoken::crypto::verify(
                self.signature,
                self.signed.as_bytes(),
                &key.key,
                algorithm,
            );
            match verified {
                Ok(true) => return Ok(self.claims),
                Ok(false) | Err(_) => refused = Refused::Signature,
            }
        }
        Err(refused)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Encoding)
}

fn object(part: &str) -> Result<Map<String, Value>, Refused> {
    strict::object(&decode(part)?).ok_or(Refused::Json)
}

fn read_header(mut members: Map<String, Value>) -> Result<Header, Refused> {
    if FORBIDDEN.iter().any(|name| members.contains_key(*name)) {
        return Err(Refused::Header);
    }
    let mut text = |name: &str| match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(Refused::Header),
    };
    Ok(Header {
        alg: text("alg")?.ok_or(Refused::Header)?,
        kid: text("kid")?,
        typ: text("typ")?,
    })
}

#[cfg(test)]
mod tests;
