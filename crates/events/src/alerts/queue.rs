//! The queue: rows that wait until somebody has taken them.

use portcullis_core::{Span, Timestamp};
use portcullis_store::{Db, Row, Tx, Value};
use uuid::Uuid;

use super::Error;
use super::config::{Destination, Way};
use crate::anomalies::Severity;

/// Where an alert is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Sent,
    /// Given up: a person has to look.
    Dead,
    /// Told to nobody, as somebody asked.
    Silenced,
}

impl State {
    pub const ALL: [State; 4] = [State::Waiting, State::Sent, State::Dead, State::Silenced];

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Sent => "sent",
            State::Dead => "dead",
            State::Silenced => "silenced",
        }
    }

    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something began.
    Began,
    /// What came since.
    Summary,
    /// Somebody tries whether alerts arrive.
    Test,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Began, Kind::Summary, Kind::Test];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Began => "began",
            Kind::Summary => "summary",
            Kind::Test => "test",
        }
    }
}

/// One alert to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub id: Uuid,
    pub destination: String,
    pub kind: Kind,
    pub source: String,
    pub severity: Severity,
    pub subject: String,
    pub told: String,
    pub state: State,
    pub created_at: Timestamp,
    /// When it is tried next, while it waits.
    pub due_at: Timestamp,
    pub attempts: i64,
    /// Why it was not taken the last time.
    pub fault: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub(super) recipient: Option<String>,
}

pub(super) struct New<'n> {
    pub(super) destination: &'n Destination,
    pub(super) kind: Kind,
    pub(super) source: &'n str,
    pub(super) severity: Severity,
    pub(super) subject: &'n str,
    pub(super) told: String,
    pub(super) is_silenced: bool,
}

const KEPT_FOR: Span = Span::from_days(30);

/// One row, or one for each recipient: a letter that one of them got is not sent to them again.
pub(super) async fn insert(tx: &mut Tx, new: &New<'_>, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO alert (id, destination, recipient, kind, source, severity, subject, told, state, created_at, due_at, attempts, ended_at, keep_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, 0, $11, $12)";
    let recipients: Vec<Option<&String>> = match &new.destination.way {
        Way::Email(addresses) => addresses.iter().map(Some).collect(),
        Way::Slack(_) | Way::Signed(..) => vec![None],
    };
    let (state, ended_at, keep_until) = if new.is_silenced {
        (State::Silenced, Some(now), Some(now + KEPT_FOR))
    } else {
        (State::Waiting, None, None)
    };
    for recipient in recipients {
        let args = [
            Uuid::now_v7().into(),
            (&new.destination.name).into(),
            recipient.into(),
            new.kind.as_str().into(),
            new.source.into(),
            new.severity.as_str().into(),
            new.subject.into(),
            (&new.told).into(),
            state.as_str().into(),
            now.into(),
            ended_at.into(),
            keep_until.into(),
        ];
        tx.execute(SQL, &args).await?;
    }
    Ok(())
}

macro_rules! columns {
    () => {
        "id, destination, recipient, kind, source, severity, subject, told, state, created_at, due_at, attempts, fault, ended_at"
    };
}

macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE alert SET due_at = $3, attempts = attempts + 1 WHERE id = (SELECT id FROM alert ",
            "WHERE state = 'waiting' AND destination = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT 1",
            $lock,
            ") RETURNING ",
            columns!()
        )
    };
}

/// Takes what has been due for longest, until `lease`: of two nodes one has it.
pub(super) async fn claim(
    db: &Db,
    destination: &str,
    now: Timestamp,
    lease: Timestamp,
) -> Result<Option<Alert>, Error> {
    const DUE: &str = "SELECT id FROM alert WHERE state = 'waiting' AND destination = $1 AND due_at <= $2 LIMIT 1";
    let args = [destination.into(), now.into()];
    if db.fetch_optional(DUE, &args).await?.is_none() {
        return Ok(None);
    }
    let sql = db
        .engine()
        .pick(claim!(""), claim!(" FOR UPDATE SKIP LOCKED"));
    let mut tx = db.begin().await?;
    let args = [destination.into(), now.into(), lease.into()];
    let row = tx.fetch_optional(sql, &args).await?;
    tx.commit().await?;
    row.as_ref().map(alert).transpose()
}

/// The end of its way. False where another node has it by now.
pub(super) async fn end(
    tx: &mut Tx,
    alert: &Alert,
    state: State,
    fault: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE alert SET state = $3, fault = $4, ended_at = $5, keep_until = $6 WHERE id = $1 AND attempts = $2 AND state = 'waiting'";
    let args = [
        alert.id.into(),
        alert.attempts.into(),
        state.as_str().into(),
        fault.into(),
        now.into(),
        (now + KEPT_FOR).into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Again at `due_at`.
pub(super) async fn put_back(
    tx: &mut Tx,
    alert: &Alert,
    due_at: Timestamp,
    fault: &str,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE alert SET due_at = $3, fault = $4 WHERE id = $1 AND attempts = $2 AND state = 'waiting'";
    let args = [
        alert.id.into(),
        alert.attempts.into(),
        due_at.into(),
        fault.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

/// Which ones. All by default.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub destination: Option<String>,
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM alert WHERE (created_at, id) < ($1, $2) ",
            $condition,
            " ORDER BY created_at DESC, id DESC LIMIT $3"
        )
    };
}

/// Newest first, those behind `after` if it is given. None where that is not there.
pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Option<Vec<Alert>>, Error> {
    const PLACE: &str = "SELECT created_at FROM alert WHERE id = $1";
    const ALL: &str = select!("");
    const BY_STATE: &str = select!("AND state = $4");
    const BY_DESTINATION: &str = select!("AND destination = $4");
    const BY_BOTH: &str = select!("AND state = $4 AND destination = $5");
    let (created_at, id) = match after {
        None => (Timestamp::from_micros(i64::MAX), Uuid::max()),
        Some(id) => match db.fetch_optional(PLACE, &[id.into()]).await? {
            None => return Ok(None),
            Some(row) => (row.timestamp("created_at")?, id),
        },
    };
    let mut args = vec![created_at.into(), id.into(), limit.into()];
    args.extend(filter.state.map(|state| Value::from(state.as_str())));
    args.extend(filter.destination.as_ref().map(Value::from));
    let sql = match (&filter.state, &filter.destination) {
        (None, None) => ALL,
        (Some(_), None) => BY_STATE,
        (None, Some(_)) => BY_DESTINATION,
        (Some(_), Some(_)) => BY_BOTH,
    };
    let rows = db.fetch_all(sql, &args).await?;
    let list: Result<Vec<_>, Error> = rows.iter().map(alert).collect();
    list.map(Some)
}

/// How many wait, and how many were given up.
pub(super) async fn count(db: &Db) -> Result<(i64, i64), Error> {
    const SQL: &str = "SELECT (SELECT count(*) FROM alert WHERE state = 'waiting') AS waiting, (SELECT count(*) FROM alert WHERE state = 'dead') AS dead";
    match db.fetch_optional(SQL, &[]).await? {
        Some(row) => Ok((row.int("waiting")?, row.int("dead")?)),
        None => Ok((0, 0)),
    }
}

/// Forgets what has been kept for long enough. What waits is never forgotten.
pub(super) async fn forget(db: &Db, now: Timestamp) -> Result<(), Error> {
    const LOOK: &str =
        "SELECT id FROM alert WHERE keep_until IS NOT NULL AND keep_until < $1 LIMIT 1";
    const SQL: &str = "DELETE FROM alert WHERE keep_until IS NOT NULL AND keep_until < $1";
    if db.fetch_optional(LOOK, &[now.into()]).await?.is_none() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[now.into()]).await?;
    Ok(tx.commit().await?)
}

fn alert(row: &Row) -> Result<Alert, Error> {
    let kind = row.text("kind")?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    Ok(Alert {
        id: row.uuid("id")?,
        destination: row.text("destination")?,
        recipient: row.opt_text("recipient")?,
        kind: kind.ok_or(Error::Unreadable)?,
        source: row.text("source")?,
        severity: Severity::parse(&row.text("severity")?).ok_or(Error::Unreadable)?,
        subject: row.text("subject")?,
        told: row.text("told")?,
        state: State::parse(&row.text("state")?).ok_or(Error::Unreadable)?,
        created_at: row.timestamp("created_at")?,
        due_at: row.timestamp("due_at")?,
        attempts: row.int("attempts")?,
        fault: row.opt_text("fault")?,
        ended_at: row.opt_timestamp("ended_at")?,
    })
}
