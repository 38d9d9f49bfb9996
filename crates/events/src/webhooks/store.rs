//! The rows. Each function is one statement or one transaction.

use portcullis_core::Timestamp;
use portcullis_store::{Db, Row, Tx, Value};
use portcullis_vault::fields;
use uuid::Uuid;

use super::Error;
use super::content::Facts;
use super::endpoint::Endpoint;

/// Where a message is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Delivered,
    /// Given up: a person has to look.
    Dead,
}

impl State {
    pub const ALL: [State; 3] = [State::Waiting, State::Delivered, State::Dead];

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Dead => "dead",
        }
    }

    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What is shown of a message. What it says stays sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub id: Uuid,
    pub endpoint: String,
    /// The sender's id of it, or a digest.
    pub event: String,
    pub kind: Option<String>,
    pub state: State,
    pub received_at: Timestamp,
    /// When it is tried next, while it waits.
    pub due_at: Option<Timestamp>,
    pub attempts: i64,
    /// What the product answered last.
    pub status: Option<i64>,
    /// Why it was not delivered the last time.
    pub fault: Option<String>,
    pub ended_at: Option<Timestamp>,
    /// When what it said was erased with a person that it named. It is not delivered again.
    pub erased_at: Option<Timestamp>,
}

impl Delivery {
    fn of(row: &Row) -> Result<Self, Error> {
        let state = State::parse(&row.text("state")?).ok_or(Error::Unreadable)?;
        let due_at = (state == State::Waiting).then(|| row.timestamp("due_at"));
        Ok(Delivery {
            id: row.uuid("id")?,
            endpoint: row.text("endpoint")?,
            event: row.text("event")?,
            kind: row.opt_text("kind")?,
            state,
            received_at: row.timestamp("received_at")?,
            due_at: due_at.transpose()?,
            attempts: row.int("attempts")?,
            status: row.opt_int("status")?,
            fault: row.opt_text("fault")?,
            ended_at: row.opt_timestamp("ended_at")?,
            erased_at: row.opt_timestamp("erased_at")?,
        })
    }
}

/// A message that this node has taken to deliver.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) event: String,
    pub(super) attempts: i64,
    pub(super) sealed: Vec<u8>,
}

/// Which deliveries.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub endpoint: Option<String>,
}

/// False where there is one of this event already.
pub(super) async fn insert(
    tx: &mut Tx,
    endpoint: &str,
    id: Uuid,
    facts: &Facts,
    sealed: &Vec<u8>,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO webhook_delivery (id, endpoint, event, kind, order_key, sealed, state, received_at, due_at, attempts) VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $7, 0) ON CONFLICT (endpoint, event) DO NOTHING";
    let args = [
        id.into(),
        endpoint.into(),
        (&facts.event).into(),
        facts.kind.as_deref().into(),
        facts.order_key.as_ref().into(),
        sealed.into(),
        now.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// A message that is answered by the gate alone: nothing is to be delivered.
pub(super) async fn insert_answered(
    tx: &mut Tx,
    endpoint: &Endpoint,
    id: Uuid,
    facts: &Facts,
    sealed: &Vec<u8>,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO webhook_delivery (id, endpoint, event, kind, sealed, state, received_at, due_at, attempts, ended_at, keep_until) VALUES ($1, $2, $3, $4, $5, 'delivered', $6, $6, 0, $6, $7) ON CONFLICT (endpoint, event) DO NOTHING";
    let keep_until = now + endpoint.retention;
    tx.execute(
        SQL,
        &[
            id.into(),
            (&endpoint.name).into(),
            (&facts.event).into(),
            facts.kind.as_deref().into(),
            sealed.into(),
            now.into(),
            keep_until.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Whether anything is due. A look without the lock for writing.
pub(super) async fn is_due(db: &Db, endpoint: &str, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "SELECT seq FROM webhook_delivery WHERE state = 'waiting' AND endpoint = $1 AND due_at <= $2 LIMIT 1";
    let row = db
        .fetch_optional(SQL, &[endpoint.into(), now.into()])
        .await?;
    Ok(row.is_some())
}

/// In order: of messages about the same thing only the first that waits may be taken, also while another
/// node has it. (`order_key = NULL` is never true: messages about nothing have none before them.)
macro_rules! claim {
    ($lock:literal) => {
        concat!(
            "UPDATE webhook_delivery SET due_at = $3, attempts = attempts + 1 WHERE seq = (",
            "SELECT w.seq FROM webhook_delivery AS w WHERE w.state = 'waiting' AND w.endpoint = $1 ",
            "AND w.due_at <= $2 AND NOT EXISTS (SELECT 1 FROM webhook_delivery AS e ",
            "WHERE e.state = 'waiting' AND e.endpoint = w.endpoint AND e.order_key = w.order_key AND e.seq < w.seq) ",
            "ORDER BY w.due_at, w.seq LIMIT 1",
            $lock,
            ") RETURNING seq, id, event, attempts, sealed"
        )
    };
}

/// Takes what has been due for longest, until `lease`: of two nodes one has it.
pub(super) async fn claim(
    db: &Db,
    endpoint: &str,
    now: Timestamp,
    lease: Timestamp,
) -> Result<Option<Claimed>, Error> {
    // SQLite has one writer: who is in the transaction is alone.
    let sql = db
        .engine()
        .pick(claim!(""), claim!(" FOR UPDATE OF w SKIP LOCKED"));
    let mut tx = db.begin().await?;
    let row = tx
        .fetch_optional(sql, &[endpoint.into(), now.into(), lease.into()])
        .await?;
    tx.commit().await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Claimed {
        seq: row.int("seq")?,
        id: row.uuid("id")?,
        event: row.text("event")?,
        attempts: row.int("attempts")?,
        sealed: row.bytes("sealed")?,
    }))
}

/// The end of a message's way. False where another has it by now: our lease was over.
pub(super) async fn end(
    tx: &mut Tx,
    claimed: &Claimed,
    state: State,
    (status, fault): (Option<i64>, Option<&str>),
    (now, keep_until): (Timestamp, Timestamp),
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE webhook_delivery SET state = $3, status = $4, fault = $5, ended_at = $6, keep_until = $7 WHERE seq = $1 AND attempts = $2 AND state = 'waiting'";
    let args = [
        claimed.seq.into(),
        claimed.attempts.into(),
        state.as_str().into(),
        status.into(),
        fault.into(),
        now.into(),
        keep_until.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// It was not taken: again at `due_at`. An attempt that was none is not counted.
pub(super) async fn put_back(
    tx: &mut Tx,
    claimed: &Claimed,
    (due_at, is_counted): (Timestamp, bool),
    (status, fault): (Option<i64>, Option<&str>),
) -> Result<(), Error> {
    const SQL: &str = "UPDATE webhook_delivery SET due_at = $3, status = $4, fault = $5, attempts = $6 WHERE seq = $1 AND attempts = $2 AND state = 'waiting'";
    let attempts = claimed.attempts.saturating_sub(i64::from(!is_counted));
    let args = [
        claimed.seq.into(),
        claimed.attempts.into(),
        due_at.into(),
        status.into(),
        fault.into(),
        attempts.into(),
    ];
    tx.execute(SQL, &args).await?;
    Ok(())
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, endpoint, event, kind, state, received_at, due_at, attempts, status, fault, ended_at, erased_at ",
            "FROM webhook_delivery WHERE ",
            $condition
        )
    };
}

/// Newest first, those behind `after` if it is given. None where that is not there.
pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Option<Vec<Delivery>>, Error> {
    const PLACE: &str = "SELECT seq FROM webhook_delivery WHERE id = $1";
    const ALL: &str = select!("seq < $1 ORDER BY seq DESC LIMIT $2");
    const BY_STATE: &str = select!("seq < $1 AND state = $3 ORDER BY seq DESC LIMIT $2");
    const BY_ENDPOINT: &str = select!("seq < $1 AND endpoint = $3 ORDER BY seq DESC LIMIT $2");
    const BY_BOTH: &str =
        select!("seq < $1 AND state = $3 AND endpoint = $4 ORDER BY seq DESC LIMIT $2");
    let before = match after {
        None => i64::MAX,
        Some(id) => match db.fetch_optional(PLACE, &[id.into()]).await? {
            None => return Ok(None),
            Some(row) => row.int("seq")?,
        },
    };
    let mut args = vec![before.into(), limit.into()];
    args.extend(filter.state.map(|state| Value::from(state.as_str())));
    args.extend(filter.endpoint.as_ref().map(Value::from));
    let sql = match (&filter.state, &filter.endpoint) {
        (None, None) => ALL,
        (Some(_), None) => BY_STATE,
        (None, Some(_)) => BY_ENDPOINT,
        (Some(_), Some(_)) => BY_BOTH,
    };
    let rows = db.fetch_all(sql, &args).await?;
    let list: Result<Vec<_>, Error> = rows.iter().map(Delivery::of).collect();
    list.map(Some)
}

pub(super) async fn find(db: &Db, id: Uuid) -> Result<Option<Delivery>, Error> {
    const SQL: &str = select!("id = $1");
    let row = db.fetch_optional(SQL, &[id.into()]).await?;
    row.as_ref().map(Delivery::of).transpose()
}

/// The sealed message; nothing of one that was emptied.
pub(super) async fn sealed(db: &Db, id: Uuid) -> Result<Option<(String, Vec<u8>)>, Error> {
    const SQL: &str =
        "SELECT endpoint, sealed FROM webhook_delivery WHERE id = $1 AND erased_at IS NULL";
    let Some(row) = db.fetch_optional(SQL, &[id.into()]).await? else {
        return Ok(None);
    };
    Ok(Some((row.text("endpoint")?, row.bytes("sealed")?)))
}

/// Begins its way anew. What waits is due at once. The endpoint, where there is such a message.
pub(super) async fn replay(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<Option<String>, Error> {
    const SQL: &str = "UPDATE webhook_delivery SET state = 'waiting', due_at = $2, attempts = 0, ended_at = NULL, keep_until = NULL WHERE id = $1 AND erased_at IS NULL RETURNING endpoint";
    let row = tx.fetch_optional(SQL, &[id.into(), now.into()]).await?;
    row.map(|row| Ok(row.text("endpoint")?)).transpose()
}

/// The dead letters of an endpoint, oldest first, so many of them.
pub(super) async fn dead(db: &Db, endpoint: &str, limit: u32) -> Result<Vec<Uuid>, Error> {
    const SQL: &str = "SELECT id FROM webhook_delivery WHERE state = 'dead' AND endpoint = $1 AND erased_at IS NULL ORDER BY seq LIMIT $2";
    let rows = db.fetch_all(SQL, &[endpoint.into(), limit.into()]).await?;
    let ids = rows.iter().map(|row| Ok(row.uuid("id")?));
    ids.collect()
}

/// How many are in each state that somebody should look at: waiting, dead.
pub(super) async fn count(db: &Db) -> Result<(i64, i64), Error> {
    const SQL: &str = "SELECT (SELECT count(*) FROM webhook_delivery WHERE state = 'waiting') AS waiting, (SELECT count(*) FROM webhook_delivery WHERE state = 'dead') AS dead";
    match db.fetch_optional(SQL, &[]).await? {
        Some(row) => Ok((row.int("waiting")?, row.int("dead")?)),
        None => Ok((0, 0)),
    }
}

/// Forgets what has been kept for long enough. What waits is never forgotten.
pub(super) async fn forget(db: &Db, now: Timestamp) -> Result<u64, Error> {
    const AT_ONCE: u64 = 500;
    const SQL: &str = "DELETE FROM webhook_delivery WHERE seq IN (SELECT seq FROM webhook_delivery WHERE keep_until IS NOT NULL AND keep_until < $1 LIMIT 500)";
    let mut all = 0_u64;
    loop {
        let mut tx = db.begin().await?;
        let gone = tx.execute(SQL, &[now.into()]).await?;
        tx.commit().await?;
        all = all.saturating_add(gone);
        if gone < AT_ONCE {
            return Ok(all);
        }
    }
}

/// Messages that the vault did not seal: behind `after`, so that one that does not open is passed by.
pub(super) async fn sealed_otherwise(
    db: &Db,
    after: i64,
) -> Result<Vec<(i64, Uuid, String, Vec<u8>)>, Error> {
    const SQL: &str = "SELECT seq, id, endpoint, sealed FROM webhook_delivery WHERE seq > $2 AND substr(sealed, 1, 5) <> $1 AND erased_at IS NULL ORDER BY seq LIMIT 50";
    let rows = db
        .fetch_all(SQL, &[fields::MARK.as_bytes().into(), after.into()])
        .await?;
    let read = rows.iter().map(|row| {
        Ok((
            row.int("seq")?,
            row.uuid("id")?,
            row.text("endpoint")?,
            row.bytes("sealed")?,
        ))
    });
    read.collect()
}

pub(super) async fn set_sealed(
    db: &Db,
    seq: i64,
    old: &Vec<u8>,
    new: &Vec<u8>,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE webhook_delivery SET sealed = $3 WHERE seq = $1 AND sealed = $2";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[seq.into(), old.into(), new.into()])
        .await?;
    Ok(tx.commit().await?)
}
