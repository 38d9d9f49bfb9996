//! The rows. Each function is one statement.

use portcullis_core::upload::FileType;
use portcullis_core::{TenantId, Timestamp};
use portcullis_store::{Db, Row, Tx};
use uuid::Uuid;

use super::Error;

/// Whether it may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Kept,
    /// Served to nobody.
    Quarantined,
}

impl State {
    pub const ALL: [State; 2] = [State::Kept, State::Quarantined];

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Kept => "kept",
            State::Quarantined => "quarantined",
        }
    }

    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// How it was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Clean,
    /// By the operator's choice.
    NotScanned,
    Infected,
    /// The scanner was away.
    Unscanned,
}

impl Verdict {
    const ALL: [Verdict; 4] = [
        Verdict::Clean,
        Verdict::NotScanned,
        Verdict::Infected,
        Verdict::Unscanned,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::NotScanned => "not-scanned",
            Verdict::Infected => "infected",
            Verdict::Unscanned => "unscanned",
        }
    }

    fn parse(word: &str) -> Option<Verdict> {
        Verdict::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
    }

    /// Where a file goes that was judged so.
    pub const fn state(self) -> State {
        match self {
            Verdict::Clean | Verdict::NotScanned => State::Kept,
            Verdict::Infected | Verdict::Unscanned => State::Quarantined,
        }
    }
}

/// What the database says of a file. Its name is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: Uuid,
    pub tenant: Option<TenantId>,
    /// Who sent it, such as `user:ID`.
    pub owner: String,
    pub kind: FileType,
    pub size: u64,
    pub sha256: [u8; 32],
    pub state: State,
    pub verdict: Verdict,
    /// What the scanner calls it.
    pub found: Option<String>,
    pub created_at: Timestamp,
    pub taken_at: Option<Timestamp>,
}

impl Stored {
    fn of(row: &Row) -> Result<Self, Error> {
        const STRANGE: Error = Error::Damaged("its row cannot be read");
        let tenant = row.text("tenant")?;
        let tenant = (!tenant.is_empty()).then(|| tenant.parse().map_err(|_| STRANGE));
        let kind = row.text("kind")?;
        let kind = FileType::ALL
            .into_iter()
            .find(|known| known.as_str() == kind);
        Ok(Stored {
            id: row.uuid("id")?,
            tenant: tenant.transpose()?,
            owner: row.text("owner")?,
            kind: kind.ok_or(STRANGE)?,
            size: row.int("size")?.try_into().map_err(|_| STRANGE)?,
            sha256: row.bytes("sha256")?.try_into().map_err(|_| STRANGE)?,
            state: State::parse(&row.text("state")?).ok_or(STRANGE)?,
            verdict: Verdict::parse(&row.text("verdict")?).ok_or(STRANGE)?,
            found: row.opt_text("found")?,
            created_at: row.timestamp("created_at")?,
            taken_at: row.opt_timestamp("taken_at")?,
        })
    }

    pub(super) fn tenant_text(&self) -> String {
        tenant_text(self.tenant)
    }
}

pub(super) fn tenant_text(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.to_string())
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, owner, kind, size, sha256, state, verdict, found, created_at, taken_at, sealed FROM stored_upload ",
            $rest
        )
    };
}

/// The row, and what is sealed in it.
pub(super) async fn find(db: &Db, id: Uuid) -> Result<Option<(Stored, String)>, Error> {
    const SQL: &str = select!("WHERE id = $1");
    let row = db.fetch_optional(SQL, &[id.into()]).await?;
    row.map(|row| Ok((Stored::of(&row)?, row.text("sealed")?)))
        .transpose()
}

/// Newest first, those behind `after`.
pub(super) async fn list(
    db: &Db,
    state: Option<State>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Stored>, Error> {
    const ALL: &str = select!("WHERE id < $1 ORDER BY id DESC LIMIT $2");
    const IN_STATE: &str = select!("WHERE id < $1 AND state = $3 ORDER BY id DESC LIMIT $2");
    let mut args = vec![after.unwrap_or(Uuid::max()).into(), limit.into()];
    let sql = match state {
        None => ALL,
        Some(state) => {
            args.push(state.as_str().into());
            IN_STATE
        }
    };
    let rows = db.fetch_all(sql, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// Of one tenant, newest first, those behind `after`.
pub(super) async fn of_tenant(
    db: &Db,
    tenant: TenantId,
    state: Option<State>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE tenant = $1 AND id < $2 AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4"
    );
    let tenant = tenant_text(Some(tenant));
    let args = [
        (&tenant).into(),
        after.unwrap_or(Uuid::max()).into(),
        state.map_or("", State::as_str).into(),
        limit.into(),
    ];
    let rows = db.fetch_all(SQL, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// Those that one sender sent, oldest first, those behind `after`.
pub(super) async fn of_owner(
    db: &Db,
    owner: &str,
    after: Uuid,
    limit: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!("WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3");
    let args = [owner.into(), after.into(), limit.into()];
    let rows = db.fetch_all(SQL, &args).await?;
    rows.iter().map(Stored::of).collect()
}

/// How many files the quarantine holds, and how many bytes.
pub(super) const QUARANTINED: &str = "SELECT count(*) AS files, CAST(coalesce(sum(size), 0) AS BIGINT) AS bytes FROM stored_upload WHERE state = 'quarantined'";

/// What that says.
pub(super) fn quarantined(row: Option<&Row>) -> Result<(u64, u64), Error> {
    let Some(row) = row else { return Ok((0, 0)) };
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Ok((number(row.int("files")?), number(row.int("bytes")?)))
}

pub(super) async fn insert(tx: &mut Tx, stored: &Stored, sealed: &str) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO stored_upload (id, tenant, owner, kind, size, sha256, state, verdict, found, created_at, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let tenant = stored.tenant_text();
    let args = [
        stored.id.into(),
        (&tenant).into(),
        (&stored.owner).into(),
        stored.kind.as_str().into(),
        i64::try_from(stored.size).unwrap_or(i64::MAX).into(),
        (&stored.sha256).into(),
        stored.state.as_str().into(),
        stored.verdict.as_str().into(),
        stored.found.as_deref().into(),
        stored.created_at.into(),
        sealed.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// The product has it.
pub(super) async fn take(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE stored_upload SET taken_at = $2 WHERE id = $1 AND taken_at IS NULL";
    tx.execute(SQL, &[id.into(), now.into()]).await?;
    Ok(())
}

/// Out of quarantine. False where it is not in it, or not as it was read.
pub(super) async fn release(
    tx: &mut Tx,
    stored: &Stored,
    (old, new): (&str, &str),
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE stored_upload SET state = $3, verdict = $4, found = NULL, sealed = $5, taken_at = coalesce(taken_at, $6) WHERE id = $1 AND state = 'quarantined' AND sealed = $2";
    let args = [
        stored.id.into(),
        old.into(),
        stored.state.as_str().into(),
        stored.verdict.as_str().into(),
        new.into(),
        now.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// The scanner has spoken since: it stays where it is.
pub(super) async fn judge(
    tx: &mut Tx,
    stored: &Stored,
    (old, new): (&str, &str),
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE stored_upload SET verdict = $3, found = $4, sealed = $5 WHERE id = $1 AND state = 'quarantined' AND sealed = $2";
    let args = [
        stored.id.into(),
        old.into(),
        stored.verdict.as_str().into(),
        stored.found.as_deref().into(),
        new.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// False where there is none.
pub(super) async fn remove(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM stored_upload WHERE id = $1";
    Ok(tx.execute(SQL, &[id.into()]).await? == 1)
}

/// Files that came before `untaken` and that the product never took, and those that are in quarantine since
/// before `quarantined`; oldest first.
pub(super) async fn over(
    db: &Db,
    (untaken, quarantined): (Timestamp, Timestamp),
    most: u32,
) -> Result<Vec<Stored>, Error> {
    const SQL: &str = select!(
        "WHERE (state = 'kept' AND taken_at IS NULL AND created_at < $1) OR (state = 'quarantined' AND created_at < $2) ORDER BY created_at LIMIT $3"
    );
    let args = [untaken.into(), quarantined.into(), most.into()];
    let rows = db.fetch_all(SQL, &args).await?;
    rows.iter().map(Stored::of).collect()
}
