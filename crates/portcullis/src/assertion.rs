//! Assertions: signed tokens that tell an upstream who is calling.
//!
//! Signing costs more than the rest of the journey together, so one is made per credential and
//! upstream and reused for half of its life.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_core::principal::{CallerKind, Credential, Principal};
use portcullis_core::{SessionId, TenantId, Timestamp};
use portcullis_edge::Upstream;
use portcullis_vault::KeyRing;
use portcullis_vault::ring;
use portcullis_vault::signing::ASSERTION_TYPE;
use serde::Serialize;
use uuid::Uuid;

use crate::config::AssertionConfig;

/// So many are remembered by a lane; with more, all are forgotten and made again.
const MOST: usize = 16_384;

/// One lane's assertions.
#[derive(Default)]
pub(crate) struct Assertions(RefCell<HashMap<Caller, Vec<Kept>>>);

/// None for nobody in particular.
type Caller = Option<(CallerKind, Uuid)>;

struct Kept {
    upstream: Arc<Upstream>,
    /// The very caller that it was made for: with other roles it means another assertion.
    principal: Principal,
    renew_at: Timestamp,
    value: HeaderValue,
}

/// The claims. `sub` is the caller's id, or `anonymous`.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    jti: String,
    /// `user`, `api-key`, `visitor` or `anonymous`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    /// Of users alone: those held everywhere, and those held in the tenant.
    roles: Vec<&'a str>,
    /// Of API keys, and of users what the tenant's own roles give and what was lent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<&'a str>,
    /// `mfa` where a second factor was proved (RFC 8176).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'static [&'static str],
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sign(#[from] ring::Error),
    #[error("an assertion does not fit into a header")]
    Header(#[from] http::header::InvalidHeaderValue),
}

impl Assertions {
    /// The assertion about `principal` for `upstream`.
    pub(crate) fn get(
        &self,
        ring: &KeyRing,
        config: &AssertionConfig,
        upstream: &Arc<Upstream>,
        principal: &Principal,
        now: Timestamp,
    ) -> Result<HeaderValue, Error> {
        let mut all = self.0.borrow_mut();
        let place = place(principal);
        if let Some(kept) = all.get(&place).and_then(|kept| {
            kept.iter()
                .find(|kept| kept.is_for(upstream, principal, now))
        }) {
            return Ok(kept.value.clone());
        }
        let mut value = HeaderValue::try_from(sign(ring, config, upstream, principal, now)?)?;
        value.set_sensitive(true);
        if all.len() >= MOST {
            all.clear();
        }
        let kept = all.entry(place).or_default();
        kept.retain(|kept| kept.renew_at > now && !Arc::ptr_eq(&kept.upstream, upstream));
        let half = portcullis_core::Span::from_micros(config.lifetime.as_micros() / 2);
        kept.push(Kept {
            upstream: Arc::clone(upstream),
            principal: principal.clone(),
            renew_at: now + half,
            value: value.clone(),
        });
        Ok(value)
    }
}

/// By what an assertion is found again: the credential, so that another sign-in gets another one.
fn place(principal: &Principal) -> Option<(CallerKind, Uuid)> {
    let id = match principal {
        Principal::Anonymous => return None,
        Principal::User(user) => match user.credential {
            Credential::Session(id) => id.as_uuid(),
            Credential::AccessToken(family) => family.as_uuid(),
            Credential::Foreign => user.id.as_uuid(),
        },
        Principal::ApiKey(key) => key.id.as_uuid(),
        Principal::Visitor(visitor) => visitor.id.as_uuid(),
    };
    principal.kind().map(|kind| (kind, id))
}

impl Kept {
    fn is_for(&self, upstream: &Arc<Upstream>, principal: &Principal, now: Timestamp) -> bool {
        self.renew_at > now && self.principal == *principal && Arc::ptr_eq(&self.upstream, upstream)
    }
}

fn sign(
    ring: &KeyRing,
    config: &AssertionConfig,
    upstream: &Upstream,
    principal: &Principal,
    now: Timestamp,
) -> Result<String, ring::Error> {
    let mut claims = Claims {
        iss: &config.issuer,
        aud: upstream.name(),
        sub: String::new(),
        iat: now.as_seconds(),
        exp: (now + config.lifetime).as_seconds(),
        jti: Uuid::new_v4().to_string(),
        kind: principal.kind().map_or("anonymous", CallerKind::as_str),
        sid: None,
        tenant: principal.tenant(),
        roles: Vec::new(),
        permissions: Vec::new(),
        amr: &[],
    };
    match principal {
        Principal::Anonymous => "anonymous".clone_into(&mut claims.sub),
        Principal::User(user) => {
            claims.sub = user.id.to_string();
            claims.sid = user.session();
            claims.roles = user.roles.iter().map(AsRef::as_ref).collect();
            if let Some(standing) = &user.standing {
                claims
                    .roles
                    .extend(standing.roles.iter().map(AsRef::as_ref));
                claims.permissions = standing.permissions.iter().map(AsRef::as_ref).collect();
            }
            if user.second_factor_at.is_some() {
                claims.amr = &["mfa"];
            }
        }
        Principal::ApiKey(key) => {
            claims.sub = key.id.to_string();
            claims.permissions = key.permissions.iter().map(AsRef::as_ref).collect();
        }
        Principal::Visitor(visitor) => claims.sub = visitor.id.to_string(),
    }
    ring.sign(ASSERTION_TYPE, &claims, now)
}
