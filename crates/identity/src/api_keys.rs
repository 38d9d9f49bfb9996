//! API keys: programs that call.
//!
//! - The key is shown once, when it is made. The database holds an HMAC-SHA256 of it under a key
//!   derived from the master secret, so that a copy of the database neither is a key nor can be tried
//!   against guesses.
//! - [`ApiKeys::read`] tells a key of ours from other bearers, and a mistyped one from a whole one,
//!   without asking anybody. [`ApiKeys::lookup`] answers from memory; [`ApiKeys::load`] asks the
//!   database on a miss; when that is away, the caller answers 503.
//! - A key ends by its time, by revocation, and with its owner's account. A revocation is heard
//!   within a second on every node, through the same feed as that of sessions.
//! - Nobody grants more than they hold ([`Grantor`]); and an owner's key never may what the owner no
//!   longer may, for the decision looks at the owner's roles as well.
//! - A key that is found under an older hash (of a previous master secret, or of the system that it
//!   was taken over from) is hashed anew when it is used, so that old secrets can go.

mod cache;
mod containment;
mod grantor;
pub mod handlers;
pub mod import;
pub(crate) mod manage;
mod networks;
pub(crate) mod pages;
mod store;
mod text;

use std::sync::Arc;

use portcullis_core::limit::Rate;
use portcullis_core::principal::ApiKey;
use portcullis_core::{
    ApiKeyId, Clock, Problem, Secret, Span, TenantId, Timestamp, UserId, problem,
};
use portcullis_events::{Action, Event, Outcome, Target, Trail};
use portcullis_store::revocations::{Feed, Revocation, publish};
use portcullis_store::{Db, Tx};
use portcullis_vault::TokenHash as KeyHash;
use portcullis_vault::keys::{ForeignMac, Keys, Mac, Purpose};
use portcullis_vault::tokens;
use serde::Deserialize;

use self::cache::Cache;
pub use self::cache::Found;
pub use self::grantor::Grantor;
use self::networks::Networks;
pub use self::store::KeyInfo;
pub use self::text::{Prefixes, Shape, generate};
use crate::Finding;
use crate::accounts::By;
use crate::addresses::Addresses;
pub use containment::KeysOf;

/// The `[api-keys]` table, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// What each key begins with, before `_`: 2 to 16 lower-case letters and digits. Default `"pck"`.
    /// Changing it makes every key that is out there unknown.
    pub prefix: String,
    /// The prefix of keys that were taken over from another system with `portcullis import keys`.
    /// Default: none. They are verified with `secrets.imported-api-keys` until each was used once.
    pub imported_prefix: Option<String>,
    /// The longest that a key may live, such as `"365d"`. Default: none, a key may live for ever.
    pub max_lifetime: Option<Span>,
    /// How many live keys one person may have. Default 20.
    pub max_per_user: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            prefix: "pck".to_owned(),
            imported_prefix: None,
            max_lifetime: None,
            max_per_user: 20,
        }
    }
}

impl Config {
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !is_prefix(&self.prefix) {
            findings.push(Finding {
                key: "api-keys.prefix",
                message: "must be 2 to 16 lower-case letters and digits",
            });
        }
        if self
            .imported_prefix
            .as_deref()
            .is_some_and(|it| !is_prefix(it))
        {
            findings.push(Finding {
                key: "api-keys.imported-prefix",
                message: "must be 2 to 16 lower-case letters and digits, without `_`",
            });
        }
        if self.max_lifetime.is_some_and(Span::is_zero) {
            findings.push(Finding {
                key: "api-keys.max-lifetime",
                message: "must be longer than no time",
            });
        }
        findings
    }
}

fn is_prefix(text: &str) -> bool {
    (2..=16).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such key")]
    NotFound,
    #[error("{field} {message}")]
    Invalid {
        field: &'static str,
        message: &'static str,
    },
    #[error("`{0}` is not the caller's to give")]
    NotHeld(String),
    /// The account holds what whoever makes the key does not: it would act in its name.
    #[error("the role `{0}` of the account is more than whoever acts holds")]
    Outranked(String),
    #[error("the account has too many keys")]
    TooMany,
    #[error("the key was rotated or has ended")]
    Ended,
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::Invalid { field, message } => {
                Problem::new(&problem::INVALID_INPUT).field(field, message)
            }
            Error::NotHeld(_) => Problem::new(&problem::INVALID_INPUT).field(
                "permissions",
                "must be permissions that are defined and that you hold yourself",
            ),
            Error::Outranked(role) => Problem::new(&problem::NOT_PERMITTED).detail(format!(
                "The account has the role `{role}`, which gives more than you hold: a key would act in its name."
            )),
            Error::TooMany => Problem::new(&problem::CONFLICT)
                .detail("This account has as many keys as it may have. Revoke one first."),
            Error::Ended => Problem::new(&problem::CONFLICT)
                .detail("The key was rotated already, was revoked, or has expired."),
            Error::Randomness(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What a key is to be.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    pub name: String,
    pub permissions: Vec<String>,
    pub routes: Option<Vec<String>>,
    pub rate: Option<Rate>,
    pub tenant: Option<TenantId>,
    /// Whose key it is; nothing for a key of a tenant or of the operator.
    pub user: Option<UserId>,
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made. Its text is to be shown this once.
#[derive(Debug)]
pub struct Made {
    pub info: KeyInfo,
    pub text: Secret<String>,
}

/// What [`ApiKeys`] is made of.
pub struct Parts {
    pub db: Db,
    pub feed: Arc<Feed>,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub addresses: Addresses,
    pub config: Config,
    /// The secret of the system that keys were taken over from.
    pub imported: Option<Secret<String>>,
}

struct Inner {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    trail: Trail,
    addresses: Addresses,
    cache: Cache,
    networks: Networks,
    config: Config,
    prefixes: Prefixes,
    mac: Mac,
    imported: Option<ForeignMac>,
}

/// Keys in memory and in the database. Cheap to clone.
#[derive(Clone)]
pub struct ApiKeys(Arc<Inner>);

impl ApiKeys {
    /// Hand each revocation that the feed brings to [`ApiKeys::revoked`]: memory is trusted while the
    /// feed is fresh.
    pub fn new(parts: Parts, keys: &Keys) -> Result<Self, portcullis_vault::keys::Error> {
        Ok(ApiKeys(Arc::new(Inner {
            db: parts.db,
            feed: parts.feed,
            clock: parts.clock,
            trail: parts.trail,
            addresses: parts.addresses,
            cache: Cache::new(),
            networks: Networks::default(),
            prefixes: Prefixes {
                own: parts.config.prefix.clone(),
                imported: parts.config.imported_prefix.clone(),
            },
            config: parts.config,
            mac: keys.mac(Purpose::ApiKey)?,
            imported: parts.imported.as_ref().map(ForeignMac::new),
        })))
    }

    /// What a bearer is. Never waits.
    pub fn read(&self, text: &str) -> Shape {
        self.0.prefixes.shape(text)
    }

    /// Under what a key is kept.
    pub fn hash(&self, text: &str) -> KeyHash {
        KeyHash(self.0.mac.tag(&[text.as_bytes()]))
    }

    /// Whom a key stands for, from memory. Never waits.
    pub fn lookup(&self, hash: &KeyHash) -> Found {
        let now = self.0.clock.now();
        if self.0.feed.is_fresh(now) {
            self.0.cache.lookup(hash, now)
        } else {
            Found::Unknown
        }
    }

    /// Whom a key stands for, from the database, and remembers it. `None` where it is unknown,
    /// revoked or expired, or its owner's account is closed.
    pub async fn load(&self, text: &Secret<String>) -> Result<Option<ApiKey>, Error> {
        let this = &*self.0;
        let hash = self.hash(text.expose());
        let ticket = this.cache.ticket();
        let mut found = store::find(&this.db, &hash).await?;
        if found.is_none() {
            found = self.find_under_older_hash(text.expose(), &hash).await?;
        }
        Ok(self.keep(&hash, found, ticket))
    }

    fn keep(
        &self,
        hash: &KeyHash,
        found: Option<store::Stored>,
        ticket: crate::memory::Ticket,
    ) -> Option<ApiKey> {
        let now = self.0.clock.now();
        let found = found.filter(|found| found.expires_at.is_none_or(|end| now < end))?;
        self.0.cache.remember(hash, &found, now, ticket);
        Some(found.key)
    }

    /// As [`ApiKeys::load`], for a key that was known under this hash a moment ago.
    pub async fn load_by_hash(&self, hash: &KeyHash) -> Result<Option<ApiKey>, Error> {
        let this = &*self.0;
        let ticket = this.cache.ticket();
        let found = store::find(&this.db, hash).await?;
        Ok(self.keep(hash, found, ticket))
    }

    async fn find_under_older_hash(
        &self,
        text: &str,
        hash: &KeyHash,
    ) -> Result<Option<store::Stored>, Error> {
        let this = &*self.0;
        let mut older: Vec<KeyHash> = this
            .mac
            .previous_tags(&[text.as_bytes()])
            .into_iter()
            .map(KeyHash)
            .collect();
        // SECURITY: a text of our own make was never hashed by another system: asking for its hash
        // there would only be one more way in.
        if this.prefixes.shape(text) == Shape::Imported
            && let Some(mac) = &this.imported
        {
            older.push(KeyHash(mac.tag(text.as_bytes())));
        }
        for old in &older {
            if let Some(found) = store::find(&this.db, old).await? {
                let mut tx = this.db.begin().await?;
                store::rehash(&mut tx, old, hash).await?;
                tx.commit().await?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        self.0.cache.revoked(revocation);
    }

    /// Makes a key. `grantor` says what its maker may give.
    pub async fn create(
        &self,
        mut new: NewKey,
        grantor: &Grantor<'_>,
        by: &By,
    ) -> Result<Made, Error> {
        let this = &*self.0;
        self.check(&new, grantor)?;
        let now = this.clock.now();
        let text = text::generate(&this.prefixes.own)?;
        let mut tx = this.db.begin().await?;
        if let Some(user) = new.user {
            let Some(tenant) = store::hold_owner(&mut tx, user).await? else {
                return Err(Error::NotFound);
            };
            if new.tenant.is_some() && new.tenant != tenant {
                return Err(Error::Invalid {
                    field: "tenant_id",
                    message: "must be the tenant of the account",
                });
            }
            new.tenant = tenant;
            check_rule(&mut tx, user, grantor, by).await?;
            if store::count_live(&mut tx, user, now).await? >= i64::from(this.config.max_per_user) {
                return Err(Error::TooMany);
            }
        }
        let id = self.write(&mut tx, &new, &text, by, now).await?;
        self.record(
            &mut tx,
            Action::ApiKeyCreated,
            id,
            new.tenant,
            by,
            |event| event.with("name", new.name.as_str()),
        )
        .await?;
        tx.commit().await?;
        self.made(id, text).await
    }

    async fn write(
        &self,
        tx: &mut Tx,
        new: &NewKey,
        text: &Secret<String>,
        by: &By,
        now: Timestamp,
    ) -> Result<ApiKeyId, Error> {
        let id = ApiKeyId::new();
        let row = store::NewRow {
            id,
            hash: &self.hash(text.expose()),
            imported_hash: None,
            hint: &text::hint(text.expose()),
            name: &new.name,
            user: new.user,
            tenant: new.tenant,
            permissions: &new.permissions,
            routes: new.routes.as_deref(),
            rate: new.rate,
            created_by: &by.actor.written(),
            created_at: now,
            expires_at: new.expires_at,
        };
        store::insert(tx, &row).await?;
        Ok(id)
    }

    async fn made(&self, id: ApiKeyId, text: Secret<String>) -> Result<Made, Error> {
        let info = store::get(&self.0.db, id).await?.ok_or(Error::NotFound)?;
        Ok(Made { info, text })
    }

    fn check(&self, new: &NewKey, grantor: &Grantor<'_>) -> Result<(), Error> {
        let invalid = |field, message| Err(Error::Invalid { field, message });
        let name_length = new.name.chars().count();
        if !(1..=100).contains(&name_length) || new.name.chars().any(char::is_control) {
            return invalid(
                "name",
                "must be 1 to 100 characters without control characters",
            );
        }
        check_gift(&new.permissions, new.routes.as_deref(), grantor)?;
        let now = self.0.clock.now();
        if new.expires_at.is_some_and(|end| end <= now) {
            return invalid("expires_at", "must lie ahead");
        }
        let longest = self.0.config.max_lifetime;
        let lives_too_long =
            longest.is_some_and(|longest| new.expires_at.is_none_or(|end| end > now + longest));
        if lives_too_long {
            return invalid(
                "expires_at",
                "must not be later than `api-keys.max-lifetime` allows",
            );
        }
        Ok(())
    }

    /// Makes another key like `id`; the old one works until `overlap` has passed.
    pub async fn rotate(
        &self,
        id: ApiKeyId,
        overlap: Span,
        grantor: &Grantor<'_>,
        by: &By,
    ) -> Result<Made, Error> {
        let this = &*self.0;
        let old = store::get(&this.db, id).await?.ok_or(Error::NotFound)?;
        let now = this.clock.now();
        let new = NewKey {
            name: old.name,
            permissions: old.permissions,
            routes: old.routes,
            rate: old.rate,
            tenant: old.tenant,
            user: old.user,
            // It lives as long anew as the old one was to live.
            expires_at: old.expires_at.map(|end| now + end.since(old.created_at)),
        };
        self.check(&new, grantor)?;
        let text = text::generate(&this.prefixes.own)?;
        let mut tx = this.db.begin().await?;
        if let Some(user) = new.user {
            check_rule(&mut tx, user, grantor, by).await?;
        }
        let successor = self.write(&mut tx, &new, &text, by, now).await?;
        // SECURITY: of two rotations at once, one finds the key superseded and makes nothing.
        if !store::supersede(&mut tx, id, successor, now + overlap, now).await? {
            return Err(Error::Ended);
        }
        self.record(
            &mut tx,
            Action::ApiKeyRotated,
            id,
            new.tenant,
            by,
            |event| {
                event
                    .with("successor", successor.to_string())
                    .with("until", (now + overlap).to_string())
            },
        )
        .await?;
        publish(&mut tx, Revocation::ApiKey(id), now).await?;
        tx.commit().await?;
        this.cache.revoked(Revocation::ApiKey(id));
        self.made(successor, text).await
    }

    /// Ends a key; of this owner alone, where one is named.
    pub async fn revoke(&self, id: ApiKeyId, user: Option<UserId>, by: &By) -> Result<(), Error> {
        let this = &*self.0;
        let now = this.clock.now();
        let mut tx = this.db.begin().await?;
        if !store::revoke(&mut tx, id, user, now).await? {
            return Err(Error::NotFound);
        }
        self.record(&mut tx, Action::ApiKeyRevoked, id, None, by, |event| event)
            .await?;
        publish(&mut tx, Revocation::ApiKey(id), now).await?;
        tx.commit().await?;
        // This node forgets at once; the others hear of it from the feed.
        this.cache.revoked(Revocation::ApiKey(id));
        Ok(())
    }

    /// Ends the key with this text, for whoever found it. Says nothing of whether there was one.
    pub async fn report(&self, text: &Secret<String>, by: &By) -> Result<(), Error> {
        match self.read(text.expose()) {
            Shape::Own | Shape::Imported => {}
            Shape::Broken | Shape::Foreign => return Ok(()),
        }
        let Some(key) = self.load(text).await? else {
            return Ok(());
        };
        match self.revoke(key.id, None, by).await {
            // Ended meanwhile by somebody else: all the better.
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One key.
    pub async fn get(&self, id: ApiKeyId) -> Result<KeyInfo, Error> {
        store::get(&self.0.db, id).await?.ok_or(Error::NotFound)
    }

    /// Keys, newest first; those of one owner where one is named; from the first behind `after`.
    /// Nothing where there is no such key.
    pub async fn list(
        &self,
        user: Option<UserId>,
        after: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Option<Vec<KeyInfo>>, Error> {
        Ok(store::list_keys(&self.0.db, user, after, limit).await?)
    }

    /// Writes which keys were used since the last time. Call it each minute and at shutdown.
    pub async fn flush(&self) -> Result<usize, Error> {
        let this = &*self.0;
        let used = this.cache.unwritten();
        for batch in used.chunks(500) {
            let mut tx = this.db.begin().await?;
            for (id, at) in batch {
                store::touch(&mut tx, *id, *at).await?;
            }
            tx.commit().await?;
        }
        this.cache.written(&used, this.clock.now());
        Ok(used.len())
    }

    async fn record(
        &self,
        tx: &mut Tx,
        action: Action,
        id: ApiKeyId,
        tenant: Option<TenantId>,
        by: &By,
        more: impl FnOnce(Event) -> Event,
    ) -> Result<(), Error> {
        let event = Event::new(self.0.clock.now(), action, Outcome::Allowed)
            .done(&by.recorded())
            .to(Target::named("api-key", &id.to_string()))
            .tenant(tenant);
        Ok(self.0.trail.record_in(tx, more(event)).await?)
    }
}

/// Whether a key may have this of its grantor.
pub(crate) fn check_gift(
    permissions: &[String],
    routes: Option<&[String]>,
    grantor: &Grantor<'_>,
) -> Result<(), Error> {
    let invalid = |field, message| Err(Error::Invalid { field, message });
    if permissions.len() > 64 {
        return invalid("permissions", "must be at most 64");
    }
    for permission in permissions {
        if !grantor.may_give(permission) {
            return Err(Error::NotHeld(permission.clone()));
        }
    }
    let is_path = |path: &String| path.starts_with('/') && path.len() <= 256;
    let named = routes.unwrap_or_default();
    if named.len() > 64 || !named.iter().all(is_path) {
        return invalid("routes", "must be at most 64 paths that begin with `/`");
    }
    if routes.is_some_and(<[String]>::is_empty) {
        return invalid(
            "routes",
            "must name a route, or be left out for all of them",
        );
    }
    Ok(())
}

/// SECURITY: whoever has a key of somebody else's acts as its owner where a route asks for one.
async fn check_rule(
    tx: &mut Tx,
    owner: UserId,
    grantor: &Grantor<'_>,
    by: &By,
) -> Result<(), Error> {
    match by.outranked_by_owner(tx, grantor.roles(), owner).await? {
        Some(role) => Err(Error::Outranked(role)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
