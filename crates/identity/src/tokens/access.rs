//! Access tokens: JWTs after RFC 9068, made and checked.
//!
//! What the gate believes of one of its own is its family, its subject and its times. Tenant and
//! roles stand in it for products that verify it themselves; the gate asks what they are now.

use std::sync::Arc;

use portcullis_core::principal::User;
use portcullis_core::{Span, TenantId, Timestamp, TokenFamilyId, UserId};
use portcullis_vault::jws::{self, Unverified};
use portcullis_vault::signing::{self, ACCESS_TOKEN_TYPE};
use portcullis_vault::{KeyRing, ring};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::config::{Settings, SignedBy};
use crate::claims::{self, Rules};
use crate::holders::{Source, Verified};

/// RFC 9068 asks which client a token was given to. There is one kind.
const CLIENT_ID: &str = "portcullis";

/// Our nodes have one clock, or nearly.
const LEEWAY: Span = Span::from_seconds(5);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    auth_time: i64,
    jti: Uuid,
    sid: TokenFamilyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    roles: Vec<&'a str>,
    /// RFC 8176: `mfa` where a second factor was proved.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'static [&'static str],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Jws(#[from] jws::Refused),
    #[error(transparent)]
    Claims(#[from] claims::Refused),
    #[error("`typ` is not that of an access token")]
    Type,
    #[error("the token names no family or no user")]
    Family,
}

/// Signs and checks.
#[derive(Debug, Clone)]
pub(super) struct Access {
    ring: Arc<KeyRing>,
    signer: SignedBy,
    rules: Rules,
    lifetime: Span,
}

impl Access {
    pub(super) fn new(ring: Arc<KeyRing>, settings: &Settings) -> Self {
        Access {
            ring,
            signer: settings.signer.clone(),
            rules: Rules {
                issuer: settings.issuer.clone(),
                audiences: vec![settings.audience.clone()],
                parties: Vec::new(),
                leeway: LEEWAY,
                // A shorter lifetime may have come with a restart: what was given out before counts.
                max_lifetime: Span::from_hours(24),
            },
            lifetime: settings.access_lifetime,
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// A token of `family` for `user` as they stand now.
    pub(super) fn issue(
        &self,
        family: TokenFamilyId,
        user: &User,
        now: Timestamp,
    ) -> Result<String, ring::Error> {
        let in_tenant = user.standing.iter().flat_map(|here| here.roles.iter());
        let claims = Claims {
            iss: &self.rules.issuer,
            aud: self.rules.audiences.first().map_or("", String::as_str),
            sub: user.id,
            client_id: CLIENT_ID,
            iat: now.as_seconds(),
            exp: (now + self.lifetime).as_seconds(),
            auth_time: user.authenticated_at.as_seconds(),
            jti: Uuid::new_v4(),
            sid: family,
            tenant: user.tenant,
            roles: user
                .roles
                .iter()
                .chain(in_tenant)
                .map(AsRef::as_ref)
                .collect(),
            amr: if user.second_factor_at.is_some() {
                &["mfa"]
            } else {
                &[]
            },
        };
        match &self.signer {
            SignedBy::Ring => self.ring.sign(ACCESS_TOKEN_TYPE, &claims, now),
            SignedBy::Secret(secret, _) => {
                signing::sign_hs256(ACCESS_TOKEN_TYPE, &claims, secret.expose().as_bytes())
                    .map_err(ring::Error::Signing)
            }
        }
    }

    /// What the token is, where we made it and it has not expired. Whether its family still lives
    /// is another question.
    pub(super) fn check(&self, token: Unverified<'_>, now: Timestamp) -> Result<Verified, Refused> {
        // SECURITY: an assertion is signed by the same keys and says who is calling, too; and no
        // refresh token is a JWT at all.
        if token.header().typ.as_deref() != Some(ACCESS_TOKEN_TYPE) {
            return Err(Refused::Type);
        }
        let claims = match &self.signer {
            SignedBy::Ring => {
                let kid = token.header().kid.clone();
                let key = kid.and_then(|kid| self.ring.verifying(&kid, now));
                token.verify(key.as_ref())?
            }
            SignedBy::Secret(_, keys) => token.verify(keys)?,
        };
        let checked = self.rules.check(&claims, now)?;
        // The leeway is for what begins; what we made ends when it says.
        if checked.expires_at <= now {
            return Err(claims::Refused::Expired.into());
        }
        let id = |value: Option<&str>| value.and_then(|text| text.parse::<Uuid>().ok());
        let family = id(claims.get("sid").and_then(Value::as_str));
        let (Some(family), Some(_)) = (family, id(Some(&checked.subject))) else {
            return Err(Refused::Family);
        };
        Ok(Verified {
            holder: family,
            issued_at: checked.issued_at,
            expires_at: checked.expires_at,
            source: Source::Own,
        })
    }

    /// Whether another reading of the ring may find the key that a refused token names.
    pub(super) fn may_know_later(&self, kid: Option<&str>, now: Timestamp) -> bool {
        match &self.signer {
            SignedBy::Ring => kid.is_some_and(|kid| self.ring.verifying(kid, now).is_none()),
            SignedBy::Secret(..) => false,
        }
    }

    pub(super) const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }
}
