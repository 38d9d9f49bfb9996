//! What an identity token must say (OpenID Connect Core section 3.1.3.7), after its signature.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Secret, Timestamp};
use portcullis_vault::ct_eq;
use serde_json::{Map, Value};

use super::config::Settings;
use super::flow::Flow;
use crate::claims;
use crate::issuers::Provider;

/// Why not. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("no key of the provider signed it with a pinned algorithm")]
    Signature,
    #[error("{0}")]
    Claims(#[from] claims::Refused),
    #[error("`aud` names others whom nobody trusts")]
    Audience,
    #[error("`azp` is another client")]
    Party,
    #[error("`nonce` is another sign-in's")]
    Nonce,
    #[error("`at_hash` is not that of the access token")]
    AccessToken,
    #[error("`auth_time` is no time, or one to come")]
    AuthTime,
    #[error("userinfo is about somebody else")]
    UserInfo,
}

/// What the provider says of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) subject: String,
    /// When the person proved who they are, where it says.
    pub(super) authenticated_at: Option<Timestamp>,
    pub(super) has_second_factor: bool,
}

/// Reads claims that the provider has signed.
pub(super) fn check(
    provider: &Provider<'_>,
    (alg, claims): (&str, &Map<String, Value>),
    flow: &Flow,
    access_token: Option<&Secret<String>>,
    now: Timestamp,
) -> Result<Said, Refused> {
    let checked = provider.check(claims, now)?;
    parties(provider, claims)?;
    // SECURITY: without this a token that was given out for one sign-in is good for another.
    let nonce = claims.get("nonce").and_then(Value::as_str);
    if !nonce.is_some_and(|nonce| ct_eq(nonce.as_bytes(), flow.nonce.as_bytes())) {
        return Err(Refused::Nonce);
    }
    at_hash(alg, claims, access_token)?;
    let authenticated_at = match claims.get("auth_time") {
        None => None,
        Some(at) => {
            let at = at.as_i64().filter(|at| (0..=LAST_SECOND).contains(at));
            let at = Timestamp::from_seconds(at.ok_or(Refused::AuthTime)?);
            if at > now + provider.leeway() {
                return Err(Refused::AuthTime);
            }
            Some(at.min(now))
        }
    };
    Ok(Said {
        subject: checked.subject,
        authenticated_at,
        has_second_factor: has_second_factor(provider.login, claims),
    })
}

/// The end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Audiences besides ours have to be trusted, and then the token says which of them asked for it.
fn parties(provider: &Provider<'_>, claims: &Map<String, Value>) -> Result<(), Refused> {
    let ours = provider.login.config.client_id.as_str();
    let others = match claims.get("aud") {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != ours)
            .collect(),
        Some(_) | None => Vec::new(),
    };
    let is_trusted = |name: &&str| {
        provider
            .trusted_audiences()
            .iter()
            .any(|known| known == name)
    };
    if !others.iter().all(is_trusted) {
        return Err(Refused::Audience);
    }
    match claims.get("azp") {
        None if others.is_empty() => Ok(()),
        Some(Value::String(party)) if party == ours => Ok(()),
        Some(_) | None => Err(Refused::Party),
    }
}

/// The left half of the access token's hash, where the token says it (section 3.1.3.6).
fn at_hash(
    alg: &str,
    claims: &Map<String, Value>,
    access_token: Option<&Secret<String>>,
) -> Result<(), Refused> {
    let Some(said) = claims.get("at_hash") else {
        return Ok(());
    };
    let (Some(said), Some(token)) = (said.as_str(), access_token) else {
        return Err(Refused::AccessToken);
    };
    let hash = digest(hash_of(alg), token.expose().as_bytes());
    let half = hash.as_ref().chunks(hash.as_ref().len() / 2).next();
    let expected = URL_SAFE_NO_PAD.encode(half.unwrap_or_default());
    if ct_eq(expected.as_bytes(), said.as_bytes()) {
        Ok(())
    } else {
        Err(Refused::AccessToken)
    }
}

/// The hash that goes with an algorithm of signatures; SHA-512 is Ed25519's.
fn hash_of(alg: &str) -> &'static Algorithm {
    match alg {
        "RS384" | "ES384" => &SHA384,
        "RS512" | "EdDSA" => &SHA512,
        _ => &SHA256,
    }
}

fn has_second_factor(login: &Settings, claims: &Map<String, Value>) -> bool {
    let counts = |marks: &[String], said: &str| marks.iter().any(|mark| mark == said);
    let amr = claims.get("amr").and_then(Value::as_array);
    let by_amr = amr.is_some_and(|amr| {
        amr.iter()
            .filter_map(Value::as_str)
            .any(|said| counts(&login.config.second_factor_amr, said))
    });
    let acr = claims.get("acr").and_then(Value::as_str);
    by_amr || acr.is_some_and(|said| counts(&login.config.second_factor_acr, said))
}
