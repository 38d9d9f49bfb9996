//! The `[tokens]` table.

use portcullis_core::{Secret, SecretRef, Span};
use portcullis_vault::jws::VerifyingKey;
use serde::Deserialize;

use crate::Finding;

/// The `[tokens]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The `iss` of access tokens. Default `"portcullis"`. A product that verifies them itself
    /// compares it.
    pub issuer: String,
    /// The `aud` of access tokens. Default `"product"`.
    pub audience: String,
    /// How long an access token lives. Default `"30m"`, from `"1m"` to `"24h"`. The gate refuses one
    /// at once when it is revoked, whatever is left of it; a product that verifies tokens itself
    /// does not.
    pub access_lifetime: Span,
    /// How long a refresh token lives. Default `"7d"`, at most `"90d"`. Each is good for one use.
    pub refresh_lifetime: Span,
    /// How long a client stays signed in at most, however often it refreshes. Default `"30d"`.
    pub lifetime: Span,
    /// Clients with tokens that a user may have at once. Default `10`. One more ends the oldest.
    pub max_per_user: u32,
    /// What signs access tokens. Default `"EdDSA"`, with keys of the gate's own that products verify
    /// by `/.portcullis/jwks.json`. `"HS256"` signs with `secret`: whoever has that to verify can
    /// also sign, so take it only for a product that can do nothing else.
    pub algorithm: TokenAlgorithm,
    /// The secret of HS256, at least 32 bytes: `{ env = "JWT_SECRET" }` or `{ file = "path" }`.
    pub secret: Option<SecretRef>,
    /// Secrets of HS256 that were used before: what they signed is still accepted. Default: none.
    /// Take them out when the lifetime of an access token has passed.
    pub previous_secrets: Vec<SecretRef>,
    /// Give the product the access token in `Authorization`, for one that verifies it by itself.
    /// Default false: it gets the signed assertion, and no credential that somebody could take
    /// from its logs.
    pub pass_on: bool,
    /// How often the gate's own signing key is replaced. Default `"90d"`, from `"1d"` to `"366d"`.
    /// What the old one signed counts until it expires.
    pub rotate_signing_keys_every: Span,
}

/// What signs access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenAlgorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "HS256")]
    Hs256,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            issuer: "portcullis".to_owned(),
            audience: "product".to_owned(),
            access_lifetime: Span::from_minutes(30),
            refresh_lifetime: Span::from_days(7),
            lifetime: Span::from_days(30),
            max_per_user: 10,
            algorithm: TokenAlgorithm::EdDsa,
            secret: None,
            previous_secrets: Vec::new(),
            pass_on: false,
            rotate_signing_keys_every: Span::from_days(90),
        }
    }
}

/// The secrets that the table names, read: the one in use first.
#[derive(Debug, Clone, Default)]
pub struct Secrets(pub Vec<Secret>);

/// The table, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) access_lifetime: Span,
    pub(super) refresh_lifetime: Span,
    pub(super) lifetime: Span,
    pub(super) max_per_user: u32,
    pub(super) signer: SignedBy,
    pub pass_on: bool,
    pub rotate_signing_keys_every: Span,
}

/// By what, with everything that it takes.
#[derive(Debug, Clone)]
pub(super) enum SignedBy {
    Ring,
    /// The secret in use, and all that verify.
    Secret(Secret, Vec<VerifyingKey>),
}

impl Config {
    /// The validated form, or everything that is wrong.
    pub fn compile(&self, secrets: &Secrets) -> Result<Settings, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut found = |key, message| findings.push(Finding { key, message });
        let named = |text: &str| (1..=255).contains(&text.len()) && text.trim() == text;
        if !named(&self.issuer) {
            found("tokens.issuer", "must be 1 to 255 characters");
        }
        if !named(&self.audience) {
            found("tokens.audience", "must be 1 to 255 characters");
        }
        if !(Span::from_minutes(1)..=Span::from_hours(24)).contains(&self.access_lifetime) {
            found("tokens.access-lifetime", "must be from 1m to 24h");
        }
        if self.refresh_lifetime < self.access_lifetime
            || self.refresh_lifetime > Span::from_days(90)
        {
            found(
                "tokens.refresh-lifetime",
                "must be from access-lifetime to 90d",
            );
        }
        if self.lifetime < self.refresh_lifetime || self.lifetime > Span::from_days(366) {
            found("tokens.lifetime", "must be from refresh-lifetime to 366d");
        }
        if !(1..=1000).contains(&self.max_per_user) {
            found("tokens.max-per-user", "must be from 1 to 1000");
        }
        if !(Span::from_days(1)..=Span::from_days(366)).contains(&self.rotate_signing_keys_every) {
            found(
                "tokens.rotate-signing-keys-every",
                "must be from 1d to 366d",
            );
        }
        let signer = match (self.algorithm, &self.secret) {
            (TokenAlgorithm::EdDsa, None) => Some(SignedBy::Ring),
            (TokenAlgorithm::EdDsa, Some(_)) => {
                found("tokens.secret", "is for algorithm = \"HS256\" alone");
                None
            }
            (TokenAlgorithm::Hs256, None) => {
                found("tokens.secret", "is what HS256 signs with: name one");
                None
            }
            (TokenAlgorithm::Hs256, Some(_)) => {
                if secrets.0.iter().any(|secret| secret.expose().len() < 32) {
                    found(
                        "tokens.secret",
                        "must be at least 32 bytes, here and in `previous-secrets`",
                    );
                }
                hs256(secrets)
            }
        };
        match signer {
            Some(signer) if findings.is_empty() => Ok(Settings {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
                access_lifetime: self.access_lifetime,
                refresh_lifetime: self.refresh_lifetime,
                lifetime: self.lifetime,
                max_per_user: self.max_per_user,
                signer,
                pass_on: self.pass_on,
                rotate_signing_keys_every: self.rotate_signing_keys_every,
            }),
            Some(_) | None => Err(findings),
        }
    }
}

/// Nothing where the secret could not be read, which was said where that was tried.
fn hs256(secrets: &Secrets) -> Option<SignedBy> {
    let keys = secrets
        .0
        .iter()
        .map(|secret| VerifyingKey::hs256(secret.expose().as_bytes(), None))
        .collect();
    Some(SignedBy::Secret(secrets.0.first()?.clone(), keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_will_do() {
        let settings = Config::default().compile(&Secrets::default()).unwrap();
        assert_eq!(settings.access_lifetime, Span::from_minutes(30));
        assert_eq!(settings.refresh_lifetime, Span::from_days(7));
    }

    #[test]
    fn every_mistake_is_found() {
        let config = Config {
            issuer: String::new(),
            audience: " x".to_owned(),
            access_lifetime: Span::from_seconds(1),
            refresh_lifetime: Span::from_days(91),
            lifetime: Span::from_days(1),
            max_per_user: 0,
            algorithm: TokenAlgorithm::Hs256,
            rotate_signing_keys_every: Span::from_hours(1),
            ..Config::default()
        };
        assert_eq!(config.compile(&Secrets::default()).unwrap_err().len(), 8);
    }

    #[test]
    fn a_short_secret_is_refused() {
        let config = Config {
            algorithm: TokenAlgorithm::Hs256,
            secret: Some(SecretRef::Env {
                env: "X".to_owned(),
            }),
            ..Config::default()
        };
        let of = |length| Secrets(vec![Secret::new("x".repeat(length))]);
        assert!(config.compile(&of(31)).is_err());
        assert!(config.compile(&of(32)).is_ok());
    }
}
