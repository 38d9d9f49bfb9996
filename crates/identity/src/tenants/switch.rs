//! Working in another tenant: the session goes on under a new token.
//!
//! SECURITY: what a token may must not grow while somebody else may hold it, so the old token ends
//! with the change (session fixation, CWE-384). When the person proved who they are stays as it was.

use portcullis_core::{SessionId, TenantId, UserId};
use portcullis_events::{Action, Actor, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_vault::Token;

use super::{By, Done, Error, Tenants};
use crate::{Client, revoke};

impl Tenants {
    /// Makes `tenant` the one that the caller's session works in, and the one that later sessions
    /// begin in. The new token.
    pub async fn switch(
        &self,
        user: UserId,
        session: SessionId,
        tenant: TenantId,
        client: &Client,
    ) -> Result<Token, Error> {
        const MEMBER: &str = "SELECT m.tenant_id FROM membership m JOIN tenant t ON t.id = m.tenant_id WHERE m.user_id = $1 AND m.tenant_id = $2 AND t.suspended_at IS NULL";
        const ROTATE: &str = "UPDATE session SET id = $4, token_hash = $5, tenant_id = $3, last_seen_at = $6 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $6";
        const HOME: &str = "UPDATE users SET tenant_id = $2 WHERE id = $1";
        let token = Token::generate()?;
        let hash = token.hash();
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let args = [user.into(), tenant.into()];
        if tx.fetch_optional(MEMBER, &args).await?.is_none() {
            return Err(Error::NotFound);
        }
        let new = revoke::session_id(&hash);
        let rotated = [
            session.into(),
            user.into(),
            tenant.into(),
            new.into(),
            hash.as_bytes().into(),
            now.into(),
        ];
        if tx.execute(ROTATE, &rotated).await? == 0 {
            return Err(Error::NotFound);
        }
        tx.execute(HOME, &args).await?;
        let act = Done {
            action: Action::TenantSwitched,
            target: Target::session(new),
            details: &[],
        };
        let by = By::themselves(Actor::User(user), client.clone());
        self.record(&mut tx, &by, tenant, act, now).await?;
        publish(&mut tx, Revocation::Session(session), now).await?;
        tx.commit().await?;
        self.heard(Revocation::Session(session));
        Ok(token)
    }
}
