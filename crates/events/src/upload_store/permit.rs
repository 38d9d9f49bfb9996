//! Leave to read one upload for a few minutes: signed by the gate, for this purpose alone.

use portcullis_core::{Span, TenantId, Timestamp};
use portcullis_vault::KeyRing;
use portcullis_vault::jws::Unverified;
use portcullis_vault::ring;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `typ` of these tokens, which no other token of the gate has.
pub const PERMIT_TYPE: &str = "portcullis-upload-permit+jwt";
/// No permit is good for longer.
pub(super) const LONGEST: Span = Span::from_minutes(5);
pub(super) const USUAL: Span = Span::from_minutes(1);
const AUDIENCE: &str = "portcullis-uploads";

/// What a permit says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permit {
    aud: String,
    /// The upload.
    pub(super) upload: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
    /// Who alone may use it: the id of a user or a visitor. Nothing: whoever has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Uuid>,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

impl Permit {
    pub(super) fn new(
        (upload, tenant): (Uuid, Option<TenantId>),
        subject: Option<Uuid>,
        now: Timestamp,
        lifetime: Span,
    ) -> Self {
        Permit {
            aud: AUDIENCE.to_owned(),
            upload,
            tenant,
            subject,
            iat: now.as_seconds(),
            exp: (now + lifetime.min(LONGEST)).as_seconds(),
            jti: Uuid::new_v4(),
        }
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    pub(super) fn sign(&self, ring: &KeyRing, now: Timestamp) -> Result<String, ring::Error> {
        ring.sign(PERMIT_TYPE, self, now)
    }

    /// What a token permits now. Whatever is wrong with it, it permits nothing.
    pub(super) fn read(text: &str, ring: &KeyRing, now: Timestamp) -> Option<Permit> {
        let token = Unverified::read(text).ok()?;
        // SECURITY: receipts, assertions and access tokens are signed by the same keys.
        if token.header().typ.as_deref() != Some(PERMIT_TYPE) {
            return None;
        }
        let kid = token.header().kid.clone()?;
        let key = ring.verifying(&kid, now)?;
        let claims = token.verify([&key]).ok()?;
        let permit: Permit = serde_json::from_value(claims.into()).ok()?;
        let is_good = permit.aud == AUDIENCE
            && now < permit.expires_at()
            // What we sign lives that long; another lifetime is none of ours.
            && Timestamp::from_seconds(permit.exp) <= Timestamp::from_seconds(permit.iat) + LONGEST;
        is_good.then_some(permit)
    }
}
