//! Files of users that the gate keeps (U2): sealed, served by permit, and in quarantine where they are not
//! known to be clean.
//!
//! - A file gets a random id and a key of its own. Its content stands in a folder of the gate, in chunks that
//!   open in their place alone ([`chunks`](self::chunks)); its key and name are sealed in its row by the field
//!   vault, for tenant and id. Where the keys of a tenant or a person are destroyed, so are their files.
//! - A row comes after its file and goes before it ([`folder`](self::folder)): no crash leaves a row that is
//!   served without a whole file.
//! - The product gets the id in place of the bytes. What it never took is deleted: at once where it refused,
//!   after [`UNTAKEN_FOR`] where nobody knows. Whoever asks for a permit or reads has taken it.
//! - Content leaves here to a program with the scope, or by a permit: signed, for one upload and five minutes
//!   at most. Nothing is handed out before it is written down who got it.
//! - What is in quarantine is served to nobody. It is bounded in files, bytes and time.
//!
//! It stands here and not with the screening, because each act and its record are one transaction.

mod chunks;
mod config;
mod error;
mod folder;
mod keep;
pub mod manage;
mod permit;
mod reader;
mod rows;
mod sealed;
pub mod served;

use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::body::Body;
use portcullis_core::upload::FileType;
use portcullis_core::{Clock, Principal, Secret, Span, TenantId, Timestamp};
use portcullis_store::Db;
use portcullis_vault::{Fields, KeyRing, tokens};
use uuid::Uuid;

pub use config::{Config, Otherwise};
pub use error::Error;
pub use permit::PERMIT_TYPE;
pub use rows::{State, Stored, Verdict};

use crate::audit::{Action, Actor, By, Event, Outcome, Target, Trail};
use chunks::KEY_LEN;
use folder::Folder;
use permit::Permit;
use reader::Reader;
use sealed::Content;

/// How long a file waits for a product of which nobody knows whether it took it.
pub const UNTAKEN_FOR: Span = Span::from_hours(24);

/// Who sent a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub Actor);

impl Owner {
    fn text(self) -> String {
        self.0.written()
    }

    /// Whose keys seal the file, within the tenant: a person's, by their id.
    fn subject_of(text: &str) -> Option<&str> {
        text.strip_prefix("user:")
            .or_else(|| text.strip_prefix("visitor:"))
    }
}

/// A file that was screened, on its way into the store.
#[derive(Debug)]
pub struct New {
    /// It stands in this file, `size` bytes from `at` on.
    pub file: File,
    pub at: u64,
    pub size: u64,
    pub sha256: [u8; 32],
    pub name: Option<String>,
    pub kind: FileType,
    pub verdict: Verdict,
    /// What the scanner calls it.
    pub found: Option<String>,
    pub tenant: Option<TenantId>,
    pub owner: Owner,
}

/// What another look of the scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescanned {
    Clean,
    Found(String),
    /// It did not read to the end.
    Limit(String),
    /// Nothing is scanned.
    None,
}

/// A box with a future in it.
pub type Scanning<'a> = Pin<
    Box<
        dyn Future<Output = Result<Rescanned, Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'a,
    >,
>;

/// Who scans again what is to be released. The scanner stands in another crate.
pub trait Rescan: Send + Sync {
    fn scan(&self, file: File, size: u64) -> Scanning<'_>;
}

/// What the slice is put together from.
pub struct Parts {
    pub db: Db,
    pub fields: Fields,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    pub ring: Arc<KeyRing>,
    pub config: Config,
    /// Where a relative folder begins.
    pub base: Box<Path>,
}

/// A scanner, if there is one now.
#[derive(Default)]
struct Scanner(ArcSwapOption<Box<dyn Rescan>>);

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct UploadStore {
    db: Db,
    fields: Fields,
    clock: Arc<dyn Clock>,
    trail: Trail,
    ring: Arc<KeyRing>,
    config: Arc<Config>,
    folder: Folder,
    scanner: Arc<Scanner>,
}

/// A file on its way to whoever may have it.
pub struct Opened {
    pub stored: Stored,
    pub name: Option<String>,
    pub body: Body,
}

impl UploadStore {
    pub fn new(parts: Parts) -> Self {
        UploadStore {
            folder: Folder::at(&parts.base.join(&parts.config.folder)),
            db: parts.db,
            fields: parts.fields,
            clock: parts.clock,
            trail: parts.trail,
            ring: parts.ring,
            config: Arc::new(parts.config),
            scanner: Arc::default(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on it is this one that scans what is to be released.
    pub fn scan_with(&self, scanner: Box<dyn Rescan>) {
        self.scanner.0.store(Some(Arc::new(scanner)));
    }

    /// Keeps a file, by its verdict to be served or in quarantine. Its id.
    pub async fn put(&self, new: New, by: &By) -> Result<Uuid, Error> {
        let stored = Stored {
            id: Uuid::now_v7(),
            tenant: new.tenant,
            owner: new.owner.text(),
            kind: new.kind,
            size: new.size,
            sha256: new.sha256,
            state: new.verdict.state(),
            verdict: new.verdict,
            found: new.found,
            created_at: self.clock.now(),
            taken_at: None,
        };
        let content = Content {
            key: Secret::new(tokens::random::<KEY_LEN>()?),
            name: new.name,
        };
        // Before the work: where the vault is sealed, nothing comes of it.
        let sealed = sealed::seal(&self.fields, &stored, &content).await?;
        let (folder, source, id) = (self.folder.clone(), (new.file, new.at), stored.id);
        let (size, sha256) = (stored.size, stored.sha256);
        let writing = tokio::task::spawn_blocking(move || {
            keep::write(&folder, id, &content.key, &source, size, &sha256)
        });
        let mut incoming = writing.await.map_err(|_| Error::Lost)??;
        let mut tx = self.db.begin().await?;
        if stored.state == State::Quarantined {
            let (files, bytes) =
                rows::quarantined(tx.fetch_optional(rows::QUARANTINED, &[]).await?.as_ref())?;
            let is_full = files >= u64::from(self.config.quarantine_files)
                || bytes.saturating_add(stored.size) > self.config.quarantine_size.as_u64();
            if is_full {
                return Err(Error::QuarantineFull);
            }
        }
        rows::insert(&mut tx, &stored, &sealed).await?;
        let action = match stored.state {
            State::Kept => Action::UploadStored,
            State::Quarantined => Action::UploadQuarantined,
        };
        let event = self.event(&stored, action, by).with("bytes", stored.size);
        let event = event.with("verdict", stored.verdict.as_str());
        self.trail.record_in(&mut tx, event).await?;
        // From here on there may be a row of it: what is left over is put in order by that.
        incoming.keep();
        tx.commit().await?;
        self.settle(id).await;
        Ok(id)
    }

    async fn settle(&self, id: Uuid) {
        let folder = self.folder.clone();
        let settled = tokio::task::spawn_blocking(move || folder.settle(id)).await;
        if let Ok(Err(error)) = settled {
            // It is found where it is, and put in order later.
            tracing::warn!(%error, upload.id = %id, "a stored upload could not be put in its place");
        }
    }

    /// The product took them.
    pub async fn taken(&self, ids: &[Uuid]) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for id in ids {
            rows::take(&mut tx, *id, self.clock.now()).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Leave for a few minutes to read an upload, of this tenant, for one person or for whoever has it.
    pub async fn permit(
        &self,
        (id, tenant): (Uuid, Option<TenantId>),
        subject: Option<Uuid>,
        lifetime: Span,
        by: &By,
    ) -> Result<(String, Timestamp), Error> {
        let (stored, _) = self.find_served(id, tenant).await?;
        let now = self.clock.now();
        let permit = Permit::new((id, tenant), subject, now, lifetime);
        let text = permit.sign(&self.ring, now)?;
        let mut tx = self.db.begin().await?;
        rows::take(&mut tx, id, now).await?;
        let event = self.event(&stored, Action::UploadPermitted, by);
        let event = match subject {
            Some(subject) => event.with("for", subject.to_string()),
            None => event,
        };
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        Ok((text, permit.expires_at()))
    }

    /// By a permit. Unknown, expired, of another upload, for somebody else: it is not there.
    pub async fn open_by_permit(
        &self,
        id: Uuid,
        permit: &str,
        caller: &Principal,
        by: &By,
    ) -> Result<Opened, Error> {
        let permit = Permit::read(permit, &self.ring, self.clock.now());
        let permit = permit.filter(|permit| permit.upload == id && is_for(permit, caller));
        let permit = permit.ok_or(Error::NotFound)?;
        self.open(id, permit.tenant, by).await
    }

    /// For a program with the scope, of this tenant.
    pub async fn open(&self, id: Uuid, tenant: Option<TenantId>, by: &By) -> Result<Opened, Error> {
        let (stored, sealed) = self.find_served(id, tenant).await?;
        let opened = self.begin(&stored, &sealed).await;
        let (name, first, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.tell_damaged(&stored, &error, by).await;
                return Err(error);
            }
        };
        // SECURITY: nothing is handed out before it is written down who got it.
        let mut tx = self.db.begin().await?;
        if matches!(by.actor, Actor::ApiKey(_)) {
            rows::take(&mut tx, id, self.clock.now()).await?;
        }
        let event = self.event(&stored, Action::UploadOpened, by);
        self.trail.record_in(&mut tx, event).await?;
        tx.commit().await?;
        let body = reader::body(self.clone(), reader, first, stored.clone(), *by);
        Ok(Opened { stored, name, body })
    }

    /// What is served, of this tenant.
    async fn find_served(
        &self,
        id: Uuid,
        tenant: Option<TenantId>,
    ) -> Result<(Stored, String), Error> {
        let found = rows::find(&self.db, id).await?;
        let found = found.filter(|(stored, _)| stored.tenant == tenant);
        let (stored, sealed) = found.ok_or(Error::NotFound)?;
        match stored.state {
            State::Kept => Ok((stored, sealed)),
            State::Quarantined => Err(Error::NotFound),
        }
    }

    /// The name, the first chunk, and what reads the others.
    async fn begin(
        &self,
        stored: &Stored,
        sealed: &str,
    ) -> Result<(Option<String>, bytes::Bytes, Reader), Error> {
        let content = sealed::open(&self.fields, stored, sealed).await?;
        let (folder, id) = (self.folder.clone(), stored.id);
        let file = tokio::task::spawn_blocking(move || folder.open(id));
        let file = match file.await.map_err(|_| Error::Lost)? {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Damaged("its file is not there"));
            }
            Err(error) => return Err(error.into()),
        };
        let mut reader = Reader::of(file, stored, &content).await?;
        let first = reader.next().await?.unwrap_or_default();
        Ok((content.name, first, reader))
    }

    /// Deletes an upload of this tenant.
    pub async fn delete(&self, id: Uuid, tenant: Option<TenantId>, by: &By) -> Result<(), Error> {
        let found = rows::find(&self.db, id).await?;
        let found = found.filter(|(stored, _)| stored.tenant == tenant);
        // What is in quarantine is an administrator's to delete: the product may not take evidence away.
        let is_kept = |stored: &Stored| stored.state == State::Kept;
        match found {
            Some((stored, _)) if is_kept(&stored) => self.remove(&stored, by).await,
            Some(_) | None => Err(Error::NotFound),
        }
    }

    /// Deletes one that nobody took, whatever state it is in.
    pub async fn take_back(&self, id: Uuid, by: &By) -> Result<(), Error> {
        match rows::find(&self.db, id).await? {
            Some((stored, _)) => self.remove(&stored, by).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, stored: &Stored, by: &By) -> Result<(), Error> {
        let (folder, id) = (self.folder.clone(), stored.id);
        let aside = tokio::task::spawn_blocking(move || folder.unsettle(id));
        aside.await.map_err(|_| Error::Lost)??;
        let mut tx = self.db.begin().await?;
        if !rows::remove(&mut tx, id).await? {
            return Err(Error::NotFound);
        }
        let event = self.event(stored, Action::UploadRemoved, by);
        self.trail
            .record_in(&mut tx, event.with("was", stored.state.as_str()))
            .await?;
        tx.commit().await?;
        let folder = self.folder.clone();
        let gone = tokio::task::spawn_blocking(move || folder.forget(id)).await;
        if let Ok(Err(error)) = gone {
            // Its key is gone. The file is found in `incoming`.
            tracing::warn!(%error, upload.id = %id, "the file of a deleted upload is still there");
        }
        Ok(())
    }

    /// Somebody laid hands on it, or a disk did.
    async fn tell_damaged(&self, stored: &Stored, error: &Error, by: &By) {
        let why = match error {
            Error::Damaged(why) => why,
            Error::DoesNotOpen => "its key does not open",
            _ => return,
        };
        tracing::error!(upload.id = %stored.id, why, "a stored upload is damaged: it is not served");
        let event = Event::new(self.clock.now(), Action::UploadDamaged, Outcome::Failed)
            .done(by)
            .to(target(stored.id))
            .tenant(stored.tenant)
            .with("reason", why);
        if let Err(error) = self.trail.record(event).await {
            tracing::warn!(%error, "a damaged upload could not be recorded");
        }
    }

    fn event(&self, stored: &Stored, action: Action, by: &By) -> Event {
        Event::new(self.clock.now(), action, Outcome::Allowed)
            .done(by)
            .to(target(stored.id))
            .tenant(stored.tenant)
    }
}

/// Whether the caller may use it: nobody of another tenant, and nobody else where it names one.
fn is_for(permit: &Permit, caller: &Principal) -> bool {
    let is_of_tenant = caller
        .tenant()
        .is_none_or(|tenant| Some(tenant) == permit.tenant);
    let id = match caller {
        Principal::User(user) => Some(user.id.as_uuid()),
        Principal::Visitor(visitor) => Some(visitor.id.as_uuid()),
        Principal::Anonymous | Principal::ApiKey(_) => None,
    };
    is_of_tenant && permit.subject.is_none_or(|subject| Some(subject) == id)
}

fn target(id: Uuid) -> Target {
    Target::named("upload", &id.to_string())
}

impl std::fmt::Debug for UploadStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadStore(..)")
    }
}
