//! What the owner of an account is told about a session that turned up elsewhere, until dismissed.

use portcullis_core::{Span, Timestamp, UserId};
use portcullis_store::{Db, Error, Tx};
use serde::Serialize;
use uuid::Uuid;

/// Kept so long; the audit trail keeps its own record.
const KEPT_FOR: Span = Span::from_days(90);

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// That client has to sign in; the session goes on where it was.
    Challenged,
    /// The session has ended everywhere.
    Ended,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Outcome::Challenged => "challenged",
            Outcome::Ended => "ended",
        }
    }
}

/// One notice, as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    pub id: Uuid,
    pub at: String,
    /// What the session turned up in, such as `Chrome on Windows`.
    pub client: String,
    /// What had signed in.
    pub session_client: String,
    /// The network that it came from.
    pub client_address: Option<String>,
    pub outcome: String,
}

#[derive(Debug)]
pub(crate) struct NewNotice<'a> {
    pub(crate) user: UserId,
    pub(crate) at: Timestamp,
    pub(crate) client: &'a str,
    pub(crate) session_client: &'a str,
    pub(crate) client_address: Option<&'a str>,
    pub(crate) outcome: Outcome,
}

pub(crate) async fn insert(tx: &mut Tx, notice: &NewNotice<'_>) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO session_notice (id, user_id, at, client, session_client, client_address, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let args = [
        Uuid::now_v7().into(),
        notice.user.into(),
        notice.at.into(),
        notice.client.into(),
        notice.session_client.into(),
        notice.client_address.into(),
        notice.outcome.as_str().into(),
    ];
    tx.execute(SQL, &args).await.map(drop)
}

/// Whether the user had a notice since then.
pub(crate) async fn any_since(tx: &mut Tx, user: UserId, then: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM session_notice WHERE user_id = $1 AND at > $2 LIMIT 1";
    let row = tx.fetch_optional(SQL, &[user.into(), then.into()]).await?;
    Ok(row.is_some())
}

/// What a user has not dismissed, newest first.
pub(crate) async fn list(db: &Db, user: UserId) -> Result<Vec<Notice>, Error> {
    const SQL: &str = "SELECT id, at, client, session_client, client_address, outcome FROM session_notice WHERE user_id = $1 AND dismissed_at IS NULL ORDER BY at DESC, id DESC LIMIT 20";
    db.fetch_all(SQL, &[user.into()])
        .await?
        .iter()
        .map(|row| {
            Ok(Notice {
                id: row.uuid("id")?,
                at: row.timestamp("at")?.to_string(),
                client: row.text("client")?,
                session_client: row.text("session_client")?,
                client_address: row.opt_text("client_address")?,
                outcome: row.text("outcome")?,
            })
        })
        .collect()
}

/// The user has read them all.
pub(crate) async fn dismiss(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE session_notice SET dismissed_at = $2 WHERE user_id = $1 AND dismissed_at IS NULL";
    tx.execute(SQL, &[user.into(), now.into()]).await.map(drop)
}

pub(crate) async fn prune(db: &Db, now: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM session_notice WHERE at < $1";
    let mut tx = db.begin().await?;
    let count = tx.execute(SQL, &[(now - KEPT_FOR).into()]).await?;
    tx.commit().await?;
    Ok(count)
}
