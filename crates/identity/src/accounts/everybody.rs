//! How far a person, a tenant or everybody reaches, and the end of all that everybody is signed in by: for the
//! day on which an incident is contained.

use portcullis_core::{TenantId, Timestamp, UserId};
use portcullis_events::{Action, Event, Outcome, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Db, Value};
use serde::Serialize;

use super::{Accounts, By, Error};
use crate::issuers;

/// What works now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Reach {
    /// Accounts that are not switched off.
    pub accounts: i64,
    pub sessions: i64,
    /// Sign-ins with tokens.
    pub token_families: i64,
    pub api_keys: i64,
    pub visits: i64,
}

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    User(UserId),
    /// Its members, and what belongs to itself.
    Tenant(TenantId),
    Everybody,
}

macro_rules! counts {
    ($accounts:literal, $of_user:literal, $keys:literal, $visits:literal) => {
        concat!(
            "SELECT (SELECT count(*) FROM users u WHERE u.deactivated_at IS NULL AND ",
            $accounts,
            ") AS accounts, ",
            "(SELECT count(*) FROM session s WHERE s.revoked_at IS NULL AND s.expires_at > $1 AND ",
            $of_user,
            ") AS sessions, ",
            "(SELECT count(*) FROM token_family s WHERE s.revoked_at IS NULL AND s.expires_at > $1 AND ",
            $of_user,
            ") AS families, ",
            "(SELECT count(*) FROM api_key k WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1) AND ",
            $keys,
            ") AS keys, ",
            "(SELECT count(*) FROM visitor v WHERE v.revoked_at IS NULL AND v.expires_at > $1 AND ",
            $visits,
            ") AS visits"
        )
    };
}

const OF_USER: &str = counts!("u.id = $2", "s.user_id = $2", "k.user_id = $2", "1 = 0");
const OF_TENANT: &str = counts!(
    "u.id IN (SELECT user_id FROM membership WHERE tenant_id = $2)",
    "s.user_id IN (SELECT user_id FROM membership WHERE tenant_id = $2)",
    "k.tenant_id = $2",
    "v.tenant_id = $2"
);
const OF_ALL: &str = counts!("1 = 1", "1 = 1", "1 = 1", "1 = 1");

async fn count(db: &Db, whose: Whose, now: Timestamp) -> Result<Reach, portcullis_store::Error> {
    let (sql, args): (_, Vec<Value<'_>>) = match whose {
        Whose::User(id) => (OF_USER, vec![now.into(), id.into()]),
        Whose::Tenant(id) => (OF_TENANT, vec![now.into(), id.into()]),
        Whose::Everybody => (OF_ALL, vec![now.into()]),
    };
    let Some(row) = db.fetch_optional(sql, &args).await? else {
        return Ok(Reach::default());
    };
    Ok(Reach {
        accounts: row.int("accounts")?,
        sessions: row.int("sessions")?,
        token_families: row.int("families")?,
        api_keys: row.int("keys")?,
        visits: row.int("visits")?,
    })
}

impl Accounts {
    /// How far it reaches. Changes nothing.
    pub async fn reach(&self, whose: Whose) -> Result<Reach, Error> {
        Ok(count(&self.0.db, whose, self.now()).await?)
    }

    /// Ends every session, every sign-in with tokens, every visit, what waits for a second factor, and the
    /// tokens of other issuers that were made before now; of everybody, with `keys` every API key as well.
    /// Whoever signs in again is let in.
    pub async fn end_everything(&self, keys: bool, by: &By) -> Result<Reach, Error> {
        const SESSIONS: &str = "UPDATE session SET revoked_at = $1 WHERE revoked_at IS NULL";
        const FAMILIES: &str = "UPDATE token_family SET revoked_at = $1 WHERE revoked_at IS NULL";
        const VISITS: &str = "UPDATE visitor SET revoked_at = $1 WHERE revoked_at IS NULL";
        const KEYS: &str = "UPDATE api_key SET revoked_at = $1 WHERE revoked_at IS NULL";
        const CHALLENGES: &str = "DELETE FROM sign_in_challenge";
        let parts = &*self.0;
        let now = self.now();
        let mut reach = count(&parts.db, Whose::Everybody, now).await?;
        let mut tx = parts.db.begin().await?;
        // INVARIANT: families after the sessions, as where one person's end: a session that is being turned
        // into tokens is locked, so this waits for the family and finds it.
        for sql in [SESSIONS, FAMILIES, VISITS] {
            tx.execute(sql, &[now.into()]).await?;
        }
        issuers::cut_off(&mut tx, now).await?;
        if keys {
            tx.execute(KEYS, &[now.into()]).await?;
        } else {
            reach.api_keys = 0;
        }
        tx.execute(CHALLENGES, &[]).await?;
        reach.accounts = 0;
        let event = Event::new(now, Action::SessionRevoked, Outcome::Allowed)
            .done(&by.recorded())
            .to(Target::named("sessions-of", "everybody"))
            .with("sessions", reach.sessions)
            .with("token_families", reach.token_families)
            .with("visits", reach.visits)
            .with("api_keys", reach.api_keys);
        parts.record.trail().record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Everything, now).await?;
        tx.commit().await?;
        parts.sessions.cache().revoked(Revocation::Everything);
        self.distrust_tokens();
        Ok(reach)
    }
}
