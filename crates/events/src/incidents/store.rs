//! The tables of incidents.

use portcullis_core::Timestamp;
use portcullis_store::{Db, Row, Tx};
use uuid::Uuid;

use super::{Contained, Error, File, Frozen, Incident, Note, Phase, Severity, Task};

const NOTES: &str = "SELECT number, at, noted_by, phase, text FROM incident_note WHERE incident_id = $1 ORDER BY number";
const TASKS: &str = "SELECT number, text, owner, due_at, done_at, result FROM incident_task WHERE incident_id = $1 ORDER BY number";

const SCOPES: &str = "SELECT scope, at, accounts, sessions, token_families, api_keys, visits FROM incident_scope WHERE incident_id = $1 ORDER BY number";
const FROZEN: &str = "SELECT pattern, reason, frozen_at, frozen_by FROM route_freeze WHERE incident_id = $1 ORDER BY frozen_at, pattern";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, title, severity, opened_at, acknowledged_at, triaged_at, root_cause, closed_at FROM incident ",
            $rest
        )
    };
}

fn incident(row: &Row) -> Result<Incident, Error> {
    let severity = row.text("severity")?.parse::<Severity>();
    Ok(Incident {
        id: row.uuid("id")?,
        title: row.text("title")?,
        severity: severity.map_err(|_| Error::Unreadable)?,
        opened_at: row.timestamp("opened_at")?,
        acknowledged_at: row.opt_timestamp("acknowledged_at")?,
        triaged_at: row.opt_timestamp("triaged_at")?,
        root_cause: row.opt_text("root_cause")?,
        closed_at: row.opt_timestamp("closed_at")?,
    })
}

fn note(row: &Row) -> Result<Note, Error> {
    let phase = row.text("phase")?.parse::<Phase>();
    Ok(Note {
        number: row.int("number")?,
        at: row.timestamp("at")?,
        by: row.text("noted_by")?,
        phase: phase.map_err(|_| Error::Unreadable)?,
        text: row.text("text")?,
    })
}

fn task(row: &Row) -> Result<Task, Error> {
    Ok(Task {
        number: row.int("number")?,
        text: row.text("text")?,
        owner: row.text("owner")?,
        due_at: row.opt_timestamp("due_at")?,
        done_at: row.opt_timestamp("done_at")?,
        result: row.opt_text("result")?,
    })
}

pub(super) async fn insert(tx: &mut Tx, incident: &Incident) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO incident (id, title, severity, opened_at) VALUES ($1, $2, $3, $4)";
    let args = [
        incident.id.into(),
        (&incident.title).into(),
        incident.severity.as_str().into(),
        incident.opened_at.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

pub(super) async fn find(db: &Db, id: Uuid) -> Result<Option<Incident>, Error> {
    const SQL: &str = select!("WHERE id = $1");
    let row = db.fetch_optional(SQL, &[id.into()]).await?;
    row.as_ref().map(incident).transpose()
}

pub(super) async fn list(db: &Db, most: i64) -> Result<Vec<Incident>, Error> {
    const SQL: &str = select!("ORDER BY opened_at DESC, id DESC LIMIT $1");
    let rows = db.fetch_all(SQL, &[most.into()]).await?;
    rows.iter().map(incident).collect()
}

/// Whether it was not acknowledged before.
pub(super) async fn acknowledge(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE incident SET acknowledged_at = $2 WHERE id = $1 AND acknowledged_at IS NULL";
    Ok(tx.execute(SQL, &[id.into(), now.into()]).await? == 1)
}

pub(super) async fn triage(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE incident SET triaged_at = $2 WHERE id = $1 AND triaged_at IS NULL";
    tx.execute(SQL, &[id.into(), now.into()]).await?;
    Ok(())
}

/// Whether it was open.
pub(super) async fn close(
    tx: &mut Tx,
    id: Uuid,
    cause: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE incident SET root_cause = $2, closed_at = $3 WHERE id = $1 AND closed_at IS NULL";
    Ok(tx
        .execute(SQL, &[id.into(), cause.into(), now.into()])
        .await?
        == 1)
}

pub(super) async fn insert_note(
    tx: &mut Tx,
    id: Uuid,
    (at, by): (Timestamp, &str),
    phase: Phase,
    text: &str,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO incident_note (incident_id, number, at, noted_by, phase, text) VALUES ($1, $2, $3, $4, $5, $6)";
    hold(tx, id).await?;
    let number = next(
        tx,
        id,
        "SELECT max(number) AS number FROM incident_note WHERE incident_id = $1",
    )
    .await?;
    let args = [
        id.into(),
        number.into(),
        at.into(),
        by.into(),
        phase.as_str().into(),
        text.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

pub(super) async fn insert_task(
    tx: &mut Tx,
    id: Uuid,
    (text, owner): (&str, &str),
    due_at: Option<Timestamp>,
) -> Result<i64, Error> {
    const SQL: &str = "INSERT INTO incident_task (incident_id, number, text, owner, due_at) VALUES ($1, $2, $3, $4, $5)";
    hold(tx, id).await?;
    let number = next(
        tx,
        id,
        "SELECT max(number) AS number FROM incident_task WHERE incident_id = $1",
    )
    .await?;
    let args = [
        id.into(),
        number.into(),
        text.into(),
        owner.into(),
        due_at.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(number)
}

/// Takes the incident for the rest of the transaction: two who add at once get numbers one after the other,
/// and nobody adds to one that is being closed.
async fn hold(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    const SQL: &str = "UPDATE incident SET title = title WHERE id = $1 AND closed_at IS NULL";
    match tx.execute(SQL, &[id.into()]).await? {
        0 => Err(Error::Closed),
        _ => Ok(()),
    }
}

async fn next(tx: &mut Tx, id: Uuid, newest: &'static str) -> Result<i64, Error> {
    let row = tx.fetch_optional(newest, &[id.into()]).await?;
    let newest = row.map(|row| row.opt_int("number")).transpose()?.flatten();
    Ok(newest.unwrap_or(0).saturating_add(1))
}

/// Whether there was such a task that was not done.
pub(super) async fn finish_task(
    tx: &mut Tx,
    id: Uuid,
    number: i64,
    (now, result): (Timestamp, &str),
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE incident_task SET done_at = $3, result = $4 WHERE incident_id = $1 AND number = $2 AND done_at IS NULL";
    let args = [id.into(), number.into(), now.into(), result.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

fn contained(row: &Row) -> Result<Contained, Error> {
    Ok(Contained {
        scope: row.text("scope")?,
        at: row.timestamp("at")?,
        accounts: row.int("accounts")?,
        sessions: row.int("sessions")?,
        token_families: row.int("token_families")?,
        api_keys: row.int("api_keys")?,
        visits: row.int("visits")?,
    })
}

fn frozen(row: &Row) -> Result<Frozen, Error> {
    Ok(Frozen {
        pattern: row.text("pattern")?,
        reason: row.text("reason")?,
        at: row.timestamp("frozen_at")?,
        by: row.text("frozen_by")?,
    })
}

pub(super) async fn insert_scope(
    tx: &mut Tx,
    id: Uuid,
    contained: &Contained,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO incident_scope (incident_id, number, at, scope, accounts, sessions, token_families, api_keys, visits) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    hold(tx, id).await?;
    let number = next(
        tx,
        id,
        "SELECT max(number) AS number FROM incident_scope WHERE incident_id = $1",
    )
    .await?;
    let args = [
        id.into(),
        number.into(),
        contained.at.into(),
        (&contained.scope).into(),
        contained.accounts.into(),
        contained.sessions.into(),
        contained.token_families.into(),
        contained.api_keys.into(),
        contained.visits.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// Whether it is this incident's now: it may be frozen for another one.
pub(super) async fn freeze(tx: &mut Tx, id: Uuid, frozen: &Frozen) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO route_freeze (pattern, incident_id, reason, frozen_at, frozen_by) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pattern) DO UPDATE SET reason = excluded.reason WHERE route_freeze.incident_id = excluded.incident_id";
    let args = [
        (&frozen.pattern).into(),
        id.into(),
        (&frozen.reason).into(),
        frozen.at.into(),
        (&frozen.by).into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// The incident that it was frozen for.
pub(super) async fn unfreeze(tx: &mut Tx, pattern: &str) -> Result<Option<Uuid>, Error> {
    const FIND: &str = "SELECT incident_id FROM route_freeze WHERE pattern = $1";
    const SQL: &str = "DELETE FROM route_freeze WHERE pattern = $1";
    let Some(row) = tx.fetch_optional(FIND, &[pattern.into()]).await? else {
        return Ok(None);
    };
    tx.execute(SQL, &[pattern.into()]).await?;
    Ok(Some(row.uuid("incident_id")?))
}

/// The patterns of every incident.
pub(super) async fn all_frozen(db: &Db) -> Result<Vec<String>, Error> {
    const SQL: &str = "SELECT pattern FROM route_freeze ORDER BY pattern";
    let rows = db.fetch_all(SQL, &[]).await?;
    let patterns = rows.iter().map(|row| row.text("pattern"));
    Ok(patterns.collect::<Result<_, _>>()?)
}

pub(super) async fn open_by_severity(db: &Db) -> Result<Vec<(Severity, i64)>, Error> {
    const SQL: &str =
        "SELECT severity, count(*) AS n FROM incident WHERE closed_at IS NULL GROUP BY severity";
    let rows = db.fetch_all(SQL, &[]).await?;
    let mut open = Vec::with_capacity(rows.len());
    for row in &rows {
        let severity = row.text("severity")?.parse::<Severity>();
        open.push((severity.map_err(|_| Error::Unreadable)?, row.int("n")?));
    }
    Ok(open)
}

pub(super) async fn file(db: &Db, incident: Incident) -> Result<File, Error> {
    let id = incident.id;
    let rows = Rows {
        notes: db.fetch_all(NOTES, &[id.into()]).await?,
        tasks: db.fetch_all(TASKS, &[id.into()]).await?,
        scopes: db.fetch_all(SCOPES, &[id.into()]).await?,
        frozen: db.fetch_all(FROZEN, &[id.into()]).await?,
    };
    rows.of(incident)
}

pub(super) async fn file_in(tx: &mut Tx, incident: Incident) -> Result<File, Error> {
    let id = incident.id;
    let rows = Rows {
        notes: tx.fetch_all(NOTES, &[id.into()]).await?,
        tasks: tx.fetch_all(TASKS, &[id.into()]).await?,
        scopes: tx.fetch_all(SCOPES, &[id.into()]).await?,
        frozen: tx.fetch_all(FROZEN, &[id.into()]).await?,
    };
    rows.of(incident)
}

struct Rows {
    notes: Vec<Row>,
    tasks: Vec<Row>,
    scopes: Vec<Row>,
    frozen: Vec<Row>,
}

impl Rows {
    fn of(&self, incident: Incident) -> Result<File, Error> {
        Ok(File {
            incident,
            notes: self.notes.iter().map(note).collect::<Result<_, _>>()?,
            tasks: self.tasks.iter().map(task).collect::<Result<_, _>>()?,
            contained: self
                .scopes
                .iter()
                .map(contained)
                .collect::<Result<_, _>>()?,
            frozen: self.frozen.iter().map(frozen).collect::<Result<_, _>>()?,
        })
    }
}

/// Means in seconds of what was opened since then: until it was acknowledged, triaged and closed.
pub(super) async fn answered(db: &Db, since: Timestamp) -> Result<[Option<u64>; 3], Error> {
    const SQL: &str = "SELECT opened_at, acknowledged_at, triaged_at, closed_at FROM incident WHERE opened_at >= $1 ORDER BY opened_at DESC LIMIT 1000";
    let rows = db.fetch_all(SQL, &[since.into()]).await?;
    let mut means = [None; 3];
    for (mean, column) in means
        .iter_mut()
        .zip(["acknowledged_at", "triaged_at", "closed_at"])
    {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for row in &rows {
            if let Some(at) = row.opt_timestamp(column)? {
                sum = sum.saturating_add(at.since(row.timestamp("opened_at")?).as_seconds());
                count = count.saturating_add(1);
            }
        }
        *mean = sum.checked_div(count);
    }
    Ok(means)
}
