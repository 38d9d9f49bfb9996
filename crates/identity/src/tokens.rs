//! Tokens of our own, for clients that are no browsers: an access token for each request, and a
//! refresh token for the next access token.
//!
//! - An access token is a signed JWT ([`access`]); a refresh token is random, and the database holds
//!   its hash. Neither passes for the other: one has dots, the other a beginning of its own.
//! - Every token of one sign-in is of one family. A family ends by sign-out, password change,
//!   deactivation, as the oldest of too many, and by age; then its access tokens end as well,
//!   whatever time they have left.
//! - A refresh token is good for one use (RFC 9700 section 4.14.2), and the database decides which:
//!   the family's row is locked first. Presented again it is theft, and the family ends, unless it
//!   is the very last one, used less than ten seconds ago, and presented by whoever used it: two
//!   tabs that refresh at once, or an answer that was lost. Those get what was given out before.
//! - Whoever used it is told by user agent and network (an IPv4 address, or an IPv6 /64, as limits
//!   count them). Two tabs of one browser have both in common; a thief elsewhere lacks the second,
//!   and one on the same machine has better things to steal. Whoever changes networks within ten
//!   seconds of a lost answer has to sign in again: that is the price.

mod access;
pub mod config;
pub(crate) mod http;
mod store;

use std::net::IpAddr;
use std::sync::Arc;

use ::http::{HeaderValue, header};
use portcullis_core::{
    Clock, Problem, Secret, SessionId, Span, Timestamp, TokenFamilyId, UserId, problem,
};
use portcullis_events::Actor;
use portcullis_store::revocations::Revocation;
use portcullis_store::{Db, Tx};
use portcullis_vault::jws::Unverified;
use portcullis_vault::keys::{self, Keys, Mac, Purpose};
use portcullis_vault::{KeyRing, Token, ring, tokens};

use crate::Client;
use crate::holders::{Holder, Holders, Verified};
use crate::record::{Act, Entry, Record};
use crate::sessions::{self, Sessions};
use access::Access;
pub use config::{Config, Secrets, Settings, TokenAlgorithm};
use store::{Held, NewFamily, Stored, Used};
pub(crate) use store::{end as end_family, end_all, end_others, hold_user, list, publish_all};

/// What every refresh token begins with, so that scanners and the gate know one when they see it.
pub const REFRESH_PREFIX: &str = "pcr_";

/// How long the last refresh token may be presented again by whoever used it.
pub const GRACE: Span = Span::from_seconds(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown, used, expired or revoked: one answer.
    #[error("the token does not count")]
    Refused,
    #[error("tokens are given to whoever is signed in by a session")]
    NoSession,
    #[error(transparent)]
    Ring(#[from] ring::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused | Error::NoSession => Problem::new(&problem::INVALID_TOKEN).header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer error=\"invalid_token\""),
            ),
            Error::Ring(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Keys(_) => Problem::internal(error),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What a client gets: once, and never again but within [`GRACE`].
#[derive(Debug)]
pub struct Pair {
    pub access_token: Secret,
    pub refresh_token: Secret,
    pub expires_in: Span,
}

/// Tokens of our own. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    db: Db,
    clock: Arc<dyn Clock>,
    access: Access,
    settings: Settings,
    mac: Mac,
    record: Record,
    sessions: Sessions,
    holders: Arc<Holders>,
}

/// What [`Tokens`] is made of.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub ring: Arc<KeyRing>,
    pub settings: Settings,
    pub record: Record,
    pub sessions: Sessions,
    pub holders: Arc<Holders>,
}

impl Tokens {
    pub fn new(parts: Parts, keys: &Keys) -> Result<Self, Error> {
        Ok(Tokens(Arc::new(Inner {
            access: Access::new(parts.ring, &parts.settings),
            db: parts.db,
            clock: parts.clock,
            settings: parts.settings,
            mac: keys.mac(Purpose::RefreshToken)?,
            record: parts.record,
            sessions: parts.sessions,
            holders: parts.holders,
        })))
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The `iss` of our access tokens.
    pub fn issuer(&self) -> &str {
        self.0.access.issuer()
    }

    /// Turns a session that was just made, or that the caller came with, into tokens. The session
    /// ends: one sign-in is one credential.
    ///
    /// SECURITY: a session is the one thing that a sign-in leads to, whatever it took, so there is
    /// no second way in that could forget a factor: what was proved, when, and the tenant are those
    /// of its row. The row is spent, so that it is not turned into tokens twice, nor after it was
    /// revoked.
    pub async fn grant(
        &self,
        user: UserId,
        session: SessionId,
        client: &Client,
    ) -> Result<Pair, Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut tx = inner.db.begin().await?;
        if !store::hold_user(&mut tx, user).await? {
            return Err(Error::NoSession);
        }
        let keep = inner.settings.max_per_user.saturating_sub(1);
        let ended = store::end_oldest(&mut tx, user, keep, now).await?;
        let Some(hash) = sessions::end_one(&mut tx, user, session, now).await? else {
            return Err(Error::NoSession);
        };
        let family = NewFamily {
            id: TokenFamilyId::new(),
            session,
            expires_at: now + inner.settings.lifetime,
        };
        store::insert_family(&mut tx, &family, client, now).await?;
        let refresh = Token::generate()?;
        store::insert_token(&mut tx, &refresh.hash(), family.id, now).await?;
        store::publish_all(&mut tx, &ended, now).await?;
        let entry = self.entry(Act::TokensIssued, user, family.id, client);
        inner.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        inner.sessions.cache().forget(&hash);
        for id in ended {
            inner.holders.revoked(Revocation::TokenFamily(id));
        }
        self.pair(family.id, &refresh).await
    }

    /// The next access token and the next refresh token.
    pub async fn refresh(&self, presented: &str, client: &Client) -> Result<Pair, Error> {
        let inner = &*self.0;
        let token = parse(presented).ok_or(Error::Refused)?;
        // Asked without a transaction first: garbage must not make writers wait.
        let Some(known) = store::find(&inner.db, &token.hash()).await? else {
            return Err(Error::Refused);
        };
        let now = inner.clock.now();
        let mut tx = inner.db.begin().await?;
        let held = store::hold(&mut tx, known.family, now).await?;
        let stored = store::find_in(&mut tx, &token.hash()).await?;
        let (Some(held), Some(stored)) = (held, stored) else {
            return Err(Error::Refused);
        };
        let next = match &stored.used {
            None => self.rotate(&mut tx, &token, &stored, client, now).await?,
            Some(used) => self.again(&mut tx, &token, used, client, now).await?,
        };
        let Some(next) = next else {
            return self.theft(tx, &stored, &held, client, now).await;
        };
        tx.commit().await?;
        self.pair(stored.family, &next).await
    }

    async fn rotate(
        &self,
        tx: &mut Tx,
        token: &Token,
        stored: &Stored,
        client: &Client,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        let inner = &*self.0;
        if now >= stored.issued_at + inner.settings.refresh_lifetime {
            return Err(Error::Refused);
        }
        let salt: [u8; 16] = tokens::random()?;
        let Some(next) = token.successors(&inner.mac, &salt).next() else {
            return Err(Error::Refused);
        };
        let used = Used {
            at: now,
            by: self.presenter(client).to_vec(),
            salt: salt.to_vec(),
        };
        // SECURITY: the database decides that this is the one use. Nobody else can be here, with
        // the family held; if somebody is all the same, the token was used.
        if !store::spend(tx, &token.hash(), &used).await? {
            return Ok(None);
        }
        store::insert_token(tx, &next.hash(), stored.family, now).await?;
        Ok(Some(next))
    }

    /// What followed a used token, for whoever used it a moment ago. Nothing is theft.
    async fn again(
        &self,
        tx: &mut Tx,
        token: &Token,
        used: &Used,
        client: &Client,
        now: Timestamp,
    ) -> Result<Option<Token>, Error> {
        let inner = &*self.0;
        let presenter = self.presenter(client);
        if now.since(used.at) >= GRACE || !portcullis_vault::ct_eq(&used.by, &presenter) {
            return Ok(None);
        }
        // Under a new master secret it may be that of a previous one.
        for next in token.successors(&inner.mac, &used.salt) {
            if let Some(found) = store::find_in(tx, &next.hash()).await? {
                let is_last = found.used.is_none();
                return Ok(is_last.then_some(next));
            }
        }
        Ok(None)
    }

    /// A used token came back: the family ends, for one of two holders has no right to it, and
    /// nobody knows which.
    async fn theft(
        &self,
        mut tx: Tx,
        stored: &Stored,
        held: &Held,
        client: &Client,
        now: Timestamp,
    ) -> Result<Pair, Error> {
        let inner = &*self.0;
        store::end(&mut tx, stored.family, held.user, now).await?;
        let entry = self.entry(Act::TokenReused, held.user, stored.family, client);
        let entry = Entry {
            // Whoever it was, it may not have been the user.
            actor: None,
            ..entry
        };
        inner.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        inner
            .holders
            .revoked(Revocation::TokenFamily(stored.family));
        tracing::warn!(user.id = %held.user, family.id = %stored.family, "a used refresh token came back: its family was ended");
        Err(Error::Refused)
    }

    /// Signs out by an access token: ends its family. Whether it lived.
    pub async fn end(
        &self,
        user: UserId,
        family: TokenFamilyId,
        client: &Client,
    ) -> Result<bool, Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut tx = inner.db.begin().await?;
        if !store::end(&mut tx, family, user, now).await? {
            return Ok(false);
        }
        let entry = self.entry(Act::Logout, user, family, client);
        inner.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        inner.holders.revoked(Revocation::TokenFamily(family));
        Ok(true)
    }

    /// Signs out by a refresh token, used or not. Unknown ones are as good as ended.
    pub async fn end_by(&self, presented: &str, client: &Client) -> Result<(), Error> {
        let inner = &*self.0;
        let Some(token) = parse(presented) else {
            return Ok(());
        };
        let Some(stored) = store::find(&inner.db, &token.hash()).await? else {
            return Ok(());
        };
        let mut tx = inner.db.begin().await?;
        let held = store::hold(&mut tx, stored.family, inner.clock.now()).await?;
        drop(tx);
        match held {
            Some(held) => self.end(held.user, stored.family, client).await.map(drop),
            None => Ok(()),
        }
    }

    /// What an access token is, by its signature and its claims.
    pub(crate) async fn verify(&self, text: &str) -> Result<Option<Verified>, Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let Ok(token) = Unverified::read(text) else {
            return Ok(None);
        };
        inner.access.ring().settle().await?;
        if inner
            .access
            .may_know_later(token.header().kid.as_deref(), now)
        {
            // Another node may have made a key since this one read the ring. Only what it takes to
            // find out: a token of a stranger names a key that nobody knows, again and again.
            inner
                .access
                .ring()
                .reload_if_older_than(ring::RELOAD_AFTER, now)
                .await?;
        }
        match inner.access.check(token, now) {
            Ok(verified) => Ok(Some(verified)),
            Err(refused) => {
                tracing::debug!(cause = %refused, "an access token was refused");
                Ok(None)
            }
        }
    }

    pub(crate) async fn holder(&self, family: TokenFamilyId) -> Result<Option<Holder>, Error> {
        let inner = &*self.0;
        let policy = inner.sessions.policy().get();
        let by = (&*policy, inner.sessions.standing());
        Ok(store::holder(&inner.db, family, by, inner.clock.now()).await?)
    }

    /// Deletes families that ended more than a week ago. Call it now and then.
    pub async fn prune(&self) -> Result<u64, Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut tx = inner.db.begin().await?;
        let count = store::delete_ended(&mut tx, now - Span::from_days(7)).await?;
        tx.commit().await?;
        Ok(count)
    }

    async fn pair(&self, family: TokenFamilyId, refresh: &Token) -> Result<Pair, Error> {
        let inner = &*self.0;
        let holder = self.holder(family).await?.ok_or(Error::Refused)?;
        let access = inner
            .access
            .issue(family, &holder.user, inner.clock.now())?;
        Ok(Pair {
            access_token: Secret::new(access),
            refresh_token: Secret::new(format!("{REFRESH_PREFIX}{}", refresh.text().expose())),
            expires_in: inner.settings.access_lifetime,
        })
    }

    /// Who presents a token, as a keyed hash: see the module's documentation.
    fn presenter(&self, client: &Client) -> [u8; 32] {
        let agent = client.user_agent.as_deref().unwrap_or_default();
        let network = client.address.map(network).unwrap_or_default();
        self.0.mac.tag(&[b"presenter", agent.as_bytes(), &network])
    }

    fn entry(&self, act: Act, user: UserId, family: TokenFamilyId, client: &Client) -> Entry {
        Entry {
            at: self.0.clock.now(),
            act,
            actor: Some(Actor::User(user)),
            user: Some(user),
            session: None,
            family: Some(family),
            seen: None,
            is_new_device: false,
            provider: None,
            request: client.request,
            client: client.address,
            roles: None,
        }
    }
}

/// Whether a bearer credential is a refresh token, good or not: it is never anything else.
pub fn is_refresh_token(text: &str) -> bool {
    text.starts_with(REFRESH_PREFIX)
}

fn parse(presented: &str) -> Option<Token> {
    Token::parse(presented.strip_prefix(REFRESH_PREFIX)?)
}

fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

#[cfg(test)]
mod tests;
