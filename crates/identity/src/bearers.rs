//! What a bearer token in `Authorization` stands for: a token of our own, of another issuer that
//! the configuration names, or of somebody whom we do not know.
//!
//! [`Bearers::lookup`] answers from memory and never waits. What is not there goes through
//! [`Bearers::load`] on the runtime for slow things, which verifies the signature, asks the database
//! who is behind it, and remembers both. When the database is away the caller answers 503: never
//! 401, which would sign people out, and never 200.

use std::sync::Arc;

use portcullis_core::principal::User;
use portcullis_core::{Clock, Problem, Timestamp, TokenFamilyId};
use portcullis_store::revocations::{Feed, Revocation};
use portcullis_vault::KeyRing;
use portcullis_vault::jws::{self, Unverified};
use portcullis_vault::tokens::TokenHash;

use crate::Client;
use crate::holders::{Holder, Holders, Source, Verified};
use crate::issuers::{self, Issuers};
use crate::tokens::{self, Tokens};

/// What memory knows about a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Bearer {
    /// A living token of this user.
    Live(User),
    /// One of those that we judge, and not in memory: ask [`Bearers::load`].
    Unknown,
    /// Bears the marks of ours and cannot be good.
    Refused,
    /// Of nobody whom the configuration names: it is the product's own business.
    NotOurs,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    #[error(transparent)]
    Issuers(#[from] issuers::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Tokens(error) => error.into(),
            Error::Issuers(error) => error.into(),
        }
    }
}

/// Everything that judges bearer tokens. Cheap to clone.
#[derive(Clone)]
pub struct Bearers(Arc<Parts>);

/// What [`Bearers`] is made of.
pub struct Parts {
    /// Nothing where the gate gives out no tokens.
    pub tokens: Option<Tokens>,
    pub ring: Arc<KeyRing>,
    pub issuers: Issuers,
    pub holders: Arc<Holders>,
    pub feed: Arc<Feed>,
    pub clock: Arc<dyn Clock>,
}

impl Bearers {
    pub fn new(parts: Parts) -> Self {
        Bearers(Arc::new(parts))
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        if revocation == Revocation::Everything {
            self.0.ring.distrust();
        }
        self.0.holders.revoked(revocation);
    }

    /// Another policy is in force: what was lent is compared with it anew. Never waits.
    pub fn policy_changed(&self) {
        self.0.holders.forget_people();
    }

    /// Whether the product gets access tokens of our own as well.
    pub fn passes_on(&self) -> bool {
        self.0
            .tokens
            .as_ref()
            .is_some_and(|tokens| tokens.settings().pass_on)
    }

    /// Whether a token that was good a moment ago has not been revoked since, by memory alone:
    /// whoever is forgotten may connect again. Nothing where memory cannot be believed.
    pub fn still_holds(&self, hash: &TokenHash) -> Option<bool> {
        let parts = &*self.0;
        let now = parts.clock.now();
        if !parts.feed.is_fresh(now) {
            return None;
        }
        let verified = self.verified(hash, now);
        Some(verified.is_some_and(|token| {
            let holder = parts.holders.find(token.key(), now);
            holder.is_some_and(|holder| holder.admits(&token, now))
        }))
    }

    /// Drops what has ended from memory and from the database.
    pub async fn keep_house(&self) -> Result<(), Error> {
        self.0.holders.sweep(self.0.clock.now());
        if let Some(tokens) = &self.0.tokens {
            tokens.prune().await?;
        }
        Ok(())
    }

    /// The other issuers.
    pub fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    /// Our own tokens, where the gate gives out some.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.0.tokens.as_ref()
    }

    /// Whom the token stands for, by memory alone. Never waits.
    pub fn lookup(&self, text: &str) -> Bearer {
        let parts = &*self.0;
        if parts.tokens.is_none() && parts.issuers.is_empty() {
            return Bearer::NotOurs;
        }
        // SECURITY: a refresh token opens nothing, and reaches no product's log by mistake.
        if tokens::is_refresh_token(text) {
            return Bearer::Refused;
        }
        if !jws::is_compact(text) {
            return Bearer::NotOurs;
        }
        let now = parts.clock.now();
        // SECURITY: of the whole text, so that no part of one token finds what is kept of another.
        let hash = TokenHash::of(text.as_bytes());
        let Some(verified) = self.verified(&hash, now) else {
            return self.judge(text);
        };
        if !parts.feed.is_fresh(now) {
            return Bearer::Unknown;
        }
        match parts.holders.find(verified.key(), now) {
            Some(holder) if holder.admits(&verified, now) => {
                Bearer::Live(holder.user_by(&verified))
            }
            // Over, or forgotten: the database says which.
            Some(_) | None => Bearer::Unknown,
        }
    }

    fn verified(&self, hash: &TokenHash, now: Timestamp) -> Option<Verified> {
        let verified = self.0.holders.verified(hash, now)?;
        let is_current = match verified.source {
            Source::Own => self.0.tokens.is_some(),
            Source::Issuer {
                position,
                generation,
                ..
            } => self.0.issuers.is_current(position, generation),
        };
        is_current.then_some(verified)
    }

    /// Whose a token is that was not met before. Nothing of it is believed yet.
    fn judge(&self, text: &str) -> Bearer {
        // What has the shape of a token and cannot be read is nobody's: it goes no further, lest
        // the product read in it what we could not.
        let Ok(token) = Unverified::read(text) else {
            return Bearer::Refused;
        };
        match self.source(&token) {
            Some(_) => Bearer::Unknown,
            None => Bearer::NotOurs,
        }
    }

    fn source(&self, token: &Unverified<'_>) -> Option<Maker<'_>> {
        let issuer = token.issuer()?;
        match &self.0.tokens {
            Some(tokens) if tokens.issuer() == issuer => Some(Maker::Own(tokens)),
            Some(_) | None => self.0.issuers.position(issuer).map(Maker::Issuer),
        }
    }

    /// Whom the token stands for, by its signature and the database. Nothing where it is not good.
    ///
    /// A revocation that arrives while this runs is not undone by it: nothing that was read before
    /// a revocation is remembered after it.
    pub async fn load(&self, text: &str, client: &Client) -> Result<Option<User>, Error> {
        let parts = &*self.0;
        let ticket = parts.holders.ticket();
        let Ok(token) = Unverified::read(text) else {
            return Ok(None);
        };
        let found = match self.source(&token) {
            None => None,
            Some(Maker::Own(tokens)) => self.own(tokens, text).await?,
            Some(Maker::Issuer(position)) => match parts.issuers.verify(position, text).await? {
                None => None,
                Some(said) => {
                    let found = parts.issuers.holder(&said, client).await?;
                    found.map(|(id, holder)| (said.verified(id), holder))
                }
            },
        };
        let now = parts.clock.now();
        let Some((verified, holder)) = found.filter(|(token, holder)| holder.admits(token, now))
        else {
            return Ok(None);
        };
        let user = holder.user_by(&verified);
        parts
            .holders
            .remember(verified.key(), Arc::new(holder), ticket, now);
        let hash = TokenHash::of(text.as_bytes());
        parts.holders.remember_verified(hash, verified, ticket, now);
        Ok(Some(user))
    }

    /// A token of our own is verified once: then only its family is asked for.
    async fn own(&self, tokens: &Tokens, text: &str) -> Result<Option<(Verified, Holder)>, Error> {
        let now = self.0.clock.now();
        let verified = match self.verified(&TokenHash::of(text.as_bytes()), now) {
            Some(known) => Some(known),
            None => tokens.verify(text).await?,
        };
        let Some(verified) = verified else {
            return Ok(None);
        };
        let family = TokenFamilyId::from_uuid(verified.holder);
        let holder = tokens.holder(family).await?;
        Ok(holder.map(|holder| (verified, holder)))
    }
}

/// Who can judge a token.
enum Maker<'b> {
    Own(&'b Tokens),
    Issuer(usize),
}
