//! The keys that seal: their table, and what this node remembers of it.
//!
//! - A key is made when it is first needed. Two nodes that make one at once agree on the row that was
//!   first.
//! - What is remembered of a key never changes but for being retired, which other nodes hear of when
//!   they ask again ([`FRESH`]). Until then they seal under the older version, which opens as well.
//! - It is remembered for a bounded time after its KEK gave it, then its KEK is asked again. A node
//!   that has just started remembers none.
//! - Destroyed keys are forgotten by every node that hears of it ([`Revocation::DataKeys`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;
use portcullis_core::locks::{read, write};
use portcullis_core::{Clock, Secret, Span, TenantId, Timestamp};
use portcullis_store::revocations::{self, Revocation};
use portcullis_store::{Db, Row, Tx};
use serde::Serialize;
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, Owner, check};
use crate::kek::{self, KEY_LEN, Keks, Under, Whose};
use crate::{seal, tokens};

/// How long this node takes the newest key that it knows for the newest there is.
const FRESH: Span = Span::from_minutes(1);
/// Keys that are remembered at once; then all are forgotten and read again.
const MOST: usize = 20_000;
/// Questions to a KEK at once, for keys that are needed now.
const AT_ONCE: usize = 16;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    Seal,
    /// Finds equal values. There is one version: another would find nothing of what is there.
    Index,
}

impl Use {
    const fn word(self) -> &'static str {
        match self {
            Use::Seal => "seal",
            Use::Index => "index",
        }
    }
}

/// Whose keys these are: each line has one version after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    tenant: String,
    subject: String,
    purpose: Use,
}

impl Line {
    pub(super) fn new(owner: Owner, subject: Option<&str>, purpose: Use) -> Result<Self, Error> {
        if let Some(subject) = subject {
            check("subject", subject)?;
        }
        Ok(Line {
            tenant: owner.name(),
            subject: subject.unwrap_or_default().to_owned(),
            purpose,
        })
    }
}

/// What a row says of a key, in the open.
#[derive(Clone)]
struct Head {
    id: Uuid,
    line: Line,
    version: i64,
    created_at: Timestamp,
    retired_at: Option<Timestamp>,
}

impl Head {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Head {
            id: row.uuid("id")?,
            line: line_of(row)?,
            version: row.int("version")?,
            created_at: row.timestamp("created_at")?,
            retired_at: row.opt_timestamp("retired_at")?,
        })
    }

    /// What the key is bound to: its row.
    fn whose(&self) -> Whose<'_> {
        let Line {
            tenant,
            subject,
            purpose,
        } = &self.line;
        Whose::new(&self.id, tenant, subject, purpose.word(), self.version)
    }

    fn seals(&self, rotate_after: Span, now: Timestamp) -> bool {
        match self.line.purpose {
            Use::Seal => self.retired_at.is_none() && now.since(self.created_at) < rotate_after,
            Use::Index => true,
        }
    }
}

/// A key, ready for work.
pub(super) struct DataKey {
    head: Head,
    material: Arc<Material>,
    /// When the KEK was asked for it. It works for a bounded time from then.
    unwrapped_at: Timestamp,
}

enum Material {
    Cipher(LessSafeKey),
    // Fifty times as large.
    Index(Box<hmac::Key>),
}

impl DataKey {
    pub(super) const fn id(&self) -> Uuid {
        self.head.id
    }

    pub(super) const fn line(&self) -> &Line {
        &self.head.line
    }

    pub(super) fn is_of(&self, owner: Owner) -> bool {
        self.head.line.tenant == owner.name()
    }

    pub(super) fn cipher(&self) -> Result<&LessSafeKey, Error> {
        match &*self.material {
            Material::Cipher(key) => Ok(key),
            // A key of another use, by whatever way its id came here.
            Material::Index(_) => Err(Error::DoesNotOpen),
        }
    }

    pub(super) fn index(&self, table: &str, field: &str, plain: &[u8]) -> Result<[u8; 32], Error> {
        let Material::Index(key) = &*self.material else {
            return Err(Error::DoesNotOpen);
        };
        let message = seal::joined(&[table.as_bytes(), field.as_bytes(), plain]);
        let tag = hmac::sign(key, &message);
        tag.as_ref()
            .first_chunk()
            .copied()
            .ok_or(Error::DoesNotOpen)
    }
}

/// A key as it is told.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    pub id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub purpose: String,
    pub version: i64,
    pub created_at: String,
    pub state: KeyState,
    #[serde(flatten)]
    pub under: Under,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    Sealing,
    /// Opens what it sealed, and seals nothing more.
    Opening,
}

/// Which data keys are wrapped anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those under another KEK than the one in use.
    Earlier,
    /// All: a key of a service may have a newer version.
    Every,
}

/// A step of wrapping data keys anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rewrapped {
    /// In this step.
    pub done: u64,
    /// In this step: those that do not unwrap. They stay as they are.
    pub failed: u64,
    /// Keys that another KEK wrapped, after this step.
    pub left: u64,
    /// Where the next step begins. Nothing when this was the last.
    #[serde(skip)]
    pub next: Option<Uuid>,
}

pub(super) struct DataKeys {
    db: Db,
    keks: Arc<Keks>,
    clock: Arc<dyn Clock>,
    rotate_after: Span,
    /// How long an unwrapped key works.
    remember_for: Span,
    /// Unwrapping at once: a service is not asked by every request that waits for it.
    turns: Semaphore,
    /// Counts what was forgotten, so that nothing is remembered that was read before.
    forgotten: AtomicU64,
    by_id: RwLock<HashMap<Uuid, Arc<DataKey>>>,
    newest: RwLock<HashMap<Line, (Arc<DataKey>, Timestamp)>>,
}

const NEWEST: &str = "SELECT id, tenant, subject, purpose, version, wrapped, created_at, retired_at FROM data_key WHERE tenant = $1 AND subject = $2 AND purpose = $3 ORDER BY version DESC LIMIT 1";
const BY_ID: &str = "SELECT id, tenant, subject, purpose, version, wrapped, created_at, retired_at FROM data_key WHERE id = $1";
const ADD: &str = "INSERT INTO data_key (id, tenant, subject, purpose, version, wrapped, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, subject, purpose, version) DO NOTHING";
const RETIRE: &str = "UPDATE data_key SET retired_at = $2 WHERE tenant = $1 AND purpose = 'seal' AND retired_at IS NULL";
const RETIRE_ALL: &str =
    "UPDATE data_key SET retired_at = $1 WHERE purpose = 'seal' AND retired_at IS NULL";
const PAGE: &str = "SELECT id, tenant, subject, purpose, version, wrapped, created_at, retired_at FROM data_key WHERE id > $1 ORDER BY id LIMIT $2";
/// What another KEK wrapped: what is wrapped begins with the mark of its KEK.
const OTHERWISE: &str = "SELECT id, tenant, subject, purpose, version, wrapped, created_at, retired_at FROM data_key WHERE substr(wrapped, 1, 5) <> $1 AND id > $2 ORDER BY id LIMIT $3";
const LEFT: &str = "SELECT count(*) AS n FROM data_key WHERE substr(wrapped, 1, 5) <> $1";
const REWRAP: &str = "UPDATE data_key SET wrapped = $2 WHERE id = $1 AND wrapped = $3";
const DESTROY: &str = "DELETE FROM data_key WHERE tenant = $1 AND subject = $2 RETURNING id";
const DESTROY_SUBJECT: &str = "DELETE FROM data_key WHERE subject = $1 RETURNING id";
const DESTROY_ALL: &str = "DELETE FROM data_key WHERE tenant = $1 RETURNING id";

impl DataKeys {
    pub(super) fn new(
        db: Db,
        keks: Arc<Keks>,
        clock: Arc<dyn Clock>,
        rotate_after: Span,
        remember_for: Span,
    ) -> Self {
        DataKeys {
            db,
            keks,
            clock,
            rotate_after,
            remember_for,
            turns: Semaphore::new(AT_ONCE),
            forgotten: AtomicU64::new(0),
            by_id: RwLock::default(),
            newest: RwLock::default(),
        }
    }

    /// The key that seals now; it is made where there is none, or where the last one is too old.
    pub(super) async fn newest(&self, line: &Line) -> Result<Arc<DataKey>, Error> {
        let now = self.clock.now();
        let known = read(&self.newest).get(line).cloned();
        if let Some((key, asked_at)) = known
            && now.since(asked_at) < FRESH
            && self.works(&key, now)
            && key.head.seals(self.rotate_after, now)
        {
            return Ok(key);
        }
        let before = self.forgotten.load(Ordering::Acquire);
        let key = self.newest_of_table(line, now).await?;
        self.remember(&key, Some(now), before);
        Ok(key)
    }

    /// The newest that is in memory, and does.
    pub(super) fn newest_known(&self, line: &Line) -> Option<Arc<DataKey>> {
        let now = self.clock.now();
        let (key, _) = read(&self.newest).get(line).cloned()?;
        (self.works(&key, now) && key.head.seals(self.rotate_after, now)).then_some(key)
    }

    /// Whether there is a key of this line, whoever can unwrap it.
    pub(super) async fn exists(&self, line: &Line) -> Result<bool, Error> {
        let args = [
            (&line.tenant).into(),
            (&line.subject).into(),
            line.purpose.word().into(),
        ];
        Ok(self.db.fetch_optional(NEWEST, &args).await?.is_some())
    }

    async fn newest_of_table(&self, line: &Line, now: Timestamp) -> Result<Arc<DataKey>, Error> {
        let args = [
            (&line.tenant).into(),
            (&line.subject).into(),
            line.purpose.word().into(),
        ];
        let row = self.db.fetch_optional(NEWEST, &args).await?;
        let last = row.as_ref().map(Head::of).transpose()?;
        let version = match (last, row) {
            (Some(head), Some(row)) if head.seals(self.rotate_after, now) => {
                return self.ready(head, &row.bytes("wrapped")?).await;
            }
            (Some(head), _) => head.version.saturating_add(1),
            (None, _) => 1,
        };
        let head = Head {
            id: Uuid::now_v7(),
            line: line.clone(),
            version,
            created_at: now,
            retired_at: None,
        };
        // Asked before the transaction: nobody waits for a service while holding the database.
        let key = Zeroizing::new(tokens::random::<KEY_LEN>()?);
        let wrapped = self.keks.wrap(&head.whose(), &key[..]).await?;
        let mut tx = self.db.begin().await?;
        add(&mut tx, &head, &wrapped).await?;
        // Ours, or that of a node which was faster.
        let row = tx.fetch_optional(NEWEST, &args).await?;
        tx.commit().await?;
        let row = row.ok_or(Error::DoesNotOpen)?;
        // Unwrapped, although it may be the one in hand: what does not unwrap shall seal nothing.
        self.ready(Head::of(&row)?, &row.bytes("wrapped")?).await
    }

    /// A key by its name.
    pub(super) async fn find(&self, id: Uuid) -> Result<Option<Arc<DataKey>>, Error> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        let before = self.forgotten.load(Ordering::Acquire);
        let Some(row) = self.db.fetch_optional(BY_ID, &[id.into()]).await? else {
            return Ok(None);
        };
        let key = self.ready(Head::of(&row)?, &row.bytes("wrapped")?).await?;
        self.remember(&key, None, before);
        Ok(Some(key))
    }

    /// What is remembered of a key and still works.
    fn known(&self, id: Uuid) -> Option<Arc<DataKey>> {
        let known = read(&self.by_id).get(&id).cloned();
        known.filter(|key| self.works(key, self.clock.now()))
    }

    /// SECURITY: a key works for a bounded time after its KEK gave it, however often it was used
    /// meanwhile. Where the KEK was taken away, so are the keys.
    fn works(&self, key: &DataKey, now: Timestamp) -> bool {
        key.unwrapped_at <= now && now.since(key.unwrapped_at) < self.remember_for
    }

    /// The key of a row: what is remembered of it, or what its KEK says.
    async fn ready(&self, head: Head, wrapped: &[u8]) -> Result<Arc<DataKey>, Error> {
        let _turn = self.turns.acquire().await;
        // Somebody may have asked meanwhile. What they got does not get older by that.
        // SECURITY: only for the owner that it was unwrapped for. A row that somebody moved since is
        // for its KEK to refuse.
        let known = self.known(head.id);
        let known = known.filter(|known| known.head.whose() == head.whose());
        let (material, unwrapped_at) = if let Some(known) = known {
            (Arc::clone(&known.material), known.unwrapped_at)
        } else {
            let now = self.clock.now();
            let key = self.keks.unwrap(&head.whose(), wrapped).await?;
            (Arc::new(material(head.line.purpose, &key)?), now)
        };
        Ok(Arc::new(DataKey {
            head,
            material,
            unwrapped_at,
        }))
    }

    fn remember(&self, key: &Arc<DataKey>, newest_at: Option<Timestamp>, before: u64) {
        let mut by_id = write(&self.by_id);
        // INVARIANT: compared under the lock that forgetting takes.
        if self.forgotten.load(Ordering::Acquire) != before {
            return;
        }
        insert(&mut by_id, key.id(), Arc::clone(key));
        if let Some(at) = newest_at {
            let line = key.line().clone();
            insert(&mut write(&self.newest), line, (Arc::clone(key), at));
        }
    }

    /// Forgets every key: some were destroyed.
    pub(super) fn forget(&self) {
        let mut by_id = write(&self.by_id);
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        by_id.clear();
        write(&self.newest).clear();
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        read(&self.by_id).len()
    }

    /// Forgets the keys whose time is over.
    pub(super) fn forget_old(&self) {
        let now = self.clock.now();
        write(&self.by_id).retain(|_, key| self.works(key, now));
        write(&self.newest).retain(|_, (key, _)| self.works(key, now));
    }

    /// Destroys the keys of a tenant, or of one subject in it: their ids. What they sealed never
    /// opens again. Every node forgets them when it hears of the transaction.
    pub(super) async fn destroy(
        &self,
        tx: &mut Tx,
        owner: Owner,
        subject: Option<&str>,
    ) -> Result<Vec<Uuid>, Error> {
        let name = owner.name();
        let rows = match subject {
            Some(subject) => {
                tx.fetch_all(DESTROY, &[(&name).into(), subject.into()])
                    .await?
            }
            None => tx.fetch_all(DESTROY_ALL, &[(&name).into()]).await?,
        };
        self.destroyed(tx, &rows).await
    }

    /// The same for one subject in every tenant.
    pub(super) async fn destroy_subject(
        &self,
        tx: &mut Tx,
        subject: &str,
    ) -> Result<Vec<Uuid>, Error> {
        let rows = tx.fetch_all(DESTROY_SUBJECT, &[subject.into()]).await?;
        self.destroyed(tx, &rows).await
    }

    async fn destroyed(&self, tx: &mut Tx, rows: &[Row]) -> Result<Vec<Uuid>, Error> {
        let ids: Result<Vec<Uuid>, _> = rows.iter().map(|row| row.uuid("id")).collect();
        revocations::publish(tx, Revocation::DataKeys, self.clock.now()).await?;
        Ok(ids?)
    }

    pub(super) async fn rotate(&self, tenant: Option<TenantId>) -> Result<u64, Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let retired = match tenant {
            Some(tenant) => {
                let tenant = tenant.to_string();
                tx.execute(RETIRE, &[(&tenant).into(), now.into()]).await?
            }
            None => tx.execute(RETIRE_ALL, &[now.into()]).await?,
        };
        tx.commit().await?;
        write(&self.newest).clear();
        Ok(retired)
    }

    pub(super) async fn list(&self, after: Option<Uuid>, most: u32) -> Result<Vec<KeyView>, Error> {
        let now = self.clock.now();
        let rows = self.page(after.unwrap_or_default(), most).await?;
        let view = |row: &Row| {
            let (line, version) = (line_of(row)?, row.int("version")?);
            let created_at = row.timestamp("created_at")?;
            let is_old = now.since(created_at) >= self.rotate_after;
            let rests =
                line.purpose == Use::Seal && (is_old || row.opt_timestamp("retired_at")?.is_some());
            Ok(KeyView {
                id: row.uuid("id")?,
                tenant: Some(line.tenant).filter(|tenant| !tenant.is_empty()),
                subject: Some(line.subject).filter(|subject| !subject.is_empty()),
                purpose: line.purpose.word().to_owned(),
                version,
                created_at: created_at.to_string(),
                state: if rests {
                    KeyState::Opening
                } else {
                    KeyState::Sealing
                },
                under: self.keks.under(&row.bytes("wrapped")?),
            })
        };
        rows.iter().map(view).collect()
    }

    pub(super) async fn rewrap(
        &self,
        which: Which,
        after: Option<Uuid>,
        most: u32,
    ) -> Result<Rewrapped, Error> {
        let mark = self.keks.mark();
        let after = after.unwrap_or_default();
        let rows = match which {
            Which::Earlier => {
                let args = [(&mark).into(), after.into(), most.into()];
                self.db.fetch_all(OTHERWISE, &args).await?
            }
            Which::Every => self.page(after, most).await?,
        };
        let (mut done, mut failed, mut next) = (0_u64, 0_u64, None);
        for row in &rows {
            let head = Head::of(row)?;
            next = Some(head.id);
            match self.wrapped_anew(&head, &row.bytes("wrapped")?).await {
                Ok(changed) => done = done.saturating_add(changed),
                // A service that is away is an end, to be gone on from. One row that is broken is not.
                Err(Error::Kek(error @ (kek::Error::Refused(..) | kek::Error::Unknown))) => {
                    tracing::error!(data_key.id = %head.id, %error, "a data key stays as it is");
                    failed = failed.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        }
        let row = self.db.fetch_optional(LEFT, &[(&mark).into()]).await?;
        let left = row.map_or(Ok(0), |row| row.int("n"))?;
        Ok(Rewrapped {
            done,
            failed,
            left: u64::try_from(left).unwrap_or_default(),
            next,
        })
    }

    /// One row is one transaction: whoever is killed between two of them has lost nothing.
    async fn wrapped_anew(&self, head: &Head, old: &[u8]) -> Result<u64, Error> {
        let key = self.keks.unwrap(&head.whose(), old).await?;
        let new = self.keks.wrap(&head.whose(), key.expose()).await?;
        // SECURITY: the old one is given up only for what gives the same key back.
        let back = self.keks.unwrap(&head.whose(), &new).await?;
        if !crate::ct_eq(back.expose(), key.expose()) {
            return Err(kek::Error::Wrap.into());
        }
        let mut tx = self.db.begin().await?;
        // Only over what was read: another node may be at it as well.
        let args = [head.id.into(), (&new[..]).into(), old.into()];
        let changed = tx.execute(REWRAP, &args).await?;
        tx.commit().await?;
        Ok(changed)
    }

    async fn page(&self, after: Uuid, most: u32) -> Result<Vec<Row>, Error> {
        let args = [after.into(), most.into()];
        Ok(self.db.fetch_all(PAGE, &args).await?)
    }
}

fn material(purpose: Use, key: &Secret<Vec<u8>>) -> Result<Material, Error> {
    Ok(match purpose {
        Use::Seal => {
            let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| seal::Error::Open)?;
            Material::Cipher(LessSafeKey::new(key))
        }
        Use::Index => Material::Index(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))),
    })
}

async fn add(tx: &mut Tx, head: &Head, wrapped: &[u8]) -> Result<(), Error> {
    let args = [
        head.id.into(),
        (&head.line.tenant).into(),
        (&head.line.subject).into(),
        head.line.purpose.word().into(),
        head.version.into(),
        wrapped.into(),
        head.created_at.into(),
    ];
    tx.execute(ADD, &args).await?;
    Ok(())
}

fn line_of(row: &Row) -> Result<Line, Error> {
    let purpose = match row.text("purpose")?.as_str() {
        "seal" => Use::Seal,
        "index" => Use::Index,
        // The column admits nothing else.
        _ => return Err(seal::Error::Open.into()),
    };
    Ok(Line {
        tenant: row.text("tenant")?,
        subject: row.text("subject")?,
        purpose,
    })
}

fn insert<K: Hash + Eq, V>(table: &mut HashMap<K, V>, key: K, value: V) {
    if table.len() >= MOST {
        table.clear();
    }
    table.insert(key, value);
}
