//! What the gate keeps of things that are over, and for how long (`[retention]`). Run by upkeep, each minute.
//!
//! Sessions, links, visits, letters and messages of webhooks have rules of their own, beside what they are.

use portcullis_core::{Span, Timestamp};
use portcullis_store::Tx;

use super::{Error, Privacy};
use crate::accounts::By;
use portcullis_core::UserId;

/// What came from another system stays, so that a second import does not bring it back to life.
const API_KEYS: &str = "DELETE FROM api_key WHERE imported_hash IS NULL AND ((revoked_at IS NOT NULL AND revoked_at < $1) OR (expires_at IS NOT NULL AND expires_at < $1))";
const INVITATIONS: &str = "DELETE FROM invitation WHERE (redeemed_at IS NOT NULL AND redeemed_at < $1) OR (revoked_at IS NOT NULL AND revoked_at < $1) OR expires_at < $1";
const DELEGATIONS: &str =
    "DELETE FROM delegation WHERE (revoked_at IS NOT NULL AND revoked_at < $1) OR expires_at < $1";
const ANOMALIES: &str = "DELETE FROM anomaly WHERE ended_at IS NOT NULL AND ended_at < $1";
const SWITCHED_OFF: &str = "SELECT id FROM users WHERE deactivated_at IS NOT NULL AND deactivated_at < $1 ORDER BY deactivated_at LIMIT 20";

impl Privacy {
    /// What is to be done each minute: erasures that were left, and rows past their time.
    pub async fn keep_house(&self) -> Result<(), Error> {
        self.look_after_erasures().await?;
        let (now, retention) = (self.0.clock.now(), &self.0.retention);
        let mut tx = self.0.db.begin().await?;
        for (sql, keep) in [
            (API_KEYS, retention.api_keys),
            (INVITATIONS, retention.invitations),
            (DELEGATIONS, retention.delegations),
            (ANOMALIES, retention.anomalies),
        ] {
            remove(&mut tx, sql, now, keep).await?;
        }
        tx.commit().await?;
        if let Some(keep) = retention.switched_off_accounts {
            let before = now - keep;
            for row in self.0.db.fetch_all(SWITCHED_OFF, &[before.into()]).await? {
                let id: UserId = row.user_id("id")?;
                self.erase(id, &By::system()).await?;
            }
        }
        Ok(())
    }
}

async fn remove(tx: &mut Tx, sql: &'static str, now: Timestamp, keep: Span) -> Result<(), Error> {
    tx.execute(sql, &[(now - keep).into()]).await?;
    Ok(())
}
