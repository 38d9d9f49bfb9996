//! Tokens of other issuers: Supabase, Clerk, any OpenID Connect provider.
//!
//! - Issuer, audience and algorithms are pinned by the configuration. A token is verified by the
//!   issuer's own keys ([`keyset`]); nothing in a token makes the gate ask anybody else.
//! - A person is who the issuer says under its own name for them: (issuer, subject), and never an
//!   e-mail address, which can change hands and which anybody can claim at another issuer.
//! - Who comes for the first time gets an account, with the roles of the configuration. From then on
//!   it is an account like any other: its roles are ours to give, and once it is deactivated no
//!   token of the issuer opens anything.
//! - Administrators are named by address, where the issuer says that it verified the address. This
//!   holds for as long as the configuration says so; nothing of it is stored.
//! - The tenant is the one that the token names, and no input. Where the issuer names none it is the
//!   person's own. What they hold in it counts where they are a member of it here.

pub mod config;
pub(crate) mod keyset;
mod proofs;
mod provider;
mod store;
mod trial;

use std::sync::Arc;

use portcullis_console::api::Failure;
use portcullis_core::principal::{Credential, User};
use portcullis_core::{Clock, Problem, TenantId, Timestamp, UserId};
use portcullis_edge::Outbound;
use portcullis_events::Actor;
use portcullis_store::Db;
use portcullis_store::revocations::Revocation;
use portcullis_vault::jws::Unverified;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::addresses::{self, Addresses};
use crate::claims::Rules;
use crate::holders::{Holder, Holders, Source, Verified};
use crate::record::{Act, Entry, Record};
use crate::sessions::Sessions;
use crate::tenants::standing::{PolicyRoles, standing};
use crate::{Client, Email, users};
pub use config::{All, Config, Profile, Secrets};
use config::{Settings, Types};
use keyset::KeySet;
pub(crate) use provider::Provider;
pub(crate) use store::{cut_off, end as end_all, link, person};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the issuer `{name}` does not answer")]
    Away {
        name: String,
        #[source]
        source: keyset::Error,
    },
    #[error(transparent)]
    Address(#[from] addresses::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Away { .. } => Problem::unavailable(error),
            Error::Address(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.into())
    }
}

/// What a token of another issuer says, once it is verified.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Position of the issuer.
    pub(crate) issuer: usize,
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) is_administrator: bool,
    /// The one that the token names.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// When its holder proved who they are; long ago, where the token does not say.
    pub(crate) authenticated_at: Timestamp,
    /// When they proved the second factor, where the configuration says by what it is told.
    pub(crate) second_factor_at: Option<Timestamp>,
    pub(crate) generation: u64,
}

impl Said {
    /// What is remembered of the token: everything but whose name it bears.
    pub(crate) const fn verified(&self, holder: Uuid) -> Verified {
        Verified {
            holder,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            source: Source::Issuer {
                position: self.issuer,
                generation: self.generation,
                tenant: self.tenant,
                is_administrator: self.is_administrator,
                authenticated_at: self.authenticated_at,
                second_factor_at: self.second_factor_at,
            },
        }
    }
}

/// The issuers that the configuration names. Cheap to clone.
#[derive(Clone)]
pub struct Issuers(Arc<Inner>);

struct Inner {
    issuers: Vec<Issuer>,
    outbound: Outbound,
    db: Db,
    clock: Arc<dyn Clock>,
    record: Record,
    holders: Arc<Holders>,
    policy: PolicyRoles,
    addresses: Addresses,
}

struct Issuer {
    settings: Settings,
    rules: Rules,
    keys: KeySet,
}

impl Issuers {
    pub fn new(
        all: All,
        db: Db,
        clock: Arc<dyn Clock>,
        record: Record,
        holders: Arc<Holders>,
        sessions: &Sessions,
    ) -> Self {
        Issuers(Arc::new(Inner {
            issuers: all.0.into_iter().map(Issuer::new).collect(),
            outbound: Outbound::default(),
            db,
            clock,
            record,
            holders,
            policy: sessions.policy().clone(),
            addresses: sessions.addresses().clone(),
        }))
    }

    pub fn is_empty(&self) -> bool {
        self.0.issuers.is_empty()
    }

    /// Which of them a token says it is of.
    pub(crate) fn position(&self, issuer: &str) -> Option<usize> {
        self.0
            .issuers
            .iter()
            .position(|known| known.settings.config.issuer == issuer)
    }

    /// Whether what was found out under this number of the issuer's keys still counts.
    pub(crate) fn is_current(&self, issuer: usize, generation: u64) -> bool {
        self.0
            .issuers
            .get(issuer)
            .is_some_and(|known| known.keys.generation() == generation)
    }

    /// What a token says, where its issuer signed it for us. Nothing where it is not good.
    pub(crate) async fn verify(&self, position: usize, text: &str) -> Result<Option<Said>, Error> {
        let inner = &*self.0;
        let Some(issuer) = inner.issuers.get(position) else {
            return Ok(None);
        };
        let now = inner.clock.now();
        // INVARIANT: before the keys are read, see `KeySet`.
        let generation = issuer.keys.generation();
        let types = issuer.settings.types;
        let Some((_, claims)) = self.claims(issuer, text, types).await? else {
            return Ok(None);
        };
        Ok(issuer.read(position, generation, &claims, now))
    }

    /// The algorithm and the claims of a token that the issuer signed, whatever they say.
    async fn claims(
        &self,
        issuer: &Issuer,
        text: &str,
        types: Types,
    ) -> Result<Option<(String, Map<String, Value>)>, Error> {
        let inner = &*self.0;
        let Ok(token) = Unverified::read(text) else {
            return Ok(None);
        };
        let header = token.header().clone();
        if !types.admit(header.typ.as_deref()) {
            return Ok(None);
        }
        let keys = issuer
            .keys
            .keys_for(
                &issuer.settings,
                &inner.outbound,
                &header.alg,
                header.kid.as_deref(),
                inner.clock.now(),
            )
            .await
            .map_err(|source| issuer.away(source))?;
        match token.verify(&keys) {
            Ok(claims) => Ok(Some((header.alg, claims))),
            Err(refused) => {
                tracing::debug!(issuer = issuer.settings.name, cause = %refused, "a token was refused");
                Ok(None)
            }
        }
    }

    /// The providers that people sign in at.
    pub(crate) fn providers(&self) -> impl Iterator<Item = Provider<'_>> {
        self.0.issuers.iter().filter_map(|issuer| {
            Some(Provider {
                login: issuer.settings.login.as_ref()?,
                issuer,
                issuers: self,
            })
        })
    }

    /// Who is behind it, from the database: the account of (issuer, subject), made if it is their
    /// first time. Nothing where the account is closed.
    pub(crate) async fn holder(
        &self,
        said: &Said,
        client: &Client,
    ) -> Result<Option<(Uuid, Holder)>, Error> {
        let inner = &*self.0;
        let Some(issuer) = inner.issuers.get(said.issuer) else {
            return Ok(None);
        };
        // SECURITY: before anything is looked up or made. Somebody who has never been here has no row that
        // could end a token of before.
        let cutoff = store::cutoff(&inner.db).await?;
        if said.issued_at < cutoff {
            return Ok(None);
        }
        let settings = &issuer.settings;
        let mut found = store::find(&inner.db, &settings.config.issuer, &said.subject).await?;
        if found.is_none() {
            let email = said.email.as_deref();
            self.provision(settings, &said.subject, email, client)
                .await?;
            found = store::find(&inner.db, &settings.config.issuer, &said.subject).await?;
        }
        let Some(found) = found.filter(|found| found.is_active) else {
            return Ok(None);
        };
        let membership = store::membership(&inner.db, found.user, said.tenant).await?;
        let (standing, until) = match membership {
            None => (None, None),
            Some(tenant) => {
                let (policy, now) = (inner.policy.get(), inner.clock.now());
                let (standing, until) =
                    standing(&inner.db, &policy, found.user, tenant, now).await?;
                (Some(standing), until)
            }
        };
        // SECURITY: where the issuer says who works where, a token that names no tenant is in none.
        let tenant = if settings.tenant_claims.is_empty() {
            membership
        } else {
            said.tenant
        };
        let user = User {
            id: found.user,
            credential: Credential::Foreign,
            tenant,
            standing: standing.filter(|_| tenant.is_some()),
            roles: found
                .roles
                .iter()
                .map(|role| Arc::from(role.as_str()))
                .collect(),
            authenticated_at: said.authenticated_at,
            second_factor_at: None,
        };
        let more = &settings.config.administrator_roles;
        let administrator = more
            .iter()
            .chain(&found.roles)
            .map(|role| Arc::from(role.as_str()));
        let mut all: Vec<Arc<str>> = administrator.collect();
        all.sort();
        all.dedup();
        let forever = Timestamp::from_micros(i64::MAX);
        let holder = Holder::new(user, forever, found.not_before.max(cutoff))
            .with_administrator(all.into())
            .known_until(until);
        Ok(Some((found.id, holder)))
    }

    async fn provision(
        &self,
        settings: &Settings,
        subject: &str,
        email: Option<&str>,
        client: &Client,
    ) -> Result<(), Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let user = UserId::new();
        let email: String = email.unwrap_or_default().chars().take(254).collect();
        let kept = inner
            .addresses
            .shown(users::TABLE, &user.to_string(), &email)
            .await?;
        let mut tx = inner.db.begin().await?;
        let new = store::NewIdentity {
            user,
            issuer: &settings.config.issuer,
            subject,
            email: &kept,
            roles: &settings.config.roles,
        };
        let Some(user) = store::create(&mut tx, &new, now).await? else {
            // Another request of theirs was first.
            return Ok(());
        };
        let entry = Entry {
            at: now,
            act: Act::UserProvisioned,
            actor: Some(Actor::User(user)),
            user: Some(user),
            session: None,
            family: None,
            seen: None,
            is_new_device: false,
            provider: None,
            request: client.request,
            client: client.address,
            roles: Some(settings.config.roles.clone()),
        };
        inner.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Signs out whoever came with a token of another issuer: what was issued until now is over
    /// here, whatever the issuer thinks of it.
    pub async fn end(&self, user: UserId, client: &Client) -> Result<(), Error> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut tx = inner.db.begin().await?;
        store::end(&mut tx, user, now).await?;
        crate::revoke::user(&mut tx, user, now).await?;
        let entry = Entry {
            at: now,
            act: Act::Logout,
            actor: Some(Actor::User(user)),
            user: Some(user),
            session: None,
            family: None,
            seen: None,
            is_new_device: false,
            provider: None,
            request: client.request,
            client: client.address,
            roles: None,
        };
        inner.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        inner.holders.revoked(Revocation::User(user));
        Ok(())
    }

    /// Reads each issuer's keys again when they are ten minutes old. For the housekeeping.
    pub async fn keep(&self) {
        let inner = &*self.0;
        for issuer in &inner.issuers {
            let now = inner.clock.now();
            // Said in the log where it was tried.
            let _ = issuer
                .keys
                .keep(&issuer.settings, &inner.outbound, now)
                .await;
        }
    }
}

impl Issuer {
    fn new(settings: Settings) -> Self {
        Issuer {
            rules: Rules {
                issuer: settings.config.issuer.clone(),
                audiences: settings.audiences.clone(),
                parties: settings.config.authorized_parties.clone(),
                leeway: settings.config.leeway,
                max_lifetime: settings.config.max_lifetime,
            },
            keys: KeySet::new(&settings),
            settings,
        }
    }

    fn away(&self, source: keyset::Error) -> Error {
        Error::Away {
            name: self.settings.name.clone(),
            source,
        }
    }

    /// What verified claims say, where they say what they must.
    fn read(
        &self,
        position: usize,
        generation: u64,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Option<Said> {
        let checked = match self.rules.check(claims, now) {
            Ok(checked) => checked,
            Err(refused) => {
                tracing::debug!(issuer = self.settings.name, cause = %refused, "a token was refused");
                return None;
            }
        };
        if !self.is_for_people(claims) {
            return None;
        }
        let email = claims.get("email").and_then(Value::as_str);
        let proofs = proofs::read(&self.settings.second_factor, claims, checked.issued_at);
        Some(Said {
            issuer: position,
            subject: checked.subject,
            is_administrator: self
                .verified_email(claims)
                .is_some_and(|email| self.settings.names_administrator(email.canonical())),
            email: email.map(str::to_owned),
            tenant: self.tenant(claims),
            issued_at: checked.issued_at,
            authenticated_at: proofs.first_at,
            second_factor_at: proofs.second_at,
            // The leeway is for clocks: what the cache keeps ends when the token says.
            expires_at: checked.expires_at + self.settings.config.leeway,
            generation,
        })
    }

    /// Supabase signs keys of programs (`anon`, `service_role`) and tokens of people who never
    /// signed in with the same key.
    fn is_for_people(&self, claims: &Map<String, Value>) -> bool {
        match self.settings.config.profile {
            Profile::Supabase => {
                claims.get("role").and_then(Value::as_str) == Some("authenticated")
                    && claims
                        .get("is_anonymous")
                        .is_none_or(|value| *value == Value::Bool(false))
            }
            Profile::Clerk | Profile::Oidc => true,
        }
    }

    /// SECURITY: `email_verified` at the top alone, and only where it is true and no text: in
    /// Supabase's `user_metadata` people write what they like.
    fn verified_email(&self, claims: &Map<String, Value>) -> Option<Email> {
        let is_verified = self.settings.config.emails_are_verified
            || claims.get("email_verified") == Some(&Value::Bool(true));
        let email = claims.get("email").and_then(Value::as_str);
        Email::parse(email.filter(|_| is_verified)?).ok()
    }

    fn tenant(&self, claims: &Map<String, Value>) -> Option<TenantId> {
        self.settings.tenant_claims.iter().find_map(|path| {
            let (first, rest) = path.split_first()?;
            let value = rest
                .iter()
                .try_fold(claims.get(first)?, |value, level| value.get(level))?;
            let name = value
                .as_str()
                .filter(|name| (1..=255).contains(&name.len()))?;
            Some(tenant_id(&self.settings.config.issuer, name))
        })
    }
}

/// A tenant's id as the issuer names it: a UUID is one; another name gets one that nobody else's
/// name gets (UUID version 8, RFC 9562 section 5.8).
pub fn tenant_id(issuer: &str, name: &str) -> TenantId {
    if let Ok(id) = Uuid::try_parse(name) {
        return TenantId::from_uuid(id);
    }
    let length = u64::try_from(issuer.len())
        .unwrap_or(u64::MAX)
        .to_be_bytes();
    let text = [&length, issuer.as_bytes(), name.as_bytes()].concat();
    let hash = portcullis_vault::TokenHash::of(&text);
    let first = hash.as_bytes().first_chunk::<16>().copied();
    TenantId::from_uuid(uuid::Builder::from_custom_bytes(first.unwrap_or_default()).into_uuid())
}

#[cfg(test)]
mod tests;
