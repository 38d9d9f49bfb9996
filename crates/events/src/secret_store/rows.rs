//! The rows. Each function is one statement.

use portcullis_core::{Span, TenantId, Timestamp};
use portcullis_store::{Db, Row, Tx};
use uuid::Uuid;

use super::label::{Label, Made, Public, tenant_text};
use super::remote::Carried;
use super::{Error, Listed, Which};

/// A secret, without any value of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub(super) id: Uuid,
    pub label: Label,
    /// Who answers for it.
    pub owner: String,
    pub purpose: String,
    pub made: Made,
    /// Nothing: it is not replaced by itself, nor known to be due.
    pub rotate_every: Option<Span>,
    pub overlap: Span,
    pub created_at: Timestamp,
    /// When the version in use came.
    pub rotated_at: Timestamp,
    /// The version in use.
    pub version: i64,
    /// How far it was carried to the store of somebody else.
    pub carried: Option<Carried>,
}

/// One version of a secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub version: i64,
    pub public: Public,
    pub created_at: Timestamp,
    /// Nothing: it is in use.
    pub served_until: Option<Timestamp>,
    pub made_by: String,
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// Served still, beside the current one.
    Previous,
    Retired,
}

impl Standing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Current => "current",
            Standing::Previous => "previous",
            Standing::Retired => "retired",
        }
    }
}

impl Version {
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.served_until {
            None => Standing::Current,
            Some(until) if now < until => Standing::Previous,
            Some(_) => Standing::Retired,
        }
    }
}

/// A version with what is sealed of it.
pub(super) struct Sealed {
    pub(super) secret: Uuid,
    pub(super) version: i64,
    pub(super) public: Public,
    pub(super) text: String,
    pub(super) served_until: Option<Timestamp>,
}

/// A version that is to be.
pub(super) struct NewVersion<'a> {
    pub(super) version: i64,
    pub(super) public: &'a str,
    pub(super) sealed: &'a str,
    pub(super) made_by: &'a str,
    pub(super) request: Option<[u8; 32]>,
}

impl Stored {
    fn of(row: &Row) -> Result<Self, Error> {
        let tenant = row.text("tenant")?;
        let tenant: Option<TenantId> = match tenant.as_str() {
            "" => None,
            id => Some(id.parse().map_err(|_| Error::Unreadable)?),
        };
        let rotate_every = Span::from_micros(row.int("rotate_every")?);
        Ok(Stored {
            id: row.uuid("id")?,
            label: Label {
                tenant,
                name: row.text("name")?.parse().map_err(|_| Error::Unreadable)?,
            },
            owner: row.text("owner")?,
            purpose: row.text("purpose")?,
            made: row.text("made")?.parse().map_err(|_| Error::Unreadable)?,
            rotate_every: Some(rotate_every).filter(|span| !span.is_zero()),
            overlap: Span::from_micros(row.int("overlap")?),
            created_at: row.timestamp("created_at")?,
            rotated_at: row.timestamp("rotated_at")?,
            version: row.int("version")?,
            carried: Carried::of(row)?,
        })
    }

    fn rotate_every_micros(&self) -> i64 {
        self.rotate_every.map_or(0, Span::as_micros)
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.tenant, s.name, s.owner, s.purpose, s.made, s.rotate_every, s.overlap, s.created_at, s.rotated_at, s.version, ",
            "r.carried, r.drifted_at, r.failing_since, r.fault ",
            "FROM stored_secret AS s LEFT JOIN secret_remote AS r ON r.secret_id = s.id ",
            $rest
        )
    };
}

pub(super) async fn find(db: &Db, label: &Label) -> Result<Option<Stored>, Error> {
    const SQL: &str = select!("WHERE tenant = $1 AND name = $2");
    let tenant = label.tenant_text();
    let args = [(&tenant).into(), label.name.as_str().into()];
    let row = db.fetch_optional(SQL, &args).await?;
    row.as_ref().map(Stored::of).transpose()
}

/// By tenant and name, those behind `after`.
pub(super) async fn list(
    db: &Db,
    listed: Listed,
    after: Option<&Label>,
    limit: u32,
) -> Result<Vec<Stored>, Error> {
    const ALL: &str = select!("WHERE (tenant, name) > ($1, $2) ORDER BY tenant, name LIMIT $3");
    const OF_ONE: &str =
        select!("WHERE tenant = $4 AND (tenant, name) > ($1, $2) ORDER BY tenant, name LIMIT $3");
    let begins = after.map(Label::tenant_text).unwrap_or_default();
    let name = after.map_or("", |after| after.name.as_str());
    let whose = match listed {
        Listed::All => None,
        Listed::Of(tenant) => Some(tenant_text(tenant)),
    };
    let mut args = vec![(&begins).into(), name.into(), limit.into()];
    let sql = match &whose {
        None => ALL,
        Some(tenant) => {
            args.push(tenant.into());
            OF_ONE
        }
    };
    let rows = db.fetch_all(sql, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// Those whose value came before `limit`, or whose own time is over `now`, and that nobody was told of since
/// `not_since`; oldest first.
pub(super) async fn overdue(
    db: &Db,
    (limit, now): (Timestamp, Timestamp),
    not_since: Timestamp,
    most: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE (rotated_at <= $1 OR (rotate_every > 0 AND rotated_at + rotate_every <= $2)) AND (told_at IS NULL OR told_at <= $3) ORDER BY rotated_at LIMIT $4"
    );
    let args = [limit.into(), now.into(), not_since.into(), most.into()];
    let rows = db.fetch_all(SQL, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// Those that are replaced by themselves, and due.
pub(super) async fn due(db: &Db, now: Timestamp, most: u32) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE rotate_every > 0 AND made NOT IN ('provider', 'file') AND rotated_at + rotate_every <= $1 ORDER BY rotated_at LIMIT $2"
    );
    let rows = db.fetch_all(SQL, &[now.into(), most.into()]).await?;
    rows.iter().map(Stored::of).collect()
}

/// Those that are to be carried to the store of this name now. What comes from a file is not.
pub(super) async fn to_carry(
    db: &Db,
    store: &str,
    now: Timestamp,
    most: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE s.made <> 'file' AND (r.secret_id IS NULL OR r.store <> $1 OR (r.carried < s.version AND r.drifted_at IS NULL AND r.due_at <= $2 AND r.taken_until <= $2)) ORDER BY s.rotated_at LIMIT $3"
    );
    let rows = db
        .fetch_all(SQL, &[store.into(), now.into(), most.into()])
        .await?;
    rows.iter().map(Stored::of).collect()
}

/// Those that were carried there, and not looked at since `before`.
pub(super) async fn to_look_at(
    db: &Db,
    store: &str,
    (before, now): (Timestamp, Timestamp),
    most: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE s.made <> 'file' AND r.store = $1 AND r.carried = s.version AND r.drifted_at IS NULL AND r.checked_at <= $2 AND r.taken_until <= $3 ORDER BY r.checked_at LIMIT $4"
    );
    let args = [store.into(), before.into(), now.into(), most.into()];
    let rows = db.fetch_all(SQL, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// Those whose value in use is oldest first, behind so many.
pub(super) async fn oldest(db: &Db, skipped: u32, limit: u32) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!("ORDER BY s.rotated_at, s.id LIMIT $1 OFFSET $2");
    let rows = db.fetch_all(SQL, &[limit.into(), skipped.into()]).await?;
    rows.iter().map(Stored::of).collect()
}

/// How many values in use are of which age.
pub(super) const BY_AGE: &str = "SELECT (SELECT count(*) FROM stored_secret WHERE rotated_at > $1) AS young, (SELECT count(*) FROM stored_secret WHERE rotated_at <= $1 AND rotated_at > $2) AS grown, (SELECT count(*) FROM stored_secret WHERE rotated_at <= $2) AS old";
/// How many are too old, and when the value in use of the oldest came.
pub(super) const AGES: &str = "SELECT (SELECT count(*) FROM stored_secret WHERE rotated_at <= $1 OR (rotate_every > 0 AND rotated_at + rotate_every <= $2)) AS overdue, (SELECT min(rotated_at) FROM stored_secret) AS oldest";

/// Says that somebody is told now. False where another node did it today.
pub(super) async fn told(
    tx: &mut Tx,
    id: Uuid,
    now: Timestamp,
    not_since: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE stored_secret SET told_at = $2 WHERE id = $1 AND (told_at IS NULL OR told_at <= $3)";
    let args = [id.into(), now.into(), not_since.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// False where there is one of this name already.
pub(super) async fn insert(tx: &mut Tx, stored: &Stored) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO stored_secret (id, tenant, name, owner, purpose, made, rotate_every, overlap, created_at, rotated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (tenant, name) DO NOTHING";
    let (tenant, made) = (stored.label.tenant_text(), stored.made.to_string());
    let args = [
        stored.id.into(),
        (&tenant).into(),
        stored.label.name.as_str().into(),
        (&stored.owner).into(),
        (&stored.purpose).into(),
        (&made).into(),
        stored.rotate_every_micros().into(),
        stored.overlap.as_micros().into(),
        stored.created_at.into(),
        stored.rotated_at.into(),
        stored.version.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Writes all that is known of a secret over what was read as version `from`. False where another was
/// faster.
pub(super) async fn update(tx: &mut Tx, stored: &Stored, from: i64) -> Result<bool, Error> {
    const SQL: &str = "UPDATE stored_secret SET owner = $3, purpose = $4, made = $5, rotate_every = $6, overlap = $7, rotated_at = $8, version = $9, told_at = CASE WHEN version = $9 THEN told_at ELSE NULL END WHERE id = $1 AND version = $2";
    let made = stored.made.to_string();
    let args = [
        stored.id.into(),
        from.into(),
        (&stored.owner).into(),
        (&stored.purpose).into(),
        (&made).into(),
        stored.rotate_every_micros().into(),
        stored.overlap.as_micros().into(),
        stored.rotated_at.into(),
        stored.version.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

pub(super) async fn insert_version(
    tx: &mut Tx,
    secret: Uuid,
    new: &NewVersion<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO stored_secret_version (secret_id, version, public, sealed, created_at, made_by, request) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let args = [
        secret.into(),
        new.version.into(),
        new.public.into(),
        new.sealed.into(),
        now.into(),
        new.made_by.into(),
        new.request.as_ref().into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// What came before `version` is served until `end`, and no longer than it was.
pub(super) async fn end_earlier(
    tx: &mut Tx,
    secret: Uuid,
    version: i64,
    end: Timestamp,
) -> Result<u64, Error> {
    const SQL: &str = "UPDATE stored_secret_version SET served_until = $3 WHERE secret_id = $1 AND version < $2 AND (served_until IS NULL OR served_until > $3)";
    let args = [secret.into(), version.into(), end.into()];
    Ok(tx.execute(SQL, &args).await?)
}

pub(super) async fn remove(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM stored_secret WHERE id = $1";
    Ok(tx.execute(SQL, &[id.into()]).await? == 1)
}

/// Which version a caller's idempotency key made.
pub(super) async fn made_by_request(
    db: &Db,
    secret: Uuid,
    request: &[u8; 32],
) -> Result<Option<i64>, Error> {
    const SQL: &str =
        "SELECT version FROM stored_secret_version WHERE secret_id = $1 AND request = $2";
    let row = db
        .fetch_optional(SQL, &[secret.into(), request.into()])
        .await?;
    row.map(|row| Ok(row.int("version")?)).transpose()
}

/// Newest first.
pub(super) async fn versions(db: &Db, secret: Uuid, most: u32) -> Result<Vec<Version>, Error> {
    const SQL: &str = "SELECT version, public, created_at, served_until, made_by FROM stored_secret_version WHERE secret_id = $1 ORDER BY version DESC LIMIT $2";
    let rows = db.fetch_all(SQL, &[secret.into(), most.into()]).await?;
    let read = rows.iter().map(|row| {
        Ok(Version {
            version: row.int("version")?,
            public: Public::from_text(&row.text("public")?)?,
            created_at: row.timestamp("created_at")?,
            served_until: row.opt_timestamp("served_until")?,
            made_by: row.text("made_by")?,
        })
    });
    read.collect()
}

macro_rules! select_sealed {
    ($rest:literal) => {
        concat!(
            "SELECT v.secret_id, v.version, v.public, v.sealed, v.served_until FROM stored_secret AS s ",
            "JOIN stored_secret_version AS v ON v.secret_id = s.id ",
            "WHERE s.tenant = $1 AND s.name = $2 AND v.sealed IS NOT NULL ",
            "AND (v.served_until IS NULL OR v.served_until > $3) ",
            $rest
        )
    };
}

/// A version that is served at present.
pub(super) async fn served(
    db: &Db,
    label: &Label,
    which: Which,
    now: Timestamp,
) -> Result<Option<Sealed>, Error> {
    const CURRENT: &str = select_sealed!("AND v.version = s.version");
    const PREVIOUS: &str =
        select_sealed!("AND v.version < s.version ORDER BY v.version DESC LIMIT 1");
    const NUMBER: &str = select_sealed!("AND v.version = $4");
    let tenant = label.tenant_text();
    let mut args = vec![(&tenant).into(), label.name.as_str().into(), now.into()];
    let sql = match which {
        Which::Current => CURRENT,
        Which::Previous => PREVIOUS,
        Which::Number(number) => {
            args.push(number.into());
            NUMBER
        }
    };
    let Some(row) = db.fetch_optional(sql, &args).await? else {
        return Ok(None);
    };
    Ok(Some(Sealed {
        secret: row.uuid("secret_id")?,
        version: row.int("version")?,
        public: Public::from_text(&row.text("public")?)?,
        text: row.text("sealed")?,
        served_until: row.opt_timestamp("served_until")?,
    }))
}

/// The public part of what is in use: the tenant's own, or else the product's. Nothing that is sealed is
/// read here.
pub(super) async fn public(db: &Db, label: &Label) -> Result<Option<(i64, Public)>, Error> {
    const SQL: &str = "SELECT v.version, v.public FROM stored_secret AS s JOIN stored_secret_version AS v ON v.secret_id = s.id AND v.version = s.version WHERE s.name = $2 AND (s.tenant = $1 OR s.tenant = '') ORDER BY s.tenant DESC LIMIT 1";
    let tenant = label.tenant_text();
    let args = [(&tenant).into(), label.name.as_str().into()];
    let Some(row) = db.fetch_optional(SQL, &args).await? else {
        return Ok(None);
    };
    let public = Public::from_text(&row.text("public")?)?;
    Ok(Some((row.int("version")?, public)))
}

/// Forgets the values of versions that are served no more: their rows stay, as history. How many.
pub(super) async fn forget_values(db: &Db, now: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "UPDATE stored_secret_version SET sealed = NULL WHERE sealed IS NOT NULL AND served_until <= $1";
    let mut tx = db.begin().await?;
    let forgotten = tx.execute(SQL, &[now.into()]).await?;
    tx.commit().await?;
    Ok(forgotten)
}

/// Takes hold of a tenant for the rest of the transaction.
pub(super) async fn hold_tenant(tx: &mut Tx, tenant: TenantId) -> Result<(), Error> {
    const SQL: &str = "UPDATE tenant SET slug = slug WHERE id = $1";
    tx.execute(SQL, &[tenant.into()]).await?;
    Ok(())
}

/// How many secrets a tenant has.
pub(super) async fn count(tx: &mut Tx, tenant: TenantId) -> Result<i64, Error> {
    const SQL: &str = "SELECT count(*) AS n FROM stored_secret WHERE tenant = $1";
    let tenant = tenant_text(Some(tenant));
    let row = tx.fetch_optional(SQL, &[(&tenant).into()]).await?;
    row.map_or(Ok(0), |row| Ok(row.int("n")?))
}

/// Whether there is such a tenant.
pub(super) async fn has_tenant(db: &Db, tenant: TenantId) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM tenant WHERE id = $1";
    Ok(db.fetch_optional(SQL, &[tenant.into()]).await?.is_some())
}
