//! The end of all keys of a person, or of a tenant, at once.

use portcullis_core::{TenantId, UserId};
use portcullis_events::{Action, Event, Outcome, Target};
use portcullis_store::revocations::{Revocation, publish};

use super::{ApiKeys, Error};
use crate::accounts::By;

/// Whose keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysOf {
    User(UserId),
    Tenant(TenantId),
}

impl ApiKeys {
    /// Ends every key of theirs; how many.
    pub async fn revoke_all(&self, whose: KeysOf, by: &By) -> Result<u64, Error> {
        const OF_USER: &str =
            "UPDATE api_key SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
        const OF_TENANT: &str =
            "UPDATE api_key SET revoked_at = $2 WHERE tenant_id = $1 AND revoked_at IS NULL";
        let this = &*self.0;
        let now = this.clock.now();
        let (sql, id, name, tenant, revocation) = match whose {
            KeysOf::User(id) => (
                OF_USER,
                id.as_uuid(),
                format!("user:{id}"),
                None,
                Revocation::User(id),
            ),
            KeysOf::Tenant(id) => (
                OF_TENANT,
                id.as_uuid(),
                format!("tenant:{id}"),
                Some(id),
                Revocation::Tenant(id),
            ),
        };
        let mut tx = this.db.begin().await?;
        let ended = tx.execute(sql, &[id.into(), now.into()]).await?;
        let event = Event::new(now, Action::ApiKeyRevoked, Outcome::Allowed)
            .done(&by.recorded())
            .to(Target::named("api-keys-of", &name))
            .tenant(tenant)
            .with("ended", ended);
        this.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, revocation, now).await?;
        tx.commit().await?;
        this.cache.revoked(revocation);
        Ok(ended)
    }
}
