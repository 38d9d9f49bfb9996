//! The rows: what was found, and who is looking.

use portcullis_core::{TenantId, Timestamp};
use portcullis_store::{Db, Row, Tx, Value};
use uuid::Uuid;

use super::engine::Episode;
use super::rule::Severity;
use super::{Error, Found};

/// Becomes, or stays, the one node that looks. False while another one is.
pub(super) async fn hold(
    db: &Db,
    holder: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Error> {
    const LOOK: &str = "SELECT id FROM anomaly_watch WHERE holder <> $1 AND lease_until >= $2";
    const SQL: &str = "INSERT INTO anomaly_watch (id, holder, lease_until) VALUES (1, $1, $3) ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until WHERE anomaly_watch.holder = $1 OR anomaly_watch.lease_until < $2";
    // Without the lock for writing, which the nodes that only wait would take every two seconds.
    let args = [holder.into(), now.into()];
    if db.fetch_optional(LOOK, &args).await?.is_some() {
        return Ok(false);
    }
    let mut tx = db.begin().await?;
    let args = [holder.into(), now.into(), until.into()];
    let held = tx.execute(SQL, &args).await? == 1;
    tx.commit().await?;
    Ok(held)
}

/// Lets another node look at once.
pub(super) async fn let_go(db: &Db, holder: Uuid) -> Result<(), Error> {
    const SQL: &str = "UPDATE anomaly_watch SET lease_until = 0 WHERE holder = $1";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[holder.into()]).await?;
    Ok(tx.commit().await?)
}

/// Up to when everything was looked at. Nothing before the first time.
pub(super) async fn looked_until(db: &Db) -> Result<Option<Timestamp>, Error> {
    const SQL: &str = "SELECT looked_until FROM anomaly_watch WHERE id = 1";
    let row = db.fetch_optional(SQL, &[]).await?;
    Ok(row
        .map(|row| row.opt_timestamp("looked_until"))
        .transpose()?
        .flatten())
}

/// Moves on. False where another node looks by now: nothing of this transaction may stay.
pub(super) async fn move_on(tx: &mut Tx, holder: Uuid, to: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE anomaly_watch SET looked_until = $2 WHERE id = 1 AND holder = $1";
    Ok(tx.execute(SQL, &[holder.into(), to.into()]).await? == 1)
}

/// False where the same is going on already.
pub(super) async fn begin(
    tx: &mut Tx,
    id: Uuid,
    episode: &Episode,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO anomaly (id, detector, severity, subject, tenant_id, told, began_at, found_at, last_at, count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    let args = [
        id.into(),
        episode.detector.into(),
        episode.severity.as_str().into(),
        (&episode.subject).into(),
        episode.tenant.into(),
        (&episode.told).into(),
        episode.began_at.into(),
        now.into(),
        episode.last_at.into(),
        count(episode).into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// How far what goes on has come.
pub(super) async fn go_on(tx: &mut Tx, episode: &Episode) -> Result<(), Error> {
    const SQL: &str = "UPDATE anomaly SET count = $3, last_at = $4 WHERE detector = $1 AND subject = $2 AND ended_at IS NULL AND last_at < $4";
    let args = [
        episode.detector.into(),
        (&episode.subject).into(),
        count(episode).into(),
        episode.last_at.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

pub(super) async fn end(tx: &mut Tx, episode: &Episode, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE anomaly SET count = $3, last_at = $4, ended_at = $5 WHERE detector = $1 AND subject = $2 AND ended_at IS NULL";
    let args = [
        episode.detector.into(),
        (&episode.subject).into(),
        count(episode).into(),
        episode.last_at.into(),
        now.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// Ends what nobody follows any more: its rule is off, or has other figures.
pub(super) async fn end_left_over(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE anomaly SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
    tx.execute(SQL, &[id.into(), now.into()]).await?;
    Ok(())
}

/// Forgets what was over before this.
pub(super) async fn forget(tx: &mut Tx, before: Timestamp) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM anomaly WHERE ended_at IS NOT NULL AND ended_at < $1";
    tx.execute(SQL, &[before.into()]).await?;
    Ok(())
}

fn count(episode: &Episode) -> i64 {
    i64::try_from(episode.count).unwrap_or(i64::MAX)
}

/// Which ones. All by default.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub detector: Option<String>,
    pub open_only: bool,
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, detector, severity, subject, tenant_id, told, began_at, found_at, last_at, ended_at, count ",
            "FROM anomaly WHERE (began_at, id) < ($1, $2) ",
            $condition,
            " ORDER BY began_at DESC, id DESC LIMIT $3"
        )
    };
}

/// Newest first, those behind `after` if it is given. None where that is not there.
pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Option<Vec<Found>>, Error> {
    const PLACE: &str = "SELECT began_at FROM anomaly WHERE id = $1";
    const ALL: &str = select!("");
    const OPEN: &str = select!("AND ended_at IS NULL");
    const OF_ONE: &str = select!("AND detector = $4");
    const OPEN_OF_ONE: &str = select!("AND ended_at IS NULL AND detector = $4");
    let (began_at, id) = match after {
        None => (Timestamp::from_micros(i64::MAX), Uuid::max()),
        Some(id) => match db.fetch_optional(PLACE, &[id.into()]).await? {
            None => return Ok(None),
            Some(row) => (row.timestamp("began_at")?, id),
        },
    };
    let mut args = vec![began_at.into(), id.into(), limit.into()];
    args.extend(filter.detector.as_ref().map(Value::from));
    let sql = match (&filter.detector, filter.open_only) {
        (None, false) => ALL,
        (None, true) => OPEN,
        (Some(_), false) => OF_ONE,
        (Some(_), true) => OPEN_OF_ONE,
    };
    let rows = db.fetch_all(sql, &args).await?;
    let list: Result<Vec<_>, Error> = rows.iter().map(found).collect();
    list.map(Some)
}

fn found(row: &Row) -> Result<Found, Error> {
    let severity = row.text("severity")?;
    let count = row.int("count")?;
    Ok(Found {
        id: row.uuid("id")?,
        detector: row.text("detector")?,
        severity: Severity::parse(&severity).ok_or(Error::Unreadable)?,
        subject: row.text("subject")?,
        tenant: row.opt_uuid("tenant_id")?.map(TenantId::from_uuid),
        told: row.text("told")?,
        began_at: row.timestamp("began_at")?,
        found_at: row.timestamp("found_at")?,
        last_at: row.timestamp("last_at")?,
        ended_at: row.opt_timestamp("ended_at")?,
        count: u64::try_from(count).unwrap_or(0),
    })
}
