//! Sessions: who a cookie stands for.
//!
//! - The cookie holds a random token; the database holds its hash. A token is made here at each
//!   sign-in and password change, and one that a client brings along is never adopted.
//! - [`Sessions::lookup`] answers from memory and never waits. What is not in memory, has idled
//!   too long by this node's knowledge, or cannot be trusted because news of revocations is late,
//!   goes to the database through [`Sessions::load`]; when that is away too, the caller answers
//!   503: never 200, and never 401, which would sign people out.
//! - A session ends by its lifetime, by idling, by revocation, by its user's deactivation, and as
//!   the oldest of too many.
//! - Activity is kept in memory and written each minute and at shutdown ([`Sessions::flush`]). A
//!   crash loses at most a minute of it, so a session may idle out that much earlier, never later.

pub mod cache;
pub(crate) mod carried_over;
pub mod config;
pub mod cookie;
pub(crate) mod manage;
pub(crate) mod notices;
pub(crate) mod other_client;
pub(crate) mod pages;
mod store;
pub mod user_agent;

use std::sync::Arc;

use portcullis_core::principal::User;
use portcullis_core::{Clock, Problem, Secret, SessionId, Span, Timestamp, UserId, problem};
use portcullis_store::revocations::{Feed, Revocation};
use portcullis_store::{Db, Tx};
use portcullis_vault::{Token, TokenHash, tokens};

use crate::addresses::{self, Addresses};
use crate::openid_login::Standing;
use crate::revoke;
use crate::tenants::PolicyRoles;
pub use cache::{Lookup, SessionCache};
pub use config::{Config, Settings, TenantAtSignIn, WhenFull};
pub use cookie::{Cookies, Presented};
pub use notices::Notice;
pub use other_client::{OnOtherClient, Stranger};
pub use store::{SessionInfo, SignedInFor};
pub(crate) use store::{SessionView, coarse, end_one, end_others, prove};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
    #[error(transparent)]
    Token(#[from] tokens::Error),
    #[error(transparent)]
    Address(#[from] addresses::Error),
    #[error("the user has as many sessions as one may have")]
    Full,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Token(error) => error.into(),
            Error::Address(error) => error.into(),
            Error::Full => Problem::new(&problem::CONFLICT)
                .detail("This account is signed in on as many devices as it may be. Sign out on one of them first."),
        }
    }
}

/// A session that was just made. The token goes to the client, once.
#[derive(Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub token: Token,
    pub expires_at: Timestamp,
}

/// Sessions in memory and in the database. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    feed: Arc<Feed>,
    cache: Arc<SessionCache>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// What permissions that were lent are compared with.
    policy: PolicyRoles,
    standing: Standing,
    addresses: Addresses,
}

impl Sessions {
    /// Hand each revocation that `feed` brings to [`Sessions::revoked`]: memory is trusted while
    /// the feed is fresh.
    pub fn new(
        db: Db,
        feed: Arc<Feed>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        addresses: Addresses,
    ) -> Self {
        Sessions {
            cache: Arc::new(SessionCache::new(settings.idle_timeout)),
            db,
            feed,
            settings: Arc::new(settings),
            clock,
            policy: PolicyRoles::default(),
            standing: Standing::default(),
            addresses,
        }
    }

    /// The roles of the policy in force, to be kept up to date by whoever loads policies.
    pub const fn policy(&self) -> &PolicyRoles {
        &self.policy
    }

    /// What is made of sessions that a provider vouched for.
    pub(crate) const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How addresses are kept, here and by whoever works with sessions.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        self.cache.revoked(revocation);
    }

    pub const fn cache(&self) -> &Arc<SessionCache> {
        &self.cache
    }

    /// Whom the token stands for, from memory, and notes the activity. Never waits.
    pub fn lookup(&self, hash: &TokenHash) -> Lookup {
        let now = self.clock.now();
        if self.feed.is_fresh(now) {
            self.cache.lookup(hash, now)
        } else {
            Lookup::Stale
        }
    }

    /// Whom the token stands for, from the database, and remembers it. `None` when the session is
    /// unknown, revoked, expired, idle, or its user deactivated.
    ///
    /// A revocation that arrives while this runs is not undone by it: nothing that was read before
    /// a revocation is remembered after it.
    pub async fn load(&self, hash: &TokenHash) -> Result<Option<User>, Error> {
        let ticket = self.cache.ticket();
        let found = store::find(
            &self.db,
            hash,
            (&self.policy, self.settings.tenant_at_sign_in),
            self.clock.now(),
        )
        .await?;
        let now = self.clock.now();
        let Some(mut found) = found else {
            self.cache.forget(hash);
            return Ok(None);
        };
        if let Some((issuer, email)) = &found.vouched
            && !self
                .standing
                .apply(
                    issuer,
                    (&self.addresses, email.as_deref()),
                    &mut found.roles,
                )
                .await?
        {
            self.cache.forget(hash);
            return Ok(None);
        }
        // What was seen here counts too, though it is not written yet.
        found.last_seen_at = found
            .last_seen_at
            .max(self.cache.last_seen(hash).unwrap_or(found.last_seen_at));
        if now >= found.expires_at || now.since(found.last_seen_at) >= self.settings.idle_timeout {
            self.cache.forget(hash);
            return Ok(None);
        }
        if let Some(old) = found.replaces
            && let Err(error) = self.settle(revoke::session_id(hash), old).await
        {
            tracing::warn!(%error, "a session that was replaced goes on until it ends by itself");
        }
        Ok(Some(self.cache.remember(hash, &found, now, ticket)))
    }

    /// Makes a session for a user that the caller holds in `tx` ([`crate::users`]), and ends the one
    /// that the client came with and the oldest beyond the limit, or refuses. The hashes of those that
    /// ended are returned, to be forgotten after the commit. `client.device` is the device that the
    /// answer names.
    pub(crate) async fn create(
        &self,
        tx: &mut Tx,
        user: UserId,
        client: &crate::Client,
    ) -> Result<(NewSession, Vec<TokenHash>), Error> {
        let now = self.clock.now();
        // SECURITY: the answer takes the old cookie out of the browser, where nobody could sign out of its
        // session any more; a copy of it elsewhere would go on (OWASP ASVS 5.0, 7.2.4).
        let replaced = match &client.session {
            Some(hash) => store::end_presented(tx, hash, now).await?,
            None => None,
        };
        match self.settings.when_full {
            WhenFull::EndOldest => {}
            WhenFull::Refuse => {
                let idle_since = now - self.settings.idle_timeout;
                let live = store::count_live(tx, user, now, idle_since).await?;
                if live >= i64::from(self.settings.max_per_user) {
                    return Err(Error::Full);
                }
            }
        }
        let token = Token::generate()?;
        let session = NewSession {
            id: revoke::session_id(&token.hash()),
            token,
            expires_at: now + self.settings.lifetime,
        };
        store::insert(tx, &session, user, client, now).await?;
        let mut ended = store::end_oldest(tx, user, self.settings.max_per_user, now).await?;
        ended.extend(replaced);
        Ok((session, ended))
    }

    /// The live sessions of a user, newest first.
    pub async fn list(&self, user: UserId) -> Result<Vec<SessionInfo>, Error> {
        let now = self.clock.now();
        let idle_since = now - self.settings.idle_timeout;
        let mut list = store::list(&self.db, user, now).await?;
        for (info, hash) in &mut list {
            if let Some(seen) = self.cache.last_seen(hash) {
                info.last_seen_at = info.last_seen_at.max(seen);
            }
        }
        Ok(list
            .into_iter()
            .map(|(info, _)| info)
            .filter(|info| info.last_seen_at > idle_since)
            .collect())
    }

    /// Writes the activity seen since the last time, and drops what has ended from memory. Call it
    /// each minute and at shutdown. How many sessions were written.
    pub async fn flush(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let seen = self.cache.unwritten();
        for batch in seen.chunks(500) {
            let mut tx = self.db.begin().await?;
            for (id, at) in batch {
                store::touch(&mut tx, *id, *at).await?;
            }
            tx.commit().await?;
        }
        self.cache.written(&seen);
        self.cache.sweep(now);
        Ok(seen.len())
    }

    /// Deletes rows of sessions that ended more than a week ago. Call it now and then.
    pub async fn prune(&self) -> Result<u64, Error> {
        let before = self.clock.now() - Span::from_days(7);
        let mut tx = self.db.begin().await?;
        let count = store::delete_ended(&mut tx, before).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// The value for `Set-Cookie` that hands the token to the browser.
    pub fn cookie(&self, token: &Token) -> Secret<String> {
        self.settings.cookies.session(token, self.settings.lifetime)
    }
}

#[cfg(test)]
mod tests;
