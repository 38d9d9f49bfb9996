//! What is kept of each witness: whose turn it is, what it signed, and what is wrong.

use portcullis_core::{Span, Timestamp};
use portcullis_store::{Db, Row, Tx};

use super::Witness;
use crate::audit::log::{signed as arg, unsigned};
use crate::audit::{Action, Actor, Error, Event, Outcome, Target};

/// Longer than an exchange with a second question takes.
const LEASE: Span = Span::from_seconds(60);
const FIRST_WAIT: Span = Span::from_seconds(30);
const LONGEST_WAIT: Span = Span::from_hours(1);
/// Cosignatures are kept so long where there never are enough under one checkpoint.
const KEPT: Span = Span::from_days(30);

const MAKE: &str = "INSERT INTO audit_witness (name, witness_key, since, size, next_at, leased_until, attempts, contradicts, late) VALUES ($1, $2, $3, 0, $3, 0, 0, 0, 0) ON CONFLICT (name) DO UPDATE SET witness_key = excluded.witness_key, since = excluded.since, size = 0, signed_at = NULL, next_at = excluded.next_at, attempts = 0, fault = NULL, contradicts = 0, late = 0 WHERE audit_witness.witness_key <> excluded.witness_key";
const IS_THERE: &str = "SELECT 1 AS one FROM audit_witness WHERE name = $1 AND witness_key = $2";
const CLAIM: &str = "UPDATE audit_witness SET leased_until = $1 WHERE name = $2 AND next_at <= $3 AND leased_until <= $4";
pub(super) const FIND: &str = "SELECT since, size, signed_at, attempts, fault, contradicts FROM audit_witness WHERE name = $1";
const SIGNED: &str = "UPDATE audit_witness SET size = $1, signed_at = $2, next_at = $3, leased_until = 0, attempts = 0, fault = NULL, contradicts = 0, late = 0 WHERE name = $4";
const PUT: &str = "INSERT INTO audit_cosignature (witness, size, checkpoint, line, signed_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (witness, size) DO UPDATE SET checkpoint = excluded.checkpoint, line = excluded.line, signed_at = excluded.signed_at";
const FAILED: &str = "UPDATE audit_witness SET next_at = $1, leased_until = 0, attempts = attempts + 1, fault = $2, contradicts = $3 WHERE name = $4";
const LATE: &str = "UPDATE audit_witness SET late = 1 WHERE name = $1 AND late = 0";
/// What is older than the newest checkpoint with enough of them, or old. Each one's newest stays.
const PRUNE: &str = "DELETE FROM audit_cosignature WHERE (signed_at < $1 OR size < (SELECT max(size) FROM (SELECT size FROM audit_cosignature GROUP BY size HAVING count(*) >= $2) AS enough)) AND size < (SELECT max(newest.size) FROM audit_cosignature AS newest WHERE newest.witness = audit_cosignature.witness)";

/// One witness as it was left.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) since: Timestamp,
    /// Of the newest checkpoint that it signed; 0 where none.
    pub(super) size: u64,
    pub(super) signed_at: Option<Timestamp>,
    pub(super) attempts: i64,
    pub(super) fault: Option<String>,
    pub(super) contradicts: bool,
}

impl State {
    pub(super) fn read(row: &Row) -> Result<Self, Error> {
        Ok(State {
            since: row.timestamp("since")?,
            size: unsigned(row.int("size")?)?,
            signed_at: row.opt_timestamp("signed_at")?,
            attempts: row.int("attempts")?,
            fault: row.opt_text("fault")?,
            contradicts: row.int("contradicts")? != 0,
        })
    }
}

/// A checkpoint, and a witness's line under it.
pub(super) struct Signed<'a> {
    pub(super) size: u64,
    pub(super) checkpoint: &'a str,
    pub(super) line: &'a str,
    pub(super) at: Timestamp,
}

/// Begins with a witness, anew where its key is another one.
pub(super) async fn make(db: &Db, witness: &Witness, now: Timestamp) -> Result<(), Error> {
    let key = witness.key.to_string();
    let args = [(&witness.name).into(), (&key).into()];
    if db.fetch_optional(IS_THERE, &args).await?.is_some() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let args = [(&witness.name).into(), (&key).into(), now.into()];
    tx.execute(MAKE, &args).await?;
    Ok(tx.commit().await?)
}

/// Whether it is this node that asks, now.
pub(super) async fn claim(
    db: &Db,
    name: &str,
    now: Timestamp,
    at_once: bool,
) -> Result<bool, Error> {
    let mut tx = db.begin().await?;
    let due = if at_once { i64::MAX } else { now.as_micros() };
    let args = [(now + LEASE).into(), name.into(), due.into(), now.into()];
    let claimed = tx.execute(CLAIM, &args).await? == 1;
    tx.commit().await?;
    Ok(claimed)
}

pub(super) async fn find(db: &Db, name: &str) -> Result<Option<State>, Error> {
    let row = db.fetch_optional(FIND, &[name.into()]).await?;
    row.as_ref().map(State::read).transpose()
}

pub(super) async fn signed(
    tx: &mut Tx,
    name: &str,
    signed: &Signed<'_>,
    next: Timestamp,
) -> Result<(), Error> {
    let (size, at) = (arg(signed.size), signed.at);
    let args = [
        name.into(),
        size.into(),
        signed.checkpoint.into(),
        signed.line.into(),
        at.into(),
    ];
    tx.execute(PUT, &args).await?;
    tx.execute(SIGNED, &[size.into(), at.into(), next.into(), name.into()])
        .await?;
    Ok(())
}

/// Takes out what nobody needs any more.
pub(super) async fn prune(tx: &mut Tx, wanted: usize, now: Timestamp) -> Result<(), Error> {
    let enough = i64::try_from(wanted.max(1)).unwrap_or(i64::MAX);
    tx.execute(PRUNE, &[(now - KEPT).into(), enough.into()])
        .await?;
    Ok(())
}

pub(super) async fn failed(
    tx: &mut Tx,
    name: &str,
    before: &State,
    now: Timestamp,
    fault: &str,
    contradicts: bool,
) -> Result<(), Error> {
    let next = now + FIRST_WAIT.doubled(before.attempts, LONGEST_WAIT);
    let args = [
        next.into(),
        fault.into(),
        i64::from(contradicts).into(),
        name.into(),
    ];
    tx.execute(FAILED, &args).await?;
    Ok(())
}

/// Whether it is late since now.
pub(super) async fn is_late(tx: &mut Tx, name: &str) -> Result<bool, Error> {
    Ok(tx.execute(LATE, &[name.into()]).await? == 1)
}

pub(super) fn contradicted(name: &str, fault: &str, now: Timestamp) -> Event {
    Event::new(now, Action::AuditContradicted, Outcome::Failed)
        .by(Actor::System)
        .to(Target::named("witness", name))
        .with("fault", fault)
}

pub(super) fn unwitnessed(name: &str, last: Timestamp, now: Timestamp) -> Event {
    Event::new(now, Action::AuditUnwitnessed, Outcome::Failed)
        .by(Actor::System)
        .to(Target::named("witness", name))
        .with("last", last.to_string())
}
