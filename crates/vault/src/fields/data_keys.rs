//! The keys that seal: their table, and what this node remembers of it.
//!
//! - A key is made when it is first needed. Two nodes that make one at once agree on the row that was
//!   first.
//! - What is remembered of a key never changes but for being retired, which other nodes hear of when
//!   they ask again ([`FRESH`]). Until then they seal under the older version, which opens as well.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hmac;
use portcullis_core::locks::{read, write};
use portcullis_core::{Clock, Span, TenantId, Timestamp};
use portcullis_store::{Db, Row, Tx};
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, check};
use crate::{Sealer, seal, tokens};

/// How long this node takes the newest key that it knows for the newest there is.
const FRESH: Span = Span::from_minutes(1);
/// Keys that are remembered at once; then all are forgotten and read again.
const MOST: usize = 20_000;

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
    pub(super) fn new(
        tenant: Option<TenantId>,
        subject: Option<&str>,
        purpose: Use,
    ) -> Result<Self, Error> {
        if let Some(subject) = subject {
            check("subject", subject)?;
        }
        Ok(Line {
            tenant: name(tenant),
            subject: subject.unwrap_or_default().to_owned(),
            purpose,
        })
    }
}

fn name(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.to_string())
}

/// A key, ready for work.
pub(super) struct DataKey {
    id: Uuid,
    line: Line,
    version: i64,
    created_at: Timestamp,
    retired_at: Option<Timestamp>,
    material: Material,
}

enum Material {
    Cipher(LessSafeKey),
    // Fifty times as large.
    Index(Box<hmac::Key>),
}

impl DataKey {
    pub(super) const fn id(&self) -> Uuid {
        self.id
    }

    pub(super) const fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn is_of(&self, tenant: Option<TenantId>) -> bool {
        self.line.tenant == name(tenant)
    }

    pub(super) fn cipher(&self) -> Result<&LessSafeKey, Error> {
        match &self.material {
            Material::Cipher(key) => Ok(key),
            // A key of another use, by whatever way its id came here.
            Material::Index(_) => Err(Error::DoesNotOpen),
        }
    }

    pub(super) fn index(&self, table: &str, field: &str, plain: &[u8]) -> Result<[u8; 32], Error> {
        let Material::Index(key) = &self.material else {
            return Err(Error::DoesNotOpen);
        };
        let message = seal::joined(&[table.as_bytes(), field.as_bytes(), plain]);
        let tag = hmac::sign(key, &message);
        tag.as_ref()
            .first_chunk()
            .copied()
            .ok_or(Error::DoesNotOpen)
    }

    fn seals(&self, rotate_after: Span, now: Timestamp) -> bool {
        match self.line.purpose {
            Use::Seal => self.retired_at.is_none() && now.since(self.created_at) < rotate_after,
            Use::Index => true,
        }
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
    /// Whether the master secret in use sealed it, not an earlier one.
    pub is_under_current_master: bool,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    Sealing,
    /// Opens what it sealed, and seals nothing more.
    Opening,
}

/// How far the data keys are sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rewrapped {
    /// In this step.
    pub done: u64,
    pub left: u64,
}

pub(super) struct DataKeys {
    db: Db,
    master: Sealer,
    clock: Arc<dyn Clock>,
    rotate_after: Span,
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
/// What another master secret sealed: a sealed value begins with the mark of its key.
const OTHERWISE: &str = "SELECT id, tenant, subject, purpose, version, wrapped FROM data_key WHERE substr(wrapped, 1, 5) <> $1 ORDER BY id LIMIT $2";
const LEFT: &str = "SELECT count(*) AS n FROM data_key WHERE substr(wrapped, 1, 5) <> $1";
const REWRAP: &str = "UPDATE data_key SET wrapped = $2 WHERE id = $1 AND wrapped = $3";

impl DataKeys {
    pub(super) fn new(db: Db, master: Sealer, clock: Arc<dyn Clock>, rotate_after: Span) -> Self {
        DataKeys {
            db,
            master,
            clock,
            rotate_after,
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
            && key.seals(self.rotate_after, now)
        {
            return Ok(key);
        }
        let key = Arc::new(self.newest_of_table(line, now).await?);
        remember(&self.newest, line.clone(), (Arc::clone(&key), now));
        remember(&self.by_id, key.id, Arc::clone(&key));
        Ok(key)
    }

    async fn newest_of_table(&self, line: &Line, now: Timestamp) -> Result<DataKey, Error> {
        let args = [
            (&line.tenant).into(),
            (&line.subject).into(),
            line.purpose.word().into(),
        ];
        let row = self.db.fetch_optional(NEWEST, &args).await?;
        let last = row.map(|row| self.unwrapped(&row)).transpose()?;
        let version = match last {
            Some(key) if key.seals(self.rotate_after, now) => return Ok(key),
            Some(key) => key.version.saturating_add(1),
            None => 1,
        };
        let mut tx = self.db.begin().await?;
        self.add(&mut tx, line, version, now).await?;
        // Ours, or that of a node which was faster.
        let row = tx.fetch_optional(NEWEST, &args).await?;
        tx.commit().await?;
        self.unwrapped(&row.ok_or(Error::DoesNotOpen)?)
    }

    async fn add(
        &self,
        tx: &mut Tx,
        line: &Line,
        version: i64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = Uuid::now_v7();
        let key = Zeroizing::new(tokens::random::<32>()?);
        let wrapped = self
            .master
            .seal(&bound(&id, line, &version.to_be_bytes()), &key[..])?;
        let args = [
            id.into(),
            (&line.tenant).into(),
            (&line.subject).into(),
            line.purpose.word().into(),
            version.into(),
            (&wrapped).into(),
            now.into(),
        ];
        tx.execute(ADD, &args).await?;
        Ok(())
    }

    /// A key by its name.
    pub(super) async fn find(&self, id: Uuid) -> Result<Option<Arc<DataKey>>, Error> {
        let known = read(&self.by_id).get(&id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(row) = self.db.fetch_optional(BY_ID, &[id.into()]).await? else {
            return Ok(None);
        };
        let key = Arc::new(self.unwrapped(&row)?);
        remember(&self.by_id, id, Arc::clone(&key));
        Ok(Some(key))
    }

    pub(super) async fn rotate(&self, tenant: Option<TenantId>) -> Result<u64, Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let retired = match tenant {
            Some(tenant) => {
                let tenant = name(Some(tenant));
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
                is_under_current_master: row.bytes("wrapped")?.starts_with(&self.master.mark()),
            })
        };
        rows.iter().map(view).collect()
    }

    pub(super) async fn rewrap(&self, most: u32) -> Result<Rewrapped, Error> {
        let mark = self.master.mark();
        let rows = self
            .db
            .fetch_all(OTHERWISE, &[(&mark).into(), most.into()])
            .await?;
        let mut done = 0;
        for row in &rows {
            let old = row.bytes("wrapped")?;
            let (id, line) = (row.uuid("id")?, line_of(row)?);
            let version = row.int("version")?.to_be_bytes();
            let place = bound(&id, &line, &version);
            let key = self.master.open(&place, &old)?;
            let new = self.master.seal(&place, key.expose())?;
            let mut tx = self.db.begin().await?;
            // Only over what was read: another node may be at it as well.
            let args = [id.into(), (&new).into(), (&old).into()];
            done += tx.execute(REWRAP, &args).await?;
            tx.commit().await?;
        }
        let row = self.db.fetch_optional(LEFT, &[(&mark).into()]).await?;
        let left = row.map_or(Ok(0), |row| row.int("n"))?;
        Ok(Rewrapped {
            done,
            left: u64::try_from(left).unwrap_or_default(),
        })
    }

    async fn page(&self, after: Uuid, most: u32) -> Result<Vec<Row>, Error> {
        let args = [after.into(), most.into()];
        Ok(self.db.fetch_all(PAGE, &args).await?)
    }

    fn unwrapped(&self, row: &Row) -> Result<DataKey, Error> {
        let (id, line, version) = (row.uuid("id")?, line_of(row)?, row.int("version")?);
        let key = self.master.open(
            &bound(&id, &line, &version.to_be_bytes()),
            &row.bytes("wrapped")?,
        )?;
        let material = match line.purpose {
            Use::Seal => {
                let key =
                    UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| seal::Error::Open)?;
                Material::Cipher(LessSafeKey::new(key))
            }
            Use::Index => {
                Material::Index(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
            }
        };
        Ok(DataKey {
            id,
            line,
            version,
            created_at: row.timestamp("created_at")?,
            retired_at: row.opt_timestamp("retired_at")?,
            material,
        })
    }
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

/// What a data key is bound to: its row.
fn bound<'a>(id: &'a Uuid, line: &'a Line, version: &'a [u8; 8]) -> [&'a [u8]; 5] {
    [
        id.as_bytes(),
        line.tenant.as_bytes(),
        line.subject.as_bytes(),
        line.purpose.word().as_bytes(),
        version,
    ]
}

fn remember<K: Hash + Eq, V>(table: &RwLock<HashMap<K, V>>, key: K, value: V) {
    let mut table = write(table);
    if table.len() >= MOST {
        table.clear();
    }
    table.insert(key, value);
}
