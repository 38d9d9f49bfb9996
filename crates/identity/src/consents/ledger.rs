//! The table of the ledger. Each function is one statement.

use portcullis_store::{Db, Row, Tx};

use super::{Entry, Error, State, Subject};

const INSERT: &str = "INSERT INTO consent (id, tenant, subject, purpose, version, state, at, source) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const HISTORY: &str = "SELECT id, purpose, version, state, at, source FROM consent WHERE tenant = $1 AND subject = $2 ORDER BY at DESC, id DESC LIMIT 1000";
const NEWEST: &str = "SELECT id, purpose, version, state, at, source FROM consent AS c WHERE tenant = $1 AND subject = $2 AND NOT EXISTS (SELECT 1 FROM consent AS n WHERE n.tenant = c.tenant AND n.subject = c.subject AND n.purpose = c.purpose AND (n.at, n.id) > (c.at, c.id))";

fn tenant(subject: &Subject) -> String {
    subject
        .tenant
        .map_or_else(String::new, |tenant| tenant.to_string())
}

fn entry(row: &Row) -> Result<Entry, Error> {
    Ok(Entry {
        id: row.uuid("id")?,
        purpose: row.text("purpose")?,
        version: row.text("version")?,
        state: State::parse(&row.text("state")?).ok_or(Error::Unreadable)?,
        at: row.timestamp("at")?,
        source: row.text("source")?,
    })
}

pub(super) async fn insert(tx: &mut Tx, subject: &Subject, entry: &Entry) -> Result<(), Error> {
    let tenant = tenant(subject);
    let args = [
        entry.id.into(),
        (&tenant).into(),
        (&subject.name).into(),
        (&entry.purpose).into(),
        (&entry.version).into(),
        entry.state.as_str().into(),
        entry.at.into(),
        (&entry.source).into(),
    ];
    tx.execute(INSERT, &args).await?;
    Ok(())
}

pub(super) async fn history(db: &Db, subject: &Subject) -> Result<Vec<Entry>, Error> {
    read(db, HISTORY, subject).await
}

/// One entry for each purpose that has any.
pub(super) async fn newest(db: &Db, subject: &Subject) -> Result<Vec<Entry>, Error> {
    read(db, NEWEST, subject).await
}

async fn read(db: &Db, sql: &'static str, subject: &Subject) -> Result<Vec<Entry>, Error> {
    let tenant = tenant(subject);
    let args = [(&tenant).into(), (&subject.name).into()];
    let rows = db.fetch_all(sql, &args).await?;
    rows.iter().map(entry).collect()
}
