//! The rows. Each function is one statement.

use portcullis_core::Timestamp;
use portcullis_store::{Db, Row, Tx};
use uuid::Uuid;

use crate::secret_store::Error;

/// How far a secret has been carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The version that was written there last; 0 for none.
    pub version: i64,
    /// Since when something stands there that somebody else wrote.
    pub drifted_at: Option<Timestamp>,
    /// Since when it cannot be written.
    pub failing_since: Option<Timestamp>,
    /// Why, the last time. Never with a value in it.
    pub fault: Option<String>,
}

impl Carried {
    /// Of a row that has the columns of `secret_remote` beside those of the secret.
    pub(in crate::secret_store) fn of(row: &Row) -> Result<Option<Self>, Error> {
        let Some(version) = row.opt_int("carried")? else {
            return Ok(None);
        };
        Ok(Some(Carried {
            version,
            drifted_at: row.opt_timestamp("drifted_at")?,
            failing_since: row.opt_timestamp("failing_since")?,
            fault: row.opt_text("fault")?,
        }))
    }
}

/// A secret that this node has taken to carry.
pub(in crate::secret_store) struct Taken {
    pub(super) secret: Uuid,
    pub(super) carried: i64,
    /// Somebody else's stands there.
    pub(super) is_drifted: bool,
    pub(super) remote_version: Option<String>,
    pub(super) pushes: i64,
    pub(super) overwrite: bool,
    pub(super) attempts: i64,
    pub(super) failing_since: Option<Timestamp>,
    /// By this the row is known to be ours still.
    pub(super) until: Timestamp,
}

#[cfg(test)]
impl Taken {
    pub(in crate::secret_store) fn carried(&self) -> (i64, Option<&str>) {
        (self.carried, self.remote_version.as_deref())
    }
}

/// Takes it until `until`: of two nodes one has it. What another store had of it is forgotten.
pub(in crate::secret_store) async fn take(
    db: &Db,
    secret: Uuid,
    store: &str,
    (now, until): (Timestamp, Timestamp),
) -> Result<Option<Taken>, Error> {
    const SQL: &str = concat!(
        "INSERT INTO secret_remote (secret_id, store, carried, pushes, overwrite, attempts, due_at, taken_until, checked_at) ",
        "SELECT id, $2, 0, 0, 0, 1, $3, $4, $3 FROM stored_secret WHERE id = $1 ",
        "ON CONFLICT (secret_id) DO UPDATE SET taken_until = excluded.taken_until, store = excluded.store, ",
        "carried = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.carried ELSE 0 END, ",
        "remote_version = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.remote_version ELSE NULL END, ",
        "overwrite = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.overwrite ELSE 0 END, ",
        "drifted_at = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.drifted_at ELSE NULL END, ",
        "failing_since = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.failing_since ELSE NULL END, ",
        "attempts = CASE WHEN secret_remote.store = excluded.store THEN secret_remote.attempts + 1 ELSE 1 END ",
        "WHERE secret_remote.taken_until <= $3 ",
        "RETURNING carried, remote_version, pushes, overwrite, attempts, failing_since, drifted_at"
    );
    let args = [secret.into(), store.into(), now.into(), until.into()];
    let mut tx = db.begin().await?;
    let row = tx.fetch_optional(SQL, &args).await?;
    tx.commit().await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Taken {
        secret,
        carried: row.int("carried")?,
        is_drifted: row.opt_timestamp("drifted_at")?.is_some(),
        remote_version: row.opt_text("remote_version")?,
        pushes: row.int("pushes")?,
        overwrite: row.int("overwrite")? == 1,
        attempts: row.int("attempts")?,
        failing_since: row.opt_timestamp("failing_since")?,
        until,
    }))
}

/// It is there. False where another node has it by now.
pub(in crate::secret_store) async fn written(
    tx: &mut Tx,
    taken: &Taken,
    (version, remote_version): (i64, &str),
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE secret_remote SET carried = $3, remote_version = $4, checked_at = $5, overwrite = 0, attempts = 0, due_at = 0, taken_until = 0, failing_since = NULL, fault = NULL, drifted_at = NULL WHERE secret_id = $1 AND taken_until = $2";
    let args = [
        taken.secret.into(),
        taken.until.into(),
        version.into(),
        remote_version.into(),
        now.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Again at `due_at`.
pub(super) async fn failed(
    tx: &mut Tx,
    taken: &Taken,
    fault: &str,
    (since, due_at): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE secret_remote SET fault = $3, failing_since = $4, due_at = $5, taken_until = 0 WHERE secret_id = $1 AND taken_until = $2";
    let args = [
        taken.secret.into(),
        taken.until.into(),
        fault.into(),
        since.into(),
        due_at.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Somebody else's stands there: a person has to look.
pub(super) async fn drifted(
    tx: &mut Tx,
    secret: Uuid,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE secret_remote SET drifted_at = $3, attempts = 0, taken_until = 0, failing_since = NULL, fault = NULL WHERE secret_id = $1 AND taken_until = $2 AND drifted_at IS NULL";
    let args = [secret.into(), until.into(), now.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// What stands there may be written over, now.
pub(super) async fn push(tx: &mut Tx, secret: Uuid) -> Result<bool, Error> {
    const SQL: &str = "UPDATE secret_remote SET carried = 0, pushes = pushes + 1, overwrite = 1, attempts = 0, due_at = 0, failing_since = NULL, fault = NULL, drifted_at = NULL WHERE secret_id = $1";
    Ok(tx.execute(SQL, &[secret.into()]).await? == 1)
}

/// Takes one that is to be looked at. False where another node has it.
pub(super) async fn take_to_look(
    db: &Db,
    secret: Uuid,
    (now, until): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE secret_remote SET taken_until = $3, checked_at = $2 WHERE secret_id = $1 AND taken_until <= $2";
    let args = [secret.into(), now.into(), until.into()];
    let mut tx = db.begin().await?;
    let taken = tx.execute(SQL, &args).await? == 1;
    tx.commit().await?;
    Ok(taken)
}

/// It was looked at, and is ours.
pub(super) async fn let_go(db: &Db, secret: Uuid, until: Timestamp) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE secret_remote SET taken_until = 0 WHERE secret_id = $1 AND taken_until = $2";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[secret.into(), until.into()]).await?;
    Ok(tx.commit().await?)
}

/// What the store calls the version that was written there last.
pub(super) async fn remote_version(db: &Db, secret: Uuid) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT remote_version FROM secret_remote WHERE secret_id = $1";
    match db.fetch_optional(SQL, &[secret.into()]).await? {
        Some(row) => Ok(row.opt_text("remote_version")?),
        None => Ok(None),
    }
}

/// How many wait, and how many somebody else changed.
pub(super) async fn count(db: &Db, store: &str) -> Result<(i64, i64), Error> {
    const SQL: &str = "SELECT (SELECT count(*) FROM stored_secret AS s LEFT JOIN secret_remote AS r ON r.secret_id = s.id WHERE s.made <> 'file' AND (r.secret_id IS NULL OR r.store <> $1 OR r.carried < s.version)) AS waiting, (SELECT count(*) FROM secret_remote WHERE store = $1 AND drifted_at IS NOT NULL) AS drifted";
    match db.fetch_optional(SQL, &[store.into()]).await? {
        Some(row) => Ok((row.int("waiting")?, row.int("drifted")?)),
        None => Ok((0, 0)),
    }
}
