//! The tables of scans.

use portcullis_core::Timestamp;
use portcullis_store::{Db, Row, Tx};

use super::{Accepted, Error, Report};

/// Reports of one scan that are kept.
const KEPT: i64 = 50;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, tool, version, recorded_at, recorded_by, sha256, found, passed, still_open FROM scan_report ",
            $rest
        )
    };
}

pub(super) fn report(row: &Row) -> Result<Report, Error> {
    let count =
        |name| -> Result<u64, Error> { u64::try_from(row.int(name)?).map_err(|_| Error::Row) };
    let sha256: Vec<u8> = row.bytes("sha256")?;
    Ok(Report {
        id: row.uuid("id")?,
        name: row.text("name")?,
        tool: row.text("tool")?,
        version: row.text("version")?,
        recorded_at: row.timestamp("recorded_at")?,
        recorded_by: row.text("recorded_by")?,
        sha256: sha256.try_into().map_err(|_| Error::Row)?,
        found: serde_json::from_str(&row.text("found")?).map_err(|_| Error::Row)?,
        passed: count("passed")?,
        open: count("still_open")?,
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) async fn insert(tx: &mut Tx, report: &Report) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO scan_report (id, name, tool, version, recorded_at, recorded_by, sha256, found, passed, still_open) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    const OLD: &str = "DELETE FROM scan_report WHERE name = $1 AND id NOT IN (SELECT id FROM scan_report WHERE name = $1 ORDER BY recorded_at DESC, id DESC LIMIT $2)";
    let found = serde_json::to_string(&report.found).map_err(|_| Error::Row)?;
    let args = [
        report.id.into(),
        (&report.name).into(),
        (&report.tool).into(),
        (&report.version).into(),
        report.recorded_at.into(),
        (&report.recorded_by).into(),
        report.sha256.as_slice().into(),
        (&found).into(),
        number(report.passed).into(),
        number(report.open).into(),
    ];
    tx.execute(SQL, &args).await?;
    tx.execute(OLD, &[(&report.name).into(), KEPT.into()])
        .await?;
    Ok(())
}

/// The latest report of a scan.
pub(super) const LATEST: &str =
    select!("WHERE name = $1 ORDER BY recorded_at DESC, id DESC LIMIT 1");

pub(super) async fn latest(db: &Db, name: &str) -> Result<Option<Report>, Error> {
    let row = db.fetch_optional(LATEST, &[name.into()]).await?;
    row.as_ref().map(report).transpose()
}

pub(super) async fn accept(tx: &mut Tx, accepted: &Accepted, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO scan_accepted (name, rule, reason, until, accepted_by, accepted_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name, rule) DO UPDATE SET reason = excluded.reason, until = excluded.until, accepted_by = excluded.accepted_by, accepted_at = excluded.accepted_at";
    let args = [
        (&accepted.name).into(),
        (&accepted.rule).into(),
        (&accepted.reason).into(),
        accepted.until.into(),
        (&accepted.accepted_by).into(),
        now.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// What is lived with of a scan at a time.
pub(super) const ACCEPTED: &str = "SELECT name, rule, reason, until, accepted_by FROM scan_accepted WHERE name = $1 AND until > $2 ORDER BY rule";

/// What is lived with at `now`.
pub(super) async fn accepted(db: &Db, name: &str, now: Timestamp) -> Result<Vec<Accepted>, Error> {
    let rows = db.fetch_all(ACCEPTED, &[name.into(), now.into()]).await?;
    all_accepted(&rows)
}

pub(super) fn all_accepted(rows: &[Row]) -> Result<Vec<Accepted>, Error> {
    let accepted = |row: &Row| {
        Ok(Accepted {
            name: row.text("name")?,
            rule: row.text("rule")?,
            reason: row.text("reason")?,
            until: row.timestamp("until")?,
            accepted_by: row.text("accepted_by")?,
        })
    };
    rows.iter().map(accepted).collect()
}

pub(super) const FIRST_SEEN: &str = "SELECT first_seen_at FROM scan_wanted WHERE name = $1";

/// Since when the gate looks: a scan that never came is late from its first sight on.
pub(super) async fn first_seen(db: &Db, name: &str, now: Timestamp) -> Result<Timestamp, Error> {
    const NEW: &str =
        "INSERT INTO scan_wanted (name, first_seen_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if let Some(row) = db.fetch_optional(FIRST_SEEN, &[name.into()]).await? {
        return Ok(row.timestamp("first_seen_at")?);
    }
    let mut tx = db.begin().await?;
    tx.execute(NEW, &[name.into(), now.into()]).await?;
    tx.commit().await?;
    Ok(now)
}

/// Takes the turn to tell of one that was seen. False where somebody told since `before`.
pub(super) async fn told(
    tx: &mut Tx,
    name: &str,
    now: Timestamp,
    before: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE scan_wanted SET told_at = $2 WHERE name = $1 AND (told_at IS NULL OR told_at <= $3)";
    let args = [name.into(), now.into(), before.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}
