//! The secret store: named secrets of the product and of its tenants (X2-X6, W4).
//!
//! Not to be taken for the gate's own secrets, which are `[secrets]` of the configuration.
//!
//! - A secret has a private part, which programs with the scope read ([`SecretStore::read`]), and a public
//!   part, which the tenant's people and visitors may know ([`PublicParts`]). The type that serves the public
//!   part holds no key: it could not open a private one.
//! - Private parts are sealed ([`Fields`]) for their tenant, name, secret and version.
//! - A new value is a new version. The one before is served until the overlap is over, and its value is then
//!   gone from the database; that it was stays as history.
//! - To write the same again changes nothing, by content or by the caller's idempotency key.
//! - Nothing is handed out before it is written down who got it.
//! - The product is told of a new value by a message that is in the transaction of the change (the way of
//!   [`Webhooks`]): whoever kills the process loses neither or both.
//! - Values may be carried to the store of somebody else ([`remote`]). Here they are read all the same.
//!
//! It stands here and not in the vault's crate, because each act and its record are one transaction.

mod age;
mod change;
mod config;
mod error;
pub mod files;
mod label;
pub mod manage;
pub mod of_tenant;
pub mod remote;
pub mod replacement;
mod rows;
pub mod served;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_core::{Clock, Secret, Span, TenantId, Timestamp};
use portcullis_store::Db;
use portcullis_vault::fields::{self, Fields, Place};
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

pub use age::Aged;
pub use change::{Change, Done, Rotation};
pub use config::Config;
pub use error::Error;
pub use label::{Label, Made, Name, Public};
pub use remote::Remote;
pub use rows::{Standing, Stored, Version};

use crate::audit::{Action, By, Event, Outcome, Target, Trail};
use crate::webhooks::{self, Told, Webhooks};
use change::{
    Next, check_change, check_overlap, check_public, check_value, described, next_content,
};
use rows::NewVersion;

/// Tables of the field vault that begin so are ours: the product's own calls cannot name them.
const TABLE: &str = "portcullis.secret";
const FIELD: &str = "private";
const OF_A_FILE: &str = "comes from its file: change that, and the store takes it within seconds";
/// How often a change is tried that another one was faster than.
const TRIES: u32 = 5;

/// Which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Current,
    /// The one before, while it is served.
    Previous,
    Number(i64),
}

/// Which secrets a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    All,
    /// Of this tenant; of nothing, the product's own.
    Of(Option<TenantId>),
}

/// A value on its way to a program.
#[derive(Debug)]
pub struct Served {
    pub version: i64,
    pub value: Secret<String>,
    pub public: Public,
    pub served_until: Option<Timestamp>,
}

/// What the slice is put together from.
pub struct Parts {
    pub db: Db,
    pub fields: Fields,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub webhooks: Webhooks,
    pub config: Config,
    /// Where secrets are carried to.
    pub remote: Option<Remote>,
}

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct SecretStore {
    db: Db,
    fields: Fields,
    clock: Arc<dyn Clock>,
    trail: Trail,
    webhooks: Webhooks,
    config: Arc<Config>,
    remote: Option<Arc<Remote>>,
    /// Something is to be carried.
    changed: Arc<Notify>,
}

/// Public parts, and nothing else.
///
/// SECURITY: it holds no key, and its one query names no sealed column: what clients reach has no way to a
/// private part (W4).
#[derive(Clone)]
pub struct PublicParts {
    db: Db,
}

impl PublicParts {
    /// Of the tenant's secret of this name, or else of the product's.
    pub async fn of(&self, label: &Label) -> Result<(i64, Public), Error> {
        rows::public(&self.db, label).await?.ok_or(Error::NotFound)
    }
}

impl SecretStore {
    pub fn new(parts: Parts) -> Self {
        SecretStore {
            db: parts.db,
            fields: parts.fields,
            clock: parts.clock,
            trail: parts.trail,
            webhooks: parts.webhooks,
            config: Arc::new(parts.config),
            remote: parts.remote.map(Arc::new),
            changed: Arc::default(),
        }
    }

    pub fn public_parts(&self) -> PublicParts {
        PublicParts {
            db: self.db.clone(),
        }
    }

    /// Writes a secret: makes it, gives it a new version, or says something else about it.
    pub async fn put(&self, label: &Label, change: &Change, by: &By) -> Result<Done, Error> {
        self.put_of(label, change, by, None).await
    }

    /// The same, where its tenant may have no more than `most` of them.
    async fn put_of(
        &self,
        label: &Label,
        change: &Change,
        by: &By,
        most: Option<u32>,
    ) -> Result<Done, Error> {
        if change.made == Some(Made::File) {
            return Err(Error::Invalid(
                "made",
                "`file` is for files of `secret-store.files`",
            ));
        }
        let gives = change.value.is_some() || change.public.is_some() || change.made.is_some();
        let found = rows::find(&self.db, label).await?;
        if gives && found.is_some_and(|stored| stored.made == Made::File) {
            return Err(Error::Invalid("value", OF_A_FILE));
        }
        self.put_any(label, change, by, most).await
    }

    /// The same, also for what comes from a file.
    async fn put_any(
        &self,
        label: &Label,
        change: &Change,
        by: &By,
        most: Option<u32>,
    ) -> Result<Done, Error> {
        check_change(change)?;
        for _ in 0..TRIES {
            let found = rows::find(&self.db, label).await?;
            let done = match found {
                None => self.create(label, change, by, most).await,
                Some(stored) => self.change(&stored, change, by).await,
            };
            match done {
                Ok(Some(done)) => return Ok(done),
                Ok(None) | Err(Error::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    /// Gives a secret a new value. The version that is in use then.
    pub async fn rotate(&self, label: &Label, rotation: &Rotation, by: &By) -> Result<i64, Error> {
        check_value(rotation.value.as_ref())?;
        check_overlap(rotation.overlap)?;
        for _ in 0..TRIES {
            let stored = self.find(label).await?;
            if let Some(request) = &rotation.request
                && let Some(version) = rows::made_by_request(&self.db, stored.id, request).await?
            {
                return Ok(version);
            }
            if stored.made == Made::File {
                return Err(Error::Invalid("value", OF_A_FILE));
            }
            let value = match &rotation.value {
                Some(value) => value.clone(),
                None => stored.made.value()?.ok_or(Error::Invalid(
                    "value",
                    "must be given: this secret is made by its provider (`made`), not at random",
                ))?,
            };
            let public = match &rotation.public {
                Some(public) => public.clone(),
                None => match self.current(&stored).await {
                    Ok((_, public)) => public,
                    Err(Error::Busy) => continue,
                    Err(error) => return Err(error),
                },
            };
            let overlap = rotation.overlap.unwrap_or(stored.overlap);
            let content = (value, public);
            let next = next_of(&stored, self.clock.now());
            let written = self
                .write(&stored, &next, &content, overlap, rotation.request, by)
                .await?;
            if let Some(version) = written {
                return Ok(version);
            }
        }
        Err(Error::Busy)
    }

    /// One secret, without its values.
    pub async fn find(&self, label: &Label) -> Result<Stored, Error> {
        rows::find(&self.db, label).await?.ok_or(Error::NotFound)
    }

    /// By tenant and name, those behind `after`.
    pub async fn list(
        &self,
        listed: Listed,
        after: Option<&Label>,
        limit: u32,
    ) -> Result<Vec<Stored>, Error> {
        rows::list(&self.db, listed, after, limit).await
    }

    /// Its versions, newest first, without their values.
    pub async fn versions(&self, stored: &Stored) -> Result<Vec<Version>, Error> {
        const MOST: u32 = 100;
        rows::versions(&self.db, stored.id, MOST).await
    }

    /// Ends every version but the one in use, at once. How many.
    pub async fn end_previous(&self, label: &Label, by: &By) -> Result<u64, Error> {
        let stored = self.find(label).await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let ended = rows::end_earlier(&mut tx, stored.id, stored.version, now).await?;
        let event = self
            .event(&stored, Action::SecretPreviousEnded, by)
            .with("version", stored.version)
            .with("ended", ended);
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Takes a secret out, with every version of it.
    pub async fn remove(&self, label: &Label, by: &By) -> Result<(), Error> {
        let stored = self.find(label).await?;
        let mut tx = self.db.begin().await?;
        if !rows::remove(&mut tx, stored.id).await? {
            return Err(Error::NotFound);
        }
        let event = self
            .event(&stored, Action::SecretRemoved, by)
            .with("version", stored.version);
        self.trail.record_in(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }

    /// A private part, for a program. It is written down before it is answered.
    pub async fn read(&self, label: &Label, which: Which, by: &By) -> Result<Served, Error> {
        let now = self.clock.now();
        let found = rows::served(&self.db, label, which, now).await?;
        let found = found.ok_or(Error::NotFound)?;
        let value = self
            .open(label, found.secret, found.version, &found.text)
            .await?;
        // SECURITY: nothing is handed out before it is written down who got it.
        let event = Event::new(now, Action::SecretRead, Outcome::Allowed)
            .done(by)
            .to(target(label))
            .tenant(label.tenant)
            .with("version", found.version);
        self.trail.record(event).await?;
        Ok(Served {
            version: found.version,
            value,
            public: found.public,
            served_until: found.served_until,
        })
    }

    async fn create(
        &self,
        label: &Label,
        change: &Change,
        by: &By,
        most: Option<u32>,
    ) -> Result<Option<Done>, Error> {
        if let Some(tenant) = label.tenant
            && !rows::has_tenant(&self.db, tenant).await?
        {
            return Err(Error::NoTenant);
        }
        let now = self.clock.now();
        let missing = |field| Error::Invalid(field, "must be given for a new secret");
        let made = change.made.unwrap_or(Made::Provider);
        let value = match &change.value {
            Some(value) => value.clone(),
            None => made.value()?.ok_or(missing("value"))?,
        };
        let public = change.public.clone().unwrap_or_default();
        check_public(&value, &public)?;
        let stored = Stored {
            id: Uuid::now_v7(),
            label: label.clone(),
            owner: change.owner.clone().ok_or(missing("owner"))?,
            purpose: change.purpose.clone().ok_or(missing("purpose"))?,
            made,
            rotate_every: change.rotate_every.filter(|span| !span.is_zero()),
            overlap: change.overlap.unwrap_or(self.config.overlap),
            created_at: now,
            rotated_at: now,
            version: 1,
            carried: None,
        };
        let sealed = self.seal(&stored, 1, &value).await?;
        let mut tx = self.db.begin().await?;
        if let (Some(tenant), Some(most)) = (label.tenant, most) {
            // SECURITY: counted while the tenant is held, so that many at once count each other.
            rows::hold_tenant(&mut tx, tenant).await?;
            if rows::count(&mut tx, tenant).await? >= i64::from(most) {
                // Another call may have made this very one.
                return match rows::find(&self.db, label).await? {
                    Some(_) => Ok(None),
                    None => Err(Error::Invalid("name", of_tenant::FULL)),
                };
            }
        }
        if !rows::insert(&mut tx, &stored).await? {
            return Ok(None);
        }
        let new = NewVersion {
            version: 1,
            public: &public.to_text(),
            sealed: &sealed,
            made_by: &by.actor.written(),
            request: change.request,
        };
        rows::insert_version(&mut tx, stored.id, &new, now).await?;
        let event = self
            .event(&stored, Action::SecretWritten, by)
            .with("version", 1);
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        self.changed.notify_one();
        Ok(Some(Done::Created))
    }

    /// Nothing where another change was faster.
    async fn change(&self, old: &Stored, change: &Change, by: &By) -> Result<Option<Done>, Error> {
        let repeated = match &change.request {
            None => None,
            Some(request) => rows::made_by_request(&self.db, old.id, request).await?,
        };
        let (value, public) = self.current(old).await?;
        let next = next_content(value.as_ref(), &public, change)?;
        if let Some(version) = repeated {
            // The same call again; another one that took its key is told so.
            return match next {
                Next::Same if version == old.version => Ok(Some(Done::Unchanged)),
                Next::Same | Next::Content(..) => Err(Error::KeyReused),
            };
        }
        let mut new = described(old, change);
        match next {
            Next::Content(value, public) => {
                check_public(&value, &public)?;
                new = next_of(&new, self.clock.now());
                let overlap = change.overlap.unwrap_or(old.overlap);
                let written = self
                    .write(old, &new, &(value, public), overlap, change.request, by)
                    .await?;
                Ok(written.map(|_| Done::NewVersion))
            }
            Next::Same if new == *old => Ok(Some(Done::Unchanged)),
            Next::Same => {
                let mut tx = self.db.begin().await?;
                if !rows::update(&mut tx, &new, old.version).await? {
                    return Ok(None);
                }
                let event = self.event(&new, Action::SecretWritten, by);
                self.trail.record_in(&mut tx, event).await?;
                tx.commit().await?;
                Ok(Some(Done::Described))
            }
        }
    }

    /// A new version, its record and its message to the product, in one transaction. Nothing where
    /// another change was faster.
    async fn write(
        &self,
        old: &Stored,
        new: &Stored,
        (value, public): &(Secret<String>, Public),
        overlap: Span,
        request: Option<[u8; 32]>,
        by: &By,
    ) -> Result<Option<i64>, Error> {
        check_public(value, public)?;
        let now = new.rotated_at;
        let sealed = self.seal(new, new.version, value).await?;
        let served_until = now + overlap;
        let told = self.to_tell(new, old.version, served_until).await?;
        let mut tx = self.db.begin().await?;
        if !rows::update(&mut tx, new, old.version).await? {
            return Ok(None);
        }
        rows::end_earlier(&mut tx, new.id, new.version, served_until).await?;
        let version = NewVersion {
            version: new.version,
            public: &public.to_text(),
            sealed: &sealed,
            made_by: &by.actor.written(),
            request,
        };
        match rows::insert_version(&mut tx, new.id, &version, now).await {
            Ok(()) => {}
            // The same idempotency key, at the same time.
            Err(Error::Store(portcullis_store::Error::Conflict { .. })) => return Ok(None),
            Err(error) => return Err(error),
        }
        let event = self
            .event(new, Action::SecretRotated, by)
            .with("version", new.version)
            .with("previous_until", served_until.to_string());
        self.trail.record_in(&mut tx, event).await?;
        if let Some(told) = &told {
            self.webhooks.tell_in(&mut tx, told).await?;
        }
        tx.commit().await?;
        self.webhooks.hurry();
        self.changed.notify_one();
        Ok(Some(new.version))
    }

    /// The product hears of it, where there is a hook: the name and the version, never the value.
    async fn to_tell(
        &self,
        new: &Stored,
        previous: i64,
        until: Timestamp,
    ) -> Result<Option<webhooks::Ready>, Error> {
        if self.config.hook_path.is_none() {
            return Ok(None);
        }
        let body = json!({
            "type": "secret.rotated",
            "name": new.label.name.as_str(),
            "tenant": new.label.tenant,
            "version": new.version,
            "rotated_at": new.rotated_at.to_string(),
            "previous_version": previous,
            "previous_served_until": until.to_string(),
        });
        let told = Told {
            endpoint: webhooks::SECRET_HOOK,
            event: format!("{}:{}", new.id, new.version),
            kind: "secret.rotated",
            about: new.id,
            body: body.to_string(),
        };
        Ok(Some(self.webhooks.ready(&told).await?))
    }

    /// What is in use, opened; without a value where that does not open.
    async fn current(&self, stored: &Stored) -> Result<(Option<Secret<String>>, Public), Error> {
        let now = self.clock.now();
        let which = Which::Number(stored.version);
        let found = rows::served(&self.db, &stored.label, which, now).await?;
        // It was changed since: the next try sees what it is now.
        let found = found.ok_or(Error::Busy)?;
        let value = self
            .open(&stored.label, found.secret, found.version, &found.text)
            .await;
        match value {
            Ok(value) => Ok((Some(value), found.public)),
            Err(Error::Fields(fields::Error::DoesNotOpen)) => Ok((None, found.public)),
            Err(error) => Err(error),
        }
    }

    async fn seal(
        &self,
        stored: &Stored,
        version: i64,
        value: &Secret<String>,
    ) -> Result<String, Error> {
        let row = row(&stored.label, stored.id, version);
        let place = place(&stored.label, &row);
        let sealed = self.fields.seal(&place, None, value.expose().as_bytes());
        Ok(sealed.await?)
    }

    async fn open(
        &self,
        label: &Label,
        secret: Uuid,
        version: i64,
        sealed: &str,
    ) -> Result<Secret<String>, Error> {
        let row = row(label, secret, version);
        let plain = self.fields.open(&place(label, &row), sealed).await?;
        let text = String::from_utf8(plain.expose().clone()).map_err(|_| Error::Unreadable)?;
        Ok(Secret::new(text))
    }

    fn event(&self, stored: &Stored, action: Action, by: &By) -> Event {
        Event::new(self.clock.now(), action, Outcome::Allowed)
            .done(by)
            .to(target(&stored.label))
            .tenant(stored.label.tenant)
    }
}

impl std::fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretStore(..)")
    }
}

/// SECURITY: what a private part is bound to. Moved to another name, secret or version it does not open;
/// nor under another tenant, whose keys are others.
fn row(label: &Label, secret: Uuid, version: i64) -> String {
    format!("{}/{secret}/{version}", label.name)
}

fn place<'a>(label: &Label, row: &'a str) -> Place<'a> {
    Place {
        tenant: label.tenant,
        table: TABLE,
        field: FIELD,
        row,
    }
}

fn target(label: &Label) -> Target {
    Target::named("secret", label.name.as_str())
}

fn next_of(stored: &Stored, now: Timestamp) -> Stored {
    Stored {
        version: stored.version.saturating_add(1),
        rotated_at: now,
        ..stored.clone()
    }
}
