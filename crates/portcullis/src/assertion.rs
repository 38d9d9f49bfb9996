//! Assertions: signed tokens that tell an upstream who is calling.
//!
//! Signing costs more than the rest of the journey together, so one is made per session and
//! upstream and reused for half of its life.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_core::principal::{Principal, User};
use portcullis_core::{SessionId, Timestamp};
use portcullis_edge::Upstream;
use portcullis_vault::signing::{self, Signer};
use serde::Serialize;

use crate::config::AssertionConfig;

/// So many are remembered by a lane; with more, all are forgotten and made again.
const MOST: usize = 16_384;

/// One lane's assertions.
#[derive(Default)]
pub(crate) struct Assertions(RefCell<HashMap<Option<SessionId>, Vec<Kept>>>);

struct Kept {
    upstream: Arc<Upstream>,
    /// The very roles that it was made with: others mean another assertion.
    roles: Option<Arc<[Arc<str>]>>,
    renew_at: Timestamp,
    value: HeaderValue,
}

/// The claims. `sub` is the user's id, or `anonymous`.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<portcullis_core::TenantId>,
    roles: Vec<&'a str>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sign(#[from] signing::Error),
    #[error("an assertion does not fit into a header")]
    Header(#[from] http::header::InvalidHeaderValue),
}

impl Assertions {
    /// The assertion about `principal` for `upstream`.
    pub(crate) fn get(
        &self,
        signer: &Signer,
        config: &AssertionConfig,
        upstream: &Arc<Upstream>,
        principal: &Principal,
        now: Timestamp,
    ) -> Result<HeaderValue, Error> {
        let user = principal.user();
        let mut all = self.0.borrow_mut();
        let session = user.map(|user| user.session);
        if let Some(kept) = all
            .get(&session)
            .and_then(|kept| kept.iter().find(|kept| kept.is_for(upstream, user, now)))
        {
            return Ok(kept.value.clone());
        }
        let mut value = HeaderValue::try_from(sign(signer, config, upstream, user, now)?)?;
        value.set_sensitive(true);
        if all.len() >= MOST {
            all.clear();
        }
        let kept = all.entry(session).or_default();
        kept.retain(|kept| kept.renew_at > now && !Arc::ptr_eq(&kept.upstream, upstream));
        let half = portcullis_core::Span::from_micros(config.lifetime.as_micros() / 2);
        kept.push(Kept {
            upstream: Arc::clone(upstream),
            roles: user.map(|user| Arc::clone(&user.roles)),
            renew_at: now + half,
            value: value.clone(),
        });
        Ok(value)
    }
}

impl Kept {
    fn is_for(&self, upstream: &Arc<Upstream>, user: Option<&User>, now: Timestamp) -> bool {
        let same_roles = match (&self.roles, user) {
            (None, None) => true,
            (Some(roles), Some(user)) => Arc::ptr_eq(roles, &user.roles) || **roles == *user.roles,
            (None, Some(_)) | (Some(_), None) => false,
        };
        self.renew_at > now && same_roles && Arc::ptr_eq(&self.upstream, upstream)
    }
}

fn sign(
    signer: &Signer,
    config: &AssertionConfig,
    upstream: &Upstream,
    user: Option<&User>,
    now: Timestamp,
) -> Result<String, signing::Error> {
    signer.sign(&Claims {
        iss: &config.issuer,
        aud: upstream.name(),
        sub: user.map_or_else(|| "anonymous".to_owned(), |user| user.id.to_string()),
        iat: now.as_seconds(),
        exp: (now + config.lifetime).as_seconds(),
        jti: uuid::Uuid::new_v4().to_string(),
        sid: user.map(|user| user.session),
        tenant: user.and_then(|user| user.tenant),
        roles: user
            .map(|user| user.roles.iter().map(AsRef::as_ref).collect())
            .unwrap_or_default(),
    })
}
